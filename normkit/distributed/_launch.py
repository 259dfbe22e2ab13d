"""Whether there are other ranks, and what they agree on before they train."""

import contextlib
import os
import time
import traceback

# what mpirun, mpiexec and srun tell the processes that they start
_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS")


class RankError(RuntimeError):
    """Another rank failed, whose error the message tells; or the ranks do not find each other."""


def world():
    """Return ``mpi4py.MPI.COMM_WORLD`` if this process is one of several that an MPI launcher started, else None.

    Raises
    ------
    ImportError
        If it is, and mpi4py is not installed.
    RankError
        If mpi4py's MPI library is not the launcher's, so that each process is alone.
    """
    sizes = [int(value) for value in map(os.environ.get, _SIZES) if value and value.isdigit()]
    if max(sizes, default=1) < 2:
        return None
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise ImportError(
            f"an MPI launcher started {max(sizes)} processes, and to train together they need mpi4py: "
            f"pip install 'normkit[mpi]' ({error})"
        ) from None
    if MPI.COMM_WORLD.size < 2:
        library = MPI.Get_library_version().split(",")[0].strip()
        raise RankError(
            f"an MPI launcher started {max(sizes)} processes, but in mpi4py each is alone: its library is {library}; "
            "use the launcher of the same MPI"
        )
    return MPI.COMM_WORLD


def agreed(comm, function):
    """Return what the function returns on this rank, if it succeeds on all.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm or None
        None: there is no other rank.
    function : callable

    Raises
    ------
    RankError
        If it fails on another rank; on this one its own error.
    """
    if comm is None:
        return function()
    value, error = None, None
    try:
        value = function()
    except Exception as own:
        error = own
    messages = comm.allgather(None if error is None else f"{type(error).__name__}: {error}")
    if error is not None:
        raise error
    for rank, message in enumerate(messages):
        if message is not None:
            raise RankError(f"rank {rank} failed: {message}")
    return value


@contextlib.contextmanager
def leaving_none_behind(comm, seconds=10.0):
    """Abort all ranks if this one fails within the context, and the others do not come to its end.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm or None
        None: there is no other rank.
    seconds : float
        How long to wait for the others, which may have failed in the same way.
    """
    try:
        yield
    except BaseException:
        if comm is not None:
            others, end = comm.Ibarrier(), time.monotonic() + seconds
            while not others.Test():
                if time.monotonic() > end:
                    traceback.print_exc()
                    comm.Abort(1)
                time.sleep(0.02)
        raise
    if comm is not None:
        comm.Ibarrier().Wait()
