"""Datasets by name and by path, what is inferred of them, what identifies them, and rows for a saved model."""

import doctest
import gzip
import inspect
import os
import subprocess
import sys

import click
import numpy as np
import pandas as pd
import pytest
from experiments_data import table
from normkit_cli.data_options import TASK_RULE, data_options
from sklearn import datasets as sklearn_datasets
from sklearn.datasets import dump_svmlight_file

from normkit.experiments.data import BUILT_IN, Dataset, images, load, loading, preprocessing, split, tables, targets
from normkit.experiments.errors import DataError


def test_digits_are_scaled():
    parts = split(load("digits"), 0)
    X, y = sklearn_datasets.load_digits(return_X_y=True)
    together = np.concatenate([parts.X_train, parts.X_val, parts.X_test])
    assert together.min() == 0 and together.max() == 1
    np.testing.assert_allclose(together.sum(axis=0), (X / 16).sum(axis=0), rtol=1e-6)
    assert load("digits").notes == [] and parts.notes[1:] == ["features are divided by 16"]


@pytest.mark.parametrize("name", ["iris", "wine", "breast-cancer", "diabetes"])
def test_scikit_learns_datasets(name):
    bunch = getattr(sklearn_datasets, f"load_{name.replace('-', '_')}")()
    loaded = load(name)
    np.testing.assert_array_equal(loaded.X.numbers, bunch.data)
    np.testing.assert_array_equal(loaded.y, bunch.target)
    assert loaded.feature_names == list(bunch.feature_names) and loaded.n_samples == len(bunch.data)
    assert (loaded.task, loaded.metric) == (
        ("regression", "r2") if name == "diabetes" else ("classification", "accuracy")
    )


@pytest.mark.parametrize("name", ["moons", "circles", "classification", "regression", "friedman1"])
def test_generated_datasets_are_the_same_each_time(name):
    first, again = load(name), load(name)
    assert first.fingerprint == again.fingerprint and first.n_samples == 1000
    assert first.task == ("regression" if name in ("regression", "friedman1") else "classification")


def test_every_name_is_known():
    for name in BUILT_IN:
        if name not in images.BUILT_IN:
            assert min(map(len, (split(load(name), 0).X_train, split(load(name), 0).X_test))) >= 30


def test_columns_of_a_named_dataset_can_be_left_out():
    loaded = load("iris", drop=["petal width (cm)"])
    assert loaded.X.numbers.shape == (150, 3) and "petal width (cm)" not in loaded.feature_names
    with pytest.raises(DataError, match="iris has no column 'height' to leave out; its columns are sepal length"):
        load("iris", drop=["height"])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("nope",), {}, "unknown dataset 'nope': give digits, iris, .*, or the path of a file that ends in .csv"),
        (("nul\0.csv", "y"), {}, "unknown dataset"),
        (("digits",), {"task": "ranking"}, "--task must be one of auto, classification, regression, got 'ranking'"),
        (("table.csv", "y"), {"missing": "drop"}, "--missing must be one of refuse, impute, got 'drop'"),
        (("table.csv",), {}, "--target NAME"),
        (("digits", "label"), {}, "brings its own labels"),
        (("digits", None, "folder"), {}, "of no use"),
        (("digits",), {"group": "g"}, "--group.* is for tables"),
        (("mnist",), {"drop": ["label"]}, "--drop is for tables; mnist is of images"),
        (("file.svm", "y"), {}, "target first in each line"),
        (("table.csv", "y"), {"group": "y"}, "must name different columns"),
        (("table.csv", "y"), {"drop": ["y"]}, "must name different columns"),
        (("table.csv", "y"), {"group": "g", "drop": ["a", "g"]}, "must name different columns"),
    ],
)
def test_load_refuses(arguments, options, message):
    with pytest.raises(DataError, match=message):
        load(*arguments, **options)


def test_a_group_that_is_missing_in_an_archive(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.zeros((12, 1)), y=np.arange(12) % 2, g=[0.0, np.nan] * 6)
    with pytest.raises(DataError, match="a.npz, row 2: the group 'g' is missing"):
        load(str(tmp_path / "a.npz"), "y", group="g")


