"""Predictions on the device, for rows that are there."""

import numpy as np

from normkit.engine.cuda.passes import Passes
from normkit.engine.plan import Settings
from normkit.kernels.cuda import launch_training as training
from normkit.math.losses import CODES

CHUNK = 4096


def layout_of(network, plan=None):
    """Return all that is built into the launches of a network's passes, to be compared."""
    return network.dtype, network.output, network.norm_epsilon, *(tuple(v.tolist()) for v in plan or network.plan)


class Predictor:
    """The forward pass in chunks of rows, and the outputs of the last block or of a hidden one."""

    def __init__(self, rows, network, plan, block, count):
        self._rows, self._key = rows, self._key_of(network, plan, block)
        self._block, self._chunk = block, min(CHUNK, max(count, 1))
        settings = Settings(False, CODES[network.output], norm_epsilon=network.norm_epsilon)
        device = rows.device
        self._passes = Passes(device, network, plan or network.plan, settings, (self._chunk,))
        self._steps = device.put(np.zeros((1, 2), np.int64))
        self._order = device.allocate(8 * self._chunk)
        self._passes.steps_pointer = self._steps.pointer

    @staticmethod
    def _key_of(network, plan, block):
        return layout_of(network, plan), block

    def fits(self, network, plan, block, count):
        """Return whether this is made for such a network, and for so many rows, or chunks of them."""
        return self._key == self._key_of(network, plan, block) and self._chunk >= min(CHUNK, count)

    def run(self, network, order):
        """Return the outputs of rows[order], with the parameters that the network has now."""
        passes, rows, device = self._passes, self._rows, self._rows.device
        last = passes.last if self._block is None else self._block
        passes.load(network)
        result = np.empty((len(order), passes.sizes[last]), network.dtype)
        order = np.ascontiguousarray(order, np.int64)
        for start in range(0, len(order), self._chunk):
            part = order[start : start + self._chunk]
            n = len(part)
            device.upload(part, self._order.pointer)
            training.gather(
                passes.place, rows.pointer, rows.source, rows.scale, self._order.pointer, 0, 0, 0, passes.rows, n
            )
            passes.forward(n, self._block)
            out = passes.z
            if self._block is None:
                bias = passes.parameter("bias", last)
                training.predict(passes.place, passes.settings.loss, out, bias, out, n, passes.sizes[last])
            else:
                out = passes.blocks[last].out
            device.download(out, result[start : start + n])
        return result
