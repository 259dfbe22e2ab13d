"""Validation data, history, early stopping, callbacks, interruption."""

import numpy as np
import pytest
import scipy.sparse
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss

from normkit import MLPClassifier, MLPRegressor

FIT = {"hidden_layer_sizes": (12,), "normalization": "batch", "norm_momentum": 0.8, "random_state": 0, "batch_size": 40}


def snapshot(model):
    layer = model.norm_layers_[0]
    return [
        v.copy()
        for v in (
            *model.coefs_,
            model.intercepts_[1],
            layer.gamma,
            layer.beta,
            layer.moving_mean,
            layer.moving_variance,
        )
    ]


def assert_equal(one, two):
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_history_without_validation(digits):
    model = MLPClassifier(max_iter=3, **FIT).fit(*digits)
    assert list(model.history_) == ["loss"] and model.history_["loss"] is model.loss_curve_
    assert len(model.loss_curve_) == 3


@pytest.mark.parametrize("weighted", [False, True])
def test_history_with_validation_data(weighted, digits):
    X, y = digits
    train, held = slice(0, 200), slice(200, 300)
    weight = np.random.default_rng(0).uniform(0.1, 3, 100) if weighted else None
    losses, scores, training_scores = [], [], []

    def measure(model):
        losses.append(log_loss(y[held], model.predict_proba(X[held]), sample_weight=weight))
        scores.append(model.score(X[held], y[held], weight))
        training_scores.append(model.score(X[train], y[train]))

    validation = (X[held], y[held], weight) if weighted else (X[held], y[held])
    model = MLPClassifier(max_iter=4, epoch_callback=measure, **FIT).fit(X[train], y[train], validation_data=validation)
    assert set(model.history_) == {"loss", "val_loss", "val_score", "score"}
    np.testing.assert_allclose(model.history_["val_loss"], losses, rtol=1e-10)
    np.testing.assert_allclose(model.history_["val_score"], scores)
    np.testing.assert_allclose(model.history_["score"], training_scores)
    # looking on does not change the training
    assert_equal(snapshot(model), snapshot(MLPClassifier(max_iter=4, **FIT).fit(X[train], y[train])))


def test_history_of_a_regression():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 4))
    y = X[:, :2] * 3
    model = MLPRegressor(max_iter=3, **FIT).fit(X[:80], y[:80], validation_data=(X[80:], y[80:]))
    residual = model.predict(X[80:]) - y[80:]
    np.testing.assert_allclose(model.history_["val_loss"][-1], (residual**2).mean() / 2)
    np.testing.assert_allclose(model.history_["val_score"][-1], model.score(X[80:], y[80:]))


def test_history_goes_on_in_a_warm_start(digits):
    X, y = digits
    model = MLPClassifier(max_iter=2, warm_start=True, **FIT)
    for _ in range(3):
        model.fit(X[:200], y[:200], validation_data=(X[200:], y[200:]))
    assert [len(values) for values in model.history_.values()] == [6] * 4


def test_a_warm_start_without_the_early_stopping_of_before(digits, capsys):
    model = MLPClassifier(max_iter=2, early_stopping=True, warm_start=True, verbose=True, **FIT).fit(*digits)
    shown = [line.split()[-1] for line in capsys.readouterr().out.splitlines() if line.startswith("Validation score:")]
    assert shown == [f"{score:f}" for score in model.validation_scores_]
    assert model.best_loss_ is None
    model.set_params(early_stopping=False, verbose=False).fit(*digits)
    assert len(model.loss_curve_) == 4 and model.best_loss_ == min(model.loss_curve_[2:])


