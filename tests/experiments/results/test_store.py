"""The folder of an experiment: nothing lost, nothing torn, nobody else writing."""

import errno
import fcntl
import json
import math
import os
import subprocess
import sys
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normkit.experiments.configuration import parse
from normkit.experiments.errors import DataError
from normkit.experiments.records import Condition, Run, run_id, to_json
from normkit.experiments.results import store as module
from normkit.experiments.results.store import Store, holds_experiment, in_order, read_environment, read_runs


def run(seed=0, status="ok", **values):
    condition = Condition("batch", batch_size=8)
    name = run_id(condition, seed)
    return Run(name, condition, seed, 0, status, "accuracy", 10, test_score=0.5, **values)


def reject(constant):
    raise AssertionError(f"{constant} is not JSON")


def test_runs_come_back(tmp_path):
    runs = [run(0, curves={"loss": [1.0, 0.5]}), run(1, "failed", error="é\n\u2028")]
    with Store(tmp_path) as store:
        for one in runs:
            store.add(one)
            assert read_runs(tmp_path)[-1] == one  # it is there at once
    assert read_runs(tmp_path) == runs
    assert len((tmp_path / "results.jsonl").read_bytes().split(b"\n")) == 3
    with Store(tmp_path) as store:
        assert store.runs == runs


@pytest.mark.parametrize("cut", [1, 2, 40, -2])
def test_a_torn_last_line_is_ignored_and_cut(tmp_path, cut):
    with Store(tmp_path) as store:
        for seed in range(2):
            store.add(run(seed))
    path = tmp_path / "results.jsonl"
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    path.write_bytes(whole[: first + cut] if cut > 0 else whole[:cut])
    assert read_runs(tmp_path) == [run(0)]
    with Store(tmp_path) as store:
        assert store.runs == [run(0)]
        store.add(run(1))
    assert path.read_bytes() == whole


def test_a_last_line_that_lacks_its_end_alone_counts(tmp_path):
    path = tmp_path / "results.jsonl"
    with Store(tmp_path) as store:
        store.add(run(0))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert read_runs(tmp_path) == [run(0)]
    with Store(tmp_path) as store:
        assert store.runs == [run(0)] and path.read_bytes() == whole
    path.write_bytes(whole + b"{}")
    with pytest.raises(DataError, match="line 2 is not a run"):
        read_runs(tmp_path)


@pytest.mark.parametrize(
    "function", [Store, read_runs, read_environment, lambda path: parse(path / "config.toml")],
    ids=["Store", "read_runs", "read_environment", "parse"],
)  # fmt: skip
def test_a_pipe_is_not_waited_for(tmp_path, function):
    for name in ("results.jsonl", "environment.json", "config.toml"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="not a regular file"):
        function(tmp_path)


def test_a_file_system_without_locks_is_written_to(tmp_path, monkeypatch):
    def refuse(*unused):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with Store(tmp_path) as store:
        store.add(run(0))
    assert read_runs(tmp_path) == [run(0)]


def test_text_that_utf8_does_not_hold_is_the_users_to_mend(tmp_path):
    with Store(tmp_path) as store, pytest.raises(DataError, match="cannot write .*config.toml: 'utf-8' codec"):
        store.write_text("config.toml", 'dataset = "caf\udce9.csv"')


@pytest.mark.parametrize("name", ["data", "versions"])
def test_an_environment_of_another_kind(tmp_path, name):
    (tmp_path / "environment.json").write_text(json.dumps({name: [1]}))
    with pytest.raises(DataError, match=f"environment.json: '{name}' is not a JSON object"):
        read_environment(tmp_path)


