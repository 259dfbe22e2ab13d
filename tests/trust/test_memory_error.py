"""A fit that cannot fit: a MemoryError with the sizes before anything is allocated, and the earlier model stays."""

import tracemalloc

import numpy as np
import pytest
from sklearn.base import clone

from normkit import MLPClassifier, MLPRegressor
from normkit.estimators import _memory

X, Y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2


def test_hopeless_sizes():
    model = MLPClassifier(max_iter=2, random_state=0).fit(X, Y)
    expected, attributes = model.predict_proba(X), set(vars(model))
    model.set_params(hidden_layer_sizes=(10**6, 10**7))
    # 10^13 weights of float64: twice with Adam's two moments
    with pytest.raises(MemoryError, match=r"layers \[3, 1000000, 10000000, 1\] in float64 .* needs at least 291 TiB"):
        model.fit(X, Y)
    assert set(vars(model)) == attributes
    model.set_params(hidden_layer_sizes=(100,))
    np.testing.assert_array_equal(model.predict_proba(X), expected)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden, rows", [((700, 700), 40), ((1000,), 2048)])
def test_what_a_fit_takes(solver, dtype, hidden, rows, monkeypatch):
    """The estimate is no more than a fit takes, so that none is refused that could run, and not much less."""
    X, y = np.zeros((rows, 3)), np.arange(rows) % 2.0
    model = MLPRegressor(
        hidden_layer_sizes=hidden, solver=solver, dtype=dtype, batch_size=rows, max_iter=1, max_fun=2, random_state=0
    )
    least = _memory.least_memory(model, [3, *hidden, 1], np.dtype(dtype).itemsize, rows)
    clone(model).set_params(hidden_layer_sizes=(2,)).fit(X, y)  # loads the machine code
    tracemalloc.start()
    try:
        model.fit(X, y)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0.2 * taken < least <= taken
    monkeypatch.setattr(_memory, "_ASKED_FROM", 0)
    monkeypatch.setattr(_memory, "available_memory", lambda: least)
    model.fit(X, y)
    monkeypatch.setattr(_memory, "available_memory", lambda: least - 1)
    with pytest.raises(MemoryError, match=f"solver='{solver}' and batch_size={rows}"):
        model.fit(X, y)
    if solver != "lbfgs":
        model.partial_fit(X, y)  # takes nothing new


def test_systems_that_do_not_tell(monkeypatch):
    monkeypatch.setattr(_memory, "available_memory", lambda: None)
    # NumPy's own error then
    with pytest.raises(MemoryError, match="Unable to allocate"):
        MLPClassifier((10, 10**13)).fit(X, Y)


def test_available_memory_is_what_linux_says():
    there = _memory.available_memory()
    assert there is None or 2**20 < there < 2**50


def test_a_control_group_takes_its_part(monkeypatch, tmp_path):
    monkeypatch.setattr(_memory, "_GROUP", tmp_path)
    if _memory.available_memory() is None:
        pytest.skip("the system does not tell")
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 7\ninactive_file 3000\nactive_file 200\n")
    assert _memory.available_memory() == 103_200
    (tmp_path / "memory.max").write_text("max\n")
    assert _memory.available_memory() > 2**20
