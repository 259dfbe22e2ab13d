"""Training with curves: what is measured, when, and how it ends."""

import numpy as np
import pytest
from experiments_data import blobs, sets, slope
from sklearn.metrics import log_loss, mean_squared_error, r2_score

from normkit.estimators import MLPClassifier, MLPRegressor
from normkit.experiments.data import Dataset, split
from normkit.experiments.running import fitting
from normkit.experiments.running.fitting import Measure, fit

SMALL = {"hidden_layer_sizes": (6,), "batch_size": 16, "learning_rate_init": 0.01, "random_state": 0, "n_threads": 1}


@pytest.mark.parametrize("classes", [2, 3])
def test_measures_are_those_of_scikit_learn(classes):
    data = sets(blobs(classes=classes))
    model = MLPClassifier(**SMALL, epoch_callback=lambda m: m.n_iter_ == 4).fit(data.X_train, data.y_train)
    loss, score = Measure(data.X_val, data.y_val, data.classes)(model)
    assert loss == pytest.approx(log_loss(data.y_val, model.predict_proba(data.X_val)), rel=1e-6)
    assert score == model.score(data.X_val, data.y_val)


def test_labels_may_be_words_and_probabilities_may_be_zero():
    X, y = np.float32([[1e6], [-1e6], [-1e6]]), np.array(["no", "yes", "no"])
    model = MLPClassifier((), random_state=0, epoch_callback=lambda m: True).fit(X[:2], y[:2])
    model.coefs_ = [np.full((1, 1), -1, np.float32)]
    loss, score = Measure(X, y, np.array(["no", "yes"]))(model)
    assert loss == pytest.approx(log_loss(y, model.predict_proba(X)), rel=1e-5)
    assert np.isfinite(loss) and score == pytest.approx(2 / 3)


def test_measures_of_a_regression_are_those_of_scikit_learn():
    data = sets(slope())
    model = MLPRegressor(**SMALL, epoch_callback=lambda m: m.n_iter_ == 4).fit(data.X_train, data.y_train)
    loss, score = Measure(data.X_val, data.y_val)(model)
    assert loss == pytest.approx(mean_squared_error(data.y_val, model.predict(data.X_val)), rel=1e-6)
    assert score == pytest.approx(r2_score(data.y_val, model.predict(data.X_val)), rel=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_r2_of_a_constant_follows_scikit_learn(value):
    X = np.ones((4, 2), np.float32)
    model = MLPRegressor(hidden_layer_sizes=(), random_state=0, epoch_callback=lambda m: True).fit(X, np.arange(4.0))
    model.coefs_, model.intercepts_ = [np.zeros((2, 1), np.float32)], [np.float32([value])]
    assert Measure(X, np.ones(4))(model)[1] == r2_score(np.ones(4), model.predict(X)) == value


def test_r2_of_a_constant_whose_mean_is_another_number():
    y = np.full(30, 0.1)
    assert y.mean() != 0.1
    X = np.ones((30, 1), np.float32)
    model = MLPRegressor(hidden_layer_sizes=(), random_state=0, epoch_callback=lambda m: True).fit(X, np.arange(30.0))
    assert Measure(X, y)(model)[1] == 0.0


def test_a_model_that_predicts_no_numbers_has_an_infinite_loss():
    data = sets()
    model = MLPClassifier(**SMALL, epoch_callback=lambda m: True).fit(data.X_train, data.y_train)
    model.coefs_ = [np.full_like(coef, np.nan) for coef in model.coefs_]
    loss, score = Measure(data.X_val, data.y_val, data.classes)(model)
    assert loss == np.inf and np.isnan(score)


def test_curves_are_those_of_the_model_after_each_epoch():
    data, seen = sets(), []
    model = MLPClassifier(**SMALL, normalization="batch", norm_momentum=0.5)
    train, val = (Measure(X, y, data.classes) for X, y in ((data.X_train, data.y_train), (data.X_val, data.y_val)))
    ended, curves = fit(model, data, 4, lambda m, n, e: seen.append((n, e, train(m), val(m))))
    assert ended and [n for n, *_ in seen] == [1, 2, 3, 4] and [e for _, e, *_ in seen] == curves
    for epoch, (_, _, on_train, on_val) in zip(curves, seen):
        assert (epoch.loss, epoch.score, epoch.val_loss, epoch.val_score) == (*on_train, *on_val)
    assert train(model) == (curves[-1].loss, curves[-1].score)
    assert curves[-1].loss < curves[0].loss and model.n_iter_ == 4


def test_training_goes_on_where_nothing_improves():
    data = sets()
    noisy = {**SMALL, "learning_rate_init": 0.3, "batch_size": 2}
    stopped = MLPClassifier(**noisy, tol=0.0, n_iter_no_change=10).fit(data.X_train, data.y_train)
    assert stopped.n_iter_ < 150  # scikit-learn's rule would end it
    assert len(fit(MLPClassifier(**noisy), data, 150)[1]) == 150


@pytest.mark.parametrize("rate", [1e30, 1e4])
def test_divergence_is_told_with_the_epochs_before_it(rate):
    data = sets(slope())
    model = MLPRegressor(**{**SMALL, "learning_rate_init": rate}, solver="sgd", momentum=0.0)
    ended, curves = fit(model, data, 60)
    assert not ended and len(curves) < 60
    assert np.isfinite([(e.loss, e.val_loss) for e in curves]).all()


def test_a_class_that_the_training_rows_lack_is_known():
    y = np.repeat([0, 1, 2], 20)  # sorted: the first fifth, which validates, is all of one class
    X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    data = split(Dataset("sorted", X[8:], y[8:] + (y[8:] == 0) * 3, X[:9], np.arange(9) % 3), 0)
    assert set(data.classes) > set(data.y_train)
    model = MLPClassifier(**SMALL)
    ended, curves = fit(model, data, 3)
    assert ended and len(curves) == 3 and set(model.classes_) == {0, 1, 2, 3}


def test_time_is_of_training_alone_and_without_compilation(monkeypatch):
    events, clock = [], iter(range(100))
    monkeypatch.setattr(fitting.time, "perf_counter", lambda: events.append("clock") or float(next(clock)))

    def traced(owner, name):
        function = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, **options: events.append(name) or function(*args, **options))

    traced(MLPClassifier, "_train_epoch")
    traced(Measure, "__call__")
    traced(fitting, "load_machine_code")
    fitting._load_machine_code(sets().task, sets().X_train.dtype)
    events.clear()
    _, curves = fit(MLPClassifier(**SMALL), sets(), 2)
    epoch = ["_train_epoch", "clock", "__call__", "__call__", "clock"]
    assert events == ["load_machine_code", "clock", *epoch, *epoch]
    assert [e.seconds for e in curves] == [1.0, 1.0]


@pytest.mark.parametrize("when", ["_train_epoch", "_epoch_ends"])
def test_ctrl_c_ends_training(monkeypatch, when):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    data = sets()
    fitting.load_machine_code(data)
    monkeypatch.setattr(MLPClassifier, when, interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(MLPClassifier(**SMALL), data, 3)


def test_errors_of_the_estimator_are_not_taken_for_divergence():
    with pytest.raises(ValueError, match="norm_groups"):
        fit(MLPClassifier(**SMALL, normalization="group", norm_groups=4), sets(), 1)
