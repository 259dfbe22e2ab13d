"""Arrays on an NVIDIA GPU: recognized, seen and allocated through their own library, never read, never waited for."""

import functools
import math
import sys
from typing import Any, NamedTuple

import numpy as np

_F32, _F64 = np.dtype(np.float32), np.dtype(np.float64)
_ARITHMETIC = {"float16": _F32, "bfloat16": _F32, "float32": _F32, "float64": _F64}
_CUDA = (2, 13)  # DLPack's numbers for memory of a device, and for memory that moves


class _Flags(NamedTuple):
    c_contiguous: bool


class _Described:
    """Memory as NumPy would see it."""

    def __init__(self, a):
        self.__array_interface__ = {
            "shape": a.shape, "strides": a.strides, "data": (a.pointer, False), "typestr": f"|V{a.itemsize}",
            "version": 3,
        }  # fmt: skip


class DeviceArray:
    """An array on a device, as what stands before and behind a kernel sees it; one subclass a library.

    Attributes
    ----------
    owner : the library's array
    shape : tuple of int
    dtype : name of the dtype
    device : int
    """

    __slots__ = ("owner", "shape", "dtype", "device")
    library = ""
    conversion = ""  # to float32, of a name
    move = ""  # to the device, of a name
    owner: Any
    shape: tuple[int, ...]
    dtype: str
    device: int

    # What a library must tell
    pointer: Any
    itemsize: Any
    strides: Any
    is_contiguous: Any

    @property
    def ndim(self):
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self):
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self):
        """Number of bytes of the elements."""
        return self.size * self.itemsize

    @property
    def flags(self):
        """What NumPy tells of the order of memory."""
        return _Flags(self.is_contiguous)

    @property
    def place(self):
        """Where the array is, in words."""
        return f"{self.library}'s memory on device {self.device}"

    def addresses(self):
        """Return an ndarray with the same addresses, for comparisons of these only: its elements cannot be read."""
        return np.asarray(_Described(self)) if self.size else np.empty(self.shape, f"V{self.itemsize}")

    def shares_memory(self, other):
        """Return whether both have an element in common."""
        return np.shares_memory(self.addresses(), other.addresses())

    def contiguous(self):
        """Return the array itself where it is contiguous, else a copy, made on the stream."""
        return self if self.is_contiguous else self.copied()

    def copied(self) -> "DeviceArray":
        """Return a contiguous copy."""
        copy = self.empty(self.shape, self.dtype)
        copy.owner[...] = self.owner
        return copy

    def empty(self, shape, dtype) -> "DeviceArray":
        """Return new memory beside this."""
        raise NotImplementedError

    def workspace(self, size):
        """Return so many bytes of new memory."""
        return self.empty((size,), "uint8")


class TorchArray(DeviceArray):
    """A tensor of torch."""

    __slots__ = ()
    library, conversion = "torch", "{}.float()"
    move = "torch.as_tensor({}, device=x.device)"

    def __init__(self, tensor):
        self.owner, self.shape = tensor, tuple(tensor.shape)
        self.dtype, self.device = _torch_name(tensor.dtype), tensor.get_device()

    @property
    def pointer(self):
        return self.owner.data_ptr()

    @property
    def itemsize(self):
        return self.owner.element_size()

    @property
    def strides(self):
        size = self.owner.element_size()
        return tuple(stride * size for stride in self.owner.stride())

    @property
    def is_contiguous(self):
        return self.owner.is_contiguous()

    def transpose(self, order):
        return TorchArray(self.owner.permute(order))

    def astype(self, dtype):
        return self if self.dtype == dtype else TorchArray(self.owner.to(_torch_dtype(dtype)))

    def empty(self, shape, dtype):
        tensor = sys.modules["torch"].empty(shape, dtype=_torch_dtype(dtype), device=self.owner.device)
        return TorchArray(tensor)

    def full(self, shape, value, dtype):
        return TorchArray(self.owner.new_full(shape, value, dtype=_torch_dtype(dtype)))

    def empty_like(self):
        return TorchArray(sys.modules["torch"].empty_like(self.owner))

    @classmethod
    def current(cls, device):
        """Return a context in which new arrays and kernels are the device's."""
        return sys.modules["torch"].cuda.device(device)

    @classmethod
    def stream(cls, device):
        """Return the handle of the stream that the library works on."""
        return sys.modules["torch"].cuda.current_stream(device).cuda_stream


