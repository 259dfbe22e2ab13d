"""Norms over rows, (M, N): LayerNorm and RMSNorm, both also with a residual added first.

Statistics belong to a row, gamma and beta to a position in it. Rows are shared out in a fixed number of blocks, and
gradients of the parameters are summed within a block and then over the blocks in order: no result depends on the
number of threads. An argument that a variant does not have is None, which the compiler takes for a constant.
"""

import numpy as np
from numba import prange

from normkit._jit import leaf
from normkit.kernels.cpu.moments import in_range, pair, rows_mean_squares, rows_statistics
from normkit.kernels.cpu.parallel import block_count, both, flush, row_if
from normkit.kernels.cpu.simd import lanes, load, muladd, prefetch, splat, store, stream_from, total, write

# Rows whose statistics are computed side by side, and the least that make a block
GROUP = 8
# Length from which gradients are summed two rows at a time, and the gradient follows at once: all of it leaves the
# first-level cache. Shorter rows are read one by one, which takes half the time where they come from memory.
WIDE = 2048
# Rows and columns whose gradients are summed in the type of the arithmetic before float64 takes over
FLUSH, COLUMNS = 32, 1024
# Length up to which a block of the backward has at least twice as many rows: to add up one more block costs as much as
# several rows. Longer rows are work enough for every thread without being many.
LONG = 8192


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
def normalize_row(x, high, low, rstd, unit, gamma, beta, y, streamed, ahead):
    # row, scalars, row, row or None, row, scalar, row
    """Write y = gamma * xhat + beta, xhat = (unit * x - high) * rstd - low * rstd.

    Where y is streamed, the row `ahead` is brought into the cache: reading it in turn would leave the memory idle now.
    """
    w, n = lanes(x), x.size
    rstd = in_range(x, rstd)
    times, minus_high = splat(x, unit), splat(x, -high)
    scale, minus_low = splat(x, rstd), splat(x, -low * rstd)
    i = max(streamed, 0)
    if i > 0:
        store(y, 0, _normalized_at(0, i, x, times, minus_high, scale, minus_low, gamma, beta), i)
    while i + w <= n:
        if streamed >= 0:
            prefetch(ahead, i)
        write(y, i, _normalized_at(i, w, x, times, minus_high, scale, minus_low, gamma, beta), w, streamed)
        i += w
    if i < n:
        store(y, i, _normalized_at(i, n - i, x, times, minus_high, scale, minus_low, gamma, beta), n - i)


@leaf
def normalize_block(x, residual, s, start, stop, gamma, beta, epsilon, y, mean, rstd, streamed, scratch):
    # (M, N), two (M, N) or None, scalars, (N,), (N,) or None, scalar, (M, N), (M,) or None, (M,), scalar, (4, GROUP)
    """Normalize rows start to stop, GROUP at a time."""
    high, low, r, unit = scratch[0], scratch[1], scratch[2], scratch[3]
    for i0 in range(start, stop, GROUP):
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
            ahead = source[min(i + GROUP, source.shape[0] - 1)]
            normalize_row(source[i], high[k], low[k], r[k], unit[k], gamma, beta, y[i], streamed, ahead)
            if mean is not None:
                mean[i] = high[k] + low[k] if unit[k] == 1.0 else (high[k] + low[k]) / unit[k]
            rstd[i] = r[k] * unit[k]


def _normalize(x, residual, s, gamma, beta, epsilon, y, mean, rstd):
    # (M, N), two (M, N) or None, (N,), (N,) or None, scalar, (M, N), (M,) or None, (M,)
    rows = x.shape[0]
    blocks = block_count(rows, GROUP)
    streamed = stream_from(y, 2)
    for b in prange(blocks):
        scratch = np.zeros((4, GROUP))
        start, stop = b * rows // blocks, (b + 1) * rows // blocks
        normalize_block(x, residual, s, start, stop, gamma, beta, epsilon, y, mean, rstd, streamed, scratch)


@leaf(inline=True, ordered=True)
def _sums_at(i, n, dy, x, minus_high, scale, minus_low, gamma, dgamma, dbeta, centred, g_sum, dot):
    xhat = muladd(load(x, i, n) + minus_high, scale, minus_low)
    grad = load(dy, i, n)
    g = grad * load(gamma, i, n)
    store(dgamma, i, muladd(grad, xhat, load(dgamma, i, n)), n)
    if centred is not None:
        store(dbeta, i, load(dbeta, i, n) + grad, n)
    return g_sum + g, muladd(g, xhat, dot)


