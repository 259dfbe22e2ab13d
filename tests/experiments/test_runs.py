"""Runs: reproducible, paired by seed, honest about time, divergence and Ctrl-C."""

import warnings

import numpy as np
import pytest

from normkit.estimators import MLPClassifier
from normkit.experiments import runs
from normkit.experiments.data import Dataset, split

PARAMETERS = {"hidden_layer_sizes": [6], "learning_rate_init": 0.01}


def blobs(rows=120):
    random = np.random.default_rng(0)
    y = np.arange(rows) % 3
    X = random.normal(size=(rows, 4)) + 2 * np.eye(3, 4)[y]
    return Dataset("blobs", X.astype(np.float32), y)


def test_a_run_is_the_same_again():
    first, again = (runs.one_run(split(blobs(), 1), "batch", 16, 1, epochs=3, **PARAMETERS) for _ in range(2))
    assert (first.test_loss, first.test_accuracy) == (again.test_loss, again.test_accuracy)
    assert [epoch.loss for epoch in first.curves] == [epoch.loss for epoch in again.curves]


def test_curves_are_those_of_the_model_and_the_last_epoch_is_reported():
    data = split(blobs(), 0)
    seen = []
    model, curves = runs.train(
        data, 4, 0, lambda number, epoch: seen.append((number, epoch)),
        normalization="batch", norm_momentum=0.5, batch_size=16, **PARAMETERS,
    )  # fmt: skip
    assert seen == list(enumerate(curves, 1)) and len(curves) == 4
    assert (curves[-1].loss, curves[-1].accuracy) == runs.evaluate(model, data.X_train, data.y_train)
    assert (curves[-1].val_loss, curves[-1].val_accuracy) == runs.evaluate(model, data.X_val, data.y_val)
    assert curves[-1].loss < curves[0].loss


def test_epochs_differ_in_their_shuffles():
    data = split(blobs(), 0)
    options = {"batch_size": 16, **PARAMETERS}
    model, _ = runs.train(data, 3, seed=5, **options)
    repeated = MLPClassifier(random_state=5, **options)  # starts the same shuffles anew at each call
    for _ in range(3):
        repeated.partial_fit(data.X_train, data.y_train, classes=data.classes)
    assert not np.array_equal(model.coefs_[0], repeated.coefs_[0])


def test_grid_is_paired_by_seed():
    done = list(runs.grid(blobs(), ["none", "layer"], [8, 16], seeds=2, epochs=1, **PARAMETERS))
    assert len(done) == 8
    assert [(r.seed, r.batch_size, r.normalization) for r in done[:3]] == [
        (0, 8, "none"), (0, 8, "layer"), (0, 16, "none"),
    ]  # fmt: skip
    alone = runs.one_run(split(blobs(), 1), "layer", 16, 1, epochs=1, **PARAMETERS)
    assert done[-1].test_loss == alone.test_loss
    assert {run.test_samples for run in done} == {24}


def test_divergence_is_a_status_not_an_error():
    run = runs.one_run(split(blobs(), 0), "none", 8, 0, epochs=2, hidden_layer_sizes=[6], learning_rate_init=1e30)
    assert run.status == "diverged" and run.test_accuracy is None and run.seconds_per_epoch is None


def test_time_is_of_training_alone_and_without_compilation(monkeypatch):
    clock = iter(range(100))
    events = []
    monkeypatch.setattr(runs.time, "perf_counter", lambda: events.append("clock") or float(next(clock)))

    def traced(name, function):
        return lambda *args, **options: events.append(name) or function(*args, **options)

    monkeypatch.setattr(MLPClassifier, "partial_fit", traced("train", MLPClassifier.partial_fit))
    monkeypatch.setattr(runs, "evaluate", traced("measure", runs.evaluate))
    _, curves = runs.train(split(blobs(), 0), 2, 0, batch_size=16, **PARAMETERS)
    assert events == ["train", *(["clock", "train", "clock", "measure", "measure"] * 2)]
    assert [epoch.seconds for epoch in curves] == [1.0, 1.0]


def test_ctrl_c_inside_an_epoch_ends_training(monkeypatch):
    # as scikit-learn's own loop does: the interrupt is swallowed and told as a warning
    def interrupted(self, *args, **options):
        warnings.warn("Training interrupted by user.", stacklevel=2)
        return self

    monkeypatch.setattr(MLPClassifier, "partial_fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runs.train(split(blobs(), 0), 2, 0, batch_size=16, **PARAMETERS)


def test_a_class_missing_from_the_training_rows_is_known():
    y = np.repeat([0, 1, 2], 20)  # sorted: the first fifth, which validates, is all of one class
    X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    X_test, y_test = X[:9], np.arange(9) % 3
    data = split(Dataset("sorted", X[8:], y[8:] + (y[8:] == 0) * 3, X_test, y_test), 0)
    run = runs.one_run(data, "none", 16, 0, epochs=1, **PARAMETERS)
    assert run.status == "ok" and set(data.classes) == {0, 1, 2, 3}


@pytest.mark.parametrize(("sizes", "expected"), [([8, 32, 8], [8, 32]), ([8, 100, 200], [8, 90]), ([90, 91], [90])])
def test_possible_batch_sizes(sizes, expected):
    assert runs.possible_batch_sizes(sizes, 90) == expected
