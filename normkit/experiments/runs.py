"""One training run with its curves, and the grid of runs."""

import itertools
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field

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
    seconds: float


@dataclass
class Run:
    """Result of one run; `status` is "ok" or "diverged"."""

    normalization: str
    batch_size: int
    seed: int
    status: str = "ok"
    test_accuracy: float | None = None
    test_loss: float | None = None
    validation_loss: float | None = None
    seconds_per_epoch: float | None = None
    curves: list[Epoch] = field(default_factory=list)

    def as_dict(self):
        """Return the run as plain data."""
        return asdict(self)


def evaluate(model, X, y):
    """Return (cross-entropy, accuracy); (inf, nan) where the model predicts no finite numbers."""
    probabilities = model.predict_proba(X)
    if not np.isfinite(probabilities).all():
        return float("inf"), float("nan")
    labels = model.classes_[probabilities.argmax(axis=1)]
    return float(log_loss(y, probabilities, labels=model.classes_)), float(accuracy_score(y, labels))


def train(
    data: Split, epochs: int, seed: int, on_epoch: Callable[[int, Epoch], None] | None = None, **parameters
) -> tuple[MLPClassifier | None, list[Epoch]]:
    """Train for a number of epochs, measuring training and validation set after each.

    Returns the model, None if it diverged, and the curves.
    """
    # a generator, not a number: each epoch is a partial_fit, which would start the same shuffles anew
    model = MLPClassifier(random_state=np.random.RandomState(seed), **parameters)
    classes = np.unique(data.y_train)
    curves: list[Epoch] = []
    for number in range(1, epochs + 1):
        start = time.perf_counter()
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                model.partial_fit(data.X_train, data.y_train, classes=classes)
        except ValueError as error:
            if "non-finite" in str(error):
                return None, curves
            raise
        seconds = time.perf_counter() - start
        epoch = Epoch(
            *evaluate(model, data.X_train, data.y_train), *evaluate(model, data.X_val, data.y_val), seconds
        )
        if not np.isfinite(epoch.val_loss) or not np.isfinite(epoch.loss):
            return None, curves
        curves.append(epoch)
        if on_epoch is not None:
            on_epoch(number, epoch)
    return model, curves


def one_run(data: Split, normalization: str, batch_size: int, seed: int, epochs: int, **parameters) -> Run:
    """Train once and measure the test set."""
    result = Run(normalization, batch_size, seed)
    chosen = None if normalization == "none" else normalization
    model, result.curves = train(
        data, epochs, seed, normalization=chosen, batch_size=min(batch_size, len(data.X_train)), **parameters
    )
    if model is None:
        result.status = "diverged"
        return result
    result.test_loss, result.test_accuracy = evaluate(model, data.X_test, data.y_test)
    result.validation_loss = result.curves[-1].val_loss
    # the first epoch may contain compilation
    result.seconds_per_epoch = float(np.median([epoch.seconds for epoch in result.curves]))
    return result


def grid(
    dataset: Dataset, norms: list[str], batch_sizes: list[int], seeds: int, epochs: int, **parameters
) -> Iterator[Run]:
    """Run every combination; the same seed means the same split, first weights and batch order."""
    splits = [split(dataset, seed) for seed in range(seeds)]
    for seed, batch_size, norm in itertools.product(range(seeds), batch_sizes, norms):
        yield one_run(splits[seed], norm, batch_size, seed, epochs, **parameters)
