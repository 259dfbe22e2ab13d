"""Batch Renormalization on arrays."""

from typing import Any

import numpy as np

from normkit.functional import _cuda_channels
from normkit.functional._arrays import (
    Array,
    check_axis,
    check_epsilon,
    memory_for,
    operand,
    parameter,
    statistic,
)
from normkit.functional._batch_norm import batch_norm_backward
from normkit.functional._channels import batch_parts, check_limits, check_values, fixed_coefficients


def batch_renorm(
    x: Array,
    gamma: Any = None,
    beta: Any = None,
    *,
    moving_mean: Any,
    moving_var: Any,
    r_max: float = 3.0,
    d_max: float = 5.0,
    axis: int = -1,
    epsilon: float = 1e-3,
    out: Array | None = None,
    return_stats: bool = False,
) -> Any:
    """Normalize each feature over the batch, corrected towards the moving statistics.

    ``y = gamma * ((x - mean) * rstd * r + d) + beta`` with mean and ``rstd = 1 / sqrt(var + epsilon)`` of the batch,
    ``r = clip(sigma / moving_sigma, 1 / r_max, r_max)``, ``d = clip((mean - moving_mean) / moving_sigma, -d_max,
    d_max)`` and ``sigma = sqrt(var + epsilon)``, ``moving_sigma = sqrt(moving_var + epsilon)``. As long as neither is
    clipped, this is the inference formula, so that small batches train what is used later. The gradient takes r and d
    for constants.

    Parameters
    ----------
    x : array of float16, bfloat16, float32 or float64
        Any number of dimensions, any strides; NumPy's, of any library on the CPU that speaks DLPack, or of torch or
        CuPy on an NVIDIA GPU, where all other arrays must then be too.
    gamma, beta : array of shape (x.shape[axis],), optional
        Scale and shift. Default: ones and zeros.
    moving_mean, moving_var : array of shape (x.shape[axis],)
        Moving statistics; not changed (see `update_running`). On a GPU `moving_var` is not checked: a channel where
        it is negative becomes NaN.
    r_max, d_max : float, default=3.0 and 5.0
        Limits of the corrections, at least 1 and 0 (the paper's final values; 1 and 0 give `batch_norm`).
    axis : int, default=-1
        The feature axis.
    epsilon : float, default=1e-3
        Added to the variances, positive.
    out : array, optional
        Receives the result; shape and dtype of `x`. May be `x` itself or overlap it.
    return_stats : bool, default=False
        Also return what `batch_renorm_backward` takes.

    Returns
    -------
    y : array, kind, shape and dtype of `x`
    mean, rstd, r, d : ndarray of float64, shape (x.shape[axis],)
        On a GPU of the kind of `x`, float32 unless `x` is float64.
        Only with ``return_stats=True``. NaN for an empty batch: it has no statistics.

    Raises
    ------
    TypeError
        If a dtype is not supported.
    ValueError
        If a shape, `axis`, `epsilon` or a limit is not valid, or a feature has a single value.

    References
    ----------
    Ioffe: Batch Renormalization (2017), arXiv:1702.03275.

    Examples
    --------
    >>> import numpy as np
    >>> from normkit import batch_norm, batch_renorm
    >>> x, mean, var = np.array([[1.0], [3.0]]), np.array([1.5]), np.array([2.0])
    >>> y = batch_renorm(x, moving_mean=mean, moving_var=var)
    >>> bool(np.allclose(y, batch_norm(x, mean=mean, var=var)))
    True
    """
    data, kind = operand(x)
    if kind.on_device:
        y, *statistics = _cuda_channels.batch_renorm(
            data, kind, gamma, beta, moving_mean, moving_var, r_max, d_max, axis, epsilon, out
        )
        return (y, *statistics) if return_stats else y
    axis = check_axis(axis, data.ndim)
    shape = (data.shape[axis],)
    y_data = memory_for(out, data, kind)
    gamma = parameter(gamma, shape, "gamma", 1.0, kind.arithmetic, out, y_data)
    beta = parameter(beta, shape, "beta", 0.0, kind.arithmetic, out, y_data)
    moving_mean = statistic(moving_mean, shape, "moving_mean")
    moving_var = statistic(moving_var, shape, "moving_var")
    if (moving_var < 0).any():
        raise ValueError(f"moving_var must not be negative, got {moving_var.min()}")
    epsilon = check_epsilon(epsilon, kind.arithmetic)
    r_max, d_max = check_limits(r_max, d_max)
    parts = batch_parts(data, axis)
    mean, rstd = np.full(shape, np.nan), np.full(shape, np.nan)
    view = y = None
    if data.size:
        check_values(parts.values)
        view = parts.layout.view(data)
        y = parts.layout.output(y_data, out, view)
        mean, rstd = parts.normalize(view, gamma, beta, epsilon, None)
    moving_sigma = np.sqrt(moving_var + epsilon)
    with np.errstate(invalid="ignore", over="ignore"):
        r = np.clip(1.0 / (rstd * moving_sigma), 1.0 / r_max, r_max)
        d = np.clip((mean - moving_mean) / moving_sigma, -d_max, d_max)
    if data.size:
        # y = (gamma * r) * xhat + (beta + gamma * d): batch norm with other parameters
        with np.errstate(invalid="ignore", over="ignore"):
            coefficients = fixed_coefficients(gamma, beta + gamma * d, mean, rstd * r)
        parts.scale_and_shift(view, *coefficients, y)
        parts.layout.store(y, y_data)
    y = kind.give_back(y_data, out)
    return (y, mean, rstd, r, d) if return_stats else y


