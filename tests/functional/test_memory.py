"""How x and out lie in memory does not matter: strides, order, read-only, overlap."""

import ml_dtypes
import numpy as np
import pytest
from family import BFLOAT16, NORMS, assert_close

SHAPE = (6, 4, 10)


def axes(norm):
    if norm.rows:
        return [-1, 1, (0, 2)]
    return [-1, 1] if norm.label in ("group_norm", "instance_norm", "batch_norm-ghost") else [-1, 1, 0]


CASES = [(norm, axis) for norm in NORMS for axis in axes(norm)]
every_case = pytest.mark.parametrize(
    "norm, axis", CASES, ids=[f"{norm.label}-{axis}".replace(" ", "") for norm, axis in CASES]
)
every_dtype = pytest.mark.parametrize("dtype", [np.float32, BFLOAT16], ids=["float32", "bfloat16"])


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def unaligned(a):
    buffer = np.zeros(a.nbytes + 1, np.uint8)
    b = buffer[1:].view(a.dtype).reshape(a.shape)
    b[...] = a
    return b


def every_second(a):
    b = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    b[..., ::2] = a
    return b[..., ::2]


LAYOUTS = {
    "c": np.copy,
    "fortran": np.asfortranarray,
    "reversed": lambda a: a[::-1, :, ::-1].copy()[::-1, :, ::-1],
    "transposed": lambda a: np.ascontiguousarray(a.transpose(1, 2, 0)).transpose(2, 0, 1),
    "strided": every_second,
    "unaligned": unaligned,
    "read-only": read_only,
}
WRITEABLE = [name for name in LAYOUTS if name != "read-only"]


def assert_same(got, want, message=""):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=message)


def assert_near(got, want, message=""):
    """Another order of memory may be another order of summation."""
    for a, b in zip(got, want, strict=True):
        b = np.asarray(b)
        if b.dtype == np.float64:  # statistics, which are summed in float32
            a, b = np.float32(a), np.float32(b)
        assert_close(a, b.astype(np.float64), message)


class Example:
    """A call forward and backward on plain arrays; the results that every other layout must repeat."""

    def __init__(self, norm, axis, dtype):
        self.norm, self.axis = norm, axis
        self.xs, self.dys, self.parameters = norm.data(SHAPE, axis, dtype)
        self.results, self.statistics = self.forward(self.xs)
        self.x = self.results[-1] if norm.arrays > 1 else self.xs[0]
        self.gradients = self.backward(self.dys, self.x)

    def forward(self, xs, **options):
        return self.norm.forward(xs, self.parameters, self.axis, **options)

    def backward(self, dys, x, **options):
        return self.norm.backward(dys, x, self.parameters[0], self.statistics, self.axis, **options)


@every_dtype
@every_case
def test_inputs(norm, axis, dtype):
    example = Example(norm, axis, dtype)
    for name, layout in LAYOUTS.items():
        xs, dys = [layout(x) for x in example.xs], [layout(dy) for dy in example.dys]
        results, statistics = example.forward(xs)
        assert_near((*results, *statistics), (*example.results, *example.statistics), name)
        assert_near(example.backward(dys, layout(example.x)), example.gradients, name)
        assert_same((*xs, *dys), (*example.xs, *example.dys), name)  # inputs are left alone


@every_case
def test_a_broadcast_input(norm, axis):
    row = np.linspace(-1, 2, 10, dtype=np.float32)
    _, _, parameters = norm.data(SHAPE, axis, np.float32)
    x = np.broadcast_to(row, SHAPE)
    want = norm.forward([x.copy()] * norm.arrays, parameters, axis)[0]
    assert_near(norm.forward([x] * norm.arrays, parameters, axis)[0], want)


@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.label)
def test_a_read_only_input_outlives_its_name(norm):
    example = Example(norm, -1, np.float32)
    assert_same(example.forward([read_only(x) for x in example.xs])[0], example.results)


@every_dtype
@every_case
def test_out(norm, axis, dtype):
    example = Example(norm, axis, dtype)
    for name in WRITEABLE:
        outs = [LAYOUTS[name](np.full(SHAPE, 9, dtype)) for _ in range(norm.arrays)]
        results, statistics = example.forward(example.xs, **dict(zip(("out", "sum_out"), outs)))
        assert all(result is out for result, out in zip(results, outs, strict=True))
        assert_same((*outs, *statistics), (*example.results, *example.statistics), name)
        out = LAYOUTS[name](np.full(SHAPE, 9, dtype))
        gradients = example.backward(example.dys, example.x, out=out)
        assert gradients[0] is out
        assert_same(gradients, example.gradients, name)


def test_out_leaves_what_lies_between_alone():
    for norm, axis in CASES:
        example = Example(norm, axis, np.float32)
        store = np.full((6, 4, 20), 9, np.float32)
        example.forward(example.xs, out=store[..., ::2])
        assert (store[..., 1::2] == 9).all()


@every_case
def test_in_place_is_out_of_place(norm, axis):
    """The same order of memory, the same bits."""
    example = Example(norm, axis, np.float32)
    xs = [x.copy() for x in example.xs]
    assert_same(example.forward(xs, out=xs[0])[0], example.results)
    dys = [dy.copy() for dy in example.dys]
    assert_same(example.backward(dys, example.x, out=dys[0]), example.gradients)
    x = example.x.copy()
    assert_same(example.backward(example.dys, x, out=x), example.gradients)


