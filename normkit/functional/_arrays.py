"""What every norm function does before and after its kernel: check arguments, take arrays of any kind, dispatch."""

import functools
import math
import operator
import sys
from numbers import Real
from typing import TypeVar

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from normkit import threads
from normkit.functional._cuda_arrays import device_array, kind_of
from normkit.functional._layouts import may_overlap

# NumPy's, or another library's that speaks DLPack or lies on a GPU; results are of the same kind
Array = TypeVar("Array")

# Below this many elements a parallel region costs more than it saves; times REGIONS for kernels of several regions.
PARALLEL_FROM = 1 << 15
REGIONS = 4

_F32, _F64 = np.dtype(np.float32), np.dtype(np.float64)
# How a kernel sees each dtype: 16-bit numbers as the integers of their bits (see normkit.kernels.cpu.simd). bfloat16,
# a type of another package, comes with the first array of it.
_SEEN_AS: dict[np.dtype, np.dtype] = {_F32: _F32, _F64: _F64, np.dtype(np.float16): np.dtype(np.uint16)}
_BITS_OF_BFLOAT16 = np.dtype(np.int16)
_SMALLEST = {dtype: float(np.finfo(dtype).tiny) for dtype in (_F32, _F64)}
_KINDS = "float16, bfloat16, float32 or float64"


class Kind:
    """How a result becomes an array of the caller's kind, and which arithmetic it is computed in.

    Attributes
    ----------
    dtype : the caller's
    arithmetic : dtype that the kernels compute in, and that parameters come in
    """

    __slots__ = ("dtype", "arithmetic", "_owner")
    on_device = False
    place = "the host's memory"

    def __init__(self, dtype, arithmetic, owner):
        self.dtype, self.arithmetic, self._owner = dtype, arithmetic, owner

    def give_back(self, data, out=None):
        """Return out, or if that is None the array of the kernels' dtype that was written as the caller's kind.

        Only after it is written: where memory is not aligned to its taste, a library takes a copy.
        """
        if out is not None:
            return out
        owner = self._owner
        if owner is None:
            return data
        if isinstance(owner, np.ndarray):
            return data.view(owner.dtype)
        if self.dtype == "bfloat16":
            return _from_numpy(data, owner).view(sys.modules[_library(owner)].bfloat16)
        return _from_numpy(data.view(np.float16) if self.dtype == "float16" else data, owner)

    def parameter_gradient(self, a, shape):
        """Return a gradient of gamma or beta: in the dtype of the arithmetic, in the caller's kind."""
        if a.dtype is not self.arithmetic:
            with np.errstate(over="ignore"):
                a = a.astype(self.arithmetic)
        if a.shape != shape:
            a = a.reshape(shape)
        if self._owner is None or isinstance(self._owner, np.ndarray):
            return a
        return _from_numpy(a, self._owner)


# Of what needs no change to be seen by a kernel: made once, a call has no time for it
_PLAIN_F32, _PLAIN_F64 = Kind(_F32, _F32, None), Kind(_F64, _F64, None)


def _to_numpy(a):
    """Return another library's array as an ndarray of the same memory."""
    # torch's own way takes a quarter of the time
    return a.numpy() if _library(a) == "torch" else np.from_dlpack(a)


def _from_numpy(data, like):
    """Return an ndarray as an array of the library of another, of the same memory."""
    name = _library(like)
    namespace = sys.modules[name]
    return namespace.from_numpy(data) if name == "torch" else namespace.from_dlpack(data)


def _library(a):
    """Name of the package of an array that is not NumPy's: "torch", "jax"."""
    name = type(a).__module__.partition(".")[0]
    return "jax.numpy" if name in ("jax", "jaxlib") else name


def operand(x, name="x"):
    """Return any array of a supported dtype on the CPU as the kernels see it, and its `Kind`; never a copy.

    Kernels see float32, float64, uint16 (bits of float16) and int16 (bits of bfloat16). An array on a GPU comes as a
    `DeviceArray` and its `DeviceKind`.
    """
    if type(x) is np.ndarray:
        dtype = x.dtype
        # NumPy has one object of each native dtype; another one that is equal goes the long way
        if dtype is _F32 and x.ndim:
            return x, _PLAIN_F32
        if dtype is _F64 and x.ndim:
            return x, _PLAIN_F64
        seen = _SEEN_AS.get(dtype)
        if seen is not None and seen.kind != "f" and x.ndim:
            return x.view(seen), Kind(dtype, _F32, x)
    return _operand_of_any(x, name)


def _check_unmasked(a, name):
    if isinstance(a, np.ma.MaskedArray):
        raise TypeError(f"{name} must not be a masked array, whose mask would be lost; fill or compress it")


