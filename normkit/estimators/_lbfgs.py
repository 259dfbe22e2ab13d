"""SciPy's L-BFGS on the engine's forward and backward code."""

import warnings

import numpy as np
import scipy.optimize
from sklearn.utils.fixes import _get_additional_lbfgs_options_dict
from sklearn.utils.optimize import _check_optimize_result

from normkit.engine.network import batch_edges
from normkit.engine.trainer import Trainer
from normkit.estimators._parameters import averages_over_batch, norm_settings, trained_norm_parameters

# Rows at a time where nothing is averaged over the batch: the buffers need not grow with the data
CHUNK = 2048


class Objective:
    """Loss of all samples with the L2 penalty, and its gradient, as functions of one vector.

    The vector holds the weight matrices in scikit-learn's order, (inputs, outputs) row by row, then the
    intercepts, then gamma, beta and alpha where they are trained.
    """

    def __init__(self, model, samples):
        network = model._network
        self.network, self.samples, self.n_threads = network, samples, model.n_threads
        self.alpha = float(model.alpha)
        count = samples.X.shape[0]
        total = float(count if samples.weight is None else samples.weight.sum(dtype=np.float64))
        self.total_weight = total
        self.trainer = Trainer(
            network, "accumulate", total_weight=total, **{**norm_settings(model), "norm_momentum": 1.0}
        )  # fmt: skip
        self.edges = batch_edges(count, count if averages_over_batch(model) else min(count, CHUNK))
        self.order = np.arange(count)
        blocks = range(1, len(network.sizes))
        norms = [(name, b) for name in trained_norm_parameters(model) for b in network.norm_blocks()]
        vectors = [*(("bias", b) for b in blocks), *norms]
        self.vectors = [(getattr(network.plan, name)[b], network.count(name, b)) for name, b in vectors]
        self.weights = [(network.plan.weight[b], network.weight(b).shape) for b in blocks]

    def pack(self, parameters):
        """Gather a vector of the network's layout; a layer without bias has zeros."""
        parts = [parameters[s : s + r * c].reshape(r, c).T.ravel() for s, (r, c) in self.weights]
        parts += [parameters[s : s + n] if s >= 0 else np.zeros(n) for s, n in self.vectors]
        return np.concatenate(parts).astype(np.float64)

    def unpack(self, packed):
        """Scatter into the network's parameters."""
        parameters, at = self.network.params, 0
        for s, (r, c) in self.weights:
            parameters[s : s + r * c] = packed[at : at + r * c].reshape(c, r).T.ravel()
            at += r * c
        for s, n in self.vectors:
            if s >= 0:
                parameters[s : s + n] = packed[at : at + n]
            at += n

    def __call__(self, packed):
        """Return loss and gradient."""
        self.unpack(packed)
        self.trainer.first[...] = 0
        loss = self.trainer.run(
            self.samples.rows,
            self.samples.targets,
            self.samples.weight,
            self.order,
            self.edges,
            self.n_threads,
        )
        gradient = self.pack(self.trainer.first)
        count = sum(r * c for _, (r, c) in self.weights)
        weights = packed[:count]
        gradient[:count] += self.alpha / self.total_weight * weights
        return loss + 0.5 * self.alpha * float(weights @ weights) / self.total_weight, gradient


class _Iterations:
    """What SciPy calls: the objective, and after each iteration what watches the training.

    The parameters belong to SciPy: what a callback changes of them is overwritten.
    """

    def __init__(self, model, samples):
        self.model, self.samples, self.objective = model, samples, Objective(model, samples)
        self.x = self.objective.pack(model._network.params)
        self.stopped = False
        self.context = model._init_callback_context(task_name="fit", max_subtasks=model.max_iter)
        self.context.call_on_fit_task_begin(
            estimator=model, X=samples.X, y=samples.labels, metadata=samples.metadata
        )  # fmt: skip
        self.task = None

    def __call__(self, x):
        if self.task is None:  # the first evaluation of an iteration
            self.task = self.context.subcontext(task_name="iteration").call_on_fit_task_begin(estimator=self.model)
        return self.objective(x)

    def iteration_ends(self, intermediate_result):  # SciPy looks at the name
        """Keep the iterate, and show it; StopIteration ends the fit."""
        model = self.model
        self.x = intermediate_result.x.copy()
        model.n_iter_ += 1
        model.loss_ = float(intermediate_result.fun)
        if model.epoch_callback is not None or getattr(model, "_skl_callbacks", None):
            self.settle(self.x)
        task, self.task = self.task, None
        self.stopped = model._epoch_ends(task, self.samples)
        if self.stopped:
            raise StopIteration

    def settle(self, x):
        """Leave the network at x, with the moving statistics of the whole set there."""
        self.objective.unpack(x)
        network, trainer = self.objective.network, self.objective.trainer
        settings = trainer.settings
        if network.uses_batch_statistics and not settings.frozen:
            # one batch is the whole set; of several virtual batches the average
            network.statistics.batches[...] = 0
            trainer.settings = settings._replace(norm_momentum=-1.0)
            self.objective(x)
            trainer.settings = settings

    def end(self):
        """Tell the callbacks that the fit is over."""
        if self.task is not None:  # an iteration that found no better point
            self.task.call_on_fit_task_end(estimator=self.model)
        self.model._task_ends(self.context, self.samples)


def fit_lbfgs(model, samples):
    """Minimize; the moving statistics become those of the whole set at the solution."""
    model.n_iter_ = 0
    iterations = _Iterations(model, samples)
    print_every = 1 if model.verbose is True or model.verbose >= 1 else -1
    try:
        result = scipy.optimize.minimize(
            iterations, iterations.x, method="L-BFGS-B", jac=True, callback=iterations.iteration_ends,
            options={
                "maxfun": model.max_fun, "maxiter": model.max_iter, "gtol": model.tol,
                **_get_additional_lbfgs_options_dict("iprint", print_every),
            },
        )  # fmt: skip
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=7)
        iterations.settle(iterations.x)
    else:
        if not iterations.stopped:
            model.n_iter_ = _check_optimize_result("lbfgs", result, model.max_iter)
        model.loss_ = result.fun
        iterations.settle(result.x)
    iterations.end()
