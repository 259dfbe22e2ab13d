"""Where runs are done: one after the other here, in processes of this machine, or on a Dask cluster.

Each backend is a generator that is given tasks and yields runs as they end. What a run gives does not depend on the
backend: it has one thread, and its random numbers are keyed by what it is.
"""

import contextlib
import itertools
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, wait
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from normkit.experiments.data import Split
from normkit.experiments.errors import DataError, one_line
from normkit.experiments.records import Condition, Run
from normkit.experiments.running import workers
from normkit.experiments.running.fitting import load_machine_code
from normkit.experiments.running.one_run import failed, new_run, perform
from normkit.experiments.running.shared_splits import opened, share
from normkit.threads import deferred_interrupt

BACKENDS = ("loky", "dask", "serial")
# idle workers end after so many seconds; those whose parent was killed do so too
_IDLE_S = 20
# times that all workers may be lost without a run coming back
_LOSSES = 3
_CONNECT_S = 20
# a cluster listens for HTTP also without its dashboard, at a port that another cluster may have
_ANY_PORT_HERE = "127.0.0.1:0"
# until loky's thread has taken a task over, which it does at once unless it failed
_TAKEN_MS = 10_000


@dataclass(frozen=True)
class Task:
    """A run to be done."""

    condition: Condition
    seed: int
    fold: int
    split: int  # its number


@dataclass
class Work:
    """What all runs of an experiment share."""

    split: Callable[[int], Split]  # by its number
    diagnose: bool = False


class WorkersLost(Exception):
    """There is nothing left that could do the runs; the message says why."""


def serial(work: Work, tasks: Iterable[Task]) -> Iterator[Run]:
    """Do the runs in this process."""
    for task in tasks:
        yield perform(work.split(task.split), task.condition, task.seed, task.fold, work.diagnose)


def loky(work: Work, tasks: Iterable[Task], jobs: int) -> Iterator[Run]:
    """Do the runs in `jobs` processes of this machine, which share the data by memory map."""
    left = list(tasks)
    losses = 0
    if left:  # now, so that no worker has to: they would all compile
        load_machine_code(work.split(left[0].split))
    with share(work.split, (task.split for task in left)) as shared:
        while left:
            done = set()
            try:
                for task, run in _in_processes(work, shared, left, min(jobs, len(left))):
                    done.add(task)
                    losses = 0
                    yield run
            except _Broken as error:
                losses += 1
                if losses == _LOSSES:
                    raise WorkersLost(
                        f"worker processes were killed {losses} times, with no run ended; fewer --jobs take less memory"
                    ) from error
            left = [task for task in left if task not in done]


class _Broken(Exception):
    pass


def _in_processes(work, shared, tasks, jobs):
    from joblib.externals.loky import ProcessPoolExecutor
    from joblib.externals.loky.process_executor import BrokenProcessPool

    # Ctrl-C goes to every process of a terminal: it is the parent that ends its workers
    executor = ProcessPoolExecutor(
        max_workers=jobs, timeout=_IDLE_S, context=workers.context(), env=workers.ONE_THREAD,
        initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN),
    )  # fmt: skip
    waiting = iter(tasks)
    running = {}
    try:

        def submit(count):
            # an interrupt in the middle would leave loky's thread with a part of a task
            with deferred_interrupt(), workers.deaf_children():
                for task in itertools.islice(waiting, count):
                    arguments = (shared[task.split], task.condition, task.seed, task.fold, work.diagnose)
                    running[executor.submit(_perform_shared, *arguments)] = task

        submit(2 * jobs)
        while running:
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                task = running.pop(future)
                yield task, future.result()
            submit(len(ended))
    except BrokenProcessPool as error:
        raise _Broken from error
    finally:
        # loky's thread, told to end, fails on tasks that it has not taken over
        for _ in range(_TAKEN_MS):
            if all(future.running() or future.done() for future in running):
                break
            time.sleep(0.001)
        executor.shutdown(wait=True, kill_workers=True)


def _perform_shared(directory, *arguments):
    return perform(opened(directory), *arguments)


def dask(work: Work, tasks: Iterable[Task], jobs: int, scheduler: str | None = None) -> Iterator[Run]:
    """Do the runs on a Dask cluster: that of the scheduler's address, or one of `jobs` processes here."""
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise DataError("the backend dask needs the package distributed: pip install 'normkit[dask]'") from None
    with contextlib.ExitStack() as stack:
        address = scheduler
        if address is None:
            address = stack.enter_context(
                LocalCluster(n_workers=jobs, threads_per_worker=1, dashboard_address=_ANY_PORT_HERE, silence_logs=50)
            )
        try:
            client = stack.enter_context(Client(address, timeout=_CONNECT_S))
        except (OSError, ValueError) as error:
            raise DataError(f"no Dask scheduler answers at {scheduler}: {one_line(error)}") from None
        _check_workers(client)
        yield from _on_cluster(client, work, list(tasks))


def _on_cluster(client, work, tasks):
    from distributed import as_completed

    data: dict[int, Any] = {}

    def submit(task):
        if task.split not in data or data[task.split].cancelled():
            data[task.split] = client.scatter(work.split(task.split), broadcast=True, hash=False)
        return client.submit(_perform_checked, _versions(), data[task.split], task, work.diagnose, pure=False)

    running: dict[Any, Task] = {}
    try:
        running.update((submit(task), task) for task in tasks)
        ended = as_completed(running, raise_errors=False)
        for future in ended:
            task = running.pop(future)
            if future.status == "error":
                run = new_run(work.split(task.split), task.condition, task.seed, task.fold)
                yield failed(run, future.exception())
                continue
            try:
                run = future.result()
            except CancelledError:  # lost with the worker that alone held its data, or the result that was waited for
                again = submit(task)
                running[again] = task
                ended.add(again)
            else:
                yield run
    except OSError as error:  # of the scheduler, or because no worker is left
        raise WorkersLost(f"the Dask cluster is lost: {one_line(error)}") from None
    finally:
        client.cancel(list(running))


def _versions() -> dict[str, str]:
    return {package: version(package) for package in ("normkit", "numpy", "numba")}


def _check_workers(client) -> None:
    """Refuse a cluster without workers, or with other versions than here: its numbers would be others."""
    try:
        client.wait_for_workers(1, timeout=_CONNECT_S)
        found = client.run(_versions)
    except TimeoutError:
        raise DataError("the Dask scheduler has no workers: start some with 'dask worker ADDRESS'") from None
    except ModuleNotFoundError as error:
        raise DataError(f"the Dask workers cannot run normkit: {error}") from None
    here = _versions()
    for worker, versions in found.items():
        for package, there in versions.items():
            if there != here[package]:
                raise DataError(f"the Dask worker {worker} has {package} {there}, here is {here[package]}")


def _perform_checked(versions, split, task, diagnose):
    if versions != _versions():  # it joined after the others were looked at
        raise RuntimeError(f"the worker has {_versions()}, the client {versions}")
    return perform(split, task.condition, task.seed, task.fold, diagnose)
