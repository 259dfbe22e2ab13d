"""Moving statistics of BatchNorm."""

from typing import Any

import numpy as np

from normkit.functional import _cuda_moving
from normkit.functional._arrays import (
    check_count,
    check_number,
    float_error,
    shape_error,
    sharing_error,
    statistic,
)
from normkit.functional._cuda_arrays import device_array


def update_running(
    running_mean: Any,
    running_var: Any,
    mean: Any,
    var: Any,
    *,
    momentum: float = 0.99,
    count: int | None = None,
) -> tuple[Any, Any]:
    """Update moving statistics in place, in Keras' convention.

    ``running = momentum * running + (1 - momentum) * batch``, the biased variance: `momentum` is the share
    that is kept. With ``momentum=None`` all batches weigh the same: ``running += (batch - running) / count``. A
    channel whose batch statistics are not finite keeps its moving ones.

    torch's `momentum` is the share taken in, ``running = (1 - m) * running + m * batch``, with the unbiased
    variance: torch's 0.1 is 0.9 here, and what it takes in is larger by n / (n - 1).

    Parameters
    ----------
    running_mean, running_var : ndarray of float, or arrays of torch or CuPy on an NVIDIA GPU
        Moving statistics, changed in place.
    mean, var : array of the same shape
        Statistics of the batch; `var` is the biased variance.
    momentum : float in [0, 1] or None, default=0.99
        The share kept; None for the average over all batches.
    count : int, optional
        Batches so far, this one included; only with ``momentum=None``, which needs it.

    Returns
    -------
    running_mean, running_var : array
        The arrays given.

    Raises
    ------
    TypeError
        If the moving statistics are not arrays of float, or `mean` or `var` are not numbers.
    ValueError
        If shapes differ, a moving statistic is read-only, `momentum` is outside [0, 1], or `count` is missing,
        below 1, or given beside a momentum.

    Examples
    --------
    >>> import numpy as np
    >>> from normkit import update_running
    >>> update_running(np.zeros(1), np.ones(1), np.array([10.0]), np.array([3.0]), momentum=0.9)
    (array([1.]), array([1.2]))

    The variance from what `batch_norm` returns; its last bit may be below zero where the batch is constant:

    >>> from normkit import batch_norm
    >>> y, mean, rstd = batch_norm(np.array([[1.0], [5.0]]), epsilon=1e-3, return_stats=True)
    >>> np.maximum(rstd**-2 - 1e-3, 0).round(9)
    array([4.])
    """
    if momentum is None:
        if count is None:
            raise ValueError("count must be given with momentum=None: the number of batches so far, got None")
        kept = 1.0 - 1.0 / check_count(count, "count")
    else:
        kept = check_number(momentum, "momentum")
        if not 0 <= kept <= 1:
            raise ValueError(f"momentum must be in [0, 1], got {momentum}")
        if count is not None:
            raise ValueError(f"count must be None unless momentum is None, got {count} with momentum {momentum}")
    if device_array(running_mean, "running_mean") is not None:
        return _cuda_moving.update_running(running_mean, running_var, mean, var, kept)
    moving, batch = [], []
    for name, running, value in (("mean", running_mean, mean), ("var", running_var, var)):
        if not isinstance(running, np.ndarray) or not np.issubdtype(running.dtype, np.floating):
            got = f"dtype {running.dtype}" if isinstance(running, np.ndarray) else type(running).__name__
            raise float_error(f"running_{name}", got)
        if not running.flags.writeable:
            raise ValueError(f"running_{name} must be writeable to be updated in place, got a read-only array")
        moving.append(running)
        batch.append(statistic(value, running.shape, name).reshape(running.shape))
    if running_mean.shape != running_var.shape:
        raise shape_error(running_var, running_mean.shape, "running_var")
    if np.shares_memory(running_mean, running_var):
        raise sharing_error("running_mean", "running_var")
    # both are checked and computed before either changes; rounded once
    with np.errstate(invalid="ignore", over="ignore"):
        updated = [
            (kept * running.astype(np.float64) + (1 - kept) * value).astype(running.dtype)
            for running, value in zip(moving, batch)
        ]
    finite = np.isfinite(updated[0]) & np.isfinite(updated[1])
    finite &= np.isfinite(batch[0]) & np.isfinite(batch[1])  # a share of 0 would hide an infinity
    for running, value in zip(moving, updated):
        np.copyto(running, value, where=finite)
    return running_mean, running_var
