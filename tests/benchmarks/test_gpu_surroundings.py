"""What the benchmark of the GPU does beside timing: processes, tools of the system, compilation ahead."""

import contextlib
import sys
import time
import types

import pytest

torch = pytest.importorskip("torch")


@pytest.fixture
def gpu_cases(module):
    return module("normkit.bench.gpu.cases")


def test_what_becomes_of_a_case(module, tmp_path, capsys):
    worker, stores = module("normkit.bench.gpu.worker"), module("normkit.bench.gpu.store")
    sections, device = module("normkit.bench.gpu.sections"), module("normkit.bench.gpu.device").Host()
    store = stores.Store(tmp_path / "gpu.json", {"absent": {}, "sections": {}})
    options = {"quick": False, "dry_run": True, "deadline": time.time() + 600, "only": [], "sections": ["copy", "host"],
               "peers": None}  # fmt: skip

    def raises(error):
        raise error

    items = [
        sections.Item("right", lambda: {"right": True}),
        sections.Item("late", lambda: raises(sections.Unfinished("no time left"))),
        sections.Item("wrong", lambda: raises(ValueError("a first line\nand more"))),
    ]
    run_ = worker.Run(options, device, store)
    run_.section("copy", items)
    assert store.cases("copy") == {"right": {"right": True}, "wrong": {"error": "ValueError: a first line"}}
    assert store.section("copy")["not_measured"] == ["late"]
    told = capsys.readouterr()
    assert told.err == "copy: late: no time left\ncopy: wrong: ValueError: a first line\n"
    assert told.out.startswith("copy: 2 cases, 1 not measured, ")
    device.healthy = lambda: False
    with pytest.raises(SystemExit) as end:
        run_.section("host", [*items[:1], sections.Item("never", lambda: raises(AssertionError))])
    assert end.value.code == stores.RESTART
    assert stores.Store.read(store.path).cases("host") == {"right": {"right": True}}


@pytest.mark.skipif(sys.platform == "win32", reason="a shell takes the tool's place")
def test_what_nvidia_smi_says(module, monkeypatch, tmp_path):
    query = module("normkit.bench.gpu.device").query
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    tool = tmp_path / "nvidia-smi"
    for script, found in (
        (
            'test "$3" = --query-gpu=power.draw,name && echo "70.1 W, a device"',
            {"power.draw": "70.1 W", "name": "a device"},
        ),
        ("echo 70.1 W", {}),
        ("echo 70.1 W, a device; exit 9", {}),
    ):
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
        assert query("power.draw,name") == found
    tool.write_text("no program")
    assert query("power.draw,name") == {}


def test_a_build_for_cuda_without_a_device(module, monkeypatch):
    device = module("normkit.bench.gpu.device")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.missing(False)[0].startswith("an NVIDIA GPU and its driver")
    monkeypatch.setattr(torch.version, "cuda", None)
    assert device.missing(False)[0].startswith("a build of torch for CUDA")


def test_what_the_sections_launch_is_compiled_ahead(module, gpu_cases, monkeypatch):
    section, compiling = module("normkit.bench.gpu.sections.compile"), module("normkit.bench.gpu.compile")
    assert section.items(types.SimpleNamespace(dry=True)) == []  # the CPU has other kernels
    driver, arrays = module("normkit.kernels.cuda.driver"), module("normkit.functional._cuda_arrays")
    monkeypatch.setattr(driver, "current_device", lambda: driver.Device(0, (9, 0), 132))
    monkeypatch.setattr(arrays, "is_on_gpu", lambda a: isinstance(a, torch.Tensor))
    monkeypatch.setattr(arrays.TorchArray, "current", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(arrays.TorchArray, "stream", lambda device: 0)
    few = [
        gpu_cases.Case(name, (6, 64), -1, "float32", d) for name in gpu_cases.FUNCTIONS for d in gpu_cases.DIRECTIONS
    ]
    monkeypatch.setattr(gpu_cases, "cases", lambda *options: few)
    asked = []
    monkeypatch.setattr(compiling, "compile_all", lambda *arguments: asked.append(arguments))
    device = module("normkit.bench.gpu.device").Host()
    run_ = types.SimpleNamespace(device=device, dry=False, quick=True, left=lambda: 1e3, sections=("kernels",))
    (item,) = section.items(run_)
    for run_.sections in (("kernels",), ("kernels", "correctness")):
        item.call()
    (fewer, limit), (more, _) = asked
    assert limit == 90.0 and {capability for _, _, capability in more} == {(9, 0)}
    assert len(set(more)) == len(more) and more[: len(fewer)] == fewer  # what is timed comes first
    kinds = [{name.split(".")[0] for name, _, _ in kernels} for kernels in (fewer, more)]
    assert kinds[0] >= {"rows", "rows_backward", "columns"} and "elementwise" in kinds[1] - kinds[0]


def test_kernels_are_compiled_in_processes_of_their_own(module):
    pytest.importorskip("numba_cuda", reason="pip install 'normkit[cuda]'")
    compiling, variants = module("normkit.bench.gpu.compile"), module("normkit.kernels.cuda.variants")
    norm = variants.RowNorm("float32", "float32", variants.FORWARD[64], True, True, False, True, True)
    found = compiling.compile_all([("rows.forward", norm, (9, 0)), ("rows.nothing", norm, (9, 0))], 300.0)
    assert (found["kernels"], found["compiled"], found["unfinished"]) == (2, 1, 0)
    (failed,) = found["failed"]
    assert failed.startswith("rows.nothing: KeyError")
    late = compiling.compile_all([("rows.forward", norm, (8, 0))], 0.0)
    assert (late["compiled"], late["unfinished"], late["failed"]) == (0, 1, [])


@pytest.mark.skipif(sys.platform == "win32", reason="a shell takes the tool's place")
@pytest.mark.parametrize("status", [0, 9])
def test_what_the_sanitizer_says(module, monkeypatch, tmp_path, status):
    section = module("normkit.bench.gpu.sections.sanitizer")
    tool = tmp_path / "compute-sanitizer"
    tool.write_text(f'#!/bin/sh\necho "========= $2"\necho unasked\necho "4 checks, 0 wrong" >&2\nexit {status}\n')
    tool.chmod(0o755)
    store = types.SimpleNamespace(result={"absent": {}})
    run_ = types.SimpleNamespace(dry=True, store=store, left=lambda: 60.0)
    assert section.items(run_) == [] and store.result["absent"] == {"compute-sanitizer": "needs a device"}
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    run_.dry = False
    items = section.items(run_)
    assert [item.key for item in items] == ["memcheck", "racecheck"] and store.result["absent"] == {}
    for item in items:
        assert item.call() == {
            "status": status, "right": status == 0, "output": [f"========= {item.key}", "4 checks, 0 wrong"],
        }  # fmt: skip

    def hangs(command, timeout, **options):
        raise section.subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(section.subprocess, "run", hangs)
    with pytest.raises(section.Unfinished, match="stopped after 36 s"):
        items[0].call()
