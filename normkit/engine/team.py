"""The thread team: Python threads that run one compiled function each, in step through a barrier.

They belong to no threading layer of Numba, so that a fit may run in several Python threads at once, in a joblib
worker, or in a process forked from one that has already trained.
"""

import threading

from normkit.engine.sync import abort, new_barrier


def run(function, threads, *arguments):
    """Call ``function(thread, threads, barrier, *arguments)`` on every thread of a team.

    `function` is compiled, releases the GIL, and does nothing that lasts before its first barrier. Returns the
    number of threads that ran: one where the system had no more to give.
    """
    barrier = new_barrier()
    errors: list[BaseException] = []
    started: list[threading.Thread] = []

    def work(thread):
        try:
            function(thread, threads, barrier, *arguments)
        except BaseException as error:
            abort(barrier)
            errors.append(error)

    try:
        for thread in range(1, threads):
            worker = threading.Thread(target=work, args=(thread,), daemon=True)
            try:
                worker.start()
            except RuntimeError:  # the system has no more threads to give
                abort(barrier)
                break
            started.append(worker)
        else:
            work(0)
    except BaseException:  # Ctrl-C
        abort(barrier)
        raise
    finally:
        for worker in started:
            worker.join()
    if errors:
        raise errors[0]
    if len(started) + 1 < threads:
        function(0, 1, new_barrier(), *arguments)
        return 1
    return threads