@functools.cache
def _torch_name(dtype):
    return str(dtype).removeprefix("torch.")


@functools.cache
def _torch_dtype(name):
    return getattr(sys.modules["torch"], name)


class CupyArray(DeviceArray):
    """An array of CuPy."""

    __slots__ = ()
    library, conversion = "cupy", "{}.astype('float32')"
    move = "cupy.asarray({})"

    def __init__(self, a):
        self.owner, self.shape = a, a.shape
        self.dtype, self.device = a.dtype.name, int(a.device.id)

    @property
    def pointer(self):
        return self.owner.data.ptr

    @property
    def itemsize(self):
        return self.owner.itemsize

    @property
    def strides(self):
        return self.owner.strides

    @property
    def is_contiguous(self):
        return self.owner.flags.c_contiguous

    def transpose(self, order):
        return CupyArray(self.owner.transpose(order))

    def astype(self, dtype):
        return self if self.dtype == dtype else CupyArray(self.owner.astype(dtype))

    def empty(self, shape, dtype):
        return CupyArray(sys.modules["cupy"].empty(shape, self.owner.dtype if dtype == self.dtype else dtype))

    def full(self, shape, value, dtype):
        return CupyArray(sys.modules["cupy"].full(shape, value, dtype))

    def empty_like(self):
        return CupyArray(sys.modules["cupy"].empty_like(self.owner))

    @classmethod
    def current(cls, device):
        """Return a context in which new arrays and kernels are the device's."""
        return sys.modules["cupy"].cuda.Device(device)

    @classmethod
    def stream(cls, device):
        """Return the handle of the stream that the library works on."""
        return sys.modules["cupy"].cuda.get_current_stream().ptr


class DeviceKind:
    """What arrays of one dtype on one device have in common; the same object for all of them.

    Attributes
    ----------
    dtype : name of the dtype
    arithmetic : dtype that the kernels compute in
    number : name of the arithmetic
    place : where the arrays are, in words
    move : how an array comes there, in words with a place for its name
    """

    __slots__ = ("dtype", "arithmetic", "number", "place", "move", "device", "_type")
    on_device = True

    def __init__(self, array):
        self.dtype, self.arithmetic = array.dtype, _ARITHMETIC[array.dtype]
        self.number = str(self.arithmetic)
        self.place, self.move = array.place, array.move
        self.device, self._type = array.device, type(array)

    def current(self):
        """Return a context in which new arrays and kernels are the device's."""
        return self._type.current(self.device)

    def stream(self):
        """Return the handle of the stream that the library works on."""
        return self._type.stream(self.device)

    @property
    def namespace(self):
        """The library."""
        return sys.modules[self._type.library]


_kinds: dict[tuple, DeviceKind] = {}


def kind_of(array):
    """Return the `DeviceKind` of an array; None where the kernels do not know its dtype."""
    key = type(array), array.dtype, array.device
    kind = _kinds.get(key)
    if kind is None and array.dtype in _ARITHMETIC:
        kind = _kinds.setdefault(key, DeviceKind(array))
    return kind


def device_array(a, name):
    """Return an array of any library as a `DeviceArray`; None where it is in the host's memory."""
    torch: Any = sys.modules.get("torch")
    cupy: Any = sys.modules.get("cupy")
    if torch is not None and isinstance(a, torch.Tensor):
        # torch keeps a sign apart, which no pointer tells
        return TorchArray(a.resolve_neg()) if is_on_gpu(a) else None
    if cupy is not None and isinstance(a, cupy.ndarray):
        return CupyArray(a)
    if hasattr(a, "__cuda_array_interface__") or _dlpack_device(a) in _CUDA:
        raise TypeError(
            f"{name} must be an array of torch or CuPy to stay on its device, got {type(a).__module__}'s; pass "
            f"torch.from_dlpack({name}) or cupy.from_dlpack({name}), or cupy.asarray({name}) of one without DLPack"
        )
    return None


def is_on_gpu(tensor):
    """Return whether a tensor of torch is on an NVIDIA GPU."""
    return tensor.is_cuda


def _dlpack_device(a):
    try:
        return int(a.__dlpack_device__()[0])
    except Exception:  # it does not know, or is spread over several: what reads it has the better message
        return None


def on_its_device(function):
    """Make the device of an array current while a function of (data, kind, ...) runs."""

    @functools.wraps(function)
    def call(data, kind, *arguments, **options):
        with kind.current():
            return function(data, kind, *arguments, **options)

    return call
