"""Models in files: what comes back predicts and trains as before, and nothing else than a model is accepted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load as load_arrays
from sklearn.exceptions import NotFittedError

import normkit
from normkit import MLPClassifier, MLPRegressor
from normkit.estimators import _model_file

DATA = Path(__file__).parent.parent / "data"
NORMS = (None, "batch", "layer", "rms", "group", "ghost", "renorm", "dyt")
SHORT = {"max_iter": 3, "batch_size": 20, "random_state": 0}


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(60, 4))


def copy_of(model, folder, **options):
    model.save(folder / "model.safetensors", **options)
    return normkit.load(folder / "model.safetensors")


def labels(kind, X):
    index = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)
    return {
        "integers": index * 7 - 3,
        "bytes": index.astype(np.uint8),
        "floats": index.astype(float),
        "strings": np.array(["a", "bb", "häßlich\0\U0001f600"])[index],
        "objects": np.array(["no", "yes", "maybe"], object)[index],
        "booleans": X[:, 0] > 0,
        "two strings": np.array(["no", "yes"])[(X[:, 0] > 0).astype(int)],
        "several": (X[:, :3] > 0).astype(int),
        "one class": np.ones(len(X), int),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    ["integers", "bytes", "floats", "strings", "objects", "booleans", "two strings", "several", "one class"],
)
def test_classes(X, tmp_path, kind):
    y = labels(kind, X)
    model = MLPClassifier((5,), normalization="batch", **SHORT).fit(X, y)
    loaded = copy_of(model, tmp_path)
    assert type(loaded) is MLPClassifier
    assert loaded.classes_.dtype == model.classes_.dtype
    np.testing.assert_array_equal(loaded.classes_, model.classes_)
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert loaded.predict(X).dtype == model.predict(X).dtype
    assert loaded.score(X, y) == model.score(X, y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("norm", NORMS)
def test_training_goes_on(X, tmp_path, norm, position, solver, dtype):
    model = MLPRegressor(
        hidden_layer_sizes=(6, 4), normalization=norm, norm_position=position, norm_groups=2, normalize_input=True,
        dropout=0.1, solver=solver, learning_rate="invscaling", warmup_epochs=5, norm_momentum=None, dtype=dtype,
        activation=["elu", "relu"], **{**SHORT, "random_state": np.random.RandomState(3)},
    ).fit(X, X[:, :2])  # fmt: skip
    loaded = copy_of(model, tmp_path)
    for _ in range(2):
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
        for one in (model, loaded):
            one.partial_fit(X, X[:, :2])
    assert loaded.history_ == model.history_ and loaded.history_["loss"] is loaded.loss_curve_
    assert (loaded.n_iter_, loaded.t_, loaded.loss_) == (model.n_iter_, model.t_, model.loss_)
    for mine, theirs in zip(loaded.norm_layers_, model.norm_layers_):
        assert mine.name == theirs.name
        np.testing.assert_array_equal(mine.moving_mean, theirs.moving_mean)


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_without_the_optimizer(X, tmp_path, solver):
    model = MLPRegressor(hidden_layer_sizes=(4,), solver=solver, **SHORT).fit(X, X[:, 0])
    loaded = copy_of(model, tmp_path, include_optimizer=False)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    np.testing.assert_array_equal(loaded.fit(X, X[:, 0]).predict(X), model.fit(X, X[:, 0]).predict(X))


def test_warm_start(X, tmp_path):
    y = X[:, 0] > 0
    model = MLPClassifier(
        (4,), normalization="batch", warm_start=True, early_stopping=True, solver="sgd", learning_rate="adaptive",
        class_weight={False: 1, True: 2.5}, **SHORT,
    ).fit(X, y)  # fmt: skip
    loaded = copy_of(model, tmp_path)
    assert loaded.get_params() == model.get_params()
    for one in (model, loaded):
        one.fit(X, y)
    assert loaded.validation_scores_ == model.validation_scores_
    assert loaded.best_validation_score_ == model.best_validation_score_
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))


def test_feature_names(X, tmp_path):
    frame = pd.DataFrame(X, columns=["a", "b", "ü", "d e"])
    model = MLPRegressor(hidden_layer_sizes=(4,), **SHORT).fit(frame, X[:, 0])
    loaded = copy_of(model, tmp_path)
    assert loaded.feature_names_in_.dtype == object
    np.testing.assert_array_equal(loaded.feature_names_in_, model.feature_names_in_)
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame[["b", "a", "ü", "d e"]])


def test_parameters_of_every_kind(X, tmp_path):
    given = {
        "hidden_layer_sizes": np.array([4, 4]), "activation": ("relu", "tanh"), "dropout": np.array([0.0, 0.5]),
        "normalization": "group", "norm_groups": np.int64(2), "norm_gamma_initializer": np.full(4, 2.0),
        "coefs_init": [np.ones((4, 4)), [[1.0] * 4] * 4, np.ones((4, 1))], "alpha": np.float32(0.25),
    }  # fmt: skip
    model = MLPRegressor(**given, **SHORT).fit(X, X[:, 0])
    loaded = copy_of(model, tmp_path).get_params()
    for name, value in given.items():
        if name == "coefs_init":
            for one, other in zip(loaded[name], value):
                np.testing.assert_array_equal(one, other)
        else:
            np.testing.assert_array_equal(loaded[name], value)
            assert not isinstance(value, (tuple, np.ndarray)) or type(loaded[name]) is type(value)


def test_metadata(X, tmp_path):
    model = MLPRegressor(hidden_layer_sizes=(4,), **SHORT).fit(X, X[:, 0])
    data = {"target": "price", "means": [1.5, None], "nested": {"a": True}}
    model.save(tmp_path / "model", metadata=data)
    assert normkit.load(tmp_path / "model", return_metadata=True)[1] == data
    with pytest.raises(ValueError, match="metadata must be what JSON can hold"):
        model.save(tmp_path / "other", metadata={"mean": float("nan")})
    assert not (tmp_path / "other").exists()


def test_code_is_not_saved(X, tmp_path):
    model = MLPRegressor(hidden_layer_sizes=(4,), epoch_callback=lambda model: False, **SHORT).fit(X, X[:, 0])
    with pytest.warns(UserWarning, match="epoch_callback is code and is not saved"):
        loaded = copy_of(model, tmp_path)
    assert loaded.epoch_callback is None


def test_refused(X, tmp_path):
    class Mine(MLPClassifier):
        pass

    with pytest.raises(NotFittedError):
        MLPClassifier().save(tmp_path / "model")
    with pytest.raises(TypeError, match="got .*Mine, a class of its own"):
        Mine((4,), **SHORT).fit(X, X[:, 0] > 0).save(tmp_path / "model")
    model = MLPRegressor(hidden_layer_sizes=(4,), **SHORT).fit(X, X[:, 0])
    model.random_state = np.random.RandomState(np.random.PCG64(0))
    with pytest.raises(TypeError, match="parameters.random_state must be an MT19937"):
        model.save(tmp_path / "model")
    model.random_state = 0
    model.alpha = object()
    with pytest.raises(TypeError, match="parameters.alpha must be a plain value or array"):
        model.save(tmp_path / "model")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("path", sorted(DATA.glob("model-schema-*.safetensors")), ids=lambda path: path.stem)
def test_files_of_earlier_releases(path):
    expected = json.loads(path.with_suffix(".json").read_text())
    X = np.array(expected["X"])
    model = normkit.load(path)
    outputs = model.predict_proba if isinstance(model, MLPClassifier) else model.predict
    # another processor sums in another order
    tolerance = 1e-5 if model.coefs_[0].dtype == np.float32 else 1e-12
    np.testing.assert_allclose(outputs(X), expected["outputs"], tolerance, tolerance)
    if isinstance(model, MLPClassifier):
        np.testing.assert_array_equal(model.predict(X), expected["predictions"])


def test_every_schema_has_files():
    found = {int(path.stem.split("-")[2]) for path in DATA.glob("model-schema-*.safetensors")}
    assert found == set(range(1, _model_file.SCHEMA + 1))


def test_arrays_have_names_of_their_own(X, tmp_path):
    model = MLPRegressor(hidden_layer_sizes=(4,), normalization="batch", **SHORT).fit(X, X[:, 0])
    copy_of(model, tmp_path)
    arrays = load_arrays((tmp_path / "model.safetensors").read_bytes())
    np.testing.assert_array_equal(arrays["layers.1.weight"], model.coefs_[0].T)
    np.testing.assert_array_equal(arrays["layers.1.moving_mean"], model.norm_layers_[0].moving_mean)


def test_another_process(X, tmp_path):
    model = MLPClassifier((5,), normalization="batch", **SHORT).fit(X, X[:, 0] > 0)
    model.save(tmp_path / "model")
    np.save(tmp_path / "X.npy", X)
    code = "import normkit, numpy; print(normkit.load('model').predict_proba(numpy.load('X.npy')).tobytes().hex())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == model.predict_proba(X).tobytes().hex()


def test_a_failed_write_leaves_what_was_there(X, tmp_path, monkeypatch):
    model = MLPRegressor(hidden_layer_sizes=(4,), **SHORT).fit(X, X[:, 0])
    model.save(tmp_path / "model")
    before = (tmp_path / "model").read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        model.fit(X, X[:, 1]).save(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model").read_bytes() == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_devices_and_links(X, tmp_path):
    model = MLPRegressor(hidden_layer_sizes=(4,), **SHORT).fit(X, X[:, 0])
    with pytest.raises(OSError, match="No space left"):
        model.save("/dev/full")
    assert Path("/dev/full").is_char_device()
    (tmp_path / "link").symlink_to(tmp_path / "model")
    model.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "model").is_file()


def test_parameters_that_were_changed_since(X, tmp_path):
    model = MLPRegressor(hidden_layer_sizes=(5,), normalization="batch", **SHORT).fit(X, X[:, 0])
    model.set_params(norm_gamma_initializer=np.ones(7))
    np.testing.assert_array_equal(copy_of(model, tmp_path).predict(X), model.predict(X))
    with pytest.raises(ValueError, match="'solver' parameter"):
        model.set_params(solver="adma").save(tmp_path / "wrong.safetensors")
    assert not (tmp_path / "wrong.safetensors").exists()
