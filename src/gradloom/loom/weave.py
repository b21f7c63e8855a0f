"""Weave scalars into arrays: group what is alike, lay it out, find the strides.

1. What is needless goes (`simplify`), long lists become reductions (`lower`). Chains of additions
   that nobody else reads become one sum; products that only feed that sum become terms of it
   (`terms`).
2. Every node gets a level, one more than the highest among its operands.
3. The nodes of one level with one operation and operands of the same levels (of sums: with as
   many terms of each kind) form a group.
4. A group gets consecutive slots of the arena, in the order of recording, or sorted by what the
   nodes read if that makes better views.
5. Its operand lists are then lists of slots, and nearly always views (`views`). Where they are
   views back to back, the group is cut there; a sum of few terms may become one map instead.
   Where neither helps they are index tables.

Leaves from outside are laid out by their first use, so that the weights of a layer lie as the
layer reads them, wherever its code took them from. With lanes, what depends on a lane and what
all lanes share never stand in one group or one operand list.

It is done on whole arrays, but for the levels, each of which waits for the one before.
"""

import math
from array import array
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradloom.loom.graph import CONSTANT, INPUT, PARAMETER, Graph, symbol_of
from gradloom.loom.lower import lower
from gradloom.loom.program import Body, Instruction, Program
from gradloom.loom.simplify import simplify
from gradloom.loom.terms import MINUS, PAIR, SUM, Flags, Nodes, flatten, laned_nodes, mixed, ragged
from gradloom.loom.views import Piece, Slots, View, pieces, tables

_FEW = 8  # terms that may stand in one body
_SHORT = 4  # operands up to which a loop is faster than calling max()
_KEPT = 1 << 12  # elements of the lists of a group up to which its form is kept
_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")


@dataclass(slots=True)
class _Part:
    """A body over lists of nodes, and how many elements in a row are added up for each result."""

    body: Body
    lists: list[Nodes]
    repeat: int = 1


@dataclass(slots=True)
class _Group:
    """Nodes that are alike, and what they do.

    Attributes:
        start: of sums, what they start from if that is the same for all, -0.0 if it is nothing.
        loose: a single sum, whose terms may come in any order.
    """

    nodes: Nodes
    parts: list[_Part]
    accumulate: bool = False
    start: float | None = None
    loose: bool = False


