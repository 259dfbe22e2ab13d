import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from normkit.engine.network import Network


@pytest.fixture
def any_size(monkeypatch):
    """Let networks of any size use the threads that they are given."""
    monkeypatch.setattr(Network, "choose_threads", lambda self, n_threads, *sizes: n_threads or 1)


@pytest.fixture
def run_python(tmp_path):
    """Run a program in a process of its own, with a time limit; returns what it printed."""

    def run(code, timeout=300, **environment):
        file = tmp_path / "program.py"
        file.write_text(textwrap.dedent(code))
        environment = {**os.environ, **{name: str(value) for name, value in environment.items()}}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", str(file)],
            env=environment,
            timeout=timeout,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.fixture
def make_network():
    """Make a network whose parameters are all random, biases and norms included."""

    def make(
        sizes, output="softmax", activation="tanh", norm=None, position="before", normalize_input=False,
        dtype=np.float64, epsilon=1e-3, seed=0, groups=2,
    ):  # fmt: skip
        hidden = len(sizes) - 2
        net = Network(
            sizes, dtype, output, [activation] * hidden, [0.0] * hidden, norm, position, normalize_input, epsilon,
            groups,
        )  # fmt: skip
        rng = np.random.default_rng(seed)
        for b in range(len(sizes)):
            if b > 0:
                net.weight(b)[...] = rng.normal(size=net.weight(b).shape) / np.sqrt(sizes[b - 1])
            for name, center in (("bias", 0.0), ("gamma", 1.0), ("beta", 0.0), ("alpha", 0.6)):
                values = net.vector(name, b)
                if values is not None:
                    values[...] = center + 0.3 * rng.normal(size=values.shape)
        return net

    return make


@pytest.fixture
def make_targets():
    """Make targets in the engine's form for an output function."""

    def make(output, samples, outputs, dtype=np.float64, seed=1):
        rng = np.random.default_rng(seed)
        if output == "softmax":
            return rng.integers(0, outputs, (samples, 1)).astype(dtype)
        if output == "logistic":
            return rng.integers(0, 2, (samples, outputs)).astype(dtype)
        if output == "exp":
            return rng.poisson(1.5, (samples, outputs)).astype(dtype)
        return rng.normal(size=(samples, outputs)).astype(dtype)

    return make
