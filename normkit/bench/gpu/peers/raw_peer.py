"""normkit's kernels, launched on raw pointers to memory that is there."""

import math

import torch

from normkit.kernels.cuda import launch


def _arithmetic(x):
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _empty(x, *shape):
    return torch.empty(shape, dtype=_arithmetic(x), device=x.device)


def _workspace(x, size):
    return torch.empty(max(size, 1), dtype=torch.uint8, device=x.device)


def _pointers(*tensors):
    return [tensor.data_ptr() for tensor in tensors]


def _rows(case, x, dy, gamma, beta, options):
    rows, columns = x.shape
    y, mean, rstd = torch.empty_like(x), _empty(x, rows), _empty(x, rows)
    g, b = gamma.data_ptr(), beta.data_ptr() if case.centred else 0
    options |= {"centred": case.centred}
    m = mean.data_ptr() if case.centred else 0
    before = (x.data_ptr(), 0, 0, g, b, y.data_ptr(), m, rstd.data_ptr(), rows, columns, case.epsilon)

    def forward():
        launch.normalize_rows(*before, **options)
        return y, mean, rstd

    if case.direction == "forward":
        return forward
    forward()
    dgamma, dbeta = _empty(x, columns), _empty(x, columns)
    workspace = _workspace(x, launch.rows_workspace(rows, columns, case.dtype))
    after = (
        dy.data_ptr(), 0, x.data_ptr(), g, m, *_pointers(rstd, y, dgamma),
        dbeta.data_ptr() if case.centred else 0, workspace.data_ptr(), rows, columns,
    )  # fmt: skip

    def backward():
        launch.normalize_rows_backward(*after, **options)
        return (y, dgamma, dbeta, workspace)[: 3 if case.centred else 2]

    backward.keep = workspace, mean, rstd  # type: ignore[attr-defined]
    return backward


def _shape(case):
    samples, axis = case.shape[0], case.axis % len(case.shape)
    length = math.prod(case.shape) // (samples * case.channels)
    return launch.ChannelShape(samples, case.channels, length, axis == len(case.shape) - 1)


def _channels(case, x, dy, gamma, beta, options):
    shape = _shape(case)
    y, mean, rstd = torch.empty_like(x), _empty(x, shape.sets), _empty(x, shape.sets)
    workspace = _workspace(x, launch.channels_workspace(shape, case.dtype))
    before = (shape, *_pointers(x, gamma, beta, y, mean, rstd, workspace), case.epsilon)

    def forward():
        launch.normalize_channels(*before, **options)
        return y, mean, rstd, workspace

    if case.direction == "forward":
        return forward
    forward()
    dgamma, dbeta = _empty(x, case.channels), _empty(x, case.channels)
    after = (shape, *_pointers(dy, x, gamma, mean, rstd, y, dgamma, dbeta, workspace))

    def backward():
        launch.normalize_channels_backward(*after, **options)
        return y, dgamma, dbeta

    backward.keep = workspace, mean, rstd  # type: ignore[attr-defined]
    return backward


def ways(run, case, x, dy, gamma, beta):
    """Return the launch, with all its arguments made before."""
    options = {"dtype": case.dtype, "parameters": case.dtype, "stream": run.device.stream()}
    make = _channels if case.function == "batch_norm" else _rows
    call = make(case, x, dy, gamma, beta, options)
    call.keep = x, dy, gamma, beta, getattr(call, "keep", None)  # pointers keep nothing alive
    return {"launch": call}
