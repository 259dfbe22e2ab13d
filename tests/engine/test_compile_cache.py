"""Machine code on disk: the same bits from it as from the compiler, and no harm from a bad folder or file."""

import json

import joblib
import numpy as np
import pytest
from slow import nightly

from normkit import MLPRegressor, _jit
from normkit.engine.epoch import run_batches

# fits in the precisions it is told, with every kind of sum in them; what comes out as exact text
FITS = """
import os
import numpy as np
from normkit import MLPClassifier
from normkit.engine.epoch import run_batches

X = np.random.default_rng(0).normal(size=(100, 30))
for dtype in os.environ["PRECISIONS"].split():
    for normalization in (None, "batch", "layer"):
        model = MLPClassifier(
            (50, 20), "elu", normalization=normalization, norm_position="after", batch_size=33, max_iter=3, dropout=0.1,
            random_state=0, normalize_input=True,
        ).fit(X.astype(dtype), np.arange(100) % 4)
        for values in (*model.coefs_, model.predict_proba(X.astype(dtype))):
            print(values.tobytes().hex())
print(sum(run_batches.stats.cache_hits.values()), sum(run_batches.stats.cache_misses.values()))
"""

# one small function stands for all of them here: compiling a fit takes half a minute
SMALL = """
import json
import numpy as np
from normkit import _jit
from normkit.engine.losses import mean_loss

p = np.full((4, 2), 0.5)
loss = mean_loss(2, p, np.zeros((4, 2)), np.empty(0))
stats = getattr(mean_loss, "stats", None)
print(json.dumps({"loss": loss, "hits": sum(stats.cache_hits.values()), "folder": _jit.cache_directory()}))
"""


# to compile one precision takes half a minute
@pytest.mark.parametrize("precisions", ["float32", pytest.param("float32 float64", marks=nightly)])
def test_the_same_bits_cold_and_warm(run_python, tmp_path, precisions):
    environment, kinds = {"NUMBA_CACHE_DIR": tmp_path / "cache", "PRECISIONS": precisions}, len(precisions.split())
    cold = run_python(FITS, timeout=1800, **environment).splitlines()
    warm = run_python(FITS, **environment).splitlines()
    assert cold[-1] == f"0 {kinds}" and warm[-1] == f"{kinds} 0"
    assert cold[:-1] == warm[:-1] and len(set(cold)) == 12 * kinds + 1


@pytest.fixture
def small(run_python):
    def run(**environment):
        return json.loads(run_python(SMALL, **environment))

    return run


def files_of(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_damaged_files(small, tmp_path):
    assert small(NUMBA_CACHE_DIR=tmp_path / "cache")["hits"] == 0
    assert small(NUMBA_CACHE_DIR=tmp_path / "cache")["hits"] == 1
    files = files_of(tmp_path / "cache")
    assert {path.suffix for path in files} == {".nbi", ".nbc"}
    for size in (0.5, 0.0):  # truncated, and empty
        for path in files:
            content = path.read_bytes()
            path.write_bytes(content[: int(size * len(content))])
        assert small(NUMBA_CACHE_DIR=tmp_path / "cache") == {"loss": 0.125, "hits": 0, "folder": str(files[0].parent)}
    # written anew
    assert small(NUMBA_CACHE_DIR=tmp_path / "cache")["hits"] == 1


def test_code_that_is_missing_from_the_index(small, tmp_path):
    small(NUMBA_CACHE_DIR=tmp_path / "cache")
    for path in files_of(tmp_path / "cache"):
        if path.suffix == ".nbc":
            path.unlink()
    assert small(NUMBA_CACHE_DIR=tmp_path / "cache")["loss"] == 0.125


def test_folder_that_cannot_be_written(small, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    environment = {name: blocked for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME")}
    assert small(**environment) == {"loss": 0.125, "hits": 0, "folder": ""}
    assert blocked.read_text() == "not a folder"


def test_next_best_folder(small, tmp_path):
    (tmp_path / "file").write_text("")
    result = small(NUMBA_CACHE_DIR=tmp_path / "file", HOME=tmp_path)
    assert result["folder"].startswith(str(tmp_path / ".cache"))


def test_importing_compiles_nothing(run_python):
    program = """
        from numba.core import event

        with event.install_recorder("numba:compile") as recorder:
            import normkit, normkit.estimators, normkit.functional, normkit.experiments

        print(len(recorder.buffer))
    """
    assert run_python(program) == "0\n"


def test_folder_depends_on_what_is_compiled():
    folder = _jit.cache_directory()
    assert _jit._source_digest() in folder and len(_jit._source_digest()) == 16


def test_read_only_arrays_need_no_other_code(tmp_path):
    """What joblib gives its workers, and what it loads from a file without reading it."""
    X, y = np.random.default_rng(0).normal(size=(50, 4)), np.arange(50.0)
    fit = {"hidden_layer_sizes": (5,), "normalization": "batch", "max_iter": 1}
    model = MLPRegressor(**fit).fit(X, y, np.ones(50))
    known = list(run_batches.signatures)
    joblib.dump((X, y, np.ones(50), model), tmp_path / "file")
    X, y, weight, loaded = joblib.load(tmp_path / "file", mmap_mode="r")
    assert not y.flags.writeable and not weight.flags.writeable
    MLPRegressor(**fit).fit(X, y, weight)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    loaded.partial_fit(X, y)
    assert run_batches.signatures == known
