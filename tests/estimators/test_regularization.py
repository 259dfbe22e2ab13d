"""Dropout, weight decay, learning-rate schedules, class weights and given first values."""

import numpy as np
import pytest
from sklearn.utils import compute_sample_weight

from normkit import MLPClassifier, MLPRegressor

LINEAR = {"activation": "identity", "alpha": 0.0, "shuffle": False, "max_iter": 1}


def kept(rate, seed, units=400, samples=200, **options):
    """Return which outputs of a hidden layer dropout kept: the model's training step shows in its gradient."""
    X = np.ones((samples, 1))
    model = MLPRegressor(
        hidden_layer_sizes=(units,), dropout=rate, random_state=seed, solver="sgd", momentum=0.0,
        learning_rate_init=1.0,
        batch_size=samples, coefs_init=[np.ones((1, units)), np.zeros((units, 1))],
        intercepts_init=[np.zeros(units), np.zeros(1)], **{**LINEAR, **options},
    ).fit(X, np.ones(samples))  # fmt: skip
    # prediction is 0, so the gradient of an output weight is minus the mean of its input over the samples
    return model.coefs_[1].ravel()


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean_and_drops_its_rate(rate):
    means = kept(rate, 0)
    deviation = np.sqrt(rate / (1 - rate))  # of one output: it is 0 or 1 / (1 - rate)
    assert abs(means.mean() - 1) < 5 * deviation / np.sqrt(400 * 200)
    assert 0.8 < means.std() / (deviation / np.sqrt(200)) < 1.2
    # of one sample: the values themselves
    values = kept(rate, 0, units=4000, samples=1)
    assert set(np.round(values * (1 - rate), 12)) == {0.0, 1.0}
    assert abs((values == 0).mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / 4000)


def test_dropout_is_reproducible_and_new_in_each_step():
    first, again, other = kept(0.5, 0), kept(0.5, 0), kept(0.5, 1)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    one, two = kept(0.5, 0, samples=1), kept(0.5, 0, samples=2)
    assert set(np.unique(one)) == {0, 2} and set(np.unique(two)) == {0, 1, 2}


@pytest.mark.parametrize(
    "norm, position", [(None, "before"), ("batch", "before"), ("batch", "after"), ("layer", "after")]
)
def test_dropout_per_layer_and_none_in_prediction(norm, position, digits):
    X, y = digits
    fit = {
        "hidden_layer_sizes": (30, 20), "normalization": norm, "norm_position": position, "random_state": 0,
        "max_iter": 3,
    }  # fmt: skip
    plain = MLPClassifier(**fit).fit(X, y)
    for dropout in ([0.5, 0.0], [0.0, 0.5], 0.5):
        model = MLPClassifier(dropout=dropout, **fit).fit(X, y)
        assert model.loss_ > plain.loss_
        np.testing.assert_array_equal(model.predict_proba(X), model.predict_proba(X))
    zero = MLPClassifier(dropout=[0, 0.0], **fit).fit(X, y)
    np.testing.assert_array_equal(zero.coefs_[0], plain.coefs_[0])


@pytest.mark.parametrize("later", [{"dropout": 0.5}, {"norm_noise": 0.5}])
def test_what_is_turned_on_later_follows_random_state(later, blobs):
    found = []
    for seed in (1, 1, 2):
        model = MLPClassifier((8,), normalization="layer", random_state=0, shuffle=False)
        model.partial_fit(*blobs, classes=[0, 1, 2])
        found.append(model.set_params(random_state=seed, **later).partial_fit(*blobs).coefs_[0])
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


def test_dropout_after_a_norm_comes_last():
    """Else the norm would see the zeros, and its output would have none."""
    X, y = np.random.default_rng(0).normal(size=(50, 1)), np.zeros(50)
    model = MLPRegressor(
        hidden_layer_sizes=(300,),
        activation="tanh",
        dropout=0.5,
        normalization="batch",
        norm_position="after",
        max_iter=1,
    ).fit(X, y)
    out, network = model._trainer._work[1].out, model._network
    block = out[network.plan.rows[1] : network.plan.rows[1] + 300, :50]
    assert 0.45 < (block == 0).mean() < 0.55


