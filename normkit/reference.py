"""The norms in plain NumPy float64: the text to read first, and the oracle of the tests.

A norm takes the mean ``m`` and the biased variance ``v`` of n values, and returns

    xhat = (x - m) / sqrt(v + epsilon)        y = gamma * xhat + beta

BatchNorm takes the values of one feature over the batch, LayerNorm those of one sample over its features.

Gradient. Let ``r = 1 / sqrt(v + epsilon)`` and ``g = dL/dxhat = gamma * dy``. The input reaches the loss
three ways: directly, through m and through v.

    dL/dx = g * r                  (1) directly
          + dL/dm * 1/n            (2) dL/dm = -r * sum(g);  sum(x - m) = 0 kills m's way through v
          + dL/dv * 2 (x - m) / n  (3) dL/dv = -r**3 / 2 * sum(g * (x - m))

With ``xhat = (x - m) * r`` this is ``dx = r * (g - mean(g) - xhat * mean(g * xhat))``. The parameters'
gradients are ``dgamma = sum(dy * xhat)`` and ``dbeta = sum(dy)`` over everything that shares the parameter.

Nothing here converts: give float64, or complex128 for complex-step gradients.
"""

import numpy as np


def statistics(x, axes, epsilon):
    """Mean and reciprocal standard deviation over axes, kept as length-one dimensions."""
    mean = x.mean(axis=axes, keepdims=True)
    var = ((x - mean) ** 2).mean(axis=axes, keepdims=True)
    return mean, 1 / np.sqrt(var + epsilon)


def norm(x, gamma, beta, axes, epsilon=1e-3):
    """Normalize over axes; gamma and beta broadcast against x."""
    mean, rstd = statistics(x, axes, epsilon)
    return gamma * (x - mean) * rstd + beta


def norm_backward(dy, x, gamma, axes, epsilon=1e-3):
    """Return dx, and dy * xhat to be summed over whatever shares gamma."""
    mean, rstd = statistics(x, axes, epsilon)
    xhat = (x - mean) * rstd
    g = dy * gamma
    dx = rstd * (g - g.mean(axis=axes, keepdims=True) - xhat * (g * xhat).mean(axis=axes, keepdims=True))
    return dx, dy * xhat


def along(parameter, ndim, axes):
    """Return parameter shaped to broadcast against an array of ndim dimensions, its own lying along axes."""
    shape = [1] * ndim
    for axis, n in zip(axes, parameter.shape, strict=True):
        shape[axis] = n
    return parameter.reshape(shape)


def other_axes(ndim, axes):
    """Return the axes of an array that are not among axes."""
    return tuple(i for i in range(ndim) if i not in axes)


def batch_norm(x, gamma, beta, axis=-1, epsilon=1e-3):
    """Normalize each feature, an index of axis, over all other axes."""
    own = (axis % x.ndim,)
    parameters = along(gamma, x.ndim, own), along(beta, x.ndim, own)
    return norm(x, *parameters, other_axes(x.ndim, own), epsilon)


def batch_norm_backward(dy, x, gamma, axis=-1, epsilon=1e-3):
    """Return dx, dgamma, dbeta of batch_norm."""
    own = (axis % x.ndim,)
    axes = other_axes(x.ndim, own)
    dx, scaled = norm_backward(dy, x, along(gamma, x.ndim, own), axes, epsilon)
    return dx, scaled.sum(axis=axes), dy.sum(axis=axes)


def layer_norm(x, gamma, beta, axes=(-1,), epsilon=1e-3):
    """Normalize each sample over axes; gamma and beta have the shape of these, in ascending order."""
    own = tuple(sorted(axis % x.ndim for axis in axes))
    return norm(x, along(gamma, x.ndim, own), along(beta, x.ndim, own), own, epsilon)


def layer_norm_backward(dy, x, gamma, axes=(-1,), epsilon=1e-3):
    """Return dx, dgamma, dbeta of layer_norm."""
    own = tuple(sorted(axis % x.ndim for axis in axes))
    dx, scaled = norm_backward(dy, x, along(gamma, x.ndim, own), own, epsilon)
    rest = other_axes(x.ndim, own)
    return dx, scaled.sum(axis=rest), dy.sum(axis=rest)
