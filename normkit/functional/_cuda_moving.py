"""Moving statistics on a device."""

from normkit.functional._arrays import check_place, float_error, shape_error, sharing_error
from normkit.functional._cuda_arguments import parameter
from normkit.functional._cuda_arrays import device_array, kind_of, on_its_device


def _running(a, name):
    """Return a moving statistic and its kind."""
    array = device_array(a, name)
    if array is None:
        raise float_error(name, type(a).__name__ + " in the host's memory")
    kind = kind_of(array)
    if kind is None:
        raise float_error(name, f"dtype {array.dtype}")
    return array, kind


def update_running(running_mean, running_var, mean, var, kept):
    """Update moving statistics as `normkit.update_running` does."""
    first, kind = _running(running_mean, "running_mean")
    return _update(first, kind, running_mean, running_var, mean, var, kept)


@on_its_device
def _update(first, kind, running_mean, running_var, mean, var, kept):
    second, second_kind = _running(running_var, "running_var")
    check_place(second_kind, kind.place, "running_var")
    batch = [
        parameter(value, array.shape, name, array_kind).astype("float64").owner
        for array, array_kind, value, name in ((first, kind, mean, "mean"), (second, second_kind, var, "var"))
    ]
    if first.shape != second.shape:
        raise shape_error(second, first.shape, "running_var")
    if first.shares_memory(second):
        raise sharing_error("running_mean", "running_var")
    xp, moving = kind.namespace, (first, second)
    # both are computed before either changes; rounded once
    updated = [
        type(array)(kept * array.astype("float64").owner + (1 - kept) * value).astype(array.dtype).owner
        for array, value in zip(moving, batch)
    ]
    finite = xp.isfinite(updated[0]) & xp.isfinite(updated[1])  # no infinity hides: 0 times it is NaN
    running_mean[...] = xp.where(finite, updated[0], first.owner)
    running_var[...] = xp.where(finite, updated[1], second.owner)
    return running_mean, running_var
