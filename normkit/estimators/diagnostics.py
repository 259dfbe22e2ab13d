"""What goes on inside a network: pre-activations, gradients, saturation, moving against batch statistics."""

import copy
from typing import Any

import numpy as np
from scipy import special
from sklearn.utils.validation import check_is_fitted

from normkit.engine.network import Network
from normkit.engine.trainer import Trainer
from normkit.estimators import MLPClassifier, MLPRegressor
from normkit.estimators._parameters import activations_of, norm_settings
from normkit.estimators._samples import Samples
from normkit.math.activations import LEAKY_SLOPE, SELU_ALPHA, SELU_SCALE

# share of an activation's steepest slope below which a unit passes next to no gradient on
SATURATED = 0.05


def _normal_density(z):
    return np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)


# slope of each activation at z, and the steepest one, None where it is never flat
_SLOPES: dict[str, tuple[Any, float | None]] = {
    "identity": (np.ones_like, None),
    "logistic": (lambda z: special.expit(z) * special.expit(-z), 0.25),
    "tanh": (lambda z: 1 - np.tanh(z) ** 2, 1.0),
    "relu": (lambda z: (z > 0).astype(float), 1.0),
    "elu": (lambda z: np.where(z > 0, 1.0, np.exp(np.minimum(z, 0))), 1.0),
    "leaky_relu": (lambda z: np.where(z > 0, 1.0, LEAKY_SLOPE), None),
    "selu": (
        lambda z: np.where(z > 0, SELU_SCALE, SELU_SCALE * SELU_ALPHA * np.exp(np.minimum(z, 0))),
        SELU_SCALE * SELU_ALPHA,
    ),
    # its largest slope, at the square root of two
    "gelu": (
        lambda z: special.ndtr(z) + z * _normal_density(z),
        float(special.ndtr(np.sqrt(2)) + np.exp(-1) / np.sqrt(np.pi)),
    ),
    # its largest slope, found by a search
    "silu": (lambda z: special.expit(z) * (1 + z * special.expit(-z)), 1.0998393194),
    "softplus": (special.expit, 1.0),
}


def diagnose(model: MLPClassifier | MLPRegressor, X: Any, y: Any, max_rows: int = 2048) -> list[dict[str, Any]]:
    """Look into a fitted model, layer by layer.

    The model predicts the rows of X for what is said of units, with its moving statistics. Gradients are those of
    training: of the mean loss, without the L2 penalty and without dropout, of all rows as one batch, normalized with
    its statistics. The model stays as it is.

    Parameters
    ----------
    model : MLPClassifier or MLPRegressor
        Fitted.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        At least 2 rows.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
    max_rows : int, default=2048
        Of more rows than this, this many are taken, at even distances: they are one batch, and in memory at once.

    Returns
    -------
    list of dict
        One entry a layer from the input (if it has a norm) to the output. Numbers are floats; None where a layer has
        no such thing, or it is not finite.

        - "layer", "name": 0 "input", then 1 "hidden 1" and so on to "output".
        - "pre_activation_mean", "pre_activation_std": over rows and units, of what enters the activation; of the
          output layer, what enters the output function.
        - "gradient_norm": Euclidean norm of the gradient of the layer's weight matrix.
        - "saturated": share of rows and units where the activation's slope is below 5 % of its steepest one; for
          "relu" the share of zeros. None for activations that are flat nowhere.
        - "dead_units": share of the units that are saturated in every row.
        - "moving_mean_distance": norm of moving mean minus mean of these rows, divided by the norm of their standard
          deviations (of the norm's input, with `norm_epsilon`).
        - "moving_variance_distance": norm of moving variance minus variance, divided by that of the variance.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the model is not fitted yet.
    ValueError
        If X has fewer than 2 rows, X or y does not suit the model, or `max_rows` is below 2.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from normkit import MLPClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> model = MLPClassifier((16,), normalization="batch", max_iter=2, random_state=0).fit(X, y)
    >>> [entry["name"] for entry in diagnose(model, X, y)]
    ['hidden 1', 'output']
    """
    check_is_fitted(model)
    X = model._check_rows(X)
    labels = model._check_labels(y, X)
    if X.shape[0] < 2:
        raise ValueError(f"X must have at least 2 rows to be diagnosed, got {X.shape[0]}")
    if max_rows < 2:
        raise ValueError(f"max_rows must be at least 2, got {max_rows}")
    if X.shape[0] > max_rows:
        chosen = np.linspace(0, X.shape[0] - 1, max_rows).round().astype(int)
        X, labels = X[chosen], labels[chosen]
    # a copy of the network: what is done to it leaves the model alone
    network = copy.deepcopy(model._link())
    samples = Samples(model, X, labels, model._encode(labels), None, None)
    names = ["identity", *activations_of(model, len(network.sizes) - 2), "identity"]
    last = len(network.sizes) - 1
    entries = []
    with np.errstate(all="ignore"):  # a model that diverged: what is not finite becomes None
        gradients = _gradient_norms(model, network, samples)
        for b in range(0 if 0 in network.norm_blocks() else 1, last + 1):
            entry = {
                "layer": b, "name": "input" if b == 0 else "output" if b == last else f"hidden {b}",
                "gradient_norm": gradients[b],
                **_units(network, samples, b, names[b], model.n_threads),
                **_moving(network, samples, b, model.n_threads),
            }  # fmt: skip
            entries.append({name: _plain(value) for name, value in entry.items()})
    return entries


