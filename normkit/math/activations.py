"""Activations: value and derivative as scalar formulas, and the registry that gives each its code.

A derivative sees the activation's input z and its output a, and may use whichever is cheaper. A new
activation is one pair of formulas here, one row in `CODES` and one branch in each of `activate` and
`activate_backward`. The forms are those that do not cancel: expm1 near zero, erfc in gelu's left tail.
"""

import math

import numpy as np

from normkit._jit import leaf
from normkit.math.exp import exp, expm1

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
    """Write a = f(z), element by element."""
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
        for i in range(n):
            v = z[i]
            e = expm1(-two * abs(v))
            s = -e / (e + two)
            a[i] = -s if v < zero else s
    elif code == 3:
        for i in range(n):
            v = z[i]
            a[i] = zero if v < zero else v  # NaN stays NaN
    elif code == 4:
        for i in range(n):
            v = z[i]
            a[i] = v if v > zero else expm1(v)
    elif code == 5:
        slope = t(LEAKY_SLOPE)
        for i in range(n):
            v = z[i]
            a[i] = v if v > zero else slope * v
    elif code == 6:
        scale, bend = t(SELU_SCALE), t(SELU_SCALE * SELU_ALPHA)
        for i in range(n):
            v = z[i]
            a[i] = scale * v if v > zero else bend * expm1(v)
    elif code == 7:
        half, root = t(0.5), t(math.sqrt(0.5))
        for i in range(n):
            v = z[i]
            a[i] = half * v * t(math.erfc(-v * root))
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
    """Multiply d by f'(z), element by element."""
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
            d[i] *= half * t(math.erfc(-v * root)) + v * density * exp(-half * v * v)
    elif code == 8:
        for i in range(n):
            v = z[i]
            s = one / (one + exp(-v))
            d[i] *= s * (one + v * (one - s))
    else:
        for i in range(n):
            d[i] *= one / (one + exp(-z[i]))
