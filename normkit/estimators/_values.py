"""Plain values of a model as JSON and named arrays, and back.

JSON has no tuples, arrays, NaN, or dictionaries with other keys than strings: each of these is an object with one
name that says what it is.
"""

import math
import sys
from typing import Any

import numpy as np

_KINDS = "biuf"


class Encoder:
    """Turns values into JSON; the arrays among them are collected under their place."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        self.arrays = arrays

    def __call__(self, value: Any, place: str) -> Any:
        """Return the JSON of a value; `place` names its arrays and it in errors."""
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, list):
            return [self(item, f"{place}.{i}") for i, item in enumerate(value)]
        if isinstance(value, (tuple, range)):
            return {"tuple": [self(item, f"{place}.{i}") for i, item in enumerate(value)]}
        if isinstance(value, dict):
            pairs = [[self(key, place), self(item, f"{place}.{i}")] for i, (key, item) in enumerate(value.items())]
            return {"dict": pairs}
        if isinstance(value, np.ndarray):
            return self._array(value, place)
        if isinstance(value, np.random.RandomState):
            return self._random_state(value, place)
        raise TypeError(f"{place} must be a plain value or array to be saved, got {type(value).__name__}")

    def _array(self, array, place):
        if array.dtype.kind == "O":  # names and labels of a DataFrame
            items = [self(item, place) for item in array.ravel().tolist()]
            return {"items": items, "shape": list(array.shape)}
        if array.dtype.kind == "U":
            # as numbers: a list of strings would make an array of the longest one's width, larger than the file
            text = np.require(array, array.dtype.newbyteorder("="), ["C"])
            self.arrays[place] = text.view(np.uint32).reshape(*text.shape, -1)
            return {"text": place}
        if array.dtype.kind not in _KINDS or array.dtype.itemsize > 8:
            raise TypeError(f"{place} must be of numbers or strings to be saved, got an array of {array.dtype}")
        self.arrays[place] = array.astype(array.dtype.newbyteorder("="), copy=False)
        return {"array": place}

    def _random_state(self, random_state, place):
        state = random_state.get_state(legacy=False)
        if state["bit_generator"] != "MT19937":
            raise TypeError(f"{place} must be an MT19937 to be saved, got {state['bit_generator']}")
        self.arrays[place] = state["state"]["key"]
        numbers = [int(state["state"]["pos"]), int(state["has_gauss"]), float(state["gauss"])]
        return {"random_state": place, "numbers": numbers}


class Decoder:
    """Turns JSON back into values; raises ValueError, KeyError or TypeError for what no encoder has written."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        self.arrays = arrays

    def __call__(self, value: Any) -> Any:
        """Return the value."""
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, list):
            return [self(item) for item in value]
        kind = next(iter(value), None)
        if kind == "float":
            return float(value["float"])
        if kind == "tuple":
            return tuple(self(item) for item in value["tuple"])
        if kind == "dict":
            return {self(key): self(item) for key, item in value["dict"]}
        if kind == "array":
            return self.arrays[value["array"]]
        if kind == "text":
            return self._text(self.arrays[value["text"]])
        if kind == "items":
            items = [self(item) for item in value["items"]]
            array = np.empty(len(items), object)
            array[:] = items
            return array.reshape(value["shape"])
        if kind == "random_state":
            return self._random_state(value)
        raise ValueError(f"unknown kind of value {str(kind)[:40]!r}")

    def _text(self, numbers):
        if numbers.dtype != np.uint32 or numbers.ndim == 0 or numbers.size and numbers.max() > sys.maxunicode:
            raise ValueError("text is out of range")
        width = numbers.shape[-1]
        return np.ascontiguousarray(numbers).view(f"U{width}").reshape(numbers.shape[:-1])

    def _random_state(self, value):
        key, (position, has_gauss, gauss) = self.arrays[value["random_state"]], value["numbers"]
        if not 0 <= position <= 624 or key.dtype != np.uint32 or key.shape != (624,):  # indices of compiled code
            raise ValueError("a random state is out of range")
        random_state = np.random.RandomState()
        random_state.set_state(("MT19937", key, int(position), int(has_gauss), float(gauss)))
        return random_state
