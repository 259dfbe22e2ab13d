"""Damaged and forged model files: the same numbers or one documented error, whatever the bytes.

NORMKIT_FUZZ_CASES sets the number of mutations: 500 unless given, 20000 for a nightly run.
"""

import json
import os
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy

import normkit
from normkit import MLPClassifier, MLPRegressor, ModelFileError
from normkit.estimators import _model_file

CASES = int(os.environ.get("NORMKIT_FUZZ_CASES", 500))
X = np.random.default_rng(1).normal(size=(30, 4))  # (samples, features)
SHORT = {"max_iter": 2, "batch_size": 10, "random_state": np.random.RandomState(0)}


@pytest.fixture(scope="module")
def model():
    y = np.array(["no", "yes", "maybe"])[(X[:, 0] > 0).astype(int) + (X[:, 1] > 0)]
    return MLPClassifier((5, 4), ["elu", "relu"], normalization="batch", dropout=0.1, **SHORT).fit(X, y)


@pytest.fixture(scope="module")
def data(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model"
    model.save(path, metadata={"target": "kind"})
    return path.read_bytes()


def one_line(error):
    assert "\n" not in str(error) and len(str(error)) < 1000


def mutated(data, random):
    """Change, take out, put in, repeat or exchange bytes, near the header in half of the cases."""
    changed = bytearray(data)
    header = 8 + int.from_bytes(data[:8], "little")
    for _ in range(random.integers(1, 4)):
        place = int(random.integers(min(len(changed), header if random.random() < 0.5 else len(changed)) or 1))
        length = int(random.integers(1, 30))
        match random.integers(7):
            case 0:
                changed[place : place + 1] = [int(random.integers(256))]
            case 1 if changed:
                changed[place % len(changed)] ^= 1 << random.integers(8)
            case 2:
                del changed[place : place + length]
            case 3:
                changed[place:place] = random.bytes(length)
            case 4:
                changed[place:place] = changed[place : place + length]
            case 5:
                del changed[place:]
            case 6:
                changed[:8] = int(random.integers(2**63)).to_bytes(8, "little")
    return bytes(changed)


def test_mutated_bytes(model, data, tmp_path):
    random = np.random.default_rng(0)
    path, expected, outcomes = tmp_path / "model", model.predict_proba(X), {"same": 0, "refused": 0}
    for _ in range(CASES):
        path.write_bytes(mutated(data, random))
        try:
            loaded = normkit.load(path)
        except ModelFileError as error:
            one_line(error)
            outcomes["refused"] += 1
            continue
        np.testing.assert_array_equal(loaded.predict_proba(X), expected)
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
        outcomes["same"] += 1
    assert outcomes["refused"] > 0.9 * CASES


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 100, 1000, -1000, -8, -1])
def test_truncated(data, tmp_path, length):
    (tmp_path / "model").write_bytes(data[:length])
    with pytest.raises(ModelFileError, match="not a model file, or truncated"):
        normkit.load(tmp_path / "model")


def test_one_bit_of_every_array(data, tmp_path):
    header = 8 + int.from_bytes(data[:8], "little")
    for place in range(header, len(data), 97):
        changed = bytearray(data)
        changed[place] ^= 1
        (tmp_path / "model").write_bytes(changed)
        with pytest.raises(ModelFileError, match="altered or damaged"):
            normkit.load(tmp_path / "model")


def forged(data, path, change, arrays=None):
    """Write the file with a changed document or changed arrays, and the checksum that belongs to it."""
    document, own = _model_file.read(path) if data is None else read_bytes(data, path)
    change(document)
    own.update(arrays or {})
    _model_file.write(path, document, {name: array for name, array in own.items() if array is not None})


def read_bytes(data, path):
    path.write_bytes(data)
    return _model_file.read(path)


