"""From a kernel to PTX and machine code, for any compute capability, with or without a device."""

import contextlib
import threading

from numba.cuda import compiler, dispatcher

from normkit.kernels.cuda import device
from normkit.kernels.cuda.variants import KERNELS, make

_lock = threading.RLock()


class _Target:
    def __init__(self, capability):
        self.compute_capability = capability


@contextlib.contextmanager
def _compiling_for(capability):
    """Let device functions compile for a capability: they ask for the current device, which need not be there."""
    with _lock:
        original = dispatcher.get_current_device
        dispatcher.get_current_device = lambda: _Target(capability)
        try:
            yield
        finally:
            dispatcher.get_current_device = original


def to_ptx(name, norm, capability):
    """Return the PTX of a kernel and the name that it has there."""
    arguments = device.signature(KERNELS[name], norm.dtype, norm.parameters).args
    with _compiling_for(capability):
        ptx, _ = compiler.compile(
            make(name, norm, capability), arguments, device=False, abi="numba", cc=capability,
            launch_bounds=(norm.block, norm.blocks),
        )  # fmt: skip
    entry = ptx[ptx.index(".entry") + len(".entry") :]
    return ptx, entry[: entry.index("(")].strip()


def assemble(ptx, capability):
    """Return the machine code of PTX, and what the assembler says about it."""
    from cuda.bindings import nvjitlink  # type: ignore

    text = ptx.encode() + b"\0"
    options = [f"-arch=sm_{capability[0]}{capability[1]}", "-O3", "-verbose"]
    linker = nvjitlink.create(len(options), options)
    try:
        nvjitlink.add_data(linker, nvjitlink.InputType.PTX, text, len(text), "normkit")
        nvjitlink.complete(linker)
        code = bytearray(nvjitlink.get_linked_cubin_size(linker))
        nvjitlink.get_linked_cubin(linker, code)
        log = bytearray(nvjitlink.get_info_log_size(linker))
        nvjitlink.get_info_log(linker, log)
    finally:
        nvjitlink.destroy(linker)
    return bytes(code), log.decode(errors="replace").rstrip("\0")
