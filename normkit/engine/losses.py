"""Output functions with their losses: predictions, summed loss and gradient on feature-major outputs.

The pairs are canonical, so that the gradient before the output function is ``prediction - target`` times the
sample's weight. Losses are clipped and averaged the way scikit-learn's `neural_network._base` does it.
"""

import numpy as np

from normkit._jit import entry, leaf
from normkit.math.activations import CODES as ACTIVATIONS
from normkit.math.activations import activate
from normkit.math.exp import exp
from normkit.math.losses import CODES, cross_entropy, loss_of

__all__ = ["CODES", "loss_and_gradient", "mean_loss", "predict_outputs"]

_LOGISTIC = ACTIVATIONS["logistic"]
_cross_entropy, _loss_of = leaf(cross_entropy), leaf(loss_of)


@leaf
def predict_outputs(code, z, top, total):  # scalar, (outputs, n), two (n,) of work space
    """Apply the output function in place."""
    outputs, n = z.shape
    t = z.dtype.type
    if code == 0:
        for i in range(n):
            top[i] = z[0, i]
            total[i] = t(0)
        for j in range(1, outputs):
            row = z[j]
            for i in range(n):
                top[i] = max(top[i], row[i])
        for j in range(outputs):
            row = z[j]
            for i in range(n):
                v = exp(row[i] - top[i])
                row[i] = v
                total[i] += v
        for i in range(n):
            total[i] = t(1) / total[i]
        for j in range(outputs):
            row = z[j]
            for i in range(n):
                row[i] *= total[i]
    elif code == 1:
        for j in range(outputs):
            activate(_LOGISTIC, z[j], z[j])
    elif code == 3:
        for j in range(outputs):
            row = z[j]
            for i in range(n):
                row[i] = exp(row[i])


@leaf
def loss_and_gradient(code, p, target, share, delta):
    # scalar, (outputs, n), (n, outputs or 1), (n,), (outputs, n)
    """Write delta = share * (p - target); returns the sum of share * loss."""
    outputs, n = p.shape
    t = p.dtype.type
    eps = np.float64(np.finfo(p.dtype).eps)
    loss = 0.0
    if code == 0:
        for j in range(outputs):
            row, d = p[j], delta[j]
            for i in range(n):
                d[i] = row[i] * share[i]
        for i in range(n):
            k = int(target[i, 0])
            loss += np.float64(share[i]) * _cross_entropy(np.float64(p[k, i]), eps)
            delta[k, i] = (p[k, i] - t(1)) * share[i]
        return loss
    for i in range(n):
        w = np.float64(share[i])
        for j in range(outputs):
            loss += w * _loss_of(code, np.float64(p[j, i]), np.float64(target[i, j]), eps)
            delta[j, i] = (p[j, i] - target[i, j]) * share[i]
    if code == 2:
        loss /= outputs  # scikit-learn averages the squared error over outputs, but not its gradient
    return loss


@entry
def mean_loss(code, p, target, weight):  # scalar, (samples, outputs), (samples, outputs or 1), (samples,) or (0,)
    """Return the weighted mean loss of predictions."""
    samples, outputs = p.shape
    eps = np.float64(np.finfo(p.dtype).eps)
    loss, total = 0.0, 0.0
    for i in range(samples):
        w = np.float64(weight[i]) if weight.size > 0 else 1.0
        total += w
        if code == 0:
            loss += w * _cross_entropy(np.float64(p[i, int(target[i, 0])]), eps)
        else:
            for j in range(outputs):
                loss += w * _loss_of(code, np.float64(p[i, j]), np.float64(target[i, j]), eps)
    if code == 2:
        loss /= outputs
    return loss / total
