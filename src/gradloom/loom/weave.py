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

from array import array
from bisect import bisect_left
from collections.abc import Collection
from itertools import chain
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradloom.core import collector
from gradloom.loom.forms import Forms, Group, Part, over, together
from gradloom.loom.graph import CONSTANT, INPUT, PARAMETER, Graph, symbol_of
from gradloom.loom.lower import lower
from gradloom.loom.program import Body, Instruction, Program
from gradloom.loom.simplify import simplify
from gradloom.loom.terms import MINUS, PAIR, SUM, Flags, Nodes, flatten, laned_nodes, mixed, ragged
from gradloom.loom.views import Slots, View, pieces

_SHORT = 4  # operands up to which a loop is faster than calling max()
_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")


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
        self._forms = Forms(self._one)
        self._ends = [0, 0]  # the next slots of parameters and of constants
        # For nodes one by one: plain numbers, and the bodies known with the operands they keep.
        terms = self.terms
        self._plain = self.codes.data, self.starts.data, self.operands.data
        self._rows = [x.data for x in (terms.owner, terms.kind, terms.begin)]
        self._factors = [x.data for x in (terms.first, terms.second)]
        self._is_sum, self._start, self._slot_of = (
            terms.is_sum.data,
            terms.start.data,
            self.slot.data,
        )
        self._lone: dict[tuple[Any, ...], tuple[Body, list[int]]] = {}

    def levels(self) -> Nodes:
        """Step 2; terms have no level, but what they are made of counts for their sum."""
        nodes = np.flatnonzero((self.codes > PARAMETER) & ~self.terms.absorbed)
        begin, end, reads = self._reads(nodes.astype(np.int32))
        columns = [array("q", column.tobytes()) for column in (nodes, begin, end)]
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

    def _reads(self, nodes: Nodes) -> tuple[Slots, Slots, Nodes]:
        """The operands of all these nodes, of sums the factors of all terms, but no leaves.

        Returns:
            Where those of each node begin and end, and all in one list.
        """
        terms, is_sum = self.terms, self.terms.is_sum[nodes]
        sums, maps = nodes[is_sum], nodes[~is_sum]
        begin, end = (terms.begin[np.searchsorted(terms.owner, sums, side=side)] for side in _SIDES)
        width = end - begin
        counts = np.empty(len(nodes), dtype=np.int64)
        counts[~is_sum] = self.starts[maps + 1] - self.starts[maps]
        counts[is_sum] = 2 * width
        ends = np.cumsum(counts)
        firsts = ends - counts
        reads = np.empty(int(counts.sum()), dtype=np.int32)
        of_maps = ragged(self.starts[maps], counts[~is_sum])
        reads[ragged(firsts[~is_sum], counts[~is_sum])] = self.operands[of_maps]
        of_sums, to = ragged(begin, width), ragged(firsts[is_sum], width)
        first, second = terms.first[of_sums], terms.second[of_sums]
        reads[to] = first
        reads[to + np.repeat(width, width)] = np.where(second < 0, first, second)
        inner = self.codes[reads] > PARAMETER
        kept = np.append(0, np.cumsum(inner))
        return kept[firsts], kept[ends], reads[inner]

    def group(self) -> list[Group | int]:
        """Step 3: the groups in the order of running; of one node that is one map, the node."""
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
        alone = (np.diff(bounds) == 1) & self._is_map(leaders)
        groups = zip(
            *(x[running].tolist() for x in (alone, leaders, bounds[:-1], bounds[1:])), strict=True
        )
        return [
            leader if one else self._grouped(nodes[begin:end]) for one, leader, begin, end in groups
        ]

    def _is_map(self, nodes: Nodes) -> Flags:
        """Whether each node is one body over operands: no sum, or one with one term of a kind."""
        begin, end = (np.searchsorted(self.terms.owner, nodes, side=side) for side in _SIDES)
        terms = self.terms.begin[end] - self.terms.begin[begin]
        alone: Flags = ~self.terms.is_sum[nodes] | ((begin < end) & (terms == end - begin))
        return alone

    def _grouped(self, nodes: Nodes) -> Group:
        return self._summed(nodes) if self.terms.is_sum[nodes[0]] else self._mapped(nodes)

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

    def _mapped(self, nodes: Nodes) -> Group:
        """An operation on every node."""
        leader = nodes[0]
        symbol = symbol_of(self.codes[leader])
        count = int(self.starts[leader + 1] - self.starts[leader])
        columns = self.operands[self.starts[nodes] + np.arange(count)[:, None]]
        part = self._part((symbol, tuple(range(count))), list(columns))
        return Group(nodes, [part])

    def _summed(self, nodes: Nodes) -> Group:
        """A sum for every node: a map if it has one term of each kind, else reductions."""
        terms = self.terms
        owner, kinds, begins = self._rows
        rows = np.searchsorted(terms.owner, nodes)
        first, leader = int(rows[0]), int(nodes[0])
        parts = []
        row = first
        while row < len(owner) and owner[row] == leader:
            kind, count = kinds[row], begins[row + 1] - begins[row]
            places = terms.begin[rows + (row - first)]
            if count > 1:
                places = (places[:, None] + np.arange(count)).ravel()
            lists = [terms.first[places]]
            body: Body = 0
            if kind & PAIR:
                body = ("*", (0, 1))
                lists.append(terms.second[places])
            parts.append(self._part(("neg", (body,)) if kind & MINUS else body, lists, count))
            row += 1
        numbers = terms.start[nodes]
        alike = (numbers.view(np.int64) == numbers[:1].view(np.int64)).all()
        start = float(numbers[0]) if alike else None
        if alike and all(part.repeat == 1 for part in parts):
            whole = together(start, [(part.body, part.lists) for part in parts])
            return Group(nodes, [Part(self._one(whole[0]), whole[1])])
        loose = len(nodes) == 1 and not self.strict
        return Group(nodes, parts, accumulate=True, start=start, loose=loose)

    def _part(self, body: Body, lists: list[Nodes], repeat: int = 1) -> Part:
        """A part in which a constant that stands all along a list went into the body."""
        codes = self._plain[0]
        fixed = [codes[nodes[0]] == CONSTANT and bool((nodes == nodes[0]).all()) for nodes in lists]
        if not any(fixed):
            return Part(self._one(body), lists, repeat)
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
        body = over(body, places)
        if body == ("**", (0, 2.0)):
            body = ("square", (0,))
        return Part(self._one(body), kept, repeat)

    def _one(self, body: Body) -> Body:
        """The one object that stands for a body wherever it occurs."""
        return self._bodies.setdefault(repr(body), body)

    def lay_out(self, groups: list[Group | int]) -> tuple[int, list[Instruction]]:
        """Steps 4 and 5: a slot for every node; the size of the arena and the instructions.

        The inputs come first, then the parameters, the results, and the constants.
        """
        codes = self.codes
        self.slot[codes == INPUT] = np.arange(self.graph.inputs)
        self._ends = [self.graph.inputs, self.graph.inputs + len(self.graph.parameters)]
        size = self._ends[1]
        self._ends[1] += sum(1 if isinstance(x, int) else len(x.nodes) for x in groups)
        slot = self._slot_of
        instructions: list[Instruction] = []
        loose: list[tuple[int, Group]] = []
        for group in groups:
            if isinstance(group, int):
                instructions.append(self._alone(group, size))
                slot[group] = size
                size += 1
                continue
            if group.loose:  # reads its terms in whatever order, so it has no say in theirs
                loose.append((len(instructions), group))
            else:
                instructions += self._emit(group, size)
            self.slot[group.nodes] = np.arange(size, size + len(group.nodes))
            size += len(group.nodes)
        parts, begin = [], 0
        for place, group in loose:
            parts += [instructions[begin:place], self._emit(group, slot[group.nodes[0]])]
            begin = place
        instructions = [*chain.from_iterable(parts), *instructions[begin:]]
        outside = [*self.graph.outputs, *(node for node, _ in self.graph.guards)]
        self._place(np.array(outside, dtype=np.int32))
        self._place(np.flatnonzero(codes == PARAMETER))
        return self._ends[1], instructions

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

    def _alone(self, node: int, first: int) -> Instruction:
        """The instruction of a node that is alike to no other.

        A long chain is made of such; arrays of one number would take it ten times as long.
        """
        outline, places = self._read_by(node)
        codes, starts, operands = self._plain
        literals = [operands[starts[p]] if codes[p] == CONSTANT else -1 for p in places]
        key = (*outline, *literals)
        known = self._lone.get(key)
        if known is None:
            (part,) = self._grouped(np.array([node], dtype=np.int32)).parts
            kept = [int(nodes[0]) for nodes in part.lists]
            which, left = [], kept[::-1]
            for i, place in enumerate(places):
                if left and place == left[-1]:
                    which.append(i)
                    left.pop()
            known = self._lone[key] = part.body, which
        body, which = known
        slot, views = self._slot_of, []
        for i in which:
            if slot[places[i]] < 0:
                self._place(np.array([places[i]]))
            views.append(View(slot[places[i]], ()))
        return Instruction((), View(first, ()), body, tuple(views), accumulate=False)

    def _read_by(self, node: int) -> tuple[list[Any], list[int]]:
        """What a node does, and the nodes that it reads; it is one map."""
        codes, starts, operands = self._plain
        (owner, kind, begin), (first, second) = self._rows, self._factors
        if not self._is_sum[node]:
            return [codes[node]], operands[starts[node] : starts[node + 1]].tolist()
        outline = [SUM, repr(self._start[node])]
        places = []
        row = bisect_left(owner, node)
        while row < len(owner) and owner[row] == node:
            outline.append(kind[row])
            places.append(first[begin[row]])
            if kind[row] & PAIR:
                places.append(second[begin[row]])
            row += 1
        return outline, places

    def _emit(self, group: Group, first: int) -> list[Instruction]:
        """The instructions of a group, whose results stand from slot `first` on.

        Its members are sorted first if they are better views.
        """
        lists = [self._slots(nodes) for part in group.parts for nodes in part.lists]
        bases = [int(slots[0]) for slots in lists]
        form = self._forms.of(group, [slots - slots[0] for slots in lists])
        if form.order is not None:
            group.nodes = group.nodes[form.order]
        return [
            Instruction(
                shape,
                target.moved(first),
                step.body,
                tuple([v.moved(bases[i]) for i, v in zip(step.sources, views, strict=True)]),
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


@collector.paused()
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