def _operand_of_any(x, name):
    owner = x
    _check_unmasked(x, name)
    if not isinstance(x, np.ndarray):
        if getattr(x, "requires_grad", False):
            raise TypeError(f"{name} requires a gradient, which cannot be recorded here; pass {name}.detach()")
        array = device_array(x, name)
        if array is not None:
            return _checked(array, array.dtype, kind_of(array), name, array.conversion)
    if isinstance(x, np.ndarray) or not hasattr(x, "__dlpack__"):
        x = owner = np.asarray(x)
        dtype = x.dtype
        if dtype.name == "bfloat16":
            _SEEN_AS[dtype] = _BITS_OF_BFLOAT16
        seen = _SEEN_AS.get(dtype)
        data = None if seen is None else x.view(seen)
        owner = None if seen == dtype else x
    else:
        dtype = str(x.dtype).rpartition(".")[2]
        if hasattr(x, "resolve_neg"):  # torch keeps a sign apart, which DLPack does not tell
            x = x.resolve_neg()
        data = _data_of_foreign(x, dtype)
    kind = None if data is None else Kind(dtype, _F64 if data.dtype == _F64 else _F32, owner)
    return _checked(data, dtype, kind, name)


def _checked(data, dtype, kind, name, conversion="np.asarray({}, np.float32)"):
    """Return data and kind of an array that has dimensions and a dtype with a kind."""
    if kind is None:
        how = conversion.format(name)
        raise TypeError(f"{name} must be {_KINDS}, got dtype {dtype}; convert it with {how}")
    if data.ndim == 0:
        raise ValueError(f"{name} must have at least one dimension, got a scalar")
    return data, kind


def check_place(a, place, name):
    """Raise unless a kind or device array is where the other arrays are."""
    if a.place != place:
        raise TypeError(f"{name} must be in {place}, as the other arrays are, got it in {a.place}; move it there")


def _data_of_foreign(x, dtype):
    if dtype == "bfloat16":
        # NumPy has no such type; the bits are taken as integers, without a copy where the library can
        namespace = sys.modules[_library(x)]
        try:
            return _to_numpy(x.view(namespace.int16))
        except (BufferError, RuntimeError, TypeError):
            return np.asarray(x).view(_BITS_OF_BFLOAT16)
    if dtype not in ("float16", "float32", "float64"):
        return None
    try:
        data = _to_numpy(x)
    except (BufferError, RuntimeError):  # an older protocol or a layout that it cannot describe
        data = np.asarray(x)
    return data.view(np.uint16) if dtype == "float16" else data


def operand_like(a, data, kind, name, like="x"):
    """Return an array of the shape and dtype of x's (data, kind) as the kernels see it; `like` is what x is called."""
    a, a_kind = operand(a, name)
    if a_kind is not kind:
        check_place(a_kind, kind.place, name)
    if a.shape != data.shape:
        raise ValueError(f"{name} must have the shape of {like} {data.shape}, got {a.shape}")
    if a_kind is not kind and a.dtype != data.dtype:
        raise TypeError(f"{name} must have the dtype of {like} {kind.dtype}, got {a_kind.dtype}")
    return a


def memory_for(out, data, kind, name="out"):
    """Return the memory that a kernel is to write to: that of out, or of a new array like data for None."""
    if out is None:
        return np.empty_like(data)
    shape, dtype = data.shape, kind.dtype
    if not (isinstance(out, np.ndarray) or hasattr(out, "__dlpack__")):
        raise ValueError(f"{name} must be an array of shape {shape} and dtype {dtype}, got {type(out).__name__}")
    memory, out_kind = operand(out, name)
    if out_kind is not kind:
        check_place(out_kind, kind.place, name)
    if memory.shape != shape or (out_kind is not kind and memory.dtype != data.dtype):
        got = f"shape {memory.shape}, dtype {out_kind.dtype}"
        raise ValueError(f"{name} must be an array of shape {shape} and dtype {dtype}, got {got}")
    if not kind.on_device:
        if memory.flags.carray and memory is out:
            return memory
        if not memory.flags.writeable:
            raise ValueError(f"{name} must be writeable, got a read-only array")
    if any(stride == 0 and n > 1 for stride, n in zip(memory.strides, shape)):
        raise ValueError(f"{name} must have a place for each element, got strides {memory.strides}")
    if getattr(out, "is_neg", bool)():
        raise ValueError(f"{name} must hold its own sign, got a tensor with the negative bit; pass a new one")
    return memory


# --- parameters -----------------------------------------------------------------------------------------------------


# Elements of a default parameter that are kept for the next call
_KEPT = 1 << 14


@functools.lru_cache(maxsize=32)
def _constant(value, size, dtype):
    return np.full(size, value, dtype)  # kernels only read parameters


