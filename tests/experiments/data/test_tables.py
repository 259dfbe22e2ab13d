"""CSV and Parquet files against pandas, and one line for whatever is wrong with one."""

import gzip
import sys

import numpy as np
import pandas as pd
import pytest

from normkit.experiments.data.table_files import read_csv, read_parquet
from normkit.experiments.data.tables import Table, missing_in, refuse_missing, table_from
from normkit.experiments.errors import DataError


def written(tmp_path, content, name="table.csv"):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"])  # a spreadsheet's byte order mark
@pytest.mark.parametrize("zipped", [False, True])
def test_csv(tmp_path, prefix, zipped):
    content = prefix + b"a,label,b\n1,yes,2.5\n-3,no,4e2\n"
    columns = read_csv(written(tmp_path, gzip.compress(content) if zipped else content))
    assert list(columns.values) == ["a", "label", "b"] and len(columns) == 2
    np.testing.assert_array_equal(columns.as_numbers("b"), [2.5, 400])
    assert columns.as_text("label").tolist() == ["yes", "no"]
    assert [columns.holds_numbers(name) for name in columns.values] == [True, False, True]


def test_csv_takes_quotes_blank_lines_and_windows_line_ends(tmp_path):
    columns = read_csv(written(tmp_path, b'"a, b",label\r\n"1","x, y"\r\n\r\n2,"z\r\nz"\r\n'))
    np.testing.assert_array_equal(columns.as_numbers("a, b"), [1, 2])
    assert columns.as_text("label").tolist() == ["x, y", "z\r\nz"]
    assert columns.place(0).endswith("table.csv, line 2") and columns.place(1).endswith("line 5")


def test_a_blank_line_of_one_column_is_a_missing_value(tmp_path):
    (tmp_path / "t.csv").write_text("x\n1\n\n3\n")
    np.testing.assert_array_equal(read_csv(tmp_path / "t.csv").as_numbers("x"), [1, np.nan, 3])


def test_csv_is_pandas(tmp_path):
    random = np.random.default_rng(0)
    frame = pd.DataFrame({
        "whole": random.integers(-9, 9, 200),
        "real": random.normal(size=200) * 10.0 ** random.integers(-30, 30, 200),
        "gaps": np.where(random.random(200) < 0.3, np.nan, random.normal(size=200)),
        "text": random.choice(["red", 'dark "blue", nearly', "näive", "two\nlines"], 200),
    })  # fmt: skip
    frame.to_csv(tmp_path / "table.csv")  # with row numbers in a column without name
    columns = read_csv(tmp_path / "table.csv")
    again = pd.read_csv(tmp_path / "table.csv", index_col=0)
    assert list(columns.values) == list(frame) and columns.notes
    for name in ("whole", "real", "gaps"):
        np.testing.assert_array_equal(columns.as_numbers(name), frame[name].to_numpy(float))
        # pandas before 3.1 does not read all that it has written to the last digits
        np.testing.assert_allclose(columns.as_numbers(name), again[name].to_numpy(float), rtol=1e-11)
    assert columns.as_text("text").tolist() == again["text"].tolist() == frame["text"].tolist()


@pytest.mark.parametrize("gap", ["", "NA", "NaN", "nan", " ", " NA"])
def test_missing_values(tmp_path, gap):
    columns = read_csv(written(tmp_path, f"a,c,z\n1,red,0\n{gap},{gap},0\n3,blue,0\n"))
    np.testing.assert_array_equal(columns.as_numbers("a"), [1, np.nan, 3])
    assert columns.as_text("c").tolist() == ["red", "", "blue"]
    table = table_from(columns, ["a", "z"], ["c"])
    assert [(name, gaps.tolist()) for name, gaps in missing_in(table)] == [
        ("a", [False, True, False]), ("c", [False, True, False]),
    ]  # fmt: skip
    with pytest.raises(DataError, match="table.csv, line 3, column 'a': the value is missing .2 in a, c.*--missing"):
        refuse_missing(table, columns)
    refuse_missing(table[np.array([0, 2])], columns)


