"""Folders of experiments, read again: the runs of one or of several, and what a report must say of them."""

import functools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normkit.experiments.configuration import parse, to_toml
from normkit.experiments.errors import DataError, one_line
from normkit.experiments.records import Run, Summary
from normkit.experiments.results.store import CONFIG, ENVIRONMENT, RESULTS, read_environment, read_runs
from normkit.experiments.statistics.summary import summarize


@dataclass
class Source:
    """Where runs come from: the name of their folder, what config.toml and environment.json hold."""

    name: str
    experiment: dict[str, Any]
    environment: dict[str, Any]


def read(directory: str | Path) -> tuple[list[Run], Source]:
    """Read the runs of a folder, its configuration and its environment; it may still be written to.

    Raises
    ------
    DataError
        If there are no runs, or a file is not what it should be.
    """
    path = Path(directory)
    runs = read_runs(path)
    if not runs:
        raise DataError(f"{path / RESULTS} holds no finished run yet")
    for run in runs:
        # JSON has no NaN, which is written as null
        run.curves = {name: [math.nan if x is None else x for x in curve] for name, curve in run.curves.items()}
    environment = read_environment(path) if (path / ENVIRONMENT).exists() else {}
    return runs, Source(str(directory), _configuration(path / CONFIG), environment)


def _configuration(path: Path) -> dict[str, Any]:
    values = parse(path) if path.exists() else {}
    try:
        to_toml(values)
        if not isinstance(values.get("preset", ""), str):
            raise TypeError("the preset must be a name")
    except (TypeError, RecursionError) as error:
        raise DataError(f"{path} is no configuration: {one_line(error)}") from None
    return {name.replace("-", "_"): value for name, value in values.items()}


def merge(folders: Sequence[tuple[list[Run], Source]]) -> tuple[list[Run], list[str]]:
    """Put the runs of folders together; the same run is counted once.

    Of two records of a run one that did not fail counts, then one with diagnostics, then that of the first folder.

    Returns
    -------
    runs : list of Run
        Seed after seed.
    notes : list of str
        What is to be known about runs that were in several folders.

    Raises
    ------
    DataError
        If the runs are of different metrics, data or folds. Their scores could stand in one table, but the differences
        between choices, which are taken within a seed, would be differences between data.
    """
    if len(folders) > 1:
        for what, value_of in _SAME.items():
            _check_same(folders, what, value_of)
    kept: dict[str, Run] = {}
    repeated, differing = 0, 0
    for runs, _ in folders:
        for run in runs:
            other = kept.setdefault(run.run_id, run)
            if other is run:
                continue
            repeated += 1
            differing += other.test_score != run.test_score
            if _worth(run) > _worth(other):
                kept[run.run_id] = run
    notes = []
    if repeated:
        notes.append(f"{repeated} runs are in more than one folder and were counted once.")
    if differing:
        notes.append(f"{differing} of them have not the same score in both.")
    return sorted(kept.values(), key=functools.partial(_place, folders[0][1].experiment)), notes


def _place(experiment, run):
    """Sort key: the order of the grid without interruption, which decides between equals, and sums' last digits."""
    config = run.config
    axes = {
        "hidden": list(config.hidden), "activations": config.activation, "initializers": config.kernel_initializer,
        "dropouts": config.dropout, "batch_sizes": config.batch_size, "learning_rates": config.learning_rate,
        "norms": config.normalization, "positions": config.norm_position, "norm_noises": config.norm_noise,
    }  # fmt: skip
    places = []
    for name, value in axes.items():
        known = experiment.get(name)
        known = known if isinstance(known, list) else []
        places.append(known.index(value) if value in known else len(known))
    # what is in no list, as a batch size cut to the data, and a rate scaled by it
    return run.seed, run.fold, *places, config.batch_size, config.learning_rate, run.run_id


def _worth(run: Run) -> tuple[bool, bool]:
    return run.status != "failed", run.diagnostics is not None


def _fingerprint(source: Source) -> Any:
    data = source.environment.get("data")
    return data.get("fingerprint") if isinstance(data, dict) else None


_SAME = {
    "metric": lambda runs, source: sorted({run.metric for run in runs}),
    "data (its fingerprint in environment.json)": lambda runs, source: _fingerprint(source),
    "folds (cv in config.toml)": lambda runs, source: source.experiment.get("cv"),
}


def _check_same(folders, what: str, value_of) -> None:
    first = value_of(*folders[0])
    for runs, source in folders:
        here = value_of(runs, source)
        names = f"{folders[0][1].name} and {source.name}"
        if here != first:
            raise DataError(f"{names} differ in their {what}: report each of them alone")
        if here is None and "environment.json" in what:
            raise DataError(f"cannot tell whether {names} have the same {what}: it is missing")


def summarize_folders(directories: Sequence[str | Path]) -> tuple[list[Run], Summary, list[Source]]:
    """Read folders, merge them and say what their runs show together.

    Returns
    -------
    runs : list of Run
    summary : Summary
    sources : list of Source
        What the folders hold beside the runs, in the same order; nameless if it is one.
    """
    folders = [read(directory) for directory in dict.fromkeys(map(str, directories))]
    runs, notes = merge(folders)
    sources = [source for _, source in folders]
    named = len(sources) > 1
    every = [[str(note) for note in _list(source.environment.get("notes"))] for source in sources]
    shared = [note for note in every[0] if all(note in own for own in every)]
    told = shared + [f"{source.name}: {n}" for source, own in zip(sources, every) for n in own if n not in shared]
    summary = summarize(runs, baseline=_baseline(runs, sources))
    summary.notes[:0] = [*told, *_versions(sources), *notes]
    if not named:
        sources[0].name = ""
    return runs, summary, sources


def _list(value: Any) -> list:
    return value if isinstance(value, list) else []


def _baseline(runs: list[Run], sources: list[Source]) -> str:
    """Return the first baseline that a configuration names, or what the command takes: none, or the first norm."""
    choices = {run.config.choice for run in runs}
    wanted = [source.experiment.get("baseline") for source in sources] + ["none"]
    for source in sources:
        positions = _list(source.experiment.get("positions")) or ["before"]
        ending = " after" if positions[0] == "after" else ""
        wanted += [f"{norm}{ending}" for norm in _list(source.experiment.get("norms"))]
    return next(name for name in [*wanted, *sorted(choices)] if isinstance(name, str) and name in choices)


def _versions(sources: list[Source]) -> list[str]:
    """Say where the folders were made with different versions."""
    texts = {json.dumps(source.environment.get("versions"), sort_keys=True) for source in sources}
    return ["The folders were made with different versions; see the environments below."] if len(texts) > 1 else []
