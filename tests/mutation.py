"""Mutation test: which small changes of the code does no test notice?

mutmut makes the mutants, of plain functions of Python; each runs in a forked process, with the tests that call it. Of
every module as many are drawn as ``--sample`` says, by ``--seed``, or all. Mutants of compiled functions would be
hidden by Numba's cache: the part "compiled" runs without compilation, and without the decorators.

    pip install -e ".[test]" "mutmut>=3.8"
    python tests/mutation.py statistics --sample 70
    python tests/mutation.py statistics --rerun     # what survived, after tests were added
"""

import ast
import difflib
import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import click
from scipy import stats

ROOT = Path(__file__).resolve().parents[1]
# mutmut's codes: 0 is a survivor, 1 killed, others a crash or a timeout, which a busy machine brings too
UNTESTED = 33
REMARKS = {0: "", UNTESTED: " (no test calls it)"}


class Part(NamedTuple):
    """Modules, the narrowest tests that suffice for them, and the names among these that take long."""

    modules: str
    tests: str
    slow: str
    compiled: bool = False


PARTS = {
    "norms": Part(
        "functional/_arrays functional/_batch_norm functional/_batch_renorm functional/_channels "
        "functional/_dynamic_tanh functional/_group_norm functional/_layer_norm functional/_layouts "
        "functional/_moving functional/_rms_norm functional/_rows reference",
        "functional/test_values functional/test_errors functional/test_batch_norm functional/test_row_norms "
        "functional/test_update_running functional/test_reference functional/test_empty functional/test_memory "
        "functional/test_indexing "
        "functional/test_array_kinds functional/test_cuda_dispatch functional/test_cuda_errors",
        "parallel",
    ),
    "statistics": Part(
        "experiments/statistics/*",
        "experiments/statistics/test_inference experiments/statistics/test_verdicts "
        "experiments/statistics/test_summarize experiments/statistics/test_benefits",
        "false_alarms most_repeats four_of_five covers share_of_experiments permuted_within whatever_the_scores",
    ),
    "engine": Part(
        "engine/trainer engine/network engine/plan engine/initializers engine/exchange engine/team engine/rows "
        "estimators/_parameters estimators/_values estimators/_lbfgs estimators/_monitoring estimators/_epochs "
        "estimators/_fitting "
        "estimators/_network estimators/_folding estimators/_divergence",
        "engine/test_step engine/test_team engine/test_exchange engine/test_norms_in_engine estimators/test_parameters "
        "estimators/test_validation estimators/test_norms estimators/test_regularization estimators/test_lbfgs "
        "estimators/test_norm_family estimators/test_folding estimators/test_data_layouts "
        "estimators/test_persistence estimators/test_persistence_pickle estimators/test_plain_values "
        "estimators/test_sklearn_parity "
        "estimators/test_callback_arguments trust/test_divergence",
        "test_gradient wide_layers tiles_differ any_number_of_threads interrupt_keeps another_process skops "
        "test_sparse partial_fit_in_pieces",
    ),
    "compiled": Part(
        "math/activations math/losses math/updates math/random kernels/cpu/feature_major engine/noise "
        "engine/optimizers engine/losses engine/norms engine/rows engine/sync",
        "math/test_activations engine/test_feature_major engine/test_step engine/test_leaves "
        "engine/test_norms_in_engine",
        "wide_layers float32- extremes tanh-before tanh-after True-1 True-5 False-1 False-5",
        compiled=True,
    ),
}

# Functions that no mutant of can be told apart: what compiled code calls could not call what mutmut makes of it, what
# makes instructions has a stand-in where nothing is compiled, and what makes the loops of activations runs at import.
UNCHANGED = {
    "engine/plan": "tile_rows",
    "engine/sync": "_element",
    "engine/rows": "_pointer",
    "math/activations": "_forward_link|_backward_link",
}


