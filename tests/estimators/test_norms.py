"""What norm layers of an estimator compute, in training and in prediction."""

import pickle

import numpy as np
import pytest

import normkit
from normkit import MLPClassifier, MLPRegressor


def batch_normalize(x, epsilon=1e-3):
    return (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + epsilon)


def test_training_uses_the_batch_and_prediction_the_moving_statistics(blobs):
    X, y = blobs
    # no learning: what training computes is what the first weights give
    model = MLPClassifier(
        (8,), "identity", normalization="batch", learning_rate_init=1e-12, max_iter=1, batch_size=60
    ).fit(X, y)
    z = X @ model.coefs_[0]
    assert np.abs(z.mean(axis=0)).max() > 3 and z.std(axis=0).max() > 2
    # after one step the moving statistics are still near 0 and 1: the input comes through nearly as it is
    mean, variance = 0.01 * z.mean(axis=0), 0.99 + 0.01 * z.var(axis=0)
    output = model.hidden_activations(X, 0)
    np.testing.assert_allclose(output.mean(axis=0), (z.mean(axis=0) - mean) / np.sqrt(variance + 1e-3), rtol=1e-6)
    np.testing.assert_allclose(output.std(axis=0), z.std(axis=0) / np.sqrt(variance + 1e-3), rtol=1e-6)
    # with statistics that equal the batch's, prediction does what training did
    model.set_params(norm_momentum=0.0, warm_start=True).fit(X, y)
    output = model.hidden_activations(X, 0)
    np.testing.assert_allclose(output, batch_normalize(z), atol=1e-6)
    loss = -np.log(model.predict_proba(X)[np.arange(60), y]).mean()
    assert abs(model.loss_ - loss - 1e-4 / 120 * sum((coef**2).sum() for coef in model.coefs_)) < 1e-6


@pytest.mark.parametrize("momentum", [0.99, 0.9, 0.0, 1.0])
def test_moving_statistics_after_k_steps(momentum, blobs):
    X, y = blobs
    model = MLPClassifier(
        (8,), normalize_input=True, norm_momentum=momentum, max_iter=4, batch_size=25, shuffle=False, last_batch="keep"
    ).fit(X, y)
    mean, variance = np.zeros(4), np.ones(4)
    for _ in range(4):
        for batch in (X[:25], X[25:50], X[50:]):
            mean = momentum * mean + (1 - momentum) * batch.mean(axis=0)
            variance = momentum * variance + (1 - momentum) * batch.var(axis=0)  # biased
    (layer,) = model.norm_layers_
    np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-12)
    np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-12)


def test_layer_norm_of_one_sample_needs_no_others(blobs):
    X, y = blobs
    model = MLPClassifier((8,), "identity", normalization="layer", max_iter=3).fit(X, y)
    layer, z = model.norm_layers_[0], X @ model.coefs_[0]
    xhat = (z - z.mean(axis=1, keepdims=True)) / np.sqrt(z.var(axis=1, keepdims=True) + 1e-3)
    np.testing.assert_allclose(model.hidden_activations(X, 0), layer.gamma * xhat + layer.beta, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(model.predict_proba(X[:1]), model.predict_proba(X)[:1], rtol=1e-12)
    assert layer.kind == "LayerNormalization" and layer.name == "layer_normalization"
    assert layer.moving_mean is None and layer.moving_variance is None and not layer.non_trainable_variables


def fitted(hidden, normalization, position="before", normalize_input=False, features=784):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, features))
    return MLPClassifier(
        hidden, "elu", normalization=normalization, norm_position=position, normalize_input=normalize_input,
        max_iter=1, batch_size=10,
    ).fit(X, np.arange(20) % 10)  # fmt: skip


@pytest.mark.parametrize(
    "hidden, normalization, position, normalize_input, total, fixed",
    [
        ((300, 300), "batch", "after", True, 334_346, 2_768),
        ((300, 300), "batch", "before", True, 333_746, 2_768),
        ((256, 128, 64), "batch", "before", False, 244_106, 896),
        ((256, 128, 64), None, "before", False, 242_762, 0),
        # gamma and beta, and no moving statistics
        ((256, 128, 64), "layer", "before", False, 244_106 - 896, 0),
    ],
)
def test_parameter_counts(hidden, normalization, position, normalize_input, total, fixed, capsys):
    model = fitted(hidden, normalization, position, normalize_input)
    assert model.count_params() == (total - fixed, fixed)
    model.summary()
    text = capsys.readouterr().out
    assert f"Total parameters: {total:,}" in text
    assert f"Trainable parameters: {total - fixed:,}" in text
    assert f"Non-trainable parameters: {fixed:,}" in text


def test_summary(capsys):
    fitted((6, 5), "batch", "after", True, features=4).summary()
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert table[2:11] == [
        ["Input", "(None,", "4)", "0"],
        ["BatchNormalization", "(None,", "4)", "16"],
        ["Dense", "(None,", "6)", "30"],
        ["Activation", "(elu)", "(None,", "6)", "0"],
        ["BatchNormalization", "(None,", "6)", "24"],
        ["Dense", "(None,", "5)", "35"],
        ["Activation", "(elu)", "(None,", "5)", "0"],
        ["BatchNormalization", "(None,", "5)", "20"],
        ["Dense", "(None,", "10)", "60"],
    ]