@leaf
def row_gradient_sums(dy, x, high, low, rstd, gamma, dgamma, dbeta, centred):
    # two rows, scalars, three rows, None without dbeta
    """Add dy * xhat to dgamma and dy to dbeta; return sum(g) and sum(g * xhat), g = gamma * dy."""
    w, n = lanes(x), x.size
    minus_high, scale, minus_low = splat(x, -high), splat(x, rstd), splat(x, -low * rstd)
    g_sum, dot = 0.0, 0.0
    for start in range(0, n, COLUMNS):
        stop = min(start + COLUMNS, n)
        g = splat(x, 0.0)
        d = g
        i = start
        while i + w <= stop:
            g, d = _sums_at(i, w, dy, x, minus_high, scale, minus_low, gamma, dgamma, dbeta, centred, g, d)
            i += w
        if i < stop:
            g, d = _sums_at(i, stop - i, dy, x, minus_high, scale, minus_low, gamma, dgamma, dbeta, centred, g, d)
        g_sum += np.float64(total(g))
        dot += np.float64(total(d))
    return g_sum, dot


@leaf(inline=True, ordered=True)
def _two_sums_at(j, n, dy0, dy1, x0, x1, h0, s0, l0, h1, s1, l1, gamma, dgamma, dbeta, centred, g0, d0, g1, d1):
    xhat0, xhat1 = muladd(load(x0, j, n) + h0, s0, l0), muladd(load(x1, j, n) + h1, s1, l1)
    grad0, grad1, gain = load(dy0, j, n), load(dy1, j, n), load(gamma, j, n)
    store(dgamma, j, muladd(grad1, xhat1, muladd(grad0, xhat0, load(dgamma, j, n))), n)
    if centred is not None:
        store(dbeta, j, load(dbeta, j, n) + (grad0 + grad1), n)
    e0, e1 = grad0 * gain, grad1 * gain
    return g0 + e0, muladd(e0, xhat0, d0), g1 + e1, muladd(e1, xhat1, d1)


@leaf
def two_gradient_sums(dy, x, i, k, high, low, rstd, gamma, dgamma, dbeta, centred, g, dot):
    # two (M, N), scalars, three (> k + 1,), three (N,), None without dbeta, two (> k + 1,)
    """Do for rows i and i + 1 what `row_gradient_sums` does for one: what it adds to is read and written once."""
    w, n = lanes(gamma), x.shape[1]
    h0, s0, l0 = splat(gamma, -high[k]), splat(gamma, rstd[k]), splat(gamma, -low[k] * rstd[k])
    h1, s1 = splat(gamma, -high[k + 1]), splat(gamma, rstd[k + 1])
    l1 = splat(gamma, -low[k + 1] * rstd[k + 1])
    dy0, dy1, x0, x1 = dy[i], dy[i + 1], x[i], x[i + 1]
    g[k : k + 2] = 0.0
    dot[k : k + 2] = 0.0
    for start in range(0, n, COLUMNS):
        stop = min(start + COLUMNS, n)
        g0 = splat(gamma, 0.0)
        d0, g1, d1 = g0, g0, g0
        j = start
        while j + w <= stop:
            g0, d0, g1, d1 = _two_sums_at(
                j, w, dy0, dy1, x0, x1, h0, s0, l0, h1, s1, l1, gamma, dgamma, dbeta, centred, g0, d0, g1, d1
            )  # fmt: skip
            j += w
        if j < stop:
            g0, d0, g1, d1 = _two_sums_at(
                j, stop - j, dy0, dy1, x0, x1, h0, s0, l0, h1, s1, l1, gamma, dgamma, dbeta, centred, g0, d0, g1, d1
            )  # fmt: skip
        g[k] += total(g0)
        dot[k] += total(d0)
        g[k + 1] += total(g1)
        dot[k + 1] += total(d1)