def test_norm_noise_needs_a_norm_and_a_number(blobs):
    for wrong in (-0.1, "much", np.nan):
        with pytest.raises(ValueError, match="norm_noise"):
            MLPClassifier((4,), normalization="batch", norm_noise=wrong).fit(*blobs)
    with pytest.raises(ValueError, match="norm_noise needs a norm, got norm_noise=0.5 with normalization=None"):
        MLPRegressor(hidden_layer_sizes=(4,), norm_noise=0.5).fit(*blobs)
    with pytest.raises(ValueError, match="with normalization='batch' and 0 hidden layers"):
        MLPClassifier((), normalization="batch", norm_noise=0.5).fit(*blobs)
    MLPClassifier((), normalize_input=True, norm_noise=0.5, max_iter=1).fit(*blobs)


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_norm_noise_is_reproducible_and_of_training_alone(normalization, blobs):
    fit = {
        "hidden_layer_sizes": (30,), "normalization": normalization, "max_iter": 3, "random_state": 0, "batch_size": 50
    }  # fmt: skip
    plain = MLPClassifier(**fit).fit(*blobs)
    noisy, again = (MLPClassifier(norm_noise=0.5, **fit).fit(*blobs) for _ in range(2))
    np.testing.assert_array_equal(noisy.coefs_[0], again.coefs_[0])
    assert (noisy.coefs_[0] != plain.coefs_[0]).any() and noisy.loss_ != plain.loss_
    np.testing.assert_array_equal(noisy.predict_proba(blobs[0]), again.predict_proba(blobs[0]))
    # the noise may be switched off and on between epochs
    model = MLPClassifier(norm_noise=0.5, **fit)
    model.set_params(epoch_callback=lambda model: model.set_params(norm_noise=0.0) and None).fit(*blobs)
    assert (model.coefs_[0] != noisy.coefs_[0]).any()


@pytest.mark.parametrize("solver, options", [("adam", {}), ("sgd", {"momentum": 0.9})])
def test_decoupled_weight_decay(solver, options):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 3)), rng.normal(size=40)
    coef, intercept = rng.normal(size=(3, 1)), np.array([0.5])
    rate, decay, steps = 0.05, 0.4, 5
    model = MLPRegressor(
        hidden_layer_sizes=(), solver=solver, alpha=0.0, decoupled_weight_decay=decay, learning_rate_init=rate,
        batch_size=40,
        max_iter=steps, coefs_init=[coef], intercepts_init=[intercept], **options,
    ).fit(X, y)  # fmt: skip
    w, b = coef.ravel(), 0.5
    m, v = np.zeros(4), np.zeros(4)
    for step in range(1, steps + 1):
        error = X @ w + b - y
        g = np.append(X.T @ error, error.sum()) / 40
        w = w - rate * decay * w  # the intercept does not decay
        if solver == "adam":
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            update = -rate * np.sqrt(1 - 0.999**step) / (1 - 0.9**step) * m / (np.sqrt(v) + 1e-8)
        else:
            m = 0.9 * m - rate * g
            update = 0.9 * m - rate * g
        w, b = w + update[:3], b + update[3]
    np.testing.assert_allclose(model.coefs_[0].ravel(), w, rtol=1e-10)
    np.testing.assert_allclose(model.intercepts_[0], b, rtol=1e-10)


def rates_of(**options):
    """Return the learning rate of each step, seen in how far plain SGD goes along a constant gradient."""
    X, y = np.zeros((40, 1)), np.full(40, 1e9)  # the gradient of the intercept is -1e9, whatever it is
    seen = []
    model = MLPRegressor(
        hidden_layer_sizes=(), solver="sgd", momentum=0.0, learning_rate_init=0.1, batch_size=40,
        coefs_init=[np.zeros((1, 1))],
        intercepts_init=[np.zeros(1)], alpha=0.0, epoch_callback=lambda model: seen.append(model.intercepts_[0][0]),
        tol=0.0, n_iter_no_change=1000, **options,
    )  # fmt: skip
    model.fit(X, y)
    values = np.array([0.0, *seen])
    return -np.diff(values) / (values[:-1] - 1e9)


