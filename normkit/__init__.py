"""Normalization layers as compiled functions, and the estimators trained with them.

Public names are loaded on first use, so that ``import normkit`` compiles nothing and loads neither
Numba nor scikit-learn.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from normkit._version import __version__

if TYPE_CHECKING:
    from normkit.estimators import MLPClassifier, MLPRegressor
    from normkit.functional import (
        batch_norm,
        batch_norm_backward,
        layer_norm,
        layer_norm_backward,
        update_running,
    )

_HOME = {
    "MLPClassifier": "normkit.estimators",
    "MLPRegressor": "normkit.estimators",
    "batch_norm": "normkit.functional",
    "batch_norm_backward": "normkit.functional",
    "layer_norm": "normkit.functional",
    "layer_norm_backward": "normkit.functional",
    "update_running": "normkit.functional",
}

__all__ = [
    "MLPClassifier",
    "MLPRegressor",
    "__version__",
    "batch_norm",
    "batch_norm_backward",
    "layer_norm",
    "layer_norm_backward",
    "update_running",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = globals()[name] = getattr(import_module(_HOME[name]), name)
        return value
    raise AttributeError(f"module 'normkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
