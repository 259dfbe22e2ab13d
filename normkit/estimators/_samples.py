"""What the engine reads of a data set."""

import numpy as np

from normkit.engine.rows import rows_of


class Samples:
    """Rows of X where they lie, with their labels as given, targets as the loss reads them, and weights."""

    def __init__(self, model, X, labels, targets, weight, metadata=None):
        dtype = model._network.dtype
        self.X, self.labels, self.metadata = X, labels, metadata or {}
        self.rows, self._owner = rows_of(X, model.input_scale)
        self.targets = np.ascontiguousarray(targets, dtype)
        self.weight = None if weight is None else np.ascontiguousarray(weight, dtype)

    def weight_of(self, indices):
        """Return the weights of some rows, None without weights."""
        return None if self.weight is None else self.weight[indices]
