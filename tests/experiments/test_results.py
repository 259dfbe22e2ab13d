"""Files of results: whole or not there, strict JSON, a table that reads back."""

import csv
import json
import os
import stat
from dataclasses import asdict

import pytest

from normkit.experiments import results
from normkit.experiments.errors import DataError
from normkit.experiments.runs import Epoch, Run
from normkit.experiments.statistics import summarize, verdicts

RUNS = [
    Run("none", 8, 0, 100, "ok", 0.9, 0.4, 0.3, 0.01, [Epoch(0.5, 0.8, 0.6, 0.7, 0.01)]),
    Run("none", 8, 1, 100, "diverged"),
    Run("batch", 8, 0, 100, "ok", 0.92, 0.3, 0.2, 0.02, [Epoch(0.4, 0.9, 0.5, 0.8, 0.02)]),
]


def reject(constant):
    raise AssertionError(f"{constant} is not JSON")


def test_json_holds_config_environment_verdicts_summary_and_runs(tmp_path):
    path = tmp_path / "results.json"
    results.write_json(path, {"batch_sizes": [8]}, RUNS, summarize(RUNS), verdicts(RUNS))
    document = json.loads(path.read_text(), parse_constant=reject)
    assert document["schema"] == 1 and document["config"] == {"batch_sizes": [8]}
    assert document["runs"] == [asdict(run) for run in RUNS]
    assert [cell["diverged"] for cell in document["summary"]] == [1, 0]
    assert document["verdicts"][0]["winner"] == "batch"
    assert document["environment"]["normkit"] and document["environment"]["cores"]


def test_json_refuses_nan_and_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        results.write_json(tmp_path / "results.json", {"x": float("nan")}, [], [], [])
    assert not list(tmp_path.iterdir())


def test_csv_has_a_line_a_run_and_blanks_for_the_diverged(tmp_path):
    results.write_csv(tmp_path / "results.csv", RUNS)
    with open(tmp_path / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["ok", "diverged", "ok"]
    assert rows[0]["test_accuracy"] == "0.9" and rows[1]["test_accuracy"] == ""
    assert "curves" not in rows[0]


def test_write_replaces_and_leaves_no_temporary_file(tmp_path):
    path = tmp_path / "file"
    for content in (b"old", b"new"):
        results.write(path, content)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_interrupted_write_keeps_the_old_file_and_leaves_no_temporary_one(tmp_path, monkeypatch):
    path = tmp_path / "file"
    results.write(path, b"old")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        results.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_have_the_usual_permissions(tmp_path):
    before = os.umask(0o027)
    try:
        results.write(tmp_path / "file", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_prepare_makes_folders_and_leaves_them_empty(tmp_path):
    path = results.prepare(str(tmp_path / "a" / "b"))
    assert path.is_dir() and not list(path.iterdir())


def test_prepare_refuses_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="it is a file"):
        results.prepare(tmp_path / "file")
    with pytest.raises(DataError, match="cannot write to the output directory"):
        results.prepare(tmp_path / "file" / "below")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_prepare_refuses_a_folder_without_permission(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(DataError, match="Permission denied"):
        results.prepare(folder)
