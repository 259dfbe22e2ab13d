"""Rows of X on the device: moved there once, or read where another library has them."""

import numpy as np

from normkit.engine.cuda import device as devices
from normkit.engine.cuda.arrays import GpuArray
from normkit.engine.cuda.predictor import Predictor
from normkit.kernels.cuda import launch_training


class DeviceRows:
    """Rows of X, in the place of `normkit.engine.rows.Rows`; `scale` is a factor of every value."""

    def __init__(self, X, scale=1.0):
        self.device = device = devices.of_pointer(X.pointer) if isinstance(X, GpuArray) else devices.current()
        with device:
            if isinstance(X, GpuArray):
                device.wait_for_others()
                self._owner, self.pointer = X.owner, X.pointer
            else:
                X = np.ascontiguousarray(X)
                self._owner = device.put(X)
                self.pointer = self._owner.pointer
        self.shape, self.scale = X.shape, float(scale)
        item = X.dtype.itemsize
        self.source = X.dtype.name, X.shape[1], X.strides[0] // item, X.strides[1] // item
        self._predictor = None

    def count_nonfinite(self):
        """Return how many values are NaN or infinite."""
        if self.source[0] == "uint8" or 0 in self.shape:
            return 0
        with self.device as device:
            counts = device.allocate(8 * launch_training.MOST_BLOCKS)
            blocks = launch_training.count_nonfinite(
                self.pointer, self.source, counts.pointer, self.shape[0], device.stream
            )
            found = np.empty(blocks, np.int64)
            device.download(counts.pointer, found)
        return int(found.sum())

    def predict(self, network, order, block=None, plan=None):
        """Return what `Network.predict` does, of rows on the device; `plan` may stand for the network's."""
        with self.device:
            if self._predictor is None or not self._predictor.fits(network, plan, block, len(order)):
                self._predictor = Predictor(self, network, plan, block, len(order))
            return self._predictor.run(network, order)


def download(a):
    """Return an array on the GPU as one of NumPy's, in memory of its own."""
    device = devices.of_pointer(a.pointer)
    with device:
        device.wait_for_others()
        if a.is_contiguous:
            host = np.empty(a.shape, a.dtype)
            device.download(a.pointer, host)
            return host
        # strides that are not negative: all of the memory that they reach, of which NumPy takes the elements
        if min(a.strides) < 0:
            raise ValueError(f"an array on the GPU must have no negative strides, got {a.strides}: copy it first")
        last = sum((size - 1) * stride for size, stride in zip(a.shape, a.strides))
        raw = np.empty(last + a.dtype.itemsize, np.uint8)
        device.download(a.pointer, raw)
    return np.ndarray(a.shape, a.dtype, raw, 0, a.strides).copy()
