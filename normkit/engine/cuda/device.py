"""A GPU as training sees it: memory, products of matrices, and steps that are recorded once and replayed.

Everything is enqueued on one stream of the device; only `upload`, `download` and `synchronize` wait for it. What runs
within ``with device:`` finds the device's context current, as the launches of kernels need it, and has the stream for
itself: what another thread enqueued would become part of a recording.
"""

import contextlib
import functools
import threading
import weakref

import numpy as np

from normkit.engine.cuda.blas import WORKSPACE, Blas
from normkit.kernels.cuda import driver


class Buffer:
    """Memory of a device, given back with the last reference; `pointer` is its address."""

    def __init__(self, pointer, size, free):
        self.pointer, self.size = pointer, size
        weakref.finalize(self, free, pointer).atexit = False


class Graph:
    """A recorded sequence of launches."""

    def __init__(self, handle, destroy):
        self.handle = handle
        weakref.finalize(self, destroy, handle).atexit = False


class Device:
    """An NVIDIA GPU, by its number."""

    def __init__(self, number):
        self._context = driver.call("cuDevicePrimaryCtxRetain", number)
        self._lock = threading.RLock()
        self._recording, self._late = False, []
        with self:
            self.info = driver.current_device()
            non_blocking = 1
            self._stream = driver.call("cuStreamCreate", non_blocking)
            self.stream = int(self._stream)
            self._workspace = self.allocate(WORKSPACE)
            self._blas = Blas(self.stream, self._workspace.pointer)

    def __enter__(self):
        self._lock.acquire()
        try:
            driver.call("cuCtxPushCurrent", self._context)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *error):
        try:
            driver.call("cuCtxPopCurrent")
        finally:
            self._lock.release()

    def _give_back(self, name, handle):
        """Call a function that frees something; garbage may be collected at any time, also while a step is recorded."""
        if self._recording:  # to free memory would end it
            self._late.append((name, handle))
            return
        # an error that an earlier launch left comes up anywhere; it was told where it was waited for
        with contextlib.suppress(RuntimeError):
            driver.call("cuCtxPushCurrent", self._context)
            try:
                driver.call(name, handle)
            finally:
                driver.call("cuCtxPopCurrent")

    def _free(self, pointer):
        self._give_back("cuMemFree", pointer)

    def _destroy(self, handle):
        self._give_back("cuGraphExecDestroy", handle)

    def allocate(self, size):
        """Return a Buffer of so many bytes, filled with zeros."""
        try:
            pointer = int(driver.call("cuMemAlloc", max(int(size), 1)))
        except RuntimeError as error:
            raise MemoryError(f"the GPU has no {size} bytes of memory left: {error}") from error
        driver.call("cuMemsetD8Async", pointer, 0, max(int(size), 1), self._stream)
        return Buffer(pointer, int(size), self._free)

    def upload(self, array, pointer):
        """Copy a contiguous array to an address."""
        assert array.flags.c_contiguous
        if array.nbytes:
            driver.call("cuMemcpyHtoDAsync", pointer, array.ctypes.data, array.nbytes, self._stream)
            self.synchronize()  # the array may go

    def download(self, pointer, array):
        """Fill a contiguous array from an address, after all that was enqueued."""
        assert array.flags.c_contiguous and array.flags.writeable
        if array.nbytes:
            driver.call("cuMemcpyDtoHAsync", array.ctypes.data, pointer, array.nbytes, self._stream)
        self.synchronize()

    def put(self, array):
        """Return a Buffer with a copy of an array."""
        array = np.ascontiguousarray(array)
        buffer = self.allocate(array.nbytes)
        self.upload(array, buffer.pointer)
        return buffer

    def gemm(self, dtype, transpose_a, transpose_b, m, n, k, a, lda, b, ldb, c, ldc):
        """Row-major C (m, n) = op(A) (m, k) @ op(B) (k, n), given as addresses and row lengths."""
        self._blas.gemm(dtype, transpose_a, transpose_b, m, n, k, a, lda, b, ldb, c, ldc)

    def capture(self, function):
        """Return a Graph of what `function` enqueues; nothing of it runs now."""
        graph = self._captured(function)
        try:
            handle = driver.call("cuGraphInstantiate", graph, 0)
        finally:
            driver.call("cuGraphDestroy", graph)
        return Graph(handle, self._destroy)

    def _captured(self, function):
        mode = driver.bindings().CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        driver.call("cuStreamBeginCapture", self._stream, mode)
        self._recording = True
        try:
            function()
        except BaseException:
            with contextlib.suppress(RuntimeError):  # what was recorded is of no use
                driver.call("cuStreamEndCapture", self._stream)
            raise
        else:
            return driver.call("cuStreamEndCapture", self._stream)
        finally:
            self._recording = False
            while self._late:
                self._give_back(*self._late.pop())

    def replay(self, graph):
        """Enqueue a Graph."""
        driver.call("cuGraphLaunch", graph.handle, self._stream)

    def synchronize(self):
        """Wait for all that was enqueued here."""
        driver.call("cuStreamSynchronize", self._stream)

    def wait_for_others(self):
        """Wait for all that other libraries have enqueued on the device."""
        driver.call("cuCtxSynchronize")


@functools.cache
def device(number: int) -> Device:
    """Return the device of a number; raise CudaUnavailableError where training cannot run on it."""
    return Device(number)


def current() -> Device:
    """Return the device whose context is current, device 0 where none is."""
    return device(driver.current_device().number)


def of_pointer(pointer: int) -> Device:
    """Return the device on which an address is."""
    driver.current_device()
    attribute = driver.bindings().CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    return device(int(driver.call("cuPointerGetAttribute", attribute, pointer)))
