"""Models in files with what prepares their data, and their predictions as tables."""

import csv
import io
import json

import numpy as np
import pytest

from normkit import MLPClassifier, MLPRegressor, load
from normkit.experiments import data, predictions, saved_models
from normkit.experiments.errors import DataError
from normkit.experiments.records import Condition
from normkit.experiments.running import one_run

SHORT = Condition(normalization="batch", hidden=(6,), epochs=2, batch_size=32)


@pytest.fixture(scope="module")
def trained():
    split = data.split(data.load("diabetes"), 0)
    return split, *one_run.train(split, SHORT, 0)


def test_the_model_is_that_of_the_record(trained):
    split, model, run = trained
    record = one_run.perform(split, SHORT, 0)
    assert run.run_id == record.run_id and run.status == record.status == "ok"
    for name in ("test_loss", "test_score", "validation_loss", "train_score"):
        assert getattr(run, name) == pytest.approx(getattr(record, name), rel=1e-5)
    assert run.curves["val_score"] == pytest.approx(record.curves["val_score"], rel=1e-5)
    assert model.score(split.X_test, split.y_test) == pytest.approx(run.test_score, rel=1e-5)


def test_training_that_diverges():
    split = data.split(data.load("iris"), 0)
    condition = Condition(hidden=(6,), epochs=3, batch_size=8, learning_rate=1e30)
    _, run = one_run.train(split, condition, 0)
    assert run.status == "diverged" and run.error.startswith("diverged in epoch ") and run.test_loss is None


def test_units_and_preparation_return(trained, tmp_path):
    split, model, _ = trained
    saved_models.save(tmp_path / "model", model, split, "progression", {"dataset": "diabetes"})
    saved = saved_models.open_model(tmp_path / "model")
    assert (saved.target, saved.about, saved.classes) == ("progression", {"dataset": "diabetes"}, None)
    X, y = data.load_rows("diabetes", saved.preprocessor)
    predicted = saved.predict(X)
    np.testing.assert_allclose(predicted, model.predict(X) * np.std(y_of(split)) + np.mean(y_of(split)), rtol=1e-6)
    name, score = saved.score(y, predicted)
    assert name == "r2" and score == pytest.approx(1 - np.sum((y - predicted) ** 2) / np.sum((y - y.mean()) ** 2))


def test_the_model_alone_says_that_it_takes_prepared_rows(trained, tmp_path):
    split, model, _ = trained
    saved_models.save(tmp_path / "model", model, split, "progression", {"dataset": "diabetes"})
    with pytest.warns(UserWarning, match="model takes prepared rows.*'normkit predict'"):
        load(tmp_path / "model")
    model.save(tmp_path / "plain", metadata={"preprocessor": None})
    load(tmp_path / "plain")  # warnings are errors
    load(tmp_path / "model", return_metadata=True)


def y_of(split):
    return split.y_train * split.target_scale + split.target_mean


def test_a_model_saved_by_itself(tmp_path):
    X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    model = MLPClassifier((4,), max_iter=1, batch_size=20, random_state=0).fit(X, X[:, 0] > 0)
    for metadata in (None, "a note", ["another"], {"mine": 1}):
        model.save(tmp_path / "model", metadata=metadata)
        saved = saved_models.open_model(tmp_path / "model")
        assert saved.preprocessor.number_names == ["x0", "x1", "x2"]
        assert saved.score(model.predict(X), saved.predict(X)) == ("accuracy", 1.0)


@pytest.mark.parametrize(
    "change",
    [{"preprocessor": 3}, {"preprocessor": {"mean": []}}, {"target_mean": None}, {"target_scale": "x"}, {"target": 1},
     {"about": None}, {"target_mean": {}}, "short"],
)  # fmt: skip
def test_forged_metadata(trained, tmp_path, change):
    split, model, _ = trained
    saved_models.save(tmp_path / "model", model, split, None, {})
    _, metadata = load(tmp_path / "model", return_metadata=True)
    if change == "short":
        state = metadata["preprocessor"]
        change = {"preprocessor": {**state, **{name: state[name][:-1] for name in ("number_names", "mean", "scale")}}}
    model.save(tmp_path / "model", metadata={**metadata, **change})
    with pytest.raises(DataError, match="does not say how to prepare its data"):
        saved_models.open_model(tmp_path / "model")


