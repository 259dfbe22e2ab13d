"""BatchNorm on arrays."""

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
from normkit.functional._channels import (
    batch_parts,
    check_fixed,
    check_values,
    check_virtual,
    fixed_coefficients,
)


def batch_norm(
    x: Array,
    gamma: Any = None,
    beta: Any = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-3,
    mean: Any = None,
    var: Any = None,
    virtual_batch_size: int | None = None,
    out: Array | None = None,
    return_stats: bool = False,
) -> Any:
    """Normalize each feature over the batch.

    ``y = gamma * (x - mean) * rstd + beta`` with ``rstd = 1 / sqrt(var + epsilon)``. `mean` and the biased
    variance `var` are those of the batch, over all axes but `axis`; where both are given, they are used
    instead (inference with moving statistics).

    Parameters
    ----------
    x : array of float16, bfloat16, float32 or float64
        Any number of dimensions, any strides; NumPy's, of any library on the CPU that speaks DLPack, or of torch or
        CuPy on an NVIDIA GPU, where all other arrays must then be too.
    gamma, beta : array of shape (x.shape[axis],), optional
        Scale and shift. Default: ones and zeros.
    axis : int, default=-1
        The feature axis: -1 for channels-last, 1 for channels-first images.
    epsilon : float, default=1e-3
        Added to the variance, positive (Keras' default; torch's is 1e-5).
    mean, var : array of shape (x.shape[axis],), optional
        Statistics to use instead of the batch's; both or neither. On a GPU `var` is not checked: a channel where it
        is negative becomes NaN.
    virtual_batch_size : int, optional
        Normalize consecutive parts of this many rows of axis 0 each by itself ("ghost batches"); a remainder joins
        the last part. Axis 0 must not be the feature axis.
    out : array, optional
        Receives the result; shape and dtype of `x`. May be `x` itself or overlap it.
    return_stats : bool, default=False
        Also return the statistics that `batch_norm_backward` takes.

    Returns
    -------
    y : array, kind, shape and dtype of `x`
    mean, rstd : ndarray of float64, shape (x.shape[axis],) or (parts, x.shape[axis])
        On a GPU of the kind of `x`, float32 unless `x` is float64.
        Only with ``return_stats=True``; one row a part with `virtual_batch_size`. NaN for an empty batch: it has no
        statistics.

    Raises
    ------
    TypeError
        If a dtype is not supported.
    ValueError
        If a shape, `axis` or `epsilon` is not valid, only one of `mean` and `var` is given, or a feature has a
        single value: normalized by its own statistics it would be beta whatever it is.

    References
    ----------
    Ioffe, Szegedy: Batch Normalization (2015), arXiv:1502.03167. Ghost batches: Hoffer, Hubara, Soudry: Train
    longer, generalize better (2017), arXiv:1705.08741.

    Examples
    --------
    >>> import numpy as np
    >>> from normkit import batch_norm
    >>> batch_norm(np.array([[1.0, 10.0], [3.0, 30.0]]), epsilon=1e-12)
    array([[-1., -1.],
           [ 1.,  1.]])
    """
    data, kind = operand(x)
    if kind.on_device:
        return _cuda_channels.batch_norm(
            data, kind, gamma, beta, axis, epsilon, mean, var, virtual_batch_size, out, return_stats
        )
    axis = check_axis(axis, data.ndim)
    y_data = memory_for(out, data, kind)
    shape = (data.shape[axis],)
    gamma = parameter(gamma, shape, "gamma", 1.0, kind.arithmetic, out, y_data)
    beta = parameter(beta, shape, "beta", 0.0, kind.arithmetic, out, y_data)
    epsilon = check_epsilon(epsilon, kind.arithmetic)
    if virtual_batch_size is not None:
        virtual_batch_size = check_count(virtual_batch_size, "virtual_batch_size")
    if mean is not None or var is not None:
        mean, var = _fixed_statistics(mean, var, shape, virtual_batch_size)
    parts = batch_parts(data, axis, virtual_batch_size)
    view = y = None
    if data.size:
        if mean is None:
            check_values(parts.values)
        view = parts.layout.view(data)
        y = parts.layout.output(y_data, out, view)
    if mean is not None:
        rstd = 1.0 / np.sqrt(var + epsilon)
        if data.size:
            parts.scale_and_shift(view, *fixed_coefficients(gamma, beta, mean, rstd), y)
    elif data.size:
        mean, rstd = parts.normalize(view, gamma, beta, epsilon, y)  # (parts * C,)
    else:
        mean, rstd = np.full((2, parts.count * shape[0]), np.nan)
    if data.size:
        parts.layout.store(y, y_data)
    y = kind.give_back(y_data, out)
    if not return_stats:
        return y
    if virtual_batch_size is not None:
        mean, rstd = mean.reshape(parts.count, *shape), rstd.reshape(parts.count, *shape)
    return y, mean, rstd