def test_summary_of_dropout(blobs, capsys):
    MLPClassifier((6, 5), dropout=[0.25, 0], max_iter=1).fit(*blobs).summary()
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    place = table.index(["Dropout", "(0.25)", "(None,", "6)", "0"])
    assert table[place - 1][:2] == ["Activation", "(relu)"] and table[place + 1][:1] == ["Dense"]
    assert sum(row[:1] == ["Dropout"] for row in table) == 1


def test_summary_before(tmp_path):
    with (tmp_path / "summary.txt").open("w") as file:
        fitted((6,), "layer", features=4).summary(file=file)
    rows = [line.split() for line in (tmp_path / "summary.txt").read_text().splitlines()]
    assert [row[0] for row in rows[2:7]] == ["Input", "Dense", "LayerNormalization", "Activation", "Dense"]
    assert rows[3][-1] == "24"  # no bias


def test_variables_and_their_status():
    model = fitted((6, 5), "batch", normalize_input=True, features=4)
    names = ["batch_normalization", "batch_normalization_1", "batch_normalization_2"]
    assert [layer.name for layer in model.norm_layers_] == names
    for layer, size in zip(model.norm_layers_, (4, 6, 5)):
        assert layer.kind == "BatchNormalization"
        assert list(layer.trainable_variables) == ["gamma", "beta"]
        assert list(layer.non_trainable_variables) == ["moving_mean", "moving_variance"]
        for values in (*layer.trainable_variables.values(), *layer.non_trainable_variables.values()):
            assert values.shape == (size,) and np.isfinite(values).all()
        assert (layer.gamma != 1).any() and (layer.beta != 0).any() and (layer.moving_mean != 0).any()


def test_norm_layers_are_views(blobs):
    X, y = blobs
    model = MLPClassifier((8,), normalization="batch", max_iter=2).fit(X, y)
    before = model.predict_proba(X)
    model.norm_layers_[0].gamma[...] = 0
    np.testing.assert_allclose(model.predict_proba(X[:1]), model.predict_proba(X[1:2]))
    assert (model.predict_proba(X) != before).any()


@pytest.mark.parametrize("position, biased", [("before", False), ("after", True)])
def test_no_bias_where_a_norm_follows_directly(position, biased, blobs):
    X, y = blobs
    model = MLPClassifier((8, 7), normalization="batch", norm_position=position, max_iter=3).fit(X, y)
    assert [bool(np.any(intercept)) for intercept in model.intercepts_] == [biased, biased, True]


def test_center_and_scale(blobs):
    X, y = blobs
    for center in (False, True):
        for scale in (False, True):
            model = MLPClassifier(
                (8,), normalization="batch", norm_center=center, norm_scale=scale, max_iter=2,
                norm_gamma_initializer=3.0, norm_beta_initializer=2.0,
            ).fit(X, y)  # fmt: skip
            layer, network = model.norm_layers_[0], model._network
            assert (layer.beta is not None) == center and (layer.gamma is not None) == scale
            assert len(layer.trainable_variables) == center + scale
            gamma, beta = network.vector("gamma", 1), network.vector("beta", 1)
            assert scale or (gamma == 1).all()
            assert center or (beta == 0).all()
            assert model.count_params() == (4 * 8 + 8 * 3 + 3 + 8 * (center + scale), 16)


def test_initializers(blobs):
    X, y = blobs
    given = np.linspace(0.5, 2, 8)
    model = MLPClassifier(
        (8,), normalization="batch", learning_rate_init=1e-12, max_iter=1, norm_momentum=1.0,
        norm_gamma_initializer=given, norm_beta_initializer=0.25,
        norm_moving_mean_initializer="ones", norm_moving_variance_initializer=list(given + 1),
    ).fit(X, y)  # fmt: skip
    layer = model.norm_layers_[0]
    np.testing.assert_allclose(layer.gamma, given, atol=1e-9)
    np.testing.assert_allclose(layer.beta, 0.25, atol=1e-9)
    np.testing.assert_array_equal(layer.moving_mean, 1)
    np.testing.assert_array_equal(layer.moving_variance, given + 1)
    expected = given * (X @ model.coefs_[0] - 1) / np.sqrt(given + 1 + 1e-3) + 0.25
    np.testing.assert_allclose(model.hidden_activations(X, 0), np.maximum(expected, 0), atol=1e-7)


@pytest.mark.parametrize(
    "value, message",
    [
        ([1.0, 2.0], r"must have shape \(8,\) for a layer of 8 units, got \(2,\)"),
        (np.ones((8, 1)), r"must have shape \(8,\)"),
        (np.nan, "must be finite"),
        ("twos", "must be"),
    ],
)
@pytest.mark.parametrize("name", ["gamma", "beta", "moving_mean", "moving_variance"])
def test_bad_initializers(name, value, message, blobs):
    name = f"norm_{name}_initializer"
    with pytest.raises(ValueError, match=f"{name}.*{message}"):
        MLPClassifier((8,), normalization="batch", max_iter=1, **{name: value}).fit(*blobs)


