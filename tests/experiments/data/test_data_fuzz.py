"""Damaged files of data: they are read, or refused with one line, and nothing else happens.

NORMKIT_FUZZ_CASES sets the number of mutations of each format: 500 unless given, 20000 for a nightly run.
"""

import gzip
import io
import os
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from sklearn.datasets import dump_svmlight_file

from normkit.experiments.data import load, load_rows, splits
from normkit.experiments.errors import DataError

CASES = int(os.environ.get("NORMKIT_FUZZ_CASES", 500))
# all of a case's memory; the files have less than 5 kB, scikit-learn's modules are loaded before
MEMORY = 64 << 20
TOKENS = [
    b"", b"\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"nan", b"NA", b"inf", b"-1e400", b"1e39", b"9" * 20, b"-1",
    b"_", b'"', b'""', b",", b"\n", b"\r", b"\r\n", b" ", b":", b"#", b"\x1f\x8b", b"PK\x03\x04", b"\x93NUMPY", b"|O",
    b"(1000000000000,)", b"\xef\xbb\xbf", "é".encode(), b"\xed\xa0\x80", b"qid:1", b"PAR1", b"0", b"text",
]  # fmt: skip


def _numbers():
    random = np.random.default_rng(0)
    return random.normal(size=(24, 3)).round(2), np.arange(24) % 2


def _csv():
    X, y = _numbers()
    lines = [f"{a},{b},{c},{'red' if a > 0 else 'dark, blue'!r},g{i // 3},{label}".replace("'", '"')
             for i, ((a, b, c), label) in enumerate(zip(X, y))]  # fmt: skip
    return "\n".join(["a,b,c,colour,group,label", *lines]).encode()


def _npz(compressed=True):
    X, y = _numbers()
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(
        file, X=X, label=y, group=np.array([f"g{i // 3}" for i in range(24)])
    )
    return file.getvalue()


def _libsvm():
    file = io.BytesIO()
    dump_svmlight_file(*_numbers(), file, zero_based=False)
    return file.getvalue()


def _parquet():
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    file = io.BytesIO()
    pandas.read_csv(io.BytesIO(_csv())).to_parquet(file)
    return file.getvalue()


def _idx(array):
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def _images():
    return _idx(np.random.default_rng(0).integers(0, 256, (24, 2, 2), dtype=np.uint8))


def _table(path):
    return load(path, "label", group="group", missing="impute")


def _folder(path):
    return load(os.path.dirname(path))


FORMATS = {
    "table.csv": (_csv, _table),
    "table.csv.gz": (lambda: gzip.compress(_csv(), mtime=0), _table),
    "table.parquet": (_parquet, _table),
    "arrays.npz": (_npz, _table),
    "stored/arrays.npz": (lambda: _npz(compressed=False), _table),
    "sparse.svm": (_libsvm, load),
    "train-images-idx3-ubyte": (_images, _folder),
    "zipped/train-images-idx3-ubyte": (lambda: gzip.compress(_images(), mtime=0), _folder),
}


def mutated(content, random):
    """Change a few places: bits, bytes, and runs of bytes, cut, doubled, or replaced by what readers stumble over."""
    content = bytearray(content)
    for _ in range(random.integers(1, 4)):
        at = int(random.integers(0, len(content) + 1))
        length = int(min(random.geometric(0.2), len(content) - at))
        kind = random.integers(0, 6)
        if kind == 0 and at < len(content):
            content[at] ^= 1 << int(random.integers(0, 8))
        elif kind == 1 and at < len(content):
            content[at] = int(random.integers(0, 256))
        elif kind == 2:
            content[at : at + length] = b""
        elif kind == 3:
            content[at:at] = content[at : at + length * 10]
        elif kind == 4:
            content[at : at + length] = TOKENS[random.integers(0, len(TOKENS))]
        elif kind == 5 and random.random() < 0.2:
            del content[at:]
    return bytes(content)


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_read_or_refused(tmp_path, name):
    make, read = FORMATS[name]
    content = make()
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if "idx" in name:
        (path.parent / "train-labels-idx1-ubyte").write_bytes(_idx(np.arange(24, dtype=np.uint8) % 2))
    path.write_bytes(content)
    prepared = splits(read(str(path)), 0)[0]  # the file as it is can be read
    random = np.random.default_rng(list(name.encode()))
    outcomes = {"read": 0, "refused": 0}
    largest = 0
    tracemalloc.start()
    try:
        for case in range(CASES):
            path.write_bytes(damaged := mutated(content, random))
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            for step in (
                lambda: splits(read(str(path)), 0),
                lambda: load_rows(str(path), prepared.preprocessor, prepared.classes, "label"),
            ):
                try:
                    step()
                except DataError as error:
                    assert str(error) and "\n" not in str(error) and len(str(error)) < 1500, (case, damaged)
                    outcomes["refused"] += 1
                except BaseException as error:
                    raise AssertionError(f"case {case}: {damaged!r}") from error
                else:
                    outcomes["read"] += 1
            largest = max(largest, tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    print(f"{name}: {outcomes}, at most {largest:,} bytes")
    assert largest < MEMORY
    assert min(outcomes.values()) > 0


def test_an_archive_of_damaged_arrays(tmp_path):
    """Behind the checksums of a zip file: the arrays themselves are damaged, then packed."""
    random = np.random.default_rng(1)
    with zipfile.ZipFile(io.BytesIO(_npz())) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    path = tmp_path / "arrays.npz"
    refused = 0
    for _ in range(CASES):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, mutated(content, random) if random.random() < 0.5 else content)
        try:
            splits(_table(str(path)), 0)
        except DataError as error:
            assert "\n" not in str(error)
            refused += 1
    assert CASES // 10 < refused < CASES
