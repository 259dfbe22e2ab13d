"""layer_norm and layer_norm_backward against the reference."""

import numpy as np
import pytest

from normkit import layer_norm, layer_norm_backward, reference

# As for batch_norm: one rounding to float32 at the end; float64 sums of up to 2400 values.
TOLERANCES = [(np.float32, 2.0**-24), (np.float64, 1e-12)]
SHAPES = [
    ((1, 3), -1),
    ((7, 1), -1),
    ((65, 33), 1),
    ((11,), 0),
    ((40, 30), 0),
    ((4, 5, 6), 1),
    ((4, 5, 6), (1, 2)),
    ((4, 5, 6), (2, 0)),
    ((4, 5, 6), (0, 1, 2)),
    ((3, 4, 5, 6), (-1, 1)),
    ((2, 3, 4, 3, 2), (1, 3)),
    ((2, 3, 4, 3, 2), -3),
]


def axes_of(shape, axis):
    return tuple(sorted(i % len(shape) for i in (axis if isinstance(axis, tuple) else (axis,))))


def data(shape, axis, dtype, seed=0):
    rng = np.random.default_rng(seed)
    x = (3 * rng.normal(size=shape) + 2).astype(dtype)
    dy = rng.normal(size=shape).astype(dtype)
    gamma, beta = rng.normal(size=(2, *(shape[i] for i in axes_of(shape, axis))))
    return x, dy, gamma, beta


def wide(*arrays):
    return [a.astype(np.float64) for a in arrays]


@pytest.mark.parametrize("dtype, rtol", TOLERANCES)
@pytest.mark.parametrize("shape, axis", SHAPES)
def test_forward(shape, axis, dtype, rtol, path):
    x, _, gamma, beta = data(shape, axis, dtype)
    axes = axes_of(shape, axis)
    y, mean, rstd = layer_norm(x, gamma, beta, axis=axis, epsilon=0.1, return_stats=True)
    assert y.dtype == dtype and mean.dtype == rstd.dtype == np.float64
    np.testing.assert_allclose(y, reference.layer_norm(*wide(x), gamma, beta, axes, 0.1), rtol=rtol, atol=1e-12)
    kept = tuple(shape[i] for i in reference.other_axes(x.ndim, axes))
    assert mean.shape == rstd.shape == kept
    expected_mean, expected_rstd = reference.statistics(*wide(x), axes, 0.1)
    np.testing.assert_allclose(mean, expected_mean.reshape(kept), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(rstd, expected_rstd.reshape(kept), rtol=1e-13)


@pytest.mark.parametrize("dtype, rtol", TOLERANCES)
@pytest.mark.parametrize("shape, axis", SHAPES)
def test_backward(shape, axis, dtype, rtol, path):
    x, dy, gamma, beta = data(shape, axis, dtype)
    _, mean, rstd = layer_norm(x, gamma, beta, axis=axis, epsilon=0.1, return_stats=True)
    gradients = layer_norm_backward(dy, x, gamma, mean, rstd, axis=axis)
    expected = reference.layer_norm_backward(*wide(dy, x), gamma, axes_of(shape, axis), 0.1)
    for got, want in zip(gradients, expected, strict=True):
        assert got.dtype == dtype and got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("shape, axis", [((4, 5), -1), ((2, 3, 4), (0, 2))])
def test_gradient_is_the_derivative_of_the_function(shape, axis):
    x, dy, gamma, beta = data(shape, axis, np.float64)
    _, mean, rstd = layer_norm(x, gamma, beta, axis=axis, return_stats=True)
    gradients = layer_norm_backward(dy, x, gamma, mean, rstd, axis=axis)
    values, h = [x, gamma, beta], 1e-5
    for which, gradient in enumerate(gradients):
        for index in np.ndindex(gradient.shape):
            losses = []
            for step in (h, -h):
                moved = [v.copy() for v in values]
                moved[which][index] += step
                losses.append((dy * layer_norm(*moved, axis=axis)).sum())
            # central differences: h**2 of truncation, 1e-15 / h of rounding
            assert gradient[index] == pytest.approx((losses[0] - losses[1]) / (2 * h), rel=1e-6, abs=1e-8)


def test_defaults():
    x, dy, _, _ = data((8, 3), -1, np.float64)
    np.testing.assert_array_equal(layer_norm(x), layer_norm(x, np.ones(3), np.zeros(3), axis=1, epsilon=1e-3))
    _, mean, rstd = layer_norm(x, return_stats=True)
    for got, want in zip(
        layer_norm_backward(dy, x, None, mean, rstd),
        layer_norm_backward(dy, x, np.ones(3), mean, rstd),
        strict=True,
    ):
        np.testing.assert_array_equal(got, want)


def test_a_tuple_of_axes_in_any_order_is_the_flattened_axis():
    x, _, gamma, beta = data((5, 3, 4), (1, 2), np.float64)
    flat = layer_norm(x.reshape(5, 12), gamma.ravel(), beta.ravel())
    for axes in ((1, 2), (2, 1), (-1, 1)):
        np.testing.assert_array_equal(layer_norm(x, gamma, beta, axis=axes).reshape(5, 12), flat)


def test_large_mean_in_float32(path):
    x, dy, gamma, beta = data((50, 400), -1, np.float32)
    x = (x + 1e6).astype(np.float32)
    y, mean, rstd = layer_norm(x, gamma, beta, return_stats=True)
    # against the float64 result for the same float32 numbers: nothing is lost beyond the last rounding
    np.testing.assert_allclose(y, reference.layer_norm(*wide(x), gamma, beta), rtol=1e-6, atol=1e-7)
    dx, _, _ = layer_norm_backward(dy, x, gamma, mean, rstd)
    expected, _, _ = reference.layer_norm_backward(*wide(dy, x), gamma)
    np.testing.assert_allclose(dx, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", [0, -1])
def test_a_bad_value_stays_in_its_row(value, position, path):
    x, dy, gamma, beta = data((70, 5), -1, np.float32)
    good = layer_norm(x, gamma, beta)
    bad = x.copy()
    bad[3, position] = value
    y, mean, rstd = layer_norm(bad, gamma, beta, return_stats=True)
    dx, _, dbeta = layer_norm_backward(dy, bad, gamma, mean, rstd)
    for result in (y, dx):
        assert np.isnan(result[3]).all()
        assert np.isfinite(np.delete(result, 3, axis=0)).all()
    np.testing.assert_array_equal(np.delete(y, 3, axis=0), np.delete(good, 3, axis=0))
    assert np.isfinite(dbeta).all()


def test_a_constant_row_becomes_beta():
    x = np.full((2, 3), 1e8, np.float32)
    np.testing.assert_array_equal(layer_norm(x, beta=np.array([0.5, -3, 1])), np.tile([0.5, -3, 1], (2, 1)))


@pytest.mark.parametrize("shape, axis", [((0, 3), -1), ((3, 0), -1), ((2, 0, 4), (1, 2)), ((2, 0, 4), -1)])
def test_empty(shape, axis):
    x = np.empty(shape, np.float32)
    y, mean, rstd = layer_norm(x, axis=axis, return_stats=True)
    assert y.shape == shape and np.isnan(mean).all() and np.isnan(rstd).all()
    dx, dgamma, dbeta = layer_norm_backward(x, x, None, mean, rstd, axis=axis)
    normalized = tuple(shape[i] for i in axes_of(shape, axis))
    assert dx.shape == shape and dgamma.shape == dbeta.shape == normalized
    assert not dgamma.any() and not dbeta.any()
