"""Fold a graph that is too large to read into parts that are not.

Four things fold, each inside the next larger: the call of a module; a *chain* of one operation
on its own results (the running total of a loss); a *repeat*, parts that do the same to the same
kind of thing, side by side, or one after another as the steps of a recurrence do; and where a lot
is left that is none of these, a *run* of consecutive parts. What comes out is a tree over the
nodes. Which of its folds are open decides how much is drawn, not what; that is the drawing's
choice, and a reader's.

Parts are the same if they are made by the same operations from the same parts, and are read by
the same: one pass over the operands and one over the readers, as equal nodes are found in
compilers (value numbering) and equal states in automata.
"""

import re
from collections.abc import Hashable
from dataclasses import dataclass, field

from gradloom.view.diagram import RESULT, Diagram

MODULE, CHAIN, REPEAT, RUN = "module", "chain", "repeat", "run"
_FEW = 24  # parts that can be read side by side
_LINKS = 4  # of a chain


@dataclass(slots=True)
class Fold:
    """Parts that can be drawn as one.

    Attributes:
        kind: MODULE, CHAIN, REPEAT or RUN.
        title: the module, or what it is that occurs many times.
        parent: the fold around this one.
        items: nodes by number, and folds as -number; fold 0 is everything and never an item.
        size: how many nodes there are in it.
    """

    kind: str
    title: str
    parent: int
    items: list[int] = field(default_factory=list)
    size: int = 0


def folds_of(diagram: Diagram) -> list[Fold]:
    """The tree of folds over a diagram that has its boxes; the first is around everything.

    >>> from gradloom import Value
    >>> from gradloom.view.diagram import diagram_of
    >>> diagram = diagram_of([sum(Value(x).tanh() for x in range(50))])
    >>> for fold in folds_of(diagram):
    ...     print(fold.kind, fold.title, len(fold.items))
    run  4
    repeat leaf 50
    repeat tanh 50
    chain + 50
    """
    folding = _Folding(diagram)
    for box in range(len(diagram.boxes) - 1, -1, -1):  # a box comes after the one around it
        folding.fold(box)
    return folding.ordered()


class _Folding:
    """The tree in the making; folds refer to each other directly until it is done."""

    def __init__(self, diagram: Diagram) -> None:
        self.diagram = diagram
        self.readers = diagram.consumers()
        self.inside: list[list[int | _Part]] = [[] for _ in diagram.boxes]
        for i, node in enumerate(diagram.nodes):
            self.inside[node.box].append(i)
        self.whole: dict[int, _Part] = {}

    def fold(self, box: int) -> None:
        """Fold what stands in a box; the boxes inside are folded already."""
        title = self.diagram.boxes[box].title
        parts = self._without_chains(self.inside[box])
        parts.sort(key=_last)
        parts = self._without_repeats(parts)
        if len(parts) > 2 * _FEW:
            parts = self._without_steps(parts)
        parts = _in_runs(parts)
        part = _Part(MODULE if box else RUN, title, parts)
        self.whole[box] = part
        if box:
            self.inside[self.diagram.boxes[box].parent].append(part)

    def _without_chains(self, parts: "list[int | _Part]") -> "list[int | _Part]":
        """The parts with chains of + and of * made one each."""
        nodes = self.diagram.nodes
        here = {part for part in parts if isinstance(part, int)}
        before: dict[int, int] = {}
        for i in here:
            if nodes[i].op in ("+", "*"):
                links = [
                    x
                    for x in nodes[i].operands
                    if x in here and nodes[x].op == nodes[i].op and len(self.readers[x]) == 1
                ]
                if links:
                    before[i] = links[0]
        inner = set(before.values())
        chains: list[_Part] = []
        for end in sorted(before.keys() - inner):
            chain = [end]
            while chain[-1] in before:
                chain.append(before[chain[-1]])
            if len(chain) >= _LINKS:
                chains.append(_Part(CHAIN, str(nodes[end].op), list(chain[::-1])))
        gone = {i for chain in chains for i in chain.items}
        return [part for part in parts if part not in gone] + chains

    def _without_repeats(self, parts: "list[int | _Part]") -> "list[int | _Part]":
        """The parts with those that are the same made one."""
        home = {i: k for k, part in enumerate(parts) for i in _nodes(part)}
        below: list[list[int]] = []
        for k, part in enumerate(parts):
            read = [
                home[x] for i in _nodes(part) for x in self.diagram.nodes[i].operands if x in home
            ]
            below.append([x for x in read if x != k])
        above: list[set[int]] = [set() for _ in parts]
        for k, some in enumerate(below):
            for x in some:
                above[x].add(k)
        numbers: dict[Hashable, int] = {}
        made: list[int] = []
        for k, part in enumerate(parts):
            ordered = below[k] if isinstance(part, int) else sorted(set(below[k]))
            operands = [made[x] if x < k else -1 for x in ordered]
            if not isinstance(part, int):
                operands = sorted(set(operands))
            key: Hashable = (self._kind(part), tuple(operands))
            made.append(numbers.setdefault(key, len(numbers)))
        same = list(made)
        for k in range(len(parts) - 1, -1, -1):
            key = (made[k], frozenset(same[x] for x in above[k]), bool(above[k]))
            same[k] = numbers.setdefault(key, len(numbers))
        classes: dict[int, list[int | _Part]] = {}
        for k, part in enumerate(parts):
            classes.setdefault(same[k], []).append(part)
        return [
            some[0] if len(some) == 1 else _Part(REPEAT, self._title(some[0]), some)
            for some in classes.values()
        ]

    def _without_steps(self, parts: "list[int | _Part]") -> "list[int | _Part]":
        """The parts, in their order, with what comes again and again made one: the steps of a
        recurrence, each a run of its own."""
        kinds = [self._kind(part) for part in parts]
        found: list[int | _Part] = []
        at = 0
        while at < len(parts):
            period, turns = _period(kinds, at)
            if turns < _LINKS or period * turns < _FEW:
                found.append(parts[at])
                at += 1
                continue
            steps: list[int | _Part] = []
            for begin in range(at, at + period * turns, period):
                some = parts[begin : begin + period]
                title = " ".join(self._title(part) for part in some if not self._is_leaf(part))
                steps.append(some[0] if period == 1 else _Part(RUN, title, some))
            found.append(_Part(REPEAT, self._title(steps[0]), steps))
            at += period * turns
        return found

    def _is_leaf(self, part: "int | _Part") -> bool:
        return isinstance(part, int) and self.diagram.nodes[part].kind != RESULT

    def _kind(self, part: "int | _Part") -> Hashable:
        """What a part is, apart from what it reads and who reads it."""
        if not isinstance(part, int):
            return part.kind, _stem(part.title), part.size, part.count
        node = self.diagram.nodes[part]
        return node.kind, str(node.op), _stem(node.label), part in self.diagram.roots

    def _title(self, part: "int | _Part") -> str:
        if not isinstance(part, int):
            return _stem(part.title)
        node = self.diagram.nodes[part]
        return str(node.op) if node.kind == RESULT else _stem(node.label) or node.kind

    def ordered(self) -> list[Fold]:
        """The folds, each after the one around it."""
        folds: list[Fold] = []
        waiting: list[tuple[_Part, int]] = [(self.whole[0], -1)]
        for part, parent in waiting:
            own = len(folds)
            folds.append(Fold(part.kind, part.title, parent, size=part.size))
            if parent >= 0:
                places = folds[parent].items
                places[places.index(-id(part))] = -own
            for item in part.items:
                if isinstance(item, int):
                    folds[own].items.append(item)
                else:
                    folds[own].items.append(-id(item))
                    waiting.append((item, own))
        return folds


