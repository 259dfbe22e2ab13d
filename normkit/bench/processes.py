"""The parent's side of a worker: start, ask, let sleep, end."""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from normkit.bench.engines import ENGINES
from normkit.bench.entries import installed

_START = """
import importlib, sys
root, module = sys.argv[1:3]
del sys.argv[1:3]
sys.path.append(root)
sys.exit(importlib.import_module(module).main())
"""
_PR_SET_PDEATHSIG = 1


class EngineFailed(Exception):
    """The engine is not installed, raised an error or ended."""


def command_of(module, *arguments):
    """Return the command that runs a module's `main` in a process of its own.

    Nothing but the installed packages is looked at (-P), lest a file in the current folder take a module's place; a
    checkout that is not installed comes after them.
    """
    root = str(Path(__file__).parents[2])
    return [sys.executable, "-P", "-c", _START, root, module, *arguments]


def _environment(threads, caches):
    count = str(threads)
    pools = ("OMP", "OPENBLAS", "MKL", "NUMBA")
    variables = {
        **os.environ, **{f"{pool}_NUM_THREADS": count for pool in pools}, "TF_NUM_INTRAOP_THREADS": count,
        "TF_NUM_INTEROP_THREADS": count, "CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu",
        "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3",
    }  # fmt: skip
    if caches:
        variables |= {"NUMBA_CACHE_DIR": str(caches), "TORCHINDUCTOR_CACHE_DIR": str(caches)}
    return variables


def _prepare_child(cores):
    """Return what the child does before it becomes the worker."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def prepare():
        # JAX has no setting for its pool: it looks at the affinity, which all engines get alike
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)
        # a parent that is killed cannot end its workers, and one that is stopped would sleep for ever
        if libc:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return prepare


class Process:
    """A worker on `len(cores)` cores. It is stopped whenever it is not asked, so that no idle pool spins."""

    def __init__(self, name, folder, cores, cold, entries=ENGINES, command=("normkit.bench.worker",)):
        if absent := [package for package in entries[name].requires if not installed(package)]:
            raise EngineFailed(f"not installed: {', '.join(absent)}")
        self.name = name
        self.log = open(Path(folder) / f"{name}.log", "wb")
        # without earlier runs' compiled code the compile times mean something
        environment = _environment(len(cores), Path(folder) / f"{name}-cache" if cold else None)
        self.process = subprocess.Popen(
            command_of(command[0], name, str(folder), *command[1:]), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment, preexec_fn=_prepare_child(cores),
        )  # fmt: skip
        assert self.process.stdin and self.process.stdout
        self.requests, self.replies = self.process.stdin, self.process.stdout
        self.process.send_signal(signal.SIGSTOP)

    def ask(self, do, **arguments):
        """Wake the worker, wait for its reply, put it to sleep."""
        self.send(do, **arguments)
        return self.receive()

    def send(self, do, **arguments):
        """Wake the worker with a request."""
        self.process.send_signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):  # it has ended: there will be no reply
            self.requests.write(json.dumps({"do": do, **arguments}) + "\n")
            self.requests.flush()

    def receive(self):
        """Wait for the reply to what was sent, put the worker to sleep."""
        line = self.replies.readline()
        if not line:
            raise EngineFailed(f"ended with code {self.process.wait()}: {self._last_words()}")
        self.process.send_signal(signal.SIGSTOP)
        reply = json.loads(line)
        if "error" in reply:
            raise EngineFailed(reply["error"])
        return reply

    def _last_words(self):
        lines = Path(self.log.name).read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no output"

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is not None:  # whoever presses Ctrl-C does not wait for each of the workers
            self.process.kill()
        self.close()

    def close(self):
        """End the worker."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):  # what it was asked last may still be in the buffer
            self.requests.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.replies.close()
        self.log.close()


class Crew:
    """The workers of one run by name; who cannot start or ends is in `absent`, with the reason."""

    def __init__(self, folder, cores, entries, command, cold=False):
        self.folder, self.cores, self.cold = folder, cores, cold
        self.entries, self.command = entries, command
        self.workers: dict[str, Process] = {}
        self.absent: dict[str, str] = {}

    def start(self, stack, names):
        """Start a worker for each that is installed; the exit stack ends them."""
        for name in names:
            try:
                process = Process(name, self.folder, self.cores, self.cold, self.entries, self.command)
            except EngineFailed as error:
                self.absent[name] = str(error)
                continue
            self.workers[name] = stack.enter_context(process)

    def import_together(self):
        """Let all import their libraries at the same time: one after the other that would take longest of all."""
        for worker in self.workers.values():
            worker.send("ready")
        found = {}
        for name in list(self.workers):
            try:
                found[name] = self.workers[name].receive()
            except EngineFailed as error:
                self.absent[name] = str(error)
                del self.workers[name]
        return found

    def ask(self, name, **request):
        """Return the reply; a worker that has ended is out for good."""
        try:
            return self.workers[name].ask(**request)
        except EngineFailed:
            if self.workers[name].process.poll() is not None:
                del self.workers[name]
            raise
