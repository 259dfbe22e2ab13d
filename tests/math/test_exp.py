"""exp and expm1 in units in the last place, over the whole range and at its ends."""

import numba
import numpy as np
import pytest

from normkit._jit import entry
from normkit.math import exp as module
from normkit.math.exp import exp, expm1

# uncompiled, a number takes a thousand times as long
POINTS = 1_000 if numba.config.DISABLE_JIT else 400_000


def points(first, last, share=1.0):
    return np.linspace(first, last, int(share * POINTS) + 1)


# compiled with the flags of every kernel, which permit to reorder sums: exp must keep its own
@entry
def exp_loop(x, y):
    for i in range(x.size):
        y[i] = exp(x[i])


@entry
def expm1_loop(x, y):
    for i in range(x.size):
        y[i] = expm1(x[i])


def apply(loop, x):
    y = np.empty_like(x)
    loop(x, y)
    return y


def ulps(got, exact):
    """Distance in units in the last place of got's type; exact has more digits."""
    rounded = np.abs(exact.astype(got.dtype))
    return np.max(np.abs(got - exact) / np.spacing(rounded))


# A polynomial of degree 6 or 13, three products and a sum: one unit and a little. float64 is compared with
# the C library's long double where that is wider, else with its float64, correct to one unit itself.
LIMITS = [
    (np.float32, np.float64, module.BOTTOM32, module.TOP32, 1.1),
    (np.float64, np.longdouble, module.BOTTOM64, module.TOP64, 2.0),
]


@pytest.mark.parametrize("dtype, wider, bottom, top, limit", LIMITS)
def test_exp(dtype, wider, bottom, top, limit):
    x = np.concatenate([points(bottom, top), points(-1, 1, 0.25)]).astype(dtype)
    x = x[(x >= dtype(bottom)) & (x <= dtype(top))]
    assert ulps(apply(exp_loop, x), np.exp(x.astype(wider))) <= limit


@pytest.mark.parametrize("dtype, wider, bottom, top, limit", LIMITS)
def test_expm1(dtype, wider, bottom, top, limit):
    tiny = -(10.0 ** points(-37, 0, 0.25))
    x = np.concatenate([points(bottom, top), points(-2, 2, 0.25), tiny, -tiny])
    x = np.minimum(x.astype(dtype), dtype(top))
    # one more sum than exp
    assert ulps(apply(expm1_loop, x), np.expm1(x.astype(wider))) <= limit + 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_values(dtype):
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e4, -1e4], dtype)
    np.testing.assert_array_equal(apply(exp_loop, x), [1, 1, np.inf, 0, np.nan, np.inf, 0, np.inf, 0])
    np.testing.assert_array_equal(apply(expm1_loop, x), [0, 0, np.inf, -1, np.nan, np.inf, -1, np.inf, -1])


@pytest.mark.parametrize("dtype, wider, bottom, top, limit", LIMITS)
def test_the_ends_of_the_range(dtype, wider, bottom, top, limit):
    bottom, top = dtype(bottom), dtype(top)
    above, below = np.nextafter(top, dtype(np.inf)), np.nextafter(bottom, dtype(-np.inf))
    edge = np.array([bottom, top], dtype)
    assert ulps(apply(exp_loop, edge), np.exp(edge.astype(wider))) <= limit
    with np.errstate(over="ignore", under="ignore"):
        # top is the last number whose exponential is finite, bottom the last with a normal one
        assert np.isfinite(np.exp(top)) and np.isinf(np.exp(above))
        assert np.exp(bottom.astype(wider)) >= np.finfo(dtype).tiny > np.exp(below.astype(wider))
    np.testing.assert_array_equal(apply(exp_loop, np.array([above, below], dtype)), [np.inf, 0])
    np.testing.assert_array_equal(apply(expm1_loop, np.array([above, below], dtype)), [np.inf, -1])


def test_outside_compiled_code():
    assert exp(1.0) == np.exp(1.0) and expm1(1e-9) == np.expm1(1e-9)
