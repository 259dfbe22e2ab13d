"""Norms over rows, (M, N): LayerNorm and RMSNorm, both also with a residual added first.

Statistics belong to a row, gamma and beta to a position in it. Rows are shared out in a fixed number of blocks, and
gradients of the parameters are summed within a block and then over the blocks in order: no result depends on the
number of threads. An argument that a variant does not have is None, which the compiler takes for a constant.
"""

import numpy as np
from numba import prange

from normkit._jit import leaf
from normkit.kernels.cpu.moments import pair, rows_mean_squares, rows_statistics
from normkit.kernels.cpu.parallel import block_count, both, flush, row_if
from normkit.kernels.cpu.simd import lanes, load, muladd, splat, store, streams, total, write

# Rows whose statistics are computed side by side, and the least that make a block
GROUP = 8
# Length from which gradients are summed two rows at a time: the sums leave the first-level cache. With shorter rows
# two at a time take twice as long as one.
WIDE = 2048
# Rows whose gradients are summed in the type of the arithmetic before float64 takes over
FLUSH = 32


@leaf
def add_row(x, residual, s):  # three rows
    """Write s = x + residual."""
    w, n = lanes(x), x.size
    for i in range(0, n - w + 1, w):
        store(s, i, load(x, i, w) + load(residual, i, w), w)
    i = n - n % w
    store(s, i, load(x, i, n - i) + load(residual, i, n - i), n - i)


@leaf(inline=True, ordered=True)
def _normalized_at(i, n, x, times, minus_high, scale, minus_low, gamma, beta):
    xhat = muladd(muladd(load(x, i, n), times, minus_high), scale, minus_low)
    if beta is None:
        return xhat * load(gamma, i, n)
    return muladd(xhat, load(gamma, i, n), load(beta, i, n))


@leaf
def normalize_row(x, high, low, rstd, unit, gamma, beta, y, streamed):  # row, scalars, row, row or None, row, bool
    """Write y = gamma * xhat + beta, xhat = (unit * x - high) * rstd - low * rstd."""
    w, n = lanes(x), x.size
    times, minus_high = splat(x, unit), splat(x, -high)
    scale, minus_low = splat(x, rstd), splat(x, -low * rstd)
    i = 0
    while i + w <= n:
        write(y, i, _normalized_at(i, w, x, times, minus_high, scale, minus_low, gamma, beta), w, streamed)
        i += w
    if i < n:
        store(y, i, _normalized_at(i, n - i, x, times, minus_high, scale, minus_low, gamma, beta), n - i)


