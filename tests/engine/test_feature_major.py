"""The leaf loops against NumPy; where the mean is large, against its long double."""

import numba
import numpy as np
import pytest

from normkit.kernels.cpu import feature_major as leaf

# float32: sums of up to 100 terms of about 1, each rounded; float64 the same
TOLERANCES = [(np.float32, 2e-6), (np.float64, 1e-14)]
WIDTHS = [1, 7, 8, 64, 100]


@numba.njit
def row_moments(x, share):
    return leaf.row_moments(x, share)


@numba.njit
def sample_moments(x, n, mean, first, second):
    leaf.sample_moments(x, n, mean, first, second)


@numba.njit
def backward_row(d, xhat, share, scale):
    dbeta, dgamma = leaf.row_gradient_sums(d, xhat)
    leaf.normalize_row_backward(d, xhat, share, scale, dbeta, dgamma)
    return dbeta, dgamma


@numba.njit
def forward_row(x, share, epsilon, gamma, beta, xhat, y):
    high, low, var = leaf.row_moments(x, share)
    leaf.normalize_row(x, high, low, x.dtype.type(1 / np.sqrt(var + epsilon)), xhat)
    leaf.scale_shift_row(xhat, gamma, beta, y)


@numba.njit
def sample_gradient_sums(d, xhat, gamma, n, total, dot):
    leaf.sample_gradient_sums(d, xhat, gamma, n, total, dot)


@numba.njit
def normalize_samples(x, high, low, rstd, xhat):
    leaf.normalize_samples(x, high, low, rstd, xhat)


@numba.njit
def normalize_samples_backward(d, xhat, gamma, rstd, mean_g, mean_g_xhat):
    leaf.normalize_samples_backward(d, xhat, gamma, rstd, mean_g, mean_g_xhat)


@numba.njit
def sum_after_adding(row, c):
    leaf.add_to_row(row, c)
    return leaf.row_sum(row)


def shares(n, dtype, weighted, seed=1):
    weight = np.random.default_rng(seed).uniform(0, 2, n) if weighted else np.ones(n)
    return (weight / weight.sum()).astype(dtype)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6])
@pytest.mark.parametrize("n", WIDTHS)
@pytest.mark.parametrize("dtype, tolerance", TOLERANCES)
def test_row_moments(dtype, tolerance, n, offset, weighted):
    x = (np.random.default_rng(0).normal(size=n) + offset).astype(dtype)
    share = shares(n, dtype, weighted)
    high, low, var = row_moments(x, share)
    wide, w = x.astype(np.longdouble), share.astype(np.longdouble)
    mean = w @ wide + (1 - w.sum()) * high  # the shares' sum is 1 but for rounding
    # the pair holds the mean to the precision of the deviations, not of the offset
    assert abs(np.longdouble(high) + low - mean) < 40 * tolerance * (1 + offset * tolerance)
    assert isinstance(var, float)
    np.testing.assert_allclose(var, float(w @ (wide - mean) ** 2), rtol=20 * tolerance, atol=tolerance**2)


@pytest.mark.parametrize("n", WIDTHS)
@pytest.mark.parametrize("dtype, tolerance", TOLERANCES)
def test_constant_rows_have_no_variance(dtype, tolerance, n):
    for value in (0.0, 1.0, 0.1, -12345.678, 1e-30, 1e6):
        x = np.full(n, value, dtype)
        high, low, var = row_moments(x, shares(n, dtype, False))
        assert 0 <= var <= (n * np.finfo(dtype).eps * abs(value)) ** 2
        xhat = np.empty_like(x)
        y = np.empty_like(x)
        forward_row(x, shares(n, dtype, False), 1e-3, dtype(2), dtype(3), xhat, y)
        np.testing.assert_allclose(y, 3, atol=1e-4 * max(1, abs(value) * np.finfo(dtype).eps * 1e6))


@pytest.mark.parametrize("dtype, tolerance", TOLERANCES)
def test_an_outlier_first(dtype, tolerance):
    """What a shift by the first value, a usual remedy, would ruin."""
    x = np.random.default_rng(0).normal(size=64).astype(dtype)
    x[0] = 1e6
    _, _, var = row_moments(x, shares(64, dtype, False))
    np.testing.assert_allclose(var, x.astype(np.float64).var(), rtol=10 * tolerance)
    x[0] = 1e4
    _, _, var = row_moments(x, shares(64, dtype, False))
    np.testing.assert_allclose(var, x.astype(np.float64).var(), rtol=10 * tolerance)
    # a single outlier with no weight leaves the statistics of the others
    share = np.full(64, 1 / 63, dtype)
    share[0] = 0
    _, _, var = row_moments(x, share)
    np.testing.assert_allclose(var, x[1:].astype(np.float64).var(), rtol=100 * tolerance)


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("n", WIDTHS)
@pytest.mark.parametrize("dtype, tolerance", TOLERANCES)
def test_normalize_row(dtype, tolerance, n, offset):
    x = (np.random.default_rng(0).normal(size=n) + offset).astype(dtype)
    xhat, y = np.empty((2, n), dtype)
    forward_row(x, shares(n, dtype, False), 0.1, dtype(1.5), dtype(-0.5), xhat, y)
    wide = x.astype(np.longdouble)
    expected = (wide - wide.mean()) / np.sqrt(wide.var() + 0.1)
    np.testing.assert_allclose(xhat, expected, rtol=10 * tolerance, atol=10 * tolerance)
    np.testing.assert_allclose(y, 1.5 * expected - 0.5, rtol=20 * tolerance, atol=20 * tolerance)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n", WIDTHS)
