"""BatchNorm on arrays, and the moving statistics that go with it."""

import numpy as np

from normkit.functional._arrays import (
    channels_view,
    check_axis,
    check_epsilon,
    check_input,
    check_like,
    check_number,
    check_out,
    check_parameter,
    run,
)
from normkit.kernels.cpu import arrays as kernels


def _statistics(x, channels):
    """Mean and biased variance of each channel, float64; x is in canonical layout."""
    if x.ndim == 3:
        mean, squares = np.empty(channels), np.empty(channels)
        run(kernels.channels_first_statistics, x.size, x, mean, squares)
        return mean, squares / (x.size // channels)
    rows = x.shape[0]
    blocks = kernels.block_count(rows)
    means, squares = np.zeros((blocks, channels)), np.zeros((blocks, channels))
    run(kernels.channels_last_statistics, x.size, x, means, squares)
    counts = np.diff(np.arange(blocks + 1) * rows // blocks)[:, None]  # (blocks, 1)
    # Merge of partial moments (Chan, Golub, LeVeque 1979): within the blocks plus between the blocks,
    # around the first block's mean so that a large common offset does not cancel.
    with np.errstate(invalid="ignore", over="ignore"):  # a channel with infinities becomes NaN, silently
        deviation = means - means[0]  # (blocks, C)
        offset = (counts * deviation).sum(axis=0) / rows  # (C,)
        between = (counts * (deviation - offset) ** 2).sum(axis=0)  # (C,)
        return means[0] + offset, (squares.sum(axis=0) + between) / rows


def _scale(gamma, rstd):
    """Return gamma * rstd; infinity times zero is NaN, silently, as everywhere in the kernels."""
    with np.errstate(invalid="ignore", over="ignore"):
        return gamma * rstd


def batch_norm(x, gamma=None, beta=None, *, axis=-1, epsilon=1e-3, mean=None, var=None, out=None, return_stats=False):
    """Normalize each feature over the batch.

    ``y = gamma * (x - mean) * rstd + beta`` with ``rstd = 1 / sqrt(var + epsilon)``. `mean` and the biased
    variance `var` are those of the batch, over all axes but `axis`; where both are given, they are used
    instead (inference with moving statistics).

    Parameters
    ----------
    x : array of float32 or float64
        Any number of dimensions, any strides.
    gamma, beta : array of shape (x.shape[axis],), optional
        Scale and shift. Default: ones and zeros.
    axis : int, default=-1
        The feature axis: -1 for channels-last, 1 for channels-first images.
    epsilon : float, default=1e-3
        Added to the variance, positive (Keras' default; torch's is 1e-5).
    mean, var : array of shape (x.shape[axis],), optional
        Statistics to use instead of the batch's; both or neither.
    out : array, optional
        Receives the result; shape and dtype of `x`. May be `x` itself or overlap it.
    return_stats : bool, default=False
        Also return the statistics that `batch_norm_backward` takes.

    Returns
    -------
    y : array, shape and dtype of `x`
    mean, rstd : array of float64, shape (x.shape[axis],)
        Only with ``return_stats=True``. NaN for an empty batch: it has no statistics.

    Raises
    ------
    TypeError
        If a dtype is not supported.
    ValueError
        If a shape, `axis` or `epsilon` is not valid, or only one of `mean` and `var` is given.

    References
    ----------
    Ioffe, Szegedy: Batch Normalization (2015), arXiv:1502.03167.

    Examples
    --------
    >>> import numpy as np
    >>> from normkit import batch_norm
    >>> batch_norm(np.array([[1.0, 10.0], [3.0, 30.0]]), epsilon=1e-12)
    array([[-1., -1.],
           [ 1.,  1.]])
    """
    x = check_input(x)
    axis = check_axis(axis, x.ndim)
    channels = x.shape[axis]
    gamma = check_parameter(gamma, (channels,), "gamma", 1.0)
    beta = check_parameter(beta, (channels,), "beta", 0.0)
    epsilon = check_epsilon(epsilon)
    if (mean is None) != (var is None):
        raise ValueError("mean and var must be given together, got only one of them")
    layout = channels_view(x.shape, axis)
    out = check_out(out, x)
    view = layout.view(x)
    if mean is not None:
        mean = check_parameter(mean, (channels,), "mean")
        var = check_parameter(var, (channels,), "var")
        if (var < 0).any():
            raise ValueError(f"var must not be negative, got {var.min()}")
    elif x.size:
        mean, var = _statistics(view, channels)
    else:
        mean, var = np.full(channels, np.nan), np.full(channels, np.nan)
    rstd = 1.0 / np.sqrt(var + epsilon)  # (C,)
    if x.size:
        y = layout.output(out, view)
        kernel = kernels.channels_last_normalize if view.ndim == 2 else kernels.channels_first_normalize
        run(kernel, x.size, view, mean, _scale(gamma, rstd), beta, y)
        layout.store(y, out)
    return (out, mean, rstd) if return_stats else out


def batch_norm_backward(dy, x, gamma, mean, rstd, *, axis=-1, out=None):
    """Gradient of `batch_norm` through the statistics of the batch.

    With ``xhat = (x - mean) * rstd``, ``dbeta = sum(dy)``, ``dgamma = sum(dy * xhat)`` over the n values of a
    feature: ``dx = gamma * rstd * (dy - dbeta / n - xhat * dgamma / n)``.

    Parameters
    ----------
    dy, x : array of float32 or float64, same shape and dtype
        Gradient of the loss with respect to the output; the input of the forward pass.
    gamma : array of shape (x.shape[axis],) or None
        The scale of the forward pass; None stands for ones.
    mean, rstd : array of shape (x.shape[axis],)
        The statistics that ``batch_norm(..., return_stats=True)`` returned.
    axis : int, default=-1
        The feature axis.
    out : array, optional
        Receives dx. May be `dy` or `x` itself or overlap them.

    Returns
    -------
    dx : array, shape and dtype of `x`
    dgamma, dbeta : array of shape (x.shape[axis],), dtype of `x`

    Raises
    ------
    TypeError
        If a dtype is not supported or differs.
    ValueError
        If a shape or `axis` is not valid.

    References
    ----------
    Ioffe, Szegedy: Batch Normalization (2015), section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from normkit import batch_norm, batch_norm_backward
    >>> x = np.array([[1.0], [2.0], [6.0]])
    >>> y, mean, rstd = batch_norm(x, return_stats=True)
    >>> dx, dgamma, dbeta = batch_norm_backward(np.ones_like(x), x, None, mean, rstd)
    >>> bool(abs(dx).max() < 1e-12), dbeta
    (True, array([3.]))
    """
    x = check_input(x)
    dy = check_like(dy, x, "dy")
    axis = check_axis(axis, x.ndim)
    channels = x.shape[axis]
    gamma = check_parameter(gamma, (channels,), "gamma", 1.0)
    mean = check_parameter(mean, (channels,), "mean")
    rstd = check_parameter(rstd, (channels,), "rstd")
    layout = channels_view(x.shape, axis)
    out = check_out(out, x)
    if not x.size:
        return out, np.zeros(channels, x.dtype), np.zeros(channels, x.dtype)
    view, grad = layout.view(x), layout.view(dy)
    dx = layout.output(out, view, grad)
    if view.ndim == 2:
        parts = np.zeros((2, kernels.block_count(view.shape[0]), channels))
        run(kernels.channels_last_sums, x.size, grad, view, mean, rstd, parts[0], parts[1])
        with np.errstate(invalid="ignore", over="ignore"):
            dgamma, dbeta = parts.sum(axis=1)  # (C,), (C,)
        kernel = kernels.channels_last_gradient
    else:
        dgamma, dbeta = np.empty(channels), np.empty(channels)
        run(kernels.channels_first_sums, x.size, grad, view, mean, rstd, dgamma, dbeta)
        kernel = kernels.channels_first_gradient
    n = x.size // channels
    run(kernel, x.size, grad, view, mean, rstd, _scale(gamma, rstd), dgamma / n, dbeta / n, dx)
    layout.store(dx, out)
    with np.errstate(over="ignore"):
        return out, dgamma.astype(x.dtype), dbeta.astype(x.dtype)


def update_running(running_mean, running_var, mean, var, *, momentum=0.99):
    """Update moving statistics in place, in Keras' convention.

    ``running = momentum * running + (1 - momentum) * batch``, the biased variance: `momentum` is the share
    that is kept. torch's `momentum` is the share taken in, ``running = (1 - m) * running + m * batch``, with
    the unbiased variance: torch's 0.1 is 0.9 here, and what it takes in is larger by n / (n - 1).

    Parameters
    ----------
    running_mean, running_var : ndarray of float
        Moving statistics, changed in place.
    mean, var : array of the same shape
        Statistics of the batch; `var` is the biased variance.
    momentum : float in [0, 1], default=0.99
        The share kept.

    Returns
    -------
    running_mean, running_var : ndarray
        The arrays given.

    Raises
    ------
    TypeError
        If the moving statistics are not arrays of float, or `mean` or `var` are not numbers.
    ValueError
        If shapes differ, a moving statistic is read-only or `momentum` is outside [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from normkit import update_running
    >>> update_running(np.zeros(1), np.ones(1), np.array([10.0]), np.array([3.0]), momentum=0.9)
    (array([1.]), array([1.2]))

    The variance from what `batch_norm` returns; its last bit may be below zero where the batch is constant:

    >>> from normkit import batch_norm
    >>> y, mean, rstd = batch_norm(np.array([[1.0], [5.0]]), epsilon=1e-3, return_stats=True)
    >>> np.maximum(rstd**-2 - 1e-3, 0).round(9)
    array([4.])
    """
    momentum = check_number(momentum, "momentum")
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum must be in [0, 1], got {momentum}")
    updated = []
    for name, running, batch in (("mean", running_mean, mean), ("var", running_var, var)):
        if not isinstance(running, np.ndarray) or not np.issubdtype(running.dtype, np.floating):
            got = f"dtype {running.dtype}" if isinstance(running, np.ndarray) else type(running).__name__
            raise TypeError(f"running_{name} must be an array of float to be updated in place, got {got}")
        if not running.flags.writeable:
            raise ValueError(f"running_{name} must be writeable to be updated in place, got a read-only array")
        batch = check_parameter(batch, running.shape, name).reshape(running.shape)
        updated.append(momentum * running.astype(np.float64) + (1 - momentum) * batch)
    # both are checked and computed before either changes; rounded once
    running_mean[...], running_var[...] = updated
    return running_mean, running_var