class _Weaver:
    """The state between the steps."""

    def __init__(self, graph: Graph, lanes: Collection[int], strict: bool) -> None:
        self.graph = graph
        self.strict = strict
        self.codes, self.starts, self.operands = graph.arrays()
        self.laned = laned_nodes(graph, lanes)
        self.terms = flatten(graph, self.laned, strict=strict)
        self.slot = np.full(len(graph), -1, dtype=np.int32)
        self._bodies: dict[str, Body] = {}
        self._forms: dict[tuple[Any, ...], _Form] = {}
        self._ends = [0, 0]  # the next slots of parameters and of constants

    def levels(self) -> Nodes:
        """Step 2; terms have no level, but what they are made of counts for their sum."""
        nodes = np.flatnonzero((self.codes > PARAMETER) & ~self.terms.absorbed)
        counts, reads = self._reads(nodes)
        ends = np.cumsum(counts)
        columns = [array("q", column.tobytes()) for column in (nodes, ends - counts, ends)]
        levels = array("i", bytes(4 * len(self.codes)))
        read, level_of = array("i", reads.tobytes()), levels.__getitem__
        for node, start, end in zip(*columns, strict=True):
            if end - start > _SHORT:
                levels[node] = max(map(level_of, read[start:end])) + 1
                continue
            highest = 0
            for place in range(start, end):
                level = levels[read[place]]
                if level > highest:  # noqa: PLR1730 - max() would take as long as all the rest
                    highest = level
            levels[node] = highest + 1
        return np.array(levels)

    def _reads(self, nodes: Nodes) -> tuple[Slots, Nodes]:
        """How many operands each of these nodes has, of sums the factors of all terms; and them."""
        terms, is_sum = self.terms, self.terms.is_sum[nodes]
        sums, maps = nodes[is_sum], nodes[~is_sum]
        counts = np.empty(len(nodes), dtype=np.int64)
        counts[~is_sum] = self.starts[maps + 1] - self.starts[maps]
        begin, end = (terms.begin[np.searchsorted(terms.owner, sums, side=side)] for side in _SIDES)
        counts[is_sum] = 2 * (end - begin)
        firsts = np.cumsum(counts) - counts
        reads = np.empty(int(counts.sum()), dtype=np.int32)
        of_maps = ragged(self.starts[maps], counts[~is_sum])
        reads[ragged(firsts[~is_sum], counts[~is_sum])] = self.operands[of_maps]
        of_sums, to = ragged(begin, end - begin), ragged(firsts[is_sum], end - begin)
        first, second = terms.first[of_sums], terms.second[of_sums]
        reads[to] = first
        reads[to + np.repeat(end - begin, end - begin)] = np.where(second < 0, first, second)
        return counts, reads

    def group(self) -> list[_Group]:
        """Step 3: the groups in the order of running."""
        levels, codes = self.levels(), self.codes
        nodes = np.flatnonzero((codes > PARAMETER) & ~self.terms.absorbed).astype(np.int32)
        code = np.where(self.terms.is_sum[nodes], SUM, codes[nodes]).astype(np.int32)
        level, keys = levels[nodes], self._keys(levels)[nodes]
        order = np.lexsort((keys, code, level))  # stable: within a group in order of recording
        nodes = nodes[order]
        fresh = np.ones(len(nodes), dtype=bool)
        for column in (keys, code, level):
            fresh[1:] = fresh[1:] & (column[order][1:] == column[order][:-1])
        fresh[1:] = ~fresh[1:]
        bounds = np.append(np.flatnonzero(fresh), len(nodes))
        leaders = nodes[bounds[:-1]]
        running = np.lexsort((leaders, levels[leaders]))
        return [
            self._summed(members) if self.terms.is_sum[members[0]] else self._mapped(members)
            for members in (nodes[bounds[i] : bounds[i + 1]] for i in running)
        ]

    def _keys(self, levels: Nodes) -> NDArray[np.uint64]:
        """For each node a number, the same for those that look at their operands alike."""
        codes, terms = self.codes, self.terms
        keys = np.zeros(len(codes), dtype=np.uint64)
        maps = np.flatnonzero((codes > PARAMETER) & ~terms.absorbed & ~terms.is_sum)
        if len(maps):
            counts = self.starts[maps + 1] - self.starts[maps]
            firsts = np.cumsum(counts) - counts
            place = ragged(np.zeros_like(counts), counts)
            below = self.operands[ragged(self.starts[maps], counts)]
            keys[maps] = np.add.reduceat(mixed(place, levels[below], self.laned[below]), firsts)
        sums, own = terms.keys(levels)
        keys[sums] = own
        return mixed(keys, self.laned)

    def _mapped(self, nodes: Nodes) -> _Group:
        """An operation on every node."""
        leader = nodes[0]
        symbol = symbol_of(self.codes[leader])
        count = int(self.starts[leader + 1] - self.starts[leader])
        columns = self.operands[self.starts[nodes] + np.arange(count)[:, None]]
        part = self._part((symbol, tuple(range(count))), list(columns))
        return _Group(nodes, [part])

    def _summed(self, nodes: Nodes) -> _Group:
        """A sum for every node: a map if it has one term of each kind, else reductions."""
        terms = self.terms
        rows = np.searchsorted(terms.owner, nodes)
        width = int(np.searchsorted(terms.owner, nodes[0], side="right") - rows[0])
        parts = []
        for row in rows[0] + np.arange(width):
            kind, begin = terms.kind[row], terms.begin[row]
            count = int(terms.begin[row + 1] - begin)
            places = (terms.begin[rows + (row - rows[0])][:, None] + np.arange(count)).ravel()
            lists = [terms.first[places]]
            body: Body = 0
            if kind & PAIR:
                body = ("*", (0, 1))
                lists.append(terms.second[places])
            parts.append(self._part(("neg", (body,)) if kind & MINUS else body, lists, count))
        numbers = terms.start[nodes]
        alike = (numbers.view(np.int64) == numbers[:1].view(np.int64)).all()
        start = float(numbers[0]) if alike else None
        if alike and all(part.repeat == 1 for part in parts):
            whole = _together(start, [(part.body, part.lists) for part in parts])
            return _Group(nodes, [_Part(self._one(whole[0]), whole[1])])
        loose = len(nodes) == 1 and not self.strict
        return _Group(nodes, parts, accumulate=True, start=start, loose=loose)

    def _part(self, body: Body, lists: list[Nodes], repeat: int = 1) -> _Part:
        """A part in which a constant that stands all along a list went into the body."""
        fixed = [
            self.codes[nodes[0]] == CONSTANT and bool((nodes == nodes[0]).all()) for nodes in lists
        ]
        if all(fixed):
            fixed[0] = False
        places: list[Body] = []
        kept: list[Nodes] = []
        for nodes, literal in zip(lists, fixed, strict=True):
            if literal:
                places.append(self.graph.constants[self.operands[self.starts[nodes[0]]]])
            else:
                places.append(len(kept))
                kept.append(nodes)
        body = _over(body, places)
        if body == ("**", (0, 2.0)):
            body = ("square", (0,))
        return _Part(self._one(body), kept, repeat)

    def _one(self, body: Body) -> Body:
        """The one object that stands for a body wherever it occurs."""
        return self._bodies.setdefault(repr(body), body)

    def lay_out(self, groups: list[_Group]) -> tuple[int, list[Instruction]]:
        """Steps 4 and 5: a slot for every node; the size of the arena and the instructions.

        The inputs come first, then the parameters, the results, and the constants.
        """
        codes = self.codes
        self.slot[codes == INPUT] = np.arange(self.graph.inputs)
        self._ends = [self.graph.inputs, self.graph.inputs + len(self.graph.parameters)]
        size = self._ends[1]
        self._ends[1] += sum(len(group.nodes) for group in groups)
        found: list[list[Instruction]] = []
        for group in groups:
            count = len(group.nodes)
            # A loose sum reads its terms in whatever order, so it has no say in theirs.
            found.append([] if group.loose else self._emit(group, size))
            self.slot[group.nodes] = np.arange(size, size + count)
            size += count
        for group, instructions in zip(groups, found, strict=True):
            if group.loose:
                instructions += self._emit(group, int(self.slot[group.nodes[0]]))
        outside = [*self.graph.outputs, *(node for node, _ in self.graph.guards)]
        self._place(np.array(outside, dtype=np.int32))
        self._place(np.flatnonzero(codes == PARAMETER))
        return self._ends[1], list(chain.from_iterable(found))

    def _place(self, nodes: Slots) -> None:
        """Give the parameters and constants among these that have no slot the next ones."""
        new = nodes[self.slot[nodes] < 0]
        if not len(new):
            return
        new = new[np.sort(np.unique(new, return_index=True)[1])]
        for i, code in enumerate((PARAMETER, CONSTANT)):
            own = new[self.codes[new] == code]
            self.slot[own] = np.arange(self._ends[i], self._ends[i] + len(own))
            self._ends[i] += len(own)

    def _emit(self, group: _Group, first: int) -> list[Instruction]:
        """The instructions of a group, whose results stand from slot `first` on.

        Its members are sorted first if they are better views.
        """
        lists = [self._slots(nodes) for part in group.parts for nodes in part.lists]
        bases = [int(slots[0]) for slots in lists]
        form = self._form(group, [slots - slots[0] for slots in lists])
        if form.order is not None:
            group.nodes = group.nodes[form.order]
        return [
            Instruction(
                shape,
                _moved(target, first),
                step.body,
                tuple([_moved(v, bases[i]) for i, v in zip(step.sources, views, strict=True)]),
                step.accumulate,
                ordered=step.accumulate and self.strict,
            )
            for step in form.steps
            for shape, (target, *views) in step.found
        ]

    def _slots(self, nodes: Nodes) -> Nodes:
        """Where these nodes lie; parameters and constants are given their slots by now."""
        slots: Nodes = self.slot[nodes]
        if slots.min() < 0:
            self._place(nodes)
            slots = self.slot[nodes]
        return slots

    def _form(self, group: _Group, lists: list[Nodes]) -> "_Form":
        """What a group does, its lists counted from the first of each.

        Every step of a recurrence has the same form, only further on; so forms are kept. (Long
        lists seldom come twice, and would cost more to keep than to look at again.)
        """
        if sum(map(len, lists)) > _KEPT:
            return self._best(group, lists)
        parts = [(id(part.body), part.repeat) for part in group.parts]
        key = (repr(group.start), group.accumulate, group.loose, *parts, *map(bytes, lists))
        form = self._forms.get(key)
        if form is None:
            form = self._forms[key] = self._best(group, lists)
        return form

    def _best(self, group: _Group, lists: list[Nodes]) -> "_Form":
        """The order of a group's members, as recorded or sorted by a list, that costs least."""
        form = _Form(self._steps(group, lists))
        best = _cost(form.steps)
        if len(group.nodes) > 1 and best > (0, len(group.parts)):
            repeats = [part.repeat for part in group.parts for _ in part.lists]
            firsts = [slots[::repeat] for slots, repeat in zip(lists, repeats, strict=True)]
            for i in range(len(firsts)):
                order = np.lexsort([*firsts[:i], *firsts[i + 1 :], firsts[i]])
                tried = [_permuted(*pair, order) for pair in zip(lists, repeats, strict=True)]
                steps = self._steps(group, tried)
                if (cost := _cost(steps)) < best:
                    best, form = cost, _Form(steps, order)
        return form

    def _steps(self, group: _Group, lists: list[Nodes]) -> "list[_Step]":
        """What a group does, with its views."""
        out = np.arange(len(group.nodes))
        parts, end = [], 0
        for part in group.parts:
            sources = tuple(range(end, end := end + len(part.lists)))
            own = [lists[i] for i in sources]
            if group.loose:
                ascending = np.lexsort(own[::-1])
                own = [slots[ascending] for slots in own]
            parts.append((part, sources, own))
        steps = [
            _Step(
                part.body,
                group.accumulate,
                pieces([out.repeat(part.repeat), *own], part.repeat),
                sources,
            )
            for part, sources, own in parts
        ]
        if group.start is None or _cost(steps) <= (0, len(parts)):
            return steps
        if sum(part.repeat for part in group.parts) > _FEW:
            return steps
        single = [(p.body, [x[i :: p.repeat] for x in o]) for p, _, o in parts for i in _each(p)]
        body, columns = _together(group.start, single)
        every = tuple(
            source for part, sources, _ in parts for _ in _each(part) for source in sources
        )
        fused = [_Step(self._one(body), False, pieces([out, *columns]), every)]
        return min(fused, steps, key=_cost)


