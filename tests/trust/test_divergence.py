"""Training whose numbers overflow: the last finite model, and a warning that names the epoch."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from normkit import MLPClassifier, MLPRegressor, load
from normkit.engine.network import Network
from normkit.engine.norms import NORMS
from normkit.engine.trainer import Trainer
from normkit.estimators._divergence import LastFinite, is_finite

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = X @ [1.0, -2.0, 0.5]
# squared errors of a network without norm grow without bound at this rate, but not in the first epoch
GROWS = {
    "hidden_layer_sizes": (5,), "activation": "identity", "solver": "sgd", "learning_rate_init": 5.0, "batch_size": 40,
    "random_state": 0, "n_iter_no_change": 10**6, "dtype": "float32",
}  # fmt: skip


def state_of(model):
    return [values.copy() for values in (*model.coefs_, *model.intercepts_)]


def assert_same(one, two):
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def diverged(model, *data):
    """Fit, and return the number in the warning."""
    with pytest.warns(ConvergenceWarning, match=r"Training diverged: epoch \d+ ended") as caught:
        model.fit(*data)
    return int(str(caught[0].message).split("epoch ")[1].split()[0])


def test_numbers_whose_sum_is_not_finite_may_be_finite():
    def of(*statistics):
        return SimpleNamespace(params=np.ones(3, np.float32), statistics=[np.array(s, np.float32) for s in statistics])

    assert is_finite(of()) and is_finite(of([1e38] * 9))
    assert not is_finite(of([1e38] * 9, [np.inf])) and not is_finite(of([0, np.nan]))


def test_the_model_of_the_epoch_before_stays():
    model = MLPRegressor(max_iter=100, **GROWS)
    epoch = diverged(model, X, Y)
    assert 2 < epoch < 100 and model.n_iter_ == len(model.loss_curve_) == epoch
    before = MLPRegressor(max_iter=epoch - 1, **GROWS).fit(X, Y)
    assert_same(state_of(model), state_of(before))
    assert np.isfinite(model.predict(X)).all()


def test_divergence_in_the_first_epoch_is_scikit_learns_error():
    """There is no trained model to keep, and an earlier fit's stays."""
    model = MLPRegressor(max_iter=3, **{**GROWS, "learning_rate_init": 1e-3}).fit(X, Y)
    kept = state_of(model)
    with pytest.raises(ValueError, match="non-finite"), np.errstate(all="ignore"):
        model.fit(X * 1e30, Y)
    assert_same(state_of(model), kept)
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize("how", ["partial_fit", "warm_start"])
def test_going_on_with_a_trained_model(how):
    """It stays as it was before the epoch that diverged, and goes on from there with sane data."""
    model = MLPRegressor(max_iter=3, **{**GROWS, "learning_rate_init": 1e-3}).fit(X, Y)
    kept = state_of(model)
    if how == "warm_start":
        model.set_params(warm_start=True)
    with pytest.warns(ConvergenceWarning, match="diverged: epoch 1"), np.errstate(all="ignore"):
        (model.partial_fit if how == "partial_fit" else model.fit)(X * 1e30, Y)
    assert_same(state_of(model), kept)
    model.partial_fit(X, Y)
    assert np.isfinite(model.predict(X)).all() and not np.array_equal(model.coefs_[0], kept[0])


def test_going_on_after_lbfgs():
    model = MLPRegressor(hidden_layer_sizes=(5,), solver="lbfgs", max_iter=50, random_state=0, tol=1e-2).fit(X, Y)
    kept = state_of(model)
    model.set_params(solver="sgd", learning_rate_init=1e100, batch_size=10)
    with pytest.warns(ConvergenceWarning, match="diverged: epoch 1"), np.errstate(all="ignore"):
        model.partial_fit(X, Y)
    assert_same(state_of(model), kept)


def test_early_stopping_keeps_the_best_epoch():
    states, model = [], MLPRegressor(max_iter=100, early_stopping=True, **{**GROWS, "batch_size": 36})
    model.set_params(epoch_callback=lambda model: states.append(state_of(model)))
    with np.errstate(all="ignore"):
        epoch = diverged(model, X, Y)
    scores = model.validation_scores_
    assert len(states) == len(scores) == epoch and np.isnan(scores[-1])
    assert_same(state_of(model), states[int(np.nanargmax(scores))])


def test_callbacks_see_the_epoch_that_diverged():
    """They may look at what happened, and end the training themselves."""
    seen = []
    model = MLPRegressor(max_iter=100, epoch_callback=lambda model: seen.append(model.loss_) or False, **GROWS)
    epoch = diverged(model, X, Y)
    assert len(seen) == epoch and np.isfinite(seen[0])


@pytest.mark.parametrize("norm", NORMS)
def test_every_norm(norm, monkeypatch):
    """Overflow by hand in epoch 3, in a parameter and in a moving statistic: both are restored."""
    run = Trainer.run
    fit = {
        "hidden_layer_sizes": (4,), "normalization": norm, "norm_groups": 2, "random_state": 0, "batch_size": 20
    }  # fmt: skip
    expected = MLPClassifier(max_iter=2, **fit).fit(X, Y > 0)

    def broken(trainer, *arguments):
        loss = run(trainer, *arguments)
        if trainer.steps == 3 * 2:
            values = trainer.network.statistics.mean if NORMS[norm].moving else trainer.network.params
            values[-1] = np.inf
        return loss

    monkeypatch.setattr(Trainer, "run", broken)
    model = MLPClassifier(max_iter=9, **fit)
    assert diverged(model, X, Y > 0) == 3
    assert_same(state_of(model), state_of(expected))
    np.testing.assert_array_equal(model.predict_proba(X), expected.predict_proba(X))


def test_what_is_kept_can_be_saved(tmp_path):
    model = MLPRegressor(max_iter=100, **GROWS)
    diverged(model, X, Y)
    model.save(tmp_path / "model")
    for copy in (load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(copy.predict(X), model.predict(X))


def small_network(width):
    return Network([2, width, 1], np.float64, "identity", ["tanh"], [0.0], None, "before", False, 1e-3)


def test_a_network_that_began_with_what_is_not_finite():
    network = small_network(3)
    network.params[...] = np.nan
    model = SimpleNamespace(_network=network, n_iter_=2)
    last = LastFinite(network, True)
    assert not last.keep(network)
    last.restore(model)  # there is nothing to go back to
    assert np.isnan(network.params).all()
    network.params[...] = 1.0
    assert last.keep(network)
    network.params[...] = np.inf
    assert not last.keep(network)
    with pytest.warns(ConvergenceWarning, match="diverged: epoch 2 ended"):
        last.restore(model)
    assert (network.params == 1.0).all()


def test_a_network_that_a_callback_put_in_the_place_of_another():
    last, other = LastFinite(small_network(3), False), small_network(5)
    other.params[...] = 2.0
    model = SimpleNamespace(_network=other, n_iter_=1)
    last.restore(model)  # not trained, and of another shape
    assert last.keep(other) and last.trained
    other.params[...] = np.nan
    with pytest.warns(ConvergenceWarning):
        last.restore(model)
    assert (other.params == 2.0).all()
    last.restore(SimpleNamespace(_network=small_network(3), n_iter_=1))  # no warning: it is not what was kept
