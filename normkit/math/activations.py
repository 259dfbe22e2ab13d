"""Activations: a pair of scalar formulas each, and the registry that gives each its code.

The first of a pair is a = f(z). The second is d * f'(z): it sees the activation's input z and its output a, and may
use whichever is cheaper. A new activation is such a pair and one row in `FORMULAS`; its code is its place there. The
forms are those that do not cancel: expm1 near zero, erfc in gelu's left tail.
"""

import math

from normkit._jit import leaf
from normkit.math.exp import exp, expm1

LEAKY_SLOPE = 0.01
# Klambauer et al. 2017, arXiv:1706.02515
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def _identity(z):
    return z


def _identity_backward(z, a, d):
    return d


def _logistic(z):
    one = type(z)(1)
    return one / (one + exp(-z))


def _logistic_backward(z, a, d):
    return d * (a * (type(z)(1) - a))


def tanh(z):
    """Return the hyperbolic tangent, that of the activation and of dynamic tanh."""
    t = type(z)
    e = expm1(-t(2) * abs(z))
    s = -e / (e + t(2))
    return -s if z < t(0) else s


def _tanh_backward(z, a, d):
    return d * (type(z)(1) - a * a)


def _relu(z):
    zero = type(z)(0)
    return zero if z < zero else z  # NaN stays NaN


def _relu_backward(z, a, d):
    zero = type(z)(0)
    return zero if a == zero else d


def _elu(z):
    return z if z > type(z)(0) else expm1(z)


def _elu_backward(z, a, d):
    t = type(z)
    return d * (t(1) if a > t(0) else a + t(1))


def _leaky_relu(z):
    t = type(z)
    return z if z > t(0) else t(LEAKY_SLOPE) * z


def _leaky_relu_backward(z, a, d):
    t = type(z)
    return d * (t(1) if a > t(0) else t(LEAKY_SLOPE))


def _selu(z):
    t = type(z)
    return t(SELU_SCALE) * z if z > t(0) else t(SELU_SCALE * SELU_ALPHA) * expm1(z)


def _selu_backward(z, a, d):
    t = type(z)
    return d * (t(SELU_SCALE) if a > t(0) else a + t(SELU_SCALE * SELU_ALPHA))


def _gelu(z):
    t = type(z)
    return t(0.5) * z * t(math.erfc(-z * t(math.sqrt(0.5))))


def _gelu_backward(z, a, d):
    t = type(z)
    half, root, density = t(0.5), t(math.sqrt(0.5)), t(1 / math.sqrt(2 * math.pi))
    return d * (half * t(math.erfc(-z * root)) + z * density * exp(-half * z * z))


def _silu(z):
    return z / (type(z)(1) + exp(-z))


def _silu_backward(z, a, d):
    one = type(z)(1)
    s = one / (one + exp(-z))
    return d * (s * (one + z * (one - s)))


def _softplus(z):
    t = type(z)
    return max(z, t(0)) + t(math.log1p(exp(-abs(z))))


def _softplus_backward(z, a, d):
    one = type(z)(1)
    return d * (one / (one + exp(-z)))


FORMULAS = {
    "identity": (_identity, _identity_backward),
    "logistic": (_logistic, _logistic_backward),
    "tanh": (tanh, _tanh_backward),
    "relu": (_relu, _relu_backward),
    "elu": (_elu, _elu_backward),
    "leaky_relu": (_leaky_relu, _leaky_relu_backward),
    "selu": (_selu, _selu_backward),
    "gelu": (_gelu, _gelu_backward),
    "silu": (_silu, _silu_backward),
    "softplus": (_softplus, _softplus_backward),
}
CODES = {name: code for code, name in enumerate(FORMULAS)}


# One compiled function chooses among the loops. Each link of the chain knows its code as a constant, and has a loop of
# its own with its formula in it, which is what lets the compiler vectorize it.


def _forward_link(code, formula, rest):
    formula = leaf(formula)

    @leaf
    def activate(k, z, a):
        if k == code:
            for i in range(z.size):
                a[i] = formula(z[i])
        else:
            rest(k, z, a)

    return activate


def _backward_link(code, formula, rest):
    formula = leaf(formula)

    @leaf
    def activate_backward(k, z, a, d):
        if k == code:
            for i in range(d.size):
                d[i] = formula(z[i], a[i], d[i])
        else:
            rest(k, z, a, d)

    return activate_backward


@leaf
def activate(code, z, a):  # scalar, (n,), (n,); a may be z
    """Write a = f(z), element by element; nothing for a code that is not there."""


@leaf
def activate_backward(code, z, a, d):  # scalar, three (n,)
    """Multiply d by f'(z), element by element; nothing for a code that is not there."""


for _code, (_forward, _backward) in reversed(list(enumerate(FORMULAS.values()))):
    activate = _forward_link(_code, _forward, activate)
    activate_backward = _backward_link(_code, _backward, activate_backward)
