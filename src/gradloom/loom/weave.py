"""Weave scalars into arrays: group what is alike, lay it out, find the strides.

1. Chains of additions that nobody else reads become one sum; products that only feed that sum
   become terms of it.
2. Every node gets a level, one more than the highest among its operands.
3. The nodes of one level with one operation and operands of the same levels (of sums: with as
   many terms of each kind) form a group.
4. A group gets consecutive slots of the arena, in the order of recording.
5. Its operand lists are then lists of slots, and nearly always views (see `views`).

Leaves from outside are laid out by their first use, so that the weights of a layer lie as the
layer reads them, wherever its code took them from. With lanes, what depends on a lane and what
all lanes share never stand in one group or one operand list.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import TypeAlias

import numpy as np

from gradloom.loom.graph import CONSTANT, INPUT, PARAMETER, Graph, code_of, symbol_of
from gradloom.loom.program import Body, Instruction, Program
from gradloom.loom.views import Slots, common

_ADD, _SUB, _NEG, _MUL = (code_of(symbol) for symbol in ("+", "-", "neg", "*"))
_SUM, _DOT = code_of("sum"), code_of("dot")
_ADDITIVE = {_ADD, _SUB, _NEG, _SUM, _DOT}

# A kind of term: whether it is subtracted, and which of its one or two factors are laned.
Kind: TypeAlias = tuple[bool, tuple[bool, ...]]


@dataclass(slots=True)
class _Sum:
    """The terms of a sum: a constant, and for each kind the factors, one or two a term."""

    constant: float | None = None
    terms: dict[Kind, list[int]] = field(default_factory=dict)

    def add(self, kind: Kind, factors: list[int]) -> None:
        self.terms.setdefault(kind, []).extend(factors)

    def negate(self) -> None:
        self.terms = {(not minus, lanes): f for (minus, lanes), f in self.terms.items()}
        if self.constant is not None:
            self.constant = -self.constant

    def take(self, other: "_Sum") -> "_Sum":
        """Both sums in one; the longer is extended, so that a chain costs linear time."""
        first, second = (self, other) if self.size() >= other.size() else (other, self)
        for kind, factors in second.terms.items():
            first.add(kind, factors)
        if second.constant is not None:
            first.constant = second.constant + (first.constant or 0.0)
        return first

    def size(self) -> int:
        return sum(map(len, self.terms.values()))


class _Weaver:
    """The state between the steps."""

    def __init__(self, graph: Graph, lanes: Collection[int]) -> None:
        self.graph = graph
        self.codes = graph.codes.tolist()
        starts, operands = graph.starts.tolist(), graph.operands.tolist()
        self.operands = [operands[a:b] for a, b in pairwise(starts)]
        self.laned = self._depend(set(lanes))
        self.sums: dict[int, _Sum] = {}
        self.absorbed = bytearray(len(graph))
        self.levels = [0] * len(graph)
        self.slot = np.full(len(graph), -1, dtype=np.int64)

    def _depend(self, lanes: set[int]) -> list[bool]:
        """For each node, whether it differs from lane to lane."""
        laned: list[bool] = []
        if not lanes:
            return [False] * len(self.codes)
        for code, places in zip(self.codes, self.operands, strict=True):
            if code > PARAMETER:
                laned.append(any(laned[p] for p in places))
            else:
                laned.append(code == INPUT and places[0] in lanes)
        return laned

    def _uses(self) -> list[int]:
        """How often each node is read."""
        uses = [0] * len(self.codes)
        for code, places in zip(self.codes, self.operands, strict=True):
            if code > PARAMETER:
                for place in places:
                    uses[place] += 1
        for node in chain(self.graph.outputs, (node for node, _ in self.graph.guards)):
            uses[node] += 1
        return uses

    def flatten(self) -> None:
        """Step 1: sums and their terms."""
        codes, operands, laned = self.codes, self.operands, self.laned
        uses = self._uses()
        for node, code in enumerate(codes):
            if code not in _ADDITIVE or not uses[node]:
                continue
            found = _Sum()
            if code == _DOT:
                half = len(operands[node]) // 2
                for pair in zip(operands[node][:half], operands[node][half:], strict=True):
                    self._product(found, pair, minus=False)
                self.sums[node] = found
                continue
            for at, place in enumerate(operands[node]):
                minus = code == _NEG or (code == _SUB and at == 1)
                if codes[place] == CONSTANT:
                    number = self.graph.constants[operands[place][0]]
                    found.constant = (-number if minus else number) + (found.constant or 0.0)
                elif uses[place] == 1 and codes[place] in _ADDITIVE:
                    inner = self.sums.pop(place)
                    if minus:
                        inner.negate()
                    found = found.take(inner)
                    self.absorbed[place] = True
                elif uses[place] == 1 and codes[place] == _MUL:
                    self._product(found, operands[place], minus)
                    self.absorbed[place] = True
                else:
                    found.add((minus, (laned[place],)), [place])
            self.sums[node] = found

    def _product(self, found: _Sum, pair: "tuple[int, int] | list[int]", minus: bool) -> None:
        """A product as a term; the factor that all lanes share comes first."""
        a, b = pair
        if self.laned[a] and not self.laned[b]:
            a, b = b, a
        found.add((minus, (self.laned[a], self.laned[b])), [a, b])

    def group(self) -> list[tuple[int, list[int]]]:
        """Steps 2 and 3: the groups in the order of running, each with its operation's code."""
        levels, laned = self.levels, self.laned
        groups: dict[tuple[object, ...], list[int]] = {}
        for node, code in enumerate(self.codes):
            if code <= PARAMETER or self.absorbed[node]:
                continue
            if code in _ADDITIVE:
                if node not in self.sums:
                    continue  # nobody reads it
                shape = []
                level = 0
                for kind, factors in sorted(self.sums[node].terms.items()):
                    below = sorted({levels[p] for p in factors})
                    level = max(level, below[-1])
                    shape.append((kind, len(factors), tuple(below)))
                level += 1
                key: tuple[object, ...] = (level, _SUM, laned[node], tuple(shape))
            else:
                own = tuple([(levels[p], laned[p]) for p in self.operands[node]])
                level = 1 + max(own)[0]
                key = (level, code, laned[node], own)
            levels[node] = level
            groups.setdefault(key, []).append(node)
        ordered = sorted(groups.items(), key=lambda item: item[0][0])  # type: ignore[arg-type, return-value]
        return [(key[1], nodes) for key, nodes in ordered]  # type: ignore[misc]

    def lay_out(self, groups: list[tuple[int, list[int]]]) -> int:
        """Step 4: a slot for every node; the size of the arena."""
        slot, codes = self.slot, self.codes
        size = 0
        for node, code in enumerate(codes):
            if code == INPUT:
                slot[node] = size
                size += 1
        # A lone sum may read its terms in any order (see `emit`), so it has no say in this one.
        for lone in (False, True):
            for code, nodes in groups:
                if (code == _SUM and len(nodes) == 1) != lone:
                    continue
                for column in chain.from_iterable(lists for _, lists in self.columns(code, nodes)):
                    for place in column:
                        if slot[place] < 0 and codes[place] in (PARAMETER, CONSTANT):
                            slot[place] = size
                            size += 1
        out = {*self.graph.outputs, *(node for node, _ in self.graph.guards)}
        loose = [n for n in sorted(out) if codes[n] <= PARAMETER and slot[n] < 0]
        unread = [n for n, code in enumerate(codes) if code == PARAMETER and slot[n] < 0]
        for node in chain(dict.fromkeys(loose + unread), *(nodes for _, nodes in groups)):
            slot[node] = size
            size += 1
        return size

    def columns(self, code: int, nodes: list[int]) -> list[tuple[Body, list[list[int]]]]:
        """What a group adds up (or the one thing it does), each with its lists of operands."""
        if code != _SUM:
            lists = [
                list(column) for column in zip(*(self.operands[n] for n in nodes), strict=True)
            ]
            return [((symbol_of(code), tuple(range(len(lists)))), lists)]
        found: list[tuple[Body, list[list[int]]]] = []
        for kind in sorted(self.sums[nodes[0]].terms):
            minus, factors = kind
            flat = list(chain.from_iterable([self.sums[n].terms[kind] for n in nodes]))
            body: Body = 0 if len(factors) == 1 else ("*", (0, 1))
            lists = [flat[i :: len(factors)] for i in range(len(factors))]
            found.append((("neg", (body,)) if minus else body, lists))
        return found

    def emit(self, code: int, nodes: list[int]) -> list[Instruction]:
        """Step 5: the instructions of a group."""
        out = self.slot[nodes]
        parts = [
            (body, [self.slot[places] for places in lists])
            for body, lists in self.columns(code, nodes)
        ]
        if code != _SUM:
            return [_instruction(out, *parts[0], accumulate=False)]
        if len(nodes) == 1:
            parts = [(body, _in_order(lists)) for body, lists in parts]
        if all(len(lists[0]) == len(out) for _, lists in parts):
            # One term of each kind: no reduction, but a map.
            constant = any(self.sums[n].constant is not None for n in nodes)
            return [_instruction(out, *_together(parts), accumulate=constant)] if parts else []
        return [
            _instruction(out.repeat(len(lists[0]) // len(out)), body, lists, accumulate=True)
            for body, lists in parts
        ]


def _in_order(lists: list[Slots]) -> list[Slots]:
    """Terms sorted by the slots of their factors."""
    order = np.lexsort(lists[::-1])
    return [slots[order] for slots in lists]


def _together(parts: list[tuple[Body, list[Slots]]]) -> tuple[Body, list[Slots]]:
    """One body for the sum of several, and all their operands."""
    total, operands = parts[0][0], list(parts[0][1])
    for body, more in parts[1:]:
        minus = isinstance(body, tuple) and body[0] == "neg"
        term = body[1][0] if minus else body  # type: ignore[index]
        total = ("-" if minus else "+", (total, _shifted(term, len(operands))))
        operands += more
    return total, operands


def _shifted(body: Body, by: int) -> Body:
    """The body over operands that stand `by` places further on."""
    if isinstance(body, int):
        return body + by
    if isinstance(body, float):
        return body
    return body[0], tuple(_shifted(part, by) for part in body[1])


def _instruction(out: Slots, body: Body, operands: list[Slots], *, accumulate: bool) -> Instruction:
    shape, (first, *views) = common([out, *operands])
    return Instruction(shape, first, body, tuple(views), accumulate)


def weave(graph: Graph, lanes: Collection[int] = ()) -> Program:
    """The array program of a recorded graph.

    Args:
        graph: what was recorded.
        lanes: the inputs that differ from lane to lane, by place.

    >>> from gradloom.loom.record import record
    >>> graph, _ = record(lambda w, x: sum(a * b for a, b in zip(w, x)), [1.0] * 3, [2.0] * 3)
    >>> print(weave(graph))
    arena of 7: 6 inputs, 0 parameters; 1 instructions
                 3  @6(0) += (@0(1) * @3(1))
    """
    weaver = _Weaver(graph, lanes)
    weaver.flatten()
    groups = weaver.group()
    size = weaver.lay_out(groups)
    slot, codes = weaver.slot, weaver.codes
    leaves: dict[int, list[int]] = {CONSTANT: [], INPUT: [], PARAMETER: []}
    for node, code in enumerate(codes):
        if code <= PARAMETER and slot[node] >= 0:
            leaves[code].append(node)
    template = np.full(size, -0.0)
    for node in leaves[CONSTANT]:
        template[slot[node]] = graph.constants[weaver.operands[node][0]]
    for node, terms in weaver.sums.items():
        if terms.constant is not None:
            template[slot[node]] = terms.constant
    laned = np.zeros(size, dtype=bool)
    laned[slot[slot >= 0]] = np.array(weaver.laned, dtype=bool)[slot >= 0]
    return Program(
        template=template,
        inputs=slot[leaves[INPUT]],
        parameters=slot[leaves[PARAMETER]],
        values=graph.parameters,
        instructions=[one for code, nodes in groups for one in weaver.emit(code, nodes)],
        outputs=slot[graph.outputs],
        guards=[(int(slot[node]), number) for node, number in graph.guards],
        laned=laned,
    )
