"""Woven programs against the eager engine: random loops, every row of the table, every lane."""

import itertools
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import gradloom as gl
from gradloom import Value
from gradloom.backends.numpy import Runner
from gradloom.core import ops
from gradloom.core.table import OPS, apply
from gradloom.loom.adjoint import adjoint
from gradloom.loom.graph import Graph
from gradloom.loom.program import Program
from gradloom.loom.record import record
from gradloom.loom.weave import weave

# ruff: noqa: ARG005 - every step takes two lists and two numbers

List = list[Any]


def added(xs: Any) -> Any:
    """The sum one by one; Python's own `sum` of floats compensates its rounding from 3.12 on."""
    total: Any = 0
    for x in xs:
        total = total + x
    return total


def at(xs: Sequence[Any], index: int) -> Any:
    """The element at the index, around the end."""
    return xs[index % len(xs)] if xs else 1.0


# What a step of a random function does with two lists and two small numbers. On whole numbers all
# of it is exact, so that sums in another order are the same to the last bit.
STEPS: dict[str, Callable[[List, List, int, int], List]] = {
    "add": lambda a, b, i, j: [x + at(b, i * k + j) for k, x in enumerate(a)],
    "subtract": lambda a, b, i, j: [at(b, i * k + j) - x for k, x in enumerate(a)],
    "multiply": lambda a, b, i, j: [x * at(b, i * k + j) for k, x in enumerate(a)],
    "negate": lambda a, b, i, j: [-x for x in b],
    "affine": lambda a, b, i, j: [2.0 * x - at(b, k) * float(i) + j for k, x in enumerate(a)],
    "square": lambda a, b, i, j: [x**2 for x in a],
    "relu": lambda a, b, i, j: [gl.relu(x) for x in a],
    "abs": lambda a, b, i, j: [abs(x) for x in b],
    "where": lambda a, b, i, j: [gl.where(x, at(b, k), float(j)) for k, x in enumerate(a)],
    "floor": lambda a, b, i, j: [gl.floor(x) + x for x in a],
    "max": lambda a, b, i, j: [gl.max(a[: k + 1]) for k in range(len(a))],
    "min of all": lambda a, b, i, j: [gl.min([*a, *b, float(i)])] * (j + 1),
    "prefixes": lambda a, b, i, j: [sum(a[:k]) for k in range(len(a) + 1)],
    "sums": lambda a, b, i, j: [gl.sum(a[k : k + i]) for k in range(j)],
    "dots": lambda a, b, i, j: (
        [gl.dot(a[k : k + i], b[: len(a[k : k + i])]) for k in range(j)] if len(b) >= i else []
    ),
    "outer": lambda a, b, i, j: [x * y for x in a for y in b],
    "product": lambda a, b, i, j: [
        sum(at(a, r * i + k) * at(b, k * j + c) for k in range(i))
        for r in range(3)
        for c in range(j)
    ],
    "convolve": lambda a, b, i, j: [
        sum((x * y for x, y in zip(a[k:], b[:i], strict=False)), at(b, j)) for k in range(len(a))
    ],
    "scan": lambda a, b, i, j: list(itertools.accumulate(a, lambda s, x: s + x)),
    "reverse": lambda a, b, i, j: a[::-1] + b[::2],
    "constants": lambda a, b, i, j: [float(i), *a, -0.0],
}


@dataclass(frozen=True)
class Loops:
    """A random function of two lists, with a list of parameters from outside."""

    steps: tuple[tuple[str, int, int, int, int], ...]
    outputs: tuple[int, ...]

    def __call__(self, xs: List, ys: List, parameters: List) -> List:
        lists = [xs, ys, parameters]
        for name, a, b, i, j in self.steps:
            lists.append(STEPS[name](at(lists, -1 - a), at(lists, -1 - b), i, j)[:12])
        chosen = [x for number in self.outputs for x in at(lists, -1 - number)[:7]]
        return [x for x in chosen if hasattr(x, "_level")]


small = st.integers(0, 3)
steps = st.tuples(st.sampled_from(sorted(STEPS)), small, small, small, small)
loops = st.builds(
    Loops,
    st.lists(steps, min_size=1, max_size=6).map(tuple),
    st.lists(small, min_size=1, max_size=3).map(tuple),
)
whole = st.integers(-3, 3).map(float)
vectors = st.lists(whole, max_size=6)


