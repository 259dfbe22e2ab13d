"""Arrays of other libraries on the GPU, read where they lie, through ``__cuda_array_interface__``."""

from typing import Any

import numpy as np


class GpuArray:
    """A view of an array on a GPU; `owner` keeps its memory.

    Attributes
    ----------
    owner : array of torch, CuPy, JAX, Numba, RAPIDS
    pointer : int
    shape : tuple of int
    dtype : numpy.dtype
    strides : tuple of int, in bytes
    """

    def __init__(self, owner, name="X"):
        interface = owner.__cuda_array_interface__
        self.owner, self.shape = owner, tuple(int(size) for size in interface["shape"])
        self.dtype = np.dtype(interface["typestr"])
        if interface.get("mask") is not None:
            raise TypeError(f"{name} must have no mask, got a masked array on the GPU: fill it first")
        self.pointer = int(interface["data"][0])
        strides = interface.get("strides")
        if strides is None:
            strides = np.cumprod([self.dtype.itemsize, *self.shape[:0:-1]], dtype=np.int64)[::-1]
        self.strides = tuple(int(stride) for stride in strides)[: len(self.shape)]

    @property
    def ndim(self):
        """Number of dimensions."""
        return len(self.shape)

    def __len__(self):
        return self.shape[0]

    @property
    def is_contiguous(self):
        """Whether the elements stand one after the other."""
        expected = self.dtype.itemsize
        for size, stride in zip(reversed(self.shape), reversed(self.strides)):
            if size != 1 and stride != expected:
                return False
            expected *= size
        return True


def is_on_gpu(a: Any) -> bool:
    """Return whether an object is an array on a GPU; one that only DLPack can reach is too."""
    if isinstance(a, (np.ndarray, list, tuple, GpuArray)):
        return isinstance(a, GpuArray)
    if isinstance(answer := getattr(a, "is_cuda", None), bool):  # torch's; the interface of others than these raises
        return answer
    if hasattr(a, "__cuda_array_interface__"):
        return True
    try:
        return int(a.__dlpack_device__()[0]) in (2, 13)
    except Exception:  # it has none, or does not know
        return False


def gpu_array(a: Any, name: str) -> GpuArray:
    """Return the view of an array on a GPU; raise TypeError where it cannot be read from here."""
    if isinstance(a, GpuArray):
        return a
    if getattr(a, "requires_grad", False):
        a = a.detach()
    if not hasattr(a, "__cuda_array_interface__"):
        raise TypeError(
            f"{name} must have __cuda_array_interface__, as arrays of torch, CuPy, JAX and Numba do, got "
            f"{type(a).__module__}'s {type(a).__name__}; pass torch.from_dlpack({name}) or cupy.from_dlpack({name})"
        )
    return GpuArray(a, name)
