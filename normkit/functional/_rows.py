"""What the norms over rows share: LayerNorm and RMSNorm, with and without a residual."""

import numpy as np

from normkit.functional import _cuda_rows
from normkit.functional._arrays import (
    REGIONS,
    check_axes,
    check_epsilon,
    memory_for,
    operand,
    operand_like,
    parameter,
    run,
    sharing_error,
    statistic,
)
from normkit.functional._layouts import may_overlap, rows_layout
from normkit.kernels.cpu import rows as kernels


def normalize(x, gamma, beta, axis, epsilon, out, return_stats, centred, residual=None, sum_out=None):
    """Return (y, s, mean, rstd): s is x + residual where a residual is given, mean is None unless centred.

    Statistics have their shape only where they are to be returned.
    """
    data, kind = operand(x)
    if kind.on_device:
        return _cuda_rows.normalize(
            data, kind, gamma, beta, axis, epsilon, out, return_stats, centred, residual, sum_out
        )
    layout, kept, normalized = rows_layout(data.shape, check_axes(axis, data.ndim))
    y_data = memory_for(out, data, kind)
    gamma = parameter(gamma, normalized, "gamma", 1.0, kind.arithmetic, out, y_data)
    if centred:
        beta = parameter(beta, normalized, "beta", 0.0, kind.arithmetic, out, y_data)
    epsilon = check_epsilon(epsilon, kind.arithmetic)
    m = layout.shape[0]
    mean, rstd = np.empty(m) if centred else None, np.empty(m)
    s = None
    if residual is None:
        if data.size:
            view = layout.view(data)  # (M, N)
            y = layout.output(y_data, out, view)
            run(kernels.normalize, data.size, view, None, None, gamma, beta, epsilon, y, mean, rstd)
            layout.store(y, y_data)
    else:
        residual = operand_like(residual, data, kind, "residual")
        s_data = memory_for(sum_out, data, kind, "sum_out")
        if out is not None and may_overlap(y_data, s_data) and np.shares_memory(y_data, s_data):
            raise sharing_error("out", "sum_out")
        if sum_out is not None:  # the kernel reads these after it has written the sum
            gamma = parameter(gamma, gamma.shape, "gamma", 1.0, gamma.dtype, sum_out, s_data)
            beta = beta if beta is None else parameter(beta, beta.shape, "beta", 0.0, beta.dtype, sum_out, s_data)
        if data.size:
            view, r_view = layout.view(data), layout.view(residual)
            s_view = layout.output(s_data, sum_out, view, r_view)
            y = layout.output(y_data, out, view, r_view)
            run(kernels.normalize, data.size, view, r_view, s_view, gamma, beta, epsilon, y, mean, rstd)
            layout.store(s_view, s_data)
            layout.store(y, y_data)
        s = kind.give_back(s_data, sum_out)
    if not data.size:
        rstd[...] = np.nan
        if mean is not None:
            mean[...] = np.nan
    if return_stats and rstd.shape != kept:
        rstd = rstd.reshape(kept)
        if mean is not None:
            mean = mean.reshape(kept)
    return kind.give_back(y_data, out), s, mean, rstd


def normalize_backward(dy, ds, x, gamma, mean, rstd, axis, out, centred, name="x"):
    """Return (dx, dgamma, dbeta); dbeta is None unless centred."""
    data, kind = operand(x, name)
    if kind.on_device:
        return _cuda_rows.normalize_backward(data, kind, dy, ds, gamma, mean, rstd, axis, out, centred, name)
    dy = operand_like(dy, data, kind, "dy", name)
    ds = None if ds is None else operand_like(ds, data, kind, "ds", name)
    layout, kept, normalized = rows_layout(data.shape, check_axes(axis, data.ndim))
    dx_data = memory_for(out, data, kind)
    gamma = parameter(gamma, normalized, "gamma", 1.0, kind.arithmetic, out, dx_data)
    mean = statistic(mean, kept, "mean", out, dx_data) if centred else None
    rstd = statistic(rstd, kept, "rstd", out, dx_data)
    dgamma = np.zeros(gamma.size, kind.arithmetic)
    dbeta = np.zeros(gamma.size, kind.arithmetic) if centred else None
    if data.size:
        view, grad = layout.view(data), layout.view(dy)  # (M, N), (M, N)
        ds = None if ds is None else layout.view(ds)
        dx = layout.output(dx_data, out, view, grad) if ds is None else layout.output(dx_data, out, view, grad, ds)
        run(kernels.normalize_backward, data.size // REGIONS, grad, ds, view, gamma, mean, rstd, dx, dgamma, dbeta)
        layout.store(dx, dx_data)
    return (
        kind.give_back(dx_data, out),
        kind.parameter_gradient(dgamma, normalized),
        kind.parameter_gradient(dbeta, normalized) if centred else None,
    )