def test_one_row_at_the_end_joins_the_batch_before(blobs):
    X, y = blobs
    fit = {"normalization": "batch", "shuffle": False, "max_iter": 3, "random_state": 0}
    merged = MLPClassifier((8,), batch_size=20, **fit).fit(X[:41], y[:41])
    assert merged._trainer.steps == 3 * 2
    assert all(np.isfinite(coef).all() for coef in merged.coefs_)
    explicit = MLPClassifier((8,), batch_size=20, last_batch="merge", **fit).fit(X[:41], y[:41])
    np.testing.assert_array_equal(merged.coefs_[0], explicit.coefs_[0])
    # scikit-learn's batches where no norm averages over them
    for normalization in (None, "layer"):
        model = MLPClassifier((8,), batch_size=20, **{**fit, "normalization": normalization}).fit(X[:41], y[:41])
        assert model._trainer.steps == 3 * 3


@pytest.mark.parametrize("mode, steps", [("auto", 3), ("keep", 3), ("merge", 2), ("drop", 2)])
def test_last_batch(mode, steps, blobs):
    X, y = blobs
    fit = {"shuffle": False, "max_iter": 1, "batch_size": 25, "normalize_input": True, "norm_momentum": 0.0}
    model = MLPClassifier((8,), last_batch=mode, **fit).fit(X, y)
    assert model._trainer.steps == steps
    last = {3: X[50:], 2: X[25:] if mode == "merge" else X[25:50]}[steps]
    np.testing.assert_allclose(model.norm_layers_[0].moving_mean, last.mean(axis=0))
    # whole batches are whole batches
    assert MLPClassifier((8,), last_batch=mode, **fit).fit(X[:50], y[:50])._trainer.steps == 2


def test_batches_of_one_are_refused(blobs):
    X, y = blobs
    for options in ({"normalization": "batch"}, {"normalize_input": True}):
        with pytest.raises(ValueError, match="at least 2 samples.*larger batch_size or normalization='layer'"):
            MLPClassifier((8,), batch_size=1, **options).fit(X, y)
    MLPClassifier((8,), batch_size=1, normalization="layer", max_iter=1).fit(X, y)


@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_weight_zero_is_absence_and_weight_two_a_repeated_row(solver, normalization, blobs):
    X, _ = blobs
    y = X @ [1, -1, 0.5, 2] / 10
    weight = np.random.default_rng(1).integers(0, 3, 60)
    fit = {
        "hidden_layer_sizes": (8,), "activation": "tanh", "solver": solver, "normalization": normalization,
        "shuffle": False, "max_iter": 20, "random_state": 0, "alpha": 0.1, "normalize_input": True,
    }  # fmt: skip
    weighted = MLPRegressor(**fit).fit(X, y, weight)
    repeated = MLPRegressor(**fit).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    # a training loss does not contain the rows of weight 0, and prediction sees the same statistics
    np.testing.assert_allclose(weighted.loss_, repeated.loss_, rtol=1e-7)
    np.testing.assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-6, atol=1e-8)


def test_a_fitted_model_keeps_its_norms_until_it_is_fitted_anew(blobs, tmp_path):
    X, y = blobs
    model = MLPClassifier((8,), normalization="batch", norm_momentum=0.5, max_iter=20, random_state=0).fit(X, y)
    expected, statistics = model.predict_proba(X), model.norm_layers_[0].moving_mean.copy()
    assert np.any(statistics)
    changes = {"normalization": "layer", "norm_position": "after", "normalize_input": True}
    for name, value in changes.items():
        before = getattr(model, name)
        model.set_params(**{name: value})
        np.testing.assert_array_equal(model.predict_proba(X), expected)
        model.save(tmp_path / "model.safetensors")
        for copy in (pickle.loads(pickle.dumps(model)), normkit.load(tmp_path / "model.safetensors")):
            np.testing.assert_array_equal(copy.predict_proba(X), expected)
        for go_on in (lambda: model.partial_fit(X, y), lambda: model.set_params(warm_start=True).fit(X, y)):
            with pytest.raises(ValueError, match=f"{name}=.* cannot go on with"):
                go_on()
        np.testing.assert_array_equal(model.predict_proba(X), expected)
        model.set_params(**{name: before}, warm_start=False)
    np.testing.assert_array_equal(model.norm_layers_[0].moving_mean, statistics)
    assert model.set_params(normalization="layer").fit(X, y).norm_layers_[0].moving_mean is None


def test_batch_ghost_and_renorm_go_on_with_each_other(blobs):
    X, y = blobs
    model = MLPClassifier((8,), normalization="batch", norm_momentum=1.0, warm_start=True, max_iter=2).fit(X, y)
    model.norm_layers_[0].moving_mean[...] = 0.25
    for normalization in ("renorm", "ghost", "batch"):
        model.set_params(normalization=normalization, virtual_batch_size=10).fit(X, y)
        np.testing.assert_array_equal(model.norm_layers_[0].moving_mean, 0.25)  # momentum 1 keeps them
        assert model._network_signature["normalization"] == normalization
