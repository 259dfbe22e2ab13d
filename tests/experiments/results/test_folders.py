"""Folders of experiments read again and put together, and what is refused."""

import json
import math
from dataclasses import asdict

import pytest
from drawn_runs import grid, lost, run

from normkit.experiments.errors import DataError
from normkit.experiments.results import folders
from normkit.experiments.statistics.summary import summarize


def folder(path, runs, fingerprint="f", config="", notes=(), versions="1"):
    """A folder as `normkit compare --output` leaves it."""
    path.mkdir()
    (path / "results.jsonl").write_text("".join(json.dumps(asdict(run)) + "\n" for run in runs))
    environment = {"data": {"fingerprint": fingerprint}, "notes": list(notes), "versions": {"normkit": versions}}
    (path / "environment.json").write_text(json.dumps(environment))
    (path / "config.toml").write_text(config)
    return path


def test_one_folder_gives_what_its_runs_say(tmp_path):
    runs = grid(("none", "batch"))
    path = folder(tmp_path / "a", runs[::-1], config='dataset = "digits"\nbatch-sizes = [8, 32]\n', notes=["a rule"])
    found, summary, (source,) = folders.summarize_folders([path])
    assert sorted(run.run_id for run in found) == sorted(run.run_id for run in runs)
    assert [(run.seed, run.config.batch_size) for run in found] == sorted((r.seed, r.config.batch_size) for r in runs)
    expected = summarize(runs)
    assert summary.notes == ["a rule", *expected.notes]
    assert {(c.config, round(c.test_score, 12)) for c in summary.cells} == {
        (c.config, round(c.test_score, 12)) for c in expected.cells
    }
    assert source.experiment == {"dataset": "digits", "batch_sizes": [8, 32]} and source.name == ""


def test_a_torn_last_line_is_no_run(tmp_path):
    path = folder(tmp_path / "a", grid())
    with open(path / "results.jsonl", "a") as file:
        file.write('{"run_id": "torn", "conf')
    assert len(folders.summarize_folders([path])[0]) == len(grid())


def test_the_same_run_in_two_folders_counts_once(tmp_path):
    both = grid(("none",))
    a = folder(tmp_path / "a", [*both, lost("batch", 8, 0, "failed")], notes=["same", "only a"])
    b = folder(tmp_path / "b", [*both, *grid(("batch",))], notes=["same"])
    found, summary, sources = folders.summarize_folders([a, b])
    assert len(found) == len({run.run_id for run in found}) == 12
    assert all(run.status == "ok" for run in found)  # the one that failed was repeated in the other folder
    assert [cell.runs for cell in summary.cells] == [3, 3, 3, 3]
    assert summary.notes[:2] == ["same", f"{a}: only a"]
    assert "7 runs are in more than one folder and were counted once." in summary.notes
    assert "1 of them have not the same score in both." in summary.notes
    assert [source.name for source in sources] == [str(a), str(b)]
    assert len(folders.summarize_folders([a, a])[0]) == 7
    assert not [note for note in folders.summarize_folders([a, a])[1].notes if "folder" in note]


def test_diagnostics_are_not_lost_to_a_run_without(tmp_path):
    entry = [{"epoch": 1, "layer": 1, "name": "hidden 1", "gradient_norm": 1.0}]
    a = folder(tmp_path / "a", [run()])
    b = folder(tmp_path / "b", [run(diagnostics=entry)])
    assert folders.summarize_folders([a, b])[0][0].diagnostics == entry


def test_what_cannot_be_compared_is_refused(tmp_path):
    a = folder(tmp_path / "a", grid())
    with pytest.raises(DataError, match="a and .*b differ in their data .*: report each of them alone"):
        folders.summarize_folders([a, folder(tmp_path / "b", grid(("layer",)), fingerprint="g")])
    with pytest.raises(DataError, match="differ in their metric"):
        folders.summarize_folders([a, folder(tmp_path / "c", grid(("layer",), metric="r2"))])
    with pytest.raises(DataError, match=r"differ in their folds \(cv in config.toml\)"):
        folders.summarize_folders([a, folder(tmp_path / "d", grid(("layer",)), config="cv = 5")])
    for name in ("e", "f"):
        (folder(tmp_path / name, grid()) / "environment.json").unlink()
    with pytest.raises(DataError, match="cannot tell whether .* the same data .* missing"):
        folders.summarize_folders([tmp_path / "e", tmp_path / "f"])
    assert folders.summarize_folders([tmp_path / "e"])[2][0].environment == {}


def test_other_versions_are_told(tmp_path):
    a, b = folder(tmp_path / "a", grid()), folder(tmp_path / "b", grid(("layer",)), versions="2")
    assert (
        "The folders were made with different versions; see the environments below."
        in folders.summarize_folders([a, b])[1].notes
    )


