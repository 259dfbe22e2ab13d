"""What the norms with a parameter a channel share: which kernel takes which part of an array."""

import numpy as np

from normkit.functional._arrays import REGIONS, run
from normkit.kernels.cpu import columns, columns_backward, planes


class Parts:
    """An array cut into parts that are normalized each by itself, in the form of a kernel.

    Parameters
    ----------
    view : ndarray of shape (outer, C) or (outer, C, inner)
        Parts are consecutive in the first dimension.
    cuts : list of (start, stop, count)
        Ranges of the first dimension, each to be cut into `count` parts of equal size.
    groups : int
        Groups of consecutive channels that share statistics; as many as channels but for GroupNorm.
    """

    def __init__(self, view, cuts, groups):
        self.channels, self.groups, self.last = view.shape[1], groups, view.ndim == 2
        self.inner = 0 if self.last else view.shape[2]
        self.cuts = cuts
        self.count = cuts[0][2] if len(cuts) == 1 else sum(count for _, _, count in cuts)

    def _pieces(self, *arrays):
        """Return for each cut the number of parts, which they are, and arrays of the kernel's shape, or None."""
        if len(self.cuts) == 1:
            return [(self.count, slice(None), self._in_shape(self.count, arrays))]
        pieces, first = [], 0
        for start, stop, count in self.cuts:
            ranges = [None if a is None else a[start:stop] for a in arrays]
            pieces.append((count, slice(first, first + count), self._in_shape(count, ranges)))
            first += count
        return pieces

    def _in_shape(self, count, arrays):
        shape = (count, -1, self.channels) if self.last else (-1, self.inner)
        return [None if a is None else a.reshape(shape) for a in arrays]

    def _set_of_planes(self, planes_count, parts):
        """Return (count, stride) of the planes that share statistics; see normkit.kernels.cpu.planes."""
        if self.groups < self.channels:
            return self.channels // self.groups, 1
        return planes_count // (parts * self.channels), self.channels

    def normalize(self, x, gamma, beta, epsilon, y):
        """Write y unless it is None; return mean and rstd, (parts, groups)."""
        mean, rstd = np.empty((self.count, self.groups)), np.empty((self.count, self.groups))
        for count, which, (part, target) in self._pieces(x, y):
            m, r = mean[which], rstd[which]
            if self.last:
                kernel = columns.normalize_many if count >= columns.MANY else columns.normalize
                run(kernel, part.size // REGIONS, part, gamma, beta, epsilon, target, m, r)
            else:
                n, stride = self._set_of_planes(len(part), count)
                m, r = m.reshape(-1), r.reshape(-1)
                run(planes.normalize, part.size // REGIONS, part, n, stride, gamma, beta, epsilon, target, m, r)
        return mean, rstd

    def gradient(self, dy, x, gamma, mean, rstd, dx):
        """Write dx unless it is None; return dgamma and dbeta, (C,) float64."""
        totals = np.zeros((2, self.channels))
        for count, which, (grad, part, target) in self._pieces(dy, x, dx):
            m, r = mean[which], rstd[which]
            if self.last:
                sums = np.zeros((2, count, self.channels))
                kernel = columns_backward.gradient_many if count >= columns.MANY else columns_backward.gradient
                run(kernel, part.size // REGIONS, grad, part, gamma, m, r, target, sums[0], sums[1])
            else:
                sums = np.empty((2, len(part) // self.channels, self.channels))
                n, stride = self._set_of_planes(len(part), count)
                flat = [a.reshape(-1) for a in (m, r, sums[0], sums[1])]
                run(planes.gradient, part.size // REGIONS, grad, part, n, stride, gamma, *flat[:2], target, *flat[2:])
            totals += sums[:, 0] if sums.shape[1] == 1 else _sum_quietly(sums)
        return totals


def _sum_quietly(sums):
    with np.errstate(invalid="ignore", over="ignore"):
        return sums.sum(axis=1)


def scale_and_shift(x, high, scale, offset, y):
    """Write y = (x - high) * scale + offset, three numbers a channel in the type of the arithmetic."""
    if x.ndim == 2:
        run(columns.scale_and_shift, x.size, x, high, scale, offset, y)
    else:
        shape = (-1, x.shape[2])
        run(planes.scale_and_shift, x.size, x.reshape(shape), high, scale, offset, y.reshape(shape))


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
