"""How an estimator is fitted: scikit-learn's protocol and random draws around the engine's epochs."""

import copy
import warnings
from typing import Any

import numpy as np
from sklearn.base import _fit_context, is_classifier
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer
from sklearn.utils import check_array, check_random_state, column_or_1d
from sklearn.utils.validation import _check_sample_weight

from normkit._jit import tell_when_compiling
from normkit.engine import initializers
from normkit.engine.network import batch_edges
from normkit.estimators._device import check_device, moved_to, on_host, trainer_class
from normkit.estimators._divergence import LastFinite, is_finite
from normkit.estimators._lbfgs import Objective, fit_lbfgs
from normkit.estimators._memory import check_memory
from normkit.estimators._monitoring import MonitoringMLP
from normkit.estimators._parameters import activations_of, averages_over_batch, norm_settings, per_layer
from normkit.estimators._processes import OneProcess
from normkit.estimators._samples import Samples
from normkit.threads import deferred_interrupt

# what scikit-learn's callbacks need to be taken down after a fit that failed
_OF_CALLBACKS = ("_callback_fit_ctx", "_skl_callbacks_to_teardown")


class FittingMLP(CallbackSupportMixin, MonitoringMLP):
    """Mixin with `fit` and its parts. A subclass validates targets: `_check_targets`, `_encode`, `_decode`."""

    _processes: Any = OneProcess()

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
        weight = self._with_class_weight(labels, sample_weight, incremental)
        self._random_state = check_random_state(self.random_state)
        sizes = [X.shape[1], *hidden, self.n_outputs_]
        dtype = np.dtype(self.dtype or (X.dtype if X.dtype != np.uint8 else np.float64))
        self._processes.same(features=X.shape[1], outputs=self.n_outputs_, dtype=dtype.name)
        if first_pass:
            check_memory(self, sizes, dtype, X.shape[0])
            self._initialize(sizes, dtype)
        self._check_network(sizes)
        samples = Samples(self, X, labels, self._encode(labels), weight, sample_weight)
        if self.solver == "lbfgs":
            self._check_lbfgs(validation_data)
            fit_lbfgs(self, samples)
        else:
            self._fit_epochs(samples, incremental, self._check_validation_data(validation_data))
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
        names.append(self.activation if isinstance(self.activation, str) else names[-1])
        shapes = list(zip(sizes, sizes[1:]))
        drawn = [self._draw(fan_in, fan_out, name) for (fan_in, fan_out), name in zip(shapes, names)]
        coefs, intercepts = zip(*drawn)
        coefs = self._given_or("coefs_init", coefs, shapes)
        intercepts = self._given_or("intercepts_init", intercepts, [(size,) for size in sizes[1:]])
        self.coefs_ = [np.asarray(coef, dtype) for coef in coefs]
        self.intercepts_ = [np.asarray(intercept, dtype) for intercept in intercepts]
        self._link()
        self._check_biases()
        for record in ("loss_curve_", "history_", "validation_scores_", "best_validation_score_", "best_loss_"):
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
        # Glorot and Bengio 2010, as scikit-learn draws it
        bound = np.sqrt((2.0 if activation == "logistic" else 6.0) / (fan_in + fan_out))
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
        given = self._signature()["sizes"]
        if given != sizes:
            raise ValueError(
                f"the model has layers of sizes {given}, but hidden_layer_sizes and the data now ask for "
                f"{sizes}; use warm_start=False or a new estimator"
            )
        self._link()

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

    def _current_settings(self):
        """Settings that `set_params` may change between epochs; scikit-learn freezes the others with the optimizer."""
        return {
            "alpha": float(self.alpha), "decoupled_decay": float(self.decoupled_weight_decay),
            "learning_rate": float(self._optimizer.learning_rate), "norm_noise": float(self.norm_noise),
            **norm_settings(self),
        }  # fmt: skip

    def _settings(self, steps_per_epoch):
        total = self.max_iter * steps_per_epoch if self.learning_rate_decay == "cosine" else 0
        # drawn only where needed: without dropout and noise the draws are scikit-learn's
        needed = self._network.plan.dropout.any() or self.norm_noise > 0
        seed = int(self._random_state.randint(2**31 - 1)) if needed else 0
        return {
            **self._current_settings(), "momentum": float(self.momentum), "nesterov": bool(self.nesterovs_momentum),
            "beta_1": float(self.beta_1), "beta_2": float(self.beta_2), "epsilon": float(self.epsilon), "seed": seed,
            "warmup_steps": float(self.warmup_epochs * steps_per_epoch), "cosine_steps": float(total),
        }  # fmt: skip

    def _start_optimizer(self, steps_per_epoch):
        # scikit-learn's optimizers keep the learning-rate schedule; the moments are the engine's
        if self.solver == "sgd":
            self._optimizer = SGDOptimizer(
                [],
                self.learning_rate_init,
                self.learning_rate,
                self.momentum,
                self.nesterovs_momentum,
                self.power_t,
            )
        else:
            self._optimizer = AdamOptimizer([], self.learning_rate_init, self.beta_1, self.beta_2, self.epsilon)
        self._trainer = trainer_class(self.device)(self._network, self.solver, **self._settings(steps_per_epoch))

    def _split(self, samples):
        """Indices of the training and the validation rows, drawn as scikit-learn draws them."""
        count = samples.X.shape[0]
        stratify = samples.targets.astype(bool) if is_classifier(self) and self.n_outputs_ == 1 else None
        train, held_out = train_test_split(
            np.arange(count),
            random_state=self._random_state,
            test_size=self.validation_fraction,
            stratify=stratify,
        )
        if len(held_out) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        return train, held_out

    def _batch_edges(self, n_samples):
        if self.batch_size == "auto":
            size = min(200, n_samples)
        else:
            if self.batch_size > n_samples:
                warnings.warn(
                    "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
                    stacklevel=8,
                )
            size = int(np.clip(self.batch_size, 1, n_samples))
        batch_norm = averages_over_batch(self)
        if batch_norm and size == 1:
            raise ValueError(
                "normalization over the batch needs batches of at least 2 samples: the variance of 1 sample is 0. "
                f"Got batch_size={self.batch_size}, n_samples={n_samples}; use a larger batch_size or "
                "normalization='layer'"
            )
        mode = self.last_batch
        if mode == "auto":
            mode = "merge" if batch_norm and n_samples % size == 1 else "keep"
        return batch_edges(n_samples, size, mode)

    def _fit_epochs(self, samples, incremental, validation):
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        if self.norm_noise > 0 and not self._network.norm_blocks():
            raise ValueError(f"norm_noise needs a norm, got norm_noise={self.norm_noise} with normalization=None")
        held_out, watched = None, validation
        watching = self._processes.first(lambda: validation is not None)
        if self.early_stopping and not watching:
            order, held_out = self._split(samples)
            watched = samples
        else:
            order = np.arange(samples.X.shape[0])
        all_rows = None if validation is None else np.arange(samples.X.shape[0])
        total = self._processes.total(len(order))
        edges = self._processes.part(self._batch_edges(total))
        if not incremental or not hasattr(self, "_trainer"):
            self._start_optimizer(len(edges) - 1)
        else:
            self._trainer = moved_to(self._trainer, self.device)
        trainer = self._trainer
        self._processes.begin(trainer)
        epochs = 1 if incremental else self.max_iter
        self._start_records()
        context = self._init_callback_context(task_name="fit", max_subtasks=epochs)
        context.call_on_fit_task_begin(estimator=self, X=samples.X, y=samples.labels, metadata=samples.metadata)
        # a warm start that finds nothing better than its earlier fits did ends with its last epoch: scikit-learn's
        # record of the best one shares memory with the weights that it goes on to train
        first_fit = self.early_stopping and self.best_validation_score_ == -np.inf
        best = self._network.state() if first_fit else None
        last_finite = LastFinite(self._network, trained=self.t_ > 0)
        try:
            self.n_iter_ = 0
            for _ in range(epochs):
                task = context.subcontext(task_name="epoch").call_on_fit_task_begin(estimator=self)
                if self.shuffle:
                    # as sklearn.utils.shuffle orders it, without two copies
                    self._processes.shuffle(self._random_state, order)
                self._train_epoch(samples, order, edges, total)
                finite = last_finite.keep(self._network)
                score = None
                if watching or self.early_stopping:
                    score = self._record_validation(watched, held_out, samples, all_rows)
                if self._count_no_improvement(score):
                    best = self._network.state()
                self._optimizer.iteration_ends(self.t_)
                stop = self._processes.any(self._epoch_ends(task, samples))
                if not finite:
                    last_finite.restore(self)
                    break
                if self._has_converged() or stop or incremental:
                    break
                if self.n_iter_ == self.max_iter:
                    warnings.warn(
                        f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                        "optimization hasn't converged yet.",
                        ConvergenceWarning,
                        stacklevel=7,
                    )
        except KeyboardInterrupt:
            self._processes.interrupted()
            warnings.warn("Training interrupted by user.", stacklevel=7)
            if not last_finite.keep(self._network):
                last_finite.restore(self)
        trainer.release()
        if best is not None and best[0].shape == self._network.params.shape:
            self._network.restore(best)
        self._task_ends(context, samples)

    def _train_epoch(self, samples, order, edges, total):
        # a callback may have changed parameters or weights
        self._trainer.follow(self._link())
        self._trainer.settings = self._trainer.settings._replace(**self._current_settings())
        with deferred_interrupt():
            self.loss_ = self._processes.run(
                self._trainer, samples.rows, samples.targets, samples.weight, order, edges, self.n_threads
            )
            self.n_iter_ += 1
            self.t_ += total
            self.loss_curve_.append(self.loss_)
        if self.verbose:
            print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")

    def _epoch_ends(self, task, samples):
        """Tell the callbacks; returns whether one of them wants to stop."""
        stop = self._task_ends(task, samples)
        if self.epoch_callback is not None:
            answer = self.epoch_callback(self)
            stop = stop or (isinstance(answer, (bool, np.bool_)) and bool(answer))
        return stop

    def _task_ends(self, task, samples):
        return task.call_on_fit_task_end(
            estimator=self, X=samples.X, y=samples.labels, metadata=samples.metadata,
            reconstruction_attributes=self._snapshot,
        )  # fmt: skip

    def _snapshot(self):
        """Return what makes a copy of this model one that further training does not change."""
        return {
            "_network": copy.deepcopy(self._network),
            "coefs_": [coef.copy() for coef in self.coefs_],
            "intercepts_": [intercept.copy() for intercept in self.intercepts_],
        }