def test_a_table(csv):
    loaded = load(csv, "kind", group="owner", drop=["stars"])
    assert loaded.feature_names == ["width", "price", "colour"] and loaded.task == "classification"
    assert loaded.y.tolist() == table()["kind"].tolist()
    np.testing.assert_array_equal(loaded.groups, table()["owner"])
    assert loaded.notes == [
        f"task: classification, the target being text ({targets.RULE}; --task decides otherwise)",
        "columns left out: stars",
    ]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_the_same_table_in_any_format(tmp_path, csv, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
        table().to_parquet(tmp_path / "again.parquet", index=False)
    else:
        content = table().to_csv(index=False).encode()
        (tmp_path / f"again{suffix}").write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    again = load(str(tmp_path / f"again{suffix}"), "kind", group="owner")
    expected = load(csv, "kind", group="owner")
    np.testing.assert_array_equal(split(again, 0).X_train, split(expected, 0).X_train)
    assert again.fingerprint == expected.fingerprint


@pytest.mark.parametrize(
    ("values", "task", "labels"),
    [
        (["b", "a", "b"] * 9, "classification", ["b", "a", "b"]),
        ([3, 1, 2] * 9, "classification", [3, 1, 2]),
        ([3.0, 1.0, -2.0] * 9, "classification", [3, 1, -2]),
        ([0.5, 1.0, 2.0] * 9, "regression", [0.5, 1, 2]),
        (range(20), "classification", [0, 1, 2]),
        (range(21), "regression", [0, 1, 2]),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "npz"])
def test_the_task_is_inferred(tmp_path, values, task, labels, suffix):
    values, path = list(values), str(tmp_path / f"data.{suffix}")
    if len(set(values)) == len(values):
        values *= 3
    if suffix == "npz":
        np.savez(path, X=np.arange(len(values))[:, None], y=values)
    else:
        pd.DataFrame({"X": np.arange(len(values)), "y": values}).to_csv(path, index=False)
    loaded = load(path, "y")
    assert loaded.task == task and loaded.y[:3].tolist() == labels
    assert loaded.notes[0].startswith(f"task: {task}, the target being ")


@pytest.mark.parametrize("module", [loading, preprocessing, tables, targets], ids=lambda module: module.__name__)
def test_examples(module):
    failed, tried = doctest.testmod(module)
    assert tried and not failed


def test_the_rule_that_help_and_notes_state_is_the_one():
    assert TASK_RULE == targets.RULE


def test_help_names_every_dataset_and_format_and_every_argument_has_its_option():
    command = data_options(click.command()(lambda **_: None))
    options = {option.name: option for option in command.params}
    assert all(name in options["dataset"].help for name in (*BUILT_IN, ".csv", ".parquet", ".npz", ".svm"))
    assert {*options} == {"dataset", *inspect.signature(load).parameters} - {"name"}
    assert tuple(options["task"].type.choices) == targets.TASKS


def test_the_task_can_be_decided(tmp_path, csv):
    assert load(csv, "stars").task == "classification"
    as_numbers = load(csv, "stars", task="regression")
    assert as_numbers.task == "regression" and as_numbers.y.dtype == np.float64 and as_numbers.notes == []
    pd.DataFrame({"X": np.arange(30), "y": [0.5, 1.0, 2.0] * 10}).to_csv(tmp_path / "t.csv", index=False)
    assert set(load(str(tmp_path / "t.csv"), "y", task="classification").y) == {"0.5", "1", "2"}
    pd.DataFrame({"X": np.arange(30), "y": ["1", "2", "3+"] * 10}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match="line 4, column 'y': '3\\+' is not a number"):
        load(str(tmp_path / "t.csv"), "y")
    assert set(load(str(tmp_path / "t.csv"), "y", task="classification").y) == {"1", "2", "3+"}
    with pytest.raises(DataError, match="the target of a regression must be numbers, 'no' is none"):
        load(csv, "kind", task="regression")


def rows(columns, content, path):
    path.write_text("\n".join([columns, *content]) + "\n")
    return str(path)


@pytest.mark.parametrize(
    ("columns", "content", "message"),
    [
        ("a,y", ["nan,0", *["1,1", "2,0"] * 5], "line 2, column 'a': the value is missing"),
        ("a,y", ["1,1", "2,0"] * 5 + ["3,"], "line 12: the label 'y' is missing"),
        ("a,y", ["inf,0", *["1,1", "2,0"] * 5], "line 2, column 'a': inf is infinity"),
        ("a,y", ["1,0"] * 6, "1 class, the smallest of 6 rows"),
        ("a,y", ["1,0"], "1 class, the smallest of 1 rows"),
        ("a,y", ["1,0"] * 4 + ["1,1"] * 2, "2 classes, the smallest of 2 rows$"),
        ("a,y", [f"1,{i}" for i in range(12)], "12 classes, the smallest of 1 rows; or is it a regression"),
        ("a,y", [f"1,{i / 7}" for i in range(9)], "ten rows at least.* here: 9 rows"),
        ("a,y", ["1,0.5"] * 12, "the same value in all rows"),
        ("y", ["1", "2"] * 5, "has no column of features left"),
        ("a,y", ["x y"] * 5, "1 values, but 2 column names"),
        ("a;y", ["1,5;2"] * 5, "columns are separated by ';', a CSV file has commas between them"),
        ("a\ty", ["1\t2"] * 5, r"columns are separated by '\\t', a CSV"),
        ("a,y,b", ["1,yes,red", "?,no,"] * 5, "line 3, column 'b': the value is missing"),
        ("b,y", [f"text {i},{i % 2}" for i in range(1001)], "1,001 different texts, at most 1,000 are encoded.*--drop"),
        ("a,y", [f"{i},{i % 2}" for i in range(20)] + ["5,1e300"], "line 22, column 'y': 1e.300 is infinity"),
    ],
)
def test_table_hostile(tmp_path, columns, content, message):
    with pytest.raises(DataError, match=message):
        load(rows(columns, content, tmp_path / "table.csv"), "y")


def test_columns_that_are_not_there(csv):
    with pytest.raises(DataError, match="no column 'nope' for the target; its columns are width, colour, owner"):
        load(csv, "nope")
    with pytest.raises(DataError, match="no column 'nope' for the groups"):
        load(csv, "kind", group="nope")
    with pytest.raises(DataError, match="no column 'nope' to leave out"):
        load(csv, "kind", drop=["nope"])


def test_what_one_hot_columns_and_labels_may_take_is_limited(tmp_path, monkeypatch):
    from normkit.experiments.data import dataset

    path = rows("b,y", [f"text {i},{i % 2}" for i in range(500)], tmp_path / "t.csv")
    monkeypatch.setattr(dataset, "MEMORY_LIMIT", 500 * 500 * 4)
    load(path, "y")
    monkeypatch.setattr(dataset, "MEMORY_LIMIT", 500 * 500 * 4 - 1)
    with pytest.raises(DataError, match="500 rows of 500 encoded features take 1,000,000 bytes of memory"):
        load(path, "y")
    monkeypatch.setattr(targets, "MEMORY_LIMIT", 100_000)
    with pytest.raises(DataError, match="labels are too long, one of them has 1,000 letters"):
        load(rows("a,y", [f"1,{'xy'[i % 2] * 1000}" for i in range(99)], tmp_path / "t.csv"), "y")


@pytest.mark.parametrize("missing", ["refuse", "impute"])
def test_missing_values(tmp_path, missing):
    made = table()
    made.loc[3:9, "width"] = np.nan
    made.loc[20:30, "colour"] = None
    made.to_csv(tmp_path / "t.csv", index=False)
    if missing == "refuse":
        with pytest.raises(
            DataError, match="t.csv, line 5, column 'width': the value is missing .18 in width, colour.*impute"
        ):
            load(str(tmp_path / "t.csv"), "kind")
        return
    loaded = load(str(tmp_path / "t.csv"), "kind", missing="impute")
    assert loaded.notes[1].startswith("missing values: 18, in width, colour; numbers get the training rows' median")
    parts = split(loaded, 0)
    assert np.isfinite(parts.X_train).all() and "colour=(missing)" in parts.preprocessor.feature_names
    made["width"] = np.nan
    made.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match="column 'width' holds no value at all"):
        load(str(tmp_path / "t.csv"), "kind", missing="impute")


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.ones((6, 2)), np.array([0, 1, np.nan] * 2), "the target is NaN or infinite in row 3"),
        (np.ones((6, 2)), np.array([1e308, -1e308, 1, 2, 3, 4]), "the target is NaN or infinite in row 1"),
        (np.ones((6, 2)), np.zeros((6, 2), int), "the target must be a row's one value"),
        (np.ones((6, 2)), np.zeros(5, int), "the target must be a row's one value"),
        (np.full((6, 2), np.nan), [0, 1] * 3, "row 1, column 'x0': the value is missing"),
        (np.full((6, 2), 1e300), [0, 1] * 3, "row 1, column 'x0': 1e.300 is infinity in float32"),
        (np.full((6, 2), "x"), [0, 1] * 3, "the features must be numbers"),
        (np.ones(6), [0, 1] * 3, "the features must be numbers of shape"),
        (np.ones((6, 0)), [0, 1] * 3, "which holds nothing"),
        (np.ones((0, 6)), [], "which holds nothing"),
        (np.ones((6, 2)), [2**60, 0] * 3, "smaller than 2 .. 53"),
        (np.ones((6, 2)), ["", ""] * 3, "1 class"),
    ],
)
def test_archive_hostile(tmp_path, X, y, message):
    np.savez(tmp_path / "a.npz", X=X, y=y)
    with pytest.raises(DataError, match=message):
        load(str(tmp_path / "a.npz"), "y")


