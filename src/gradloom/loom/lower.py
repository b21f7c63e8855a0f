"""Lower operations on long lists to reductions.

`max`, `min` and `logsumexp` of a few operands are one instruction with an operand for each. Of a
thousand, its thousand derivatives would each read a thousand operands; so a long list is written
with sums and maps of other rows instead, in which the whole list is one view.
"""

import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradloom.loom.graph import CONSTANT, PARAMETER, Graph, arities, code_of

_LONG = 32  # operands that one instruction may have
_AT_ONCE = 8  # operands of the maxima that a long one is taken of
_EXTREMES = {code_of("max"): "max", code_of("min"): "min"}
_LOGSUMEXP = code_of("logsumexp")


def lower(graph: Graph) -> Graph:
    """The graph with every `max`, `min` and `logsumexp` of more than 32 operands spelled out.

    >>> from gradloom import logsumexp
    >>> from gradloom.loom.record import record
    >>> graph, _ = record(logsumexp, [1.0] * 33)
    >>> "logsumexp" in str(graph), "logsumexp" in str(lower(graph))
    (True, False)
    """
    codes, starts, _ = graph.arrays()
    long = np.isin(codes, [*_EXTREMES, _LOGSUMEXP]) & (np.diff(starts) > _LONG)
    if not long.any():
        return graph
    lowered = _Lowered(graph)
    number = np.empty(len(graph), dtype=np.int64)  # of each node in the new graph
    begin = 0
    for node in np.flatnonzero(long).tolist():
        lowered.copy(graph, begin, node, number)
        operands = number[graph.operands_of(node)].tolist()
        if codes[node] == _LOGSUMEXP:
            number[node] = lowered.logsumexp(operands)
        else:
            number[node] = lowered.extreme(_EXTREMES[int(codes[node])], operands)
        begin = node + 1
    lowered.copy(graph, begin, len(graph), number)
    lowered.graph.outputs = number[graph.outputs].tolist()
    lowered.graph.guards = [(int(number[node]), value) for node, value in graph.guards]
    return lowered.graph


class _Lowered:
    """The new graph in the making."""

    def __init__(self, graph: Graph) -> None:
        self.graph = Graph(
            constants=list(graph.constants), inputs=graph.inputs, parameters=graph.parameters
        )

    def copy(self, graph: Graph, begin: int, end: int, number: NDArray[np.int64]) -> None:
        """Take over the nodes from `begin` up to `end`, and note their new numbers."""
        codes, starts, operands = graph.arrays()
        new, inner = self.graph, codes[begin:end] > PARAMETER
        number[begin:end] = np.arange(len(new), len(new) + end - begin)
        places = operands[starts[begin] : starts[end]].copy()
        is_node = np.repeat(inner, np.diff(starts[begin : end + 1]))
        places[is_node] = number[places[is_node]]
        several = arities()[codes[begin:end]] < 0
        new.counts.extend((starts[begin + 1 : end + 1] - starts[begin:end])[several].tolist())
        new.codes.frombytes(codes[begin:end].tobytes())
        new.operands.frombytes(places.tobytes())

    def constant(self, number: float) -> int:
        self.graph.constants.append(number)
        return self.graph.add(CONSTANT, [len(self.graph.constants) - 1])

    def step(self, symbol: str, *operands: int) -> int:
        return self.graph.add(code_of(symbol), operands)

    def each(self, symbol: str, *columns: Sequence[int]) -> list[int]:
        return [self.step(symbol, *row) for row in zip(*columns, strict=True)]

    def number_of(self, symbol: str, operands: Sequence[int]) -> int:
        """The largest or smallest, without a derivative."""
        while len(operands) > 1:
            parts = [operands[i : i + _AT_ONCE] for i in range(0, len(operands), _AT_ONCE)]
            operands = [self.step(symbol, *part) for part in parts]
        return self.step("detach", operands[0])

    def extreme(self, symbol: str, operands: Sequence[int]) -> int:
        """The number it is, and of each operand that ties an equal share as the derivative."""
        count = len(operands)
        number = self.number_of(symbol, operands)
        hits = self.each("equal", operands, [number] * count)
        ties = self.step("sum", *hits)
        shares = self.each("/", operands, [ties] * count)
        nothing = self.constant(-0.0)
        total, *terms = self.each("where", hits, shares, [nothing] * count)
        for term in terms:
            total = self.step("+", total, term)
        return self.step("where", self.step("equal", number, number), total, number)  # nan is nan

    def logsumexp(self, operands: Sequence[int]) -> int:
        """The logarithm of a sum of exponentials, of which the largest is 1."""
        count = len(operands)
        largest = self.number_of("max", operands)
        finite = self.step("less_equal", self.step("abs", largest), self.constant(_MOST))
        shift = self.step("where", finite, largest, self.constant(0.0))
        powers = self.each("exp", self.each("-", operands, [shift] * count))
        return self.step("+", self.step("log", self.step("sum", *powers)), shift)


_MOST = sys.float_info.max
