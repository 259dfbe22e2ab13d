"""The parts of the benchmark of the GPU, each by itself; stand-ins take the place of a device."""

import contextlib
import dataclasses
import gc
import inspect
import sys
import types
import weakref
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")


@pytest.fixture
def gpu_cases(module):
    return module("normkit.bench.gpu.cases")


def test_failures_can_be_tried_again(module, tmp_path):
    store = module("normkit.bench.gpu.store").Store(tmp_path / "gpu.json", {"sections": {}})
    records = {
        "right": {"right": True}, "wrong": {"right": False}, "ended": {"error": "hung"},
        "own": {"peers": {"normkit": {"error": "wrong result"}}}, "peer": {"peers": {"torch": {"error": "no"}}},
    }  # fmt: skip
    for key, record in records.items():
        store.put("kernels", key, record)
    assert store.wrong() == ["kernels: wrong", "kernels: ended", "kernels: own"]
    store.forget_failures()
    assert list(store.cases("kernels")) == ["right", "peer"]


def test_cases_are_those_that_are_asked_for(gpu_cases):
    every = gpu_cases.cases()
    assert len({case.key for case in every}) == len(every)
    rows = [case for case in every if len(case.shape) == 2]
    large = [case for case in rows if case.bytes >= 2 * 64e6]
    for function in gpu_cases.FUNCTIONS:
        for direction in gpu_cases.DIRECTIONS:
            for dtype in gpu_cases.DTYPES:
                found = [c for c in large if (c.function, c.direction, c.dtype) == (function, direction, dtype)]
                assert {case.channels for case in found} >= {1024, 2048, 4096, 8192, 16384, 32768, 65536}
    assert {case.shape[0] for case in rows} >= {1, 8, 64, 512, 4096, 32768}
    assert every[0].direction == "backward" and every[0].shape == (8192, 4096)
    for case in every:
        arrays = 2 if case.direction == "forward" else 3
        assert case.bytes == arrays * np.prod(case.shape) * {"float32": 4}.get(case.dtype, 2)


def test_reference_is_that_of_the_other_benchmark(module, gpu_cases):
    norm_cases = module("normkit.bench.norm_cases")
    images = [gpu_cases.Case("batch_norm", (3, 8, 5, 4), 1, "float32", d) for d in gpu_cases.DIRECTIONS]
    for case in [*gpu_cases.cases(dry=True), *images]:
        inputs = [a.double() for a in gpu_cases.draw(case, "cpu")]
        wanted = norm_cases.reference(case, *(a.numpy() for a in inputs))
        found = gpu_cases.reference(case, *inputs)
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a.numpy(), b, rtol=0, atol=1e-12)


def test_a_wrong_result_is_not_timed(module, gpu_cases, monkeypatch):
    kernels, peer = module("normkit.bench.gpu.sections.kernels"), module("normkit.bench.gpu.peers.normkit_peer")
    run_ = types.SimpleNamespace(device=module("normkit.bench.gpu.device").Host(), peers=["normkit"], quick=True)
    case = gpu_cases.Case("layer_norm", (6, 64), -1, "float32", "backward")
    genuine = peer.ways

    def wrong(*arguments):
        call = genuine(*arguments)["fresh"]

        def without_beta():
            dx, dgamma, dbeta = call()
            return dx, dgamma, 0.9 * dbeta

        def fails():
            raise RuntimeError("no such kernel\nand more")

        return {"rough": without_beta, "fails": fails}

    monkeypatch.setattr(peer, "ways", wrong)
    calls, peers = kernels.prepare(run_, case)
    assert calls == {} and "wrong result" in peers["normkit"]["failed"]["rough"]
    assert peers["normkit"]["failed"]["fails"] == "RuntimeError: no such kernel"
    assert module("normkit.bench.gpu.store").failed({"peers": peers})


