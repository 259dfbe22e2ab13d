"""Launches of the norms with a parameter a channel: BatchNorm, GroupNorm, InstanceNorm, ghost batches.

The conventions are those of `normkit.kernels.cuda.launch`.
"""

from typing import NamedTuple

from normkit.kernels.cuda import driver, library, variants
from normkit.kernels.cuda.launching import arithmetic_size, ceil_div, is_vector, width_of
from normkit.kernels.cuda.variants import ChannelNorm

# Blocks a multiprocessor that a grid aims at, and vectors that a thread has at least before a plane is split
_BLOCKS, _LEAST = 8, 8


def _merge_threads(items):
    """Return how many threads add up so many numbers."""
    return 8 if items <= 32 else 32 if items <= 1024 else variants.CHANNEL_BLOCK


def _norm(
    dtype, parameters="float32", *, vector=False, by_sample=False, gamma=0, beta=0, fixed=False, moving=0, x_threads
):
    return ChannelNorm(
        dtype, parameters, vector, by_sample, bool(gamma), bool(beta), fixed, bool(moving), x_threads,
        variants.CHANNEL_BLOCK,
    )  # fmt: skip


class ChannelShape(NamedTuple):
    """An array as the kernels see it, and which values share statistics.

    Parameters
    ----------
    samples, channels, length : int
        The array is (samples, channels, length), or with `last` (samples, length, channels).
    last : bool
        Whether the channels come last.
    groups : int
        0: a channel of all samples shares statistics (BatchNorm), a set for each channel. Else groups of consecutive
        channels of one sample do (GroupNorm; InstanceNorm with as many groups as channels; ghost batches, which are
        the samples then), a set for each sample and group, in this order.
    """

    samples: int
    channels: int
    length: int
    last: bool
    groups: int = 0

    @property
    def sets(self):
        """How many means there are."""
        return self.samples * self.groups if self.groups else self.channels


class _Plan(NamedTuple):
    shape: ChannelShape
    x_threads: int
    tiles: int  # of channels, or of planes
    depth: int  # of the grid
    splits: int
    chunk: int

    @property
    def planes(self):
        return self.shape.samples * self.shape.channels

    @property
    def members(self):
        """Planes of a set."""
        return self.planes // self.shape.sets

    @property
    def stride(self):
        """From one plane of a set to the next."""
        return 1 if self.shape.groups else self.shape.channels

    @property
    def grid(self):
        return (self.tiles, self.splits, self.depth)


