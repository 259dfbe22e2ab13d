"""Activations per layer, dtype, outputs of hidden layers, and values that are refused."""

import numpy as np
import pytest
import scipy.special
from sklearn.base import clone
from sklearn.datasets import load_digits

from normkit import MLPClassifier, MLPRegressor
from normkit.engine.norms import NORMS

ACTIVATIONS = {
    "identity": lambda z: z,
    "logistic": scipy.special.expit,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "elu": lambda z: np.where(z > 0, z, np.expm1(z)),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "selu": lambda z: 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * np.expm1(z)),
    "gelu": lambda z: z * scipy.special.ndtr(z),
    "silu": lambda z: z * scipy.special.expit(z),
    "softplus": lambda z: np.logaddexp(z, 0),
}


@pytest.mark.parametrize("second", ACTIVATIONS)
def test_activation_per_layer(second, digits):
    X, y = digits
    model = MLPClassifier((9, 8), ["tanh", second], max_iter=2, random_state=0).fit(X, y)
    a = np.tanh(X @ model.coefs_[0] + model.intercepts_[0])
    np.testing.assert_allclose(model.hidden_activations(X, 0), a, rtol=1e-9, atol=1e-12)
    a = ACTIVATIONS[second](a @ model.coefs_[1] + model.intercepts_[1])
    np.testing.assert_allclose(model.hidden_activations(X, 1), a, rtol=1e-9, atol=1e-12)
    for layer in (0, 1):
        np.testing.assert_array_equal(model.hidden_activations(X, layer - 2), model.hidden_activations(X, layer))
    p = scipy.special.softmax(a @ model.coefs_[2] + model.intercepts_[2], axis=1)
    np.testing.assert_allclose(model.predict_proba(X), p, rtol=1e-9)


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_a_new_model_has_its_parameters_and_nothing_else(estimator):
    model = estimator()
    assert vars(model) == model.get_params()


