"""One thread's share of one block, forward and backward.

A thread owns a contiguous range of features. Everything of a FEATURE norm, the activation, the weight gradient
and the update needs those rows alone; a SAMPLE norm needs the other threads' partial sums, hence the second
half of each pass (`*_finish`), run after a barrier and for such blocks only. Buffers are views of the thread's
rows, (features, width), of which the first n columns are the batch; what elementwise code does to the columns
beyond is never read.
"""

import numpy as np

from normkit._jit import leaf
from normkit.engine.blas import matmul
from normkit.engine.optimizers import update
from normkit.engine.plan import FEATURE, NONE, SAMPLE, tile_rows_compiled
from normkit.kernels.cpu.feature_major import (
    add_to_row,
    normalize_row,
    normalize_row_backward,
    normalize_samples,
    normalize_samples_backward,
    row_gradient_sums,
    row_moments,
    row_sum,
    sample_gradient_sums,
    sample_moments,
    scale_shift_row,
)
from normkit.math.activations import activate, activate_backward

# Elements of a group of rows that pass through norm, activation and dropout together: they stay in first-level cache
_GROUP = 2048


@leaf
def share(n, thread, threads):
    """Return (start, stop) of a thread's part of n."""
    return n * thread // threads, n * (thread + 1) // threads


