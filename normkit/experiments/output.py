"""The output of an experiment, what is in its folder beside the runs: begun, gone on with, finished."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from normkit._files import write_atomically
from normkit.experiments.configuration import to_toml
from normkit.experiments.errors import DataError
from normkit.experiments.experiment import Experiment
from normkit.experiments.records import Run, Summary, to_csv
from normkit.experiments.results.environment import environment
from normkit.experiments.results.store import CONFIG, ENVIRONMENT, RESULTS, SUMMARY, Store, read_environment, write_json

_TABLE = "results.csv"
NO_COLUMNS = ("curves", "diagnostics")  # of it


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
    write_json(store.path / ENVIRONMENT, here)
    # the last of them: a folder that has it can be gone on with
    store.write_text(CONFIG, to_toml(experiment.values))
    return []


def finish(store: Store, experiment: Experiment, runs: Sequence[Run], summary: Summary) -> list[str]:
    """Write what came of an experiment; returns the names of its files."""
    from normkit.experiments.report import page  # imports matplotlib

    write_summary(store.path, runs, summary)
    files = page.write(store.path, list(runs), summary, experiment.values, read_environment(store.path))
    return [RESULTS, _TABLE, SUMMARY, ENVIRONMENT, CONFIG, files[0].name, f"{files[1].parent.name}/"]


def write_summary(directory: Path, runs: Sequence[Run], summary: Summary) -> None:
    """Write results.csv and summary.json, what came of the runs for programs to read."""
    write_atomically(directory / _TABLE, to_csv(runs, without=NO_COLUMNS).encode())
    write_json(directory / SUMMARY, asdict(summary))
