"""Saving a fitted model as arrays and plain values, and making a model of them again."""

import json
import os
import warnings
from typing import Any

import numpy as np
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.validation import check_is_fitted

from normkit.engine.trainer import Trainer
from normkit.estimators import _model_file
from normkit.estimators._model_file import ModelFileError
from normkit.estimators._values import Decoder, Encoder

# Fitted attributes that are numbers and lists of them, and the types that they may have.
_NUMBERS = {
    "n_iter_": int, "t_": int, "_no_improvement_count": int, "loss_": float, "best_loss_": float,
    "best_validation_score_": float, "loss_curve_": list, "validation_scores_": list, "history_": dict,
}  # fmt: skip
_MAY_BE_NONE = ("best_loss_", "best_validation_score_", "validation_scores_")
# What a trainer is told once, at its start; the rest follows the model's parameters at every epoch.
_SETTINGS = {
    "warmup_steps": float, "cosine_steps": float, "momentum": float, "nesterov": bool, "beta_1": float,
    "beta_2": float, "epsilon": float, "seed": int,
}  # fmt: skip
_MOST_THREADS = 4096  # each has buffers: a file must not ask for more than any machine has
_PARTS = ("weight", "bias", "gamma", "beta", "alpha")
_MOVING = ("moving_mean", "moving_variance", "moving_batches")
_CLASSES: dict[str, type] = {}


def saved(estimator: type) -> type:
    """Make a file's name of a class stand for this one, which must be defined by this package."""
    _CLASSES[estimator.__name__] = estimator
    return estimator


def _parts(network, vector):
    """Yield (block and name, view) of each parameter in a vector laid out as the network's."""
    for b in range(len(network.sizes)):
        for name in _PARTS:
            start = getattr(network.plan, name)[b]
            if start >= 0:
                shape = network.weight(b).shape if name == "weight" else (network.count(name, b),)
                yield f"{b}.{name}", vector[start : start + int(np.prod(shape))].reshape(shape)


def _statistics(network):
    """Yield (block and name, view) of the moving statistics."""
    for b in network.norm_blocks():
        if network.has_moving(b):
            start = network.plan.rows[b]
            for name, values in zip(_MOVING, network.statistics):
                yield f"{b}.{name}", values[start : start + network.sizes[b]]


def save(model, path, include_optimizer=True, metadata=None) -> None:
    """Write a fitted model to a file, see `normkit.MLPClassifier.save`."""
    check_is_fitted(model)
    network = model._link()
    arrays: dict[str, np.ndarray] = {}
    encode = Encoder(arrays)
    parameters = model.get_params(deep=False)
    fitted = model._network_signature  # norms that were asked for since are not those of the arrays
    parameters |= {name: fitted[name] for name in ("normalization", "normalize_input")}
    if fitted["normalization"] is not None:
        parameters["norm_position"] = fitted["position"]
    if fitted["normalization"] == "group":
        parameters["norm_groups"] = fitted["groups"]
    if parameters.pop("epoch_callback") is not None:
        warnings.warn("epoch_callback is code and is not saved: the loaded model has none", stacklevel=3)
    try:
        json.dumps(metadata, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"metadata must be what JSON can hold, got {error}") from None
    state = model.__dict__
    document = {
        "class": _class_name(model),
        "parameters": {name: encode(value, f"parameters.{name}") for name, value in parameters.items()},
        "output": model.out_activation_,
        "numbers": {name: encode(state[name], name) for name in _NUMBERS if name in state},
        "feature_names": encode(state.get("feature_names_in_"), "feature_names_in_"),
        "labels": _labels(model, encode),
        "optimizer": _optimizer(model, network, arrays) if include_optimizer else None,
        "metadata": metadata,
    }
    arrays.update({f"layers.{name}": view for name, view in (*_parts(network, network.params), *_statistics(network))})
    model._validate_params()  # as `load` does
    _model_file.write(path, document, arrays)


def _class_name(model):
    name = type(model).__name__
    if _CLASSES.get(name) is not type(model):
        raise TypeError(
            f"a file holds an MLPClassifier or MLPRegressor of normkit, got {type(model).__module__}.{name}, a class "
            "of its own, whose code the file would not hold"
        )
    return name


def _labels(model, encode):
    binarizer = model.__dict__.get("_label_binarizer")
    if binarizer is None:
        return None
    return {"type": binarizer.y_type_, "sparse": binarizer.sparse_input_, "classes": encode(model.classes_, "classes_")}


