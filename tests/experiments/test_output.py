"""Files of an experiment beside its runs: strict, whole, valid against the schemas that are shipped."""

import csv
import json
import os
import stat
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from normkit.experiments import output, results
from normkit.experiments.errors import DataError
from normkit.experiments.experiment import Experiment
from normkit.experiments.records import Condition, Run, Summary, to_csv
from normkit.experiments.results import environment
from normkit.experiments.results.store import Store, prepare, read_runs

VALUES = {
    "dataset": "iris", "norms": ["none", "batch"], "batch_sizes": [16], "hidden": [[6]], "epochs": 2, "seeds": 2,
    "learning_rates": [0.01, 1e30],
}  # fmt: skip
SCHEMAS = Path(results.__file__).parent / "schemas"


def reject(constant):
    raise AssertionError(f"{constant} is not JSON")


def schema(name):
    return json.loads((SCHEMAS / f"{name}.schema.json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with runs of each status."""
    path = tmp_path_factory.mktemp("results")
    experiment = Experiment({**VALUES, "diagnose": True})
    with Store(path) as store:
        output.begin(store, experiment, "serial", 1)
        runs = list(experiment.run(experiment.tasks, "serial", 1))
        runs[0].status, runs[0].error = "failed", "MemoryError: of a test"
        for name in ("test", "validation", "train"):
            for what in ("score", "loss"):
                setattr(runs[0], f"{name}_{what}", None)
        for run in runs:
            store.add(run)
        output.finish(store, experiment, runs, experiment.summarize(runs))
    return path


def test_runs_and_summary_are_valid_against_the_schemas(folder):
    jsonschema = pytest.importorskip("jsonschema")
    lines = (folder / "results.jsonl").read_text().splitlines()
    records = [json.loads(line, parse_constant=reject) for line in lines]
    assert {record["status"] for record in records} == {"ok", "diverged", "failed"} and len(records) == 8
    for record in records:
        jsonschema.validate(record, schema("run"))
    summary = json.loads((folder / "summary.json").read_text(), parse_constant=reject)
    jsonschema.validate(summary, schema("summary"))
    assert summary["cells"] and summary["verdicts"] and summary["benefits"]
    json.loads((folder / "environment.json").read_text(), parse_constant=reject)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"test_score": None}, "None is not of type 'number'"), ({"status": "done"}, "'done' is not one of"),
        ({"schema": 1}, "2 was expected"), ({"surplus": 1}, "'surplus' was unexpected"),
        ({"run_id": "xyz"}, "does not match"), ({"curves": {"loss": ["x"]}}, "'x' is not of type 'number'"),
    ],
)  # fmt: skip
def test_the_schema_refuses_what_is_no_run(folder, change, words):
    jsonschema = pytest.importorskip("jsonschema")
    record = json.loads((folder / "results.jsonl").read_text().splitlines()[1])
    assert record["status"] == "ok"
    faults = jsonschema.Draft202012Validator(schema("run")).iter_errors({**record, **change})
    assert any(words in fault.message for fault in faults)


@pytest.mark.parametrize(("name", "record"), [("run", Run), ("summary", Summary)])
def test_schemas_know_every_field(name, record):
    known = schema(name)
    assert set(known["properties"]) == set(known["required"]) == {f.name for f in fields(record)}
    assert set(known["$defs"]["condition"]["properties"]) == {f.name for f in fields(Condition)}


def test_csv_has_a_line_a_run_and_blanks_where_there_is_nothing(folder):
    with open(folder / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    runs = read_runs(folder)
    assert [row["run_id"] for row in rows] == [run.run_id for run in runs]
    assert [row["test_score"] for row in rows] == [str(run.test_score or "") for run in runs]
    assert {row["hidden"] for row in rows} == {"6"} and "curves" not in rows[0] and "diagnostics" not in rows[0]
    assert [float(row["learning_rate"]) for row in rows[:3]] == [0.01, 0.01, 1e30]


def test_environment_tells_versions_machine_and_data(folder):
    there = json.loads((folder / "environment.json").read_text())
    assert {"python", "normkit", "numba", "numpy"} <= set(there["versions"])
    assert there["machine"]["cores"] == os.cpu_count() and there["machine"]["processor"]
    assert any(pool["user_api"] == "blas" for pool in there["libraries"])
    assert there["execution"] == {"backend": "serial", "processes": 1, "threads_per_run": 1}
    assert there["data"]["fingerprint"] == Experiment(VALUES).dataset.fingerprint
    assert (there["data"]["samples"], there["data"]["features"]) == (150, 4)


def test_report_and_plots_are_there(folder):
    assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert {path.suffix for path in (folder / "plots").iterdir()} == {".png", ".svg"}


def test_the_rules_are_stated_in_the_summary(folder):
    notes = json.loads((folder / "summary.json").read_text())["notes"]
    assert notes[:2] == ["epochs 2", "learning rates 0.01, 1e+30 at every batch size"]


def test_another_environment_is_told_and_other_data_refused(folder, monkeypatch):
    experiment = Experiment(VALUES)
    with Store(folder) as store:
        assert output.begin(store, experiment, "serial", 1) == []
        monkeypatch.setattr(environment, "version", lambda name: "0")
        assert any(note.startswith("numpy is 0 now, the first runs") for note in output.begin(store, experiment, "", 1))
        other = Experiment({**VALUES, "task": "classification"})
        other.dataset.y = other.dataset.y[::-1]
        with pytest.raises(DataError, match="the data of .* was changed"):
            output.begin(store, other, "serial", 1)
        with pytest.raises(DataError, match="are of another experiment"):
            output.begin(store, Experiment({**VALUES, "seeds": 1}), "serial", 1)


def test_the_folder_can_be_resumed_only_once_it_tells_what_it_is(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with Store(tmp_path) as store:
        monkeypatch.setattr(store, "write_text", interrupt)
        with pytest.raises(KeyboardInterrupt):
            output.begin(store, Experiment(VALUES), "serial", 1)
    assert sorted(os.listdir(tmp_path)) == ["environment.json", "results.jsonl"]


def test_csv_of_a_run_holds_its_whole_record():
    run = Run("a", Condition(), 0, 0, "ok", "accuracy", 1)
    row = next(csv.DictReader(to_csv([run], without=output.NO_COLUMNS).splitlines()))
    assert set(row) == (set(asdict(run)) | set(asdict(run.config))) - {"config", "curves", "diagnostics"}


def test_prepare_makes_folders_and_leaves_them_empty(tmp_path):
    path = prepare(str(tmp_path / "a" / "b"))
    assert path.is_dir() and not list(path.iterdir())


def test_prepare_refuses_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="it is a file"):
        prepare(tmp_path / "file")
    with pytest.raises(DataError, match="cannot write to the output directory"):
        prepare(tmp_path / "file" / "below")


def test_written_files_have_the_usual_permissions(tmp_path):
    before = os.umask(0o027)
    try:
        with Store(tmp_path) as store:
            store.write_text("file", "x")
    finally:
        os.umask(before)
    for name in ("file", "results.jsonl"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_prepare_refuses_a_folder_without_permission(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(DataError, match="Permission denied"):
        prepare(folder)