def differentiated(f: Callable[..., List], *lists: List) -> tuple[List, List, Any]:
    """The results for values in place of numbers, all the values, and the sum's gradient."""
    leaves = [[Value(x) for x in xs] for xs in lists]
    results = f(*leaves)
    total = gl.sum(results) if results else Value(0.0)
    if isinstance(total, Value):
        total.backward()
    every = [x for xs in leaves for x in xs]
    return [y.data for y in results], every, [x.grad for x in every]


def same_bits(found: Any, wanted: Any) -> bool:
    """Equal to the last bit, but for what is nan."""
    pairs = zip(found, wanted, strict=True)
    return all(
        struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))
        for a, b in pairs
    )


def woven(graph: Graph, xs: List, *, strict: bool = False) -> tuple[Any, Any, Program]:
    """Value, and gradient of the sum of the outputs by inputs and parameters."""
    program = weave(graph, strict=strict)
    wanted = np.concatenate([program.inputs, program.parameters])
    count = len(program.outputs)
    found = Runner(adjoint(program, wanted)).run([*xs, *[1.0] * count])
    return found[:count], found[count:], program


@settings(deadline=None, max_examples=100)
@given(loops, vectors, vectors, vectors, st.booleans())
def test_random_loops_have_the_values_and_gradients_of_the_eager_engine(
    f: Loops, xs: List, ys: List, ps: List, strict: bool
) -> None:
    values, _, gradient = differentiated(f, xs, ys, ps)
    assume(all(abs(x) < 2.0**50 for x in [*values, *gradient]))
    parameters = [Value(p) for p in ps]
    graph, _ = record(lambda xs, ys: f(xs, ys, parameters), xs, ys)
    found, slopes, program = woven(graph, [*xs, *ys], strict=strict)
    np.testing.assert_array_equal(found, values)
    by_value = {
        id(value): slope
        for value, slope in zip(program.values, slopes[len(xs + ys) :], strict=True)
    }
    of_parameters = [by_value.get(id(p), 0.0) for p in parameters]
    np.testing.assert_allclose([*slopes[: len(xs + ys)], *of_parameters], gradient, rtol=1e-12)


@settings(deadline=None, max_examples=50)
@given(loops, vectors, vectors, st.lists(whole, min_size=3, max_size=3), st.data())
def test_a_lane_has_what_it_has_alone(
    f: Loops, xs: List, ys: List, shifts: List, data: st.DataObject
) -> None:
    graph, _ = record(lambda xs, ys: f(xs, ys, [1.0, 2.0]), xs, ys)
    inputs = [*xs, *ys]
    laned = sorted(data.draw(st.sets(st.sampled_from(range(len(inputs)))))) if inputs else []
    program = weave(graph, lanes=laned)
    wanted = program.inputs
    count = len(program.outputs)
    differentiated = adjoint(program, wanted)
    seeds = [np.array([1.0, 2.0, 3.0]) if program.laned[slot] else 1.0 for slot in program.outputs]
    each = [x + np.array(shifts) if i in laned else x for i, x in enumerate(inputs)]
    found = Runner(differentiated, lanes=3).run([*each, *seeds])
    alone = Runner(adjoint(weave(graph), weave(graph).inputs))
    rows = []
    for lane in range(3):
        own = [x[lane] if i in laned else x for i, x in enumerate(each)]
        seed = [s[lane] if isinstance(s, np.ndarray) else 1.0 for s in seeds]
        rows.append(alone.run([*own, *seed]))
    assume(all(np.abs(row).max(initial=0.0) < 2.0**50 for row in rows))
    np.testing.assert_array_equal(found[:count], np.array(rows).T[:count].reshape(count, 3))
    for i in laned:
        np.testing.assert_allclose(found[count + i], [row[count + i] for row in rows], rtol=1e-12)


special = st.sampled_from([0.0, -0.0, 1.0, -1.5, math.inf, -math.inf, math.nan, 5e-324, 1e308])


@settings(deadline=None, max_examples=100)
@given(loops, *[st.lists(special, max_size=4)] * 3)
def test_strict_programs_give_the_bits_of_python_at_special_numbers(
    f: Loops, xs: List, ys: List, zs: List
) -> None:
    graph, _ = record(f, xs, ys, zs)
    inputs = [*xs, *ys, *zs]
    values = differentiated(f, xs, ys, zs)[0]
    assert same_bits(Runner(weave(graph, strict=True)).run(inputs), values)


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.integers(1, 6))
def test_strict_programs_round_as_python_does(xs: List, n: int) -> None:
    def f(xs: List) -> List:
        rows = [xs[i : i + n] for i in range(0, len(xs), n)]
        total = added(x * y - x / 3.0 for x, y in itertools.pairwise(xs))
        return [added(row) for row in rows] + [
            total + 1.0,
            xs[0] - (xs[-1] + added(x * x for x in xs)),
            gl.dot(xs, xs[::-1]) + gl.sum(xs) * 0.1,
            gl.sqrt(added(x * x for x in xs)) + 0.5 + xs[0],
        ]

    graph, _ = record(f, xs)
    assert same_bits(Runner(weave(graph, strict=True)).run(xs), f(xs))


