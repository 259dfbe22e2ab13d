"""A run of the benchmark: its result, who is refused, who is missing; no time is asserted."""

import contextlib
import json

import numpy as np
import pytest

from normkit.bench import norm_worker, processes, run, suite, table, worker
from normkit.bench.engines import numpy_engine
from normkit.bench.norm_peers import numpy_peer


def test_processes_give_the_same_record_as_the_file(bench, norm_cases, small_step):
    result, told, saved = bench(norm_cases, [small_step])
    assert json.loads(json.dumps(result, allow_nan=False)) == json.loads(json.dumps(result))
    assert result["versions"]["numpy"] == np.__version__ and result["absent"] == {}
    assert [case["key"] for case in result["cases"]] == [
        "layer_norm forward 4x8 float32", "group_norm forward 2x4x3x3 float32", "layer_norm backward 4x8 float32",
        "group_norm backward 2x4x3x3 float32", "64-16-10 batch 16",
    ]  # fmt: skip
    for case in result["cases"]:
        names = ["normkit", "numpy", "copy"] if case["part"] == "kernels" else ["normkit", "numpy"]
        assert list(case["peers"]) == names
        assert all(len(row["us"]) == 3 and min(row["us"]) > 0 for row in case["peers"].values())
    assert saved == [1, 2, 3, 4, 5, 5]  # an interrupted run keeps what it has
    assert told[0] == "importing" and told[1].startswith("1 of 4: layer_norm forward")
    losses = [row["loss"] for row in result["cases"][-1]["peers"].values()]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_a_peer_with_wrong_numbers_is_not_timed(here, bench, norm_cases, monkeypatch):
    genuine = numpy_peer._forward

    def wrong(case, x, gamma, beta, out):
        y = genuine(case, x, gamma, beta, out)
        y.ravel()[-1] += 0.01
        return y

    monkeypatch.setattr(numpy_peer, "_forward", wrong)
    result, _, _ = bench(norm_cases)
    for case in result["cases"]:
        row = case["peers"]["numpy"]
        if case["direction"] == "forward":
            assert "us" not in row and "wrong result" in row["error"]
        else:
            assert len(row["us"]) == 3
        assert len(case["peers"]["normkit"]["us"]) == 3
    told = [text for text in table.notes(result) if "wrong" in text]
    assert all(text.startswith("NumPy was not timed: two passes: wrong result, error") for text in told)
    assert "".join(told).count("forward") == 2
    assert table.wrong(result) == []


def test_an_engine_with_wrong_gradients_is_not_timed(here, bench, small_step, monkeypatch):
    genuine = numpy_engine._Layer.update

    def wrong(layer, gradients, rate):  # of the peer, whose reference is the same engine in float64
        genuine(layer, gradients, 20 * rate if layer.kernel.dtype == np.float32 else rate)

    monkeypatch.setattr(numpy_engine._Layer, "update", wrong)
    result, _, _ = bench(steps=[small_step], peers=("normkit", "numpy", "sklearn"))
    peers = result["cases"][0]["peers"]
    assert "us" not in peers["numpy"] and "wrong result: mean loss" in peers["numpy"]["error"]
    assert len(peers["normkit"]["us"]) == len(peers["sklearn"]["us"]) == 3


def test_normkit_itself_being_wrong_is_told(here, bench, norm_cases, monkeypatch):
    import normkit

    genuine = normkit.layer_norm
    monkeypatch.setattr(normkit, "layer_norm", lambda *arguments, **options: genuine(*arguments, **options) * 2)
    result, _, _ = bench(norm_cases[:1])
    assert table.wrong(result) == ["layer_norm forward 4x8 float32"]
    assert "us" not in result["cases"][0]["peers"]["normkit"]


def test_a_peer_that_fails_leaves_the_others(here, bench, norm_cases, small_step, monkeypatch):
    def fail(*arguments):
        raise MemoryError("no room")

    monkeypatch.setattr(numpy_engine.Engine, "run", fail)
    monkeypatch.setattr(run, "reference_loss", lambda problem, step, plain: 2.3)
    monkeypatch.setattr(run, "LOSS_TOLERANCE", 1.0)
    result, _, _ = bench(steps=[small_step])
    peers = result["cases"][0]["peers"]
    assert peers["numpy"] == {"error": "MemoryError: no room"} and len(peers["normkit"]["us"]) == 3


def test_who_is_missing_is_named(bench, norm_cases, monkeypatch):
    genuine = processes.installed
    monkeypatch.setattr(processes, "installed", lambda package: None if package == "onnx" else genuine(package))
    result, _, _ = bench(norm_cases[:1], peers=("normkit", "onnxruntime"))
    assert result["absent"] == {"onnxruntime": "not installed: onnx"}
    assert "ONNX Runtime is missing: not installed: onnx." in table.notes(result)


def test_a_worker_that_ends_is_out_and_the_others_go_on(tmp_path):
    entries = {name: suite.ENGINES["numpy"] for name in ("one", "other")}
    with contextlib.ExitStack() as stack:
        crew = processes.Crew(tmp_path, [0], entries, ("no.such.module",))
        crew.start(stack, entries)
        assert crew.import_together() == {} and list(crew.absent) == ["one", "other"]
        assert "No module named 'no'" in crew.absent["one"]


def test_cases_of_functions_and_shapes():
    every = suite.kernel_cases(suite.FUNCTIONS, ((4, 8), (2, 48, 3, 3)), ("float32", "bfloat16"))
    found = {(case.function, len(case.shape)) for case in every}
    rows, images = ("layer_norm", "rms_norm", "batch_norm"), ("batch_norm", "group_norm", "instance_norm")
    assert found == {(name, 2) for name in rows} | {(name, 4) for name in images}
    assert len(every) == 6 * 2 * 2
    assert {case.groups for case in every if case.function == "group_norm"} == {24}
    assert {case.groups for case in every if case.function == "instance_norm"} == {48}
    assert [suite.groups_of(channels) for channels in (64, 32, 6, 2, 7)] == [32, 16, 3, 1, 1]


def test_a_slice_repeats_short_runs(tmp_path, small_step):
    run.make_problem(small_step, 1, tmp_path)
    made = worker.Worker("numpy", tmp_path)
    made.begin(16, 4)
    orders = []
    genuine = made.engine.run
    made.engine.run = lambda order: (orders.append(len(order)), genuine(order))[1]
    assert made.measure(16, 4, 0, slice_s=0.02)["step_s"] > 0
    assert len(orders) > 2 and set(orders) == {4}  # one to wake up
    orders.clear()
    made.measure(16, 4, 0)
    assert orders == [4, 4]


def test_versions_come_with_the_imports(tmp_path):
    assert norm_worker.Worker("numpy", tmp_path, 1).ready() == {"versions": {"numpy": np.__version__}}


@pytest.mark.parametrize("peer", [name for name in suite.PEERS])
def test_every_peer_is_in_its_registry(peer):
    entry = suite.PEERS[peer]
    assert entry.kernels is None or entry.kernels in suite.KERNEL_PEERS
    assert entry.engine is None or entry.engine in suite.ENGINES
