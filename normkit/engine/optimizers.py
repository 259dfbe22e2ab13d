"""Optimizers: one update of a slice of the parameter vector."""

import numpy as np

from normkit._jit import leaf

CODES = {"sgd": 0, "adam": 1, "none": 2}  # none leaves the gradient in place, for SciPy's L-BFGS


@leaf
def step_size(code, learning_rate, beta_1, beta_2, step):
    """Learning rate of a step (counted from 1); Adam's with its bias correction (Kingma and Ba 2014)."""
    if code == 1:
        return learning_rate * np.sqrt(1.0 - beta_2**step) / (1.0 - beta_1**step)
    return learning_rate


@leaf
def update(settings, rate, alpha, p, g, first, second):  # scalars and four (n,)
    """Update p; alpha is the weight decay, already divided by the sum of sample weights.

    Returns the sum of squares of p as it was before: the penalty that belongs to this step's loss.
    """
    t = p.dtype.type
    decay, lr = t(alpha), t(rate)
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
            p[i] = w - lr * m / (np.sqrt(v) + eps)
    elif settings.optimizer == 0:
        mu = t(settings.momentum)
        for i in range(n):
            w = p[i]
            squares += w * w
            d = lr * (g[i] + decay * w)
            v = mu * first[i] - d
            first[i] = v
            p[i] = w + (mu * v - d if settings.nesterov else v)
    else:
        for i in range(n):
            w = p[i]
            squares += w * w
            g[i] += decay * w
    return np.float64(squares)
