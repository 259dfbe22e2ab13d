"""Sample weights are numbers of repetitions, also in the statistics of the norms and in validation scores."""

import numpy as np
import pytest

from normkit import MLPClassifier, MLPRegressor
from normkit.engine.norms import NORMS

RNG = np.random.default_rng(0)
X = 5 + 3 * RNG.normal(size=(60, 4))
Y = X @ [1, -1, 0.5, 2] / 10
WEIGHT = RNG.integers(0, 3, 60)


def cases():
    for norm in NORMS:
        for solver in ("adam", "sgd", "lbfgs"):
            if (norm, solver) != ("renorm", "lbfgs"):  # refused, there is no batch to correct
                yield norm, solver


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("norm, solver", list(cases()))
def test_full_batches(norm, solver, estimator):
    fit = {
        "hidden_layer_sizes": (8, 8), "activation": "tanh", "solver": solver, "normalization": norm, "norm_groups": 2,
        "shuffle": False, "max_iter": 12, "random_state": 0, "alpha": 0.1, "learning_rate_init": 1e-2,
        "virtual_batch_size": 60, "batch_size": 60,
    }  # fmt: skip
    y = Y if estimator is MLPRegressor else (Y > np.median(Y)).astype(int) + (Y > np.quantile(Y, 0.8))
    weighted = estimator(**fit).fit(X, y, WEIGHT)
    rows = np.repeat(np.arange(60), WEIGHT)
    present = np.flatnonzero(WEIGHT)
    for data in ((X[present], y[present], WEIGHT[present]), (X[rows], y[rows])):
        same = estimator(**{**fit, "batch_size": len(data[0])}).fit(*data)
        np.testing.assert_allclose(weighted.loss_, same.loss_, rtol=1e-6)
        np.testing.assert_allclose(weighted.predict(X), same.predict(X), rtol=1e-5, atol=1e-7)
        for mine, theirs in zip(weighted.norm_layers_, same.norm_layers_, strict=True):
            for name, values in (mine.trainable_variables | mine.non_trainable_variables).items():
                np.testing.assert_allclose(values, getattr(theirs, name), rtol=1e-5, atol=1e-7)
    unweighted = estimator(**fit).fit(X, y)
    assert not np.allclose(unweighted.coefs_[0], weighted.coefs_[0], rtol=1e-3)


def test_weights_that_cancel_or_are_negative_where_a_norm_averages_by_them():
    X = np.random.default_rng(0).normal(size=(40, 3))
    y = np.arange(40) % 2
    alternating = np.where(y, 1.0, -1.0)
    with pytest.raises(ValueError, match="sample_weight sums to 0"):
        MLPClassifier((4,)).fit(X, y, alternating)
    negative = np.ones(40)
    negative[3] = -0.5
    with pytest.raises(ValueError, match=r"sample_weight must not be negative where a norm averages.* got -0\.5"):
        MLPClassifier((4,), normalization="batch").fit(X, y, negative)
    MLPClassifier((4,), normalization="layer", max_iter=1).fit(X, y, negative)
