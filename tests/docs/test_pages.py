"""The documentation's pages: their Python runs and prints what they say, their commands exist."""

import contextlib
import importlib
import io
import json
import re
import shlex
from pathlib import Path

import click
import pytest
from normkit_cli.main import main

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
NOT_RUN = "<!-- not run:"
NEEDED = {"onnx.md": ["onnx", "onnxruntime"]}
IMAGES = 'load("fashion-mnist")'
# installed by the page's own first lines, or starting what does not end
FOREIGN = (
    "python3 -m venv",
    ". .venv",
    "pip install",
    "apt-get",
    "dask ",
    "python benchmarks/",
    "python examples/",
    "python -m mpi4py",
)


def blocks(page):
    """Return (language, code, whether it is to be run) of each fence."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        indent, language, code = match.groups()
        code = "\n".join(line.removeprefix(indent) for line in code.splitlines())
        before = text[: match.start()].rstrip().rsplit("\n", 1)[-1]
        found.append((language, code, not before.strip().startswith(NOT_RUN)))
    return found


def pages_with(language):
    pages = sorted(DOCS.rglob("*.md"))
    return [
        pytest.param(p, id=p.relative_to(DOCS).as_posix()) for p in pages if any(b[0] == language for b in blocks(p))
    ]


def run_page(page):
    """Run a page's blocks one after the other; a block of text behind one is what it must have printed."""
    names = {}
    following = blocks(page)
    for (language, code, runs), after in zip(following, [*following[1:], ("", "", False)]):
        if language != "python" or not runs:
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, page.name, "exec"), names)
        if after[0] == "text":
            assert printed.getvalue().split() == after[1].split(), code
        else:
            assert not printed.getvalue(), f"what this prints is not on the page:\n{code}"


def fashion_mnist():
    from normkit.experiments.data import load
    from normkit.experiments.errors import DataError

    try:
        load("fashion-mnist")
    except DataError as error:
        pytest.skip(str(error))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("page", pages_with("python"))
def test_python_runs_and_prints_what_follows(page, tmp_path, monkeypatch):
    for module in NEEDED.get(page.name, []):
        pytest.importorskip(module)
    if IMAGES in page.read_text(encoding="utf-8"):
        fashion_mnist()
    monkeypatch.chdir(tmp_path)
    run_page(page)


@pytest.mark.parametrize("page", pages_with("sh"))
def test_commands_exist_with_these_options(page, tmp_path, monkeypatch):
    """Parse each command as click does, without running it."""
    monkeypatch.chdir(tmp_path)
    seen = 0
    for language, code, _ in blocks(page):
        for line in code.replace("\\\n", " ").splitlines() if language == "sh" else []:
            line = line.removeprefix("mpirun -n 2 ")
            if line.startswith(FOREIGN):
                continue
            program, name, *arguments = shlex.split(line, comments=True)
            assert program == "normkit", line
            for value in arguments:  # click looks whether files that are read exist
                if not value.startswith("-") and "." in value and "=" not in value and "/" not in value:
                    (tmp_path / value).touch()
            for folder in ("results", "monday", "tuesday"):
                (tmp_path / folder).mkdir(exist_ok=True)
                (tmp_path / folder / "config.toml").touch()  # what --resume reads
            command = main.get_command(click.Context(main), name)
            assert command is not None, line
            command.make_context(name, arguments, parent=click.Context(main))
            seen += 1
    assert seen or page.name in ("gpu.md", "onnx.md")


def test_a_wrong_page_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n")
    with pytest.raises(AssertionError):
        run_page(page)
    page.write_text("```python\nprint(1 + 1)\n```\n")
    with pytest.raises(AssertionError, match="not on the page"):
        run_page(page)


def sections(page):
    """Return kind and argument of headings, tables of figures, pictures and blocks, in order."""
    text = re.sub(r"^```text\n.*?^```$", "```text", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    marks = re.compile(r"^(#+) |^```\{(\w+)\} ?(\w*)|^!\[.*\]\((.*)\)|^```(\w+)", re.MULTILINE)
    return [match.groups() for match in marks.finditer(text)]


def test_the_translation_has_all_that_the_tutorial_has():
    assert sections(DOCS / "tutorial.md") == sections(DOCS / "tutorial.zh.md")
    code = [[b[1] for b in blocks(DOCS / name) if b[0] == "python"] for name in ("tutorial.md", "tutorial.zh.md")]
    assert code[0] == code[1]


def test_figures_are_those_of_the_examples_code(monkeypatch):
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(DOCS / "_ext")
    measured = importlib.import_module("measured")
    results = json.loads(measured.RESULTS.read_text(encoding="utf-8"))
    assert measured.stale(results) == []
    results["tables"]["course"]["fingerprint"] = "other"
    assert measured.stale(results) == ["course"]
