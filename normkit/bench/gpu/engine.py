"""normkit's own engine in the training section: what `MLPClassifier(device="cuda")` runs, epoch by epoch.

Without a device, in a dry run, the CPU's engine takes its place.
"""

import numpy as np

from normkit.engine.network import Network
from normkit.engine.rows import rows_of
from normkit.engine.trainer import Trainer

NORMS = {"batch_norm": "batch", "layer_norm": "layer"}
# Steps of an epoch that is timed: what goes to the device and comes back once an epoch counts, as it does in training
STEPS = 800


def settings(learning_rate, momentum=0.99):
    """Return the trainer's settings: Adam as torch has it by default."""
    return {
        "learning_rate": learning_rate, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "norm_momentum": momentum,
        "virtual_batch_size": 32, "train_alpha": True,
    }  # fmt: skip


def trainer_and_rows(network, X, device, **options):
    """Return a trainer of the network and the rows of X, an array of the device, and what keeps them."""
    if device == "cpu":
        X = np.asarray(X)
        return Trainer(network, "adam", **options), *rows_of(X)
    from normkit.engine.cuda.arrays import gpu_array, is_on_gpu
    from normkit.engine.cuda.rows import DeviceRows
    from normkit.engine.cuda.trainer import CudaTrainer

    rows = DeviceRows(gpu_array(X, "X") if is_on_gpu(X) else np.asarray(X))
    return CudaTrainer(network, "adam", **options), rows, rows


class Engine:
    """The network of the section with the initial weights of torch's `model`; `train(order)` takes its batches."""

    def __init__(self, model, norm, sizes, X, y, epsilon, learning_rate, momentum, device):
        hidden = len(sizes) - 2
        self.network = Network(
            sizes, "float32", "softmax", ["elu"] * hidden, [0.0] * hidden, NORMS[norm], "before", False, epsilon
        )
        dense = [layer for layer in model if hasattr(layer, "in_features")]
        kernels = [layer.weight.detach().cpu().numpy().T for layer in dense]
        biases = [np.zeros(size) if layer.bias is None else layer.bias.detach().cpu().numpy()
                  for layer, size in zip(dense, sizes[1:])]  # fmt: skip
        self.network.set_dense(kernels, biases)
        for b in self.network.norm_blocks():
            self.network.vector("gamma", b)[...] = 1
        self.trainer, self.rows, self._owner = trainer_and_rows(
            self.network, X, device, **settings(learning_rate, 1 - momentum)
        )
        self.y = y.cpu().numpy().astype(np.float32)[:, None]

    def train(self, order):
        """Train on batches, (batches, size); returns the mean loss, the device's work being done."""
        edges = np.arange(len(order) + 1) * order.shape[1]
        return self.trainer.run(self.rows, self.y, None, order.ravel(), edges)


def compare(norm, position, device, dtype="float64", rows=96, batch=20, epochs=3):
    """Return by how much the parameters differ from the CPU's engine's after some epochs, relatively."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(0, 1, (rows, 30)).astype(dtype), rng.integers(0, 5, (rows, 1)).astype(dtype)
    weight, found = (rng.random(rows) + 0.1).astype(dtype), []
    edges = np.append(np.arange(0, rows, batch), rows)
    for place in (device, "cpu"):
        rng = np.random.default_rng(1)
        network = Network(
            [30, 24, 16, 5], dtype, "softmax", ["gelu", "elu"], [0.2, 0.0], norm, position, False, 1e-3, 4
        )
        network.params[...] = rng.normal(0, 0.3, network.params.size)
        options = {**settings(1e-2), "alpha": 1e-3, "seed": 5}
        trainer, on_device, owner = trainer_and_rows(network, X, place, **options)
        for _ in range(epochs):
            trainer.run(on_device, y, weight, rng.permutation(rows), edges)
        del owner
        found.append(np.concatenate([network.params, network.statistics.mean, network.statistics.var]))
    return float(np.abs(found[0] - found[1]).max() / np.abs(found[1]).max())
