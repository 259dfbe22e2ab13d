"""A crew that works in the process of the test, so that a peer can be made to go wrong."""

import importlib

import pytest

from normkit.bench import run, suite
from normkit.bench.processes import EngineFailed


class Here:
    """Stands in for `processes.Crew`."""

    def __init__(self, folder, cores, entries, command, cold=False):
        self.module, self.folder = importlib.import_module(command[0]), folder
        self.arguments = [int(value) for value in command[1:]]
        self.workers, self.absent = {}, {}

    def start(self, stack, names):
        self.workers = {name: self.module.Worker(name, self.folder, *self.arguments) for name in names}

    def import_together(self):
        return {name: worker.ready() for name, worker in self.workers.items()}

    def ask(self, name, do, **request):
        try:
            return getattr(self.workers[name], do)(**request)
        except Exception as error:
            raise EngineFailed(f"{type(error).__name__}: {error}") from None


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr(run, "Crew", Here)


@pytest.fixture
def bench():
    """Return a function that runs a small plan of normkit and NumPy, and what was told and saved meanwhile."""

    def measure(kernels=(), steps=(), peers=("normkit", "numpy")):
        told, saved = [], []
        plan = run.Plan(kernels, steps, peers, threads=1, repeats=3, slice_ms=0.1)
        result = run.Bench(plan, told.append, lambda result: saved.append(len(result["cases"]))).run()
        return result, told, saved

    return measure


@pytest.fixture
def norm_cases():
    return suite.kernel_cases(("layer_norm", "group_norm"), ((4, 8), (2, 4, 3, 3)), ("float32",))


@pytest.fixture
def small_step():
    return suite.Step((64, 16, 10), "digits", 16, 4)
