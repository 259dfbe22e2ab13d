"""The benchmark of the norm functions: its cases, its file and its tables; no time is asserted."""

import shutil
import signal
from importlib.util import find_spec

import numpy as np
import pytest


@pytest.fixture
def cases(module):
    return module("normkit.bench.norm_cases")


stopped_by_signals = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="workers are stopped by a signal")


@stopped_by_signals
def test_quick_run(script, module, read, grids, tmp_path):
    file = tmp_path / "norms.json"
    shown = script("norms.py", "--quick", "--peers", "numpy", "--only", "float32", "--threads", 1, "--json", file)
    result = read(file)
    assert result["kind"] == "norms" and result["threads"] == 1 and result["versions"]["numpy"] == np.__version__
    assert {case["function"] for case in result["cases"]} == {
        "layer_norm", "rms_norm", "batch_norm", "group_norm", "instance_norm"
    }  # fmt: skip
    for case in result["cases"]:
        row = case["peers"]["numpy"]
        assert "failed" not in row and "error" not in row
        for mode in ("fresh", "out"):
            assert row[mode]["way"] == "two passes" and row[mode]["verdict"] == "right"
            assert len(row[mode]["us"]) == result["repeats"] and min(row[mode]["us"]) > 0
    means, *tables = grids(module("table").markdown(result))
    assert len(tables) == 10  # five functions, two directions
    for rows in [means, *tables]:
        assert {len(row) for row in rows} == {len(rows[0])}
    assert means[0][-1] == "÷ NumPy" and [row[0] for row in means[-4:]] == ["all"] * 4
    # a row for each shape and kind of output, NumPy the fastest for want of others
    for rows in tables:
        _, _, *body = rows
        assert all(row[-1] in ("NumPy", "NumPy (fresh)") and float(row[3]) > 0 for row in body)
    assert "batch_norm, backward, 1 thread" in shown and "NCHW 3×8×5×4" in shown


def has(peer, mode, function, direction, axis, shape):
    """Whether a library has the function, with memory for the result or without."""
    if peer == "onnxruntime":  # inference of images channels first, and of rows
        return mode == "fresh" and direction == "forward" and (len(shape) == 2 or axis == 1)
    if peer == "onednn":
        return mode == "fresh" and function == "batch_norm"
    if peer == "torch" and function == "rms_norm":
        return mode == "fresh"
    return peer != "copy" or mode == "out"


@stopped_by_signals
@pytest.mark.parametrize(
    "library, names, terms",
    [
        ("torch", "copy,torch,onednn", ("33x40", "3x5x4x8")),
        ("jax", "jax", ("float32", "33x40", "3x8x5x4")),
        ("onnxruntime", "onnxruntime", ("float32",)),
        ("torch", "torch-compile", ("float32", "8x64", "layer_norm")),
    ],
    ids=("torch", "jax", "onnxruntime", "torch-compile"),
)
def test_every_way_of_a_peer_is_right(script, read, tmp_path, library, names, terms):
    if find_spec(library) is None:  # not imported here, which takes seconds
        pytest.skip(f"{library} is not installed")
    if names == "torch-compile" and not shutil.which("c++"):
        pytest.skip("torch.compile needs a compiler of C++")
    file = tmp_path / "norms.json"
    only = [word for term in terms for word in ("--only", term)]
    script("norms.py", "--quick", "--peers", names, "--threads", 1, "--json", file, *only)
    result = read(file)
    assert result["absent"] == {} and result["cases"]
    for case in result["cases"]:
        what = [case[name] for name in ("function", "direction", "axis", "shape")]
        for name in names.split(","):
            row = case["peers"][name]
            assert not row.keys() & {"failed", "error"}, (name, case)
            assert {mode for mode in ("fresh", "out") if mode in row} == {
                mode for mode in ("fresh", "out") if has(name, mode, *what)
            }, (name, case)
            for mode in row:
                # torch sums parameter gradients of bfloat16 in bfloat16
                rough = case["dtype"] == "bfloat16" and case["direction"] == "backward"
                assert row[mode]["verdict"] in ("right", "rough" if rough else "right"), (name, case)
                assert len(row[mode]["us"]) == 2 and min(row[mode]["us"]) > 0


