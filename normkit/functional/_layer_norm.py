"""LayerNorm on arrays."""

import numpy as np

from normkit.functional._arrays import (
    check_axes,
    check_epsilon,
    check_input,
    check_like,
    check_out,
    check_parameter,
    rows_view,
    run,
)
from normkit.kernels.cpu import arrays as kernels


def layer_norm(x, gamma=None, beta=None, *, axis=-1, epsilon=1e-3, out=None, return_stats=False):
    """Normalize each sample over its features.

    ``y = gamma * (x - mean) * rstd + beta`` with ``mean`` and the biased variance ``var`` taken over `axis`
    and ``rstd = 1 / sqrt(var + epsilon)``.

    Parameters
    ----------
    x : array of float32 or float64
        Any number of dimensions, any strides.
    gamma, beta : array, optional
        Scale and shift, of the shape of the normalized axes in ascending order. Default: ones and zeros.
    axis : int or tuple of int, default=-1
        The normalized axis or axes.
    epsilon : float, default=1e-3
        Added to the variance, positive.
    out : array, optional
        Receives the result; shape and dtype of `x`. May be `x` itself or overlap it.
    return_stats : bool, default=False
        Also return the statistics that `layer_norm_backward` takes.

    Returns
    -------
    y : array, shape and dtype of `x`
    mean, rstd : array of float64, shape of `x` without the normalized axes
        Only with ``return_stats=True``. NaN where there is no value to take them of.

    Raises
    ------
    TypeError
        If a dtype is not supported.
    ValueError
        If a shape, `axis` or `epsilon` is not valid.

    References
    ----------
    Ba, Kiros, Hinton: Layer Normalization (2016), arXiv:1607.06450.

    Examples
    --------
    >>> import numpy as np
    >>> from normkit import layer_norm
    >>> layer_norm(np.array([[1.0, 3.0], [10.0, 30.0]]), epsilon=1e-12)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    x = check_input(x)
    layout, kept, normalized = rows_view(x.shape, check_axes(axis, x.ndim))
    gamma = check_parameter(gamma, normalized, "gamma", 1.0)
    beta = check_parameter(beta, normalized, "beta", 0.0)
    epsilon = check_epsilon(epsilon)
    out = check_out(out, x)
    m, n = layout.group_shape
    mean, rstd = np.full(m, np.nan), np.full(m, np.nan)  # (M,), (M,)
    if x.size:
        view = layout.view(x)  # (M, N)
        y = layout.output(out, view)  # (M, N)
        run(kernels.layer_norm, x.size, view, gamma, beta, epsilon, y, mean, rstd)
        layout.store(y, out)
    return (out, mean.reshape(kept), rstd.reshape(kept)) if return_stats else out


def layer_norm_backward(dy, x, gamma, mean, rstd, *, axis=-1, out=None):
    """Gradient of `layer_norm`.

    With ``xhat = (x - mean) * rstd`` and ``g = dy * gamma``:
    ``dx = rstd * (g - mean(g) - xhat * mean(g * xhat))``, means over `axis`;
    ``dgamma = sum(dy * xhat)`` and ``dbeta = sum(dy)`` over the other axes.

    Parameters
    ----------
    dy, x : array of float32 or float64, same shape and dtype
        Gradient of the loss with respect to the output; the input of the forward pass.
    gamma : array or None
        The scale of the forward pass; None stands for ones.
    mean, rstd : array
        The statistics that ``layer_norm(..., return_stats=True)`` returned.
    axis : int or tuple of int, default=-1
        The normalized axis or axes.
    out : array, optional
        Receives dx. May be `dy` or `x` itself or overlap them.

    Returns
    -------
    dx : array, shape and dtype of `x`
    dgamma, dbeta : array, dtype of `x`, shape of the normalized axes

    Raises
    ------
    TypeError
        If a dtype is not supported or differs.
    ValueError
        If a shape or `axis` is not valid.

    Examples
    --------
    >>> import numpy as np
    >>> from normkit import layer_norm, layer_norm_backward
    >>> x = np.array([[1.0, 2.0, 6.0]])
    >>> y, mean, rstd = layer_norm(x, return_stats=True)
    >>> dx, dgamma, dbeta = layer_norm_backward(np.ones_like(x), x, None, mean, rstd)
    >>> bool(abs(dx).max() < 1e-12), dbeta  # a constant cannot be seen through the norm
    (True, array([1., 1., 1.]))
    """
    x = check_input(x)
    dy = check_like(dy, x, "dy")
    layout, kept, normalized = rows_view(x.shape, check_axes(axis, x.ndim))
    gamma = check_parameter(gamma, normalized, "gamma", 1.0)
    mean = check_parameter(mean, kept, "mean")
    rstd = check_parameter(rstd, kept, "rstd")
    out = check_out(out, x)
    m, n = layout.group_shape
    blocks = kernels.block_count(m)
    dgamma, dbeta = np.zeros((blocks, n)), np.zeros((blocks, n))
    if x.size:
        view, grad = layout.view(x), layout.view(dy)  # (M, N), (M, N)
        dx = layout.output(out, view, grad)  # (M, N)
        run(kernels.layer_norm_backward, x.size, grad, view, gamma, mean, rstd, dx, dgamma, dbeta)
        layout.store(dx, out)
    return (
        out,
        dgamma.sum(axis=0).reshape(normalized).astype(x.dtype),
        dbeta.sum(axis=0).reshape(normalized).astype(x.dtype),
    )
