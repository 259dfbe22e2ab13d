"""A pytest plugin (``-p uncompiled``, with tests on the path): the compiled engine as plain Python, slow.

For what has to see the lines of compiled functions, coverage and mutants, with ``NUMBA_DISABLE_JIT=1``. Numba's
intrinsics have no Python in them; these stand in for them. One thread only: atomics are none here.
"""

import ctypes

import numba
import numpy as np

from normkit.engine import blas, epoch, norms, rows, sync


def gemm(transpose_a, transpose_b, m, n, k, a, lda, b, ldb, c, ldc):
    """Column-major C = op(A) op(B), as BLAS has it; matrices begin where the flat arrays do."""

    def view(flat, transposed, rows, columns, stride):
        rows, columns = (columns, rows) if transposed == ord("t") else (rows, columns)
        step = flat.itemsize
        matrix = np.lib.stride_tricks.as_strided(flat, (rows, columns), (step, stride * step))
        return matrix.T if transposed == ord("t") else matrix

    view(c, ord("n"), m, n, ldc)[...] = view(a, transpose_a, m, k, lda) @ view(b, transpose_b, k, n, ldb)


def reader(kind):
    return lambda address: ctypes.cast(int(address), ctypes.POINTER(kind))


def load(array, index):
    return array[index]


def store(array, index, value):
    array[index] = value


def add(array, index, value):
    array[index] += value
    return array[index] - value


def call_exchange(address, stage, block):
    return bool(ctypes.CFUNCTYPE(*[ctypes.c_int64] * 3)(int(address))(int(stage), int(block)))


if not numba.config.DISABLE_JIT:
    raise RuntimeError("NUMBA_DISABLE_JIT=1 is what this plugin is for")
blas._gemm = gemm
epoch.call_exchange = call_exchange
norms._multiply_add = lambda a, b, c: a * b + c
rows._prefetch_line = lambda address: None
for name, kind in {
    "_float32_at": ctypes.c_float, "_float64_at": ctypes.c_double, "_uint8_at": ctypes.c_uint8,
    "_int32_at": ctypes.c_int32, "_int64_at": ctypes.c_int64,
}.items():  # fmt: skip
    setattr(rows, name, reader(kind))
sync._load, sync._store, sync._add = load, store, add
sync._relax = sync._give_way = lambda: None
