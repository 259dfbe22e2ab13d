"""Norms folded into the weights of a plain scikit-learn model."""

import doctest
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn import neural_network

import normkit.estimators._exporting
import normkit.estimators._persistence
from normkit import MLPClassifier, MLPRegressor

SHORT = {"hidden_layer_sizes": (7, 5), "max_iter": 3, "batch_size": 20, "random_state": 0}
# rounding of sums of up to 7 products in another order
TOLERANCE = {"float32": 2e-6, "float64": 1e-14}


@pytest.fixture
def X():
    return 2 + np.random.default_rng(0).normal(size=(60, 4))  # (samples, features)


def moved(model):
    """Give the norms scales and shifts that three epochs have not given them."""
    random = np.random.default_rng(1)
    for layer in model.norm_layers_:
        for values in layer.trainable_variables.values():
            values += random.normal(size=values.shape)
    return model


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("norm", [None, "batch", "ghost", "renorm"])
def test_regressors(X, norm, position, activation, dtype):
    X = X.astype(dtype)
    for normalize_input in (False, True):
        model = MLPRegressor(
            activation=activation, normalization=norm, norm_position=position, normalize_input=normalize_input,
            input_scale=0.5, virtual_batch_size=10, **SHORT,
        )  # fmt: skip
        plain = moved(model.fit(X, X[:, :2])).fold_norm()
        assert type(plain) is neural_network.MLPRegressor
        assert plain.predict(X).dtype == dtype
        expected = model.predict(X)
        np.testing.assert_allclose(plain.predict(X), expected, rtol=0, atol=TOLERANCE[dtype] * np.abs(expected).max())


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("labels", [2, 3, "several"])
def test_classifiers(X, labels, center):
    y = (X[:, :3] > 2).astype(int)
    y = y if labels == "several" else np.array(["a", "b", "c"])[y[:, : labels - 1].sum(axis=1)]
    model = MLPClassifier(normalization="batch", norm_center=center, norm_scale=not center, dropout=0.2, **SHORT)
    plain = moved(model.fit(X, y)).fold_norm()
    assert type(plain) is neural_network.MLPClassifier
    np.testing.assert_allclose(plain.predict_proba(X), model.predict_proba(X), rtol=0, atol=1e-14)
    np.testing.assert_array_equal(plain.predict(X), model.predict(X))
    np.testing.assert_array_equal(plain.classes_, model.classes_)


def test_the_copy_stands_alone(X):
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = MLPClassifier(normalization="batch", **SHORT).fit(frame, X[:, 0] > 2)
    plain = model.fold_norm()
    np.testing.assert_array_equal(plain.feature_names_in_, list("abcd"))
    assert plain.loss_curve_ == model.loss_curve_ and plain.loss_curve_ is not model.loss_curve_
    before = model.predict_proba(frame)
    plain.partial_fit(frame, X[:, 0] > 2)
    assert plain.n_iter_ == model.n_iter_ + 1 or plain.n_iter_ == 1
    np.testing.assert_array_equal(model.predict_proba(frame), before)


def test_a_warm_start_with_early_stopping_goes_on(X):
    fit = {**SHORT, "early_stopping": True, "warm_start": True}
    plain = MLPClassifier(normalization="batch", **fit).fit(X, X[:, 0] > 2).fold_norm()
    plain.set_params(max_iter=1, learning_rate_init=1e-12)
    before = plain.predict_proba(X)
    plain.fit(X, X[:, 0] > 2)
    np.testing.assert_allclose(plain.predict_proba(X), before, atol=1e-9)


def test_lbfgs_and_no_hidden_layer(X):
    for sizes in ((), (3,)):
        model = MLPRegressor(
            hidden_layer_sizes=sizes, solver="lbfgs", normalize_input=True, max_iter=20, random_state=0
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X, X[:, 0])
        np.testing.assert_allclose(model.fold_norm().predict(X), model.predict(X), rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["layer", "rms", "group", "dyt"])
def test_norms_that_depend_on_the_sample(X, norm):
    model = MLPRegressor(**{**SHORT, "hidden_layer_sizes": 4}, normalization=norm, norm_groups=2).fit(X, X[:, 0])
    with pytest.raises(ValueError, match="fixed affine map at inference .*'batch', 'ghost', 'renorm'"):
        model.fold_norm()


@pytest.mark.parametrize("activation", ["elu", ["relu", "tanh"]])
def test_activations_that_scikit_learn_has_not(X, activation):
    model = MLPRegressor(activation=activation, normalization="batch", **SHORT).fit(X, X[:, 0])
    with pytest.raises(ValueError, match="one activation for all layers, of identity, logistic, relu, tanh; got"):
        model.fold_norm()


@pytest.mark.parametrize("module", [normkit.estimators._exporting, normkit.estimators._persistence])
def test_examples(module):
    failures, tried = doctest.testmod(module)
    assert tried and not failures
