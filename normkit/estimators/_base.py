"""What both estimators share: scikit-learn's multilayer perceptron with its arithmetic replaced by the engine.

scikit-learn's own classes keep doing what they are good at: parameters, validation, labels, scores, stopping
rules. Four of their methods are replaced: the first values of the weights, the two solvers, and the forward pass.
"""

import ctypes
import warnings
from numbers import Integral, Real

import numpy as np
import scipy.optimize
import scipy.sparse
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network._multilayer_perceptron import BaseMultilayerPerceptron
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer
from sklearn.utils import shuffle
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.optimize import _check_optimize_result
from sklearn.utils.validation import check_is_fitted, validate_data

from normkit.engine import initializers
from normkit.engine.network import Network, Trainer, batch_edges
from normkit.engine.plan import NORMS
from normkit.estimators.norm_layer import NormLayer
from normkit.estimators.summary import format_summary
from normkit.math.activations import CODES as ACTIVATIONS

_VIEWS = ("coefs_", "intercepts_", "norm_layers_")


def _rows(X):
    """X as the engine reads it: dense, C-contiguous, and always of one type.

    A read-only array is another type to the compiler; the same memory under a writeable header spares compiling
    everything a second time. The engine never writes to it.
    """
    if scipy.sparse.issparse(X):
        X = X.toarray()
    X = np.ascontiguousarray(X)
    if X.flags.writeable or not X.size:
        return X
    raw = (ctypes.c_char * X.nbytes).from_address(X.ctypes.data)
    view = np.frombuffer(raw, X.dtype).reshape(X.shape)
    raw._keep = X
    return view


