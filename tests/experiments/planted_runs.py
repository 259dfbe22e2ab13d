"""Runs with planted results, for the tests of what is made of them."""

from normkit.experiments.records import Condition, Run, run_id

N = 1000  # test samples of a run


def run(score, norm="none", batch_size=8, seed=0, fold=0, metric="accuracy", **values):
    """A run with a test score; None stands for one that diverged, an exception's text for one that failed.

    Names of a condition among `values` go to the condition, the others to the run.
    """
    config = {name: values.pop(name) for name in list(values) if name in Condition.__dataclass_fields__}
    condition = Condition(normalization=norm, batch_size=batch_size, **config)
    status = "diverged" if score is None else "failed" if isinstance(score, str) else "ok"
    found = {} if status != "ok" else {
        "test_score": score, "test_loss": 0.5, "validation_score": score, "validation_loss": 0.25, "train_score": 1.0,
        "train_loss": 0.1, "curves": {"seconds": [0.01, 0.03, 0.02]}, **values,
    }  # fmt: skip
    return Run(run_id(condition, seed, fold), condition, seed, fold, status, metric, N, **found)


def planted(scores, batch_size=8, **values):
    """Runs of {norm: test scores by seed}."""
    return [
        run(score, norm, batch_size, seed, **values) for norm, row in scores.items() for seed, score in enumerate(row)
    ]
