"""Serial and parallel code, one thread and several: the same bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normkit import batch_norm, batch_norm_backward, layer_norm, layer_norm_backward, threads
from normkit.functional import _arrays


def results(shape, axis, dtype, seed=0):
    """Everything that the four functions return for one array."""
    rng = np.random.default_rng(seed)
    x, dy = (3 * rng.normal(size=(2, *shape)) + 100).astype(dtype)
    gamma, beta = rng.normal(size=(2, shape[axis]))
    y, mean, rstd = batch_norm(x, gamma, beta, axis=axis, return_stats=True)
    batch = y, mean, rstd, *batch_norm_backward(dy, x, gamma, mean, rstd, axis=axis)
    y, mean, rstd = layer_norm(x, gamma, beta, axis=axis, return_stats=True)
    return *batch, y, mean, rstd, *layer_norm_backward(dy, x, gamma, mean, rstd, axis=axis)


def compare(shape, axis, dtype, seed=0):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_arrays, "PARALLEL_FROM", 0)
        parallel = results(shape, axis, dtype, seed)
        patch.setattr(threads, "available", lambda: 1)
        serial = results(shape, axis, dtype, seed)
    for a, b in zip(parallel, serial, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape, axis", [((7, 3), 1), ((1000, 33), 1), ((9, 5, 64), 1), ((2, 3, 4, 5), 1), ((37,), 0)])
def test_serial_is_parallel(shape, axis, dtype):
    compare(shape, axis, dtype)


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=3).map(tuple),
    st.integers(0, 2),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 5),
)
def test_serial_is_parallel_for_any_shape(shape, axis, dtype, seed):
    compare(shape, axis % len(shape), dtype, seed)


@pytest.mark.parametrize("rows", [_arrays.PARALLEL_FROM // 64 - 1, _arrays.PARALLEL_FROM // 64 + 1])
def test_both_sides_of_the_limit(rows):
    compare((rows, 64), 1, np.float32)


def test_which_code_runs(monkeypatch):
    pair = (lambda: "serial", lambda: "parallel")
    monkeypatch.setattr(threads, "available", lambda: 2)
    monkeypatch.setattr(threads.numba.config, "NUMBA_NUM_THREADS", 2)
    monkeypatch.setattr(threads.numba, "set_num_threads", lambda n: None)
    assert _arrays.run(pair, _arrays.PARALLEL_FROM - 1) == "serial"
    assert _arrays.run(pair, _arrays.PARALLEL_FROM) == "parallel"
    with threads.team(2) as n:
        assert n == 2
        # the team is taken: a second caller must not enter it
        assert _arrays.run(pair, _arrays.PARALLEL_FROM) == "serial"
    monkeypatch.setattr(threads, "available", lambda: 1)
    assert _arrays.run(pair, _arrays.PARALLEL_FROM) == "serial"
