"""Values of a model as JSON and named arrays, and back."""

import json

import numpy as np
import pytest

from normkit.estimators._values import Decoder, Encoder


def test_values_return():
    values = [
        None, True, 3, 2.5, float("inf"), "ü\ud800", [1, [2]], (1, (2,)), {1: "a", (2, 3): None},
        np.arange(3, dtype=">i4"), np.array([["a", "bc"]]), np.array([]), np.array("x"),
        np.array(["", ""]), np.array([1, "a"], object),
    ]  # fmt: skip
    arrays = {}
    encoded = json.loads(json.dumps(Encoder(arrays)(values, "values"), allow_nan=False))
    for mine, theirs in zip(Decoder(arrays)(encoded), values, strict=True):
        assert type(mine) is type(theirs)
        np.testing.assert_array_equal(mine, theirs) if isinstance(mine, np.ndarray) else None
        assert isinstance(mine, np.ndarray) or mine == theirs
    assert np.isnan(Decoder(arrays)(Encoder(arrays)(float("nan"), "")))
    for refused in (np.zeros(2, complex), np.array([object()]), object, {"a": object}, np.zeros(2, "datetime64[s]")):
        with pytest.raises(TypeError):
            Encoder(arrays)(refused, "place")


def test_arrays_and_random_states_within_others_return():
    fresh, used = np.random.RandomState(0), np.random.RandomState(0)
    used.normal(size=3)
    arrays = {}
    values = {"b": (np.arange(2), np.ones(3), [fresh]), "a": {1: np.zeros(4), 2: used}}
    found = Decoder(arrays)(json.loads(json.dumps(Encoder(arrays)(values, "values"))))
    (first, second, (fresh_again,)), third = found["b"], found["a"][1]
    assert [a.tolist() for a in (first, second, third)] == [[0, 1], [1, 1, 1], [0, 0, 0, 0]]
    for mine, theirs in ((fresh_again, fresh), (found["a"][2], used)):
        np.testing.assert_array_equal(mine.normal(size=5), theirs.normal(size=5))


@pytest.mark.parametrize("numbers", [[-1, 0, 0.0], [625, 0, 0.0], [10**9, 0, 0.0], [0, 0], ["a", 0, 0.0], None])
def test_random_states_stay_within_their_array(numbers):
    key = {"key": np.zeros(624, np.uint32)}
    Decoder(key)({"random_state": "key", "numbers": [624, 0, 0.0]})
    with pytest.raises((TypeError, ValueError)):
        Decoder(key)({"random_state": "key", "numbers": numbers})


@pytest.mark.parametrize("key", [np.zeros(623, np.uint32), np.zeros(624, np.int64), np.zeros((624, 1), np.uint32)])
def test_random_states_have_an_array_of_their_size(key):
    with pytest.raises(ValueError, match="out of range"):
        Decoder({"key": key})({"random_state": "key", "numbers": [0, 0, 0.0]})


@pytest.mark.parametrize("array", [np.full((2, 3), 0x110000, np.uint32), np.zeros((2, 3), np.int32), np.uint32(3)])
def test_text_is_text(array):
    with pytest.raises(ValueError, match="text is out of range"):
        Decoder({"text": np.asarray(array)})({"text": "text"})
