"""From tables to matrices: scikit-learn's ColumnTransformer on a pandas frame is the reference."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from normkit.experiments.data.preprocessing import Preprocessor
from normkit.experiments.data.tables import Table
from normkit.experiments.errors import DataError


def made(rows, seed, colours=("red", "blue", "green")):
    random = np.random.default_rng(seed)
    numbers = random.normal(size=(rows, 3)) * [1, 1e6, 1e-6] + [0, 1e7, 1]
    texts = np.column_stack([random.choice(colours, rows), random.choice(["", "a", "b,c"], rows)]).astype(object)
    return Table(numbers, ["a", "b", "c"], texts, ["colour", "kind"])


def with_gaps(table, seed=0):
    table.numbers[np.random.default_rng(seed).random(table.numbers.shape) < 0.2] = np.nan
    return table


def as_frame(table):
    return pd.concat(
        [pd.DataFrame(table.numbers, columns=table.number_names), pd.DataFrame(table.texts, columns=table.text_names)],
        axis=1,
    ).astype({name: object for name in table.text_names})


def reference(training, tables, impute):
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler()) if impute else StandardScaler()
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer([("n", numbers, training.number_names), ("t", encoder, training.text_names)])
    columns.fit(as_frame(training))
    return [columns.transform(as_frame(table)).astype(np.float32) for table in tables]


@pytest.mark.parametrize("impute", [False, True])
def test_matrices_are_scikit_learns(impute):
    # more rows than are converted at a time, and a colour that the training rows do not have
    training, other = made(300, 0), made(50_000, 1, ("red", "violet"))
    if impute:
        training, other = with_gaps(training), with_gaps(other)
    fitted = Preprocessor.fit(training, impute)
    for table, expected in zip((training, other), reference(training, (training, other), impute)):
        X = fitted.transform(table)
        assert X.dtype == np.float32 and X.flags.c_contiguous
        # pandas keeps columns together, which changes the order of the means' sums, and so the last bit
        np.testing.assert_allclose(X, expected, rtol=2.4e-7, atol=1e-8)
        np.testing.assert_array_equal(X[:, 3:], expected[:, 3:])
    assert fitted.feature_names == [
        "a", "b", "c", "colour=blue", "colour=green", "colour=red", "kind=(missing)", "kind=a", "kind=b,c",
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float32, np.float64])
def test_numbers_of_any_type(dtype):
    numbers = np.random.default_rng(0).integers(0, 200, (50, 4)).astype(dtype)
    X = Preprocessor.fit(Table(numbers, list("abcd"))).transform(Table(numbers, list("abcd")))
    exact = numbers.astype(np.float64)
    np.testing.assert_allclose(X, (exact - exact.mean(axis=0)) / exact.std(axis=0), rtol=2e-6, atol=1e-6)


def test_pixels_become_the_float32_that_division_in_float32_gives():
    pixels = np.arange(256, dtype=np.uint8)[:, None]
    X = Preprocessor(["x0"], [0.0], [255.0]).transform(Table(pixels, ["x0"]))
    np.testing.assert_array_equal(X, pixels.astype(np.float32) / np.float32(255))


@pytest.mark.parametrize("impute", [False, True])
def test_state_goes_through_json(impute):
    training, other = made(100, 0), made(100, 1)
    if impute:
        training, other = with_gaps(training), with_gaps(other)
    fitted = Preprocessor.fit(training, impute)
    again = Preprocessor.from_state(json.loads(json.dumps(fitted.to_state(), default=np.ndarray.tolist)))
    np.testing.assert_array_equal(again.transform(other), fitted.transform(other))
    assert again.feature_names == fitted.feature_names


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.lists(st.tuples(st.floats(-1e30, 1e30), st.text(max_size=5)), min_size=2, max_size=30))
def test_any_numbers_and_texts_come_back_from_the_state(rows):
    numbers = np.array([[number] for number, _ in rows])
    texts = np.array([[text] for _, text in rows], dtype=object)
    table = Table(numbers, ["n"], texts, ["t"])
    fitted = Preprocessor.fit(table)
    X = fitted.transform(table)
    np.testing.assert_array_equal(X[:, 1:].sum(axis=1), 1)  # each text has its column
    assert [fitted.categories[0][j] for j in X[:, 1:].argmax(axis=1)] == texts[:, 0].tolist()
    state = json.loads(json.dumps(fitted.to_state(), default=np.ndarray.tolist))
    np.testing.assert_array_equal(Preprocessor.from_state(state).transform(table), X)


def test_a_column_of_gaps_alone_in_the_training_rows():
    training = Table(np.array([[np.nan, 1.0], [np.nan, 3.0]]), ["a", "b"])
    X = Preprocessor.fit(training, impute=True).transform(Table(np.array([[5.0, np.nan]]), ["a", "b"]))
    assert X.tolist() == [[5, 0]]


def test_a_gap_that_nothing_was_learned_for():
    fitted = Preprocessor.fit(Table(np.array([[1.0, 1.0], [2.0, 3.0]]), ["a", "b"]))
    with pytest.raises(DataError, match="row 2, column 'b': the value is missing, and the model does not know"):
        fitted.transform(Table(np.array([[1.0, 1.0], [1.0, np.nan]]), ["a", "b"]))
    many = np.ones((100_000, 2))  # more than are converted at a time
    many[99_000, 0] = np.nan
    with pytest.raises(DataError, match="row 99001, column 'a'"):
        fitted.transform(Table(many, ["a", "b"]))


def test_what_float32_has_no_place_for():
    fitted = Preprocessor.fit(Table(np.array([[1e-20], [2e-20]]), ["a"]))
    with pytest.raises(DataError, match="row 1, column 'a': 1e.30 is .*deviations from the mean"):
        fitted.transform(Table(np.array([[1e30]]), ["a"]))


def test_other_columns():
    fitted = Preprocessor.fit(made(10, 0))
    with pytest.raises(DataError, match="the columns are x, expected were a, b, c, colour, kind"):
        fitted.transform(Table(np.zeros((1, 1)), ["x"]))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mean": [0.0, 0.0]}, "a mean and a scale for each column"),
        ({"mean": [0.0, 0.0, "x"]}, "could not convert"),
        ({"mean": None}, "state of a preprocessor"),
        ({"scale": [1.0, 0.0, 1.0]}, "scales not 0"),
        ({"scale": [1.0, float("nan"), 1.0]}, "must be finite"),
        ({"fill": [1.0]}, "a mean and a scale for each column"),
        ({"categories": [["a"]]}, "categories for each of text"),
        ({"categories": [["a"], []]}, "categories for each of text"),
        ({"categories": [["a"], [1]]}, "must be text"),
        ({"categories": 3}, "state of a preprocessor"),
        ({"number_names": [1, 2, 3]}, "must be text"),
    ],
)
def test_a_wrong_state(changed, message):
    state = Preprocessor.fit(made(10, 0)).to_state()
    with pytest.raises(DataError, match=message):
        Preprocessor.from_state(state | changed)
    del state[next(iter(changed))]
    with pytest.raises(DataError, match="not the state of a preprocessor"):
        Preprocessor.from_state(state)