@leaf(inline=True, ordered=True)
def _gradient_at(i, n, dy, ds, k, x, minus_high, scale, minus_low, gamma, minus_g, minus_dot):
    xhat = muladd(load(x, i, n) + minus_high, scale, minus_low)
    d = muladd(xhat, minus_dot, muladd(load(dy, i, n), load(gamma, i, n), minus_g)) * scale
    if ds is not None:
        d = d + load(ds[k], i, n)
    return d


@leaf
def row_gradient(dy, ds, k, x, high, low, rstd, gamma, mean_g, mean_g_xhat, dx, streamed):
    # row, (M, N) or None, scalar, row, scalars, row, scalars, row, scalar
    """Write dx = rstd * (g - mean_g - xhat * mean_g_xhat) + ds, g = gamma * dy."""
    w, n = lanes(x), x.size
    minus_high, scale, minus_low = splat(x, -high), splat(x, rstd), splat(x, -low * rstd)
    minus_g, minus_dot = splat(x, -mean_g), splat(x, -mean_g_xhat)
    i = max(streamed, 0)
    if i > 0:
        store(dx, 0, _gradient_at(0, i, dy, ds, k, x, minus_high, scale, minus_low, gamma, minus_g, minus_dot), i)
    while i + w <= n:
        d = _gradient_at(i, w, dy, ds, k, x, minus_high, scale, minus_low, gamma, minus_g, minus_dot)
        write(dx, i, d, w, streamed)
        i += w
    if i < n:
        d = _gradient_at(i, n - i, dy, ds, k, x, minus_high, scale, minus_low, gamma, minus_g, minus_dot)
        store(dx, i, d, n - i)


@leaf
def gradient_block(dy, ds, x, start, stop, gamma, mean, rstd, dx, sums, dgamma, dbeta, streamed, scratch):
    # (M, N), (M, N) or None, (M, N), scalars, (N,), (M,) or None, (M,), (M, N), (2, N), (N,), (N,) or None, scalar,
    # (5, GROUP)
    """Write dx of rows start to stop, some at a time, and add to dgamma and dbeta, float64, by way of sums."""
    high, low, r, g, dot = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
    n = x.shape[1]
    step = 2 if n >= WIDE else GROUP
    for i0 in range(start, stop, step):
        i1 = min(i0 + step, stop)
        for i in range(i0, i1):
            r[i - i0] = rstd[i]
            if mean is not None:
                high[i - i0], low[i - i0] = pair(gamma, np.float64(mean[i]))
        i = i0
        while i < i1:
            k = i - i0
            if n >= WIDE and i + 2 <= i1:
                two_gradient_sums(dy, x, i, k, high, low, r, gamma, sums[0], sums[1], dbeta, g, dot)
                i += 2
            else:
                g[k], dot[k] = row_gradient_sums(dy[i], x[i], high[k], low[k], r[k], gamma, sums[0], sums[1], dbeta)
                i += 1
        for i in range(i0, i1):
            k = i - i0
            mean_g = 0.0 if mean is None else g[k] / n  # nothing was subtracted
            row_gradient(dy[i], ds, i, x[i], high[k], low[k], r[k], gamma, mean_g, dot[k] / n, dx[i], streamed)
        if (i1 - start) % FLUSH == 0 or i1 == stop:
            flush(sums[0], dgamma)
            if dbeta is not None:
                flush(sums[1], dbeta)


def _normalize_backward(dy, ds, x, gamma, mean, rstd, dx, dgamma, dbeta):
    # (M, N), (M, N) or None, (M, N), (N,), (M,) or None, (M,), (M, N), (N,), (N,) or None
    rows, n = x.shape
    blocks = block_count(rows, 2 * FLUSH if n <= LONG else GROUP)
    part_dgamma = np.zeros((blocks, n))
    part_dbeta = np.zeros((1 if dbeta is None else blocks, n))
    streamed = stream_from(dx, 3)
    for b in prange(blocks):
        sums, scratch = np.zeros((2, n), gamma.dtype), np.zeros((5, GROUP))
        start, stop = b * rows // blocks, (b + 1) * rows // blocks
        gradient_block(
            dy, ds, x, start, stop, gamma, mean, rstd, dx, sums, part_dgamma[b], row_if(dbeta, part_dbeta, b),
            streamed, scratch,
        )  # fmt: skip
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
