"""Fits in threads, forked and spawned processes, and joblib's workers, each under a time limit."""

import pytest

PROGRAM = """
import concurrent.futures
import multiprocessing
import os

import joblib
import numpy as np

import normkit
from normkit.engine.network import Network

X = np.random.default_rng(0).normal(size=(120, 10))
y = np.arange(120) % 3
LARGE = np.random.default_rng(0).normal(size=(400, 300))


def fit(seed):
    # small networks too use the threads that they are given; set here, where every kind of worker passes
    Network.choose_threads = lambda self, n_threads, *sizes: n_threads or 1
    normkit.batch_norm(LARGE)  # Numba's threads, beside the engine's own
    norm = "batch" if seed % 2 else "layer"
    model = normkit.MLPClassifier(
        (12, 6), normalization=norm, max_iter=3, batch_size=30, random_state=seed, n_threads=2
    )
    return model.fit(X, y).predict_proba(X)


def send(seed, queue):
    queue.put(fit(seed))


def in_a_process(method, seed):
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=send, args=(seed, queue))
    process.start()
    result = queue.get(timeout=120)
    process.join(120)
    assert process.exitcode == 0
    return result


def main():
    expected = [fit(seed) for seed in range(8)]
    same = lambda results: all(np.array_equal(a, b) for a, b in zip(results, expected))
    print("alone", same([fit(seed) for seed in range(8)]), flush=True)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        print("threads", same(list(pool.map(fit, range(8)))), flush=True)
    for method in ("fork", "spawn"):
        print(method, same([in_a_process(method, 0)]), flush=True)
    for backend in ("threading", "loky"):
        results = joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(fit)(seed) for seed in range(4))
        print(backend, same(results), flush=True)
    print("alone again", same([fit(0)]), flush=True)


if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("layer", ["workqueue", "omp"])
def test_every_way_to_run_in_parallel(layer, run_python):
    """All in one process, since each must also work after the others."""
    output = run_python(PROGRAM, timeout=300, NUMBA_THREADING_LAYER=layer)
    steps = ["alone", "threads", "fork", "spawn", "threading", "loky", "alone again"]
    assert output.splitlines() == [f"{step} True" for step in steps]
