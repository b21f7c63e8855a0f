"""Scalars in SSA form: what a recording leaves behind.

A node is an operation on earlier nodes; nodes are numbered in the order of recording, so that
operands always come first. Everything lies in flat arrays, some twenty bytes a node.
"""

import hashlib
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


def arities() -> NDArray[np.int64]:
    """How many operands the operations by number have, a leaf 1; -1 where any number will do."""
    rows = [OPS.get(symbol) for symbol in _symbols[len(_LEAVES) :]]
    found = [0 if row is None else -1 if row.arity is None else row.arity for row in rows]
    return np.array([1] * len(_LEAVES) + found)


@dataclass(slots=True)
class Graph:
    """A recorded function.

    Attributes:
        codes: for each node its operation, or CONSTANT, INPUT, PARAMETER.
        operands: node numbers; of a leaf its place in `constants`, the inputs or `parameters`.
        counts: how many operands each node has whose operation takes any number of them.
        constants: the plain numbers that occur, each once.
        inputs: how many numbers go in.
        parameters: the values from outside that are read afresh at each run.
        outputs: the nodes that come out.
        guards: nodes that must have these numbers for the recording to hold.
    """

    codes: "array[int]" = field(default_factory=lambda: array("H"))
    operands: "array[int]" = field(default_factory=lambda: array("I"))
    counts: "array[int]" = field(default_factory=lambda: array("I"))
    constants: list[float] = field(default_factory=list)
    inputs: int = 0
    parameters: list[Any] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    guards: list[tuple[int, float]] = field(default_factory=list)
    _starts: "array[int]" = field(default_factory=lambda: array("I", [0]), compare=False)
    _counted: int = field(default=0, compare=False)  # how many of `counts` are in `_starts`

    def __len__(self) -> int:
        return len(self.codes)

    def add(self, code: int, operands: Sequence[int]) -> int:
        """Append a node; its number."""
        self.codes.append(code)
        self.operands.extend(operands)
        if code > PARAMETER and row_of(code).arity is None:
            self.counts.append(len(operands))
        return len(self.codes) - 1

    @property
    def starts(self) -> "array[int]":
        """Where each node's operands begin in `operands`, and one entry for the end.

        The operations tell; so it is not written while recording, but found when asked for.
        """
        known = len(self._starts) - 1
        if known < len(self.codes):
            counts = arities()[np.asarray(self.codes)[known:]]
            several = np.flatnonzero(counts < 0)
            if len(several):
                counts[several] = np.asarray(self.counts)[self._counted :]
                self._counted += len(several)
            ends = np.cumsum(counts, dtype=np.uint32) + np.uint32(self._starts[-1])
            self._starts.frombytes(ends.tobytes())
        return self._starts

    def operands_of(self, node: int) -> "array[int]":
        """The operands of a node (of a leaf: its place)."""
        return self.operands[self.starts[node] : self.starts[node + 1]]

    def arrays(self) -> tuple[NDArray[np.uint16], NDArray[np.int32], NDArray[np.int32]]:
        """`codes`, `starts` and `operands` as NumPy sees them, not copied.

        While they are held nothing can be added.
        """
        starts, operands = (np.asarray(x).view(np.int32) for x in (self.starts, self.operands))
        return np.asarray(self.codes), starts, operands

    def digest(self) -> bytes:
        """Sixteen bytes that stand for what is computed: the same in every process.

        Operations count by name, constants bit for bit, parameters by place. Which numbers the
        inputs and parameters have is not part of it. (BLAKE2b; Aumasson et al., 2013)

        >>> from gradloom.loom.record import record
        >>> at_3, at_4 = (record(lambda x: x * 2.0, number)[0] for number in (3.0, 4.0))
        >>> at_3.digest() == at_4.digest()
        True
        """
        codes = np.asarray(self.codes)
        used = np.flatnonzero(np.bincount(codes)).tolist()
        names = sorted(map(symbol_of, used))
        rank = np.zeros(len(_symbols), dtype="<u2")
        rank[used] = [names.index(symbol_of(code)) for code in used]
        layout = (names, len(codes), len(self.operands), self.inputs, len(self.parameters))
        found = hashlib.blake2b(repr(layout).encode(), digest_size=16)
        kept = [node for node, _ in self.guards], [number for _, number in self.guards]
        places = self.operands, self.counts, self.outputs, kept[0]
        numbers = self.constants, kept[1]
        for kind, columns in ("<u4", places), ("<f8", numbers):
            for column in columns:
                found.update(len(column).to_bytes(8, "little"))
                found.update(np.asarray(column, dtype=kind).tobytes())
        found.update(rank[codes].tobytes())
        return found.digest()

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
