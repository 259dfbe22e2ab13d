"""``mpirun -n 2 normkit train``: one model, one voice, one line for an error."""

import os
import re
import subprocess
import sys

import pytest

from normkit import load

TRAIN = ["-m", "normkit", "train", "--dataset", "table.csv", "--target", "kind", "--epochs", "2", "--hidden", "8"]


def test_two_ranks_train_one_model(start, table, tmp_path):
    result = start([*TRAIN, "--batch-size", "54", "--output", "two"]).end()
    assert result.code == 0, result.out + result.err
    assert len(re.findall(r"^Epoch \d/2 ", result.out, re.MULTILINE)) == 2
    assert result.out.count("Test loss") == 1 and (tmp_path / "two" / "run.json").exists()
    # one batch holds all rows, in whatever order: one process finds the same
    alone = subprocess.run(
        [sys.executable, *TRAIN, "--batch-size", "54"], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert alone.returncode == 0, alone.stderr
    for pattern in (r"  loss ([\d.]+)", r"val_loss ([\d.]+)", r"Test loss ([\d.]+)"):
        assert re.findall(pattern, result.out) == re.findall(pattern, alone.stdout) != []


def test_wrong_data_is_refused_by_all(start, table):
    result = start([*TRAIN, "--norm", "batch", "--batch-size", "1"]).end()
    assert result.code == 2 and "Error: batch normalization needs batches of 2" in result.err
    assert "Traceback" not in result.err


PROGRAM = """
import sys
from mpi4py import MPI
rank = MPI.COMM_WORLD.rank
sys.argv[1:] = {arguments!r}
{broken}
from normkit_cli.main import main
main()
"""


@pytest.mark.parametrize(
    "broken, code, message",
    [
        ("sys.argv[3] = 'missing.csv' if rank else sys.argv[3]", 2, "rank 1 failed: DataError"),
        # between reading the data and training, where the other rank does not listen
        (
            "from normkit.experiments.running import one_run\nif rank: one_run.new_model = lambda *a: 1 / 0",
            1,
            "ZeroDivisionError",
        ),
    ],
)
def test_what_one_rank_alone_cannot_do_ends_both(broken, code, message, start, table, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(arguments=TRAIN[2:], broken=broken))
    result = start(["-m", "mpi4py", str(program)]).end()
    # the launcher's code is that of the rank which ended first, and the other rank's failure is 1
    assert result.code in (code, 1) and message in result.err, result


# Ctrl-C in the first epoch, and a disk on which saving takes longer than ranks wait for one that failed
INTERRUPTED = """
import importlib, os, signal, time
from normkit import distributed
from normkit.experiments.running import one_run
fit, train = one_run.fit, importlib.import_module("normkit_cli.train")
keep, distributed.leaving_none_behind.__wrapped__.__defaults__ = train._keep, (0.2,)
def interrupted_fit(model, data, epochs, on_epoch, comm):
    def interrupt(*epoch):
        on_epoch(*epoch)
        os.kill(os.getpid(), signal.SIGINT)
    return fit(model, data, epochs, interrupt, comm)
def slow_keep(*arguments):
    time.sleep(2)
    keep(*arguments)
one_run.fit, train._keep = interrupted_fit, slow_keep
"""


def test_ctrl_c_keeps_the_model_however_long_that_takes(start, table, tmp_path):
    program = tmp_path / "program.py"
    arguments = [*TRAIN[2:], "--save", "model.safetensors"]
    program.write_text(PROGRAM.format(arguments=arguments, broken=INTERRUPTED))
    result = start(["-m", "mpi4py", str(program)]).end()
    assert "Training was interrupted after epoch 1 of 2." in result.err and "Traceback" not in result.err, result
    model, _ = load(tmp_path / "model.safetensors", return_metadata=True)
    assert result.code != 0 and model.n_iter_ == 1


def test_launcher_without_mpi4py_and_of_another_mpi(table, tmp_path):
    """What a launcher tells in the environment, without one."""
    environment = {**os.environ, "OMPI_COMM_WORLD_SIZE": "2"}
    hidden = "import sys; sys.modules['mpi4py'] = None\nfrom normkit import distributed\ndistributed.world()"
    done = subprocess.run([sys.executable, "-c", hidden], env=environment, capture_output=True, text=True, timeout=300)
    assert "ImportError: an MPI launcher started 2 processes" in done.stderr
    assert "pip install 'normkit[mpi]'" in done.stderr
    alone = "from normkit import distributed\nassert distributed.world() is None"
    environment.pop("OMPI_COMM_WORLD_SIZE")
    subprocess.run([sys.executable, "-c", alone], env=environment, check=True, timeout=300)
    other = "import os, mpi4py.MPI\nos.environ['PMI_SIZE'] = '2'\nfrom normkit import distributed\ndistributed.world()"
    done = subprocess.run([sys.executable, "-c", other], env=environment, capture_output=True, text=True, timeout=300)
    assert "RankError: an MPI launcher started 2 processes, but in mpi4py each is alone" in done.stderr
