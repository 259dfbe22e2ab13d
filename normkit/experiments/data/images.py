"""Sets of images in IDX files: Fashion-MNIST, MNIST, or any folder of four (or two) such files."""

import re
from pathlib import Path

import numpy as np

from normkit.experiments.data.array_files import read_idx
from normkit.experiments.errors import DataError

STEMS = {
    "X_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "X_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}
# of a folder's files: emnist-letters-train-images-idx3-ubyte.gz, t10k-images.idx3-ubyte
_NAMED = re.compile(r"(train|t10k|test).*(images|labels).*idx\d", re.IGNORECASE)
BUILT_IN = {"fashion-mnist": "Fashion-MNIST", "mnist": "MNIST"}
# where the operating system's package dataset-fashion-mnist puts them
FOLDERS = {name: (Path(f"/usr/share/datasets/{name}"), Path(f"/usr/local/share/datasets/{name}")) for name in BUILT_IN}


def read(name: str, data_dir: str | None = None) -> dict[str, np.ndarray]:
    """Read images and labels of a set by name, or of a folder.

    Returns
    -------
    dict
        "X_train" and "X_test" of shape (images, pixels) and "y_train" and "y_test" of shape (images,), uint8; a folder
        may do without the test set.

    Raises
    ------
    DataError
        If files are not there or do not belong together.
    """
    title = BUILT_IN.get(name, name)
    files = _named(name, title, data_dir) if name in BUILT_IN else _in_folder(Path(name))
    arrays = {key: read_idx(path) for key, path in files.items()}
    for part in ("train", "test") if "X_test" in arrays else ("train",):
        images, labels = arrays[f"X_{part}"], arrays[f"y_{part}"]
        if images.ndim < 2 or not images.size or labels.shape != images.shape[:1]:
            raise DataError(
                f"{title}'s {part} files do not belong together: images of shape {images.shape}, "
                f"labels of shape {labels.shape}"
            )
        arrays[f"X_{part}"] = images.reshape(len(images), -1)
    if "X_test" in arrays and arrays["X_train"].shape[1] != arrays["X_test"].shape[1]:
        raise DataError(f"{title}'s training and test images differ in size")
    if len(np.unique(arrays["y_train"])) < 2 or len(arrays["y_train"]) < 10:
        raise DataError(f"{title}'s training set needs two classes and ten images at least")
    return arrays


def _named(name, title, data_dir):
    folders = [Path(data_dir)] if data_dir else list(FOLDERS[name])
    files = {}
    for key, stem in STEMS.items():
        found = [folder / file for folder in folders for file in (stem, f"{stem}.gz") if (folder / file).is_file()]
        if not found:
            package = "on Debian or Ubuntu 'apt-get install dataset-fashion-mnist', or " * (name == "fashion-mnist")
            raise DataError(
                f"{title}'s file {stem}[.gz] is not in {' or '.join(map(str, folders))}: {package}"
                "give the folder of the four files with --data-dir"
            )
        files[key] = found[0]
    return files


def _in_folder(folder):
    files: dict[str, Path] = {}
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror or error}") from None
    for path in paths:
        if not (match := _NAMED.search(path.name)):
            continue
        part, kind = match.group(1).lower(), match.group(2).lower()
        key = f"{'X' if kind == 'images' else 'y'}_{'train' if part == 'train' else 'test'}"
        if key in files:
            raise DataError(f"{folder} has two files of one kind: {files[key].name} and {path.name}")
        files[key] = path
    if not {"X_train", "y_train"} <= set(files) or len(files) == 3:
        found = ", ".join(path.name for path in files.values()) or "none"
        raise DataError(
            f"{folder} needs the IDX files train-images-idx3-ubyte and train-labels-idx1-ubyte, gzipped or not, and "
            f"those of t10k- for a test set; found: {found}"
        )
    return files
