"""What a fitted estimator holds: the network, and scikit-learn's attributes as views of it."""

import operator
import re
from typing import Any, Self, TextIO

import numpy as np
from sklearn.neural_network._multilayer_perceptron import BaseMultilayerPerceptron
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from normkit.engine import initializers
from normkit.engine.network import NORM_PARAMETERS, Network
from normkit.engine.rows import DTYPES
from normkit.estimators._device import check_gpu_rows, is_on_gpu, rows_for
from normkit.estimators._parameters import activations_of, dropouts_of, trained_norm_parameters
from normkit.estimators.norm_layer import NormLayer
from normkit.estimators.summary import format_summary

# before the last words of RMSNormalization, DynamicTanh
_LOWER = re.compile(r"(?<=[a-zA-Z])(?=[A-Z][a-z])")
_VIEWS = ("coefs_", "intercepts_", "norm_layers_", "_linked")
# of a network's signature, the parameters that have their effect when a model is fitted
NORM_LAYOUT = {"normalization": "normalization", "position": "norm_position", "normalize_input": "normalize_input",
               "groups": "norm_groups"}  # fmt: skip


class NetworkMLP(BaseMultilayerPerceptron):
    """scikit-learn's multilayer perceptron with its forward pass replaced by the engine's."""

    coefs_: list[np.ndarray]
    intercepts_: list[np.ndarray]
    norm_layers_: list[NormLayer]
    _network: Network
    _network_signature: dict
    _linked: list[np.ndarray]

    def _signature(self):
        """Everything that lays out another network."""
        single = {np.asarray(array).dtype for array in (*self.coefs_, *self.intercepts_)} == {np.dtype(np.float32)}
        sizes = [self.coefs_[0].shape[0], *(coef.shape[1] for coef in self.coefs_)]
        return {
            "sizes": sizes, "dtype": np.dtype(np.float32 if single else np.float64), "output": self.out_activation_,
            "normalization": self.normalization, "position": self.norm_position if self.normalization else "before",
            "normalize_input": bool(self.normalize_input),
            "groups": int(self.norm_groups) if self.normalization == "group" else 1,
        }  # fmt: skip

    def _link(self, new_norms=False, begin_norms=True):
        """Make the network follow the parameters, coefs_ and intercepts_, and make these two views of the network.

        Any of them may have been replaced by hand since the last time, as scikit-learn's users do. The network then
        takes them over and keeps its norms, those that it was fitted with, unless it is told to follow in these, too.
        A new network's norms begin with the parameters' first values, unless others are to be filled in.
        """
        old = getattr(self, "_network", None)
        signature = self._signature()
        if old is not None and not new_norms:
            signature |= {name: self._network_signature[name] for name in NORM_LAYOUT}
        layers = len(signature["sizes"]) - 2
        settings = activations_of(self, layers), dropouts_of(self, layers), float(self.norm_epsilon)
        if old is not None and self._network_signature == signature:
            old.configure(*settings)
            given = [*self.coefs_, *self.intercepts_]
            if len(given) == len(self._linked) and all(mine is known for mine, known in zip(given, self._linked)):
                return old
            network = old
        else:
            network = Network(**signature, activations=settings[0], dropouts=settings[1], norm_epsilon=settings[2])
            if begin_norms:
                self._begin_norms(network)
            if old is not None:
                network.take_norms(old)
        network.set_dense([np.array(coef) for coef in self.coefs_], [np.array(bias) for bias in self.intercepts_])
        self._network_signature, self._network = signature, network
        self._show_views()
        return network

    def _begin_norms(self, network):
        for b in network.norm_blocks():
            size = network.sizes[b]
            for values, name in (
                (network.vector("gamma", b), "norm_gamma_initializer"),
                (network.vector("beta", b), "norm_beta_initializer"),
                (network.moving(b)[0], "norm_moving_mean_initializer"),
                (network.moving(b)[1], "norm_moving_variance_initializer"),
            ):
                if values is not None:
                    values[...] = initializers.vector(getattr(self, name), size, name)
                    if name == "norm_moving_variance_initializer" and values.min() < 0:
                        raise ValueError(f"{name} must not be negative, got {getattr(self, name)!r}")
            for name, kept, value in (("gamma", self.norm_scale, 1), ("beta", self.norm_center, 0)):
                values = network.vector(name, b)
                if values is not None and not kept:
                    values[...] = value
            alpha = network.vector("alpha", b)
            if alpha is not None:
                alpha[...] = initializers.vector(self.dyt_alpha, 1, "dyt_alpha")

    def _show_views(self):
        network = self._network
        layers = range(1, len(network.sizes))
        self.coefs_ = [network.weight(b).T for b in layers]
        biases = [network.vector("bias", b) for b in layers]
        self.intercepts_ = [
            np.zeros(network.sizes[b], network.dtype) if bias is None else bias for b, bias in zip(layers, biases)
        ]
        self._linked = [*self.coefs_, *self.intercepts_]
        self.norm_layers_ = []
        for i, b in enumerate(network.norm_blocks()):
            kind = network.norm(b).kind
            name = _LOWER.sub("_", kind).lower() + (f"_{i}" if i else "")
            gamma = network.vector("gamma", b) if self.norm_scale else None
            beta = network.vector("beta", b) if self.norm_center else None
            alpha = network.vector("alpha", b)
            alpha = None if alpha is None else alpha.reshape(())
            mean, variance = network.moving(b)
            self.norm_layers_.append(NormLayer(name, kind, gamma, beta, mean, variance, alpha))

    def __getstate__(self):
        state = super().__getstate__()
        if "_network" not in state:
            return state
        network = self._link()
        return {**{name: value for name, value in state.items() if name not in _VIEWS}, "_network": network}

    def __setstate__(self, state):
        super().__setstate__(state)
        if "_network" in self.__dict__:
            self._show_views()

    def _check_rows(self, X):
        if is_on_gpu(X):
            return check_gpu_rows(self, X, reset=False)
        return validate_data(self, X, accept_sparse=["csr", "csc"], dtype=DTYPES, reset=False)

    def _check_data(self, X, y, reset, **options):
        """Return X, or its view on the GPU, and y as they pass validation."""
        if is_on_gpu(X):
            X = check_gpu_rows(self, X, reset)
            y = validate_data(self, "no_validation", y, multi_output=True, reset=reset, **options)
            check_consistent_length(X, y)
            return X, y
        return validate_data(
            self, X, y, accept_sparse=["csr", "csc"], multi_output=True, dtype=DTYPES, reset=reset, **options
        )

    def _outputs(self, X, block=None):
        """Outputs of a block of the network, by default the last, for X as it passed validation."""
        network = self._link()
        rows, owner = rows_for(X, self.input_scale)
        result = network.predict(rows, np.arange(X.shape[0]), self.n_threads, block)
        del owner  # its memory was read until here
        return result

    def _forward_pass_fast(self, X, check_input=True):
        return self._outputs(self._check_rows(X) if check_input else X)

    def hidden_activations(self, X: Any, layer: int) -> np.ndarray:
        """Return the outputs of a hidden layer, norm and activation included.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The input data.
        layer : int
            Index of the hidden layer, as in `hidden_layer_sizes`; negative from the last one.

        Returns
        -------
        ndarray of shape (n_samples, hidden_layer_sizes[layer])

        Raises
        ------
        ValueError
            If there is no such layer.
        """
        check_is_fitted(self)
        hidden = self.n_layers_ - 2
        layer = operator.index(layer)
        if not -hidden <= layer < hidden:
            layers = f"between {-hidden} and {hidden - 1}" if hidden else "of a model with hidden layers"
            raise ValueError(f"layer must be {layers}, got {layer}")
        return self._outputs(self._check_rows(X), layer % hidden + 1)

    def summary(self, file: TextIO | None = None) -> None:
        """Print layers, output shapes and parameter counts, as Keras' `Model.summary` does.

        Parameters
        ----------
        file : file object, optional
            Where to print. Default: standard output.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted yet.
        """
        check_is_fitted(self)
        print(format_summary(self._link(), self), file=file)

    def count_params(self) -> tuple[int, int]:
        """Return the number of parameters.

        Returns
        -------
        trainable, non_trainable : int
            Those that training changes by gradient; the moving statistics, and what `freeze_norm` keeps.
        """
        check_is_fitted(self)
        network = self._link()
        shown = [name for name, wanted in zip(NORM_PARAMETERS, (self.norm_scale, self.norm_center, True)) if wanted]
        trained = len(network.trainable(("weight", "bias", *trained_norm_parameters(self))))
        moving = sum(2 * network.sizes[b] for b in network.norm_blocks() if network.has_moving(b))
        return trained, len(network.trainable(("weight", "bias", *shown))) - trained + moving

    def recompute_statistics(self, X: Any) -> Self:
        """Set the moving statistics to the exact ones of a data set.

        Moving averages lag behind weights that change, and depend on the last batches. This computes the mean and
        the biased variance of each normalized layer's input over all rows of X, layer by layer, lower layers
        normalizing with their new statistics already ("precise BN", Wu and Johnson 2021, arXiv:2105.07576). Rows are
        taken in chunks: memory does not grow with their number.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            As a rule the training data.

        Returns
        -------
        self : object

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted yet.
        ValueError
            If no layer has moving statistics, or those of X are not finite; the model then stays as it is.
        """
        check_is_fitted(self)
        X = self._check_rows(X)
        network = self._link()
        if not network.uses_batch_statistics:
            raise ValueError(
                "no layer has moving statistics: they need normalization='batch', 'ghost' or 'renorm', got "
                f"{self._network_signature['normalization']!r}"
            )
        rows, owner = rows_for(X, self.input_scale)
        try:
            network.recompute_statistics(rows, X.shape[0], self.n_threads)
        except FloatingPointError:
            raise ValueError("the statistics of X are not finite; X needs to be scaled") from None
        del owner  # its memory was read until here
        return self
