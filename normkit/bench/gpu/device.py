"""The device that `gpu.py` measures, and the CPU that takes its place in a dry run."""

import contextlib
import shutil
import subprocess
import time
from importlib.util import find_spec

from normkit.bench import machine
from normkit.bench.entries import installed

PACKAGES = (
    "normkit", "numba", "numba-cuda", "numpy", "torch", "triton", "liger-kernel", "cupy-cuda13x", "cupy-cuda12x",
    "cuda-toolkit", "nvidia-nvvm", "nvidia-nvjitlink", "nvidia-cublas", "nvmath-python",
)  # fmt: skip
_CLOCKS = "clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,power.draw,power.limit,temperature.gpu"


def versions():
    """Return the versions of what is installed of the packages that matter."""
    found = {name: installed(name) for name in PACKAGES}
    return {name: version for name, version in found.items() if version}


def missing(dry_run):
    """Return what is missing, and how to come by it."""
    try:
        import torch
    except ImportError as error:
        found = [f"PyTorch, which cannot be imported ({error}): pip install torch"]
        return found if dry_run else found + _numba_cuda()
    if dry_run:
        return []
    found = []
    if torch.version.cuda is None:
        found.append(f"a build of torch for CUDA, {torch.__version__} is not: see https://pytorch.org/get-started")
    elif not torch.cuda.is_available():
        found.append("an NVIDIA GPU and its driver, torch.cuda.is_available() is False: see nvidia-smi")
    return found + _numba_cuda()


def _numba_cuda():
    return [] if find_spec("numba_cuda") else ["numba-cuda, which is not installed: pip install 'normkit[cuda]'"]


def query(fields):
    """Return what nvidia-smi says of the fields, nothing where it does not answer."""
    if not shutil.which("nvidia-smi"):
        return {}
    command = ["nvidia-smi", "-i", "0", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    values = done.stdout.strip().split(", ")
    names = fields.split(",")
    return dict(zip(names, values)) if done.returncode == 0 and len(values) == len(names) else {}


class Cuda:
    """The current device of torch."""

    kind = "cuda"

    def __init__(self):
        import torch

        self.torch = torch
        torch.cuda.init()
        torch.cuda.synchronize()
        self.properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        l2 = getattr(self.properties, "L2_cache_size", 0)
        # more than the cache holds, and long enough a write for the host to queue what comes after it
        self._flushed = torch.empty(max(4 * l2, 1 << 28), dtype=torch.uint8, device=self.kind)

    def describe(self):
        """Return the device as plain data."""
        p = self.properties
        return {
            "name": p.name, "capability": f"{p.major}.{p.minor}", "multiprocessors": p.multi_processor_count,
            "memory_mib": p.total_memory >> 20, "l2_mib": getattr(p, "L2_cache_size", 0) / 2**20,
            "cuda": self.torch.version.cuda, **query("driver_version"),
        }  # fmt: skip

    def state(self):
        """Return clocks, power and temperature."""
        return query(_CLOCKS)

    def stream(self):
        """Return the handle of the current stream."""
        return self.torch.cuda.current_stream().cuda_stream

    @contextlib.contextmanager
    def other_stream(self, delay):
        """Work on a stream of its own, which is kept busy first; whoever takes another one comes too early."""
        stream = self.torch.cuda.Stream()
        with self.torch.cuda.stream(stream):
            if delay:
                self._sleep(0.005)
            yield
        stream.synchronize()

    def synchronize(self):
        """Wait for all work."""
        self.torch.cuda.synchronize()

    def healthy(self):
        """Return whether the device still works: after a fault every call of the process fails."""
        try:
            self.synchronize()
            return float(self.torch.ones(2, device=self.kind).sum()) == 2.0
        except RuntimeError:
            return False

    def flush(self):
        """Fill the L2 cache with something else."""
        self._flushed.zero_()

    def _sleep(self, seconds):
        cycles = getattr(self.torch.cuda, "_sleep", None)
        if cycles:
            cycles(int(seconds * 2e9))

    def microseconds(self, call, count, cold):
        """Return the device time of each of some calls, between two events.

        The device is kept busy while the host queues them, so that it never waits for the host between two events.
        """
        torch = self.torch
        call()
        torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        queued = time.perf_counter() - began
        torch.cuda.synchronize()
        events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(count)]
        self._sleep(min(0.05, 1.5 * count * (queued + 20e-6)))
        for start, end in events:
            if cold:
                self.flush()
            start.record()
            call()
            end.record()
        torch.cuda.synchronize()
        return [1e3 * start.elapsed_time(end) for start, end in events]


class Host:
    """The CPU: it shows that the harness works, and nothing else."""

    kind = "cpu"

    def __init__(self):
        import torch

        torch.set_num_threads(1)
        self.torch = torch
        self._flushed = torch.empty(1 << 20, dtype=torch.uint8)

    def describe(self):
        """Return the processor in the place of the device."""
        return {"name": f"{machine.describe()['cpu']} (dry run, no device)"}

    def state(self):
        """Return nothing: it has no nvidia-smi."""
        return {}

    def stream(self):
        """Return no stream."""
        return 0

    def other_stream(self, delay):
        """Return a context that changes nothing."""
        return contextlib.nullcontext()

    def synchronize(self):
        """Do nothing: nothing is queued."""

    def healthy(self):
        """Return True."""
        return True

    def flush(self):
        """Write to some memory."""
        self._flushed.zero_()

    def microseconds(self, call, count, cold):
        """Return the time of each of some calls."""
        found = []
        call()
        for _ in range(count):
            if cold:
                self.flush()
            began = time.perf_counter()
            call()
            found.append(1e6 * (time.perf_counter() - began))
        return found
