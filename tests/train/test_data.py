import re

import pandas as pd
import pyarrow.parquet
import pytest

from gradloom.errors import ArgumentError, DataError
from gradloom.train.data import DATA_SETS, load_table, read_frame

SIZES = {
    "iris": (150, 5),
    "wine": (178, 14),
    "breast-cancer": (569, 31),
    "digits": (1797, 65),
    "diabetes": (442, 11),
    "moons": (500, 3),
    "circles": (500, 3),
}


def test_every_bundled_set_has_a_size_here():
    assert SIZES.keys() == DATA_SETS.keys()


@pytest.mark.parametrize("name", SIZES)
def test_a_bundled_set_ends_in_its_target_and_is_always_the_same(name):
    table = load_table(name)
    assert table.frame.shape == SIZES[name]
    assert table.target == table.frame.columns[-1]
    assert table.fingerprint() == load_table(name).fingerprint()


def test_classes_go_by_their_names():
    assert set(load_table("iris").frame["species"]) == {"setosa", "versicolor", "virginica"}


def test_the_fingerprint_tells_a_changed_table():
    table = load_table("moons")
    before = table.fingerprint()
    table.frame.iloc[3, 0] += 1e-9
    assert table.fingerprint() != before


def write(tmp_path, text, name="table.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_any_usual_separator_is_found(tmp_path, separator, end):
    lines = ["size,colour", "1,red", "2,blue"]
    path = write(tmp_path, end.join(lines).replace(",", separator) + end)
    frame = read_frame(path)
    assert frame.to_dict("list") == {"size": ["1", "2"], "colour": ["red", "blue"]}


def test_quotes_blank_lines_spaces_and_a_byte_order_mark_are_understood(tmp_path):
    path = write(tmp_path, '\ufeff\na , "b, c"\n\n 1 ,"two\nlines"\n\n')
    assert read_frame(path).to_dict("list") == {"a": ["1"], "b, c": ["two\nlines"]}


def test_missing_values_are_recognised(tmp_path):
    path = write(tmp_path, "a,b\n,1\nNA,2\nNaN,3\nnull,4\n?,5\nx,6\n")
    assert read_frame(path)["a"].isna().tolist() == [True] * 5 + [False]


def test_parquet_keeps_its_types(tmp_path):
    path = tmp_path / "table.parquet"
    pd.DataFrame({"a": [1.5, None], "b": ["x", "y"], "c": [True, False]}).to_parquet(path)
    frame = read_frame(path)
    assert frame["a"].dtype == float
    assert frame["b"].tolist() == ["x", "y"]


def test_a_file_is_loaded_with_its_last_column_as_target_or_another(tmp_path):
    path = write(tmp_path, "a,b\n1,2\n", "my table.csv")
    assert (load_table(path).name, load_table(path).target) == ("my table", "b")
    assert load_table(path, "a").target == "a"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: it needs a header line and rows"),
        ("\n\n", "is empty"),
        ("a,b\n", "has a header but no rows"),
        ("a,b\n1,2\n3\n", "line 3: 1 fields where the header has 2: correct or remove the line"),
        ("a,b\n1,2\n\n3,4,5\n", "line 4: 3 fields where the header has 2"),
        ("a,,c\n1,2,3\n", "column 2 has no name"),
        ("a,b,a\n1,2,3\n", "two columns called 'a'"),
        ("1.5,2,-3\n4,5,6\n", "starts with numbers: its first line must name the columns"),
        ('a,b\n1,"2\n', "line 2: unexpected end of data"),
        (b"a,b\n1,\xff\n", "is no UTF-8 text"),
    ],
)
def test_a_bad_csv_file_is_named_with_its_line(tmp_path, text, message):
    with pytest.raises(DataError, match=r"table\.csv.*" + re.escape(message)):
        read_frame(write(tmp_path, text))


def test_a_bad_parquet_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"table\.parquet is damaged or no Parquet file"):
        read_frame(write(tmp_path, "a,b\n1,2\n", "table.parquet"))
    table = pyarrow.table([[1], [2]], names=["a", "a"])
    pyarrow.parquet.write_table(table, tmp_path / "twice.parquet")
    with pytest.raises(DataError, match=r"twice\.parquet"):
        read_frame(tmp_path / "twice.parquet")
    pd.DataFrame().to_parquet(tmp_path / "none.parquet")
    with pytest.raises(DataError, match=r"none\.parquet is empty"):
        read_frame(tmp_path / "none.parquet")


@pytest.mark.parametrize("cell", [[1.0, 2.0], {"a": 1}])
def test_a_column_of_lists_is_named(tmp_path, cell):
    path = tmp_path / "table.parquet"
    pd.DataFrame({"a": [1.0, 2.0], "tags": [None, cell], "y": [0, 1]}).to_parquet(path)
    with pytest.raises(DataError, match=r"table\.parquet: column 'tags' holds lists: give each"):
        read_frame(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*no\.csv: check the name"):
        load_table(tmp_path / "no.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="cannot read"):
        load_table(tmp_path / "folder.csv")


def test_an_unknown_data_set_names_the_nearest():
    with pytest.raises(ArgumentError, match=r"'irsi'; did you mean 'iris'\? \(or give a \.csv or"):
        load_table("irsi")


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = write(tmp_path, "a", "table.xlsx")
    with pytest.raises(ArgumentError, match=r"is no table: give a file that ends in \.csv"):
        load_table(path)
    for other in (path, "-"):
        with pytest.raises(ArgumentError, match=r"is no table: give a file that ends in \.csv"):
            read_frame(other)


def test_an_unknown_target_names_the_nearest():
    with pytest.raises(ArgumentError, match="'specis'; did you mean 'species'"):
        load_table("iris", "specis")


def test_a_table_of_the_target_alone_is_refused(tmp_path):
    with pytest.raises(DataError, match="no column beside 'a'"):
        load_table(write(tmp_path, "a\n1\n"))
