"""Matrix products on slices, through the BLAS entry that stands behind ``np.dot`` in compiled code.

``np.dot`` wants whole contiguous operands. Its entry point takes leading dimensions, so that each thread can
multiply its own block of rows, and unlike a function pointer it can be kept in the compilation cache.
"""

import functools
from pathlib import Path

import numpy as np
import scipy.linalg.cython_blas  # the entry point resolves its symbols
import threadpoolctl
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from normkit._jit import leaf


@intrinsic
def _gemm(context, transpose_a, transpose_b, m, n, k, a, lda, b, ldb, c, ldc):
    """Column-major C = op(A) op(B); the arrays are flat and share a dtype."""
    if not (a.dtype == b.dtype == c.dtype) or a.dtype not in (types.float32, types.float64):
        return None
    letter, real = ("s", ir.FloatType()) if a.dtype == types.float32 else ("d", ir.DoubleType())
    signature = types.void(transpose_a, transpose_b, m, n, k, a, lda, b, ldb, c, ldc)

    def codegen(context, builder, signature, arguments):
        trans_a, trans_b, m, n, k, _, lda, _, ldb, _, ldc = arguments
        char, size = ir.IntType(8), ir.IntType(64)
        pointer = char.as_pointer()
        kinds = [char] * 3 + [size] * 3 + [pointer, pointer, size, pointer, size, pointer, pointer, size]
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.IntType(32), kinds), "numba_xxgemm"
        )
        one, zero = (
            builder.bitcast(cgutils.alloca_once_value(builder, ir.Constant(real, value)), pointer)
            for value in (1.0, 0.0)
        )
        a, b, c = (
            builder.bitcast(context.make_array(signature.args[i])(context, builder, arguments[i]).data, pointer)
            for i in (5, 7, 9)
        )
        trans_a, trans_b = builder.trunc(trans_a, char), builder.trunc(trans_b, char)
        kind = ir.Constant(char, ord(letter))
        builder.call(function, [kind, trans_a, trans_b, m, n, k, one, a, lda, b, ldb, zero, c, ldc])
        return context.get_dummy_value()

    return signature, codegen


# OpenBLAS multiplies matrices of up to this many multiply-adds without packing them first, where it has AVX-512
# kernels for that. A large product taken as blocks of this size runs 15 to 25 % sooner (float32 and float64,
# 16 to 128 rows of 64 to 784 columns, inner dimension 8 to 784), a product with 8 columns 2.4 times.
_SMALL = 1_000_000
_SMALL_KERNELS = ("SkylakeX", "Cooperlake", "SapphireRapids")


@functools.cache
def small_product():
    """Return the multiply-adds of a product that the loaded BLAS computes without packing; 0 if it does not."""
    path = Path(scipy.linalg.cython_blas.__file__).parents[2]
    found = [
        library
        for library in threadpoolctl.threadpool_info()
        if library["internal_api"] == "openblas" and path in Path(library["filepath"]).parents
    ]
    return _SMALL if found and all(library.get("architecture") in _SMALL_KERNELS for library in found) else 0


@leaf
def _block(small, m, n, k, transpose_b):
    """Return (rows, columns) of the blocks in which a product is taken."""
    columns = n if 16 * n * k <= small else small // (16 * k) // 64 * 64
    # with B transposed every element is a scalar product, for which the kernels want a long inner dimension
    if m * n * k <= small or columns == 0 or (transpose_b and k < 256):
        return m, max(n, 1)  # a process that trains with others may have no samples of a batch
    return small // (columns * k) // 16 * 16, columns


@leaf
def matmul(small, a, b, c, lda, ldb, ldc, m, n, k, transpose_a, transpose_b):
    """Row-major C (m, n) = op(A) (m, k) @ op(B) (k, n), each given as a flat array and its row length.

    `small` is `small_product()`, handed down because compiled code outlives the process.
    """
    yes, no = np.int64(116), np.int64(110)  # ord("t"), ord("n")
    rows, columns = _block(small, m, n, k, transpose_b)
    # a panel of B stays in second-level cache while the rows of A pass by
    for j in range(0, n, columns):
        for i in range(0, m, rows):
            _gemm(
                yes if transpose_b else no, yes if transpose_a else no, min(columns, n - j), min(rows, m - i), k,
                b[j * ldb if transpose_b else j :], ldb, a[i if transpose_a else i * lda :], lda, c[i * ldc + j :], ldc,
            )  # fmt: skip