@leaf
def _group_rows(width):
    return max(1, _GROUP // width)


@leaf
def _uniform(seed, step, k):
    """A float64 in [0, 1) that depends on three integers alone (splitmix64, Steele et al. 2014)."""
    x = np.uint64(seed) + np.uint64(step) * np.uint64(0xD1B54A32D192ED03) + np.uint64(k) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x = x ^ (x >> np.uint64(31))
    return np.float64(x >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@leaf(inline=True)
def _drops(plan, settings, b):
    return settings.training and plan.dropout[b] > 0.0


@leaf(inline=True)
def _activation_output(plan, work, settings, b):
    """Where the activation's output lies: apart from the block's output if a norm or dropout follows it."""
    if _drops(plan, settings, b) or (plan.after[b] == 1 and plan.norm[b] != NONE):
        return work.post
    return work.out


@leaf
def _dropout(rate, seed, step, first, a, out, keep):  # scalars and three (n,)
    """Write out = a * keep, keep 0 with probability `rate`, else 1 / (1 - rate)."""
    t = out.dtype.type
    scale, zero = t(1.0 / (1.0 - rate)), t(0)
    for i in range(a.size):
        keep[i] = scale if _uniform(seed, step, first + i) >= rate else zero
    for i in range(a.size):
        out[i] = a[i] * keep[i]


@leaf(inline=True)
def _dense(small, plan, params, work, b, j0, j1, n):
    """Pre = weight @ input (+ bias) for features j0 to j1; for block 0 the transposed input itself."""
    start = plan.rows[b]
    pre = work.pre[start + j0 : start + j1]
    if b == 0:
        for j in range(j0, j1):
            row = pre[j - j0]
            for i in range(n):
                row[i] = work.batch[i, j]
        return
    fan_in, width = plan.sizes[b - 1], work.pre.shape[1]
    weight = params[plan.weight[b] + j0 * fan_in :]
    flat = pre.reshape(pre.size)
    if b == 1 and plan.norm[0] == NONE:
        batch = work.batch.reshape(work.batch.size)
        matmul(small, weight, batch, flat, fan_in, fan_in, width, j1 - j0, n, fan_in, False, True)
    else:
        below = work.out[plan.rows[b - 1] :]
        matmul(small, weight, below.reshape(below.size), flat, fan_in, width, width, j1 - j0, n, fan_in, False, False)
    if plan.bias[b] >= 0:
        bias = params[plan.bias[b] + j0 : plan.bias[b] + j1]
        for j in range(j1 - j0):
            add_to_row(pre[j, :n], bias[j])


@leaf
def _normalize_features(
    training, keep, epsilon, n, source, share, gamma, beta, moving_mean, moving_var, rstd, xhat, y
):  # fmt: skip
    # scalars, (rows, width), (n,), five (rows,), two (rows, width)
    """BatchNorm of a group of features: statistics of the batch in training, moving ones else."""
    t = source.dtype.type
    for j in range(source.shape[0]):
        x = source[j, :n]
        if training:
            high, low, var = row_moments(x, share)
            mean = np.float64(high) + np.float64(low)
            moving_mean[j] = t(keep * moving_mean[j] + (1.0 - keep) * mean)
            moving_var[j] = t(keep * moving_var[j] + (1.0 - keep) * var)
        else:
            high, low, var = moving_mean[j], t(0), np.float64(moving_var[j])
        rstd[j] = t(1.0 / np.sqrt(var + epsilon))
        normalize_row(x, high, low, rstd[j], xhat[j, :n])
        scale_shift_row(xhat[j, :n], gamma[j], beta[j], y[j, :n])


@leaf(inline=True)
def forward(thread, threads, plan, settings, params, moving_mean, moving_var, work, b, n, step):
    """First half: everything, unless the block has a SAMPLE norm; then up to this thread's partial statistics."""
    j0, j1 = share(plan.sizes[b], thread, threads)
    if j1 == j0:
        if plan.norm[b] == SAMPLE:
            sample_moments(work.pre[:0], n, work.partial[thread, 0], work.partial[thread, 1], work.partial[thread, 2])
        return
    _dense(settings.small_product, plan, params, work, b, j0, j1, n)
    norm, after, code = plan.norm[b], plan.after[b] == 1, plan.activation[b]
    start = plan.rows[b]
    activated = _activation_output(plan, work, settings, b)
    group = _group_rows(work.pre.shape[1])
    if norm == SAMPLE:
        if after:
            _activate_rows(code, work.pre[start + j0 : start + j1], activated[start + j0 : start + j1])
        source = activated if after else work.pre
        p = work.partial[thread]
        sample_moments(source[start + j0 : start + j1], n, p[0], p[1], p[2])
        return
    for g0 in range(j0, j1, group):
        g1 = min(g0 + group, j1)
        s, e = start + g0, start + g1
        if after or norm == NONE:
            _activate_rows(code, work.pre[s:e], activated[s:e])
        if norm == FEATURE:
            source = activated if after else work.pre
            y = work.out if after else work.pre
            gamma, beta = plan.gamma[b], plan.beta[b]
            _normalize_features(
                settings.training, settings.norm_momentum, settings.norm_epsilon, n, source[s:e], work.share[:n],
                params[gamma + g0 : gamma + g1], params[beta + g0 : beta + g1], moving_mean[s:e], moving_var[s:e],
                work.rstd[s:e], work.xhat[s:e], y[s:e],
            )  # fmt: skip
            if not after:
                _activate_rows(code, work.pre[s:e], activated[s:e])
        _drop_rows(plan, settings, work, b, step, s, e)


@leaf
def _activate_rows(code, z, a):  # scalar, two (rows, width)
    activate(code, z.reshape(z.size), a.reshape(a.size))


@leaf(inline=True)
def _drop_rows(plan, settings, work, b, step, s, e):
    """Dropout on rows s to e: of the norm's output where the norm comes last, else of the activation's."""
    if _drops(plan, settings, b):
        source = work.out if plan.after[b] == 1 and plan.norm[b] != NONE else work.post
        size = (e - s) * work.out.shape[1]
        _dropout(
            plan.dropout[b], settings.seed, step, s * work.out.shape[1],
            source[s:e].reshape(size), work.out[s:e].reshape(size), work.keep[s:e].reshape(size),
        )  # fmt: skip


@leaf(inline=True)
def _merge_moments(plan, settings, work, b, thread, threads, n):
    """Statistics of each sample from those of the threads, in their order (Chan, Golub, LeVeque 1979)."""
    size = plan.sizes[b]
    high, low, rstd = work.merged[thread, 0], work.merged[thread, 1], work.sample_rstd[b, thread]
    t = rstd.dtype.type
    for i in range(n):
        mean = 0.0
        for k in range(threads):
            k0, k1 = share(size, k, threads)
            mean += (k1 - k0) * np.float64(work.partial[k, 0, i]) + np.float64(work.partial[k, 1, i])
        mean /= size
        squares = 0.0
        for k in range(threads):
            k0, k1 = share(size, k, threads)
            first, second = np.float64(work.partial[k, 1, i]), np.float64(work.partial[k, 2, i])
            # around the merged mean instead of the thread's own
            shift = np.float64(work.partial[k, 0, i]) - mean
            squares += second + shift * (2.0 * first + (k1 - k0) * shift)
        high[i] = t(mean)
        low[i] = t(mean - np.float64(high[i]))
        rstd[i] = t(1.0 / np.sqrt(max(squares, 0.0) / size + settings.norm_epsilon))


@leaf(inline=True)
def forward_finish(thread, threads, plan, settings, params, work, b, n, step):
    """Second half of a SAMPLE norm: merge the statistics, normalize, activate."""
    _merge_moments(plan, settings, work, b, thread, threads, n)
    high, low = work.merged[thread, 0, :n], work.merged[thread, 1, :n]
    rstd = work.sample_rstd[b, thread, :n]
    code, after, start = plan.activation[b], plan.after[b] == 1, plan.rows[b]
    activated = _activation_output(plan, work, settings, b)
    source = activated if after else work.pre
    y = work.out if after else work.pre
    j0, j1 = share(plan.sizes[b], thread, threads)
    group = _group_rows(work.pre.shape[1])
    for g0 in range(j0, j1, group):
        g1 = min(g0 + group, j1)
        for j in range(g0, g1):
            xhat = work.xhat[start + j, :n]
            normalize_samples(source[start + j, :n], high, low, rstd, xhat)
            scale_shift_row(xhat, params[plan.gamma[b] + j], params[plan.beta[b] + j], y[start + j, :n])
        if not after:
            _activate_rows(code, work.pre[start + g0 : start + g1], activated[start + g0 : start + g1])
        _drop_rows(plan, settings, work, b, step, start + g0, start + g1)


@leaf(inline=True)
def _activate_rows_backward(plan, settings, work, b, s, e):
    activated = _activation_output(plan, work, settings, b)
    size = (e - s) * work.pre.shape[1]
    activate_backward(
        plan.activation[b],
        work.pre[s:e].reshape(size),
        activated[s:e].reshape(size),
        work.delta[s:e].reshape(size),
    )


@leaf(inline=True)
def backward(thread, threads, plan, settings, rate, params, first, second, work, b, n):
    """First half: delta of the block above comes down, and becomes the gradient of this block's dense output."""
    j0, j1 = share(plan.sizes[b], thread, threads)
    norm, after, start = plan.norm[b], plan.after[b] == 1, plan.rows[b]
    width = work.pre.shape[1]
    if j1 == j0:
        if norm == SAMPLE:
            work.partial[thread, :2, :n] = 0
        return
    if b < plan.sizes.size - 1:
        above = work.delta[plan.rows[b + 1] :]
        mine = work.delta[start + j0 : start + j1]
        matmul(
            settings.small_product, params[plan.weight[b + 1] + j0 :], above.reshape(above.size),
            mine.reshape(mine.size), plan.sizes[b], width, width, j1 - j0, n, plan.sizes[b + 1], True, False,
        )  # fmt: skip
    group = _group_rows(width)
    dgamma, dbeta = work.vectors[thread, 1], work.vectors[thread, 2]
    for g0 in range(j0, j1, group):
        g1 = min(g0 + group, j1)
        s, e = start + g0, start + g1
        if _drops(plan, settings, b):
            size = (e - s) * width
            d, keep = work.delta[s:e].reshape(size), work.keep[s:e].reshape(size)
            for i in range(size):
                d[i] *= keep[i]
        if not after or norm == NONE:
            _activate_rows_backward(plan, settings, work, b, s, e)
        if norm != NONE:
            for j in range(g0, g1):
                d, xhat = work.delta[start + j, :n], work.xhat[start + j, :n]
                dbeta[j - j0], dgamma[j - j0] = row_gradient_sums(d, xhat)
                if norm == FEATURE:
                    scale = params[plan.gamma[b] + j] * work.rstd[start + j]
                    normalize_row_backward(d, xhat, work.share[:n], scale, dbeta[j - j0], dgamma[j - j0])
        if norm == FEATURE and after:
            _activate_rows_backward(plan, settings, work, b, s, e)
    if norm == SAMPLE:
        s, e = start + j0, start + j1
        gamma = params[plan.gamma[b] + j0 : plan.gamma[b] + j1]
        sample_gradient_sums(
            work.delta[s:e], work.xhat[s:e], gamma, n, work.partial[thread, 0], work.partial[thread, 1]
        )
    else:
        _update_vectors(thread, plan, settings, rate, params, first, second, work, b, j0, j1, n)


@leaf(inline=True)
def backward_finish(thread, threads, plan, settings, rate, params, first, second, work, b, n):
    """Second half of a SAMPLE norm: its gradient from the sums of all threads."""
    size, start = plan.sizes[b], plan.rows[b]
    total, dot, rstd = work.merged[thread, 0], work.merged[thread, 1], work.sample_rstd[b, thread, :n]
    t = params.dtype.type
    for i in range(n):
        a, c = t(0), t(0)
        for k in range(threads):
            a += work.partial[k, 0, i]
            c += work.partial[k, 1, i]
        total[i] = a / t(size)
        dot[i] = c / t(size)
    j0, j1 = share(size, thread, threads)
    if j1 == j0:
        return
    for j in range(j0, j1):
        d, xhat = work.delta[start + j, :n], work.xhat[start + j, :n]
        normalize_samples_backward(d, xhat, params[plan.gamma[b] + j], rstd, total[:n], dot[:n])
    if plan.after[b] == 1:
        _activate_rows_backward(plan, settings, work, b, start + j0, start + j1)
    _update_vectors(thread, plan, settings, rate, params, first, second, work, b, j0, j1, n)


@leaf(inline=True)
def _update_vectors(thread, plan, settings, rate, params, first, second, work, b, j0, j1, n):
    """Update the bias, gamma and beta of features j0 to j1."""
    count = j1 - j0
    for kind in range(3):
        g = work.vectors[thread, kind, :count]
        if kind == 0:
            start, wanted = plan.bias[b], plan.bias[b] >= 0
            if wanted:
                for j in range(count):
                    g[j] = row_sum(work.delta[plan.rows[b] + j0 + j, :n])
        elif kind == 1:
            start, wanted = plan.gamma[b], plan.norm[b] != NONE and settings.train_gamma
        else:
            start, wanted = plan.beta[b], plan.norm[b] != NONE and settings.train_beta
        if wanted:
            s, e = start + j0, start + j1
            update(settings, rate, 0.0, 1.0, params[s:e], g, first[s:e], second[s:e])


@leaf(inline=True)
def update_weights(thread, threads, plan, settings, rate, decay, shrink, params, first, second, work, b, n):
    """Weight gradient from delta and the block's input, and the update; returns the sum of squared weights.

    Tile by tile, so that the gradient is still in cache when the optimizer reads it, and never stored whole.
    """
    j0, j1 = share(plan.sizes[b], thread, threads)
    if j1 == j0:
        return 0.0
    fan_in, width = plan.sizes[b - 1], work.pre.shape[1]
    count = j1 - j0
    step = tile_rows_compiled(count, fan_in)
    below = work.out[plan.rows[b - 1] :]
    batch = work.batch.reshape(work.batch.size)
    small = settings.small_product
    squares = 0.0
    for k0 in range(j0, j1, step):
        k1 = min(k0 + step, j1)
        tile = work.tile[thread, : (k1 - k0) * fan_in]
        delta = work.delta[plan.rows[b] + k0 :]
        d = delta.reshape(delta.size)
        if b == 1 and plan.norm[0] == NONE:
            matmul(small, d, batch, tile, width, fan_in, fan_in, k1 - k0, fan_in, n, False, False)
        else:
            matmul(small, d, below.reshape(below.size), tile, width, width, fan_in, k1 - k0, fan_in, n, False, True)
        s = plan.weight[b] + k0 * fan_in
        e = s + tile.size
        squares += update(settings, rate, decay, shrink, params[s:e], tile, first[s:e], second[s:e])
    return squares
