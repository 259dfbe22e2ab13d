"""Compiled kernels: made when first needed, kept in memory for each device, and on disk for each capability."""

import functools
import hashlib
import importlib.metadata
import os
import tempfile
import threading
from pathlib import Path

from normkit.kernels.cuda import driver
from normkit.kernels.cuda.variants import KERNELS

_kernels: dict = {}
_lock = threading.Lock()
_DIGEST = hashlib.sha256().digest_size


@functools.cache
def _versions():
    found = []
    for package in ("numba-cuda", "nvidia-nvvm", "nvidia-nvjitlink", "llvmlite"):
        try:
            found.append(importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:  # a toolkit of the system's
            found.append("")
    return " ".join(found)


def _path(name, norm, capability):
    """Return the file of a kernel, or None where nothing can be kept; its folder belongs to the sources' digest."""
    from normkit._jit import cache_directory

    folder = cache_directory()
    if not folder:
        return None
    key = f"{name} {norm!r} {capability} {_versions()}"
    return Path(folder) / "cuda" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.cubin"


def _read(path):
    """Return the kernel's name and machine code, or None where there is no file or not a whole one."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, body = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(body).digest() != digest:
        return None
    entry, _, code = body.partition(b"\n")
    return entry.decode(), code


def _write(path, entry, code):
    """Keep a kernel; at once or not at all, as other processes may read and write the same file."""
    body = entry.encode() + b"\n" + code
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(hashlib.sha256(body).digest() + body)
        os.replace(file.name, path)
    except OSError:
        pass


def machine_code(name, norm, capability):
    """Return the name and the machine code of a kernel, from the disk or compiled."""
    path = _path(name, norm, capability)
    kept = None if path is None else _read(path)
    if kept is not None:
        return kept
    from normkit.kernels.cuda import compile as compiling

    ptx, entry = compiling.to_ptx(name, norm, capability)
    code, _ = compiling.assemble(ptx, capability)
    if path is not None:
        _write(path, entry, code)
    return entry, code


def _load(key):
    name, norm, device = key
    with _lock:
        if key not in _kernels:
            entry, code = machine_code(name, norm, device.capability)
            _kernels[key] = driver.load(code, entry), driver.argument_types(KERNELS[name], norm.dtype)
    return _kernels[key]


def enqueue(name, norm, grid, arguments, device, stream):
    """Launch a kernel, named as in `variants.KERNELS`, on a grid of up to three dimensions."""
    key = (name, norm, device)
    kernel, types = _kernels.get(key) or _load(key)
    driver.launch(kernel, grid, norm.block, arguments, types, stream)
