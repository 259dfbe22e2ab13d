"""The norms: one row each in `NORMS`, and how a block computes them with the leaf loops of its kind.

A FEATURE norm works on one feature at a time, a thread's rows need nobody else's. A SAMPLE norm averages over
groups of consecutive features of a sample, which may lie on both sides of a border between threads: each thread
leaves partial sums per group, and after a barrier all of them merge what they need. A new norm is a row here with
its branch, and leaf loops in `normkit.kernels.cpu.feature_major`.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from normkit._jit import leaf
from normkit.engine.sync import share
from normkit.kernels.cpu.feature_major import (
    dynamic_tanh_row,
    dynamic_tanh_row_backward,
    normalize_row,
    normalize_row_backward,
    normalize_samples,
    normalize_samples_backward,
    row_gradient_sums,
    row_moments,
    sample_gradient_sums,
    sample_moments,
    sample_squares,
    scale_row,
    scale_shift_row,
    split_shares,
)

# Which values a norm needs decides where threads must meet: none, FEATURE (of one feature), SAMPLE (of many).
NONE, FEATURE, SAMPLE = 0, 1, 2
_BATCH, GHOST, RENORM, _DYT, _LAYER, _RMS, _GROUP = range(1, 8)


class Norm(NamedTuple):
    """What the engine and the estimators have to know of a norm."""

    code: int
    axis: int
    kind: str  # Keras' name, where it has one
    parameters: tuple = ("gamma", "beta")
    joins: bool = False  # has one mean and variance for the whole batch, wherever its samples are
    moving: bool = False  # has moving statistics, and averages over the batch in training
    centres: bool = True  # takes away or stands in for the bias of a dense layer before it
    grouped: bool = False


NORMS = {
    None: Norm(0, NONE, "", (), centres=False),
    "batch": Norm(_BATCH, FEATURE, "BatchNormalization", joins=True, moving=True),
    "ghost": Norm(GHOST, FEATURE, "BatchNormalization", moving=True),
    "renorm": Norm(RENORM, FEATURE, "BatchNormalization", joins=True, moving=True),
    "dyt": Norm(_DYT, FEATURE, "DynamicTanh", ("gamma", "beta", "alpha"), centres=False),
    "layer": Norm(_LAYER, SAMPLE, "LayerNormalization"),
    "rms": Norm(_RMS, SAMPLE, "RMSNormalization", ("gamma",), centres=False),
    "group": Norm(_GROUP, SAMPLE, "GroupNormalization", grouped=True),
}
BY_CODE = {norm.code: norm for norm in NORMS.values()}


def group_count(norm, size, groups):
    """Number of groups of features that a norm averages over in a layer of `size` units."""
    if not norm.grouped:
        return 1
    if size % groups or size // groups < 2:
        raise ValueError(
            "norm_groups must divide the width of every normalized layer into groups of at least 2 features, "
            f"got norm_groups={groups} for a layer of {size}"
        )
    return groups


def virtual_batches(variants, batch_size, virtual_batch_size):
    """Return the most chunks that a batch of this size is normalized in."""
    return max(1, batch_size // virtual_batch_size) if GHOST in variants else 1


def has_alpha(variants):
    """Whether some block stretches its input by a trainable alpha."""
    return _DYT in variants


class Moving(NamedTuple):
    """Moving statistics, (rows,) each; `batches` is how many a cumulative average holds."""

    mean: np.ndarray
    var: np.ndarray
    batches: np.ndarray  # int64


@leaf
def rstd_of(var, epsilon):
    """Reciprocal of the standard deviation."""
    return 1.0 / np.sqrt(var + epsilon)


@intrinsic
def _multiply_add(context, a, b, c):
    """Return a * b + c in one rounding where the processor can: which product of two is fused is not left to chance."""
    signature = types.float64(types.float64, types.float64, types.float64)

    def codegen(context, builder, signature, arguments):
        double = arguments[0].type
        kind = ir.FunctionType(double, [double] * 3)
        return builder.call(builder.module.declare_intrinsic("llvm.fmuladd", [double], kind), arguments)

    return signature, codegen


@leaf
def take_in(keep, mean, var, moving_mean, moving_var, count, j):
    """Move the statistics of row j; a negative `keep` averages all batches alike. Numbers stay finite."""
    t = moving_mean.dtype.type
    cumulative = keep < 0.0
    if cumulative:
        keep = count[j] / (count[j] + 1.0)
    m = t(_multiply_add(keep, np.float64(moving_mean[j]), (1.0 - keep) * mean))
    v = t(_multiply_add(keep, np.float64(moving_var[j]), (1.0 - keep) * var))
    if np.isfinite(m) and np.isfinite(v):
        moving_mean[j] = m
        moving_var[j] = v
        if cumulative:
            count[j] += 1


@leaf
def correction(epsilon, r_max, d_max, mean, var, moving_mean, moving_var):
    """Return r and d of Batch Renormalization, by which the batch's statistics become the moving ones, clipped."""
    scale = rstd_of(np.float64(moving_var), epsilon)
    r = np.sqrt(var + epsilon) * scale
    d = (mean - np.float64(moving_mean)) * scale
    return min(max(r, 1.0 / r_max), r_max), min(max(d, -d_max), d_max)


