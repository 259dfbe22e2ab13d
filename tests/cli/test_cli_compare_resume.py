"""normkit compare: what is on the disk survives kills, Ctrl-C and second writers, and is gone on with."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from slow import nightly

GRID = (
    "--dataset", "table.csv", "--target", "kind", "--hidden", "4", "--batch-sizes", "4,16", "--norms", "none,batch",
    "--seeds", "3", "--epochs", "3",
)  # fmt: skip


def start(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "normkit", "compare", *map(str, arguments)], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def results(directory):
    """All that was found, without the time that it took; whatever the order of the lines."""
    runs = {}
    for line in (directory / "results.jsonl").read_text().splitlines():
        run = json.loads(line)
        assert run["run_id"] not in runs, "run twice"
        del run["seconds"], run["curves"]["seconds"]
        runs[run["run_id"]] = run
    summary = json.loads((directory / "summary.json").read_text())
    for cell in summary["cells"]:
        del cell["seconds_per_epoch"]
    # sentences of speed aside, the same summary
    return runs, summary["cells"], summary["contrasts"], summary["verdicts"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder for the experiment that nothing interrupts."""
    return tmp_path_factory.mktemp("finished")


@pytest.fixture
def uninterrupted(finished, table):
    """The results of that experiment, whose folder the test has a copy of."""
    if not (finished / "whole").exists():
        shutil.copy(table, finished)
        running = start(finished, *GRID, "--output", "whole", "--jobs", "1")
        err = running.communicate(timeout=300)[1]
        assert running.returncode == 0, err
    shutil.copytree(finished / "whole", table.parent / "whole")
    config = table.parent / "whole" / "config.toml"
    config.write_text(config.read_text().replace(str(finished), str(table.parent)))
    return results(finished / "whole")


def killed_and_resumed(folder, kills, jobs, seed):
    """Kill the command at random moments, from its first line on; returns how many runs each kill left."""
    random_ = random.Random(seed)
    directory, left = folder / "killed", []
    arguments = [*GRID, "--output", directory]
    for _ in range(kills):
        # not to its pipes' end, which orphaned workers hold open until they notice
        with start(folder, *arguments, "--jobs", jobs) as running:
            # until another run is there or none, and then a moment within the next
            wanted = lines(directory / "results.jsonl") + random_.randrange(2)
            while lines(directory / "results.jsonl") < wanted and running.poll() is None:
                time.sleep(0.001)
            time.sleep(random_.random() * 0.05)
            running.kill()
        left.append(lines(directory / "results.jsonl"))
        if (directory / "config.toml").exists():
            arguments = ["--resume", directory]
    done = start(folder, *arguments, "--jobs", jobs)
    err = done.communicate(timeout=300)[1]
    assert done.returncode == 0, err
    return left


@pytest.mark.parametrize("jobs", [1, 2])
def test_kills_lose_nothing_and_repeat_nothing(table, uninterrupted, jobs):
    left = killed_and_resumed(table.parent, 3, jobs, seed=jobs)
    assert left == sorted(left) and 0 < left[-1] < 12
    assert results(table.parent / "killed") == uninterrupted


@nightly
@pytest.mark.parametrize("seed", range(10))
def test_twenty_kills_lose_nothing(table, uninterrupted, seed):
    killed_and_resumed(table.parent, 20, 2, seed)
    assert results(table.parent / "killed") == uninterrupted


