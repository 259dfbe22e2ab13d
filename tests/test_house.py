"""What keeps the code one that people can change: short files and functions, layers, docstrings, and CI's files."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import normkit

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path for place in ("normkit", "cli", "tests", "benchmarks", "examples", "docs/_ext", "noxfile.py")
    for path in ([ROOT / place] if place.endswith(".py") else (ROOT / place).rglob("*.py"))
)  # fmt: skip
WORKFLOWS = {path.stem: path for path in sorted((ROOT / ".github/workflows").glob("*.yml"))}

FILE, FUNCTION = 400, 60
# lines without the docstring, and the reason why a function may have more
LONG = {
    "normkit/engine/epoch.py:run_batches": "one branch a stage, each a call",
    "normkit/kernels/cuda/columns.py:moments": "a kernel with the constants of its closure",
    "normkit/kernels/cuda/dense.py:forward": "a kernel with the constants of its closure",
    "normkit/kernels/cuda/dense.py:backward": "a kernel with the constants of its closure",
    "normkit/kernels/cuda/elementwise.py:backward": "a kernel with the constants of its closure",
    "normkit/kernels/cuda/planes.py:moments": "a kernel with the constants of its closure",
    "normkit/kernels/cuda/rows_backward.py:backward": "a kernel with the constants of its closure",
}
# What numpydoc asks beyond: a longer summary, "See Also", and a description of results whose names and types say it
OPTIONAL = {"ES01", "SA01", "RT02", "RT03"}


def functions(node, name=""):
    """Yield the dotted name and the lines, without the docstring, of each function in a syntax tree."""
    for child in ast.iter_child_nodes(node):
        inner = name
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            inner = f"{name}.{child.name}".lstrip(".")
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = child.end_lineno - child.lineno + 1
            if ast.get_docstring(child) is not None:
                lines -= child.body[0].end_lineno - child.body[0].lineno + 1
            yield inner, lines
        yield from functions(child, inner)


def test_lines_of_functions():
    lines = ["class A:", "    def f(self):", "        '''Say", "        it.'''", "        def g():", "            pass"]
    assert list(functions(ast.parse("\n".join(lines)))) == [("A.f", 3), ("A.f.g", 2)]


def test_files_are_short():
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES
    }
    assert len(lengths) > 300
    assert {name: lines for name, lines in lengths.items() if lines >= FILE} == {}


def test_functions_are_short():
    lengths = {
        f"{path.relative_to(ROOT).as_posix()}:{name}": lines
        for path in SOURCES for name, lines in functions(ast.parse(path.read_text(encoding="utf-8")))
    }  # fmt: skip
    found = {name: lines for name, lines in lengths.items() if lines > FUNCTION}
    assert {name: lines for name, lines in found.items() if name not in LONG} == {}
    assert set(LONG) - set(found) == set(), "short now: take it off the list"


def test_layers_and_cycles():
    pytest.importorskip("importlinter")
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "0 broken" in done.stdout, done.stdout + done.stderr


def definitions():
    """Return the names of all functions, classes and constants."""
    names = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
    return names


def test_what_contributing_names_is_there():
    words = re.findall(r"`([\w./]+(?:\(\))?)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    paths = {word for word in words if "/" in word and word != "build/docs"}
    assert len(paths) > 30 and [path for path in sorted(paths) if not (ROOT / path).exists()] == []
    names = {word.removesuffix("()").rpartition(".")[2] for word in words if word.endswith("()") or word.isupper()}
    assert len(names) > 50 and sorted(names - definitions()) == []


def public_names():
    """Return the dotted names of public classes and functions, and of the estimators' own methods."""
    constants = {name for name in normkit.__all__ if not callable(getattr(normkit, name))}
    names = [f"normkit.{name}" for name in normkit.__all__ if name not in constants]
    for estimator in (normkit.MLPClassifier, normkit.MLPRegressor):
        names += [
            f"normkit.{estimator.__name__}.{name}" for name, method in inspect.getmembers(estimator, inspect.isfunction)
            if not name.startswith("_") and method.__module__.startswith("normkit.")
        ]  # fmt: skip
    return names


