"""Datasets by name and by path, and the properties of their splits."""

import struct

import numpy as np
import pytest

from normkit.experiments.data import FASHION_FILES, Dataset, load, split
from normkit.experiments.errors import DataError


def idx(array):
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def fashion(folder, **changed):
    """Write four small files of Fashion-MNIST's form."""
    random = np.random.default_rng(0)
    arrays = {
        "X_train": random.integers(0, 256, (60, 4, 4), dtype=np.uint8),
        "y_train": random.permutation(np.arange(60, dtype=np.uint8) % 10),
        "X_test": random.integers(0, 256, (20, 4, 4), dtype=np.uint8),
        "y_test": np.arange(20, dtype=np.uint8) % 10,
    } | changed
    for key, stem in FASHION_FILES.items():
        (folder / stem).write_bytes(idx(arrays[key]))
    return arrays


def table(path, X, y):
    rows = [",".join([*map(str, row), str(label)]) for row, label in zip(X, y)]
    path.write_text("\n".join([",".join([*(f"x{i}" for i in range(X.shape[1])), "label"]), *rows]))
    return str(path)


def test_digits_are_scaled():
    data = load("digits")
    assert data.X.shape == (1797, 64) and data.X.dtype == np.float32
    assert data.X.min() == 0 and data.X.max() == 1


def test_fashion_mnist_keeps_its_test_set_and_validates_with_the_first_fifth(tmp_path):
    arrays = fashion(tmp_path)
    parts = split(load("fashion-mnist", data_dir=str(tmp_path)), seed=3)
    images = arrays["X_train"].reshape(60, 16).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(parts.X_val, images[:12])
    np.testing.assert_array_equal(parts.X_train, images[12:])
    np.testing.assert_array_equal(parts.y_test, arrays["y_test"])


def test_the_course_validates_with_5000_images():
    X, y = np.zeros((60_000, 1), np.float32), np.arange(60_000) % 10
    parts = split(Dataset("large", X, y, X[:10], y[:10]), seed=0)
    assert (len(parts.X_train), len(parts.X_val)) == (55_000, 5_000)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"y_train": np.zeros(59, np.uint8)}, "train files do not belong together"),
        (
            {"X_test": np.zeros((0, 4, 4), np.uint8), "y_test": np.zeros(0, np.uint8)},
            "test files do not belong",
        ),
        ({"X_train": np.zeros(60, np.uint8)}, "train files do not belong together"),
        ({"X_test": np.zeros((20, 5, 5), np.uint8)}, "differ in size"),
        ({"y_train": np.zeros(60, np.uint8)}, "two classes"),
        ({"X_train": np.zeros((4, 4, 4), np.uint8), "y_train": np.arange(4, dtype=np.uint8)}, "ten images"),
    ],
)
def test_fashion_mnist_hostile(tmp_path, changed, message):
    fashion(tmp_path, **changed)
    with pytest.raises(DataError, match=message):
        load("fashion-mnist", data_dir=str(tmp_path))


def test_missing_fashion_mnist_says_how_to_get_it(tmp_path):
    with pytest.raises(DataError, match="apt-get install dataset-fashion-mnist.*--data-dir"):
        load("fashion-mnist", data_dir=str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nope",), "unknown dataset 'nope': give digits, fashion-mnist, or the path"),
        (("table.csv",), "--target NAME"),
        (("digits", "label"), "brings its own labels"),
        (("digits", None, "folder"), "of no use"),
    ],
)
def test_load_refuses(arguments, message):
    with pytest.raises(DataError, match=message):
        load(*arguments)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.full((6, 2), np.nan), [0, 1] * 3, "contains NaN"),
        (np.full((6, 2), np.inf), [0, 1] * 3, "contains infinity"),
        (np.full((6, 2), 1e300), [0, 1] * 3, "contains infinity"),  # of float32
        (np.ones((6, 2)), [0] * 6, "1 class, the smallest of 6 rows"),
        (np.ones((6, 2)), [0, 0, 0, 0, 1, 1], "2 classes, the smallest of 2 rows"),
        (np.ones((6, 0)), [0, 1] * 3, "0 feature"),
    ],
)
def test_table_hostile(tmp_path, X, y, message):
    with pytest.raises(DataError, match=message):
        load(table(tmp_path / "table.csv", X, y), "label")


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.linspace(0, 1, 6), "these look continuous"),
        (np.array([0, 1, np.nan] * 2), "NaN"),
        (np.zeros((6, 2), int), "y should be a 1d array"),
        (np.zeros(5, int), "inconsistent numbers of samples"),
    ],
)
def test_archive_hostile(tmp_path, y, message):
    np.savez(tmp_path / "a.npz", X=np.ones((6, 2)), y=y)
    with pytest.raises(DataError, match=message):
        load(str(tmp_path / "a.npz"), "y")


def test_images_of_an_archive_are_flattened(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.ones((6, 2, 3)), y=[0, 1] * 3)
    assert load(str(tmp_path / "a.npz"), "y").X.shape == (6, 6)


def numbered(rows, classes=3, **options):
    """A dataset whose only feature is the row's number."""
    return Dataset("rows", np.arange(rows, dtype=np.float32)[:, None], np.arange(rows) % classes, **options)


@pytest.mark.parametrize("seed", [0, 1])
def test_split_is_60_20_20_disjoint_complete_and_stratified(seed):
    data = numbered(300)
    parts = split(data, seed)
    sets = [(parts.X_train, parts.y_train), (parts.X_val, parts.y_val), (parts.X_test, parts.y_test)]
    assert [len(X) for X, _ in sets] == [180, 60, 60]
    np.testing.assert_array_equal(np.sort(np.concatenate([X for X, _ in sets]), axis=0), data.X)
    for X, y in sets:
        np.testing.assert_array_equal(X[:, 0] % 3, y)
        np.testing.assert_array_equal(np.bincount(y), len(y) // 3)


def test_split_depends_on_the_seed_alone():
    first, again, other = (split(numbered(60), seed).X_train for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_tables_are_standardized_with_the_training_rows():
    data = numbered(100, 2)
    plain, scaled = split(data, 0), split(numbered(100, 2, standardize=True), 0)
    mean, deviation = plain.X_train.mean(), plain.X_train.std()
    for name in ("X_train", "X_val", "X_test"):
        # float32 of scikit-learn's running sums
        np.testing.assert_allclose(
            getattr(scaled, name), (getattr(plain, name) - mean) / deviation, rtol=1e-5, atol=1e-5
        )


def test_too_few_rows_of_a_class():
    with pytest.raises(DataError, match="cannot be split"):
        split(numbered(9), 0)
