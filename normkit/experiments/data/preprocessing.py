"""From a table to the matrix that a network trains on, as learned from the training rows."""

from typing import Any

import numpy as np

from normkit.experiments.data.tables import Table
from normkit.experiments.errors import DataError

_NUMBERS = 1 << 16  # converted at a time: in float64 they stay in the processor's cache


class Preprocessor:
    """Standardizes numbers, fills in missing ones, and gives each text of a column a column of its own.

    What scikit-learn's SimpleImputer, StandardScaler and OneHotEncoder learn from the training rows, kept as plain
    values: `to_state` and `from_state` go through JSON.

    Parameters
    ----------
    number_names, text_names : list of str
        The table's columns.
    mean, scale : ndarray of shape (columns of numbers,)
        A number becomes ``(x - mean) / scale``.
    fill : ndarray of shape (columns of numbers,) or None
        What a missing number becomes before that; with None it is a `DataError`. A missing text is a category like
        any other, and so is refused or encoded.
    categories : list of list of str
        Of each column of text, sorted; others become zeros.
    zero_based : bool or None
        Of a LIBSVM file, whether its first column has index 0 and not 1; None where that is not known.

    Examples
    --------
    >>> import numpy as np
    >>> from normkit.experiments.data.tables import Table
    >>> table = Table(np.array([[1.0], [3.0]]), ["width"], np.array([["red"], ["blue"]], object), ["colour"])
    >>> fitted = Preprocessor.fit(table)
    >>> fitted.feature_names
    ['width', 'colour=blue', 'colour=red']
    >>> fitted.transform(table).tolist()
    [[-1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]
    """

    def __init__(self, number_names, mean, scale, fill=None, text_names=(), categories=(), zero_based=None):
        self.number_names, self.text_names = list(number_names), list(text_names)
        self.mean, self.scale = np.asarray(mean, np.float64), np.asarray(scale, np.float64)
        self.fill = None if fill is None else np.asarray(fill, np.float64)
        self.categories = [list(words) for words in categories]
        self.zero_based = zero_based
        shapes = {self.mean.shape, self.scale.shape, (len(self.number_names),)}
        shapes |= set() if self.fill is None else {self.fill.shape}
        if len(shapes) > 1 or len(self.categories) != len(self.text_names) or not all(self.categories):
            raise ValueError("a mean and a scale for each column of numbers, and categories for each of text")
        learned = [self.mean, self.scale, *([] if self.fill is None else [self.fill])]
        if not all(np.isfinite(values).all() for values in learned) or (self.scale == 0).any():
            raise ValueError("means, scales and fillings must be finite, and scales not 0")
        if not isinstance(zero_based, bool | None):
            raise ValueError("zero_based must be true, false or null")
        self._encoder = self._encoder_of_categories() if self.categories else None

    def _encoder_of_categories(self):
        from sklearn.preprocessing import OneHotEncoder

        words = [np.array(column, dtype=object) for column in self.categories]
        encoder = OneHotEncoder(categories=words, handle_unknown="ignore", sparse_output=False, dtype=np.float32)
        return encoder.fit(np.array([[column[0] for column in words]], dtype=object))

    @classmethod
    def fit(cls, table: Table, impute: bool = False) -> "Preprocessor":
        """Learn from a table of training rows; with `impute` the median fills in what is missing."""
        from sklearn.impute import SimpleImputer
        from sklearn.preprocessing import OneHotEncoder, StandardScaler

        numbers, fill = table.numbers, None
        mean = scale = np.empty(0)
        if table.number_names:
            if impute:
                imputer = SimpleImputer(strategy="median", keep_empty_features=True)
                numbers = imputer.fit_transform(np.asarray(numbers, np.float64))
                fill = imputer.statistics_
            scaler = StandardScaler().fit(numbers)
            mean, scale = scaler.mean_, scaler.scale_
        categories = [list(words) for words in OneHotEncoder().fit(table.texts).categories_] if table.text_names else []
        return cls(table.number_names, mean, scale, fill, table.text_names, categories)

    @property
    def feature_names(self) -> list[str]:
        """Names of the matrix' columns: a column's own, or ``column=text``."""
        encoded = [f"{n}={word or '(missing)'}" for n, words in zip(self.text_names, self.categories) for word in words]
        return [*self.number_names, *encoded]

    def transform(self, table: Table) -> np.ndarray:
        """Return the matrix of a table that has the same columns.

        Returns
        -------
        ndarray of shape (rows, features), float32, C-contiguous

        Raises
        ------
        DataError
            If the columns are others, a number is missing and none was learned to fill it in, or a number is so
            far from those of the training rows that float32 has no place for it.
        """
        if (table.number_names, table.text_names) != (self.number_names, self.text_names):
            raise DataError(f"the columns are {', '.join(table.names[:12])}, expected were "
                            f"{', '.join([*self.number_names, *self.text_names][:12])}")  # fmt: skip
        k = len(self.number_names)
        out = np.empty((len(table), k + sum(map(len, self.categories))), np.float32)  # (rows, features)
        step = max(1, _NUMBERS // max(1, k))
        for start in range(0, len(table), step):
            rows = slice(start, start + step)
            out[rows, :k] = self._numbers(table.numbers[rows], start)
            if self._encoder is not None:
                out[rows, k:] = self._encoder.transform(table.texts[rows])
        return out

    def _numbers(self, numbers, start):
        scaled = np.array(numbers, np.float64)
        if numbers.dtype.kind == "f" and (missing := np.isnan(scaled)).any():
            if self.fill is None:
                row, column = np.argwhere(missing)[0]
                raise DataError(
                    f"row {start + row + 1}, column {self.number_names[column]!r}: the value is missing, and the "
                    "model does not know what to fill in: train it with --missing impute"
                )
            scaled = np.where(missing, self.fill, scaled)
        with np.errstate(over="ignore"):
            scaled -= self.mean
            scaled /= self.scale
            out = scaled.astype(np.float32)
        if not np.isfinite(out).all():
            row, column = np.argwhere(~np.isfinite(out))[0]
            raise DataError(
                f"row {start + row + 1}, column {self.number_names[column]!r}: {numbers[row, column]:g} is "
                f"{scaled[row, column]:.3g} deviations from the mean of the training rows; leave the column out"
            )
        return out

    def to_state(self) -> dict[str, Any]:
        """Return what was learned as plain values and arrays, for `from_state`."""
        return {
            "number_names": list(self.number_names),
            "mean": self.mean,
            "scale": self.scale,
            "fill": self.fill,
            "text_names": list(self.text_names),
            "categories": [list(words) for words in self.categories],
            "zero_based": self.zero_based,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Preprocessor":
        """Return the preprocessor of a state, whose arrays may have become lists.

        Raises
        ------
        DataError
            If it is not the state of one.
        """
        try:
            names = [*state["number_names"], *state["text_names"]]
            if not all(isinstance(text, str) for column in [names, *state["categories"]] for text in column):
                raise TypeError("names and categories must be text")
            # older files do not have it
            return cls(**{name: state[name] for name in cls._STATE}, zero_based=state.get("zero_based"))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"not the state of a preprocessor: {error}") from None

    _STATE = ("number_names", "mean", "scale", "fill", "text_names", "categories")
