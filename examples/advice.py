"""The advice that is given about norms, each as a small experiment: a function that returns columns and rows."""

import copy

import numpy as np
from measuring import NETWORK, accuracies, crossed, fitted, mean_and_interval, score_by_batches

BATCH = {"normalization": "batch"}
_COLUMNS = ["test accuracy", "exact statistics"]


def position(data, scale):
    """Before or after the activation."""
    ways = {"none": {}, "before": BATCH, "after": {**BATCH, "norm_position": "after"}}
    ways |= {f"{name}, and on the input": {**ways[name], "normalize_input": True} for name in ("before", "after")}
    return ["norm", *_COLUMNS], [[name, *accuracies(data, scale, way)] for name, way in ways.items()]


def depth(data, scale):
    """Hidden layers of 64 units."""
    return crossed("hidden layers", (2, 10, 30), lambda n: {"hidden_layer_sizes": (64,) * n}, data, scale)


def learning_rate(data, scale):
    """Adam's."""
    return crossed("learning rate", (0.001, 0.01, 0.03, 0.1), lambda x: {"learning_rate_init": x}, data, scale)


def initial_scale(data, scale):
    """He's weights times a factor."""
    sizes = [784, *NETWORK["hidden_layer_sizes"], 10]

    def weights(factor):
        def drawn(seed):
            random = np.random.default_rng(seed)
            return [random.normal(0, factor * np.sqrt(2 / m), (m, n)) for m, n in zip(sizes, sizes[1:])]

        return {"coefs_init": drawn}

    return crossed("initial weights times", (0.01, 0.1, 1, 10), weights, data, scale)


def batch_size(data, scale):
    """From few rows a batch."""
    return crossed("batch size", (4, 8, 16, 64), lambda n: {"batch_size": n}, data, scale)


def momentum(data, scale):
    """A tenth of the images for half the epochs, and all of them."""
    few = {**BATCH, "max_iter": max(1, scale.epochs // 2)}
    rows = []
    for value in (0.99, 0.9, 0.5, None):
        change = {"norm_momentum": value}
        short = accuracies(data, scale, {**few, **change}, scale.rows // 10)
        rows.append([str(value), *short, *accuracies(data, scale, {**BATCH, **change})])
    return ["momentum", "50 steps", "exact statistics", "940 steps", "exact statistics"], rows


def epsilon(data, scale):
    """Added to the variance."""
    return crossed("epsilon", (1e-7, 1e-5, 1e-3, 1e-1, 1.0), lambda x: {"norm_epsilon": x}, data, scale)


def parameters(data, scale):
    """With and without gamma and beta, and other first values."""
    ways = {
        "gamma and beta": {},
        "no gamma": {"norm_scale": False},
        "no beta": {"norm_center": False},
        "neither": {"norm_scale": False, "norm_center": False},
        "gamma starts at 0.1": {"norm_gamma_initializer": 0.1},
        "moving variance starts at 100": {"norm_moving_variance_initializer": 100.0},
    }
    return ["batch norm", *_COLUMNS], [[name, *accuracies(data, scale, {**BATCH, **w})] for name, w in ways.items()]


def dropout(data, scale):
    """Accuracy, and the variance that the last norm meets in inference over the one it has learned."""
    ways = {"no dropout": 0.0, "after each norm": 0.5, "after the last norm only": [0.0, 0.0, 0.5]}
    rows = []
    for name, rate in ways.items():
        plain, _ = accuracies(data, scale, {"dropout": rate})
        with_norm = accuracies(data, scale, {**BATCH, "dropout": rate})
        shifts = []
        for seed in range(scale.seeds):
            part = data.take(scale.rows, seed)
            model = fitted(part, seed, {**BATCH, "dropout": rate, "max_iter": scale.epochs})
            met = (model.hidden_activations(part.X, 1) @ model.coefs_[2]).var(axis=0)
            shifts.append(np.median(met / model.norm_layers_[2].moving_variance))
        rows.append([name, plain, *with_norm, mean_and_interval(shifts, 2)])
    return ["dropout 0.5", "none", "batch", "batch, exact statistics", "variance ratio"], rows


def transfer(data, scale):
    """Fine-tuning on 200 other images, as they are or changed, in batches of 8."""
    changes = {"unchanged": lambda X: X, "darker": lambda X: 0.5 * X, "inverted": lambda X: 1 - X}
    ways = {"not trained again": None, "False": False, '"statistics"': "statistics", "True": True}
    scores = {(way, change): [] for way in ways for change in changes}
    X, y = data.X_test[: scale.test_rows], data.y_test[: scale.test_rows]
    for seed in range(scale.seeds):
        first, few = data.take(scale.rows, seed), data.take(200, seed + 1000)
        trained = fitted(first, seed, {**BATCH, "max_iter": scale.epochs})
        trained.recompute_statistics(first.X)
        for change, changed in changes.items():
            for way, freeze in ways.items():
                model = copy.deepcopy(trained)
                if freeze is not None:
                    model.set_params(freeze_norm=freeze, batch_size=8)
                    for _ in range(scale.epochs):
                        model.partial_fit(changed(few.X), few.y)
                scores[way, change].append(model.score(changed(X), y))
    rows = [[way, *(mean_and_interval(scores[way, change]) for change in changes)] for way in ways]
    return ["freeze_norm", *changes], rows


def inference(data, scale):
    """Predictions with the statistics of the test batch, in place of the moving ones."""
    X, y = data.X_test[: scale.test_rows], data.y_test[: scale.test_rows]
    orders = np.random.default_rng(0).permutation(len(y)), np.argsort(y, kind="stable")
    parts = [data.take(scale.rows, seed) for seed in range(scale.seeds)]
    models = [fitted(part, seed, {**BATCH, "max_iter": scale.epochs}) for seed, part in enumerate(parts)]
    rows = [["moving", *[mean_and_interval([model.score(X, y) for model in models])] * 2]]
    for size in (2, 8, 32, 128):
        cells = ([score_by_batches(model, X[order], y[order], size) for model in models] for order in orders)
        rows.append([f"of {size} images", *map(mean_and_interval, cells)])
    for model, part in zip(models, parts):
        model.recompute_statistics(part.X)
    rows.append(["exact", *[mean_and_interval([model.score(X, y) for model in models])] * 2])
    return ["statistics", "random order", "sorted by class"], rows


EXPERIMENTS = {
    function.__name__: function
    for function in (
        position, depth, learning_rate, initial_scale, batch_size, momentum, epsilon, parameters, dropout, transfer,
        inference,
    )
}  # fmt: skip