def batch_renorm_backward(
    dy: Array,
    x: Array,
    gamma: Any,
    mean: Any,
    rstd: Any,
    r: Any,
    d: Any,
    *,
    axis: int = -1,
    out: Array | None = None,
) -> tuple[Array, Any, Any]:
    """Gradient of `batch_renorm`, r and d taken for constants.

    With ``xhat = (x - mean) * rstd``: that of `batch_norm` with the scale ``gamma * r``, and
    ``dgamma = sum(dy * (r * xhat + d))``.

    Parameters
    ----------
    dy, x : array of float16, bfloat16, float32 or float64, same shape and dtype
        Gradient of the loss with respect to the output; the input of the forward pass.
    gamma : array of shape (x.shape[axis],) or None
        The scale of the forward pass; None stands for ones.
    mean, rstd, r, d : array of shape (x.shape[axis],)
        What ``batch_renorm(..., return_stats=True)`` returned.
    axis : int, default=-1
        The feature axis.
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

    Examples
    --------
    >>> import numpy as np
    >>> from normkit import batch_renorm, batch_renorm_backward
    >>> x, zero, one = np.array([[1.0], [2.0], [6.0]]), np.zeros(1), np.ones(1)
    >>> y, *stats = batch_renorm(x, moving_mean=zero, moving_var=one, return_stats=True)
    >>> dx, dgamma, dbeta = batch_renorm_backward(np.ones_like(x), x, None, *stats)
    >>> bool(abs(dx).max() < 1e-12), dbeta
    (True, array([3.]))
    """
    data, kind = operand(x)
    if kind.on_device:
        return _cuda_channels.batch_renorm_backward(data, kind, dy, gamma, mean, rstd, r, d, axis, out)
    shape = (data.shape[check_axis(axis, data.ndim)],)
    r, d = statistic(r, shape, "r").copy(), statistic(d, shape, "d").copy()  # out may overlap them
    scale = parameter(gamma, shape, "gamma", 1.0, np.dtype(np.float64)) * r
    dx, dgamma, dbeta = batch_norm_backward(dy, x, scale, mean, rstd, axis=axis, out=out)
    if data.size:  # else there was nothing to correct, and r and d are NaN
        sums = np.asarray(dgamma, np.float64), np.asarray(dbeta, np.float64)
        dgamma = kind.parameter_gradient(r * sums[0] + d * sums[1], shape)
    return dx, dgamma, dbeta
