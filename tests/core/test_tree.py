"""Nested structures taken apart and put together."""

import functools
from collections import namedtuple
from typing import Any, NamedTuple

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as hs

from gradloom import Value
from gradloom.core import tree
from gradloom.errors import NotANumberError


class Point(NamedTuple):
    """A named tuple with types."""

    x: Any
    y: Any


Old = namedtuple("Old", ["a", "b"])

leaf = hs.floats(allow_nan=False) | hs.integers(-5, 5).map(float)
structures = hs.recursive(
    leaf,
    lambda inner: (
        hs.lists(inner, max_size=3)
        | hs.lists(inner, max_size=3).map(tuple)
        | hs.dictionaries(hs.text(max_size=2), inner, max_size=3)
        | hs.tuples(inner, inner).map(lambda pair: Point(*pair))
    ),
    max_leaves=12,
)


@hypothesis.given(structures)
@hypothesis.settings(max_examples=100, deadline=None)
def test_apart_and_together_again_is_the_same(x: Any) -> None:
    leaves, structure = tree.flatten(x)
    again = tree.unflatten(structure, leaves)
    assert again == x
    assert type(again) is type(x)
    assert len(list(tree.paths(structure))) == len(leaves)
    assert tree.leaves_like(structure, x) == leaves


@hypothesis.given(structures)
@hypothesis.settings(max_examples=100, deadline=None)
def test_paths_say_how_python_reaches_each_leaf(x: Any) -> None:
    leaves, structure = tree.flatten(x)
    for path, expected in zip(tree.paths(structure), leaves, strict=True):
        assert eval(f"x{path}", {"x": x}) == expected


def test_leaves_become_floats_but_values_stay() -> None:
    value = Value(3.0)
    leaves, structure = tree.flatten([1, (np.float32(2.0), value), {"k": True}])
    assert leaves == [1.0, 2.0, value, 1.0]
    assert [type(x) for x in leaves] == [float, float, Value, float]
    assert leaves[2] is value
    assert structure == [None, (None, None), {"k": None}]


def test_named_tuples_stay_named() -> None:
    for old in (Point(1.0, [2.0]), Old(1.0, [2.0])):
        leaves, structure = tree.flatten(old)
        again = tree.unflatten(structure, leaves)
        assert type(again) is type(old)
        assert again == old


def test_arrays_become_nested_lists() -> None:
    leaves, structure = tree.flatten(np.arange(6).reshape(2, 3))
    assert leaves == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert structure == [[None] * 3] * 2
    assert tree.flatten(np.array(2.0)) == ([2.0], None)
    values = [Value(1.0), Value(2.0)]
    assert tree.flatten(np.array(values))[0] == values


def test_empty_structures_have_no_leaves() -> None:
    for empty in ([], (), {}, [[], {}]):
        assert tree.flatten(empty) == ([], empty)
        assert tree.unflatten(empty, []) == empty
        assert list(tree.paths(empty)) == []


@pytest.mark.parametrize("bad", ["a", None, {1.0}, 1j, [1.0, "a"], {"k": [None]}])
def test_a_leaf_that_is_no_number_is_refused(bad: Any) -> None:
    with pytest.raises(NotANumberError):
        tree.flatten(bad)


def test_leaves_come_in_the_order_of_the_structure_asked_for() -> None:
    _, structure = tree.flatten({"a": 1, "b": {"c": [2, 3], "d": 4}})
    assert tree.leaves_like(structure, {"b": {"d": 4, "c": [2, 3]}, "a": 1}) == [1, 2, 3, 4]


@pytest.mark.parametrize("other", [1.0, [1.0], [1.0, 2.0, 3.0], (1.0, 2.0), [[1.0], 2.0], {}])
def test_another_structure_has_no_leaves_in_this_order(other: Any) -> None:
    _, structure = tree.flatten([1.0, 2.0])
    assert tree.leaves_like(structure, other) is None


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (1.0, "one number"),
        ([], "a list of 0"),
        ([1.0, 2.0], "a list of 2"),
        ([[1.0, 2.0, 3.0]], "a list of 1 × 3"),
        ((1.0,), "a tuple of 1"),
        ({"a": 1.0, "b": 2.0}, "a dict of 2"),
        (Point(1.0, 2.0), "a Point of 2"),
    ],
)
def test_a_structure_is_described_in_a_few_words(x: Any, words: str) -> None:
    assert tree.describe(tree.flatten(x)[1]) == words


def test_a_function_is_named_through_its_partials() -> None:
    def f(x: float) -> float:
        return x

    class Callable:
        def __call__(self) -> None: ...

        def __repr__(self) -> str:
            return "a callable"

    assert tree.name(functools.partial(functools.partial(f, 1.0))) == "f"
    assert tree.name(Callable()) == "a callable"


def test_the_basis_is_made_of_unit_vectors() -> None:
    assert np.array_equal(list(tree.basis(4)), np.eye(4))
    assert list(tree.basis(0)) == []