def _optimizer(model, network, arrays):
    trainer = model.__dict__.get("_trainer")
    if trainer is None or trainer.network is not network:
        return None
    for moment in ("first", "second"):
        vector = getattr(trainer, moment)
        if len(vector):
            arrays.update({f"optimizer.{moment}.{name}": view for name, view in _parts(network, vector)})
    settings = {name: kind(getattr(trainer.settings, name)) for name, kind in _SETTINGS.items()}
    schedule = model._optimizer
    adam = isinstance(schedule, AdamOptimizer)
    names = ("learning_rate_init", "learning_rate") if adam else ("learning_rate_init", "learning_rate", "power_t")
    return {
        "name": "adam" if adam else "sgd", "steps": int(trainer.steps), "settings": settings,
        "lr_schedule": "constant" if adam else schedule.lr_schedule,
        **{name: float(getattr(schedule, name)) for name in names},
    }  # fmt: skip


def load(path: str | os.PathLike, *, return_metadata: bool = False) -> Any:
    """Load a model that `save` has written. Nothing in the file is run.

    Parameters
    ----------
    path : str or path-like
        The file.
    return_metadata : bool, default=False
        Whether to return the metadata that were saved with the model as well.

    Returns
    -------
    model : MLPClassifier or MLPRegressor
        Predicts as the saved one did, and goes on training where that one would.
    metadata : object
        As given to `save`; only with ``return_metadata=True``.

    Raises
    ------
    ModelFileError
        If the file is not a model, truncated, altered, or written by a newer release in a newer schema.
    OSError
        If the file cannot be read.

    Warns
    -----
    UserWarning
        If the file's metadata say how rows are prepared for the model, as those of ``normkit train --save`` do, and
        they are not asked for: the model alone predicts nonsense of rows as they are in the data.
        `normkit.experiments.saved_models.open_model` and ``normkit predict`` prepare them.

    Examples
    --------
    >>> import tempfile, numpy as np, normkit
    >>> X = np.random.default_rng(0).normal(size=(40, 3))
    >>> model = normkit.MLPRegressor(hidden_layer_sizes=(4,), solver="lbfgs", random_state=0).fit(X, X[:, 0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/model.safetensors")
    ...     loaded = normkit.load(f"{folder}/model.safetensors")
    >>> bool((loaded.predict(X) == model.predict(X)).all())
    True
    """
    document, arrays = _model_file.read(path)
    try:
        model = _model_of(document, arrays)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise ModelFileError(f"{os.fspath(path)} does not describe a model: {_model_file._line(error)}") from error
    metadata = document.get("metadata")
    if return_metadata:
        return model, metadata
    if isinstance(metadata, dict) and metadata.get("preprocessor") is not None:
        warnings.warn(
            f"the model in {os.fspath(path)} takes prepared rows, and a regressor predicts in units of its training: "
            "'normkit predict' or normkit.experiments.saved_models.open_model do both",
            stacklevel=2,
        )
    return model


def _model_of(document, arrays):
    decode = Decoder(arrays)
    kind = _CLASSES[document["class"]]
    model = kind(**{str(name): decode(value) for name, value in document["parameters"].items()})
    model._validate_params()
    if (model.n_threads or 0) > _MOST_THREADS:
        raise ValueError(f"n_threads must be at most {_MOST_THREADS} in a file, got {model.n_threads}")
    _set_dense(model, arrays)
    _set_labels(model, document, decode)
    _set_names(model, decode(document["feature_names"]))
    for name, value in document["numbers"].items():
        setattr(model, name, _number(name, decode(value)))
    if "history_" in model.__dict__:
        model.history_["loss"] = model.loss_curve_  # one list, as training made it
    network = model._link(begin_norms=False)
    for name, view in (*_parts(network, network.params), *_statistics(network)):
        _fill(view, arrays, f"layers.{name}")
    if document["optimizer"] is not None:
        _set_optimizer(model, network, document["optimizer"], arrays)
    return model


def _fill(view, arrays, name):
    given = arrays[name]
    if given.dtype != view.dtype or given.shape != view.shape:
        raise ValueError(f"{name} must be {view.dtype} of shape {view.shape}, got {given.dtype} of {given.shape}")
    view[...] = given


