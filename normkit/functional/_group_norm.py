"""GroupNorm and InstanceNorm on arrays: statistics within a sample, over space."""

from typing import Any

import numpy as np

from normkit.functional import _cuda_channels
from normkit.functional._arrays import (
    Array,
    check_axis,
    check_count,
    check_epsilon,
    memory_for,
    operand,
    operand_like,
    parameter,
    statistic,
)
from normkit.functional._channels import sample_parts


def _prepare(x, axis, groups):
    """Return array, kind, channels and parts; `groups` None stands for as many as channels."""
    data, kind = operand(x)
    shape = data.shape
    if len(shape) < 2:
        raise ValueError(f"x must have at least two dimensions, the first for the samples, got shape {shape}")
    axis = check_axis(axis, len(shape))
    if axis == 0:
        raise ValueError("axis must not be 0, the axis of the samples")
    channels = shape[axis]
    name = "group_norm"
    if groups is None:
        groups, name = channels, "instance_norm"
    elif channels % groups:
        raise ValueError(f"groups must divide the {channels} channels of axis {axis}, got {groups}")
    parts = sample_parts(data, axis, groups)
    if parts.values == 1 and data.size:
        raise ValueError(
            f"{name} needs groups of at least two values, got x of shape {shape} with one value in each of its "
            f"{groups} groups: the result would be beta whatever the input"
        )
    return data, kind, (channels,), parts


def _forward(x, axis, groups, gamma, beta, epsilon, out, return_stats):
    data, kind, channels, parts = _prepare(x, axis, groups)
    if kind.on_device:
        y, mean, rstd = _cuda_channels.group_norm(data, kind, parts, channels, gamma, beta, epsilon, out)
        return (y, mean, rstd) if return_stats else y
    y_data = memory_for(out, data, kind)
    gamma = parameter(gamma, channels, "gamma", 1.0, kind.arithmetic, out, y_data)
    beta = parameter(beta, channels, "beta", 0.0, kind.arithmetic, out, y_data)
    epsilon = check_epsilon(epsilon, kind.arithmetic)
    shape = data.shape[0], parts.groups
    if data.size:
        view = parts.layout.view(data)
        y = parts.layout.output(y_data, out, view)
        mean, rstd = parts.normalize(view, gamma, beta, epsilon, y)
        parts.layout.store(y, y_data)
    else:
        mean, rstd = np.full((2, *shape), np.nan)
    y = kind.give_back(y_data, out)
    if not return_stats:
        return y
    return y, mean.reshape(shape), rstd.reshape(shape)


def _backward(dy, x, axis, groups, gamma, mean, rstd, out):
    data, kind, channels, parts = _prepare(x, axis, groups)
    if kind.on_device:
        return _cuda_channels.group_norm_backward(data, kind, parts, channels, dy, gamma, mean, rstd, out)
    dy = operand_like(dy, data, kind, "dy")
    shape = data.shape[0], parts.groups
    dx_data = memory_for(out, data, kind)
    gamma = parameter(gamma, channels, "gamma", 1.0, kind.arithmetic, out, dx_data)
    mean = statistic(mean, shape, "mean", out, dx_data)
    rstd = statistic(rstd, shape, "rstd", out, dx_data)
    dgamma, dbeta = np.zeros(channels, kind.arithmetic), np.zeros(channels, kind.arithmetic)
    if data.size:
        view, grad = parts.layout.view(data), parts.layout.view(dy)
        dx = parts.layout.output(dx_data, out, view, grad)
        parts.gradient(grad, view, gamma, mean, rstd, dx, dgamma, dbeta)
        parts.layout.store(dx, dx_data)
    return (
        kind.give_back(dx_data, out),
        kind.parameter_gradient(dgamma, channels),
        kind.parameter_gradient(dbeta, channels),
    )


