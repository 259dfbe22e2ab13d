"""The norms with a parameter a channel of arrays on a device."""

import functools

from normkit.functional._arrays import check_axis, check_count, check_epsilon
from normkit.functional._channels import batch_parts, check_fixed, check_limits, check_values, check_virtual
from normkit.functional._cuda_arguments import (
    Output,
    contiguous,
    memory,
    new_gradients,
    new_statistics,
    operand_like,
    pointer,
    scale_and_shift,
    statistic,
)
from normkit.functional._cuda_arrays import on_its_device
from normkit.kernels.cuda import launch
from normkit.kernels.cuda.launch import ChannelShape


@functools.lru_cache(maxsize=256)
def _launches(parts):
    """Return the shape of each launch, and the first element and the first statistic that it takes.

    The kernels know parts of one sample; of parts of several, where the channels do not come last, each is a launch.
    """
    launches, first = [], 0
    for start, stop, count in parts.cuts:
        rows = (stop - start) // count
        element = start * parts.channels * parts.inner
        if parts.last or rows == 1:
            sizes = (rows, True) if parts.last else (parts.inner, False)
            groups = parts.groups if count > 1 or parts.groups < parts.channels else 0
            shape = ChannelShape(count, parts.channels, *sizes, groups)
            launches.append((shape, element, first * parts.groups))
        else:
            shape, step = ChannelShape(rows, parts.channels, parts.inner, False), rows * parts.channels * parts.inner
            launches += [(shape, element + i * step, (first + i) * parts.groups) for i in range(count)]
        first += count
    return launches


def _workspace(data, launches, kind):
    return data.workspace(max(launch.channels_workspace(shape, kind.dtype) for shape, _, _ in launches))


def _normalize(parts, kind, x, gamma, beta, parameters, epsilon, y, statistics):
    """Write mean and rstd to statistics, (2, ...), and y unless it is None."""
    launches = _launches(parts)
    workspace, stream = _workspace(x, launches, kind), kind.stream()
    mean, rstd = statistics.row_pointers()
    for shape, element, which in launches:
        at, of = element * kind.itemsize, which * statistics.itemsize
        launch.normalize_channels(
            shape, x.pointer + at, pointer(gamma), pointer(beta), y.pointer + at if y else 0, mean + of, rstd + of,
            workspace.pointer, epsilon, dtype=kind.dtype, parameters=parameters, stream=stream,
        )  # fmt: skip


def _gradient(parts, kind, dy, x, gamma, parameters, mean, rstd, dx, fixed=False):
    """Write dx; return dgamma and dbeta."""
    launches = _launches(parts)
    workspace, stream = _workspace(x, launches, kind), kind.stream()
    one = len(launches) == 1
    sums = new_gradients(2, (parts.channels,) if one else (len(launches), parts.channels), x, kind)
    dgamma, dbeta = sums.row_pointers()
    row = parts.channels * sums.itemsize
    for i, (shape, element, which) in enumerate(launches):
        at, of = element * kind.itemsize, which * mean.itemsize
        launch.normalize_channels_backward(
            shape, dy.pointer + at, x.pointer + at, pointer(gamma), mean.pointer + of, rstd.pointer + of,
            dx.pointer + at, dgamma + i * row, dbeta + i * row, workspace.pointer,
            dtype=kind.dtype, parameters=parameters, stream=stream, fixed=fixed,
        )  # fmt: skip
    return sums.rows() if one else [a.sum(0) for a in sums.rows()]


def _forward(data, kind, parts, shape, gamma, beta, parameters, epsilon, y_memory, out, return_stats=True):
    """Return y, and mean and rstd of a shape."""
    statistics = new_statistics(2, shape, data, kind)
    x = contiguous(data, parts.layout.order)
    y = Output(y_memory, out, parts.layout.order, [x], (gamma, beta))
    if data.size:
        _normalize(parts, kind, x, gamma, beta, parameters, epsilon, y, statistics)
    return y.store(), *(statistics.rows() if return_stats else (None, None))


