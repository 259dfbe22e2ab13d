"""Pairing: with one seed the split, the first weights and the order of the rows are the same."""

import numpy as np
import pytest
from experiments_data import blobs, sets

from normkit.experiments import data
from normkit.experiments.records import Condition
from normkit.experiments.running.one_run import new_model, perform
from normkit.experiments.running.seeds import Draws, stream


def trained(seed=0, fold=0, **condition):
    """A model after an epoch whose learning rate changes nothing, and the weights it was given."""
    split = sets(seed=seed)
    model = new_model(Condition(**{"hidden": (6, 5), "batch_size": 16, **condition}), split, seed, fold)
    given = [np.array(coef, np.float32) for coef in model.coefs_init]
    model.set_params(max_iter=1, learning_rate_init=1e-30, epoch_callback=lambda m: True)
    return model.fit(split.X_train, split.y_train), given


class Recorded(Draws):
    """Keeps what it shuffled."""

    def shuffle(self, x):
        super().shuffle(x)
        self.orders = [*getattr(self, "orders", []), np.array(x)]


def orders(**condition):
    split = sets()
    model = new_model(Condition(**{"hidden": (6, 5), "batch_size": 16, **condition}), split, 0)
    model.set_params(random_state=Recorded(0), max_iter=3, tol=0.0, n_iter_no_change=np.inf)
    model.set_params(epoch_callback=lambda m: m.n_iter_ == 3).fit(split.X_train, split.y_train)
    return model.random_state.orders


@pytest.mark.parametrize(
    "other",
    [
        {"normalization": "batch"}, {"normalization": "layer", "norm_position": "after"}, {"normalization": "rms"},
        {"batch_size": 7}, {"learning_rate": 0.3}, {"dropout": 0.5}, {"activation": "elu"}, {"hidden": (9,)},
        {"kernel_initializer": "orthogonal"}, {"kernel_initializer": "sklearn"}, {"solver": "sgd"},
    ],
    ids=str,
)  # fmt: skip
def test_the_order_of_the_rows_is_that_of_the_seed(other):
    first, second = orders(), orders(**other)
    assert len(first) == 3 and not np.array_equal(first[0], first[1])
    for mine, theirs in zip(first, second):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("initializer", ["he_normal", "glorot_uniform", "orthogonal", "sklearn"])
@pytest.mark.parametrize(
    "other",
    [
        {"normalization": "batch"}, {"normalization": "batch", "norm_position": "after"}, {"normalization": "dyt"},
        {"batch_size": 64}, {"dropout": 0.5}, {"solver": "sgd"},
    ],
    ids=str,
)  # fmt: skip
def test_first_weights_are_those_of_the_seed_with_and_without_bias(initializer, other):
    common = {"kernel_initializer": initializer}
    plain, before = trained(**common)
    model, others_before = trained(**common, **other)
    assert len(before) == 3
    for a, b, c, d in zip(before, others_before, plain.coefs_, model.coefs_):
        np.testing.assert_array_equal(a, b)
        # the estimators really start from them: the learning rate leaves them as they were
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(a, d)
    # zeros have moved by a step of about 1e-30
    for with_norm, without in zip(model.intercepts_, plain.intercepts_):
        assert np.allclose(with_norm, without, 0, 1e-20) or np.allclose(with_norm, 0, 0, 1e-20)
    np.testing.assert_allclose(model.intercepts_[-1], plain.intercepts_[-1], 0, 1e-20)


def test_layers_of_one_shape_start_alike_in_networks_of_several():
    _, narrow = trained(hidden=(6, 5))
    _, wide = trained(hidden=(8, 5))
    assert narrow[0].shape != wide[0].shape
    np.testing.assert_array_equal(narrow[2], wide[2])


def test_layers_of_one_network_do_not_start_alike():
    _, given = trained(hidden=(6, 6, 6))
    assert given[1].shape == given[2].shape and not np.array_equal(given[1], given[2])


@pytest.mark.parametrize("key", [{"seed": 1}, {"fold": 1}])
def test_other_seeds_and_folds_draw_other_numbers(key):
    _, first = trained()
    _, second = trained(**key)
    assert not np.array_equal(first[0], second[0])
    order, other = np.arange(50), np.arange(50)
    Draws(0).shuffle(order)
    Draws(**{"seed": 0, **key}).shuffle(other)
    assert not np.array_equal(order, other)


def test_layers_and_purposes_are_independent():
    drawn = {
        stream(purpose, seed, layer).rand() for purpose in ("kernel", "order") for seed in (0, 1) for layer in (0, 1)
    }
    assert len(drawn) == 8


def test_the_split_is_that_of_the_seed():
    first, again, other = (data.split(blobs(), seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.X_train, again.X_train)
    assert not np.array_equal(first.X_train, other.X_train)


def test_a_run_does_not_depend_on_those_before_it():
    condition = Condition(hidden=(6,), epochs=2, batch_size=16, normalization="batch", dropout=0.3)
    alone = perform(sets(seed=5), condition, 5)
    np.random.seed(99)
    perform(sets(seed=1), condition, 1)
    again = perform(sets(seed=5), condition, 5)
    assert alone.curves["loss"] == again.curves["loss"] and alone.test_loss == again.test_loss