@every_dtype
@every_case
def test_in_place(norm, axis, dtype):
    example = Example(norm, axis, dtype)
    for name in WRITEABLE:
        xs = [LAYOUTS[name](x) for x in example.xs]
        results, statistics = example.forward(xs, out=xs[0])
        assert_near((*results, *statistics), (*example.results, *example.statistics), name)
        if norm.arrays > 1:
            for order in ((0, 1), (1, 0)):
                xs = [LAYOUTS[name](x) for x in example.xs]
                results, _ = example.forward(xs, out=xs[order[0]], sum_out=xs[order[1]])
                assert_near(results, example.results, name)
        for which in range(norm.arrays):
            dys = [LAYOUTS[name](dy) for dy in example.dys]
            assert_near(example.backward(dys, example.x, out=dys[which]), example.gradients, name)
        x = LAYOUTS[name](example.x)
        assert_near(example.backward(example.dys, x, out=x), example.gradients, name)


def overlapping(a, shift):
    """A copy of a, and an output that begins shift elements away from it."""
    store = np.zeros(a.size + abs(shift), a.dtype)
    start = max(0, -shift)
    view = store[start : start + a.size].reshape(a.shape)
    view[...] = a
    return view, store[start + shift : start + shift + a.size].reshape(a.shape)


@every_case
def test_out_that_overlaps_an_input_at_an_offset(norm, axis):
    example = Example(norm, axis, np.float32)
    for shift in (-7, -1, 1, 7, 40):
        for which in range(norm.arrays):
            xs = list(example.xs)
            xs[which], out = overlapping(xs[which], shift)
            assert_same(example.forward(xs, out=out)[0], example.results, f"shift {shift}")
            if norm.arrays > 1:
                xs[which], out = overlapping(example.xs[which], shift)
                assert_same(example.forward(xs, sum_out=out)[0], example.results, f"shift {shift}")
            dys = list(example.dys)
            dys[which], out = overlapping(dys[which], shift)
            assert_same(example.backward(dys, example.x, out=out), example.gradients, f"shift {shift}")
        x, out = overlapping(example.x, shift)
        assert_same(example.backward(example.dys, x, out=out), example.gradients, f"shift {shift}")


@pytest.mark.parametrize("norm", [norm for norm in NORMS if norm.label in ("batch_norm", "layer_norm", "rms_norm")])
def test_out_that_overlaps_transposed(norm):
    store = np.random.default_rng(0).normal(size=(30, 30))
    want, _ = norm.forward([store.T.copy()], [], -1)
    norm.forward([store.T], [], -1, out=store)
    assert_near([store], want)


def test_out_that_holds_the_parameters():
    x = np.random.default_rng(0).normal(size=(5, 3))
    for norm in NORMS:
        if norm.label in ("group_norm", "instance_norm"):
            continue  # need more columns
        parameters = [x[0].copy(), x[1].copy()][: norm.parameters]
        want = norm.forward([x] * norm.arrays, parameters, -1)[0][0]
        own = x.copy()
        held = [own[0], own[1]][: norm.parameters]
        got = norm.forward([own, x][: norm.arrays], held, -1, out=own)[0][0]
        np.testing.assert_array_equal(got, want, err_msg=norm.label)


@every_case
def test_out_that_holds_a_statistic(norm, axis):
    """A gradient reads the statistics of all rows, and may have written over those of the later ones."""
    example = Example(norm, axis, np.float64)
    for which, statistic in enumerate(example.statistics):
        for start in (0, 3, example.x.size - statistic.size):
            out = np.full(SHAPE, 9.0)
            held = out.reshape(-1)[start : start + statistic.size].reshape(statistic.shape)
            held[...] = statistic
            statistics = [*example.statistics[:which], held, *example.statistics[which + 1 :]]
            gradients = norm.backward(example.dys, example.x, example.parameters[0], statistics, axis, out=out)
            assert_same(gradients, example.gradients, f"statistic {which} at {start}")


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.float16, np.float32, np.float64, ml_dtypes.bfloat16, list])
def test_parameters_of_any_type_and_layout(kind):
    for norm, axis in CASES:
        if isinstance(axis, tuple):
            continue
        example = Example(norm, axis, np.float32)
        n = SHAPE[axis]
        whole = [np.arange(1, n + 1), np.arange(n)[::-1]][: norm.parameters]
        want, statistics = norm.forward(example.xs, [a.astype(float) for a in whole], axis)
        given = [list(a) if kind is list else a.astype(kind) for a in whole]
        assert_same(norm.forward(example.xs, given, axis)[0], want)
        gradients = norm.backward(example.dys, example.x, whole[0].astype(float), statistics, axis)
        assert_same(norm.backward(example.dys, example.x, given[0], statistics, axis), gradients)
        if kind is not list:
            strided = [read_only(every_second(a)) for a in given]
            assert_same(norm.forward(example.xs, strided, axis)[0], want)


def test_results_are_the_callers():
    """Nothing that is returned shares memory with anything given, or with another result."""
    for norm, axis in CASES:
        example = Example(norm, axis, np.float64)
        arrays = [*example.results, *example.statistics, *(g for g in example.gradients if np.ndim(g))]
        given = [*example.xs, *example.dys, *example.parameters]
        for i, a in enumerate(arrays):
            others = [*arrays[:i], *arrays[i + 1 :], *given]
            if a is example.x:
                continue
            assert not any(np.shares_memory(a, b) for b in others), norm.label
