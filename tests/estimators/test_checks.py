"""scikit-learn's own checks of an estimator."""

import zlib
from unittest import SkipTest

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks
from slow import SLOW

from normkit import MLPClassifier, MLPRegressor
from normkit.engine.norms import NORMS

# small layers and few epochs: the checks ask whether the estimators keep the rules, and tell blobs apart
SMALL = {"hidden_layer_sizes": (16,), "max_iter": 40, "learning_rate_init": 0.02, "random_state": 0}
# one wants an environment variable set before SciPy is imported, the other a decision function
DO_NOT_APPLY = ("SCIPY_ARRAY_API is not set", "MLPClassifier does not have a decision_function")
NAMES = list(NORMS)


def is_everyday(norm, check):
    """Return whether a check is made in every run: all with batch norm, and each with one other norm."""
    others = [name for name in NAMES if name != "batch"]
    return norm == "batch" or norm == others[zlib.crc32(check.encode()) % len(others)]


@parametrize_with_checks(
    [
        estimator(normalization=normalization, norm_momentum=0.9, **SMALL)
        for estimator in (MLPClassifier, MLPRegressor)
        for normalization in NORMS
    ]
)
def test_scikit_learn_check(estimator, check):
    name = getattr(check, "func", check).__name__
    if not SLOW and not is_everyday(estimator.normalization, name):
        pytest.skip("made with other norms in every run, with all with NORMKIT_SLOW_TESTS=1")
    try:
        check(estimator)
    except SkipTest as reason:
        assert str(reason).startswith(DO_NOT_APPLY)
