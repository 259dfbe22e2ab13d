"""A network's state between epochs: plan, parameter vector, moving statistics."""

import numpy as np

from normkit.engine import losses, team
from normkit.engine.blas import small_product
from normkit.engine.epoch import run_batches
from normkit.engine.norms import BY_CODE, NONE, Moving
from normkit.engine.plan import (
    Settings,
    activation_codes,
    aligned,
    aligned_copy,
    dropout_rates,
    make_plan,
    make_work,
    prediction_schedule,
)
from normkit.engine.rows import Rows
from normkit.engine.sync import new_barrier
from normkit.threads import available, single_threaded_blas

# Multiply-adds below which a second thread does not pay: of a batch's forward pass (waiting for each other), and of
# all batches (starting the threads)
_PARALLEL_STEP, _PARALLEL_CALL = 1_500_000, 50_000_000
PREDICT_CHUNK = 256
# rows whose norm's input is held at a time
_MOMENT_ROWS = 4096
NORM_PARAMETERS = ("gamma", "beta", "alpha")


_compiled: set[np.dtype] = set()


def run_on_team(threads, *arguments):
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
    normalization : str or None
        A name of `normkit.engine.norms.NORMS`.
    position : {"before", "after"}
    normalize_input : bool
    norm_epsilon : float
    groups : int
        Of features, for a norm over groups of them.
    """

    def __init__(
        self, sizes, dtype, output, activations, dropouts, normalization, position, normalize_input, norm_epsilon,
        groups=1,
    ):  # fmt: skip
        self.sizes = [int(size) for size in sizes]
        self.dtype = np.dtype(dtype)
        self.output = output
        self.plan, length = make_plan(self.sizes, normalization, position, normalize_input, self.dtype.itemsize, groups)
        self.params = aligned(length, self.dtype)
        rows = int(self.plan.rows[-1])
        self.statistics = Moving(np.zeros(rows, self.dtype), np.ones(rows, self.dtype), np.zeros(rows, np.int64))
        self.configure(activations, dropouts, norm_epsilon)

    def configure(self, activations, dropouts, norm_epsilon):
        """Change what leaves the parameters as they are."""
        codes, rates = activation_codes(activations), dropout_rates(dropouts)
        self.plan = self.plan._replace(activation=codes, dropout=rates)
        self.norm_epsilon = float(norm_epsilon)

    def take_norms(self, other):
        """Take over the norms' parameters and statistics of another network, where the blocks have the same size."""
        common = set(self.norm_blocks()) & set(other.norm_blocks())
        for b in (b for b in common if self.sizes[b] == other.sizes[b]):
            pairs = [(self.vector(name, b), other.vector(name, b)) for name in NORM_PARAMETERS]
            if self.has_moving(b) and other.has_moving(b):
                pairs += [(mine[self._rows(b)], theirs[other._rows(b)])
                          for mine, theirs in zip(self.statistics, other.statistics)]  # fmt: skip
            for mine, theirs in pairs:
                if mine is not None and theirs is not None:
                    mine[...] = theirs

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name != "_buffers"}

    def __setstate__(self, state):
        self.__dict__.update(state)
        # unpickled arrays lie anywhere, also in a read-only file: a type of its own to the compiler
        self.params = aligned_copy(self.params)
        self.statistics = Moving._make(aligned_copy(values) for values in self.statistics)
        self.plan = type(self.plan)(*(np.array(values) for values in self.plan))

    @property
    def target_width(self):
        """Columns of the engine's target: the class index for softmax, else one an output."""
        return 1 if self.output == "softmax" else self.sizes[-1]

    @property
    def uses_batch_statistics(self):
        """Whether some norm averages over the batch in training, unless its statistics are frozen."""
        return any(self.has_moving(b) for b in range(len(self.sizes)))

    def weight(self, b):
        """View of block b's kernel, shape (units, units below)."""
        start, shape = self.plan.weight[b], (self.sizes[b], self.sizes[b - 1])
        return self.params[start : start + shape[0] * shape[1]].reshape(shape)

    def vector(self, name, b):
        """View of block b's bias, gamma, beta, (units,), or alpha, (1,); None where it has none."""
        start = getattr(self.plan, name)[b]
        return None if start < 0 else self.params[start : start + self.count(name, b)]

    def count(self, name, b):
        """Size of a parameter of block b."""
        return {"weight": self.sizes[b] * self.sizes[b - 1], "alpha": 1}.get(name, self.sizes[b])

    def norm(self, b):
        """What is known of block b's norm, see `normkit.engine.norms`."""
        return BY_CODE[self.plan.variant[b]]

    def norm_blocks(self):
        """Indices of the blocks with a norm."""
        return [b for b in range(len(self.sizes)) if self.plan.norm[b] != NONE]

    def has_moving(self, b):
        """Whether block b's norm has moving statistics."""
        return self.norm(b).moving

    def _rows(self, b):
        return slice(self.plan.rows[b], self.plan.rows[b] + self.sizes[b])

    def moving(self, b):
        """Views of block b's moving mean and variance; (None, None) where its norm has none."""
        if not self.has_moving(b):
            return None, None
        return self.statistics.mean[self._rows(b)], self.statistics.var[self._rows(b)]

    def trainable(self, names=("weight", "bias", *NORM_PARAMETERS)):
        """Return the indices of the named parameters of all blocks."""
        parts = [np.empty(0, np.int64)]
        for b in range(len(self.sizes)):
            for name in names:
                start = getattr(self.plan, name)[b]
                if start >= 0:
                    parts.append(np.arange(start, start + self.count(name, b)))
        return np.concatenate(parts)

    def set_dense(self, coefs, intercepts):
        """Take scikit-learn's coefs_ and intercepts_; intercepts of layers without bias are not used."""
        wanted = [*zip(self.sizes, self.sizes[1:]), *((size,) for size in self.sizes[1:])]
        got = [np.shape(array) for array in (*coefs, *intercepts)]
        if got != wanted:
            raise ValueError(f"coefs_ and intercepts_ must have the shapes {wanted}, got {got}")
        for b, (coef, intercept) in enumerate(zip(coefs, intercepts), start=1):
            self.weight(b)[...] = coef.T
            bias = self.vector("bias", b)
            if bias is not None:
                bias[...] = intercept

    def state(self):
        """Copy of everything that training changes in the model, for `restore`."""
        return self.params.copy(), *(values.copy() for values in self.statistics)

    def restore(self, state):
        """Go back to a `state`."""
        for mine, kept in zip((self.params, *self.statistics), state):
            mine[...] = kept

    def choose_threads(self, n_threads, batch, samples):
        """Return the threads that pay for batches of this size out of this many samples."""
        wanted = available() if n_threads is None else n_threads
        operations = sum(a * b for a, b in zip(self.sizes, self.sizes[1:]))
        pays = operations * batch >= _PARALLEL_STEP and operations * samples >= _PARALLEL_CALL
        return wanted if pays else 1

    def predict(self, rows, order, n_threads=None, block=None, before=None):
        """Return the outputs for rows[order], (samples, outputs); or those of a hidden block.

        `before` "norm" or "activation" asks for what enters that of the block instead.

        `rows` are those of `normkit.engine.rows`, or what has a `predict` of its own: rows on a device.
        """
        count, width = len(order), self.sizes[-1 if block is None else block]
        result = np.empty((count, width), self.dtype)
        if not count:
            return result
        plan = self._plan_before(before, block) if before else self.plan
        if not isinstance(rows, Rows):
            return rows.predict(self, order, block, plan)
        chunk = min(PREDICT_CHUNK, count)
        settings = Settings(
            False, losses.CODES[self.output], norm_epsilon=self.norm_epsilon, small_product=small_product()
        )
        none, no_targets = np.empty(0, self.dtype), np.empty((0, 1), self.dtype)
        edges = batch_edges(count, chunk)
        threads = self.choose_threads(n_threads, chunk, count)
        work = None if before else self._take_buffers(chunk, threads)
        if work is None:
            work = make_work(plan, chunk, self.dtype, threads, self.target_width, False)
        with single_threaded_blas():
            run_on_team(
                threads, rows, no_targets, none, order, edges, prediction_schedule(plan, block),
                plan, settings, self.params, none, none, self.statistics, work, 0, result,
            )  # fmt: skip
        if not before:
            self._buffers = (chunk, threads), work
        return result

    def _take_buffers(self, chunk, threads):
        """Return the last prediction's buffers if they fit: to make new ones takes longer than to predict some rows.

        A thread that predicts at the same time finds none, and makes its own.
        """
        size, work = self.__dict__.pop("_buffers", (None, None))
        return work if size == (chunk, threads) else None

    def _plan_before(self, part, b):
        """Plan of the network whose block b ends where its norm or its activation, the `part`, would begin."""
        norm, activation = self.plan.norm.copy(), self.plan.activation.copy()
        if part == "norm" or self.plan.after[b]:
            norm[b] = NONE
        if part == "activation" or not self.plan.after[b]:
            activation[b] = activation_codes([])[0]
        return self.plan._replace(norm=norm, activation=activation)

    def recompute_statistics(self, rows, count, n_threads=None):
        """Set the moving statistics to the mean and the biased variance of `count` rows, from the lowest norm up.

        Raises
        ------
        FloatingPointError
            If they would not be finite; all of them are then as they were.
        """
        before = self.state()
        for b in (b for b in self.norm_blocks() if self.has_moving(b)):
            mean, squares, seen = np.zeros(self.sizes[b]), np.zeros(self.sizes[b]), 0
            for start in range(0, count, _MOMENT_ROWS):
                part = np.arange(start, min(start + _MOMENT_ROWS, count))
                x = self.predict(rows, part, n_threads, b, before="norm").astype(np.float64)  # (rows, units)
                with np.errstate(all="ignore"):
                    # Chan, Golub, LeVeque 1979
                    shift = x.mean(axis=0) - mean
                    squares += ((x - x.mean(axis=0)) ** 2).sum(axis=0)
                    squares += shift**2 * (seen * len(part) / (seen + len(part)))
                    mean += shift * (len(part) / (seen + len(part)))
                seen += len(part)
            with np.errstate(over="ignore"):
                for values, exact in zip(self.moving(b), (mean, squares / count)):
                    values[...] = exact
            if not all(np.isfinite(values).all() for values in self.moving(b)):
                self.restore(before)
                raise FloatingPointError("the statistics are not finite")

    def loss(self, outputs, targets, weight=None):
        """Return the weighted mean loss of outputs against targets in the engine's form."""
        weight = np.empty(0, self.dtype) if weight is None else np.require(weight, self.dtype, ["C", "W"])
        return float(losses.mean_loss(losses.CODES[self.output], outputs, targets, weight))


def batch_edges(n_samples, batch_size, last_batch="keep"):
    """Boundaries of the batches; a partial last one is kept, merged into the one before, or dropped."""
    edges = np.append(np.arange(0, n_samples, batch_size), n_samples)
    if len(edges) > 2 and edges[-1] - edges[-2] < batch_size:
        if last_batch == "merge":
            edges = np.delete(edges, -2)
        elif last_batch == "drop":
            edges = edges[:-1]
    return edges.astype(np.int64)
