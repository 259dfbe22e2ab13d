"""Compile the kernels that a run will ask for before it asks, on all cores: one after the other they take minutes.

Which ones is found by calling normkit with a stand-in for the launch that only notes what would be launched. The
machine code goes to normkit's cache on disk, where the calls find it.
"""

import concurrent.futures
import contextlib
import multiprocessing
import time

from normkit.bench import machine


@contextlib.contextmanager
def noted():
    """Launch nothing meanwhile; yield each (name, variant, capability) that would have been launched, in order."""
    from normkit.kernels.cuda import library

    found: dict[tuple, None] = {}
    launch = library.enqueue

    def note(name, norm, grid, arguments, device, stream):
        found[name, norm, tuple(device.capability)] = None

    library.enqueue = note
    try:
        yield found
    finally:
        library.enqueue = launch


def needed(calls):
    """Return the kernels that the calls launch; what a call does with results that were not computed is its affair."""
    with noted() as found:
        for call in calls:
            with contextlib.suppress(Exception):  # it will fail again, where it is looked at
                call()
    return list(found)


def compiled(kernel):
    """Compile one kernel; return its name, the seconds it took and what went wrong."""
    from normkit.kernels.cuda import library

    began = time.perf_counter()
    try:
        library.machine_code(*kernel)
        error = ""
    except Exception as problem:
        error = f"{type(problem).__name__}: {(str(problem).strip().splitlines() or [''])[0][:200]}"
    return kernel[0], time.perf_counter() - began, error


def compile_all(kernels, limit):
    """Compile kernels in processes of their own for up to so many seconds; return what came of it."""
    began, processes = time.time(), max(1, len(machine.cores()))
    context = multiprocessing.get_context("spawn")  # a fork would inherit a context of the device's that it cannot use
    pool = concurrent.futures.ProcessPoolExecutor(processes, mp_context=context)
    waiting = [pool.submit(compiled, kernel) for kernel in kernels]
    done, late = concurrent.futures.wait(waiting, timeout=max(0.0, limit))
    pool.shutdown(wait=False, cancel_futures=True)
    for process in list((getattr(pool, "_processes", None) or {}).values()) if late else []:
        process.terminate()
    results = [future.result() for future in done if not future.exception()]
    return {
        "kernels": len(waiting), "compiled": sum(not error for _, _, error in results), "unfinished": len(late),
        "processes": processes, "seconds": round(time.time() - began, 1),
        "compile_seconds": round(sum(seconds for _, seconds, _ in results), 1),
        "failed": sorted({f"{name}: {error}" for name, _, error in results if error}),
    }  # fmt: skip
