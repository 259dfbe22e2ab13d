"""Small benchmarks."""

import pytest
from crew_here import Here

from normkit.bench import run, suite


@pytest.fixture(autouse=True)
def threads(own_threads):
    """Leave the threads of this process as they are."""


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
