"""exp and expm1 for float32 and float64 that the loop vectorizer understands, without a vector math library.

x = n ln 2 + r with n = round(x / ln 2) and |r| <= ln(2) / 2, ln 2 subtracted in two parts (Cody and Waite);
exp(r) - 1 is a polynomial, and 2**n is put together from the bits of its exponent. Results below the smallest
normal number are zero: denormal arithmetic is some 100 times slower on some CPUs.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

_LOG2E = 1.4426950408889634
# No "reassoc", which would undo the order of the subtractions, and no inlining before LLVM, which would put
# the caller's flags in the place of these.
_JIT: Any = {"fastmath": {"contract", "arcp", "nsz"}, "error_model": "numpy"}
# ln of the smallest normal and of the largest number, rounded towards zero
BOTTOM32, TOP32 = -87.33654022216797, 88.72283172607422
BOTTOM64, TOP64 = -708.3964185322641, 709.782712893384


def _bits_codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))


def _round_codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    kind = ir.FloatType() if signature.return_type == types.float32 else ir.DoubleType()
    return builder.call(builder.module.declare_intrinsic("llvm.rint", [kind]), [arguments[0]])


def _bits_to_float_typing(context: Any, bits: Any) -> Any:
    result: Any = {types.int32: types.float32, types.int64: types.float64}[bits]
    return result(bits), _bits_codegen


def _round_typing(context: Any, x: Any) -> Any:
    return x(x), _round_codegen


_bits_to_float: Any = intrinsic(_bits_to_float_typing)
_round: Any = intrinsic(_round_typing)


def exp(x: Any) -> Any:
    """Return e**x for a float32 or float64 scalar, inside compiled code."""
    return np.exp(x)


def expm1(x: Any) -> Any:
    """Return e**x - 1 without cancellation for a float32 or float64 scalar, inside compiled code."""
    return np.expm1(x)


def _parts(x: Any) -> Any:
    """Return q, a, b, 1 / b with e**x = (1 + q) * a * b; two factors, for 2**1024 has no bits of its own."""
    raise NotImplementedError("compiled code only")


@overload(_parts, jit_options=_JIT)
def _parts_overload(x):
    if x == types.float32:
        f = np.float32
        high, low, log2e, bottom, top = f(0.693359375), f(-2.12194440e-4), f(_LOG2E), f(BOTTOM32), f(TOP32)
        c5, c4, c3 = f(1.9875691500e-4), f(1.3981999507e-3), f(8.3334519073e-3)
        c2, c1, c0 = f(4.1665795894e-2), f(1.6666665459e-1), f(5.0000001201e-1)
        shift, bias = np.int32(23), np.int32(127)

        def parts32(x):
            clipped = min(max(x, bottom), top)
            n = _round(clipped * log2e)
            r = (clipped - n * high) - n * low
            p = ((((c5 * r + c4) * r + c3) * r + c2) * r + c1) * r + c0
            half = np.int32(n) >> np.int32(1)
            rest = np.int32(n) - half
            a = _bits_to_float(np.int32((half + bias) << shift))
            b = _bits_to_float(np.int32((rest + bias) << shift))
            inverse = _bits_to_float(np.int32((bias - rest) << shift))
            return p * r * r + r, a, b, inverse

        return parts32
    if x == types.float64:

        def parts64(x):
            clipped = min(max(x, BOTTOM64), TOP64)
            n = _round(clipped * _LOG2E)
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
            a, b = _bits_to_float((half + 1023) << 52), _bits_to_float((rest + 1023) << 52)
            return p * r * r + r, a, b, _bits_to_float((1023 - rest) << 52)

        return parts64
    return None


def _limits(x: Any) -> Any:
    """Return bottom, top, 0, 1 and infinity in the type of x; None for a type that is not supported."""
    kinds = {types.float32: (np.float32, BOTTOM32, TOP32), types.float64: (np.float64, BOTTOM64, TOP64)}
    if x not in kinds:
        return None
    kind, bottom, top = kinds[x]
    return kind(bottom), kind(top), kind(0), kind(1), kind(np.inf)


@overload(exp, jit_options=_JIT)
def _exp_overload(x):
    if (limits := _limits(x)) is None:
        return None
    bottom, top, zero, one, infinity = limits

    def compiled(x):
        q, a, b, _ = _parts(x)
        y = (q + one) * a * b
        y = zero if x < bottom else (infinity if x > top else y)
        return y if x == x else x

    return compiled


@overload(expm1, jit_options=_JIT)
def _expm1_overload(x):
    if (limits := _limits(x)) is None:
        return None
    _, top, _, one, infinity = limits

    def compiled(x):
        q, a, b, inverse = _parts(x)
        y = (q * a + (a - inverse)) * b  # 1 / b is subtracted before the sum can overflow
        y = infinity if x > top else y
        return y if x == x else x

    return compiled
