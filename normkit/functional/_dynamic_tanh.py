"""Dynamic Tanh on arrays: a norm's shape without its statistics."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from normkit.functional import _cuda_rows
from normkit.functional._arrays import Array, check_alpha, check_axes, memory_for, operand, operand_like, parameter, run
from normkit.functional._layouts import rows_layout
from normkit.kernels.cpu import elementwise as kernels


def dynamic_tanh(
    x: Array,
    alpha: float = 0.5,
    gamma: Any = None,
    beta: Any = None,
    *,
    axis: int | Sequence[int] = -1,
    out: Array | None = None,
) -> Array:
    """Squash each value: ``y = gamma * tanh(alpha * x) + beta``, a stand-in for layer norm without statistics.

    Parameters
    ----------
    x : array of float16, bfloat16, float32 or float64
        Any number of dimensions, any strides; NumPy's, of any library on the CPU that speaks DLPack, or of torch or
        CuPy on an NVIDIA GPU, where all other arrays must then be too.
    alpha : float or array of one element, default=0.5
        Scale of the input, one number, learned.
    gamma, beta : array, optional
        Scale and shift, of the shape of `axis` in ascending order. Default: ones and zeros.
    axis : int or tuple of int, default=-1
        The axes that gamma and beta lie along.
    out : array, optional
        Receives the result; shape and dtype of `x`. May be `x` itself or overlap it.

    Returns
    -------
    y : array, kind, shape and dtype of `x`

    Raises
    ------
    TypeError
        If a dtype is not supported.
    ValueError
        If a shape, `axis` or `alpha` is not valid.

    References
    ----------
    Zhu, Chen, He, LeCun, Liu: Transformers without Normalization (2025), arXiv:2503.10622.

    Examples
    --------
    >>> import numpy as np
    >>> from normkit import dynamic_tanh
    >>> dynamic_tanh(np.array([[-100.0, 0.0, 100.0]]), beta=np.ones(3))
    array([[0., 1., 2.]])
    """
    data, kind = operand(x)
    if kind.on_device:
        return _cuda_rows.dynamic_tanh(data, kind, alpha, gamma, beta, axis, out)
    alpha = check_alpha(alpha, kind.arithmetic)
    layout, _, shape = rows_layout(data.shape, check_axes(axis, data.ndim))
    y_data = memory_for(out, data, kind)
    gamma = parameter(gamma, shape, "gamma", 1.0, kind.arithmetic, out, y_data)
    beta = parameter(beta, shape, "beta", 0.0, kind.arithmetic, out, y_data)
    if data.size:
        view = layout.view(data)
        y = layout.output(y_data, out, view)
        run(kernels.dynamic_tanh, data.size, view, alpha, gamma, beta, y)
        layout.store(y, y_data)
    return kind.give_back(y_data, out)


def dynamic_tanh_backward(
    dy: Array,
    x: Array,
    alpha: float,
    gamma: Any,
    *,
    axis: int | Sequence[int] = -1,
    out: Array | None = None,
) -> tuple[Array, float, Any, Any]:
    """Gradient of `dynamic_tanh`.

    With ``t = tanh(alpha * x)`` and ``g = gamma * dy * (1 - t**2)``: ``dx = alpha * g``, ``dalpha = sum(g * x)``,
    ``dgamma = sum(dy * t)`` and ``dbeta = sum(dy)``.

    Parameters
    ----------
    dy, x : array of float16, bfloat16, float32 or float64, same shape and dtype
        Gradient of the loss with respect to the output; the input of the forward pass.
    alpha : float or array of one element
        That of the forward pass.
    gamma : array or None
        The scale of the forward pass; None stands for ones.
    axis : int or tuple of int, default=-1
        The axes that gamma and beta lie along.
    out : array, optional
        Receives dx. May be `dy` or `x` itself or overlap them.

    Returns
    -------
    dx : array, kind, shape and dtype of `x`
    dalpha : float
        On a GPU an array without axes of the kind of `x`, which need not be waited for.
    dgamma, dbeta : array of the shape of `axis`
        In the dtype of `x`, float32 where that has 16 bits.

    Raises
    ------
    TypeError
        If a dtype is not supported or differs.
    ValueError
        If a shape, `axis` or `alpha` is not valid.

    Examples
    --------
    >>> import numpy as np
    >>> from normkit import dynamic_tanh_backward
    >>> dx, dalpha, dgamma, dbeta = dynamic_tanh_backward(np.ones((1, 2)), np.zeros((1, 2)), 0.5, None)
    >>> dx, dalpha, dgamma
    (array([[0.5, 0.5]]), 0.0, array([0., 0.]))
    """
    data, kind = operand(x)
    if kind.on_device:
        return _cuda_rows.dynamic_tanh_backward(data, kind, dy, alpha, gamma, axis, out)
    dy = operand_like(dy, data, kind, "dy")
    alpha = check_alpha(alpha, kind.arithmetic)
    layout, _, shape = rows_layout(data.shape, check_axes(axis, data.ndim))
    dx_data = memory_for(out, data, kind)
    gamma = parameter(gamma, shape, "gamma", 1.0, kind.arithmetic, out, dx_data)
    dgamma, dbeta = np.zeros(gamma.size, kind.arithmetic), np.zeros(gamma.size, kind.arithmetic)
    dalpha = np.zeros(1)
    if data.size:
        view, grad = layout.view(data), layout.view(dy)
        dx = layout.output(dx_data, out, view, grad)
        run(kernels.dynamic_tanh_backward, data.size, grad, view, alpha, gamma, dx, dgamma, dbeta, dalpha)
        layout.store(dx, dx_data)
    return (
        kind.give_back(dx_data, out),
        float(dalpha[0]),
        kind.parameter_gradient(dgamma, shape),
        kind.parameter_gradient(dbeta, shape),
    )