def _set_dense(model, arrays):
    """Set what lays out the network, from the arrays that are there: no number in the file can ask for memory."""
    weights: list[np.ndarray] = []
    while f"layers.{len(weights) + 1}.weight" in arrays:
        weights.append(arrays[f"layers.{len(weights) + 1}.weight"])
    dtypes = {weight.dtype for weight in weights}
    if len(dtypes) != 1 or not dtypes <= {np.dtype(np.float32), np.dtype(np.float64)}:
        raise ValueError(f"weights must be float32 or float64, got {sorted(map(str, dtypes))}")
    fits = all(weight.ndim == 2 and weight.size for weight in weights)
    if not fits or any(above.shape[1] != below.shape[0] for below, above in zip(weights, weights[1:])):
        raise ValueError(f"weights do not follow each other: {[weight.shape for weight in weights]}")
    model.coefs_ = [weight.T for weight in weights]
    model.intercepts_ = [np.zeros(len(weight), weight.dtype) for weight in weights]
    model.n_layers_ = len(weights) + 1
    model.n_features_in_ = weights[0].shape[1]


def _set_labels(model, document, decode):
    outputs, output = model.coefs_[-1].shape[1], document["output"]
    labels = document["labels"]
    if document["class"] == "MLPClassifier":
        classes = decode(labels["classes"])
        if not isinstance(classes, np.ndarray) or classes.ndim != 1 or not np.array_equal(np.unique(classes), classes):
            raise ValueError("classes must be distinct and sorted")
        binarizer = LabelBinarizer().fit([0, 1])
        binarizer.y_type_, binarizer.sparse_input_ = str(labels["type"]), bool(labels["sparse"])
        binarizer.classes_ = model.classes_ = classes
        model._label_binarizer = binarizer
        wanted = {"binary": (1, 2), "multiclass": (3, np.inf), "multilabel-indicator": (1, np.inf)}
        low, high = wanted[binarizer.y_type_]
        if not low <= len(classes) <= high or outputs != (1 if binarizer.y_type_ == "binary" else len(classes)):
            raise ValueError(f"{len(classes)} classes ({binarizer.y_type_}) do not fit {outputs} outputs")
        allowed = [model._output_activation()]
    else:
        allowed = ["identity", "exp"]
    if output not in allowed:
        raise ValueError(f"the output function must be {' or '.join(allowed)}, got {str(output)[:40]!r}")
    model.out_activation_, model.n_outputs_ = output, outputs


def _set_names(model, names):
    if names is None:
        return
    if not isinstance(names, np.ndarray) or names.shape != (model.n_features_in_,):
        raise ValueError("there must be as many names of features as features")
    if not all(isinstance(name, str) for name in names):
        raise TypeError("the names of features must be strings")
    model.feature_names_in_ = names


def _number(name, value):
    if value is None and name in _MAY_BE_NONE:
        return None
    kind = _NUMBERS[name]
    lists = {"list": value} if kind is list else value
    if kind in (list, dict):
        if not isinstance(value, kind) or not all(isinstance(row, list) for row in lists.values()):
            raise TypeError(f"{name} must be lists of numbers")
        for row in lists.values():
            row[:] = [float(number) for number in row]
        return value
    return kind(value)


def _set_optimizer(model, network, given, arrays):
    rates = {name: float(given[name]) for name in ("learning_rate_init", "learning_rate")}
    settings = {name: kind(given["settings"][name]) for name, kind in _SETTINGS.items()}
    if given["name"] == "adam":
        moments = settings["beta_1"], settings["beta_2"], settings["epsilon"]
        model._optimizer = AdamOptimizer([], rates["learning_rate_init"], *moments)
    elif given["name"] == "sgd":
        schedule = given["lr_schedule"]
        if schedule not in ("constant", "adaptive", "invscaling"):
            raise ValueError(f"unknown schedule of the learning rate {str(schedule)[:40]!r}")
        momentum = settings["momentum"], settings["nesterov"], float(given["power_t"])
        model._optimizer = SGDOptimizer([], rates["learning_rate_init"], schedule, *momentum)
    else:
        raise ValueError(f"unknown optimizer {str(given['name'])[:40]!r}")
    model._optimizer.learning_rate = rates["learning_rate"]
    model._trainer = Trainer(network, given["name"], **settings)
    steps = int(given["steps"])
    if not 0 <= steps < 2**53 or not 0 <= settings["seed"] < 2**32:  # numbers of compiled code
        raise ValueError("the optimizer's steps or seed are out of range")
    model._trainer.steps = steps
    for moment in ("first", "second"):
        vector = getattr(model._trainer, moment)
        if len(vector):
            for name, view in _parts(network, vector):
                _fill(view, arrays, f"optimizer.{moment}.{name}")
