"""Whole-array loops over canonical views: rows (M, N), channels-last (M, C), channels-first (O, C, I).

Reductions over rows are split into blocks that are combined in order. Their number is the length of the
arrays that take the partial sums and depends on the shape alone; sums within a block have a fixed order as
well: the result does not depend on the number of threads. Each loop exists once and is compiled twice, serial
and parallel. The output may be an input: an element is written after it was read for the last time.
"""

import numpy as np
from numba import prange

from normkit._jit import entry
from normkit.kernels.cpu.ordered import (
    deviation_sum,
    scaled_sums_with_xhat,
    square_sum,
    statistics,
    sums_with_xhat,
)

BLOCKS = 64
# A block's partial sums are two rows of float64: with fewer rows a block they outgrow x itself.
ROWS_PER_BLOCK = 8


def block_count(rows):
    """Return into how many blocks a reduction over rows is split."""
    return max(1, min(BLOCKS, rows // ROWS_PER_BLOCK))


def _layer_norm(x, gamma, beta, epsilon, out, mean, rstd):  # (M, N), (N,), (N,), scalar, (M, N), two (M,)
    for b in prange(BLOCKS):
        for i in range(b * x.shape[0] // BLOCKS, (b + 1) * x.shape[0] // BLOCKS):
            row, y = x[i], out[i]
            m, v = statistics(row)
            r = 1.0 / np.sqrt(v + epsilon)
            mean[i] = m
            rstd[i] = r
            for j in range(row.size):
                y[j] = gamma[j] * ((np.float64(row[j]) - m) * r) + beta[j]


def _layer_norm_backward(dy, x, gamma, mean, rstd, dx, part_dgamma, part_dbeta):
    # (M, N), (M, N), (N,), (M,), (M,), (M, N), (blocks, N), (blocks, N)
    n = x.shape[1]
    blocks = part_dgamma.shape[0]
    for b in prange(blocks):
        dgamma, dbeta = part_dgamma[b], part_dbeta[b]
        for i in range(b * x.shape[0] // blocks, (b + 1) * x.shape[0] // blocks):
            row, g, d = x[i], dy[i], dx[i]
            m, r = np.float64(mean[i]), np.float64(rstd[i])
            for j in range(n):
                t = np.float64(g[j])
                dbeta[j] += t
                dgamma[j] += t * ((np.float64(row[j]) - m) * r)
            total, dot = scaled_sums_with_xhat(g, gamma, row, m, r)
            total /= n
            dot /= n
            for j in range(n):
                h = (np.float64(row[j]) - m) * r
                d[j] = r * (np.float64(g[j]) * gamma[j] - total - h * dot)


def _channels_last_statistics(x, mean, squares):  # (M, C), (blocks, C), (blocks, C)
    """Per block of rows: mean, and sum of squares around it."""
    rows, channels = x.shape
    blocks = mean.shape[0]
    for b in prange(blocks):
        start, stop = b * rows // blocks, (b + 1) * rows // blocks
        m, s, first = mean[b], squares[b], x[start]
        for i in range(start, stop):
            row = x[i]
            for j in range(channels):
                m[j] += np.float64(row[j]) - np.float64(first[j])
        for j in range(channels):
            m[j] = np.float64(first[j]) + m[j] / (stop - start)
        for i in range(start, stop):
            row = x[i]
            for j in range(channels):
                d = np.float64(row[j]) - m[j]
                s[j] += d * d


def _channels_last_normalize(x, mean, scale, beta, out):  # (M, C), three (C,), (M, C)
    """Write out = (x - mean) * scale + beta, scale = gamma * rstd."""
    for b in prange(BLOCKS):
        for i in range(b * x.shape[0] // BLOCKS, (b + 1) * x.shape[0] // BLOCKS):
            row, o = x[i], out[i]
            for j in range(x.shape[1]):
                o[j] = (np.float64(row[j]) - mean[j]) * scale[j] + beta[j]


def _channels_last_sums(dy, x, mean, rstd, part_dgamma, part_dbeta):
    # (M, C), (M, C), (C,), (C,), (blocks, C), (blocks, C)
    blocks = part_dgamma.shape[0]
    for b in prange(blocks):
        dgamma, dbeta = part_dgamma[b], part_dbeta[b]
        for i in range(b * x.shape[0] // blocks, (b + 1) * x.shape[0] // blocks):
            row, g = x[i], dy[i]
            for j in range(x.shape[1]):
                t = np.float64(g[j])
                dbeta[j] += t
                dgamma[j] += t * (np.float64(row[j]) - mean[j]) * rstd[j]


def _channels_last_gradient(dy, x, mean, rstd, scale, dgamma, dbeta, dx):
    # (M, C), (M, C), five (C,) with dgamma and dbeta already divided by M, (M, C)
    for b in prange(BLOCKS):
        for i in range(b * x.shape[0] // BLOCKS, (b + 1) * x.shape[0] // BLOCKS):
            row, g, d = x[i], dy[i], dx[i]
            for j in range(x.shape[1]):
                h = (np.float64(row[j]) - mean[j]) * rstd[j]
                d[j] = scale[j] * (np.float64(g[j]) - dbeta[j] - h * dgamma[j])


def _channels_first_statistics(x, mean, squares):  # (O, C, I), (C,), (C,)
    """Per channel: mean, and sum of squares around it."""
    outer, channels, inner = x.shape
    for c in prange(channels):
        shift = np.float64(x[0, c, 0])
        total = 0.0
        for o in range(outer):
            total += deviation_sum(x[o, c], shift)
        m = shift + total / (outer * inner)
        s = 0.0
        for o in range(outer):
            s += square_sum(x[o, c], m)
        mean[c] = m
        squares[c] = s


def _channels_first_normalize(x, mean, scale, beta, out):  # (O, C, I), three (C,), (O, C, I)
    outer, channels, inner = x.shape
    for k in prange(outer * channels):
        o, c = k // channels, k % channels
        plane, y = x[o, c], out[o, c]
        m, s, b = mean[c], scale[c], beta[c]
        for i in range(inner):
            y[i] = (np.float64(plane[i]) - m) * s + b


def _channels_first_sums(dy, x, mean, rstd, dgamma, dbeta):  # two (O, C, I), four (C,)
    outer, channels, _ = x.shape
    for c in prange(channels):
        m, r = mean[c], rstd[c]
        db, dg = 0.0, 0.0
        for o in range(outer):
            plane_db, plane_dg = sums_with_xhat(dy[o, c], x[o, c], m, r)
            db += plane_db
            dg += plane_dg
        dbeta[c] = db
        dgamma[c] = dg


def _channels_first_gradient(dy, x, mean, rstd, scale, dgamma, dbeta, dx):
    # two (O, C, I), five (C,) with dgamma and dbeta already divided by O * I, (O, C, I)
    outer, channels, inner = x.shape
    for plane_number in prange(outer * channels):
        o, c = plane_number // channels, plane_number % channels
        plane, g, d = x[o, c], dy[o, c], dx[o, c]
        m, k, s, db = mean[c], rstd[c] * dgamma[c], scale[c], dbeta[c]
        for i in range(inner):
            d[i] = s * (np.float64(g[i]) - db - (np.float64(plane[i]) - m) * k)


def _both(function):
    return entry(function), entry(parallel=True)(function)


layer_norm = _both(_layer_norm)
layer_norm_backward = _both(_layer_norm_backward)
channels_last_statistics = _both(_channels_last_statistics)
channels_last_normalize = _both(_channels_last_normalize)
channels_last_sums = _both(_channels_last_sums)
channels_last_gradient = _both(_channels_last_gradient)
channels_first_statistics = _both(_channels_first_statistics)
channels_first_normalize = _both(_channels_first_normalize)
channels_first_sums = _both(_channels_first_sums)
channels_first_gradient = _both(_channels_first_gradient)
