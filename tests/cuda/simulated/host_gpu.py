"""A device in the simulator: the memory of `memory.Memory`, products by NumPy, and steps that are recorded.

While a step is recorded nothing runs, as on a GPU: what it enqueues is kept with its arguments, and runs when the
recording is replayed.
"""

import numpy as np

from normkit.engine.cuda.device import Buffer, Graph
from normkit.kernels.cuda import driver


class HostGpu:
    """In the place of `normkit.engine.cuda.device.Device`."""

    info, stream = driver.Device(0, (9, 0), 1), 11

    def __init__(self, memory):
        self.memory, self.depth = memory, 0
        self.recording, self.log = None, []

    def __enter__(self):
        self.depth += 1
        return self

    def __exit__(self, *error):
        self.depth -= 1

    def do(self, name, work):
        """Do some work now, or when the recording is replayed."""
        assert self.depth > 0, "the device's context must be current"
        if self.recording is not None:
            self.recording.append((name, work))
            return
        self.log.append(name)
        work()

    def waiting(self, name):
        assert self.depth > 0 and self.recording is None, f"{name} while a step is recorded"
        self.log.append(name)

    def enqueue(self, name, norm, grid, arguments, device, stream):
        assert stream == self.stream and device == self.info
        self.do(name, lambda: self.memory.enqueue(name, norm, grid, arguments, device, stream))

    def allocate(self, size):
        self.waiting("allocate")
        pointer = self.memory.empty(max(int(size), 1))
        self.memory._allocations[pointer][:] = 0
        return Buffer(pointer, int(size), self.memory._allocations.pop)

    def bytes_at(self, pointer, size):
        return self.memory._pointer(pointer, np.dtype(np.uint8)).values[:size]

    def upload(self, array, pointer):
        self.waiting("upload")
        assert array.flags.c_contiguous
        self.bytes_at(pointer, array.nbytes)[:] = array.reshape(-1).view(np.uint8)

    def download(self, pointer, array):
        self.waiting("download")
        assert array.flags.c_contiguous
        array.reshape(-1).view(np.uint8)[:] = self.bytes_at(pointer, array.nbytes)

    def put(self, array):
        array = np.ascontiguousarray(array)
        buffer = self.allocate(array.nbytes)
        self.upload(array, buffer.pointer)
        return buffer

    def wait_for_others(self):
        self.waiting("wait for others")

    def matrix(self, dtype, pointer, rows, columns, row_length):
        values = self.memory._pointer(pointer, np.dtype(dtype)).values
        assert len(values) >= (rows - 1) * row_length + columns
        return np.lib.stride_tricks.as_strided(
            values, (rows, columns), (row_length * values.itemsize, values.itemsize)
        )  # fmt: skip

    def gemm(self, dtype, transpose_a, transpose_b, m, n, k, a, lda, b, ldb, c, ldc):
        def work():
            left = self.matrix(dtype, a, k, m, lda).T if transpose_a else self.matrix(dtype, a, m, k, lda)
            right = self.matrix(dtype, b, n, k, ldb).T if transpose_b else self.matrix(dtype, b, k, n, ldb)
            self.matrix(dtype, c, m, n, ldc)[...] = left @ right

        self.do("gemm", work)

    def capture(self, function):
        self.log.append("capture")
        self.recording = []
        try:
            function()
            return Graph(self.recording, lambda work: None)
        finally:
            self.recording = None

    def replay(self, graph):
        assert self.depth > 0
        self.log.append("replay")
        for name, work in graph.handle:
            self.log.append(name)
            work()


class GpuArrayOfTests:
    """An array of some library, in the memory of the simulator's device; its elements cannot be read from the host.

    `a` may be a view with gaps of its base, which is copied with them.
    """

    def __init__(self, gpu, a):
        base = a if a.base is None else a.base
        with gpu:
            self._buffer = gpu.put(base.ravel(order="K"))
        self.shape, self.dtype = a.shape, a.dtype
        offset = a.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        self.__cuda_array_interface__ = {
            "shape": a.shape, "typestr": a.dtype.str, "version": 3, "data": (self._buffer.pointer + offset, False),
            "strides": None if a.flags.c_contiguous else a.strides,
        }  # fmt: skip

    def __array__(self, *arguments, **options):
        raise TypeError("this would copy the array to the host")

    __dlpack__ = __array__
