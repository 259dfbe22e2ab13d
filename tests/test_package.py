"""The package as it is shipped: what is in it, that it runs where it is installed, and what it imports."""

import ast
import importlib.metadata
import os
import shutil
import site
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import normkit

ROOT = Path(__file__).parent.parent
SOURCES = ["pyproject.toml", "README.md", "LICENSE", "normkit", "cli"]


def run(*command, **options):
    """Run a command and return its standard output; on failure show what it said."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Wheel from the sources, sdist, and wheel from the sdist; built from a copy that leaves no traces."""
    folder = tmp_path_factory.mktemp("build")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    # without flags, build makes the sdist and from it the wheel
    run(sys.executable, "-m", "build", "--outdir", folder / "chain", source)
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder / "direct", source)
    (wheel,) = (folder / "direct").glob("*.whl")
    (sdist,) = (folder / "chain").glob("*.tar.gz")
    (from_sdist,) = (folder / "chain").glob("*.whl")
    return wheel, sdist, from_sdist


def test_wheel_contents(built):
    names = set(zipfile.ZipFile(built[0]).namelist())
    version = normkit.__version__
    assert {name.split("/")[0] for name in names} == {
        "normkit",
        "normkit_cli",
        f"normkit-{version}.dist-info",
    }
    assert {"normkit/py.typed", f"normkit-{version}.dist-info/licenses/LICENSE"} <= names
    modules = {str(path.relative_to(ROOT)) for path in ROOT.glob("normkit/**/*.py")}
    modules |= {f"normkit_cli/{path.relative_to(ROOT / 'cli')}" for path in ROOT.glob("cli/**/*.py")}
    assert {name for name in names if name.endswith(".py")} == modules  # a forgotten subpackage shows here


def test_wheel_from_the_sdist_is_the_same(built):
    wheel, _, from_sdist = built
    assert wheel.name == from_sdist.name
    one, other = zipfile.ZipFile(wheel), zipfile.ZipFile(from_sdist)
    assert set(one.namelist()) == set(other.namelist())
    for name in one.namelist():
        if name.endswith(".py"):
            assert one.read(name) == other.read(name)


def test_sdist_contents(built):
    with tarfile.open(built[1]) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "cli/main.py", "normkit/py.typed"} <= names


def test_installed_wheel_runs(built, tmp_path):
    environment = tmp_path / "environment"
    # The dependencies are borrowed from this environment through a .pth file, the package is not: pip puts it
    # into the new one, which comes first on the path.
    venv.create(environment, with_pip=True)
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / "python"
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", built[0])
    own = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (own / "borrowed.pth").write_text("\n".join(site.getsitepackages()))
    place = run(
        python,
        "-c",
        "import normkit, normkit_cli; print(normkit.__file__, normkit_cli.__file__)",
        cwd=tmp_path,
    )
    assert all(Path(file).is_relative_to(environment) for file in place.split())
    expected = f"normkit, version {normkit.__version__}\n"
    assert run(scripts / "normkit", "--version", cwd=tmp_path) == expected
    assert run(python, "-m", "normkit", "--version", cwd=tmp_path) == expected
    found = run(python, "-c", "import importlib.util as u; print(u.find_spec('cli'))", cwd=tmp_path)
    assert found == "None\n"


def test_version_is_that_of_the_metadata():
    assert normkit.__version__ == importlib.metadata.version("normkit")


def test_a_checkout_that_is_not_installed_imports(tmp_path):
    shutil.copytree(ROOT / "normkit", tmp_path / "normkit", ignore=shutil.ignore_patterns("__pycache__"))
    # -S: without site-packages there is neither NumPy nor metadata
    code = "import normkit; print(normkit.__version__)"
    assert run(sys.executable, "-S", "-c", code, cwd=tmp_path) == f"{normkit.__version__}\n"


def loaded(code, *suspects):
    """Return which of the suspects a fresh interpreter has loaded after running code."""
    code += f"\nimport sys; print(*[name for name in {suspects!r} if name in sys.modules])"
    return run(sys.executable, "-c", code).splitlines()[-1].split()


def test_import_loads_nothing_heavy():
    suspects = "numba", "sklearn", "matplotlib", "rich", "click", "normkit_cli"
    assert loaded("import normkit", "numpy", *suspects) == []
    assert loaded("import normkit; normkit.batch_norm", *suspects) == ["numba"]


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_load_nothing_heavy(option):
    code = f"from normkit_cli.main import main\ntry:\n    main([{option!r}])\nexcept SystemExit:\n    pass"
    assert loaded(code, "click", "numba", "sklearn", "scipy", "matplotlib") == ["click"]


def test_importing_compiles_nothing():
    code = """
import numba.core.dispatcher as dispatcher
def refuse(*arguments): raise AssertionError("compiled at import")
dispatcher.Dispatcher.compile = refuse
import normkit
for name in normkit.__all__: getattr(normkit, name)
"""
    run(sys.executable, "-c", code)


def test_no_other_framework_at_run_time():
    for path in [*ROOT.glob("normkit/**/*.py"), *ROOT.glob("cli/**/*.py")]:
        if path == ROOT / "normkit/torch.py":  # for those who have it; nobody else imports it
            continue
        if path.is_relative_to(ROOT / "normkit/bench"):  # the peers, each imported by a process of its own
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            tops = {name.split(".")[0] for name in names}
            assert not tops & {"torch", "jax", "tensorflow", "keras"}, path


def test_public_names():
    assert set(dir(normkit)) == set(normkit.__all__)
    for name in normkit.__all__:
        assert getattr(normkit, name) is getattr(normkit, name)
    assert callable(normkit.reference.layer_norm) and callable(normkit.functional.layer_norm)
    with pytest.raises(AttributeError, match="^module 'normkit' has no attribute 'weight_norm'"):
        normkit.weight_norm  # noqa: B018
