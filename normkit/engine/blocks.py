"""One thread's share of one block, forward and backward.

A thread owns a contiguous range of features. Everything of a FEATURE norm, the activation, the weight gradient
and the update needs those rows alone; a SAMPLE norm needs the other threads' partial sums, hence the second
half of each pass (`*_finish`), run after a barrier and for such blocks only.
"""

import numpy as np

from normkit._jit import leaf
from normkit.engine.blas import matmul
from normkit.engine.plan import FEATURE, NONE, SAMPLE
from normkit.kernels.cpu.norms import (
    affine_row,
    gradient_sums,
    normalize_row,
    normalize_row_backward,
    row_statistics,
)
from normkit.math.activations import activate, activate_backward


@leaf
def share(n, thread, threads):
    """Return (start, stop) of a thread's part of n."""
    return n * thread // threads, n * (thread + 1) // threads


@leaf
def uniform(seed, a, b):
    """A float64 in [0, 1) that depends on three integers alone (splitmix64, Steele et al. 2014)."""
    x = np.uint64(seed) + np.uint64(a) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(b) * np.uint64(0xD1B54A32D192ED03)
    for _ in range(2):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return np.float64(x >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@leaf
def _activation_output(plan, work, settings, b):
    """Where the activation's output lies: apart from the block's output if a norm or dropout follows it."""
    hidden = 0 < b < plan.sizes.size - 1
    apart = settings.training and ((hidden and settings.dropout > 0) or (plan.after[b] == 1 and plan.norm[b] != NONE))
    return work.post if apart else work.out


@leaf
def dense(thread, threads, plan, params, work, b, n):
    """pre = weight @ input (+ bias) for the thread's features; for block 0 the transposed input itself."""
    j0, j1 = share(plan.sizes[b], thread, threads)
    start = plan.rows[b]
    if j1 == j0:
        return
    if b == 0:
        for j in range(j0, j1):
            row = work.pre[(start + j) * n : (start + j + 1) * n]
            for i in range(n):
                row[i] = work.batch[i, j]
        return
    fan_in = plan.sizes[b - 1]
    weight = params[plan.weight[b] + j0 * fan_in :]
    z = work.pre[(start + j0) * n :]
    if b == 1 and plan.norm[0] == NONE:
        matmul(weight, work.batch.reshape(work.batch.size), z, fan_in, fan_in, n, j1 - j0, n, fan_in, False, True)
    else:
        below = work.out[plan.rows[b - 1] * n :]
        matmul(weight, below, z, fan_in, n, n, j1 - j0, n, fan_in, False, False)
    if plan.bias[b] >= 0:
        for j in range(j0, j1):
            c = params[plan.bias[b] + j]
            row = work.pre[(start + j) * n : (start + j + 1) * n]
            for i in range(n):
                row[i] += c


@leaf
def _dropout(settings, step, row_number, a, out, keep):  # scalars and three (n,)
    """out = a * keep, keep 0 with probability settings.dropout, else 1 / (1 - dropout)."""
    t = out.dtype.type
    scale, zero = t(1.0 / (1.0 - settings.dropout)), t(0)
    for i in range(a.size):
        k = scale if uniform(settings.seed + step, row_number, i) >= settings.dropout else zero
        keep[i] = k
        out[i] = a[i] * k


@leaf
def forward(thread, threads, plan, settings, params, moving_mean, moving_var, work, b, n, step):
    """First half: everything, unless the block has a SAMPLE norm; then up to this thread's partial statistics."""
    dense(thread, threads, plan, params, work, b, n)
    j0, j1 = share(plan.sizes[b], thread, threads)
    norm, after, code = plan.norm[b], plan.after[b] == 1, plan.activation[b]
    drop = settings.training and settings.dropout > 0 and 0 < b < plan.sizes.size - 1
    activated = _activation_output(plan, work, settings, b)
    t = params.dtype.type
    keep = np.float64(settings.norm_momentum)
    for j in range(j0, j1):
        r = plan.rows[b] + j
        s, e = r * n, (r + 1) * n
        pre, out = work.pre[s:e], work.out[s:e]
        if after or norm == NONE:
            activate(code, pre, activated[s:e])
        if norm == FEATURE:
            source = activated[s:e] if after else pre
            xhat = work.xhat[s:e]
            if settings.training:
                mean, var = row_statistics(source)
                moving_mean[r] = t(keep * moving_mean[r] + (1.0 - keep) * mean)
                moving_var[r] = t(keep * moving_var[r] + (1.0 - keep) * var)
            else:
                mean, var = np.float64(moving_mean[r]), np.float64(moving_var[r])
            work.rstd[r] = 1.0 / np.sqrt(var + settings.norm_epsilon)
            normalize_row(source, mean, work.rstd[r], xhat)
            gamma, beta = params[plan.gamma[b] + j], params[plan.beta[b] + j]
            if after:
                affine_row(xhat, gamma, beta, out)
            else:
                affine_row(xhat, gamma, beta, pre)
                activate(code, pre, activated[s:e])
        if drop and norm != SAMPLE:
            # what dropout reads: the norm's output where the norm comes last, else the activation's
            source = out if after and norm == FEATURE else activated[s:e]
            _dropout(settings, step, r, source, out, work.keep[s:e])
    if norm == SAMPLE:
        _partial_statistics(activated if after else work.pre, plan.rows[b], j0, j1, n, work.partial[thread])


@leaf
def _partial_statistics(source, start, j0, j1, n, partial):  # flat, scalars, (2, n)
    """Mean and sum of squares around it, a sample, over the thread's features."""
    mean, squares = partial[0], partial[1]
    for i in range(n):
        mean[i] = 0.0
        squares[i] = 0.0
    for j in range(j0, j1):
        row = source[(start + j) * n : (start + j + 1) * n]
        for i in range(n):
            mean[i] += np.float64(row[i])
    if j1 > j0:
        for i in range(n):
            mean[i] /= j1 - j0
    for j in range(j0, j1):
        row = source[(start + j) * n : (start + j + 1) * n]
        for i in range(n):
            d = np.float64(row[i]) - mean[i]
            squares[i] += d * d


@leaf
def forward_finish(thread, threads, plan, settings, params, work, b, n, step):
    """Second half of a SAMPLE norm: merge the statistics in the order of threads, normalize, activate."""
    size, code, after = plan.sizes[b], plan.activation[b], plan.after[b] == 1
    mean, rstd = work.merged[thread, 0], work.sample_rstd[b, thread]
    for i in range(n):
        m = 0.0
        for k in range(threads):
            k0, k1 = share(size, k, threads)
            m += (k1 - k0) * work.partial[k, 0, i]
        m /= size
        squares = 0.0
        for k in range(threads):
            k0, k1 = share(size, k, threads)
            d = work.partial[k, 0, i] - m
            squares += work.partial[k, 1, i] + (k1 - k0) * d * d
        mean[i] = m
        rstd[i] = 1.0 / np.sqrt(squares / size + settings.norm_epsilon)
    drop = settings.training and settings.dropout > 0 and 0 < b < plan.sizes.size - 1
    activated = _activation_output(plan, work, settings, b)
    t = params.dtype.type
    j0, j1 = share(size, thread, threads)
    for j in range(j0, j1):
        r = plan.rows[b] + j
        s, e = r * n, (r + 1) * n
        pre, out, xhat = work.pre[s:e], work.out[s:e], work.xhat[s:e]
        source = activated[s:e] if after else pre
        for i in range(n):
            xhat[i] = t((np.float64(source[i]) - mean[i]) * rstd[i])
        gamma, beta = params[plan.gamma[b] + j], params[plan.beta[b] + j]
        if after:
            affine_row(xhat, gamma, beta, out)
        else:
            affine_row(xhat, gamma, beta, pre)
            activate(code, pre, activated[s:e])
        if drop:
            _dropout(settings, step, r, out if after else activated[s:e], out, work.keep[s:e])


@leaf
def backward(thread, threads, plan, settings, params, grads, work, b, n):
    """First half: delta of the block above comes down, and becomes the gradient of this block's dense output."""
    j0, j1 = share(plan.sizes[b], thread, threads)
    last = plan.sizes.size - 1
    if j1 > j0 and b < last:
        above = plan.sizes[b + 1]
        matmul(
            params[plan.weight[b + 1] + j0 :], work.delta[plan.rows[b + 1] * n :],
            work.delta[(plan.rows[b] + j0) * n :], plan.sizes[b], n, n, j1 - j0, n, above, True, False,
        )  # fmt: skip
    norm, after, code = plan.norm[b], plan.after[b] == 1, plan.activation[b]
    activated = _activation_output(plan, work, settings, b)
    for j in range(j0, j1):
        r = plan.rows[b] + j
        s, e = r * n, (r + 1) * n
        d = work.delta[s:e]
        if settings.dropout > 0 and 0 < b < last:
            keep = work.keep[s:e]
            for i in range(n):
                d[i] *= keep[i]
        if not after or norm == NONE:
            activate_backward(code, work.pre[s:e], activated[s:e], d)
        if norm != NONE:
            gamma, xhat = params[plan.gamma[b] + j], work.xhat[s:e]
            dbeta, dgamma = gradient_sums(d, xhat)
            grads[plan.gamma[b] + j] = dgamma
            grads[plan.beta[b] + j] = dbeta
            if norm == FEATURE:
                normalize_row_backward(d, xhat, gamma, work.rstd[r], dbeta, dgamma, d)
                if after:
                    activate_backward(code, work.pre[s:e], activated[s:e], d)
    if norm == SAMPLE:
        _partial_gradient(plan, params, work, b, j0, j1, n, work.partial[thread])
    else:
        dense_gradient(plan, grads, work, b, j0, j1, n)


@leaf
def _partial_gradient(plan, params, work, b, j0, j1, n, partial):
    """Per sample sums of g = gamma * delta and of g * xhat over the thread's features."""
    for i in range(n):
        partial[0, i] = 0.0
        partial[1, i] = 0.0
    for j in range(j0, j1):
        s, e = (plan.rows[b] + j) * n, (plan.rows[b] + j + 1) * n
        d, xhat, gamma = work.delta[s:e], work.xhat[s:e], np.float64(params[plan.gamma[b] + j])
        for i in range(n):
            g = gamma * np.float64(d[i])
            partial[0, i] += g
            partial[1, i] += g * np.float64(xhat[i])


@leaf
def backward_finish(thread, threads, plan, settings, params, grads, work, b, n):
    """Second half of a SAMPLE norm: its gradient from the sums of all threads, then the weights'."""
    size, code = plan.sizes[b], plan.activation[b]
    total, dot, rstd = work.merged[thread, 0], work.merged[thread, 1], work.sample_rstd[b, thread]
    for i in range(n):
        a, c = 0.0, 0.0
        for k in range(threads):
            a += work.partial[k, 0, i]
            c += work.partial[k, 1, i]
        total[i] = a / size
        dot[i] = c / size
    activated = _activation_output(plan, work, settings, b)
    t = params.dtype.type
    j0, j1 = share(size, thread, threads)
    for j in range(j0, j1):
        s, e = (plan.rows[b] + j) * n, (plan.rows[b] + j + 1) * n
        d, xhat, gamma = work.delta[s:e], work.xhat[s:e], np.float64(params[plan.gamma[b] + j])
        for i in range(n):
            d[i] = t(rstd[i] * (gamma * np.float64(d[i]) - total[i] - np.float64(xhat[i]) * dot[i]))
        if plan.after[b] == 1:
            activate_backward(code, work.pre[s:e], activated[s:e], d)
    dense_gradient(plan, grads, work, b, j0, j1, n)


@leaf
def dense_gradient(plan, grads, work, b, j0, j1, n):
    """Gradients of the thread's bias and weight rows from delta and the block's input."""
    if b == 0 or j1 == j0:
        return
    fan_in = plan.sizes[b - 1]
    delta = work.delta[(plan.rows[b] + j0) * n :]
    if plan.bias[b] >= 0:
        for j in range(j1 - j0):
            row = delta[j * n : (j + 1) * n]
            total = row.dtype.type(0)
            for i in range(n):
                total += row[i]
            grads[plan.bias[b] + j0 + j] = total
    target = grads[plan.weight[b] + j0 * fan_in :]
    if b == 1 and plan.norm[0] == NONE:
        batch = work.batch.reshape(work.batch.size)
        matmul(delta, batch, target, n, fan_in, fan_in, j1 - j0, fan_in, n, False, False)
    else:
        below = work.out[plan.rows[b - 1] * n :]
        matmul(delta, below, target, n, n, fan_in, j1 - j0, fan_in, n, False, True)
