"""What normkit finds on this machine: whether it works, how fast it can be, and why something is not there."""

import importlib.metadata
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# a GPU, say, is of use but not needed: what lacks it is "missing", what does not work a "problem"
Status = Literal["ok", "missing", "problem"]

_NEEDED = ("numpy", "numba", "scipy", "scikit-learn", "joblib", "threadpoolctl", "click", "rich", "matplotlib",
           "safetensors")  # fmt: skip
_EXTRAS = {"numba-cuda": "cuda", "onnx": "onnx", "pyarrow": "parquet", "distributed": "dask", "mpi4py": "mpi"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    status: Status
    text: str


def examine() -> Iterator[Finding]:
    """Look at one thing after the other; the last ones compile a function or two, unless that was done before."""
    for name, look in _LOOKS.items():
        try:
            status, text = look()
        except Exception as error:  # whatever is broken here is what is to be told
            status, text = "problem", f"{type(error).__name__}: {error}"
        yield Finding(name, status, " ".join(text.split()))


def _versions() -> tuple[Status, str]:
    found, lost = [f"Python {platform.python_version()}"], []
    for name in ("normkit", *_NEEDED):
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            lost.append(name)
    text = ", ".join(found)
    return ("problem", f"{', '.join(lost)} not installed; {text}") if lost else ("ok", text)


def _extras() -> tuple[Status, str]:
    found, lost = [], []
    for name, extra in _EXTRAS.items():
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            lost.append(f"{name} (pip install 'normkit[{extra}]')")
    parts = [", ".join(found)] if found else []
    if lost:
        return "missing", "; ".join([*parts, f"not installed: {', '.join(lost)}"])
    return "ok", parts[0]


def _system() -> tuple[Status, str]:
    return "ok", f"{platform.platform()}, {platform.machine()}"


def _cores() -> tuple[Status, str]:
    import numba

    from normkit.threads import available

    limit = numba.config.NUMBA_NUM_THREADS
    text = f"{os.cpu_count()} in the machine; threads that this process uses at most: {available()}"
    return "ok", text + (f" (NUMBA_NUM_THREADS is {limit})" if "NUMBA_NUM_THREADS" in os.environ else "")


def _blas() -> tuple[Status, str]:
    import threadpoolctl

    from normkit.engine.blas import small_product

    small = small_product()  # loads SciPy's
    parts = [
        f"{pool['internal_api']} {pool.get('version') or ''}, kernels for {pool.get('architecture') or 'unknown'}, "
        f"{Path(pool['filepath']).name}"
        for pool in threadpoolctl.threadpool_info()
        if pool["user_api"] == "blas"
    ]
    if not parts:
        return "ok", "one that threadpoolctl does not know"
    fast = "" if small else "; matrix products are not split into small blocks, which needs AVX-512 kernels"
    return "ok", "; ".join(parts) + fast


def _cache() -> tuple[Status, str]:
    from normkit._jit import cache_directory

    folder = cache_directory()
    if not folder:
        return "problem", (
            "no folder can be written to, so that every process compiles for about 25 seconds: set NUMBA_CACHE_DIR to "
            "one that can"
        )
    wanted = os.environ.get("NUMBA_CACHE_DIR")
    if wanted and not Path(folder).is_relative_to(wanted):
        return "problem", f"NUMBA_CACHE_DIR={wanted} cannot be written to; in its place {folder} is used"
    files = [path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()]
    filled = f"{len(files)} files, {sum(files) / 1e6:.1f} MB" if files else "empty: `normkit warmup` fills it"
    return "ok", f"{folder}, {filled}"


def _temporary() -> tuple[Status, str]:
    with tempfile.TemporaryFile() as file:
        file.write(bytes(1 << 16))
        file.flush()
    return "ok", f"{tempfile.gettempdir()} can be written to"


def _results() -> tuple[Status, str]:
    """Compare the compiled norms, serial and parallel, with the reference."""
    import numpy as np

    from normkit import batch_norm, layer_norm, reference
    from normkit.functional._arrays import PARALLEL_FROM, REGIONS

    for rows in (64, PARALLEL_FROM * REGIONS):
        x = np.random.default_rng(0).normal(3.0, 2.0, (rows, 4))
        gamma, beta = np.ones(4), np.zeros(4)
        for compiled, formula in ((batch_norm, reference.batch_norm), (layer_norm, reference.layer_norm)):
            if not np.abs(compiled(x) - formula(x, gamma, beta)).max() < 1e-12:
                return "problem", f"{compiled.__name__} of {rows:,} rows differs from the formula"
    return "ok", "the compiled norms give the formula's numbers"


def _threading() -> tuple[Status, str]:
    import numba

    from normkit.threads import available

    try:
        return "ok", f"{numba.threading_layer()}, {numba.config.THREADING_LAYER} was asked for"
    except ValueError:
        return "ok", f"none was started; threads that are used at most: {available()}"


def _cuda() -> tuple[Status, str]:
    from normkit.kernels.cuda.driver import CudaUnavailableError, current_device

    try:
        device = current_device()
    except CudaUnavailableError as error:
        return "missing", str(error)
    major, minor = device.capability
    return "ok", f"device {device.number}, compute capability {major}.{minor}, {device.multiprocessors} multiprocessors"


def _fashion_mnist() -> tuple[Status, str]:
    from normkit.experiments.data import images
    from normkit.experiments.errors import DataError

    try:
        found = images.read("fashion-mnist")
    except DataError as error:
        return "missing", str(error)
    return "ok", f"{len(found['X_train']):,} images for training, {len(found['X_test']):,} for the test"


def _output() -> tuple[Status, str]:
    import locale

    encoding = getattr(sys.stdout, "encoding", None) or "none"
    return "ok", f"encoding {encoding}, locale {'.'.join(filter(None, locale.getlocale())) or 'C'}"


_LOOKS: dict[str, Callable[[], tuple[Status, str]]] = {
    "versions": _versions, "extras": _extras, "system": _system, "cores": _cores, "BLAS": _blas,
    "compiled code": _cache, "temporary files": _temporary, "output": _output, "CUDA": _cuda,
    "Fashion-MNIST": _fashion_mnist, "results": _results, "threading layer": _threading,
}  # fmt: skip