def test_a_run_that_is_repeated_counts_once_in_its_place(tmp_path):
    with Store(tmp_path) as store:
        for one in (run(0, "failed"), run(1), run(0)):
            store.add(one)
    assert read_runs(tmp_path) == [run(0), run(1)]


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"{}", b"1", b"\xff", b'{"config": {}}', b'{"config": 3}'])
def test_a_line_that_is_no_run_is_named(tmp_path, line):
    with Store(tmp_path) as store:
        store.add(run(0))
    with open(tmp_path / "results.jsonl", "ab") as file:
        file.write(line + b"\n")
    with pytest.raises(DataError, match="results.jsonl, line 2 is not a run"):
        read_runs(tmp_path)
    with pytest.raises(DataError, match="line 2"):
        Store(tmp_path)


def test_two_writers_are_refused_and_a_killed_one_is_no_hindrance(tmp_path):
    with Store(tmp_path), pytest.raises(DataError, match="another process is writing to"):
        Store(tmp_path)
    code = (
        "import os, signal, sys; from normkit.experiments.results.store import Store; store = Store(sys.argv[1]); "
        "print('open', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "open\n"
    with pytest.raises(DataError, match="another process is writing to"):
        Store(tmp_path)
    other.kill()
    other.communicate()
    with Store(tmp_path) as store:
        assert store.runs == []


def test_a_full_disk_is_an_error(tmp_path, monkeypatch):
    with Store(tmp_path) as store:
        monkeypatch.setattr(module.os, "write", lambda file, data: len(data) - 1)
        with pytest.raises(OSError, match="the disk is full"):
            store.add(run(0))


def test_a_folder_that_cannot_be_written_is_the_users_to_mend(tmp_path):
    (tmp_path / "results.jsonl").mkdir()
    with pytest.raises(DataError, match="cannot write"):
        Store(tmp_path)
    with pytest.raises(DataError, match="cannot read"):
        read_runs(tmp_path / "nowhere")


def test_each_run_is_one_write_that_reaches_the_disk(tmp_path, monkeypatch):
    calls = []
    for name in ("write", "fsync"):
        function = getattr(os, name)
        monkeypatch.setattr(module.os, name, lambda *a, f=function, n=name: calls.append((n, *a)) or f(*a))
    with Store(tmp_path) as store:
        store.add(run(0))
    assert [name for name, *_ in calls] == ["write", "fsync"] and calls[0][2].endswith(b"\n")


numbers = st.floats(allow_nan=True, allow_infinity=True) | st.integers() | st.text() | st.none() | st.booleans()
trees = st.recursive(numbers, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


def finite(value):
    if isinstance(value, dict):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@given(trees)
def test_json_is_strict(value):
    assert json.loads(to_json(value), parse_constant=reject) == finite(value)


def test_json_of_a_run_with_what_is_no_number(tmp_path):
    with Store(tmp_path) as store:
        store.add(run(0, train_loss=float("nan"), diagnostics=[{"epoch": 1, "mean": float("inf")}]))
    record = json.loads((tmp_path / "results.jsonl").read_text(), parse_constant=reject)
    assert record["train_loss"] is None and record["diagnostics"][0]["mean"] is None
    assert record["config"] == {**asdict(Condition("batch", batch_size=8)), "hidden": [64, 64]}


def test_what_holds_an_experiment(tmp_path):
    assert not holds_experiment(tmp_path)
    with Store(tmp_path) as store:
        assert not holds_experiment(tmp_path)
        store.add(run(0))
    assert holds_experiment(tmp_path)
    (tmp_path / "results.jsonl").unlink()
    (tmp_path / "config.toml").touch()
    assert holds_experiment(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_environment_must_be_an_object(tmp_path, content):
    with pytest.raises(DataError, match="cannot read"):
        read_environment(tmp_path)
    (tmp_path / "environment.json").write_text(content)
    with pytest.raises(DataError, match="is not a JSON object"):
        read_environment(tmp_path)


def test_order_is_that_of_the_names():
    runs = [run(2), run(0), run(1)]
    names = [run(seed).run_id for seed in (0, 5, 1, 2)]
    assert [one.seed for one in in_order(runs, names)] == [0, 1, 2]
