"""Large outputs are written past the caches: the same numbers, wherever rows begin."""

import numpy as np
import pytest
from family import BFLOAT16

from normkit import batch_norm, batch_norm_backward, layer_norm, layer_norm_backward
from normkit.kernels.cpu import simd

ROWS = simd.STREAMED // 4 // 4096 + 8


def both_ways(function, x, offset):
    """Results in memory that begins `offset` bytes after a boundary, of the whole array and of halves too small."""
    memory = np.empty(x.nbytes + 64 + offset, np.uint8)
    start = -memory.ctypes.data % 64 + offset
    out = memory[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
    whole = function(x, out)
    half = len(x) // 2
    return whole, np.concatenate([function(x[:half], None), function(x[half:], None)])


@pytest.mark.parametrize("columns", [4096, 4100])  # rows that all begin at the same place of a line, and that do not
@pytest.mark.parametrize("dtype", [np.float32, BFLOAT16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("offset", [0, 16, 4])
def test_large_outputs(columns, dtype, offset):
    rows = ROWS * 4 // np.dtype(dtype).itemsize
    x = np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32).astype(dtype)
    assert x.nbytes > simd.STREAMED > x.nbytes // 2
    mean, var = np.zeros(columns), np.ones(columns)

    for function in (
        lambda x, out: layer_norm(x, out=out),
        lambda x, out: batch_norm(x, mean=mean, var=var, out=out),
        lambda x, out: layer_norm_backward(x, x, None, np.zeros(len(x)), np.ones(len(x)), out=out)[0],
        lambda x, out: batch_norm_backward(x, x, None, mean, var, training=False, out=out)[0],
    ):
        whole, halves = both_ways(function, x, offset)
        np.testing.assert_array_equal(whole, halves)


@pytest.mark.parametrize("columns", [4096, 1000])
def test_large_gradients(columns):
    """Wherever in a line rows begin, the bits are the same."""
    x = np.random.default_rng(0).normal(size=(simd.STREAMED // columns // 4 + 9, columns)).astype(np.float32)
    _, mean, rstd = batch_norm(x, return_stats=True)
    found = []
    for offset in (0, 4):
        memory = np.empty(x.nbytes + 64 + offset, np.uint8)
        start = -memory.ctypes.data % 64 + offset
        out = memory[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
        found.append(batch_norm_backward(x, x, None, mean, rstd, out=out)[0])
        found.append(batch_norm(x, out=np.empty_like(out)))
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], found[3])
