"""An experiment: its data, grid and seeds, as plain values that go to a file and come back."""

import functools
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

from normkit.experiments import data
from normkit.experiments.data.loading import OPTIONS
from normkit.experiments.data.splitting import LACKING
from normkit.experiments.errors import DataError, one_line
from normkit.experiments.grid import Grid
from normkit.experiments.presets import PRESETS, Preset
from normkit.experiments.records import Run, Summary, run_id
from normkit.experiments.running import backends
from normkit.experiments.running.backends import Task
from normkit.experiments.statistics.summary import summarize

_GRID = {f.name for f in fields(Grid)}


class Experiment:
    """What is to be run.

    Parameters
    ----------
    values : dict
        The fields of `Grid`; "dataset" and the arguments of `normkit.experiments.data.load`; "cv", "seeds",
        "baseline" and "diagnose". Where one is missing its default holds.

    Attributes
    ----------
    values : dict
    dataset : Dataset
    grid : Grid
    tasks : list of Task
        All runs, seed after seed: after each of them the cells are compared alike.
    ids : list of str
        Their `run_id`.

    Raises
    ------
    DataError
        If the data cannot be used, or the values do not go together.
    """

    def __init__(self, values: dict[str, Any]):
        self.values = values
        self.grid = Grid(**{name: value for name, value in values.items() if name in _GRID})
        choices = self.grid.choices()
        wanted = values.get("baseline")
        if self.preset and wanted == self.preset.values.get("baseline") and wanted not in choices:
            wanted = None  # other norms were given
        self.baseline: str = wanted or ("none" if "none" in choices else choices[0])
        if self.baseline not in choices:
            raise DataError(f"--baseline must be one of {', '.join(choices)}, got {self.baseline!r}")
        given = {name: values[name] for name in OPTIONS if values.get(name) is not None}
        self.dataset = data.load(values.get("dataset", "digits"), **given)
        self.rows = len(self._splits(0)[0].y_train)
        self._folds = len(self._splits(0))
        self.conditions = self.grid.conditions(self.rows)
        self.tasks = [
            Task(condition, seed, fold, seed * self._folds + fold)
            for seed in range(values.get("seeds", 5))
            for fold in range(self._folds)
            for condition in self.conditions
        ]
        self.ids = [run_id(task.condition, task.seed, task.fold) for task in self.tasks]

    @property
    def metric(self) -> str:
        """What scores are."""
        return self.dataset.metric

    @property
    def preset(self) -> Preset | None:
        """The published experiment that this one is."""
        return PRESETS.get(self.values.get("preset") or "")

    @property
    def rules(self) -> list[str]:
        """How much a run is trained and how learning rates follow the batch size, in words."""
        return self.grid.rules(self.rows)

    @functools.cached_property
    def notes(self) -> list[str]:
        """What is to be known about the data and the grid."""
        # groups can keep a class out of any seed's training rows
        seeds = self.values.get("seeds", 5) if self.dataset.groups is not None else 1
        first = self._split(0).notes
        other = [note for seed in range(seeds) for split in self._splits(seed) for note in split.notes]
        lacking = [f"in some splits {note}" for note in other if note.startswith(LACKING) and note not in first]
        notes = [*self.dataset.notes, *first, *lacking]
        notes = [one_line(note, 1000) for note in dict.fromkeys(notes)]
        if max(self.grid.batch_sizes) > self.rows:
            notes.append(f"larger batches than the {self.rows:,} training samples become one batch of all")
        if self.values.get("group"):
            notes.append(
                f"batch sizes, learning rates and epochs follow the {self.rows:,} training samples of the first split; "
                "those of other groups may be more or fewer"
            )
        return notes

    def summarize(self, runs: list[Run]) -> Summary:
        """Say what the runs show; the rules by which they were trained come first."""
        summary = summarize(runs, baseline=self.baseline)
        summary.notes[:0] = [*self.rules, *self.notes]
        return summary

    @functools.lru_cache(maxsize=2)  # noqa: B019 - of one object, that lives as long as the program
    def _splits(self, seed):
        return data.splits(self.dataset, seed, self.values.get("cv"))

    def _split(self, index):
        return self._splits(index // self._folds)[index % self._folds]

    def left(self, runs: Iterable[Run]) -> list[Task]:
        """Return the tasks that some runs leave to be done; a failed run is none.

        Raises
        ------
        DataError
            If one of the runs is of another experiment.
        """
        runs = list(runs)
        known = set(self.ids)
        if strange := [run for run in runs if run.run_id not in known]:
            raise DataError(
                f"{len(strange)} of {len(runs)} runs are of another experiment, as run {strange[0].run_id} of seed "
                f"{strange[0].seed}: the configuration was changed"
            )
        done = {run.run_id for run in runs if run.status != "failed"}
        return [task for name, task in zip(self.ids, self.tasks) if name not in done]

    def run(self, tasks: list[Task], backend: str, jobs: int, scheduler: str | None = None) -> Iterator[Run]:
        """Do some of the tasks, yielding runs as they end."""
        work = backends.Work(self._split, bool(self.values.get("diagnose")))
        if backend == "dask":
            return backends.dask(work, tasks, jobs, scheduler)
        if backend == "serial":
            return backends.serial(work, tasks)
        return backends.loky(work, tasks, jobs)
