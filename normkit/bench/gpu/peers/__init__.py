"""The peers of `gpu.py`: one registry, one module each.

A module has `ways(run, case, x, dy, gamma, beta)`, which returns functions without arguments by name, all of which
do the case's work and return its results, (y, ...) or (dx, dgamma[, dbeta]). The fastest right one is timed, so that
nobody loses by a choice made here. A peer that has nothing for the case returns none.
"""

from importlib.util import find_spec
from typing import NamedTuple

BOUND, OWN, RAW = "copy", "normkit", "normkit-raw"


class Peer(NamedTuple):
    """A column of the tables: how it is called, where it is, which module it needs, where it runs."""

    label: str
    module: str
    needs: str
    on_cpu: bool = False


PEERS = {
    OWN: Peer("normkit", "normkit_peer", "normkit", True),
    RAW: Peer("normkit, kernel alone", "raw_peer", "numba_cuda"),
    "torch": Peer("torch", "torch_gpu_peer", "torch", True),
    "torch-compile": Peer("torch.compile", "compiled_gpu_peer", "torch", True),
    "liger": Peer("Liger-Kernel", "liger_peer", "liger_kernel"),
    "triton": Peer("Triton kernel", "triton_peer", "triton"),
    BOUND: Peer("copy", "copy_gpu_peer", "torch", True),
}
# a compiler takes longer than all the rest of a dry run
DRY = (OWN, "torch", BOUND)


def choose(names, dry):
    """Return the peers of a run, and why others of them are absent; normkit and the bound are always there."""
    asked = names.split(",") if names else list(DRY if dry else PEERS)
    if unknown := [name for name in asked if name not in PEERS]:
        raise ValueError(f"unknown peers {', '.join(unknown)}; known are {', '.join(PEERS)}")
    absent = {}
    for name in asked:
        if find_spec(PEERS[name].needs) is None:
            absent[name] = f"{PEERS[name].needs} is not installed"
        elif dry and not PEERS[name].on_cpu:
            absent[name] = "needs a device"
    if not names and "liger" not in absent and "triton" in asked:
        absent["triton"] = "Liger-Kernel is there, whose kernels are of the same compiler"
    chosen = {OWN, BOUND, *(name for name in asked if name not in absent)}
    return [name for name in PEERS if name in chosen], absent
