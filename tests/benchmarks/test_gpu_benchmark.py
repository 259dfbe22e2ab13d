"""The benchmark of the GPU, held by its dry run on the CPU: file, resumption, time, tables; no time is asserted."""

import copy
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

FOLDER = Path(__file__).parents[2] / "benchmarks"


def run(*arguments):
    command = [sys.executable, str(FOLDER / "gpu.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=1800)


@pytest.fixture(scope="module")
def dry(tmp_path_factory):
    """A whole dry run: its file and what it printed."""
    file = tmp_path_factory.mktemp("gpu") / "gpu.json"
    # on a busy machine as well, each part has time for all that it measures
    done = run("--dry-run", "--minutes", 60, "--output", file)
    assert done.returncode == 0, done.stdout + done.stderr
    return file, done.stdout


@pytest.fixture
def result(dry, read):
    return read(dry[0])


def test_help_needs_nothing():
    assert "Usage:" in run("--help").stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="nothing is missing")
def test_says_what_is_missing_and_writes_nothing(tmp_path):
    done = run("--output", tmp_path / "new" / "gpu.json")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("gpu.py needs ") and len(done.stderr.splitlines()) == 1
    assert "build of torch for CUDA" in done.stderr or "an NVIDIA GPU" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_missing_without_torch(module, monkeypatch):
    device = module("normkit.bench.gpu.device")
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(device, "find_spec", lambda name: None)
    for dry_run, count in ((False, 2), (True, 1)):
        found = device.missing(dry_run)
        assert len(found) == count and "pip install torch" in found[0]
    assert "pip install 'normkit[cuda]'" in device.missing(False)[1]


def test_file_of_a_dry_run(dry, result):
    assert result["kind"] == "gpu" and result["dry_run"] is True
    assert "dry run" in result["device"]["name"]
    # the version that is installed may leave out which CUDA it is for
    assert torch.__version__.startswith(result["versions"]["torch"])
    assert not dry[0].with_name("gpu.json.running").exists()
    parts = result["sections"]
    assert list(parts) == ["environment", "copy", "compile", "correctness", "sanitizer", "kernels", "host", "training"]
    for name, part in parts.items():
        assert part["not_measured"] == [] and (part["cases"] or name in ("compile", "sanitizer"))
    assert result["absent"] == {"compute-sanitizer": "needs a device"}


def test_checks_of_a_dry_run(result):
    checks = result["sections"]["correctness"]["cases"].values()
    assert all(record["right"] and max(record["errors"].values()) <= record["limit"] for record in checks)
    family = {
        "layer_norm", "rms_norm", "batch_norm", "group_norm", "instance_norm", "add_layer_norm", "add_rms_norm",
        "dynamic_tanh", "batch_renorm", "update_running", "batch_norm, given statistics",
        "batch_norm, ghost batches",
    }  # fmt: skip
    variants = {"plain", "misaligned", "other stream", "twice", "in place"}
    assert {record["function"] for record in checks} == family
    for variant in variants:
        assert {record["function"] for record in checks if record["variant"] == variant} == family
    assert {record["dtype"] for record in checks} == {"float32", "bfloat16"}
    assert all(record["bit_equal"] for record in checks if record["variant"] == "twice")


def test_times_of_a_dry_run(result):
    for case in result["sections"]["kernels"]["cases"].values():
        assert list(case["peers"]) == ["normkit", "torch", "copy"]
        for row in case["peers"].values():
            for mode in ("cold", "warm"):
                times = row[mode]
                assert 0 < times["p20"] <= times["p50"] <= times["p80"] and len(times["rounds"]) == 2
        assert case["peers"]["normkit"]["verdict"] == "right"
    for case in result["sections"]["host"]["cases"].values():
        assert list(case["peers"]) == ["normkit", "torch"] and case["peers"]["normkit"]["host"]["p50"] > 0
    timed = {key: case for key, case in result["sections"]["training"]["cases"].items() if "engines" in case}
    assert len(timed) == 2
    for case in timed.values():
        assert list(case["engines"]) == ["normkit-cuda", "normkit", "torch"]
        losses = [row["loss"] for row in case["engines"].values()]
        # the same sums in another order, amplified by eight steps of Adam
        np.testing.assert_allclose(losses, losses[-1], rtol=1e-3)
        assert all(row["step"]["p50"] > 0 for row in case["engines"].values())
    compared = [case for case in result["sections"]["training"]["cases"].values() if "engines" not in case]
    assert len(compared) == 12 and all(case["difference"] == 0 and case["right"] for case in compared)


def test_short_checks_for_the_sanitizer(module):
    command = module("normkit.bench.processes").command_of("normkit.bench.gpu.sanitized", "--dry-run")
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout.splitlines()[-1].endswith("checks, 0 wrong"), done.stderr


def test_every_function_of_the_package_is_checked(module):
    import normkit

    checked = {subject.name.partition(",")[0] for subject in module("normkit.bench.gpu.family").subjects()}
    assert checked == {name for name in normkit.__all__ if name.endswith(("norm", "tanh", "running"))}


def test_goes_on_where_it_was_left(dry, read, tmp_path):
    file = tmp_path / "gpu.json"
    result = read(dry[0])
    kernels = result["sections"]["kernels"]["cases"]
    first, second = list(kernels)[:2]
    kernels[first]["mark"] = "kept"
    del kernels[second]
    file.write_text(json.dumps(result), encoding="utf-8")
    # on a busy machine as well, each part has time for all that it measures
    done = run("--dry-run", "--minutes", 60, "--output", file)
    assert done.returncode == 0, done.stderr
    again = read(file)["sections"]["kernels"]["cases"]
    assert again[first]["mark"] == "kept" and again[second]["peers"]
    result["source"] = "other"
    file.write_text(json.dumps(result), encoding="utf-8")
    # on a busy machine as well, each part has time for all that it measures
    done = run("--dry-run", "--minutes", 60, "--output", file)
    assert done.returncode == 2 and "holds results with source other" in done.stderr
    assert read(file)["source"] == "other"


def test_what_does_not_fit_is_listed(tmp_path, read):
    file = tmp_path / "gpu.json"
    done = run("--dry-run", "--output", file, "--minutes", 1e-4)
    parts = read(file)["sections"]
    assert done.returncode == 0, done.stderr
    assert not any(part["cases"] for part in parts.values())
    assert "layer_norm backward 6x64 float32" in parts["kernels"]["not_measured"]
    assert len(parts["correctness"]["not_measured"]) == 72 and "not measured" in done.stdout


def test_only(tmp_path, read):
    file = tmp_path / "gpu.json"
    options = ("--dry-run", "--output", file, "--sections", "kernels", "--peers", "normkit")
    done = run(*options, "--only", "rms_norm", "--only", "float32", "--only", "6x64", "--only", "forward")
    assert done.returncode == 0, done.stderr
    part = read(file)["sections"]["kernels"]
    assert list(part["cases"]) == ["rms_norm forward 6x64 float32"] and len(part["not_measured"]) == 23
    assert list(part["cases"]["rms_norm forward 6x64 float32"]["peers"]) == ["normkit", "copy"]
    done = run(*options, "--only", "rmsnorm")
    assert done.returncode == 2 and "nothing is called rmsnorm; known are" in done.stderr
    assert run(*options[:3], "--sections", "kernel").returncode == 2


WORKER = """
import json, os, sys, time
sys.path.append({folder!r})
from normkit.bench.gpu.store import RESTART, Store
options = json.loads(sys.argv[1])
store = Store.open(options["output"], {{}})
store.save()
for key in ("hangs", "dies", "poisons", "works"):
    if key in store.cases("kernels"):
        continue
    store.begin("kernels", key)
    if key == "hangs":
        time.sleep(60)
    if key == "dies":
        os._exit(3)
    store.put("kernels", key, {{"error": "own words"}} if key == "poisons" else {{"right": True}})
    if key == "poisons":
        store.save()
        sys.exit(RESTART)
store.close()
"""


def options(file, seconds):
    return {
        "output": str(file), "deadline": time.time() + seconds, "fresh": False, "retry": False,
        "sections": ["kernels", "host"],
    }  # fmt: skip


def test_a_kernel_that_hangs_or_kills_ends_only_its_case(module, monkeypatch, tmp_path, read):
    gpu = module("normkit.bench.gpu.supervisor")
    worker, file = tmp_path / "worker.py", tmp_path / "gpu.json"
    worker.write_text(WORKER.format(folder=str(FOLDER.parent)), encoding="utf-8")
    monkeypatch.setattr(gpu, "WORKER", [sys.executable, str(worker)])
    assert gpu.supervise(options(file, 1000), patience=5.0) == 1
    found = read(file)["sections"]["kernels"]["cases"]
    assert found["hangs"]["error"].startswith("stopped after 5 s") and found["works"] == {"right": True}
    assert found["dies"]["error"] == "the process ended with status 3" and found["poisons"]["error"] == "own words"


def test_a_section_that_keeps_failing_is_given_up(module, monkeypatch, tmp_path, read):
    gpu = module("normkit.bench.gpu.supervisor")
    worker, file = tmp_path / "worker.py", tmp_path / "gpu.json"
    code = """
for i in range(9):
    if "kernels" in options["sections"] and str(i) not in store.cases("kernels"):
        store.begin("kernels", str(i))
        os._exit(3)
store.put("host", "works", {{"right": True}})
store.close()
"""
    worker.write_text((WORKER.partition("for key")[0] + code).format(folder=str(FOLDER.parent)), encoding="utf-8")
    monkeypatch.setattr(gpu, "WORKER", [sys.executable, str(worker)])
    assert gpu.supervise(options(file, 1000)) == 1
    parts = read(file)["sections"]
    assert list(parts["kernels"]["cases"]) == list("012345") and parts["host"]["cases"]["works"]["right"]


def test_what_runs_when_the_time_is_over_was_not_measured(module, monkeypatch, tmp_path, read):
    gpu = module("normkit.bench.gpu.supervisor")
    worker, file = tmp_path / "worker.py", tmp_path / "gpu.json"
    worker.write_text(WORKER.format(folder=str(FOLDER.parent)), encoding="utf-8")
    monkeypatch.setattr(gpu, "WORKER", [sys.executable, str(worker)])
    monkeypatch.setattr(gpu, "GRACE", 3.0)
    module("normkit.bench.gpu.store").Store.open(file, {}).save()
    assert gpu.supervise(options(file, 0)) == 0
    assert read(file)["sections"] == {} and not file.with_name("gpu.json.running").exists()


def test_tables(module, result, grids):
    table = module("normkit.bench.gpu.table")
    with pytest.raises(table.NotAResult, match="dry run"):
        table.markdown(result)
    shown = copy.deepcopy(result)
    shown["dry_run"] = False
    means, copies, *kernels, host, training = grids(table.markdown(shown))
    assert len(kernels) == 6 and len(copies) == 4
    for rows in [means, copies, *kernels, host, training]:
        assert {len(row) for row in rows} == {len(rows[0])}
    assert [row[0] for row in means[2:]] == ["layer_norm", "rms_norm", "batch_norm", "all"] * 2
    assert means[0][-1] == "÷ torch" and host[0][-1] == "torch µs"
    for rows in kernels:
        column = rows[0].index("fastest peer")
        assert len(rows) == 6 and all(row[column] == "torch" for row in rows[2:])
    row = shown["sections"]["kernels"]["cases"]["rms_norm backward 33x40 bfloat16"]["peers"]
    row["torch"]["verdict"], row["normkit"] = "rough", {"error": "wrong result"}
    text = table.markdown(shown)
    assert "torch: rough parameter gradients, timed all the same (rms_norm backward 33×40 bfloat16)." in text
    assert "normkit: wrong result (rms_norm backward 33×40 bfloat16)." in text
    assert "72 of 72 right" in table.markdown(shown) and table.summary(shown)


def test_the_tables_command(dry, script):
    script("gpu_table.py", "--check", *sorted((FOLDER / "results").glob("*-gpu.json")))
    done = subprocess.run([sys.executable, FOLDER / "gpu_table.py", dry[0]], capture_output=True, text=True)
    assert done.returncode == 1 and "is a dry run" in done.stderr


def test_results_of_other_benchmarks_do_not_mind(module, result):
    # benchmarks/results holds files of all kinds
    assert module("table").kind(result) not in module("table").SECTIONS
