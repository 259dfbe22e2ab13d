"""Training on the device: a step is recorded once for each size of batch, and replayed."""

from typing import Any

import numpy as np

from normkit._jit import entry
from normkit.engine import losses
from normkit.engine.cuda.passes import Passes
from normkit.engine.cuda.predictor import layout_of
from normkit.engine.optimizers import CODES, schedule_factor, step_size
from normkit.engine.trainer import Trainer
from normkit.kernels.cuda import launch_training as training
from normkit.kernels.cuda.launch_training import TABLE

# What an epoch hands to the steps in memory, so that a recorded step does not depend on it
_IN_TABLE = dict.fromkeys(("learning_rate", "alpha", "decay", "decoupled_decay", "warmup_steps", "cosine_steps"), 0.0)


@entry
def fill_table(settings, steps, totals, sizes, table):  # (batches, 2), three (batches,), (batches, 5)
    """Write what `launch_training` says of each step's row, with the numbers that the host's engine computes."""
    for k in range(totals.size):
        step = steps[k, 1]
        table[k, 0] = step_size(settings, step)
        table[k, 1] = settings.decay + settings.alpha / totals[k]
        table[k, 2] = 1.0 - settings.learning_rate * schedule_factor(settings, step) * settings.decoupled_decay
        table[k, 3] = sizes[k]
        table[k, 4] = totals[k]


class CudaTrainer(Trainer):
    """Optimizer state of a network, and its epochs, on a device.

    Between epochs the network of the host has the parameters and moving statistics. The optimizer's moments stay on the
    device until `release`; `first` and `second` are their copies from then, or from when the trainer was pickled.
    """

    _on_device: Any = None

    def _begin(self, network):
        super()._begin(network)
        self._on_device = None

    def release(self):
        """Give back the memory of the device; the moments come here."""
        if self._on_device is not None:
            self._on_device.save_moments(self)
            self._on_device = None

    def __getstate__(self):
        if self._on_device is not None:
            self._on_device.save_moments(self)
        return {**super().__getstate__(), "_on_device": None}

    def run(self, rows, Y, sample_weight, order, edges, n_threads=None, processes=None):
        """One epoch, as `Trainer.run`; `rows` is a `normkit.engine.cuda.rows.DeviceRows`."""
        if processes is not None:
            raise NotImplementedError("several processes train on the CPU alone")
        network = self.network
        self.settings = self.settings._replace(norm_epsilon=network.norm_epsilon, loss=losses.CODES[network.output])
        with rows.device:
            key = _Epochs.key_of(self, rows, Y, sample_weight, edges)
            if self._on_device is None or self._on_device.key != key:
                self.release()
                self._on_device = _Epochs(key, self, rows, Y, sample_weight, edges)
            self._on_device.passes.load(network)
            total = self._on_device.run(self.settings, self.steps, sample_weight, order, edges)
            self._on_device.passes.store(network)
        self.steps += len(edges) - 1
        return total / int(edges[-1] - edges[0])


