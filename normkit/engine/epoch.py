"""The compiled entry points: one epoch of training, and prediction.

Each exists once and is compiled twice, serial and for a team of threads. `threads` threads run each region;
between regions lies a barrier.
"""

import numpy as np
from numba import prange

from normkit._jit import entry, leaf
from normkit.engine.blocks import backward, backward_finish, forward, forward_finish, share
from normkit.engine.losses import loss_and_gradient, predict_outputs
from normkit.engine.optimizers import step_size, update
from normkit.engine.plan import NONE, SAMPLE


@leaf
def gather(thread, threads, X, order, start, n, work):
    """Copy the thread's part of the batch from the rows of X that order names."""
    i0, i1 = share(n, thread, threads)
    for i in range(i0, i1):
        source, row = X[order[start + i]], work.batch[i]
        for k in range(row.size):
            row[k] = source[k]


@leaf
def gather_targets(Y, sample_weight, order, start, n, work):
    """Copy targets and weights of the batch; no weights means ones."""
    for i in range(n):
        k = order[start + i]
        for j in range(Y.shape[1]):
            work.target[i, j] = Y[k, j]
        work.weight[i] = sample_weight[k] if sample_weight.size > 0 else work.weight.dtype.type(1)


@leaf
def update_share(thread, threads, plan, settings, rate, decay, params, grads, first, second, work):
    """Update the rows that the thread owns, of every block."""
    squares = 0.0
    for b in range(plan.sizes.size):
        j0, j1 = share(plan.sizes[b], thread, threads)
        if b > 0:
            fan_in = plan.sizes[b - 1]
            s, e = plan.weight[b] + j0 * fan_in, plan.weight[b] + j1 * fan_in
            squares += update(settings, rate, decay, params[s:e], grads[s:e], first[s:e], second[s:e])
        for k in range(3):
            offset = plan.bias[b] if k == 0 else (plan.gamma[b] if k == 1 else plan.beta[b])
            wanted = k == 0 or (settings.train_gamma if k == 1 else settings.train_beta)
            if offset >= 0 and wanted:
                s, e = offset + j0, offset + j1
                update(settings, rate, 0.0, params[s:e], grads[s:e], first[s:e], second[s:e])
    work.squares[thread] = squares


def _train_epoch(
    X, Y, sample_weight, order, edges, threads, plan, settings, params, grads, first, second,
    moving_mean, moving_var, work, step,
):  # fmt: skip
    """Train on the batches order[edges[k]:edges[k + 1]]; returns the mean loss and the number of steps so far."""
    blocks = plan.sizes.size
    bottom = 0 if plan.norm[0] != NONE else 1
    outputs = plan.sizes[blocks - 1]
    total = 0.0
    for k in range(edges.size - 1):
        start, n = edges[k], edges[k + 1] - edges[k]
        step += 1
        for thread in prange(threads):
            gather(thread, threads, X, order, start, n, work)
        for b in range(bottom, blocks):
            for thread in prange(threads):
                forward(
                    thread, threads, plan, settings, params, moving_mean, moving_var, work, b, n, step, True
                )
            if plan.norm[b] == SAMPLE:
                for thread in prange(threads):
                    forward_finish(thread, threads, plan, settings, params, work, b, n, step, True)
        s, e = plan.rows[blocks - 1] * n, (plan.rows[blocks - 1] + outputs) * n
        gather_targets(Y, sample_weight, order, start, n, work)
        p, delta = work.out[s:e].reshape((outputs, n)), work.delta[s:e].reshape((outputs, n))
        predict_outputs(settings.loss, p, p)
        loss, weight = loss_and_gradient(settings.loss, p, work.target[:n], work.weight[:n], delta)
        for b in range(blocks - 1, bottom - 1, -1):
            for thread in prange(threads):
                backward(thread, threads, plan, settings, params, grads, work, b, n)
            if plan.norm[b] == SAMPLE:
                for thread in prange(threads):
                    backward_finish(thread, threads, plan, settings, params, grads, work, b, n)
        rate = step_size(settings.optimizer, settings.learning_rate, settings.beta_1, settings.beta_2, step)
        decay = settings.alpha / weight
        for thread in prange(threads):
            update_share(thread, threads, plan, settings, rate, decay, params, grads, first, second, work)
        penalty = 0.0
        for thread in range(threads):
            penalty += work.squares[thread]
        total += (loss + 0.5 * decay * penalty) * n
    return total / max(edges[edges.size - 1] - edges[0], 1), step


def _predict(X, chunk, threads, plan, settings, params, moving_mean, moving_var, work, result):
    """Fill result (samples, outputs), chunk samples at a time, with moving statistics and no dropout."""
    blocks = plan.sizes.size
    bottom = 0 if plan.norm[0] != NONE else 1
    outputs = plan.sizes[blocks - 1]
    samples = X.shape[0]
    order = np.arange(samples)
    for start in range(0, samples, chunk):
        n = min(chunk, samples - start)
        for thread in prange(threads):
            gather(thread, threads, X, order, start, n, work)
        for b in range(bottom, blocks):
            for thread in prange(threads):
                forward(
                    thread, threads, plan, settings, params, moving_mean, moving_var, work, b, n, 0, False
                )
            if plan.norm[b] == SAMPLE:
                for thread in prange(threads):
                    forward_finish(thread, threads, plan, settings, params, work, b, n, 0, False)
        s = plan.rows[blocks - 1] * n
        p = work.out[s : s + outputs * n].reshape((outputs, n))
        predict_outputs(settings.loss, p, p)
        for i in range(n):
            for j in range(outputs):
                result[start + i, j] = p[j, i]


train_epoch = entry(_train_epoch), entry(parallel=True)(_train_epoch)
predict = entry(_predict), entry(parallel=True)(_predict)
