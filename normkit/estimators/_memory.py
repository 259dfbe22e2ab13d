"""Memory that a fit is known to need, before it begins."""

from pathlib import Path

from normkit.estimators._lbfgs import CHUNK

# Smaller fits are not looked at: asking takes longer than they do
_ASKED_FROM = 1 << 26
_GROUP = Path("/sys/fs/cgroup")
# scipy's L-BFGS-B: 2 m n + 5 n float64 of work space with m = 10, the point and its gradient
_LBFGS_VECTORS = 27


def check_memory(model, sizes, dtype, n_samples):
    """Refuse a first fit whose arrays cannot be had.

    The kernel of Linux promises more memory than there is, and ends the process that touches it.

    Raises
    ------
    MemoryError
        With the sizes.
    """
    needed = least_memory(model, sizes, dtype.itemsize, n_samples)
    if needed < _ASKED_FROM:
        return
    there = available_memory()
    if there is not None and needed > there:
        raise MemoryError(
            f"a network of layers {sizes} in {dtype} with solver={model.solver!r} and batch_size={model.batch_size!r} "
            f"needs at least {_text(needed)}, but {_text(there)} are available; use smaller layers or batches"
        )


def least_memory(model, sizes, itemsize, n_samples):
    """Return the bytes of parameters, optimizer and layers that a fit cannot do without."""
    parameters = sum((below + 1) * above for below, above in zip(sizes, sizes[1:]))
    # with the copy of the last epoch; the first weights are drawn in float64, and are there twice for a moment
    copies = {"adam": 4, "sgd": 3, "lbfgs": 1}[model.solver] * itemsize
    if model.solver == "lbfgs":
        copies += 8 * _LBFGS_VECTORS
    copies = max(copies, 8 + 2 * itemsize)
    if model.solver == "lbfgs":
        batch = CHUNK
    else:
        batch = 200 if model.batch_size == "auto" else max(model.batch_size, 1)
    # each layer's input to the activation, output and gradient
    rows = min(batch, n_samples) * (sizes[0] + 3 * sum(sizes[1:])) * itemsize
    return int(parameters * copies + rows)


def available_memory():
    """Return the bytes that this process may still take, swap included; None where the system does not tell."""
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        there = sum(int(lines[name].split()[0]) * 1024 for name in ("MemAvailable", "SwapFree"))
    except (OSError, KeyError, ValueError):
        return None
    try:
        limit, taken = (int((_GROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        parts = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
        # cached files are given up when memory is needed
        return min(there, max(0, limit - taken + int(parts["active_file"]) + int(parts["inactive_file"])))
    except (OSError, KeyError, ValueError):  # no control group, or one without limit
        return there


def _text(size):
    return f"{size / 2**30:.3g} GiB" if size < 2**40 else f"{size / 2**40:.3g} TiB"
