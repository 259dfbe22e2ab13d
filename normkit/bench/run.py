"""Time kernels and training steps of all peers: each in a process of its own, in turns, its result checked before."""

import contextlib
import datetime
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from normkit.bench import machine, norm_cases, suite
from normkit.bench.engines import ENGINES
from normkit.bench.engines.numpy_engine import Engine as Reference
from normkit.bench.engines.problem import Problem
from normkit.bench.norm_peers import BOUND
from normkit.bench.norm_peers import PEERS as KERNEL_PEERS
from normkit.bench.processes import Crew, EngineFailed
from normkit.bench.results import KIND, SCHEMA

# of the mean loss of the first steps: another order of sums, amplified by the training
LOSS_TOLERANCE = 2e-2
FEWEST = 3  # repeats, however long they take
ROWS = 10_000  # of random images
# scikit-learn has neither norm nor elu: its reference has neither
PLAIN = ("sklearn",)


@dataclass(frozen=True)
class Plan:
    """What to time, and how."""

    kernels: Sequence[norm_cases.Case]
    steps: Sequence[suite.Step]
    peers: Sequence[str]
    threads: int
    repeats: int
    slice_ms: float
    case_s: float = 6.0  # after which a case gets no further repeat
    quick: bool = False


class Bench:
    """A run: `result` grows case by case, and `save(result)` is called after each."""

    def __init__(self, plan: Plan, tell: Callable[[str], None], save: Callable[[dict], None]):
        self.plan, self.tell, self.save = plan, tell, save
        self.cores = machine.cores()[: plan.threads]
        self.result: dict[str, Any] = {
            "kind": KIND, "schema": SCHEMA, "target": "cpu",
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": machine.describe(), "versions": {}, "threads": plan.threads, "repeats": plan.repeats,
            "slice_ms": plan.slice_ms, "quick": plan.quick, "labels": suite.labels(plan.peers),
            "remarks": suite.remarks(plan.peers), "absent": {}, "other_load": None, "cases": [],
        }  # fmt: skip

    def run(self) -> dict:
        """Time all of it; return the result."""
        company = machine.Company()
        parts = [(self._kernels, self.plan.kernels), (self._training, self.plan.steps)]
        for part, cases in parts:
            if cases:
                with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
                    part(Path(folder), stack)
        self.result["other_load"] = company.share()
        self.save(self.result)
        return self.result

    def _crew(self, folder, stack, entries, registry, *command):
        """Start the workers of a part and let them import; who is absent is noted."""
        names = {entry: name for name, entry in entries.items()}
        crew = Crew(folder, self.cores, registry, command)
        crew.start(stack, list(names))
        self.tell("importing")
        for reply in crew.import_together().values():
            self.result["versions"].update(reply["versions"])
        self.result["absent"].update({names[entry]: reason for entry, reason in crew.absent.items()})
        return crew

    def _keep(self, record):
        self.result["cases"].append(record)
        self.save(self.result)

    def _rounds(self, crew, entries, peers, request, read):
        """Let every peer have its turn in every repeat; a case that takes long gets fewer of them."""
        until = time.monotonic() + self.plan.case_s
        for repeat in range(self.plan.repeats):
            if repeat >= FEWEST and time.monotonic() > until:
                break
            for name in [name for name, row in peers.items() if "error" not in row]:
                try:
                    reply = crew.ask(entries[name], **request(repeat))
                except EngineFailed as error:
                    peers[name] = {"error": str(error)}
                    continue
                peers[name].setdefault("us", []).append(float(f"{read(reply):.4g}"))

    def _kernels(self, folder, stack):
        entries = suite.kernel_peers(self.plan.peers)
        crew = self._crew(folder, stack, entries, KERNEL_PEERS, "normkit.bench.norm_worker", str(self.plan.threads))
        for i, case in enumerate(self.plan.kernels):
            key = f"{case.function} {case.direction} {case.fields['shape']} {case.dtype}"
            self.tell(f"{i + 1} of {len(self.plan.kernels)}: {key}")
            norm_cases.save(folder, case)
            peers: dict[str, dict] = {}
            for name, entry in entries.items():
                if entry in crew.workers and (row := self._prepared(crew, name, entry, case)):
                    peers[name] = row
            # one mode was prepared: its time is the only one
            self._rounds(crew, entries, peers, lambda _: {"do": "measure"}, lambda reply: max(reply["us"].values()))
            self._keep({"key": key, "part": "kernels", **asdict(case), "bytes": case.bytes, "peers": peers})

    def _prepared(self, crew, name, entry, case):
        """Return how a peer is right, or why it is not timed; None where it has no such function."""
        # the norms as they are called, with a result of their own; memory that is there bounds them
        modes = ["out"] if name == BOUND else ["fresh"]
        try:
            reply = crew.ask(entry, do="prepare", case=asdict(case), slice_s=self.plan.slice_ms / 1e3, modes=modes)
        except EngineFailed as error:
            return {"error": str(error)}
        if found := reply["modes"].get(modes[0]):
            about = {"way": found["way"], "verdict": found["verdict"], "largest_error": found["error"]}
            return {**about, **({"failed": reply["failed"]} if reply["failed"] else {})}
        if reply["failed"]:
            return {"error": "; ".join(f"{way}: {reason}" for way, reason in reply["failed"].items())}
        return None

    def _training(self, folder, stack):
        entries = suite.engines(self.plan.peers)
        crew = self._crew(folder, stack, entries, ENGINES, "normkit.bench.worker")
        network = None
        for i, step in enumerate(self.plan.steps):
            key = f"{step.name} batch {step.batch}"
            self.tell(f"{i + 1} of {len(self.plan.steps)}: {key}")
            if network != step.network:
                network, place = step.network, folder / step.name
                problem = make_problem(step, self.plan.threads, place)
                for name, entry in entries.items():
                    self._take_on(crew, name, entry, place)
            expected = {plain: reference_loss(problem, step, plain) for plain in (False, True)}
            peers: dict[str, dict] = {}
            for name, entry in entries.items():
                if entry in crew.workers:
                    peers[name] = self._checked(crew, entry, step, expected[entry in PLAIN])
            asked = {
                "do": "measure",
                "batch_size": step.batch,
                "steps": step.steps,
                "slice_s": self.plan.slice_ms / 1e3,
            }
            self._rounds(
                crew, entries, peers, lambda repeat, asked=asked: {**asked, "repeat": repeat},
                lambda reply: 1e6 * reply["step_s"],
            )  # fmt: skip
            self._keep({"key": key, "part": "training", "network_name": step.name, **asdict(step), "peers": peers})

    def _take_on(self, crew, name, entry, place):
        try:
            if entry in crew.workers:
                crew.ask(entry, do="read", folder=str(place))
        except EngineFailed as error:
            self.result["absent"][name] = str(error)
            crew.workers.pop(entry, None)

    def _checked(self, crew, entry, step, expected):
        """Return what is said of an engine whose first steps are right, or why it is not timed."""
        try:
            loss = crew.ask(entry, do="begin", batch_size=step.batch, steps=step.steps)["loss"]
        except EngineFailed as error:
            return {"error": str(error)}
        if not abs(loss - expected) <= LOSS_TOLERANCE * expected:  # nor NaN
            return {"error": f"wrong result: mean loss {loss:.4g} of {step.steps} steps, {expected:.4g} expected"}
        return {"loss": loss}


def make_problem(step: suite.Step, threads: int, folder: Path) -> Problem:
    """Write the data and the network of a step, and return them."""
    rng = np.random.default_rng(0)
    if step.data == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        X, y = digits.data / 16, digits.target
    else:
        # half of the pixels are dark, and the labels can be learned
        X = np.maximum(rng.uniform(-1, 1, (ROWS, step.network[0])), 0)
        y = (X @ rng.standard_normal((step.network[0], step.network[-1]))).argmax(axis=1)
    folder.mkdir(exist_ok=True)
    Problem(list(step.network), threads).save(folder, X, y, X[:1000], y[:1000])
    return Problem.read(folder)


def reference_loss(problem: Problem, step: suite.Step, plain: bool) -> float:
    """Return the mean loss of the first steps in float64."""
    reference = Reference(problem, plain, "float64")
    reference.prepare(step.batch)
    return reference.run(problem.order(0, step.batch, step.steps))