@pytest.mark.parametrize(
    ("values", "numbers"),
    [("1 2 x", True), ("1 x y", False), ("1 NA NA", True), ("NA NA NA", False), ("1_000 2_000 3", False),
     ("0x10 1 2", True), ("1e5 -inf nan", True)],
)  # fmt: skip
def test_a_column_is_of_numbers_when_most_of_it_is(tmp_path, values, numbers):
    columns = read_csv(written(tmp_path, "\n".join(["a,b", *(f"{v},1" for v in values.split())])))
    assert columns.holds_numbers("a") == numbers


@pytest.mark.parametrize(
    ("value", "message"),
    [("?", "'\\?' is not a number, as the others are"), ("1_000", "'1_000' is not a number"),
     ("-inf", "-inf is infinity"), ("1e39", "1e\\+39 is infinity in float32"), ("x" * 60, "'" + "x" * 37 + "...'")],
)  # fmt: skip
def test_a_stranger_among_numbers_is_named_with_its_place(tmp_path, value, message):
    columns = read_csv(written(tmp_path, f"a,b\n1,1\n\n2,1\n{value},1\n"))
    with pytest.raises(DataError, match=f"table.csv, line 5, column 'a': {message}"):
        columns.as_numbers("a")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "column names and at least one row"),
        (b"a,label\n", "column names and at least one row"),
        (b"\n\n", "column names and at least one row"),
        (b"\na,b\n1,2\n", "its first line is blank"),
        (b"label,a,label\n1,2,3\n", "2 columns 'label'"),
        (b"a, a\n1,2\n", "2 columns 'a'"),
        (b"a,,label\n1,2,3\n", "column 2 has no name"),
        (b",a\n7,1\n9,2\n", "column 1 has no name"),  # no row numbers
        (b"a,label\n1,x\n2\n", "line 3: 1 values, but 2 column names"),
        (b"a,label\n1,x\n2,y,z\n", "line 3: 3 values, but 2 column names"),
        (b"a,label\n1,\0\n", "line 2: a NUL byte"),
        ("a,label\n1,x\n".encode("utf-16-le"), "line 1: a NUL byte"),
        ("a,label\n1,x\n".encode("utf-16"), "not a CSV file in UTF-8"),
        ("a,label\n1,Müller\n".encode("latin-1"), "not a CSV file in UTF-8"),
        (b'a,label\n"1,x\n2,y\n', "not a CSV file in UTF-8: unexpected end of data"),
        (b'a,label\n"' + b"x" * 200_000 + b'",y\n', "not a CSV file in UTF-8: field larger"),
    ],
)
def test_csv_hostile(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_csv(written(tmp_path, content))


def test_only_the_columns_that_are_wanted_are_kept(tmp_path):
    asked = []
    columns = read_csv(written(tmp_path, "a,b,c\n1,2,3\n"), lambda name: asked.append(name) or name != "b")
    assert asked == ["a", "b", "c"] and list(columns.values) == ["a", "c"]
    with pytest.raises(DataError, match="no column 'b' at all; its columns are a, c"):
        columns.require("b", "at all")


def test_numbers_become_text_as_a_file_would_have_them(tmp_path):
    pytest.importorskip("pyarrow")
    pd.DataFrame({"a": [1.0, 2.5, np.nan, 1e300]}).to_parquet(tmp_path / "t.parquet")
    assert read_parquet(tmp_path / "t.parquet").as_text("a").tolist() == ["1", "2.5", "", str(int(1e300))]


def test_rows_of_a_table():
    table = Table(np.array([[1.0], [2.0]]), ["a"], np.array([["x"], ["y"]], object), ["b"])
    assert table[1:].numbers.tolist() == [[2.0]] and table[1:].texts.tolist() == [["y"]]
    assert len(table[np.array([1, 0, 1])]) == 3 and table.names == ["a", "b"]


def frame():
    return pd.DataFrame({
        "whole": [1, 2, 3], "real": [0.5, np.nan, -1.5], "text": ["01", None, "b"],
        "category": pd.Categorical(["x", "y", "x"]), "yes": [True, False, True],
        "small": np.array([1, 2, 3], np.float32), "nullable": pd.array([1, None, 3], "Int64"),
    })  # fmt: skip


def test_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    frame().to_parquet(tmp_path / "t.parquet", index=False)
    columns = read_parquet(tmp_path / "t.parquet")
    assert [name for name in columns.values if columns.holds_numbers(name)] == ["whole", "real", "small", "nullable"]
    np.testing.assert_array_equal(columns.as_numbers("real"), [0.5, np.nan, -1.5])
    np.testing.assert_array_equal(columns.as_numbers("nullable"), [1, np.nan, 3])
    assert columns.as_text("text").tolist() == ["01", "", "b"]
    assert columns.as_text("category").tolist() == ["x", "y", "x"]
    assert columns.as_text("yes").tolist() == ["True", "False", "True"]
    assert columns.place(1).endswith("t.parquet, row 2")


def test_parquet_of_as_many_categories_as_their_codes_can_tell(tmp_path):
    pytest.importorskip("pyarrow")
    made = [f"c{i}" for i in range(128)] + [None]  # pandas' codes are int8
    pd.DataFrame({"c": pd.Categorical(made)}).to_parquet(tmp_path / "t.parquet")
    assert read_parquet(tmp_path / "t.parquet").as_text("c").tolist() == [*made[:-1], ""]


def test_parquet_of_categories_that_are_no_text(tmp_path):
    pytest.importorskip("pyarrow")
    made = {"number": pd.Categorical([20, 10, None, 20]), "flag": pd.Categorical([True, False, None, True])}
    pd.DataFrame(made).to_parquet(tmp_path / "t.parquet")
    columns = read_parquet(tmp_path / "t.parquet")
    np.testing.assert_array_equal(columns.as_numbers("number"), [20, 10, np.nan, 20])
    assert columns.holds_numbers("number") and not columns.holds_numbers("flag")
    assert columns.as_text("flag").tolist() == ["True", "False", "", "True"]


def test_parquet_row_numbers_of_pandas_are_left_out(tmp_path):
    pytest.importorskip("pyarrow")
    frame()[["whole", "real"]].iloc[[2, 0, 1]].to_parquet(tmp_path / "t.parquet")
    columns = read_parquet(tmp_path / "t.parquet")
    assert list(columns.values) == ["whole", "real"] and "row numbers" in columns.notes[0]


def test_parquet_of_many_row_groups_and_rows(tmp_path):
    pytest.importorskip("pyarrow")
    random = np.random.default_rng(0)
    made = pd.DataFrame(
        {"n": random.normal(size=30_000), "t": random.choice([f"text {i}" for i in range(900)], 30_000)}
    )
    made.to_parquet(tmp_path / "t.parquet", row_group_size=7000)
    columns = read_parquet(tmp_path / "t.parquet")
    np.testing.assert_array_equal(columns.as_numbers("n"), made["n"])
    assert columns.as_text("t").tolist() == made["t"].tolist()


def test_parquet_hostile(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "t.parquet"
    pd.DataFrame({"when": pd.to_datetime(["2026-01-01"]), "a": [1.0]}).to_parquet(path)
    with pytest.raises(DataError, match="column 'when': timestamp.* neither numbers nor text.*--drop"):
        read_parquet(path)
    assert list(read_parquet(path, lambda name: name != "when").values) == ["a"]
    with pytest.raises(DataError, match="at least one column"):
        read_parquet(path, lambda name: False)
    pd.DataFrame({"a": []}).to_parquet(path)
    with pytest.raises(DataError, match="at least one column and one row|neither numbers nor text"):
        read_parquet(path)
    for content in (b"", b"PAR1", b"PAR1" + bytes(range(256)) + b"PAR1"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="not a Parquet file"):
            read_parquet(path)


def test_a_parquet_bomb_is_refused(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "t.parquet"
    pd.DataFrame({"a": np.zeros(200_000)}).to_parquet(path)
    assert path.stat().st_size < 20_000
    with pytest.raises(DataError, match="unpacks to more than 100,000 bytes, the limit"):
        read_parquet(path, limit=100_000)
    # one long text in many rows: a dictionary in the file, and one object in memory
    pd.DataFrame({"t": ["x" * 10_000] * 5_000}).to_parquet(path)
    values = read_parquet(path, limit=5_000_000).values["t"]
    assert len(values) == 5_000 and len({id(value) for value in values}) <= 3


def test_without_pyarrow_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"needs pyarrow: pip install 'normkit\[parquet\]'"):
        read_parquet(tmp_path / "t.parquet")
