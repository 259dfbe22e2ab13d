"""What every engine is given: the data, the network, the initial weights and the order of the rows."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

ARRAYS = ("X", "y", "X_test", "y_test")


@dataclass
class Problem:
    """One training task, the same for all engines."""

    X: ClassVar[Any]  # the arrays are no fields: they have files of their own
    y: ClassVar[Any]
    X_test: ClassVar[Any]
    y_test: ClassVar[Any]

    sizes: list[int]
    threads: int
    seed: int = 0
    learning_rate: float = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.999
    adam_epsilon: float = 1e-8
    norm_momentum: float = 0.99  # share kept, as Keras counts; torch's is one minus it
    norm_epsilon: float = 1e-3

    def load(self, folder):
        """Read the arrays into this process's own memory."""
        for name in ARRAYS:
            setattr(self, name, np.load(Path(folder) / f"{name}.npy"))
        return self

    def save(self, folder, X, y, X_test, y_test):
        """Write what `read` and `load` need."""
        arrays = X.astype(np.float32), y.astype(np.int64), X_test.astype(np.float32), y_test.astype(np.int64)
        for name, array in zip(ARRAYS, arrays):
            np.save(Path(folder) / f"{name}.npy", array)
        (Path(folder) / "problem.json").write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder):
        """Read a problem and its arrays."""
        return cls(**json.loads((Path(folder) / "problem.json").read_text())).load(folder)

    def kernels(self):
        """He-normal kernels of shape (inputs, outputs), the same draw for every engine."""
        rng = np.random.default_rng(self.seed)
        return [
            (rng.standard_normal((a, b)) * np.sqrt(2 / a)).astype(np.float32)
            for a, b in zip(self.sizes, self.sizes[1:])
        ]

    def order(self, epoch, batch_size, steps=None):
        """Rows of each batch, shape (steps, batch size); one epoch by default.

        An epoch is a permutation of the rows without the remainder that does not fill a batch: compiled
        engines then need one shape. More steps than an epoch has continue with the next permutation.
        """
        per_epoch = len(self.X) // batch_size
        if not per_epoch:
            raise ValueError(f"a batch of {batch_size} needs as many rows, the training set has {len(self.X)}")
        steps = per_epoch if steps is None else steps
        parts = []
        for part in range(-(-steps // per_epoch)):
            permutation = np.random.default_rng([self.seed, epoch, part]).permutation(len(self.X))
            parts.append(permutation[: per_epoch * batch_size].reshape(per_epoch, batch_size))
        return np.ascontiguousarray(np.concatenate(parts)[:steps])
