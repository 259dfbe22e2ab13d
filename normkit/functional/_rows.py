"""What the norms over rows share: LayerNorm and RMSNorm, with and without a residual."""

import numpy as np

from normkit.functional._arrays import (
    REGIONS,
    check_axes,
    check_epsilon,
    memory_for,
    operand,
    operand_like,
    parameter,
    run,
    statistic,
)
from normkit.functional._layouts import may_overlap, rows_layout
from normkit.kernels.cpu import rows as kernels


def normalize(x, gamma, beta, axis, epsilon, out, centred, residual=None, sum_out=None):
    """Return (y, s, mean, rstd): s is x + residual where a residual is given, mean is None unless centred."""
    x = operand(x)
    data = x.data
    layout, kept, normalized = rows_layout(data.shape, check_axes(axis, data.ndim))
    y_data = memory_for(out, x)
    gamma = parameter(gamma, normalized, "gamma", 1.0, x.arithmetic, out, y_data)
    if centred:
        beta = parameter(beta, normalized, "beta", 0.0, x.arithmetic, out, y_data)
    epsilon = check_epsilon(epsilon, x.arithmetic)
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
        residual = operand_like(residual, x, "residual")
        s_data = memory_for(sum_out, x, "sum_out")
        if out is not None and may_overlap(y_data, s_data) and np.shares_memory(y_data, s_data):
            raise ValueError("out and sum_out must not share memory, got overlapping arrays")
        if sum_out is not None:  # the kernel reads these after it has written the sum
            gamma = parameter(gamma, gamma.shape, "gamma", 1.0, gamma.dtype, sum_out, s_data)
            beta = beta if beta is None else parameter(beta, beta.shape, "beta", 0.0, beta.dtype, sum_out, s_data)
        if data.size:
            view, r_view = layout.view(data), layout.view(residual.data)
            s_view = layout.output(s_data, sum_out, view, r_view)
            y = layout.output(y_data, out, view, r_view)
            run(kernels.normalize, data.size, view, r_view, s_view, gamma, beta, epsilon, y, mean, rstd)
            layout.store(s_view, s_data)
            layout.store(y, y_data)
        s = x.give_back(s_data, sum_out)
    if not data.size:
        rstd[...] = np.nan
    if mean is None:
        return x.give_back(y_data, out), s, None, rstd if rstd.shape == kept else rstd.reshape(kept)
    if not data.size:
        mean[...] = np.nan
    if rstd.shape != kept:
        mean, rstd = mean.reshape(kept), rstd.reshape(kept)
    return x.give_back(y_data, out), s, mean, rstd


def normalize_backward(dy, ds, x, gamma, mean, rstd, axis, out, centred, name="x"):
    """Return (dx, dgamma, dbeta); dbeta is None unless centred."""
    x = operand(x, name)
    dy = operand_like(dy, x, "dy", name)
    ds = None if ds is None else operand_like(ds, x, "ds", name).data
    data = x.data
    layout, kept, normalized = rows_layout(data.shape, check_axes(axis, data.ndim))
    dx_data = memory_for(out, x)
    gamma = parameter(gamma, normalized, "gamma", 1.0, x.arithmetic, out, dx_data)
    mean = statistic(mean, kept, "mean", out, dx_data) if centred else None
    rstd = statistic(rstd, kept, "rstd", out, dx_data)
    dgamma = np.zeros(gamma.size, x.arithmetic)
    dbeta = np.zeros(gamma.size, x.arithmetic) if centred else None
    if data.size:
        view, grad = layout.view(data), layout.view(dy.data)  # (M, N), (M, N)
        ds = None if ds is None else layout.view(ds)
        dx = layout.output(dx_data, out, view, grad, *([] if ds is None else [ds]))
        run(kernels.normalize_backward, data.size // REGIONS, grad, ds, view, gamma, mean, rstd, dx, dgamma, dbeta)
        layout.store(dx, dx_data)
    return (
        x.give_back(dx_data, out),
        x.parameter_gradient(dgamma, normalized),
        x.parameter_gradient(dbeta, normalized) if centred else None,
    )