class _Part:
    """A fold before it has a number."""

    def __init__(self, kind: str, title: str, items: "list[int | _Part]") -> None:
        self.kind, self.title, self.items = kind, title, items
        self.size: int = sum(1 if isinstance(item, int) else item.size for item in items)
        self.count = len(items)
        self.last = max((_last(item) for item in items), default=0)


def _last(part: "int | _Part") -> int:
    """The last of its nodes: what it reads is done by then."""
    return part if isinstance(part, int) else part.last


def _nodes(part: "int | _Part") -> list[int]:
    """Its nodes, in order."""
    if isinstance(part, int):
        return [part]
    return [i for item in part.items for i in _nodes(item)]


def _in_runs(parts: "list[int | _Part]") -> "list[int | _Part]":
    """Where there are too many parts to read, runs of them, and runs of those."""
    while len(parts) > 2 * _FEW:
        length = max(_FEW, -(-len(parts) // _FEW))
        cuts = [parts[i : i + length] for i in range(0, len(parts), length)]
        if len(cuts[-1]) == 1:
            cuts[-2:] = [cuts[-2] + cuts[-1]]
        runs = [_Part(RUN, "", some) for some in cuts]
        parts = list(runs)
        for run in runs:
            run.items = _in_runs(run.items)
    return parts


def _period(kinds: list[Hashable], at: int) -> tuple[int, int]:
    """How many parts from a place on come again at once, and how often: the shortest that comes
    often enough.

    >>> _period(list("xabababab"), 1), _period(list("xabababab"), 0)
    ((2, 4), (1, 1))
    """
    for period in range(1, _FEW + 1):
        end = at
        while end + period < len(kinds) and kinds[end] == kinds[end + period]:
            end += 1
        turns = (end - at) // period + 1
        if turns >= _LINKS:
            return period, turns
    return 1, 1


def _stem(title: str) -> str:
    """A title without the numbers that tell its like apart: `neurons.3 Neuron` is a Neuron.

    >>> _stem("neurons.3 Neuron"), _stem("w12"), _stem("rows0_1")
    ('Neuron', 'w', 'rows')
    """
    return re.sub(r"[\d_]+$", "", re.sub(r"^\S*\.\d+ (?=\w)", "", title))
