"""Launches of what training adds to the norms; the conventions are those of `normkit.kernels.cuda.launch`.

`dtype` is "float32" or "float64". `steps` (batches, 2) has the first place of each batch in the order, and the number
of its step; `table` (batches, 5) the learning rate, the factor of the penalty, what a decoupled decay leaves, what the
loss is multiplied by, and the sum of weights. `counter` tells which batch it is.
"""

from typing import NamedTuple

import numpy as np

from normkit.kernels.cuda import driver, library, variants
from normkit.kernels.cuda.launching import ceil_div

TABLE = 5
# Blocks a multiprocessor that a grid aims at, and that there are at most, where each leaves a partial sum
_BLOCKS, MOST_BLOCKS = 8, 1024


class Place(NamedTuple):
    """Where a kernel runs, and which batch it is about; pointers but for the stream."""

    dtype: str
    steps: int
    counter: int
    stream: int


class Dropout(NamedTuple):
    """Dropout at a rate: element (i, c) draws number first + c * width + i."""

    rate: float = 0.0
    seed: int = 0
    first: int = 0
    width: int = 0


class Layer(NamedTuple):
    """What is applied to a product x (n, columns) of a dense layer; pointers are 0 for what is not there.

    `norm` is "", "batch" or "fixed"; `kept` is negative for moving statistics that are the average of all batches.
    """

    columns: int
    activation: int
    bias: int = 0
    norm: str = ""
    after: bool = False
    dropout: Dropout = Dropout()
    gamma: int = 0
    beta: int = 0
    moving_mean: int = 0
    moving_var: int = 0
    batches: int = 0
    stats: int = 0
    epsilon: float = 0.0
    kept: float = 0.0