def places(node, path=()):
    """Yield the path of every value in a document."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


HOSTILE = (
    None, True, -1, 0, 10**30, 2**63, 1e308, "", "x", "MLPRegressor", [], [[]], {}, {"array": "nope"},
    {"float": "nan"}, {"float": "x"}, {"dict": [[[], 1]]}, {"dict": 3}, {"tuple": [1]},
    {"random_state": "layers.1.weight", "numbers": [1]},
    {"text": "layers.1.weight"}, {"items": [1, 2], "shape": [3]}, {"array": "layers.1.weight"}, {"unknown": 1},
)  # fmt: skip


def test_forged_documents(data, tmp_path):
    """With a checksum that fits, a value of any kind anywhere is refused or gives a model that predicts."""
    random = np.random.default_rng(0)
    path = tmp_path / "model"
    document, arrays = read_bytes(data, path)
    everywhere, outcomes = list(places(document)), {"loaded": 0, "refused": 0}
    for case in range(CASES):
        changed = json.loads(json.dumps(document))
        *above, last = everywhere[case % len(everywhere)]
        node = changed
        for key in above:
            node = node[key]
        if random.random() < 0.15:
            del node[last]
        else:
            node[last] = HOSTILE[random.integers(len(HOSTILE))]
        _model_file.write(path, changed, arrays)
        try:
            loaded = normkit.load(path)
        except ModelFileError as error:
            one_line(error)
            outcomes["refused"] += 1
            continue
        assert loaded.predict_proba(X).shape[0] == len(X)
        outcomes["loaded"] += 1
    assert min(outcomes.values()) > 0


def test_forged_arrays(data, tmp_path):
    path = tmp_path / "model"
    _, arrays = read_bytes(data, path)
    for name, array in arrays.items():
        for wrong in (None, array[:-1], array[..., None], np.zeros(array.shape, np.float16), np.zeros((0, 0))):
            forged(data, path, lambda document: None, {name: wrong})
            with pytest.raises(ModelFileError, match="does not describe a model"):
                normkit.load(path)


def test_arrays_that_do_not_follow_each_other(data, tmp_path):
    path = tmp_path / "model"
    forged(data, path, lambda document: None, {"layers.2.weight": np.zeros((4, 6))})
    with pytest.raises(ModelFileError, match="weights do not follow each other"):
        normkit.load(path)


def test_a_file_asks_for_no_thousands_of_threads(data, tmp_path):
    path = tmp_path / "model"
    forged(data, path, lambda document: document["parameters"].update(n_threads=10**9))
    with pytest.raises(ModelFileError, match="n_threads must be at most 4096"):
        normkit.load(path)
    forged(data, path, lambda document: document["parameters"].update(n_threads=2))
    assert normkit.load(path).n_threads == 2


def test_newer_schema(data, tmp_path):
    _, arrays = read_bytes(data, tmp_path / "model")
    for schema in ("2", "9" * 400):
        described = {"format": "normkit.model", "schema": schema, "normkit": "9.1", "sha256": "of another kind"}
        (tmp_path / "model").write_bytes(safetensors.numpy.save(arrays, metadata=described))
        with pytest.raises(
            ModelFileError, match=f"has schema {schema[:9]}, written by normkit '9.1'; .* update normkit"
        ):
            normkit.load(tmp_path / "model")


def test_other_files(tmp_path):
    path = tmp_path / "model"
    safetensors.numpy.save_file({"weight": np.ones(3)}, path)
    with pytest.raises(ModelFileError, match="not one of normkit's models"):
        normkit.load(path)
    safetensors.numpy.save_file({"weight": np.ones(3)}, path, {"format": "pt"})
    with pytest.raises(ModelFileError, match="not one of normkit's models"):
        normkit.load(path)
    path.write_bytes(b"\x80\x04\x95")
    with pytest.raises(ModelFileError, match="not a model file"):
        normkit.load(path)
    with pytest.raises(FileNotFoundError):
        normkit.load(tmp_path / "none")


@pytest.mark.parametrize("text", ["[]", "3", "[" * 100_000, '{"a": ' * 100_000, "{", '{"class": "MLPClassifier"}'])
def test_documents_that_are_none(data, tmp_path, text):
    _, arrays = read_bytes(data, tmp_path / "model")
    described = {"format": "normkit.model", "schema": "1", "document": text}
    described["sha256"] = _model_file._digest(described, arrays)
    (tmp_path / "model").write_bytes(safetensors.numpy.save(arrays, metadata=described))
    with pytest.raises(ModelFileError):
        normkit.load(tmp_path / "model")


@pytest.mark.parametrize("size", [2**27, 2**40, 2**63 - 1])
def test_headers_ask_for_no_memory(data, tmp_path, size):
    header = json.dumps(
        {"layers.1.weight": {"dtype": "F64", "shape": [2**30, 2**30], "data_offsets": [0, size]}}
    ).encode()
    for forged in (size.to_bytes(8, "little") + data[8:], len(header).to_bytes(8, "little") + header):
        (tmp_path / "model").write_bytes(forged)
        tracemalloc.start()
        with pytest.raises(ModelFileError, match="not a model file"):
            normkit.load(tmp_path / "model")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10 * len(data)


def test_memory_is_bounded_by_the_file(tmp_path):
    model = MLPRegressor(hidden_layer_sizes=(400,), max_iter=1, batch_size=10).fit(np.zeros((10, 500)), np.zeros(10))
    model.save(tmp_path / "model")
    normkit.load(tmp_path / "model")  # what is imported at the first time
    tracemalloc.start()
    normkit.load(tmp_path / "model")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * (tmp_path / "model").stat().st_size
