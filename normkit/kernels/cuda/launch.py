"""The CUDA kernels as functions of raw pointers: what stands between arrays of any library and the device.

Every pointer is an int, the address of contiguous memory on the current device, 0 for what is not there. `dtype` is
"float16", "bfloat16", "float32" or "float64", that of the values; gamma and beta have dtype `parameters`, the same or
that of the *arithmetic*: float64 for float64, else float32. Statistics and gradients of parameters are numbers of the
arithmetic. `stream` is a stream's handle. A function enqueues its kernels, in order, and returns; the first call of
its kind compiles them. Outputs may be the inputs they stand for (y or s for x or residual, dx for dy, ds or x), and
must not overlap them otherwise. `workspace` is memory of the size that the function beside it tells, aligned to 8
bytes; it must stay allocated until the stream has come past it. Sizes must not be 0.

Nothing here imports numba-cuda or asks for a device before the first call; `driver.CudaUnavailableError` says what is
missing.
"""

import functools
from typing import NamedTuple

from normkit.kernels.cuda import driver, library, variants
from normkit.kernels.cuda.driver import CudaUnavailableError
from normkit.kernels.cuda.launch_channels import (
    ChannelShape,
    apply_channels,
    channels_workspace,
    normalize_channels,
    normalize_channels_backward,
)
from normkit.kernels.cuda.launching import KEPT, add_partials, arithmetic_size, ceil_div, is_vector, width_of

__all__ = [
    "CudaUnavailableError",
    "ChannelShape",
    "apply_channels",
    "channels_workspace",
    "dynamic_tanh",
    "dynamic_tanh_backward",
    "dynamic_tanh_workspace",
    "normalize_channels",
    "normalize_channels_backward",
    "normalize_rows",
    "normalize_rows_backward",
    "rows_workspace",
]

# Blocks a multiprocessor that a grid of column sums aims at
_COLUMN_BLOCKS = 8