@pytest.mark.parametrize(
    ("norms", "config", "baseline"),
    [
        (("batch", "none"), "", "none"),
        (("none", "layer"), 'baseline = "layer"', "layer"),
        (("none", "layer"), "baseline = [3]", "none"),
        (("batch", "layer"), 'norms = ["layer", "batch"]', "layer"),
        (("batch", "layer"), 'norms = ["rms"]', "batch"),
    ],
)
def test_the_baseline_is_the_configurations(tmp_path, norms, config, baseline):
    path = folder(tmp_path / "a", grid(norms), config=config)
    assert folders.summarize_folders([path])[1].baseline == baseline


def test_null_in_a_curve_is_not_a_number(tmp_path):
    path = folder(tmp_path / "a", [*grid(("none",)), run("batch", curves={"val_loss": [0.3, None]})])
    found = folders.read(path)[0][-1]
    assert found.curves["val_loss"][0] == 0.3 and math.isnan(found.curves["val_loss"][1])
    folders.summarize_folders([path])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"schema": 99}, "schema must be at most"),
        ({"status": "fine"}, "status must be ok, diverged or failed, got 'fine'"),
        ({"run_id": 3}, "run_id must be a string"),
        ({"run_id": []}, "run_id must be a string"),
        ({"seed": "0"}, "seed must be a whole number"),
        ({"seed": True}, "seed must be a whole number"),
        ({"test_samples": 2**63}, "has more than 64 bits"),
        ({"curves": {"val_loss": [-(2**63) - 1]}}, "has more than 64 bits"),
        ({"trivial_score": "x"}, "trivial_score must be a number"),
        ({"test_score": "high"}, "test_score must be a number or null, got 'high'"),
        ({"test_score": True}, "test_score must be a number"),
        ({"test_score": None}, "test_score is missing"),
        ({"curves": [1]}, "curves must hold lists"),
        ({"curves": {"loss": ["a"]}}, "curves must hold lists"),
        ({"diagnostics": [1]}, "diagnostics must be a list of objects"),
        ({"config": {"batch_size": "8"}}, "batch_size must be of the kind of 32, got '8'"),
        ({"config": {"batch_size": True}}, "batch_size must be of the kind of 32"),
        ({"config": {"batch_size": 0}}, "must be above 0"),
        ({"config": {"learning_rate": float("nan")}}, "must be above 0"),
        ({"config": {"learning_rate": 1e308}}, r"learning_rate below 1e\+300"),
        ({"config": {"normalization": "\ud800"}}, "surrogates not allowed"),
        ({"diagnostics": [{"epoch": "x"}]}, "with an epoch each"),
        ({"diagnostics": [{"epoch": float("inf")}]}, "with an epoch each"),
        ({"config": {"hidden": "ab"}}, "hidden must be of the kind"),
        ({"config": {"hidden": 3}}, "line 1 is not a run"),
        ({"config": 3}, "line 1 is not a run"),
    ],
)
def test_values_of_another_kind_are_named(tmp_path, changed, message):
    path = folder(tmp_path / "a", [run()])
    (path / "results.jsonl").write_text(json.dumps(asdict(run()) | changed) + "\n")
    with pytest.raises(DataError, match=message) as error:
        folders.summarize_folders([path])
    assert "\n" not in str(error.value)


def test_folders_that_hold_no_experiment(tmp_path):
    for name, content, message in (
        ("results.jsonl", "", "holds no finished run"),
        ("results.jsonl", "{}\n", "line 1 is not a run"),
        ("results.jsonl", "[" * 100_000 + "\n", "line 1 is not a run: nested too deeply"),
        ("environment.json", "[", "is not a JSON object"),
        ("environment.json", "[" * 100_000, "is not a JSON object"),
        ("config.toml", "day = 2024-01-01", "is no configuration: .* date is not JSON"),
        ("config.toml", 'preset = ["a"]', "the preset must be a name"),
        ("config.toml", f"a = {'[' * 3000}{']' * 3000}", "is not TOML"),
        ("config.toml", "= 3", "is not TOML"),
        ("config.toml", "\ud800", "is not a text file in UTF-8"),
    ):
        path = folder(tmp_path / f"{name}{len(list(tmp_path.iterdir()))}", [run()])
        (path / name).write_bytes(content.encode("utf-8", "surrogatepass"))
        with pytest.raises(DataError, match=message):
            folders.summarize_folders([path])
    with pytest.raises(DataError, match="cannot read"):
        folders.summarize_folders([tmp_path / "missing"])