def _rows_grid(rows, columns, x_threads, block):
    """Return a grid whose first dimension takes columns, and its second rows."""
    multiprocessors = driver.current_device().multiprocessors
    tiles = ceil_div(columns, x_threads)
    down = min(ceil_div(rows, block // x_threads), ceil_div(_BLOCKS * multiprocessors, tiles), 65535)
    return tiles, max(down, 1), 1


def _enqueue(name, norm, grid, arguments, stream):
    library.enqueue(name, norm, grid, arguments, driver.current_device(), stream)


def gather(place, X, source, scale, order, weight, table, share, out, n):
    """Copy the batch's n rows of X: ``out = scale * X[order[...]]``, and ``share = weight / table[..., 4]``.

    Parameters
    ----------
    place : Place
    X : pointer to values of dtype `source`: "float32", "float64" or "uint8"
    source : tuple (dtype, columns, row stride, column stride), strides in elements
    scale : float
    order : pointer to int64
    weight : pointer to (samples,), or 0 where all are 1
    table : pointer
    share : pointer to (n,), or 0
    out : pointer to (n, columns)
    n : int
    """
    dtype, columns, row_stride, column_stride = source
    across = min(32, variants.DENSE_BLOCK)
    norm = variants.Rows(place.dtype, dtype, bool(share), bool(weight), across, variants.DENSE_BLOCK)
    arguments = (X, order, place.steps, place.counter, weight, table, share, out, n, columns, row_stride, column_stride)
    grid = _rows_grid(n, columns, across, norm.block)
    _enqueue("batches.gather", norm, grid, (*arguments, scale), place.stream)


def count_nonfinite(X, source, counts, rows, stream):
    """Count NaN and infinity; returns how many numbers of `counts`, of at most MOST_BLOCKS, are to be added up."""
    dtype, columns, row_stride, column_stride = source
    norm = variants.Rows("float32", dtype, False, False, 32, variants.DENSE_BLOCK)
    blocks = min(ceil_div(rows * columns, norm.block), MOST_BLOCKS)
    arguments = (X, counts, rows, columns, row_stride, column_stride)
    _enqueue("batches.count_nonfinite", norm, (blocks, 1, 1), arguments, stream)
    return blocks


def _dense(place, layer, sums):
    dropout = layer.dropout.rate > 0
    return variants.Dense(
        place.dtype, place.dtype, layer.activation, bool(layer.bias), layer.norm, layer.after and bool(layer.norm),
        dropout, layer.norm == "batch" and layer.kept < 0, sums, variants.DENSE_ACROSS, variants.DENSE_BLOCK,
    )  # fmt: skip


def _draws(dropout):
    return dropout.rate, 1.0 / (1.0 - dropout.rate), dropout.seed, dropout.first, dropout.width


def forward(place, layer, x, share, out, n):
    """``out = dropout(activation(norm(x + bias)))``, or the norm `after` the activation; out may be x without a norm.

    Parameters
    ----------
    place : Place
    layer : Layer
        Its `stats`, pointer to (3, columns), are written, and its moving statistics for "batch".
    x, out : pointer to (n, columns)
    share : pointer to (n,)
        Each sample's weight, with the sum 1; for "batch".
    n : int
    """
    norm = _dense(place, layer, False)
    tiles, down, _ = _rows_grid(n, layer.columns, norm.x_threads, norm.block)
    arguments = (
        x, layer.bias, layer.gamma, layer.beta, share, layer.moving_mean, layer.moving_var, layer.batches, layer.stats,
        out, place.steps, place.counter, n, layer.columns, *_draws(layer.dropout), layer.epsilon, layer.kept,
    )  # fmt: skip
    grid = (tiles, 1 if layer.norm == "batch" else down, 1)
    _enqueue("dense.forward", norm, grid, arguments, place.stream)


def backward(place, layer, x, share, delta, dbias, dgamma, dbeta, n):
    """Gradient of `forward` in place of delta (n, columns); dbias, if not 0, dgamma and dbeta are written."""
    norm = _dense(place, layer, bool(dbias))
    tiles, down, _ = _rows_grid(n, layer.columns, norm.x_threads, norm.block)
    arguments = (
        x, layer.bias, layer.gamma, layer.beta, share, layer.stats, delta, dbias, dgamma, dbeta, place.steps,
        place.counter, n, layer.columns, *_draws(layer.dropout),
    )  # fmt: skip
    grid = (tiles, 1 if layer.norm or dbias else down, 1)
    _enqueue("dense.backward", norm, grid, arguments, place.stream)


def _outputs(place, code, bias):
    across, block = variants.OUTPUT_ACROSS, variants.OUTPUT_BLOCK
    return variants.Outputs(place.dtype, place.dtype, code, bool(bias), across, block)


def predict(place, code, z, bias, out, n, outputs):
    """``out = output(z + bias)``, (n, outputs), by the code of `normkit.math.losses`; out may be z."""
    norm = _outputs(place, code, bias)
    grid = (ceil_div(n, norm.block // norm.threads), 1, 1)
    _enqueue("outputs.predict", norm, grid, (z, bias, out, n, outputs), place.stream)


def loss_blocks(n):
    """Return how many partial sums `loss` leaves."""
    return ceil_div(n, variants.OUTPUT_BLOCK // variants.OUTPUT_ACROSS)


def loss(place, code, z, bias, target, order, share, delta, partials, n, outputs, width):
    """``delta = share * (output(z + bias) - target)``; `partials` receive sums of share * loss, float64.

    Parameters
    ----------
    place : Place
    code : int
    z, delta : pointer to (n, outputs)
    bias : pointer to (outputs,), or 0
    target : pointer to (samples, width)
        The number of the class for softmax, else a target for each output.
    order : pointer to int64
    share : pointer to (n,)
    partials : pointer to `loss_blocks` float64
    n, outputs, width : int
    """
    norm = _outputs(place, code, bias)
    arguments = (z, bias, target, order, place.steps, place.counter, share, delta, partials, n, outputs, width)
    _enqueue("outputs.loss", norm, (loss_blocks(n), 1, 1), arguments, place.stream)


class Optimizer(NamedTuple):
    """An optimizer's code, and its numbers as `normkit.kernels.cuda.updates.update` takes them."""

    code: int
    numbers: tuple


def _update(place, code=0):
    return variants.Update(place.dtype, place.dtype, code, variants.UPDATE_BLOCK)


def update_blocks(length, dtype):
    """Return how many partial sums `update` leaves."""
    width = variants.VECTOR_BYTES // np.dtype(dtype).itemsize
    blocks = _BLOCKS * driver.current_device().multiprocessors
    return max(1, min(ceil_div(length, width * variants.UPDATE_BLOCK), blocks, MOST_BLOCKS))


def update(place, optimizer, params, grads, first, second, kinds, table, partials, length):
    """Update all parameters; `partials` receive sums of the squares that weights had before, float64.

    Parameters
    ----------
    place : Place
    optimizer : Optimizer
    params, grads, first, second : pointer to (length,), multiples of a line
    kinds : pointer to int64
        For each line: `FIXED`, `VECTOR` or `WEIGHT` of `normkit.kernels.cuda.variants`.
    table : pointer
    partials : pointer to `update_blocks` float64
    length : int
    """
    norm = _update(place, optimizer.code)
    arguments = (params, grads, first, second, kinds, table, place.counter, partials, length, *optimizer.numbers)
    _enqueue("updates.update", norm, (update_blocks(length, place.dtype), 1, 1), arguments, place.stream)


def finish(place, losses, n_losses, squares, n_squares, table, epoch):
    """Add the loss of a step to that of the `epoch`, a float64, and count the step."""
    arguments = (losses, n_losses, squares, n_squares, table, place.counter, epoch)
    _enqueue("updates.finish", _update(place), (1, 1, 1), arguments, place.stream)
