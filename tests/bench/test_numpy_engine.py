"""The reference of the training step, against finite differences and against two other implementations."""

import copy

import numpy as np
import pytest

from normkit.bench.engines.numpy_engine import Engine
from normkit.bench.engines.problem import Problem


@pytest.fixture
def problem():
    random = np.random.default_rng(2)
    made = Problem([5, 7, 6, 3], threads=1)
    made.X, made.y = random.normal(size=(60, 5)).astype(np.float32), random.integers(0, 3, 60)
    made.X_test, made.y_test = made.X, made.y
    return made


def loss_of(engine, rows):
    logits = engine._outputs(engine.X[rows], True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(rows)), engine.y[rows]].mean()


@pytest.mark.parametrize("plain", [False, True])
def test_gradients_are_those_of_finite_differences(problem, plain):
    engine = Engine(problem, plain, "float64")
    engine.prepare(20)
    random = np.random.default_rng(3)
    for layer in engine.layers:
        for parameter in layer.parameters:  # away from 0, where relu and elu have a kink
            parameter += random.normal(size=parameter.shape) / 5
    found = []
    for layer in engine.layers:
        layer.update = lambda gradients, rate: found.append(gradients)
    rows = np.arange(20)
    before = copy.deepcopy(engine)
    assert engine._step(rows) == pytest.approx(loss_of(before, rows), rel=1e-12)
    for layer, gradients in zip(reversed(before.layers), found, strict=True):
        for parameter, gradient in zip(layer.parameters, gradients, strict=True):
            direction = random.normal(size=parameter.shape)
            original, losses = parameter.copy(), []
            for step in (1e-6, -1e-6):
                parameter[...] = original + step * direction
                losses.append(loss_of(before, rows))
            parameter[...] = original
            # central differences: rounding of 1e-16 over a step of 1e-6
            slope = (losses[0] - losses[1]) / 2e-6
            np.testing.assert_allclose(slope, (gradient * direction).sum(), rtol=1e-5, atol=1e-8)


def test_learns_what_normkit_learns(problem):
    from normkit.bench.engines.normkit_engine import Engine as Own

    # another order of the sums in float32
    for epochs, tolerance in ((1, 1e-5), (3, 1e-4)):
        own, reference = Own(problem, "batch"), Engine(problem, dtype="float64")
        for engine in (own, reference):
            engine.prepare(20)
            losses = [engine.run(problem.order(epoch, 20)) for epoch in range(epochs)]
            engine.losses = losses
        np.testing.assert_allclose(own.losses, reference.losses, rtol=tolerance)
        assert own.accuracy() == reference.accuracy()


def test_the_plain_network_learns_what_scikit_learn_learns(problem):
    from normkit.bench.engines.sklearn_engine import Engine as Theirs

    theirs, reference = Theirs(problem), Engine(problem, plain=True, dtype="float64")
    for engine in (theirs, reference):
        engine.prepare(20)
    order = problem.order(0, 20, 9)
    np.testing.assert_allclose(theirs.run(order), reference.run(order), rtol=1e-5)
    assert theirs.accuracy() == reference.accuracy()


def test_float32_stays_float32(problem):
    engine = Engine(problem)
    engine.prepare(20)
    engine.run(problem.order(0, 20))
    assert {p.dtype for layer in engine.layers for p in layer.parameters} == {np.dtype(np.float32)}
    assert engine._outputs(engine.X, False).dtype == np.float32
