"""What an experiment leaves, as plain records: conditions, runs, and what statistics make of them.

Whoever runs, stores, judges, plots or reports speaks in these; each goes to JSON by `dataclasses.asdict`.
"""

import csv
import hashlib
import json
import math
from collections.abc import Container, Iterable
from dataclasses import asdict, dataclass, field, fields
from types import SimpleNamespace
from typing import Any, Literal

SCHEMA = 2  # of every file; 1 was the one results.json of 0.1
VALIDATION_SHARE = 0.2  # of the rows that are not in the test fold


@dataclass(frozen=True)
class Condition:
    """One cell of the grid: everything a run is given beside its data, fold and seed."""

    normalization: str = "none"
    norm_position: str = "before"
    batch_size: int = 32
    learning_rate: float = 0.001  # as used: after the scaling with the batch size
    epochs: int = 20
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "relu"
    kernel_initializer: str = "he_normal"
    dropout: float = 0.0
    norm_momentum: float = 0.9  # Keras' convention, the share kept
    norm_groups: int = 8
    virtual_batch_size: int = 32
    normalize_input: bool = False
    norm_epsilon: float = 1e-3
    norm_noise: float = 0.0  # strength of the noise after each norm, as the estimators have it
    solver: str = "adam"
    momentum: float = 0.9  # of solver "sgd"
    weight_decay: float = 0.0  # L2 penalty as torch has it: this times the weight is added to its gradient

    def __post_init__(self):
        object.__setattr__(self, "hidden", tuple(self.hidden))

    @property
    def choice(self) -> str:
        """What is recommended or not: the norm, whether it is noisy, and its position where that is not the default."""
        if self.normalization == "none":
            return "none"
        noisy, after = "noisy " * (self.norm_noise > 0), " after" * (self.norm_position == "after")
        return f"{noisy}{self.normalization}{after}"


def condition_from(record: dict[str, Any]) -> Condition:
    """Return the condition of a record; names that it does not know are ignored."""
    known = {f.name for f in fields(Condition)}
    return Condition(**{name: value for name, value in record.items() if name in known})