def test_warm_up_and_cosine():
    np.testing.assert_allclose(rates_of(max_iter=3), 0.1, rtol=1e-6)
    np.testing.assert_allclose(rates_of(max_iter=6, warmup_epochs=4), [0.025, 0.05, 0.075, 0.1, 0.1, 0.1], rtol=1e-6)
    step = np.arange(1, 9)
    cosine = 0.05 * (1 + np.cos(np.pi * step / 8))
    np.testing.assert_allclose(rates_of(max_iter=8, learning_rate_decay="cosine"), cosine, rtol=1e-6, atol=1e-9)
    both = rates_of(max_iter=8, learning_rate_decay="cosine", warmup_epochs=2)
    expected = [0.05, 0.1, *(0.05 * (1 + np.cos(np.pi * np.arange(1, 7) / 6)))]
    np.testing.assert_allclose(both, expected, rtol=1e-6, atol=1e-9)


def test_warm_up_within_an_epoch():
    X, y = np.zeros((40, 1)), np.full(40, 1e9)
    model = MLPRegressor(
        hidden_layer_sizes=(), solver="sgd", momentum=0.0, learning_rate_init=0.1, batch_size=10,
        coefs_init=[np.zeros((1, 1))],
        intercepts_init=[np.zeros(1)], alpha=0.0, max_iter=1, warmup_epochs=1,
    ).fit(X, y)  # fmt: skip
    left = np.prod(1 - 0.1 * np.array([0.25, 0.5, 0.75, 1.0]))
    np.testing.assert_allclose(model.intercepts_[0], 1e9 * (1 - left), rtol=1e-9)


@pytest.mark.parametrize("class_weight", [{0: 1.0, 1: 5.0}, "balanced"])
@pytest.mark.parametrize("weighted", [False, True])
def test_class_weight_is_a_sample_weight(class_weight, weighted, digits):
    X, y = digits
    y = (y == 3).astype(int)
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y)) if weighted else None
    fit = {"hidden_layer_sizes": (10,), "max_iter": 5, "random_state": 0}
    model = MLPClassifier(class_weight=class_weight, **fit).fit(X, y, weight)
    combined = compute_sample_weight(class_weight, y) * (1 if weight is None else weight)
    expected = MLPClassifier(**fit).fit(X, y, combined)
    np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])
    assert (model.coefs_[0] != MLPClassifier(**fit).fit(X, y, weight).coefs_[0]).any()


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_class_weights_of_zero_alone(solver, digits):
    X, y = digits
    with pytest.raises(ValueError, match="class_weight gives the samples weights that sum to 0"):
        MLPClassifier((4,), solver=solver, class_weight=dict.fromkeys(range(10), 0.0)).fit(X, y)


def test_class_weight_with_names_and_partial_fit(digits):
    X, y = digits
    names = np.where(y == 3, "three", "other")
    fit = {"hidden_layer_sizes": (10,), "random_state": 0}
    model = MLPClassifier(class_weight={"three": 9.0, "other": 1.0}, **fit).partial_fit(
        X, names, classes=["other", "three"]
    )
    expected = MLPClassifier(**fit).partial_fit(X, names, np.where(y == 3, 9.0, 1.0), ["other", "three"])
    np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])
    with pytest.raises(ValueError, match="class_weight='balanced'"):
        MLPClassifier(class_weight="balanced", **fit).partial_fit(X, names, classes=["other", "three"])


def test_given_first_values(digits):
    X, y = digits
    rng = np.random.default_rng(0)
    coefs = [rng.normal(size=(64, 6)), rng.normal(size=(6, 10))]
    intercepts = [rng.normal(size=6), rng.normal(size=10)]
    copies = [values.copy() for values in (*coefs, *intercepts)]
    model = MLPClassifier((6,), coefs_init=coefs, intercepts_init=intercepts, learning_rate_init=1e-12, max_iter=1)
    model.fit(X, y)
    for got, given in zip((*model.coefs_, *model.intercepts_), (*coefs, *intercepts)):
        np.testing.assert_allclose(got, given, atol=1e-9)
    MLPClassifier((6,), coefs_init=coefs, intercepts_init=intercepts, max_iter=2).fit(X, y)
    for given, copy in zip((*coefs, *intercepts), copies):
        np.testing.assert_array_equal(given, copy)
