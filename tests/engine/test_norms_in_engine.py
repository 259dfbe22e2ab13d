"""Every norm of the family: gradients of whole networks, forward passes against NumPy, threads, statistics."""

import itertools

import numba
import numpy as np
import pytest
from differences import central_differences

from normkit.engine.norms import NORMS
from normkit.engine.plan import make_plan
from normkit.engine.rows import rows_of
from normkit.engine.trainer import Trainer

SIZES = (6, 8, 4, 3)
NEW = ["rms", "group", "ghost", "renorm", "dyt"]
STATISTICS = [name for name, norm in NORMS.items() if norm.moving]
# what makes renormalization's r and d constants, as its gradient takes them: far from the moving statistics
CLIPPED = {"renorm_r_max": 1.25, "renorm_d_max": 0.2}
EPSILON = 1e-3
# a central difference is wrong by step**2 times a third derivative (1e2 where a norm has four values) and by
# rounding / step = 1e-10
STEP, TOLERANCE = 2e-6, 1e-8


def data(samples, features=SIZES[0], dtype=np.float64, seed=2):
    return np.random.default_rng(seed).normal(size=(samples, features)).astype(dtype)


def make_trainer(network, norm="", weight=None, samples=0, **settings):
    if norm == "renorm":
        network.statistics.mean[...], network.statistics.var[...] = 30.0, 1e4
        settings = {**CLIPPED, **settings}
    total = float(samples if weight is None else weight.sum())
    defaults = {"norm_momentum": 1.0, "virtual_batch_size": 4, "total_weight": total}
    return Trainer(network, "accumulate", **{**defaults, **settings})


def assert_gradient_is_right(network, trainer, targets, weight, n_threads, X):
    rows, owner = rows_of(X)
    order, edges = np.arange(len(X)), np.array([0, len(X)])

    def loss(n_threads=1):
        return trainer.run(rows, targets, weight, order, edges, n_threads)

    trainer.first[...] = 0
    # on threads the gradient alone: a step of theirs takes milliseconds where there are more of them than cores
    of_threads = loss(n_threads)
    gradient = trainer.first.copy()
    np.testing.assert_allclose(loss(), of_threads, rtol=1e-12)
    trainable = network.trainable()
    if numba.config.DISABLE_JIT:  # a step takes a hundred times as long
        trainable = trainable[::19]
        gradient[np.setdiff1d(np.arange(gradient.size), trainable)] = 0
    numeric = central_differences(network.params, trainable, loss, STEP)
    assert np.abs(numeric).max() > 1e-3
    np.testing.assert_allclose(gradient, numeric, rtol=0, atol=TOLERANCE * max(1, np.abs(numeric).max()))
    return numeric


CASES = [
    pytest.param(*case, i % 2 == 0, ["softmax", "logistic"][i % 2], id="-".join(map(str, case)))
    for i, case in enumerate(itertools.product(NEW, ["tanh", "gelu"], ["before", "after"], [False, True], [1, 2, 5]))
]


@pytest.mark.parametrize("norm, activation, position, normalize_input, n_threads, weighted, output", CASES)
def test_gradient(
    norm, activation, position, normalize_input, n_threads, weighted, output, make_network, make_targets, any_size
):
    samples = 11  # two virtual batches of four, the last with three more
    network = make_network(SIZES, output, activation, norm, position, normalize_input)
    weight = np.random.default_rng(3).integers(0, 3, samples).astype(float) if weighted else None
    trainer = make_trainer(network, norm, weight, samples)
    numeric = assert_gradient_is_right(
        network, trainer, make_targets(output, samples, SIZES[-1]), weight, n_threads, data(samples)
    )
    for name in NORMS[norm].parameters if not numba.config.DISABLE_JIT else ():
        assert np.abs(numeric[network.trainable([name])]).max() > 1e-4, name
    assert ("beta" in NORMS[norm].parameters) == (norm != "rms")


@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("norm", STATISTICS)
def test_gradient_with_frozen_statistics(norm, position, make_network, make_targets, any_size):
    network = make_network(SIZES, "softmax", "tanh", norm, position, True)
    rng = np.random.default_rng(5)
    network.statistics.mean[...] = rng.normal(size=network.statistics.mean.shape)
    network.statistics.var[...] = rng.uniform(0.5, 2, network.statistics.var.shape)
    before = network.state()
    # even a batch of one has a gradient, and its values are those of prediction
    for samples in (1, 7):
        trainer = make_trainer(network, samples=samples, frozen=True, norm_momentum=0.5)
        X, targets = data(samples), make_targets("softmax", samples, SIZES[-1])
        assert_gradient_is_right(network, trainer, targets, None, 2, X)
        rows, owner = rows_of(X)
        loss = trainer.run(rows, targets, None, np.arange(samples), np.array([0, samples]))
        np.testing.assert_allclose(loss, network.loss(network.predict(rows, np.arange(samples)), targets), rtol=1e-12)
    for mine, kept in zip(network.state()[1:], before[1:]):
        np.testing.assert_array_equal(mine, kept)