def copy_tree(folder, part):
    """Copy what a part needs: mutmut writes below the working directory."""
    for name in ("normkit", "tests", "cli", "benchmarks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    if part.compiled:
        for module in part.modules.split():
            path = folder / "normkit" / f"{module}.py"
            path.write_text(re.sub(r"^@(leaf|entry)\b.*\n", "", path.read_text("utf-8"), flags=re.M), "utf-8")
    for module, names in UNCHANGED.items():
        path = folder / "normkit" / f"{module}.py"
        mark = r"\g<0>  # pragma: no mutate block"
        path.write_text(re.sub(rf"^def ({names})\(.*\):$", mark, path.read_text("utf-8"), flags=re.M), "utf-8")


def configure(folder, part):
    """Write mutmut's options."""
    arguments = ["-p", "no:cacheprovider", "-k", " and ".join(f"not {name}" for name in part.slow.split())]
    if part.compiled:
        arguments += ["-p", "uncompiled", "-W", "ignore::RuntimeWarning"]
    lists = {
        "only_mutate": [f"normkit/{module}.py" for module in part.modules.split()],
        "pytest_add_cli_args_test_selection": [f"tests/{test}.py" for test in part.tests.split()],
        "pytest_add_cli_args": arguments,
        "also_copy": ["cli", "benchmarks"],
    }
    lines = ["[mutmut]", "source_paths=normkit", "process_isolation=forkserver", "timeout_multiplier=3"]
    lines += ["timeout_constant=5", "track_dependencies=false", "use_git_change_detection=false"]
    lines += ["\n    ".join([f"{name}=", *values]) for name, values in lists.items()]
    (folder / "setup.cfg").write_text("\n".join(lines) + "\n", "utf-8")


def mutmut(folder, part, names):
    """Run mutants; the first call makes them, and finds out which test calls what."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "tests")}
    if part.compiled:
        environment["NUMBA_DISABLE_JIT"] = "1"
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", "1", *names]
    return subprocess.run(command, cwd=folder, env=environment).returncode


def results(folder):
    """{module: {mutant: code, None where it did not run}}."""
    found = {}
    for path in sorted(folder.glob("mutants/**/*.meta")):
        module = path.relative_to(folder / "mutants" / "normkit").with_suffix("").with_suffix("").as_posix()
        found[module] = json.loads(path.read_text("utf-8"))["exit_code_by_key"]
    return found


def survivors(codes):
    """Return the names of the mutants that no test noticed."""
    return [name for name, code in codes.items() if code in (0, UNTESTED)]


def difference(folder, module, mutant):
    """Return what a mutant changes, as lines of - and +."""
    tree = ast.parse((folder / "mutants" / "normkit" / f"{module}.py").read_text("utf-8"))
    bodies = {node.name: ast.unparse(node).splitlines()[1:] for node in ast.walk(tree)
              if isinstance(node, ast.FunctionDef)}  # fmt: skip
    name = mutant.rpartition(".")[2]
    before, after = bodies[re.sub(r"__mutmut_\d+$", "__mutmut_orig", name)], bodies[name]
    return [line for line in difflib.unified_diff(before, after, n=0, lineterm="")
            if not line.startswith(("---", "+++", "@@"))]  # fmt: skip


def report(folder):
    """Print survivors, and what hung, with their changes, then a table; return the share that was killed."""
    rows = []
    for module, codes in results(folder).items():
        tested = {name: code for name, code in codes.items() if code is not None}
        for name, code in tested.items():
            if code != 1:
                print(f"\n{name}{REMARKS.get(code, f' (killed: it hung or crashed, {code})')}")
                print("\n".join(difference(folder, module, name)))
        if tested:
            rows.append((module, len(codes), len(tested), len(tested) - len(survivors(tested))))
    print(f"\n{'module':34}{'mutants':>8}{'tested':>8}{'killed':>8}")
    for row in [*rows, ("all", *(sum(column) for column in list(zip(*rows))[1:]))]:
        low, high = stats.binomtest(row[3], row[2]).proportion_ci(method="wilson")
        print(f"{row[0]:34}{row[1]:8}{row[2]:8}{row[3]:8}{row[3] / row[2]:8.1%}  ({low:.0%} to {high:.0%})")
    return sum(row[3] for row in rows) / sum(row[2] for row in rows)


@click.command(help=__doc__.splitlines()[0])
@click.argument("name", metavar="PART", type=click.Choice(list(PARTS)))
@click.option("--sample", default=25, show_default=True, help="Mutants of each module; 0 for all.")
@click.option("--seed", default=0, show_default=True)
@click.option("--rerun", is_flag=True, help="Those that survived the last run, with today's tests.")
@click.option("--at-least", default=0.85, show_default=True, help="Share killed below which this fails.")
def main(name, sample, seed, rerun, at_least):
    """Run the command line."""
    part, folder = PARTS[name], ROOT / "build" / "mutants" / name
    names = []
    if rerun:
        names = [mutant for codes in results(folder).values() for mutant in survivors(codes)]
        shutil.copytree(ROOT / "tests", folder / "tests", dirs_exist_ok=True)
        configure(folder, part)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        copy_tree(folder, part)
        configure(folder, part)
        # makes the mutants and collects which test calls what; ends with an error since nothing has this name
        mutmut(folder, part, ["nothing"])
        for codes in results(folder).values():
            names += random.Random(seed).sample(sorted(codes), min(sample or len(codes), len(codes)))
    if not names or mutmut(folder, part, names):
        raise click.ClickException("mutmut did not run: see its output")
    sys.exit(report(folder) < at_least)


if __name__ == "__main__":
    main()
