"""What watches L-BFGS: callbacks between iterations, and Ctrl-C."""

import warnings

import numpy as np
import pytest
from sklearn import neural_network
from sklearn.exceptions import ConvergenceWarning

from normkit import MLPClassifier, MLPRegressor
from normkit.engine.trainer import Trainer

FIT = {"hidden_layer_sizes": (8,), "solver": "lbfgs", "random_state": 0, "tol": 0.0}


pytestmark = pytest.mark.filterwarnings("ignore:lbfgs failed to converge")


def state_of(model):
    arrays = [*model.coefs_, *model.intercepts_]
    arrays += [layer.moving_mean for layer in model.norm_layers_] + [
        layer.moving_variance for layer in model.norm_layers_
    ]
    return [array.copy() for array in arrays]


def assert_same(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("normalization", [None, "batch"])
def test_callback_sees_each_iterate(normalization, digits):
    seen = []

    def callback(model):
        seen.append((model.n_iter_, model.loss_, state_of(model)))

    fit = {**FIT, "normalization": normalization, "max_iter": 6}
    model = MLPClassifier(epoch_callback=callback, **fit).fit(*digits)
    assert [n_iter for n_iter, _, _ in seen] == [1, 2, 3, 4, 5, 6] and model.n_iter_ == 6
    losses = [loss for _, loss, _ in seen]
    assert losses == sorted(losses, reverse=True) and losses[-1] == model.loss_
    # moving statistics too: a model to predict with
    assert_same(seen[-1][2], state_of(model))
    # and nobody watching changes nothing
    assert_same(state_of(MLPClassifier(**fit).fit(*digits)), state_of(model))


def test_callback_stops(digits):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = MLPClassifier(max_iter=50, epoch_callback=lambda model: model.n_iter_ == 3, **FIT).fit(*digits)
    assert model.n_iter_ == 3
    assert_same(state_of(model), state_of(MLPClassifier(max_iter=3, **FIT).fit(*digits)))


class Recorder:
    """A callback of scikit-learn's protocol that notes what it is told."""

    def __init__(self):
        self.told = []

    def setup(self, estimator, context):
        self.told.append("setup")

    def teardown(self, estimator, context):
        self.told.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.told.append(("begin", context.task_name, context.task_id))

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        self.told.append(("end", context.task_name, context.task_id))
        self.last = fitted_estimator


def test_scikit_learn_callbacks(digits):
    recorder = Recorder()
    model = MLPClassifier(max_iter=3, **FIT).set_callbacks(recorder).fit(*digits)
    steps = [(what, "iteration", i) for i in range(3) for what in ("begin", "end")]
    assert recorder.told == ["setup", ("begin", "fit", 0), *steps, ("end", "fit", 0), "teardown"]
    assert_same(state_of(recorder.last), state_of(model))


@pytest.mark.parametrize("normalization", [None, "batch"])
@pytest.mark.parametrize("evaluation", [1, 7])
def test_interrupt_keeps_the_last_iterate(evaluation, normalization, digits, monkeypatch):
    run, calls = Trainer.run, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == evaluation:
            raise KeyboardInterrupt
        return run(*arguments)

    fit = {**FIT, "normalization": normalization}
    recorder = Recorder()
    model = MLPClassifier(max_iter=50, **fit).set_callbacks(recorder)
    with monkeypatch.context() as patch, pytest.warns(UserWarning, match="interrupted by user") as record:
        patch.setattr(Trainer, "run", interrupted)
        model.fit(*digits)
    assert record[0].filename == __file__
    assert (model.n_iter_ == 0) == (evaluation == 1)
    if model.n_iter_:
        assert_same(state_of(model), state_of(MLPClassifier(max_iter=model.n_iter_, **fit).fit(*digits)))
    assert np.isfinite(model.predict_proba(digits[0])).all()
    # the iteration that was cut off ends too
    begun, ended = ([told[1:] for told in recorder.told if told[0] == what] for what in ("begin", "end"))
    assert sorted(begun) == sorted(ended)


@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
def test_a_loss_that_overflows_ends_with_a_warning_and_a_finite_model(normalization):
    X = np.random.default_rng(0).normal(size=(50, 4))
    model = MLPRegressor(hidden_layer_sizes=(8,), normalization=normalization, solver="lbfgs", random_state=0)
    with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge after 0 iteration"):
        model.fit(X, X[:, 0] * 1e160)
    assert np.isfinite(model.predict(X)).all() and model.n_iter_ == 0


@pytest.mark.parametrize("weighted", [False, True])
def test_rows_by_chunks_are_scikit_learns_loss_of_all_rows(weighted, digits, monkeypatch):
    X, y = digits
    weight = np.random.default_rng(0).uniform(0, 3, len(y)) if weighted else None
    monkeypatch.setattr("normkit.estimators._lbfgs.CHUNK", 70)  # of 300
    fit = {**FIT, "alpha": 0.5, "max_iter": 5}
    mine, theirs = (estimator(**fit).fit(X, y, weight) for estimator in (MLPClassifier, neural_network.MLPClassifier))
    assert mine.loss_ == pytest.approx(theirs.loss_, rel=1e-10)
    for a, b in zip([*mine.coefs_, *mine.intercepts_], [*theirs.coefs_, *theirs.intercepts_], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)


def test_a_fit_by_lbfgs_keeps_nothing_of_an_earlier_solver(digits):
    model = MLPClassifier(**{**FIT, "solver": "adam", "max_iter": 2}).fit(*digits)
    model.set_params(**FIT).fit(*digits)
    assert vars(model).keys() == vars(MLPClassifier(**FIT).fit(*digits)).keys()
