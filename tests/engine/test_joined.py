"""Training on parts of each batch, as processes do it that train one model: here threads, each with its own network."""

import threading

import numpy as np
import pytest

from normkit.engine.rows import rows_of
from normkit.engine.trainer import Trainer

SIZES = (5, 6, 4, 3)
# how many samples of each batch the two have; none of one
PARTS = [(5, 3), (4, 4), (0, 6), (7, 1)]
SETTINGS = {
    "learning_rate": 0.01, "alpha": 0.1, "norm_momentum": 0.9, "renorm_r_max": 1.5, "renorm_d_max": 0.4,
    # a small epsilon of Adam's makes steps of gradients that are rounding errors alone
    "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-3,
}  # fmt: skip


class Group:
    """What `size` threads exchange; each of them has its own `Member`."""

    def __init__(self, size):
        self.size, self.slots = size, [None] * size
        self.barrier = threading.Barrier(size, timeout=120)

    def exchange(self, rank, array):
        self.slots[rank] = array.copy()
        self.barrier.wait()
        table = np.stack(self.slots)
        self.barrier.wait()
        return table


class Member:
    synchronize = True

    def __init__(self, group, rank):
        self.group, self.rank, self.size = group, rank, group.size

    def gather(self, array):
        return self.group.exchange(self.rank, array)

    def gather_into(self, array, out):
        out[...] = self.gather(array).ravel()

    def add(self, array):
        array[...] = self.gather(array).sum(axis=0)


def train(network, X, Y, weight, parts, optimizer, processes=None, epochs=2):
    """Return the loss of each epoch, over batches of so many samples."""
    trainer = Trainer(network, optimizer, **SETTINGS)
    rows, owner = rows_of(X)
    edges = np.append(0, np.cumsum(parts))
    return [trainer.run(rows, Y, weight, np.arange(len(X)), edges, 1, processes) for _ in range(epochs)]


def together(networks, X, Y, weight, optimizer):
    """Train one network a thread, each on its samples."""
    group, results = Group(len(networks)), {}
    owner = np.concatenate([np.repeat([0, 1], part) for part in PARTS])

    def work(rank):
        mine = owner == rank
        w = None if weight is None else weight[mine]
        try:
            results[rank] = train(
                networks[rank], X[mine], Y[mine], w, [part[rank] for part in PARTS], optimizer, Member(group, rank)
            )
        except BaseException as error:
            group.barrier.abort()
            results[rank] = error

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(len(networks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("norm", [None, "batch", "renorm", "layer"])
def test_parts_of_batches_are_trained_as_the_whole(norm, position, optimizer, weighted, make_network, make_targets):
    samples = sum(map(sum, PARTS))
    networks = [make_network(SIZES, "softmax", "tanh", norm, position, True) for _ in range(3)]
    rng = np.random.default_rng(0)
    X, Y = 2 + rng.normal(size=(samples, SIZES[0])), make_targets("softmax", samples, SIZES[-1])
    weight = rng.uniform(0.5, 2, samples) if weighted else None
    results = together(networks[:2], X, Y, weight, optimizer)
    before = networks[2].params.copy()
    losses = train(networks[2], X, Y, weight, [sum(part) for part in PARTS], optimizer)
    assert np.abs(networks[2].params - before).max() > 1e-3
    for rank in range(2):
        np.testing.assert_allclose(results[rank], losses, rtol=1e-9)
        np.testing.assert_allclose(networks[rank].params, networks[2].params, rtol=0, atol=1e-9)
        for mine, whole in zip(networks[rank].statistics, networks[2].statistics):
            np.testing.assert_allclose(mine, whole, rtol=1e-9)


def test_what_an_exchange_raises_ends_the_training(make_network, make_targets):
    class Broken(Member):
        def add(self, array):
            raise ConnectionError("the other one is gone")

    network = make_network(SIZES, "softmax", "tanh", "batch", "before", True)
    X, Y = np.random.default_rng(0).normal(size=(8, SIZES[0])), make_targets("softmax", 8, SIZES[-1])
    with pytest.raises(ConnectionError, match="the other one is gone"):
        train(network, X, Y, None, [8], "adam", Broken(Group(1), 0))
