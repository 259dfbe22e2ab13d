"""A network's state between epochs: plan, parameter vector, moving statistics; its trainer; the batches."""

import numpy as np

from normkit.engine import losses, optimizers, team
from normkit.engine.blas import small_product
from normkit.engine.epoch import run_batches
from normkit.engine.plan import (
    FEATURE,
    NONE,
    SAMPLE,
    Settings,
    activation_codes,
    aligned,
    aligned_copy,
    dropout_rates,
    make_plan,
    make_work,
    prediction_schedule,
    training_schedule,
)
from normkit.engine.sync import new_barrier
from normkit.threads import single_threaded_blas

# Multiply-adds below which a second thread does not pay: of a batch's forward pass (waiting for each other), and of
# all batches (starting the threads)
_PARALLEL_STEP, _PARALLEL_CALL = 1_500_000, 50_000_000
PREDICT_CHUNK = 256


_compiled: set[np.dtype] = set()


def _run(threads, *arguments):
    """Call `run_batches` on a team; compiled, or read from the disk, before the team starts."""
    rows, Y, weights, order, edges, schedule, plan, settings, params, *rest = arguments
    if params.dtype not in _compiled:
        run_batches(
            0, 1, new_barrier(), rows, Y, weights, order, edges[:1], schedule, plan, settings, params, *rest
        )  # fmt: skip
        _compiled.add(params.dtype)
    return team.run(run_batches, threads, *arguments)


class Network:
    """Parameters of a multilayer perceptron.

    Parameters
    ----------
    sizes : list of int
        Features, hidden units of each layer, outputs.
    dtype : float32 or float64
        Of parameters, activations and arithmetic.
    output : {"softmax", "logistic", "identity", "exp"}
        Output function; its loss goes with it.
    activations, dropouts : list, one entry a hidden layer
    normalization : {None, "batch", "layer"}
    position : {"before", "after"}
    normalize_input : bool
    norm_epsilon : float
    """

    def __init__(
        self, sizes, dtype, output, activations, dropouts, normalization, position, normalize_input, norm_epsilon
    ):  # fmt: skip
        self.sizes = [int(size) for size in sizes]
        self.dtype = np.dtype(dtype)
        self.output = output
        self.plan, length = make_plan(self.sizes, normalization, position, normalize_input, self.dtype.itemsize)
        self.params = aligned(length, self.dtype)
        rows = int(self.plan.rows[-1])
        self.moving_mean = np.zeros(rows, self.dtype)
        self.moving_var = np.ones(rows, self.dtype)
        self.configure(activations, dropouts, norm_epsilon)

    def configure(self, activations, dropouts, norm_epsilon):
        """Change what leaves the parameters as they are."""
        codes, rates = activation_codes(activations), dropout_rates(dropouts)
        self.plan = self.plan._replace(activation=codes, dropout=rates)
        self.norm_epsilon = float(norm_epsilon)

    def take_norms(self, other):
        """Take over gamma, beta and the moving statistics of another network, where the blocks have the same size."""
        common = set(self.norm_blocks()) & set(other.norm_blocks())
        for b in (b for b in common if self.sizes[b] == other.sizes[b]):
            pairs = [(self.vector(name, b), other.vector(name, b)) for name in ("gamma", "beta")]
            pairs += zip(self.moving(b), other.moving(b))
            for mine, theirs in pairs:
                if mine is not None and theirs is not None:
                    mine[...] = theirs

    def __setstate__(self, state):
        self.__dict__.update(state)
        # unpickled arrays lie anywhere, also in a read-only file: a type of its own to the compiler
        for name in ("params", "moving_mean", "moving_var"):
            setattr(self, name, aligned_copy(getattr(self, name)))
        self.plan = type(self.plan)(*(np.array(values) for values in self.plan))

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
        return bool(self.plan.norm[b] == SAMPLE)

    def trainable(self, gamma=True, beta=True):
        """Return the indices of the parameters that training changes, with or without those of the norms."""
        names = ["weight", "bias", *["gamma"] * gamma, *["beta"] * beta]
        parts = []
        for b in range(len(self.sizes)):
            for name in names:
                start = getattr(self.plan, name)[b]
                if start >= 0:
                    count = self.weight(b).size if name == "weight" else self.sizes[b]
                    parts.append(np.arange(start, start + count))
        return np.concatenate(parts)

    def set_dense(self, coefs, intercepts):
        """Take scikit-learn's coefs_ and intercepts_; intercepts of layers without bias are not used."""
        for b, (coef, intercept) in enumerate(zip(coefs, intercepts), start=1):
            self.weight(b)[...] = coef.T
            bias = self.vector("bias", b)
            if bias is not None:
                bias[...] = intercept

    def state(self):
        """Copy of everything that training changes in the model, for `restore`."""
        return self.params.copy(), self.moving_mean.copy(), self.moving_var.copy()

    def restore(self, state):
        """Go back to a `state`."""
        self.params[...], self.moving_mean[...], self.moving_var[...] = state

    def choose_threads(self, n_threads, batch, samples):
        """Return the threads that pay for batches of this size out of this many samples."""
        wanted = team.available() if n_threads is None else n_threads
        operations = sum(a * b for a, b in zip(self.sizes, self.sizes[1:]))
        pays = operations * batch >= _PARALLEL_STEP and operations * samples >= _PARALLEL_CALL
        return wanted if pays else 1

    def predict(self, rows, order, n_threads=None, block=None):
        """Return the outputs for rows[order], shape (samples, outputs); or those of a hidden block."""
        count, width = len(order), self.sizes[-1 if block is None else block]
        result = np.empty((count, width), self.dtype)
        if not count:
            return result
        chunk = min(PREDICT_CHUNK, count)
        settings = Settings(
            False, losses.CODES[self.output], norm_epsilon=self.norm_epsilon, small_product=small_product()
        )
        none, no_targets = np.empty(0, self.dtype), np.empty((0, 1), self.dtype)
        edges = batch_edges(count, chunk)
        threads = self.choose_threads(n_threads, chunk, count)
        work = make_work(self.plan, chunk, self.dtype, threads, self.target_width, False)
        with single_threaded_blas():
            _run(
                threads, rows, no_targets, none, order, edges, prediction_schedule(self.plan, block),
                self.plan, settings, self.params, none, none, self.moving_mean, self.moving_var, work, 0, result,
            )  # fmt: skip
        return result

    def loss(self, outputs, targets, weight=None):
        """Return the weighted mean loss of outputs against targets in the engine's form."""
        weight = np.empty(0, self.dtype) if weight is None else np.require(weight, self.dtype, ["C", "W"])
        return float(losses.mean_loss(losses.CODES[self.output], outputs, targets, weight))


