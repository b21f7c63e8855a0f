"""Simplified graphs: what goes, what stays, and that no bit of a result changes."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradloom.core.table import OPS
from gradloom.loom.graph import CONSTANT, INPUT, PARAMETER, Graph, code_of, row_of
from gradloom.loom.record import record
from gradloom.loom.simplify import simplify


def numbers_of(graph: Graph, inputs: list[float]) -> list[float]:
    """Every node's number, one by one."""
    numbers: list[float] = []
    for node, code in enumerate(graph.codes):
        places = graph.operands_of(node)
        if code == CONSTANT:
            numbers.append(graph.constants[places[0]])
        elif code == INPUT:
            numbers.append(inputs[places[0]])
        else:
            numbers.append(row_of(code).evaluate(*[numbers[place] for place in places]))
    return numbers


ROWS = ["+", "-", "*", "/", "neg", "relu", "max", "sum", "where", "abs", "sign"]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Any graph over a few rows, with much that is equal, constant or unread."""
    graph = Graph()
    for place in range(draw(st.integers(1, 3))):
        graph.add(INPUT, [place])
        graph.inputs += 1
    for number in draw(st.lists(st.sampled_from([0.0, -0.0, 1.0, math.inf, math.nan]), max_size=3)):
        graph.add(CONSTANT, [len(graph.constants)])
        graph.constants.append(number)
    for _ in range(draw(st.integers(0, 25))):
        symbol = draw(st.sampled_from(ROWS))
        arity = OPS[symbol].arity or draw(st.integers(1, 3))
        below = st.integers(max(0, len(graph) - 6), len(graph) - 1)
        graph.add(code_of(symbol), draw(st.lists(below, min_size=arity, max_size=arity)))
    nodes = st.integers(0, len(graph) - 1)
    graph.outputs = draw(st.lists(nodes, min_size=1, max_size=3))
    graph.guards = [(node, 1.0) for node in draw(st.lists(nodes, max_size=2))]
    return graph


numbers = st.sampled_from([0.0, -0.0, 1.0, -2.0, math.inf, -math.inf, math.nan])


@settings(deadline=None)
@given(graphs(), st.lists(numbers, min_size=3, max_size=3))
def test_no_bit_of_an_output_or_a_guard_changes(graph: Graph, inputs: list[float]) -> None:
    simple = simplify(graph)
    before, after = numbers_of(graph, inputs), numbers_of(simple, inputs)
    pairs = [*zip(graph.outputs, simple.outputs, strict=True)]
    pairs += [(a, b) for (a, _), (b, _) in zip(graph.guards, simple.guards, strict=True)]
    for a, b in pairs:
        x, y = before[a], after[b]
        assert (math.isnan(x) and math.isnan(y)) or (
            x == y and math.copysign(1.0, x) == math.copysign(1.0, y)
        )


@settings(deadline=None)
@given(graphs())
def test_no_two_nodes_are_equal_and_none_is_unread(graph: Graph) -> None:
    simple = simplify(graph)
    inner = [node for node, code in enumerate(simple.codes) if code > PARAMETER]
    written = [(simple.codes[node], *simple.operands_of(node)) for node in inner]
    assert len(set(written)) == len(written)
    read = {place for node in inner for place in simple.operands_of(node)}
    assert set(inner) <= read | set(simple.outputs) | {node for node, _ in simple.guards}


def test_inputs_stay_though_nobody_reads_them() -> None:
    graph, _ = record(lambda _, y: y * 2.0, 1.0, 2.0)
    assert list(simplify(graph).codes).count(INPUT) == 2


def test_zeros_of_either_sign_are_not_shared() -> None:
    graph, _ = record(lambda x: [x + 0.0, x + -0.0], 1.0)
    assert len(set(simplify(graph).outputs)) == 2


def test_what_is_equal_level_upon_level_is_shared() -> None:
    def tower(x: Any) -> Any:
        for _ in range(100):
            x = x * x + 1.0
        return x

    graph, _ = record(lambda x: tower(x) - tower(x), 0.5)
    assert len(simplify(graph)) == 2 + 200 + 1


def test_a_graph_without_a_needless_node_is_given_back_as_it_is() -> None:
    graph, _ = record(lambda x, y: x * y + x, 1.0, 2.0)
    assert simplify(graph) is graph


@pytest.mark.parametrize("number", [3.0, math.inf])
def test_operations_on_constants_are_folded(number: float) -> None:
    graph = Graph(constants=[number], inputs=1, outputs=[3])
    graph.add(INPUT, [0])
    graph.add(CONSTANT, [0])
    graph.add(code_of("neg"), [1])
    graph.add(code_of("+"), [0, 2])
    assert str(simplify(graph)) == f"%0 = input 0\n%1 = {-number!r}\n%2 = + %0, %1\nreturn %2"
