"""One model trained and kept, where `perform` keeps the record alone."""

from collections.abc import Callable
from typing import Any

from normkit.experiments.data import Split
from normkit.experiments.perform import complete, new_model, new_run
from normkit.experiments.records import Condition, Run
from normkit.experiments.training import Epoch, fit


def train(
    data: Split, condition: Condition, seed: int, on_epoch: Callable[[int, Epoch], None] | None = None, comm: Any = None
) -> tuple[object, Run]:
    """Train the model that `perform` trains for this condition and seed, on all cores.

    With `comm`, an MPI communicator, its ranks train together (`normkit.distributed`); `on_epoch` is called on rank 0.

    Returns
    -------
    model : MLPClassifier or MLPRegressor
    run : Run
        Its status is "diverged" where training or the test set ended in no finite numbers.
    """
    run = new_run(data, condition, seed)
    model = new_model(condition, data, seed).set_params(n_threads=None)

    def show(model, number, epoch):
        if on_epoch is not None:
            on_epoch(number, epoch)

    ended, epochs = fit(model, data, condition.epochs, show, comm)
    complete(run, data, model, ended, epochs)
    # as plain values: the model of a file goes on from the seed, and needs no first weights any more
    model.set_params(random_state=seed, coefs_init=None, intercepts_init=None)
    return model, run
