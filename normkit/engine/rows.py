"""Rows of X where they lie: dense of any strides, or CSR, of several dtypes, read one at a time.

The compiled code sees addresses and codes instead of typed arrays. Each combination of dtype, layout and
read-only flag would be a type of its own to the compiler, and cost another compilation of the whole epoch.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from normkit._jit import leaf

_FLOAT32, _FLOAT64, _UINT8 = range(3)
_CODES = {np.dtype(np.float32): _FLOAT32, np.dtype(np.float64): _FLOAT64, np.dtype(np.uint8): _UINT8}
# what X may be; anything else becomes the first
DTYPES = (np.float64, np.float32, np.uint8)


class Rows(NamedTuple):
    """Where the rows lie, in bytes; `values` belong to a CSR matrix if `indptr` is not 0."""

    values: int
    kind: int
    row_stride: int
    column_stride: int
    indptr: int
    indices: int
    wide_index: bool
    scale: float


def rows_of(X, scale=1.0):
    """Describe X, which the caller keeps alive; returns (rows, owner), `owner` is what to keep."""
    if scipy.sparse.issparse(X):
        X = X.tocsr()
        # SciPy keeps the two in one type, but does not insist on it
        index = np.int64 if np.int64 in (X.indices.dtype, X.indptr.dtype) else np.int32
        arrays = ((X.data, X.dtype), (X.indptr, index), (X.indices, index))
        owner = [np.require(array, dtype, ("C", "A")) for array, dtype in arrays]
        address = [a.ctypes.data for a in owner]
        return Rows(address[0], _CODES[X.dtype], 0, 0, address[1], address[2], index is np.int64, float(scale)), owner
    X = np.require(X, None, ["A"])
    row_stride, column_stride = X.strides
    return Rows(X.ctypes.data, _CODES[X.dtype], row_stride, column_stride, 0, 0, False, float(scale)), X


def _pointer(dtype):
    @intrinsic
    def pointer(context, address):
        kind = types.CPointer(dtype)

        def codegen(context, builder, signature, arguments):
            return builder.inttoptr(arguments[0], context.get_value_type(kind))

        return kind(types.int64), codegen

    return pointer


_float32_at, _float64_at, _uint8_at = (_pointer(t) for t in (types.float32, types.float64, types.uint8))
_int32_at, _int64_at = _pointer(types.int32), _pointer(types.int64)


@intrinsic
def _prefetch_line(context, address):
    def codegen(context, builder, signature, arguments):
        pointer, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        read, keep, data = (ir.Constant(word, value) for value in (0, 3, 1))
        builder.call(function, [builder.inttoptr(arguments[0], pointer), read, keep, data])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@leaf
def prefetch_row(rows, k, n):
    """Ask for row k of n values to be brought into cache: rows in random order defeat the hardware's prefetcher."""
    size = 4 if rows.kind == _FLOAT32 else (8 if rows.kind == _FLOAT64 else 1)
    if rows.indptr == 0 and rows.column_stride == size:
        start = rows.values + k * rows.row_stride
        for line in range(start, start + n * size, 64):
            _prefetch_line(line)


@leaf
def _copy(source, scale, out):  # (n,), scalar, (n,)
    t = out.dtype.type
    for i in range(out.size):
        out[i] = t(source[i]) * scale


@leaf(allocates=True)
def _value(kind, address):
    """Read a single value as float64."""
    if kind == _FLOAT32:
        return np.float64(carray(_float32_at(address), (1,))[0])
    if kind == _FLOAT64:
        return carray(_float64_at(address), (1,))[0]
    return np.float64(carray(_uint8_at(address), (1,))[0])


@leaf(allocates=True)
def _index(rows, start, i):
    if rows.wide_index:
        return carray(_int64_at(start + 8 * i), (1,))[0]
    return np.int64(carray(_int32_at(start + 4 * i), (1,))[0])


@leaf(allocates=True)
def read_row(rows, k, out):  # out: (features,)
    """Out = scale * X[k]."""
    t = out.dtype.type
    scale, n = t(rows.scale), out.size
    size = 4 if rows.kind == _FLOAT32 else (8 if rows.kind == _FLOAT64 else 1)
    if rows.indptr != 0:
        for j in range(n):
            out[j] = t(0)
        for p in range(_index(rows, rows.indptr, k), _index(rows, rows.indptr, k + 1)):
            out[_index(rows, rows.indices, p)] += t(_value(rows.kind, rows.values + p * size)) * scale
        return
    start = rows.values + k * rows.row_stride
    if rows.column_stride != size:
        for j in range(n):
            out[j] = t(_value(rows.kind, start + j * rows.column_stride)) * scale
    elif rows.kind == _FLOAT32:
        _copy(carray(_float32_at(start), (n,)), scale, out)
    elif rows.kind == _FLOAT64:
        _copy(carray(_float64_at(start), (n,)), scale, out)
    else:
        _copy(carray(_uint8_at(start), (n,)), scale, out)