def test_files_that_are_none(tmp_path):
    (tmp_path / "model").write_bytes(b"x" * 100)
    with pytest.raises(DataError, match="not a model file"):
        saved_models.open_model(tmp_path / "model")
    with pytest.raises(DataError, match="cannot read .*: No such file"):
        saved_models.open_model(tmp_path / "none")


def test_tables():
    classes = np.array(['a,"b', "c"])
    shares = np.array([[0.1, 0.9], [1, 0]], np.float32)
    table = predictions.columns(classes[[1, 0]], shares, classes)
    (first, second) = csv.DictReader(io.StringIO(predictions.to_csv(table).decode()))
    assert first == {"prediction": "c", 'probability a,"b': "0.1", "probability c": "0.9"}
    assert second["prediction"] == 'a,"b'
    assert json.loads(predictions.to_json(table)) == {
        "prediction": ["c", 'a,"b'], 'probability a,"b': [0.1, 1.0], "probability c": [0.9, 0.0],
    }  # fmt: skip


def test_tables_of_several_outputs():
    assert predictions.columns(np.array([[1, 2.5]]), None, None) == {"prediction 0": [1.0], "prediction 1": [2.5]}
    labels = predictions.columns(np.array([[0, 1]]), None, np.array(["x", "y"]))
    assert labels == {"prediction x": [0], "prediction y": [1]}
    table = predictions.columns(np.array([np.inf, np.nan, 1.0]), None, None)
    assert json.loads(predictions.to_json(table)) == {"prediction": [None, None, 1.0]}


def test_regressors_of_several_targets(tmp_path):
    X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    model = MLPRegressor(hidden_layer_sizes=(4,), max_iter=1, batch_size=20, random_state=0).fit(X, X[:, :2])
    model.save(tmp_path / "model")
    np.testing.assert_allclose(saved_models.open_model(tmp_path / "model").predict(X), model.predict(X), rtol=1e-6)


@pytest.mark.parametrize("where", ["units", "preprocessor"])
def test_numbers_that_no_float_holds(tmp_path, where):
    model = MLPRegressor(hidden_layer_sizes=(2,), max_iter=1, batch_size=4, random_state=0).fit(
        np.eye(4, 1), np.arange(4.0)
    )
    state = {"number_names": ["x"], "mean": [0], "scale": [1], "fill": None, "text_names": [], "categories": []}
    metadata = {"target": "y", "target_mean": 0, "target_scale": 1, "preprocessor": state, "about": {}}
    model.save(tmp_path / "good", metadata=metadata)
    saved_models.open_model(tmp_path / "good")
    if where == "units":
        metadata["target_mean"] = 10**400
    else:
        state["scale"] = [10**400]
    model.save(tmp_path / "bad", metadata=metadata)
    with pytest.raises(DataError, match="too large"):
        saved_models.open_model(tmp_path / "bad")


@pytest.mark.parametrize("word", ["a\rb", "a\nb", 'a"b', "a,b", "a b"])
def test_labels_of_any_letters_come_back_from_csv(word):
    text = predictions.to_csv({"prediction": [word, "x"], "probability": [0.5, 1.0]}).decode()
    assert list(csv.reader(io.StringIO(text, newline=""))) == [
        ["prediction", "probability"],
        [word, "0.5"],
        ["x", "1.0"],
    ]
    assert text.endswith("\nx,1.0\n") and "\r\n" not in text


def test_r2_of_a_constant_whose_mean_is_another_number():
    y = np.full(30, 0.1)
    saved = saved_models.SavedModel(MLPRegressor(), None)
    assert y.mean() != 0.1 and saved.score(y, y + 1) == ("r2", 0.0)
