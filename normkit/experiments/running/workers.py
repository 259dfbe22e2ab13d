"""The processes that do runs: how many, and how they are started.

Most of the time of a small experiment is that of imports. So `start_early` makes a server before the command itself
imports: meanwhile it imports what runs need, and workers are forked from it at once.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

# a run has one thread
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
_method = "loky"


def default_jobs() -> int:
    """Return how many processes this machine has cores for."""
    import joblib

    return joblib.cpu_count()


def start_early() -> None:
    """Start a server that imports, on Linux: elsewhere libraries of the system are not made to be forked.

    For programs whose main module may be imported by others, as a command's: workers import it.
    """
    global _method
    if sys.platform != "linux":
        return
    from multiprocessing import forkserver, resource_tracker

    resource_tracker.ensure_running()  # now: the server would start it, and it unblocks signals
    forkserver.set_forkserver_preload(["normkit.experiments.running.one_run"])
    with _environment(ONE_THREAD), deaf_children():
        forkserver.ensure_running()
    _method = "forkserver"


def context() -> Any:
    """Return the `multiprocessing` context that starts workers."""
    from joblib.externals.loky.backend.context import get_context

    return get_context(_method)


@contextlib.contextmanager
def deaf_children() -> Iterator[None]:
    """Let no process that is started meanwhile get Ctrl-C, which goes to every process of a terminal."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
