"""Optimizers: one update of a slice of the parameter vector."""

import math

import numpy as np

from normkit._jit import leaf
from normkit.math.updates import CODES, adam, momentum

__all__ = ["CODES", "schedule_factor", "step_size", "update"]
# with the flags of `update`, whose loops they are part of
_adam, _momentum = leaf(adam, inline=True), leaf(momentum, inline=True)


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
        for i in range(n):
            w = p[i]
            squares += w * w
            p[i], first[i], second[i] = _adam(
                w, g[i] + decay * w, first[i], second[i], lr, shrink, b1, b2, c1, c2, eps
            )  # fmt: skip
    elif settings.optimizer == 0:
        mu = t(settings.momentum)
        ahead, now = (mu, lr) if settings.nesterov else (t(1), t(0))
        for i in range(n):
            w = p[i]
            squares += w * w
            p[i], first[i] = _momentum(w, g[i] + decay * w, first[i], lr, shrink, mu, ahead, now)
    else:
        for i in range(n):
            w = p[i]
            squares += w * w
            first[i] += g[i]
    return np.float64(squares)
