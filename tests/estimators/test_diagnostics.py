"""What diagnose tells, against plain NumPy on coefs_ and the norm layers' arrays, and finite differences."""

import copy
import doctest
import json

import numpy as np
import pytest
from scipy import special, stats
from sklearn.exceptions import NotFittedError

from normkit import MLPClassifier, MLPRegressor
from normkit.estimators import diagnostics
from normkit.estimators.diagnostics import diagnose

ROWS, EPSILON, GROUPS, VIRTUAL = 24, 1e-3, 2, 8
NORMS = (None, "batch", "ghost", "renorm", "layer", "group", "rms", "dyt")

# activation and its slope, in forms of their own
ACTIVATIONS = {
    "identity": (lambda z: z, np.ones_like),
    "logistic": (lambda z: 1 / (1 + np.exp(-z)), lambda z: 0.25 / np.cosh(z / 2) ** 2),
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "relu": (lambda z: np.maximum(z, 0), lambda z: np.sign(np.maximum(z, 0))),
    "elu": (lambda z: np.where(z > 0, z, np.expm1(z)), lambda z: np.exp(np.minimum(z, 0))),
    "leaky_relu": (lambda z: np.maximum(z, 0.01 * z), None),
    "selu": (
        lambda z: 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * np.expm1(z)),
        lambda z: 1.0507009873554805 * np.where(z > 0, 1, 1.6732632423543772 * np.exp(z)),
    ),
    "gelu": (lambda z: z * stats.norm.cdf(z), lambda z: stats.norm.cdf(z) + z * stats.norm.pdf(z)),
    "silu": (lambda z: z * special.expit(z), lambda z: special.expit(z) + z * special.expit(z) * special.expit(-z)),
    "softplus": (lambda z: np.logaddexp(0, z), special.expit),
}


def fitted(kind, y, **parameters):
    X = np.random.default_rng(0).normal(size=(ROWS, 5))
    model = kind(
        **{"hidden_layer_sizes": (8, 6), **parameters}, max_iter=3, batch_size=12, norm_groups=GROUPS,
        virtual_batch_size=VIRTUAL, norm_momentum=0.7, alpha=0.5, random_state=1, learning_rate_init=0.02,
    ).fit(X, y)  # fmt: skip
    return model, X


def targets(task):
    X = np.random.default_rng(0).normal(size=(ROWS, 5))
    return {"binary": X[:, 0] > 0, "three": np.digitize(X[:, 0], [-0.5, 0.5]), "regression": X[:, :2] @ [1.0, 2.0]}[
        task
    ]


