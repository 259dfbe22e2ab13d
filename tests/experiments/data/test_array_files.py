"""Readers of IDX, NPZ and LIBSVM: what they return, and one line for whatever is wrong with a file."""

import gzip
import io
import os
import struct
import zipfile

import numpy as np
import pytest
from sklearn.datasets import dump_svmlight_file

from normkit.experiments.data import files
from normkit.experiments.data.array_files import read_idx, read_libsvm, read_npz
from normkit.experiments.data.files import open_data
from normkit.experiments.data.table_files import read_csv
from normkit.experiments.errors import DataError, one_line


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
        (gzip.compress(idx(IMAGES), mtime=0)[:-12], "damaged compressed data"),
        (gzip.compress(idx(IMAGES), mtime=0)[:10] + b"\xff" * 30, "damaged compressed data"),
        (gzip.compress(idx(IMAGES), mtime=0)[:-8] + b"\0" * 8, "CRC check failed"),
        (gzip.compress(b"", mtime=0), "not an IDX file"),
    ],
)
def test_idx_hostile(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(path)


def test_a_gzip_bomb_is_refused_by_a_limit_that_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "UNPACKED_LIMIT", 100_000)
    path = tmp_path / "bomb"
    size = 1_000_000
    path.write_bytes(gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", size) + bytes(size)))
    with pytest.raises(DataError, match="unpacks to more than 100,000 bytes, the limit"):
        read_idx(path)
    path.write_bytes(gzip.compress(b"a,label\n" + b"1,2\n" * (size // 4)))
    with pytest.raises(DataError, match="unpacks to more than 100,000 bytes, the limit"):
        read_csv(path)
    path.write_bytes(gzip.compress(b"1 1:1\n" * (size // 6)))
    with pytest.raises(DataError, match="unpacks to more than 100,000 bytes, the limit"):
        read_libsvm(path)


def test_a_compressed_archive_has_the_same_limit(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros((1000, 100)), y=np.zeros(1000))
    assert (tmp_path / "bomb.npz").stat().st_size < 100_000
    monkeypatch.setattr(files, "UNPACKED_LIMIT", 100_000)
    with pytest.raises(DataError, match="unpacks to more than 100,000 bytes, the limit"):
        read_npz(tmp_path / "bomb.npz")
    np.savez(tmp_path / "stored.npz", x=np.zeros((1000, 100)), y=np.zeros(1000))  # as large as the file is
    assert read_npz(tmp_path / "stored.npz")["x"].shape == (1000, 100)


def test_what_has_no_end_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    for name in ("pipe.csv", "zeros"):
        with pytest.raises(DataError, match="not a regular file"):
            read_idx(tmp_path / name)


def test_a_file_is_closed_with_what_was_unpacked_from_it(tmp_path):
    path = tmp_path / "zipped"
    path.write_bytes(gzip.compress(b"data"))
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    with open_data(path) as file:
        assert file.read() == b"data"
    if descriptors is not None:
        assert len(os.listdir("/proc/self/fd")) == descriptors


def test_npz(tmp_path):
    path = tmp_path / "arrays.npz"
    np.savez_compressed(path, images=np.asfortranarray(IMAGES), label=[1, 0], names=["a", "bc"], big=np.ones(2, ">f8"))
    arrays = read_npz(path, ("label",))
    assert list(arrays) == ["images", "label", "names", "big"]
    np.testing.assert_array_equal(arrays["images"], IMAGES)
    np.testing.assert_array_equal(arrays["label"], [1, 0])
    np.testing.assert_array_equal(arrays["names"], ["a", "bc"])
    np.testing.assert_array_equal(arrays["big"], [1.0, 1.0])


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path.read_bytes()


def forged(descr, shape, data=b""):
    """An archive of one array whose header says what it likes."""
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": descr, "fortran_order": False, "shape": shape})
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("label.npy", member.getvalue() + data)
    return archive.getvalue()


def twice():
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("label.npy", b"")
        file.writestr("label.npy", b"")
    return archive.getvalue()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: b"", "not an NPZ file"),
        (lambda path: b"\x80\x04garbage" * 9, "not an NPZ file"),
        (lambda path: npz(path, label=[1], x=[[1]])[:-40], "not an NPZ file"),
        (lambda path: npz(path, x=[[1.0]]), "no array 'label'; its arrays are x"),
        (lambda path: npz(path), "no array 'label'; its arrays are none"),
        (lambda path: npz(path, label=[object()], x=[[1.0]]), "pickled"),
        (lambda path: npz(path, label=[1, 2], x=np.ones((9, 9))).replace(b"NUMPY", b"NYMPH"), "not an NPZ file"),
        (lambda path: npz(path, label=np.zeros(2, "f4,f4")), "without pickled objects"),
        (lambda path: npz(path, label=np.zeros(2, "M8[s]")), "numbers, booleans and text are read"),
        (lambda path: forged("<f8", (10**15,)), "has 0 bytes of data, its header says"),
        (lambda path: forged("<f8", (-1,)), "its header says"),
        (lambda path: forged("<f8", (-1, -1), bytes(8)), "its header says"),
        (lambda path: forged("<U0", (10**15,)), "numbers, booleans and text are read"),
        (lambda path: forged("<f8", (2**40, 2**40, 0)), "no array 'x'"),
        (lambda path: twice(), "two arrays of one name"),
    ],
)
def test_npz_hostile(tmp_path, make, message):
    path = tmp_path / "arrays.npz"
    path.write_bytes(make(path))
    with pytest.raises(DataError, match=message):
        read_npz(path, ("label", "x") if "'x'" in message else ("label",))


def test_libsvm_is_scikit_learns(tmp_path):
    random = np.random.default_rng(0)
    X = np.where(random.random((20, 5)) < 0.4, random.normal(size=(20, 5)), 0)
    X[0] = 1  # the last column is not empty
    y = random.normal(size=20)
    dump_svmlight_file(X, y, str(tmp_path / "file.svm"), zero_based=False, comment="# of a test")
    read, target, zero_based = read_libsvm(tmp_path / "file.svm")
    assert zero_based is False
    assert read.dtype == np.float32 and read.flags.c_contiguous
    np.testing.assert_array_equal(read, X.astype(np.float32))
    np.testing.assert_allclose(target, y, rtol=1e-15)  # 16 digits were written
    (tmp_path / "zipped").write_bytes(gzip.compress((tmp_path / "file.svm").read_bytes()))
    np.testing.assert_array_equal(read_libsvm(tmp_path / "zipped")[0], read)
    assert read_libsvm(tmp_path / "file.svm", 7)[0].shape == (20, 7)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "at least one row"),
        (b"# nothing\n", "at least one row"),
        (b"a,b\n1,2\n", "not a LIBSVM file"),
        (b"1 1:x\n", "not a LIBSVM file"),
        (b"1 0:1 -5:1\n", "not a LIBSVM file"),
        (b"1 2:1 1:1\n", "not a LIBSVM file"),
        (b"1,2 1:1\n", "not a LIBSVM file"),
        (b"\0\xff\xfe", "not a LIBSVM file"),
        (b"1 1000000000:1\n", "1 rows of 1,000,000,000 features take 4,000,000,000 bytes of memory, the limit is"),
        (b"1 99999999999999999999:1\n", "not a LIBSVM file"),
    ],
)
def test_libsvm_hostile(tmp_path, content, message):
    path = tmp_path / "file.svm"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_libsvm(path)


def test_the_first_index_of_a_libsvm_file_is_found_or_given(tmp_path):
    (tmp_path / "file.svm").write_bytes(b"1 1:5\n0 2:6 3:0\n")
    X, _, zero_based = read_libsvm(tmp_path / "file.svm")
    assert (X.tolist(), zero_based) == ([[5, 0, 0], [0, 6, 0]], False)
    X, _, zero_based = read_libsvm(tmp_path / "file.svm", 4, True)
    assert (X.tolist(), zero_based) == ([[0, 5, 0, 0], [0, 0, 6, 0]], True)
    (tmp_path / "file.svm").write_bytes(b"1 0:5 1:4\n")
    assert read_libsvm(tmp_path / "file.svm")[0].tolist() == [[5, 4]] and read_libsvm(tmp_path / "file.svm")[2]
    with pytest.raises(DataError, match="not a LIBSVM file: Invalid index 0"):
        read_libsvm(tmp_path / "file.svm", 3, False)


@pytest.mark.parametrize("code", [0x110001, 0xD800, 0xDFFF])
@pytest.mark.parametrize("order", "<>")
def test_npz_of_text_that_is_none(tmp_path, code, order):
    for letter in (code, 0xD7FF, 0x10FFFF):
        np.savez(tmp_path / "a.npz", y=np.array([97, letter], f"{order}u4").view(f"{order}U1"))
        if letter == code:
            with pytest.raises(DataError, match="a.npz is not an NPZ file of text: y.npy holds what is no letter"):
                read_npz(tmp_path / "a.npz")
        else:
            assert read_npz(tmp_path / "a.npz")["y"].tolist() == ["a", chr(letter)]


def test_libsvm_of_more_features_than_the_model_has(tmp_path):
    (tmp_path / "file.svm").write_bytes(b"1 1:1 9:1\n")
    with pytest.raises(DataError, match="n_features was set to 4, but input file contains 9"):
        read_libsvm(tmp_path / "file.svm", 4)


READERS = {"csv": read_csv, "npz": read_npz, "idx": read_idx, "libsvm": read_libsvm}


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


def test_messages_are_one_printable_line():
    assert one_line("a\nb\t \x1b[31mc") == "a b \N{REPLACEMENT CHARACTER}[31mc"
    assert one_line("x" * 300) == "x" * 197 + "..."
