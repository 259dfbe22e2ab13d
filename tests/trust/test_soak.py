"""The short form of benchmarks/soak.py: every norm in both precisions, a few times over."""

import importlib
from pathlib import Path

import pytest


@pytest.fixture
def soak(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("soak")


def test_a_few_rounds(soak, monkeypatch):
    curve, rounds = soak.soak(0)
    assert rounds == 2 * len(soak.NORMS) + 8 and len(curve) == 8
    assert soak.growth(curve) < 8 and all(mib > 50 for _, mib in curve)


def test_growth_is_seen(soak):
    """A leak of one MiB a sample is one of as many as lie between the quarters' middles."""
    assert soak.growth([(i, 100.0 + i) for i in range(40)]) == 20
    assert soak.growth([(i, 100.0) for i in range(40)]) == 0
