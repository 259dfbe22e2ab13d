"""How a fitted model leaves the process: files, pickles, and models of other libraries."""

import warnings

from sklearn.exceptions import InconsistentVersionWarning

from normkit._version import __version__
from normkit.estimators import _persistence
from normkit.estimators._fitting import FittingMLP

_STAMP = "_normkit_version"

TRUSTED_TYPES = [
    "normkit.engine.network.Network",
    "normkit.engine.norms.Moving",
    "normkit.engine.plan.Plan",
    "normkit.engine.plan.Settings",
    "normkit.engine.trainer.Trainer",
    "normkit.estimators.classifier.MLPClassifier",
    "normkit.estimators.regressor.MLPRegressor",
    "numpy.dtype",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
]
"""What skops is to trust to load a model: ``skops.io.load(file, trusted=normkit.TRUSTED_TYPES)``."""


class PickleVersionWarning(InconsistentVersionWarning):
    """A pickle comes from another release of normkit, whose numbers it may not give, if it works at all."""

    def __init__(self, estimator_name, current, original):
        super().__init__(
            estimator_name=estimator_name, current_sklearn_version=current, original_sklearn_version=original
        )  # fmt: skip
        self.current, self.original = current, original

    def __str__(self):
        return (
            f"this pickle of {self.estimator_name} was made by normkit {self.original} and is read by normkit "
            f"{self.current}: it may fail or give other numbers. Files of save() are read by later releases."
        )


class ExportingMLP(FittingMLP):
    """Mixin with `save` and what else takes a fitted model elsewhere."""

    def save(self, path, *, include_optimizer=True, metadata=None):
        """Write the fitted model to one file, from which `normkit.load` makes it again without running code.

        The file is in safetensors' format: arrays, and parameters and fitted attributes as JSON. It is there whole
        or not at all. What is code is not saved: `epoch_callback`, `set_callbacks`, metadata routing and the output
        format of `set_output`.

        Parameters
        ----------
        path : str or path-like
            By custom it ends in ".safetensors".
        include_optimizer : bool, default=True
            Whether to save the moments of the optimizer, with which `partial_fit` goes on as if nothing had been.
            They are one to two times the size of the weights.
        metadata : object, default=None
            Anything that JSON can hold, to be kept with the model: what the data was, say.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted yet.
        TypeError
            If the model is of a subclass, or a parameter or label is neither a plain value nor an array.
        ValueError
            If `metadata` cannot be JSON.
        OSError
            If the file cannot be written.

        See Also
        --------
        normkit.load : Make the model again.
        """
        _persistence.save(self, path, include_optimizer, metadata)

    def __getstate__(self):
        return {**super().__getstate__(), _STAMP: __version__}

    def __setstate__(self, state):
        state = dict(state)
        version = state.pop(_STAMP, "0.1.0 or before")
        if version != __version__:
            warnings.warn(PickleVersionWarning(type(self).__name__, __version__, version), stacklevel=2)
        super().__setstate__(state)
