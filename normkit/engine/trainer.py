"""Training of a network: the optimizer's state, and epochs."""

import numpy as np

from normkit.engine import losses, optimizers
from normkit.engine.blas import small_product
from normkit.engine.network import run_on_team
from normkit.engine.plan import Settings, aligned, aligned_copy, make_work, training_schedule
from normkit.threads import single_threaded_blas


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

    def release(self):
        """Give back what lies elsewhere than here, at the end of a fit: nothing; buffers wait for another epoch."""

    def __getstate__(self):
        return {**self.__dict__, "_work": None}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.first, self.second = aligned_copy(self.first), aligned_copy(self.second)

    def _buffers(self, batch, threads):
        network = self.network
        virtual = self.settings.virtual_batch_size
        key = batch, threads, bool(network.plan.dropout.any()), virtual
        if self._work is None or self._work[0] != key:
            work = make_work(network.plan, batch, network.dtype, threads, network.target_width, True, virtual)
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
            threads = run_on_team(
                threads, rows, Y, weights, order, edges, training_schedule(network.plan),
                network.plan, self.settings, network.params, self.first, self.second, network.statistics,
                work, self.steps, np.empty((0, 0), network.dtype),
            )  # fmt: skip
        self.steps += len(edges) - 1
        total = float(work.totals[:threads, 0].sum())
        return total if self.settings.total_weight > 0 else total / int(edges[-1] - edges[0])