def _plan(shape, dtype, vector, device):
    width = width_of(dtype, vector)
    if shape.last:
        if not shape.groups:  # to the statistics the samples are one
            shape = shape._replace(samples=1, length=shape.samples * shape.length)
        vectors = ceil_div(shape.channels, width)
        x_threads = 8 if vectors <= 8 else 32
        tiles, depth = ceil_div(vectors, x_threads), min(shape.samples, 65535)
        least = variants.CHANNEL_BLOCK // x_threads * _LEAST
        unit = 1
    else:
        vectors = ceil_div(shape.length, width)
        x_threads = 8 if vectors <= 32 else 32 if vectors <= 1024 else variants.CHANNEL_BLOCK
        tiles, depth = ceil_div(shape.samples * shape.channels, variants.CHANNEL_BLOCK // x_threads), 1
        unit = x_threads * width
        least = unit * _LEAST
    splits = min(ceil_div(_BLOCKS * device.multiprocessors, tiles * depth), max(shape.length // least, 1), 65535)
    chunk = ceil_div(ceil_div(shape.length, splits), unit) * unit
    return _Plan(shape, x_threads, tiles, depth, ceil_div(shape.length, chunk), chunk)


def _prepare(shape, dtype, pointers):
    device = driver.current_device()
    vector = is_vector(dtype, shape.channels if shape.last else shape.length, pointers)
    return device, vector, _plan(shape, dtype, vector, device)


def _kernel(plan, step):
    return f"{'columns' if plan.shape.last else 'planes'}.{step}"


def _sizes(plan, *sizes):
    """Return the sizes that a kernel of the plan's layout takes."""
    shape = plan.shape
    if shape.last:
        return shape.samples, shape.length, shape.channels, *sizes
    return plan.planes, shape.channels, *sizes[:-1], shape.length, sizes[-1]


def channels_workspace(shape, dtype):
    """Return the bytes of the workspace of all functions here that take one."""
    device = driver.current_device()
    plans = [_plan(shape, dtype, vector, device) for vector in (False, True)]
    return max(3 * (plan.splits * plan.planes + plan.shape.sets) for plan in plans) * arithmetic_size(dtype)


def normalize_channels(
    shape, x, gamma, beta, y, mean, rstd, workspace, epsilon, *, dtype, parameters, stream, moving_mean=0, moving_var=0,
    kept=1.0, correction=1.0,
):  # fmt: skip
    """Normalize by the statistics of each set: ``y = gamma * (x - mean) * rstd + beta``.

    Parameters
    ----------
    shape : ChannelShape
    x : pointer to the array
    gamma, beta : pointer to (channels,) of `parameters`, or 0
    y : pointer to an array like x, or 0
        0 takes statistics only.
    mean, rstd : pointer to (sets,) of the arithmetic
        Written.
    workspace : pointer to `channels_workspace` bytes
    epsilon : float
    dtype, parameters : str
    stream : int
    moving_mean, moving_var : pointer to (channels,) of the arithmetic, or 0
        Updated, without groups: ``moving = kept * moving + (1 - kept) * batch``, the biased variance times
        `correction`; left as they are for a channel where one of the numbers is not finite.
    kept, correction : float
    """
    device, vector, plan = _prepare(shape, dtype, (x, y))
    shape, by_sample = plan.shape, shape.groups > 0
    norm = _norm(dtype, vector=vector, by_sample=by_sample, x_threads=plan.x_threads)
    sizes = (plan.planes, shape.length) if not shape.last else (shape.samples, shape.length, shape.channels)
    library.enqueue(
        _kernel(plan, "moments"), norm, plan.grid, (x, workspace, *sizes, plan.chunk, plan.splits), device, stream
    )
    low = workspace + 3 * plan.splits * plan.planes * arithmetic_size(dtype)
    threads = _merge_threads(plan.members * plan.splits)
    merge = _norm(dtype, by_sample=by_sample, moving=moving_mean, x_threads=threads)
    arguments = (
        workspace, mean, low, rstd, moving_mean, moving_var, plan.planes, shape.sets, plan.members, plan.stride,
        plan.splits, plan.chunk, shape.length, epsilon, kept, correction,
    )  # fmt: skip
    library.enqueue("channels.merge_moments", merge, _merge_grid(shape.sets, merge), arguments, device, stream)
    if y:
        norm = norm._replace(parameters=parameters, gamma=bool(gamma), beta=bool(beta))
        arguments = (x, mean, low, rstd, gamma, beta, y, *_sizes(plan, plan.members, plan.chunk))
        library.enqueue(_kernel(plan, "apply"), norm, plan.grid, arguments, device, stream)


def _merge_grid(count, norm):
    return (ceil_div(count, norm.block // norm.x_threads), 1, 1)


def apply_channels(shape, x, gamma, beta, mean, var, y, rstd, epsilon, *, dtype, parameters, stream):
    """Normalize by given statistics: ``y = gamma * (x - mean) * rstd + beta``, ``rstd = 1 / sqrt(var + epsilon)``.

    Parameters
    ----------
    shape : ChannelShape
        Without groups.
    x, y : pointer to the array
    gamma, beta : pointer to (channels,) of `parameters`, or 0
    mean, var : pointer to (channels,) of the arithmetic
    rstd : pointer to (channels,) of the arithmetic
        Written.
    epsilon : float
    dtype, parameters : str
    stream : int
    """
    device, vector, plan = _prepare(shape, dtype, (x, y))
    norm = _norm(dtype, parameters, vector=vector, gamma=gamma, beta=beta, fixed=True, x_threads=plan.x_threads)
    plain = _norm(dtype, x_threads=32)
    arguments = (var, rstd, epsilon, shape.channels)
    library.enqueue(
        "channels.invert", plain, (ceil_div(shape.channels, variants.CHANNEL_BLOCK), 1, 1), arguments, device, stream
    )
    arguments = (x, mean, 0, rstd, gamma, beta, y, *_sizes(plan, plan.members, plan.chunk))
    library.enqueue(_kernel(plan, "apply"), norm, plan.grid, arguments, device, stream)


def normalize_channels_backward(
    shape, dy, x, gamma, mean, rstd, dx, dgamma, dbeta, workspace, *, dtype, parameters, stream, fixed=False
):  # fmt: skip
    """Gradient of `normalize_channels`, or of `apply_channels` with `fixed`.

    ``dx = rstd * (g - mean(g) - xhat * mean(g * xhat))`` with ``g = gamma * dy`` and ``xhat = (x - mean) * rstd``,
    means over a set; with `fixed`, ``dx = rstd * g``. ``dgamma = sum(dy * xhat)`` and ``dbeta = sum(dy)``
    over a channel.

    Parameters
    ----------
    shape : ChannelShape
        `fixed` is without groups.
    dy, x : pointer to the array
    gamma : pointer to (channels,) of `parameters`, or 0
    mean, rstd : pointer to (sets,) of the arithmetic
    dx : pointer to an array like x, or 0
        0 leaves it out.
    dgamma, dbeta : pointer to (channels,) of the arithmetic
        Written.
    workspace : pointer to `channels_workspace` bytes
    dtype, parameters : str
    stream : int
    fixed : bool
    """
    device, vector, plan = _prepare(shape, dtype, (dy, x, dx))
    shape, by_sample = plan.shape, shape.groups > 0
    norm = _norm(dtype, vector=vector, by_sample=by_sample, fixed=fixed, x_threads=plan.x_threads)
    arguments = (dy, x, mean, workspace, *_sizes(plan, plan.members, plan.chunk), plan.splits)
    library.enqueue(_kernel(plan, "sums"), norm, plan.grid, arguments, device, stream)
    coefficients = workspace + 3 * plan.splits * plan.planes * arithmetic_size(dtype)
    threads = _merge_threads(plan.members * plan.splits)
    merge = _norm(dtype, parameters, by_sample=by_sample, gamma=gamma, fixed=fixed, x_threads=threads)
    share = 1 / (plan.members * shape.length)
    arguments = (
        workspace, gamma, rstd, coefficients, dgamma, dbeta, plan.planes, shape.channels, shape.sets, plan.members,
        plan.stride, plan.splits, share,
    )  # fmt: skip
    library.enqueue("channels.merge_sums", merge, _merge_grid(shape.sets, merge), arguments, device, stream)
    if by_sample:
        threads = _merge_threads(shape.samples * plan.splits)
        merge = _norm(dtype, by_sample=True, x_threads=threads)
        sizes = (plan.planes, shape.channels, plan.members, plan.splits)
        arguments = (workspace, rstd, coefficients, dgamma, dbeta, *sizes)
        library.enqueue("channels.add_channels", merge, _merge_grid(shape.channels, merge), arguments, device, stream)
    if dx:
        norm = norm._replace(parameters=parameters, gamma=bool(gamma))
        arguments = (dy, x, mean, rstd, gamma, coefficients, dx)
        sizes = _sizes(plan, plan.members, shape.sets, plan.chunk)
        library.enqueue(_kernel(plan, "gradient"), norm, plan.grid, (*arguments, *sizes), device, stream)
