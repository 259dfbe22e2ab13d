"""The bound: what a copy within the device's memory reaches in this run."""

from importlib.util import find_spec

import torch

from normkit.bench.gpu import timing
from normkit.bench.gpu.sections import Item

MEBIBYTES = (64, 128, 512, 2048)


def items(run):
    """Return a case for each size of one array."""
    sizes = [1] if run.dry else MEBIBYTES[:2] if run.quick else MEBIBYTES
    return [Item(f"{mib} MiB", lambda mib=mib: _measure(run, mib << 20)) for mib in sizes]


def _cupy_copy(run, source, target):
    """Return CuPy's copy on torch's stream, None where there is no CuPy that works."""
    if source.device.type != "cuda" or find_spec("cupy") is None:
        return None
    try:
        import cupy

        a, b = cupy.from_dlpack(source), cupy.from_dlpack(target)
    except Exception as error:  # built for another CUDA, as a rule
        run.store.result["absent"]["CuPy"] = f"{type(error).__name__}: {error}"
        return None
    stream = cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream)

    def call():
        with stream:
            cupy.copyto(b, a)

    return call


def _measure(run, size):
    source = torch.ones(size // 4, dtype=torch.float32, device=run.device.kind)
    target = torch.empty_like(source)
    calls = {"torch copy_": lambda: target.copy_(source), "torch add": lambda: torch.add(source, 1.0, out=target)}
    if cupy := _cupy_copy(run, source, target):
        calls["CuPy copyto"] = cupy
    return {"bytes": 2 * size, "ways": timing.device_times(run, calls), "state": run.device.state()}