def _backward(data, kind, parts, dy, gamma, parameters, mean, rstd, dx_memory, out, fixed=False):
    """Return dx, dgamma and dbeta."""
    order = parts.layout.order
    x, dy = contiguous(data, order), contiguous(dy, order)
    dx = Output(dx_memory, out, order, [x, dy], (gamma, mean, rstd))
    if data.size:
        sums = _gradient(parts, kind, dy, x, gamma, parameters, mean, rstd, dx, fixed)
    else:
        sums = new_gradients(2, (parts.channels,), data, kind).rows()
    return dx.store(), *sums


@on_its_device
def group_norm(data, kind, parts, channels, gamma, beta, epsilon, out):
    """Return (y, mean, rstd) as `normkit.group_norm` does, of an array cut into parts."""
    y_memory = memory(out, data, kind)
    gamma, beta, parameters = scale_and_shift(gamma, beta, channels, kind)
    epsilon = check_epsilon(epsilon, kind.arithmetic)
    shape = data.shape[0], parts.groups
    return _forward(data, kind, parts, shape, gamma, beta, parameters, epsilon, y_memory, out)


@on_its_device
def group_norm_backward(data, kind, parts, channels, dy, gamma, mean, rstd, out):
    """Return (dx, dgamma, dbeta) as `normkit.group_norm_backward` does, of an array cut into parts."""
    dy = operand_like(dy, data, kind, "dy")
    shape = data.shape[0], parts.groups
    dx_memory = memory(out, data, kind)
    gamma, _, parameters = scale_and_shift(gamma, None, channels, kind)
    mean, rstd = statistic(mean, shape, "mean", kind), statistic(rstd, shape, "rstd", kind)
    return _backward(data, kind, parts, dy, gamma, parameters, mean, rstd, dx_memory, out)


@on_its_device
def batch_norm(data, kind, gamma, beta, axis, epsilon, mean, var, virtual_batch_size, out, return_stats):
    """Return what `normkit.batch_norm` does.

    A negative `var` is not seen, which would have to wait for the device: its channel becomes NaN.
    """
    axis = check_axis(axis, data.ndim)
    y_memory = memory(out, data, kind)
    channels = (data.shape[axis],)
    gamma, beta, parameters = scale_and_shift(gamma, beta, channels, kind)
    epsilon = check_epsilon(epsilon, kind.arithmetic)
    if virtual_batch_size is not None:
        virtual_batch_size = check_count(virtual_batch_size, "virtual_batch_size")
    fixed = mean is not None or var is not None
    if fixed:
        check_fixed(mean, var, virtual_batch_size)
        mean, var = statistic(mean, channels, "mean", kind), statistic(var, channels, "var", kind)
        mean = mean.copied() if return_stats else mean
    parts = batch_parts(data, axis, virtual_batch_size)
    if fixed:
        results = _apply(data, kind, parts, gamma, beta, parameters, mean, var, epsilon, y_memory, out)
    else:
        if data.size:
            check_values(parts.values)
        shape = channels if virtual_batch_size is None else (parts.count, *channels)
        results = _forward(data, kind, parts, shape, gamma, beta, parameters, epsilon, y_memory, out, return_stats)
    return results if return_stats else results[0]


def _apply(data, kind, parts, gamma, beta, parameters, mean, var, epsilon, y_memory, out):
    """Return y, normalized by given statistics, and mean and rstd."""
    x = contiguous(data, parts.layout.order)
    y = Output(y_memory, out, parts.layout.order, [x], (gamma, beta, mean, var))
    if not data.size:
        return y.store(), mean.owner, (var.owner + epsilon) ** -0.5
    rstd = data.empty(mean.shape, kind.numbers)
    ((shape, _, _),) = _launches(parts)
    launch.apply_channels(
        shape, x.pointer, pointer(gamma), pointer(beta), mean.pointer, var.pointer, y.pointer, rstd.pointer, epsilon,
        dtype=kind.dtype, parameters=parameters, stream=kind.stream(),
    )  # fmt: skip
    return y.store(), mean.owner, rstd.owner