@functools.lru_cache(maxsize=KEPT)
def _rows_plan(rows, columns, dtype, parameters, vector, centred, added, gamma, beta):
    """Return variant and grid of `normalize_rows`."""
    team = variants.team_for(variants.FORWARD, columns, dtype, vector, added)
    norm = variants.RowNorm(dtype, parameters, team, vector, centred, added, gamma, beta)
    return norm, (ceil_div(rows, team.block // team.threads), 1, 1)


def normalize_rows(
    x, residual, s, gamma, beta, y, mean, rstd, rows, columns, epsilon, *, centred, dtype, parameters, stream
):  # fmt: skip
    """LayerNorm, or RMSNorm with `centred` False, of each row.

    ``s = x + residual`` where a residual is given, else s is x; ``y = gamma * (s - mean) * rstd + beta``.

    Parameters
    ----------
    x, y : pointer to (rows, columns)
    residual, s : pointer to (rows, columns), or 0
        Both or neither.
    gamma, beta : pointer to (columns,) of `parameters`, or 0
    mean : pointer to (rows,) of the arithmetic
        Written; not used unless `centred`.
    rstd : pointer to (rows,) of the arithmetic
        Written.
    rows, columns : int
    epsilon : float
    centred : bool
    dtype, parameters : str
    stream : int
    """
    device = driver.current_device()
    vector = is_vector(dtype, columns, (x, residual, s, gamma, beta, y))
    norm, grid = _rows_plan(rows, columns, dtype, parameters, vector, centred, residual != 0, gamma != 0, beta != 0)
    arguments = (x, residual, s, gamma, beta, y, mean, rstd, rows, columns, 1 / columns, epsilon)
    library.enqueue("rows.forward", norm, grid, arguments, device, stream)


def _rows_blocks(team, rows, device):
    return min(ceil_div(rows, team.block // team.threads), team.blocks * device.multiprocessors)


def _column_blocks(rows, columns, width, device):
    """Return how many blocks of rows `rows_backward.column_gradient` takes, and the rows of one."""
    tiles = ceil_div(columns, variants.DOWN_BLOCK * width)
    blocks = min(ceil_div(rows, 16), ceil_div(_COLUMN_BLOCKS * device.multiprocessors, tiles), 65535)
    size = ceil_div(rows, blocks)
    return ceil_div(rows, size), size


class _BackwardPlan(NamedTuple):
    """How `normalize_rows_backward` is launched; `down` is None where the rows are held in registers."""

    norm: variants.RowNorm
    down: variants.ColumnGradient | None
    grid: tuple[int, int, int]
    blocks: int  # of partial sums
    size: int  # rows of one


@functools.lru_cache(maxsize=KEPT)
def _backward_plan(rows, columns, dtype, parameters, vector, centred, added, gamma, device):
    team = variants.team_for(variants.BACKWARD, columns, dtype, vector)
    norm = variants.RowNorm(dtype, parameters, team, vector, centred, added, gamma, False)
    if team.resident:
        blocks = _rows_blocks(team, rows, device)
        return _BackwardPlan(norm, None, (blocks, 1, 1), blocks, 0)
    down = variants.ColumnGradient(dtype, parameters, vector, centred, added, gamma, variants.DOWN_BLOCK)
    width = width_of(dtype, vector)
    blocks, size = _column_blocks(rows, columns, width, device)
    grid = (ceil_div(columns, down.block * width), blocks, 1)
    return _BackwardPlan(norm._replace(added=False), down, grid, blocks, size)


def rows_workspace(rows, columns, dtype):
    """Return the bytes of the workspace of `normalize_rows_backward`."""
    return _rows_workspace(rows, columns, dtype, driver.current_device())


@functools.lru_cache(maxsize=KEPT)
def _rows_workspace(rows, columns, dtype, device):
    numbers = []
    for vector in (False, True):
        plan = _backward_plan(rows, columns, dtype, dtype, vector, True, False, True, device)
        numbers.append((3 * rows if plan.down else 0) + 2 * plan.blocks * columns)
    return max(numbers) * arithmetic_size(dtype)


def normalize_rows_backward(
    dy, ds, x, gamma, mean, rstd, dx, dgamma, dbeta, workspace, rows, columns, *, centred, dtype, parameters, stream
):  # fmt: skip
    """Gradient of `normalize_rows`, with ds added to dx where the sum went other ways too.

    ``dx = rstd * (g - mean(g) - xhat * mean(g * xhat)) + ds`` with ``g = gamma * dy`` and ``xhat = (x - mean) * rstd``;
    ``dgamma = sum(dy * xhat)`` and ``dbeta = sum(dy)`` over the rows. Neither mean is subtracted unless `centred`.

    Parameters
    ----------
    dy, x, dx : pointer to (rows, columns)
        x is s where the forward had a residual.
    ds : pointer to (rows, columns), or 0
    gamma : pointer to (columns,) of `parameters`, or 0
    mean, rstd : pointer to (rows,) of the arithmetic
        Those of `normalize_rows`; mean is not used unless `centred`.
    dgamma, dbeta : pointer to (columns,) of the arithmetic
        Written; dbeta only if `centred`.
    workspace : pointer to `rows_workspace` bytes
    rows, columns : int
    centred : bool
    dtype, parameters : str
    stream : int
    """
    device = driver.current_device()
    vector = is_vector(dtype, columns, (dy, ds, x, gamma, dx))
    plan = _backward_plan(rows, columns, dtype, parameters, vector, centred, ds != 0, gamma != 0, device)
    arguments: tuple
    if plan.down is None:
        partials = workspace
        arguments = (dy, ds, x, gamma, mean, rstd, dx, partials, rows, columns, 1 / columns)
        library.enqueue("rows_backward.backward", plan.norm, plan.grid, arguments, device, stream)
    else:
        means, partials = workspace, workspace + 3 * rows * arithmetic_size(dtype)
        arguments = (dy, x, gamma, mean, rstd, means, rows, columns, 1 / columns)
        library.enqueue("rows_backward.row_means", plan.norm, (rows, 1, 1), arguments, device, stream)
        arguments = (dy, ds, x, gamma, mean, rstd, means, dx, partials, rows, columns, plan.size)
        library.enqueue("rows_backward.column_gradient", plan.down, plan.grid, arguments, device, stream)
    add_partials(partials, dgamma, dbeta if centred else 0, plan.blocks, columns, dtype, device, stream)


def _tanh_grid(rows, columns, dtype, vector, device):
    """Return x_threads, the tiles of columns, and the blocks of rows of `dynamic_tanh` and its backward."""
    vectors = ceil_div(columns, width_of(dtype, vector))
    x_threads = 8 if vectors <= 8 else 32
    tiles = ceil_div(vectors, x_threads)
    blocks = min(
        ceil_div(rows, variants.TANH_BLOCK // x_threads),
        ceil_div(_COLUMN_BLOCKS * device.multiprocessors, tiles),
        65535,
    )
    return x_threads, tiles, blocks


def _tanh_norm(dtype, parameters, vector, gamma, beta, alpha_pointer, x_threads):
    flags = bool(gamma), bool(beta), bool(alpha_pointer)
    return variants.DynamicTanh(dtype, parameters, vector, *flags, x_threads, variants.TANH_BLOCK)


def dynamic_tanh(x, alpha, alpha_pointer, gamma, beta, y, rows, columns, *, dtype, parameters, stream):
    """``y = gamma * tanh(alpha * x) + beta``.

    Parameters
    ----------
    x, y : pointer to (rows, columns)
    alpha : float
        Not used where there is an alpha_pointer.
    alpha_pointer : pointer to one number of the arithmetic, or 0
        For an alpha that is on the device: reading it would have to wait for it.
    gamma, beta : pointer to (columns,) of `parameters`, or 0
    rows, columns : int
    dtype, parameters : str
    stream : int
    """
    device = driver.current_device()
    vector = is_vector(dtype, columns, (x, gamma, beta, y))
    x_threads, tiles, blocks = _tanh_grid(rows, columns, dtype, vector, device)
    norm = _tanh_norm(dtype, parameters, vector, gamma, beta, alpha_pointer, x_threads)
    arguments = (x, alpha_pointer, gamma, beta, y, alpha, rows, columns)
    library.enqueue("elementwise.forward", norm, (tiles, blocks, 1), arguments, device, stream)


def dynamic_tanh_workspace(rows, columns, dtype):
    """Return the bytes of the workspace of `dynamic_tanh_backward`."""
    device = driver.current_device()
    grids = [_tanh_grid(rows, columns, dtype, vector, device) for vector in (False, True)]
    return max(blocks * (2 * columns + tiles) for _, tiles, blocks in grids) * arithmetic_size(dtype)


def dynamic_tanh_backward(
    dy, x, alpha, alpha_pointer, gamma, dx, dalpha, dgamma, dbeta, workspace, rows, columns, *, dtype, parameters,
    stream,
):  # fmt: skip
    """Gradient of `dynamic_tanh`.

    With ``t = tanh(alpha * x)`` and ``g = gamma * dy * (1 - t**2)``: ``dx = alpha * g``, ``dalpha = sum(g * x)``,
    ``dgamma = sum(dy * t)`` and ``dbeta = sum(dy)`` over the rows.

    Parameters
    ----------
    dy, x, dx : pointer to (rows, columns)
    alpha, alpha_pointer, gamma
        As in `dynamic_tanh`.
    dalpha : pointer to one number of the arithmetic
        Written.
    dgamma, dbeta : pointer to (columns,) of the arithmetic
        Written.
    workspace : pointer to `dynamic_tanh_workspace` bytes
    rows, columns : int
    dtype, parameters : str
    stream : int
    """
    device = driver.current_device()
    vector = is_vector(dtype, columns, (dy, x, gamma, dx))
    x_threads, tiles, blocks = _tanh_grid(rows, columns, dtype, vector, device)
    norm = _tanh_norm(dtype, parameters, vector, gamma, 0, alpha_pointer, x_threads)
    alphas = workspace + 2 * blocks * columns * arithmetic_size(dtype)
    arguments = (dy, x, alpha_pointer, gamma, dx, workspace, alphas, alpha, rows, columns)
    library.enqueue("elementwise.backward", norm, (tiles, blocks, 1), arguments, device, stream)
    add_partials(workspace, dgamma, dbeta, blocks, columns, dtype, device, stream)
    add_partials(alphas, dalpha, 0, blocks * tiles, 1, dtype, device, stream)
