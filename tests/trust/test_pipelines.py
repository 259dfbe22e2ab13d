"""The estimators inside what scikit-learn users put them in."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from normkit import MLPClassifier, MLPRegressor
from normkit.engine.norms import NORMS

SMALL = {"max_iter": 15, "learning_rate_init": 0.02, "random_state": 0}
# pytest's error filter does not reach the workers of joblib, nor need it: the results are looked at
NORMALIZED = {"normalization": "batch", "norm_momentum": 0.9}


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:400], y[:400]


@pytest.fixture
def model():
    return MLPClassifier((20,), **NORMALIZED, **SMALL)


@pytest.mark.parametrize("norm", NORMS)
def test_clone_and_parameters(norm):
    callback = print
    model = MLPClassifier((8,), normalization=norm, coefs_init=None, epoch_callback=callback, norm_momentum=0.5)
    copy = clone(model)
    assert copy.get_params() == model.get_params() and not hasattr(copy, "coefs_")
    assert clone(model.set_params(norm_epsilon=0.25)).norm_epsilon == 0.25
    with pytest.raises(ValueError, match="Invalid parameter 'norm'"):
        model.set_params(norm="batch")


def test_grid_search_in_a_pipeline(model, digits):
    pipeline = make_pipeline(StandardScaler(), model)
    grid = {"mlpclassifier__normalization": [None, "batch", "layer"]}
    alone = GridSearchCV(pipeline, grid, cv=3).fit(*digits)
    spread = GridSearchCV(pipeline, grid, cv=3, n_jobs=2).fit(*digits)
    np.testing.assert_array_equal(alone.cv_results_["mean_test_score"], spread.cv_results_["mean_test_score"])
    assert alone.best_score_ > 0.85 and len(set(alone.cv_results_["mean_test_score"])) == 3


def test_cross_validation_on_two_processes(model, digits):
    expected = cross_val_score(model, *digits, cv=3)
    for _ in range(2):
        np.testing.assert_array_equal(cross_val_score(model, *digits, cv=3, n_jobs=2), expected)


def test_calibration(model, digits):
    calibrated = CalibratedClassifierCV(model, cv=3, n_jobs=2).fit(*digits)
    assert calibrated.score(*digits) > 0.9
    np.testing.assert_allclose(calibrated.predict_proba(digits[0]).sum(axis=1), 1.0)


def test_ensembles(model, digits):
    X, y = digits
    bagged = BaggingClassifier(model, n_estimators=4, n_jobs=2, random_state=0).fit(X, y)
    again = BaggingClassifier(model, n_estimators=4, random_state=0).fit(X, y)
    # the sum over estimators is taken per process
    np.testing.assert_allclose(bagged.predict_proba(X), again.predict_proba(X), rtol=1e-12)
    weights = {estimator.coefs_[0].sum() for estimator in bagged.estimators_}
    assert bagged.score(X, y) > 0.9 and len(weights) == 4
    stacked = StackingClassifier(
        [("tree", DecisionTreeClassifier(random_state=0)), ("net", model)], LogisticRegression(C=0.1), cv=3, n_jobs=2
    ).fit(X, y)
    assert stacked.score(X, y) > 0.95
    regressors = [
        (name or "none", MLPRegressor(hidden_layer_sizes=(8,), normalization=name, **SMALL)) for name in (None, "batch")
    ]
    votes = VotingRegressor(regressors, n_jobs=2).fit(X / 16, y)
    expected = np.mean([clone(regressor).fit(X / 16, y).predict(X / 16) for _, regressor in regressors], axis=0)
    np.testing.assert_allclose(votes.predict(X / 16), expected)


def test_routed_sample_weights(model, digits):
    X, y = digits
    weight = np.random.default_rng(0).integers(0, 3, len(y)).astype(float)
    with sklearn.config_context(enable_metadata_routing=True):
        asking = clone(model).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), asking)
        routed = cross_validate(pipeline, X, y, cv=3, params={"sample_weight": weight}, return_estimator=True)
        deaf = make_pipeline(StandardScaler(), clone(model).set_fit_request(sample_weight=False))
        with pytest.raises(TypeError, match="sample_weight"):
            cross_validate(deaf, X, y, cv=3, params={"sample_weights": weight})
    plain = cross_validate(make_pipeline(StandardScaler(), model), X, y, cv=3, return_estimator=True)
    by_hand = make_pipeline(StandardScaler(), clone(model))
    rows = np.arange(len(y))
    train, test = next(StratifiedKFold(3).split(rows, y))
    by_hand.fit(X[train], y[train], mlpclassifier__sample_weight=weight[train])
    got, unweighted = routed["estimator"][0][-1].coefs_[0], plain["estimator"][0][-1].coefs_[0]
    np.testing.assert_array_equal(got, by_hand[-1].coefs_[0])
    assert not np.array_equal(got, unweighted)
    score = by_hand.score(X[test], y[test], sample_weight=weight[test])
    assert routed["test_score"][0] == score != by_hand.score(X[test], y[test])


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_data_frames(kind, model, digits):
    library = pytest.importorskip(kind, reason=f"{kind} is not installed: pip install {kind}")
    X, y = digits
    names = [f"pixel {i}" for i in range(64)]
    table = library.DataFrame({name: X[:, i] for i, name in enumerate(names)})
    expected = clone(model).fit(X, y)
    model.fit(table, library.Series(y))
    assert list(model.feature_names_in_) == names
    np.testing.assert_array_equal(model.predict_proba(table), expected.predict_proba(X))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(table[names[::-1]])
    with pytest.raises(ValueError, match="NaN"):
        model.fit(table, [float("nan")] * len(y))


def test_output_of_a_pipeline_as_a_table(model, digits):
    """The scaler hands a table on, and the estimator learns its names."""
    X, y = digits
    table = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(64)])
    pipeline = make_pipeline(StandardScaler(), model).set_output(transform="pandas").fit(table, y)
    assert list(pipeline[-1].feature_names_in_) == list(table.columns)
    assert pipeline.score(table, y) > 0.9


LABELS = {
    "text": np.array(["zéro", "one", "two"]),
    "objects": np.array(["a", "b", "c"], dtype=object),
    "booleans": np.array([False, True]),
    "negative": np.array([-5, 0, 7]),
    "large": np.array([2**40, 2**41, 2**42]),
    "floats that are whole": np.array([0.0, 1.0, 2.0]),
}


@pytest.mark.parametrize("norm", [None, "batch"])
@pytest.mark.parametrize("name", LABELS)
def test_labels(name, norm):
    classes = LABELS[name]
    rng = np.random.default_rng(0)
    index = rng.integers(0, len(classes), 90)
    X = rng.normal(size=(90, 3)) + 4 * np.eye(3)[index]
    model = MLPClassifier((8,), normalization=norm, **{**SMALL, "max_iter": 60}).fit(X, classes[index])
    assert set(model.predict(X)) <= set(classes) and set(model.classes_) == set(classes)
    assert model.score(X, classes[index]) > 0.9
    np.testing.assert_array_equal(model.classes_[model.predict_proba(X).argmax(axis=1)], model.predict(X))


def test_mixed_labels_are_refused_and_leave_the_model(model, digits):
    X, y = digits
    expected = model.fit(X, y).predict(X)
    for mixed in (np.array([1, "a"] * 200, dtype=object), np.array([None, "a"] * 200, dtype=object)):
        with pytest.raises((TypeError, ValueError)):
            model.fit(X, mixed)
        np.testing.assert_array_equal(model.predict(X), expected)


@pytest.mark.parametrize("norm", NORMS)
def test_sparse_and_multilabel(norm):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 6)) * (rng.random((80, 6)) < 0.5)
    Y = (X[:, :3] > 0).astype(int)
    fit = {"normalization": norm, "norm_groups": 4, **SMALL}
    dense = MLPClassifier((8,), **fit).fit(X, Y)
    assert dense.predict(X).shape == Y.shape == dense.predict_proba(X).shape
    assert set(np.unique(dense.predict(X))) == {0, 1}
    for kind in (scipy.sparse.csr_matrix, scipy.sparse.csc_array):
        sparse = MLPClassifier((8,), **fit).fit(kind(X), scipy.sparse.csr_matrix(Y))
        np.testing.assert_allclose(sparse.predict_proba(kind(X)), dense.predict_proba(X), rtol=1e-9, atol=1e-12)