@leaf(inline=True)
def is_frozen(settings):
    """Whether the moving statistics take the place of the batch's."""
    return settings.frozen or not settings.training


@leaf(inline=True)
def _chunk(plan, settings, b, n):
    """Size of the consecutive chunks of the batch that share statistics; the last one takes the remainder."""
    size = settings.virtual_batch_size
    return size if plan.variant[b] == GHOST and not is_frozen(settings) and n >= 2 * size else max(n, 1)


@leaf(inline=True)
def _shares_apart(settings, chunk, n):
    """Whether the samples' weights in what is averaged over are other ones than in the batch."""
    return chunk < n or settings.joined


@leaf(inline=True)
def begin_batch(thread, plan, settings, work, b, n):
    """Prepare what all rows of a block need."""
    chunk = _chunk(plan, settings, b, n)
    work.chunk_weight[thread, 0] = 1.0
    if _shares_apart(settings, chunk, n):
        split_shares(work.share[:n], chunk, work.chunk_share[thread], work.chunk_weight[thread])


@leaf
def _normalize_chunk(
    training, renorm, keep, epsilon, r_max, d_max, c, first, last, weight, source, shares, gamma, beta, moving_mean,
    moving_var, count, rstd, factor, offset, xhat, y,
):  # fmt: skip
    """Samples first to last, chunk c of the batch, of a group of features."""
    t = source.dtype.type
    shares = shares[first:last]
    for j in range(source.shape[0]):
        x, h = source[j, first:last], xhat[j, first:last]
        scale, shift = gamma[j], beta[j]
        if training:
            high, low, var = row_moments(x, shares)
            mean = np.float64(high) + np.float64(low)
            if renorm:
                r, d = correction(epsilon, r_max, d_max, mean, var, moving_mean[j], moving_var[j])
                factor[j], offset[j] = t(r), t(d)
                scale, shift = gamma[j] * t(r), beta[j] + gamma[j] * t(d)
            if weight > 0.0:
                take_in(keep, mean, var, moving_mean, moving_var, count, j)
        else:
            high, low, var = moving_mean[j], t(0), np.float64(moving_var[j])
        rstd[j, c] = t(rstd_of(var, epsilon))
        normalize_row(x, high, low, rstd[j, c], h)
        scale_shift_row(h, scale, shift, y[j, first:last])


@leaf(inline=True)
def normalize_rows(thread, plan, settings, params, moving, work, b, n, s, e, source, y):
    """FEATURE norm of rows s to e of the buffers: y = norm(source), which may be one array."""
    start, variant = plan.rows[b], plan.variant[b]
    gamma = params[plan.gamma[b] + s - start : plan.gamma[b] + e - start]
    beta = params[plan.beta[b] + s - start : plan.beta[b] + e - start]
    if variant == _DYT:
        alpha = params[plan.alpha[b]]
        for j in range(s, e):
            if settings.training:
                raw, x = work.raw[j], source[j]
                for i in range(n):
                    raw[i] = x[i]
            dynamic_tanh_row(source[j, :n], alpha, work.xhat[j, :n])
            scale_shift_row(work.xhat[j, :n], gamma[j - s], beta[j - s], y[j, :n])
        return
    frozen, chunk = is_frozen(settings), _chunk(plan, settings, b, n)
    chunks = n // chunk
    shares = work.chunk_share[thread] if _shares_apart(settings, chunk, n) else work.share  # weights within a chunk
    for c in range(chunks):
        _normalize_chunk(
            not frozen, variant == RENORM, settings.norm_momentum, settings.norm_epsilon, settings.renorm_r_max,
            settings.renorm_d_max, c, c * chunk, n if c == chunks - 1 else (c + 1) * chunk,
            work.chunk_weight[thread, c], source[s:e], shares, gamma, beta, moving.mean[s:e], moving.var[s:e],
            moving.batches[s:e], work.rstd[s:e], work.correction[0, s:e], work.correction[1, s:e],
            work.xhat[s:e], y[s:e],
        )  # fmt: skip


