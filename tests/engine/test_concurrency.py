"""Fits and norms in threads, forked and spawned processes, joblib's workers, and another library's threads.

Every combination has a time limit, and the results must be those of one fit after the other, to the last bit.
"""

import os
import shutil
import subprocess
import sys

import pytest
from slow import nightly

PROGRAM = """
import concurrent.futures
import ctypes
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
    norm = (None, "batch", "ghost", "renorm", "layer", "rms", "group", "dyt")[seed]
    model = normkit.MLPClassifier(
        (12, 6), normalization=norm, max_iter=3, batch_size=30, random_state=seed, n_threads=2, norm_groups=2
    )
    return np.append(model.fit(X, y).predict_proba(X), norms(seed))


def norms(seed):
    # Numba's threads, beside the engine's own; sums of bits, so that little is sent between processes
    x = LARGE + seed
    batch, mean, rstd = normkit.batch_norm(x, return_stats=True)
    back = normkit.batch_norm_backward(x, x, None, mean, rstd)
    others = normkit.layer_norm(x), normkit.rms_norm(x), normkit.group_norm(x, 4, axis=1), normkit.dynamic_tanh(x)
    return np.array([np.ascontiguousarray(a).view(np.uint64).sum() >> 12 for a in (batch, *back, *others)], float)


def send(seed, queue):
    queue.put(fit(seed))


def in_a_process(method, seed):
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=send, args=(seed, queue))
    process.start()
    result = queue.get(timeout=300)
    process.join(120)
    assert process.exitcode == 0
    return result


def main():
    expected = [fit(seed) for seed in range(8)]
    same = lambda results: all(np.array_equal(a, b) for a, b in zip(results, expected))
    print("alone", same([fit(seed) for seed in range(8)]), flush=True)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        print("threads", same(list(pool.map(fit, range(8)))), flush=True)
    for method, seeds in (("fork", range(8)), ("spawn", range(1))):
        print(method, same([in_a_process(method, seed) for seed in seeds]), flush=True)
    for backend in ("threading", "loky"):
        results = joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(fit)(seed) for seed in range(4))
        print(backend, same(results), flush=True)
    with multiprocessing.get_context("forkserver").Pool(2) as pool:
        print("pool", same(pool.map_async(fit, range(4)).get(timeout=300)), flush=True)
    if os.path.exists("openmp.so"):
        results = {}
        call = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda i: results.setdefault(i, fit(i)))
        ctypes.CDLL(os.path.abspath("openmp.so")).parallel(4, call)
        print("in OpenMP", same([results[i] for i in range(4)]), flush=True)
    print("alone again", same([fit(0)]), flush=True)


if __name__ == "__main__":
    main()
"""


OPENMP = """
void parallel(int n, void (*call)(int)) {
#pragma omp parallel for num_threads(4) schedule(static, 1)
    for (int i = 0; i < n; i++) call(i);
}
"""


# in every run the layer that is always there, and that aborts a process whose threads enter it twice
@pytest.mark.parametrize("layer", ["workqueue", *(pytest.param(layer, marks=nightly) for layer in ("omp", "tbb"))])
def test_every_way_to_run_in_parallel(layer, run_python, tmp_path, monkeypatch):
    """All in one process, since each must also work after the others."""
    # where pip puts libtbb, and the loader does not look
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{sys.prefix}/lib", prepend=os.pathsep)
    if layer == "tbb":
        probe = "from numba.np.ufunc import tbbpool"
        if subprocess.run([sys.executable, "-c", probe], capture_output=True, timeout=300).returncode:
            pytest.skip("the threading layer tbb is not installed: pip install tbb")
    monkeypatch.chdir(tmp_path)
    steps = ["alone", "threads", "fork", "spawn", "threading", "loky", "pool"]
    compiler = shutil.which("gcc")
    if compiler:
        (tmp_path / "openmp.c").write_text(OPENMP)
        subprocess.run([compiler, "-shared", "-fPIC", "-fopenmp", "openmp.c", "-o", "openmp.so"], check=True)
        steps.append("in OpenMP")
    output = run_python(PROGRAM, timeout=900, NUMBA_THREADING_LAYER=layer)
    # TBB remarks on a fork that it cannot end its threads for it, and a line may end apart from its text
    lines = [line for line in output.splitlines() if line and "Unable to join threads" not in line]
    assert lines == [f"{step} True" for step in [*steps, "alone again"]]


def test_ctrl_c_stops_within_the_epoch(run_python):
    """A signal in the middle of an epoch: the epoch ends, no other begins, and the model works and goes on."""
    program = """
        import os, signal
        import numpy as np
        from normkit import MLPClassifier
        from normkit.engine.trainer import Trainer

        X, y = np.random.default_rng(0).normal(size=(120, 10)), np.arange(120) % 3
        run = Trainer.run

        def interrupted(trainer, *arguments):
            if trainer.steps == 4 * 6:  # in epoch 5
                os.kill(os.getpid(), signal.SIGINT)
            return run(trainer, *arguments)

        Trainer.run = interrupted
        fit = {"hidden_layer_sizes": (12,), "normalization": "batch", "batch_size": 20, "random_state": 0}
        model = MLPClassifier(max_iter=100, **fit).fit(X, y)
        Trainer.run = run
        expected = MLPClassifier(max_iter=5, **fit).fit(X, y)
        print(len(model.loss_curve_), np.array_equal(model.predict_proba(X), expected.predict_proba(X)))
        print(np.isfinite(model.partial_fit(X, y).predict_proba(X)).all())
    """
    assert run_python(program, timeout=300).splitlines() == ["5 True", "True"]


def test_ctrl_c_that_would_end_the_process_still_does(run_python):
    program = """
        import os
        import signal
        from normkit.threads import deferred_interrupt

        child = os.fork()
        if not child:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            with deferred_interrupt():
                signal.raise_signal(signal.SIGINT)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    assert run_python(program).strip() == "-2"


def test_a_fork_during_a_fit_leaves_the_child_its_threads(run_python):
    program = """
        import os
        import numpy, threadpoolctl
        from normkit.threads import single_threaded_blas

        def threads():
            controller = threadpoolctl.ThreadpoolController().select(user_api="blas")
            return [library.num_threads for library in controller.lib_controllers]

        threadpoolctl.threadpool_limits(2)
        before = threads()
        with single_threaded_blas():
            child = os.fork()
            if not child:
                print(threads() == before, flush=True)
                os._exit(0)
            os.waitpid(child, 0)
            print(set(threads()) <= {1})
    """
    assert run_python(program).split() == ["True", "True"]
