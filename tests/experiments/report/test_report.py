"""The report: one file, all that the summary says, nothing from outside, and no name that becomes markup."""

import base64
import hashlib
import random
import re
import tomllib
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from drawn_runs import grid, lost, run

from normkit.experiments.presets import PRESETS
from normkit.experiments.records import Benefit
from normkit.experiments.report import page
from normkit.experiments.statistics.summary import summarize

HOSTILE = '</script><img src=x onerror="alert(1)">'
VOID = {"meta", "link", "br", "img", "input", "hr"}
EXPERIMENT = {
    "dataset": "digits",
    "batch_sizes": [8, 32],
    "hidden": [[64, 64]],
    "lr_scaling": "linear",
    "diagnose": False,
}
ENVIRONMENT = {"versions": {"normkit": "1.2", "numpy": "2.3"}, "machine": {"cores": 2}, "notes": ["rows"], "cpu": None}


class Page(HTMLParser):
    """Elements with their attributes, the text, and whether every element is closed where it must be."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.source = path.read_text("utf-8")
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] not in (["style"], ["script"]):
            self.texts.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.texts))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def written(path, runs, summary=None, experiment=EXPERIMENT, environment=ENVIRONMENT):
    files = page.write(path, runs, summary or summarize(runs), experiment, environment)
    return Page(files[0]), files


def test_it_holds_all_that_the_summary_says(tmp_path):
    runs = [*grid(("none", "batch", "layer")), lost("layer", 32, 3)]
    summary = summarize(runs)
    page, files = written(tmp_path, runs, summary)
    assert [str(file.relative_to(tmp_path)) for file in files] == [
        "report.html", *(f"plots/{name}.{ending}" for name in ("score", "heat", "curves") for ending in ("png", "svg"))
    ]  # fmt: skip
    assert all(file.stat().st_size > 1000 for file in files)
    said = [verdict.sentence.split(": ", 1)[1] for verdict in summary.verdicts]
    said += [summary.overall, *(note.split(" ", 1)[1] for note in summary.notes)]
    said += [benefit.sentence for benefit in summary.benefits]
    said += [f"{cell.test_score:.4f}" for cell in summary.cells] + [f"{c.difference:.4f}" for c in summary.contrasts]
    said += ["Which normalization for digits?", "19 runs, 1 diverged; 3 choices; 2 batch sizes; 4 seeds", "div 1/4"]
    said += ["versions numpy", "2.3", "normkit compare --config config.toml", "diverged in epoch 2"]
    assert [text for text in said if re.sub(r"\s+", " ", text) not in page.text] == []
    rows = len(summary.cells) + len(summary.contrasts) + len(summary.benefits) + 1
    assert len(page.all("tr")) == rows + 4  # and the four heads
    assert len([svg for svg in page.all("svg") if svg["class"] == "plot"]) == 3


def test_the_configuration_can_be_copied_from_it(tmp_path):
    page, _ = written(tmp_path, grid(), experiment={**EXPERIMENT, "target": 'a "b" <c> & \\d'})
    text = page.text[page.text.index('dataset = "digits"') :]
    toml = "".join(page.texts)["".join(page.texts).index('dataset = "digits"') :].split("\n\n")[0]
    values = tomllib.loads(toml[: toml.index("diagnose = false") + len("diagnose = false")] + "\n" + _line(text))
    assert values["batch-sizes"] == [8, 32] and values["target"] == 'a "b" <c> & \\d'


def _line(text):
    return re.search(r'target = ".*?[^\\]"(?= )', text)[0]


def test_nothing_comes_from_outside(tmp_path):
    page, _ = written(tmp_path, grid())
    policy = page.all("meta")[1]["content"]
    script = re.search(r"<script>(.*)</script>", page.source, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; img-src data:;") and f"script-src 'sha256-{digest}';" in policy
    assert not re.search(r"(?i)https?:|//[a-z]+\.|@import|url\((?!#)", page.source)
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "data", "action"):
            assert attributes.get(name, "#").startswith(("#", "data:,")), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")]


def test_ids_are_unique_and_what_refers_to_them_finds_them(tmp_path):
    page, _ = written(tmp_path, grid(dropout=0.0) + grid(dropout=0.5))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"][1:] for _, a in page.elements if a.get("href", "").startswith("#")]
    links += re.findall(r"url\(#([^)]+)\)", page.source)
    links += [a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a]
    assert len(links) > 50 and set(links) <= set(ids)


def test_no_name_becomes_markup(tmp_path):
    runs = [*grid(("none", HOSTILE)), *grid(("batch",), activation=HOSTILE), lost("layer", status="failed")]
    runs[-1].error = HOSTILE
    runs[0].diagnostics = [{"epoch": 1, "layer": 1, "name": HOSTILE, HOSTILE: 1.0}]
    summary = summarize(runs)
    summary.notes.append(HOSTILE)
    summary.benefits.append(Benefit("gap", 8, HOSTILE, 1.0, None, HOSTILE, HOSTILE))
    summary = replace(summary, overall=HOSTILE, baseline=HOSTILE)
    page, files = written(
        tmp_path, runs, summary, {"dataset": HOSTILE, HOSTILE: HOSTILE}, {HOSTILE: {HOSTILE: [HOSTILE]}}
    )
    assert not page.all("img") and len(page.all("script")) == 1
    assert page.text.count(HOSTILE) > 30
    assert {file.parent.name for file in files[1:]} == {"plots"}
    assert all(re.fullmatch(r"[a-z0-9-]+\.(png|svg)", file.name) for file in files[1:])


def test_the_order_of_the_runs_does_not_matter_and_the_same_runs_are_the_same_bytes(tmp_path):
    runs = grid(("none", "batch", "layer"))
    shuffled = sorted(random.Random(0).sample(runs, len(runs)), key=lambda run: run.seed)
    contents = []
    for order in (runs, runs, shuffled):
        _, files = written(tmp_path, order, summarize(order, "none"))
        contents.append([file.read_bytes() for file in files])
    assert contents[0] == contents[1] == contents[2]


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([lost(), lost("batch")], "no run came to an end"),
        ([run()], "1 run, all came to an end; 1 choice; 1 batch size; 1 seed."),
        (grid(seeds=1, batch_sizes=(8,)), "not clearly the best"),
        ([*grid(metric="r2", score=-0.5)], "Scores are R², the larger the better"),
    ],
)
def test_whatever_came_of_the_runs(tmp_path, runs, said):
    page, _ = written(tmp_path, runs, experiment={}, environment={})
    assert said in page.text
    assert "The configuration was not kept" in page.text
    assert "nan" not in page.text.lower() and "None" not in page.text


def test_a_clear_winner_is_called_one(tmp_path):
    runs = [
        run(norm, 8, seed, score + seed / 1000) for norm, score in (("none", 0.7), ("batch", 0.9)) for seed in range(5)
    ]
    page, _ = written(tmp_path, runs)
    assert "clearly the best" in page.text and "not clearly the best" not in page.text
    assert [a["class"] for a in page.all("article")] == ["card clear"]


def test_learning_rates_that_differ_have_a_column(tmp_path):
    page, _ = written(tmp_path, grid(batch_sizes=(8,), learning_rate=0.1) + grid(batch_sizes=(8,), learning_rate=0.2))
    assert "choice learning rate test accuracy" in page.text
    page, _ = written(tmp_path, grid())
    assert "choice test accuracy" in page.text


def test_what_was_published_stands_beside_what_was_found(tmp_path):
    runs = grid(("none", "batch"), (8, 32))
    page, _ = written(tmp_path, runs, experiment={**EXPERIMENT, "preset": "group-norm"})
    preset, summary = PRESETS["group-norm"], summarize(runs)
    cell = next(cell for cell in summary.cells if (cell.choice, cell.config.batch_size) == ("batch", 32))
    assert f"32 batch 23.6 {100 * (1 - cell.test_score):.1f}" in page.text
    assert "2 batch 34.7 –" in page.text and f"{preset.found}. There: {preset.setting}" in page.text
