"""Where runs are done changes nothing: processes, what they share, and what becomes of lost ones."""

import os
import signal
import threading
import time
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from joblib.externals.loky.process_executor import _ExecutorManagerThread

from normkit.experiments import data
from normkit.experiments.errors import DataError
from normkit.experiments.experiment import Experiment
from normkit.experiments.running import backends, one_run, shared_splits
from normkit.experiments.running.backends import WorkersLost

VALUES = {
    "norms": ["none", "batch"], "batch_sizes": [16], "hidden": [[6]], "epochs": 2, "seeds": 2, "dataset": "iris",
}  # fmt: skip


def results(runs):
    """Everything of runs but the time, by their names."""
    found = {}
    for run in runs:
        record = asdict(run)
        del record["seconds"], record["curves"]["seconds"]
        assert run.run_id not in found
        found[run.run_id] = record
    return found


@pytest.fixture(scope="module")
def experiment():
    return Experiment(VALUES)


@pytest.fixture(scope="module")
def expected(experiment):
    runs = list(experiment.run(experiment.tasks, "serial", 1))
    assert [run.run_id for run in runs] == experiment.ids and {run.status for run in runs} == {"ok"}
    return results(runs)


def test_processes_give_what_one_does(experiment, expected):
    assert results(experiment.run(experiment.tasks, "loky", 2)) == expected


def test_one_pool_does_more_tasks_than_it_takes_at_a_time(monkeypatch):
    experiment = Experiment({**VALUES, "seeds": 4})
    pools, start = [], backends._in_processes

    def started(work, shared, tasks, jobs):
        pools.append(len(tasks))
        return start(work, shared, tasks, jobs)

    monkeypatch.setattr(backends, "_in_processes", started)
    assert {run.run_id for run in experiment.run(experiment.tasks, "loky", 2)} == set(experiment.ids)
    assert pools == [8]


def test_no_task_needs_no_process(experiment):
    assert list(experiment.run([], "loky", 2)) == []


def test_runs_of_killed_workers_are_repeated(experiment, expected, monkeypatch):
    kept = backends._perform_shared
    monkeypatch.setattr(backends, "_perform_shared", _DiesOnce(os.getpid(), kept))
    assert results(experiment.run(experiment.tasks, "loky", 2)) == expected


class _DiesOnce:
    """Kills the process that it is called in, once; a file says that it did."""

    def __init__(self, parent, function):
        self.parent, self.function = parent, function

    def __call__(self, directory, *arguments):
        mark = directory.parent / "died"
        if not mark.exists():
            mark.touch()
            assert os.getpid() != self.parent
            os.kill(os.getpid(), signal.SIGKILL)
        return self.function(directory, *arguments)


def _die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)


def test_workers_that_are_always_killed_end_the_experiment(experiment, monkeypatch):
    monkeypatch.setattr(backends, "_perform_shared", _die)
    with pytest.raises(WorkersLost, match="killed 3 times"):
        list(experiment.run(experiment.tasks[:2], "loky", 2))


def test_leaving_early_ends_the_workers_and_the_files(experiment, monkeypatch, tmp_path):
    monkeypatch.setattr(shared_splits.tempfile, "tempdir", str(tmp_path))
    before = threading.active_count()
    runs = experiment.run(experiment.tasks, "loky", 2)
    next(runs)
    assert list(tmp_path.iterdir())
    runs.close()
    assert not list(tmp_path.iterdir()) and threading.active_count() <= before + 1


def test_an_interrupt_right_after_tasks_were_given_out_leaves_no_failed_thread(experiment, monkeypatch):
    def slowly(thread, is_shutting_down=_ExecutorManagerThread.is_shutting_down):
        time.sleep(0.2)  # in which the next tasks come
        return is_shutting_down(thread)

    def interrupted(running, wait=backends.wait, calls=[], **options):  # noqa: B006 - counts
        calls.append(len(running))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return wait(running, **options)

    monkeypatch.setattr(_ExecutorManagerThread, "is_shutting_down", slowly)
    monkeypatch.setattr(backends, "wait", interrupted)
    # an exception in loky's thread is a warning, which fails the test
    with pytest.raises(KeyboardInterrupt):
        list(experiment.run(experiment.tasks, "loky", 1))


