"""Launches of the norms with a parameter a channel: BatchNorm, GroupNorm, InstanceNorm, ghost batches.

The conventions are those of `normkit.kernels.cuda.launch`.
"""

import functools
from typing import NamedTuple

from normkit.kernels.cuda import driver, library, variants
from normkit.kernels.cuda.launching import KEPT, arithmetic_size, ceil_div, is_vector, width_of
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


def _kernel(plan, step):
    return f"{'columns' if plan.shape.last else 'planes'}.{step}"


def _sizes(plan, *sizes):
    """Return the sizes that a kernel of the plan's layout takes."""
    shape = plan.shape
    if shape.last:
        return shape.samples, shape.length, shape.channels, *sizes
    return plan.planes, shape.channels, *sizes[:-1], shape.length, sizes[-1]


def _merge_grid(count, norm):
    return (ceil_div(count, norm.block // norm.x_threads), 1, 1)


class _Step(NamedTuple):
    """A kernel of a launch: its name, variant and grid, and the sizes among its arguments."""

    name: str
    norm: ChannelNorm
    grid: tuple[int, int, int]
    sizes: tuple[int, ...]


def channels_workspace(shape, dtype):
    """Return the bytes of the workspace of all functions here that take one."""
    return _workspace(shape, dtype, driver.current_device())


@functools.lru_cache(maxsize=KEPT)
def _workspace(shape, dtype, device):
    plans = [_plan(shape, dtype, vector, device) for vector in (False, True)]
    return max(3 * (plan.splits * plan.planes + plan.shape.sets) for plan in plans) * arithmetic_size(dtype)


def _is_vector(shape, dtype, pointers):
    return is_vector(dtype, shape.channels if shape.last else shape.length, pointers)


@functools.lru_cache(maxsize=KEPT)
def _forward_steps(shape, dtype, parameters, vector, gamma, beta, moving, device):
    """Return the steps of `normalize_channels`, and the numbers of the workspace before the second part of it."""
    plan = _plan(shape, dtype, vector, device)
    shape, by_sample = plan.shape, plan.shape.groups > 0
    norm = _norm(dtype, vector=vector, by_sample=by_sample, x_threads=plan.x_threads)
    sizes: tuple[int, ...] = (plan.planes, shape.length)
    if shape.last:
        sizes = (shape.samples, shape.length, shape.channels)
    moments = _Step(_kernel(plan, "moments"), norm, plan.grid, (*sizes, plan.chunk, plan.splits))
    merge = _norm(dtype, by_sample=by_sample, moving=moving, x_threads=_merge_threads(plan.members * plan.splits))
    sizes = (plan.planes, shape.sets, plan.members, plan.stride, plan.splits, plan.chunk, shape.length)
    merging = _Step("channels.merge_moments", merge, _merge_grid(shape.sets, merge), sizes)
    norm = norm._replace(parameters=parameters, gamma=gamma, beta=beta)
    apply = _Step(_kernel(plan, "apply"), norm, plan.grid, _sizes(plan, plan.members, plan.chunk))
    return moments, merging, apply, 3 * plan.splits * plan.planes


@functools.lru_cache(maxsize=KEPT)
def _apply_steps(shape, dtype, parameters, vector, gamma, beta, device):
    """Return the steps of `apply_channels`."""
    plan = _plan(shape, dtype, vector, device)
    norm = _norm(dtype, parameters, vector=vector, gamma=gamma, beta=beta, fixed=True, x_threads=plan.x_threads)
    grid = (ceil_div(plan.shape.channels, variants.CHANNEL_BLOCK), 1, 1)
    invert = _Step("channels.invert", _norm(dtype, x_threads=32), grid, (plan.shape.channels,))
    return invert, _Step(_kernel(plan, "apply"), norm, plan.grid, _sizes(plan, plan.members, plan.chunk))


@functools.lru_cache(maxsize=KEPT)
def _backward_steps(shape, dtype, parameters, vector, gamma, fixed, device):
    """Return the steps of `normalize_channels_backward`, with None for one that is not needed.

    The numbers of the workspace before the second part of it, and the share of a value in the mean of a set, follow.
    """
    plan = _plan(shape, dtype, vector, device)
    shape, by_sample = plan.shape, plan.shape.groups > 0
    norm = _norm(dtype, vector=vector, by_sample=by_sample, fixed=fixed, x_threads=plan.x_threads)
    sizes = (*_sizes(plan, plan.members, plan.chunk), plan.splits)
    sums = _Step(_kernel(plan, "sums"), norm, plan.grid, sizes)
    threads = _merge_threads(plan.members * plan.splits)
    merge = _norm(dtype, parameters, by_sample=by_sample, gamma=gamma, fixed=fixed, x_threads=threads)
    sizes = (plan.planes, shape.channels, shape.sets, plan.members, plan.stride, plan.splits)
    merging = _Step("channels.merge_sums", merge, _merge_grid(shape.sets, merge), sizes)
    adding = None
    if by_sample:
        add = _norm(dtype, by_sample=True, x_threads=_merge_threads(shape.samples * plan.splits))
        sizes = (plan.planes, shape.channels, plan.members, plan.splits)
        adding = _Step("channels.add_channels", add, _merge_grid(shape.channels, add), sizes)
    norm = norm._replace(parameters=parameters, gamma=gamma)
    sizes = _sizes(plan, plan.members, shape.sets, plan.chunk)
    gradient = _Step(_kernel(plan, "gradient"), norm, plan.grid, sizes)
    return sums, merging, adding, gradient, 3 * plan.splits * plan.planes, 1 / (plan.members * shape.length)


def _enqueue(step, arguments, device, stream):
    library.enqueue(step.name, step.norm, step.grid, arguments, device, stream)


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
    device = driver.current_device()
    vector = _is_vector(shape, dtype, (x, y))
    moments, merge, apply, split = _forward_steps(
        shape, dtype, parameters, vector, gamma != 0, beta != 0, moving_mean != 0, device
    )
    low = workspace + split * arithmetic_size(dtype)
    _enqueue(moments, (x, workspace, *moments.sizes), device, stream)
    arguments = (workspace, mean, low, rstd, moving_mean, moving_var, *merge.sizes, epsilon, kept, correction)
    _enqueue(merge, arguments, device, stream)
    if y:
        _enqueue(apply, (x, mean, low, rstd, gamma, beta, y, *apply.sizes), device, stream)


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
    device = driver.current_device()
    vector = _is_vector(shape, dtype, (x, y))
    invert, apply = _apply_steps(shape, dtype, parameters, vector, gamma != 0, beta != 0, device)
    _enqueue(invert, (var, rstd, epsilon, *invert.sizes), device, stream)
    _enqueue(apply, (x, mean, 0, rstd, gamma, beta, y, *apply.sizes), device, stream)


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
    device = driver.current_device()
    vector = _is_vector(shape, dtype, (dy, x, dx))
    sums, merge, add, gradient, split, share = _backward_steps(
        shape, dtype, parameters, vector, gamma != 0, fixed, device
    )
    coefficients = workspace + split * arithmetic_size(dtype)
    _enqueue(sums, (dy, x, mean, workspace, *sums.sizes), device, stream)
    arguments = (workspace, gamma, rstd, coefficients, dgamma, dbeta, *merge.sizes, share)
    _enqueue(merge, arguments, device, stream)
    if add:
        _enqueue(add, (workspace, rstd, coefficients, dgamma, dbeta, *add.sizes), device, stream)
    if dx:
        _enqueue(gradient, (dy, x, mean, rstd, gamma, coefficients, dx, *gradient.sizes), device, stream)
