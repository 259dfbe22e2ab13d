"""Training with curves: an estimator is fitted once, and measured after each epoch at little cost."""

import functools
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from normkit import distributed
from normkit.estimators import MLPClassifier, MLPRegressor
from normkit.experiments.data import Split
from normkit.experiments.data.targets import spread
from normkit.experiments.errors import DataError

_INTERRUPTED = "Training interrupted by user"


@dataclass
class Epoch:
    """Loss and score after an epoch, both sets measured with the model as it predicts."""

    loss: float
    score: float  # accuracy, or R2 of a regression
    val_loss: float
    val_score: float
    seconds: float  # of training alone, without the measuring


class Interrupted(KeyboardInterrupt):
    """Ctrl-C ended a fit after some epochs; the model is that of the last one."""

    def __init__(self, epochs: list[Epoch]):
        super().__init__("interrupted")
        self.epochs = epochs


class Measure:
    """Loss and score of models on one set: cross-entropy and accuracy, or mean squared error and R2.

    scikit-learn's metrics give the same numbers; most of their time, which is more than that of an epoch on a small
    set, goes into looking at the labels anew at each call.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        As it would pass the estimator's validation: float32 or float64.
    y : ndarray of shape (n_samples,)
    classes : ndarray of shape (n_classes,) or None
        The labels in order; None for a regression.
    """

    def __init__(self, X, y, classes=None):
        self._X = X
        self._codes: Any = None if classes is None else np.searchsorted(classes, y)
        if classes is None:
            self._y = np.asarray(y, np.float64)
            self._spread = spread(self._y)

    def __call__(self, model) -> tuple[float, float]:
        """Return (loss, score); (inf, nan) where the model predicts no finite numbers."""
        outputs = model._forward_pass_fast(self._X, check_input=False)  # scikit-learn's name
        if not np.isfinite(outputs).all():
            return float("inf"), float("nan")
        with np.errstate(over="ignore"):
            return self._regression(outputs) if self._codes is None else self._classification(outputs)

    def _classification(self, outputs):
        codes = self._codes
        smallest = np.finfo(outputs.dtype).eps
        outputs = outputs.astype(np.float64)
        if outputs.shape[1] == 1:
            right = (outputs[:, 0] > 0.5) == codes
            outputs = np.hstack([1 - outputs, outputs])
        else:
            right = outputs.argmax(axis=1) == codes
        chosen = outputs[np.arange(len(codes)), codes] / outputs.sum(axis=1)
        return float(-np.log(np.clip(chosen, smallest, 1)).mean()), float(right.mean())

    def _regression(self, outputs):
        loss = float(np.mean((self._y - outputs.reshape(self._y.shape).astype(np.float64)) ** 2))
        return loss, r2(loss, self._spread)


def r2(loss: float, spread: float) -> float:
    """Return R2 of a mean squared error and a variance; of a constant target as scikit-learn's r2_score has it."""
    return 1 - loss / spread if spread else float(loss == 0)


class _Watch:
    """An `epoch_callback` that measures, and ends training with the last epoch or where it diverged."""

    def __init__(self, measures, epochs, on_epoch):
        self.curves: list[Epoch] = []
        self.ended = self.diverged = False
        self._measures, self._epochs, self._on_epoch = measures, epochs, on_epoch
        self._start = time.perf_counter()

    def __call__(self, model):
        seconds = time.perf_counter() - self._start
        (loss, score), (val_loss, val_score) = (measure(model) for measure in self._measures)
        self.diverged = not np.isfinite([loss, val_loss]).all()
        if not self.diverged:
            self.curves.append(Epoch(loss, score, val_loss, val_score, seconds))
            if self._on_epoch is not None:
                self._on_epoch(model, len(self.curves), self.curves[-1])
        self.ended = self.diverged or len(self.curves) == self._epochs
        self._start = time.perf_counter()
        return self.ended