def run_id(condition: Condition, seed: int, fold: int = 0) -> str:
    """Name of a run: the same for the same condition, seed and fold, whatever else is run."""
    text = json.dumps([asdict(condition), seed, fold], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def metric_name(metric: str) -> str:
    """Return the name of a metric as people write it."""
    return {"r2": "R²"}.get(metric, metric)


@dataclass
class Run:
    """One line of results.jsonl. What a run that diverged or failed does not have is None."""

    run_id: str
    config: Condition
    seed: int
    fold: int
    status: Literal["ok", "diverged", "failed"]
    metric: str  # of the scores: "accuracy" or "r2", larger is better
    test_samples: int
    test_score: float | None = None
    test_loss: float | None = None
    validation_score: float | None = None
    validation_loss: float | None = None
    train_score: float | None = None
    train_loss: float | None = None
    updates: int = 0  # steps of the optimizer
    seconds: float = 0.0  # of training alone, without the measuring
    error: str | None = None  # why it failed, or in which epoch it diverged
    # per epoch, as far as it went: "loss", "score", "val_loss", "val_score", "seconds"
    curves: dict[str, list[float]] = field(default_factory=dict)
    diagnostics: list[dict[str, Any]] | None = None  # one entry an epoch and layer, with --diagnose
    # test score of predicting the commonest class, or the mean, of the training rows; None where not known
    trivial_score: float | None = None
    schema: int = SCHEMA


def run_from(record: dict[str, Any]) -> Run:
    """Return the run of a record that came from JSON."""
    known = {f.name for f in fields(Run)}
    values = {name: value for name, value in record.items() if name in known}
    return Run(**{**values, "config": condition_from(record["config"])})


_NUMBERS = (
    "test_score", "test_loss", "validation_score", "validation_loss", "train_score", "train_loss", "trivial_score",
)  # fmt: skip
_LARGEST_RATE = 1e300  # a plot's axis goes beyond it


def _is_whole(value):
    return isinstance(value, int) and not isinstance(value, bool)


def fault(run: Run) -> str:
    """Say what is wrong with the types of a run's values, which may come from anywhere; nothing where all are right."""
    if not _is_whole(run.schema) or run.schema > SCHEMA:
        return f"schema must be at most {SCHEMA}, got {run.schema!r}: a newer normkit wrote it"
    if run.status not in ("ok", "diverged", "failed"):
        return f"status must be ok, diverged or failed, got {run.status!r}"
    for name in ("run_id", "metric"):
        if not isinstance(getattr(run, name), str):
            return f"{name} must be a string, got {getattr(run, name)!r}"
    for name in ("seed", "fold", "test_samples", "updates"):
        if not _is_whole(getattr(run, name)):
            return f"{name} must be a whole number, got {getattr(run, name)!r}"
    for name in _NUMBERS:
        if not _is_number(getattr(run, name)):
            return f"{name} must be a number or null, got {getattr(run, name)!r}"
    if run.status == "ok" and run.test_score is None:
        return "test_score is missing, though its status is ok"
    if not isinstance(run.curves, dict) or not all(
        isinstance(curve, list) and all(map(_is_number, curve)) for curve in run.curves.values()
    ):
        return "curves must hold lists of numbers"
    if not isinstance(run.diagnostics, list | None) or not all(
        isinstance(entry, dict) and _is_whole(entry.get("epoch")) for entry in run.diagnostics or []
    ):
        return "diagnostics must be a list of objects with an epoch each, or null"
    return _fault_of_condition(run.config)


def _is_number(value):
    """Whether a value is a number, or null for one that is not finite."""
    return value is None or isinstance(value, float) or _is_whole(value)


def _fault_of_condition(config: Condition) -> str:
    for f in fields(Condition):
        value, kind = getattr(config, f.name), type(f.default)
        right = isinstance(value, int | float if kind is float else kind) and isinstance(value, bool) == (kind is bool)
        if not right or (kind is tuple and not all(map(_is_whole, value))):
            return f"{f.name} must be of the kind of {f.default!r}, got {value!r}"
    if config.batch_size < 1 or not 0 < config.learning_rate < _LARGEST_RATE or config.epochs < 1:
        return f"batch_size, learning_rate and epochs must be above 0, and learning_rate below {_LARGEST_RATE:g}"
    return ""


@dataclass
class Cell:
    """The runs of one condition over seeds and folds."""

    config: Condition
    choice: str
    runs: int
    diverged: int
    failed: int
    test_score: float | None  # mean, and its 95 % interval
    low: float | None
    high: float | None
    test_loss: float | None
    validation_score: float | None
    validation_loss: float | None
    gap: float | None  # training score minus validation score
    seconds_per_epoch: float | None  # median
    probability_best: float | None = None  # of being the best choice of its group
    tied: bool = False  # with the best of its group: no difference that the runs can show


@dataclass
class Contrast:
    """Mean difference in test score between two choices of one group, paired within seed and fold."""

    batch_size: int
    choice: str
    against: str
    difference: float
    low: float
    high: float
    p_value: float
    p_adjusted: float  # Holm's, over all pairs of choices of a batch size, at all batch sizes
    pairs: int


@dataclass
class Verdict:
    """What to use at a batch size, in plain words, with the evidence."""

    batch_size: int
    best: str | None  # None: every run diverged
    clear: bool  # better than every other choice beyond what chance explains
    sentence: str
    evidence: list[Contrast]


@dataclass
class Benefit:
    """One claimed benefit of a norm, measured against no norm at one batch size."""

    name: Literal["speed-up", "largest learning rate", "sensitivity to initial values", "gap"]
    batch_size: int
    choice: str
    value: float | None  # None: the experiment cannot tell, see the sentence
    baseline: float | None
    unit: str
    sentence: str


@dataclass
class Summary:
    """All that is said about an experiment: summary.json, the tables and the report."""

    metric: str
    baseline: str
    cells: list[Cell]
    contrasts: list[Contrast]
    verdicts: list[Verdict]
    benefits: list[Benefit]
    notes: list[str]  # how to read it: the learning-rate rule, the split, what intervals are about
    overall: str = ""  # last sentence of the verdicts; empty where there is one batch size
    schema: int = SCHEMA


def to_json(value: Any, indent: int | None = None) -> str:
    """Return strict JSON: NaN and infinity, which it does not have, become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def from_json(text: bytes) -> Any:
    """Return what JSON of any origin holds: whole numbers of 64 bits, text that UTF-8 holds; else a ValueError."""
    try:
        value = json.loads(text, parse_int=_whole)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if rb"\u" in text:  # of which one half of a letter alone can be escaped
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _whole(digits):
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:
        raise ValueError(f"{digits[:20]}... has more than 64 bits")
    return int(digits)


def to_csv(records: Iterable[Run | Cell], without: Container[str] = ()) -> str:
    """Return one line a record, its condition spread over columns; blank where a record has nothing.

    Parameters
    ----------
    records : iterable of Run or of Cell
    without : container of str
        Fields that are left out.
    """
    rows = []
    for record in records:
        fields = {name: value for name, value in asdict(record).items() if name not in without}
        hidden = "-".join(map(str, record.config.hidden))
        rows.append({**fields.pop("config"), "hidden": hidden, **fields})
    return csv_text([list(rows[0]) if rows else [], *(row.values() for row in rows)])


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows as CSV, lines ended by a newline."""
    lines: list[str] = []
    # by default it ends lines with both, and so quotes a field that has either
    writer = csv.writer(SimpleNamespace(write=lines.append))
    writer.writerows(rows)
    return "".join(line.removesuffix("\r\n") + "\n" for line in lines)


def _finite(value):
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
