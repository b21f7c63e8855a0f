"""Where a sequence of instructions repeats itself.

A recurrence (time steps, cells, Runge-Kutta stages) is woven into a few instructions for each of
its steps, the same again and again but for where their views begin. So each instruction is given
a number for everything but its offsets; where these numbers repeat with some period, and the
offsets go on by constants, the repeats are turns of a loop.

It is found with a few sorts of whole arrays, in time about linear in the instructions.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradloom.loom.program import Body, Instruction, Item, Loop
from gradloom.loom.views import Slots, View, slots_of

_SHORT = 8  # elements of an axis that may become instructions of their own
_WINDOW = 64  # neighbours, at most, by which a place is known again
_FEW = 8  # periods that are tried in any case
_CANDIDATES = 6  # periods to try for each length of window

Ints = NDArray[np.int64]
_MULTIPLIERS = np.random.default_rng(0).integers(1, 1 << 63, 4096, dtype=np.uint64) | np.uint64(1)


class Names:
    """A number for each instruction, the same for those that differ in their offsets alone."""

    def __init__(self, laned: NDArray[np.bool_]) -> None:
        self._laned: list[bool] = laned.tolist()
        self._bodies: dict[int, tuple[int, Body]] = {}
        self._texts: dict[str, int] = {}
        self._numbers: dict[Any, int] = {}
        # What is known of an object by its id; it is kept, so that no other comes to lie there.
        self._known: dict[int, tuple[int, tuple[int, ...], Item]] = {}

    def of(self, items: Iterable[Item]) -> tuple[list[int], list[tuple[int, ...]]]:
        """The number of each instruction or loop, and where each of its views begins."""
        get, learn = self._known.get, self._learn
        known = [get(id(item)) or learn(item) for item in items]
        return [one[0] for one in known], [one[1] for one in known]

    def _learn(self, item: Item) -> tuple[int, tuple[int, ...], Item]:
        found = self._loop(item) if isinstance(item, Loop) else self._single(item)
        known = self._known[id(item)] = *found, item
        return known

    def number(self, key: Any) -> int:
        """The number of anything hashable."""
        return self._numbers.setdefault(key, len(self._numbers))

    def kind(self, one: Instruction) -> tuple[Any, ...]:
        """All of an instruction but its views."""
        known = self._bodies.get(id(one.body))
        if known is None:
            # By its text: of 1 and 1.0, which are equal, one is an operand.
            known = self._texts.setdefault(repr(one.body), len(self._texts)), one.body
            self._bodies[id(one.body)] = known
        return known[0], one.shape, one.accumulate, one.ordered, one.muted

    def _single(self, one: Instruction) -> tuple[int, tuple[int, ...]]:
        begins = []
        lies: list[Any] = []
        for view in (one.out, *one.operands):
            table = view.table
            if table is None:
                begins.append(view.offset)
                lies.append(view.strides)
            else:
                begins.append(int(table.flat[0]))
                lies.append((table.shape, (table - begins[-1]).astype(np.int64).tobytes()))
            lies.append(self._laned[begins[-1]])
        return self.number((self.kind(one), *lies)), tuple(begins)

    def _loop(self, loop: Loop) -> tuple[int, tuple[int, ...]]:
        keys, begins = self.of(loop.body)
        every = tuple(chain.from_iterable(begins))
        return self.number((loop.count, loop.steps, *keys)), every


class Run(NamedTuple):
    """Where a sequence is repeated: items from `start` on, `period` in every turn."""

    start: int
    period: int
    turns: int

    @property
    def saved(self) -> int:
        return (self.turns - 1) * self.period

    @property
    def end(self) -> int:
        return self.start + self.turns * self.period


class Sheet:
    """A sequence in numbers.

    Attributes:
        keys: for each item its number among `Names`.
        starts: where the offsets of each item begin, and one more.
        offsets: of all views of all items.
    """

    def __init__(
        self, items: Sequence[Item], names: Names, tags: Sequence[tuple[Any, ...]] | None = None
    ) -> None:
        keys, begins = names.of(items)
        if tags is not None:
            keys = [names.number((key, some)) for key, some in zip(keys, tags, strict=True)]
        self.keys = np.array(keys, dtype=np.int64)
        self.starts = np.zeros(len(items) + 1, dtype=np.int64)
        np.cumsum([len(some) for some in begins], out=self.starts[1:])
        self.offsets = np.fromiter(chain.from_iterable(begins), np.int64, self.starts[-1])

    def table(self, run: Run) -> Ints:
        """A row of offsets for each turn."""
        return self.offsets[self.starts[run.start] : self.starts[run.end]].reshape(run.turns, -1)

    def runs(self, least: int) -> list[Run]:
        """The repeats of at least so many turns, such that none overlap; those that save most.

        Offsets go on by constants where those of three turns in a row do: it is seen in a sum of
        them with random factors, one number for each item, and then made sure of.
        """
        found: list[Run] = []
        places = np.arange(len(self.offsets)) - self.starts[:-1].repeat(np.diff(self.starts))
        factors = _MULTIPLIERS[places % len(_MULTIPLIERS)] * (places + 1).astype(np.uint64)
        sums = np.add.reduceat(self.offsets.astype(np.uint64) * factors, self.starts[:-1])
        for period in self._periods(least):
            steps = sums[period:] - sums[:-period]
            alike = self.keys[period:] == self.keys[:-period]
            steady = alike[:-period] & alike[period:] & (steps[period:] == steps[:-period])
            edges = np.flatnonzero(np.diff(steady.astype(np.int8), prepend=0, append=0))
            begins, ends = edges[::2], edges[1::2]
            turns = (ends - begins) // period + 2
            some = np.flatnonzero(turns >= least)
            found += [Run(int(begins[i]), period, int(turns[i])) for i in some]
        return self._apart(found, least)

    def _periods(self, least: int) -> list[int]:
        """After how many items a repeat may begin anew: after how many its like are seen again.

        A place is told by its number alone, or by the nearest slot that it reads as well, and
        then by so many neighbours as well.
        """
        size = len(self.keys)
        reach = size // least
        if reach < 1:
            return []
        gaps = np.abs(self.offsets - self.offsets[self.starts[:-1]].repeat(np.diff(self.starts)))
        gaps[gaps == 0] = np.iinfo(np.int64).max
        nearest = np.minimum.reduceat(gaps, self.starts[:-1])
        periods = set(range(1, min(_FEW, reach) + 1))
        for tokens in (self.keys.astype(np.uint64), _mixed(self.keys, nearest)):
            window = 1
            while True:
                order = np.argsort(tokens, kind="stable")
                same = tokens[order[1:]] == tokens[order[:-1]]
                distances = np.diff(order)[same]
                counts = np.bincount(distances[distances <= reach])
                if len(counts):
                    best = np.argsort(-counts, kind="stable")[:_CANDIDATES]
                    periods.update(best[counts[best] >= least - 1].tolist())
                if 2 * window > min(_WINDOW, reach):
                    break
                tokens = _mixed(tokens[:-window], tokens[window:])
                window *= 2
        return sorted(periods)

    def _apart(self, found: list[Run], least: int) -> list[Run]:
        """Those that save most, cut where they overlap, in the order of the items."""
        taken = np.zeros(len(self.keys), dtype=bool)
        kept = []
        for run in sorted(found, key=lambda run: (-run.saved, run.period)):
            free = ~taken[run.start : run.end]
            edges = np.flatnonzero(np.diff(free.astype(np.int8), prepend=0, append=0))
            for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
                turns = (end - begin) // run.period
                part = Run(run.start + begin, run.period, turns)
                if turns >= least and not np.diff(self.table(part), n=2, axis=0).any():
                    kept.append(part)
                    taken[part.start : part.end] = True
        return sorted(kept)


def _mixed(*columns: NDArray[Any]) -> NDArray[np.uint64]:
    """One number for each row of these columns, the same for the same row."""
    total = np.zeros(len(columns[0]), dtype=np.uint64)
    for column in columns:
        total = (total ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        total ^= total >> np.uint64(29)
    return total


def aligned(
    items: list[Item], names: Names, least: int, sheet: Sheet | None = None
) -> tuple[list[Item], list[Run], Sheet]:
    """The items, their repeats of at least so many turns, and the items in numbers.

    Where a short axis hides a repeat there is an instruction for each of its elements: such an
    axis goes over slots that move at speeds of their own, as from an input to a result.
    """
    sheet = sheet or Sheet(items, names)
    whole = items, sheet.runs(least), sheet
    chosen = _splits(items, sheet.keys, names, least)
    if not chosen:
        return whole
    origin, split = _with_cuts(items, chosen)
    sheet = Sheet(split, names)
    runs = sheet.runs(least)
    if len(split) - _saved(runs) > 0.75 * (len(items) - _saved(whole[1])):
        return whole
    repeated = np.zeros(len(split), dtype=bool)
    for run in runs:
        repeated[run.start : run.end] = True
    needless = set(origin[~repeated].tolist()) & set(chosen)
    if not needless:
        return split, runs, sheet
    kept = {place: axis for place, axis in chosen.items() if place not in needless}
    _, split = _with_cuts(items, kept)
    sheet = Sheet(split, names)
    return split, sheet.runs(least), sheet


def _saved(runs: list[Run]) -> int:
    return sum(run.saved for run in runs)


def _with_cuts(items: list[Item], chosen: dict[int, int]) -> tuple[Ints, list[Item]]:
    """The items, those chosen cut along an axis; for each which of the items it is of."""
    origin: list[int] = []
    found: list[Item] = []
    for place, one in enumerate(items):
        parts = [one]
        if place in chosen and isinstance(one, Instruction):
            parts = list(cut(one, chosen[place]))
        found += parts
        origin += [place] * len(parts)
    return np.array(origin), found


def _splits(items: list[Item], keys: Ints, names: Names, least: int) -> dict[int, int]:
    """Which items to cut, and along which axis: rare ones that without it are alike."""
    rare = np.flatnonzero(np.bincount(keys)[keys] < least).tolist()
    wide: dict[int, list[tuple[int, Instruction]]] = {}
    for place in rare:
        one = items[place]
        if isinstance(one, Instruction) and _splittable(one):
            wide.setdefault(names.number(("but strides", names.kind(one))), []).append((place, one))
    chosen: dict[int, int] = {}
    for members in wide.values():
        if len(members) < least:
            continue
        for axis in range(len(members[0][1].shape)):
            alike: dict[Any, list[int]] = {}
            for place, one in members:
                if one.shape[axis] <= _SHORT and can_cut(one, axis):
                    strides = tuple([without(view.strides, axis) for view in one.views])
                    alike.setdefault(strides, []).append(place)
            for places in alike.values():
                if len(places) >= least:
                    chosen.update(dict.fromkeys(places, axis))
    return chosen


def pattern(one: Instruction, place: int) -> Slots:
    """The slots of a view, from its first on, each at least once."""
    view = one.views[place]
    if view.table is not None:
        slots: Slots = view.table - view.table.flat[0]
        return slots.ravel()
    axes = [(n, s) for n, s in zip(one.shape, view.strides, strict=True) if s]
    return slots_of(View(0, tuple([s for _, s in axes])), tuple([n for n, _ in axes])).ravel()


def _splittable(one: Instruction) -> bool:
    return any(n <= _SHORT for n in one.shape) and all(v.table is None for v in one.views)


def can_cut(one: Instruction, axis: int) -> bool:
    """Whether there can be an instruction for each element of an axis, with its sums in order."""
    before = zip(one.out.strides[:axis], one.shape[:axis], strict=True)
    in_order = not one.ordered or all(stride or size == 1 for stride, size in before)
    return in_order and all(view.table is None for view in one.views)


def cut(one: Instruction, axis: int) -> Iterator[Instruction]:
    """An instruction for each element of an axis.

    >>> one = Instruction((2, 3), View(9, (3, 1)), 0, (View(0, (1, 2)),), accumulate=False)
    >>> for row in cut(one, 0):
    ...     print(row)
                 3  @9(1) = @0(2)
                 3  @12(1) = @1(2)
    """
    for i in range(one.shape[axis]):
        out, *operands = [
            View(v.offset + i * v.strides[axis], without(v.strides, axis)) for v in one.views
        ]
        shape = without(one.shape, axis)
        yield replace(one, shape=shape, out=out, operands=tuple(operands))


def without(numbers: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """The numbers but for one."""
    return (*numbers[:axis], *numbers[axis + 1 :])
