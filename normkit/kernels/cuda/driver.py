"""The CUDA driver: the current device, loading machine code, launching kernels. Imports nothing before the first use.

The context of the array's device must be current in the calling thread, as it is where its library has just made or
used the array; a thread that has no context yet is on device 0, as for CUDA's runtime. Nothing here waits for the
device.
"""

import ctypes
import functools
from typing import Any, NamedTuple

INSTALL = "pip install 'normkit[cuda]'"
OLDEST = (7, 5)
_TYPES = {**dict.fromkeys("xpakd", ctypes.c_void_p), "i": ctypes.c_int64, "f": ctypes.c_double}


class CudaUnavailableError(RuntimeError):
    """What the CUDA kernels need is not there; the message says what to install."""


class Device(NamedTuple):
    """A device: its number, compute capability and number of multiprocessors."""

    number: int
    capability: tuple[int, int]
    multiprocessors: int


@functools.cache
def bindings() -> Any:
    """Return the driver's bindings, with the driver initialized; raise CudaUnavailableError where one is missing."""
    try:
        import numba_cuda  # type: ignore # noqa: F401
        from cuda.bindings import driver  # type: ignore
    except ImportError as error:
        raise CudaUnavailableError(f"the GPU needs numba-cuda and CUDA's compiler, got {error!r}: {INSTALL}") from error
    try:
        _check(driver.cuInit(0), driver)
    except RuntimeError as error:
        raise CudaUnavailableError(
            f"this needs an NVIDIA GPU and its driver for CUDA 13 (version 580 or later), got {error}: "
            "install the driver, and see that nvidia-smi lists the GPU"
        ) from error
    return driver


def _check(result, driver):
    status, *values = result
    if status != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"the CUDA driver returned {status.name}")
    return values[0] if values else None


def call(name: str, *arguments: Any) -> Any:
    """Call a function of the driver's; return its result, raise RuntimeError with the name of its status."""
    driver = bindings()
    return _check(getattr(driver, name)(*arguments), driver)


def current_device() -> Device:
    """Return the device whose context is current; raise CudaUnavailableError where kernels cannot run on it."""
    driver = bindings()
    result = driver.cuCtxGetDevice()
    if result[0] == driver.CUresult.CUDA_ERROR_INVALID_CONTEXT:  # of torch's threads for gradients, say
        call("cuCtxSetCurrent", call("cuDevicePrimaryCtxRetain", 0))
        result = driver.cuCtxGetDevice()
    return _device(int(_check(result, driver)))


@functools.cache
def _device(number):
    attribute = bindings().CUdevice_attribute
    major, minor, multiprocessors = (
        call("cuDeviceGetAttribute", kind, number)
        for kind in (
            attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
        )
    )
    if (major, minor) < OLDEST:
        raise CudaUnavailableError(
            f"the GPU must have compute capability {OLDEST[0]}.{OLDEST[1]} or later (Turing, 2018), "
            f"got {major}.{minor}: move the arrays to the CPU or to a newer GPU"
        )
    return Device(number, (major, minor), multiprocessors)


def load(code: bytes, name: str) -> Any:
    """Return a kernel from machine code, in the current context, in which it stays loaded."""
    return call("cuModuleGetFunction", call("cuModuleLoadData", code), name.encode())


def argument_types(kinds: str, dtype: str) -> tuple:
    """Return the C types of a kernel's arguments from its letters in `variants.KERNELS`."""
    real = ctypes.c_double if dtype == "float64" else ctypes.c_float
    return tuple(_TYPES.get(kind, real) for kind in kinds)


def launch(kernel: Any, grid: tuple, block: int, arguments: tuple, types: tuple, stream: int) -> None:
    """Enqueue a kernel on a stream, given by its handle."""
    call("cuLaunchKernel", kernel, *grid, block, 1, 1, 0, stream, (arguments, types), 0)
