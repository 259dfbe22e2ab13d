"""Teams of threads: the same numbers for any number of them, and what happens when one fails."""

import threading

import numba
import numpy as np
import pytest
import threadpoolctl

from normkit import MLPClassifier, MLPRegressor
from normkit.engine import network, plan, sync, team
from normkit.engine.network import Network
from normkit.threads import single_threaded_blas

THREADS = [1, 2, 3, 5]
FIT = {"hidden_layer_sizes": (17, 3), "max_iter": 3, "batch_size": 40, "random_state": 0, "norm_momentum": 0.8}


def numbers_of(model, X):
    numbers = [*model.coefs_, *model.intercepts_, model.predict_proba(X), np.array(model.loss_curve_)]
    for layer in model.norm_layers_:
        numbers += [*layer.trainable_variables.values(), *layer.non_trainable_variables.values()]
    return [values.copy() for values in numbers]


def assert_identical(one, two):
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


# float32: partial sums in another order, over a dozen steps of Adam, which scales small gradients up
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-8), (np.float32, 2e-3)])
@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("normalization, dropout", [(None, 0.0), ("batch", 0.3), ("layer", 0.0)])
def test_any_number_of_threads(normalization, dropout, position, dtype, tolerance, any_size):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(150, 20)).astype(dtype), rng.integers(0, 3, 150)
    fit = {**FIT, "activation": "tanh", "normalization": normalization, "norm_position": position, "dropout": dropout}
    expected = None
    for n_threads in THREADS:
        numbers, again = (numbers_of(MLPClassifier(n_threads=n_threads, **fit).fit(X, y), X) for _ in range(2))
        assert_identical(numbers, again)
        expected = expected or numbers
        for mine, other in zip(numbers, expected, strict=True):
            np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
def test_more_threads_than_features_and_samples(normalization, any_size):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(7, 2)), rng.normal(size=7)
    fit = {
        "hidden_layer_sizes": (3, 1), "activation": "tanh", "normalization": normalization, "max_iter": 4,
        "batch_size": 3, "normalize_input": True, "random_state": 0,
    }  # fmt: skip
    one, many = (MLPRegressor(n_threads=n_threads, **fit).fit(X, y) for n_threads in (1, 9))
    np.testing.assert_allclose(many.predict(X), one.predict(X), rtol=1e-8)
    np.testing.assert_allclose(many.loss_curve_, one.loss_curve_, rtol=1e-8)


@pytest.mark.parametrize("below", [64, 784])
def test_shares_whose_tiles_differ(below, any_size):
    """The smaller share of a layer may be one tile where the larger is two smaller ones."""
    rows = plan.TILE // below + 1
    assert plan.tile_rows(rows, below) < plan.tile_rows(rows - 1, below)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(64, below)), rng.normal(size=64)
    fit = {"hidden_layer_sizes": (2 * rows - 1,), "solver": "sgd", "max_iter": 2, "random_state": 0}
    one, two = (MLPRegressor(n_threads=n_threads, **fit).fit(X, y) for n_threads in (1, 2))
    np.testing.assert_allclose(two.coefs_[0], one.coefs_[0], rtol=1e-9, atol=1e-12)


@numba.njit(nogil=True)
def wait(barrier, threads):
    return sync.wait(barrier, threads)