def test_archives(tmp_path):
    path = str(tmp_path / "a.npz")
    np.savez(path, X=np.arange(72, dtype=np.uint8).reshape(12, 2, 3), y=[True, False] * 6, g=np.arange(12) // 2)
    loaded = load(path, "y", group="g")
    assert loaded.X.numbers.shape == (12, 6) and loaded.groups.tolist() == (np.arange(12) // 2).tolist()
    assert set(loaded.y) == {"True", "False"}
    np.savez(tmp_path / "bytes.npz", X=np.ones((6, 2)), y=np.array([b"no", b"yes"] * 3))
    assert load(str(tmp_path / "bytes.npz"), "y").y.tolist() == ["no", "yes"] * 3
    with pytest.raises(DataError, match="one array of features beside 'y', it holds X, g"):
        load(path, "y")
    with pytest.raises(DataError, match="no array 'nope'; its arrays are X, y, g"):
        load(path, "y", group="nope")
    with pytest.raises(DataError, match="--drop is for tables"):
        load(path, "y", group="g", drop=["X"])


def test_libsvm(tmp_path):
    X, y = sklearn_datasets.load_iris(return_X_y=True)
    dump_svmlight_file(X, y, str(tmp_path / "iris.svm"), zero_based=False)
    loaded, iris = load(str(tmp_path / "iris.svm")), load("iris")
    np.testing.assert_allclose(split(loaded, 0).X_train, split(iris, 0).X_train, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(loaded.y, iris.y)


def test_the_fingerprint_is_of_content_and_options(tmp_path, csv):
    first = load(csv, "kind", group="owner").fingerprint
    os.rename(csv, tmp_path / "moved.csv")
    moved = str(tmp_path / "moved.csv")
    assert load(moved, "kind", group="owner").fingerprint == first
    assert load(moved, "kind", group="owner", missing="impute").fingerprint == first  # nothing is missing
    others = [
        load(moved, "kind"), load(moved, "kind", group="stars"), load(moved, "kind", group="owner", drop=["stars"]),
        load(moved, "stars", group="owner"), load(moved, "stars", group="owner", task="regression"),
    ]  # fmt: skip
    for column, value in (("width", 9.0), ("colour", "Red"), ("kind", "yes"), ("owner", 7)):
        changed = table()
        changed.loc[0, column] = value
        changed.to_csv(tmp_path / f"{column}.csv", index=False)
        others.append(load(str(tmp_path / f"{column}.csv"), "kind", group="owner"))
    renamed = table().rename(columns={"width": "length"})
    renamed.to_csv(tmp_path / "renamed.csv", index=False)
    others.append(load(str(tmp_path / "renamed.csv"), "kind", group="owner"))
    prints = [other.fingerprint for other in others]
    assert len({first, *prints}) == len(others) + 1


def test_the_fingerprint_sees_the_test_set_and_the_bytes_order_does_not_matter():
    X, y = np.arange(12.0)[:, None], np.arange(12) % 2
    same = [Dataset("a", X, y), Dataset("b", X.astype(">f8"), y), Dataset("c", np.asfortranarray(X), y)]
    other = [Dataset("a", X, y, X, y), Dataset("a", X, y, X + 1, y), Dataset("a", X, y, X, 1 - y)]
    assert len({found.fingerprint for found in same}) == 1
    assert len({found.fingerprint for found in [same[0], *other]}) == 4


def test_the_fingerprint_is_the_same_in_another_process(csv):
    code = f"from normkit.experiments.data import load; print(load({csv!r}, 'kind', group='owner').fingerprint)"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert other.stdout.strip() == load(csv, "kind", group="owner").fingerprint
