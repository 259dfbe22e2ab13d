"""The norms in plain NumPy float64: the text to read first, and the oracle of the tests.

A norm takes the mean ``m`` and the biased variance ``v`` of n values, and returns

    xhat = (x - m) / sqrt(v + epsilon)        y = gamma * xhat + beta

Which n values, is all that tells most of the family apart:

    batch_norm        one feature, over the batch and every other axis
    ghost_batch_norm  the same within each chunk of the batch
    layer_norm        one sample, over its features
    group_norm        one sample and one group of its channels
    instance_norm     one sample and one channel
    rms_norm          one sample as layer_norm, but with m = 0: the mean square takes the variance's place

Gradient. Let ``r = 1 / sqrt(v + epsilon)`` and ``g = dL/dxhat = gamma * dy``. The input reaches the loss
three ways: directly, through m and through v.

    dL/dx = g * r                  (1) directly
          + dL/dm * 1/n            (2) dL/dm = -r * sum(g);  sum(x - m) = 0 kills m's way through v
          + dL/dv * 2 (x - m) / n  (3) dL/dv = -r**3 / 2 * sum(g * (x - m))

With ``xhat = (x - m) * r`` this is ``dx = r * (g - mean(g) - xhat * mean(g * xhat))``. The parameters'
gradients are ``dgamma = sum(dy * xhat)`` and ``dbeta = sum(dy)`` over everything that shares the parameter.

Three norms leave a way out. rms_norm has no mean, so no (2). Frozen batch norm takes m and v from elsewhere,
so only (1) is left. Batch renormalization corrects ``xhat`` to ``xhat * r_ + d`` with two numbers that the
gradient takes for constants: all three ways, and ``gamma * r_`` in the place of gamma.

Dynamic tanh is no norm but stands in for one: ``y = gamma * t + beta`` with ``t = tanh(alpha * x)``. As
``t' = 1 - t**2``, ``dx = g * alpha * (1 - t**2)`` and ``dalpha = sum(g * x * (1 - t**2))``.

Nothing here converts: give float64, or complex128 for complex-step gradients, or np.longdouble for more digits.
"""

import math

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple


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


def ascending(ndim, axes):
    """Return axes as sorted non-negative indices."""
    return tuple(sorted(normalize_axis_tuple(axes, ndim)))


# Batch norm: one feature over the batch


def batch_norm(x, gamma, beta, axis=-1, epsilon=1e-3):
    """Normalize each feature, an index of axis, over all other axes."""
    own = ascending(x.ndim, (axis,))
    parameters = along(gamma, x.ndim, own), along(beta, x.ndim, own)
    return norm(x, *parameters, other_axes(x.ndim, own), epsilon)


def batch_norm_backward(dy, x, gamma, axis=-1, epsilon=1e-3):
    """Return dx, dgamma, dbeta of batch_norm."""
    own = ascending(x.ndim, (axis,))
    axes = other_axes(x.ndim, own)
    dx, scaled = norm_backward(dy, x, along(gamma, x.ndim, own), axes, epsilon)
    return dx, scaled.sum(axis=axes), dy.sum(axis=axes)


def frozen_batch_norm(x, gamma, beta, mean, var, axis=-1, epsilon=1e-3):
    """Normalize each feature with statistics that are given, as in inference."""
    own = ascending(x.ndim, (axis,))
    gamma, beta, mean, var = (along(a, x.ndim, own) for a in (gamma, beta, mean, var))
    return gamma * (x - mean) / np.sqrt(var + epsilon) + beta


def frozen_batch_norm_backward(dy, x, gamma, mean, var, axis=-1, epsilon=1e-3):
    """Return dx, dgamma, dbeta of frozen_batch_norm: mean and var do not depend on x."""
    own = ascending(x.ndim, (axis,))
    axes = other_axes(x.ndim, own)
    gamma, mean, var = (along(a, x.ndim, own) for a in (gamma, mean, var))
    rstd = 1 / np.sqrt(var + epsilon)
    return gamma * rstd * dy, (dy * (x - mean) * rstd).sum(axis=axes), dy.sum(axis=axes)