def group_norm(
    x: Array,
    groups: int,
    gamma: Any = None,
    beta: Any = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-3,
    out: Array | None = None,
    return_stats: bool = False,
) -> Any:
    """Normalize each sample over groups of consecutive channels.

    ``y = gamma * (x - mean) * rstd + beta``, mean and the biased variance of a sample's group: its channels and all
    axes but 0, the samples. ``rstd = 1 / sqrt(var + epsilon)``; gamma and beta are one number a channel.

    Parameters
    ----------
    x : array of float16, bfloat16, float32 or float64, shape (N, ..., C, ...)
        Any strides; NumPy's, of any library on the CPU that speaks DLPack, or of torch or CuPy on an NVIDIA GPU,
        where all other arrays must then be too.
    groups : int
        Number of groups; divides the number of channels. One group is layer norm over all but the samples, with
        parameters a channel.
    gamma, beta : array of shape (C,), optional
        Scale and shift. Default: ones and zeros.
    axis : int, default=-1
        The channel axis: -1 for channels-last, 1 for channels-first images. Not 0.
    epsilon : float, default=1e-3
        Added to the variance, positive (Keras' default; torch's is 1e-5).
    out : array, optional
        Receives the result; shape and dtype of `x`. May be `x` itself or overlap it.
    return_stats : bool, default=False
        Also return the statistics that `group_norm_backward` takes.

    Returns
    -------
    y : array, kind, shape and dtype of `x`
    mean, rstd : ndarray of float64, shape (N, groups)
        On a GPU of the kind of `x`, float32 unless `x` is float64.
        Only with ``return_stats=True``.

    Raises
    ------
    TypeError
        If a dtype is not supported.
    ValueError
        If a shape, `groups`, `axis` or `epsilon` is not valid, or a group holds a single value: the result would be
        beta whatever the input.

    References
    ----------
    Wu, He: Group Normalization (2018), arXiv:1803.08494.

    Examples
    --------
    >>> import numpy as np
    >>> from normkit import group_norm
    >>> group_norm(np.array([[1.0, 3.0, 10.0, 30.0]]), 2, epsilon=1e-12)
    array([[-1.,  1., -1.,  1.]])
    """
    groups = check_count(groups, "groups")
    return _forward(x, axis, groups, gamma, beta, epsilon, out, return_stats)


def group_norm_backward(
    dy: Array,
    x: Array,
    groups: int,
    gamma: Any,
    mean: Any,
    rstd: Any,
    *,
    axis: int = -1,
    out: Array | None = None,
) -> tuple[Array, Any, Any]:
    """Gradient of `group_norm`.

    With ``xhat = (x - mean) * rstd`` and ``g = dy * gamma``: ``dx = rstd * (g - mean(g) - xhat * mean(g * xhat))``,
    means over a sample's group; ``dgamma = sum(dy * xhat)`` and ``dbeta = sum(dy)`` over all axes but `axis`.

    Parameters
    ----------
    dy, x : array of float16, bfloat16, float32 or float64, same shape and dtype
        Gradient of the loss with respect to the output; the input of the forward pass.
    groups : int
        Number of groups.
    gamma : array of shape (C,) or None
        The scale of the forward pass; None stands for ones.
    mean, rstd : array of shape (N, groups)
        The statistics that ``group_norm(..., return_stats=True)`` returned.
    axis : int, default=-1
        The channel axis.
    out : array, optional
        Receives dx. May be `dy` or `x` itself or overlap them.

    Returns
    -------
    dx : array, kind, shape and dtype of `x`
    dgamma, dbeta : array of shape (C,)
        In the dtype of `x`, float32 where that has 16 bits.

    Raises
    ------
    TypeError
        If a dtype is not supported or differs.
    ValueError
        If a shape, `groups` or `axis` is not valid.

    Examples
    --------
    >>> import numpy as np
    >>> from normkit import group_norm, group_norm_backward
    >>> x = np.array([[1.0, 2.0, 6.0, 7.0]])
    >>> y, mean, rstd = group_norm(x, 2, return_stats=True)
    >>> dx, dgamma, dbeta = group_norm_backward(np.ones_like(x), x, 2, None, mean, rstd)
    >>> bool(abs(dx).max() < 1e-12), dbeta
    (True, array([1., 1., 1., 1.]))
    """
    return _backward(dy, x, axis, check_count(groups, "groups"), gamma, mean, rstd, out)


