"""The compiled entry point: all batches of an epoch, or of a prediction, in one call.

It exists once and is compiled twice, serial and for a team of threads.
"""

from numba import prange

from normkit._jit import entry, leaf
from normkit.engine.blocks import backward, backward_finish, forward, forward_finish, share
from normkit.engine.losses import loss_and_gradient, predict_outputs
from normkit.engine.optimizers import step_size, update
from normkit.engine.plan import BACKWARD, BACKWARD_FINISH, FORWARD, FORWARD_FINISH, GATHER, LOSS, OUTPUT


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
def store(p, start, result):  # (outputs, n), scalar, (samples, outputs)
    """Copy a batch of outputs to its samples' rows."""
    for i in range(p.shape[1]):
        for j in range(p.shape[0]):
            result[start + i, j] = p[j, i]


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


@leaf
def run_stage(
    stage, b, thread, threads, X, order, start, n, plan, settings, rate, decay, params, grads, first, second,
    moving_mean, moving_var, work, step,
):  # fmt: skip
    """One thread's part of one stage."""
    if stage == GATHER:
        gather(thread, threads, X, order, start, n, work)
    elif stage == FORWARD:
        forward(thread, threads, plan, settings, params, moving_mean, moving_var, work, b, n, step)
    elif stage == FORWARD_FINISH:
        forward_finish(thread, threads, plan, settings, params, work, b, n, step)
    elif stage == BACKWARD:
        backward(thread, threads, plan, settings, params, grads, work, b, n)
    elif stage == BACKWARD_FINISH:
        backward_finish(thread, threads, plan, settings, params, grads, work, b, n)
    else:
        update_share(thread, threads, plan, settings, rate, decay, params, grads, first, second, work)


def _run_batches(
    X, Y, sample_weight, order, edges, schedule, threads, plan, settings, params, grads, first, second,
    moving_mean, moving_var, work, step, result,
):  # fmt: skip
    """Run the schedule on each batch order[edges[k]:edges[k + 1]]; returns the mean loss and the steps so far.

    Training and prediction are two schedules of the same code; a prediction is stored in result (samples, outputs).
    """
    last = plan.sizes.size - 1
    outputs = plan.sizes[last]
    total = 0.0
    for k in range(edges.size - 1):
        start, n = edges[k], edges[k + 1] - edges[k]
        s, e = plan.rows[last] * n, (plan.rows[last] + outputs) * n
        p = work.out[s:e].reshape((outputs, n))
        step += 1
        rate = step_size(settings.optimizer, settings.learning_rate, settings.beta_1, settings.beta_2, step)
        loss, decay = 0.0, 0.0
        for i in range(schedule.shape[0]):
            stage, b = schedule[i, 0], schedule[i, 1]
            if stage == OUTPUT:
                predict_outputs(settings.loss, p, p)
                if not settings.training:
                    store(p, start, result)
            elif stage == LOSS:
                gather_targets(Y, sample_weight, order, start, n, work)
                delta = work.delta[s:e].reshape((outputs, n))
                loss, weight = loss_and_gradient(settings.loss, p, work.target[:n], work.weight[:n], delta)
                decay = settings.alpha / weight
            else:
                # one parallel region for all stages: each would be compiled with everything it calls
                for thread in prange(threads):
                    run_stage(
                        stage, b, thread, threads, X, order, start, n, plan, settings, rate, decay, params, grads,
                        first, second, moving_mean, moving_var, work, step,
                    )  # fmt: skip
        penalty = 0.0
        for thread in range(threads):
            penalty += work.squares[thread]
        total += (loss + 0.5 * decay * penalty) * n
    return total / max(edges[edges.size - 1] - edges[0], 1), step


run_batches = entry(_run_batches), entry(parallel=True)(_run_batches)
