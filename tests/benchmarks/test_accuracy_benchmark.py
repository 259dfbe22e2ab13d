"""The benchmark of exactness: its file and its tables."""


def test_quick_run(script, module, read, grids, tmp_path):
    file = tmp_path / "accuracy.json"
    shown = script("accuracy.py", "--quick", "--peers", "numpy", "--json", file)
    result = read(file)
    assert result["kind"] == "accuracy" and list(result["versions"]) == ["numpy"]
    assert "layer_norm, 16×24" in shown and "batch_norm, 16×24" in shown
    single = [case for case in result["cases"] if case["dtype"] == "float32"]
    assert {case["function"] for case in single} == {"layer_norm", "batch_norm"}
    errors = {(case["function"], case["input"]): case["errors"]["numpy"] for case in single}
    # the rounding of the mean in float32: half a unit in the last place of 1e6 is 0.03
    assert errors["layer_norm", "mean 0"] < 1e-5 < 1e-3 < errors["layer_norm", "mean 1e6"]
    # the squares overflow and the result is zero: an error of the largest value
    assert errors["layer_norm", "values around ±1e20"] > 1
    for rows in grids(module("table").markdown(result)):
        assert rows[0] == ["input", "type", "rounding alone", "NumPy, two passes"]
        assert {len(row) for row in rows} == {4} and all(row[3] for row in rows[2:])


def test_an_error_is_a_result(module):
    accuracy, table = module("accuracy"), module("accuracy_table")

    def fail(*arguments):
        raise TypeError("no such type\nand more")

    def overflow(name, x, beta):
        return x * float("inf")

    given = accuracy.INPUTS[1]
    row = accuracy.case("layer_norm", *given, {"a": fail, "b": overflow}, (4, 6))
    assert row["errors"] == {"a": "TypeError: no such type", "b": "not finite"}
    result = {
        "shapes": {"layer_norm": (4, 6)}, "labels": {"a": "A", "b": "B", "c": "C"}, "absent": {"c": "not installed: c"},
        "epsilon": 1e-5, "cases": [row],
    }  # fmt: skip
    assert table.rows(result, "layer_norm")[0][3:] == ("–", "not finite")
    assert table.notes(result)[1:] == ["C: not installed: c.", "A: TypeError: no such type (layer_norm float32)."]
