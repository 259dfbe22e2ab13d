"""One training run with its curves, and the grid of runs."""

import itertools
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from sklearn.metrics import accuracy_score, log_loss

from normkit.estimators import MLPClassifier
from normkit.experiments.data import Dataset, Split, split


@dataclass
class Epoch:
    """Loss and accuracy after an epoch, both sets measured with the model as it predicts."""

    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float  # of training alone, without the measuring


@dataclass
class Run:
    """Result of one run; `status` is "ok" or "diverged", which leaves the results None."""

    normalization: str
    batch_size: int
    seed: int
    test_samples: int
    status: str = "ok"
    test_accuracy: float | None = None
    test_loss: float | None = None
    validation_loss: float | None = None
    seconds_per_epoch: float | None = None
    curves: list[Epoch] = field(default_factory=list)


def evaluate(model: MLPClassifier, X: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return (cross-entropy, accuracy); (inf, nan) where the model predicts no finite numbers."""
    probabilities = model.predict_proba(X)
    if not np.isfinite(probabilities).all():
        return float("inf"), float("nan")
    labels = model.classes_[probabilities.argmax(axis=1)]
    return float(log_loss(y, probabilities, labels=model.classes_)), float(accuracy_score(y, labels))


class _Diverged(Exception):
    pass


@contextmanager
def _translated():
    """Make scikit-learn's ways of speaking of divergence and Ctrl-C into exceptions of their own."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        # partial_fit swallows Ctrl-C and warns; the next epoch would begin as if nothing had happened
        warnings.filterwarnings("error", message="Training interrupted by user")
        try:
            yield
        except UserWarning:
            raise KeyboardInterrupt from None
        except ValueError as error:
            if "non-finite" in str(error):
                raise _Diverged from None
            raise


def _compile(data: Split, parameters: dict) -> None:
    """Train on two batches, so that compilation (or reading it from the disk) is in no epoch's time."""
    rows = slice(0, 2 * parameters["batch_size"])
    model = MLPClassifier(random_state=0, **parameters)
    try:
        with _translated():
            model.partial_fit(data.X_train[rows], data.y_train[rows], classes=data.classes)
    except _Diverged:
        pass


def train(
    data: Split, epochs: int, seed: int, on_epoch: Callable[[int, Epoch], None] | None = None, **parameters
) -> tuple[MLPClassifier | None, list[Epoch]]:
    """Train for a number of epochs, measuring training and validation set after each.

    Returns
    -------
    model : MLPClassifier or None
        None if training diverged.
    curves : list of Epoch
        As far as it went.
    """
    _compile(data, parameters)
    # a generator, not a number: each epoch is a partial_fit, which would start the same shuffles anew
    model = MLPClassifier(random_state=np.random.RandomState(seed), **parameters)
    classes = data.classes
    curves: list[Epoch] = []
    for number in range(1, epochs + 1):
        start = time.perf_counter()
        try:
            with _translated():
                model.partial_fit(data.X_train, data.y_train, classes=classes)
        except _Diverged:
            return None, curves
        seconds = time.perf_counter() - start
        loss, accuracy = evaluate(model, data.X_train, data.y_train)
        val_loss, val_accuracy = evaluate(model, data.X_val, data.y_val)
        if not np.isfinite([loss, val_loss]).all():
            return None, curves
        curves.append(Epoch(loss, accuracy, val_loss, val_accuracy, seconds))
        if on_epoch is not None:
            on_epoch(number, curves[-1])
    return model, curves


def one_run(data: Split, normalization: str, batch_size: int, seed: int, epochs: int, **parameters) -> Run:
    """Train once and measure the test set."""
    run = Run(normalization, batch_size, seed, len(data.X_test))
    chosen = None if normalization == "none" else normalization
    model, run.curves = train(data, epochs, seed, normalization=chosen, batch_size=batch_size, **parameters)
    test_loss, test_accuracy = (np.inf, np.nan) if model is None else evaluate(model, data.X_test, data.y_test)
    if not np.isfinite(test_loss):
        run.status = "diverged"
        return run
    run.test_loss, run.test_accuracy = test_loss, test_accuracy
    run.validation_loss = run.curves[-1].val_loss
    run.seconds_per_epoch = float(np.median([epoch.seconds for epoch in run.curves]))
    return run


def possible_batch_sizes(batch_sizes: Iterable[int], training_samples: int) -> list[int]:
    """Return the distinct batch sizes, none larger than the training set."""
    return list(dict.fromkeys(min(size, training_samples) for size in batch_sizes))


def grid(
    dataset: Dataset, norms: list[str], batch_sizes: list[int], seeds: int, epochs: int, **parameters
) -> Iterator[Run]:
    """Run every combination; the same seed means the same split, first weights and batch order."""
    splits = [split(dataset, seed) for seed in range(seeds)]
    for seed, batch_size, norm in itertools.product(range(seeds), batch_sizes, norms):
        yield one_run(splits[seed], norm, batch_size, seed, epochs, **parameters)
