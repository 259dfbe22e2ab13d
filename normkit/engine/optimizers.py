"""Optimizers: one update of a slice of the parameter vector."""

import math

import numpy as np

from normkit._jit import leaf

CODES = {"sgd": 0, "adam": 1, "accumulate": 2}  # accumulate sums gradients, for SciPy's L-BFGS


@leaf
def schedule_factor(settings, step):
    """Share of the learning rate at a step (counted from 1): linear warm-up, then cosine decay to zero."""
    factor = 1.0
    if step < settings.warmup_steps:
        factor = step / settings.warmup_steps
    if settings.cosine_steps > 0:
        done = (step - settings.warmup_steps) / max(settings.cosine_steps - settings.warmup_steps, 1.0)
        factor *= 0.5 * (1.0 + math.cos(math.pi * min(max(done, 0.0), 1.0)))
    return factor


@leaf
def step_size(settings, step):
    """Learning rate of a step (counted from 1); Adam's with its bias correction (Kingma and Ba 2014)."""
    rate = settings.learning_rate * schedule_factor(settings, step)
    if settings.optimizer == 1:
        return rate * np.sqrt(1.0 - settings.beta_2**step) / (1.0 - settings.beta_1**step)
    return rate


@leaf(inline=True)
def update(settings, rate, decay, shrink, p, g, first, second):  # scalars and four (n,)
    """Update p with its gradient g, or store g in `first` if other processes have a part of it.

    Returns the sum of squares of p as it was, where it is updated.
    """
    if settings.joined:
        for i in range(g.size):
            first[i] = g[i]
        return 0.0
    return step_parameters(settings, rate, decay, shrink, p, g, first, second)


@leaf(inline=True)
def step_parameters(settings, rate, decay, shrink, p, g, first, second):  # scalars and four (n,); second is Adam's
    """Update p with its gradient g.

    `decay` is the L2 penalty's factor, already divided by the sum of sample weights, `shrink` what a decoupled
    decay leaves of p (Loshchilov and Hutter 2019). Returns the sum of squares of p as it was before: the penalty
    that belongs to this step's loss.
    """
    t = p.dtype.type
    decay, lr, shrink = t(decay), t(rate), t(shrink)
    squares = t(0)
    n = p.size
    if settings.optimizer == 1:
        b1, b2, eps = t(settings.beta_1), t(settings.beta_2), t(settings.epsilon)
        c1, c2 = t(1.0 - settings.beta_1), t(1.0 - settings.beta_2)
        zero, tiny_first, tiny_second = t(0), t(1e-25), t(1e-35)
        for i in range(n):
            w = p[i]
            squares += w * w
            d = g[i] + decay * w
            m = b1 * first[i] + c1 * d
            v = b2 * second[i] + c2 * (d * d)
            # inputs that are always zero would let the moments decay into denormals, which some CPUs
            # handle a hundred times slower
            m = m if abs(m) > tiny_first else zero
            v = v if v > tiny_second else zero
            first[i] = m
            second[i] = v
            p[i] = w * shrink - lr * m / (np.sqrt(v) + eps)
    elif settings.optimizer == 0:
        mu = t(settings.momentum)
        # Nesterov looks ahead with the same gradient: p += mu * v_new - lr * d, else p += v_new
        zero, tiny = t(0), t(1e-30)
        ahead, now = (mu, lr) if settings.nesterov else (t(1), t(0))
        for i in range(n):
            w = p[i]
            squares += w * w
            d = g[i] + decay * w
            v = mu * first[i] - lr * d
            v = v if abs(v) > tiny else zero
            first[i] = v
            p[i] = w * shrink + (ahead * v - now * d)
    else:
        for i in range(n):
            w = p[i]
            squares += w * w
            first[i] += g[i]
    return np.float64(squares)