def normalized(x, norm, layer, training, fixed):
    """The norm in plain NumPy; `fixed` keeps what a renormalization does not differentiate."""
    gamma, beta = layer.gamma, 0.0 if layer.beta is None else layer.beta

    def standard(x, mean, var):
        return (x - mean) / np.sqrt(var + EPSILON)

    if norm == "dyt":
        return gamma * np.tanh(layer.alpha * x) + beta
    if norm == "rms":
        return gamma * x / np.sqrt((x**2).mean(axis=1, keepdims=True) + EPSILON)
    if norm in ("layer", "group"):
        parts = np.split(x, GROUPS if norm == "group" else 1, axis=1)
        parts = [standard(p, p.mean(axis=1, keepdims=True), p.var(axis=1, keepdims=True)) for p in parts]
        return gamma * np.hstack(parts) + beta
    mean, var = layer.moving_mean, layer.moving_variance
    if not training:
        return gamma * standard(x, mean, var) + beta
    chunks = np.split(x, len(x) // VIRTUAL) if norm == "ghost" else [x]
    xhat = np.vstack([standard(c, c.mean(axis=0), c.var(axis=0)) for c in chunks])
    if norm == "renorm":
        if layer.name not in fixed:
            r = np.sqrt((x.var(axis=0) + EPSILON) / (var + EPSILON))
            d = (x.mean(axis=0) - mean) / np.sqrt(var + EPSILON)
            fixed[layer.name] = np.clip(r, 1 / 3, 3), np.clip(d, -5, 5)
        r, d = fixed[layer.name]
        xhat = r * xhat + d
    return gamma * xhat + beta


def forward(model, X, coefs, training=False, fixed=None):
    """Outputs before the output function, and of each layer what enters the activation and the norm."""
    fixed = {} if fixed is None else fixed
    norms = list(model.norm_layers_)
    h, inputs = X, []
    if model.normalize_input:
        inputs.append((None, h))
        h = normalized(h, model.normalization or "batch", norms.pop(0), training, fixed)
    for coef, bias in zip(coefs[:-1], model.intercepts_):
        z = before = h @ coef + bias
        if norms and model.norm_position == "before":
            z = normalized(z, model.normalization, norms[0], training, fixed)
        h = ACTIVATIONS[model.activation][0](z)
        if norms and model.norm_position == "after":
            before = h
            h = normalized(h, model.normalization, norms[0], training, fixed)
        norms = norms[1:]
        inputs.append((z, before))
    z = h @ coefs[-1] + model.intercepts_[-1]
    return z, [*inputs, (z, None)]


def loss(model, z, y):
    if isinstance(model, MLPRegressor):
        return 0.5 * np.mean((z[:, 0] - y) ** 2)
    if z.shape[1] == 1:
        return np.mean(np.logaddexp(0, np.where(y, -z[:, 0], z[:, 0])))
    return -np.mean(special.log_softmax(z, axis=1)[np.arange(len(y)), y])


def gradient_norm(model, X, y, k):
    """By central differences of the training loss."""
    fixed, squares, step = {}, 0.0, 1e-5
    coefs = [np.array(coef) for coef in model.coefs_]
    forward(model, X, coefs, True, fixed)
    for i in np.ndindex(coefs[k].shape):
        sides = []
        for side in (step, -step):
            coefs[k][i] += side
            sides.append(loss(model, forward(model, X, coefs, True, fixed)[0], y))
            coefs[k][i] -= side
        squares += ((sides[0] - sides[1]) / (2 * step)) ** 2
    return np.sqrt(squares)


@pytest.mark.parametrize("task", ["binary", "three", "regression"])
@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("norm", NORMS)
def test_against_plain_numpy(norm, position, task):
    y = targets(task)
    # three classes with a norm on the input as well; not the group norm, which five features do not suit
    inputs = task == "three" and norm != "group"
    kind = MLPRegressor if task == "regression" else MLPClassifier
    model, X = fitted(kind, y, normalization=norm, norm_position=position, normalize_input=inputs, activation="tanh")
    _, layers = forward(model, X, model.coefs_)
    entries = diagnose(model, X, y)
    names = [*(["input"] if inputs else []), "hidden 1", "hidden 2", "output"]
    assert [entry["name"] for entry in entries] == names
    assert [entry["layer"] for entry in entries] == list(range(0 if inputs else 1, 4))
    moving = [layer for layer in model.norm_layers_ if layer.moving_mean is not None]
    for entry, (z, before) in zip(entries, layers):
        b = entry["layer"]
        if z is not None:
            assert entry["pre_activation_mean"] == pytest.approx(z.mean(), abs=1e-10)
            assert entry["pre_activation_std"] == pytest.approx(z.std(), rel=1e-8)
            assert entry["gradient_norm"] == pytest.approx(gradient_norm(model, X, y, b - 1), rel=2e-5)
        if 1 <= b < 3:
            assert entry["saturated"] == np.mean(1 / np.cosh(z) ** 2 < 0.05)
        else:
            assert entry["saturated"] is None and entry["dead_units"] is None
        if moving and before is not None:
            layer = moving.pop(0)
            mean = np.linalg.norm(layer.moving_mean - before.mean(axis=0))
            mean /= np.sqrt(np.sum(before.var(axis=0) + EPSILON))
            variance = np.linalg.norm(layer.moving_variance - before.var(axis=0)) / np.linalg.norm(before.var(axis=0))
            found = entry["moving_mean_distance"], entry["moving_variance_distance"]
            assert found == pytest.approx((mean, variance), rel=1e-7)
        else:
            assert entry["moving_mean_distance"] is None and entry["moving_variance_distance"] is None
    assert not moving


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_saturation_is_a_twentieth_of_the_steepest_slope(activation):
    y = targets("three")
    model, X = fitted(MLPClassifier, y, activation=activation)
    model.coefs_ = [8 * coef for coef in model.coefs_]
    _, layers = forward(model, X, model.coefs_)
    slope = ACTIVATIONS[activation][1]
    for entry, (z, _) in zip(diagnose(model, X, y)[:2], layers):
        if activation in ("identity", "leaky_relu"):
            assert entry["saturated"] is None and entry["dead_units"] is None
            continue
        steepest = slope(np.linspace(-20, 20, 400_001)).max()
        flat = np.abs(slope(z)) < 0.05 * steepest
        assert entry["saturated"] == flat.mean() and entry["dead_units"] == flat.all(axis=0).mean()
        assert 0 < entry["saturated"] < 1


@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("norm", NORMS)
def test_one_hidden_layer_again_and_again(norm, position):
    y = targets("three")
    model, X = fitted(MLPClassifier, y, normalization=norm, norm_position=position, hidden_layer_sizes=(64,))
    z = model.hidden_activations(X, 0) @ model.coefs_[1] + model.intercepts_[1]
    for _ in range(3):
        entry = diagnose(model, X, y)[-1]
        assert (entry["pre_activation_mean"], entry["pre_activation_std"]) == pytest.approx((z.mean(), z.std()))


def test_units_whose_slope_is_steep_and_negative_are_not_saturated():
    X = np.linspace(-1, 1, 4)[:, None]
    model = MLPRegressor(hidden_layer_sizes=(1,), activation="gelu", max_iter=1, random_state=0).fit(X, X[:, 0])
    model.coefs_[0][...], model.intercepts_[0][...] = 0, -np.sqrt(2)  # the slope is -0.13 there
    assert diagnose(model, X, X[:, 0])[0]["saturated"] == 0


def test_a_dead_unit():
    y = targets("three")
    model, X = fitted(MLPClassifier, y, activation="relu")
    model.intercepts_[0][:2] = -1e3
    first, second, _ = diagnose(model, X, y)
    outputs = model.hidden_activations(X, 0)
    assert first["dead_units"] == np.mean((outputs == 0).all(axis=0)) >= 2 / 8
    assert first["saturated"] == np.mean(outputs == 0)


def test_exact_statistics_have_no_distance():
    y = targets("three")
    model, X = fitted(MLPClassifier, y, normalization="batch", norm_position="after")
    assert diagnose(model, X, y)[0]["moving_mean_distance"] > 0.01
    model.recompute_statistics(X)
    for entry in diagnose(model, X, y)[:2]:
        assert entry["moving_mean_distance"] < 1e-12 and entry["moving_variance_distance"] < 1e-12


@pytest.mark.parametrize("norm", ["batch", "renorm"])
def test_the_model_stays_as_it_is_and_trains_on_as_before(norm):
    y = targets("three")
    model, X = fitted(MLPClassifier, y, normalization=norm, dropout=0.3)
    twin = copy.deepcopy(model)
    first = diagnose(model, X, y)
    assert first == diagnose(model, X, y)
    for one in (model, twin):
        one.partial_fit(X, y)
    for a, b in zip(model.coefs_, twin.coefs_):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(model.norm_layers_, twin.norm_layers_):
        np.testing.assert_array_equal(a.moving_mean, b.moving_mean)
        np.testing.assert_array_equal(a.moving_variance, b.moving_variance)


def test_gradients_are_those_without_dropout():
    y = targets("three")
    model, X = fitted(MLPClassifier, y, normalization="batch", dropout=0.3)
    entries = diagnose(model, X, y)
    assert diagnose(model.set_params(dropout=0.0), X, y) == entries


def test_of_many_rows_some_are_taken_at_even_distances():
    y = targets("three")
    model, X = fitted(MLPClassifier, y, normalization="batch")
    assert diagnose(model, X, y, max_rows=3) == diagnose(model, X[[0, 12, 23]], y[[0, 12, 23]])
    assert diagnose(model, X, y, max_rows=ROWS) == diagnose(model, X, y)


def test_several_outputs_and_labels():
    X = np.random.default_rng(0).normal(size=(ROWS, 5))
    regressor = MLPRegressor(hidden_layer_sizes=(4,), max_iter=2, random_state=0, normalization="layer").fit(
        X, X[:, :2]
    )
    classifier = MLPClassifier((4,), max_iter=2, random_state=0, normalization="layer").fit(X, X[:, :2] > 0)
    assert len(diagnose(regressor, X, X[:, :2])) == len(diagnose(classifier, X, X[:, :2] > 0)) == 2


def test_no_hidden_layer_and_float32():
    X = np.random.default_rng(0).normal(size=(ROWS, 5)).astype(np.float32)
    model = MLPRegressor(hidden_layer_sizes=(), max_iter=2, random_state=0).fit(X, X[:, 0])
    (entry,) = diagnose(model, X, X[:, 0])
    assert entry["name"] == "output" and entry["pre_activation_mean"] == pytest.approx(
        model.predict(X).mean(), rel=1e-5
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
@pytest.mark.parametrize("norm", [None, "batch", "layer"])
def test_a_model_that_diverged_gives_json_without_nan(norm, value):
    y = targets("three")
    model, X = fitted(MLPClassifier, y, normalization=norm)
    for coef in model.coefs_:
        coef[...] = value
    entries = diagnose(model, X, y)
    assert "NaN" not in json.dumps(entries, allow_nan=False)
    plain = (int, float, str, type(None))
    assert all(type(value) in plain for entry in entries for value in entry.values())


def test_wrong_input():
    y = targets("three")
    with pytest.raises(NotFittedError):
        diagnose(MLPClassifier(), np.zeros((3, 2)), [0, 1, 0])
    model, X = fitted(MLPClassifier, y)
    with pytest.raises(ValueError, match="X must have at least 2 rows to be diagnosed, got 1"):
        diagnose(model, X[:1], y[:1])
    with pytest.raises(ValueError, match="max_rows must be at least 2, got 1"):
        diagnose(model, X, y, max_rows=1)
    with pytest.raises(ValueError, match="4 features"):
        diagnose(model, X[:, :4], y)
    with pytest.raises(ValueError, match="not in `self.classes_`"):
        diagnose(model, X, y + 1)
    with pytest.raises(ValueError, match="inconsistent"):
        diagnose(model, X, y[:-1])
    with pytest.raises(ValueError, match="not fitted with multilabel input"):
        diagnose(model, X, np.eye(3, dtype=int)[y])
    model, X = fitted(MLPRegressor, X[:, :2])
    for columns in (1, 3, 50):
        with pytest.raises(ValueError, match=f"y must have 2 columns, .* got {columns}"):
            diagnose(model, X, np.ones((ROWS, columns)).squeeze())


def test_the_example_runs():
    failed, tried = doctest.testmod(diagnostics)
    assert failed == 0 < tried