def instance_norm(
    x: Array,
    gamma: Any = None,
    beta: Any = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-3,
    out: Array | None = None,
    return_stats: bool = False,
) -> Any:
    """Normalize each channel of each sample over space: `group_norm` with a group a channel.

    Parameters
    ----------
    x : array of float16, bfloat16, float32 or float64, shape (N, ..., C, ...)
        Any strides; NumPy's, of any library on the CPU that speaks DLPack, or of torch or CuPy on an NVIDIA GPU,
        where all other arrays must then be too.
    gamma, beta : array of shape (C,), optional
        Scale and shift. Default: ones and zeros.
    axis : int, default=-1
        The channel axis: -1 for channels-last, 1 for channels-first images. Not 0.
    epsilon : float, default=1e-3
        Added to the variance, positive (torch's default is 1e-5).
    out : array, optional
        Receives the result; shape and dtype of `x`. May be `x` itself or overlap it.
    return_stats : bool, default=False
        Also return the statistics that `instance_norm_backward` takes.

    Returns
    -------
    y : array, kind, shape and dtype of `x`
    mean, rstd : ndarray of float64, shape (N, C)
        On a GPU of the kind of `x`, float32 unless `x` is float64.
        Only with ``return_stats=True``.

    Raises
    ------
    TypeError
        If a dtype is not supported.
    ValueError
        If a shape, `axis` or `epsilon` is not valid, or a channel of a sample holds a single value: the result
        would be beta whatever the input.

    References
    ----------
    Ulyanov, Vedaldi, Lempitsky: Instance Normalization (2016), arXiv:1607.08022.

    Examples
    --------
    >>> import numpy as np
    >>> from normkit import instance_norm
    >>> instance_norm(np.array([[[1.0, 3.0], [10.0, 30.0]]]), axis=1, epsilon=1e-12)
    array([[[-1.,  1.],
            [-1.,  1.]]])
    """
    return _forward(x, axis, None, gamma, beta, epsilon, out, return_stats)


def instance_norm_backward(
    dy: Array,
    x: Array,
    gamma: Any,
    mean: Any,
    rstd: Any,
    *,
    axis: int = -1,
    out: Array | None = None,
) -> tuple[Array, Any, Any]:
    """Gradient of `instance_norm`: that of `group_norm` with a group a channel.

    Parameters
    ----------
    dy, x : array of float16, bfloat16, float32 or float64, same shape and dtype
        Gradient of the loss with respect to the output; the input of the forward pass.
    gamma : array of shape (C,) or None
        The scale of the forward pass; None stands for ones.
    mean, rstd : array of shape (N, C)
        The statistics that ``instance_norm(..., return_stats=True)`` returned.
    axis : int, default=-1
        The channel axis.
    out : array, optional
        Receives dx. May be `dy` or `x` itself or overlap them.

    Returns
    -------
    dx : array, kind, shape and dtype of `x`
    dgamma, dbeta : array of shape (C,)
        In the dtype of `x`, float32 where that has 16 bits.

    Raises
    ------
    TypeError
        If a dtype is not supported or differs.
    ValueError
        If a shape or `axis` is not valid.

    Examples
    --------
    >>> import numpy as np
    >>> from normkit import instance_norm, instance_norm_backward
    >>> x = np.array([[[1.0, 2.0, 6.0]]])
    >>> y, mean, rstd = instance_norm(x, axis=1, return_stats=True)
    >>> dx, dgamma, dbeta = instance_norm_backward(np.ones_like(x), x, None, mean, rstd, axis=1)
    >>> bool(abs(dx).max() < 1e-12), dbeta
    (True, array([3.]))
    """
    return _backward(dy, x, axis, None, gamma, mean, rstd, out)
