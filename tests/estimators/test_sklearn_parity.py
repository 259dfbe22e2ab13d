"""With the norms off, the numbers are those of the installed scikit-learn."""

import itertools
import warnings

import numpy as np
import pytest
import scipy.sparse
from sklearn import neural_network
from sklearn.datasets import load_digits

import normkit

# float64: rounding differs in the order of sums alone. float32: the same over some hundred steps, and scikit-learn
# itself computes parts of a float32 fit in float64.
TOLERANCES = [(np.float64, 1e-7), (np.float32, 1e-3)]

SOLVERS = {
    "adam": {"solver": "adam", "learning_rate_init": 0.005},
    "adam other betas": {"solver": "adam", "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-6},
    "nesterov": {"solver": "sgd", "learning_rate_init": 0.02},
    "momentum": {"solver": "sgd", "learning_rate_init": 0.02, "nesterovs_momentum": False},
    "plain sgd": {"solver": "sgd", "learning_rate_init": 0.05, "momentum": 0.0},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.05, "power_t": 0.4},
    "adaptive": {
        "solver": "sgd",
        "learning_rate": "adaptive",
        "learning_rate_init": 0.02,
        "tol": 0.05,
        "n_iter_no_change": 2,
    },
    "lbfgs": {"solver": "lbfgs"},
}
TASKS = ["binary", "multiclass", "multilabel", "regression", "multi-output", "poisson"]
# the other parameters change from case to case, each at a pace of its own
ACTIVATIONS = ["relu", "tanh", "logistic", "identity"]
BATCH_SIZES = [32, "auto", 7, 1000, 150]  # of 150 samples: partial, whole, partial, clipped, whole
ALPHAS = [1e-4, 0.0, 1.0]
CASES = [
    pytest.param(
        task,
        {
            **SOLVERS[solver],
            "activation": ACTIVATIONS[i % 4],
            "batch_size": BATCH_SIZES[i % 5],
            "alpha": ALPHAS[i % 3],
            "shuffle": i % 7 != 0,
        },
        i % 3 == 1,
        id=f"{task}-{solver}",
    )
    for i, (task, solver) in enumerate(itertools.product(TASKS, SOLVERS))
]


def data(task, dtype=np.float64):
    X, y = load_digits(return_X_y=True)
    X, y = (X[:150] / 16).astype(dtype), y[:150]  # some pixels are constant
    rng = np.random.default_rng(0)
    return X, {
        "binary": np.where(y % 2, "odd", "even"),
        "multiclass": y % 3 + 5,
        "multilabel": np.stack([y % 2, y > 3, y % 3 == 0], axis=1).astype(int),
        "regression": y / 5 + rng.normal(size=150),
        "multi-output": np.stack([y / 5, -X[:, 30] + X[:, 20]], axis=1),
        "poisson": y / 5,
    }[task]


def pair(task, **parameters):
    regression = task in ("regression", "multi-output", "poisson")
    name = "MLPRegressor" if regression else "MLPClassifier"
    if task == "poisson":
        parameters["loss"] = "poisson"
    defaults = {"hidden_layer_sizes": (13, 9), "max_iter": 20, "random_state": 3}
    return [getattr(package, name)(**{**defaults, **parameters}) for package in (normkit, neural_network)]


def call(method, *arguments, **keywords):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not converged, batch size clipped
        return method(*arguments, **keywords)


