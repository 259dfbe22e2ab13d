"""Matrix products on slices, through the BLAS entry that stands behind ``np.dot`` in compiled code.

``np.dot`` wants whole contiguous operands. Its entry point takes leading dimensions, so that each thread can
multiply its own block of rows, and unlike a function pointer it can be kept in the compilation cache.
"""

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  (the entry point resolves its symbols)
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
        kinds = [
            char,
            char,
            char,
            size,
            size,
            size,
            pointer,
            pointer,
            size,
            pointer,
            size,
            pointer,
            pointer,
            size,
        ]
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


@leaf
def matmul(a, b, c, lda, ldb, ldc, m, n, k, transpose_a, transpose_b):
    """Row-major C (m, n) = op(A) (m, k) @ op(B) (k, n), each given as a flat array and its row length."""
    yes, no = np.int64(116), np.int64(110)  # ord("t"), ord("n")
    _gemm(yes if transpose_b else no, yes if transpose_a else no, n, m, k, b, ldb, a, lda, c, ldc)
