"""All commands alike: help with examples, option names, ends of the output, poor environments."""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from normkit_cli.main import main

COMMANDS = main.list_commands(None)
FULL = Path("/dev/full")


def command(name):
    return main.get_command(None, name)


def options(name):
    return [parameter for parameter in command(name).params if isinstance(parameter, click.Option)]


def run(*arguments, env=None, **others):
    return subprocess.run(
        [sys.executable, "-m", "normkit", *arguments], capture_output="stdout" not in others, timeout=300,
        env={**os.environ, **(env or {})}, **others,
    )  # fmt: skip


def test_every_command_is_there():
    assert {"compare", "train", "predict", "summary", "doctor", "warmup", "completion"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_a_sentence_and_examples(name):
    this = command(name)
    assert re.match(r"[A-Z].*[.;:\w]", this.help)
    assert re.search(rf"^ +.*normkit {name}", this.epilog, re.MULTILINE)
    with click.Context(main, info_name="normkit") as parent, click.Context(this, info_name=name, parent=parent) as ctx:
        shown = this.get_help(ctx)
    assert f"normkit {name}" in shown and "Example" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_understood(name):
    """Every option of an example exists."""
    known = {flag for option in options(name) for flag in (*option.opts, *option.secondary_opts)} | {"--help"}
    for line in re.findall(rf"normkit {name}((?:.*\\\n)*.*)", command(name).epilog):
        line = re.sub(r"[)|>].*", "", line)
        assert set(re.findall(r"--[\w-]+", line)) <= known


@pytest.mark.parametrize("name", COMMANDS)
def test_options_are_spelled_alike(name):
    for option in options(name):
        assert option.help or option.default is not None or isinstance(option.type, click.Choice), option.opts
        for flag in (*option.opts, *option.secondary_opts):
            assert re.fullmatch(r"-h|--[a-z][a-z0-9]*(-[a-z0-9]+)*", flag)
        assert option.opts[0] not in (
            "--lr",
            "--out",
            "--outdir",
            "--out-dir",
            "--json-output",
            "--n-jobs",
            "--verbose",
        )


def test_one_model_has_the_options_of_many():
    """What is said of one model to `train` is said with the same words to `compare`."""
    plural = {"--norm": "--norms", "--batch-size": "--batch-sizes", "--seed": "--seeds"}
    # of one model alone
    own = {"--normalize-input", "--save", "--plot", "--confusion"}
    of_compare = {flag for option in options("compare") for flag in (*option.opts, *option.secondary_opts)}
    of_train = {option.opts[0] for option in options("train")} - own
    assert {plural.get(flag, flag) for flag in of_train} <= of_compare


def test_one_name_one_kind():
    """An option that several commands have takes the same kind of value, where its name says what it is."""
    kinds: dict = {}
    for name in COMMANDS:
        for option in options(name):
            kind = tuple(option.type.choices) if isinstance(option.type, click.Choice) else option.type.name
            for flag in option.opts:
                kinds.setdefault(flag, {})[name] = kind
    differing = {flag for flag, found in kinds.items() if len(set(found.values())) > 1}
    # formats are those that a command can write, its output may be a file or a folder
    plural = {"--hidden", "--norm-position", "--activation", "--kernel-initializer", "--learning-rate", "--dropout"}
    assert differing <= {"--format", "--output", *plural}


def closed_pipe(*arguments):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "normkit", *arguments], stdout=writing, stderr=subprocess.PIPE, timeout=300
        )
    finally:
        os.close(writing)
    return done


@pytest.mark.parametrize("arguments", [("train", "--epochs", "1"), ("doctor",), ("completion", "zsh")])
def test_a_closed_pipe_is_silent(arguments, tmp_path):
    done = closed_pipe(*arguments)
    assert done.returncode == 141
    assert all(line.startswith(b"Note: ") for line in done.stderr.splitlines())


def test_a_closed_pipe_behind_help_is_silent():
    done = closed_pipe("train", "--help")
    assert done.returncode in (1, 141) and done.stderr == b""


@pytest.mark.skipif(not FULL.exists(), reason="a device of Linux")
@pytest.mark.parametrize("arguments", [("train", "--epochs", "1"), ("doctor",), ("completion", "zsh"), ("--version",)])
def test_a_full_disk_is_one_line(arguments):
    with open(FULL, "wb") as full:
        done = run(*arguments, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    errors = [line for line in done.stderr.decode().splitlines() if not line.startswith("Note: ")]
    assert errors == ["Error: No space left on device"]


POOR = {
    "ascii on no terminal": {
        "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "", "TERM": "dumb",
        "NO_COLOR": "1", "COLUMNS": "20",
    },
    "neither locale nor home": {
        "LC_ALL": "xx_YY.nope", "HOME": "/nonexistent", "MPLCONFIGDIR": "", "XDG_CACHE_HOME": "",
        "XDG_CONFIG_HOME": "",
    },
}  # fmt: skip


@pytest.mark.parametrize("environment", POOR)
def test_poor_environments(environment, table, tmp_path):
    if "HOME" in POOR[environment]:
        # where the machine code of this test run is, since the home directory is not
        from normkit._jit import cache_directory

        POOR[environment]["NUMBA_CACHE_DIR"] = str(Path(cache_directory()).parents[1])
    done = run(
        "train", "--dataset", "table.csv", "--target", "kind", "--epochs", "1", "--plot", "curves.png", "--save",
        "model", env=POOR[environment], cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr and b"\x1b" not in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith(b"Test loss")
    assert (tmp_path / "curves.png").exists()
    shown = run("summary", "model", env=POOR[environment], cwd=tmp_path)
    assert shown.returncode == 0 and b"\x1b" not in shown.stdout


def test_no_colour_by_force(tmp_path):
    """NO_COLOR holds although FORCE_COLOR asks for colours."""
    done = run("summary", "nope", env={"NO_COLOR": "1", "FORCE_COLOR": "1", "TERM": "xterm"}, cwd=tmp_path)
    assert done.returncode == 2 and b"\x1b" not in done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [("normkit tr", "train"), ("normkit train --norm-m", "--norm-momentum"), ("normkit predict --pr", "--proba"),
     ("normkit train --norm ba", "batch"), ("normkit completion f", "fish")],
)  # fmt: skip
def test_completion(words, expected):
    count = len(words.split()) - 1
    done = run(env={"_NORMKIT_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(count)})
    # python -m normkit has another name than the command
    if not done.stdout:
        pytest.skip("the command is not installed under its name")
    assert f"plain,{expected}" in done.stdout.decode().splitlines()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_of_shells(shell):
    done = run("completion", shell)
    assert done.returncode == 0 and b"_NORMKIT_COMPLETE" in done.stdout


def test_no_command_shows_help():
    done = run()
    assert done.returncode == 2 and b"compare" in done.stdout + done.stderr
