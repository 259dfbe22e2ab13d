"""batch_norm and batch_norm_backward against the reference."""

import numpy as np
import pytest

from normkit import batch_norm, batch_norm_backward, reference

# float32: the kernels compute in float64 and round once, to half a unit in the last place (2**-24, relative).
# float64: sums of up to 2400 values, a few dozen roundings each.
TOLERANCES = [(np.float32, 2.0**-24), (np.float64, 1e-12)]
SHAPES = [
    ((1, 3), -1),
    ((7, 5), -1),
    ((65, 33), 1),
    ((11,), 0),
    ((40, 30), 0),
    ((4, 5, 6), 1),
    ((4, 5, 6), -2),
    ((4, 1, 6), 1),
    ((3, 4, 5, 6), 1),
    ((3, 4, 5, 6), -1),
    ((2, 3, 4, 3, 2), 2),
    ((2, 3, 4, 1, 1), 2),
]


def data(shape, axis, dtype, seed=0):
    rng = np.random.default_rng(seed)
    x = (3 * rng.normal(size=shape) + 2).astype(dtype)
    dy = rng.normal(size=shape).astype(dtype)
    gamma, beta = rng.normal(size=(2, shape[axis]))
    return x, dy, gamma, beta


def wide(*arrays):
    return [a.astype(np.float64) for a in arrays]


