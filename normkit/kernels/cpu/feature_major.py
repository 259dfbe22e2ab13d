"""Leaf loops on feature-major blocks, (features, batch): one feature is one contiguous row.

A norm over the batch (BatchNorm and its kin) works on rows, one over the features of a sample (LayerNorm, RMSNorm,
GroupNorm) on columns.
Arithmetic is in the data's own type, at its full vector width. The mean is carried as a pair ``high + low`` and
subtracted in two steps: rounding it to one float32 would cost 1e-3 at mean 1e4.
"""

import numpy as np

from normkit._jit import leaf
from normkit.math.activations import tanh

_tanh = leaf(tanh)


@leaf(inline=True)
def row_moments(x, share):  # two (n,)
    """Return the mean as a pair (high, low) and the biased variance; `share` holds weights whose sum is 1."""
    t = x.dtype.type
    n = x.size
    high = t(0)
    for i in range(n):
        high += share[i] * x[i]
    low, second = t(0), t(0)
    for i in range(n):
        d = x[i] - high
        low += share[i] * d
        second += share[i] * (d * d)
    # Var = E[(x - high)^2] - low^2: low is a rounding error of high, so nothing cancels
    return high, low, max(np.float64(second) - np.float64(low) ** 2, 0.0)


@leaf
def normalize_row(x, high, low, rstd, xhat):  # (n,), scalars, (n,)
    """Write xhat = (x - mean) * rstd."""
    for i in range(x.size):
        xhat[i] = ((x[i] - high) - low) * rstd


@leaf
def scale_shift_row(xhat, gamma, beta, y):  # (n,), scalars, (n,)
    """Write y = gamma * xhat + beta."""
    for i in range(xhat.size):
        y[i] = gamma * xhat[i] + beta


@leaf(inline=True)
def row_gradient_sums(dy, xhat):  # two (n,)
    """Return sum(dy) and sum(dy * xhat): dbeta and dgamma of the feature."""
    t = dy.dtype.type
    dbeta, dgamma = t(0), t(0)
    for i in range(dy.size):
        dbeta += dy[i]
        dgamma += dy[i] * xhat[i]
    return dbeta, dgamma


@leaf
def normalize_row_backward(d, xhat, share, scale, dbeta, dgamma):  # three (n,), scalars
    """Write d = scale * (d - share * (dbeta + xhat * dgamma)), scale = gamma * rstd; share is 1 / n without weights."""
    for i in range(d.size):
        d[i] = scale * (d[i] - share[i] * (dbeta + xhat[i] * dgamma))


@leaf
def scale_row(d, scale):  # (n,), scalar
    """Multiply every element: the gradient of a norm with given statistics."""
    for i in range(d.size):
        d[i] *= scale


@leaf
def split_shares(share, chunk, out, weight):  # (n,), scalar, (>= n,), (>= n // chunk,) float64
    """Divide the shares of each chunk of the batch by their sum, which `weight` receives.

    The last chunk takes the remainder. In a chunk without weight the samples have equal shares.
    """
    t = out.dtype.type
    n = share.size
    chunks = n // chunk
    for c in range(chunks):
        first, last = c * chunk, n if c == chunks - 1 else (c + 1) * chunk
        total = 0.0
        for i in range(first, last):
            total += np.float64(share[i])
        weight[c] = total
        for i in range(first, last):
            out[i] = t(np.float64(share[i]) / total) if total > 0.0 else t(1.0 / (last - first))


@leaf
def dynamic_tanh_row(x, alpha, xhat):  # (n,), scalar, (n,)
    """Write xhat = tanh(alpha * x)."""
    for i in range(x.size):
        xhat[i] = _tanh(alpha * x[i])


@leaf(inline=True)
def dynamic_tanh_row_backward(d, x, xhat, scale):  # three (n,), scalar
    """Write d = scale * (1 - xhat^2) * d, scale = gamma * alpha; returns sum(x * (1 - xhat^2) * d), d as it was."""
    t = d.dtype.type
    one, slope = t(1), t(0)
    for i in range(d.size):
        inner = (one - xhat[i] * xhat[i]) * d[i]
        slope += inner * x[i]
        d[i] = scale * inner
    return slope