def _normalize(x, residual, s, gamma, beta, epsilon, y, mean, rstd):
    # (M, N), two (M, N) or None, (N,), (N,) or None, scalar, (M, N), (M,) or None, (M,)
    rows = x.shape[0]
    blocks = block_count(rows, GROUP)
    streamed = streams(y, 2)
    for b in prange(blocks):
        scratch = np.zeros((4, GROUP))
        high, low, r, unit = scratch[0], scratch[1], scratch[2], scratch[3]
        stop = (b + 1) * rows // blocks
        for i0 in range(b * rows // blocks, stop, GROUP):
            i1 = min(i0 + GROUP, stop)
            source = x
            if residual is not None:
                source = s
                for i in range(i0, i1):
                    add_row(x[i], residual[i], s[i])
            if mean is None:
                rows_mean_squares(source, i0, i1, epsilon, r, unit)
            else:
                rows_statistics(source, i0, i1, epsilon, high, low, r, unit)
            for i in range(i0, i1):
                k = i - i0
                normalize_row(source[i], high[k], low[k], r[k], unit[k], gamma, beta, y[i], streamed)
                if mean is not None:
                    mean[i] = high[k] + low[k] if unit[k] == 1.0 else (high[k] + low[k]) / unit[k]
                rstd[i] = r[k] * unit[k]


@leaf(inline=True, ordered=True)
def _sums_at(i, n, dy, x, minus_high, scale, minus_low, gamma, dgamma, dbeta, g_sum, dot):
    xhat = muladd(load(x, i, n) + minus_high, scale, minus_low)
    grad = load(dy, i, n)
    g = grad * load(gamma, i, n)
    store(dgamma, i, muladd(grad, xhat, load(dgamma, i, n)), n)
    if dbeta is not None:
        store(dbeta, i, load(dbeta, i, n) + grad, n)
    return g_sum + g, muladd(g, xhat, dot)


@leaf
def row_gradient_sums(dy, x, high, low, rstd, gamma, dgamma, dbeta):
    # two rows, scalars, two rows, row or None
    """Add dy * xhat to dgamma and dy to dbeta; return sum(g) and sum(g * xhat), g = gamma * dy."""
    w, n = lanes(x), x.size
    minus_high, scale, minus_low = splat(x, -high), splat(x, rstd), splat(x, -low * rstd)
    g = splat(x, 0.0)
    d = g
    for i in range(0, n - n % w, w):
        g, d = _sums_at(i, w, dy, x, minus_high, scale, minus_low, gamma, dgamma, dbeta, g, d)
    i = n - n % w
    g, d = _sums_at(i, n - i, dy, x, minus_high, scale, minus_low, gamma, dgamma, dbeta, g, d)
    return np.float64(total(g)), np.float64(total(d))


@leaf(inline=True, ordered=True)
def _two_sums_at(i, n, dy, x, k, h0, s0, l0, h1, s1, l1, gamma, dgamma, dbeta, g0, d0, g1, d1):
    xhat0 = muladd(load(x[k], i, n) + h0, s0, l0)
    xhat1 = muladd(load(x[k + 1], i, n) + h1, s1, l1)
    dy0, dy1, gain = load(dy[k], i, n), load(dy[k + 1], i, n), load(gamma, i, n)
    store(dgamma, i, muladd(dy1, xhat1, muladd(dy0, xhat0, load(dgamma, i, n))), n)
    if dbeta is not None:
        store(dbeta, i, load(dbeta, i, n) + (dy0 + dy1), n)
    e0, e1 = dy0 * gain, dy1 * gain
    return g0 + e0, muladd(e0, xhat0, d0), g1 + e1, muladd(e1, xhat1, d1)


@leaf
def two_gradient_sums(dy, x, k, high, low, rstd, gamma, dgamma, dbeta, g, dot):
    # two (M, N), scalar, three (2,), two (N,), (N,) or None, two (2,)
    """Do for rows k and k + 1 what `row_gradient_sums` does for one: what it adds to is read and written once."""
    w, n = lanes(gamma), x.shape[1]
    h0, s0, l0 = splat(gamma, -high[0]), splat(gamma, rstd[0]), splat(gamma, -low[0] * rstd[0])
    h1, s1, l1 = splat(gamma, -high[1]), splat(gamma, rstd[1]), splat(gamma, -low[1] * rstd[1])
    g0 = splat(gamma, 0.0)
    d0, g1, d1 = g0, g0, g0
    i = 0
    while i + w <= n:
        g0, d0, g1, d1 = _two_sums_at(
            i, w, dy, x, k, h0, s0, l0, h1, s1, l1, gamma, dgamma, dbeta, g0, d0, g1, d1
        )  # fmt: skip
        i += w
    if i < n:
        g0, d0, g1, d1 = _two_sums_at(
            i, n - i, dy, x, k, h0, s0, l0, h1, s1, l1, gamma, dgamma, dbeta, g0, d0, g1, d1
        )  # fmt: skip
    g[0], dot[0], g[1], dot[1] = total(g0), total(d0), total(g1), total(d1)


@leaf(inline=True, ordered=True)
def _gradient_at(i, n, dy, ds, x, minus_high, scale, minus_low, gamma, minus_g, minus_dot):
    xhat = muladd(load(x, i, n) + minus_high, scale, minus_low)
    d = muladd(xhat, minus_dot, muladd(load(dy, i, n), load(gamma, i, n), minus_g)) * scale
    if ds is not None:
        d = d + load(ds, i, n)
    return d


@leaf
def row_gradient(dy, ds, x, high, low, rstd, gamma, mean_g, mean_g_xhat, dx, streamed):
    # row, row or None, row, scalars, row, scalars, row, bool
    """Write dx = rstd * (g - mean_g - xhat * mean_g_xhat) + ds, g = gamma * dy."""
    w, n = lanes(x), x.size
    minus_high, scale, minus_low = splat(x, -high), splat(x, rstd), splat(x, -low * rstd)
    minus_g, minus_dot = splat(x, -mean_g), splat(x, -mean_g_xhat)
    i = 0
    while i + w <= n:
        d = _gradient_at(i, w, dy, ds, x, minus_high, scale, minus_low, gamma, minus_g, minus_dot)
        write(dx, i, d, w, streamed)
        i += w
    if i < n:
        d = _gradient_at(i, n - i, dy, ds, x, minus_high, scale, minus_low, gamma, minus_g, minus_dot)
        store(dx, i, d, n - i)


def _normalize_backward(dy, ds, x, gamma, mean, rstd, dx, dgamma, dbeta):
    # (M, N), (M, N) or None, (M, N), (N,), (M,) or None, (M,), (M, N), (N,), (N,) or None
    rows, n = x.shape
    blocks = block_count(rows, GROUP)
    part_dgamma = np.zeros((blocks, n))
    part_dbeta = np.zeros((1 if dbeta is None else blocks, n))
    streamed = streams(dx, 3)
    for b in prange(blocks):
        sums = np.zeros((2, n), gamma.dtype)
        scratch = np.zeros((5, GROUP))
        high, low, r, g, dot = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
        start, stop = b * rows // blocks, (b + 1) * rows // blocks
        step = 2 if n >= WIDE else GROUP
        for i0 in range(start, stop, step):
            i1 = min(i0 + step, stop)
            for i in range(i0, i1):
                r[i - i0] = rstd[i]
                if mean is not None:
                    high[i - i0], low[i - i0] = pair(gamma, np.float64(mean[i]))
            if n >= WIDE and i1 - i0 == 2:
                two_gradient_sums(dy, x, i0, high, low, r, gamma, sums[0], row_if(dbeta, sums, 1), g, dot)
            else:
                for i in range(i0, i1):
                    k = i - i0
                    g[k], dot[k] = row_gradient_sums(
                        dy[i], x[i], high[k], low[k], r[k], gamma, sums[0], row_if(dbeta, sums, 1)
                    )
            for i in range(i0, i1):
                k = i - i0
                mean_g = 0.0 if mean is None else g[k] / n  # nothing was subtracted
                row_gradient(
                    dy[i], row_if(ds, ds, i), x[i], high[k], low[k], r[k], gamma, mean_g, dot[k] / n, dx[i], streamed
                )
            if (i1 - start) % FLUSH == 0 or i1 == stop:
                flush(sums[0], part_dgamma[b])
                if dbeta is not None:
                    flush(sums[1], part_dbeta[b])
    for b in range(1, blocks):
        flush(part_dgamma[b], part_dgamma[0])
        if dbeta is not None:
            flush(part_dbeta[b], part_dbeta[0])
    for j in range(n):
        dgamma[j] = part_dgamma[0, j]
        if dbeta is not None:
            dbeta[j] = part_dbeta[0, j]


normalize = both(_normalize)
normalize_backward = both(_normalize_backward)