@pytest.mark.parametrize(
    "function, shape",
    [("layer_norm", (6, 64)), ("rms_norm", (6, 64)), ("batch_norm", (6, 64)), ("batch_norm", (3, 8, 5, 4))],
)
def test_raw_launches_have_the_arguments_of_the_launch_module(module, gpu_cases, monkeypatch, function, shape):
    launch = pytest.importorskip("normkit.kernels.cuda.launch")
    peer = module("normkit.bench.gpu.peers.raw_peer")
    called = []

    def recorder(name):
        signature = inspect.signature(getattr(launch, name))

        def record(*arguments, **options):
            bound = signature.bind(*arguments, **options).arguments
            called.append((name, bound))
            return 64

        return record

    names = ("normalize_rows", "normalize_rows_backward", "rows_workspace", "normalize_channels",
             "normalize_channels_backward", "channels_workspace")  # fmt: skip
    for name in names:
        monkeypatch.setattr(launch, name, recorder(name))
    run_ = types.SimpleNamespace(device=module("normkit.bench.gpu.device").Host())
    axis = 1 if len(shape) == 4 else -1
    case = gpu_cases.Case(function, shape, axis, "bfloat16", "backward")
    inputs = dict(zip(("x", "dy", "gamma", "beta"), gpu_cases.draw(case, "cpu")))
    for direction in ("forward", "backward"):
        case = dataclasses.replace(case, direction=direction)
        (call,) = peer.ways(run_, case, *inputs.values()).values()
        results = call()
        name, bound = called[-1]
        assert name.endswith("backward") == (direction == "backward")
        assert bound["dtype"] == bound["parameters"] == "bfloat16" and bound["stream"] == 0
        for argument in ("x", "gamma"):
            assert bound[argument] == inputs[argument].data_ptr()
        outputs = ("dx", "dgamma", "dbeta") if direction == "backward" else ("y",)
        for argument, tensor in zip(outputs, results):
            assert bound[argument] == tensor.data_ptr()
        if function == "rms_norm":
            assert bound["beta" if direction == "forward" else "dbeta"] == 0 and bound["centred"] is False
        if function == "batch_norm":
            wanted = (6, 64, 1, True, 0) if len(shape) == 2 else (3, 8, 20, False, 0)
            assert tuple(bound["shape"]) == wanted
        else:
            assert (bound["rows"], bound["columns"]) == shape


