"""What goes wrong on one rank ends all of them: nobody waits for ever."""

import os
import re
import signal

import pytest
from jobs import Job
from slow import nightly

HEAD = """
import os, sys, time, warnings
from pathlib import Path
import numpy as np
from mpi4py import MPI
from normkit import MLPClassifier, MLPRegressor, distributed
comm = MPI.COMM_WORLD
rank = comm.rank
X = np.random.default_rng(rank).normal(size=(40, 4))
y = (X[:, 0] > 0).astype(int)
FIT = {"hidden_layer_sizes": (5,), "normalization": "batch", "batch_size": 16, "max_iter": 4, "n_iter_no_change": 99}
"""
# each rank tells what it got of each case, and is well afterwards: it comes to the next one
CASE = """
def fit(X, y):
    model, options = MLPClassifier(**FIT), {{}}
    {change}
    distributed.fit(model, X, y, **options)

try:
    fit(X.copy(), y.copy())
    print(f"<rank {{rank}}: {number} fitted>", flush=True)
except BaseException as error:
    # one line: mpirun mixes those of several ranks
    print(f"<rank {{rank}}: {number} {{type(error).__name__}}: {{str(error).splitlines()[0]}}>", flush=True)
comm.Barrier()
"""


# what goes wrong, and what the ranks say; None where the other rank's failure is told
CASES = [
    # before training
    ("X[3, 2] = np.nan if rank else 1", None, "ValueError: Input X contains NaN"),
    ("X = X[:, :3] if rank else X", "ValueError: features must be the same on all ranks, got 3 on rank 1 and 4 on",
     "ValueError: features must be the same on all ranks, got 4 on rank 0 and 3 on rank 1"),
    ("y = np.stack([y] * (2 + rank), axis=1)", "ValueError: outputs must be the same on all ranks, got 3 on rank 1 and",
     "ValueError: outputs must be the same on all ranks, got 2 on rank 0 and 3 on rank 1"),
    ("X = X.astype(np.float32) if rank else X", "ValueError: dtype must be the same", "ValueError: dtype must be"),
    ("model.set_params(batch_size=8 + rank)", "ValueError: batch_size must be the same on all ranks, got 9 on",
     "ValueError: batch_size must be the same on all ranks, got 8 on rank 0 and 9 on rank 1"),
    ("y = y.astype(str) if rank else y", "ValueError: label_kind must be", "ValueError: label_kind must be"),
    ("X, y = (X[:0], y[:0]) if rank else (X, y)", None, "ValueError: "),
    # what the ranks cannot do together
    ("model.set_params(solver='lbfgs')", *2 * ["ValueError: several ranks cannot train with solver='lbfgs'"]),
    ("model.set_params(early_stopping=True)", *2 * ["ValueError: several ranks cannot train with early_stopping"]),
    ("model.set_params(class_weight='balanced')", *2 * ["ValueError: several ranks cannot train with class"]),
    ("options['synchronize'] = False; model.set_params(normalization='renorm')",
     *2 * ["ValueError: several ranks cannot train with normalization='renorm'"]),
    ("options['synchronize'] = False; X, y = (X[:3], y[:3]) if rank else (X, y)", None,
     "ValueError: normalization with the statistics of each rank"),
    # between epochs
    ("model.set_params(epoch_callback=lambda m: 1 / (2 - m.n_iter_ * rank))", None, "ZeroDivisionError: "),
    ("model.set_params(epoch_callback=lambda m: sys.exit('enough') if not rank else None)", "SystemExit: enough",
     None),
]  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What each rank said of each case; all are in one program, since to start a rank takes seconds."""
    folder = tmp_path_factory.mktemp("cases")
    cases = [CASE.format(number=number, change=change) for number, (change, *_) in enumerate(CASES)]
    (folder / "program.py").write_text(HEAD + "".join(cases))
    result = Job(["-m", "mpi4py", str(folder / "program.py")], folder, 2).end()
    assert result.code == 0, result.out + result.err
    found = re.findall(r"<rank (\d): (\d+) (.*?)>\n", result.out)
    assert len(found) == 2 * len(CASES), result.out
    return {(rank, int(number)): said for rank, number, said in found}


@pytest.mark.parametrize("number", range(len(CASES)), ids=[change for change, *_ in CASES])
def test_one_rank_raises(number, outcomes):
    errors = {rank: outcomes[rank, number] for rank in "01"}
    for rank, other, expected in zip("01", "10", CASES[number][1:], strict=True):
        if expected is None:
            assert errors[rank].startswith(f"RankError: rank {other} failed: "), errors
            assert errors[rank].removeprefix(f"RankError: rank {other} failed: ").startswith(errors[other][:20])
        else:
            assert errors[rank].startswith(expected), errors


def test_a_copy_of_the_model_is_of_one_process(start):
    result = start(HEAD + """
