"""Training of a network: the optimizer's state, and epochs."""

import numpy as np

from normkit.engine import losses, optimizers
from normkit.engine.blas import small_product
from normkit.engine.exchange import Exchange
from normkit.engine.network import run_on_team
from normkit.engine.plan import (
    EXCHANGE_GRADIENT,
    EXCHANGE_MOMENTS,
    Settings,
    aligned,
    aligned_copy,
    joined_schedule,
    make_work,
    padded,
    training_schedule,
)
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

    def _buffers(self, batch, threads, processes):
        network = self.network
        virtual, noise = self.settings.virtual_batch_size, self.settings.norm_noise > 0
        key = batch, threads, bool(network.plan.dropout.any()), virtual, noise, processes
        if self._work is None or self._work[0] != key:
            work = make_work(
                network.plan, batch, network.dtype, threads, network.target_width, True, virtual, noise, processes,
                network.params.size if processes else 0,
            )  # fmt: skip
            self._work = key, work
        return self._work[1]

    def run(self, rows, Y, sample_weight, order, edges, n_threads=None, processes=None):
        """One epoch over the batches order[edges[k]:edges[k + 1]]; returns the mean loss of a sample.

        `rows` describes X (`normkit.engine.rows.rows_of`), `Y` is the class index (samples, 1) for softmax, else
        (samples, outputs); both and `sample_weight` are indexed by `order`.

        `processes` stands for all that train together, each on its part of every batch, which may be empty: their
        number `size`, this one's `rank`, `synchronize` for norms over the batch that average over all parts,
        `gather(array)` with one row a process, `gather_into(array, out)`, and `add(array)`, the sum in place.
        """
        network = self.network
        # asked for anew: an unpickled trainer may run on another machine
        self.settings = self.settings._replace(
            small_product=small_product(), norm_epsilon=network.norm_epsilon, loss=losses.CODES[network.output]
        )
        batch = max(1, int(np.diff(edges).max()))
        threads = network.choose_threads(n_threads, batch, len(order))
        weights = np.empty(0, network.dtype) if sample_weight is None else sample_weight
        settings, schedule, exchange = self.settings, training_schedule(network.plan), None
        work = self._buffers(batch, threads, processes.size if processes else 0)
        if processes:
            joined = joined_batches(sample_weight, order, edges, network.dtype, processes)
            merged = self.merged_blocks(processes)
            work, schedule = work._replace(joined=joined), joined_schedule(network.plan, merged)
            exchange = _exchange(network, work, processes)
            settings = settings._replace(joined=True, synchronized=bool(merged), exchange=exchange.address)
        with single_threaded_blas():
            threads = run_on_team(
                threads, rows, Y, weights, order, edges, schedule, network.plan, settings, network.params,
                self.first, self.second, network.statistics, work, self.steps, np.empty((0, 0), network.dtype),
            )  # fmt: skip
        if exchange and exchange.error:
            raise exchange.error
        self.steps += len(edges) - 1
        loss, penalty = work.totals[:threads, :2].sum(axis=0)
        samples = edges[-1] - edges[0]
        if processes:  # the penalty is whole: every process has made all updates
            loss, samples = processes.gather(np.array([loss, samples])).sum(axis=0)
        total = float(loss + penalty)
        return total if self.settings.total_weight else total / int(samples)

    def merged_blocks(self, processes):
        """Return the blocks whose norm averages over the samples of all processes."""
        network = self.network
        if self.settings.frozen or not processes.synchronize:
            return []
        return [b for b in network.norm_blocks() if network.norm(b).joins]


def joined_batches(sample_weight, order, edges, dtype, processes):
    """Return what each batch adds up to over the processes: `normkit.engine.plan.Work.joined`."""
    parts = [order[first:last] for first, last in zip(edges, edges[1:])]
    counts = np.array([len(part) for part in parts], np.float64)
    weights = counts
    if sample_weight is not None:
        weights = np.array([sample_weight[part].sum(dtype=np.float64) for part in parts])
    table = processes.gather(np.stack([weights, counts]))  # (processes, 2, batches)
    weight, samples = table.sum(axis=0)
    first = table[: processes.rank, 1].sum(axis=0)
    width = np.full_like(weight, padded(int(samples.max()), dtype))
    shares = np.divide(table[:, 0], weight, out=np.zeros_like(table[:, 0]), where=weight != 0)
    return np.concatenate([np.stack([weight, samples, first, width]), shares]).T.copy()


def _exchange(network, work, processes):
    def exchange(stage, block):
        if stage == EXCHANGE_GRADIENT:
            processes.add(work.gradient)
            return
        count = 2 * network.sizes[block]
        if stage == EXCHANGE_MOMENTS:
            processes.gather_into(work.moments[:count], work.gathered[: processes.size * count])
        else:
            processes.add(work.moments[:count])

    return Exchange(exchange)
