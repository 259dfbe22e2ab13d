"""Gradients of the norms over columns, (V, S, C): see `normkit.kernels.cpu.columns`."""

import numpy as np
from numba import prange

from normkit._jit import leaf
from normkit.kernels.cpu.columns import PIECE, ROWS_PER_BLOCK, WIDE
from normkit.kernels.cpu.moments import pair
from normkit.kernels.cpu.parallel import block_count, both, flush
from normkit.kernels.cpu.simd import lanes, load, muladd, store, streams, write


@leaf(inline=True, ordered=True)
def _gradient_sums_at(j, n, dy, x, i, high, rstd, low, dgamma, dbeta):
    h, r, z = load(high, j, n), load(rstd, j, n), load(low, j, n)
    g0, g1, g2, g3 = load(dy[i], j, n), load(dy[i + 1], j, n), load(dy[i + 2], j, n), load(dy[i + 3], j, n)
    store(dbeta, j, load(dbeta, j, n) + ((g0 + g1) + (g2 + g3)), n)
    s = muladd(g0, muladd(load(x[i], j, n) - h, r, z), load(dgamma, j, n))
    s = muladd(g1, muladd(load(x[i + 1], j, n) - h, r, z), s)
    s = muladd(g2, muladd(load(x[i + 2], j, n) - h, r, z), s)
    store(dgamma, j, muladd(g3, muladd(load(x[i + 3], j, n) - h, r, z), s), n)


@leaf(inline=True, ordered=True)
def _gradient_sum_at(j, n, dy, x, i, high, rstd, low, dgamma, dbeta):
    g = load(dy[i], j, n)
    xhat = muladd(load(x[i], j, n) - load(high, j, n), load(rstd, j, n), load(low, j, n))
    store(dbeta, j, load(dbeta, j, n) + g, n)
    store(dgamma, j, muladd(g, xhat, load(dgamma, j, n)), n)


@leaf
def column_gradient_sums(dy, x, start, stop, high, rstd, low, dgamma, dbeta):
    # two (S, C), scalars, five (C,)
    """Add sum(dy * xhat) and sum(dy) over rows start to stop, xhat = (x - high) * rstd + low."""
    w, n = lanes(x[0]), x.shape[1]
    i = start
    while i + 4 <= stop:
        j = 0
        while j + w <= n:
            _gradient_sums_at(j, w, dy, x, i, high, rstd, low, dgamma, dbeta)
            j += w
        if j < n:
            _gradient_sums_at(j, n - j, dy, x, i, high, rstd, low, dgamma, dbeta)
        i += 4
    while i < stop:
        j = 0
        while j + w <= n:
            _gradient_sum_at(j, w, dy, x, i, high, rstd, low, dgamma, dbeta)
            j += w
        if j < n:
            _gradient_sum_at(j, n - j, dy, x, i, high, rstd, low, dgamma, dbeta)
        i += 1


@leaf(inline=True, ordered=True)
def _gradient_at(j, n, dy, x, i, rows, high, rstd, scale, minus_dot, offset, dx, streamed):
    h, r, s = load(high, j, n), load(rstd, j, n), load(scale, j, n)
    dot, o = load(minus_dot, j, n), load(offset, j, n)
    for k in range(rows):
        d = (load(x[i + k], j, n) - h) * r
        write(dx[i + k], j, muladd(d, dot, muladd(load(dy[i + k], j, n), s, o)), n, streamed)


@leaf
def gradient_block(dy, x, start, stop, high, rstd, scale, minus_dot, offset, dx, streamed):
    # two (S, C), scalars, five (C,), (S, C), bool
    """Write dx = dy * scale + offset + (x - high) * rstd * minus_dot on rows start to stop."""
    w, n = lanes(x[0]), x.shape[1]
    i = start
    while i < stop:
        two = n >= WIDE and i + 2 <= stop
        j = 0
        if two:
            while j + w <= n:
                _gradient_at(j, w, dy, x, i, 2, high, rstd, scale, minus_dot, offset, dx, streamed)
                j += w
        else:
            while j + w <= n:
                _gradient_at(j, w, dy, x, i, 1, high, rstd, scale, minus_dot, offset, dx, streamed)
                j += w
        if j < n:
            _gradient_at(j, n - j, dy, x, i, 2 if two else 1, high, rstd, scale, minus_dot, offset, dx, False)
        i += 2 if two else 1


