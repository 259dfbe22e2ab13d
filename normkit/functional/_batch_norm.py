"""BatchNorm on arrays."""

import numpy as np

from normkit.functional._arrays import (
    check_axis,
    check_count,
    check_epsilon,
    memory_for,
    operand,
    operand_like,
    parameter,
    statistic,
)
from normkit.functional._channels import Parts, fixed_coefficients, merge_pieces, scale_and_shift
from normkit.functional._layouts import channels_layout


def _cuts(shape, axis, virtual_batch_size, layout):
    """Return the ranges of the layout's first dimension that `Parts` takes, and the number of parts."""
    if virtual_batch_size is None:
        return [(0, layout.shape[0], 1)], 1
    size = check_count(virtual_batch_size, "virtual_batch_size")
    if axis == 0:
        raise ValueError("virtual_batch_size cuts axis 0 into parts, so axis must be another one, got 0")
    rows = layout.shape[0] // max(shape[0], 1)
    cuts = [(start * rows, stop * rows, count) for start, stop, count in merge_pieces(shape[0], size)]
    return cuts, sum(count for _, _, count in cuts)


def _check_values(cuts, layout):
    start, stop, count = cuts[0]
    inner = layout.shape[2] if len(layout.shape) == 3 else 1
    if (stop - start) // count * inner == 1:
        raise ValueError(
            "each feature must have at least two values to take statistics of, got one; take a larger batch, or give "
            "mean and var to normalize by"
        )


def batch_norm(
    x, gamma=None, beta=None, *, axis=-1, epsilon=1e-3, mean=None, var=None, virtual_batch_size=None, out=None,
    return_stats=False,
):  # fmt: skip
    """Normalize each feature over the batch.

    ``y = gamma * (x - mean) * rstd + beta`` with ``rstd = 1 / sqrt(var + epsilon)``. `mean` and the biased
    variance `var` are those of the batch, over all axes but `axis`; where both are given, they are used
    instead (inference with moving statistics).

    Parameters
    ----------
    x : array of float16, bfloat16, float32 or float64
        Any number of dimensions, any strides; NumPy's, or of any library on the CPU that speaks DLPack.
    gamma, beta : array of shape (x.shape[axis],), optional
        Scale and shift. Default: ones and zeros.
    axis : int, default=-1
        The feature axis: -1 for channels-last, 1 for channels-first images.
    epsilon : float, default=1e-3
        Added to the variance, positive (Keras' default; torch's is 1e-5).
    mean, var : array of shape (x.shape[axis],), optional
        Statistics to use instead of the batch's; both or neither.
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
    x = operand(x)
    data = x.data
    axis = check_axis(axis, data.ndim)
    channels = data.shape[axis]
    y_data = memory_for(out, x)
    gamma = parameter(gamma, (channels,), "gamma", 1.0, x.arithmetic, out, y_data)
    beta = parameter(beta, (channels,), "beta", 0.0, x.arithmetic, out, y_data)
    epsilon = check_epsilon(epsilon, x.arithmetic)
    if (mean is None) != (var is None):
        raise ValueError("mean and var must be given together, got only one of them")
    if mean is not None:
        if virtual_batch_size is not None:
            raise ValueError(f"virtual_batch_size must be None where mean and var are given, got {virtual_batch_size}")
        mean = statistic(mean, (channels,), "mean").copy()  # it may be returned
        var = statistic(var, (channels,), "var")
        if (var < 0).any():
            raise ValueError(f"var must not be negative, got {var.min()}")
    layout, _ = channels_layout(data, axis, first=virtual_batch_size is not None)
    cuts, count = _cuts(data.shape, axis, virtual_batch_size, layout)
    if data.size and mean is None:
        _check_values(cuts, layout)
    if data.size:
        view = layout.view(data)  # (outer, C) or (outer, C, inner)
        y = layout.output(y_data, out, view)
    if mean is not None:
        rstd = 1.0 / np.sqrt(var + epsilon)  # (C,)
        if data.size:
            high, scale, offset = fixed_coefficients(gamma, beta, mean, rstd)
            scale_and_shift(view, high, scale, offset, y)
    elif data.size:
        mean, rstd = Parts(view, cuts, channels).normalize(view, gamma, beta, epsilon, y)  # (parts, C)
        if virtual_batch_size is None:
            mean, rstd = mean[0], rstd[0]
    else:
        shape = (channels,) if virtual_batch_size is None else (count, channels)
        mean, rstd = np.full(shape, np.nan), np.full(shape, np.nan)
    if data.size:
        layout.store(y, y_data)
    return (x.give_back(y_data, out), mean, rstd) if return_stats else x.give_back(y_data, out)


def batch_norm_backward(
    dy, x, gamma, mean, rstd, *, axis=-1, training=True, virtual_batch_size=None, out=None
):  # fmt: skip
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
    x = operand(x)
    dy = operand_like(dy, x, "dy")
    data = x.data
    axis = check_axis(axis, data.ndim)
    channels = data.shape[axis]
    dx_data = memory_for(out, x)
    gamma = parameter(gamma, (channels,), "gamma", 1.0, x.arithmetic, out, dx_data)
    layout, _ = channels_layout(data, axis, first=virtual_batch_size is not None)
    cuts, count = _cuts(data.shape, axis, virtual_batch_size, layout)
    shape = (channels,) if virtual_batch_size is None else (count, channels)
    mean = statistic(mean, shape, "mean", out, dx_data).reshape(count, channels)
    rstd = statistic(rstd, shape, "rstd", out, dx_data).reshape(count, channels)
    if not training and virtual_batch_size is not None:
        raise ValueError("virtual_batch_size must be None with training=False: fixed statistics have no parts")
    dgamma, dbeta = np.zeros((2, channels))
    if data.size:
        view, grad = layout.view(data), layout.view(dy.data)
        dx = layout.output(dx_data, out, view, grad)
        parts = Parts(view, cuts, channels)
        dgamma, dbeta = parts.gradient(grad, view, gamma, mean, rstd, dx if training else None)
        if not training:
            zero = np.zeros(channels)
            high, scale, offset = fixed_coefficients(gamma, zero, zero, rstd[0])
            scale_and_shift(grad, high, scale, offset, dx)
        layout.store(dx, dx_data)
    return (
        x.give_back(dx_data, out),
        x.parameter_gradient(dgamma, (channels,)),
        x.parameter_gradient(dbeta, (channels,)),
    )
