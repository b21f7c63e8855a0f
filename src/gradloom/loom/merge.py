"""Merge instructions that do not depend on each other.

Neighbours that are alike, at constant steps, become one instruction with one more axis. And what
the turns of a repeat do independently of each other moves out of it, all turns at once: the
gradients of an LSTM's weights, one small product a step, are one large product behind the loop;
what it does to its inputs is one before it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple, TypeGuard

import numpy as np

from gradloom.core import collector
from gradloom.loom.program import Instruction, Item, Program
from gradloom.loom.repeats import Ints, Names, Run, Sheet, aligned, pattern, without
from gradloom.loom.views import Slots, View

_MERGED = 3  # instructions, at least, that become one
_LARGE = 4096  # elements of an instruction to which another axis is no gain


@collector.paused()
def merge(program: Program) -> Program:
    """The same program in fewer instructions: what does not depend on each other is done at once.

    Sums may be taken in another order, unless they are `ordered`.

    Args:
        program: a flat one; loops in it are left as they are.

    >>> import gradloom as gl
    >>> from gradloom.loom.adjoint import adjoint
    >>> from gradloom.loom.record import record
    >>> from gradloom.loom.weave import weave
    >>> graph, _ = record(lambda xs: gl.logsumexp(xs), [0.5] * 9)
    >>> program = weave(graph)
    >>> backward = adjoint(program, program.inputs)
    >>> len(backward.instructions), len(merge(backward).instructions)
    (10, 2)
    """
    names = Names(program.laned)
    arena = _Traffic(len(program.template))
    return replace(program, instructions=_merged(list(program.instructions), names, arena))


def _merged(items: list[Item], names: Names, arena: "_Traffic") -> list[Item]:
    """The items merged again and again, but for what is known to stay."""
    before = len(items)
    if before < _MERGED:
        return items
    sheet = Sheet(items, names)
    neighbours = _stretches(items, sheet, arena)
    if len(neighbours) < before:
        items, sheet = neighbours, Sheet(neighbours, names)
    parts = _distributed(items, sheet, names, arena)
    if len(parts) == 1 and (parts[0].settled or len(parts[0].items) >= before):
        return parts[0].items
    found: list[Item] = []
    for part in parts:
        found += part.items if part.settled else _merged(part.items, names, arena)
    return found


def _widened(one: Instruction, count: int, steps: Sequence[int]) -> Instruction:
    """The instruction so many times, its views each time so much further on: with one more axis.

    Where no two elements share a result the axes are put in the order of the results' slots, and
    those that are one in all views become one.
    """
    shape = (count, *one.shape)
    strides = [(step, *view.strides) for step, view in zip(steps, one.views, strict=True)]
    outward = sorted(range(len(shape)), key=lambda axis: -abs(strides[0][axis]))
    nested = [(abs(strides[0][axis]), shape[axis]) for axis in outward]
    if nested[-1][0] and all(big >= small * n for (big, _), (small, n) in pairwise(nested)):
        shape = tuple([shape[axis] for axis in outward])
        strides = [tuple([some[axis] for axis in outward]) for some in strides]
    axis = len(shape) - 1
    while axis > 0:
        if all(some[axis - 1] == some[axis] * shape[axis] for some in strides):
            shape = (*shape[: axis - 1], shape[axis - 1] * shape[axis], *shape[axis + 1 :])
            strides = [without(some, axis - 1) for some in strides]
        axis -= 1
    out, *operands = [
        View(view.offset, some) for view, some in zip(one.views, strides, strict=True)
    ]
    return replace(one, shape=shape, out=out, operands=tuple(operands))


def _can_widen(one: Item) -> TypeGuard[Instruction]:
    return (
        isinstance(one, Instruction)
        and math.prod(one.shape) <= _LARGE
        and all(view.table is None for view in one.views)
    )


def _stretches(items: list[Item], sheet: Sheet, arena: "_Traffic") -> list[Item]:
    """Neighbours that are alike and do not touch what another writes, as few instructions."""
    breaks = np.flatnonzero(np.diff(sheet.keys)) + 1
    bounds = [0, *breaks.tolist(), len(items)]
    found: list[Item] = []
    for start, end in pairwise(bounds):
        first = items[start]
        if end - start >= _MERGED and _can_widen(first):
            table = sheet.table(Run(start, 1, end - start))
            if arena.apart(first, table):
                found += _by_steps([one for one in items[start:end] if _can_widen(one)], table)
                continue
        found += items[start:end]
    return found


def _by_steps(ones: list[Instruction], table: Ints) -> Iterator[Instruction]:
    """Instructions that are alike, in whatever order, as few where their offsets go by steps."""
    order = np.lexsort(table.T[::-1])
    table = table[order]
    steps = np.diff(table, axis=0)
    place = 0
    while place < len(ones):
        count = 1
        if place < len(steps):
            same = (steps[place:] == steps[place]).all(axis=1)
            count = 1 + (len(same) if same.all() else int(np.argmin(same)))
        if count >= _MERGED:
            yield _widened(ones[order[place]], count, steps[place].tolist())
        else:
            count = 1
            yield ones[order[place]]
        place += count


class _Part(NamedTuple):
    """Some items in a row, and whether no more of them can be merged."""

    items: list[Item]
    settled: bool


def _distributed(items: list[Item], sheet: Sheet, names: Names, arena: "_Traffic") -> list[_Part]:
    """What the turns of a repeat do independently of each other moved out of it, at once."""
    items, runs, sheet = aligned(items, names, _MERGED, sheet)
    found = [_Part([], settled=False)]
    done = 0
    for run in runs:
        found[-1].items.extend(items[done : run.start])
        done = run.end
        body = [
            one for one in items[run.start : run.start + run.period] if isinstance(one, Instruction)
        ]
        before: list[Instruction] = []
        after: list[Instruction] = []
        stay = list(range(run.period))
        # Loops are left alone, and so is a chain, of which each link waits for the one before.
        table = sheet.table(run)
        chained = run.period == 1 and not (
            body and (body[0].ordered or arena.apart(body[0], table))
        )
        if len(body) == run.period and not chained:
            before, stay, after = _Fission(body, table).split(arena)
        found[-1].items.extend(before)
        if stay:
            places = np.arange(run.start, run.end, run.period)[:, None] + stay
            settled = not _alike_in_a_row(sheet.keys[places[:2].ravel()])
            found.append(_Part([items[place] for place in places.ravel().tolist()], settled))
            found.append(_Part([], settled=False))
        found[-1].items.extend(after)
    found[-1].items.extend(items[done:])
    return [part for part in found if part.items]


def _alike_in_a_row(keys: Ints) -> bool:
    """Whether as many as are merged follow each other, and not all are."""
    same = (keys[2:] == keys[1:-1]) & (keys[1:-1] == keys[:-2])
    return bool(same.any() and not same.all())


class _Traffic:
    """When the slots of an arena are read, stored to and added to."""

    def __init__(self, size: int) -> None:
        self.read = np.full(size, -1, dtype=np.int64)
        self.stored = self.read.copy()
        self.added = self.read.copy()
        self.adder = self.read.copy()  # which instruction adds to it, -2 if several do

    def apart(self, one: Instruction, table: Ints) -> bool:
        """Whether instructions like this one, with these offsets, may run in whatever order."""
        writes = table[:, :1] + pattern(one, 0)
        rows = np.arange(len(table))[:, None]
        mark = self.stored
        mark[writes] = rows
        alone = (one.accumulate and not one.ordered) or bool((mark[writes] == rows).all())
        good = alone and not any(
            (mark[table[:, place : place + 1] + pattern(one, place)] >= 0).any()
            for place in range(1, table.shape[1])
        )
        mark[writes] = -1
        return good

    def mark(self, loop: "_Fission", place: int, *, later: bool) -> None:
        """Note when an instruction of a loop last touches what."""
        one = loop.body[place]
        for view in range(len(one.views)):
            slots = loop.slots(place, view, later=later)
            times = loop.times(place, len(slots), later=later, last=True)
            written = self.added if one.accumulate else self.stored
            table = self.read if view else written
            # Of a slot that occurs more than once the last row counts, which is the latest.
            table[slots] = np.maximum(table[slots], times)
            if not view and one.accumulate:
                before = self.adder[slots]
                self.adder[slots] = np.where((before == -1) | (before == place), place, -2)

    def meets(self, loop: "_Fission", place: int, *, later: bool) -> bool:
        """Whether anything marked is in the way of an instruction that is to run at last."""
        one = loop.body[place]
        for view in range(len(one.views)):
            slots = loop.slots(place, view, later=later)
            times = loop.times(place, len(slots), later=later, last=False)
            tables = [self.stored, self.read if view == 0 else self.added]
            if view == 0 and not one.accumulate:
                tables.append(self.added)
            if any((table[slots] > times).any() for table in tables):
                return True
            if view == 0 and one.ordered and (self.adder[slots] == -2).any():
                return True
        return False

    def clear(self, loop: "_Fission", place: int) -> None:
        """Forget what was marked."""
        for view in range(len(loop.body[place].views)):
            slots = loop.slots(place, view)
            for table in (self.read, self.stored, self.added, self.adder):
                table[slots] = -1


class _Fission:
    """The body of a loop, to be split into what must stay and what can go before or behind.

    Args:
        body: the instructions of the first turn.
        table: a row of offsets for each turn.
    """

    def __init__(self, body: list[Instruction], table: Ints) -> None:
        self.body = body
        self._known: dict[tuple[int, int, bool], Slots] = {}
        self.turns = len(table)
        self.steps = table[1] - table[0]
        self.starts = np.cumsum([0, *[len(one.views) for one in self.body]]).tolist()
        self.begins = table[0].tolist()

    def split(self, arena: _Traffic) -> tuple[list[Instruction], list[int], list[Instruction]]:
        """What goes before, which places of the body stay, and what goes behind."""
        stay = list(range(len(self.body)))
        behind: list[int] = []
        before: list[int] = []
        while gone := self._free(stay, arena, later=True):
            behind = gone + behind
            stay = [place for place in stay if place not in gone]
        while gone := self._free(stay, arena, later=False):
            before += gone
            stay = [place for place in stay if place not in gone]
        return [self._all_turns(i) for i in before], stay, [self._all_turns(i) for i in behind]

    def _all_turns(self, place: int) -> Instruction:
        steps = self.steps[self.starts[place] : self.starts[place + 1]].tolist()
        return _widened(self.body[place], self.turns, steps)

    def _free(self, stay: list[int], arena: _Traffic, *, later: bool) -> list[int]:
        """Which of these, in all turns, could run later (or earlier) than everything else."""
        for place in stay:
            arena.mark(self, place, later=later)
        free = [
            place
            for place in stay
            if _can_widen(self.body[place]) and not arena.meets(self, place, later=later)
        ]
        for place in stay:
            arena.clear(self, place)
        return free

    def slots(self, place: int, view: int, *, later: bool = True) -> Slots:
        """A row for each turn, or one for all where they are the same.

        Rows are in the order of running, or (for `later=False`) in reverse.
        """
        known = self._known.get((place, view, later))
        if known is None:
            column = self.starts[place] + view
            step = int(self.steps[column])
            turns = np.arange(self.turns if step else 1)
            if not later:
                turns = turns[::-1]
            begins = self.begins[column] + turns * step
            known = begins[:, None] + pattern(self.body[place], view)
            self._known[place, view, later] = known
        return known

    def times(self, place: int, rows: int, *, later: bool, last: bool) -> Ints:
        """For each row of `slots` when it runs, counted in instructions (from the end backward).

        Of one row for all turns it is the first or the last time.
        """
        size = len(self.body)
        times = np.arange(self.turns) * size + (place if later else size - 1 - place)
        if rows == 1:
            times = times[-1:] if last else times[:1]
        return times[:, None]