import copy
copies = []
model = MLPClassifier(**FIT, epoch_callback=lambda m: copies.append(copy.deepcopy(m)))
distributed.fit(model, X, y)
if rank == 0:
    np.testing.assert_array_equal(copies[-1].predict_proba(X), model.predict_proba(X))
    copies[-1].set_params(warm_start=True, epoch_callback=None, max_iter=1).fit(X, y)  # waits for no other
    assert len(copies[-1].loss_curve_) == 5
print(f"<rank {rank}: fitted>", flush=True)
""").end(120)  # fmt: skip
    assert result.code == 0 and sorted(re.findall(r"<rank \d: fitted>", result.out)) == [
        "<rank 0: fitted>", "<rank 1: fitted>",
    ], result.out + result.err  # fmt: skip


def test_error_within_an_epoch_aborts(start):
    result = start(HEAD + """
from normkit.distributed._ranks import Ranks
add, calls = Ranks.add, []
def broken(self, array):
    calls.append(1)
    if rank == 1 and len(calls) == 7:
        raise MemoryError("no room")
    add(self, array)
Ranks.add = broken
distributed.fit(MLPClassifier(**FIT), X, y)
print("fitted")
""").end()  # fmt: skip
    assert result.code != 0 and "MemoryError: no room" in result.err and "fitted" not in result.out


@nightly  # it is the launcher that ends the other
def test_killed_rank_ends_the_other(start):
    result = start(HEAD + """
def callback(model):
    if rank == 1 and model.n_iter_ == 2:
        os.kill(os.getpid(), 9)
distributed.fit(MLPClassifier(epoch_callback=callback, **FIT), X, y)
print("fitted")
""").end()  # fmt: skip
    assert result.code != 0 and "fitted" not in result.out


@nightly  # it is mpi4py's runner that ends the other
def test_error_outside_of_fit_ends_the_other(start):
    result = start(HEAD + """
if rank == 1:
    raise FileNotFoundError("shard 1")
distributed.fit(MLPClassifier(**FIT), X, y)
print("fitted")
""").end()  # fmt: skip
    assert result.code != 0 and "FileNotFoundError: shard 1" in result.err and "fitted" not in result.out


INTERRUPTED = (
    HEAD
    + """
def interrupted(hurt, epochs):
    def callback(model):
        if model.n_iter_ == 1:
            Path(f"pid-{rank}.tmp").write_text(str(os.getpid()))
            Path(f"pid-{rank}.tmp").rename(f"pid-{rank}")
        if hurt == rank and model.n_iter_ == 3:
            os.kill(os.getpid(), 2)
    model = MLPClassifier(epoch_callback=callback, **{**FIT, "max_iter": epochs})
    before = __import__("signal").getsignal(2)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        distributed.fit(model, X, y)
    assert __import__("signal").getsignal(2) is before
    print(f"<rank {rank}: {model.n_iter_} {any('interrupted' in str(w.message) for w in said)} "
          f"{model.coefs_[0].sum().hex()}>", flush=True)
    comm.Barrier()
"""
)


def test_interrupt_of_one_rank_stops_all_after_the_epoch(start):
    """Of either rank: the interrupt comes while the other may be anywhere."""
    result = start(INTERRUPTED + "interrupted(0, 100)\ninterrupted(1, 100)\n").end()
    assert result.code == 0, result.out + result.err
    told = {rank: re.findall(rf"<rank {rank}: (.*?)>\n", result.out) for rank in (0, 1)}
    assert told[0] == told[1] and len(told[0]) == 2 and all(said.startswith("3 True") for said in told[0]), told


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_interrupt_of_the_launcher_ends_all(start, wait_until, tmp_path):
    job = start(INTERRUPTED + "interrupted(-1, 10**9)\n")
    files = [tmp_path / f"pid-{rank}" for rank in (0, 1)]
    wait_until(lambda: all(file.exists() for file in files) or job.process.poll() is not None, "no epoch ended")
    pids = [int(file.read_text()) for file in files]
    assert all(map(is_running, pids))
    job.process.send_signal(signal.SIGINT)
    job.end()
    wait_until(lambda: not any(map(is_running, pids)), "a rank still runs")
