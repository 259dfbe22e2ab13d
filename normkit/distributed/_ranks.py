"""The processes of an MPI communicator as the estimators and the engine see them, and how they fail together.

Everything that the ranks do together outside an epoch begins with an agreement: each says whether it is well. A rank
that fails takes part in the next agreement of the others, so that none waits for it. Within an epoch there is no
time for that: a rank that fails there aborts all of them.
"""

import contextlib
import os
import signal
import threading
import traceback

import numpy as np

from normkit.distributed._launch import RankError
from normkit.estimators._processes import OneProcess
from normkit.threads import available

_WELL, _INTERRUPTED, _FAILED = range(3)


class Ranks(OneProcess):
    """All processes of a communicator, each with its own samples.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        Copied: its messages do not mix with others.
    synchronize : bool
        Whether norms over the batch average over the samples of all ranks.
    """

    def __init__(self, comm, synchronize):
        from mpi4py import MPI

        self._mpi = MPI
        self.comm = comm.Dup()
        self.size, self.rank, self.synchronize = comm.size, comm.rank, synchronize
        with_me = self.comm.Split_type(MPI.COMM_TYPE_SHARED)
        # where the launcher has not bound the ranks to cores, those on one machine share them
        self._threads = max(1, min(available(), (os.cpu_count() or 1) // with_me.size))
        with_me.Free()
        self._counts = np.zeros(self.size, np.int64)
        self._interrupts = 0
        self._told = False

    def __reduce__(self):
        return OneProcess, ()  # copies of a model, which a callback may make, are of one process

    def free(self):
        """Give the communicator back."""
        self.comm.Free()

    # what the engine asks for within an epoch

    def gather(self, array):
        """Return the arrays of all ranks, stacked."""
        array = np.ascontiguousarray(array)
        result = np.empty((self.size, *array.shape), array.dtype)
        self.comm.Allgather(array, result)
        return result

    def gather_into(self, array, out):
        """Write the arrays of all ranks one after the other."""
        self.comm.Allgather(array, out)

    def add(self, array):
        """Sum over the ranks, in place."""
        self.comm.Allreduce(self._mpi.IN_PLACE, array)

    # agreement

    @contextlib.contextmanager
    def together(self):
        """Make an error of one rank within the context an error of all, and Ctrl-C of one an end for all."""
        main = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is not None
        before = signal.signal(signal.SIGINT, self._interrupt) if main else None
        try:
            yield
            self._agree()
        except BaseException as error:
            if not self._told:
                self._agree(_FAILED, f"{type(error).__name__}: {error}")
            raise
        finally:
            if main:
                signal.signal(signal.SIGINT, before)

    def _interrupt(self, number, frame):
        self._interrupts += 1
        if self._interrupts > 1:  # the first one has not been heard: some rank hangs
            self.comm.Abort(130)

    def _agree(self, status=_WELL, message=""):
        if status == _WELL and self._interrupts:
            status = _INTERRUPTED
        statuses = self.gather(np.array([status])).ravel()
        worst = statuses.max()
        if worst == _WELL:
            return
        self._told = True
        if worst == _INTERRUPTED:
            raise KeyboardInterrupt
        failed = int(statuses.argmax())
        message = self.comm.bcast(message, failed)
        if status != _FAILED:
            raise RankError(f"rank {failed} failed: {message}")

    def interrupted(self):
        """Let all ranks stop, unless they were the ones to say so."""
        if not self._told:
            with contextlib.suppress(KeyboardInterrupt):
                self._agree(_INTERRUPTED)
        self._interrupts, self._told = 0, False

    # what the estimators ask for between epochs

    def same(self, **values):
        """Raise unless all ranks have the same values."""
        self._agree()
        for rank, others in enumerate(self.comm.allgather(values)):
            for name, value in others.items():
                if value != values[name]:
                    raise ValueError(
                        f"{name} must be the same on all ranks, got {value} on rank {rank} and {values[name]} on "
                        f"rank {self.rank}"
                    )

    def labels(self, y):
        """Return the labels of all ranks, each once; of several labels a sample this rank's y."""
        y = np.asarray(y)
        self.same(label_kind=y.dtype.kind, label_dimensions=y.ndim)
        if y.ndim > 1:
            return y
        mine = np.unique(y)
        self._agree()
        return np.unique(np.concatenate(self.comm.allgather(mine)))

    def total(self, count):
        """Return the number of samples of all ranks."""
        self._agree()
        self._counts = self.gather(np.array([count])).ravel()
        return int(self._counts.sum())

    def part(self, edges):
        """Return the boundaries of this rank's parts of the batches: of each batch its fair share of samples."""
        place = np.concatenate([(np.arange(count) + 0.5) / count for count in self._counts])
        owner = np.repeat(np.arange(self.size), self._counts)
        mine = owner[np.argsort(place, kind="stable")] == self.rank
        return np.concatenate([[0], np.cumsum(mine)])[edges].astype(np.int64)

    def shuffle(self, random_state, order):
        """Shuffle in place, on each rank in an order of its own."""
        seed = random_state.randint(2**31 - 1)
        np.random.RandomState([seed, self.rank]).shuffle(order)

    def first(self, function):
        """Return what the function returns on rank 0."""
        self._agree()
        value = function() if self.rank == 0 else None
        self._agree()
        return self.comm.bcast(value)

    def any(self, flag):
        """Return whether the flag is set on any rank."""
        self._agree()
        return bool(self.gather(np.array([bool(flag)])).any())

    def begin(self, trainer):
        """Take rank 0's parameters, statistics, moments, step and seed."""
        steps, seed = self.first(lambda: (trainer.steps, trainer.settings.seed))
        trainer.steps, trainer.settings = steps, trainer.settings._replace(seed=seed)
        self._take_first(trainer)

    def _take_first(self, trainer):
        for array in (trainer.network.params, *trainer.network.statistics, trainer.first, trainer.second):
            self.comm.Bcast(array)

    def run(self, trainer, rows, Y, sample_weight, order, edges, n_threads):
        """One epoch; returns the mean loss of a sample of all ranks."""
        self._check_parts(trainer, edges)
        before = [values.copy() for values in trainer.network.statistics]
        self._agree()
        try:
            loss = trainer.run(rows, Y, sample_weight, order, edges, n_threads or self._threads, self)
        except BaseException:  # the others wait within the epoch
            traceback.print_exc()
            self.comm.Abort(1)
            raise
        if not trainer.merged_blocks(self) and not trainer.settings.frozen:
            self._average_statistics(trainer, before)
        # the same already, unless the ranks run on processors that round differently
        self._take_first(trainer)
        return loss

    def _check_parts(self, trainer, edges):
        """Raise where a norm with the statistics of a rank would see a single sample, whose variance is 0."""
        network = trainer.network
        if not network.uses_batch_statistics or trainer.settings.frozen or trainer.merged_blocks(self):
            return
        if 1 in np.diff(edges):
            raise ValueError(
                "normalization with the statistics of each rank needs parts of at least 2 samples, got a batch of "
                f"which rank {self.rank} has 1; use a larger batch_size or synchronize=True"
            )

    def _average_statistics(self, trainer, before):
        """Average over the ranks: of the moving averages, or of all batches that a cumulative average holds."""
        mean, var, batches = trainer.network.statistics
        weight = np.ones(len(batches))
        old = np.zeros(len(batches))
        if trainer.settings.norm_momentum < 0:
            old, weight = before[2].astype(np.float64), batches.astype(np.float64)
        sums = np.stack([weight - old, *(weight * new - old * was for new, was in zip((mean, var), before))])
        self.add(sums)
        total = old + sums[0]
        for values, was, added in zip((mean, var), before, sums[1:]):
            values[...] = np.where(total > 0, (old * was + added) / np.maximum(total, 1), was)
        if trainer.settings.norm_momentum < 0:
            batches[...] = total