@pytest.mark.parametrize("symbol", sorted(OPS))
@given(data=st.data())
@settings(deadline=None, max_examples=20)
def test_every_row_has_the_value_and_gradient_of_the_eager_engine(
    symbol: str, data: st.DataObject
) -> None:
    op = OPS[symbol]
    size = op.arity or data.draw(st.sampled_from([2, 4]))
    domains = op.domain if op.arity is not None else op.domain * size
    number = [st.one_of([st.floats(*interval) for interval in domain]) for domain in domains]
    rows = data.draw(st.lists(st.tuples(*number).map(list), min_size=1, max_size=3))

    def f(rows: list[List]) -> List:
        return [apply(op, *row) for row in rows]

    graph, _ = record(f, rows)
    found, slopes, _ = woven(graph, [x for row in rows for x in row])
    values, _, gradient = differentiated(lambda *rows: f(list(rows)), *rows)
    np.testing.assert_allclose(found, values, rtol=1e-12)
    np.testing.assert_allclose(slopes, gradient, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: gl.where(x > 0.0, x, 0.0) * 2.0,
        lambda x: gl.where(ops.greater(x, 0.0), gl.sqrt(x), 0.0),
        lambda x: gl.sqrt(gl.relu(x)),
        lambda x: gl.log(gl.max(x, 0.0)),
        lambda x: gl.where(ops.greater(x, 0.0), gl.log(x) * x, x),
    ],
)
@pytest.mark.parametrize("x", [-1.0, 0.0, 2.0])
def test_nothing_comes_past_a_mask(f: Callable[[Any], Any], x: float) -> None:
    graph, _ = record(f, x)
    found, slopes, _ = woven(graph, [x])
    leaf = Value(x)
    eager = f(leaf)
    eager.backward()
    np.testing.assert_allclose([*found, *slopes], [eager.data, leaf.grad], rtol=1e-12)


def test_a_power_of_two_is_a_square_and_a_constant_stands_in_the_body() -> None:
    graph, _ = record(lambda xs: [3.0 * x**2 for x in xs], [1.0, 2.0])
    bodies = [one.body for one in weave(graph).instructions]
    assert bodies == [("square", (0,)), ("*", (3.0, 0))]


def test_an_output_that_occurs_twice_has_two_cotangents() -> None:
    graph, _ = record(lambda x: [x * x, x * x, x], 3.0)
    program = weave(graph)
    assert len(set(program.outputs.tolist())) == 3
    found = Runner(adjoint(program, program.inputs)).run([3.0, 1.0, 10.0, 100.0])
    assert found.tolist() == [9.0, 9.0, 3.0, 166.0]


def test_what_lanes_share_is_computed_once() -> None:
    graph, _ = record(lambda x, w: x * 2.0 + (w * w + w), 1.0, 3.0)
    program = weave(graph, lanes=[0])
    assert [program.laned[one.out.offset] for one in program.instructions] == [False, True]


def test_a_group_is_cut_where_its_operands_are_views_back_to_back() -> None:
    graph, _ = record(lambda xs: [gl.exp(x) for x in xs[:4] + xs[6:20:3]], [1.0] * 20)
    program = weave(graph)
    assert program.tables == 0
    assert [one.shape for one in program.instructions] == [(4,), (5,)]


def test_members_are_sorted_by_what_they_read() -> None:
    def f(xs: List, ws: list[List]) -> List:
        order = [3, 1, 0, 2]
        return [sum(w * x for w, x in zip(ws[i], xs, strict=True)) for i in order]

    graph, _ = record(f, [1.0, 2.0], [[float(i), 1.0] for i in range(4)])
    program = weave(graph)
    assert (len(program.instructions), program.tables) == (1, 0)
    assert Runner(program).run([1.0, 2.0, 0.0, 1.0, 1.0, 1.0, 2.0, 1.0, 3.0, 1.0]).tolist() == [
        5.0,
        3.0,
        2.0,
        4.0,
    ]
