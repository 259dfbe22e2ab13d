"""Losses of one output value, clipped the way scikit-learn's `neural_network._base` does it."""

import math

# scikit-learn's names of the output activation; a loss belongs to each
CODES = {"softmax": 0, "logistic": 1, "identity": 2, "exp": 3}


def cross_entropy(p, eps):
    """Return the loss of the probability that the right class was given."""
    return -math.log(min(max(p, eps), 1.0 - eps))


def loss_of(code, p, y, eps):
    """Return the loss of one output with a target of its own; not that of softmax."""
    if code == 1:
        q = min(max(p, eps), 1.0 - eps)
        return -(y * math.log(q) if y > 0 else 0.0) - ((1.0 - y) * math.log(1.0 - q) if y < 1 else 0.0)
    if code == 2:
        return 0.5 * (y - p) * (y - p)
    return (y * math.log(y / p) if y > 0 else 0.0) - y + p
