"""RMSNorm on arrays, alone and with a residual added first."""

from collections.abc import Sequence
from typing import Any

from normkit.functional import _rows
from normkit.functional._arrays import Array


def rms_norm(
    x: Array,
    gamma: Any = None,
    *,
    axis: int | Sequence[int] = -1,
    epsilon: float = 1e-6,
    out: Array | None = None,
    return_stats: bool = False,
) -> Any:
    """Divide each sample by the root mean square of its features.

    ``y = gamma * x * rstd`` with ``rstd = 1 / sqrt(mean(x**2) + epsilon)``, the mean over `axis`.

    Parameters
    ----------
    x : array of float16, bfloat16, float32 or float64
        Any number of dimensions, any strides; NumPy's, of any library on the CPU that speaks DLPack, or of torch or
        CuPy on an NVIDIA GPU, where all other arrays must then be too.
    gamma : array, optional
        Scale, of the shape of the normalized axes in ascending order. Default: ones.
    axis : int or tuple of int, default=-1
        The normalized axis or axes.
    epsilon : float, default=1e-6
        Added to the mean square, positive (Keras' default; torch's is the dtype's resolution).
    out : array, optional
        Receives the result; shape and dtype of `x`. May be `x` itself or overlap it.
    return_stats : bool, default=False
        Also return the statistic that `rms_norm_backward` takes.

    Returns
    -------
    y : array, kind, shape and dtype of `x`
    rstd : ndarray of float64, shape of `x` without the normalized axes
        On a GPU of the kind of `x`, float32 unless `x` is float64.
        Only with ``return_stats=True``. NaN where there is no value to take it of.

    Raises
    ------
    TypeError
        If a dtype is not supported.
    ValueError
        If a shape, `axis` or `epsilon` is not valid.

    References
    ----------
    Zhang, Sennrich: Root Mean Square Layer Normalization (2019), arXiv:1910.07467.

    Examples
    --------
    >>> import numpy as np
    >>> from normkit import rms_norm
    >>> rms_norm(np.array([[3.0, -3.0, 3.0]])).round(5)
    array([[ 1., -1.,  1.]])
    """
    y, _, _, rstd = _rows.normalize(x, gamma, None, axis, epsilon, out, return_stats, False)
    return (y, rstd) if return_stats else y


def rms_norm_backward(
    dy: Array,
    x: Array,
    gamma: Any,
    rstd: Any,
    *,
    axis: int | Sequence[int] = -1,
    out: Array | None = None,
) -> tuple[Array, Any]:
    """Gradient of `rms_norm`.

    With ``xhat = x * rstd`` and ``g = dy * gamma``: ``dx = rstd * (g - xhat * mean(g * xhat))``, the mean over
    `axis`; ``dgamma = sum(dy * xhat)`` over the other axes.

    Parameters
    ----------
    dy, x : array of float16, bfloat16, float32 or float64, same shape and dtype
        Gradient of the loss with respect to the output; the input of the forward pass.
    gamma : array or None
        The scale of the forward pass; None stands for ones.
    rstd : array
        The statistic that ``rms_norm(..., return_stats=True)`` returned.
    axis : int or tuple of int, default=-1
        The normalized axis or axes.
    out : array, optional
        Receives dx. May be `dy` or `x` itself or overlap them.

    Returns
    -------
    dx : array, kind, shape and dtype of `x`
    dgamma : array of the shape of the normalized axes
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
    >>> from normkit import rms_norm, rms_norm_backward
    >>> x = np.array([[1.0, 2.0, 6.0]])
    >>> y, rstd = rms_norm(x, return_stats=True)
    >>> dx, dgamma = rms_norm_backward(x, x, None, rstd)
    >>> bool(abs(dx).max() < 1e-6)  # the length of x cannot be seen through the norm
    True
    """
    dx, dgamma, _ = _rows.normalize_backward(dy, None, x, gamma, None, rstd, axis, out, False)
    return dx, dgamma


def add_rms_norm(
    x: Array,
    residual: Array,
    gamma: Any = None,
    *,
    axis: int | Sequence[int] = -1,
    epsilon: float = 1e-6,
    out: Array | None = None,
    sum_out: Array | None = None,
    return_stats: bool = False,
) -> Any:
    """Add a residual and divide the sum by its root mean square, in one pass over memory.

    ``s = x + residual``, rounded to the dtype of `x`, and ``y = rms_norm(s, gamma)``.

    Parameters
    ----------
    x, residual : array of float16, bfloat16, float32 or float64, same shape and dtype
        What is added.
    gamma : array, optional
        Scale, as in `rms_norm`.
    axis : int or tuple of int, default=-1
        The normalized axis or axes.
    epsilon : float, default=1e-6
        Added to the mean square, positive.
    out, sum_out : array, optional
        Receive y and s. Each may be `x` or `residual` itself, but they must not share memory.
    return_stats : bool, default=False
        Also return the statistic that `add_rms_norm_backward` takes.

    Returns
    -------
    y, s : array, kind, shape and dtype of `x`
    rstd : ndarray of float64
        On a GPU of the kind of `x`, float32 unless `x` is float64.
        Statistic of s, only with ``return_stats=True``.

    Raises
    ------
    TypeError
        If a dtype is not supported or differs.
    ValueError
        If a shape, `axis` or `epsilon` is not valid, or `out` and `sum_out` share memory.

    Examples
    --------
    >>> import numpy as np
    >>> from normkit import add_rms_norm
    >>> y, s = add_rms_norm(np.array([[1.0, -2.0]]), np.array([[2.0, -1.0]]))
    >>> y.round(5), s
    (array([[ 1., -1.]]), array([[ 3., -3.]]))
    """
    y, s, _, rstd = _rows.normalize(x, gamma, None, axis, epsilon, out, return_stats, False, residual, sum_out)
    return (y, s, rstd) if return_stats else (y, s)


def add_rms_norm_backward(
    dy: Array,
    ds: Array,
    s: Array,
    gamma: Any,
    rstd: Any,
    *,
    axis: int | Sequence[int] = -1,
    out: Array | None = None,
) -> tuple[Array, Any]:
    """Gradient of `add_rms_norm`.

    ``dx = rms_norm_backward(dy, s) + ds`` is the gradient of x and of the residual alike.

    Parameters
    ----------
    dy : array of float16, bfloat16, float32 or float64
        Gradient with respect to y.
    ds : array of the same shape and dtype, or None
        Gradient that reaches the sum by other ways; None stands for zeros.
    s : array of the same shape and dtype
        The sum that `add_rms_norm` returned.
    gamma : array or None
        The scale of the forward pass; None stands for ones.
    rstd : array
        The statistic that ``add_rms_norm(..., return_stats=True)`` returned.
    axis : int or tuple of int, default=-1
        The normalized axis or axes.
    out : array, optional
        Receives dx. May be `dy`, `ds` or `s` itself or overlap them.

    Returns
    -------
    dx : array, kind, shape and dtype of `s`
    dgamma : array of the shape of the normalized axes
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
    >>> from normkit import add_rms_norm, add_rms_norm_backward
    >>> x = np.array([[1.0, 2.0, 6.0]])
    >>> y, s, rstd = add_rms_norm(x, x, return_stats=True)
    >>> dx, dgamma = add_rms_norm_backward(s, x, s, None, rstd)
    >>> dx.round(6)  # only what came by the other way
    array([[1., 2., 6.]])
    """
    dx, dgamma, _ = _rows.normalize_backward(dy, ds, s, gamma, None, rstd, axis, out, False, "s")
    return dx, dgamma