@on_its_device
def batch_norm_backward(data, kind, dy, gamma, mean, rstd, axis, training, virtual_batch_size, out):
    """Return (dx, dgamma, dbeta) as `normkit.batch_norm_backward` does."""
    dy = operand_like(dy, data, kind, "dy")
    axis = check_axis(axis, data.ndim)
    dx_memory = memory(out, data, kind)
    channels = (data.shape[axis],)
    gamma, _, parameters = scale_and_shift(gamma, None, channels, kind)
    if virtual_batch_size is not None:
        virtual_batch_size = check_virtual(virtual_batch_size, training)
    parts = batch_parts(data, axis, virtual_batch_size)
    shape = channels if virtual_batch_size is None else (parts.count, *channels)
    mean, rstd = statistic(mean, shape, "mean", kind), statistic(rstd, shape, "rstd", kind)
    return _backward(data, kind, parts, dy, gamma, parameters, mean, rstd, dx_memory, out, not training)


@on_its_device
def batch_renorm(data, kind, gamma, beta, moving_mean, moving_var, r_max, d_max, axis, epsilon, out):
    """Return (y, mean, rstd, r, d) as `normkit.batch_renorm` does.

    A batch norm whose gamma and beta are corrected by what a first reading of x has found.
    """
    axis = check_axis(axis, data.ndim)
    channels = (data.shape[axis],)
    y_memory = memory(out, data, kind)
    gamma, beta, _ = scale_and_shift(gamma, beta, channels, kind)
    moving_mean = statistic(moving_mean, channels, "moving_mean", kind)
    moving_var = statistic(moving_var, channels, "moving_var", kind)
    epsilon = check_epsilon(epsilon, kind.arithmetic)
    r_max, d_max = check_limits(r_max, d_max)
    parts = batch_parts(data, axis)
    statistics = new_statistics(2, channels, data, kind)
    mean, rstd = statistics.rows()
    x = contiguous(data, parts.layout.order)
    y = Output(y_memory, out, parts.layout.order, [x])
    if data.size:
        check_values(parts.values)
        _normalize(parts, kind, x, None, None, kind.number, epsilon, None, statistics)
    xp, moving_rstd = kind.namespace, (moving_var.owner + epsilon) ** -0.5
    r = xp.clip(moving_rstd / rstd, 1.0 / r_max, r_max)
    d = xp.clip((mean - moving_mean.owner) * moving_rstd, -d_max, d_max)
    scale = r if gamma is None else gamma.astype(kind.number).owner * r
    shift = d if gamma is None else gamma.astype(kind.number).owner * d
    shift = shift if beta is None else shift + beta.astype(kind.number).owner
    if data.size:
        scale, shift = type(data)(scale), type(data)(shift)
        _normalize(parts, kind, x, scale, shift, kind.number, epsilon, y, statistics)
    return y.store(), mean, rstd, r, d


@on_its_device
def batch_renorm_backward(data, kind, dy, gamma, mean, rstd, r, d, axis, out):
    """Return (dx, dgamma, dbeta) as `normkit.batch_renorm_backward` does."""
    channels = (data.shape[check_axis(axis, data.ndim)],)
    r, d = (statistic(a, channels, name, kind).copied().owner for name, a in (("r", r), ("d", d)))
    gamma, _, _ = scale_and_shift(gamma, None, channels, kind)
    scale = r if gamma is None else gamma.astype(kind.number).owner * r
    dx, dgamma, dbeta = batch_norm_backward(data, kind, dy, scale, mean, rstd, axis, True, None, out)
    return dx, r * dgamma + d * dbeta if data.size else dgamma, dbeta
