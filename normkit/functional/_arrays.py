"""What every norm function does before and after its kernel: check, bring into canonical shape, dispatch."""

import math
import operator
from numbers import Real

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from normkit import threads

# Below this many elements a parallel region costs more than it saves.
PARALLEL_FROM = 1 << 15


def check_input(x, name="x"):
    """Return x as an array; float32 and float64 only."""
    x = np.asarray(x)
    if x.dtype not in (np.float32, np.float64):
        how = f"convert it with np.asarray({name}, np.float32)"
        raise TypeError(f"{name} must be float32 or float64, got dtype {x.dtype}; {how}")
    if x.ndim == 0:
        raise ValueError(f"{name} must have at least one dimension, got a scalar")
    return x


def check_like(a, x, name):
    """Return a as an array of x's shape and dtype."""
    a = check_input(a, name)
    if a.shape != x.shape:
        raise ValueError(f"{name} must have the shape of x {x.shape}, got {a.shape}")
    if a.dtype != x.dtype:
        raise TypeError(f"{name} must have the dtype of x {x.dtype}, got {a.dtype}")
    return a


def check_out(out, x):
    """Return out, or a new array like x."""
    if out is None:
        return np.empty(x.shape, x.dtype)
    if not isinstance(out, np.ndarray) or out.shape != x.shape or out.dtype != x.dtype:
        got = f"shape {out.shape}, dtype {out.dtype}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f"out must be an array of shape {x.shape} and dtype {x.dtype}, got {got}")
    if not out.flags.writeable:
        raise ValueError("out must be writeable, got a read-only array")
    return out


def check_parameter(a, shape, name, default=None):
    """Return a as a flat float64 copy of an array of the given shape; None becomes the default.

    A copy, so that neither `out` nor what the caller does with a returned statistic changes the parameter.
    """
    if a is None and default is not None:
        return np.full(math.prod(shape), default, np.float64)
    a = np.asarray(a)
    if not np.issubdtype(a.dtype, np.number) or np.issubdtype(a.dtype, np.complexfloating):
        raise TypeError(f"{name} must hold real numbers, got dtype {a.dtype}")
    if a.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {a.shape}")
    return np.array(a, np.float64, order="C").ravel()


def check_number(value, name):
    """Return value as a float."""
    if not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    return float(value)


def check_epsilon(epsilon):
    """Return epsilon as a float; it must be positive and finite."""
    epsilon = check_number(epsilon, "epsilon")
    if not 0 < epsilon < math.inf:
        raise ValueError(f"epsilon must be positive and finite, got {epsilon}")
    return epsilon


def check_axis(axis, ndim):
    """Return axis as a non-negative index."""
    try:
        axis = operator.index(axis)
    except TypeError:
        raise TypeError(f"axis must be an integer, got {axis!r}") from None
    return normalize_axis_index(axis, ndim, "axis")


def check_axes(axis, ndim):
    """Return one or several axes as a sorted tuple of non-negative indices."""
    try:
        axes = tuple(sorted(normalize_axis_tuple(axis, ndim, "axis")))
    except TypeError:
        raise TypeError(f"axis must be an integer or a tuple of integers, got {axis!r}") from None
    if not axes:
        raise ValueError("axis must name at least one axis, got ()")
    return axes


def run(pair, size, *arguments):
    """Call the parallel kernel of a (serial, parallel) pair where it pays and may be entered."""
    if size >= PARALLEL_FROM:
        with threads.team(threads.available()) as n:
            if n > 1:
                return pair[1](*arguments)
    return pair[0](*arguments)


class _Writeable:
    """The memory of a read-only array, announced as writeable, for code that only reads it.

    Numba compiles every kernel once more for read-only arrays, seconds each; pandas and JAX give such arrays.
    """

    def __init__(self, a):
        self.__array_interface__ = {**a.__array_interface__, "data": (a.ctypes.data, False)}
        self.owner = a  # keeps the memory alive


class Canonical:
    """A view of x with its axes grouped, contiguous; a copy only where the strides demand one."""

    def __init__(self, order, group_shape):
        self.order = order  # the permutation of axes that brings the groups together
        self.group_shape = group_shape  # the kernel's shape

    def view(self, x):
        """Return x in the kernel's shape."""
        view = np.ascontiguousarray(x.transpose(self.order)).reshape(self.group_shape)
        if not view.flags.aligned:
            return view.copy()
        return view if view.flags.writeable else np.asarray(_Writeable(view))

    def output(self, out, *views):
        """Return an array in the kernel's shape to write to: out itself where its memory allows that.

        It does where out is contiguous and aligned, and each view that the kernel reads is either the very
        same memory or none of it: of inputs shifted against the output, the kernel would overwrite what it
        has yet to read.
        """
        moved = out.transpose(self.order)
        if moved.flags.c_contiguous and moved.flags.aligned:
            y = moved.reshape(self.group_shape)
            if not any(np.may_share_memory(y, view) and y.ctypes.data != view.ctypes.data for view in views):
                return y
        return np.empty(self.group_shape, out.dtype)

    def store(self, written, out):
        """Copy what the kernel wrote to out, unless it is out's own memory."""
        if not np.may_share_memory(written, out):
            moved = out.transpose(self.order)
            moved[...] = written.reshape(moved.shape)


def rows_view(shape, axes):
    """Layout (M, N): the normalized axes last."""
    kept = [i for i in range(len(shape)) if i not in axes]
    kept_shape, normalized = tuple(shape[i] for i in kept), tuple(shape[i] for i in axes)
    return Canonical((*kept, *axes), (math.prod(kept_shape), math.prod(normalized))), kept_shape, normalized


def channels_view(shape, axis):
    """Layout (outer, C, inner), or (M, C) where nothing follows the feature axis."""
    outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    channels = shape[axis]
    group = (outer, channels) if inner == 1 else (outer, channels, inner)
    return Canonical(tuple(range(len(shape))), group)
