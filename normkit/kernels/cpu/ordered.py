"""Sums over a row in one fixed order, so that every compiled form of a kernel gives the same bits.

A compiler that may reorder a sum does so differently in serial and in parallel code, and differently again in
code that comes from the cache. Interleaved partial sums, added pairwise at the end, vectorize without that
permission.
"""

import numpy as np

from normkit._jit import leaf


@leaf
def deviation_sum(x, shift):  # (n,), float64
    """Return sum(x - shift)."""
    a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = 0.0
    whole = x.size // 8
    for k in range(whole):
        p = x[8 * k : 8 * k + 8]
        a0 += np.float64(p[0]) - shift
        a1 += np.float64(p[1]) - shift
        a2 += np.float64(p[2]) - shift
        a3 += np.float64(p[3]) - shift
        a4 += np.float64(p[4]) - shift
        a5 += np.float64(p[5]) - shift
        a6 += np.float64(p[6]) - shift
        a7 += np.float64(p[7]) - shift
    for i in range(8 * whole, x.size):
        a0 += np.float64(x[i]) - shift
    return ((a0 + a4) + (a2 + a6)) + ((a1 + a5) + (a3 + a7))


@leaf
def square_sum(x, mean):  # (n,), float64
    """Return sum((x - mean)**2)."""
    a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = 0.0
    whole = x.size // 8
    for k in range(whole):
        p = x[8 * k : 8 * k + 8]
        d0, d1 = np.float64(p[0]) - mean, np.float64(p[1]) - mean
        d2, d3 = np.float64(p[2]) - mean, np.float64(p[3]) - mean
        d4, d5 = np.float64(p[4]) - mean, np.float64(p[5]) - mean
        d6, d7 = np.float64(p[6]) - mean, np.float64(p[7]) - mean
        a0 += d0 * d0
        a1 += d1 * d1
        a2 += d2 * d2
        a3 += d3 * d3
        a4 += d4 * d4
        a5 += d5 * d5
        a6 += d6 * d6
        a7 += d7 * d7
    for i in range(8 * whole, x.size):
        d = np.float64(x[i]) - mean
        a0 += d * d
    return ((a0 + a4) + (a2 + a6)) + ((a1 + a5) + (a3 + a7))


@leaf
def statistics(x):  # (n,)
    """Return mean and biased variance; the first value shifts the sums so that they stay small."""
    shift = np.float64(x[0])
    mean = shift + deviation_sum(x, shift) / x.size
    return mean, square_sum(x, mean) / x.size


@leaf
def sums_with_xhat(dy, x, mean, rstd):  # (n,), (n,), float64 scalars
    """Return sum(dy) and sum(dy * (x - mean) * rstd)."""
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = 0.0
    whole = x.size // 4
    for k in range(whole):
        g, p = dy[4 * k : 4 * k + 4], x[4 * k : 4 * k + 4]
        t0, t1, t2, t3 = np.float64(g[0]), np.float64(g[1]), np.float64(g[2]), np.float64(g[3])
        a0 += t0
        a1 += t1
        a2 += t2
        a3 += t3
        b0 += t0 * (np.float64(p[0]) - mean)
        b1 += t1 * (np.float64(p[1]) - mean)
        b2 += t2 * (np.float64(p[2]) - mean)
        b3 += t3 * (np.float64(p[3]) - mean)
    for i in range(4 * whole, x.size):
        t = np.float64(dy[i])
        a0 += t
        b0 += t * (np.float64(x[i]) - mean)
    return (a0 + a2) + (a1 + a3), rstd * ((b0 + b2) + (b1 + b3))


@leaf
def scaled_sums_with_xhat(dy, gamma, x, mean, rstd):  # three (n,), float64 scalars
    """Return sum(g) and sum(g * (x - mean) * rstd), g = dy * gamma."""
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = 0.0
    whole = x.size // 4
    for k in range(whole):
        g, s, p = dy[4 * k : 4 * k + 4], gamma[4 * k : 4 * k + 4], x[4 * k : 4 * k + 4]
        t0, t1 = np.float64(g[0]) * s[0], np.float64(g[1]) * s[1]
        t2, t3 = np.float64(g[2]) * s[2], np.float64(g[3]) * s[3]
        a0 += t0
        a1 += t1
        a2 += t2
        a3 += t3
        b0 += t0 * (np.float64(p[0]) - mean)
        b1 += t1 * (np.float64(p[1]) - mean)
        b2 += t2 * (np.float64(p[2]) - mean)
        b3 += t3 * (np.float64(p[3]) - mean)
    for i in range(4 * whole, x.size):
        t = np.float64(dy[i]) * gamma[i]
        a0 += t
        b0 += t * (np.float64(x[i]) - mean)
    return (a0 + a2) + (a1 + a3), rstd * ((b0 + b2) + (b1 + b3))