def normalize(norm, x, gamma, beta, alpha, groups, moving=None):
    """Return the output of one norm in NumPy, (samples, features)."""
    if norm == "rms":
        return gamma * x / np.sqrt((x**2).mean(axis=1, keepdims=True) + EPSILON)
    if norm == "dyt":
        return gamma * np.tanh(alpha * x) + beta
    if norm == "group":
        parts = x.reshape(len(x), groups, -1)
        centred = parts - parts.mean(axis=2, keepdims=True)
        return gamma * (centred / np.sqrt(parts.var(axis=2, keepdims=True) + EPSILON)).reshape(x.shape) + beta
    mean, var = moving
    return gamma * (x - mean) / np.sqrt(var + EPSILON) + beta


# float32: a dozen roundings of numbers of about 3
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 2e-5)])
@pytest.mark.parametrize("n_threads", [1, 2, 3, 9])
@pytest.mark.parametrize("norm, groups", [*((norm, 1) for norm in NEW), ("group", 2), ("group", 3), ("group", 6)])
def test_prediction(norm, groups, n_threads, dtype, tolerance, make_network, any_size):
    sizes = (5, 24, 12, 2)
    network = make_network(sizes, "identity", "tanh", norm, "before", False, dtype, groups=groups)
    rng = np.random.default_rng(7)
    network.statistics.mean[...] = rng.normal(size=network.statistics.mean.shape)
    network.statistics.var[...] = rng.uniform(0.5, 2, network.statistics.var.shape)
    X = data(70, 5, dtype)
    a = X.astype(np.float64)
    for b in (1, 2):
        vectors = [network.vector(name, b) for name in ("bias", "gamma", "beta", "alpha")]
        bias, *parameters = (None if v is None else v.astype(np.float64) for v in vectors)
        z = a @ network.weight(b).T + (0 if bias is None else bias)
        a = np.tanh(normalize(norm, z, *parameters, groups, network.moving(b)))
    rows, owner = rows_of(X)
    hidden = network.predict(rows, np.arange(70), n_threads, 2)
    np.testing.assert_allclose(hidden, a, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(hidden, network.predict(rows, np.arange(70), n_threads, 2))


def test_one_group_is_layer_norm(make_network, make_targets):
    layer, group = (make_network(SIZES, norm=norm, normalize_input=True, groups=1) for norm in ("layer", "group"))
    rows, owner = rows_of(data(20))
    np.testing.assert_array_equal(layer.params, group.params)
    np.testing.assert_array_equal(layer.predict(rows, np.arange(20)), group.predict(rows, np.arange(20)))


@pytest.mark.parametrize("groups, width", [(3, 8), (8, 8), (16, 8)])
def test_groups_that_do_not_fit(groups, width):
    message = f"norm_groups must divide .* got norm_groups={groups} for a layer of {width}"
    with pytest.raises(ValueError, match=message):
        make_plan([4, width, 2], "group", "before", False, 8, groups)


def train(network, X, targets, batches, n_threads=1, weight=None, **settings):
    defaults = {
        "learning_rate": 0.01, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "norm_momentum": 0.9,
        "virtual_batch_size": 4,
    }  # fmt: skip
    trainer = Trainer(network, "adam", **{**defaults, **settings})
    rows, owner = rows_of(X)
    edges = np.cumsum([0, *batches])
    return [trainer.run(rows, targets, weight, np.arange(edges[-1]), edges, n_threads) for _ in range(3)]


# float32: partial sums in another order, over a dozen steps of Adam, which scales small gradients up
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-8), (np.float32, 2e-3)])
@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("norm", NEW)
def test_any_number_of_threads(norm, position, dtype, tolerance, make_network, make_targets, any_size):
    X, targets = data(31, dtype=dtype), make_targets("softmax", 31, SIZES[-1], dtype)
    one, *others = runs = [make_network(SIZES, "softmax", "tanh", norm, position, True, dtype) for _ in range(5)]
    losses = [train(network, X, targets, (12, 12, 7), n) for network, n in zip(runs, (1, 2, 2, 3, 7))]
    assert losses[0][-1] < losses[0][0]
    np.testing.assert_array_equal(others[0].params, others[1].params)
    assert losses[1] == losses[2]
    for network in others:
        for mine, expected in zip(network.state(), one.state()):
            np.testing.assert_allclose(mine, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("norm", [name for name in NEW if name not in STATISTICS])
def test_a_sample_without_weight_is_absent(norm, make_network, make_targets):
    X, targets, weight = data(12), make_targets("softmax", 12, SIZES[-1]), np.array([1.0, 0, 2] * 4)
    all_rows, some = (make_network(SIZES, norm=norm, normalize_input=True) for _ in range(2))
    train(all_rows, X, targets, (12,), weight=weight)
    kept = weight > 0
    train(some, X[kept], targets[kept], (8,), weight=weight[kept])
    np.testing.assert_allclose(all_rows.params, some.params, rtol=1e-9, atol=1e-12)


def test_virtual_batches_are_batches_to_the_norm(make_network, make_targets, any_size):
    X, targets = data(14), make_targets("softmax", 14, SIZES[-1])
    ghost, batch = (
        make_network(SIZES[:1] + SIZES[-1:], norm=norm, normalize_input=True) for norm in ("ghost", "batch")
    )
    make_trainer(ghost, total_weight=0.0, norm_momentum=0.8).run(
        rows_of(X)[0], targets, None, np.arange(14), np.array([0, 14]), 2
    )
    # the normalized input is the only hidden layer; chunks of 4, 4 and 6
    make_trainer(batch, total_weight=0.0, norm_momentum=0.8).run(
        rows_of(X)[0], targets, None, np.arange(14), np.array([0, 4, 8, 14]), 2
    )
    for mine, expected in zip(ghost.statistics, batch.statistics):
        np.testing.assert_allclose(mine, expected, rtol=1e-12)
    # a batch smaller than two virtual ones is one batch, to the bit
    one, other = (make_network(SIZES, norm=norm) for norm in ("ghost", "batch"))
    assert train(one, X[:7], targets[:7], (7,)) == train(other, X[:7], targets[:7], (7,))
    np.testing.assert_array_equal(one.params, other.params)


@pytest.mark.parametrize("samples, chunks", [(2, 1), (4, 1), (7, 1), (8, 2), (11, 2), (12, 3), (40, 10)])
def test_room_for_virtual_batches(samples, chunks, make_network, make_targets):
    """Buffers end with one number of their own, which stays: compiled code checks no bounds."""
    network = make_network(SIZES, norm="ghost", normalize_input=True)
    trainer = make_trainer(network, total_weight=0.0)
    work = trainer._buffers(samples, 1, 0)
    assert work.rstd.shape[1] == chunks <= work.chunk_weight.shape[1]
    assert work.chunk_share.shape[1] >= (samples if chunks > 1 else 0)
    trainer._buffers = lambda *sizes: work
    share = np.full(work.chunk_share.size + 8, 7.0)
    work = work._replace(chunk_share=share[: work.chunk_share.size].reshape(work.chunk_share.shape))
    trainer.run(
        rows_of(data(samples))[0], make_targets("softmax", samples, SIZES[-1]), None, np.arange(samples),
        np.array([0, samples]), 1,
    )  # fmt: skip
    np.testing.assert_array_equal(share[-8:], 7.0)
    if chunks > 1:
        np.testing.assert_allclose(share[:samples].sum(), chunks, rtol=1e-12)


def test_a_virtual_batch_without_weight(make_network, make_targets):
    X, targets = data(12), make_targets("softmax", 12, SIZES[-1])
    X[4:8] *= 1e3
    weight = np.array([1.0] * 4 + [0.0] * 4 + [1.0] * 4)
    network, without = (make_network(SIZES, norm="ghost", normalize_input=True) for _ in range(2))
    losses = train(network, X, targets, (12,), weight=weight)
    kept = weight > 0
    expected = train(without, X[kept], targets[kept], (8,), weight=weight[kept])
    np.testing.assert_allclose(losses, expected, rtol=1e-9)
    for mine, other in zip(network.state(), without.state()):
        np.testing.assert_allclose(mine, other, rtol=1e-8, atol=1e-10)


def test_renormalization_without_correction_is_batch_norm(make_network, make_targets):
    X, targets = data(12), make_targets("softmax", 12, SIZES[-1])
    renorm, batch = (make_network(SIZES, norm=norm, normalize_input=True) for norm in ("renorm", "batch"))
    assert train(renorm, X, targets, (6, 6), renorm_r_max=1.0, renorm_d_max=0.0) == train(batch, X, targets, (6, 6))
    np.testing.assert_array_equal(renorm.params, batch.params)


def test_renormalization_without_limits_is_prediction(make_network, make_targets):
    network = make_network(SIZES, norm="renorm", normalize_input=True)
    rng = np.random.default_rng(6)
    network.statistics.mean[...] = rng.normal(size=network.statistics.mean.shape)
    network.statistics.var[...] = rng.uniform(0.5, 2, network.statistics.var.shape)
    X, targets = data(12), make_targets("softmax", 12, SIZES[-1])
    rows, owner = rows_of(X)
    predicted = network.loss(network.predict(rows, np.arange(12)), targets)
    trainer = make_trainer(network, samples=12, renorm_r_max=1e9, renorm_d_max=1e9)
    loss = trainer.run(rows, targets, None, np.arange(12), np.array([0, 12]))
    np.testing.assert_allclose(loss, predicted, rtol=1e-10)


@pytest.mark.parametrize("norm", STATISTICS)
def test_cumulative_average(norm, make_network, make_targets):
    network = make_network(SIZES, norm=norm, normalize_input=True)
    X, targets = data(20, seed=8), make_targets("softmax", 20, SIZES[-1])
    for batches in ((4, 4), (4, 8)):  # two epochs, and the average goes on
        make_trainer(network, total_weight=0.0, norm_momentum=-1.0, renorm_r_max=3.0, renorm_d_max=5.0).run(
            rows_of(X)[0], targets, None, np.arange(20), np.cumsum([0, *batches])
        )
    parts = [X[:4], X[4:8], X[:4], *([X[4:8], X[8:12]] if norm == "ghost" else [X[4:12]])]
    mean, var = network.moving(0)
    np.testing.assert_allclose(mean, np.mean([p.mean(axis=0) for p in parts], axis=0), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(var, np.mean([p.var(axis=0) for p in parts], axis=0), rtol=1e-10)
    assert (network.statistics.batches[: -SIZES[-1]] == len(parts)).all()  # the outputs have no norm


@pytest.mark.parametrize("momentum", [0.9, -1.0])
@pytest.mark.parametrize("dtype, large", [(np.float32, 1e25), (np.float64, 1e200)])
@pytest.mark.parametrize("norm", STATISTICS)
def test_moving_statistics_stay_finite(norm, dtype, large, momentum, make_network, make_targets):
    network = make_network(SIZES, norm=norm, normalize_input=True, dtype=dtype)
    X, targets = data(8, dtype=dtype), make_targets("softmax", 8, SIZES[-1], dtype)
    X[3, 2] = large  # its square is infinite
    make_trainer(network, total_weight=0.0, norm_momentum=momentum).run(
        rows_of(X)[0], targets, None, np.arange(8), np.array([0, 4])
    )
    mean, var = network.moving(0)
    assert mean[2] == 0 and var[2] == 1
    assert (np.delete(mean, 2) != 0).all()
    assert all(np.isfinite(values).all() for values in network.statistics)


@pytest.mark.parametrize("names", [("alpha",), ("gamma", "beta", "alpha")])
def test_parameters_that_are_not_trained(names, make_network, make_targets):
    network = make_network(SIZES, norm="dyt", normalize_input=True)
    before = network.params.copy()
    train(
        network, data(12), make_targets("softmax", 12, SIZES[-1]), (6, 6), **{f"train_{name}": False for name in names}
    )
    fixed = network.trainable(names)
    np.testing.assert_array_equal(network.params[fixed], before[fixed])
    moved = np.setdiff1d(network.trainable(), fixed)
    assert (network.params[moved] != before[moved]).all()


@pytest.mark.parametrize("n_threads", [1, 2])
def test_gradient_of_the_stretch_of_dynamic_tanh(n_threads, make_network, make_targets, any_size):
    network = make_network(SIZES, norm="dyt", normalize_input=True)
    trainer, targets = make_trainer(network, samples=11), make_targets("softmax", 11, SIZES[-1])
    rows, owner = rows_of(data(11))

    def loss():
        trainer.first[...] = 0
        return trainer.run(rows, targets, None, np.arange(11), np.array([0, 11]), n_threads)

    loss()
    gradient = trainer.first.copy()
    alphas = network.trainable(["alpha"])
    numeric = central_differences(network.params, alphas, loss, STEP)
    for i in alphas:
        assert gradient[i] == pytest.approx(numeric[i], abs=TOLERANCE)
        assert abs(gradient[i]) > 1e-4
