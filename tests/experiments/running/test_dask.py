"""Runs on a Dask cluster: a real scheduler with two worker processes, one of which is killed."""

import contextlib
import json
import socket
import subprocess
import sys
import time

import pytest

from normkit.experiments.errors import DataError
from normkit.experiments.experiment import Experiment
from normkit.experiments.running import backends

pytest.importorskip("distributed")
# an event loop warns of sockets that a killed worker leaves
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

VALUES = {
    "norms": ["none", "batch"], "batch_sizes": [8, 32], "hidden": [[32]], "epochs": 30, "seeds": 3, "dataset": "digits",
}  # fmt: skip


class Cluster:
    """A scheduler and its workers, as processes."""

    def __init__(self, folder, workers):
        self.folder, self.file = folder, folder / "scheduler.json"
        self.scheduler = self._start("dask_scheduler", "--port", "0", "--host", "127.0.0.1")
        self.workers = []
        for _ in range(workers):
            self.add_worker()
        while not self.file.exists() or not self.file.read_text():
            assert self.scheduler.poll() is None
            time.sleep(0.05)
        self.address = json.loads(self.file.read_text())["address"]

    def add_worker(self):
        self.workers.append(self._start("dask_worker", "--nthreads", "1", "--no-nanny"))

    def _start(self, program, *arguments):
        with open(self.folder / f"{program}.log", "ab") as log:
            command = [sys.executable, "-m", f"distributed.cli.{program}", "--scheduler-file", str(self.file)]
            return subprocess.Popen([*command, "--no-dashboard", *arguments], stdout=log, stderr=log)

    def close(self):
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path):
    clusters = []

    def start(workers):
        clusters.append(Cluster(tmp_path, workers))
        return clusters[-1]

    yield start
    for one in clusters:
        one.close()


def losses(run):
    return run.status, run.test_loss, run.curves["loss"], run.curves["val_loss"]


def wait_for_workers(there, count):
    from distributed import Client

    with Client(there.address) as client:
        client.wait_for_workers(count, timeout=120)


def test_a_killed_worker_changes_nothing(cluster):
    experiment = Experiment(VALUES)
    expected = {run.run_id: losses(run) for run in experiment.run(experiment.tasks, "serial", 1)}
    there = cluster(2)
    wait_for_workers(there, 2)
    found = []
    for run in experiment.run(experiment.tasks, "dask", 1, there.address):
        found.append(run)
        if len(found) == 2:
            there.workers[0].kill()
    assert there.workers[1].poll() is None
    assert len(found) == len(expected) and {run.run_id: losses(run) for run in found} == expected


def test_data_that_went_with_its_only_worker_is_sent_again(cluster):
    experiment = Experiment({**VALUES, "seeds": 1})
    expected = {run.run_id: losses(run) for run in experiment.run(experiment.tasks, "serial", 1)}
    there = cluster(1)
    found = []
    for run in experiment.run(experiment.tasks, "dask", 1, there.address):
        found.append(run)
        if len(found) == 1:
            there.add_worker()
            there.workers[0].kill()
    assert len(found) == len(expected) and {run.run_id: losses(run) for run in found} == expected


def test_a_result_that_went_with_its_worker_is_found_again(cluster, monkeypatch):
    from distributed import Future

    experiment = Experiment({**VALUES, "seeds": 1})
    expected = {run.run_id: losses(run) for run in experiment.run(experiment.tasks, "serial", 1)}
    there, result = cluster(1), Future.result

    def after_a_kill(future, *arguments):
        if len(there.workers) == 1:  # it holds the result that is asked for, which has not been fetched yet
            there.add_worker()
            there.workers[0].kill()
        return result(future, *arguments)

    monkeypatch.setattr(Future, "result", after_a_kill)
    found = list(experiment.run(experiment.tasks, "dask", 1, there.address))
    assert len(found) == len(expected) and {run.run_id: losses(run) for run in found} == expected


def test_workers_of_another_version_are_refused(cluster, monkeypatch):
    there = cluster(1)
    kept = backends.version
    monkeypatch.setattr(backends, "version", lambda package: "0.1" if package == "numba" else kept(package))
    experiment = Experiment(VALUES)
    with pytest.raises(DataError, match=r"the Dask worker tcp://.* has numba .*, here is 0\.1"):
        list(experiment.run(experiment.tasks, "dask", 1, there.address))


def test_a_scheduler_without_workers_or_none_at_all_is_told(cluster, monkeypatch):
    monkeypatch.setattr(backends, "_CONNECT_S", 1)
    experiment = Experiment(VALUES)
    with pytest.raises(DataError, match="has no workers"):
        list(experiment.run(experiment.tasks, "dask", 1, cluster(0).address))
    with pytest.raises(DataError, match="no Dask scheduler answers at tcp://127.0.0.1:1"):
        list(experiment.run(experiment.tasks, "dask", 1, "tcp://127.0.0.1:1"))
    with pytest.raises(DataError, match="no Dask scheduler answers at nonsense://"):
        list(experiment.run(experiment.tasks, "dask", 1, "nonsense://"))


@pytest.mark.parametrize("lost", ["scheduler", "workers"])
def test_a_cluster_that_is_lost_ends_the_experiment(cluster, monkeypatch, lost):
    monkeypatch.setattr(backends, "_CONNECT_S", 5)
    there = cluster(1)
    wait_for_workers(there, 1)
    experiment = Experiment(VALUES)
    found = []
    with pytest.raises(backends.WorkersLost, match="the Dask cluster is lost: .+"):
        for run in experiment.run(experiment.tasks, "dask", 1, there.address):
            found.append(run.status)
            if len(found) == 2:
                (there.scheduler if lost == "scheduler" else there.workers[0]).kill()
    assert 2 <= len(found) < len(experiment.tasks) and set(found) == {"ok"}


def test_a_cluster_of_this_machine_is_started_where_none_is_named():
    experiment = Experiment({**VALUES, "dataset": "iris", "seeds": 1, "batch_sizes": [8]})
    expected = {run.run_id: losses(run) for run in experiment.run(experiment.tasks, "serial", 1)}
    with contextlib.ExitStack() as stack:
        # Dask's usual port may be another's, and its warning of that is an error here
        with contextlib.suppress(OSError):
            stack.enter_context(socket.create_server(("", 8787)))
        assert {run.run_id: losses(run) for run in experiment.run(experiment.tasks, "dask", 2)} == expected