@leaf
def add_to_row(row, c):  # (n,), scalar
    """Add c to every element."""
    for i in range(row.size):
        row[i] += c


@leaf(inline=True)
def row_sum(row):  # (n,)
    """Return the sum."""
    total = row.dtype.type(0)
    for i in range(row.size):
        total += row[i]
    return total


@leaf(inline=True)
def sample_moments(x, n, mean, first, second):  # (features, >= n), scalar, three (>= n,)
    """Per sample, over the rows of x: a rounded mean, and the sums of (x - mean) and of (x - mean)^2."""
    t = x.dtype.type
    features = x.shape[0]
    for i in range(n):
        mean[i] = t(0)
        first[i] = t(0)
        second[i] = t(0)
    # four rows at a time: the sums are loaded and stored a quarter as often
    for j in range(0, features - 3, 4):
        a, b, c, d = x[j], x[j + 1], x[j + 2], x[j + 3]
        for i in range(n):
            mean[i] += (a[i] + b[i]) + (c[i] + d[i])
    for j in range(features - features % 4, features):
        a = x[j]
        for i in range(n):
            mean[i] += a[i]
    inverse = t(1) / t(max(features, 1))
    for i in range(n):
        mean[i] *= inverse
    for j in range(0, features - 3, 4):
        a, b, c, d = x[j], x[j + 1], x[j + 2], x[j + 3]
        for i in range(n):
            m = mean[i]
            p, q, r, s = a[i] - m, b[i] - m, c[i] - m, d[i] - m
            first[i] += (p + q) + (r + s)
            second[i] += (p * p + q * q) + (r * r + s * s)
    for j in range(features - features % 4, features):
        a = x[j]
        for i in range(n):
            p = a[i] - mean[i]
            first[i] += p
            second[i] += p * p


@leaf(inline=True)
def sample_squares(x, n, mean, first, second):  # (features, >= n), scalar, three (>= n,)
    """Per sample, over the rows of x: the sum of squares; `sample_moments` around zero in place of the mean."""
    t = x.dtype.type
    features = x.shape[0]
    for i in range(n):
        mean[i] = t(0)
        first[i] = t(0)
        second[i] = t(0)
    for j in range(0, features - 3, 4):
        a, b, c, d = x[j], x[j + 1], x[j + 2], x[j + 3]
        for i in range(n):
            second[i] += (a[i] * a[i] + b[i] * b[i]) + (c[i] * c[i] + d[i] * d[i])
    for j in range(features - features % 4, features):
        a = x[j]
        for i in range(n):
            second[i] += a[i] * a[i]


@leaf
def normalize_samples(x, high, low, rstd, xhat):  # row (n,), four (n,)
    """Write xhat = (x - mean) * rstd with the statistics of each sample."""
    for i in range(x.size):
        xhat[i] = ((x[i] - high[i]) - low[i]) * rstd[i]


@leaf(inline=True)
def sample_gradient_sums(d, xhat, gamma, n, total, dot):  # two (features, >= n), (features,), scalar, two (>= n,)
    """Per sample, over the rows: total = sum(gamma * d), dot = sum(gamma * d * xhat)."""
    t = d.dtype.type
    features = d.shape[0]
    for i in range(n):
        total[i] = t(0)
        dot[i] = t(0)
    for j in range(0, features - 1, 2):
        da, db, ha, hb, ga, gb = d[j], d[j + 1], xhat[j], xhat[j + 1], gamma[j], gamma[j + 1]
        for i in range(n):
            p, q = ga * da[i], gb * db[i]
            total[i] += p + q
            dot[i] += p * ha[i] + q * hb[i]
    if features % 2:
        da, ha, ga = d[features - 1], xhat[features - 1], gamma[features - 1]
        for i in range(n):
            p = ga * da[i]
            total[i] += p
            dot[i] += p * ha[i]


@leaf
def normalize_samples_backward(d, xhat, gamma, rstd, mean_g, mean_g_xhat):  # two (n,), scalar, three (n,)
    """Write d = rstd * (g - mean(g) - xhat * mean(g * xhat)), g = gamma * d."""
    for i in range(d.size):
        d[i] = rstd[i] * (gamma * d[i] - mean_g[i] - xhat[i] * mean_g_xhat[i])
