"""The parent's side of a worker: start, ask, let sleep, end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from engines import ENGINES, installed

_HERE = Path(__file__).parent


class EngineFailed(Exception):
    """The engine is not installed, raised an error or ended."""


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


class Process:
    """A worker on `len(cores)` cores. It is stopped whenever it is not asked, so that no idle pool spins."""

    def __init__(self, name, folder, cores, cold, entries=ENGINES, command=("worker.py",)):
        if absent := [package for package in entries[name].requires if not installed(package)]:
            raise EngineFailed(f"not installed: {', '.join(absent)}")
        self.name = name
        self.log = open(Path(folder) / f"{name}.log", "wb")
        # JAX has no setting for its pool: it looks at the affinity, which all engines get alike
        pin = (lambda: os.sched_setaffinity(0, cores)) if hasattr(os, "sched_setaffinity") else None
        # without earlier runs' compiled code the compile times mean something
        environment = _environment(len(cores), Path(folder) / f"{name}-cache" if cold else None)
        self.process = subprocess.Popen(
            [sys.executable, str(_HERE / command[0]), name, str(folder), *command[1:]], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment, preexec_fn=pin,
        )  # fmt: skip
        self.process.send_signal(signal.SIGSTOP)

    def ask(self, do, **arguments):
        """Wake the worker, wait for its reply, put it to sleep."""
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
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

    def close(self):
        """End the worker."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.stdin.close()
            for _ in range(50):
                if self.process.poll() is not None:
                    break
                time.sleep(0.1)
            else:
                self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()
