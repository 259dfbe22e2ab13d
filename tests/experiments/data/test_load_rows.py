"""Rows for a model that was trained before: the columns it knows, prepared as its training rows were."""

import json

import numpy as np
import pandas as pd
import pytest
from experiments_data import table

from normkit.experiments.data import load, load_rows, split
from normkit.experiments.data.preprocessing import Preprocessor
from normkit.experiments.errors import DataError


def test_rows_for_a_saved_model(tmp_path, csv):
    parts = split(load(csv, "kind", drop=["owner", "stars"]), 0)
    new = table(9, seed=5)
    new.loc[0, "colour"] = "violet"
    shuffled = new[["stars", "colour", "kind", "price", "width"]]  # other columns, another order
    shuffled.to_csv(tmp_path / "new.csv", index=False)
    X, y = load_rows(str(tmp_path / "new.csv"), parts.preprocessor, parts.classes, "kind")
    state = parts.preprocessor.to_state()
    np.testing.assert_allclose(
        X[:, :2], (new[["width", "price"]].to_numpy() - state["mean"]) / state["scale"], rtol=1e-5, atol=1e-6
    )
    assert X[0, 2:].tolist() == [0, 0] and X[1:, 2:].sum() == 8
    assert y.tolist() == new["kind"].tolist() and y.dtype.kind == parts.classes.dtype.kind
    shuffled.drop(columns="kind").to_csv(tmp_path / "new.csv", index=False)
    again, nothing = load_rows(str(tmp_path / "new.csv"), parts.preprocessor, parts.classes, "kind")
    assert nothing is None
    np.testing.assert_array_equal(again, X)
    shuffled.drop(columns="price").to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(DataError, match="no column 'price' which the model was trained with"):
        load_rows(str(tmp_path / "new.csv"), parts.preprocessor)


def test_rows_of_text_stay_text_and_labels_of_the_classes_kind(tmp_path):
    codes = pd.DataFrame({"code": ["01", "02", "x", "y"] * 6, "kind": ["01", "2", "x", "y"] * 6})
    codes.to_csv(tmp_path / "t.csv", index=False)
    parts = split(load(str(tmp_path / "t.csv"), "kind"), 0)
    codes.iloc[:2].to_csv(tmp_path / "new.csv", index=False)  # nothing but numbers
    X, y = load_rows(str(tmp_path / "new.csv"), parts.preprocessor, parts.classes, "kind")
    assert X.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]] and y.tolist() == ["01", "2"]


def test_numbers_in_an_archive_for_classes_of_text(tmp_path):
    np.savez(tmp_path / "text.npz", X=np.ones((12, 2)), y=["1", "2.5", "no"] * 4)
    parts = split(load(str(tmp_path / "text.npz"), "y"), 0)
    np.savez(tmp_path / "a.npz", X=np.ones((2, 2)), y=[1.0, 2.5])
    _, y = load_rows(str(tmp_path / "a.npz"), parts.preprocessor, parts.classes, "y")
    assert y.tolist() == ["1", "2.5"]
    np.savez(tmp_path / "a.npz", X=np.ones((2, 2)), Z=np.ones((2, 2)))
    with pytest.raises(DataError, match="must hold one array of features, it holds X, Z"):
        load_rows(str(tmp_path / "a.npz"), parts.preprocessor, parts.classes, "y")


def test_rows_of_a_regression_have_the_units_of_the_file(tmp_path, csv):
    parts = split(load(csv, "price"), 0)
    _, y = load_rows(csv, parts.preprocessor, None, "price")
    np.testing.assert_array_equal(y, table()["price"])