@pytest.mark.parametrize("name", public_names())
def test_docstrings(name):
    validate = pytest.importorskip("numpydoc.validate").validate
    unasked = set(OPTIONAL)
    if name.count(".") == 2:  # of methods: the class has one
        unasked.add("EX01")
    elif inspect.isclass(public := getattr(normkit, name.removeprefix("normkit."))):
        # the other parameters of an estimator are scikit-learn's; an exception is not made by users
        unasked |= {"PR01", "EX01"} if issubclass(public, Exception) else {"PR01"}
    assert [error for error in validate(name)["errors"] if error[0] not in unasked] == []


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == normkit.__version__ and citation["cff-version"] == "1.2.0"
    holder = (ROOT / "LICENSE").read_text(encoding="utf-8").split("Copyright (c) ")[1].splitlines()[0].split(", ")[1]
    assert citation["authors"] == [{"name": holder}]


@pytest.fixture
def noxfile(monkeypatch):
    pytest.importorskip("nox")
    monkeypatch.syspath_prepend(ROOT)
    import noxfile

    return noxfile


def test_the_oldest_dependencies(noxfile):
    assert noxfile.lower_bounds(["a-b>=1.2", "c>=3,<4; python_version >= '3'"]) == ["a-b==1.2", "c==3"]
    with pytest.raises(ValueError, match="not enough values"):
        noxfile.lower_bounds(["unbounded"])
    assert len(noxfile.lower_bounds(noxfile.PROJECT["project"]["dependencies"])) >= 10


def steps(workflow):
    jobs = yaml.safe_load(WORKFLOWS[workflow].read_text(encoding="utf-8"))["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_workflows_are_pinned_and_may_only_read(workflow):
    content = yaml.safe_load(WORKFLOWS[workflow].read_text(encoding="utf-8"))
    assert content["permissions"] == {"contents": "read"}
    for job in content["jobs"].values():
        assert "timeout-minutes" in job and "write" not in str(job.get("permissions", {}).get("contents"))
    actions = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert actions and all(action.rpartition("@")[2].rpartition("/")[2][0] == "v" for action in actions), actions


def test_workflows_run_sessions_that_exist(noxfile):
    known = {name for name, value in vars(noxfile).items() if hasattr(value, "python") and callable(value)}
    ran = set()
    for workflow in WORKFLOWS:
        for step in steps(workflow):
            words = step.get("run", "").split()
            ran |= set(words[2:]) if words[:2] == ["nox", "-s"] else set()
    matrices = [yaml.safe_load(WORKFLOWS[name].read_text(encoding="utf-8"))["jobs"] for name in ("tests", "nightly")]
    pythons = matrices[0]["tests"]["strategy"]["matrix"]
    nightly = matrices[1]["nightly"]["strategy"]["matrix"]["session"]
    assert pythons["python"] == noxfile.PYTHONS
    assert {entry["python"] for entry in pythons["include"]} == {noxfile.PYTHONS[0], noxfile.PYTHONS[-1]}
    plain = {word for word in ran if word.isidentifier()}
    assert plain | set(nightly) | {"tests"} == known


def test_issues_ask_for_what_doctor_says():
    forms = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
             for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")}  # fmt: skip
    assert set(forms) == {"bug", "feature", "config"}
    asked = [entry for entry in forms["bug"]["body"] if "normkit doctor" in entry["attributes"].get("label", "")]
    assert len(asked) == 1 and asked[0]["validations"]["required"]


@pytest.mark.parametrize("name", [name for name in normkit.__all__ if name.islower() and not name.startswith("_")])
def test_public_functions_have_complete_types(name):
    signature = inspect.signature(getattr(normkit, name))
    untyped = [each.name for each in signature.parameters.values() if each.annotation is inspect.Parameter.empty]
    assert not untyped and signature.return_annotation is not inspect.Signature.empty
