"""How a fitted model leaves the process: files, pickles, and models of other libraries."""

import os
import warnings
from typing import Any

from sklearn.exceptions import InconsistentVersionWarning
from sklearn.utils.validation import check_is_fitted

from normkit._version import __version__
from normkit.estimators import _folding, _onnx, _persistence
from normkit.estimators._fitting import FittingMLP

_STAMP = "_normkit_version"

TRUSTED_TYPES = [
    "normkit.engine.network.Network",
    "normkit.engine.norms.Moving",
    "normkit.engine.plan.Plan",
    "normkit.engine.plan.Settings",
    "normkit.engine.cuda.trainer.CudaTrainer",
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

    def save(self, path: str | os.PathLike, *, include_optimizer: bool = True, metadata: Any = None) -> None:
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
            If `metadata` cannot be JSON, or a parameter was set to what it must not be.
        OSError
            If the file cannot be written.

        See Also
        --------
        normkit.load : Make the model again.
        """
        _persistence.save(self, path, include_optimizer, metadata)

    def fold_norm(self) -> Any:
        """Return a scikit-learn model without norms that predicts the same.

        At inference "batch", "ghost" and "renorm" are ``scale * x + shift`` with constants, which the dense layer
        before them takes up, or after them where an activation stands between. `input_scale` goes into the first
        layer.

        Returns
        -------
        sklearn.neural_network.MLPClassifier or sklearn.neural_network.MLPRegressor
            Fitted, with the shared parameters and fitted attributes copied. It predicts the same numbers to rounding;
            trained on, it goes on without norms.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted yet.
        ValueError
            If a norm depends on the sample, or scikit-learn has no such activation, or not one a layer.

        Examples
        --------
        >>> import numpy as np, normkit
        >>> X = np.random.default_rng(0).normal(size=(40, 3))
        >>> model = normkit.MLPRegressor(hidden_layer_sizes=(4,), normalization="batch", solver="lbfgs")
        >>> _ = model.fit(X, X[:, 0])
        >>> plain = model.fold_norm()
        >>> type(plain).__module__.split(".")[0], bool(np.allclose(plain.predict(X), model.predict(X)))
        ('sklearn', True)
        """
        check_is_fitted(self)
        return _folding.fold_norm(self)

    def to_onnx(self, *, fold_norm: bool = False, input_dtype: str | None = None) -> Any:
        """Return the fitted model as an ONNX model.

        Input "X" of shape (samples, features); outputs "label" and "probabilities" of a classifier, shaped as `predict`
        and `predict_proba` return them, "prediction" of a regressor. Arithmetic is in the model's precision, of the
        exact gelu in float32. Needs the package onnx: ``pip install "normkit[onnx]"``.

        Parameters
        ----------
        fold_norm : bool, default=False
            Whether norms with moving statistics go into the weights; otherwise they are BatchNormalization nodes, and
            the others what opset 17 has for them.
        input_dtype : {None, "float32", "float64", "uint8"}, default=None
            Type of "X", None: the model's. Others than that are cast to it, as `predict` does.

        Returns
        -------
        onnx.ModelProto
            Checked; ``onnx.save(model.to_onnx(), path)`` writes it.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted yet.
        ImportError
            If onnx is not installed.
        ValueError
            If norms are to be folded that depend on the sample, or the labels have no type in ONNX.
        """
        check_is_fitted(self)
        return _onnx.to_onnx(self, fold_norm, input_dtype)

    def __getstate__(self):
        return {**super().__getstate__(), _STAMP: __version__}

    def __setstate__(self, state):
        state = dict(state)
        version = state.pop(_STAMP, "0.1.0 or before")
        if version != __version__:
            warnings.warn(PickleVersionWarning(type(self).__name__, __version__, version), stacklevel=2)
        super().__setstate__(state)
