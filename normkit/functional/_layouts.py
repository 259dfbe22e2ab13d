"""Arrays of any shape and strides as the contiguous views that kernels take."""

import functools
import math

import numpy as np


def may_overlap(a, b):
    """Return whether two arrays may share memory; of two that own theirs it is known at once."""
    return a is b if a.base is None and b.base is None else np.may_share_memory(a, b)


def _are_shifted(y, views):
    """Return whether an array may share memory with one of the views without being the very same."""
    for view in views:  # no generator: a call has no time for it
        if view is not y and may_overlap(y, view) and y.ctypes.data != view.ctypes.data:
            return True
    return False


class _Writeable:
    """The memory of a read-only array, announced as writeable, for code that only reads it.

    Numba compiles every kernel once more for read-only arrays, seconds each; pandas and JAX give such arrays.
    """

    def __init__(self, a):
        self.__array_interface__ = {**a.__array_interface__, "data": (a.ctypes.data, False)}
        self.owner = a  # keeps the memory alive


class Layout:
    """A permutation of axes and a shape: what brings an array into the form of a kernel.

    Parameters
    ----------
    order : tuple of int, or None for the identity
    shape : tuple of int
        The kernel's.
    """

    __slots__ = ("order", "shape")

    def __init__(self, order, shape):
        self.order, self.shape = order, shape

    def view(self, x):
        """Return x in the kernel's shape; a copy only where its strides demand one."""
        if self.order is not None:
            x = x.transpose(self.order)
        if x.flags.carray:  # contiguous, aligned and writeable
            return x if x.shape == self.shape else x.reshape(self.shape)
        view = np.ascontiguousarray(x).reshape(self.shape)
        if not view.flags.aligned:
            return view.copy()
        return view if view.flags.writeable else np.asarray(_Writeable(view))

    def output(self, memory, given, *views):
        """Return an array in the kernel's shape to write to: the memory itself where that can be.

        It can where it is contiguous and aligned and, if the caller has given it, each view that the kernel reads
        is either the very same memory or none of it: of inputs shifted against the output, the kernel would
        overwrite what it has yet to read.
        """
        moved = memory if self.order is None else memory.transpose(self.order)
        if moved.flags.carray:
            y = moved if moved.shape == self.shape else moved.reshape(self.shape)
            if given is None or not _are_shifted(y, views):
                return y
        return np.empty(self.shape, memory.dtype)

    def store(self, written, memory):
        """Copy what the kernel wrote to the memory that it was meant for, unless it is there already."""
        if written is not memory and not may_overlap(written, memory):
            moved = memory if self.order is None else memory.transpose(self.order)
            moved[...] = written.reshape(moved.shape)


@functools.lru_cache(maxsize=256)
def rows_layout(shape, axes):
    """Return (layout (M, N), kept shape, normalized shape): the normalized axes last."""
    ndim = len(shape)
    kept = [i for i in range(ndim) if i not in axes]
    kept_shape, normalized = tuple(shape[i] for i in kept), tuple(shape[i] for i in axes)
    order = None if kept == list(range(len(kept))) else (*kept, *axes)
    return Layout(order, (math.prod(kept_shape), math.prod(normalized))), kept_shape, normalized


def memory_order(x, first=False):
    """Return the axes of x in the order of memory; None where that is their own, or is no order of all memory.

    Where `first` is asked for, axis 0 must come first.
    """
    if x.flags.c_contiguous:
        return None
    order = tuple(int(i) for i in np.argsort([-abs(stride) for stride in x.strides], kind="stable"))
    if order == tuple(range(x.ndim)) or (first and order[0] != 0):
        return None
    return order if x.transpose(order).flags.c_contiguous else None


def split_at(shape, axis, order):
    """Return how many elements lie before and behind an axis in memory.

    `order` is that of `memory_order`.
    """
    order = order or tuple(range(len(shape)))
    place = order.index(axis)
    return math.prod(shape[i] for i in order[:place]), math.prod(shape[i] for i in order[place + 1 :])


def samples_order(shape, axis, order):
    """Return the order of axes for a norm within each sample: the channels come last or right after the samples.

    `order` is that of `memory_order` with the samples first. With axes on both sides of the channels, these come
    forward.
    """
    axes = order or tuple(range(len(shape)))
    if axes[1] == axis or split_at(shape, axis, order)[1] == 1:
        return order
    moved = (0, axis, *(i for i in range(1, len(shape)) if i != axis))
    return None if moved == tuple(range(len(shape))) else moved