class NormMLP(BaseMultilayerPerceptron):
    """Mixin that puts the engine under scikit-learn's multilayer perceptrons."""

    _parameter_constraints: dict = {
        **BaseMultilayerPerceptron._parameter_constraints,
        "activation": [StrOptions(set(ACTIVATIONS))],
        "normalization": [StrOptions({name for name in NORMS if name}), None],
        "norm_position": [StrOptions({"before", "after"})],
        "normalize_input": ["boolean"],
        "norm_momentum": [Interval(Real, 0, 1, closed="both")],
        "norm_epsilon": [Interval(Real, 0, None, closed="neither")],
        "norm_center": ["boolean"],
        "norm_scale": ["boolean"],
        "norm_gamma_initializer": [StrOptions({"zeros", "ones"}), Real, "array-like"],
        "norm_beta_initializer": [StrOptions({"zeros", "ones"}), Real, "array-like"],
        "norm_moving_mean_initializer": [StrOptions({"zeros", "ones"}), Real, "array-like"],
        "norm_moving_variance_initializer": [StrOptions({"zeros", "ones"}), Real, "array-like"],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "kernel_initializer": [StrOptions(set(initializers.KERNELS))],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
    }

    def _init_coef(self, fan_in, fan_out, dtype):
        if self.kernel_initializer == "sklearn":
            return super()._init_coef(fan_in, fan_out, dtype)
        coef = initializers.kernel(self.kernel_initializer, fan_in, fan_out, self._random_state)
        return coef.astype(dtype), np.zeros(fan_out, dtype)

    def _initialize(self, y, layer_units, dtype):
        super()._initialize(y, layer_units, dtype)
        for old in ("_network", "_trainer", "_optimizer"):
            self.__dict__.pop(old, None)
        self._link()

    def _signature(self):
        sizes = [self.coefs_[0].shape[0], *(coef.shape[1] for coef in self.coefs_)]
        return sizes, self.activation, self.normalization, self.norm_position, self.normalize_input

    def _link(self):
        """Make the network hold what coefs_ and intercepts_ say, and these two views of the network.

        They may have been replaced by hand, as scikit-learn's users do; the network then takes them over.
        """
        network = getattr(self, "_network", None)
        if network is None or self._network_signature != self._signature():
            self._network_signature = self._signature()
            self._network = network = self._new_network(self._network_signature[0], self.coefs_[0].dtype)
        elif all(coef.base is network.params for coef in self.coefs_) and all(
            mine is known for mine, known in zip(self.intercepts_, self._linked_intercepts)
        ):
            return network
        network.set_dense(self.coefs_, self.intercepts_)
        self._show_views()
        return network

    def _new_network(self, sizes, dtype):
        network = Network(sizes, dtype, self, self.out_activation_)
        for b in network.norm_blocks():
            size = sizes[b]
            for values, name in (
                (network.vector("gamma", b), "norm_gamma_initializer"),
                (network.vector("beta", b), "norm_beta_initializer"),
                (network.moving(b)[0], "norm_moving_mean_initializer"),
                (network.moving(b)[1], "norm_moving_variance_initializer"),
            ):
                if values is not None:
                    values[...] = initializers.vector(getattr(self, name), size, name)
            if not self.norm_scale:
                network.vector("gamma", b)[...] = 1
            if not self.norm_center:
                network.vector("beta", b)[...] = 0
        return network

    def _show_views(self):
        network = self._network
        layers = range(1, len(network.sizes))
        self.coefs_ = [network.weight(b).T for b in layers]
        biases = [network.vector("bias", b) for b in layers]
        self.intercepts_ = [
            np.zeros(network.sizes[b], network.dtype) if bias is None else bias for b, bias in zip(layers, biases)
        ]
        self._linked_intercepts = list(self.intercepts_)
        self.norm_layers_ = []
        for i, b in enumerate(network.norm_blocks()):
            kind = "LayerNormalization" if network.is_layer_norm(b) else "BatchNormalization"
            name = kind.replace("Norm", "_norm").lower() + (f"_{i}" if i else "")
            gamma = network.vector("gamma", b) if self.norm_scale else None
            beta = network.vector("beta", b) if self.norm_center else None
            self.norm_layers_.append(NormLayer(name, kind, gamma, beta, *network.moving(b)))

    def __getstate__(self):
        state = super().__getstate__()
        if "_network" not in state:
            return state
        self._link()
        state = {name: value for name, value in state.items() if name not in _VIEWS}
        state.pop("_linked_intercepts", None)
        return {**state, "_network": self._network}

    def __setstate__(self, state):
        super().__setstate__(state)
        if "_network" in self.__dict__:
            if "_trainer" in self.__dict__:
                self._trainer.network = self._network
            self._show_views()

    def _targets(self, y):
        """y as the engine reads it: the class index for softmax, else one column an output."""
        if self.out_activation_ == "softmax":
            y = y.argmax(axis=1)[:, None]
        return np.ascontiguousarray(y, self._network.dtype)

    def _fit_stochastic(
        self, X, y, sample_weight, activations, deltas, coef_grads, intercept_grads, layer_units, incremental
    ):
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        network = self._check_network(layer_units)
        X_val = y_val = weight_val = None
        if self.early_stopping:
            X, X_val, y, y_val, sample_weight, weight_val = self._split(X, y, sample_weight)
        n_samples = X.shape[0]
        batch_size = self._batch_size(n_samples)
        if not incremental or not hasattr(self, "_optimizer"):
            # scikit-learn's optimizers keep the learning-rate schedule; the moments are the engine's
            if self.solver == "sgd":
                self._optimizer = SGDOptimizer(
                    [], self.learning_rate_init, self.learning_rate, self.momentum, self.nesterovs_momentum,
                    self.power_t,
                )  # fmt: skip
            else:
                self._optimizer = AdamOptimizer(
                    [], self.learning_rate_init, self.beta_1, self.beta_2, self.epsilon
                )
            self._trainer = self._new_trainer(network)
        rows, targets = _rows(X.astype(network.dtype, copy=False)), self._targets(y)
        weights = None if sample_weight is None else np.ascontiguousarray(sample_weight, network.dtype)
        edges = batch_edges(n_samples, batch_size, network.uses_batch_statistics)
        order = np.arange(n_samples, dtype=np.int64)
        best = None
        try:
            self.n_iter_ = 0
            for _ in range(self.max_iter):
                if self.shuffle:
                    order = shuffle(order, random_state=self._random_state)
                self._trainer.learning_rate = self._optimizer.learning_rate
                self.loss_ = self._trainer.run(rows, targets, weights, order, edges)
                self.n_iter_ += 1
                self.t_ += n_samples
                self.loss_curve_.append(self.loss_)
                if self.verbose:
                    print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
                best_before = self.best_validation_score_
                self._update_no_improvement_count(self.early_stopping, X_val, y_val, weight_val)
                if self.early_stopping and (best is None or self.best_validation_score_ > best_before):
                    best = network.state()
                self._optimizer.iteration_ends(self.t_)
                if self._no_improvement_count > self.n_iter_no_change:
                    watched = "Validation score" if self.early_stopping else "Training loss"
                    message = (
                        f"{watched} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} "
                        "consecutive epochs."
                    )
                    if self._optimizer.trigger_stopping(message, self.verbose):
                        break
                    self._no_improvement_count = 0
                if incremental:
                    break
                if self.n_iter_ == self.max_iter:
                    warnings.warn(
                        f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                        "optimization hasn't converged yet.",
                        ConvergenceWarning,
                        stacklevel=4,
                    )
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        if best is not None:
            network.restore(best)

    def _check_network(self, layer_units):
        given = self._signature()[0]
        if given != list(layer_units):
            raise ValueError(
                f"the model has layers of sizes {given}, but hidden_layer_sizes and the data now ask for "
                f"{list(layer_units)}; use warm_start=False or a new estimator"
            )
        return self._link()

    def _new_trainer(self, network):
        # drawn only where needed: without dropout the draws are scikit-learn's
        seed = self._random_state.randint(2**31 - 1) if self.dropout else 0
        return Trainer(network, self, seed)

    def _split(self, X, y, sample_weight):
        stratify = y if is_classifier(self) and self.n_outputs_ == 1 else None
        arrays = [X, y] if sample_weight is None else [X, y, sample_weight]
        parts = train_test_split(
            *arrays, random_state=self._random_state, test_size=self.validation_fraction, stratify=stratify
        )
        if parts[1].shape[0] < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        if is_classifier(self):
            parts[3] = self._label_binarizer.inverse_transform(parts[3])
        return parts if sample_weight is not None else [*parts, None, None]

    def _batch_size(self, n_samples):
        if self.batch_size == "auto":
            return min(200, n_samples)
        if self.batch_size > n_samples:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
                stacklevel=5,
            )
        return int(np.clip(self.batch_size, 1, n_samples))

    def _fit_lbfgs(self, X, y, sample_weight, activations, deltas, coef_grads, intercept_grads, layer_units):
        if self.dropout:
            raise ValueError(f"dropout needs solver 'adam' or 'sgd', got solver='lbfgs', dropout={self.dropout}")
        network = self._check_network(layer_units)
        trainer = Trainer(network, self, 0)
        rows, targets = _rows(X.astype(network.dtype, copy=False)), self._targets(y)
        weights = None if sample_weight is None else np.ascontiguousarray(sample_weight, network.dtype)
        order = np.arange(X.shape[0], dtype=np.int64)
        edges = np.array([0, X.shape[0]], np.int64)
        frozen = self._frozen_parameters(network)

        def loss_and_gradient(packed):
            network.params[...] = packed
            loss = trainer.run(rows, targets, weights, order, edges, optimizer="none")
            gradient = trainer.grads.astype(np.float64)
            gradient[frozen] = 0
            return loss, gradient

        moving = network.moving_mean.copy(), network.moving_var.copy()
        result = scipy.optimize.minimize(
            loss_and_gradient, network.params.astype(np.float64), method="L-BFGS-B", jac=True,
            options={"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol},
        )  # fmt: skip
        self.n_iter_ = _check_optimize_result("lbfgs", result, self.max_iter)
        self.loss_ = result.fun
        # the line search has been elsewhere: moving statistics are those of the whole set at the solution
        network.moving_mean[...], network.moving_var[...] = moving
        trainer.norm_momentum = 0.0
        loss_and_gradient(result.x)

    def _frozen_parameters(self, network):
        frozen = np.zeros(network.params.size, bool)
        for b in network.norm_blocks():
            for name, trained in (("gamma", self.norm_scale), ("beta", self.norm_center)):
                if not trained:
                    start = getattr(network.plan, name)[b]
                    frozen[start : start + network.sizes[b]] = True
        return frozen

    def _forward_pass_fast(self, X, check_input=True):
        if check_input:
            X = validate_data(self, X, accept_sparse=["csr", "csc"], dtype=(np.float64, np.float32), reset=False)
        network = self._link()
        return network.predict(
            _rows(X.astype(network.dtype, copy=False)), self.n_threads, self.norm_epsilon
        )

    def summary(self, file=None):
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

    def count_params(self):
        """Return the number of parameters, (trainable, not trainable).

        Returns
        -------
        trainable, non_trainable : int
        """
        check_is_fitted(self)
        network = self._link()
        moving = sum(2 * network.sizes[b] for b in network.norm_blocks() if not network.is_layer_norm(b))
        return int(network.params.size - self._frozen_parameters(network).sum()), moving