def test_ratios_pair_the_repeats(module):
    table = module("norm_table")
    case = {
        "bytes": 8000,
        "peers": {
            "normkit": {"out": {"us": [2.0, 20.0, 4.0]}, "fresh": {"us": [4.0, 4.0, 4.0]}},
            "copy": {"out": {"us": [1.0, 10.0, 2.0]}},
            "torch": {"fresh": {"us": [4.0, 10.0, 8.0]}},
            "jax": {"error": "broken"},
        },
    }
    assert table.ratio(case, "out", "copy", "out") == 2.0
    assert table.fastest(case, "out") == ("torch", "fresh")  # it has no other
    assert table.ratio(case, "out", "torch", "fresh") == 0.5
    assert table.ratio(case, "out", "jax", "out") is None


def test_results_in_json_keep_their_numbers_on_a_line(module):
    text = module("norms").dump({"us": [1.0, 2.5], "cases": [{"shape": [8, 64], "peers": {}}]})
    assert '"us": [ 1.0, 2.5 ]' in text and '"shape": [ 8, 64 ]' in text


def test_terms_of_one_kind_are_alternatives(module, cases):
    norms, every = module("norms"), cases.cases()
    found = norms.select(every, ["layer_norm", "rms_norm", "64x256", "float32", "forward"])
    assert [case.function for case in found] == ["layer_norm", "rms_norm"]
    assert norms.select(every, []) == every
    with pytest.raises(Exception, match="nothing is called 'layernorm'; known are .*8192x4096"):
        norms.select(every, ["layernorm"])


def test_bytes_are_those_that_must_move(cases):
    for case in cases.cases():
        arrays = 2 if case.direction == "forward" else 3
        assert case.bytes == arrays * np.prod(case.shape) * {"float32": 4, "bfloat16": 2}[case.dtype]


def test_reference_gradient_is_that_of_the_reference(cases):
    rng = np.random.default_rng(3)
    for case in cases.cases(quick=True):
        if case.direction == "forward" or case.dtype != "float32":
            continue
        inputs = [a.astype(np.float64) for a in cases.draw(case)]
        x, dy, gamma, beta = inputs
        forward = cases.dataclasses.replace(case, direction="forward")
        gradients = cases.reference(case, x, dy, gamma, beta)
        for index, gradient in zip((0, 2, 3), gradients):
            direction = rng.normal(size=inputs[index].shape)
            losses = []
            for step in (1e-5, -1e-5):
                moved = list(inputs)
                moved[index] = moved[index] + step * direction
                losses.append((cases.reference(forward, moved[0], dy, moved[2], moved[3])[0] * dy).sum())
            # central differences: the error of the step's square and of cancellation are both below 1e-8
            np.testing.assert_allclose((losses[0] - losses[1]) / 2e-5, (gradient * direction).sum(), rtol=1e-5)


def test_a_result_that_lacks_a_term_is_caught(cases, tmp_path):
    case = cases.Case("layer_norm", (33, 40), -1, "bfloat16", "backward")
    cases.save(tmp_path, case)
    right = [np.load(tmp_path / f"expected-{i}.npy") for i in range(3)]
    assert cases.errors_of(tmp_path, case, right) == [0, 0, 0]

    def judged(i, wrong):
        results = [wrong if i == j else a for j, a in enumerate(right)]
        return cases.verdict(case, cases.errors_of(tmp_path, case, results))

    for i, a in enumerate(right):
        largest = np.abs(a).max()
        assert judged(i, a + 0.01 * largest) == "right"
        assert judged(i, a + 0.1 * largest) == ("wrong" if i == 0 else "rough")  # sums may be rough, and said to be
        assert judged(i, np.zeros_like(a)) == "wrong"
        assert judged(i, np.where(a == a.max(), np.nan, a)) == "wrong"
    with pytest.raises(ValueError, match="3 results expected, got 1"):
        cases.errors_of(tmp_path, case, right[:1])


def test_rounding_to_bfloat16(cases):
    # halfway cases go to even, the others to the nearest
    a = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -0.0, 3e38], np.float32)
    found = cases.round_to_bfloat16(a)
    np.testing.assert_array_equal(found[:5], np.array([1.0, 1.0, 1 + 2**-6, 1 + 2**-7, -0.0], np.float32))
    ml_dtypes = pytest.importorskip("ml_dtypes")
    np.testing.assert_array_equal(found, a.astype(ml_dtypes.bfloat16).astype(np.float32))
