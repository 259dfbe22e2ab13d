"""The grid: every combination once, and the rules that tie it to the batch size."""

import itertools
from dataclasses import asdict

import pytest
from experiments_data import sets
from hypothesis import given
from hypothesis import strategies as st

from normkit.estimators import MLPClassifier
from normkit.experiments.errors import DataError
from normkit.experiments.grid import Grid, steps_per_epoch


def test_every_list_is_crossed_with_every_other():
    lists = {
        "norms": ["batch", "layer"], "positions": ["before", "after"], "batch_sizes": [8, 16],
        "learning_rates": [0.1, 0.01], "activations": ["relu", "elu"], "hidden": [[4], [6, 5]], "dropouts": [0.0, 0.5],
        "initializers": ["he_normal", "sklearn"], "norm_noises": [0.0, 0.5],
    }  # fmt: skip
    names = {
        "norms": "normalization", "positions": "norm_position", "batch_sizes": "batch_size",
        "learning_rates": "learning_rate", "activations": "activation", "hidden": "hidden", "dropouts": "dropout",
        "initializers": "kernel_initializer", "norm_noises": "norm_noise",
    }  # fmt: skip
    cells = Grid(**lists).conditions(rows=100)
    found = {tuple(asdict(cell)[name] for name in names.values()) for cell in cells}
    wanted = {
        tuple(tuple(v) if isinstance(v, list) else v for v in each) for each in itertools.product(*lists.values())
    }
    assert len(cells) == 2**9 and found == wanted


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr_scaling": "cubic"}, "--lr-scaling must be one of none, sqrt, linear, got 'cubic'"),
        ({"budget": "update"}, "--budget must be one of epochs, updates, got 'update'"),
        ({"norms": ["layer"], "hidden": [[4], [8, 1]]}, "layer normalization makes a layer of 1 constant"),
    ],
)
def test_what_is_no_grid(values, message):
    with pytest.raises(DataError, match=message):
        Grid(**values)


def test_other_norms_than_layer_take_layers_of_one():
    assert Grid(norms=["none", "batch", "rms"], hidden=[[1]]).conditions(rows=50)


def test_no_norm_has_no_noise():
    cells = Grid(norms=["none", "batch"], norm_noises=[0.0, 0.5], batch_sizes=[8]).conditions(rows=50)
    assert [(c.choice, c.norm_noise) for c in cells] == [("none", 0.0), ("batch", 0.0), ("noisy batch", 0.5)]


def test_no_norm_has_no_position_and_cut_batch_sizes_fall_together():
    cells = Grid(norms=["none", "layer"], positions=["before", "after"], batch_sizes=[8, 60, 200]).conditions(rows=50)
    assert [(c.batch_size, c.choice) for c in cells] == [
        (8, "none"), (8, "layer"), (8, "layer after"), (50, "none"), (50, "layer"), (50, "layer after"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("scaling", "base", "expected"),
    [("none", None, [0.1, 0.1]), ("linear", None, [0.1, 0.4]), ("sqrt", None, [0.1, 0.2]), ("linear", 16, [0.05, 0.2])],
)
def test_learning_rates_follow_the_batch_size(scaling, base, expected):
    grid = Grid(batch_sizes=[8, 32], norms=["none"], learning_rates=[0.1], lr_scaling=scaling, base_batch_size=base)
    assert [c.learning_rate for c in grid.conditions(rows=100)] == pytest.approx(expected)
    rule = grid.rules(rows=100)[1]
    for rate, size in zip(expected, (8, 32)) if scaling != "none" else ():
        assert f"{rate:g} at {size}" in rule
    assert (rule == "learning rate 0.1 at every batch size") is (scaling == "none")


def test_the_rate_is_as_given_at_the_smallest_batch_that_is_run():
    grid = Grid(batch_sizes=[2000], norms=["none"], learning_rates=[0.1], lr_scaling="linear")
    assert [c.learning_rate for c in grid.conditions(rows=90)] == [0.1]
    assert "at batch size 90" in grid.rules(rows=90)[1]


def test_a_budget_of_updates_is_whole_epochs_that_take_at_least_as_many():
    grid = Grid(batch_sizes=[8, 32, 100], norms=["none"], budget="updates", updates=50)
    # 13, 4 and 1 steps an epoch
    assert [c.epochs for c in grid.conditions(rows=100)] == [4, 13, 50]
    assert grid.rules(rows=100)[0] == (
        "as many whole epochs as 50 updates take (4 at batch size 8, 13 at batch size 32, 50 at batch size 100)"
    )


def test_updates_are_by_default_those_of_the_epochs_at_the_base_batch_size():
    grid = Grid(batch_sizes=[8, 32], norms=["none"], budget="updates", epochs=4)
    assert [c.epochs for c in grid.conditions(rows=100)] == [4, 13]  # 52 updates, 4 an epoch


@given(st.integers(2, 40), st.integers(1, 60), st.sampled_from(["batch", None]))
def test_steps_are_those_of_the_optimizer(rows, size, norm):
    data = sets()
    rows, size = max(rows, 3), max(size, 2)
    model = MLPClassifier(
        (2,), batch_size=min(size, rows), max_iter=1, normalization=norm, epoch_callback=lambda m: True
    )
    model.fit(data.X_train[:rows], data.y_train[:rows])
    assert steps_per_epoch(rows, size, norm == "batch") == model._trainer.steps


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"batch_sizes": [1, 8], "norms": ["none", "renorm"]}, "leave 1 out of --batch-sizes or renorm out of --norms"),
        ({"norms": ["group"], "hidden": [[64], [16, 12]]}, "--norm-groups 8 must divide a layer of 12"),
        ({"norms": ["group"], "hidden": [[8]]}, "--norm-groups 8 must divide a layer of 8"),
    ],
)
def test_what_cannot_be_trained_is_refused(values, words):
    with pytest.raises(DataError, match=words):
        Grid(**values)


def test_batches_of_one_are_no_trouble_without_a_norm_over_the_batch():
    assert Grid(batch_sizes=[1], norms=["none", "layer"]).conditions(rows=10)
