"""Serial and parallel code, one thread and several, compiled now or taken from the cache: the same bits."""

import os
import subprocess
import sys

import numpy as np
import pytest
from family import BFLOAT16, BY_LABEL, NORMS
from hypothesis import given, settings
from hypothesis import strategies as st

from normkit import threads
from normkit.functional import _arrays

every_norm = pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.label)


def results(norm, shape, axis, dtype, seed=0):
    """Everything that a norm returns, forward and backward."""
    xs, dys, parameters = norm.data(shape, axis, dtype, seed)
    xs[0] = (xs[0].astype(np.float64) * 3 + 100).astype(dtype)
    forward, statistics = norm.forward(xs, parameters, axis)
    x = forward[-1] if norm.arrays > 1 else xs[0]
    return *forward, *statistics, *norm.backward(dys, x, parameters[0], statistics, axis)


def compare(norm, shape, axis, dtype, seed=0):
    found = []
    for available, parallel_from in ((2, 0), (1, 0), (2, 1 << 60)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_arrays, "PARALLEL_FROM", parallel_from)
            patch.setattr(threads, "available", lambda available=available: available)
            found.append(results(norm, shape, axis, dtype, seed))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=f"{shape} {dtype}")


@every_norm
def test_threads_change_nothing(norm):
    for shape, axis in norm.layouts:
        compare(norm, shape, axis, np.float32)


LARGE = {
    "batch_norm": [((2000, 33), -1), ((9, 5, 640), 1), ((64, 700), 0), ((3, 2, 40, 30), 1)],
    "batch_norm-ghost": [((200, 33), -1), ((20, 33, 5), 1)],
    "layer_norm": [((2000, 33), -1), ((3, 10000), -1), ((33, 2000), 0)],
    "group_norm": [((20, 6, 500), 1), ((2, 5000, 6), -1), ((40, 50, 6), -1)],
}


@pytest.mark.parametrize("label", LARGE)
def test_threads_change_nothing_in_many_blocks(label):
    # each further dtype is 20 s of compilation
    for dtype in (np.float32, np.float64, BFLOAT16) if label == "layer_norm" else (np.float32,):
        for shape, axis in LARGE[label]:
            compare(BY_LABEL[label], shape, axis, dtype)


@every_norm
@settings(max_examples=10)  # each of them three times over
@given(st.data())
def test_threads_change_nothing_for_any_shape(norm, data):
    shape = tuple(data.draw(st.lists(st.integers(2, 40), min_size=3, max_size=3)))
    axis = data.draw(st.integers(1, 2))
    if norm.label == "group_norm":
        shape = tuple(n * 2 if i == axis else n for i, n in enumerate(shape))
    compare(norm, shape, axis, np.float32, data.draw(st.integers(0, 5)))


@pytest.mark.parametrize("rows", [_arrays.PARALLEL_FROM // 64 - 1, _arrays.PARALLEL_FROM // 64 + 1])
@pytest.mark.parametrize("label", ["batch_norm", "layer_norm"])
def test_both_sides_of_the_limit(label, rows):
    compare(BY_LABEL[label], (rows, 64), 1, np.float32)


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


# Large enough for the parallel code, odd enough for every remainder
PROGRAM = """
import hashlib
import numpy as np
from normkit import layer_norm, layer_norm_backward

x, dy = (3 * np.random.default_rng(0).normal(size=(2, 1501, 77)) + 100).astype(np.float32)
y, mean, rstd = layer_norm(x, return_stats=True)
arrays = y, mean, rstd, *layer_norm_backward(dy, x, None, mean, rstd)
print(hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest())
"""


@pytest.mark.parametrize("count", ["1", "2"])
def test_processes_agree(count, tmp_path, capsys):
    """Cold and from the cache, with one thread and with two, and with this process."""
    options = {**os.environ, "NUMBA_NUM_THREADS": count, "NUMBA_CACHE_DIR": str(tmp_path)}
    found = set()
    for _ in range(2):
        command = [sys.executable, "-c", PROGRAM]
        done = subprocess.run(command, capture_output=True, text=True, env=options, check=True, timeout=300)
        found.add(done.stdout.strip())
    exec(PROGRAM, {})
    assert found == {capsys.readouterr().out.strip()}
    assert any(tmp_path.rglob("*.nbi"))
