"""Trainers that train together, each on a part of every batch, against one that has all of it: as threads, no MPI."""

import ctypes
import threading

import numpy as np
import pytest

from normkit.engine.exchange import Exchange
from normkit.engine.rows import rows_of
from normkit.engine.trainer import Trainer

OPTIONS = {
    "sgd": {"momentum": 0.9}, "adam": {"beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-8},
}  # fmt: skip


class Together:
    """One of some threads that exchange arrays through a list, in step."""

    synchronize = True

    def __init__(self, rank, size, table, barrier):
        self.rank, self.size, self._table, self._barrier = rank, size, table, barrier

    def gather(self, array):
        self._barrier.wait()
        self._table[self.rank] = array.copy()
        self._barrier.wait()
        return np.stack(self._table)

    def gather_into(self, array, out):
        out[...] = self.gather(array).ravel()

    def add(self, array):
        array[...] = self.gather(array).sum(axis=0)


def on_threads(size, work):
    """Call work(rank, processes) on threads; returns what they return, raises what they raise."""
    table, barrier, found = [None] * size, threading.Barrier(size, timeout=300), [None] * size

    def call(rank):
        try:
            found[rank] = work(rank, Together(rank, size, table, barrier))
        except BaseException as error:
            found[rank] = error
            barrier.abort()

    threads = [threading.Thread(target=call, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def problem(weighted):
    rng = np.random.default_rng(3)
    weight = rng.uniform(0.5, 2, 40) if weighted else None
    return rng.normal(1, 2, (40, 5)), rng.integers(0, 3, (40, 1)).astype(float), weight


# each batch's samples on each rank; the second batch is the first rank's alone
PARTS = [([0, 1, 2, 3, 4], [5, 6, 7]), ([8, 9, 10, 11], []), ([12, 13], [14, 15, 16, 17, 18, 19])]


def parts_of(rank):
    mine = [batch[rank] for batch in PARTS]
    return np.array([k for part in mine for k in part], np.int64), np.cumsum([0, *map(len, mine)])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("optimizer", OPTIONS)
@pytest.mark.parametrize(
    "norm, position", [(None, "before"), ("batch", "before"), ("batch", "after"), ("renorm", "before"),
                       ("layer", "after"), ("dyt", "before")]
)  # fmt: skip
def test_two_train_as_one(norm, position, optimizer, weighted, make_network):
    X, target, weight = problem(weighted)
    rows, owner = rows_of(X)
    settings = {"learning_rate": 0.05, "alpha": 0.3, "norm_momentum": 0.9, "renorm_r_max": 2.0, "renorm_d_max": 1.0}
    settings |= OPTIONS[optimizer]

    def trained(order, edges, processes=None, epochs=2):
        network = make_network((5, 7, 4, 3), norm=norm, position=position, normalize_input=norm is not None)
        trainer = Trainer(network, optimizer, **settings)
        losses = [trainer.run(rows, target, weight, order, edges, 1, processes) for _ in range(epochs)]
        return losses, network.state(), trainer.steps

    whole = [[*first, *second] for first, second in PARTS]
    expected = trained(np.array([k for batch in whole for k in batch]), np.cumsum([0, *map(len, whole)]))
    found = on_threads(2, lambda rank, processes: trained(*parts_of(rank), processes))
    for losses, state, steps in found:
        np.testing.assert_allclose(losses, expected[0], rtol=1e-9)
        for mine, theirs in zip(state, expected[1], strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-7, atol=1e-9)
        assert steps == expected[2] == 6
    for mine, theirs in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_statistics_of_each_ones_own_samples(make_network):
    """Without `synchronize`, or frozen, no norm waits for another: both see halves, and only gradients are added."""
    X, target, _ = problem(False)
    rows, owner = rows_of(X)

    def trained(rank, processes):
        processes.synchronize = False
        network = make_network((5, 4, 3), norm="batch")
        trainer = Trainer(network, "sgd", learning_rate=0.1, norm_momentum=0.0)
        assert trainer.merged_blocks(processes) == []
        order = np.arange(10) + 10 * rank
        trainer.run(rows, target, None, order, np.array([0, 10]), 1, processes)
        return network.moving(1)[0].copy(), X[order] @ make_network((5, 4, 3), norm="batch").weight(1).T

    for mean, values in on_threads(2, trained):
        np.testing.assert_allclose(mean, values.mean(axis=0), rtol=1e-12)
    processes = Together(0, 2, [], None)
    network = make_network((5, 4, 3), norm="batch", normalize_input=True)
    assert Trainer(network, "sgd").merged_blocks(processes) == [0, 1]
    assert Trainer(network, "sgd", frozen=True).merged_blocks(processes) == []
    assert Trainer(make_network((5, 4, 3), norm="layer"), "sgd").merged_blocks(processes) == []


def test_what_an_exchange_raises_ends_the_epoch(make_network):
    X, target, _ = problem(False)
    rows, owner = rows_of(X)
    network = make_network((5, 4, 3), norm="batch")

    class Broken(Together):
        def add(self, array):
            raise ConnectionError("the other is gone")

    trainer = Trainer(network, "sgd", learning_rate=0.1)
    one = Broken(0, 1, [None], threading.Barrier(1))
    with pytest.raises(ConnectionError, match="the other is gone"):
        trainer.run(rows, target, None, np.arange(20), np.array([0, 10, 20]), 1, one)
    assert trainer.steps == 0


def test_an_exchange_hands_stage_and_block_over():
    calls = []
    exchange = Exchange(lambda stage, block: calls.append((stage, block)))
    call = ctypes.CFUNCTYPE(*[ctypes.c_int64] * 3)(exchange.address)
    assert exchange.error is None and call(12, 3) == 1 and calls == [(12, 3)]
    broken = Exchange(lambda stage, block: 1 / 0)
    assert ctypes.CFUNCTYPE(*[ctypes.c_int64] * 3)(broken.address)(0, 0) == 0
    assert isinstance(broken.error, ZeroDivisionError)