@leaf(allocates=True)
def _sum_block(dy, x, start, stop, high, rstd, low, dgamma, dbeta):  # two (S, C), scalars, five (C,)
    sums = np.zeros((2, high.size), high.dtype)
    for i in range(start, stop, PIECE):
        column_gradient_sums(dy, x, i, min(i + PIECE, stop), high, rstd, low, sums[0], sums[1])
        flush(sums[0], dgamma)
        flush(sums[1], dbeta)


@leaf
def _statistics_of_columns(mean, rstd, high, t_rstd, low):  # two (G,), three (C,) in the type of the arithmetic
    width = high.size // mean.size
    for j in range(high.size):
        m, r = mean[j // width], rstd[j // width]
        h, rest = pair(high, m)
        high[j], t_rstd[j], low[j] = h, r, -rest * r


@leaf
def _gradient_coefficients(rows, gamma, mean, rstd, dgamma, dbeta, scale, minus_dot, offset):
    # scalar, (C,), two (G,), two (C,) float64, three (C,) in the type of the arithmetic
    """Write what `gradient_block` takes: dx = rstd * (g - mean(g) - xhat * mean(g * xhat)), g = gamma * dy."""
    width = gamma.size // mean.size
    for k in range(mean.size):
        total, dot = 0.0, 0.0
        for j in range(k * width, (k + 1) * width):
            total += gamma[j] * dbeta[j]
            dot += gamma[j] * dgamma[j]
        total /= rows * width
        dot /= rows * width
        r = rstd[k]
        rest = pair(scale, mean[k])[1]
        for j in range(k * width, (k + 1) * width):
            scale[j] = gamma[j] * r
            minus_dot[j] = -r * dot
            offset[j] = r * (rest * r * dot - total)


def _gradient_many(dy, x, gamma, mean, rstd, dx, dgamma, dbeta):
    # two (V, S, C), (C,), two (V, G), (V, S, C) or None, two (V, C) float64
    parts, rows, columns = x.shape
    streamed = False
    if dx is not None:
        streamed = streams(dx[0], 3 * parts)
    for v in prange(parts):
        t = np.empty((6, columns), gamma.dtype)
        _statistics_of_columns(mean[v], rstd[v], t[0], t[1], t[2])
        _sum_block(dy[v], x[v], 0, rows, t[0], t[1], t[2], dgamma[v], dbeta[v])
        if dx is not None:
            _gradient_coefficients(rows, gamma, mean[v], rstd[v], dgamma[v], dbeta[v], t[3], t[4], t[5])
            gradient_block(dy[v], x[v], 0, rows, t[0], t[1], t[3], t[4], t[5], dx[v], streamed)


def _gradient(dy, x, gamma, mean, rstd, dx, dgamma, dbeta):
    # two (V, S, C), (C,), two (V, G), (V, S, C) or None, two (V, C) float64
    parts, rows, columns = x.shape
    blocks = block_count(rows, ROWS_PER_BLOCK)
    t = np.empty((6, columns), gamma.dtype)
    for v in range(parts):
        _statistics_of_columns(mean[v], rstd[v], t[0], t[1], t[2])
        part_dgamma, part_dbeta = np.zeros((blocks, columns)), np.zeros((blocks, columns))
        for b in prange(blocks):
            start, stop = b * rows // blocks, (b + 1) * rows // blocks
            _sum_block(dy[v], x[v], start, stop, t[0], t[1], t[2], part_dgamma[b], part_dbeta[b])
        for b in range(blocks):
            flush(part_dgamma[b], dgamma[v])
            flush(part_dbeta[b], dbeta[v])
        if dx is not None:
            _gradient_coefficients(rows, gamma, mean[v], rstd[v], dgamma[v], dbeta[v], t[3], t[4], t[5])
            for b in prange(blocks):
                start, stop = b * rows // blocks, (b + 1) * rows // blocks
                gradient_block(dy[v], x[v], start, stop, t[0], t[1], t[3], t[4], t[5], dx[v], streams(dx[v], 3))


gradient = both(_gradient)
gradient_many = both(_gradient_many)
