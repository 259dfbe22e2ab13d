"""Arrays of more than 2**31 elements: what computes places in them, on memory that is reserved and hardly touched."""

import math
import mmap
import sys

import numba
import numpy as np
import pytest

from normkit.functional import _channels, _layouts
from normkit.kernels.cpu import columns, moments, parallel, planes, rows

HUGE = 2**31
TAIL = 100
numpy_math = numba.njit(error_model="numpy")


def reserved(shape, dtype):
    """An array of zeros whose memory is not there until it is written to."""
    if sys.platform != "linux":
        pytest.skip("needs memory that is only reserved")
    no_reserve = getattr(mmap, "MAP_NORESERVE", 0x4000)  # not every Python names it
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve
    memory = mmap.mmap(-1, math.prod(shape) * np.dtype(dtype).itemsize, flags=flags)
    return np.frombuffer(memory, dtype).reshape(shape)


@numpy_math
def boundaries(n):
    blocks = parallel.block_count(n, 8)
    return [b * n // blocks for b in range(blocks + 1)]


@pytest.mark.parametrize("n", [1, 7, 8, 63, 512, 1000, 2**31 - 1, 2**31, 2**31 + 1, 2**40 + 3, 2**53 + 1])
def test_blocks_cover_all_rows(n):
    found = boundaries(n)
    count = len(found) - 1
    assert found == [b * n // count for b in range(count + 1)]  # Python's integers have no end
    assert found[0] == 0 and found[-1] == n and all(a < b for a, b in zip(found, found[1:]))


@numpy_math
def planes_of(k, count, stride):
    return [planes.plane_of(k, r, count, stride) for r in range(count)]


@pytest.mark.parametrize("samples, channels", [(5, 3), (3, 2**40)])
def test_planes_are_where_they_are(samples, channels):
    # one channel of all samples
    k = channels - 2
    assert planes_of(k, samples, channels) == [sample * channels + k for sample in range(samples)]
    # neighbours of a sample
    assert planes_of(2**35, 4, 1) == list(range(2**37, 2**37 + 4))


def test_every_plane_is_in_one_set():
    for count, stride, sets in ((5, 3, 3), (2, 1, 6), (4, 6, 6)):
        found = [p for k in range(sets) for p in planes_of(k, count, stride)]
        assert sorted(found) == list(range(count * sets))


def test_layouts_have_no_end():
    shape = (2**20, 3, 2**20, 5)
    layout, kept, normalized = _layouts.rows_layout(shape, (1, 3))
    assert layout.shape == (2**40, 15) and kept == (2**20, 2**20) and normalized == (3, 5)
    x = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint16), shape, (0, 0, 0, 0))
    assert math.prod(_channels.batch_parts(x, 1).layout.shape) == math.prod(shape)
    assert math.prod(_channels.sample_parts(x, 3, 5).layout.shape) == math.prod(shape)


def test_the_order_of_memory():
    x = np.zeros((2, 5, 6, 3))
    moved = x.transpose(0, 3, 1, 2)  # channels last in memory
    assert _layouts.memory_order(x) is None
    assert _layouts.memory_order(moved) == _layouts.memory_order(moved, first=True) == (0, 2, 3, 1)
    assert _layouts.memory_order(x.T) == (3, 2, 1, 0) and _layouts.memory_order(x.T, first=True) is None
    assert _layouts.memory_order(moved[:, ::2]) is None  # of every other channel, no order is that of all memory


@numpy_math
def sums(x, p, count):
    return moments.sums_of_rows(x, p, count, 1, 0.0, 1.0)


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_sums_of_the_last_rows(dtype):
    x = reserved((HUGE // TAIL + 2, TAIL), dtype)
    values = np.linspace(-1, 1, TAIL).astype(np.float16)
    x[-1] = values.view(np.uint16) if dtype == np.uint16 else values
    first, second = sums(x, len(x) - 3, 3)
    wide = values.astype(np.float64)
    np.testing.assert_allclose((first, second), (wide.sum(), (wide**2).sum()), atol=1e-5)


@numpy_math
def normalize_rows(x, gamma, beta, start, stop, y):
    for i in range(start, stop):
        rows.normalize_row(x[i], 0.0, 0.0, 2.0, 1.0, gamma, beta, y[i], -1, x[i])


def test_the_last_rows():
    x = reserved((HUGE // 8 + TAIL, 10), np.float32)
    x[-TAIL:] = np.arange(10)
    y = reserved(x.shape, np.float32)
    normalize_rows(x, np.ones(10, np.float32), np.ones(10, np.float32), len(x) - TAIL, len(x), y)
    np.testing.assert_array_equal(y[-TAIL:], np.tile(2.0 * np.arange(10) + 1, (TAIL, 1)))
    assert not y[-2 * TAIL : -TAIL].any()


@numpy_math
def normalize_columns(x, start, stop, unit, high, scale, offset, y):
    columns.normalize_block(x, start, stop, unit, high, scale, offset, y, -1)


@numpy_math
def sum_columns(x, start, stop, shift, unit, first, second):
    columns.column_sums(x, start, stop, shift, unit, first, second)


def test_the_last_rows_of_columns():
    x = reserved((HUGE // 2 + TAIL, 3), np.float32)
    x[-TAIL:] = np.arange(3)
    y = reserved(x.shape, np.float32)
    zero, one = np.zeros(3, np.float32), np.ones(3, np.float32)
    normalize_columns(x, len(x) - TAIL, len(x), one, zero, 2 * one, one, y)
    np.testing.assert_array_equal(y[-TAIL:], np.tile([1.0, 3, 5], (TAIL, 1)))
    assert not y[-2 * TAIL : -TAIL].any()
    first, second = np.zeros(3, np.float32), np.zeros(3, np.float32)
    sum_columns(x, len(x) - TAIL, len(x), zero, one, first, second)
    np.testing.assert_array_equal((first, second), (TAIL * np.arange(3), TAIL * np.arange(3) ** 2))
