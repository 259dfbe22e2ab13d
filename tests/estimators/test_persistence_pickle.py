"""Pickle, joblib and skops."""

import copy
import io
import pickle
import warnings

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import InconsistentVersionWarning

import normkit
from normkit import MLPClassifier, MLPRegressor

SHORT = {"max_iter": 2, "batch_size": 20, "random_state": 0}


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(60, 4))


@pytest.fixture(params=[(MLPClassifier, "adam"), (MLPRegressor, "sgd")], ids=lambda value: value[1])
def model(request, X):
    kind, solver = request.param
    y = X[:, 0] > 0 if kind is MLPClassifier else X[:, 0]
    return kind(hidden_layer_sizes=(5,), normalization="batch", solver=solver, **SHORT).fit(X, y)


def test_the_same_release_says_nothing(model, X):
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
        assert "_normkit_version" not in vars(again)
    assert not hasattr(pickle.loads(pickle.dumps(clone(model))), "coefs_")
    file = io.BytesIO()
    joblib.dump(model, file)
    np.testing.assert_array_equal(joblib.load(file).predict(X), model.predict(X))


@pytest.mark.parametrize("fitted", [True, False])
def test_another_release_warns(model, fitted, monkeypatch):
    data = pickle.dumps(model if fitted else clone(model))
    monkeypatch.setattr("normkit.estimators._exporting.__version__", "99.0")
    with pytest.warns(
        normkit.PickleVersionWarning, match=f"made by normkit {normkit.__version__} and is read by .* 99"
    ):
        pickle.loads(data)
    with pytest.warns(InconsistentVersionWarning):  # whoever makes scikit-learn's an error gets this one too
        pickle.loads(data)


def test_a_pickle_without_stamp_warns(model):
    state = {name: value for name, value in model.__getstate__().items() if name != "_normkit_version"}
    with pytest.warns(normkit.PickleVersionWarning, match="made by normkit 0.1.0 or before"):
        type(model).__new__(type(model)).__setstate__(state)


def test_the_warning_can_be_pickled():
    warning = normkit.PickleVersionWarning("MLPClassifier", "2", "1")
    assert str(pickle.loads(pickle.dumps(warning))) == str(warning)


@pytest.mark.parametrize("norm", [None, "batch", "layer", "rms", "group", "ghost", "renorm", "dyt"])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_skops(X, norm, solver):
    sio = pytest.importorskip("skops.io")
    if solver == "lbfgs" and norm == "renorm":
        pytest.skip("renorm does not train with lbfgs")
    y = np.array(["a", "b", "c"])[(X[:, 0] > 0).astype(int) + (X[:, 1] > 0)]
    for kind, target in ((MLPClassifier, y), (MLPRegressor, X[:, :2])):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = kind(hidden_layer_sizes=(6,), normalization=norm, norm_groups=2, solver=solver, **SHORT)
            data = sio.dumps(model.fit(X, target))
        assert set(sio.get_untrusted_types(data=data)) <= set(normkit.TRUSTED_TYPES)
        loaded = sio.loads(data, trusted=normkit.TRUSTED_TYPES)
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
        if solver != "lbfgs":
            for one in (loaded, model):
                one.partial_fit(X, target)
            np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
