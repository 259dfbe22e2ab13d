"""normkit predict and summary: a model goes from one command to the next in a file."""

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from normkit_cli.main import main

from normkit import MLPClassifier, MLPRegressor, load
from normkit.experiments import data


@pytest.fixture
def trained(normkit, table):
    result = normkit("train", "--dataset", "table.csv", "--target", "kind", "--epochs", "5", "--save", "model")
    assert result.code == 0 and result.err.endswith("Wrote model\n"), result.err
    return result


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_train_predict_summary(normkit, trained, table, tmp_path):
    result = normkit("predict", "model", "table.csv", "--proba")
    assert result.code == 0, result.err
    found = rows(result.out)
    assert list(found[0]) == ["prediction", "probability no", "probability yes"]
    assert len(found) == 90 and {row["prediction"] for row in found} == {"no", "yes"}
    for row in found:
        likely = max(("no", "yes"), key=lambda name: float(row[f"probability {name}"]))
        assert row["prediction"] == likely
        assert float(row["probability no"]) + float(row["probability yes"]) == pytest.approx(1, abs=1e-6)
    truth = [row["kind"] for row in rows(table.read_text())]
    accuracy = np.mean([row["prediction"] == label for row, label in zip(found, truth)])
    assert result.err == f"accuracy {accuracy:.4f} over 90 rows\n"
    shown = normkit("summary", "model").out
    assert "Total parameters" in shown and "2: no, yes" in shown and "table.csv" in shown and "kind" in shown


def test_the_test_set_again(normkit, trained, tmp_path):
    """What `train` said of the test set is what the file predicts of it, prepared by the file."""
    dataset = data.load(str(tmp_path / "table.csv"), "kind")
    split = data.split(dataset, 0)
    model, metadata = load(tmp_path / "model", return_metadata=True)
    assert f"accuracy {model.score(split.X_test, split.y_test):.4f}" in trained.out.splitlines()[-1]
    assert metadata["target"] == "kind"


def test_new_rows_without_the_target_in_another_order(normkit, trained, table, tmp_path):
    given = rows(table.read_text())
    lines = [f"{row['c']},{row['a']},x,{row['b']}" for row in given]
    (tmp_path / "new.csv").write_text("\n".join(["c,a,surplus,b", *lines]) + "\n")
    result = normkit("predict", "model", "new.csv", "--output", "out/new.json", "--format", "json")
    assert result.code == 0 and result.out == ""
    assert result.err == "Wrote 90 predictions to out/new.json\n"
    table_of = json.loads((tmp_path / "out" / "new.json").read_text())
    before = rows(normkit("predict", "model", "table.csv").out)
    assert table_of == {"prediction": [row["prediction"] for row in before]}


@pytest.mark.parametrize("labels", [["", ""], ["no", ""]])
def test_new_rows_whose_label_is_still_missing(normkit, trained, tmp_path, labels):
    (tmp_path / "new.csv").write_text("a,b,c,kind\n" + "".join(f"1,2,3,{label}\n" for label in labels))
    result = normkit("predict", "model", "new.csv")
    assert result.code == 0 and len(rows(result.out)) == 2
    assert result.err.startswith("Note: no score: new.csv, line ") and "the label 'kind' is missing" in result.err
    refused = normkit("predict", "model", "new.csv", "--target", "kind")
    assert refused.code == 2 and "the label 'kind' is missing" in refused.err


def test_a_regression_in_its_units(normkit, tmp_path):
    random = np.random.default_rng(0)
    X = random.normal(size=(100, 2))
    y = 1000 + 50 * X[:, 0]
    np.savez(tmp_path / "data.npz", X=X, y=y)
    done = normkit("train", "--dataset", "data.npz", "--target", "y", "--epochs", "60", "--learning-rate", "0.01",
                   "--save", "model")  # fmt: skip
    assert done.code == 0, done.err
    result = normkit("predict", "model", "data.npz")
    predictions = [float(row["prediction"]) for row in rows(result.out)]
    assert np.abs(predictions - y).mean() < 20
    assert result.err.startswith("r2 0.9") and result.err.endswith(" over 100 rows\n")
    refused = normkit("predict", "model", "data.npz", "--proba")
    assert refused.code == 2 and "--proba is for classifications" in refused.err


def test_models_of_python(normkit, tmp_path):
    X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    np.savez(tmp_path / "new.npz", X=X)
    several = MLPClassifier((4,), max_iter=2, batch_size=20, random_state=0).fit(X, (X > 0).astype(int))
    two = MLPRegressor(hidden_layer_sizes=(4,), max_iter=2, batch_size=20, random_state=0).fit(X, X[:, :2])
    for model, names in (
        (several, ["prediction 0", "prediction 1", "prediction 2"]),
        (two, ["prediction 0", "prediction 1"]),
    ):
        model.save(tmp_path / "model")
        result = normkit("predict", "model", "new.npz")
        assert result.code == 0, result.err
        assert list(rows(result.out)[0]) == names
        found = np.array([[float(value) for value in row.values()] for row in rows(result.out)])
        np.testing.assert_allclose(found, model.predict(X), rtol=1e-6)
        assert normkit("summary", "model").code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nope", "table.csv"), ["cannot read nope", "No such file"]),
        (("table.csv", "table.csv"), ["table.csv is not a model file"]),
        ((".", "table.csv"), ["cannot read .", "Is a directory"]),
        (("model", "nope"), ["nope"]),
        (("model", "nope.csv"), ["cannot read nope.csv", "No such file"]),
        (("model", "other.csv"), ["no column 'b'", "trained with"]),
        (("model", "gap.csv"), ["missing", "'b'"]),
        (("model", "table.csv", "--target", "nope"), ["no column 'nope'"]),
        (("model", "table.csv", "--output", "."), ["--output . is a folder"]),
        (("model", "table.csv", "--output", "table.csv/x"), ["cannot write", "table.csv"]),
        (("model", "digits"), ["64 features", "3"]),
        (("model",), ["DATA"]),
    ],
)
def test_errors(table, tmp_path, monkeypatch, arguments, words):
    X = pd.read_csv(table)[["a", "b", "c"]]
    MLPRegressor(hidden_layer_sizes=(2,), max_iter=1, batch_size=45).fit(X, X["a"]).save(tmp_path / "model")
    (tmp_path / "other.csv").write_text("a,c\n1,2\n")
    (tmp_path / "gap.csv").write_text("a,b,c\n1,,2\n")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["predict", *arguments])  # in this process: a dozen of them take half a minute
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.count("\n") == 1 and result.stderr.startswith("Error: ")
    assert all(word in result.stderr for word in words), result.stderr


def test_summary_of_what_is_no_model(table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("nope", "table.csv", "."):
        result = CliRunner().invoke(main, ["summary", name])
        assert result.exit_code == 2 and result.stdout == "" and result.stderr.count("\n") == 1


def test_a_file_does_not_write_to_the_terminal(normkit, tmp_path):
    X = np.random.default_rng(0).normal(size=(40, 2))
    labels = np.array(["\x1b[2Ja", "b\nc"])[(X[:, 0] > 0).astype(int)]
    MLPClassifier((4,), max_iter=2, random_state=0, batch_size=20).fit(X, labels).save(tmp_path / "model")
    result = normkit("summary", "model")
    assert result.code == 0 and "\x1b" not in result.out and "2: ?[2Ja, b?c" in result.out