def chunks(n, virtual_batch_size):
    """Return the slices of a batch of n: max(1, n // virtual_batch_size) of them, the last takes the remainder."""
    count = max(1, n // virtual_batch_size)
    starts = [i * virtual_batch_size for i in range(count)]
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], n], strict=True)]


def ghost_batch_norm(x, gamma, beta, virtual_batch_size, axis=-1, epsilon=1e-3):
    """Apply batch_norm to each chunk of axis 0 by itself."""
    parts = chunks(len(x), virtual_batch_size)
    return np.concatenate([batch_norm(x[part], gamma, beta, axis, epsilon) for part in parts])


def ghost_batch_norm_backward(dy, x, gamma, virtual_batch_size, axis=-1, epsilon=1e-3):
    """Return dx, dgamma, dbeta of ghost_batch_norm: the chunks share the parameters, nothing else."""
    parts = chunks(len(x), virtual_batch_size)
    dx, dgamma, dbeta = zip(
        *(batch_norm_backward(dy[part], x[part], gamma, axis, epsilon) for part in parts), strict=True
    )
    return np.concatenate(dx), sum(dgamma), sum(dbeta)


def renorm_corrections(x, moving_mean, moving_var, r_max, d_max, axis=-1, epsilon=1e-3):
    """Return r, d of batch_renorm, the batch's statistics in units of the moving ones, clipped (Ioffe 2017)."""
    mean, rstd = statistics(x, other_axes(x.ndim, ascending(x.ndim, (axis,))), epsilon)
    sigma = np.sqrt(moving_var + epsilon)
    r = np.clip(1 / (rstd.reshape(-1) * sigma), 1 / r_max, r_max)
    return r, np.clip((mean.reshape(-1) - moving_mean) / sigma, -d_max, d_max)


def batch_renorm(x, gamma, beta, r, d, axis=-1, epsilon=1e-3):
    """Normalize as batch_norm does, then correct xhat to xhat * r + d.

    Where neither r nor d was clipped, this is frozen_batch_norm with the moving statistics.
    """
    return batch_norm(x, gamma * r, gamma * d + beta, axis, epsilon)


def batch_renorm_backward(dy, x, gamma, r, d, axis=-1, epsilon=1e-3):
    """Return dx, dgamma, dbeta of batch_renorm, r and d constants."""
    dx, scaled, dbeta = batch_norm_backward(dy, x, gamma * r, axis, epsilon)
    return dx, scaled * r + dbeta * d, dbeta


def moving_average(running, batch, momentum=0.99, count=None):
    """Return the new moving statistic; without momentum the mean of all count batches. Non-finite ones are left out."""
    new = momentum * running + (1 - momentum) * batch if count is None else running + (batch - running) / count
    return np.where(np.isfinite(batch), new, running)


# Layer norm and RMS norm: one sample over its features


def layer_norm(x, gamma, beta, axes=(-1,), epsilon=1e-3):
    """Normalize each sample over axes; gamma and beta have the shape of these, in ascending order."""
    own = ascending(x.ndim, axes)
    return norm(x, along(gamma, x.ndim, own), along(beta, x.ndim, own), own, epsilon)


def layer_norm_backward(dy, x, gamma, axes=(-1,), epsilon=1e-3):
    """Return dx, dgamma, dbeta of layer_norm."""
    own = ascending(x.ndim, axes)
    dx, scaled = norm_backward(dy, x, along(gamma, x.ndim, own), own, epsilon)
    rest = other_axes(x.ndim, own)
    return dx, scaled.sum(axis=rest), dy.sum(axis=rest)


def root_mean_square(x, axes, epsilon):
    """Reciprocal of the root of the mean square over axes, kept as length-one dimensions."""
    return 1 / np.sqrt((x**2).mean(axis=axes, keepdims=True) + epsilon)


def rms_norm(x, gamma, axes=(-1,), epsilon=1e-6):
    """Divide each sample by its root mean square over axes; gamma as in layer_norm."""
    own = ascending(x.ndim, axes)
    return along(gamma, x.ndim, own) * x * root_mean_square(x, own, epsilon)


