"""The epochs of a fit, by Adam or SGD: scikit-learn's random draws, schedule and callbacks around the engine's."""

import copy
import warnings
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import is_classifier
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

from normkit.engine.network import batch_edges
from normkit.estimators._device import moved_to, trainer_class
from normkit.estimators._divergence import LastFinite
from normkit.estimators._monitoring import MonitoringMLP
from normkit.estimators._parameters import averages_over_batch, norm_settings
from normkit.estimators._processes import OneProcess
from normkit.estimators._samples import Samples
from normkit.threads import deferred_interrupt


class _Epochs(NamedTuple):
    """What the epochs of a fit share."""

    samples: Samples
    order: np.ndarray  # the rows that train, shuffled before each epoch
    edges: np.ndarray  # of this process' parts of the batches
    total: int  # rows of all processes
    watching: bool  # whether a set is measured after each epoch
    watched: Samples | None  # that set, where this process measures it
    held_out: np.ndarray | None  # its rows; None for all of them
    all_rows: np.ndarray | None  # to be measured too


class EpochsMLP(CallbackSupportMixin, MonitoringMLP):
    """Mixin with `_fit_epochs` and its parts."""

    _processes: Any = OneProcess()
    # `alpha` is divided by the weight of each batch, as scikit-learn's: it is more in a smaller last one
    _decay = 0.0

    def _current_settings(self):
        """Settings that `set_params` may change between epochs; scikit-learn freezes the others with the optimizer."""
        return {
            "alpha": float(self.alpha), "decay": self._decay, "decoupled_decay": float(self.decoupled_weight_decay),
            "learning_rate": float(self._optimizer.learning_rate), "norm_noise": float(self.norm_noise),
            **norm_settings(self),
        }  # fmt: skip

    def _seed(self, drawn=0):
        """Seed of dropout and noise, drawn when it is first needed: without them the draws are scikit-learn's."""
        needed = self._network.plan.dropout.any() or self.norm_noise > 0
        return int(self._random_state.randint(2**31 - 1)) if needed and not drawn else drawn

    def _settings(self, steps_per_epoch):
        total = self.max_iter * steps_per_epoch if self.learning_rate_decay == "cosine" else 0
        return {
            **self._current_settings(), "momentum": float(self.momentum), "nesterov": bool(self.nesterovs_momentum),
            "beta_1": float(self.beta_1), "beta_2": float(self.beta_2), "epsilon": float(self.epsilon),
            "seed": self._seed(), "warmup_steps": float(self.warmup_epochs * steps_per_epoch),
            "cosine_steps": float(total),
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
                    stacklevel=9,
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

    def _plan_epochs(self, samples, incremental, validation):
        """Check what an epoch needs, and start the optimizer or go on with it."""
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        if self.norm_noise > 0 and not self._network.norm_blocks():
            raise ValueError(
                f"norm_noise needs a norm, got norm_noise={self.norm_noise} with normalization={self.normalization!r} "
                f"and {self.n_layers_ - 2} hidden layers"
            )
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
            settings = self._trainer.settings
            self._trainer.settings = settings._replace(seed=self._seed(settings.seed))
        self._processes.begin(self._trainer)
        return _Epochs(samples, order, edges, total, watching or self.early_stopping, watched, held_out, all_rows)

    def _fit_epochs(self, samples, incremental, validation, first_pass):
        plan = self._plan_epochs(samples, incremental, validation)
        trainer = self._trainer
        epochs = 1 if incremental else self.max_iter
        self._start_records()
        context = self._init_callback_context(task_name="fit", max_subtasks=epochs)
        context.call_on_fit_task_begin(estimator=self, X=samples.X, y=samples.labels, metadata=samples.metadata)
        # a warm start that finds nothing better than its earlier fits did ends with its last epoch: scikit-learn's
        # record of the best one shares memory with the weights that it goes on to train
        first_fit = self.early_stopping and self.best_validation_score_ == -np.inf
        best = self._network.state() if first_fit else None
        last_finite = LastFinite(self._network, trained=not first_pass)
        try:
            self.n_iter_ = 0
            for _ in range(epochs):
                task = context.subcontext(task_name="epoch").call_on_fit_task_begin(estimator=self)
                finite, improved = self._epoch(plan, last_finite)
                if improved:
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

    def _epoch(self, plan, last_finite):
        """Train and measure; returns whether all numbers are finite, and whether no epoch was better before."""
        if self.shuffle:
            # as sklearn.utils.shuffle orders it, without two copies
            self._processes.shuffle(self._random_state, plan.order)
        self._train_epoch(plan.samples, plan.order, plan.edges, plan.total)
        finite = last_finite.keep(self._network)
        score = None
        if plan.watching:
            score = self._record_validation(plan.watched, plan.held_out, plan.samples, plan.all_rows)
        return finite, self._count_no_improvement(score)

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
