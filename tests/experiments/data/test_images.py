"""Sets of images: by name, as a folder, and for a saved model."""

import struct

import numpy as np
import pytest
from sklearn.datasets import dump_svmlight_file

from normkit.experiments.data import images, load, load_rows, split
from normkit.experiments.errors import DataError


def idx(array):
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def four_files(folder, stems=images.STEMS, **changed):
    """Write four small files of Fashion-MNIST's form."""
    random = np.random.default_rng(0)
    arrays = {
        "X_train": random.integers(0, 256, (60, 4, 4), dtype=np.uint8),
        "y_train": random.permutation(np.arange(60, dtype=np.uint8) % 10),
        "X_test": random.integers(0, 256, (20, 4, 4), dtype=np.uint8),
        "y_test": np.arange(20, dtype=np.uint8) % 10,
    } | changed
    for key, stem in stems.items():
        (folder / stem).write_bytes(idx(arrays[key]))
    return arrays


@pytest.mark.parametrize("name", ["fashion-mnist", "mnist"])
def test_images_keep_their_test_set_and_validate_with_the_first_fifth(tmp_path, name):
    arrays = four_files(tmp_path)
    loaded = load(name, data_dir=str(tmp_path))
    parts = split(loaded, seed=3)
    pixels = arrays["X_train"].reshape(60, 16).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(parts.X_val, pixels[:12])
    np.testing.assert_array_equal(parts.X_train, pixels[12:])
    np.testing.assert_array_equal(parts.y_test, arrays["y_test"])
    assert loaded.n_samples == 80


_EMNIST = "emnist-letters-{}-{}-ubyte"


@pytest.mark.parametrize(
    "names",
    [
        list(images.STEMS.values()),
        [_EMNIST.format(part, kind) for part in ("train", "test") for kind in ("images-idx3", "labels-idx1")],
        ["train-images.idx3-ubyte", "train-labels.idx1-ubyte", "t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"],
    ],
)
def test_a_folder_of_idx_files(tmp_path, names):
    arrays = four_files(tmp_path, dict(zip(images.STEMS, names)))
    (tmp_path / "readme.txt").write_text("of images")
    loaded = load(str(tmp_path))
    np.testing.assert_array_equal(loaded.X.numbers, arrays["X_train"].reshape(60, 16))
    np.testing.assert_array_equal(loaded.y_test, arrays["y_test"])
    for name in names[2:]:
        (tmp_path / name).unlink()
    loaded = load(str(tmp_path))
    assert loaded.X_test is None and len(split(loaded, 0).X_test) == 12


def test_a_folder_that_is_no_set_of_images(tmp_path):
    with pytest.raises(DataError, match="needs the IDX files train-images.* found: none"):
        load(str(tmp_path))
    four_files(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="needs the IDX files"):
        load(str(tmp_path))
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"")
    with pytest.raises(DataError, match="two files of one kind"):
        load(str(tmp_path))


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
def test_images_hostile(tmp_path, changed, message):
    four_files(tmp_path, **changed)
    with pytest.raises(DataError, match=message):
        load("fashion-mnist", data_dir=str(tmp_path))


def test_missing_images_say_how_to_get_them(tmp_path):
    with pytest.raises(DataError, match="apt-get install dataset-fashion-mnist.*--data-dir"):
        load("fashion-mnist", data_dir=str(tmp_path))
    with pytest.raises(
        DataError, match="MNIST's file .* is not in .*: give the folder of the four files with --data-dir"
    ):
        load("mnist", data_dir=str(tmp_path))


def test_rows_of_arrays_for_a_model_of_named_columns(tmp_path):
    iris = load("iris")
    parts = split(iris, 0)
    np.savez(tmp_path / "a.npz", X=iris.X.numbers, y=iris.y)
    X, y = load_rows(str(tmp_path / "a.npz"), parts.preprocessor, parts.classes, "y")
    np.testing.assert_array_equal(X, parts.preprocessor.transform(iris.X))
    np.testing.assert_array_equal(y, iris.y)


def test_labels_of_images_are_classes_however_many(tmp_path):
    four_files(tmp_path, X_train=np.zeros((120, 4, 4), np.uint8), y_train=np.arange(120, dtype=np.uint8) // 5)
    assert load(str(tmp_path)).task == "classification"
    assert load(str(tmp_path), task="regression").task == "regression"


def test_rows_of_arrays_and_images(tmp_path):
    arrays = four_files(tmp_path)
    parts = split(load(str(tmp_path)), 0)
    for name in (str(tmp_path), str(tmp_path / "t10k-images-idx3-ubyte")):
        X, y = load_rows(name, parts.preprocessor, parts.classes)
        np.testing.assert_array_equal(X, parts.X_test)
        assert y is None or y.tolist() == arrays["y_test"].tolist()
    np.savez(tmp_path / "a.npz", images=arrays["X_test"], y=arrays["y_test"])
    X, y = load_rows(str(tmp_path / "a.npz"), parts.preprocessor, parts.classes, "y")
    np.testing.assert_array_equal(X, parts.X_test)
    np.testing.assert_array_equal(y, arrays["y_test"])
    pixels = arrays["X_test"].reshape(20, 16).astype(float)
    dump_svmlight_file(pixels, arrays["y_test"].astype(float), str(tmp_path / "a.svm"), zero_based=False)
    X, y = load_rows(str(tmp_path / "a.svm"), parts.preprocessor, parts.classes)
    np.testing.assert_array_equal(X, parts.X_test)
    with pytest.raises(DataError, match="digits has 64 features, the model was trained with 16"):
        load_rows("digits", parts.preprocessor, parts.classes)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(np.zeros((0, 4, 4), np.uint8)))
    with pytest.raises(DataError, match="which holds nothing"):
        load_rows(str(tmp_path / "t10k-images-idx3-ubyte"), parts.preprocessor)
