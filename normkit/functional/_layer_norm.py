"""LayerNorm on arrays, alone and with a residual added first."""

from collections.abc import Sequence
from typing import Any

from normkit.functional import _rows
from normkit.functional._arrays import Array


def layer_norm(
    x: Array,
    gamma: Any = None,
    beta: Any = None,
    *,
    axis: int | Sequence[int] = -1,
    epsilon: float = 1e-3,
    out: Array | None = None,
    return_stats: bool = False,
) -> Any:
    """Normalize each sample over its features.

    ``y = gamma * (x - mean) * rstd + beta`` with ``mean`` and the biased variance ``var`` taken over `axis`
    and ``rstd = 1 / sqrt(var + epsilon)``.

    Parameters
    ----------
    x : array of float16, bfloat16, float32 or float64
        Any number of dimensions, any strides; NumPy's, of any library on the CPU that speaks DLPack, or of torch or
        CuPy on an NVIDIA GPU, where all other arrays must then be too.
    gamma, beta : array, optional
        Scale and shift, of the shape of the normalized axes in ascending order. Default: ones and zeros.
    axis : int or tuple of int, default=-1
        The normalized axis or axes.
    epsilon : float, default=1e-3
        Added to the variance, positive (Keras' default; torch's is 1e-5).
    out : array, optional
        Receives the result; shape and dtype of `x`. May be `x` itself or overlap it.
    return_stats : bool, default=False
        Also return the statistics that `layer_norm_backward` takes.

    Returns
    -------
    y : array, kind, shape and dtype of `x`
    mean, rstd : ndarray of float64, shape of `x` without the normalized axes
        On a GPU of the kind of `x`, float32 unless `x` is float64.
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
    y, _, mean, rstd = _rows.normalize(x, gamma, beta, axis, epsilon, out, return_stats, True)
    return (y, mean, rstd) if return_stats else y


def layer_norm_backward(
    dy: Array,
    x: Array,
    gamma: Any,
    mean: Any,
    rstd: Any,
    *,
    axis: int | Sequence[int] = -1,
    out: Array | None = None,
) -> tuple[Array, Any, Any]:
    """Gradient of `layer_norm`.

    With ``xhat = (x - mean) * rstd`` and ``g = dy * gamma``:
    ``dx = rstd * (g - mean(g) - xhat * mean(g * xhat))``, means over `axis`;
    ``dgamma = sum(dy * xhat)`` and ``dbeta = sum(dy)`` over the other axes.

    Parameters
    ----------
    dy, x : array of float16, bfloat16, float32 or float64, same shape and dtype
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
    dx : array, kind, shape and dtype of `x`
    dgamma, dbeta : array of the shape of the normalized axes
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
    >>> from normkit import layer_norm, layer_norm_backward
    >>> x = np.array([[1.0, 2.0, 6.0]])
    >>> y, mean, rstd = layer_norm(x, return_stats=True)
    >>> dx, dgamma, dbeta = layer_norm_backward(np.ones_like(x), x, None, mean, rstd)
    >>> bool(abs(dx).max() < 1e-12), dbeta  # a constant cannot be seen through the norm
    (True, array([1., 1., 1.]))
    """
    return _rows.normalize_backward(dy, None, x, gamma, mean, rstd, axis, out, True)


def add_layer_norm(
    x: Array,
    residual: Array,
    gamma: Any = None,
    beta: Any = None,
    *,
    axis: int | Sequence[int] = -1,
    epsilon: float = 1e-3,
    out: Array | None = None,
    sum_out: Array | None = None,
    return_stats: bool = False,
) -> Any:
    """Add a residual and normalize the sum, in one pass over memory.

    ``s = x + residual``, rounded to the dtype of `x`, and ``y = layer_norm(s, gamma, beta)``: the pair that
    begins every block of a transformer.

    Parameters
    ----------
    x, residual : array of float16, bfloat16, float32 or float64, same shape and dtype
        What is added.
    gamma, beta : array, optional
        Scale and shift, as in `layer_norm`.
    axis : int or tuple of int, default=-1
        The normalized axis or axes.
    epsilon : float, default=1e-3
        Added to the variance, positive.
    out, sum_out : array, optional
        Receive y and s. Each may be `x` or `residual` itself, but they must not share memory.
    return_stats : bool, default=False
        Also return the statistics that `add_layer_norm_backward` takes.

    Returns
    -------
    y, s : array, kind, shape and dtype of `x`
    mean, rstd : ndarray of float64
        On a GPU of the kind of `x`, float32 unless `x` is float64.
        Statistics of s, only with ``return_stats=True``.

    Raises
    ------
    TypeError
        If a dtype is not supported or differs.
    ValueError
        If a shape, `axis` or `epsilon` is not valid, or `out` and `sum_out` share memory.

    Examples
    --------
    >>> import numpy as np
    >>> from normkit import add_layer_norm
    >>> y, s = add_layer_norm(np.array([[1.0, 2.0]]), np.array([[0.0, 1.0]]), epsilon=1e-12)
    >>> y, s
    (array([[-1.,  1.]]), array([[1., 3.]]))
    """
    y, s, mean, rstd = _rows.normalize(x, gamma, beta, axis, epsilon, out, return_stats, True, residual, sum_out)
    return (y, s, mean, rstd) if return_stats else (y, s)


def add_layer_norm_backward(
    dy: Array,
    ds: Array,
    s: Array,
    gamma: Any,
    mean: Any,
    rstd: Any,
    *,
    axis: int | Sequence[int] = -1,
    out: Array | None = None,
) -> tuple[Array, Any, Any]:
    """Gradient of `add_layer_norm`.

    ``dx = layer_norm_backward(dy, s) + ds`` is the gradient of x and of the residual alike.

    Parameters
    ----------
    dy : array of float16, bfloat16, float32 or float64
        Gradient with respect to y.
    ds : array of the same shape and dtype, or None
        Gradient that reaches the sum by other ways; None stands for zeros.
    s : array of the same shape and dtype
        The sum that `add_layer_norm` returned.
    gamma : array or None
        The scale of the forward pass; None stands for ones.
    mean, rstd : array
        The statistics that ``add_layer_norm(..., return_stats=True)`` returned.
    axis : int or tuple of int, default=-1
        The normalized axis or axes.
    out : array, optional
        Receives dx. May be `dy`, `ds` or `s` itself or overlap them.

    Returns
    -------
    dx : array, kind, shape and dtype of `s`
    dgamma, dbeta : array of the shape of the normalized axes
        In the dtype of `s`, float32 where that has 16 bits.

    Raises
    ------
    TypeError
        If a dtype is not supported or differs.
    ValueError
        If a shape or `axis` is not valid.

    Examples
    --------
    >>> import numpy as np
    >>> from normkit import add_layer_norm, add_layer_norm_backward
    >>> x, ones = np.array([[1.0, 2.0, 6.0]]), np.ones((1, 3))
    >>> y, s, mean, rstd = add_layer_norm(x, x, return_stats=True)
    >>> dx, dgamma, dbeta = add_layer_norm_backward(ones, ones, s, None, mean, rstd)
    >>> dx.round(12)  # only what came by the other way
    array([[1., 1., 1.]])
    """
    return _rows.normalize_backward(dy, ds, s, gamma, mean, rstd, axis, out, True, "s")