@contextmanager
def _interruptible(interrupts: list[Warning]) -> Iterator[None]:
    """Let Ctrl-C end training: scikit-learn's loop swallows it and warns, and the warning comes into the list."""
    # it reaches the main thread alone, and the filters of warnings belong to all threads
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("always", message=_INTERRUPTED)
        # a run that diverged is recorded as such
        warnings.filterwarnings("ignore", message="Training diverged", category=ConvergenceWarning)
        show = warnings.showwarning

        # no filter that makes it an error: a fit that ends with an error leaves no model
        def listen(message, *arguments, **options):
            if str(message).startswith(_INTERRUPTED):
                interrupts.append(message)
            else:
                show(message, *arguments, **options)

        warnings.showwarning = listen
        yield
    if interrupts:
        raise KeyboardInterrupt


def load_machine_code(data: Split) -> None:
    """Compile the engine for such data, or read it from the disk, so that it is in no epoch's time."""
    _load_machine_code(data.task, data.X_train.dtype)


@functools.cache
def _load_machine_code(task, dtype):
    X, y = np.zeros((2, 1), dtype), np.arange(2)
    estimator, classes = (MLPRegressor, None) if task == "regression" else (MLPClassifier, y)
    model = estimator(hidden_layer_sizes=(1,), max_iter=1, n_threads=1, epoch_callback=lambda model: True)
    with _interruptible([]):
        model.fit(X, y)
    Measure(X, y, classes)(model)


def fit(
    model: MLPClassifier | MLPRegressor,
    data: Split,
    epochs: int,
    on_epoch: Callable[[MLPClassifier | MLPRegressor, int, Epoch], None] | None = None,
    comm: Any = None,
) -> tuple[bool, list[Epoch]]:
    """Fit a new model for a number of epochs, measuring training and validation set after each.

    Parameters
    ----------
    model : MLPClassifier or MLPRegressor
    data : Split
    epochs : int
    on_epoch : callable, optional
        Called with the model, the number of the epoch, from 1, and its `Epoch`; in no epoch's time.
    comm : mpi4py.MPI.Comm, optional
        Of ranks that train together, each on its part of the training rows. Rank 0 measures, and calls `on_epoch`.

    Returns
    -------
    ended : bool
        False if training diverged.
    curves : list of Epoch
        As far as it went.

    Raises
    ------
    Interrupted
        At Ctrl-C, after the epoch.
    """
    classes = data.classes
    load_machine_code(data)
    measures = [Measure(X, y, classes) for X, y in ((data.X_train, data.y_train), (data.X_val, data.y_val))]
    model.set_params(max_iter=epochs, tol=0.0, n_iter_no_change=np.inf)
    known = classes is None or len(np.unique(data.y_train)) == len(classes)
    watch = _Watch(measures, epochs, on_epoch)
    model.set_params(epoch_callback=watch if comm is None or comm.rank == 0 else None)
    interrupts: list[Warning] = []
    with np.errstate(all="ignore"):
        try:
            with _interruptible(interrupts):
                _fit(model, data, known, watch, comm, interrupts)
        except ValueError as error:
            if "non-finite" not in str(error):
                raise
            watch.diverged = True
        except KeyboardInterrupt:
            # all ranks know of an interrupt between epochs; then rank 0 has what there is still to be done
            raise Interrupted(comm.bcast(watch.curves) if comm is not None and interrupts else watch.curves) from None
        finally:
            model.set_params(epoch_callback=None)
    diverged, curves = watch.diverged, watch.curves
    if comm is not None:
        diverged, curves = comm.bcast((diverged, curves))
    return not diverged, curves


def _fit(model, data, known, watch, comm, interrupts):
    if comm is not None:
        if not known:
            raise DataError("the training rows lack a class, which several ranks cannot train with")
        part = slice(comm.rank, None, comm.size)
        distributed.fit(model, data.X_train[part], data.y_train[part], comm=comm)
    elif known:
        model.fit(data.X_train, data.y_train)
    else:  # fit would know the training set's classes alone
        while not watch.ended and not interrupts:
            model.partial_fit(data.X_train, data.y_train, classes=data.classes)