def rms_norm_backward(dy, x, gamma, axes=(-1,), epsilon=1e-6):
    """Return dx, dgamma of rms_norm: ways (1) and (3), with x in the place of x - m."""
    own = ascending(x.ndim, axes)
    rstd = root_mean_square(x, own, epsilon)
    xhat = x * rstd
    g = dy * along(gamma, x.ndim, own)
    dx = rstd * (g - xhat * (g * xhat).mean(axis=own, keepdims=True))
    return dx, (dy * xhat).sum(axis=other_axes(x.ndim, own))


def add_layer_norm(x, residual, gamma, beta, axes=(-1,), epsilon=1e-3):
    """Return the layer_norm of s = x + residual, and s."""
    s = x + residual
    return layer_norm(s, gamma, beta, axes, epsilon), s


def add_layer_norm_backward(dy, ds, s, gamma, axes=(-1,), epsilon=1e-3):
    """Return the gradient of x and of residual alike, dgamma, dbeta; ds is that of the second result."""
    dx, dgamma, dbeta = layer_norm_backward(dy, s, gamma, axes, epsilon)
    return dx + ds, dgamma, dbeta


def add_rms_norm(x, residual, gamma, axes=(-1,), epsilon=1e-6):
    """Return the rms_norm of s = x + residual, and s."""
    s = x + residual
    return rms_norm(s, gamma, axes, epsilon), s


def add_rms_norm_backward(dy, ds, s, gamma, axes=(-1,), epsilon=1e-6):
    """Return the gradient of x and of residual alike, and dgamma."""
    dx, dgamma = rms_norm_backward(dy, s, gamma, axes, epsilon)
    return dx + ds, dgamma


# Group norm and instance norm: one sample, some of its channels


def grouped(x, groups, axis):
    """Return x as (N, groups, channels of a group, everything else)."""
    moved = np.moveaxis(x, axis, 1)
    n, channels = moved.shape[:2]
    return moved.reshape(n, groups, channels // groups, math.prod(moved.shape[2:]))


def ungrouped(a, like, axis):
    """Undo grouped, for an array like `like`."""
    shape = np.moveaxis(like, axis, 1).shape
    return np.moveaxis(a.reshape(shape), 1, axis)


def group_norm(x, groups, gamma, beta, axis=-1, epsilon=1e-3):
    """Normalize each sample (an index of axis 0) over each group of consecutive channels and all other axes."""
    gamma, beta = (a.reshape(1, groups, -1, 1) for a in (gamma, beta))
    return ungrouped(norm(grouped(x, groups, axis), gamma, beta, (2, 3), epsilon), x, axis)


def group_norm_backward(dy, x, groups, gamma, axis=-1, epsilon=1e-3):
    """Return dx, dgamma, dbeta of group_norm."""
    dy, flat = grouped(dy, groups, axis), grouped(x, groups, axis)
    dx, scaled = norm_backward(dy, flat, gamma.reshape(1, groups, -1, 1), (2, 3), epsilon)
    dgamma, dbeta = (a.sum(axis=(0, 3)).reshape(gamma.shape) for a in (scaled, dy))
    return ungrouped(dx, x, axis), dgamma, dbeta


def instance_norm(x, gamma, beta, axis=-1, epsilon=1e-3):
    """Normalize each channel of each sample over all other axes."""
    return group_norm(x, x.shape[axis], gamma, beta, axis, epsilon)


def instance_norm_backward(dy, x, gamma, axis=-1, epsilon=1e-3):
    """Return dx, dgamma, dbeta of instance_norm."""
    return group_norm_backward(dy, x, x.shape[axis], gamma, axis, epsilon)


# Dynamic tanh


def dynamic_tanh(x, alpha, gamma, beta, axes=(-1,)):
    """Squash x elementwise; gamma and beta have the shape of axes, alpha is one number."""
    own = ascending(x.ndim, axes)
    return along(gamma, x.ndim, own) * np.tanh(alpha * x) + along(beta, x.ndim, own)


def dynamic_tanh_backward(dy, x, alpha, gamma, axes=(-1,)):
    """Return dx, dalpha, dgamma, dbeta of dynamic_tanh."""
    own = ascending(x.ndim, axes)
    rest = other_axes(x.ndim, own)
    t = np.tanh(alpha * x)
    slope = dy * along(gamma, x.ndim, own) * (1 - t**2)
    return slope * alpha, (slope * x).sum(), (dy * t).sum(axis=rest), dy.sum(axis=rest)
