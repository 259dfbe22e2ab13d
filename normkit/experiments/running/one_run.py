"""One run: a condition, a seed and a fold become a record (`perform`), or a trained model and its record (`train`)."""

import inspect
import traceback
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from normkit.engine.norms import NORMS
from normkit.estimators import MLPClassifier, MLPRegressor
from normkit.experiments.data import Split
from normkit.experiments.data.targets import spread
from normkit.experiments.grid import steps_per_epoch
from normkit.experiments.records import Condition, Run, run_id
from normkit.experiments.running.fitting import Epoch, Interrupted, Measure, fit, r2
from normkit.experiments.running.seeds import Draws, initial_values

# names of the estimators that differ from those of a condition
_NAMES = {"hidden": "hidden_layer_sizes", "learning_rate": "learning_rate_init"}


def new_model(condition: Condition, data: Split, seed: int, fold: int = 0) -> MLPClassifier | MLPRegressor:
    """Return the estimator of a run, with its first weights; one thread trains it."""
    estimator = MLPRegressor if data.task == "regression" else MLPClassifier
    known = inspect.signature(estimator.__init__).parameters
    values = {_NAMES.get(name, name): value for name, value in asdict(condition).items()}
    parameters = {name: value for name, value in values.items() if name in known}
    normalization = None if condition.normalization == "none" else condition.normalization
    rows, features = data.X_train.shape
    size = min(condition.batch_size, rows)
    outputs = 1 if data.classes is None or len(data.classes) == 2 else len(data.classes)
    coefs, intercepts = initial_values(
        [features, *condition.hidden, outputs], condition.activation, condition.kernel_initializer, normalization,
        condition.norm_position, seed, fold,
    )  # fmt: skip
    model = estimator(
        **{
            **parameters, "normalization": normalization, "batch_size": size, "random_state": Draws(seed, fold),
            "coefs_init": coefs, "intercepts_init": intercepts, "n_threads": 1, "alpha": 0.0,
            "nesterovs_momentum": False,
        }
    )  # fmt: skip
    # a penalty that depends on the size of a batch would be compared along with it, and so would that of a last one
    model._decay = condition.weight_decay
    return model


def new_run(data: Split, condition: Condition, seed: int, fold: int = 0) -> Run:
    """Return the record of a run before its training."""
    name = run_id(condition, seed, fold)
    return Run(name, condition, seed, fold, "ok", data.metric, len(data.y_test))


def perform(data: Split, condition: Condition, seed: int, fold: int = 0, diagnose: bool = False) -> Run:
    """Train once, and measure the test set.

    Parameters
    ----------
    data : Split
    condition : Condition
    seed, fold : int
        Keys of all random numbers of the run.
    diagnose : bool
        Whether to record `diagnostics` after each epoch.

    Returns
    -------
    Run
        With status "diverged" or "failed" where it did not end well; an error of one run is no error of the others.
    """
    run = new_run(data, condition, seed, fold)
    try:
        run.trivial_score = _trivial_score(data)
        _train(run, data, diagnose)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        failed(run, error)
        run.error = f"{run.error} ({where.name}, line {where.lineno})"
    return run


def failed(run: Run, error: BaseException) -> Run:
    """Record that a run ended with an error, and why."""
    run.status = "failed"
    run.error = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return run


def _train(run, data, diagnose):
    condition = run.config
    model = new_model(condition, data, run.seed, run.fold)
    diagnostics: list[dict[str, Any]] = []

    def record(model, number, epoch):
        from normkit.estimators.diagnostics import diagnose

        diagnostics.extend({"epoch": number, **layer} for layer in diagnose(model, data.X_train, data.y_train))

    ended, epochs = fit(model, data, condition.epochs, record if diagnose else None)
    steps = steps_per_epoch(len(data.y_train), model.batch_size, _over_batch(model))
    run.updates = steps * len(epochs)
    if diagnose:
        run.diagnostics = diagnostics
    _complete(run, data, model, ended, epochs)


def train(
    data: Split, condition: Condition, seed: int, on_epoch: Callable[[int, Epoch], None] | None = None, comm: Any = None
) -> tuple[object, Run]:
    """Train the model that `perform` trains for this condition and seed, on all cores.

    With `comm`, an MPI communicator, its ranks train together (`normkit.distributed`); `on_epoch` is called on rank 0.

    Returns
    -------
    model : MLPClassifier or MLPRegressor
    run : Run
        Its status is "diverged" where training or the test set ended in no finite numbers. After Ctrl-C its curves are
        those of the epochs that were trained, the model is that of the last one, and `error` says so.
    """
    run = new_run(data, condition, seed)
    model = new_model(condition, data, seed).set_params(n_threads=None)

    def show(model, number, epoch):
        if on_epoch is not None:
            on_epoch(number, epoch)

    try:
        ended, epochs = fit(model, data, condition.epochs, show, comm)
    except Interrupted as interrupt:
        if not interrupt.epochs:
            raise
        ended, epochs = True, interrupt.epochs
        run.error = f"interrupted after epoch {len(epochs)} of {condition.epochs}"
    _complete(run, data, model, ended, epochs)
    # as plain values: the model of a file goes on from the seed, and needs no first weights any more
    model._decay, alpha = 0.0, condition.weight_decay * model.batch_size
    model.set_params(random_state=seed, coefs_init=None, intercepts_init=None, alpha=alpha)
    return model, run


def _complete(run: Run, data: Split, model: MLPClassifier | MLPRegressor, ended: bool, epochs: list[Epoch]) -> None:
    """Record the curves and, where training and the test set gave finite numbers, the scores; else that it diverged."""
    run.curves = {f.name: [getattr(epoch, f.name) for epoch in epochs] for f in fields(Epoch)}
    run.seconds = float(sum(run.curves["seconds"]))
    test = Measure(data.X_test, data.y_test, data.classes)(model) if ended else (np.inf, np.nan)
    if not np.isfinite(test).all():
        run.status, run.error = "diverged", f"diverged in epoch {len(epochs) + (not ended)}"
        return
    run.test_loss, run.test_score = test
    last = epochs[-1]
    run.train_loss, run.train_score = last.loss, last.score
    run.validation_loss, run.validation_score = last.val_loss, last.val_score


def _over_batch(model):
    norm = model.normalization or ("batch" if model.normalize_input else None)
    return NORMS[norm].moving


def _trivial_score(data: Split) -> float:
    if data.task == "regression":
        error = float(np.mean((data.y_test - np.mean(data.y_train)) ** 2))
        return r2(error, spread(data.y_test))
    labels, counts = np.unique(data.y_train, return_counts=True)
    return float(np.mean(data.y_test == labels[counts.argmax()]))
