import math

import numpy as np
import pandas as pd
import pytest

from gradloom.errors import DataError
from gradloom.train.samples import check_samples

ROWS, TARGETS = [[1.0, 2.0], [3.0, 4.0]], [0, 1]


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.array(ROWS), np.array(TARGETS)),
        ([np.array(row) for row in ROWS], [np.int64(0), np.int64(1)]),
        ([[np.float64(1), np.float32(2)], [np.int64(3), 4]], TARGETS),
        (pd.DataFrame(ROWS), pd.Series(TARGETS)),
        (tuple(map(tuple, ROWS)), tuple(TARGETS)),
    ],
    ids=["arrays", "lists of arrays", "lists of scalars", "pandas", "tuples"],
)
def test_every_container_comes_out_as_lists_of_python_numbers(x, y):
    rows, targets = check_samples(x, y)
    assert (rows, targets) == (ROWS, TARGETS)
    numbers = [number for row in rows for number in row] + targets
    assert {type(number) for number in numbers} <= {int, float}


def test_a_class_index_stays_a_whole_number():
    assert type(check_samples(ROWS, np.array([1, 2]))[1][0]) is int


def test_the_input_is_not_shared():
    rows, _ = check_samples(ROWS, TARGETS)
    rows[0][0] = 9.0
    assert ROWS[0][0] == 1.0


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([], [], "x is empty"),
        (np.zeros((0, 3)), [], "x is empty"),
        (ROWS, [1], "x has 2 rows but y has 1 targets"),
        ([[1.0, 2.0], [3.0]], TARGETS, r"x\[1\] has 1 number where x\[0\] has 2"),
        ([[], []], TARGETS, r"x\[0\] is empty"),
        ([1.0, 2.0], TARGETS, r"x\[0\] is 1\.0: each row must be a list"),
        ([[1.0, math.nan], [1.0, 2.0]], TARGETS, r"x\[0\]\[1\] is nan"),
        (ROWS, [1.0, -math.inf], r"y\[1\] is -inf"),
        ([[1.0, "a"], [1.0, 2.0]], TARGETS, r"x\[0\]\[1\] is 'a': a number is needed"),
        ([[1.0, None], [1.0, 2.0]], TARGETS, r"x\[0\]\[1\] is None"),
        ([[1.0, 1j], [1.0, 2.0]], TARGETS, r"x\[0\]\[1\] is 1j"),
        ("ab", TARGETS, "x must be a list or an array, got str"),
        (None, TARGETS, "x must be a list or an array, got NoneType"),
        (ROWS, [[1.0], [1.0, 2.0]], r"y\[1\] has 2 numbers where y\[0\] has 1"),
        (ROWS, [[1.0], 2.0], r"y\[1\] is 2\.0: each row must be a list"),
        (ROWS, [1.0, [2.0]], r"y\[1\] is \[2\.0\]: a number is needed"),
    ],
)
def test_bad_samples_are_named(x, y, message):
    with pytest.raises(DataError, match=message):
        check_samples(x, y)
