"""Files of an experiment beside its runs: what it was, where it ran, and what came of it."""

import csv
import io
import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from normkit._machine import processor
from normkit.experiments.configuration import to_toml
from normkit.experiments.errors import DataError
from normkit.experiments.experiment import Experiment
from normkit.experiments.records import SCHEMA, Run, Summary
from normkit.experiments.store import CONFIG, ENVIRONMENT, SUMMARY, Store, read_environment

_PACKAGES = ("normkit", "numba", "llvmlite", "numpy", "scipy", "scikit-learn", "joblib")


def prepare(directory: str | Path) -> Path:
    """Make the output directory and see that it can be written to, before hours are spent."""
    path = Path(directory)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        reason = "it is a file" if isinstance(error, FileExistsError) else error.strerror or error
        raise DataError(f"cannot write to the output directory {directory}: {reason}") from None
    return path


def environment() -> dict[str, Any]:
    """Return versions and machine, so that a number can be told where it comes from."""
    import threadpoolctl

    kept = ("user_api", "internal_api", "version", "threading_layer", "architecture", "num_threads")
    return {
        "schema": SCHEMA,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "machine": {
            "processor": processor(), "architecture": platform.machine(), "cores": os.cpu_count(),
            "system": platform.platform(),
        },
        "libraries": [{name: pool.get(name) for name in kept} for pool in threadpoolctl.threadpool_info()],
    }  # fmt: skip


def begin(store: Store, experiment: Experiment, backend: str, jobs: int) -> list[str]:
    """Write what the experiment is, or see that the folder holds the same one on the same data.

    Returns
    -------
    list of str
        What is different now, and does not matter enough to refuse it.

    Raises
    ------
    DataError
        If the data was changed, or runs are of another experiment.
    """
    here = environment()
    if (store.path / CONFIG).exists():
        experiment.left(store.runs)  # refuses runs of another one
        before = read_environment(store.path)
        if before.get("data", {}).get("fingerprint") != experiment.dataset.fingerprint:
            raise DataError(f"the data of {store.path} was changed since: begin another experiment with --output")
        return [
            f"{name} is {here['versions'][name]} now, the first runs were made with {was}"
            for name, was in before.get("versions", {}).items()
            if here["versions"].get(name) != was
        ]
    data = experiment.dataset
    here |= {
        "notes": [*experiment.rules, *experiment.notes],  # for a report that is made without the data
        "execution": {"backend": backend, "processes": jobs, "threads_per_run": 1},
        "data": {
            "name": data.name, "task": data.task, "fingerprint": data.fingerprint, "samples": data.n_samples,
            "features": len(data.feature_names), "notes": data.notes,
        },
    }  # fmt: skip
    store.write_json(ENVIRONMENT, here)
    # the last of them: a folder that has it can be gone on with
    store.write_text(CONFIG, to_toml(experiment.values))
    return []


def finish(store: Store, experiment: Experiment, runs: Sequence[Run], summary: Summary) -> list[str]:
    """Write what came of an experiment; returns the names of its files."""
    from normkit.experiments import report  # imports matplotlib

    store.write_text("results.csv", to_csv(runs))
    store.write_json(SUMMARY, asdict(summary))
    files = report.write(store.path, list(runs), summary, experiment.values, read_environment(store.path))
    return ["results.jsonl", "results.csv", SUMMARY, ENVIRONMENT, CONFIG, files[0].name, f"{files[1].parent.name}/"]


def to_csv(runs: Sequence[Run]) -> str:
    """Return one line a run, without curves and diagnostics; blank where a run has nothing."""
    text = io.StringIO()
    rows = []
    for run in runs:
        record = {name: value for name, value in asdict(run).items() if name not in ("curves", "diagnostics")}
        config = record.pop("config")
        rows.append({**config, "hidden": "-".join(map(str, run.config.hidden)), **record})
    table = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()
