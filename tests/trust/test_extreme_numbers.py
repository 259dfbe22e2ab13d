"""Training on numbers that overflow, vanish or stand still: finite models from every norm."""

import numpy as np
import pytest

from normkit import MLPClassifier, MLPRegressor
from normkit.engine.norms import NORMS

ROWS = 61  # batches of 20 leave one row for the last
BASE = np.random.default_rng(0).normal(size=(ROWS, 4))
INPUTS = {
    "1e30": BASE * 1e30,
    "1e-30": BASE * 1e-30,
    "of every size": BASE * [1e30, 1e-30, 1.0, 1e10],
    "constant columns": np.column_stack([BASE[:, :2], np.full((ROWS, 2), 7.0)]),
    "constant": np.full((ROWS, 4), 3.0),
    "zeros": np.zeros((ROWS, 4)),
}
# sorted, so that without shuffling each batch has one class
LABELS = np.sort(np.arange(ROWS) % 3)
SMALL = {"hidden_layer_sizes": (8, 8), "batch_size": 20, "max_iter": 5, "norm_groups": 2, "random_state": 0}


def assert_finite(model, X):
    arrays = [*model.coefs_, *model.intercepts_, model.loss_curve_]
    for layer in model.norm_layers_:
        arrays += (layer.trainable_variables | layer.non_trainable_variables).values()
    arrays.append(model.predict_proba(X) if isinstance(model, MLPClassifier) else model.predict(X))
    assert all(np.isfinite(values).all() for values in arrays)
    assert len(model.loss_curve_) == SMALL["max_iter"]


@pytest.mark.parametrize("normalize_input", [False, True])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", INPUTS)
def test_every_norm_trains(name, norm, normalize_input):
    X = INPUTS[name]
    for dtype in ("float32", "float64"):
        for solver in ("adam", "sgd"):
            options = {"normalization": norm, "normalize_input": normalize_input, "solver": solver, "dtype": dtype}
            for estimator, y in ((MLPClassifier, LABELS), (MLPRegressor, BASE[:, 0])):
                model = estimator(shuffle=False, **options, **SMALL)
                if norm is None and not normalize_input and X.max() > 1e29:
                    # nothing brings these numbers back to size: in the end a model of numbers, or scikit-learn's error
                    try:
                        model.fit(X, y)
                    except ValueError as error:
                        assert "non-finite" in str(error)
                        continue
                assert_finite(model.fit(X, y), X)


def test_one_row_alone_in_the_last_batch():
    """A batch of one row is its own mean; "keep" is asked for explicitly, "auto" would merge it."""
    for norm in NORMS:
        assert_finite(MLPClassifier(normalization=norm, last_batch="keep", **SMALL).fit(BASE, LABELS), BASE)
