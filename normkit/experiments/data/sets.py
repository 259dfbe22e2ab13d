"""The three sets of a run, ready for a network, in memory or in a folder that processes share."""

import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from normkit.experiments.data.preprocessing import Preprocessor
from normkit.experiments.data.targets import METRICS, Metric, TaskName
from normkit.experiments.errors import DataError

_ARRAYS = ("X_train", "y_train", "X_val", "y_val", "X_test", "y_test")


@dataclass
class Split:
    """Training, validation and test sets, ready for a network.

    The targets of a regression are standardized: ``y * target_scale + target_mean`` gives them back.
    """

    X_train: np.ndarray  # (training samples, features), float32, C-contiguous
    y_train: np.ndarray  # (training samples,), labels or float64
    X_val: np.ndarray
    y_val: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    task: TaskName = "classification"
    target_mean: float = 0.0
    target_scale: float = 1.0
    preprocessor: Preprocessor | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def metric(self) -> Metric:
        """What scores are: larger is better."""
        return METRICS[self.task]

    @cached_property
    def classes(self) -> Any:
        """Every label of the three sets, of which the training set may lack one; None for a regression."""
        if self.task == "regression":
            return None
        return np.unique(np.concatenate([self.y_train, self.y_val, self.y_test]))

    def save(self, directory: str | os.PathLike) -> None:
        """Write arrays as .npy files and the rest as JSON, for `open` in other processes.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        path = Path(directory)
        path.mkdir(parents=True, exist_ok=True)
        (path / "split.json").unlink(missing_ok=True)
        for name in _ARRAYS:
            np.save(path / f"{name}.npy", getattr(self, name), allow_pickle=False)
        state = None if self.preprocessor is None else self.preprocessor.to_state()
        record = {
            "task": self.task,
            "target_mean": self.target_mean,
            "target_scale": self.target_scale,
            "notes": self.notes,
            "preprocessor": state,
        }
        text = json.dumps(record, allow_nan=False, default=np.ndarray.tolist)
        # last and at once: a folder that has it is complete
        (path / "split.json.tmp").write_text(text, encoding="utf-8")
        os.replace(path / "split.json.tmp", path / "split.json")

    @classmethod
    def open(cls, directory: str | os.PathLike) -> "Split":
        """Map the arrays of a saved split into memory, read-only; processes on a machine share them.

        Raises
        ------
        DataError
            If the folder does not hold a complete split.
        """
        path = Path(directory)
        try:
            record = json.loads((path / "split.json").read_text(encoding="utf-8"))
            state = record.pop("preprocessor")
            preprocessor = None if state is None else Preprocessor.from_state(state)
            arrays = [np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS]
            return cls(*arrays, **record, preprocessor=preprocessor)  # type: ignore[misc]
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path} does not hold a saved split: {error}") from None
