"""Copies and pickles of graphs of any depth."""

import copy
import io
import multiprocessing
import operator
import pickle
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as hs

import gradloom as gl
import strategies as st
from gradloom import Value
from gradloom.core import copying
from gradloom.core.value import _topological


def repickled(x: Any, protocol: int = pickle.HIGHEST_PROTOCOL) -> Any:
    return pickle.loads(pickle.dumps(x, protocol))


COPIES: dict[str, Callable[[Any], Any]] = {"deepcopy": copy.deepcopy, "pickle": repickled}
both = pytest.mark.parametrize("how", list(COPIES.values()), ids=list(COPIES))


def small() -> tuple[Value, Value]:
    x = Value(0.5, label="x")
    y = 3.0 * x + gl.sum([x, x * x, 1.0]) - (x.relu() / 2).tanh() + x**2
    y.label = "y"
    y.backward()
    return x, y


def listing(y: Value) -> list[tuple[Any, ...]]:
    """All that there is to a graph, node by node."""
    found, seen, waiting = [], {}, [y]
    while waiting:
        n = waiting.pop()
        if id(n) in seen:
            continue
        seen[id(n)] = n
        operands = [x if isinstance(x, float) else (x.data, x.grad) for x in n._operands]
        found.append((n.data, n.grad, n._op, n.label, operands, n._local))
        waiting.extend(x for x in n._operands if not isinstance(x, float))
    return found


@both
def test_a_copy_holds_the_same_graph(how: Callable[[Any], Any]) -> None:
    _, y = small()
    again = how(y)
    assert again is not y
    assert listing(again) == listing(y)


@both
def test_a_copy_is_apart_from_the_original(how: Callable[[Any], Any]) -> None:
    x, y = small()
    x2, y2 = how((x, y))
    before = x.grad
    y2.backward()
    assert x.grad == before
    assert x2.grad == 2.0 * before
    y2.backward()
    assert (x2.grad, y2.grad) == (3.0 * before, 1.0)


@both
def test_sharing_is_kept_within_and_between_roots(how: Callable[[Any], Any]) -> None:
    x = Value(2.0)
    shared = x * x
    left, right = shared + 1.0, shared * shared
    l2, r2, s2, x2 = how([left, right, shared, x])
    assert l2._prev[0] is s2
    assert r2._prev == (s2, s2)
    assert r2._prev[0] is r2._prev[1] is s2
    assert s2._prev[0] is s2._prev[1] is x2
    backwards = how([x, shared, left])
    assert backwards[2]._prev[0] is backwards[1]
    assert backwards[1]._prev[0] is backwards[0]


@both
def test_operands_asked_for_before_or_after_are_the_same(how: Callable[[Any], Any]) -> None:
    x = Value(2.0)
    y = 3.0 * x
    early = how(y)
    assert [p.data for p in y._prev] == [3.0, 2.0]
    late = how(y)
    assert listing(late) == listing(y)
    assert [p.data for p in early._prev] == [3.0, 2.0]


@both
@hypothesis.given(st.formulas(), hs.lists(st.moderate, min_size=3, max_size=3))
@hypothesis.settings(max_examples=30, deadline=None)
def test_random_graphs_survive(
    how: Callable[[Any], Any], formula: st.Formula, numbers: list[float]
) -> None:
    leaves = [Value(x) for x in numbers[: formula.inputs]]
    y = formula(leaves, gl)
    y.backward()
    again, leaves_again = how((y, leaves))
    assert listing(again) == listing(y)
    for leaf in leaves_again:
        leaf.grad = 0.0
    again.backward()
    assert [x.grad for x in leaves_again] == [x.grad for x in leaves]


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_of_pickle_works(protocol: int) -> None:
    _, y = small()
    assert listing(repickled(y, protocol)) == listing(y)


def test_the_pickler_written_in_python_works_too() -> None:
    _, y = small()
    for _ in range(1500):
        y = y + 1.0
    file = io.BytesIO()
    pickle._Pickler(file).dump(y)  # type: ignore[attr-defined]
    again = pickle._loads(file.getvalue())  # type: ignore[attr-defined]
    assert len(_topological(again)[0]) == len(_topological(y)[0])
    assert again.data == y.data