ROWS = np.ones((3, 2))


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize(
    ("target", "message"),
    [
        ([1.0, np.nan, 0.0], "NaN or infinite in row 2"),
        ([1, 0], r"one value a row, shapes are \(2,\) and \(3,\)"),
        ([], "one value a row"),
        (1, "one value a row"),
        ([[1], [0], [1]], "one value a row"),
        (["?", "?", "1"], "none of the model's classes, 0, 1$|target of a regression must be numbers"),
    ],
)
def test_targets_that_predictions_cannot_be_compared_with(tmp_path, target, task, message):
    np.savez(tmp_path / "a.npz", X=np.arange(24.0).reshape(12, 2), y=np.arange(12) % 2)
    parts = split(load(str(tmp_path / "a.npz"), "y", task=task), 0)
    np.savez(tmp_path / "new.npz", X=ROWS, y=target)
    given = str(tmp_path / "new.npz"), parts.preprocessor, parts.classes, "y"
    with pytest.raises(DataError, match=message):
        load_rows(*given)
    notes = []
    X, y = load_rows(*given, notes=notes)
    assert X.shape == (3, 2) and y is None and len(notes) == 1 and notes[0].startswith("no score: ")


def test_numbers_that_are_not_whole_for_classes_that_are(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.arange(24.0).reshape(12, 2), y=np.arange(12) % 2)
    parts = split(load(str(tmp_path / "a.npz"), "y"), 0)
    np.savez(tmp_path / "new.npz", X=ROWS, y=[1, 2.5, 0])
    with pytest.raises(DataError, match="as 2.5, are none of the model's classes, 0, 1"):
        load_rows(str(tmp_path / "new.npz"), parts.preprocessor, parts.classes, "y")


def test_indices_of_new_rows_start_where_those_of_the_training_did(tmp_path):
    (tmp_path / "a.svm").write_text("".join(f"{i % 2} 0:{i} 1:{i % 5} 2:{i % 3}\n" for i in range(1, 31)))
    (tmp_path / "new.svm").write_text("1 1:4 2:2\n")
    (tmp_path / "whole.svm").write_text("1 0:0 1:4 2:2\n")
    fitted = split(load(str(tmp_path / "a.svm")), 0).preprocessor
    again = Preprocessor.from_state(json.loads(json.dumps(fitted.to_state(), default=np.ndarray.tolist)))
    short, whole = (load_rows(str(tmp_path / name), again, np.arange(2))[0] for name in ("new.svm", "whole.svm"))
    np.testing.assert_array_equal(short, whole)
    old = fitted.to_state()
    del old["zero_based"]
    assert Preprocessor.from_state(old).zero_based is None
    with pytest.raises(DataError, match="zero_based"):
        Preprocessor.from_state({**old, "zero_based": 1})


def test_labels_that_are_no_classes(csv):
    parts = split(load(csv, "kind"), 0)
    with pytest.raises(
        DataError, match=r"labels to compare with, as [0-9.]+, are none of the model's classes, no, yes$"
    ):
        load_rows(csv, parts.preprocessor, parts.classes, "price")


def test_a_gap_is_filled_where_the_training_rows_had_none(tmp_path, csv):
    parts = split(load(csv, "price", missing="impute"), 0)
    made = table()
    made.loc[4, "width"] = np.nan
    made.to_csv(tmp_path / "new.csv", index=False)
    X, _ = load_rows(str(tmp_path / "new.csv"), parts.preprocessor)
    column = [*parts.preprocessor.number_names].index("width")
    whole, _ = load_rows(csv, parts.preprocessor)
    np.testing.assert_array_equal(np.delete(X[:, column], 4), np.delete(whole[:, column], 4))
    state = parts.preprocessor.to_state()
    assert X[4, column] == pytest.approx((state["fill"][column] - state["mean"][column]) / state["scale"][column])


def test_rows_with_a_gap(tmp_path, csv):
    parts = split(load(csv, "price"), 0)
    made = table()
    made.loc[4, "width"] = np.nan
    made.to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(DataError, match="row 5, column 'width': the value is missing"):
        load_rows(str(tmp_path / "new.csv"), parts.preprocessor)
