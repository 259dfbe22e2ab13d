"""A run: its record, whatever becomes of it."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from experiments_data import blobs, sets, slope
from sklearn.dummy import DummyClassifier, DummyRegressor

from normkit.engine.norms import NORMS
from normkit.estimators import MLPClassifier, MLPRegressor
from normkit.experiments.records import Condition, run_id
from normkit.experiments.running import one_run as module
from normkit.experiments.running.one_run import new_model, perform

SMALL = Condition(hidden=(6,), batch_size=16, epochs=3, learning_rate=0.01)


def test_a_run_is_the_same_again():
    condition = replace(SMALL, normalization="batch", dropout=0.2)
    first, again = (asdict(perform(sets(), condition, 1)) for _ in range(2))
    for run in (first, again):
        del run["seconds"], run["curves"]["seconds"]
    assert first == again


def test_the_record_is_of_the_last_epoch_and_of_the_test_set():
    run = perform(sets(), SMALL, seed=2, fold=1)
    assert (run.status, run.error, run.metric, run.seed, run.fold) == ("ok", None, "accuracy", 2, 1)
    assert run.run_id == run_id(SMALL, 2, 1) and run.config == SMALL and run.test_samples == 24
    assert run.train_loss == run.curves["loss"][-1] and run.validation_loss == run.curves["val_loss"][-1]
    assert run.train_score == run.curves["score"][-1] and run.validation_score == run.curves["val_score"][-1]
    assert {name: len(curve) for name, curve in run.curves.items()} == dict.fromkeys(run.curves, 3)
    assert run.seconds == pytest.approx(sum(run.curves["seconds"])) and run.updates == 3 * 5
    assert run.diagnostics is None


@pytest.mark.parametrize("normalization", [name or "none" for name in NORMS])
@pytest.mark.parametrize("dataset", [blobs, slope])
def test_every_norm_trains_on_both_kinds_of_data(normalization, dataset):
    condition = replace(SMALL, hidden=(8, 8), normalization=normalization, norm_groups=2, epochs=25)
    run = perform(sets(dataset()), condition, 0)
    assert run.status == "ok", run.error
    assert run.test_score > run.trivial_score + 0.2 and run.curves["loss"][-1] < run.curves["loss"][0]


@pytest.mark.parametrize(("dataset", "dummy"), [(blobs, DummyClassifier), (slope, DummyRegressor)])
def test_the_trivial_score_is_that_of_a_dummy(dataset, dummy):
    data = sets(dataset(), 3)
    scored = dummy().fit(data.X_train, data.y_train).score(data.X_test, data.y_test)
    assert perform(data, replace(SMALL, epochs=1), 0).trivial_score == pytest.approx(scored)


def test_the_trivial_score_of_a_constant_test_set_is_0():
    data = sets(slope())
    data.y_test = np.full(30, 0.1)
    assert np.var(data.y_test) > 0
    assert perform(data, replace(SMALL, epochs=1), 0).trivial_score == 0.0


def test_divergence_is_a_status_with_its_epoch():
    run = perform(sets(), replace(SMALL, learning_rate=1e30), 0)
    assert run.status == "diverged" and run.error == f"diverged in epoch {len(run.curves['loss']) + 1}"
    assert run.test_score is run.test_loss is run.validation_loss is None
    assert all(np.isfinite(curve).all() for curve in run.curves.values())


def test_an_error_is_a_failed_run(monkeypatch):
    def broken(*args, **options):
        raise MemoryError("no room\nfor it")

    monkeypatch.setattr(module, "fit", broken)
    run = perform(sets(), SMALL, 0)
    assert run.status == "failed" and run.error.startswith("MemoryError: no room for it (broken, line ")


def test_ctrl_c_is_no_failed_run(monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        perform(sets(), SMALL, 0)


def test_conditions_become_parameters():
    condition = Condition(
        "layer", "after", 16, 0.02, 3, (7, 5), "elu", "orthogonal", 0.25, 0.8, 4, 16, True, 0.02, 0.0, "sgd", 0.5, 0.01
    )  # fmt: skip
    model = new_model(condition, sets(), 0)
    assert isinstance(model, MLPClassifier)
    wanted = {
        "normalization": "layer", "norm_position": "after", "batch_size": 16, "learning_rate_init": 0.02,
        "hidden_layer_sizes": (7, 5), "activation": "elu", "kernel_initializer": "orthogonal", "dropout": 0.25,
        "norm_momentum": 0.8, "norm_epsilon": 0.02, "norm_groups": 4, "virtual_batch_size": 16,
        "normalize_input": True, "solver": "sgd", "momentum": 0.5, "n_threads": 1,
    }  # fmt: skip
    assert {name: getattr(model, name) for name in wanted} == wanted
    assert isinstance(new_model(condition, sets(slope()), 0), MLPRegressor)


@pytest.mark.parametrize("batch_size", [4, 16, 15])  # the last ends with a smaller batch
def test_weight_decay_is_added_to_the_gradient_whatever_the_batch_size(batch_size):
    # without a gradient of the loss a step of sgd leaves the share 1 - learning_rate * weight_decay of each weight
    data = sets(slope(80))
    data.y_train[:] = 0
    condition = replace(
        SMALL, hidden=(), batch_size=batch_size, solver="sgd", momentum=0.0, learning_rate=0.1, weight_decay=0.5
    )  # fmt: skip
    data.X_train = np.zeros_like(data.X_train)
    model = new_model(condition, data, 0)
    before = model.coefs_init[0].copy()
    model.set_params(epoch_callback=lambda m: True).fit(data.X_train, data.y_train)
    assert len(data.y_train) == 48
    steps = -(-48 // batch_size)
    np.testing.assert_allclose(model.coefs_[0], before * (1 - 0.1 * 0.5) ** steps, rtol=1e-4)


def test_a_model_that_is_kept_goes_on_with_a_penalty_like_the_decay():
    # alpha is divided by the rows of a batch
    model, _ = module.train(sets(), replace(SMALL, weight_decay=0.5), 0)
    assert model.alpha == 0.5 * model.batch_size and model._decay == 0


def test_momentum_is_the_classical_one():
    # a constant gradient g: steps of g, g (1 + m), ... and not Nesterov's g (1 + m), g (1 + m + m^2), ...
    data = sets(slope(80))
    data.X_train, data.y_train = np.zeros((8, 4), np.float32), np.full(8, 1e6)
    condition = replace(SMALL, hidden=(), batch_size=4, solver="sgd", momentum=0.5, learning_rate=1e-9)
    model = new_model(condition, data, 0).set_params(epoch_callback=lambda m: True)
    model.fit(data.X_train, data.y_train)
    np.testing.assert_allclose(model.intercepts_[0], 1e-9 * 1e6 * (1 + 1.5), rtol=1e-5)


def test_diagnostics_name_epoch_and_layer():
    run = perform(sets(), replace(SMALL, normalization="batch"), 0, diagnose=True)
    assert run.status == "ok", run.error
    assert [entry["epoch"] for entry in run.diagnostics] == [1, 1, 2, 2, 3, 3]
    plain = perform(sets(), replace(SMALL, normalization="batch"), 0)
    assert plain.curves["loss"] == run.curves["loss"] and plain.test_loss == run.test_loss