def deep(length: int, x: Value) -> Value:
    y = x
    for i in range(length // 4):
        y = y + 1.0
        y = 0.5 * y
        y = gl.sum([y, x]) if i % 3 == 0 else y * x
        y = y.tanh()
    return y


@both
def test_a_deep_graph_needs_no_recursion(how: Callable[[Any], Any]) -> None:
    x = Value(0.5)
    y = deep(40_000, x)
    again = how(y)
    again.backward()
    y.backward()
    assert again.data == y.data
    leaf = next(p for p in again._prev[0]._prev[0]._prev if not p._op)
    assert leaf is not x
    assert sys.getrecursionlimit() < 40_000


@both
@pytest.mark.slow
def test_a_million_operations_are_copied(how: Callable[[Any], Any]) -> None:
    x = Value(0.5)
    y = deep(1_000_000, x)
    again = how(y)
    assert len(_topological(again)[0]) == len(_topological(y)[0]) == 1_000_000
    again.backward()
    assert again.data == y.data


def test_a_pickle_takes_a_hundred_bytes_a_node() -> None:
    sizes = [len(pickle.dumps(deep(n, Value(0.5)))) for n in (4_000, 8_000)]
    assert (sizes[1] - sizes[0]) / 4_000 < 100.0


def test_copying_is_linear_in_the_nodes() -> None:
    def walks(n: int) -> int:
        """How many nodes are visited to list operands while a graph is pickled."""
        count = 0
        original = copying.below

        def counting(root: Value, parts: Any) -> dict[int, Any]:
            nonlocal count
            found = original(root, parts)
            count += len(found)
            return found

        y = deep(n, Value(0.5))
        copying.below = counting
        try:
            pickle.dumps(y)
        finally:
            copying.below = original
        return count

    assert walks(20_000) <= 3 * 20_000


def test_a_shallow_copy_shares_the_operands() -> None:
    x = Value(2.0)
    y = 3.0 * x
    again = copy.copy(y)
    assert again is not y
    assert (again.data, again._op) == (6.0, "*")
    assert again._prev[1] is x
    again.backward()
    assert x.grad == 3.0


class Tagged(Value):
    """A subclass that adds attributes."""

    def __init__(self, data: float, tag: str) -> None:
        super().__init__(data)
        self.tag = tag


@pytest.mark.parametrize("how", [copy.copy, *COPIES.values()])
def test_what_a_subclass_adds_is_copied(how: Callable[[Any], Any]) -> None:
    again = how(Tagged(2.0, "t"))
    assert type(again) is Tagged
    assert (again.data, again.tag) == (2.0, "t")


class Unpicklable(Value):
    """A leaf that cannot be pickled."""

    def __reduce__(self) -> Any:
        raise TypeError("not this one")


def test_a_failed_copy_leaves_nothing_behind() -> None:
    y = deep(5_000, Unpicklable(0.5))
    for how in COPIES.values():
        with pytest.raises(TypeError, match="not this one"):
            how(y)
    assert not copying._listed.nodes
    again = pickle.loads(pickle.dumps(deep(5_000, Value(0.5))))
    assert len(_topological(again)[0]) == 5_000


def test_nothing_is_held_after_a_copy() -> None:
    pickle.dumps(deep(5_000, Value(0.5)))
    copy.deepcopy(deep(5_000, Value(0.5)))
    assert not copying._listed.nodes


def test_threads_copy_at_the_same_time() -> None:
    def work(k: int) -> bool:
        y = deep(4_000, Value(0.1 * k))
        return all(how(y).data == y.data for how in COPIES.values())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(8)))


def test_a_graph_travels_to_another_process() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        y = pool.map(operator.neg, [deep(4_000, Value(0.5))])[0]
    assert y.data == -deep(4_000, Value(0.5)).data


def test_a_watched_graph_is_copied_with_its_lines() -> None:
    with gl.detect_anomaly():
        y = Value(0.0) * 2.0
    again = repickled(y)
    assert again._op == "*"
    assert again._op.place == y._op.place  # type: ignore[attr-defined]
