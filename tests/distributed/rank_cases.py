"""Trainings that two ranks do together and one process does alone; run on ranks, this saves what they find."""

import sys
from pathlib import Path

import numpy as np

from normkit import MLPClassifier, MLPRegressor

BASE = {
    "hidden_layer_sizes": (8, 6), "norm_groups": 2, "batch_size": 16, "max_iter": 3, "random_state": 0,
    "shuffle": False, "learning_rate_init": 0.01, "n_iter_no_change": 99, "activation": "tanh", "norm_momentum": 0.9,
    "alpha": 0.01, "dtype": "float64",
}  # fmt: skip
# name: samples of each rank, what differs from BASE, further options of the test
CASES = {
    **{f"{norm}-{solver}": ((61, 40), {"normalization": norm, "solver": solver}, {})
       for norm in (None, "batch", "layer", "rms", "group", "renorm", "dyt") for solver in ("adam", "sgd")},
    "after": ((61, 40), {"normalization": "batch", "norm_position": "after", "normalize_input": True}, {}),
    "group-after": ((61, 40), {"normalization": "group", "norm_position": "after", "normalize_input": True}, {}),
    "weights": ((61, 40), {"normalization": "batch", "norm_position": "after"}, {"weights": True}),
    "weights-layer": ((61, 40), {"normalization": "layer"}, {"weights": True}),
    "dropout": ((50, 50), {"normalization": "batch", "dropout": 0.3}, {}),
    "noise": ((61, 40), {"normalization": "batch", "norm_noise": 0.5, "dropout": 0.2}, {}),
    # batches of two: one rank has often none of the samples
    "uneven": ((5, 42), {"normalization": "batch", "batch_size": 2, "solver": "sgd"}, {}),
    "uneven-layer": ((5, 42), {"normalization": "layer", "batch_size": 2, "norm_noise": 0.5}, {}),
    "uneven-none": ((3, 30), {"batch_size": 1}, {}),
    "merge": ((60, 37), {"normalization": "batch", "last_batch": "auto"}, {}),
    "drop": ((60, 43), {"normalization": "batch", "last_batch": "drop"}, {}),
    "frozen": ((61, 40), {"normalization": "batch", "freeze_norm": "statistics"}, {}),
    "cumulative": ((61, 40), {"normalization": "batch", "norm_momentum": None}, {}),
    "float32": ((61, 40), {"normalization": "batch", "dtype": "float32", "activation": "elu"}, {}),
    "offset": ((61, 40), {"normalization": "batch", "normalize_input": True}, {"offset": 1e5}),
    "threads": ((61, 40), {"normalization": "batch", "norm_position": "after", "n_threads": 2}, {"any_size": True}),
    "threads-group": ((61, 40), {"normalization": "group", "n_threads": 3}, {"any_size": True}),
    "schedule": ((61, 40), {"normalization": "batch", "warmup_epochs": 1, "learning_rate_decay": "cosine",
                            "decoupled_weight_decay": 0.1}, {}),
    "invscaling": ((61, 40), {"solver": "sgd", "learning_rate": "invscaling"}, {}),
    "regression": ((61, 40), {"normalization": "batch"}, {"regression": True}),
    "multilabel": ((61, 40), {"normalization": "batch"}, {"multilabel": True}),
    "warm": ((61, 40), {"normalization": "batch", "warm_start": True}, {"fits": 2}),
    "ghost": ((48, 48), {"normalization": "ghost", "virtual_batch_size": 8, "norm_momentum": None}, {}),
    "ghost-chunks": ((96, 96), {"normalization": "ghost", "virtual_batch_size": 4, "norm_momentum": None}, {}),
    "per-rank": ((48, 48), {"normalization": "batch", "norm_momentum": None}, {"synchronize": False}),
    "per-rank-weights": ((48, 48), {"normalization": "batch", "norm_momentum": None},
                         {"synchronize": False, "weights": True}),
}  # fmt: skip


def data(counts, options):
    """Return X, y, weight of all ranks, and the rank of each sample."""
    random = np.random.default_rng(1)
    n = sum(counts)
    X = random.normal(size=(n, 6)) + options.get("offset", 0.0)
    y = np.digitize(X[:, 0] - options.get("offset", 0.0), [-0.5, 0.5])
    if options.get("regression"):
        y = X[:, 0] ** 2
    if options.get("multilabel"):
        y = (X[:, :3] > 0).astype(int)
    weight = random.integers(0, 4, n).astype(float) if options.get("weights") else None
    return X, y, weight, np.repeat(np.arange(len(counts)), counts)


def make(parameters, options):
    return (MLPRegressor if options.get("regression") else MLPClassifier)(**{**BASE, **parameters})


def found(model):
    """Everything that training makes."""
    trainer, network = model._trainer, model._network
    return {
        "params": network.params, "mean": network.statistics.mean, "var": network.statistics.var,
        "batches": network.statistics.batches, "first": trainer.first, "second": trainer.second,
        "losses": np.array(model.loss_curve_),
    }  # fmt: skip


def main(folder, names):
    from mpi4py import MPI

    from normkit import distributed
    from normkit.engine.network import Network

    choose, rank = Network.choose_threads, MPI.COMM_WORLD.rank
    for name in names or CASES:
        counts, parameters, options = CASES[name]
        X, y, weight, owner = data(counts, options)
        mine = owner == rank
        any_size = options.get("any_size")
        Network.choose_threads = (lambda self, n_threads, *sizes: n_threads or 1) if any_size else choose
        model = make(parameters, options)
        for _ in range(options.get("fits", 1)):
            distributed.fit(
                model, X[mine], y[mine], None if weight is None else weight[mine],
                synchronize=options.get("synchronize", True),
            )  # fmt: skip
        np.savez(Path(folder) / f"{name}-{rank}.npz", **found(model))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
