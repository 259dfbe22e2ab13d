"""How an estimator is fitted: scikit-learn's protocol, what is checked, and the first weights."""

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils import check_array, check_random_state, column_or_1d
from sklearn.utils.validation import _check_sample_weight

from normkit._jit import tell_when_compiling
from normkit.engine import initializers
from normkit.engine.norms import NORMS
from normkit.estimators._device import check_device, on_host
from normkit.estimators._divergence import is_finite
from normkit.estimators._epochs import EpochsMLP
from normkit.estimators._lbfgs import Objective, fit_lbfgs
from normkit.estimators._memory import check_memory
from normkit.estimators._network import NORM_LAYOUT
from normkit.estimators._parameters import activations_of, averages_over_batch, per_layer
from normkit.estimators._samples import Samples

# what scikit-learn's callbacks need to be taken down after a fit that failed
_OF_CALLBACKS = ("_callback_fit_ctx", "_skl_callbacks_to_teardown")
# of training, which a first fit begins anew
_RECORDS = (
    "loss_curve_", "history_", "validation_scores_", "best_validation_score_", "best_loss_", "_no_improvement_count",
)  # fmt: skip


class FittingMLP(EpochsMLP):
    """Mixin with `fit` and its parts. A subclass validates targets: `_check_targets`, `_encode`, `_decode`."""

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, validation_data=None):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            float32, float64 or uint8, in any layout, also memory-mapped: rows are read where they lie. Other types
            are converted.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples in the loss.
        validation_data : tuple (X, y) or (X, y, sample_weight), default=None
            Measured after each epoch, see `history_`. With ``early_stopping=True`` it takes the place of the
            rows that would be held out.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If the data or a parameter cannot be used, or the first epoch ended in numbers that are not finite.
        MemoryError
            If parameters and layers need more memory than is available; nothing has been trained then.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            Also where a later epoch ended in such numbers: the model is then the one before that epoch.
        """
        return self._fit(X, y, sample_weight, validation_data=validation_data)

    def _hidden_sizes(self):
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if np.iterable(sizes) else [sizes]
        if any(size <= 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return sizes

    def _fit(self, X, y, sample_weight=None, incremental=False, validation_data=None):
        if not self.verbose:
            return self._fit_quietly(X, y, sample_weight, incremental, validation_data)
        with tell_when_compiling(lambda: print("Compiling the training engine; the machine code is kept.", flush=True)):
            return self._fit_quietly(X, y, sample_weight, incremental, validation_data)

    def _fit_quietly(self, X, y, sample_weight, incremental, validation_data):
        first_pass = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        before = dict(self.__dict__)
        try:
            return self._fit_checked(X, y, sample_weight, incremental, validation_data, first_pass)
        except Exception:
            if first_pass:  # an earlier model stays, and nothing is left half-initialized
                kept = {name: value for name, value in self.__dict__.items() if name in _OF_CALLBACKS}
                self.__dict__ = {**before, **kept}
            raise

    def _fit_checked(self, X, y, sample_weight, incremental, validation_data, first_pass):
        hidden = self._hidden_sizes()
        check_device(self, X)
        y, sample_weight = on_host(y, "y"), on_host(sample_weight, "sample_weight")
        X, labels = self._check_targets(X, y, incremental, reset=first_pass)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
            if not sample_weight.sum():
                raise ValueError("sample_weight sums to 0, and the loss is an average by it")
        weight = self._with_class_weight(labels, sample_weight, incremental)
        if weight is not sample_weight and not self._processes.any(bool(weight.sum())):
            raise ValueError("class_weight gives the samples weights that sum to 0, and the loss is an average by them")
        self._random_state = check_random_state(self.random_state)
        sizes = [X.shape[1], *hidden, self.n_outputs_]
        dtype = np.dtype(self.dtype or (X.dtype if X.dtype != np.uint8 else np.float64))
        self._processes.same(features=X.shape[1], outputs=self.n_outputs_, dtype=dtype.name)
        if first_pass:
            check_memory(self, sizes, dtype, X.shape[0])
            self._initialize(sizes, dtype)
        self._check_network(sizes)
        if weight is not None and weight.min() < 0 and averages_over_batch(self):
            raise ValueError(
                f"sample_weight must not be negative where a norm averages over the batch by it, got {weight.min():g}"
            )
        samples = Samples(self, X, labels, self._encode(labels), weight, sample_weight)
        if self.solver == "lbfgs":
            self._check_lbfgs(validation_data)
            fit_lbfgs(self, samples)
        else:
            self._fit_epochs(samples, incremental, self._check_validation_data(validation_data), first_pass)
        if not is_finite(self._link()):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may"
                " contain large values and need to be preprocessed."
            )
        return self

    @staticmethod
    def _column(y):
        return column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def _with_class_weight(self, labels, sample_weight, incremental):
        return sample_weight

    def _initialize(self, sizes, dtype):
        """Set the attributes of a first fit and draw the first weights, in scikit-learn's order."""
        self.n_iter_ = self.t_ = 0
        self.n_layers_ = len(sizes)
        self.out_activation_ = self._output_activation()
        for old in ("_network", "_trainer", "_optimizer"):
            self.__dict__.pop(old, None)
        names = activations_of(self, len(sizes) - 2)
        names.append(self.activation if isinstance(self.activation, str) else (names or ["identity"])[-1])
        shapes = list(zip(sizes, sizes[1:]))
        drawn = [self._draw(fan_in, fan_out, name) for (fan_in, fan_out), name in zip(shapes, names)]
        coefs, intercepts = zip(*drawn)
        coefs = self._given_or("coefs_init", coefs, shapes)
        intercepts = self._given_or("intercepts_init", intercepts, [(size,) for size in sizes[1:]])
        self.coefs_ = [np.asarray(coef, dtype) for coef in coefs]
        self.intercepts_ = [np.asarray(intercept, dtype) for intercept in intercepts]
        self._link()
        self._check_biases()
        for record in _RECORDS:
            self.__dict__.pop(record, None)
        if self.solver != "lbfgs":
            self._start_records()

    def _check_biases(self):
        """Refuse initial biases of layers that have none, instead of ignoring them."""
        for b, intercept in enumerate(self.intercepts_init or [], start=1):
            if self._network.vector("bias", b) is None and np.any(intercept):
                raise ValueError(
                    f"intercepts_init[{b - 1}] must be zero: a norm follows the layer directly, so that it has no bias"
                )

    def _draw(self, fan_in, fan_out, activation):
        if self.kernel_initializer != "sklearn":
            coef = initializers.kernel(self.kernel_initializer, fan_in, fan_out, self._random_state)
            return coef, np.zeros(fan_out)
        bound = initializers.sklearn_bound(fan_in, fan_out, activation)
        coef = self._random_state.uniform(-bound, bound, (fan_in, fan_out))
        return coef, self._random_state.uniform(-bound, bound, fan_out)

    def _given_or(self, name, drawn, shapes):
        given = getattr(self, name)
        if given is None:
            return drawn
        got = [np.shape(array) for array in given]
        if got != shapes:
            raise ValueError(f"{name} must hold arrays of shapes {shapes}, got {got}")
        return [check_array(array, ensure_2d=False, input_name=name) for array in given]

    def _check_network(self, sizes):
        """Refuse to go on with what the parameters and the data do not describe any more."""
        wanted = self._signature()
        given = getattr(self, "_network_signature", wanted)  # coefs_ may have been set by hand before any fit
        if wanted["sizes"] != sizes:
            raise ValueError(
                f"the model has layers of sizes {wanted['sizes']}, but hidden_layer_sizes and the data now ask for "
                f"{sizes}; use warm_start=False or a new estimator"
            )
        changed = [name for name in NORM_LAYOUT if wanted[name] != given[name]]
        # batch, ghost and renorm have the same parameters and statistics: one may follow another
        alike = changed == ["normalization"] and all(NORMS[each["normalization"]].moving for each in (wanted, given))
        if changed and not alike:
            was, now = (
                ", ".join(f"{NORM_LAYOUT[name]}={each[name]!r}" for name in changed) for each in (given, wanted)
            )
            raise ValueError(
                f"the model was fitted with {was}, and cannot go on with {now}; use warm_start=False or a new estimator"
            )
        self._link(new_norms=True)

    def _check_lbfgs(self, validation_data):
        for name, value in (("dropout", np.any(per_layer(self.dropout, self.n_layers_ - 2, "dropout"))),
                            ("norm_noise", self.norm_noise),
                            ("decoupled_weight_decay", self.decoupled_weight_decay),
                            ("warmup_epochs", self.warmup_epochs), ("learning_rate_decay", self.learning_rate_decay),
                            ("normalization='renorm'", self.normalization == "renorm" and not self.freeze_norm),
                            ("validation_data", validation_data is not None)):  # fmt: skip
            if value:
                raise ValueError(f"{name} needs solver='adam' or solver='sgd', got solver='lbfgs'")

    def _loss_grad_lbfgs(self, packed_coef_inter, X, y, sample_weight, *buffers):
        """scikit-learn's name for the loss and gradient of all samples; its buffers are not needed."""
        self._link()
        targets = y.argmax(axis=1) if self.out_activation_ == "softmax" else y
        return Objective(self, Samples(self, X, y, targets.reshape(len(y), -1), sample_weight, None))(packed_coef_inter)

    def _check_validation_data(self, validation_data):
        if validation_data is None:
            return None
        if not isinstance(validation_data, tuple) or len(validation_data) not in (2, 3):
            got = f"a tuple of {len(validation_data)}" if isinstance(validation_data, tuple) else type(validation_data)
            raise ValueError(f"validation_data must be a tuple (X, y) or (X, y, sample_weight), got {got}")
        X, y, *weights = validation_data
        check_device(self, X)
        y, *weights = (on_host(a, name) for a, name in zip((y, *weights), ("y", "sample_weight")))
        X = self._check_rows(X)
        labels = self._check_labels(y, X)
        weight = _check_sample_weight(weights[0], X) if weights else None
        return Samples(self, X, labels, self._encode(labels), None, weight)