def assert_same(ours, theirs, X, rtol):
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.out_activation_ == theirs.out_activation_ and ours.n_layers_ == theirs.n_layers_
    assert ours.t_ == theirs.t_
    lists = ["coefs_", "intercepts_"]
    if theirs.solver != "lbfgs":
        lists += ["loss_curve_"]
        if theirs.solver == "sgd":  # scikit-learn keeps Adam's with its bias correction there
            np.testing.assert_allclose(ours._optimizer.learning_rate, theirs._optimizer.learning_rate, rtol=1e-12)
            assert ours._optimizer.momentum == theirs._optimizer.momentum
        assert ours._no_improvement_count == theirs._no_improvement_count
    values = ["loss_"]
    if theirs.early_stopping:
        lists, values = [*lists, "validation_scores_"], [*values, "best_validation_score_"]
    for name in lists:
        mine, expected = getattr(ours, name), getattr(theirs, name)
        assert len(mine) == len(expected)
        for a, b in zip(mine, expected):
            # a weight near zero is the small difference of large steps: what counts is the array's scale
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max(), err_msg=name)
            # SciPy makes scikit-learn's float64; the type of its losses depends on NumPy's version
            if theirs.solver != "lbfgs" and name != "loss_curve_":
                assert np.asarray(a).dtype == np.asarray(b).dtype
    for name in values:
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=rtol, err_msg=name)
    if hasattr(theirs, "classes_"):
        np.testing.assert_array_equal(ours.classes_, theirs.classes_)
        mine, expected = ours.predict_proba(X), theirs.predict_proba(X)
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    else:
        mine, expected = ours.predict(X), theirs.predict(X)
    assert mine.shape == expected.shape
    assert mine.dtype == expected.dtype or theirs.solver == "lbfgs"
    np.testing.assert_allclose(mine, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


@pytest.mark.parametrize("dtype, rtol", TOLERANCES)
@pytest.mark.parametrize("task, parameters, weighted", CASES)
def test_fit(task, parameters, weighted, dtype, rtol):
    X, y = data(task, dtype)
    weight = np.random.default_rng(1).integers(0, 4, len(y)).astype(dtype) if weighted else None
    models = pair(task, **parameters)
    for model in models:
        call(model.fit, X, y, weight)
    assert_same(*models, X, rtol)


@pytest.mark.parametrize("dtype, rtol", TOLERANCES)
@pytest.mark.parametrize("solver", ["adam", "adaptive"])
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "regression"])
def test_early_stopping(task, solver, dtype, rtol):
    X, y = data(task, dtype)
    models = pair(
        task, **{**SOLVERS[solver], "tol": 1e-3, "n_iter_no_change": 4}, batch_size=16, early_stopping=True,
        max_iter=40, validation_fraction=0.2,
    )  # fmt: skip
    for model in models:
        call(model.fit, X, y)
    assert_same(*models, X, rtol)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("no, yes", [(0, 2), (1, 2), (0, -1)])
def test_two_numbers_for_no_and_yes(no, yes, early_stopping):
    X, y = data("multilabel")
    models = pair("multilabel", early_stopping=early_stopping, batch_size=16)
    for model in models:
        call(model.fit, X, np.where(y, yes, no))
    assert_same(*models, X, 1e-7)


@pytest.mark.parametrize("solver", ["adam", "plain sgd"])
def test_batches_whose_weights_sum_below_zero(solver):
    X, y = data("multiclass")
    weight = np.where(np.arange(150) % 4, 1.0, -1.0)
    weight[:20] = -1.0
    models = pair("multiclass", **SOLVERS[solver], batch_size=10, shuffle=False, max_iter=3, alpha=1.0)
    for model in models:
        call(model.fit, X, y, weight)
    assert_same(*models, X, 1e-7)


def test_one_column_a_class_for_a_model_of_plain_labels():
    X, y = data("multiclass")
    for model in pair("multiclass", max_iter=1):
        call(model.fit, X, y - 5)
        with pytest.raises(ValueError, match="The object was not fitted with multilabel input"):
            model.partial_fit(X, np.eye(3, dtype=int)[y - 5])


def test_arrays_of_other_types_set_by_hand():
    X, y = data("regression", np.float32)
    for exact in (np.int64, np.float64):
        predicted = []
        for model in pair("regression", hidden_layer_sizes=(2,), max_iter=2):
            call(model.fit, X, y)
            model.coefs_[0] = np.ones((64, 2), exact)
            predicted.append(model.predict(X.astype(np.float64)))
        np.testing.assert_allclose(*predicted, rtol=1e-12)


