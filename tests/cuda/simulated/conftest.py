"""The launches on Numba's simulator, with small blocks; run by tests/cuda/test_simulated.py in a process of its own."""

import os

import numpy as np
import pytest

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
collect_ignore_glob = [] if SIMULATED else ["test_*.py"]

# Teams as in normkit.kernels.cuda.variants: part of a warp, a warp, several warps, rows that are too long. A simulated
# thread is a thread, so blocks are small.
TRAINING = {"DENSE_BLOCK": 16, "DENSE_ACROSS": 4, "OUTPUT_BLOCK": 8, "OUTPUT_ACROSS": 2, "UPDATE_BLOCK": 8}
TEAMS = {64: (8, 8, 32, True), 192: (32, 8, 32, True), 512: (64, 8, 64, True), 0: (64, 8, 64, False)}


@pytest.fixture
def device(monkeypatch):
    """A memory, on which the launches of normkit.kernels.cuda.launch run; see `memory.Memory`."""
    from memory import Memory, TakingTurns, gather
    from numba.cuda.simulator import kernel

    from normkit.kernels.cuda import device as in_kernels
    from normkit.kernels.cuda import driver, library, variants

    memory = Memory()
    teams = {longest: variants.Team(*team, 2) for longest, team in TEAMS.items()}
    monkeypatch.setattr(variants, "FORWARD", teams)
    monkeypatch.setattr(variants, "BACKWARD", teams)
    for name in ("CHANNEL_BLOCK", "TANH_BLOCK", "DOWN_BLOCK", "SUM_BLOCK"):
        monkeypatch.setattr(variants, name, 64)
    monkeypatch.setattr(driver, "current_device", lambda: driver.Device(0, (9, 0), 1))
    monkeypatch.setattr(library, "enqueue", memory.enqueue)
    monkeypatch.setattr(kernel, "BlockManager", TakingTurns)
    monkeypatch.setattr(in_kernels._teams, "gather", gather)
    return memory


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def gpu(device, monkeypatch):
    """A GPU on which models are trained; see `host_gpu.HostGpu`."""
    from host_gpu import HostGpu

    from normkit.engine.cuda import device as devices
    from normkit.kernels.cuda import library, variants

    for name in ("CHANNEL_BLOCK", "TANH_BLOCK", "SUM_BLOCK"):
        monkeypatch.setattr(variants, name, 32)
    for name, threads in TRAINING.items():
        monkeypatch.setattr(variants, name, threads)
    gpu = HostGpu(device)
    monkeypatch.setattr(library, "enqueue", gpu.enqueue)
    monkeypatch.setattr(devices, "current", lambda: gpu)
    monkeypatch.setattr(devices, "of_pointer", lambda pointer: gpu)
    return gpu
