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

    What a call asks for is read from the library once.

    Parameters
    ----------
    owner : the library's array
    kind : DeviceKind, optional
    shape : tuple of int, optional
        Both of new memory, which is contiguous: nothing has to be read then but where it is.

    Attributes
    ----------
    owner : the library's array, without a graph of gradients
    shape : tuple of int
    kind : DeviceKind
    is_contiguous : bool
    pointer : int
    """

    __slots__ = ("owner", "shape", "kind", "is_contiguous", "pointer")
    library = ""
    conversion = ""  # to float32, of a name
    move = ""  # to the device, of a name
    owner: Any
    shape: tuple[int, ...]
    kind: "DeviceKind"
    is_contiguous: bool
    pointer: int
    strides: Any  # in bytes, which a library must tell

    @property
    def dtype(self):
        """Name of the dtype."""
        return self.kind.dtype

    @property
    def place(self):
        """Where the array is, in words."""
        return self.kind.place

    @property
    def itemsize(self):
        """Number of bytes of an element."""
        return self.kind.itemsize

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
        return self.size * self.kind.itemsize

    @property
    def flags(self):
        """What NumPy tells of the order of memory."""
        return _Flags(self.is_contiguous)

    def rows(self):
        """Return the library's arrays along the first axis."""
        return [self.owner[i] for i in range(self.shape[0])]

    def row_pointers(self):
        """Return the address of each of these; the array must be contiguous."""
        step = self.nbytes // self.shape[0]
        return [self.pointer + i * step for i in range(self.shape[0])]

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
        copy = self.empty(self.shape, self.kind)
        copy.owner[...] = self.owner
        return copy

    def empty(self, shape, kind) -> "DeviceArray":
        """Return new memory beside this."""
        raise NotImplementedError

    def workspace(self, size):
        """Return so many bytes of new memory."""
        return self.empty((size,), self.kind.of("uint8"))


class TorchArray(DeviceArray):
    """A tensor of torch."""

    __slots__ = ()
    library, conversion = "torch", "{}.float()"
    move = "torch.as_tensor({}, device=x.device)"

    def __init__(self, owner, kind=None, shape=None):
        if kind is None:
            if owner.requires_grad:
                owner = owner.detach()
            if owner.is_neg():  # torch keeps a sign apart, which no pointer tells
                owner = owner.resolve_neg()
            self.shape, self.is_contiguous = tuple(owner.shape), owner.is_contiguous()
            key = TorchArray, owner.dtype, owner.get_device()
            self.kind = _kinds.get(key) or _new_kind(*key)
        else:
            self.shape, self.kind, self.is_contiguous = shape, kind, True
        self.owner, self.pointer = owner, owner.data_ptr()

    @property
    def strides(self):
        return tuple(stride * self.itemsize for stride in self.owner.stride())

    def transpose(self, order):
        return TorchArray(self.owner.permute(order))

    def astype(self, dtype):
        return self if self.dtype == dtype else TorchArray(self.owner.to(self.kind.of(dtype).native))

    def empty(self, shape, kind):
        tensor = sys.modules["torch"].empty(shape, dtype=kind.native, device=self.owner.device)
        return TorchArray(tensor, kind, shape)

    def full(self, shape, value, kind):
        return TorchArray(self.owner.new_full(shape, value, dtype=kind.native))

    def empty_like(self):
        tensor = sys.modules["torch"].empty_like(self.owner)
        return TorchArray(tensor, self.kind, self.shape) if self.is_contiguous else TorchArray(tensor)

    @staticmethod
    def describe(dtype):
        """Return the name and the bytes of a dtype."""
        return str(dtype).removeprefix("torch."), dtype.itemsize

    @staticmethod
    def native_dtype(name):
        """Return the library's dtype of a name."""
        return getattr(sys.modules["torch"], name)

    @classmethod
    def current(cls, device):
        """Return a context in which new arrays and kernels are the device's."""
        return sys.modules["torch"].cuda.device(device)

    @classmethod
    def stream(cls, device):
        """Return the handle of the stream that the library works on."""
        # what torch's own generated code calls: the public way makes an object for 2 us
        return sys.modules["torch"]._C._cuda_getCurrentRawStream(device)


