"""A memory with addresses for the simulator: what a pointer is to the kernels, with a check at each access."""

import threading
from collections import deque

import ml_dtypes
import numpy as np
from greenlet import getcurrent, greenlet
from numba import cuda
from numba.cuda.simulator import kernel

from normkit.kernels.cuda.variants import KERNELS, make

DTYPES = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}


class Pointer:
    """The rest of an allocation from an address on; reading or writing outside raises, as does a negative index."""

    def __init__(self, values):
        self.values = values

    def _checked(self, i):
        if not 0 <= i < len(self.values):
            raise IndexError(f"index {i} of memory for {len(self.values)}")
        return i

    def __getitem__(self, i):
        return self.values[self._checked(i)]

    def __setitem__(self, i, value):
        self.values[self._checked(i)] = value


class Memory:
    """Allocations, 16-byte aligned unless asked for otherwise, and kernels that run on them."""

    def __init__(self):
        self._allocations = {}
        self._next = 4096
        self.launched = []

    def _allocate(self, size, offset):
        # filled with NaN: nothing may rest on what was there before
        start = self._next + offset
        self._next += (size + offset + 64) // 64 * 64
        self._allocations[start] = np.full(size, 0xFF, np.uint8)
        return start

    def empty(self, size):
        """Return the address of `size` bytes."""
        return self._allocate(size, 0)

    def put(self, a, dtype, offset=0):
        """Return the address of a copy of an array, in a dtype, `offset` bytes past a multiple of 16."""
        data = np.ascontiguousarray(np.asarray(a).astype(DTYPES[dtype])).reshape(-1).view(np.uint8)
        start = self._allocate(data.size, offset)
        self._allocations[start][:] = data
        return start

    def like(self, a, dtype, offset=0):
        """Return the address of memory for such an array."""
        return self._allocate(np.asarray(a).size * DTYPES[dtype].itemsize, offset)

    def get(self, address, shape, dtype):
        """Return an array, as float64."""
        return self._allocations[address].view(DTYPES[dtype]).reshape(shape).astype(np.float64)

    def _pointer(self, address, dtype):
        if address == 0:
            return Pointer(np.empty(0))
        start = max(start for start in self._allocations if start <= address)
        data = self._allocations[start][address - start :]
        return Pointer(data[: data.size // dtype.itemsize * dtype.itemsize].view(dtype))

    def enqueue(self, name, norm, grid, arguments, device, stream):
        """Stand in for `library.enqueue`."""
        bits = {2: np.dtype(np.uint16)}
        real = np.float64 if norm.dtype == "float64" else np.float32
        values, parameters = (DTYPES.get(dtype) or np.dtype(dtype) for dtype in (norm.dtype, norm.parameters))
        kinds = {
            "x": bits.get(values.itemsize, values),
            "p": bits.get(parameters.itemsize, parameters),
            "a": np.dtype(real),
            "k": np.dtype(np.int64),
            "d": np.dtype(np.float64),
        }
        scalars = {"i": int, "r": real, "f": np.float64}
        converted = [
            scalars[kind](a) if kind in scalars else self._pointer(a, kinds[kind])
            for kind, a in zip(KERNELS[name], arguments, strict=True)
        ]
        self.launched.append((name, norm, grid))
        cuda.jit(make(name, norm, device.capability))[grid, norm.block](*converted)


class TakingTurns(kernel.BlockManager):
    """A block whose threads take turns: each runs to where it meets others, its block's or its team's.

    Those that have met go on in the opposite order, so that what one reads of another without having met it is once
    too old or once too new. All threads must come to every barrier, which the simulator's own blocks let them miss by
    ending.
    """

    def run(self, grid_point, *arguments):
        current = threading.current_thread()  # the simulator asks it where it is
        current.blockIdx = kernel.Dim3(*grid_point)
        points = list(np.ndindex(*self._block_dim))
        current.syncthreads = lambda: _meet("barrier", len(points))
        turns = deque((greenlet(self._f), kernel.Dim3(*point), arguments) for point in points)
        meetings = {}
        while turns:
            thread, current.threadIdx, sent = turns.popleft()
            met = thread.switch(*sent)
            if thread.dead:
                continue
            place, size, value = met
            there = meetings.setdefault((place, size), [])
            there.append((thread, current.threadIdx, value))
            if len(there) == size:
                values = [value for _, point, value in sorted(there, key=lambda one: one[1].x)]
                turns.extend((thread, point, (values,)) for thread, point, _ in reversed(meetings.pop((place, size))))
        assert not meetings, f"threads wait for others of their block or their team: {meetings}"


def _meet(place, size, value=None):
    """Wait until so many threads are at a place; returns the values of all."""
    return getcurrent().parent.switch((place, size, value))


def gather(value, width):
    """Stand in for that of `normkit.kernels.cuda.device`, whose threads run at once."""
    team, lane = divmod(threading.current_thread().threadIdx.x, width)
    return lane, _meet(team, width, value)
