"""Readers of IDX, CSV and NPZ: what they return, and one line for whatever is wrong with a file."""

import gzip
import os
import struct

import numpy as np
import pytest

from normkit.experiments.errors import DataError
from normkit.experiments.readers import read_csv, read_idx, read_npz

GOOD_CSV = "a,label,b\n1,yes,2.5\n-3,no,4e2\n"


def idx(array):
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("name", ["images", "images.gz"])
@pytest.mark.parametrize("zipped", [False, True])
def test_idx_is_read_by_its_content_whatever_its_name(tmp_path, name, zipped):
    path = tmp_path / name
    path.write_bytes(gzip.compress(idx(IMAGES)) if zipped else idx(IMAGES))
    np.testing.assert_array_equal(read_idx(path), IMAGES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file"),
        (b"hello, world", "not an IDX file"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "not an IDX file"),  # floats
        (b"\0\0\x08\x03\0\0", "header is cut off"),
        (idx(IMAGES)[:-1], "24 bytes of data, the file has 23"),
        (idx(IMAGES) + b"x", "the file has more"),
        (b"\0\0\x08\x04" + b"\xff" * 16 + b"abc", "the file has 3"),  # 2 ** 128 bytes announced
        (gzip.compress(idx(IMAGES))[:-12], "cannot read"),
        (gzip.compress(idx(IMAGES))[:10] + b"\xff" * 30, "cannot read"),
        (gzip.compress(b""), "not an IDX file"),
    ],
)
def test_idx_hostile(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(path)


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"])  # a spreadsheet's byte order mark
def test_csv(tmp_path, prefix):
    path = tmp_path / "table.csv"
    path.write_bytes(prefix + GOOD_CSV.encode())
    X, y = read_csv(path, "label")
    np.testing.assert_array_equal(X, [[1, 2.5], [-3, 400]])
    np.testing.assert_array_equal(y, ["yes", "no"])


def test_csv_takes_quotes_blank_lines_and_windows_line_ends(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b'"a, b",label\r\n"1","x, y"\r\n\r\n2,z\r\n')
    X, y = read_csv(path, "label")
    np.testing.assert_array_equal(X, [[1], [2]])
    assert y.tolist() == ["x, y", "z"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "column names and at least one row"),
        (b"a,label\n", "column names and at least one row"),
        (b"a,b\n1,2\n", "no column 'label'; its columns are a, b"),
        (b"label,label\n1,2\n", "2 columns 'label'"),
        (b"a,label\n1,x\n2\n", "line 3: 1 values, but 2 column names"),
        (b"a,label\n\n1,x\nred,y\n", "line 4, column 'a': 'red' is not a number"),
        (b"a,label\n,x\n", "line 2, column 'a': '' is not a number"),
        (b"a,label\n1,\n", "line 2: the label 'label' is missing"),
        (b"\xff\xfe\x00\x01\x80", "not a CSV file in UTF-8"),
        (b'a,label\n"' + b"x" * 200_000 + b'",y\n', "not a CSV file in UTF-8: field larger"),
    ],
)
def test_csv_hostile(tmp_path, content, message):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_csv(path, "label")


def test_npz(tmp_path):
    path = tmp_path / "arrays.npz"
    np.savez_compressed(path, images=IMAGES, label=[1, 0])
    X, y = read_npz(path, "label")
    np.testing.assert_array_equal(X, IMAGES)
    np.testing.assert_array_equal(y, [1, 0])


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: b"", "not an NPZ file"),
        (lambda path: b"\x80\x04garbage" * 9, "not an NPZ file"),
        (lambda path: npz(path, label=[1], x=[[1]])[:-40], "not an NPZ file"),
        (lambda path: npz(path, x=[[1.0]]), "no array 'label'; its arrays are x"),
        (lambda path: npz(path), "no array 'label'; its arrays are none"),
        (lambda path: npz(path, label=[1]), "holds none"),
        (lambda path: npz(path, label=[1], a=[1], b=[1]), "holds a, b"),
        (lambda path: npz(path, label=[object()], x=[[1.0]]), "pickled"),
        (
            lambda path: npz(path, label=[1, 2], x=np.ones((9, 9))).replace(b"NUMPY", b"NYMPH"),
            "not an NPZ file",
        ),
    ],
)
def test_npz_hostile(tmp_path, make, message):
    path = tmp_path / "arrays.npz"
    path.write_bytes(make(path))
    with pytest.raises(DataError, match=message):
        read_npz(path, "label")


READERS = {"csv": lambda p: read_csv(p, "label"), "npz": lambda p: read_npz(p, "label"), "idx": read_idx}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_missing_file_and_directory(tmp_path, reader):
    with pytest.raises(DataError, match="cannot read .*: No such file"):
        reader(tmp_path / "none")
    with pytest.raises(DataError, match="cannot read .*: Is a directory"):
        reader(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_no_permission(tmp_path, reader):
    path = tmp_path / "secret"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(DataError, match="cannot read .*: Permission denied"):
        reader(path)