def _fixed_statistics(mean, var, shape, virtual_batch_size):
    """Return given statistics to normalize by in float64."""
    check_fixed(mean, var, virtual_batch_size)
    mean = statistic(mean, shape, "mean").copy()  # it may be returned
    var = statistic(var, shape, "var")
    if (var < 0).any():
        raise ValueError(f"var must not be negative, got {var.min()}")
    return mean, var


def batch_norm_backward(
    dy: Array,
    x: Array,
    gamma: Any,
    mean: Any,
    rstd: Any,
    *,
    axis: int = -1,
    training: bool = True,
    virtual_batch_size: int | None = None,
    out: Array | None = None,
) -> tuple[Array, Any, Any]:
    """Gradient of `batch_norm`, by default through the statistics of the batch.

    With ``xhat = (x - mean) * rstd``, ``dbeta = sum(dy)``, ``dgamma = sum(dy * xhat)`` over the n values of a
    feature: ``dx = gamma * rstd * (dy - dbeta / n - xhat * dgamma / n)``. With ``training=False`` the statistics were
    fixed numbers (`batch_norm` with `mean` and `var` given): ``dx = gamma * rstd * dy``.

    Parameters
    ----------
    dy, x : array of float16, bfloat16, float32 or float64, same shape and dtype
        Gradient of the loss with respect to the output; the input of the forward pass.
    gamma : array of shape (x.shape[axis],) or None
        The scale of the forward pass; None stands for ones.
    mean, rstd : array of shape (x.shape[axis],) or (parts, x.shape[axis])
        The statistics that ``batch_norm(..., return_stats=True)`` returned.
    axis : int, default=-1
        The feature axis.
    training : bool, default=True
        Whether the statistics were those of the batch.
    virtual_batch_size : int, optional
        That of the forward pass.
    out : array, optional
        Receives dx. May be `dy` or `x` itself or overlap them.

    Returns
    -------
    dx : array, kind, shape and dtype of `x`
    dgamma, dbeta : array of shape (x.shape[axis],)
        In the dtype of `x`, float32 where that has 16 bits.

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
    data, kind = operand(x)
    if kind.on_device:
        return _cuda_channels.batch_norm_backward(
            data, kind, dy, gamma, mean, rstd, axis, training, virtual_batch_size, out
        )
    dy = operand_like(dy, data, kind, "dy")
    axis = check_axis(axis, data.ndim)
    dx_data = memory_for(out, data, kind)
    channels = (data.shape[axis],)
    gamma = parameter(gamma, channels, "gamma", 1.0, kind.arithmetic, out, dx_data)
    if virtual_batch_size is not None:
        virtual_batch_size = check_virtual(virtual_batch_size, training)
    parts = batch_parts(data, axis, virtual_batch_size)
    shape = channels if virtual_batch_size is None else (parts.count, *channels)
    mean = statistic(mean, shape, "mean", out, dx_data)
    rstd = statistic(rstd, shape, "rstd", out, dx_data)
    dgamma, dbeta = np.zeros(channels, kind.arithmetic), np.zeros(channels, kind.arithmetic)
    if data.size:
        view, grad = parts.layout.view(data), parts.layout.view(dy)
        dx = parts.layout.output(dx_data, out, view, grad)
        parts.gradient(grad, view, gamma, mean, rstd, dx if training else None, dgamma, dbeta)
        if not training:
            zero = np.zeros(channels)
            parts.scale_and_shift(grad, *fixed_coefficients(gamma, zero, zero, rstd), dx)
        parts.layout.store(dx, dx_data)
    return (
        kind.give_back(dx_data, out),
        kind.parameter_gradient(dgamma, channels),
        kind.parameter_gradient(dbeta, channels),
    )
