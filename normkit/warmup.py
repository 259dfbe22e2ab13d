"""Compile ahead what most programs need: the machine code is kept on disk for the processes that follow."""

import warnings
from collections.abc import Iterator

import numpy as np

from normkit.estimators import MLPClassifier
from normkit.functional import batch_norm, batch_norm_backward, layer_norm, layer_norm_backward
from normkit.functional._arrays import PARALLEL_FROM, REGIONS


def warm_up() -> Iterator[str]:
    """Compile part after part, yielding the name of each once it is there."""
    for dtype in (np.float32, np.float64):
        _train(dtype)
        yield f"training, {dtype.__name__}"
        for rows in (2, PARALLEL_FROM * REGIONS):  # serial and parallel kernels
            _normalize(np.zeros((rows, 2), dtype))
        yield f"norm functions, {dtype.__name__}"


def _train(dtype):
    X, y = np.zeros((4, 1), dtype), np.array([0, 1, 0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one epoch does not converge
        MLPClassifier((1,), max_iter=1).fit(X, y, validation_data=(X, y))


def _normalize(x):
    for axis in (1, 0):  # channels last and first
        _, mean, rstd = batch_norm(x, axis=axis, return_stats=True)
        batch_norm_backward(x, x, None, mean, rstd, axis=axis)
    _, mean, rstd = layer_norm(x, return_stats=True)
    layer_norm_backward(x, x, None, mean, rstd)
