"""The same numbers from any memory layout, read where they lie."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from normkit import MLPClassifier, MLPRegressor

ROWS, FEATURES = 50, 12


def integers():
    """Small integers with zeros among them: exact in every dtype, and worth being sparse."""
    return np.random.default_rng(0).integers(0, 4, (ROWS, FEATURES)) * 17


def strided(X):
    wide = np.full((2 * ROWS, 3 * FEATURES), np.nan, X.dtype)
    wide[::2, ::3] = X
    return wide[::2, ::3]


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def unaligned(X):
    raw = np.zeros(X.nbytes + 1, np.uint8)
    view = raw[1:].view(X.dtype).reshape(X.shape)
    view[...] = X
    return view


def with_index_type(X, indices, indptr):
    X = scipy.sparse.csr_matrix(X)
    X.indices, X.indptr = X.indices.astype(indices), X.indptr.astype(indptr)
    return X


def with_gaps(X):
    X = scipy.sparse.csr_matrix(X)
    for name in ("data", "indices", "indptr"):
        setattr(X, name, np.repeat(getattr(X, name), 2)[::2])
    return X


def with_repeated_entries(X):
    """Every value in two halves, columns in falling order."""
    rows, columns = np.nonzero(X)
    half = X[rows, columns] / 2
    order = np.lexsort((-columns, rows))
    indptr = np.append(0, np.cumsum(2 * np.bincount(rows, minlength=len(X))))
    return scipy.sparse.csr_matrix((np.repeat(half[order], 2), np.repeat(columns[order], 2), indptr), X.shape)


LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "strided": strided,
    "rows reversed": lambda X: X[::-1].copy()[::-1],
    "columns reversed": lambda X: X[:, ::-1].copy()[:, ::-1],
    "read-only": read_only,
    "unaligned": unaligned,
    "big-endian": lambda X: X.astype(X.dtype.newbyteorder(">")),
    "list": lambda X: X.tolist(),
    "data frame": pd.DataFrame,
    "csr": scipy.sparse.csr_array,
    "csr int64": lambda X: with_index_type(X, np.int64, np.int64),
    "csr int32 and int64": lambda X: with_index_type(X, np.int32, np.int64),
    "csr with repeated entries": with_repeated_entries,
    "csr of every other number": with_gaps,
    "csc": scipy.sparse.csc_matrix,
    "coo": scipy.sparse.coo_array,
}
FIT = {"hidden_layer_sizes": (9,), "max_iter": 3, "batch_size": 16, "random_state": 0, "norm_momentum": 0.5}


@pytest.mark.filterwarnings("ignore:X has feature names")  # fitted without, predicted with
@pytest.mark.parametrize("normalize_input", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout, dtype, normalize_input):
    X, y = integers().astype(dtype), np.arange(ROWS) % 3
    same = LAYOUTS[layout](X)
    if layout == "list":
        X = X.astype(np.float64)
    expected = MLPClassifier(normalize_input=normalize_input, **FIT).fit(X, y)
    model = MLPClassifier(normalize_input=normalize_input, **FIT).fit(same, y)
    for mine, other in zip((*model.coefs_, *model.intercepts_), (*expected.coefs_, *expected.intercepts_)):
        assert mine.dtype == other.dtype or layout == "big-endian"
        if mine.dtype == other.dtype:
            np.testing.assert_array_equal(mine, other)
    np.testing.assert_array_equal(expected.predict_proba(same), expected.predict_proba(X))
    np.testing.assert_array_equal(expected.hidden_activations(same, 0), expected.hidden_activations(X, 0))


@pytest.mark.parametrize("layout", ["Fortran order", "strided", "csr", "read-only"])
@pytest.mark.parametrize("dtype", [None, "float32"])
def test_bytes_with_a_scale(layout, dtype):
    X, y = integers().astype(np.uint8), np.arange(ROWS) % 3
    same = LAYOUTS[layout](X) if layout != "strided" else np.repeat(X, 2, axis=1)[:, ::2]
    model = MLPClassifier(input_scale=1 / 255, dtype=dtype, **FIT).fit(same, y)
    real = np.dtype(dtype or np.float64).type
    scaled = X.astype(real) * real(1 / 255)
    expected = MLPClassifier(**FIT).fit(scaled, y)
    np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])
    np.testing.assert_array_equal(model.predict_proba(same), expected.predict_proba(scaled))
    # a scale is one of float data too
    floats = MLPClassifier(input_scale=1 / 255, **FIT).fit(X.astype(real), y)
    np.testing.assert_array_equal(model.coefs_[0], floats.coefs_[0])


def test_bytes_do_not_make_the_model_bytes():
    X, y = integers().astype(np.uint8), np.arange(ROWS) % 3
    model = MLPClassifier(**FIT).fit(X, y)
    assert model.coefs_[0].dtype == np.float64
    np.testing.assert_array_equal(model.coefs_[0], MLPClassifier(**FIT).fit(X.astype(np.float64), y).coefs_[0])


def test_other_types_are_converted():
    X, y = integers(), np.arange(ROWS) % 3
    expected = MLPClassifier(**FIT).fit(X.astype(np.float64), y)
    for dtype in (np.int64, np.int16, np.float16, np.longdouble, object):
        np.testing.assert_array_equal(MLPClassifier(**FIT).fit(X.astype(dtype), y).coefs_[0], expected.coefs_[0])


def test_float32_and_float64_agree():
    X, y = integers() / 68, np.arange(ROWS) % 3
    for normalization in (None, "batch", "layer"):
        fit = {**FIT, "normalization": normalization, "activation": "tanh"}
        wide = MLPClassifier(**fit).fit(X, y).predict_proba(X)
        narrow = MLPClassifier(**fit).fit(X.astype(np.float32), y).predict_proba(X.astype(np.float32))
        # a dozen steps, each with rounding of 1e-7
        np.testing.assert_allclose(narrow, wide, atol=1e-4)


def test_memory_mapped(tmp_path):
    X, y = integers().astype(np.float32), np.arange(ROWS) % 3
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    model, expected = MLPClassifier(**FIT).fit(mapped, y), MLPClassifier(**FIT).fit(X, y)
    np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])
    np.testing.assert_array_equal(model.predict_proba(mapped), expected.predict_proba(X))


def peak_of(function, *arguments):
    tracemalloc.start()
    function(*arguments)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


# Bytes a row: 8 for the order of the rows, and the targets in the precision of the model, where y does not have it.
# Drawing the validation rows takes three orders for a moment. Encoding the labels takes less than any of these.
MEMORY = [
    (MLPClassifier, {}, 8 + 8),
    (MLPClassifier, {"dtype": "float32"}, 8 + 4),
    (MLPClassifier, {"dtype": "float32", "normalization": "batch", "shuffle": False}, 8 + 4),
    (MLPClassifier, {"dtype": "float32", "early_stopping": True}, 3 * 8 + 4),
    (MLPRegressor, {"dtype": "float64"}, 8),
    (MLPRegressor, {"dtype": "float32"}, 8 + 4),
    (MLPRegressor, {"dtype": "float32", "early_stopping": True}, 3 * 8 + 4),
]


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")  # two epochs do not converge
@pytest.mark.parametrize("kind, options, bound", MEMORY)
def test_memory_beyond_the_data(kind, options, bound, tmp_path):
    rows, features = 100_000, 40
    np.save(tmp_path / "X.npy", np.ones((rows, features), np.uint8))
    X, y = np.load(tmp_path / "X.npy", mmap_mode="r"), np.arange(rows) % 3
    if kind is MLPRegressor:
        y = y / 2
    model = kind(hidden_layer_sizes=(5,), max_iter=2, batch_size=200, **options).fit(X[:1000], y[:1000])
    half, whole = (peak_of(model.fit, X[:n], y[:n]) for n in (rows // 2, rows))
    # one byte a row for masks and the like; X has 40, as float32 160
    assert whole - half < rows // 2 * (bound + 1)
    half, whole = (peak_of(model.predict, X[:n]) for n in (rows // 2, rows))
    # outputs of three classes, then the index and the name of the best: no copy of X
    assert whole - half < rows // 2 * 50


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_two_classes_take_no_more_memory_than_three():
    X = np.ones((100_000, 4), np.uint8)
    two, three = (
        peak_of(MLPClassifier((5,), max_iter=1, random_state=0).fit, X, np.arange(len(X)) % classes)
        for classes in (2, 3)
    )
    assert two < 1.02 * three