@pytest.mark.parametrize("name", ["logistic", "relu"])
def test_a_list_of_one_activation_is_that_activation(name, digits):
    # the first weights of the output layer, too, which are drawn by the activation before
    one, listed = (MLPClassifier((9, 8), a, max_iter=2, random_state=0).fit(*digits) for a in (name, [name] * 2))
    for a, b in zip(one.coefs_, listed.coefs_, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("layer", [2, -3, 10])
def test_no_such_layer(layer, digits):
    model = MLPClassifier((9, 8), max_iter=1).fit(*digits)
    with pytest.raises(ValueError, match="layer must be between -2 and 1"):
        model.hidden_activations(digits[0], layer)


def test_dtype(digits):
    X, y = digits
    narrow = X.astype(np.float32)
    fit = {"hidden_layer_sizes": (12,), "normalization": "batch", "max_iter": 3, "random_state": 0}
    asked = MLPClassifier(dtype="float32", **fit).fit(X, y)
    given = MLPClassifier(**fit).fit(narrow, y)
    assert asked.coefs_[0].dtype == given.coefs_[0].dtype == asked.predict_proba(X).dtype == np.float32
    # digits are multiples of 1/16: float32 holds them exactly
    np.testing.assert_array_equal(asked.coefs_[0], given.coefs_[0])
    np.testing.assert_array_equal(asked.predict_proba(X), given.predict_proba(narrow))
    wide = MLPClassifier(dtype="float64", **fit).fit(narrow, y)
    assert wide.coefs_[0].dtype == np.float64
    np.testing.assert_array_equal(wide.coefs_[0], MLPClassifier(**fit).fit(X, y).coefs_[0])


@pytest.mark.parametrize(
    "name, fan, distribution, variance",
    [
        ("he_normal", 64, "normal", 2 / 64),
        ("he_uniform", 64, "uniform", 2 / 64),
        ("glorot_normal", 64, "normal", 2 / (64 + 500)),
        ("glorot_uniform", 64, "uniform", 2 / (64 + 500)),
        ("lecun_normal", 64, "normal", 1 / 64),
    ],
)
def test_kernel_initializers(name, fan, distribution, variance, digits):
    model = MLPClassifier((500,), kernel_initializer=name, learning_rate_init=1e-12, max_iter=1, random_state=0)
    model.fit(*digits)
    weights = model.coefs_[0]
    assert abs(weights.mean()) < 5 * np.sqrt(variance / weights.size)
    np.testing.assert_allclose(weights.var(), variance, rtol=0.05)
    # a normal one is cut at two standard deviations of the uncut one, as Keras does it
    bound = np.sqrt(3 * variance) if distribution == "uniform" else 2 * np.sqrt(variance) / 0.87962566103423978
    assert 0.99 * bound < np.abs(weights).max() < 1.0001 * bound
    assert np.unique(weights).size == weights.size  # each is a draw of its own
    np.testing.assert_allclose(model.intercepts_[0], 0, atol=1e-9)


@pytest.mark.parametrize("units", [30, 100])
def test_orthogonal_kernel(units, digits):
    model = MLPClassifier((units,), kernel_initializer="orthogonal", learning_rate_init=1e-12, max_iter=1).fit(*digits)
    q = model.coefs_[0] if units < 64 else model.coefs_[0].T
    np.testing.assert_allclose(q.T @ q, np.eye(q.shape[1]), atol=1e-9)


def test_a_moving_variance_is_not_negative(digits):
    model = MLPClassifier((4,), normalization="batch", norm_moving_variance_initializer=-1.0)
    with pytest.raises(ValueError, match="^norm_moving_variance_initializer must not be negative"):
        model.fit(*digits)
    model = MLPClassifier((4,), normalization="batch", norm_moving_mean_initializer=-1.0, max_iter=1, dtype="float32")
    assert [values.dtype for values in model.fit(*digits).intercepts_] == [np.float32] * 2


BAD = {
    "activation": ["swish", ["relu"], ["relu", "swish"], ["relu"] * 3],
    "normalization": ["instance", True],
    "norm_position": ["behind", None],
    "normalize_input": ["yes", 2],
    "norm_momentum": [-0.1, 1.1, "0.9"],
    "norm_epsilon": [0.0, -1e-3],
    "norm_groups": [0, -1, 2.0, None],
    "virtual_batch_size": [1, 0, 8.0, None],
    "renorm_r_max": [0.9, -1.0, "3", np.nan],
    "renorm_d_max": [-0.1, None, np.nan],
    "dyt_alpha": [0.0, -0.5, "half", np.nan],
    "freeze_norm": ["all", None, 2],
    "norm_center": ["no"],
    "norm_scale": [None],
    "dropout": [1.0, -0.1, [0.1], [0.1, 1.0], "half"],
    "kernel_initializer": ["xavier", None],
    "coefs_init": ["zeros", [np.zeros((64, 9))], [np.zeros((9, 64)), np.zeros((9, 8)), np.zeros((8, 10))]],
    "intercepts_init": [0.0, [np.zeros(9), np.zeros(8), np.zeros(9)]],
    "decoupled_weight_decay": [-1.0, "small"],
    "warmup_epochs": [-1.0],
    "learning_rate_decay": ["linear"],
    "last_batch": ["pad", None],
    "input_scale": [0.0, -1.0, None],
    "dtype": ["float16", "double"],
    "epoch_callback": ["print", 1],
    "n_threads": [0, -1, 1.5],
    "class_weight": ["even", 3],
}


@pytest.mark.parametrize("name, value", [(name, value) for name, values in BAD.items() for value in values])
def test_bad_values(name, value, digits):
    model = MLPClassifier((9, 8), max_iter=1, **{name: value})
    with pytest.raises(ValueError, match=name):
        model.fit(*digits)
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize("groups", [7, 8, 16])
def test_groups_that_do_not_fit(groups, digits):
    model = MLPClassifier((16, 12), normalization="group", norm_groups=groups)
    with pytest.raises(ValueError, match=f"norm_groups must divide .* got norm_groups={groups} for a layer of 1[26]"):
        model.fit(*digits)
    assert not hasattr(model, "coefs_")


def test_alpha_must_be_finite(digits):
    with pytest.raises(ValueError, match="dyt_alpha"):
        MLPClassifier((9,), normalization="dyt", dyt_alpha=np.inf).fit(*digits)


def test_bad_numbers_in_first_values(digits):
    coefs = [np.full((64, 9), np.nan), np.zeros((9, 10))]
    with pytest.raises(ValueError, match="coefs_init contains NaN"):
        MLPClassifier((9,), coefs_init=coefs).fit(*digits)


def test_a_layer_before_its_norm_has_no_bias(digits):
    given = {"intercepts_init": [np.ones(9), np.ones(10)], "max_iter": 1}
    with pytest.raises(ValueError, match=r"intercepts_init\[0\] must be zero: a norm follows"):
        MLPClassifier((9,), normalization="batch", **given).fit(*digits)
    model = MLPClassifier((9,), normalization="batch", norm_position="after", learning_rate_init=1e-12, **given)
    np.testing.assert_allclose(model.fit(*digits).intercepts_[0], 1)


@pytest.mark.parametrize("sizes", [(9, 0), (-1,)])
def test_a_layer_has_units(sizes, digits):
    with pytest.raises(ValueError, match="hidden_layer_sizes must be > 0"):
        MLPClassifier(sizes).fit(*digits)


@pytest.mark.parametrize(
    "parameter",
    [
        {"normalization": "renorm"},
        {"dropout": 0.1},
        {"norm_noise": 0.1},
        {"decoupled_weight_decay": 0.1},
        {"warmup_epochs": 1},
        {"learning_rate_decay": "cosine"},
    ],
)
def test_lbfgs_refuses_what_it_cannot_do(parameter, digits):
    (name,) = parameter
    if name == "normalization":
        name = "normalization='renorm'"
    with pytest.raises(ValueError, match=f"{name} needs solver='adam' or solver='sgd'"):
        MLPClassifier((9,), solver="lbfgs", **parameter).fit(*digits)


def test_nan_and_infinity_are_refused(digits):
    X, y = digits
    for bad in (np.nan, np.inf):
        wrong = X.copy()
        wrong[3, 4] = bad
        with pytest.raises(ValueError, match="NaN|infinity"):
            MLPClassifier((9,)).fit(wrong, y)


def test_other_sizes_in_a_warm_start(digits):
    model = MLPClassifier((9,), warm_start=True, max_iter=1).fit(*digits)
    with pytest.raises(ValueError, match=r"layers of sizes \[64, 9, 10\].*\[64, 8, 10\]"):
        model.set_params(hidden_layer_sizes=(8,)).fit(*digits)


def test_other_outputs_leave_a_regressor_as_it_was(digits):
    X, y = digits
    model = MLPRegressor(hidden_layer_sizes=(9,), max_iter=1).fit(X, y)
    with pytest.raises(ValueError, match="y must have 1 columns, as many as the model has outputs, got 3"):
        model.partial_fit(X, np.ones((300, 3)))
    assert model.n_outputs_ == 1


def test_arrays_of_other_shapes_set_by_hand(digits):
    model = MLPClassifier((9,), max_iter=1).fit(*digits)
    kept = model.coefs_[1].copy()
    for name, wrong in (("coefs_", np.ones((1, 1))), ("intercepts_", np.ones(1))):
        right = getattr(model, name)[1]
        getattr(model, name)[1] = wrong
        with pytest.raises(ValueError, match=r"coefs_ and intercepts_ must have the shapes"):
            model.predict(digits[0])
        getattr(model, name)[1] = right
    np.testing.assert_array_equal(model.coefs_[1], kept)


def test_no_activation_of_no_hidden_layer(digits):
    empty, one = (MLPClassifier((), activation=name, max_iter=1, random_state=0).fit(*digits) for name in ([], "relu"))
    np.testing.assert_array_equal(empty.coefs_[0], one.coefs_[0])


def test_negative_counts_are_refused(digits):
    X, y = digits
    model = MLPRegressor("poisson", (4,), max_iter=1)
    with pytest.raises(ValueError, match="y must not be negative with loss='poisson', got -1"):
        model.fit(X, y - 1.0)
    with pytest.raises(ValueError, match="y must not be negative with loss='poisson', got -2"):
        model.fit(X, y, validation_data=(X, y - 2.0))


def test_clone_keeps_the_parameters():
    parameters = {"normalization": "layer", "dropout": [0.1, 0.2], "activation": ["elu", "gelu"], "n_threads": 2}
    for model in (MLPClassifier((9, 8), **parameters), MLPRegressor(hidden_layer_sizes=(9, 8), **parameters)):
        assert clone(model).get_params() == model.get_params()


@pytest.mark.parametrize(
    "solver, normalization",
    [
        (solver, norm)
        for solver in ("adam", "lbfgs")
        for norm in NORMS
        if norm and (solver, norm) != ("lbfgs", "renorm")
    ],
)
def test_norms_learn(solver, normalization):
    X, y = load_digits(return_X_y=True)
    model = MLPClassifier(
        (32, 32), "elu", solver=solver, normalization=normalization, norm_momentum=0.9, max_iter=20,
        learning_rate_init=0.01, random_state=0, batch_size=64,
    ).fit(X[:1000], y[:1000])  # fmt: skip
    assert model.score(X[1000:], y[1000:]) > 0.85
