"""Arrays of any shape and strides as the contiguous views that kernels take."""

import functools
import math

import numpy as np


def may_overlap(a, b):
    """Return whether two arrays may share memory; of two that own theirs it is known at once."""
    return a is b if a.base is None and b.base is None else np.may_share_memory(a, b)


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
            if given is None or not any(
                view is not y and may_overlap(y, view) and y.ctypes.data != view.ctypes.data for view in views
            ):
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


def _memory_order(x, first):
    """Return the axes of x in the order of memory where it is contiguous in some order, else as they are.

    Where `first` is asked for, axis 0 must come first.
    """
    natural = tuple(range(x.ndim))
    if x.flags.c_contiguous:
        return natural
    order = tuple(int(i) for i in np.argsort([-abs(stride) for stride in x.strides], kind="stable"))
    if x.transpose(order).flags.c_contiguous and not (first and order[0] != 0):
        return order
    return natural


def channels_layout(x, axis, first=False):
    """Return (layout, channels last) for a norm over all axes but `axis`.

    The layout's shape is (outer, C) where nothing follows the channels in memory, else (outer, C, inner).
    """
    return _channels_layout(x.shape, axis, _memory_order(x, first))


@functools.lru_cache(maxsize=256)
def _channels_layout(shape, axis, order):
    place = order.index(axis)
    outer = math.prod(shape[i] for i in order[:place])
    inner = math.prod(shape[i] for i in order[place + 1 :])
    if order == tuple(range(len(shape))):
        order = None
    if inner == 1:
        return Layout(order, (outer, shape[axis])), True
    return Layout(order, (outer, shape[axis], inner)), False


def samples_layout(x, axis):
    """Return the layout for a norm within each sample, axis 0.

    Its shape is (N * S, C) where nothing follows the channels in memory, else (N, C, inner).
    """
    samples, channels = x.shape[0], x.shape[axis]
    layout, last = channels_layout(x, axis, first=True)
    rest = math.prod(n for i, n in enumerate(x.shape) if i not in (0, axis))
    order = layout.order or tuple(range(x.ndim))
    if last:
        return layout
    if order[1] != axis:  # axes on both sides of the channels: bring these forward
        order = (0, axis, *(i for i in range(1, x.ndim) if i != axis))
    return Layout(None if order == tuple(range(x.ndim)) else order, (samples, channels, rest))
