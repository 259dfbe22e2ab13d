"""The installed scikit-learn's tests of its multilayer perceptron, with the two classes replaced by normkit's.

The file is executed in this module's namespace, so that pytest collects its functions with their parameters.
"""

import re
from pathlib import Path

import pytest
import sklearn.neural_network

# scikit-learn's suite does not turn warnings into errors
pytestmark = pytest.mark.filterwarnings("ignore")

_PATH = Path(sklearn.neural_network.__file__).parent / "tests" / "test_mlp.py"
_SOURCE, _replaced = re.subn(
    r"^from sklearn\.neural_network import MLPClassifier, MLPRegressor$",
    "from normkit import MLPClassifier, MLPRegressor",
    _PATH.read_text(encoding="utf-8"),
    flags=re.MULTILINE,
)
exec(compile(_SOURCE, str(_PATH), "exec"))


@pytest.fixture
def global_random_seed():
    return 42


def test_replacement():
    from normkit import MLPClassifier, MLPRegressor

    assert _replaced == 1
    assert globals()["MLPClassifier"] is MLPClassifier
    assert globals()["MLPRegressor"] is MLPRegressor