def _plain(value):
    if value is None or isinstance(value, (int, str)):
        return value
    return float(value) if np.isfinite(value) else None


def _gradient_norms(model, network: Network, samples: Samples) -> list[float | None]:
    """Norm of the gradient of each block's weights; None for the input."""
    count, plan = samples.X.shape[0], network.plan
    network.plan = plan._replace(dropout=np.zeros_like(plan.dropout))
    # a momentum of 1 keeps the moving statistics
    trainer = Trainer(
        network, "accumulate", total_weight=float(count), **{**norm_settings(model), "norm_momentum": 1.0}
    )
    edges = np.array([0, count])
    trainer.run(samples.rows, samples.targets, None, np.arange(count), edges, model.n_threads)
    network.plan = plan
    norms: list[float | None] = [None]
    for b in range(1, len(network.sizes)):
        start = plan.weight[b]
        gradient = trainer.first[start : start + network.count("weight", b)].astype(np.float64)
        norms.append(float(np.linalg.norm(gradient)))
    return norms


def _units(network: Network, samples: Samples, b: int, activation: str, n_threads) -> dict[str, Any]:
    """What enters the activation of a block, and how flat the activation is there."""
    if b == 0:
        return {"pre_activation_mean": None, "pre_activation_std": None, "saturated": None, "dead_units": None}
    order = np.arange(samples.X.shape[0])
    z = network.predict(samples.rows, order, n_threads, b, before="activation").astype(np.float64)  # (rows, units)
    slope, steepest = _SLOPES[activation]
    # gelu and silu also fall
    flat = None if steepest is None or not np.isfinite(z).all() else np.abs(slope(z)) < SATURATED * steepest
    return {
        "pre_activation_mean": z.mean(),
        "pre_activation_std": z.std(),
        "saturated": None if flat is None else flat.mean(),
        "dead_units": None if flat is None else flat.all(axis=0).mean(),
    }


def _moving(network: Network, samples: Samples, b: int, n_threads) -> dict[str, Any]:
    """How far the moving statistics are from those of the rows."""
    mean, variance = network.moving(b)
    if mean is None:
        return {"moving_mean_distance": None, "moving_variance_distance": None}
    order = np.arange(samples.X.shape[0])
    x = network.predict(samples.rows, order, n_threads, b, before="norm").astype(np.float64)  # (rows, units)
    found = x.var(axis=0)
    size = np.linalg.norm(found)
    return {
        "moving_mean_distance": np.linalg.norm(mean - x.mean(axis=0))
        / np.linalg.norm(np.sqrt(found + network.norm_epsilon)),
        # of constant inputs the variance itself, which has nothing to be compared with
        "moving_variance_distance": np.linalg.norm(variance - found) / (size if size > 0 else 1.0),
    }
