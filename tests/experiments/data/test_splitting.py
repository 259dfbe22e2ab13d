"""Properties of splits: sizes, strata, groups, seeds, and nothing learned from rows that are held out."""

import json
import subprocess
import sys

import numpy as np
import pytest

from normkit.experiments.data import Dataset, Split, load, split, splits
from normkit.experiments.data.tables import Table
from normkit.experiments.errors import DataError

SETS = ("train", "val", "test")


def numbered(rows, classes=3, **options):
    """A dataset whose only feature is the row's number."""
    return Dataset("rows", np.arange(rows, dtype=np.float32)[:, None], np.arange(rows) % classes, **options)


def rows_of(parts):
    return [getattr(parts, f"X_{name}")[:, 0].astype(int) for name in SETS]


def targets_of(parts):
    return [getattr(parts, f"y_{name}") for name in SETS]


@pytest.mark.parametrize("seed", [0, 1])
def test_hold_out_is_60_20_20_disjoint_complete_and_stratified(seed):
    parts = split(numbered(300), seed)
    assert [len(rows) for rows in rows_of(parts)] == [180, 60, 60]
    np.testing.assert_array_equal(np.sort(np.concatenate(rows_of(parts))), np.arange(300))
    for rows, y in zip(rows_of(parts), targets_of(parts)):
        np.testing.assert_array_equal(rows % 3, y)
        np.testing.assert_array_equal(np.bincount(y), len(y) // 3)
    assert parts.X_train.dtype == np.float32 and parts.X_train.flags.c_contiguous


@pytest.mark.parametrize("cv", [None, 3])
def test_splits_depend_on_the_seed_alone(cv):
    first, again, other = (splits(numbered(60), seed, cv) for seed in (0, 0, 1))
    for a, b, c in zip(first, again, other):
        for rows_a, rows_b, rows_c in zip(rows_of(a), rows_of(b), rows_of(c)):
            np.testing.assert_array_equal(rows_a, rows_b)
            assert not np.array_equal(rows_a, rows_c)


def test_split_is_the_first_of_splits():
    data = numbered(60)
    np.testing.assert_array_equal(split(data, 4).X_train, splits(data, 4)[0].X_train)
    assert len(splits(data, 4)) == 1


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("cv", [2, 3, 10])
def test_folds_test_each_row_once_and_a_fifth_of_the_others_validates(cv, task):
    data = numbered(300, task=task)
    data.y = data.y.astype(float) if task == "regression" else data.y
    found = splits(data, 0, cv)
    assert len(found) == cv
    np.testing.assert_array_equal(np.sort(np.concatenate([rows_of(parts)[2] for parts in found])), np.arange(300))
    for parts in found:
        np.testing.assert_array_equal(np.sort(np.concatenate(rows_of(parts))), np.arange(300))
        train, val, test = map(len, rows_of(parts))
        assert test == 300 // cv and val == (300 - test) // 5
        if task == "classification":
            for y in targets_of(parts):
                assert np.ptp(np.bincount(y, minlength=3)) <= 1


def grouped(task="classification", groups=20, rows=400):
    """Groups of uneven size, whose classes are spread."""
    random = np.random.default_rng(0)
    owner = np.minimum((groups * random.random(rows) ** 1.5).astype(int), groups - 1)
    y = np.arange(rows) % 2 if task == "classification" else random.normal(size=rows)
    X = np.arange(rows, dtype=np.float32)[:, None]
    return Dataset("grouped", X, y, task=task, groups=owner, group_name="owner")


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("cv", [None, 2, 4])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_group_is_on_two_sides(task, cv, seed):
    data = grouped(task)
    for parts in splits(data, seed, cv):
        owners = [set(data.groups[rows]) for rows in rows_of(parts)]
        assert all(owners) and sum(map(len, owners)) == len(set.union(*owners)) == 20
        np.testing.assert_array_equal(np.sort(np.concatenate(rows_of(parts))), np.arange(400))
        if task == "classification":
            for y in targets_of(parts):
                assert abs(y.mean() - 0.5) < 0.15
    assert "groups of 'owner' kept whole" in parts.notes[0]


def test_groups_are_spread_by_the_seed():
    first, other = (set(grouped().groups[rows_of(split(grouped(), seed))[2]]) for seed in (0, 1))
    assert first != other


@pytest.mark.parametrize(
    ("data", "cv", "message"),
    [
        (numbered(9), None, "cannot be split"),
        (numbered(30), 11, "11 folds need as many rows of each class, the smallest class has 10"),
        (numbered(30), 1, "--cv must be at least 2, got 1"),
        (grouped(groups=1), None, "1 groups are too few"),
        (grouped(groups=2), None, "too few"),
        (grouped("regression", 3), 4, "cannot be split"),
        (numbered(30, X_test=np.zeros((3, 1)), y_test=np.arange(3)), 3, "brings its own test set: leave --cv out"),
        (Dataset("same", np.zeros((20, 1)), np.ones(20), task="regression"), None, "the same in all training rows"),
        # whose mean is another number
        (Dataset("tenths", np.zeros((97, 1)), np.full(97, 0.1), task="regression"), None, "the same in all training"),
        (
            Dataset("apart", np.zeros((40, 1)), np.arange(40) % 4 // 3, groups=np.arange(40) % 4),
            None,
            "each group should hold more",
        ),
    ],
)
def test_what_cannot_be_split(data, cv, message):
    with pytest.raises(DataError, match=message):
        for seed in range(4):
            splits(data, seed, cv)


def table(rows=60, seed=0):
    random = np.random.default_rng(seed)
    numbers = np.column_stack([np.arange(rows), random.normal(5, 3, rows)])
    numbers[random.random(rows) < 0.2, 1] = np.nan
    texts = random.choice(["red", "blue", "green"], rows).astype(object)[:, None]
    return Table(numbers, ["row", "x"], texts, ["colour"])


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("cv", [None, 3])
def test_nothing_is_learned_from_rows_that_are_held_out(task, cv):
    y = np.arange(60) % 2 if task == "classification" else np.random.default_rng(1).normal(3, 2, 60)

    def made():
        return Dataset("table", table(), y.copy(), task=task, scaling="columns", impute=True)

    for fold, parts in enumerate(splits(made(), 0, cv)):
        state = parts.preprocessor.to_state()
        back = parts.X_val[:, 0] * state["scale"][0] + state["mean"][0], parts.X_test[:, 0] * state["scale"][0]
        held_out = np.rint(np.concatenate([back[0], back[1] + state["mean"][0]])).astype(int)
        assert len(set(held_out)) == len(parts.X_val) + len(parts.X_test)
        changed = made()
        changed.X.numbers[held_out] = [[1e6, -1e6]]
        changed.X.texts[held_out] = "never seen"
        if task == "regression":
            changed.y[held_out] += 1e6
        again = splits(changed, 0, cv)[fold]
        np.testing.assert_array_equal(again.X_train, parts.X_train)
        np.testing.assert_array_equal(again.y_train, parts.y_train)
        assert json.dumps(again.preprocessor.to_state(), default=np.ndarray.tolist) == json.dumps(
            state, default=np.ndarray.tolist
        )
        assert not np.array_equal(again.X_test, parts.X_test)


def test_numbers_are_standardized_and_texts_encoded():
    parts = split(Dataset("table", table(), np.arange(60) % 2, scaling="columns", impute=True), 0)
    np.testing.assert_allclose(parts.X_train[:, :2].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(parts.X_train[:, :2].std(axis=0), 1, rtol=1e-6)
    np.testing.assert_array_equal(parts.X_test[:, 2:].sum(axis=1), 1)
    assert parts.notes[1:] == [
        "numbers standardized, learned from the training rows: 2", "columns of text one-hot encoded: 1, into 3",
    ]  # fmt: skip


def test_targets_of_a_regression_are_standardized_and_come_back():
    y = np.random.default_rng(0).normal(50, 7, 100)
    parts = split(Dataset("r", np.arange(100.0)[:, None], y, task="regression"), 0)
    assert parts.classes is None
    np.testing.assert_allclose([parts.y_train.mean(), parts.y_train.std()], [0, 1], atol=1e-12)
    for rows, target in zip(rows_of(parts), targets_of(parts)):
        np.testing.assert_allclose(target * parts.target_scale + parts.target_mean, y[rows])
    assert "the target is standardized with the training rows' mean" in parts.notes[-1]


def test_a_tiny_target_is_standardized_as_a_large_one_is():
    y = np.random.default_rng(0).normal(size=100)
    tiny, plain = (split(Dataset("r", np.zeros((100, 1)), v, task="regression"), 0) for v in (np.ldexp(y, -700), y))
    np.testing.assert_array_equal(tiny.y_test, plain.y_test)
    assert tiny.target_scale == np.ldexp(plain.target_scale, -700) > 0


def test_a_class_that_the_training_rows_lack_is_known_and_told():
    groups = np.arange(60) // 12
    data = Dataset("groups", np.zeros((60, 1)), np.where(groups == 4, 2, np.arange(60) % 2), groups=groups)
    lacking = [parts for seed in range(6) for parts in splits(data, seed) if len(np.unique(parts.y_train)) < 3]
    assert lacking
    for parts in lacking:
        assert parts.classes.tolist() == [0, 1, 2] and parts.notes[1].startswith("no training row is of class ")


def test_the_course_validates_with_5000_images_whatever_the_seed():
    X, y = np.zeros((60_000, 1), np.float32), np.arange(60_000) % 10
    data = Dataset("large", X, y, X[:10], y[:10])
    parts = split(data, seed=0)
    assert (len(parts.X_train), len(parts.X_val), len(parts.X_test)) == (55_000, 5_000, 10)
    assert split(data, seed=1) is parts  # in memory once, for however many seeds


def every_kind():
    text = Dataset(
        "text", table(), np.array(["no", "yes", "perhaps"])[np.arange(60) % 3], scaling="columns", impute=True
    )
    return [load("digits"), load("diabetes"), text, numbered(60)]


@pytest.mark.parametrize("data", every_kind(), ids=lambda data: data.name)
def test_a_saved_split_is_the_same_and_mapped(tmp_path, data):
    made = split(data, 0)
    made.save(tmp_path / "split")
    again = Split.open(tmp_path / "split")
    for name in SETS:
        for array, expected in ((getattr(again, f"{k}_{name}"), getattr(made, f"{k}_{name}")) for k in "Xy"):
            assert isinstance(array, np.memmap) and not array.flags.writeable
            assert array.dtype == expected.dtype
            np.testing.assert_array_equal(array, expected)
    assert (again.task, again.target_mean, again.target_scale, again.notes) == (
        made.task, made.target_mean, made.target_scale, made.notes,
    )  # fmt: skip
    np.testing.assert_array_equal(again.classes, made.classes)
    if made.preprocessor is None:
        assert again.preprocessor is None
    else:
        np.testing.assert_array_equal(again.preprocessor.transform(data.X), made.preprocessor.transform(data.X))
    assert not [path for path in (tmp_path / "split").iterdir() if path.suffix not in (".npy", ".json")]


def test_another_process_opens_it(tmp_path):
    made = split(load("iris"), 0)
    made.save(tmp_path)
    code = (
        "import sys; from normkit.experiments.data import Split; print(Split.open(sys.argv[1]).X_train.tobytes().hex())"
    )
    other = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == made.X_train.tobytes().hex()


@pytest.mark.parametrize("missing", ["split.json", "y_val.npy"])
def test_an_incomplete_folder_is_refused(tmp_path, missing):
    split(load("iris"), 0).save(tmp_path)
    whole = (tmp_path / missing).read_bytes()
    (tmp_path / missing).unlink()
    with pytest.raises(DataError, match="does not hold a saved split"):
        Split.open(tmp_path)
    for content in (b"", whole[: len(whole) // 2], b"\x80\x04N.", b"[]", b"null"):
        (tmp_path / missing).write_bytes(content)
        with pytest.raises(DataError, match="does not hold a saved split"):
            Split.open(tmp_path)
