"""Training steps against the same steps in plain NumPy."""

import numpy as np
import pytest

from normkit.engine.rows import rows_of
from normkit.engine.trainer import Trainer

# float64: sums in another order over three steps; float32: the same, and Adam divides small moments by their roots
TOLERANCES = [(np.float64, 1e-9), (np.float32, 2e-4)]
NORMS = [(None, "before"), ("batch", "before"), ("batch", "after"), ("layer", "before"), ("layer", "after")]
EPSILON, MOMENTUM = 1e-3, 0.99
NAMES = ("weight", "bias", "gamma", "beta")
OPTIMIZERS = {
    "adam": {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
    "sgd": {"momentum": 0.9, "nesterov": False},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "adamw": {"beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-6, "decoupled_decay": 0.3},
}


def normalize(x, share, kind):  # (samples, features), (samples,)
    """Return xhat, rstd and the statistics, biased variance."""
    if kind == "batch":
        mean = share @ x
        var = share @ (x - mean) ** 2
    else:
        mean, var = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    rstd = 1 / np.sqrt(var + EPSILON)
    return (x - mean) * rstd, rstd, mean, var


def normalize_backward(g, xhat, rstd, share, kind):
    if kind == "batch":
        return rstd * (g - share[:, None] * (g.sum(axis=0) + xhat * (g * xhat).sum(axis=0)))
    return rstd * (g - g.mean(axis=1, keepdims=True) - xhat * (g * xhat).mean(axis=1, keepdims=True))


class NumpyNetwork:
    """The parameters of a network as dictionaries, float64, and a step that is easy to check by eye."""

    def __init__(self, network, norm, position):
        self.blocks = range(len(network.sizes))
        self.norm, self.after = norm, position == "after"
        self.values = {}
        for b in self.blocks:
            for name in NAMES:
                if name == "weight" and b == 0:
                    continue
                value = network.weight(b) if name == "weight" else network.vector(name, b)
                if value is not None:
                    self.values[name, b] = value.astype(np.float64)
        self.moving = {b: [np.zeros(network.sizes[b]), np.ones(network.sizes[b])] for b in network.norm_blocks()}
        self.first = {key: np.zeros_like(value) for key, value in self.values.items()}
        self.second = {key: np.zeros_like(value) for key, value in self.values.items()}
        self.steps = 0

    def _normalize(self, b, x, share, tape):
        if ("gamma", b) not in self.values:
            return x
        xhat, rstd, mean, var = normalize(x, share, self.norm)
        tape[b] = xhat, rstd
        if self.norm == "batch":
            for moving, batch in zip(self.moving[b], (mean, var)):
                moving *= MOMENTUM
                moving += (1 - MOMENTUM) * batch
        return self.values["gamma", b] * xhat + self.values["beta", b]

    def _normalize_backward(self, b, d, share, tape, gradients):
        if ("gamma", b) not in self.values:
            return d
        xhat, rstd = tape[b]
        gradients["gamma", b], gradients["beta", b] = (d * xhat).sum(axis=0), d.sum(axis=0)
        return normalize_backward(self.values["gamma", b] * d, xhat, rstd, share, self.norm)

    def gradients(self, X, target, weight, alpha):
        """Return the mean loss with its penalty and the gradients; tanh layers, softmax output."""
        share = weight / weight.sum()
        tape, inputs, outputs = {}, {}, {}
        a = self._normalize(0, X, share, tape)
        for b in self.blocks[1:]:
            inputs[b] = a
            z = a @ self.values["weight", b].T + self.values.get(("bias", b), 0)
            if b == self.blocks[-1]:
                break
            if self.after:
                outputs[b] = np.tanh(z)
                a = self._normalize(b, outputs[b], share, tape)
            else:
                a = outputs[b] = np.tanh(self._normalize(b, z, share, tape))
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        chosen = np.arange(len(X)), target[:, 0].astype(int)
        loss = -share @ np.log(p[chosen])
        d = share[:, None] * (p - np.eye(p.shape[1])[chosen[1]])
        gradients = {}
        for b in reversed(self.blocks[1:]):
            if b != self.blocks[-1]:
                if self.after:
                    d = self._normalize_backward(b, d, share, tape, gradients)
                d = d * (1 - outputs[b] ** 2)
                if not self.after:
                    d = self._normalize_backward(b, d, share, tape, gradients)
            weights = self.values["weight", b]
            loss += 0.5 * alpha / weight.sum() * (weights**2).sum()
            gradients["weight", b] = d.T @ inputs[b] + alpha / weight.sum() * weights
            if ("bias", b) in self.values:
                gradients["bias", b] = d.sum(axis=0)
            d = d @ weights
        self._normalize_backward(0, d, share, tape, gradients)
        return loss, gradients

    def step(self, X, target, weight, alpha, rate, options):
        loss, gradients = self.gradients(X, target, weight, alpha)
        self.steps += 1
        assert gradients.keys() == self.values.keys()
        for key, g in gradients.items():
            value, m, v = self.values[key], self.first[key], self.second[key]
            if key[0] == "weight":
                value *= 1 - rate * options.get("decoupled_decay", 0)
            if "beta_1" in options:
                b1, b2 = options["beta_1"], options["beta_2"]
                m[...] = b1 * m + (1 - b1) * g
                v[...] = b2 * v + (1 - b2) * g**2
                bias_corrected = rate * np.sqrt(1 - b2**self.steps) / (1 - b1**self.steps)
                value -= bias_corrected * m / (np.sqrt(v) + options["epsilon"])
            else:
                mu = options["momentum"]
                m[...] = mu * m - rate * g
                value += mu * m - rate * g if options["nesterov"] else m
        return loss


def train(network, expected, batches, optimizer, dtype, weighted, n_threads=1, rate=0.01, alpha=0.5):
    """Run one epoch of `batches` sizes in both; returns both mean losses."""
    count, options = sum(batches), OPTIMIZERS[optimizer]
    rng = np.random.default_rng(4)
    X = rng.normal(1, 2, (count, network.sizes[0])).astype(dtype)
    target = rng.integers(0, network.sizes[-1], (count, 1)).astype(dtype)
    weight = rng.uniform(0.5, 2, count).astype(dtype) if weighted else None
    rows, owner = rows_of(X)
    trainer = Trainer(
        network, "adam" if "beta_1" in options else "sgd", learning_rate=rate, alpha=alpha, norm_momentum=MOMENTUM,
        **options,
    )  # fmt: skip
    order, edges = rng.permutation(count), np.cumsum([0, *batches])
    loss = trainer.run(rows, target, weight, order, edges, n_threads)
    weight = np.ones(count) if weight is None else weight.astype(np.float64)
    total = 0.0
    for start, stop in zip(edges, edges[1:]):
        k = order[start:stop]
        step = expected.step(X[k].astype(np.float64), target[k], weight[k], alpha, rate, options)
        total += (stop - start) * step
    return loss, total / count


def assert_same(network, expected, rtol):
    for (name, b), value in expected.values.items():
        mine = network.weight(b) if name == "weight" else network.vector(name, b)
        np.testing.assert_allclose(mine, value, rtol=rtol, atol=rtol, err_msg=f"{name} of block {b}")
    for b, statistics in expected.moving.items():
        for mine, value in zip(network.moving(b), statistics):
            if mine is not None:
                np.testing.assert_allclose(mine, value, rtol=rtol, atol=rtol, err_msg=f"statistics of block {b}")


@pytest.mark.parametrize("dtype, rtol", TOLERANCES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("norm, position", NORMS)
def test_three_steps(norm, position, optimizer, weighted, dtype, rtol, make_network):
    # a batch norm takes away what beta of the input adds: its gradient is rounding, which Adam would scale up
    normalize_input = norm == "layer" or position == "after"
    network = make_network((6, 9, 5, 3), norm=norm, position=position, normalize_input=normalize_input, dtype=dtype)
    expected = NumpyNetwork(network, norm, position)
    loss, expected_loss = train(network, expected, (8, 8, 5), optimizer, dtype, weighted)
    np.testing.assert_allclose(loss, expected_loss, rtol=rtol)
    assert_same(network, expected, rtol)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("dtype, rtol", TOLERANCES)
@pytest.mark.parametrize("norm", [None, "batch", "layer"])
def test_wide_layers(norm, dtype, rtol, n_threads, make_network, any_size):
    """Several tiles of weight gradients, several groups of rows, several blocks of a matrix product."""
    network = make_network((700, 451, 70, 10), norm=norm, dtype=dtype)
    expected = NumpyNetwork(network, norm, "before")
    loss, expected_loss = train(network, expected, (129, 64), "sgd", dtype, False, n_threads)
    np.testing.assert_allclose(loss, expected_loss, rtol=rtol)
    assert_same(network, expected, rtol)
