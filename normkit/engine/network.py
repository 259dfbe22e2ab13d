"""A network's state between epochs: plan, parameter vector, moving statistics, optimizer moments, buffers."""

import numpy as np

from normkit import threads
from normkit.engine import epoch, losses, optimizers
from normkit.engine.plan import (
    FEATURE,
    NONE,
    SAMPLE,
    Settings,
    make_plan,
    make_work,
    prediction_schedule,
    training_schedule,
)

# Multiply-adds of a batch, forward pass, below which one thread is faster than two in training, and below which
# prediction is over before a second compiled variant would have paid for itself
_PARALLEL_FROM = 2_000_000
_PARALLEL_PREDICT_FROM = 8_000_000
PREDICT_CHUNK = 256


class Network:
    """Parameters of a multilayer perceptron and the compiled calls on them.

    Parameters
    ----------
    sizes : list of int
        Features, hidden units of each layer, outputs.
    dtype : float32 or float64
        Of parameters, activations and arithmetic.
    options : object with the estimators' parameters
        Reads `activation`, `normalization`, `norm_position`, `normalize_input`.
    output : {"softmax", "logistic", "identity", "exp"}
        Output function; its loss goes with it.
    """

    def __init__(self, sizes, dtype, options, output):
        self.sizes = [int(size) for size in sizes]
        self.dtype = np.dtype(dtype)
        self.output = output
        self.plan, length = make_plan(
            self.sizes, options.activation, True, options.normalization, options.norm_position,
            options.normalize_input,
        )  # fmt: skip
        self.params = np.zeros(length, self.dtype)
        rows = int(self.plan.rows[-1])
        self.moving_mean = np.zeros(rows, self.dtype)
        self.moving_var = np.ones(rows, self.dtype)
        self._work: tuple | None = None

    def __getstate__(self):
        return {**self.__dict__, "_work": None}

    @property
    def target_width(self):
        """Columns of the engine's target: the class index for softmax, else one an output."""
        return 1 if self.output == "softmax" else self.sizes[-1]

    @property
    def uses_batch_statistics(self):
        """Whether some norm averages over the batch."""
        return bool((self.plan.norm == FEATURE).any())

    def weight(self, b):
        """View of block b's kernel, shape (units, units below)."""
        start, shape = self.plan.weight[b], (self.sizes[b], self.sizes[b - 1])
        return self.params[start : start + shape[0] * shape[1]].reshape(shape)

    def vector(self, name, b):
        """View of block b's bias, gamma or beta; None where it has none."""
        start = getattr(self.plan, name)[b]
        return None if start < 0 else self.params[start : start + self.sizes[b]]

    def moving(self, b):
        """Views of block b's moving mean and variance; (None, None) unless its norm averages over the batch."""
        if self.plan.norm[b] != FEATURE:
            return None, None
        rows = slice(self.plan.rows[b], self.plan.rows[b] + self.sizes[b])
        return self.moving_mean[rows], self.moving_var[rows]

    def norm_blocks(self):
        """Indices of the blocks with a norm."""
        return [b for b in range(len(self.sizes)) if self.plan.norm[b] != NONE]

    def is_layer_norm(self, b):
        """Whether block b's norm averages over the features of a sample."""
        return self.plan.norm[b] == SAMPLE

    def set_dense(self, coefs, intercepts):
        """Take scikit-learn's coefs_ and intercepts_; intercepts of layers without bias are not used."""
        for b, (coef, intercept) in enumerate(zip(coefs, intercepts), start=1):
            self.weight(b)[...] = coef.T
            bias = self.vector("bias", b)
            if bias is not None:
                bias[...] = intercept

    def get_dense(self, coefs, intercepts):
        """Write the parameters into arrays of scikit-learn's layout."""
        for b, (coef, intercept) in enumerate(zip(coefs, intercepts), start=1):
            coef[...] = self.weight(b).T
            bias = self.vector("bias", b)
            intercept[...] = 0 if bias is None else bias

    def state(self):
        """Copy of everything that training changes in the model, for `restore`."""
        return self.params.copy(), self.moving_mean.copy(), self.moving_var.copy()

    def restore(self, state):
        """Go back to a `state`."""
        self.params[...], self.moving_mean[...], self.moving_var[...] = state

    def choose_threads(self, n_threads, batch, threshold=_PARALLEL_FROM):
        """Return the threads that pay for a batch of this many samples."""
        wanted = threads.available() if n_threads is None else n_threads
        operations = sum(a * b for a, b in zip(self.sizes, self.sizes[1:])) * batch
        return 1 if operations < threshold else wanted

    def _buffers(self, batch, team, **kwargs):
        key = (batch, team, *sorted(kwargs.items()))
        if self._work is None or self._work[0] != key:
            work = make_work(self.plan, batch, self.dtype, team, self.target_width, **kwargs)
            self._work = (key, work)
        return self._work[1]

    def predict(self, X, n_threads, norm_epsilon):
        """Return the outputs (samples, outputs) for rows X of the network's dtype."""
        result = np.empty((X.shape[0], self.sizes[-1]), self.dtype)
        if not X.shape[0]:
            return result
        chunk = min(PREDICT_CHUNK, X.shape[0])
        settings = Settings(
            losses.CODES[self.output], 0, 0.0, 0.0, False, 0.0, 0.0, 0.0, 0.0, 0.0,
            float(norm_epsilon), False, False, 0.0, 0, False,
        )  # fmt: skip
        none, no_targets = np.empty(0, self.dtype), np.empty((0, 1), self.dtype)
        order = np.arange(X.shape[0], dtype=np.int64)
        edges = batch_edges(X.shape[0], chunk, False)
        wanted = self.choose_threads(n_threads, chunk, _PARALLEL_PREDICT_FROM)
        with threads.single_threaded_blas(), threads.team(wanted) as team:
            work = make_work(self.plan, chunk, self.dtype, team, self.target_width, training=False)
            epoch.run_batches[team > 1](
                X, no_targets, none, order, edges, prediction_schedule(self.plan), team, self.plan, settings,
                self.params, none, none, none, self.moving_mean, self.moving_var, work, 0, result,
            )  # fmt: skip
        return result


