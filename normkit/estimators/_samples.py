"""What the engine reads of a data set."""

import numpy as np

from normkit.estimators._device import rows_for


class Samples:
    """Rows of X where they lie, with their labels as given, targets as the loss reads them, and weights.

    `weight` is what training uses, with the weights of the classes; `sample_weight` is what the user gave, by which
    scores are taken.
    """

    def __init__(self, model, X, labels, targets, weight, sample_weight):
        dtype = model._network.dtype
        self.X, self.labels, self.sample_weight = X, labels, sample_weight
        self.metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        self.rows, self._owner = rows_for(X, model.input_scale, model.device)
        # a read-only array would be another type to the compiler, and compile the engine anew
        self.targets = np.require(targets, dtype, ["C", "W"])
        self.weight = None if weight is None else np.require(weight, dtype, ["C", "W"])

    def sample_weight_of(self, indices):
        """Return the user's weights of some rows, None without weights."""
        return None if self.sample_weight is None else self.sample_weight[indices]
