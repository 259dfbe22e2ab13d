"""Files that hold what flags hold."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normkit.experiments.configuration import read, to_toml
from normkit.experiments.errors import DataError

KNOWN = ("batch_sizes", "norms", "learning_rates", "seeds")


def write(tmp_path, text, name="file.toml"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("name", ["file.toml", "FILE.TOML"])
def test_dashes_and_underscores(tmp_path, name):
    path = write(tmp_path, 'batch-sizes = [8, 32]\nlearning_rates = [1e-3]\nnorms = ["none"]\n', name)
    assert read(path, KNOWN) == {"batch_sizes": [8, 32], "learning_rates": [0.001], "norms": ["none"]}


def test_yaml_holds_the_same(tmp_path):
    pytest.importorskip("yaml")
    path = write(tmp_path, "batch-sizes: [8, 32]\nlearning_rates:\n  - 0.001\nnorms: [none]\n", "file.yaml")
    assert read(path, KNOWN) == {"batch_sizes": [8, 32], "learning_rates": [0.001], "norms": ["none"]}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.toml", "batchsizes = 3", "unknown name 'batchsizes'; did you mean 'batch-sizes'"),
        ("a.toml", "sseds = 3", "did you mean 'seeds'"),
        ("a.toml", "zzzz = 3", "unknown name 'zzzz'$"),
        ("a.toml", "batch-sizes = 3\nbatch_sizes = 3", "twice"),
        ("a.toml", "seeds = ", "is not TOML"),
        ("a.toml", "[seeds", "is not TOML"),
        ("a.toml", b"\xff\xfe", "not a text file in UTF-8"),
        ("a.json", "{}", "must be a .toml, .yaml or .yml file"),
        ("a", "", "must be a .toml, .yaml or .yml file"),
        ("a.yaml", "a: [", "is not YAML"),
        ("a.yaml", "- seeds", "must hold names and values, it holds list"),
        ("a.yaml", "", "it holds NoneType"),
        ("a.yaml", "3: 4", "unknown name 3"),
        ("a.yaml", "!!python/object/apply:os.system ['true']", "is not YAML"),
    ],
)
def test_what_is_wrong_is_told(tmp_path, name, text, words):
    if name.endswith("yaml"):
        pytest.importorskip("yaml")
    with pytest.raises(DataError, match=words):
        read(write(tmp_path, text, name), KNOWN)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read(tmp_path / "none.toml", KNOWN)
    with pytest.raises(DataError, match="Is a directory"):
        read(tmp_path, KNOWN)


text = st.text(st.characters(exclude_categories=["Cs"]))
scalars = text | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
names = st.from_regex(r"[a-z]{1,6}(_[a-z]{1,6})?", fullmatch=True)


@given(st.dictionaries(names, scalars | st.lists(scalars) | st.lists(st.lists(st.integers(1, 9)))))
def test_toml_comes_back(values):
    again = tomllib.loads(to_toml(values))
    assert again == {name.replace("_", "-"): value for name, value in values.items()}
    assert list(map(type, again.values())) == list(map(type, values.values()))


def test_what_is_none_is_left_out():
    assert to_toml({"a": None, "b_c": (1, 2)}) == "b-c = [1, 2]\n"
