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
    kind : {"BatchNormalization", "LayerNormalization"}
        Keras' name of the layer.
    gamma, beta : ndarray of shape (units,) or None
        Scale and shift, trainable; None where the layer was told not to have them.
    moving_mean, moving_variance : ndarray of shape (units,) or None
        Statistics for prediction, not trainable; None for LayerNormalization, which needs none.
    """

    name: str
    kind: str
    gamma: np.ndarray | None
    beta: np.ndarray | None
    moving_mean: np.ndarray | None
    moving_variance: np.ndarray | None

    @property
    def trainable_variables(self) -> dict[str, np.ndarray]:
        """The arrays that training updates by gradient."""
        named = {"gamma": self.gamma, "beta": self.beta}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def non_trainable_variables(self) -> dict[str, np.ndarray]:
        """The arrays that training updates by averaging."""
        named = {"moving_mean": self.moving_mean, "moving_variance": self.moving_variance}
        return {name: value for name, value in named.items() if value is not None}