@dataclass(slots=True)
class _Step:
    """A body with the views that it runs over, those of `out` first.

    Attributes:
        sources: for each further view which of the group's lists it is of.
    """

    body: Body
    accumulate: bool
    found: list[Piece]
    sources: tuple[int, ...]


@dataclass(slots=True)
class _Form:
    """What a group does, and how its members are sorted before."""

    steps: list[_Step]
    order: Slots | None = None


def _each(part: _Part) -> range:
    return range(part.repeat)


def _moved(view: View, by: int) -> View:
    """The view so many slots further on."""
    return View(view.offset + by, view.strides, None if view.table is None else view.table + by)


def _cost(steps: list[_Step]) -> tuple[int, int]:
    """How many tables and how many instructions."""
    return sum(tables(step.found) for step in steps), sum(len(step.found) for step in steps)


def _permuted(nodes: Nodes, repeat: int, order: Slots) -> Nodes:
    """Members in another order, each with its `repeat` elements."""
    return nodes.reshape(-1, repeat)[order].ravel()


def _together(start: float | None, parts: list[tuple[Body, list[Any]]]) -> tuple[Body, list[Any]]:
    """A number and the sum of several parts as one body over all their lists."""
    total: Body | None = None if start == 0.0 and math.copysign(1.0, start) < 0.0 else start
    every: list[Any] = []
    for body, lists in parts:
        minus = total is not None and isinstance(body, tuple) and body[0] == "neg"
        term = body[1][0] if minus else body  # type: ignore[index]
        term = _over(term, [len(every) + i for i in range(len(lists))])
        total = term if total is None else ("-" if minus else "+", (total, term))
        every += lists
    return total, every  # type: ignore[return-value]