@pytest.mark.parametrize("dtype, tolerance", TOLERANCES)
def test_row_backward(dtype, tolerance, n, weighted):
    rng = np.random.default_rng(2)
    d, xhat = rng.normal(size=(2, n)).astype(dtype)
    share = shares(n, dtype, weighted)
    dy, h, w = d.astype(np.float64), xhat.astype(np.float64), share.astype(np.float64)
    dbeta, dgamma = backward_row(d, xhat, share, dtype(0.7))
    np.testing.assert_allclose([dbeta, dgamma], [dy.sum(), dy @ h], rtol=tolerance, atol=n * tolerance)
    np.testing.assert_allclose(d, 0.7 * (dy - w * (dy.sum() + h * (dy @ h))), atol=n * tolerance)


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6])
@pytest.mark.parametrize("features", [0, 1, 2, 3, 4, 5, 63])
@pytest.mark.parametrize("n", WIDTHS)
@pytest.mark.parametrize("dtype, tolerance", TOLERANCES)
def test_sample_moments(dtype, tolerance, n, features, offset):
    x = (np.random.default_rng(0).normal(size=(features, n + 3)) + offset).astype(dtype)
    x[:, n:] = np.nan  # beyond the batch: never read
    mean, first, second = np.full((3, n + 3), 7, dtype)
    sample_moments(x, n, mean, first, second)
    wide = x[:, :n].astype(np.longdouble)
    if features == 0:
        assert not np.any([mean[:n], first[:n], second[:n]])
        return
    # the rounded mean and the sum of what it leaves make up the mean, and the variance around it
    merged = mean[:n].astype(np.longdouble) + first[:n].astype(np.longdouble) / features
    scale = 1 + offset * np.finfo(dtype).eps
    np.testing.assert_allclose(merged, wide.mean(axis=0), rtol=0, atol=10 * tolerance * scale)
    squares = second[:n] - features * (merged - mean[:n]) ** 2
    np.testing.assert_allclose(
        squares, ((wide - wide.mean(axis=0)) ** 2).sum(axis=0), rtol=0, atol=100 * tolerance * (1 + features) * scale**2
    )
    np.testing.assert_array_equal([mean[n:], first[n:], second[n:]], 7)


@pytest.mark.parametrize("features", [0, 1, 2, 5, 64])
@pytest.mark.parametrize("n", WIDTHS)
@pytest.mark.parametrize("dtype, tolerance", TOLERANCES)
def test_sample_backward(dtype, tolerance, n, features):
    rng = np.random.default_rng(3)
    d, xhat = rng.normal(size=(2, features, n)).astype(dtype)
    gamma, rstd = rng.normal(size=features).astype(dtype), rng.uniform(0.5, 2, n).astype(dtype)
    total, dot = np.full((2, n), 7, dtype)
    sample_gradient_sums(d, xhat, gamma, n, total, dot)
    g, h = gamma[:, None].astype(np.float64) * d, xhat.astype(np.float64)
    np.testing.assert_allclose(total, g.sum(axis=0), atol=features * tolerance)
    np.testing.assert_allclose(dot, (g * h).sum(axis=0), atol=features * tolerance)
    if features:
        mean_g, mean_g_xhat = total / dtype(features), dot / dtype(features)
        row = d[0].copy()
        normalize_samples_backward(row, xhat[0], gamma[0], rstd, mean_g, mean_g_xhat)
        expected = rstd * (g[0] - g.mean(axis=0) - h[0] * (g * h).mean(axis=0))
        np.testing.assert_allclose(row, expected, atol=10 * tolerance)


@pytest.mark.parametrize("n", WIDTHS)
@pytest.mark.parametrize("dtype, tolerance", TOLERANCES)
def test_elementwise(dtype, tolerance, n):
    rng = np.random.default_rng(4)
    x, high, low, rstd, xhat = rng.normal(size=(5, n)).astype(dtype)
    normalize_samples(x, high, low, rstd, xhat)
    np.testing.assert_allclose(xhat, (x.astype(np.float64) - high - low) * rstd, rtol=0, atol=10 * tolerance)
    expected = x.astype(np.float64).sum() + 0.5 * n
    np.testing.assert_allclose(sum_after_adding(x, dtype(0.5)), expected, atol=n * tolerance)


@numba.njit
def split_shares(share, chunk, out, weight):
    leaf.split_shares(share, chunk, out, weight)


@pytest.mark.parametrize("dtype, tolerance", TOLERANCES)
def test_shares_within_chunks(dtype, tolerance):
    share = shares(15, dtype, True)
    share[4:8] = 0  # a chunk without weight: equal ones
    out, weight = np.full(16, 7, dtype), np.full(4, 7.0)
    split_shares(share, 4, out, weight)
    total = [share[first:last].sum(dtype=np.float64) for first, last in ((0, 4), (4, 8), (8, 15))]
    np.testing.assert_allclose(weight, [*total, 7], rtol=1e-14)
    expected = [*(share[:4] / total[0]), *[0.25] * 4, *(share[8:] / total[2]), 7]
    np.testing.assert_allclose(out, expected, rtol=tolerance)
