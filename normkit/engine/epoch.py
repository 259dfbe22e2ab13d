"""The compiled entry point: all batches of an epoch, or of a prediction, in one call a thread."""

import numpy as np

from normkit._jit import entry, leaf
from normkit.engine.blocks import backward, backward_finish, forward, forward_finish, update_alpha, update_weights
from normkit.engine.exchange import call_exchange
from normkit.engine.joined import SAMPLES, WEIGHT, apply_gradient
from normkit.engine.losses import loss_and_gradient, predict_outputs
from normkit.engine.optimizers import schedule_factor, step_size
from normkit.engine.plan import (
    APPLY,
    BACKWARD,
    BACKWARD_FINISH,
    FORWARD,
    FORWARD_FINISH,
    GATHER,
    LOSS,
    OUTPUT,
    STORE,
    UPDATE,
    UPDATE_ALPHA,
)
from normkit.engine.rows import prefetch_row, read_row
from normkit.engine.sync import leave, share, wait

# Rows between the one that is copied and the one that is asked for
_AHEAD = 2


@leaf(inline=True)
def gather(rows, Y, sample_weight, total_weight, order, start, i0, i1, work):
    """Copy samples i0 to i1 of the batch: features, targets, shares of the batch's weight."""
    t = work.batch.dtype.type
    for i in range(i0, i1):
        k = order[start + i]
        if i + _AHEAD < i1:
            prefetch_row(rows, order[start + i + _AHEAD], work.batch.shape[1])
        read_row(rows, k, work.batch[i])
        if Y.size > 0:
            for j in range(Y.shape[1]):
                work.target[i, j] = Y[k, j]
            w = np.float64(sample_weight[k]) if sample_weight.size > 0 else 1.0
            work.share[i] = t(w / total_weight)


@leaf(inline=True)
def weight_of_batch(settings, sample_weight, order, start, n):
    """What the batch's loss is divided by: the sum of its weights, or what was given."""
    if settings.total_weight != 0.0:
        return settings.total_weight
    if sample_weight.size == 0:
        return np.float64(n)
    total = 0.0
    for i in range(n):
        total += np.float64(sample_weight[order[start + i]])
    return total


@leaf
def store(p, start, i0, i1, result):  # (outputs, >= n), scalars, (samples, outputs)
    """Copy samples i0 to i1 of a block's output to their rows."""
    for i in range(i0, i1):
        for j in range(p.shape[0]):
            result[start + i, j] = p[j, i]


@entry
def run_batches(
    thread, threads, barrier, rows, Y, sample_weight, order, edges, schedule, plan, settings, params, first,
    second, moving, work, step, result,
):  # fmt: skip
    """Run the schedule on each batch order[edges[k]:edges[k + 1]], as one of `threads` threads.

    Training and prediction are two schedules of the same code; a prediction is stored in result (samples,
    outputs). `work.totals[thread]` receives the thread's part of the sum of losses and of that of the penalties,
    weighted by the batches' sizes unless their common weight is given. Where other processes have the rest of each
    batch, `work.joined` tells what the batches add up to.
    """
    last = plan.sizes.size - 1
    outputs = plan.sizes[last]
    loss, squares = 0.0, 0.0
    kept = work.gradient if settings.joined else first
    for k in range(edges.size - 1):
        start, n = edges[k], edges[k + 1] - edges[k]
        step += 1
        i0, i1 = share(n, thread, threads)
        total_weight = weight_of_batch(settings, sample_weight, order, start, n)
        samples = np.float64(n)
        if settings.joined:
            total_weight, samples = work.joined[k, WEIGHT], work.joined[k, SAMPLES]
        if total_weight == 0.0:
            continue  # a batch without weight is a batch without samples
        rate = step_size(settings, step)
        decay = settings.decay + settings.alpha / total_weight
        shrink = 1.0 - settings.learning_rate * schedule_factor(settings, step) * settings.decoupled_decay
        size = 1.0 if settings.total_weight != 0.0 else samples
        s = plan.rows[last]
        p = work.out[s : s + outputs]
        for i in range(schedule.shape[0]):
            stage, b = schedule[i, 0], schedule[i, 1]
            if stage == GATHER:
                gather(rows, Y, sample_weight, total_weight, order, start, i0, i1, work)
            elif stage == FORWARD:
                forward(thread, threads, plan, settings, params, moving, work, b, n, k, step)
            elif stage == FORWARD_FINISH:
                forward_finish(thread, threads, plan, settings, params, moving, work, b, n, k, step)
            elif stage == OUTPUT:
                predict_outputs(settings.loss, p[:, i0:i1], work.column[0, i0:i1], work.column[1, i0:i1])
            elif stage == STORE:
                q = work.out[plan.rows[b] : plan.rows[b] + plan.sizes[b]]
                store(q, start, i0, i1, result)
            elif stage == LOSS:
                loss += size * loss_and_gradient(
                    settings.loss,
                    p[:, i0:i1],
                    work.target[i0:i1],
                    work.share[i0:i1],
                    work.delta[s : s + outputs, i0:i1],
                )
            elif stage == BACKWARD:
                backward(thread, threads, plan, settings, rate, params, kept, second, work, b, n)
            elif stage == BACKWARD_FINISH:
                backward_finish(thread, threads, plan, settings, rate, params, kept, second, work, b, n)
            elif stage == UPDATE:
                squares += size * decay * update_weights(
                    thread, threads, plan, settings, rate, decay, shrink, params, kept, second, work, b, n
                )  # fmt: skip
            elif stage == APPLY:
                squares += size * decay * apply_gradient(
                    thread, threads, plan, settings, rate, decay, shrink, params, first, second, work, b
                )  # fmt: skip
            elif stage == UPDATE_ALPHA:
                update_alpha(thread, threads, plan, settings, rate, params, kept, second, work, b)
            elif thread == 0 and not call_exchange(settings.exchange, stage, b):
                leave(barrier)
                return
            if schedule[i, 2] == 1 and not wait(barrier, threads):
                return
    work.totals[thread, 0], work.totals[thread, 1] = loss, 0.5 * squares
