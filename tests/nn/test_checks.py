"""Arguments are returned ready for use, or refused by an error that names them."""

import math

import numpy as np
import pytest

from gradloom.errors import ArgumentError
from gradloom.nn.checks import choose, number, whole


def test_an_unknown_name_is_answered_with_all_names_when_none_is_near() -> None:
    with pytest.raises(ArgumentError, match="no colour is called 'xyz'; choose one of red, blue"):
        choose("colour", "xyz", {"red": 1, "blue": 2})


@pytest.mark.parametrize("name", [None, 3, ["red"], "Red "])
def test_what_is_no_name_in_the_table_is_refused(name: object) -> None:
    with pytest.raises(ArgumentError, match="no colour is called"):
        choose("colour", name, {"red": 1})


def test_numpy_integers_become_ints() -> None:
    assert type(whole("size", np.int64(3))) is int


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "1", None, math.nan])
def test_what_is_no_size_is_refused(value: object) -> None:
    with pytest.raises(ArgumentError, match="size is a whole number of at least 1, got"):
        whole("size", value)


def test_numpy_floats_become_floats() -> None:
    assert type(number("rate", np.float32(0.5))) is float


@pytest.mark.parametrize("value", [-0.1, 1.0, math.inf, math.nan, True, "0.5", None, [0.5]])
def test_what_is_out_of_the_interval_is_refused(value: object) -> None:
    with pytest.raises(ArgumentError, match=r"rate is a number in \[0, 1\), got"):
        number("rate", value, high=1)


def test_zero_is_refused_where_the_interval_is_open() -> None:
    with pytest.raises(ArgumentError, match=r"rate is a number in \(0, inf\), got 0"):
        number("rate", 0, zero=False)
