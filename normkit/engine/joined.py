"""One thread's share of what a step does differently where several processes train on parts of one batch.

A norm over the batch leaves the moments of the process' own samples, or the sums of its gradient, in a buffer; when
the processes have exchanged them, the second half of the pass goes on with those of the joined batch. Gradients are
stored, summed over the processes, and then every process does the same update.
"""

import numpy as np

from normkit._jit import leaf
from normkit.engine.norms import FEATURE, RENORM, correction, rstd_of, take_in
from normkit.engine.optimizers import step_parameters
from normkit.engine.sync import share
from normkit.kernels.cpu.feature_major import (
    normalize_row,
    normalize_row_backward,
    row_gradient_sums,
    row_moments,
    scale_shift_row,
)

# columns of the table of batches, `Work.joined`; then the share of each process in the weight of the batch
WEIGHT, SAMPLES, FIRST, WIDTH, SHARES = range(5)


@leaf(inline=True)
def is_merged(plan, settings, b):
    """Whether block b's norm averages over the samples of all processes: then all norms of the network do."""
    return settings.synchronized and plan.norm[b] == FEATURE


@leaf(inline=True)
def leave_moments(thread, plan, work, b, n, j0, j1, source):
    """Leave mean and variance of this process' samples, features j0 to j1."""
    start, size = plan.rows[b], plan.sizes[b]
    shares = work.chunk_share[thread, :n]  # weights within the process
    for j in range(j0, j1):
        high, low, var = row_moments(source[start + j, :n], shares)
        work.moments[j] = np.float64(high) + np.float64(low)
        work.moments[size + j] = var


@leaf(inline=True)
def _merged_moments(gathered, shares, size, j):  # (processes * 2 * size,), (processes,), scalars
    """Mean and variance of feature j over all processes (Chan, Golub, LeVeque 1979)."""
    mean, var = 0.0, 0.0
    for q in range(shares.size):
        mean += shares[q] * gathered[2 * size * q + j]
    for q in range(shares.size):
        shift = gathered[2 * size * q + j] - mean
        var += shares[q] * (gathered[2 * size * q + size + j] + shift * shift)
    return mean, var


@leaf(inline=True)
def normalize_merged_rows(plan, settings, params, moving, work, b, n, k, s, e, source, y):
    """Norm over the joined batch k of rows s to e of the buffers: y = norm(source), which may be one array."""
    start, size, t = plan.rows[b], plan.sizes[b], params.dtype.type
    shares = work.joined[k, SHARES:]
    for j in range(s, e):
        mean, var = _merged_moments(work.gathered, shares, size, j - start)
        high = t(mean)
        low = t(mean - np.float64(high))
        gamma, beta = params[plan.gamma[b] + j - start], params[plan.beta[b] + j - start]
        if plan.variant[b] == RENORM:
            r, d = correction(
                settings.norm_epsilon, settings.renorm_r_max, settings.renorm_d_max, mean, var, moving.mean[j],
                moving.var[j],
            )  # fmt: skip
            work.correction[0, j], work.correction[1, j] = t(r), t(d)
            gamma, beta = gamma * t(r), beta + gamma * t(d)
        take_in(settings.norm_momentum, mean, var, moving.mean, moving.var, moving.batches, j)
        rstd = t(rstd_of(var, settings.norm_epsilon))
        work.rstd[j, 0] = rstd
        normalize_row(source[j, :n], high, low, rstd, work.xhat[j, :n])
        scale_shift_row(work.xhat[j, :n], gamma, beta, y[j, :n])


@leaf(inline=True)
def leave_gradient_sums(plan, work, b, n, s, e, dgamma, dbeta):
    """Leave this process' sums of the gradient of rows s to e; dgamma and dbeta, (e - s,), are its part of theirs."""
    start, size = plan.rows[b], plan.sizes[b]
    for j in range(s, e):
        total, dot = row_gradient_sums(work.delta[j, :n], work.xhat[j, :n])
        work.moments[j - start], work.moments[size + j - start] = np.float64(total), np.float64(dot)
        dbeta[j - s], dgamma[j - s] = total, dot
        if plan.variant[b] == RENORM:
            dgamma[j - s] = work.correction[0, j] * dot + work.correction[1, j] * total


@leaf(inline=True)
def normalize_merged_rows_backward(plan, params, work, b, n, s, e):
    """Gradient of `normalize_merged_rows` in place of delta, from the sums of all processes."""
    start, size, t = plan.rows[b], plan.sizes[b], params.dtype.type
    for j in range(s, e):
        scale = params[plan.gamma[b] + j - start] * work.rstd[j, 0]
        if plan.variant[b] == RENORM:
            scale *= work.correction[0, j]
        total, dot = t(work.moments[j - start]), t(work.moments[size + j - start])
        normalize_row_backward(work.delta[j, :n], work.xhat[j, :n], work.share[:n], scale, total, dot)


@leaf(inline=True)
def apply_gradient(thread, threads, plan, settings, rate, decay, shrink, params, first, second, work, b):
    """Update this thread's parameters of block b with the joined gradient; returns the sum of squared weights."""
    j0, j1 = share(plan.sizes[b], thread, threads)
    squares, g = 0.0, work.gradient
    if b > 0:
        fan_in = plan.sizes[b - 1]
        s, e = plan.weight[b] + j0 * fan_in, plan.weight[b] + j1 * fan_in
        squares = step_parameters(settings, rate, decay, shrink, params[s:e], g[s:e], first[s:e], second[s:e])
    for kind in range(4):
        if kind == 0:
            start, wanted = plan.bias[b], True
        elif kind == 1:
            start, wanted = plan.gamma[b], settings.train_gamma
        elif kind == 2:
            start, wanted = plan.beta[b], settings.train_beta
        else:
            start, wanted = plan.alpha[b], settings.train_alpha and thread == 0
        if start >= 0 and wanted:
            s, e = (start, start + 1) if kind == 3 else (start + j0, start + j1)
            step_parameters(settings, rate, 0.0, 1.0, params[s:e], g[s:e], first[s:e], second[s:e])
    return squares
