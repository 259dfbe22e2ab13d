"""Runs with curves, made up from a seed, for the tests of what is drawn of them."""

import numpy as np

from normkit.experiments.records import Condition, Run, run_id


def run(norm="none", batch_size=8, seed=0, score=None, epochs=3, metric="accuracy", **values):
    """A run with curves that end at its score; names of a condition among `values` go to the condition."""
    config = {name: values.pop(name) for name in list(values) if name in Condition.__dataclass_fields__}
    condition = Condition(normalization=norm, batch_size=batch_size, epochs=epochs, **config)
    random = np.random.default_rng([seed, batch_size, len(norm)])
    score = float(random.uniform(0.7, 0.95)) if score is None else score
    steps = np.linspace(0.5, 0, epochs)
    curves = {
        "loss": (0.1 + steps).tolist(), "val_loss": (0.2 + steps).tolist(), "score": (0.99 - steps).tolist(),
        "val_score": (score - steps).tolist(), "seconds": [0.01] * epochs,
    }  # fmt: skip
    return Run(
        run_id(condition, seed), condition, seed, 0, "ok", metric, 1000,
        **{
            "test_score": score, "test_loss": 0.3, "validation_score": score, "validation_loss": 0.2,
            "train_score": 0.99, "train_loss": 0.1, "seconds": 0.01 * epochs, "curves": curves, **values,
        },
    )  # fmt: skip


def lost(norm="none", batch_size=8, seed=0, status="diverged", curves=None, **values):
    """A run without a score."""
    made = run(norm, batch_size, seed, **values)
    return Run(
        made.run_id, made.config, seed, 0, status, made.metric, 1000, error=f"{status} in epoch 2", curves=curves or {}
    )


def grid(norms=("none", "batch"), batch_sizes=(8, 32), seeds=3, **values):
    """Runs of every norm at every batch size."""
    return [run(norm, size, seed, **values) for seed in range(seeds) for size in batch_sizes for norm in norms]