def _over(body: Body, places: Sequence[Body]) -> Body:
    """The body with these in place of its operands."""
    if isinstance(body, int):
        return places[body]
    if isinstance(body, float):
        return body
    return body[0], tuple([_over(part, places) for part in body[1]])


def _apart(outputs: Nodes, laned: Flags, size: int) -> tuple[Nodes, list[Instruction]]:
    """A slot for each output: one that occurs again is copied to a new slot from `size` on.

    So each has a cotangent of its own.
    """
    first = np.zeros(len(outputs), dtype=bool)
    first[np.unique(outputs, return_index=True)[1]] = True
    new = np.where(first, outputs, size + np.cumsum(~first) - 1)
    copies = []
    for which in (~first & laned, ~first & ~laned):
        if which.any():
            copies += pieces([new[which], outputs[which]])
    return new, [Instruction(shape, to, 0, (of,), accumulate=False) for shape, (to, of) in copies]


def weave(graph: Graph, lanes: Collection[int] = (), *, strict: bool = False) -> Program:
    """The array program of a recorded graph.

    Args:
        graph: what was recorded.
        lanes: the inputs that differ from lane to lane, by place.
        strict: keep Python's order in sums, so that where only + − × ÷ and square roots occur
            every bit of the outputs is Python's.

    >>> from gradloom.loom.record import record
    >>> graph, _ = record(lambda w, x: sum(a * b for a, b in zip(w, x)), [1.0] * 3, [2.0] * 3)
    >>> print(weave(graph))
    arena of 7: 6 inputs, 0 parameters; 1 instructions
                 3  @6(0) += (@0(1) * @3(1))
    """
    graph = simplify(lower(graph))
    weaver = _Weaver(graph, lanes, strict)
    groups = weaver.group()
    size, instructions = weaver.lay_out(groups)
    outputs, copies = _apart(weaver.slot[graph.outputs], weaver.laned[graph.outputs], size)
    again = outputs >= size
    size += int(again.sum())
    slot, codes = weaver.slot, weaver.codes
    places = weaver.operands[weaver.starts[:-1]]
    laid = slot >= 0
    template = np.full(size, -0.0)
    constants = np.flatnonzero((codes == CONSTANT) & laid)
    template[slot[constants]] = np.array(graph.constants)[places[constants]]
    sums = np.flatnonzero(weaver.terms.is_sum)
    template[slot[sums]] = weaver.terms.start[sums]
    laned = np.zeros(size, dtype=bool)
    laned[slot[laid]] = weaver.laned[laid]
    laned[outputs] = weaver.laned[graph.outputs]
    return Program(
        template=template,
        inputs=slot[codes == INPUT].astype(np.int64),
        parameters=slot[codes == PARAMETER].astype(np.int64),
        values=graph.parameters,
        instructions=instructions + copies,
        outputs=outputs.astype(np.int64),
        guards=[(int(slot[node]), number) for node, number in graph.guards],
        laned=laned,
    )
