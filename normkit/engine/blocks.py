"""One thread's share of one block, forward and backward.

A thread owns a contiguous range of features. Everything of a FEATURE norm, the activation, the weight gradient
and the update needs those rows alone; a SAMPLE norm needs the other threads' partial sums, hence the second
half of each pass (`*_finish`), run after a barrier and for such blocks only. Buffers are views of the thread's
rows, (features, width), of which the first n columns are the batch; what elementwise code does to the columns
beyond is never read.
"""

from normkit._jit import leaf
from normkit.engine.blas import matmul
from normkit.engine.norms import (
    FEATURE,
    NONE,
    SAMPLE,
    begin_batch,
    groups_of,
    merge_moments,
    no_partials,
    normalize_rows,
    normalize_rows_backward,
    normalize_sample_rows,
    normalize_sample_rows_backward,
    sample_gradient_partials,
    sample_partials,
)
from normkit.engine.optimizers import update
from normkit.engine.plan import tile_rows_compiled
from normkit.engine.sync import share
from normkit.kernels.cpu.feature_major import add_to_row, row_gradient_sums, row_sum
from normkit.math.activations import activate, activate_backward
from normkit.math.random import uniform

# Elements of a group of rows that pass through norm, activation and dropout together: they stay in first-level cache
_GROUP = 2048

_uniform = leaf(uniform)


@leaf
def _group_rows(width):
    return max(1, _GROUP // width)


@leaf(inline=True)
def _drops(plan, settings, b):
    return settings.training and plan.dropout[b] > 0.0


@leaf(inline=True)
def _output_apart(plan, settings, b):
    """Whether the activation's output lies apart from the block's, because a norm or dropout follows it."""
    return _drops(plan, settings, b) or (plan.after[b] == 1 and plan.norm[b] != NONE)


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


@leaf(inline=True)
def forward(thread, threads, plan, settings, params, moving, work, b, n, step):
    """First half: everything, unless the block has a SAMPLE norm; then up to this thread's partial statistics."""
    j0, j1 = share(plan.sizes[b], thread, threads)
    if j1 == j0:
        if plan.norm[b] == SAMPLE:
            no_partials(thread, plan, work, b, n, j0)
        return
    _dense(settings.small_product, plan, params, work, b, j0, j1, n)
    norm, after, code = plan.norm[b], plan.after[b] == 1, plan.activation[b]
    start = plan.rows[b]
    activated = work.post if _output_apart(plan, settings, b) else work.out
    source = activated if after else work.pre
    y = work.out if after else work.pre
    if norm == SAMPLE:
        if after:
            _activate_rows(code, work.pre[start + j0 : start + j1], activated[start + j0 : start + j1])
        sample_partials(thread, plan, work, b, n, j0, j1, source)
        return
    if norm == FEATURE:
        begin_batch(thread, plan, settings, work, b, n)
    group = _group_rows(work.pre.shape[1])
    for g0 in range(j0, j1, group):
        g1 = min(g0 + group, j1)
        s, e = start + g0, start + g1
        if after or norm == NONE:
            _activate_rows(code, work.pre[s:e], activated[s:e])
        if norm == FEATURE:
            normalize_rows(thread, plan, settings, params, moving, work, b, n, s, e, source, y)
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
def forward_finish(thread, threads, plan, settings, params, work, b, n, step):
    """Second half of a SAMPLE norm: merge the statistics, normalize, activate."""
    j0, j1 = share(plan.sizes[b], thread, threads)
    if j1 == j0:
        return
    code, after, start = plan.activation[b], plan.after[b] == 1, plan.rows[b]
    activated = work.post if _output_apart(plan, settings, b) else work.out
    source = activated if after else work.pre
    y = work.out if after else work.pre
    rows = _group_rows(work.pre.shape[1])
    first_group, last_group, size = groups_of(plan, b, j0, j1)
    for g in range(first_group, last_group):
        merge_moments(thread, threads, plan, settings, work, b, n, g, size)
        last = min(j1, (g + 1) * size)
        for g0 in range(max(j0, g * size), last, rows):
            g1 = min(g0 + rows, last)
            normalize_sample_rows(thread, plan, params, work, b, n, g, g0, g1, source, y)
            if not after:
                _activate_rows(code, work.pre[start + g0 : start + g1], activated[start + g0 : start + g1])
            _drop_rows(plan, settings, work, b, step, start + g0, start + g1)


@leaf(inline=True)
def _activate_rows_backward(plan, settings, work, b, s, e):
    activated = work.post if _output_apart(plan, settings, b) else work.out
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
            no_partials(thread, plan, work, b, n, j0)
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
    slope = 0.0
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
        if norm == FEATURE:
            slope += normalize_rows_backward(
                thread, plan, settings, params, work, b, n, s, e, dgamma[g0 - j0 : g1 - j0], dbeta[g0 - j0 : g1 - j0]
            )  # fmt: skip
            if after:
                _activate_rows_backward(plan, settings, work, b, s, e)
        elif norm == SAMPLE:
            for j in range(g0, g1):
                dbeta[j - j0], dgamma[j - j0] = row_gradient_sums(work.delta[start + j, :n], work.xhat[start + j, :n])
    work.slope[thread, b] = slope
    if norm == SAMPLE:
        sample_gradient_partials(thread, plan, params, work, b, n, j0, j1)
    else:
        _update_vectors(thread, plan, settings, rate, params, first, second, work, b, j0, j1, n)


@leaf(inline=True)
def backward_finish(thread, threads, plan, settings, rate, params, first, second, work, b, n):
    """Second half of a SAMPLE norm: its gradient from the sums of all threads."""
    j0, j1 = share(plan.sizes[b], thread, threads)
    if j1 == j0:
        return
    normalize_sample_rows_backward(thread, threads, plan, params, work, b, n, j0, j1)
    if plan.after[b] == 1:
        start = plan.rows[b]
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
            start, wanted = plan.gamma[b], plan.gamma[b] >= 0 and settings.train_gamma
        else:
            start, wanted = plan.beta[b], plan.beta[b] >= 0 and settings.train_beta
        if wanted:
            s, e = start + j0, start + j1
            update(settings, rate, 0.0, 1.0, params[s:e], g, first[s:e], second[s:e])


@leaf(inline=True)
def update_alpha(thread, threads, plan, settings, rate, params, first, second, work, b):
    """Update the block's alpha, all threads having left their part of its gradient: one does it, in their order."""
    if thread != 0 or not settings.train_alpha:
        return
    total = 0.0
    for k in range(threads):
        total += work.slope[k, b]
    g = work.vectors[thread, 0, :1]
    g[0] = params.dtype.type(total)
    s, e = plan.alpha[b], plan.alpha[b] + 1
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
