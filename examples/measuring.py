"""How the tutorial's experiments train and score: one network, changed in one place at a time."""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy import stats
from sklearn.exceptions import ConvergenceWarning

import normkit

NETWORK = {
    "hidden_layer_sizes": (256, 128, 64), "activation": "elu", "kernel_initializer": "he_normal", "batch_size": 64,
    "learning_rate_init": 0.001, "norm_momentum": 0.9, "alpha": 0.0, "tol": 0.0, "n_iter_no_change": 10_000,
}  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """How much is trained."""

    rows: int
    test_rows: int
    epochs: int
    seeds: int
    course_rows: int
    course_seeds: int


@dataclass(frozen=True)
class Data:
    """Images as rows of 784 values from 0 to 1, and their classes."""

    X: np.ndarray
    y: np.ndarray
    X_val: np.ndarray
    y_val: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray

    @classmethod
    def of(cls, split):
        """Take the arrays of a split."""
        return cls(split.X_train, split.y_train, split.X_val, split.y_val, split.X_test, split.y_test)

    def take(self, rows, seed):
        """Return the same with so many training images, drawn by the seed; all of them in their own order."""
        if rows >= len(self.X):
            return self
        chosen = np.random.default_rng(seed).choice(len(self.X), rows, replace=False)
        return Data(self.X[chosen], self.y[chosen], self.X_val, self.y_val, self.X_test, self.y_test)


def fitted(data, seed, changes, validate=False):
    """Return the network with these changes, trained; a change may be a function of the seed."""
    changes = {name: value(seed) if callable(value) else value for name, value in changes.items()}
    model = normkit.MLPClassifier(**{**NETWORK, **changes}, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is fixed on purpose
        return model.fit(data.X, data.y, validation_data=(data.X_val, data.y_val) if validate else None)


def mean_and_interval(values, digits=4):
    """Return the mean and half its 95 % t interval, as text."""
    values = np.asarray(values, float)
    if not np.isfinite(values).all():
        return f"not finite in {np.count_nonzero(~np.isfinite(values))} of {len(values)}"
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.{digits}f} ± {half:.{digits}f}"


def accuracies(data, scale, changes, rows=None):
    """Return the test accuracy over seeds as text: as trained, and after `recompute_statistics`."""
    X, y = data.X_test[: scale.test_rows], data.y_test[: scale.test_rows]
    changes = {"max_iter": scale.epochs, **changes}
    plain, exact = [], []
    for seed in range(scale.seeds):
        part = data.take(rows or scale.rows, seed)
        model = fitted(part, seed, changes)
        plain.append(model.score(X, y))
        if changes.get("normalization") == "batch":
            model.recompute_statistics(part.X)
        exact.append(model.score(X, y))
    return mean_and_interval(plain), mean_and_interval(exact)


def crossed(label, values, change, data, scale):
    """Measure each norm with each value; `change` turns a value into parameters of the network."""
    rows = []
    for value in values:
        found = {n: accuracies(data, scale, {"normalization": n, **change(value)}) for n in (None, "batch", "layer")}
        rows.append([str(value), found[None][0], *found["batch"], found["layer"][0]])
    return [label, "none", "batch", "batch, exact statistics", "layer"], rows


def score_by_batches(model, X, y, size):
    """Return the accuracy of a network whose norms take the statistics of each batch."""
    right = 0
    for start in range(0, len(X) // size * size, size):
        h = X[start : start + size]
        for coefs, norm in zip(model.coefs_, model.norm_layers_):
            z = normkit.batch_norm(h @ coefs, norm.gamma, norm.beta, epsilon=model.norm_epsilon)
            h = np.where(z > 0, z, np.expm1(np.minimum(z, 0)))
        right += (np.argmax(h @ model.coefs_[-1] + model.intercepts_[-1], axis=1) == y[start : start + size]).sum()
    return right / (len(X) // size * size)
