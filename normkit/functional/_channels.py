"""What the norms with a parameter a channel share: which kernel takes which part of an array."""

import functools

import numpy as np

from normkit.functional._arrays import REGIONS, check_count, check_number, run
from normkit.functional._layouts import Layout, memory_order, samples_order, split_at
from normkit.kernels.cpu import columns, columns_backward, planes


class Parts:
    """How arrays of one shape are cut into parts that are normalized each by itself, and the kernels that do it.

    Made once for a shape and kept: a small call would spend more time on this than in the kernel.

    Parameters
    ----------
    order : tuple of int, or None for the identity
        Axes of the array in the order of memory.
    outer, channels, inner : int
        Lengths before, of and behind the channels in that order.
    cuts : list of (start, stop, count)
        Ranges of `outer`, each to be cut into `count` parts of equal size.
    groups : int
        Groups of consecutive channels that share statistics; as many as channels but for GroupNorm.

    Attributes
    ----------
    layout : Layout of the arrays that the methods take
    count : int
        Number of parts. Statistics are flat arrays of shape (count * groups,).
    cuts : as given
    channels, inner, groups : as given
    last : bool
        Whether the channels come last in memory.
    values : int
        Number of values that share statistics in the smallest part.
    """

    def __init__(self, order, outer, channels, inner, cuts, groups):
        self.groups, self.channels, self.inner, self.last = groups, channels, inner, inner == 1
        self.count = sum(count for _, _, count in cuts)
        start, stop, count = cuts[0]
        self.values = (stop - start) // count * inner * (channels // max(groups, 1))
        self.cuts = cuts
        shape: tuple[int, ...] = (outer * channels, inner)
        if self.last:
            shape = (count, outer // count, channels) if len(cuts) == 1 else (outer, channels)
        self.layout = Layout(order, shape)

    def _pieces(self, *arrays):
        """Yield for each range: number of parts, range of statistics, and the arrays cut to the kernels' form."""
        first = 0
        for start, stop, count in self.cuts:
            if self.last:
                cut = [a[start:stop].reshape(count, -1, self.channels) for a in arrays]
            else:
                cut = [a[start * self.channels : stop * self.channels] for a in arrays]
            yield count, slice(first * self.groups, (first + count) * self.groups), *cut
            first += count

    def _set_of_planes(self, planes_count, parts):
        """Return (count, stride) of the planes that share statistics; see normkit.kernels.cpu.planes."""
        if self.groups < self.channels:
            return self.channels // self.groups, 1
        return planes_count // (parts * self.channels), self.channels

    def normalize(self, x, gamma, beta, epsilon, y):
        """Write y unless it is None; return mean and rstd, (count * groups,)."""
        mean, rstd = np.empty(self.count * self.groups), np.empty(self.count * self.groups)
        if len(self.cuts) == 1:
            self._normalize(self.count, x, gamma, beta, epsilon, y, mean, rstd)
        else:
            for count, which, part, target in self._pieces(x, y):
                self._normalize(count, part, gamma, beta, epsilon, target, mean[which], rstd[which])
        return mean, rstd

    def _normalize(self, parts, x, gamma, beta, epsilon, y, mean, rstd):
        size = x.size // REGIONS
        if self.last:
            kernel = columns.normalize_many if parts >= columns.MANY else columns.normalize
            run(kernel, size, x, gamma, beta, epsilon, y, mean, rstd)
        else:
            run(planes.normalize, size, x, *self._set_of_planes(len(x), parts), gamma, beta, epsilon, y, mean, rstd)

    def gradient(self, dy, x, gamma, mean, rstd, dx, dgamma, dbeta):
        """Write dx unless it is None; add to dgamma and dbeta, (C,)."""
        if len(self.cuts) == 1:
            self._gradient(self.count, dy, x, gamma, mean, rstd, dx, dgamma, dbeta)
        else:
            for count, which, grad, part, target in self._pieces(dy, x, dx):
                self._gradient(count, grad, part, gamma, mean[which], rstd[which], target, dgamma, dbeta)

    def _gradient(self, parts, dy, x, gamma, mean, rstd, dx, dgamma, dbeta):
        size = x.size // REGIONS
        if self.last:
            kernel = columns_backward.gradient_many if parts >= columns.MANY else columns_backward.gradient
            run(kernel, size, dy, x, gamma, mean, rstd, dx, dgamma, dbeta)
        else:
            n, stride = self._set_of_planes(len(x), parts)
            run(planes.gradient, size, dy, x, n, stride, gamma, mean, rstd, dx, dgamma, dbeta)

    def scale_and_shift(self, x, high, scale, offset, y):
        """Write y = (x - high) * scale + offset, three numbers a channel in the type of the arithmetic."""
        run(columns.scale_and_shift if self.last else planes.scale_and_shift, x.size, x, high, scale, offset, y)


def check_values(values):
    """Raise unless there are values to take statistics of."""
    if values == 1:
        raise ValueError(
            "each feature must have at least two values to take statistics of, got one; take a larger batch, or give "
            "mean and var to normalize by"
        )


def check_fixed(mean, var, virtual_batch_size):
    """Raise unless statistics to normalize by are complete and those of a whole batch."""
    if mean is None or var is None:
        raise ValueError("mean and var must be given together, got only one of them")
    if virtual_batch_size is not None:
        raise ValueError(f"virtual_batch_size must be None where mean and var are given, got {virtual_batch_size}")


def check_virtual(virtual_batch_size, training):
    """Return the virtual_batch_size of a gradient as an int."""
    if not training:
        raise ValueError("virtual_batch_size must be None with training=False: fixed statistics have no parts")
    return check_count(virtual_batch_size, "virtual_batch_size")


def check_limits(r_max, d_max):
    """Return the limits of the corrections of batch renormalization as floats."""
    r_max, d_max = check_number(r_max, "r_max"), check_number(d_max, "d_max")
    if not r_max >= 1:
        raise ValueError(f"r_max must be at least 1, got {r_max}")
    if not d_max >= 0:
        raise ValueError(f"d_max must be at least 0, got {d_max}")
    return r_max, d_max


def batch_parts(x, axis, virtual_batch_size=None):
    """Return the `Parts` of a norm over all axes but `axis`, or over those within parts of axis 0."""
    if virtual_batch_size is not None and axis == 0:
        raise ValueError("virtual_batch_size cuts axis 0 into parts, so axis must be another one, got 0")
    return _batch_parts(x.shape, axis, memory_order(x, virtual_batch_size is not None), virtual_batch_size)


@functools.lru_cache(maxsize=256)
def _batch_parts(shape, axis, order, virtual_batch_size):
    outer, inner = split_at(shape, axis, order)
    cuts = [(0, outer, 1)]
    if virtual_batch_size is not None:
        rows = outer // max(shape[0], 1)
        cuts = [(start * rows, stop * rows, count) for start, stop, count in merge_pieces(shape[0], virtual_batch_size)]
    return Parts(order, outer, shape[axis], inner, cuts, shape[axis])


def sample_parts(x, axis, groups):
    """Return the `Parts` of a norm within groups of channels of each sample, axis 0."""
    return _sample_parts(x.shape, axis, memory_order(x, True), groups)


@functools.lru_cache(maxsize=256)
def _sample_parts(shape, axis, order, groups):
    order = samples_order(shape, axis, order)
    outer, inner = split_at(shape, axis, order)
    return Parts(order, outer, shape[axis], inner, [(0, outer, max(shape[0], 1))], groups)


def fixed_coefficients(gamma, beta, mean, rstd):
    """Return high, scale and offset for `scale_and_shift` from float64 statistics, in gamma's dtype."""
    with np.errstate(invalid="ignore", over="ignore"):
        high = mean.astype(gamma.dtype)
        scale = gamma * rstd
        offset = beta - (mean - high) * scale
        return high, scale.astype(gamma.dtype), offset.astype(gamma.dtype)


def merge_pieces(count, size):
    """Return how `count` rows are cut into parts of `size`: (start, stop, parts); a remainder joins the last part."""
    parts = max(1, count // size)
    if count % size == 0 or parts == 1:
        return [(0, count, parts)]
    edge = (parts - 1) * size
    return [(0, edge, parts - 1), (edge, count, 1)]
