"""Where an experiment ran."""

import os
import platform
from importlib.metadata import version
from typing import Any

from normkit._machine import processor
from normkit.experiments.records import SCHEMA

_PACKAGES = ("normkit", "numba", "llvmlite", "numpy", "scipy", "scikit-learn", "joblib")


def environment() -> dict[str, Any]:
    """Return versions and machine, so that a number can be told where it comes from."""
    import threadpoolctl

    kept = ("user_api", "internal_api", "version", "threading_layer", "architecture", "num_threads")
    return {
        "schema": SCHEMA,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "machine": {
            "processor": processor(), "architecture": platform.machine(), "cores": os.cpu_count(),
            "system": platform.platform(),
        },
        "libraries": [{name: pool.get(name) for name in kept} for pool in threadpoolctl.threadpool_info()],
    }  # fmt: skip