def children(pid):
    """Processes that a process has started, and theirs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)
        except OSError:
            continue
        if int(fields[1].split()[1]) == pid:
            child = int(path.parent.name)
            found += [child, *children(child)]
    return found


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_ctrl_c_saves_what_is_done_tells_how_to_go_on_and_leaves_no_process(table, uninterrupted):
    folder = table.parent
    # as from a terminal: every process of the group gets the signal
    running = subprocess.Popen(
        [sys.executable, "-m", "normkit", "compare", *GRID, "--output", "a dir", "--jobs", "2"], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    while lines(folder / "a dir" / "results.jsonl") < 2:
        assert running.poll() is None
    workers = children(running.pid)
    assert len(workers) >= 2
    os.killpg(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130 and out == ""
    assert "Traceback" not in err
    shown = [line for line in err.splitlines() if not line.startswith(("[", "Note: ", "Compiling"))]
    saved = lines(folder / "a dir" / "results.jsonl")
    assert shown[0] == f"{saved} of 12 runs are saved. To go on:"
    assert shown[1] == "  normkit compare --resume 'a dir'" and shown[-1] == "Error: interrupted"
    # the tracker of temporary files goes last, by itself
    deadline = time.monotonic() + 30
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(alive, workers))
    done = start(folder, "--resume", "a dir", "--jobs", "1")
    assert done.communicate(timeout=300)[1].count("[") == 12 - saved
    assert results(folder / "a dir") == uninterrupted


def test_the_config_that_is_written_gives_the_same_again(normkit, table, uninterrupted):
    config = table.parent / "whole" / "config.toml"
    (table.parent / "elsewhere").mkdir()
    done = start(table.parent / "elsewhere", "--config", config, "--output", "again", "--jobs", "1", "--quiet")
    assert done.communicate(timeout=300)[1] == "" and done.returncode == 0
    again = table.parent / "elsewhere" / "again"
    assert results(again) == uninterrupted
    assert (again / "config.toml").read_text() == config.read_text()


def test_nothing_to_do_is_done(normkit, table, uninterrupted):
    before = (table.parent / "whole" / "results.jsonl").read_bytes()
    result = normkit("compare", "--resume", "whole")
    assert result.code == 0 and "12 of 12 runs are done already." in result.err
    assert (table.parent / "whole" / "results.jsonl").read_bytes() == before


def test_failed_runs_are_repeated(normkit, table, uninterrupted):
    path = table.parent / "whole" / "results.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    records[3] |= {"status": "failed", "error": "MemoryError: none left", "test_score": None, "test_loss": None}
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    result = normkit("compare", "--resume", "whole", "--jobs", 1)
    assert result.code == 0 and "11 of 12 runs are done already." in result.err
    kept = {}
    for line in path.read_text().splitlines():
        kept[json.loads(line)["run_id"]] = line
    path.write_text("".join(f"{line}\n" for line in kept.values()))
    assert results(table.parent / "whole") == uninterrupted


def refused(result, *words):
    assert result.code == 2 and result.out == "" and "Traceback" not in result.err
    assert result.err.startswith("Error: ") and result.err.count("\n") == 1
    for word in words:
        assert word in result.err


def test_what_would_mix_experiments_is_refused(normkit, table, uninterrupted):
    whole = table.parent / "whole"
    before = (whole / "results.jsonl").read_bytes()
    refused(normkit("compare", *GRID, "--output", "whole"), "whole holds an experiment already", "--resume whole")
    refused(normkit("compare", "--resume", "whole", "--seeds", "4"), "--seeds 3, not 4")
    refused(normkit("compare", "--resume", "whole", "--hidden", "5"), "--hidden 4, not 5")
    refused(normkit("compare", "--resume", "whole", "--output", "other"), "leave --output out")
    refused(normkit("compare", "--resume", "whole", "--quick"), "leave --quick out")
    refused(normkit("compare", "--resume", "nowhere"), "nowhere holds no experiment to resume")
    config = (whole / "config.toml").read_text()
    (whole / "config.toml").write_text(config.replace("epochs = 3", "epochs = 4"))
    refused(normkit("compare", "--resume", "whole"), "12 of 12 runs are of another experiment")
    (whole / "config.toml").write_text(config)
    text = table.read_text()
    table.write_text(text.replace("yes", "perhaps"))
    refused(normkit("compare", "--resume", "whole"), "was changed since")
    table.write_text(text)
    assert (whole / "results.jsonl").read_bytes() == before
    assert normkit("compare", "--resume", "whole", "--seeds", "3").code == 0


def test_a_second_writer_is_refused(normkit, table):
    running = start(table.parent, *GRID, "--epochs", "100000", "--output", "busy", "--jobs", "1")
    while not (table.parent / "busy" / "config.toml").exists():
        assert running.poll() is None
    refused(normkit("compare", "--resume", "busy"), "another process is writing to busy")
    running.kill()
    running.communicate()


def test_a_folder_without_its_environment_is_refused(normkit, table, uninterrupted):
    (table.parent / "whole" / "environment.json").unlink()
    refused(normkit("compare", "--resume", "whole"), "cannot read whole/environment.json")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seeds = 0", ["--seeds", "0 is not in the range"]),
        ("seeds = 2.5", ["--seeds", "'2.5' is not a valid integer"]),
        ("batch-sizes = []", ["--batch-sizes", "is no value"]),
        ("hidden = []", ["--hidden needs a value"]),
        ("batch-sizes = [[8]]", ["--batch-sizes", "is no value"]),
        ("norms = ['nope']", ["--norms", "'nope'"]),
        ("sedes = 2", ["unknown name 'sedes'; did you mean 'seeds'"]),
        ("config = 'a'", ["unknown name 'config'"]),
        ("resume = 'a'", ["unknown name 'resume'"]),
        ("learning-rate = 1\nlearning-rates = 1", ["two names for --learning-rates"]),
        ("preset = 'nope'", ["--preset", "'nope'"]),
        ("diagnose = 'perhaps'", ["--diagnose", "perhaps"]),
        ("[seeds]\na = 1", ["--seeds", "is no value"]),
    ],
)
def test_wrong_files(normkit, table, text, words):
    (table.parent / "file.toml").write_text(text)
    refused(normkit("compare", "--config", "file.toml", "--jobs", 1), *words)


def test_flags_win_over_the_file_and_it_over_the_preset(normkit, table):
    (table.parent / "file.toml").write_text(
        'preset = "ghost"\ndataset = "table.csv"\ntarget = "kind"\nhidden = [4, 3]\nseeds = 3\nepochs = 1\n'
        "batch-sizes = [8]\nquiet = true\njobs = 1\nformat = 'json'\n"
    )
    result = normkit("compare", "--config", "file.toml", "--seeds", "2")
    assert result.code == 0 and result.err == ""
    values = json.loads(result.out)["experiment"]
    assert values["preset"] == "ghost" and values["norms"] == ["batch", "ghost"] and values["solver"] == "sgd"
    assert values["hidden"] == [[4, 3]] and (values["seeds"], values["epochs"]) == (2, 1)
