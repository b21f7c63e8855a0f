"""Graphs: what they hold, and how they print."""

import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradloom import Value
from gradloom.core import ops
from gradloom.core.table import OPS, REAL, operation
from gradloom.loom.graph import CONSTANT, INPUT, PARAMETER, Graph, code_of, row_of, symbol_of
from gradloom.loom.record import record


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


def test_starts_follow_while_nodes_are_added() -> None:
    graph = small()
    assert list(graph.starts) == [0, 1, 2, 3, 6]
    for count in (0, 3, 1):
        graph.add(code_of("sum"), [0] * count)
    graph.add(code_of("*"), [0, 1])
    assert list(graph.starts) == [0, 1, 2, 3, 6, 6, 9, 10, 12]
    graph.add(code_of("max"), [0, 1])
    assert graph.operands_of(8).tolist() == [0, 1]


def mixed(x: Any, y: Any) -> Any:
    return ops.sum([x * 2.0, y, x]) if x > 0.0 else ops.exp(y)


def test_a_digest_is_the_same_for_other_numbers_and_in_every_process() -> None:
    digest = record(mixed, 1.0, 2.0)[0].digest()
    assert len(digest) == 16
    assert record(mixed, 3.0, -4.0)[0].digest() == digest
    code = "import test_graph; print(test_graph.record(test_graph.mixed, 5, 6)[0].digest().hex())"
    run = [sys.executable, "-c", code]
    found = subprocess.run(
        run, check=False, cwd=__file__[: -len("test_graph.py")], capture_output=True, text=True
    )
    assert found.stdout.strip() == digest.hex(), found.stderr


def test_a_digest_does_not_depend_on_the_order_in_which_operations_were_entered() -> None:
    digests = []
    for names in (("late", "later"), ("later", "latest", "late")):
        rows = {name: operation(name, partials=[ops.add], domain=[REAL])(abs) for name in names}
        digests.append(record(lambda x, rows=rows: rows["later"](rows["late"](x)), 1.0)[0].digest())
        for name in names:
            del OPS[name]
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    "change",
    [
        {"constants": [-0.0]},
        {"constants": [math.nan]},
        {"inputs": 2},
        {"parameters": [object(), object()]},
        {"outputs": [0, 3]},
        {"outputs": [3]},
        {"guards": [(2, 0.0)]},
        {"guards": [(3, 1.0)]},
    ],
)
def test_a_digest_differs_when_anything_does(change: dict[str, Any]) -> None:
    graph = replace(small(), constants=[0.0], guards=[(3, 0.0)])
    assert replace(graph).digest() == graph.digest()
    assert replace(graph, **change).digest() != graph.digest()


def test_a_digest_tells_operations_and_operands_apart() -> None:
    w, v = Value(1.0), Value(2.0)
    functions = [
        lambda x, y: x * y,
        lambda x, y: y * x,
        lambda x, y: x + y,
        lambda x, y: x * y * y,
        lambda x, y: x * y * w,
        lambda x, y: x * w * y,
        lambda x, y: ops.sum([x, x, y]) + ops.sum([x, y]),
        lambda x, y: ops.sum([x, x]) + ops.sum([y, x, y]),
    ]
    assert len({record(f, 1.0, 2.0)[0].digest() for f in functions}) == len(functions)
    assert record(lambda x: x * v, 1.0)[0].digest() == record(lambda x: x * w, 1.0)[0].digest()
