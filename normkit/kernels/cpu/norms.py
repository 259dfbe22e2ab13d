"""Leaf loops on contiguous rows and matrices: statistics, normalization, gradients.

Nothing here checks, allocates or knows of axes. Sums are carried in float64, whatever the data: the rounding
of a float32 mean alone costs 1e-3 at mean 1e4. Each array line ends with its shape.
"""

import numpy as np

from normkit._jit import leaf


@leaf
def row_statistics(x):  # x: (n,)
    """Mean and biased variance, in two passes; the first value shifts the sums so that they stay small."""
    n = x.size
    shift = np.float64(x[0])
    total = 0.0
    for i in range(n):
        total += np.float64(x[i]) - shift
    mean = shift + total / n
    squares = 0.0
    for i in range(n):
        d = np.float64(x[i]) - mean
        squares += d * d
    return mean, squares / n


@leaf
def normalize_row(x, mean, rstd, out):  # (n,), scalars, (n,)
    """Write out = (x - mean) * rstd; mean is float64, so that the centring does not round."""
    cast = out.dtype.type
    r = np.float64(rstd)
    for i in range(x.size):
        out[i] = cast((np.float64(x[i]) - mean) * r)


@leaf
def affine_row(x, gamma, beta, out):  # (n,), scalars, (n,)
    """Write out = gamma * x + beta with one gamma and one beta for the row."""
    for i in range(x.size):
        out[i] = gamma * x[i] + beta


@leaf
def gradient_sums(dy, xhat):  # two (n,)
    """Return sum(dy) and sum(dy * xhat): dbeta and dgamma of a feature."""
    dbeta = 0.0
    dgamma = 0.0
    for i in range(dy.size):
        d = np.float64(dy[i])
        dbeta += d
        dgamma += d * np.float64(xhat[i])
    return dbeta, dgamma


@leaf
def normalize_row_backward(dy, xhat, gamma, rstd, dbeta, dgamma, dx):  # (n,), (n,), four scalars, (n,)
    """Write dx = gamma * rstd * (dy - dbeta / n - xhat * dgamma / n); dx may be dy."""
    cast = dx.dtype.type
    n = dy.size
    k = cast(gamma * rstd)
    a = cast(dbeta / n)
    b = cast(dgamma / n)
    for i in range(n):
        dx[i] = k * (dy[i] - a - xhat[i] * b)
