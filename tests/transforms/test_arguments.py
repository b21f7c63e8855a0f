"""Arguments: what is a number, what is part of the key, and what is neither."""

import copy
import datetime
from collections import OrderedDict
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import Value
from gradloom.transforms.arguments import Arguments


def taken(*args: Any, **options: Any) -> Arguments:
    return Arguments(dict, args, options)


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        (2, [2.0]),
        (2.5, [2.5]),
        (np.float32(0.5), [0.5]),
        (np.int64(3), [3.0]),
        (np.bool_(True), [1.0]),
        (np.array(4.0), [4.0]),
        (Fraction(1, 4), [0.25]),
        (10**400, [np.inf]),
        ([1, -(10**400), 2.0], [1.0, -np.inf, 2.0]),
        ((1.0, [2, {"a": 3.0}]), [1.0, 2.0, 3.0]),
        (np.arange(4).reshape(2, 2), [0.0, 1.0, 2.0, 3.0]),
        (np.array([True, False]), [1.0, 0.0]),
        (np.array([Value(5.0), 6], dtype=object), [5.0, 6.0]),
        ([], []),
        (np.empty((0, 3)), []),
        (True, []),
        (None, []),
        ("a", []),
        (np.str_("a"), []),
        (range(3), []),
        (np.datetime64("2020-01-01"), []),
        (datetime.date(2020, 1, 1), []),
        (2j, []),
    ],
)
def test_numbers_are_inputs_and_nothing_else_is(given: Any, numbers: list[float]) -> None:
    assert taken(given).numbers.tolist() == numbers


def test_keys_tell_structures_apart_and_numbers_not() -> None:
    alike = [([1.0, 2.0],), ([3, 4],), ([np.float64(1.0), 2],)]
    assert len({taken(*args).key for args in alike}) == 1
    different: list[Any] = [
        [1.0, 2.0], (1.0, 2.0), [1.0], [[1.0, 2.0]], np.ones(2), np.ones((1, 2)), {"a": 1.0},
        {"b": 1.0}, OrderedDict(a=1.0), [Value(1.0), 2.0], [True, 2.0], [False, 2.0], ["a", 2.0],
        [None, 2.0], 1.0, Value(1.0), True, "number", ("number",), None, abs, [], (), {},
        np.empty(0), np.empty((0, 2)),
    ]  # fmt: skip
    assert len({taken(x).key for x in different}) == len(different)
    assert taken(1.0, a=2.0).key != taken(1.0, b=2.0).key


def test_values_are_found_with_their_places() -> None:
    a, b = Value(1.0), Value(2.0)
    assert taken(3.0, [a, {"k": b}]).values == [(1, a), (2, b)]


def test_what_belongs_to_a_derivative_around_is_symbolic() -> None:
    seen: list[bool] = []
    gl.grad(lambda x: seen.append(taken([x]).symbolic) or x)(1.0)
    assert seen == [True]
    assert not taken(Value(1.0), [2.0]).symbolic


def test_a_copy_may_be_changed_in_place() -> None:
    def f(xs: list[Any], table: Any) -> Any:
        xs, table = copy.deepcopy(xs), table.copy()
        xs.append(xs[0] * 2)
        table[0] = 7.0
        return [*xs, table[0], table[1]]

    compiled = gl.compile(f)
    for xs, table in (([1.0, 2.0], np.ones(2)), ([3.0, 4.0], np.zeros(2))):
        assert compiled(xs, table) == f(xs, table)
    assert compiled.cache_info().misses == 1