def test_threads_that_cannot_start(any_size, monkeypatch):
    """The first worker starts, the second does not: all the work falls to the caller's thread."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 30)), rng.integers(0, 3, 60)
    fit = {**FIT, "hidden_layer_sizes": (200, 50), "normalization": "batch"}
    expected = numbers_of(MLPClassifier(n_threads=1, **fit).fit(X, y), X)
    start, calls = threading.Thread.start, []

    def sometimes(thread):
        calls.append(thread)
        if len(calls) % 2 == 0:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", sometimes)
    assert_identical(numbers_of(MLPClassifier(n_threads=3, **fit).fit(X, y), X), expected)
    assert len(calls) > 2
    ran = []
    assert team.run(lambda thread, threads, barrier: wait(barrier, threads) and ran.append((thread, threads)), 3) == 1
    assert ran == [(0, 1)]


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_error_in_one_thread_frees_the_others_and_surfaces(failing):
    left = []

    def work(thread, threads, barrier):
        if not wait(barrier, threads):
            return
        if thread == failing:
            raise ZeroDivisionError(thread)
        left.append(wait(barrier, threads))

    wait(sync.new_barrier(), 1)  # compiled
    with pytest.raises(ZeroDivisionError, match=str(failing)):
        team.run(work, 3)
    assert left == [False, False]


def test_ctrl_c_in_the_callers_thread():
    def work(thread, threads, barrier):
        if thread == 0:
            raise KeyboardInterrupt
        wait(barrier, threads)

    wait(sync.new_barrier(), 1)
    with pytest.raises(KeyboardInterrupt):
        team.run(work, 3)
    assert threading.active_count() == 1 or not any("work" in thread.name for thread in threading.enumerate())


def test_barrier_keeps_threads_in_step():
    rounds, count = 200, 4
    marks = np.zeros((count, rounds), np.int64)

    def work(thread, threads, barrier):
        for i in range(rounds):
            marks[thread, i] = 1
            assert wait(barrier, threads)
            assert marks[:, i].all()
            assert i + 2 > rounds or not marks[:, i + 2 :].any()

    wait(sync.new_barrier(), 1)
    assert team.run(work, count) == count


def test_threads_are_used_where_they_pay(monkeypatch):
    monkeypatch.setattr(network, "available", lambda: 4)
    small, large = Network((8, 8, 2), np.float64, "softmax", ["relu"], [0.0], None, "before", False, 1e-3), None
    large = Network((784, 300, 300, 10), np.float32, "softmax", ["relu"] * 2, [0.0] * 2, None, "before", False, 1e-3)
    assert small.choose_threads(None, 32, 1000) == 1 and small.choose_threads(3, 32, 1000) == 1
    assert large.choose_threads(None, 128, 10_000) == 4 and large.choose_threads(3, 128, 10_000) == 3
    assert large.choose_threads(None, 1, 1) == 1


def blas_threads():
    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]


@pytest.fixture
def two_blas_threads():
    """Give the BLAS two threads, whatever it has, and see that it has them again in the end."""
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        assert set(blas_threads()) == {2}
        yield
        assert set(blas_threads()) == {2}


@pytest.fixture
def spied(monkeypatch):
    """Note the BLAS's threads whenever a team runs; returns the list."""
    seen, run = [], team.run

    def spy(*arguments):
        seen.append(set(blas_threads()))
        return run(*arguments)

    monkeypatch.setattr(team, "run", spy)
    return seen


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_blas_has_one_thread_while_the_engine_runs(solver, spied, two_blas_threads):
    X, y = np.random.default_rng(0).normal(size=(50, 4)), np.arange(50) % 2
    MLPClassifier(**{**FIT, "solver": solver}).fit(X, y).predict(X)
    assert len(spied) > 3 and all(seen == {1} for seen in spied)


def test_blas_is_restored_after_an_error(two_blas_threads, monkeypatch):
    def fail(*arguments):
        assert set(blas_threads()) == {1}
        raise ZeroDivisionError

    monkeypatch.setattr(team, "run", fail)
    with pytest.raises(ZeroDivisionError):
        MLPClassifier(**FIT).fit(np.eye(40), np.arange(40) % 2)


def test_blas_is_restored_by_the_last_of_overlapping_fits(two_blas_threads):
    inside, may_leave = threading.Event(), threading.Event()

    def first():
        with single_threaded_blas():
            inside.set()
            may_leave.wait(30)

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(30)
    with single_threaded_blas():
        may_leave.set()
        thread.join(30)  # the one that came first leaves first
        assert set(blas_threads()) == {1}
    assert set(blas_threads()) == {2}


def test_blas_is_limited_by_a_fit_in_any_thread(spied, two_blas_threads):
    X, y = np.random.default_rng(0).normal(size=(50, 4)), np.arange(50) % 2
    MLPClassifier(**FIT).fit(X, y)
    thread = threading.Thread(target=lambda: MLPClassifier(**FIT).fit(X, y))
    thread.start()
    thread.join(60)
    assert len(spied) == 6 and all(seen == {1} for seen in spied)


def test_ctrl_c_while_threads_start_frees_those_that_wait(monkeypatch):
    start, join, barriers, left = threading.Thread.start, threading.Thread.join, [], []

    def work(thread, threads, barrier):
        barriers.append(barrier)
        left.append(wait(barrier, threads))

    def interrupted(thread):
        if threading.active_count() > before:
            raise KeyboardInterrupt
        start(thread)

    wait(sync.new_barrier(), 1)
    before = threading.active_count()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        patch.setattr(threading.Thread, "join", lambda thread: join(thread, 10))
        with pytest.raises(KeyboardInterrupt):
            team.run(work, 3)
    ended = list(left)
    sync.abort(barriers[0])  # nobody waits for ever where the test fails
    assert ended == [False]
