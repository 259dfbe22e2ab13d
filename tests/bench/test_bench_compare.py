"""Result files: round trip, damage, and the comparison of two of them."""

import copy
import json

import pytest

from normkit.bench import results, table
from normkit.bench.compare import compare
from normkit.experiments.errors import DataError


def result(scale=1.0, keys=("a", "b"), spread=0.01):
    """A result whose times are around 10 and 20 µs, times scale."""
    cases = [
        {
            "key": key, "part": "training", "peers": {
                "normkit": {"us": [scale * 10 * (i + 1) * (1 + spread * step) for step in (-1, 0, 0, 0, 1)]},
                "copy": {"us": [5.0, 5.0, 5.0, 5.0, 5.0]},
            },
        }
        for i, key in enumerate(keys)
    ]  # fmt: skip
    return {
        "kind": "bench", "schema": results.SCHEMA, "machine": {"cpu": "one", "cores": [0, 1], "system": "Linux"},
        "threads": 2, "versions": {"numpy": "2.0"}, "cases": cases,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["a  b", "[a  b]", "[", "x\n   y", '" [1,  2] "'])
def test_texts_are_written_as_they_are(text):
    value = {"a": text, "b": [text, [text, 1]], text: [1, 2]}
    assert json.loads(results.dump(value)) == value
    assert "[ 1, 2 ]" in results.dump(value) or "[" in text


def test_round_trip(tmp_path):
    file = tmp_path / "new" / "result.json"
    results.check_writable(file)
    results.write(file, result())
    assert results.read(file) == result()
    assert [path.name for path in file.parent.iterdir()] == ["result.json"]
    assert '"us": [ 9.9, 10.0, 10.0, 10.0, 10.1 ]' in file.read_text()


def test_a_file_is_written_at_once_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "result.json"
    results.write(file, result())
    before = file.read_bytes()
    with pytest.raises(TypeError):
        results.write(file, {"a": object()})

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results.os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        results.write(file, result(2))
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not JSON"),
        ('{"kind": "bench"', "is not JSON"),
        ("[]", "not a result of normkit bench"),
        ('{"kind": "norms"}', "not a result of normkit bench"),
        ('{"kind": "bench", "schema": 2}', "has schema 2, this version of normkit reads 1"),
        ('{"kind": "bench"}', "has schema None"),
        (b"\xff\xfe", "is not JSON"),
        (None, "cannot be read: No such file"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path, text, words):
    file = tmp_path / "old.json"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=words) as caught:
        results.read(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["result.json/below.json", "."])
def test_where_nothing_can_be_written(tmp_path, name):
    (tmp_path / "result.json").write_text("")
    with pytest.raises(DataError, match="cannot be made|is a folder"):
        results.check_writable(tmp_path / name)


def test_the_same_is_noise_and_twice_is_not():
    assert [case.change.verdict for case in compare(result(), result()).cases] == ["noise", "noise"]
    slower = compare(result(2), result())
    assert [case.change.verdict for case in slower.cases] == ["slower", "slower"]
    assert [(case.old_us, case.new_us, case.change.ratio) for case in slower.cases] == [(10, 20, 2), (20, 40, 2)]
    assert [case.change.verdict for case in compare(result(), result(2)).cases] == ["faster", "faster"]
    # a tenth more, in times that differ by 1 % and by 50 %
    assert compare(result(1.1), result()).cases[0].change.verdict == "slower"
    assert compare(result(1.1, spread=0.5), result(spread=0.5)).cases[0].change.verdict == "noise"


def test_slower_than_counts_what_is_beyond_the_spread():
    comparison = compare(result(1.5), result())
    assert [case.key for case in comparison.slower_than(1.2)] == ["a", "b"]
    assert comparison.slower_than(2) == []
    assert comparison.slower_than(1.497) == []  # 1.5 times, but within the spread it may be 1.494
    assert compare(result(), result(1.5)).slower_than(1.2) == []
    one = result()
    one["cases"][1]["peers"]["normkit"]["us"] = [30.0, 30.0, 30.0]
    assert [case.key for case in compare(one, result()).slower_than(1.2)] == ["b"]


def test_other_circumstances_are_said():
    old = result(keys=("a", "c"))
    old["machine"] = {"cpu": "other", "cores": [0, 1], "system": "Linux"}
    old["versions"], old["threads"] = {"numpy": "1.9"}, 1
    old["cases"][0]["peers"]["copy"]["us"] = [10.0]
    assert compare(result(), old, "old.json").notes == [
        "Another machine, so that the ratios are not normkit's alone: cpu other, now one.",
        "Threads: 1, now 2.",
        "Versions: numpy 1.9, now 2.0.",
        "The copies of as many bytes took 0.50 times as long as then (median).",
        "Not in old.json: b.",
        "Only in old.json: c.",
    ]


def damage(path, value):
    made = result()
    *way, last = path
    part = made
    for step in way:
        part = part[step]
    if value is None:
        del part[last]
    else:
        part[last] = value
    return made


@pytest.mark.parametrize(
    "old",
    [
        damage(["cases"], None), damage(["machine"], None), damage(["cases"], [1]), damage(["cases", 0, "peers"], []),
        damage(["cases", 0, "peers", "normkit"], {"us": ["x"]}), damage(["versions"], None),
        damage(["cases", 0, "peers", "normkit", "us"], [0.0]), damage(["cases", 0, "key"], None),
    ],
)  # fmt: skip
def test_damage_is_named(old):
    with pytest.raises(DataError, match="^old.json is damaged: "):
        compare(result(), old, "old.json")


def test_nothing_in_common():
    with pytest.raises(DataError, match="old.json has no case of this run, but x, y"):
        compare(result(), result(keys=("x", "y")), "old.json")
    with pytest.raises(DataError, match="another device"):
        compare(result(), {"kind": "gpu"}, "old.json")


def gpu(time):
    cold = {"p20": time - 1, "p50": time, "p80": time + 1}
    return {
        "kind": "gpu", "device": {"name": "a GPU"}, "versions": {},
        "sections": {"kernels": {"cases": {"k": {"peers": {"normkit": {"cold": cold}}}, "failed": {"error": "hung"}}}},
    }  # fmt: skip


def test_results_of_the_device():
    (case,) = compare(gpu(20), gpu(10)).cases
    assert (case.key, case.change.verdict, case.change.low) == ("k", "slower", 19 / 11)
    assert compare(gpu(10), gpu(10.5)).cases[0].change.verdict == "noise"


def test_as_text_and_as_data():
    comparison = compare(result(2), result())
    assert table.changes(comparison)[0] == ("a", "10.0", "20.0", "2.00", "1.99 - 2.01", "slower")
    data = json.loads(json.dumps(table.changes_as_data(comparison)))
    assert data["cases"][0]["verdict"] == "slower" and data["cases"][0]["change"]["ratio"] == 2


def test_neither_side_is_changed():
    new, old = result(2), result()
    before = copy.deepcopy((new, old))
    compare(new, old)
    assert (new, old) == before
