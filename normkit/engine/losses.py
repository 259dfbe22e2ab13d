"""Output functions with their losses: predictions, summed loss and gradient on feature-major outputs.

The pairs are canonical, so that the gradient before the output function is ``prediction - target`` times the
sample's weight. Losses are clipped and averaged the way scikit-learn's `neural_network._base` does it.
"""

import math

import numpy as np

from normkit._jit import leaf
from normkit.math.activations import activate
from normkit.math.exp import exp

# scikit-learn's names of the output activation
CODES = {"softmax": 0, "logistic": 1, "identity": 2, "exp": 3}


@leaf
def predict_outputs(code, z, p):  # scalar, two (outputs, n); p may be z
    """Apply the output function."""
    outputs, n = z.shape
    t = p.dtype.type
    if code == 0:
        for i in range(n):
            top = z[0, i]
            for j in range(1, outputs):
                top = max(top, z[j, i])
            total = t(0)
            for j in range(outputs):
                v = exp(z[j, i] - top)
                p[j, i] = v
                total += v
            for j in range(outputs):
                p[j, i] /= total
    elif code == 1:
        for j in range(outputs):
            activate(1, z[j], p[j])
    elif code == 2:
        for j in range(outputs):
            activate(0, z[j], p[j])
    else:
        for j in range(outputs):
            for i in range(n):
                p[j, i] = exp(z[j, i])


@leaf
def _loss_of(code, p, y, eps):
    """Loss of one output value."""
    if code == 1:
        q = min(max(p, eps), 1.0 - eps)
        return -(y * math.log(q) if y > 0 else 0.0) - ((1.0 - y) * math.log(1.0 - q) if y < 1 else 0.0)
    if code == 2:
        return 0.5 * (y - p) * (y - p)
    return (y * math.log(y / p) if y > 0 else 0.0) - y + p


@leaf
def loss_and_gradient(code, p, target, weight, delta):
    # scalar, (outputs, n), (n, outputs or 1), (n,), (outputs, n)
    """Return (weighted mean loss, sum of weights); delta = (p - target) * weight / sum of weights."""
    outputs, n = p.shape
    t = p.dtype.type
    eps = np.float64(np.finfo(p.dtype).eps)
    total_weight = 0.0
    for i in range(n):
        total_weight += np.float64(weight[i])
    loss = 0.0
    for i in range(n):
        w = np.float64(weight[i])
        factor = t(w / total_weight)
        if code == 0:
            k = int(target[i, 0])
            q = min(max(np.float64(p[k, i]), eps), 1.0 - eps)
            loss -= w * math.log(q)
            for j in range(outputs):
                delta[j, i] = p[j, i] * factor
            delta[k, i] = (p[k, i] - t(1)) * factor
        else:
            for j in range(outputs):
                loss += w * _loss_of(code, np.float64(p[j, i]), np.float64(target[i, j]), eps)
                delta[j, i] = (p[j, i] - target[i, j]) * factor
    loss /= total_weight
    if code == 2:
        loss /= outputs  # scikit-learn averages the squared error over outputs, but not its gradient
    return loss, total_weight