class _Interrupting(dict):
    """Ctrl-C comes while a task is given out."""

    def __getitem__(self, key):
        signal.raise_signal(signal.SIGINT)
        return super().__getitem__(key)


def test_an_interrupt_while_tasks_are_given_out_is_not_lost(experiment):
    work, tasks = backends.Work(experiment._split), experiment.tasks[:1]
    with shared_splits.share(work.split, [0]) as shared, pytest.raises(KeyboardInterrupt):
        list(backends._in_processes(work, _Interrupting(shared), tasks, 1))


def test_equal_splits_are_written_once():
    dataset = data.load("iris")
    splits = [data.split(dataset, seed) for seed in (0, 1, 0)]
    with shared_splits.share(splits.__getitem__, [0, 1, 2, 0]) as places:
        assert places[0] == places[2] != places[1]
        for number, place in places.items():
            there = shared_splits.opened(place)
            np.testing.assert_array_equal(there.X_train, splits[number].X_train)
            assert isinstance(there.X_train, np.memmap)
    assert not places[0].exists()


def test_experiments_tell_what_is_left(experiment, expected):
    runs = list(experiment.run(experiment.tasks[:3], "serial", 1))
    assert experiment.left(runs) == experiment.tasks[3:]
    runs[1].status = "failed"
    assert experiment.left(runs) == [experiment.tasks[1], *experiment.tasks[3:]]
    runs[1].run_id = "of another"
    with pytest.raises(DataError, match="1 of 3 runs are of another experiment"):
        experiment.left(runs)


def test_folds_are_tasks_of_their_own():
    experiment = Experiment({**VALUES, "cv": 3, "norms": ["none"]})
    assert [(task.seed, task.fold) for task in experiment.tasks] == [(s, f) for s in (0, 1) for f in (0, 1, 2)]
    runs = list(experiment.run(experiment.tasks[2:4], "serial", 1))
    third, first = data.splits(experiment.dataset, 0, 3)[2], data.splits(experiment.dataset, 1, 3)[0]
    assert runs[0].test_loss == one_run.perform(third, runs[0].config, 0, 2).test_loss
    assert runs[1].test_loss == one_run.perform(first, runs[1].config, 1, 0).test_loss


@pytest.mark.parametrize(
    ("norms", "given", "baseline"),
    [(["none", "batch"], None, "none"), (["layer", "batch"], None, "layer"), (["none", "batch"], "batch", "batch")],
)
def test_the_baseline_is_no_norm_where_there_is_none(norms, given, baseline):
    assert Experiment({**VALUES, "norms": norms, "baseline": given}).baseline == baseline


@pytest.mark.parametrize(("norms", "baseline"), [(["none", "layer"], "none"), (["none", "batch"], "batch")])
def test_the_baseline_of_a_preset_is_one_where_it_is_compared(norms, baseline):
    assert Experiment({**VALUES, "preset": "ghost", "baseline": "batch", "norms": norms}).baseline == baseline


@pytest.mark.parametrize(("drawn", "more"), [(0, {"cv": 4, "seeds": 1}), (98, {"seeds": 6})])
def test_a_class_that_later_splits_lack_is_told(tmp_path, drawn, more):
    random = np.random.default_rng(drawn)
    groups, labels = random.integers(0, 8, 160), np.array(["a", "b"])[random.integers(0, 2, 160)]
    labels[(groups == 3) & (random.random(160) < 0.4)] = "c"
    table = pd.DataFrame({"x": np.arange(160), "y": labels, "g": groups})
    table.to_csv(tmp_path / "t.csv", index=False)
    given = {"dataset": str(tmp_path / "t.csv"), "target": "y", "group": "g", "norms": ["none"]}
    experiment = Experiment({**given, **more})
    first, *others = ("c" in experiment._split(task.split).y_train for task in experiment.tasks)
    assert first and not all(others)
    assert "in some splits no training row is of class c" in experiment.notes


def test_a_baseline_that_is_not_compared_is_refused():
    with pytest.raises(DataError, match="--baseline must be one of none, batch, got 'layer'"):
        Experiment({**VALUES, "baseline": "layer"})
