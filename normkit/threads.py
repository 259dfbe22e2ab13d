"""Threads: how many, and when the compiled parallel code may be entered at all."""

import contextlib
import functools
import os
import signal
import threading
from collections.abc import Iterator

import numba
import threadpoolctl

# Numba's workqueue layer aborts the process when two Python threads enter it, and GNU OpenMP kills a child that
# was forked after its first use. One caller at a time, in the process that used it first; the others run serially.
_team = threading.Lock()
_owner_process: int | None = None


@functools.cache
def _cores() -> int:
    import joblib  # knows affinity, a container's quota and LOKY_MAX_CPU_COUNT

    return joblib.cpu_count()


def available() -> int:
    """Return the number of cores this process may use, as far as Numba was not told to use fewer."""
    return max(1, min(_cores(), numba.config.NUMBA_NUM_THREADS))


class team:  # noqa: N801 - used like a function: `with team(2) as n`
    """Reserve Numba's thread team; gives the number of threads to use, 1 where a team cannot be had.

    No generator makes it a context manager: that would cost a microsecond of the few that a call may take.
    """

    __slots__ = ("_before", "_wanted")

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._before = 0  # how many threads Numba was told to use, while they are reserved

    def __enter__(self) -> int:
        global _owner_process
        if self._wanted <= 1 or not _team.acquire(blocking=False):
            return 1
        try:
            before = numba.get_num_threads()
            wanted = min(self._wanted, before)
            if _owner_process is None:
                _owner_process = os.getpid()
            if wanted > 1 and _owner_process == os.getpid():
                if wanted != before:
                    numba.set_num_threads(wanted)
                self._before = before
                return wanted
        except BaseException:  # Ctrl-C too must not leave it locked
            _team.release()
            raise
        _team.release()
        return 1

    def __exit__(self, *unused: object) -> None:
        if self._before:
            try:
                if numba.get_num_threads() != self._before:
                    numba.set_num_threads(self._before)
            finally:
                _team.release()


# A lock held by another thread at the moment of a fork would stay locked in the child for ever.
if hasattr(os, "register_at_fork"):

    def _fresh_lock() -> None:
        global _team
        _team = threading.Lock()

    os.register_at_fork(after_in_child=_fresh_lock)


class _SingleThreadedBlas:
    """One thread for the BLAS while anyone needs it so, and what it had when the last one leaves.

    Fits may overlap in several Python threads; each saving and restoring for itself would leave the BLAS limited
    for ever, or free in the middle of another's fit.
    """

    def __init__(self) -> None:
        self._before: list = []
        self.reset()

    def reset(self) -> None:
        """Forget users, after a fork."""
        self._restore()
        self._lock = threading.Lock()
        self._users = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._before = [(library, library.get_num_threads()) for library in _blas_libraries()]
                for library, _ in self._before:
                    _set_threads(library, 1)
            self._users += 1

    def __exit__(self, *unused: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._restore()

    def _restore(self) -> None:
        for library, threads in self._before:
            _set_threads(library, threads)
        self._before = []


@functools.cache
def _blas_libraries() -> list:
    # looking for the loaded libraries takes a millisecond or more; the BLAS that the engine calls is loaded by now
    return threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers


def _set_threads(library, threads: int | None) -> None:
    # threadpoolctl 3.8 lets the first thread that sets a limit set the next one, and ignores the others; fits begin
    # and end in any thread, and the first to begin need not be the last to end
    if threads is not None:
        getattr(library, "_real_set_num_threads", library.set_num_threads)(threads)


_single_threaded_blas = _SingleThreadedBlas()


def single_threaded_blas() -> _SingleThreadedBlas:
    """Limit the BLAS to one thread: its pool and the team's threads would fight over the cores."""
    return _single_threaded_blas


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_single_threaded_blas.reset)


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[None]:
    """Hold Ctrl-C back until the end of the context, so that what it would tear apart stays together."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    pending: list[tuple] = []
    handler = signal.signal(signal.SIGINT, lambda *arguments: pending.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if pending and callable(handler):
        handler(*pending[-1])
    elif pending and handler == signal.SIG_DFL:
        signal.raise_signal(signal.SIGINT)
