"""exp for float32 and float64 that the loop vectorizer understands; no vector math library is needed.

exp(x) = 2**n * exp(r), n = round(x / ln 2), |r| <= ln(2) / 2, with ln 2 subtracted in two parts (Cody and Waite)
and exp(r) as a polynomial. 2**n is put together from the bits of its exponent.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

_LOG2E = 1.4426950408889634
_JIT = {"fastmath": {"contract", "arcp", "nsz"}, "error_model": "numpy", "inline": "always"}


@intrinsic
def _bits_to_float(context, bits):
    result = {types.int32: types.float32, types.int64: types.float64}[bits]

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(result))

    return result(bits), codegen


@intrinsic
def _round(context, x):
    def codegen(context, builder, signature, arguments):
        kind = ir.FloatType() if x == types.float32 else ir.DoubleType()
        return builder.call(builder.module.declare_intrinsic("llvm.rint", [kind]), [arguments[0]])

    return x(x), codegen


def exp(x):
    """Return e**x for a float32 or float64 scalar, inside compiled code."""
    return np.exp(x)


@overload(exp, jit_options=_JIT)
def _exp(x):
    if x == types.float32:
        f = np.float32
        high, low, log2e, zero = f(0.693359375), f(-2.12194440e-4), f(_LOG2E), f(0)
        bottom, top, one, infinity = f(-87.3), f(88.72), f(1), f(np.inf)
        c5, c4, c3 = f(1.9875691500e-4), f(1.3981999507e-3), f(8.3334519073e-3)
        c2, c1, c0 = f(4.1665795894e-2), f(1.6666665459e-1), f(5.0000001201e-1)

        def exp32(x):
            clipped = min(max(x, bottom), top)
            n = _round(clipped * log2e)
            r = (clipped - n * high) - n * low
            p = ((((c5 * r + c4) * r + c3) * r + c2) * r + c1) * r + c0
            # 2**128 has no exponent bits of its own: two factors
            half = np.int32(n) >> np.int32(1)
            rest = np.int32(n) - half
            a = _bits_to_float(np.int32((half + np.int32(127)) << np.int32(23)))
            b = _bits_to_float(np.int32((rest + np.int32(127)) << np.int32(23)))
            y = (p * r * r + r + one) * a * b
            y = zero if x < bottom else (infinity if x > top else y)
            return y if x == x else x

        return exp32
    if x == types.float64:

        def exp64(x):
            clipped = min(max(x, -708.0), 709.7)
            n = _round(clipped * 1.4426950408889634)
            r = (clipped - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10
            # Taylor to degree 13: remainder 4e-18 at ln(2) / 2
            p = 1.6059043836821613e-10
            p = p * r + 2.08767569878681e-09
            p = p * r + 2.505210838544172e-08
            p = p * r + 2.755731922398589e-07
            p = p * r + 2.7557319223985893e-06
            p = p * r + 2.48015873015873e-05
            p = p * r + 1.984126984126984e-04
            p = p * r + 1.388888888888889e-03
            p = p * r + 8.333333333333333e-03
            p = p * r + 4.1666666666666664e-02
            p = p * r + 1.6666666666666666e-01
            p = p * r + 0.5
            half = np.int64(n) >> 1
            rest = np.int64(n) - half
            y = (p * r * r + r + 1.0) * _bits_to_float((half + 1023) << 52) * _bits_to_float((rest + 1023) << 52)
            y = 0.0 if x < -708.0 else (np.inf if x > 709.7 else y)
            return y if x == x else x

        return exp64
    return None