def parameter(a, shape, name, default, dtype, given=None, memory=None):
    """Return gamma or beta as a flat array of the kernels' arithmetic; None becomes the default.

    A copy where it must be: of another dtype or layout, and where it overlaps memory that the caller has given to be
    written.
    """
    if a is None:
        size = math.prod(shape)
        return _constant(default, size, dtype) if size <= _KEPT else np.full(size, default, dtype)
    if type(a) is not np.ndarray or a.dtype is not dtype:
        a = _numbers(a, name)
    if a.shape != shape:
        raise shape_error(a, shape, name)
    if a.dtype is dtype and a.flags.carray and (given is None or not may_overlap(a, memory)):
        return a if len(shape) == 1 else a.reshape(-1)
    return _copy(a, dtype)


def shape_error(a, shape, name):
    """Return what is raised where a parameter or a statistic has not the shape that it must have."""
    return ValueError(f"{name} must have shape {shape}, got {a.shape}")


def float_error(name, got):
    """Return what is raised where a moving statistic cannot hold what it would be updated to."""
    return TypeError(f"{name} must be an array of float to be updated in place, got {got}")


def sharing_error(first, second):
    """Return what is raised where two results would be written to the same memory."""
    return ValueError(f"{first} and {second} must not share memory, got overlapping arrays")


def real_error(a, name):
    """Return what is raised where a parameter or a statistic does not hold real numbers."""
    return TypeError(f"{name} must hold real numbers, got dtype {a.dtype}")


def statistic(a, shape, name, given=None, memory=None):
    """Return a statistic as a flat array of float64; a copy where `parameter` makes one."""
    return parameter(_numbers(a, name) if a is None else a, shape, name, None, _F64, given, memory)


def _numbers(a, name):
    """Return a as an ndarray of real numbers."""
    if type(a) is not np.ndarray:
        _check_unmasked(a, name)
        array = device_array(a, name)
        if array is not None:
            check_place(array, Kind.place, name)
        if hasattr(a, "detach"):  # torch: a parameter that is being learned, a type that NumPy does not have
            a = a.detach().resolve_neg()
            a = a.float() if str(a.dtype) == "torch.bfloat16" else a
            a = a.numpy()
        a = np.asarray(a)
    if a.dtype.kind not in "fiu" and a.dtype.name != "bfloat16":
        raise real_error(a, name)
    return a


def _copy(a, dtype):
    with np.errstate(over="ignore"):
        return np.array(a, dtype, order="C").ravel()


def check_number(value, name):
    """Return value as a float."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    return float(value)


def check_epsilon(epsilon, arithmetic):
    """Return epsilon as a float; it must be positive, finite and not so small that its root leaves the arithmetic."""
    if type(epsilon) is not float:
        epsilon = check_number(epsilon, "epsilon")
    if not 0 < epsilon < math.inf:
        raise ValueError(f"epsilon must be positive and finite, got {epsilon}")
    if epsilon < _SMALLEST[arithmetic]:
        raise ValueError(f"epsilon must be at least {_SMALLEST[arithmetic]} in {arithmetic}, got {epsilon}")
    return epsilon


def check_alpha(alpha, arithmetic):
    """Return alpha, a number or an array of one, as a float; it must be finite in the arithmetic."""
    if hasattr(alpha, "item") and math.prod(alpha.shape) == 1:  # an array of one element, of any library
        array = device_array(alpha, "alpha")
        if array is not None:
            check_place(array, Kind.place, "alpha")
        alpha = alpha.item()
    alpha = check_number(alpha, "alpha")
    if not abs(alpha) <= np.finfo(arithmetic).max:
        raise ValueError(f"alpha must be finite in {arithmetic}, got {alpha}")
    return alpha


def check_count(value, name):
    """Return value as a positive int."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    value = operator.index(value)
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return value


def check_axis(axis, ndim):
    """Return axis as a non-negative index."""
    try:
        axis = operator.index(axis)
    except TypeError:
        raise TypeError(f"axis must be an integer, got {axis!r}") from None
    return axis if 0 <= axis < ndim else normalize_axis_index(axis, ndim, "axis")


def check_axes(axis, ndim):
    """Return one or several axes as a sorted tuple of non-negative indices."""
    if type(axis) is int and axis == -1:
        return (ndim - 1,)
    try:
        axes = tuple(sorted(normalize_axis_tuple(axis, ndim, "axis")))
    except TypeError:
        raise TypeError(f"axis must be an integer or a tuple of integers, got {axis!r}") from None
    if not axes:
        raise ValueError("axis must name at least one axis, got ()")
    return axes


# --- dispatch -------------------------------------------------------------------------------------------------------


def run(pair, size, *arguments):
    """Call the parallel kernel of a (serial, parallel) pair where it pays and may be entered."""
    if size >= PARALLEL_FROM:
        with threads.team(threads.available()) as n:
            if n > 1:
                return pair[1](*arguments)
    return pair[0](*arguments)