class Trainer:
    """Optimizer state of a network, and its epochs.

    Parameters
    ----------
    network : Network
    optimizer : {"adam", "sgd", "accumulate"}
    settings : dict
        Fields of `normkit.engine.plan.Settings`.
    """

    def __init__(self, network, optimizer, **settings):
        self.settings = Settings(
            True, losses.CODES[network.output], optimizer=optimizers.CODES[optimizer], **settings
        )  # fmt: skip
        self._begin(network)

    def _begin(self, network):
        self.network = network
        self.steps = 0
        adam = self.settings.optimizer == optimizers.CODES["adam"]
        self.first = aligned(network.params.shape, network.dtype)
        self.second = aligned(network.params.shape if adam else 0, network.dtype)
        self._work: tuple | None = None

    def follow(self, network):
        """Train this network from now on; the moments begin anew if it is another one."""
        if network is not self.network:
            self._begin(network)

    def __getstate__(self):
        return {**self.__dict__, "_work": None}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.first, self.second = aligned_copy(self.first), aligned_copy(self.second)

    def _buffers(self, batch, threads):
        network = self.network
        key = batch, threads, bool(network.plan.dropout.any())
        if self._work is None or self._work[0] != key:
            work = make_work(network.plan, batch, network.dtype, threads, network.target_width, True)
            self._work = key, work
        return self._work[1]

    def run(self, rows, Y, sample_weight, order, edges, n_threads=None):
        """One epoch over the batches order[edges[k]:edges[k + 1]]; returns the mean loss of a sample.

        `rows` describes X (`normkit.engine.rows.rows_of`), `Y` is the class index (samples, 1) for softmax, else
        (samples, outputs); both and `sample_weight` are indexed by `order`.
        """
        network = self.network
        # asked for anew: an unpickled trainer may run on another machine
        self.settings = self.settings._replace(
            small_product=small_product(), norm_epsilon=network.norm_epsilon, loss=losses.CODES[network.output]
        )
        batch = int(np.diff(edges).max())
        threads = network.choose_threads(n_threads, batch, len(order))
        weights = np.empty(0, network.dtype) if sample_weight is None else sample_weight
        work = self._buffers(batch, threads)
        with single_threaded_blas():
            threads = _run(
                threads, rows, Y, weights, order, edges, training_schedule(network.plan),
                network.plan, self.settings, network.params, self.first, self.second, network.moving_mean,
                network.moving_var, work, self.steps, np.empty((0, 0), network.dtype),
            )  # fmt: skip
        self.steps += len(edges) - 1
        total = float(work.totals[:threads, 0].sum())
        return total if self.settings.total_weight > 0 else total / int(edges[-1] - edges[0])


def batch_edges(n_samples, batch_size, last_batch="keep"):
    """Boundaries of the batches; a partial last one is kept, merged into the one before, or dropped."""
    edges = np.append(np.arange(0, n_samples, batch_size), n_samples)
    if len(edges) > 2 and edges[-1] - edges[-2] < batch_size:
        if last_batch == "merge":
            edges = np.delete(edges, -2)
        elif last_batch == "drop":
            edges = edges[:-1]
    return edges.astype(np.int64)
