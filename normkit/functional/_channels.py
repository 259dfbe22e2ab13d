"""What the norms with a parameter a channel share: which kernel takes which part of an array."""

import numpy as np

from normkit.functional._arrays import run
from normkit.kernels.cpu import columns, planes


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
        self.cuts, self.size = cuts, view.size
        self.count = sum(count for _, _, count in cuts)

    def _pieces(self):
        """Yield (start, stop, count, index of the first part)."""
        first = 0
        for start, stop, count in self.cuts:
            yield start, stop, count, first
            first += count

    def _planes_of_a_set(self, samples):
        """Return (count, stride) of the planes that share statistics; see normkit.kernels.cpu.planes."""
        if self.groups < self.channels:
            return self.channels // self.groups, 1
        return samples, self.channels

    def normalize(self, x, gamma, beta, epsilon, y):
        """Write y unless it is None; return mean and rstd, (parts, groups)."""
        mean, rstd = np.empty((self.count, self.groups)), np.empty((self.count, self.groups))
        for start, stop, count, k in self._pieces():
            m, r = mean[k : k + count], rstd[k : k + count]
            part, target = x[start:stop], None if y is None else y[start:stop]
            if self.last:
                shape = (count, -1, self.channels)
                target = None if target is None else target.reshape(shape)
                kernel = columns.normalize_many if count >= columns.MANY else columns.normalize
                run(kernel, part.size, part.reshape(shape), gamma, beta, epsilon, target, m, r)
            else:
                rows = (-1, x.shape[2])
                n, stride = self._planes_of_a_set((stop - start) // count)
                target = None if target is None else target.reshape(rows)
                run(
                    planes.normalize, part.size, part.reshape(rows), n, stride, gamma, beta, epsilon, target,
                    m.reshape(-1), r.reshape(-1),
                )  # fmt: skip
        return mean, rstd

    def gradient(self, dy, x, gamma, mean, rstd, dx):
        """Write dx unless it is None; return dgamma and dbeta, (C,) float64."""
        dgamma, dbeta = np.zeros(self.channels), np.zeros(self.channels)
        for start, stop, count, k in self._pieces():
            m, r = mean[k : k + count], rstd[k : k + count]
            part, grad, target = x[start:stop], dy[start:stop], None if dx is None else dx[start:stop]
            if self.last:
                shape, sums = (count, -1, self.channels), np.zeros((2, count, self.channels))
                target = None if target is None else target.reshape(shape)
                arguments = (grad.reshape(shape), part.reshape(shape), gamma, m, r, target, sums[0], sums[1])
                run(columns.gradient_many if count >= columns.MANY else columns.gradient, part.size, *arguments)
            else:
                rows, sums = (-1, x.shape[2]), np.empty((2, stop - start, self.channels))
                n, stride = self._planes_of_a_set((stop - start) // count)
                target = None if target is None else target.reshape(rows)
                run(
                    planes.gradient, part.size, grad.reshape(rows), part.reshape(rows), n, stride, gamma,
                    m.reshape(-1), r.reshape(-1), target, sums[0].reshape(-1), sums[1].reshape(-1),
                )  # fmt: skip
            with np.errstate(invalid="ignore", over="ignore"):
                dgamma += sums[0].sum(axis=0)
                dbeta += sums[1].sum(axis=0)
        return dgamma, dbeta


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
