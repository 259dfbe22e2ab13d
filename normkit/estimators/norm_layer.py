"""What a fitted norm layer shows of itself."""

from dataclasses import dataclass

import numpy as np


@dataclass
class NormLayer:
    """A norm layer of a fitted model; its arrays are views of the model's parameters.

    Attributes
    ----------
    name : str
        For example "batch_normalization_1".
    kind : {"BatchNormalization", "LayerNormalization", "RMSNormalization", "GroupNormalization", "DynamicTanh"}
        Keras' name of the layer, where it has one. BatchNormalization also with virtual batches or renormalization.
    gamma, beta : ndarray of shape (units,) or None
        Scale and shift, trainable; None where the layer was told not to have them, or its kind has no shift.
    moving_mean, moving_variance : ndarray of shape (units,) or None
        Statistics for prediction, not trainable; None for kinds that need none.
    alpha : ndarray of shape () or None
        Factor of the input of a DynamicTanh, trainable.
    """

    name: str
    kind: str
    gamma: np.ndarray | None
    beta: np.ndarray | None
    moving_mean: np.ndarray | None
    moving_variance: np.ndarray | None
    alpha: np.ndarray | None = None

    @property
    def trainable_variables(self) -> dict[str, np.ndarray]:
        """The arrays that training updates by gradient, unless ``freeze_norm=True``."""
        named = {"gamma": self.gamma, "beta": self.beta, "alpha": self.alpha}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def non_trainable_variables(self) -> dict[str, np.ndarray]:
        """The arrays that training updates by averaging."""
        named = {"moving_mean": self.moving_mean, "moving_variance": self.moving_variance}
        return {name: value for name, value in named.items() if value is not None}
