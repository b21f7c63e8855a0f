import pandas as pd
import pytest

from gradloom.errors import DataError
from gradloom.train.columns import check_target, column_texts, find_task, is_numbers


def test_a_class_is_the_same_as_text_whole_number_and_float():
    for column in (["0", "1"], [0, 1], [0.0, 1.0], ["0.0", "1.0"]):
        assert column_texts(pd.Series(column)) == ["0", "1"]


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["a", "b"], "classification"),
        ([True, False], "classification"),
        ([0, 1, 2], "classification"),
        (["0", "1"], "classification"),
        (list(range(11)), "regression"),
        ([0.5, 1.0], "regression"),
    ],
)
def test_the_task_is_told_by_the_target(values, task):
    assert find_task(pd.Series(values)) == task


@pytest.mark.parametrize(
    ("values", "task", "message"),
    [
        (["a", None, "b"], "classification", r"no value in row 2 \(1 of 3 rows\): fill or drop"),
        ([1.0, float("nan")], "regression", "no value in row 2"),
        ([1.0, float("inf")], "regression", "row 2: inf"),
        ([2.0, 2.0], "regression", "has a single value, '2': there is nothing to learn"),
        (["a", "a"], "classification", "has a single value, 'a'"),
        (["1", "b"], "regression", "row 2: 'b': a number is needed"),
        (["a", "a", "a", "b"], "classification", "class 'b' of 'y' has 1 of the 3 rows it needs"),
    ],
)
def test_a_target_that_cannot_be_learned_is_named(values, task, message):
    with pytest.raises(DataError, match=message):
        check_target(pd.Series(values, name="y"), task)


def test_what_counts_as_numbers():
    assert is_numbers(pd.Series(["1e3", " -2", None]))
    assert is_numbers(pd.Series([1, 2], dtype="Int64"))
    assert not is_numbers(pd.Series(["1", "x"]))
    assert not is_numbers(pd.Series([True, False]))
    assert not is_numbers(pd.Series(pd.to_datetime(["2020-01-01"])))
