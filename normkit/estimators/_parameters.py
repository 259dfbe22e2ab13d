"""The parameters that normkit adds to scikit-learn's, and their constraints."""

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from normkit.engine import initializers
from normkit.engine.network import NORM_PARAMETERS
from normkit.engine.norms import NORMS
from normkit.math.activations import CODES as ACTIVATIONS

_VALUES = [StrOptions({"zeros", "ones"}), Real, "array-like"]

CONSTRAINTS: dict = {
    "activation": [StrOptions(set(ACTIVATIONS)), list, tuple],
    "normalization": [StrOptions({name for name in NORMS if name}), None],
    "norm_position": [StrOptions({"before", "after"})],
    "normalize_input": ["boolean"],
    "norm_momentum": [Interval(Real, 0, 1, closed="both"), None],
    "norm_epsilon": [Interval(Real, 0, None, closed="neither")],
    "norm_center": ["boolean"],
    "norm_scale": ["boolean"],
    "norm_groups": [Interval(Integral, 1, None, closed="left")],
    "virtual_batch_size": [Interval(Integral, 2, None, closed="left")],
    "renorm_r_max": [Interval(Real, 1, None, closed="left")],
    "renorm_d_max": [Interval(Real, 0, None, closed="left")],
    "dyt_alpha": [Interval(Real, 0, None, closed="neither")],
    "freeze_norm": ["boolean", StrOptions({"statistics"})],
    "norm_noise": [Interval(Real, 0, None, closed="left")],
    "norm_gamma_initializer": _VALUES,
    "norm_beta_initializer": _VALUES,
    "norm_moving_mean_initializer": _VALUES,
    "norm_moving_variance_initializer": _VALUES,
    "dropout": [Interval(Real, 0, 1, closed="left"), list, tuple, np.ndarray],
    "kernel_initializer": [StrOptions(set(initializers.KERNELS))],
    "coefs_init": [list, tuple, None],
    "intercepts_init": [list, tuple, None],
    "decoupled_weight_decay": [Interval(Real, 0, None, closed="left")],
    "warmup_epochs": [Interval(Real, 0, None, closed="left")],
    "learning_rate_decay": [StrOptions({"cosine"}), None],
    "last_batch": [StrOptions({"auto", "keep", "merge", "drop"})],
    "input_scale": [Interval(Real, 0, None, closed="neither")],
    "dtype": [StrOptions({"float32", "float64"}), None],
    "epoch_callback": [callable, None],
    "n_threads": [Interval(Integral, 1, None, closed="left"), None],
    "device": [StrOptions({"cpu", "cuda"})],
}


def set_parameters(model, parameters):
    """Set the names of a constructor's signature, given as its ``locals()``, as attributes."""
    for name, value in parameters.items():
        if name not in ("self", "__class__"):
            setattr(model, name, value)


def norm_settings(model):
    """Return the fields of `normkit.engine.plan.Settings` that say how norms are trained."""
    trained = model.freeze_norm in (False, "statistics")
    return {
        # the engine averages all batches alike where the share kept is negative
        "norm_momentum": -1.0 if model.norm_momentum is None else float(model.norm_momentum),
        "frozen": bool(model.freeze_norm), "virtual_batch_size": int(model.virtual_batch_size),
        "renorm_r_max": float(model.renorm_r_max), "renorm_d_max": float(model.renorm_d_max),
        "train_gamma": bool(model.norm_scale) and trained, "train_beta": bool(model.norm_center) and trained,
        "train_alpha": trained,
    }  # fmt: skip


def trained_norm_parameters(model):
    """Return the names of the norms' parameters that training changes by gradient."""
    settings = norm_settings(model)
    return [name for name in NORM_PARAMETERS if settings[f"train_{name}"]]


def averages_over_batch(model):
    """Whether training normalizes with statistics of the batch."""
    return model._network.uses_batch_statistics and not model.freeze_norm


def per_layer(value: Any, layers: int, name: str) -> list:
    """Return a list with one entry a hidden layer from a value for all of them or from such a list."""
    if isinstance(value, str) or np.ndim(value) == 0:
        return [value] * layers
    if len(value) != layers:
        raise ValueError(f"{name} must be one value or one per hidden layer ({layers}), got {len(value)} of them")
    return list(value)


def activations_of(model, layers):
    """Return the name of each hidden layer's activation."""
    names = per_layer(model.activation, layers, "activation")
    for name in names:
        if not isinstance(name, str) or name not in ACTIVATIONS:
            raise ValueError(f"activation must be among {', '.join(ACTIVATIONS)}, got {name!r}")
    return names


def dropouts_of(model, layers):
    """Return the dropout rate of each hidden layer."""
    rates = per_layer(model.dropout, layers, "dropout")
    if not all(isinstance(rate, Real) and 0 <= float(rate) < 1 for rate in rates):
        raise ValueError(f"dropout must be a number in [0, 1), or one per hidden layer, got {model.dropout!r}")
    return [float(rate) for rate in rates]
