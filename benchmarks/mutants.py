"""Mutation test: which small changes of the code does no test notice?

mutmut makes the mutants, of plain functions of Python; each runs in a forked process, with the tests that call it. Of
every module as many are drawn as ``--sample`` says, by ``--seed``, or all. Mutants of compiled functions would be
hidden by Numba's cache: the part "compiled" runs without compilation, and without the decorators.

    pip install -e ".[test]" "mutmut>=3.8"
    python benchmarks/mutants.py statistics --sample 70
    python benchmarks/mutants.py statistics --rerun     # what survived, after tests were added
"""

import argparse
import ast
import difflib
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
KILLED, UNTESTED = 1, 33  # mutmut's codes; 0 is a survivor, others a timeout or a crash


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
        "estimators/_parameters estimators/_values estimators/_lbfgs estimators/_monitoring estimators/_fitting "
        "estimators/_network estimators/_folding estimators/_divergence",
        "engine/test_step engine/test_team engine/test_norms_in_engine estimators/test_parameters "
        "estimators/test_validation estimators/test_norms estimators/test_regularization estimators/test_lbfgs "
        "estimators/test_norm_family estimators/test_folding estimators/test_data_layouts trust/test_divergence",
        "test_gradient wide_layers tiles_differ interrupt_keeps",
    ),
    "compiled": Part(
        "math/activations math/losses math/updates math/random kernels/cpu/feature_major engine/noise "
        "engine/optimizers engine/losses engine/norms engine/rows engine/sync",
        "math/test_activations engine/test_feature_major engine/test_step engine/test_leaves",
        "wide_layers float32 extremes",
        compiled=True,
    ),
}


def copy_tree(folder, part):
    """Copy what a part needs: mutmut writes below the working directory, and takes its options from setup.cfg."""
    for name in ("normkit", "tests", "cli", "benchmarks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    arguments = ["-p", "no:cacheprovider", "-k", " and ".join(f"not {name}" for name in part.slow.split())]
    if part.compiled:
        arguments += ["-p", "uncompiled", "-W", "ignore::RuntimeWarning"]
        for module in part.modules.split():
            path = folder / "normkit" / f"{module}.py"
            path.write_text(re.sub(r"^@(leaf|entry)\b.*\n", "", path.read_text("utf-8"), flags=re.M), "utf-8")
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


def wilson(killed, count):
    """95 % interval of a share (Wilson 1927)."""
    z, p = 1.96, killed / count
    center, half = p + z * z / 2 / count, z * math.sqrt(p * (1 - p) / count + (z / 2 / count) ** 2)
    return (center - half) / (1 + z * z / count), (center + half) / (1 + z * z / count)


def report(folder):
    """Print survivors with their changes, then a table; return the share that was killed."""
    rows = []
    for module, codes in results(folder).items():
        tested = {name: code for name, code in codes.items() if code is not None}
        for name in survivors(tested):
            print(f"\n{name}{' (no test calls it)' if tested[name] == UNTESTED else ''}")
            print("\n".join(difference(folder, module, name)))
        if tested:
            rows.append((module, len(codes), len(tested), len(tested) - len(survivors(tested))))
    print(f"\n{'module':34}{'mutants':>8}{'tested':>8}{'killed':>8}")
    for row in [*rows, ("all", *(sum(column) for column in list(zip(*rows))[1:]))]:
        low, high = wilson(row[3], row[2])
        print(f"{row[0]:34}{row[1]:8}{row[2]:8}{row[3]:8}{row[3] / row[2]:8.1%}  ({low:.0%} to {high:.0%})")
    return sum(row[3] for row in rows) / sum(row[2] for row in rows)


def main():
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--sample", type=int, default=25, help="mutants of each module; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rerun", action="store_true", help="those that survived the last run, with today's tests")
    parser.add_argument("--at-least", type=float, default=0.85, help="share killed below which this fails")
    options = parser.parse_args()
    part, folder = PARTS[options.part], ROOT / "build" / "mutants" / options.part
    names = []
    if options.rerun:
        names = [name for codes in results(folder).values() for name in survivors(codes)]
        shutil.copytree(ROOT / "tests", folder / "tests", dirs_exist_ok=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        copy_tree(folder, part)
        # makes the mutants and collects which test calls what; ends with an error since nothing has this name
        mutmut(folder, part, ["nothing"])
        for codes in results(folder).values():
            count = min(options.sample or len(codes), len(codes))
            names += random.Random(options.seed).sample(sorted(codes), count)
    if not names or mutmut(folder, part, names):
        return "mutmut did not run: see its output"
    return int(report(folder) < options.at_least)


if __name__ == "__main__":
    sys.exit(main())