class _Epochs:
    """Everything on the device that the epochs over one set of data share."""

    def __init__(self, key, trainer, rows, Y, sample_weight, edges):
        network, settings = trainer.network, trainer.settings
        self.key, self.rows, self.device = key, rows, rows.device
        self.data = Y, sample_weight  # the key has their ids
        device, sizes = self.device, sorted(set(np.diff(edges).tolist()))
        self.passes = Passes(device, network, network.plan, settings, sizes)
        put = device.put
        self.targets = put(Y)
        self.weight = None if sample_weight is None else put(sample_weight)
        batches, samples = len(edges) - 1, int(edges[-1])
        self.order, self.steps = device.allocate(8 * samples), device.allocate(16 * batches)
        self.table, self.loss = device.allocate(8 * TABLE * batches), device.allocate(8)
        self.passes.steps_pointer = self.steps.pointer
        self.kinds = put(self.passes.kinds())
        self.first = put(trainer.first)
        self.second = put(trainer.second)
        self.target_width = network.target_width
        self.losses = device.allocate(8 * training.loss_blocks(max(sizes)))
        self.blocks = training.update_blocks(self.passes.length, self.passes.dtype)
        self.squares = device.allocate(8 * self.blocks)
        self.optimizer = _optimizer(settings)
        self.graphs: dict = {}
        self.seen: set = set()

    @staticmethod
    def key_of(trainer, rows, Y, sample_weight, edges):
        """Return all that the recorded steps depend on."""
        built_in = trainer.settings._replace(**_IN_TABLE, small_product=0)
        sizes = tuple(sorted(set(np.diff(edges).tolist())))
        data = id(rows), id(Y), id(sample_weight), len(edges), int(edges[-1])
        return layout_of(trainer.network), built_in, sizes, data

    def save_moments(self, trainer):
        """Copy the optimizer's moments to the trainer."""
        with self.device as device:
            device.download(self.first.pointer, trainer.first)
            device.download(self.second.pointer, trainer.second)

    def run(self, settings, steps_before, sample_weight, order, edges):
        """Enqueue all steps; return the sum of the batches' losses, weighted by their sizes."""
        device, counts = self.device, np.diff(edges)
        totals = counts.astype(np.float64)
        if sample_weight is not None:
            weights = sample_weight[order[: edges[-1]]].astype(np.float64)
            totals = np.add.reduceat(weights, edges[:-1])
        present = np.flatnonzero(totals)  # a batch without weight is a batch without samples
        steps = np.column_stack((edges[:-1], steps_before + 1 + np.arange(len(counts))))[present].astype(np.int64)
        table = np.empty((len(present), TABLE))
        fill_table(settings, steps, totals[present], counts[present].astype(np.float64), table)
        for array, buffer in ((order[: edges[-1]], self.order), (steps, self.steps), (table, self.table)):
            device.upload(np.ascontiguousarray(array, np.float64 if array is table else np.int64), buffer.pointer)
        device.upload(np.zeros(1, np.int64), self.passes.counter)
        device.upload(np.zeros(1), self.loss.pointer)
        for n in counts[present].tolist():
            self._step(n)
        loss = np.empty(1)
        device.download(self.loss.pointer, loss)
        return float(loss[0])

    def _step(self, n):
        """Run a step; the first of its size loads what recording may not, the second is recorded."""
        if n in self.seen and n not in self.graphs:
            self.graphs[n] = self.device.capture(lambda: self._enqueue(n))
        if n in self.graphs:
            self.device.replay(self.graphs[n])
        else:
            self._enqueue(n)
            self.seen.add(n)

    def _enqueue(self, n):
        passes, rows = self.passes, self.rows
        place, outputs, table = passes.place, passes.sizes[-1], self.table.pointer
        weight = 0 if self.weight is None else self.weight.pointer
        order = self.order.pointer
        training.gather(
            place, rows.pointer, rows.source, rows.scale, order, weight, table, passes.share, passes.rows, n
        )
        passes.forward(n)
        training.loss(
            place, passes.settings.loss, passes.z, passes.parameter("bias", passes.last), self.targets.pointer,
            order, passes.share, passes.output_gradient(), self.losses.pointer, n, outputs,
            self.target_width,
        )  # fmt: skip
        passes.backward(n)
        training.update(
            place, self.optimizer, passes.params, passes.grads, self.first.pointer, self.second.pointer,
            self.kinds.pointer, table, self.squares.pointer, passes.length,
        )  # fmt: skip
        training.finish(
            place, self.losses.pointer, training.loss_blocks(n), self.squares.pointer, self.blocks, table,
            self.loss.pointer,
        )  # fmt: skip


def _optimizer(settings):
    if settings.optimizer == CODES["adam"]:
        betas = settings.beta_1, settings.beta_2
        return training.Optimizer(settings.optimizer, (*betas, 1 - betas[0], 1 - betas[1], settings.epsilon))
    mu = settings.momentum
    ahead, now = (mu, 1.0) if settings.nesterov else (1.0, 0.0)
    return training.Optimizer(settings.optimizer, (mu, ahead, now, 0.0, 0.0))
