"""What scikit-learn's callbacks are given, by both ways to train."""

import numpy as np
import pytest

from normkit import MLPClassifier
from normkit.engine.trainer import Trainer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Listener:
    """A callback that keeps all that its hooks are given."""

    def __init__(self):
        self.begun, self.ended = [], []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context, *, X, y, metadata):
        self.begun.append((estimator, context.task_name, context.max_subtasks, X, y, metadata))

    def on_fit_task_end(self, estimator, context, *, X, y, metadata, fitted_estimator):
        # there is none of a step that was cut off
        coefs = fitted_estimator and [coef.copy() for coef in fitted_estimator.coefs_]
        self.ended.append((estimator, context.task_name, context.max_subtasks, X, y, metadata, coefs))


@pytest.mark.parametrize("solver, step", [("adam", "epoch"), ("lbfgs", "iteration")])
@pytest.mark.parametrize("weighted", [False, True])
def test_callbacks_are_given_the_training_data(solver, step, weighted):
    rng = np.random.default_rng(0)
    X, weight = rng.normal(size=(40, 3)), rng.uniform(1, 2, 40) if weighted else None
    y, listener = np.where(X[:, 0] > 0, "b", "a"), Listener()
    model = MLPClassifier(hidden_layer_sizes=(4,), solver=solver, max_iter=2, tol=0.0, random_state=0)
    model.set_callbacks(listener).fit(X, y, weight)

    def assert_data(given_X, given_y, metadata):
        np.testing.assert_array_equal(given_X, X)
        np.testing.assert_array_equal(np.ravel(given_y), y)
        assert list(metadata) == (["sample_weight"] if weighted else [])
        if weighted:
            np.testing.assert_array_equal(metadata["sample_weight"], weight)

    assert [told[1:3] for told in listener.begun] == [("fit", 2), (step, 0), (step, 0)]
    assert [told[1:3] for told in listener.ended] == [(step, 0), (step, 0), ("fit", 2)]
    assert all(told[0] is model for told in [*listener.begun, *listener.ended])
    assert_data(*listener.begun[0][3:])
    for told in listener.ended:
        assert_data(*told[3:6])
    # a model of its own, of the moment
    first, second, last = (told[6] for told in listener.ended)
    assert any((a != b).any() for a, b in zip(first, second))
    for a, b, c in zip(second, last, model.coefs_, strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, c)


def test_the_iteration_that_an_interrupt_cuts_off_ends_with_its_model(monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    listener = Listener()
    X = np.random.default_rng(0).normal(size=(40, 3))
    model = MLPClassifier(hidden_layer_sizes=(4,), solver="lbfgs", random_state=0).set_callbacks(listener)
    with monkeypatch.context() as patch, pytest.warns(UserWarning, match="interrupted by user"):
        patch.setattr(Trainer, "run", interrupted)
        model.fit(X, X[:, 0] > 0)
    assert [told[:2] for told in listener.ended] == [(model, "iteration"), (model, "fit")]


def test_a_partial_fit_is_one_epoch_to_callbacks():
    listener = Listener()
    X = np.random.default_rng(0).normal(size=(40, 3))
    model = MLPClassifier(hidden_layer_sizes=(4,), max_iter=9, random_state=0).set_callbacks(listener)
    model.partial_fit(X, X[:, 0] > 0, classes=[False, True])
    assert [told[1:3] for told in listener.begun] == [("fit", 1), ("epoch", 0)]