@pytest.mark.parametrize("given", [False, True])
def test_early_stopping_restores_everything(given, digits):
    X, y = digits
    states = []
    model = MLPClassifier(
        max_iter=60, early_stopping=True, n_iter_no_change=3, learning_rate_init=0.05,
        epoch_callback=lambda model: states.append(snapshot(model)), **FIT,
    )  # fmt: skip
    if given:
        model.fit(X[:200], y[:200], validation_data=(X[200:], y[200:]))
        assert model.t_ == 200 * model.n_iter_  # no rows are held out
    else:
        model.fit(X, y)
        assert model.t_ == 270 * model.n_iter_
    assert model.n_iter_ < 60 and len(model.validation_scores_) == model.n_iter_ == len(states)
    best = int(np.argmax(model.validation_scores_))
    assert best < model.n_iter_ - 1
    assert_equal(snapshot(model), states[best])
    if given:
        assert model.score(X[200:], y[200:]) == model.best_validation_score_
        assert model.validation_scores_ == model.history_["val_score"]


def test_bad_validation_data(digits):
    X, y = digits
    model = MLPClassifier(max_iter=1, **FIT)
    for wrong, got in ((X, "<class 'numpy.ndarray'>"), ((X,), "a tuple of 1"), ((X, y, None, None), "a tuple of 4")):
        with pytest.raises(ValueError, match=rf"validation_data must be a tuple \(X, y\) or .*, got {got}"):
            model.fit(X, y, validation_data=wrong)
    with pytest.raises(ValueError, match="63 features"):
        model.fit(X, y, validation_data=(X[:, 1:], y))
    with pytest.raises(ValueError, match="classes"):
        model.fit(X, y, validation_data=(X, y + 5))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(X, y, validation_data=(X, y[1:]))
    with pytest.raises(ValueError, match="y must have 1 columns, .* got 10"):
        MLPRegressor(max_iter=1, **FIT).fit(X, y, validation_data=(X, np.ones((300, 10))))
    with pytest.raises(ValueError, match="not fitted with multilabel input"):
        model.fit(X, y, validation_data=(X, np.eye(10)[y]))
    with pytest.raises(ValueError, match="validation_data needs solver"):
        MLPClassifier(solver="lbfgs").fit(X, y, validation_data=(X, y))


def test_epoch_callback_sees_and_stops(digits):
    seen = []

    def callback(model):
        seen.append((model.n_iter_, model.score(*digits)))
        return model.n_iter_ == 3

    model = MLPClassifier(max_iter=10, epoch_callback=callback, **FIT).fit(*digits)
    assert [n for n, _ in seen] == [1, 2, 3] and model.n_iter_ == 3
    assert model.score(*digits) == seen[-1][1]
    # only True stops, not whatever a function happens to return
    assert MLPClassifier(max_iter=4, epoch_callback=lambda model: "going", **FIT).fit(*digits).n_iter_ == 4


def test_error_in_a_callback_comes_through(digits):
    def callback(model):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        MLPClassifier(max_iter=10, epoch_callback=callback, **FIT).fit(*digits)


def test_ctrl_c_keeps_the_last_finished_epoch(digits):
    def callback(model):
        if model.n_iter_ == 3:
            raise KeyboardInterrupt

    model = MLPClassifier(max_iter=10, epoch_callback=callback, **FIT)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model.fit(*digits)
    expected = MLPClassifier(max_iter=3, **FIT).fit(*digits)
    assert model.n_iter_ == 3 and model.loss_curve_ == expected.loss_curve_
    assert_equal(snapshot(model), snapshot(expected))


def test_ctrl_c_with_early_stopping_keeps_the_best_epoch(digits):
    states = []

    def callback(model):
        states.append(snapshot(model))
        if model.n_iter_ == 12:
            raise KeyboardInterrupt

    model = MLPClassifier(
        max_iter=50, early_stopping=True, epoch_callback=callback, n_iter_no_change=50, learning_rate_init=0.05, **FIT
    )
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(*digits)
    assert_equal(snapshot(model), states[int(np.argmax(model.validation_scores_))])