class CupyArray(DeviceArray):
    """An array of CuPy."""

    __slots__ = ()
    library, conversion = "cupy", "{}.astype('float32')"
    move = "cupy.asarray({})"

    def __init__(self, owner, kind=None, shape=None):
        data = owner.data
        if kind is None:
            self.shape, self.is_contiguous = owner.shape, owner.flags.c_contiguous
            key = CupyArray, owner.dtype, data.device_id
            self.kind = _kinds.get(key) or _new_kind(*key)
        else:
            self.shape, self.kind, self.is_contiguous = shape, kind, True
        self.owner, self.pointer = owner, data.ptr

    @property
    def strides(self):
        return self.owner.strides

    def transpose(self, order):
        return CupyArray(self.owner.transpose(order))

    def astype(self, dtype):
        return self if self.dtype == dtype else CupyArray(self.owner.astype(self.kind.of(dtype).native))

    def empty(self, shape, kind):
        return CupyArray(sys.modules["cupy"].empty(shape, kind.native), kind, shape)

    def full(self, shape, value, kind):
        return CupyArray(sys.modules["cupy"].full(shape, value, kind.native))

    def empty_like(self):
        if self.is_contiguous:
            return self.empty(self.shape, self.kind)
        return CupyArray(sys.modules["cupy"].empty_like(self.owner))

    @staticmethod
    def describe(dtype):
        """Return the name and the bytes of a dtype."""
        return dtype.name, dtype.itemsize

    @staticmethod
    def native_dtype(name):
        """Return the library's dtype of a name."""
        return np.dtype(name)

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

    Parameters
    ----------
    array : subclass of DeviceArray
    native : the library's dtype
    device : int

    Attributes
    ----------
    dtype : name of the dtype
    itemsize : bytes of an element
    arithmetic : dtype that the kernels compute in; None where they do not know the dtype
    number : name of the arithmetic
    numbers : DeviceKind of the arithmetic
    place : where the arrays are, in words
    move : how an array comes there, in words with a place for its name
    """

    __slots__ = (
        "dtype", "native", "itemsize", "arithmetic", "number", "numbers", "place", "move", "device", "_array",
    )  # fmt: skip
    on_device = True

    def __init__(self, array, native, device):
        self._array, self.native, self.device, self.move = array, native, device, array.move
        self.dtype, self.itemsize = array.describe(native)
        self.place = f"{array.library}'s memory on device {device}"
        self.arithmetic = _ARITHMETIC.get(self.dtype)
        self.number = str(self.arithmetic)
        if self.arithmetic is not None:
            self.numbers = self.of(self.number)

    def of(self, dtype):
        """Return the kind of another dtype on the device, by its name."""
        if dtype == self.dtype:
            return self
        key = self._array, self._array.native_dtype(dtype), self.device
        return _kinds.get(key) or _new_kind(*key)

    def current(self):
        """Return a context in which new arrays and kernels are the device's."""
        return self._array.current(self.device)

    def stream(self):
        """Return the handle of the stream that the library works on."""
        return self._array.stream(self.device)

    @property
    def namespace(self):
        """The library."""
        return sys.modules[self._array.library]


_kinds: dict[tuple, DeviceKind] = {}


def _new_kind(*key):
    return _kinds.setdefault(key, DeviceKind(*key))


def kind_of(array):
    """Return the `DeviceKind` of an array; None where the kernels do not know its dtype."""
    return None if array.kind.arithmetic is None else array.kind


def device_array(a, name):
    """Return an array of any library as a `DeviceArray`; None where it is in the host's memory."""
    torch: Any = sys.modules.get("torch")
    cupy: Any = sys.modules.get("cupy")
    if torch is not None and isinstance(a, torch.Tensor):
        return TorchArray(a) if is_on_gpu(a) else None
    if cupy is not None and isinstance(a, cupy.ndarray):
        return CupyArray(a)
    if hasattr(a, "__cuda_array_interface__") or _dlpack_device(a) in _CUDA:
        raise TypeError(
            f"{name} must be an array of torch or CuPy to stay on its device, got {type(a).__module__}'s; pass "
            f"torch.from_dlpack({name}) or cupy.from_dlpack({name}), or cupy.asarray({name}) of one without DLPack"
        )
    jax: Any = sys.modules.get("jax")
    if jax is not None and isinstance(a, jax.Array) and not platforms(a) <= {"cpu"}:  # spread over several devices
        raise TypeError(
            f"{name} must be in the host's memory or on one NVIDIA GPU, got an array of JAX on {len(a.devices())} of "
            f"{', '.join(sorted(platforms(a)))}; pass its pieces, {name}.addressable_shards"
        )
    return None


def platforms(a):
    """Return the names of the platforms that an array of JAX is on."""
    return {device.platform for device in a.devices()}


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
