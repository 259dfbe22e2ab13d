"""Normalization layers as compiled functions, and the estimators trained with them.

Public names are loaded on first use, so that ``import normkit`` compiles nothing and loads neither
Numba nor scikit-learn.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from normkit._version import __version__

if TYPE_CHECKING:
    from normkit.estimators import (
        TRUSTED_TYPES,
        MLPClassifier,
        MLPRegressor,
        ModelFileError,
        PickleVersionWarning,
        load,
    )
    from normkit.functional import (
        add_layer_norm,
        add_layer_norm_backward,
        add_rms_norm,
        add_rms_norm_backward,
        batch_norm,
        batch_norm_backward,
        batch_renorm,
        batch_renorm_backward,
        dynamic_tanh,
        dynamic_tanh_backward,
        group_norm,
        group_norm_backward,
        instance_norm,
        instance_norm_backward,
        layer_norm,
        layer_norm_backward,
        rms_norm,
        rms_norm_backward,
        update_running,
    )

_ESTIMATORS = ("TRUSTED_TYPES", "MLPClassifier", "MLPRegressor", "ModelFileError", "PickleVersionWarning", "load")

_MODULES = ("distributed", "functional", "reference")

__all__ = [
    "TRUSTED_TYPES",
    "MLPClassifier",
    "MLPRegressor",
    "ModelFileError",
    "PickleVersionWarning",
    "__version__",
    "add_layer_norm",
    "add_layer_norm_backward",
    "add_rms_norm",
    "add_rms_norm_backward",
    "batch_norm",
    "batch_norm_backward",
    "batch_renorm",
    "batch_renorm_backward",
    "dynamic_tanh",
    "dynamic_tanh_backward",
    "group_norm",
    "group_norm_backward",
    "instance_norm",
    "instance_norm_backward",
    "layer_norm",
    "layer_norm_backward",
    "load",
    "rms_norm",
    "rms_norm_backward",
    "update_running",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        home = "normkit.estimators" if name in _ESTIMATORS else "normkit.functional"
        value = globals()[name] = getattr(import_module(home), name)
        return value
    if name in _MODULES:
        return import_module(f"normkit.{name}")
    raise AttributeError(f"module 'normkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