def test_tolerance_ends_training():
    X, y = data("multiclass")
    models = pair("multiclass", tol=0.05, n_iter_no_change=2, max_iter=100, learning_rate_init=0.01)
    for model in models:
        call(model.fit, X, y)
    assert models[0].n_iter_ < 100
    assert_same(*models, X, 1e-7)


@pytest.mark.parametrize("solver", ["adam", "nesterov", "lbfgs"])
def test_warm_start(solver):
    X, y = data("multiclass")
    models = pair("multiclass", **SOLVERS[solver], warm_start=True, max_iter=5)
    for model in models:
        for stop in (150, 100, 120):  # other data each time, the last with some in other order
            call(model.fit, X[:stop][::-1], y[:stop][::-1])
    assert_same(*models, X, 1e-7)


def test_warm_start_with_early_stopping():
    X, y = data("multiclass")
    models = pair("multiclass", warm_start=True, early_stopping=True, max_iter=4, learning_rate_init=0.01)
    for model in models:
        for _ in range(3):
            call(model.fit, X, y)
    assert_same(*models, X, 1e-7)


@pytest.mark.parametrize("dtype, rtol", TOLERANCES)
@pytest.mark.parametrize("solver", ["adam", "momentum", "invscaling"])
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "multi-output"])
def test_partial_fit_in_pieces(task, solver, dtype, rtol):
    X, y = data(task, dtype)
    classes = {"binary": ["even", "odd"], "multiclass": [5, 6, 7], "multilabel": [0, 1, 2]}.get(task)
    models = pair(task, **SOLVERS[solver], batch_size=20, random_state=np.random.RandomState(0))
    models[1].random_state = np.random.RandomState(0)
    for model in models:
        for piece in [slice(0, 50), slice(50, 67), slice(67, 150)] * 4:
            call(model.partial_fit, X[piece], y[piece], **({"classes": classes} if classes else {}))
    assert_same(*models, X, rtol)


def test_partial_fit_after_fit():
    X, y = data("multiclass")
    models = pair("multiclass", max_iter=3)
    for model in models:
        call(model.fit, X[:100], y[:100])
        call(model.partial_fit, X[100:], y[100:])
    assert_same(*models, X, 1e-7)


@pytest.mark.parametrize("dtype, rtol", TOLERANCES)
@pytest.mark.parametrize("form", ["csr_matrix", "csr_array", "csc_matrix", "coo_matrix"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_sparse(solver, form, dtype, rtol):
    X, y = data("multiclass", dtype)
    X = getattr(scipy.sparse, form)(X)
    models = pair("multiclass", **SOLVERS[solver], batch_size=40)
    for model in models:
        call(model.fit, X, y)
    assert_same(*models, X, rtol)


@pytest.mark.parametrize("hidden", [5, (3,), (8, 6, 5, 4), ()])
@pytest.mark.parametrize("task", ["binary", "regression"])
def test_depths(task, hidden):
    X, y = data(task)
    models = pair(task, hidden_layer_sizes=hidden, batch_size=50)
    for model in models:
        call(model.fit, X, y)
    assert_same(*models, X, 1e-7)


@pytest.mark.parametrize("solver", ["adam", "nesterov", "lbfgs"])
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "regression", "poisson"])
def test_sample_weight(task, solver):
    X, y = data(task)
    weight = np.random.default_rng(2).uniform(0, 3, len(y))
    models = pair(task, **SOLVERS[solver], batch_size=64, alpha=0.1)
    for model in models:
        call(model.fit, X, y, sample_weight=weight)
    assert_same(*models, X, 1e-7)


def test_same_defaults():
    for name in ("MLPClassifier", "MLPRegressor"):
        mine = getattr(normkit, name)().get_params()
        for parameter, value in getattr(neural_network, name)().get_params().items():
            assert mine[parameter] == value
