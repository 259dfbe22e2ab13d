import numpy as np
import pytest
from sklearn.datasets import load_digits


@pytest.fixture
def digits():
    """Return 300 digits, pixels scaled to [0, 1]."""
    X, y = load_digits(return_X_y=True)
    return X[:300] / 16, y[:300]


@pytest.fixture
def blobs():
    """Return 60 points of 4 features with mean 5 and standard deviation 3, in 3 classes."""
    rng = np.random.default_rng(0)
    X = 5 + 3 * rng.normal(size=(60, 4))
    return X, (X[:, 0] > 5).astype(int) + (X[:, 1] > 6)
