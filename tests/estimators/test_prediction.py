"""Predictions of any number of rows, one after the other: the buffers that are kept leave no trace."""

import pickle

import numpy as np
import pytest

from normkit import MLPRegressor


@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
def test_buffers_leave_no_trace(normalization):
    random = np.random.default_rng(0)
    X = random.normal(size=(600, 5))
    model = MLPRegressor(
        hidden_layer_sizes=(7, 4), normalization=normalization, norm_position="after", max_iter=2, random_state=0
    )
    saved = pickle.dumps(model.fit(X, X[:, 0]))
    for rows in (600, 1, 7, 256, 257, 600, 2):
        fresh = pickle.loads(saved)
        np.testing.assert_array_equal(model.hidden_activations(X[:rows], 0), fresh.hidden_activations(X[:rows], 0))
        np.testing.assert_array_equal(model.predict(X[:rows]), pickle.loads(saved).predict(X[:rows]))
    assert pickle.dumps(model) == saved
    if normalization != "batch":
        return
    model.recompute_statistics(X)
    fresh = pickle.loads(saved).recompute_statistics(X)
    np.testing.assert_array_equal(model.predict(X), fresh.predict(X))