@leaf(inline=True)
def normalize_rows_backward(thread, plan, settings, params, work, b, n, s, e, dgamma, dbeta):
    """Gradient of `normalize_rows` in place of delta; returns the rows' part of alpha's gradient.

    dgamma and dbeta, (e - s,), receive the gradients of these rows. r and d of a renormalization are constants.
    """
    start, variant = plan.rows[b], plan.variant[b]
    slope = 0.0
    if variant == _DYT:
        alpha = params[plan.alpha[b]]
        for j in range(s, e):
            gamma, d, xhat = params[plan.gamma[b] + j - start], work.delta[j, :n], work.xhat[j, :n]
            dbeta[j - s], dgamma[j - s] = row_gradient_sums(d, xhat)
            slope += np.float64(gamma) * np.float64(dynamic_tanh_row_backward(d, work.raw[j, :n], xhat, gamma * alpha))
        return slope
    frozen, chunk = is_frozen(settings), _chunk(plan, settings, b, n)
    chunks = n // chunk
    renorm = variant == RENORM and not frozen
    if n == 0:  # a process without samples
        dgamma[: e - s], dbeta[: e - s] = 0, 0
    shares = work.chunk_share[thread] if _shares_apart(settings, chunk, n) else work.share  # weights within a chunk
    for c in range(chunks):
        first, last = c * chunk, n if c == chunks - 1 else (c + 1) * chunk
        part = shares[first:last]
        for j in range(s, e):
            d, xhat = work.delta[j, first:last], work.xhat[j, first:last]
            total, dot = row_gradient_sums(d, xhat)
            scale = params[plan.gamma[b] + j - start] * work.rstd[j, c]
            if frozen:
                scale_row(d, scale)
            else:
                if renorm:
                    scale *= work.correction[0, j]
                normalize_row_backward(d, xhat, part, scale, total, dot)
            if c == 0:
                dbeta[j - s], dgamma[j - s] = total, dot
            else:
                dbeta[j - s] += total
                dgamma[j - s] += dot
    if renorm:
        for j in range(s, e):
            dgamma[j - s] = work.correction[0, j] * dgamma[j - s] + work.correction[1, j] * dbeta[j - s]
    return slope


# SAMPLE norms. Thread k's part of group g leaves its sums in row g + k of the buffers: the parts follow each other
# like the features, and where a border of a group is one between threads too, a row is left out.


@leaf
def groups_of(plan, b, j0, j1):
    """Return the range of groups that features j0 to j1 > j0 belong to, and the features of a group."""
    size = plan.sizes[b] // plan.groups[b]
    return j0 // size, (j1 - 1) // size + 1, size


