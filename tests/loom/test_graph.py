"""Graphs: what they hold, and how they print."""

import numpy as np
import pytest

from gradloom.core.table import OPS
from gradloom.loom.graph import CONSTANT, INPUT, PARAMETER, Graph, code_of, row_of, symbol_of


@pytest.mark.parametrize("symbol", sorted(OPS))
def test_every_row_has_a_code_of_its_own(symbol: str) -> None:
    code = code_of(symbol)
    assert code > PARAMETER
    assert (symbol_of(code), row_of(code)) == (symbol, OPS[symbol])


def small() -> Graph:
    graph = Graph(constants=[0.5], inputs=1, parameters=[object()])
    graph.add(INPUT, [0])
    graph.add(PARAMETER, [0])
    graph.add(CONSTANT, [0])
    graph.add(code_of("where"), [0, 1, 2])
    graph.outputs = [3, 0]
    return graph


def test_a_graph_prints_a_line_a_node() -> None:
    lines = ["%0 = input 0", "%1 = parameter 0", "%2 = 0.5", "%3 = where %0, %1, %2"]
    assert str(small()).splitlines() == [*lines, "return %3, %0"]


def test_its_arrays_are_not_copied() -> None:
    graph = small()
    codes, starts, operands = graph.arrays()
    assert codes.tolist() == list(graph.codes)
    assert starts.tolist() == [0, 1, 2, 3, 6]
    assert operands[3:].tolist() == [0, 1, 2]
    with pytest.raises(BufferError):
        graph.add(code_of("neg"), [3])
    del codes, starts, operands
    assert graph.add(code_of("neg"), [3]) == 4


def test_an_empty_graph_has_empty_arrays() -> None:
    assert [len(x) for x in Graph().arrays()] == [0, 1, 0]
    assert Graph().arrays()[0].dtype == np.uint16
