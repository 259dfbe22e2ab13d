"""Activations: value and derivative as scalar formulas, and the registry that gives each its code.

A derivative sees the activation's input z and its output a, and may use whichever is cheaper. A new activation
is one pair of formulas here, one row in `CODES` and one branch in each of `activate` and `activate_backward`.
"""

import math

import numpy as np

from normkit._jit import leaf
from normkit.math.exp import exp

CODES = {
    "identity": 0,
    "logistic": 1,
    "tanh": 2,
    "relu": 3,
    "elu": 4,
    "leaky_relu": 5,
    "selu": 6,
    "gelu": 7,
    "silu": 8,
    "softplus": 9,
}

LEAKY_SLOPE = 0.01
# Klambauer et al. 2017, arXiv:1706.02515
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


@leaf
def activate(code, z, a):  # scalar, (n,), (n,); a may be z
    """a = f(z), element by element."""
    t = a.dtype.type
    zero, one, two = t(0), t(1), t(2)
    n = z.size
    if code == 0:
        for i in range(n):
            a[i] = z[i]
    elif code == 1:
        for i in range(n):
            a[i] = one / (one + exp(-z[i]))
    elif code == 2:
        c3, c5, c7, c9 = t(-1 / 3), t(2 / 15), t(-17 / 315), t(62 / 2835)
        c11, small = t(-1382 / 155925), t(0.08)
        for i in range(n):
            v = z[i]
            s = v * v
            # near zero the exponential form cancels, the series does not
            series = v * (one + s * (c3 + s * (c5 + s * (c7 + s * (c9 + s * c11)))))
            full = one - two / (exp(two * v) + one)
            a[i] = series if abs(v) < small else full
    elif code == 3:
        for i in range(n):
            v = z[i]
            a[i] = zero if v < zero else v  # NaN stays NaN
    elif code == 4:
        for i in range(n):
            v = z[i]
            a[i] = v if v > zero else exp(v) - one
    elif code == 5:
        slope = t(LEAKY_SLOPE)
        for i in range(n):
            v = z[i]
            a[i] = v if v > zero else slope * v
    elif code == 6:
        scale, bend = t(SELU_SCALE), t(SELU_SCALE * SELU_ALPHA)
        for i in range(n):
            v = z[i]
            a[i] = scale * v if v > zero else bend * (exp(v) - one)
    elif code == 7:
        for i in range(n):
            v = z[i]
            a[i] = t(0.5) * v * (one + t(math.erf(v * t(math.sqrt(0.5)))))
    elif code == 8:
        for i in range(n):
            v = z[i]
            a[i] = v / (one + exp(-v))
    else:
        for i in range(n):
            v = z[i]
            a[i] = max(v, zero) + t(np.log1p(exp(-abs(v))))


@leaf
def activate_backward(code, z, a, d):  # scalar, three (n,)
    """d *= f'(z), element by element."""
    t = d.dtype.type
    zero, one, half = t(0), t(1), t(0.5)
    n = d.size
    if code == 0:
        return
    if code == 1:
        for i in range(n):
            d[i] *= a[i] * (one - a[i])
    elif code == 2:
        for i in range(n):
            d[i] *= one - a[i] * a[i]
    elif code == 3:
        for i in range(n):
            d[i] = zero if a[i] == zero else d[i]
    elif code == 4:
        for i in range(n):
            d[i] *= one if a[i] > zero else a[i] + one
    elif code == 5:
        slope = t(LEAKY_SLOPE)
        for i in range(n):
            d[i] *= one if a[i] > zero else slope
    elif code == 6:
        scale, bend = t(SELU_SCALE), t(SELU_SCALE * SELU_ALPHA)
        for i in range(n):
            d[i] *= scale if a[i] > zero else a[i] + bend
    elif code == 7:
        root, density = t(math.sqrt(0.5)), t(1 / math.sqrt(2 * math.pi))
        for i in range(n):
            v = z[i]
            d[i] *= half * (one + t(math.erf(v * root))) + v * density * exp(-half * v * v)
    elif code == 8:
        for i in range(n):
            v = z[i]
            s = one / (one + exp(-v))
            d[i] *= s * (one + v * (one - s))
    else:
        for i in range(n):
            d[i] *= one / (one + exp(-z[i]))