class Trainer:
    """Optimizer state of a network, and its epochs."""

    def __init__(self, network, options, dropout_seed):
        self.network = network
        self.options = options
        self.dropout_seed = int(dropout_seed)
        self.learning_rate = float(options.learning_rate_init)
        self.steps = 0
        self.norm_momentum = float(options.norm_momentum)
        self.grads, self.first, self.second = (np.zeros_like(network.params) for _ in range(3))

    def _settings(self, optimizer, alpha):
        o = self.options
        return Settings(
            losses.CODES[self.network.output], optimizers.CODES[optimizer], self.learning_rate, float(o.momentum),
            bool(o.nesterovs_momentum), float(o.beta_1), float(o.beta_2), float(o.epsilon), float(alpha),
            self.norm_momentum, float(o.norm_epsilon), bool(o.norm_scale), bool(o.norm_center),
            float(o.dropout), self.dropout_seed, True,
        )  # fmt: skip

    def run(self, X, Y, sample_weight, order, edges, optimizer=None):
        """One epoch over the batches order[edges[k]:edges[k + 1]]; returns the mean loss."""
        network, o = self.network, self.options
        batch = int(np.diff(edges).max())
        weights = np.empty(0, network.dtype) if sample_weight is None else sample_weight
        settings = self._settings(optimizer or o.solver, o.alpha)
        with threads.single_threaded_blas(), threads.team(network.choose_threads(o.n_threads, batch)) as team:
            work = network._buffers(batch, team, dropout=float(o.dropout))
            loss, self.steps = epoch.run_batches[team > 1](
                X, Y, weights, order, edges, training_schedule(network.plan), team, network.plan, settings,
                network.params, self.grads, self.first, self.second, network.moving_mean, network.moving_var, work,
                self.steps, np.empty((0, 0), network.dtype),
            )  # fmt: skip
        return float(loss)


def batch_edges(n_samples, batch_size, merge_single):
    """Boundaries of the batches, the last one partial; a last batch of one sample joins the one before on request."""
    edges = np.append(np.arange(0, n_samples, batch_size), n_samples)
    if merge_single and len(edges) > 2 and edges[-1] - edges[-2] == 1:
        edges = np.delete(edges, -2)
    return edges.astype(np.int64)
