"""`fit`: what a user calls."""

import contextlib
import warnings

from sklearn.exceptions import ConvergenceWarning

from normkit.distributed._ranks import Ranks

# what may differ from rank to rank
_OWN = {"random_state", "verbose", "n_threads", "epoch_callback"}


def fit(model, X, y, sample_weight=None, *, validation_data=None, comm=None, synchronize=True):
    """Fit one model with all ranks of an MPI communicator, each on its own samples.

    To be called by every rank, with models of the same parameters. Each rank takes part in every batch with a share
    of samples that is its share of all; gradients are summed over the ranks, so that the result is what `model.fit`
    finds with the joined batches, to rounding. All ranks end with the same model, bit by bit. With ``shuffle=True``
    each rank shuffles its own samples.

    Parameters
    ----------
    model : MLPClassifier or MLPRegressor
        With solver "adam" or "sgd". `batch_size` counts the samples of all ranks, `n_threads` is of one rank.
        First weights are those of rank 0, or the model's own with ``warm_start=True``.
    X, y : array-like
        This rank's samples; at least one. Of the labels of a classification a rank may lack some.
    sample_weight : array-like, default=None
        Weights of this rank's samples.
    validation_data : tuple (X, y) or (X, y, sample_weight), default=None
        Rank 0 measures, the other ranks' need not be given. Also the "score" in `history_` is of the samples of
        rank 0 alone. Early stopping needs it.
    comm : mpi4py.MPI.Comm, default=None
        None: ``MPI.COMM_WORLD``.
    synchronize : bool, default=True
        Norms "batch" and "renorm" average over the samples of all ranks. False: "batch" averages over the rank's own
        part of the batch, as "ghost" always does, and its moving statistics are averaged over the ranks after each
        epoch.

    Returns
    -------
    model : MLPClassifier or MLPRegressor
        Fitted.

    Raises
    ------
    RankError
        If another rank failed, which raises its own error.
    ValueError
        If the ranks do not agree on parameters, features, outputs or the type of the data, or the model cannot be
        fitted like this.

    Notes
    -----
    Start scripts with ``mpirun -n 4 python -m mpi4py script.py``, so that an error outside of this function ends all
    ranks as well. Ctrl-C ends the training after the epoch, on all ranks; a second one aborts.
    """
    if comm is None:
        from mpi4py import MPI

        comm = MPI.COMM_WORLD
    ranks = Ranks(comm, synchronize)
    try:
        with ranks.together(), _quiet(model, ranks.rank > 0):
            ranks.same(**{name: repr(value) for name, value in model.get_params().items() if name not in _OWN})
            _check(model, ranks.first(lambda: validation_data is not None), synchronize)
            model._processes = ranks
            model.fit(X, y, sample_weight, validation_data=validation_data if ranks.rank == 0 else None)
    finally:
        model.__dict__.pop("_processes", None)
        ranks.free()
    return model


@contextlib.contextmanager
def _quiet(model, quiet):
    """Let rank 0 speak for all."""
    verbose = model.verbose
    with warnings.catch_warnings():
        if quiet:
            model.verbose = False
            warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            yield
        finally:
            model.verbose = verbose


def _check(model, validated, synchronize):
    for wrong, what in (
        (model.solver == "lbfgs", "solver='lbfgs': use 'adam' or 'sgd'"),
        (model.device != "cpu", f"device={model.device!r}: use 'cpu'"),
        (getattr(model, "class_weight", None) == "balanced", "class_weight='balanced': give a dict"),
        (model.early_stopping and not validated, "early_stopping=True without validation_data on rank 0"),
        (model.normalization == "renorm" and not synchronize, "normalization='renorm' with synchronize=False"),
    ):
        if wrong:
            raise ValueError(f"several ranks cannot train with {what}")