class Recorder:
    """A callback of scikit-learn's protocol that notes what it is told."""

    def __init__(self):
        self.calls, self.models = [], []

    def setup(self, estimator, context):
        self.calls.append("setup")

    def teardown(self, estimator, context):
        self.calls.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.calls.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X, y, metadata, fitted_estimator):
        self.calls.append(f"end {context.task_name}")
        self.models.append((fitted_estimator, fitted_estimator.predict_proba(X)))
        self.seen = X.shape, y.shape, metadata
        return len(self.models) == 3


def test_scikit_learn_callbacks(digits):
    X, y = digits
    recorder = Recorder()
    model = MLPClassifier(max_iter=10, **FIT).set_callbacks(recorder)
    model.fit(X, y, np.ones(300))
    epochs = ["begin epoch", "end epoch"] * 3  # a true answer ends the training
    assert recorder.calls == ["setup", "begin fit", *epochs, "end fit", "teardown"]
    assert recorder.seen[:2] == ((300, 64), (300,))
    np.testing.assert_array_equal(recorder.seen[2]["sample_weight"], 1)
    assert model.n_iter_ == 3
    # the models that it was given are still those of their epochs
    for epoch, (copy, output) in enumerate(recorder.models[:3], start=1):
        np.testing.assert_array_equal(copy.predict_proba(X), output)
        expected = MLPClassifier(max_iter=epoch, **FIT).fit(X, y, np.ones(300))
        np.testing.assert_array_equal(output, expected.predict_proba(X))


def test_scikit_learn_progress_bar_and_monitor(digits, capsys):
    MLPClassifier(max_iter=3, **FIT).set_callbacks(ProgressBar()).fit(*digits)
    assert "100%" in capsys.readouterr().out
    monitor = ScoringMonitor(scoring="accuracy")
    model = MLPClassifier(max_iter=3, **FIT).set_callbacks(monitor).fit(*digits)
    scores = [(row["task_name"], row["accuracy"]) for row in monitor.get_logs().data]
    assert sorted(name for name, _ in scores) == ["epoch", "epoch", "epoch", "fit"]
    final = model.score(*digits)
    assert dict(scores) == {"epoch": final, "fit": final}


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_early_stopping_without_any_score_keeps_the_first_weights():
    rng = np.random.default_rng(0)
    X, first = rng.normal(size=(30, 3)), [np.full((3, 1), 2.0)]
    model = MLPRegressor(
        hidden_layer_sizes=(), coefs_init=first, early_stopping=True, max_iter=3, learning_rate_init=0.1
    )
    # the outputs of these rows overflow
    model.fit(X, X[:, 0], validation_data=(np.full((2, 3), 1e308), np.ones(2)))
    assert np.isnan(model.validation_scores_).all() and len(model.validation_scores_) == 3
    np.testing.assert_array_equal(model.coefs_[0], first[0])


def test_another_fit_begins_its_records_anew(digits):
    X, y = digits
    model = MLPClassifier(hidden_layer_sizes=(4,), max_iter=2, early_stopping=True, random_state=0)
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y)
        first = model.loss_curve_, model.history_, model.validation_scores_
        model.fit(X, y)
    assert (model.loss_curve_, model.history_, model.validation_scores_) == first
    assert {len(values) for values in (first[0], *first[1].values(), first[2])} == {2}
    assert model.history_["loss"] is model.loss_curve_


@pytest.mark.parametrize("early_stopping", [False, True])
def test_sparse_labels_are_measured_as_dense_ones(early_stopping, digits):
    X, y = digits
    Y = np.stack([y > 4, y % 2 == 0, y == 3], axis=1).astype(int)
    histories = []
    for kind in (np.array, scipy.sparse.csr_array):
        for validation in (None, (X[200:], kind(Y[200:]))):
            model = MLPClassifier(max_iter=3, early_stopping=early_stopping, **FIT)
            model.fit(X[:200], kind(Y[:200]), validation_data=validation)
            histories.append((model.history_, model.validation_scores_))
    assert histories[:2] == histories[2:]