@pytest.mark.parametrize("dtype, rtol", TOLERANCES)
@pytest.mark.parametrize("shape, axis", SHAPES)
def test_forward(shape, axis, dtype, rtol, path):
    x, _, gamma, beta = data(shape, axis, dtype)
    y, mean, rstd = batch_norm(x, gamma, beta, axis=axis, epsilon=0.1, return_stats=True)
    assert y.dtype == dtype and mean.dtype == rstd.dtype == np.float64
    np.testing.assert_allclose(y, reference.batch_norm(*wide(x), gamma, beta, axis, 0.1), rtol=rtol, atol=1e-12)
    axes = reference.other_axes(x.ndim, (axis % x.ndim,))
    expected_mean, expected_rstd = reference.statistics(*wide(x), axes, 0.1)
    np.testing.assert_allclose(mean, expected_mean.ravel(), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(rstd, expected_rstd.ravel(), rtol=1e-13)


@pytest.mark.parametrize("dtype, rtol", TOLERANCES)
@pytest.mark.parametrize("shape, axis", SHAPES)
def test_backward(shape, axis, dtype, rtol, path):
    x, dy, gamma, beta = data(shape, axis, dtype)
    _, mean, rstd = batch_norm(x, gamma, beta, axis=axis, epsilon=0.1, return_stats=True)
    gradients = batch_norm_backward(dy, x, gamma, mean, rstd, axis=axis)
    expected = reference.batch_norm_backward(*wide(dy, x), gamma, axis, 0.1)
    for got, want in zip(gradients, expected, strict=True):
        assert got.dtype == dtype and got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("shape, axis", [((6, 3), -1), ((2, 3, 4), 1)])
def test_gradient_is_the_derivative_of_the_function(shape, axis):
    x, dy, gamma, beta = data(shape, axis, np.float64)
    _, mean, rstd = batch_norm(x, gamma, beta, axis=axis, return_stats=True)
    gradients = batch_norm_backward(dy, x, gamma, mean, rstd, axis=axis)
    values, h = [x, gamma, beta], 1e-5
    for which, gradient in enumerate(gradients):
        for index in np.ndindex(gradient.shape):
            losses = []
            for step in (h, -h):
                moved = [v.copy() for v in values]
                moved[which][index] += step
                losses.append((dy * batch_norm(*moved, axis=axis)).sum())
            # central differences: h**2 of truncation, 1e-15 / h of rounding
            assert gradient[index] == pytest.approx((losses[0] - losses[1]) / (2 * h), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("shape, axis", [((8, 3), -1), ((2, 3, 5), 1)])
def test_defaults(shape, axis):
    x, dy, _, _ = data(shape, axis, np.float64)
    n = shape[axis]
    np.testing.assert_array_equal(
        batch_norm(x, axis=axis), batch_norm(x, np.ones(n), np.zeros(n), axis=axis, epsilon=1e-3)
    )
    _, mean, rstd = batch_norm(x, axis=axis, return_stats=True)
    for got, want in zip(
        batch_norm_backward(dy, x, None, mean, rstd, axis=axis),
        batch_norm_backward(dy, x, np.ones(n), mean, rstd, axis=axis),
        strict=True,
    ):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype, rtol", TOLERANCES)
@pytest.mark.parametrize("shape, axis", [((8, 3), -1), ((2, 3, 5), 1)])
def test_inference_uses_the_given_statistics(shape, axis, dtype, rtol, path):
    x, _, gamma, beta = data(shape, axis, dtype)
    mean, var = np.array([1.0, -2.0, 3.0]), np.array([0.0, 0.5, 4.0])
    y, got_mean, rstd = batch_norm(x, gamma, beta, axis=axis, mean=mean, var=var, return_stats=True)
    m, v, g, b = (reference.along(a, x.ndim, (axis,)) for a in (mean, var, gamma, beta))
    np.testing.assert_allclose(y, g * (wide(x)[0] - m) / np.sqrt(v + 1e-3) + b, rtol=rtol, atol=1e-12)
    np.testing.assert_array_equal(got_mean, mean)
    np.testing.assert_allclose(rstd, 1 / np.sqrt(var + 1e-3), rtol=1e-15)
    got_mean += 1  # the caller's moving mean must not move with the returned one
    np.testing.assert_array_equal(mean, [1.0, -2.0, 3.0])


def test_inference_does_not_depend_on_the_batch():
    x, _, gamma, beta = data((20, 3), -1, np.float32)
    mean, var = np.zeros(3), np.ones(3)
    whole = batch_norm(x, gamma, beta, mean=mean, var=var)
    one = batch_norm(x[4:5], gamma, beta, mean=mean, var=var)
    np.testing.assert_array_equal(one, whole[4:5])


@pytest.mark.parametrize("shape, axis", [((2000, 3), -1), ((20, 3, 100), 1)])
def test_large_mean_in_float32(shape, axis, path):
    x, dy, gamma, beta = data(shape, axis, np.float32)
    x = (x + 1e6).astype(np.float32)
    y, mean, rstd = batch_norm(x, gamma, beta, axis=axis, return_stats=True)
    # against the float64 result for the same float32 numbers: nothing is lost beyond the last rounding
    np.testing.assert_allclose(y, reference.batch_norm(*wide(x), gamma, beta, axis), rtol=1e-6, atol=1e-7)
    dx, dgamma, _ = batch_norm_backward(dy, x, gamma, mean, rstd, axis=axis)
    expected_dx, expected_dgamma, _ = reference.batch_norm_backward(*wide(dy, x), gamma, axis)
    np.testing.assert_allclose(dx, expected_dx, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(dgamma, expected_dgamma, rtol=1e-6, atol=1e-5)  # a sum of 2000 terms


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape, axis", [((300, 4), -1), ((3, 4, 5), 1)])
@pytest.mark.parametrize("position", [0, -1])
def test_a_bad_value_stays_in_its_channel(shape, axis, value, position, path):
    x, dy, gamma, beta = data(shape, axis, np.float32)
    good = batch_norm(x, gamma, beta, axis=axis)
    bad = x.copy()
    np.moveaxis(bad, axis, 0)[2].flat[position] = value
    y, mean, rstd = batch_norm(bad, gamma, beta, axis=axis, return_stats=True)
    dx, dgamma, dbeta = batch_norm_backward(dy, bad, gamma, mean, rstd, axis=axis)
    for result in (y, dx):
        channels = np.moveaxis(result, axis, 0)
        assert np.isnan(channels[2]).all()
        assert np.isfinite(np.delete(channels, 2, axis=0)).all()
    np.testing.assert_array_equal(np.delete(y, 2, axis=axis), np.delete(good, 2, axis=axis))
    assert np.isnan(dgamma[2]) and np.isfinite(np.delete(dgamma, 2)).all() and np.isfinite(dbeta).all()


def test_a_constant_channel_becomes_beta():
    x = np.full((50, 2), 1e8, np.float32)
    np.testing.assert_array_equal(batch_norm(x, beta=np.array([0.5, -3.0])), np.tile([0.5, -3.0], (50, 1)))


@pytest.mark.parametrize("shape, axis", [((0, 3), -1), ((0, 3, 4), 1), ((2, 3, 0), 1), ((5, 0), -1)])
def test_empty(shape, axis):
    x = np.empty(shape, np.float32)
    y, mean, rstd = batch_norm(x, axis=axis, return_stats=True)
    assert y.shape == shape and mean.shape == rstd.shape == (shape[axis],)
    assert np.isnan(mean).all() and np.isnan(rstd).all()
    dx, dgamma, dbeta = batch_norm_backward(x, x, None, mean, rstd, axis=axis)
    assert dx.shape == shape
    np.testing.assert_array_equal(dgamma, np.zeros(shape[axis], np.float32))
    np.testing.assert_array_equal(dbeta, np.zeros(shape[axis], np.float32))
    n = shape[axis]
    assert batch_norm(x, axis=axis, mean=np.zeros(n), var=np.ones(n)).shape == shape
