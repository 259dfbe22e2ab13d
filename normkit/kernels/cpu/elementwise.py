"""Dynamic Tanh on rows, (M, N): elementwise, with gamma and beta a position in the row."""

import numpy as np
from numba import prange

from normkit._jit import leaf
from normkit.kernels.cpu.parallel import block_count, both, flush
from normkit.kernels.cpu.simd import lanes, load, muladd, splat, store, total
from normkit.math.activations import tanh

# Rows summed in the type of the arithmetic before float64 takes over, and the least that make a block
PIECE, LEAST = 32, 8
COLUMNS = 1024  # and columns

_tanh = leaf(tanh)


@leaf
def tanh_row(x, alpha, t):  # row, scalar, row in the type of the arithmetic
    """Write t = tanh(alpha * x)."""
    w, n = lanes(x), x.size
    times = splat(x, alpha)
    for i in range(0, n, w):
        k = min(w, n - i)
        store(t, i, load(x, i, k) * times, k)
    for i in range(n):
        t[i] = _tanh(t[i])


def _dynamic_tanh(x, alpha, gamma, beta, y):  # (M, N), scalar, two (N,), (M, N)
    """Write y = gamma * tanh(alpha * x) + beta."""
    rows, n = x.shape
    blocks = block_count(rows, LEAST)
    for b in prange(blocks):
        t = np.empty(n, gamma.dtype)
        w = lanes(gamma)
        for i in range(b * rows // blocks, (b + 1) * rows // blocks):
            tanh_row(x[i], alpha, t)
            for j in range(0, n, w):
                k = min(w, n - j)
                store(y[i], j, muladd(load(t, j, k), load(gamma, j, k), load(beta, j, k)), k)


@leaf
def gradient_row(dy, x, t, alpha, gamma, dgamma, dbeta, dx):  # three rows, scalar, four rows
    """Write dx = alpha * g * (1 - t**2), g = gamma * dy; add to dgamma and dbeta; return sum(g * (1 - t**2) * x)."""
    w, n = lanes(x), x.size
    one, times = splat(x, 1.0), splat(x, alpha)
    total_dalpha = 0.0
    for start in range(0, n, COLUMNS):
        stop = min(start + COLUMNS, n)
        dalpha = splat(x, 0.0)
        for i in range(start, stop, w):
            k = min(w, stop - i)
            grad, a = load(dy, i, k), load(t, i, k)
            store(dgamma, i, muladd(grad, a, load(dgamma, i, k)), k)
            store(dbeta, i, load(dbeta, i, k) + grad, k)
            g = grad * load(gamma, i, k) * (one - a * a)
            dalpha = muladd(g, load(x, i, k), dalpha)
            store(dx, i, g * times, k)
        total_dalpha += np.float64(total(dalpha))
    return total_dalpha


def _dynamic_tanh_backward(dy, x, alpha, gamma, dx, dgamma, dbeta, dalpha):
    # two (M, N), scalar, (N,), (M, N), two (N,), (1,) float64
    rows, n = x.shape
    blocks = block_count(rows, LEAST)
    part_dgamma, part_dbeta = np.zeros((blocks, n)), np.zeros((blocks, n))
    part_dalpha = np.zeros(blocks)
    for b in prange(blocks):
        sums = np.zeros((3, n), gamma.dtype)
        start, stop = b * rows // blocks, (b + 1) * rows // blocks
        for i in range(start, stop):
            tanh_row(x[i], alpha, sums[2])
            part_dalpha[b] += gradient_row(dy[i], x[i], sums[2], alpha, gamma, sums[0], sums[1], dx[i])
            if (i + 1 - start) % PIECE == 0 or i + 1 == stop:
                flush(sums[0], part_dgamma[b])
                flush(sums[1], part_dbeta[b])
    for b in range(1, blocks):
        flush(part_dgamma[b], part_dgamma[0])
        flush(part_dbeta[b], part_dbeta[0])
        part_dalpha[0] += part_dalpha[b]
    for j in range(n):
        dgamma[j], dbeta[j] = part_dgamma[0, j], part_dbeta[0, j]
    dalpha[0] = part_dalpha[0]


dynamic_tanh = both(_dynamic_tanh)
dynamic_tanh_backward = both(_dynamic_tanh_backward)