@leaf(inline=True)
def no_partials(thread, plan, work, b, n, j0):
    """Leave nothing, as a thread without features does; it may stand between two that share a group."""
    work.partial[j0 * plan.groups[b] // plan.sizes[b] + thread, :, :n] = 0


@leaf(inline=True)
def sample_partials(thread, plan, work, b, n, j0, j1, source):
    """Leave this thread's statistics of each sample and group."""
    g0, g1, size = groups_of(plan, b, j0, j1)
    start = plan.rows[b]
    for g in range(g0, g1):
        x = source[start + max(j0, g * size) : start + min(j1, (g + 1) * size)]
        p = work.partial[g + thread]
        if plan.variant[b] == _RMS:
            sample_squares(x, n, p[0], p[1], p[2])
        else:
            sample_moments(x, n, p[0], p[1], p[2])


@leaf
def _part(features, thread, threads, first, last):
    """Number of features of a thread between first and last."""
    j0, j1 = share(features, thread, threads)
    return max(min(j1, last) - max(j0, first), 0)


@leaf
def _threads_between(features, threads, first, last):
    """Return the range of threads to which features first to last belong; some within may have none."""
    k0 = 0
    while share(features, k0, threads)[1] <= first:
        k0 += 1
    k1 = k0 + 1
    while share(features, k1 - 1, threads)[1] < last:
        k1 += 1
    return k0, k1


@leaf(inline=True)
def merge_moments(thread, threads, plan, settings, work, b, n, g, size):
    """Statistics of each sample in group g from those of the threads, in their order (Chan, Golub, LeVeque 1979)."""
    features, first, last = plan.sizes[b], g * size, (g + 1) * size
    k0, k1 = _threads_between(features, threads, first, last)
    high, low, rstd = work.merged[thread, 0], work.merged[thread, 1], work.sample_rstd[b, g + thread]
    t = rstd.dtype.type
    for i in range(n):
        mean = 0.0
        for k in range(k0, k1):
            count = _part(features, k, threads, first, last)
            mean += count * np.float64(work.partial[g + k, 0, i]) + np.float64(work.partial[g + k, 1, i])
        mean /= size
        squares = 0.0
        for k in range(k0, k1):
            count = _part(features, k, threads, first, last)
            sums, second = np.float64(work.partial[g + k, 1, i]), np.float64(work.partial[g + k, 2, i])
            # around the merged mean instead of the thread's own
            shift = np.float64(work.partial[g + k, 0, i]) - mean
            squares += second + shift * (2.0 * sums + count * shift)
        high[i] = t(mean)
        low[i] = t(mean - np.float64(high[i]))
        rstd[i] = t(1.0 / np.sqrt(max(squares, 0.0) / size + settings.norm_epsilon))


@leaf(inline=True)
def normalize_sample_rows(thread, plan, params, work, b, n, g, first, last, source, y):
    """SAMPLE norm of features first to last, of group g, with its merged statistics."""
    start = plan.rows[b]
    high, low, rstd = work.merged[thread, 0, :n], work.merged[thread, 1, :n], work.sample_rstd[b, g + thread, :n]
    zero = params.dtype.type(0)
    for j in range(first, last):
        xhat = work.xhat[start + j, :n]
        normalize_samples(source[start + j, :n], high, low, rstd, xhat)
        beta = params[plan.beta[b] + j] if plan.beta[b] >= 0 else zero
        scale_shift_row(xhat, params[plan.gamma[b] + j], beta, y[start + j, :n])


@leaf(inline=True)
def sample_gradient_partials(thread, plan, params, work, b, n, j0, j1):
    """Leave this thread's sums of the gradient of each sample and group."""
    g0, g1, size = groups_of(plan, b, j0, j1)
    start = plan.rows[b]
    for g in range(g0, g1):
        first, last = max(j0, g * size), min(j1, (g + 1) * size)
        s, e = start + first, start + last
        gamma = params[plan.gamma[b] + first : plan.gamma[b] + last]
        p = work.partial[g + thread]
        sample_gradient_sums(work.delta[s:e], work.xhat[s:e], gamma, n, p[0], p[1])


@leaf(inline=True)
def normalize_sample_rows_backward(thread, threads, plan, params, work, b, n, j0, j1):
    """Gradient of a SAMPLE norm in place of delta, from the sums of all threads."""
    g0, g1, size = groups_of(plan, b, j0, j1)
    start, features = plan.rows[b], plan.sizes[b]
    total, dot = work.merged[thread, 0], work.merged[thread, 1]
    t = params.dtype.type
    for g in range(g0, g1):
        k0, k1 = _threads_between(features, threads, g * size, (g + 1) * size)
        for i in range(n):
            a, c = t(0), t(0)
            for k in range(k0, k1):
                a += work.partial[g + k, 0, i]
                c += work.partial[g + k, 1, i]
            # without centring the mean of the gradient stays
            total[i] = t(0) if plan.variant[b] == _RMS else a / t(size)
            dot[i] = c / t(size)
        rstd = work.sample_rstd[b, g + thread, :n]
        for j in range(max(j0, g * size), min(j1, (g + 1) * size)):
            d, xhat = work.delta[start + j, :n], work.xhat[start + j, :n]
            normalize_samples_backward(d, xhat, params[plan.gamma[b] + j], rstd, total[:n], dot[:n])