@pytest.fixture
def on_the_host(module, monkeypatch):
    """Take tensors in the host's memory for a device's: launches that do their work with NumPy."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "functional"))
    stand_in = module("host_device")
    launch, arrays = module("normkit.kernels.cuda.launch"), module("normkit.functional._cuda_arrays")
    for function in stand_in.LAUNCHES:
        monkeypatch.setattr(launch, function.__name__, function)
    monkeypatch.setattr(arrays, "is_on_gpu", lambda a: isinstance(a, torch.Tensor))
    monkeypatch.setattr(arrays.TorchArray, "current", stand_in.state.device)
    monkeypatch.setattr(arrays.TorchArray, "stream", lambda device: stand_in.STREAM)
    stand_in.state.launches = []
    device = module("normkit.bench.gpu.device").Host()
    monkeypatch.setattr(device, "stream", lambda: stand_in.STREAM)
    return types.SimpleNamespace(device=device, dry=True, quick=False, state=stand_in.state)


def test_checks_by_the_way_to_the_device(module, on_the_host):
    correctness = module("normkit.bench.gpu.sections.correctness")
    for given in correctness.checks(on_the_host):
        on_the_host.state.launches.clear()
        record = correctness.check(on_the_host, *given)
        assert record["right"], record
        assert on_the_host.state.launches or record["function"] == "update_running"


@pytest.mark.parametrize("name", ["raw_peer", "normkit_peer"])
def test_peers_by_the_way_to_the_device(module, gpu_cases, on_the_host, name):
    images = [
        gpu_cases.Case("batch_norm", shape, axis, "float16", direction)
        for shape, axis in (((3, 8, 5, 4), 1), ((3, 5, 4, 8), -1))
        for direction in gpu_cases.DIRECTIONS
    ]
    for case in [*gpu_cases.cases(dry=True), *images]:
        inputs = gpu_cases.draw(case, "cpu")
        expected = gpu_cases.reference(case, *inputs)
        with on_the_host.state.device(-1):
            for call in module(f"normkit.bench.gpu.peers.{name}").ways(on_the_host, case, *inputs).values():
                errors = gpu_cases.errors_of(expected, call())
                assert module("normkit.bench.norm_cases").verdict(case, errors) == "right", case


def test_raw_launches_keep_what_they_point_to(module, gpu_cases, on_the_host):
    for case in gpu_cases.cases(dry=True):
        inputs = gpu_cases.draw(case, "cpu")
        alive = [weakref.ref(a) for a in inputs]
        with on_the_host.state.device(-1):
            calls = module("normkit.bench.gpu.peers.raw_peer").ways(on_the_host, case, *inputs)
        del inputs
        gc.collect()
        assert calls and all(a() is not None for a in alive)


class FakeTorch:
    """What `Cuda` asks of torch, with a log in the place of a device."""

    uint8, version = torch.uint8, types.SimpleNamespace(cuda="13.0")

    def __init__(self):
        self.log, self.cuda, self.broken = [], self, False
        self.Stream = lambda: types.SimpleNamespace(synchronize=lambda: self.log.append("wait"), cuda_stream=7)

    init = current_device = lambda self: 0

    def get_device_properties(self, number):
        names = {"name": "a device", "major": 9, "minor": 0, "multi_processor_count": 132, "total_memory": 80 << 30}
        return types.SimpleNamespace(L2_cache_size=50 << 20, **names)

    def empty(self, size, **options):
        self.flushed = size
        return types.SimpleNamespace(zero_=lambda: self.log.append("flush"))

    def ones(self, *arguments, **options):
        if self.broken:
            raise RuntimeError("an illegal memory access was encountered")
        return torch.ones(2)

    def synchronize(self):
        self.log.append("synchronize")

    def current_stream(self):
        return self.Stream()

    def stream(self, stream):
        return contextlib.nullcontext()

    def _sleep(self, cycles):
        self.log.append("sleep" if cycles > 0 else "no sleep")

    def Event(self, enable_timing):
        return types.SimpleNamespace(record=lambda: self.log.append("event"), elapsed_time=lambda end: 0.25)


def test_the_device_is_busy_while_calls_are_queued(module, monkeypatch):
    fake = FakeTorch()
    monkeypatch.setitem(sys.modules, "torch", fake)
    device = module("normkit.bench.gpu.device").Cuda()
    assert fake.flushed >= 2 * (50 << 20) and device.stream() == 7
    assert device.describe()["capability"] == "9.0" and device.describe()["l2_mib"] == 50.0
    for cold, before in ((True, ["flush"]), (False, [])):
        fake.log.clear()
        assert device.microseconds(lambda: fake.log.append("call"), 2, cold) == [250.0, 250.0]
        timed = [*before, "event", "call", "event"] * 2
        assert fake.log == ["call", "synchronize", "call", "synchronize", "sleep", *timed, "synchronize"]
    fake.log.clear()
    with device.other_stream(delay=True):
        fake.log.append("work")
    assert fake.log == ["sleep", "work", "wait"]
    assert device.healthy()
    fake.broken = True
    assert not device.healthy()


def test_kernels_are_noted_instead_of_launched(module, gpu_cases, monkeypatch):
    driver = module("normkit.kernels.cuda.driver")
    library = module("normkit.kernels.cuda.library")
    compiling, peer = module("normkit.bench.gpu.compile"), module("normkit.bench.gpu.peers.raw_peer")
    monkeypatch.setattr(driver, "current_device", lambda: driver.Device(0, (9, 0), 132))
    run_ = types.SimpleNamespace(device=module("normkit.bench.gpu.device").Host())
    case, launch = gpu_cases.Case("layer_norm", (6, 64), -1, "float32", "forward"), library.enqueue

    def call():
        peer.ways(run_, case, *gpu_cases.empty(case, "cpu"))["launch"]()

    def fails():
        call()
        raise RuntimeError("results that nobody computed")

    found = compiling.needed([call, fails])
    assert [(name, norm.dtype, capability) for name, norm, capability in found] == [("rows.forward", "float32", (9, 0))]
    assert library.enqueue is launch


def test_ratios_pair_the_rounds(module):
    table = module("normkit.bench.gpu.table")

    def times(*rounds):
        return {"cold": {"p50": sorted(rounds)[1], "rounds": list(rounds)}}

    case = {
        "peers": {
            "normkit": times(2.0, 20.0, 4.0), "copy": times(1.0, 10.0, 2.0), "torch": times(4.0, 10.0, 8.0),
            "liger": {"error": "broken"}, "normkit-raw": times(1.0, 1.0, 1.0),
        }
    }  # fmt: skip
    assert table.ratio(case, "normkit", "copy", "cold") == 2.0
    assert table.fastest(case, "cold") == "torch" and table.ratio(case, "normkit", "torch", "cold") == 0.5
    assert table.ratio(case, "normkit", "liger", "cold") is None and table.fastest(case, "warm") is None
    assert table.gigabytes(3e9, 1000.0) == 3000.0


def test_tables_of_no_results(module):
    table = module("normkit.bench.gpu.table")
    empty = {
        "kind": "gpu", "dry_run": False, "quick": False, "device": {"name": "a device"}, "versions": {}, "labels": {},
        "absent": {"compute-sanitizer": "not on PATH"},
        "sections": {"kernels": {"cases": {}, "not_measured": ["rms_norm forward 512x65536 float32"]}},
    }  # fmt: skip
    text = table.markdown(empty)
    assert text.count("Not measured yet.") == 4 and "float64 on the host: not measured yet." in text
    assert "Not measured, of kernels: rms_norm forward 512x65536 float32." in text
    with pytest.raises(table.NotAResult, match="not a result"):
        table.markdown({"kind": "norms"})
