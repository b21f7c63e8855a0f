"""Scalars in SSA form: what a recording leaves behind.

A node is an operation on earlier nodes; nodes are numbered in the order of recording, so that
operands always come first. Everything lies in flat arrays, some twenty bytes a node.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.core.table import OPS, Op

CONSTANT, INPUT, PARAMETER = range(3)
_LEAVES = ("constant", "input", "parameter")

# The operations by number; rows that are entered in the table later follow when they are first met.
_symbols: list[str] = [*_LEAVES, *OPS]
_codes: dict[str, int] = {symbol: code for code, symbol in enumerate(_symbols)}


def code_of(symbol: str) -> int:
    """The number that stands for an operation in `Graph.codes`."""
    code = _codes.get(symbol)
    if code is None:
        code = _codes[symbol] = len(_symbols)
        _symbols.append(symbol)
    return code


def symbol_of(code: int) -> str:
    """The operation that a number stands for."""
    return _symbols[code]


def row_of(code: int) -> Op:
    """The operation's row in the table."""
    return OPS[_symbols[code]]


@dataclass(slots=True)
class Graph:
    """A recorded function.

    Attributes:
        codes: for each node its operation, or CONSTANT, INPUT, PARAMETER.
        starts: where each node's operands begin in `operands`, and one entry for the end.
        operands: node numbers; of a leaf its place in `constants`, the inputs or `parameters`.
        constants: the plain numbers that occur, each once.
        inputs: how many numbers go in.
        parameters: the values from outside that are read afresh at each run.
        outputs: the nodes that come out.
        guards: nodes that must have these numbers for the recording to hold.
    """

    codes: "array[int]" = field(default_factory=lambda: array("H"))
    starts: "array[int]" = field(default_factory=lambda: array("I", [0]))
    operands: "array[int]" = field(default_factory=lambda: array("I"))
    constants: list[float] = field(default_factory=list)
    inputs: int = 0
    parameters: list[Any] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    guards: list[tuple[int, float]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.codes)

    def add(self, code: int, operands: Sequence[int]) -> int:
        """Append a node; its number."""
        self.codes.append(code)
        self.operands.extend(operands)
        self.starts.append(len(self.operands))
        return len(self.codes) - 1

    def operands_of(self, node: int) -> "array[int]":
        """The operands of a node (of a leaf: its place)."""
        return self.operands[self.starts[node] : self.starts[node + 1]]

    def arrays(self) -> tuple[NDArray[np.uint16], NDArray[np.int32], NDArray[np.int32]]:
        """`codes`, `starts` and `operands` as NumPy sees them, not copied.

        While they are held nothing can be added.
        """
        starts, operands = (np.asarray(x).view(np.int32) for x in (self.starts, self.operands))
        return np.asarray(self.codes), starts, operands

    def lines(self) -> Iterator[str]:
        """One line a node, as a person can read it."""
        for node, code in enumerate(self.codes):
            places = self.operands_of(node)
            if code == CONSTANT:
                yield f"%{node} = {self.constants[places[0]]!r}"
            elif code <= PARAMETER:
                yield f"%{node} = {_LEAVES[code]} {places[0]}"
            else:
                yield f"%{node} = {symbol_of(code)} " + ", ".join(f"%{i}" for i in places)
        yield "return " + ", ".join(f"%{i}" for i in self.outputs)

    def __str__(self) -> str:
        return "\n".join(self.lines())
