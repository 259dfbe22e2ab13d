"""The norms over rows, and dynamic tanh, of arrays on a device."""

from normkit.functional._arrays import check_alpha, check_axes, check_epsilon, sharing_error
from normkit.functional._cuda_arguments import (
    Output,
    contiguous,
    memory,
    new_gradients,
    new_statistics,
    operand_like,
    parameter,
    pointer,
    scale_and_shift,
    statistic,
)
from normkit.functional._cuda_arrays import device_array, on_its_device
from normkit.functional._layouts import rows_layout
from normkit.kernels.cuda import launch


@on_its_device
def normalize(data, kind, gamma, beta, axis, epsilon, out, return_stats, centred, residual=None, sum_out=None):
    """Return (y, s, mean, rstd) as `_rows.normalize` does; None for statistics that are not to be returned."""
    layout, kept, normalized = rows_layout(data.shape, check_axes(axis, data.ndim))
    rows, columns = layout.shape
    y_memory = memory(out, data, kind)
    gamma, beta, parameters = scale_and_shift(gamma, beta if centred else None, normalized, kind)
    epsilon = check_epsilon(epsilon, kind.arithmetic)
    s_memory = None
    if residual is not None:
        residual = operand_like(residual, data, kind, "residual")
        s_memory = memory(sum_out, data, kind, "sum_out")
        if out is not None and sum_out is not None and y_memory.shares_memory(s_memory):
            raise sharing_error("out", "sum_out")
    statistics = new_statistics(2 if centred else 1, kept, data, kind)
    x = contiguous(data, layout.order)  # (M, N)
    residual = None if residual is None else contiguous(residual, layout.order)
    read = [x] if residual is None else [x, residual]
    y = Output(y_memory, out, layout.order, read, (gamma, beta))
    s = None if s_memory is None else Output(s_memory, sum_out, layout.order, read, (gamma, beta))
    if data.size:
        mean, rstd = statistics.row_pointers() if centred else (0, statistics.pointer)
        launch.normalize_rows(
            x.pointer, pointer(residual), pointer(s), pointer(gamma), pointer(beta), y.pointer,
            mean, rstd, rows, columns, epsilon, centred=centred, dtype=kind.dtype,
            parameters=parameters, stream=kind.stream(),
        )  # fmt: skip
    s = None if s is None else s.store()
    if not return_stats:
        return y.store(), s, None, None
    *mean, rstd = statistics.rows()
    return y.store(), s, mean[0] if centred else None, rstd


@on_its_device
def normalize_backward(data, kind, dy, ds, gamma, mean, rstd, axis, out, centred, name="x"):
    """Return (dx, dgamma, dbeta) as `_rows.normalize_backward` does."""
    dy = operand_like(dy, data, kind, "dy", name)
    ds = None if ds is None else operand_like(ds, data, kind, "ds", name)
    layout, kept, normalized = rows_layout(data.shape, check_axes(axis, data.ndim))
    rows, columns = layout.shape
    dx_memory = memory(out, data, kind)
    gamma, _, parameters = scale_and_shift(gamma, None, normalized, kind)
    mean = statistic(mean, kept, "mean", kind) if centred else None
    rstd = statistic(rstd, kept, "rstd", kind)
    gradients = new_gradients(2 if centred else 1, normalized, data, kind)
    x, dy = contiguous(data, layout.order), contiguous(dy, layout.order)  # (M, N), (M, N)
    ds = None if ds is None else contiguous(ds, layout.order)
    read = [x, dy] if ds is None else [x, dy, ds]
    dx = Output(dx_memory, out, layout.order, read, (gamma, mean, rstd))
    if data.size:
        workspace = data.workspace(launch.rows_workspace(rows, columns, kind.dtype))
        dgamma, dbeta = gradients.row_pointers() if centred else (gradients.pointer, 0)
        launch.normalize_rows_backward(
            dy.pointer, pointer(ds), x.pointer, pointer(gamma), pointer(mean), rstd.pointer, dx.pointer,
            dgamma, dbeta, workspace.pointer, rows, columns, centred=centred, dtype=kind.dtype,
            parameters=parameters, stream=kind.stream(),
        )  # fmt: skip
    return dx.store(), *gradients.rows(), *(() if centred else (None,))


def _alpha(alpha, kind):
    """Return alpha as a number, or 0.0 and its array where it is on the device: reading it would wait for it."""
    if hasattr(alpha, "shape") and device_array(alpha, "alpha") is not None:
        array = parameter(alpha, tuple(alpha.shape), "alpha", kind).astype(kind.number)
        if array.size != 1:
            raise ValueError(f"alpha must be one number, got shape {array.shape}")
        return 0.0, array
    return check_alpha(alpha, kind.arithmetic), None


@on_its_device
def dynamic_tanh(data, kind, alpha, gamma, beta, axis, out):
    """Return y as `normkit.dynamic_tanh` does."""
    alpha, alpha_array = _alpha(alpha, kind)
    layout, _, shape = rows_layout(data.shape, check_axes(axis, data.ndim))
    rows, columns = layout.shape
    y_memory = memory(out, data, kind)
    gamma, beta, parameters = scale_and_shift(gamma, beta, shape, kind)
    x = contiguous(data, layout.order)  # (M, N)
    y = Output(y_memory, out, layout.order, [x], (gamma, beta, alpha_array))
    if data.size:
        launch.dynamic_tanh(
            x.pointer, alpha, pointer(alpha_array), pointer(gamma), pointer(beta), y.pointer, rows, columns,
            dtype=kind.dtype, parameters=parameters, stream=kind.stream(),
        )  # fmt: skip
    return y.store()


@on_its_device
def dynamic_tanh_backward(data, kind, dy, alpha, gamma, axis, out):
    """Return (dx, dalpha, dgamma, dbeta) as `normkit.dynamic_tanh_backward` does; dalpha is an array without axes."""
    dy = operand_like(dy, data, kind, "dy")
    alpha, alpha_array = _alpha(alpha, kind)
    layout, _, shape = rows_layout(data.shape, check_axes(axis, data.ndim))
    rows, columns = layout.shape
    dx_memory = memory(out, data, kind)
    gamma, _, parameters = scale_and_shift(gamma, None, shape, kind)
    dalpha, gradients = new_gradients(1, (), data, kind), new_gradients(2, shape, data, kind)
    x, dy = contiguous(data, layout.order), contiguous(dy, layout.order)  # (M, N), (M, N)
    dx = Output(dx_memory, out, layout.order, [x, dy], (gamma, alpha_array))
    if data.size:
        dgamma, dbeta = gradients.row_pointers()
        workspace = data.workspace(launch.dynamic_tanh_workspace(rows, columns, kind.dtype))
        launch.dynamic_tanh_backward(
            dy.pointer, x.pointer, alpha, pointer(alpha_array), pointer(gamma), dx.pointer, dalpha.pointer,
            dgamma, dbeta, workspace.pointer, rows, columns, dtype=kind.dtype, parameters=parameters,
            stream=kind.stream(),
        )  # fmt: skip
    return dx.store(), *dalpha.rows(), *gradients.rows()
