"""Every activation against SciPy in float64: value, derivative, extremes, NaN."""

import numpy as np
import pytest
from scipy import special

from normkit._jit import entry
from normkit.math.activations import CODES, LEAKY_SLOPE, SELU_ALPHA, SELU_SCALE, activate, activate_backward


@entry
def forward(code, z, a):
    activate(code, z, a)


@entry
def backward(code, z, a, d):
    activate_backward(code, z, a, d)


def bell(z):
    return np.exp(-z * z / 2) / np.sqrt(2 * np.pi)


def elu(z, scale=1.0, alpha=1.0):
    return scale * np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))


def elu_slope(z, scale=1.0, alpha=1.0):
    return scale * np.where(z > 0, 1, alpha * np.exp(np.minimum(z, 0)))


VALUES = {
    "identity": lambda z: z,
    "logistic": special.expit,
    "tanh": np.tanh,
    "relu": lambda z: np.where(z < 0, 0, z),
    "elu": elu,
    "leaky_relu": lambda z: np.where(z > 0, z, LEAKY_SLOPE * z),
    "selu": lambda z: elu(z, SELU_SCALE, SELU_ALPHA),
    "gelu": lambda z: z * special.ndtr(z),
    "silu": lambda z: z * special.expit(z),
    "softplus": lambda z: np.logaddexp(0, z),
}
DERIVATIVES = {
    "identity": np.ones_like,
    "logistic": lambda z: special.expit(z) * special.expit(-z),
    "tanh": lambda z: 1 / np.cosh(np.clip(z, -300, 300)) ** 2,
    "relu": lambda z: np.where(z > 0, 1.0, 0.0),
    "elu": elu_slope,
    "leaky_relu": lambda z: np.where(z > 0, 1.0, LEAKY_SLOPE),
    "selu": lambda z: elu_slope(z, SELU_SCALE, SELU_ALPHA),
    "gelu": lambda z: special.ndtr(z) + z * bell(z),
    "silu": lambda z: special.expit(z) * (1 + z * special.expit(-z)),
    "softplus": special.expit,
}
# Some five roundings each, of a value near its result: 4 units relative. The absolute part is the smallest
# normal number (results below it are zero by design) times 100, for z * 0.
VALUE_TOLERANCES = [(np.float32, 5e-7, 2e-36), (np.float64, 2e-15, 3e-306)]
# A derivative may use the output, 1 - a * a or a + 1, which cancels: rounding relative to 1 (to z in silu).
SLOPE_TOLERANCES = [(np.float32, 1e-6, 5e-7), (np.float64, 4e-15, 1e-15)]
# In the tails of gelu and silu the argument's own rounding counts: z**2 / 2 and z units in the exponential.
TAIL = {"gelu": 60, "silu": 10, "logistic": 10, "softplus": 10}


def points(dtype):
    rng = np.random.default_rng(0)
    small = np.logspace(-30, 0, 61)
    x = np.concatenate([rng.normal(0, 3, 1001), small, -small, np.linspace(-9, 9, 181)])
    extreme = np.array([20, 50, 87, 90, 100, 700, 710, 1e3, 1e4])
    return np.concatenate([x, extreme, -extreme]).astype(dtype)


def value(name, z):
    a = np.empty_like(z)
    forward(CODES[name], z, a)
    return a


def slope(name, z, d=None):
    d = np.ones_like(z) if d is None else d.copy()
    backward(CODES[name], z, value(name, z), d)
    return d


def test_the_table_is_complete():
    assert set(VALUES) == set(DERIVATIVES) == set(CODES)


@pytest.mark.parametrize("dtype, rtol, atol", VALUE_TOLERANCES)
@pytest.mark.parametrize("name", CODES)
def test_value(name, dtype, rtol, atol):
    z = points(dtype)
    with np.errstate(under="ignore"):
        expected = VALUES[name](z.astype(np.float64))
    np.testing.assert_allclose(value(name, z), expected, rtol=TAIL.get(name, 1) * rtol, atol=atol)


@pytest.mark.parametrize("dtype, rtol, atol", SLOPE_TOLERANCES)
@pytest.mark.parametrize("name", CODES)
def test_derivative(name, dtype, rtol, atol):
    z = points(dtype)
    with np.errstate(under="ignore"):
        expected = DERIVATIVES[name](z.astype(np.float64))
    np.testing.assert_allclose(slope(name, z), expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", CODES)
def test_derivative_is_that_of_the_value(name):
    z = np.linspace(-6, 6, 240)  # does not hit the kink at 0
    h = 1e-6
    central = (value(name, z + h) - value(name, z - h)) / (2 * h)
    # h**2 of truncation, 6 * 1e-16 / h of rounding
    np.testing.assert_allclose(slope(name, z), central, rtol=1e-8, atol=2e-9)


@pytest.mark.parametrize("name", CODES)
def test_derivative_multiplies(name):
    z = points(np.float64)
    d = np.random.default_rng(1).normal(size=z.size)
    np.testing.assert_allclose(slope(name, z, d), d * slope(name, z), rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CODES)
def test_nan_stays_nan_and_alone(name, dtype):
    z = np.linspace(-2, 2, 37, dtype=dtype)
    z[17] = np.nan
    a = value(name, z)
    assert np.isnan(a[17]) and np.isfinite(np.delete(a, 17)).all()
    d = slope(name, z)
    assert np.isfinite(np.delete(d, 17)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CODES)
def test_in_place(name, dtype):
    z = points(dtype)
    expected = value(name, z)
    forward(CODES[name], z, z)
    np.testing.assert_array_equal(z, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CODES)
def test_extremes_are_finite(name, dtype):
    z = np.array([-1e4, 1e4, -1e3, 1e3], dtype)
    assert np.isfinite(value(name, z)).all() and np.isfinite(slope(name, z)).all()
