"""A pytest plugin (`-p uncompiled`): Python in place of what only the compiler knows, so that kernels run uncompiled.

With NUMBA_DISABLE_JIT=1 Numba leaves functions as they are, so that lines can be counted and mutated; what it has no
Python for are normkit's own intrinsics. Here each is what its docstring says, in NumPy. Reads and writes outside of an
array, which the intrinsics do not see, are an IndexError.
"""

import ctypes
import threading
import time

import numba
import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import normkit.kernels.cpu.simd as simd

_lock = threading.Lock()


def _computed_in(array):
    return np.float64 if array.dtype == np.float64 else np.float32


def _inside(array, index, n):
    if not (array.ndim == 1 and array.flags.c_contiguous):
        raise TypeError(f"a contiguous row is needed, got shape {array.shape}, strides {array.strides}")
    if index < 0 or index + n > array.size:
        raise IndexError(f"elements {index} to {index + n} of {array.size}")


def lanes(array):
    return simd.BYTES // np.dtype(_computed_in(array)).itemsize


def computed(array, value):
    return _computed_in(array)(value)


def splat(array, value):
    return np.full(lanes(array), value, _computed_in(array))


def muladd(a, b, c):
    return (a.astype(np.float64) * b + c).astype(a.dtype)


def keep_first(vector, n):
    return np.where(np.arange(vector.size) < n, vector, vector.dtype.type(0))


def total(vector):
    while vector.size > 1:
        vector = vector[: vector.size // 2] + vector[vector.size // 2 :]
    return vector[0]


def load(array, index, n):
    n = max(0, min(n, lanes(array)))
    _inside(array, index, n)
    vector, stored = splat(array, 0), array[index : index + n]
    if array.dtype == np.uint16:
        stored = stored.view(np.float16)
    elif array.dtype == np.int16:
        stored = (stored.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
    vector[:n] = stored
    return vector


def store(array, index, vector, n):
    n = max(0, min(n, lanes(array)))
    _inside(array, index, n)
    values = vector[:n]
    if array.dtype == np.uint16:
        values = values.astype(np.float16).view(np.uint16)
    elif array.dtype == np.int16:
        word = values.view(np.uint32)
        rounded = word + ((word >> np.uint32(16)) & np.uint32(1)) + np.uint32(0x7FFF)
        kept = np.where(np.isnan(values), word | np.uint32(0x400000), rounded)
        values = (kept >> np.uint32(16)).astype(np.uint16).view(np.int16)
    array[index : index + n] = values


def stream(array, index, vector):
    size = lanes(array) * array.itemsize
    if (address(array) + index * array.itemsize) % size:
        raise ValueError(f"element {index} is not aligned to {size} bytes")
    store(array, index, vector, vector.size)


def prefetch(array, index):
    _inside(array, 0, 0)


def address(array):
    return array.ctypes.data


for _function in (lanes, computed, splat, muladd, keep_first, total, load, store, stream, prefetch, address):
    setattr(simd, _function.__name__, _function)
# what is tested at this size takes a hundred times as long here
simd.STREAMED = 1 << 18


# --- exp --------------------------------------------------------------------------------------------------------------

import normkit.math.exp as exp_module  # noqa: E402 - before those that take its functions


def _typed(overload):
    def call(x):
        return overload(numba.typeof(x))(x)

    return call


def _bits_to_float(bits):
    return np.array(bits).view({4: np.float32, 8: np.float64}[np.dtype(type(bits)).itemsize])[()]


exp_module._round = np.rint
exp_module._bits_to_float = _bits_to_float
exp_module._parts = _typed(exp_module._parts_overload)
exp_module.exp = _typed(exp_module._exp_overload)
exp_module.expm1 = _typed(exp_module._expm1_overload)

# --- the engine -------------------------------------------------------------------------------------------------------

from normkit.engine import blas, exchange, rows, sync  # noqa: E402


def _matrix(array, transposed, m, n, leading):
    """Return op(A), (m, n), of a flat array that holds A in columns."""
    height, width = (n, m) if transposed else (m, n)
    if height and width:
        _inside(array, 0, leading * (width - 1) + height)
    matrix = as_strided(array, (height, width), (array.itemsize, leading * array.itemsize))
    return matrix.T if transposed else matrix


def _gemm(transpose_a, transpose_b, m, n, k, a, lda, b, ldb, c, ldc):
    first, second = _matrix(a, transpose_a == ord("t"), m, k, lda), _matrix(b, transpose_b == ord("t"), k, n, ldb)
    _matrix(c, False, m, n, ldc)[...] = first @ second


def _add(array, index, value):
    with _lock:
        before = array[index]
        array[index] += value
    return before


def _pointer(kind):
    return lambda address: ctypes.cast(int(address), ctypes.POINTER(kind))


blas._gemm = _gemm
sync._load = lambda array, index: array[index]
sync._store = lambda array, index, value: array.__setitem__(index, value)
sync._add = _add
sync._relax = lambda: None
sync._give_way = lambda: time.sleep(0)
rows._float32_at, rows._float64_at, rows._uint8_at = map(_pointer, (ctypes.c_float, ctypes.c_double, ctypes.c_uint8))
rows._int32_at, rows._int64_at = _pointer(ctypes.c_int32), _pointer(ctypes.c_int64)
rows._prefetch_line = lambda address: None
exchange.call_exchange = lambda address, stage, block: exchange._Function(address)(stage, block) != 0

from normkit.engine import norms  # noqa: E402

norms._multiply_add = lambda a, b, c: a * b + c


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    if not numba.config.DISABLE_JIT:
        raise pytest.UsageError("set NUMBA_DISABLE_JIT=1: compiled code cannot call what stands in for intrinsics")
    # registers overflow in silence, NumPy's scalars warn
    config.addinivalue_line("filterwarnings", "ignore::RuntimeWarning")
