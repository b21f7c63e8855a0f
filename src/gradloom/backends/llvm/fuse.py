"""Fuse what is done to lanes one number at a time, so that it stays in registers.

Where every lane goes its own way (a price path, a simulation), instructions are elementwise over
the lanes: one for a single step, or one with an axis of steps, or a loop of them. Run one after
another each would stream its numbers through the cache. A `Group` runs many of them for one vector
of lanes at a time, turn by turn: at each turn what all of its strips have to do there.

A *strip* is such an instruction or loop: statements that are run for turns 0, 1, 2, … In a group it
has a place: its first turn is at some turn of the group. A strip joins at the earliest place where
everything it reads has been written (or the other way round, where its turns do not depend on each
other). The turns at which all long strips have something to do are a loop; the few before and
behind are written out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gradloom.backends.llvm.kernel import Kernel
from gradloom.backends.llvm.lowering import BLOCK, SUMS, Call, Part, Repeat

Ints = NDArray[np.int64]

_SIDE = 12  # an inner axis that is written out is no longer
_STATEMENTS = 600  # that a group has at most
_PEELED = 4  # turns of a long strip that may stand before the loop, or behind it
_SHORT = 3  # turns of a strip that does not run in the loop


@dataclass(frozen=True, slots=True)
class Statement:
    """What is done at one turn of a strip, for one vector of lanes.

    Attributes:
        kernel: its body, what it starts from, and what is muted; of its accesses the strides along
            the lanes alone matter.
        spaces: for each access, in which memory it lies.
        offsets: where at the strip's first turn.
        steps: how far it moves with a turn.
    """

    kernel: Kernel
    spaces: tuple[str, ...]
    offsets: tuple[int, ...]
    steps: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Strip:
    """Statements that are run again and again.

    Attributes:
        count: how many turns.
        statements: what each runs, in order.
        free: whether its turns may be taken in any order.
        start: at which turn of the group it begins.
    """

    count: int
    statements: tuple[Statement, ...]
    free: bool
    start: int = 0

    def flipped(self) -> "Strip":
        """The same from its last turn to its first."""
        last = self.count - 1
        statements = [
            replace(
                one,
                offsets=tuple([o + s * last for o, s in zip(one.offsets, one.steps, strict=True)]),
                steps=tuple([-s for s in one.steps]),
            )
            for one in self.statements
        ]
        return replace(self, statements=tuple(statements))

    @property
    def end(self) -> int:
        """The turn of the group behind its last."""
        return self.start + self.count


@dataclass(frozen=True, slots=True)
class Group:
    """Strips that run together.

    Attributes:
        strips: each with its place.
        first, last: the turns at which the loop begins and ends; the same without one.
        parts: what the strips were made of.
        read: numbers of the block that others read.
    """

    strips: tuple[Strip, ...]
    first: int
    last: int
    parts: tuple[Part, ...] = ()
    read: frozenset[int] = frozenset()

    @property
    def turns(self) -> tuple[range, range]:
        """The turns before the loop, and behind it."""
        begin = min(strip.start for strip in self.strips)
        end = max(strip.end for strip in self.strips)
        return range(begin, self.first), range(self.last, end)


def fused(parts: Sequence[Part], wanted: Ints, tables: NDArray[np.int32]) -> "list[Part | Group]":
    """The same parts, with groups of strips in place of those that are simple enough.

    Args:
        parts: what is done for a block of lanes.
        wanted: numbers of the block that are read when all is done.
        tables: all index tables.
    """
    reads = [np.unique(_touched(part, tables, (), results=False)) for part in parts]
    found: list[Part | Group] = []
    rows: list[tuple[int, Strip]] = []

    def close() -> None:
        left = rows.copy()
        rows.clear()
        while left:
            group, taken = _group([strip for _, strip in left])
            if not taken:  # not even by itself
                found.append(parts[left.pop(0)[0]])
                continue
            places = {place for place, _ in left[:taken]}
            others = [read for place, read in enumerate(reads) if place not in places]
            read = frozenset(np.concatenate([wanted, *others]).tolist())
            own = tuple([parts[place] for place in sorted(places)])
            found.append(replace(group, parts=own, read=read))
            del left[:taken]

    late = _late(parts, reads, tables)
    for place, part in enumerate(parts):
        strip = _strip(part, tables)
        if strip is not None:
            rows.append((place, strip))
        elif place not in late:
            close()
            found.append(part)
    close()
    return found + [parts[place] for place in sorted(late)]


def _late(parts: Sequence[Part], reads: Sequence[Ints], tables: NDArray[np.int32]) -> set[int]:
    """Which parts may as well be run last, so that they part no group: sums over lanes that are no
    strips, of numbers that nobody writes any more."""
    found = set()
    written: set[int] = set()
    for place in reversed(range(len(parts))):
        part = parts[place]
        sums = isinstance(part, Call) and part.spaces[0] == SUMS
        if sums and _strip(part, tables) is None and not written.intersection(reads[place]):
            found.add(place)
        elif not sums:
            written.update(_touched(part, tables, (), results=True).tolist())
    return found


def _touched(
    part: Part, tables: NDArray[np.int32], counts: tuple[int, ...], *, results: bool
) -> Ints:
    """The numbers of the block that a part reads, or writes, those of the first lane."""
    if isinstance(part, Repeat):
        turns = (*counts, part.count)
        inner = [_touched(one, tables, turns, results=results) for one in part.body]
        return np.concatenate(inner) if inner else np.zeros(0, dtype=np.int64)
    kernel, found = part.kernel, [np.zeros(0, dtype=np.int64)]
    starts = iter(part.tables)
    for place, access in enumerate(kernel.accesses):
        start = next(starts) if access.scale else 0
        wanted = place == 0 if results else place > 0 or kernel.start == "add"
        if part.spaces[place] != BLOCK or not wanted:
            continue
        at = _grid(kernel.shape, access.strides)
        if access.scale:
            slots = tables[start + at].astype(np.int64) * access.scale
            at = slots + _grid(kernel.shape, access.plain)
        if place and kernel.fold:
            at = (at[:, None] + np.arange(kernel.fold) * kernel.step).reshape(-1)
        at = at + part.offsets[place]
        for count, steps in zip(counts, part.moves, strict=True):
            at = (at[:, None] + np.arange(count) * steps[place]).reshape(-1)
        found.append(at)
    return np.concatenate(found)


def _grid(shape: Sequence[int], strides: Sequence[int]) -> Ints:
    """How far each element of the axes but that of the lanes is from the first."""
    found = np.zeros(1, dtype=np.int64)
    for size, stride in zip(shape, strides, strict=True):
        if size > 0:
            found = (found[:, None] + np.arange(size) * stride).reshape(-1)
    return found


def _strip(part: Part, tables: NDArray[np.int32]) -> Strip | None:
    """A part as a strip; None if it is too much for one."""
    if isinstance(part, Call):
        if not _simple(part, 2):
            return None
        statements = _written_out(part, tables)
        count = part.kernel.shape[0] if len(part.kernel.shape) > 1 else 1
        free = count > 1 and not part.kernel.ordered
    else:
        statements, count, free = [], part.count, False
        for one in part.body:
            if not isinstance(one, Call) or not _simple(one, 0) or one.tables:
                return None
            steps = one.moves[0]
            statements.append(Statement(one.kernel, one.spaces, one.offsets, steps))
    if statements is None:
        return None
    strip = Strip(count, tuple(statements), free)
    return strip if _sums_stand(strip) else None


def _written_out(call: Call, tables: NDArray[np.int32]) -> list[Statement] | None:
    """What a call does at one turn: all along its inner axis. None where the turns of an index
    table are not at even steps."""
    kernel = call.kernel
    count, size = (*kernel.shape[:-1], 1, 1)[:2]
    found = []
    for i in range(size):
        offsets, steps = [], []
        starts = iter(call.tables)
        for access, offset in zip(kernel.accesses, call.offsets, strict=True):
            outer, inner = (*access.own[:-1], 0, 0)[:2]
            offset += i * inner
            if access.scale:
                row, column = (*access.strides[:-1], 0, 0)[:2]
                at = next(starts) + i * column + np.arange(count) * row
                slots = tables[at].astype(np.int64) * access.scale
                step = int(slots[1] - slots[0]) if count > 1 else 0
                if (np.diff(slots) != step).any():
                    return None
                offset, outer = offset + int(slots[0]), outer + step
            offsets.append(offset)
            steps.append(outer)
        own = kernel
        along = (*kernel.out.strides[:-1], 0, 0)[1]
        if i and isinstance(kernel.start, float) and not along and not kernel.out.scale:
            own = replace(kernel, start="add")  # to what the first has begun
        found.append(Statement(own, call.spaces, tuple(offsets), tuple(steps)))
    return found


def _sums_stand(strip: Strip) -> bool:
    """Whether sums over lanes are the same at every turn."""
    return not any(one.spaces[0] == SUMS and one.steps[0] for one in strip.statements)


def _simple(call: Call, axes: int) -> bool:
    """Whether a call has so few axes, the inner one short, and is no special case."""
    kernel = call.kernel
    return (
        kernel.laned
        and len(kernel.shape) <= 1 + axes
        and (len(kernel.shape) < 3 or kernel.shape[1] <= _SIDE)
        and not kernel.fold
        and not kernel.overlap
    )


# Groups


class _Builder:
    """Puts strips together, as long as they fit.

    Args:
        back: whether strips that may are taken from their last turn to their first.
    """

    def __init__(self, back: bool) -> None:
        self.back = back
        self.strips: list[Strip] = []
        self.first = self.last = 0
        self.long = False
        self.size = 0  # statements
        # For each number of the block the last turn at which it is written, and read.
        self.written: dict[int, int] = {}
        self.read: dict[int, int] = {}
        # The same of those that a long strip writes one after another.
        self.passing: dict[int, int] = {}

    def add(self, strip: Strip) -> bool:
        """Whether a strip fits; then it is one of them."""
        if self.size + len(strip.statements) > _STATEMENTS:
            return False
        if strip.free and self.back:
            strip = strip.flipped()
        before = self.first, self.last, self.long
        earliest = self._earliest(strip)
        placed = (
            self._place_short(strip, earliest)
            if strip.count <= _SHORT
            else self._place_long(strip, earliest)
        )
        if placed is None:
            return False
        first = self._first_for(placed)
        if first > self.first:
            begin = min(one.start for one in [*self.strips, placed] if one.count > _SHORT)
            if first - begin > _PEELED or self.last - first <= _SHORT:
                self.first, self.last, self.long = before
                return False
            self.first = first
        self.strips.append(placed)
        if placed.count > _SHORT:
            self.passing.update(_passing(placed))
        self.size += len(strip.statements)
        for one in placed.statements:
            for place, (space, offset, step) in enumerate(
                zip(one.spaces, one.offsets, one.steps, strict=True)
            ):
                if space != BLOCK:
                    continue
                table = self.read if place else self.written
                for turn in range(placed.count):
                    at = offset + turn * step
                    table[at] = max(table.get(at, placed.start), placed.start + turn)
        return True

    def _earliest(self, strip: Strip) -> int | None:
        """The first turn at which a strip may begin; None if nothing is in its way."""
        best: int | None = None
        for one in strip.statements:
            for place, (space, offset, step) in enumerate(
                zip(one.spaces, one.offsets, one.steps, strict=True)
            ):
                if space != BLOCK:
                    continue
                tables = (self.written,) if place else (self.written, self.read)
                for table in tables:
                    if not table:
                        continue
                    for turn in range(strip.count):
                        when = table.get(offset + turn * step)
                        if when is not None and (best is None or when - turn > best):
                            best = when - turn
        return best

    def _first_for(self, strip: Strip) -> int:
        """Where the loop may begin: what stands in it must have been written before."""
        if strip.count <= _SHORT:
            return self.first
        passing = self.passing | _passing(strip)
        stands = {
            offset
            for one in strip.statements
            for place, (space, offset, step) in enumerate(
                zip(one.spaces, one.offsets, one.steps, strict=True)
            )
            if space == BLOCK and not step and (place or one.kernel.start == "add")
        }
        return max([self.first, *[passing[slot] + 1 for slot in stands & passing.keys()]])

    def _place_short(self, strip: Strip, earliest: int | None) -> Strip | None:
        if not self.long:
            # Before all loops; -1 is the turn before the first.
            begin = -strip.count if earliest is None else max(earliest, -strip.count)
            if begin + strip.count > self.first:
                self.first = self.last = begin + strip.count
            return replace(strip, start=begin)
        begin = min(one.start for one in self.strips if one.count > _SHORT)
        start = begin if earliest is None else max(earliest, begin)
        if start + strip.count <= self.first:
            return replace(strip, start=start)
        if start + strip.count - begin <= _PEELED and start + strip.count < self.last:
            self.first = start + strip.count
            return replace(strip, start=start)
        return replace(strip, start=max(start, self.last))

    def _place_long(self, strip: Strip, earliest: int | None) -> Strip | None:
        if not self.long:
            start = self.first if earliest is None else max(earliest, self.first)
            self.long, self.first, self.last = True, start, start + strip.count
            return replace(strip, start=start)
        start = self.first if earliest is None else earliest
        longs = [one for one in self.strips if one.count > _SHORT]
        first, last = max(self.first, start), min(self.last, start + strip.count)
        begin = min(start, *[one.start for one in longs])
        end = max(start + strip.count, *[one.end for one in longs])
        if first - begin > _PEELED or end - last > _PEELED or last - first <= _SHORT:
            return None
        self.first, self.last = first, last
        return replace(strip, start=start)


def _passing(strip: Strip) -> dict[int, int]:
    """What a strip writes one after another, and the turn of the group at which it does."""
    return {
        one.offsets[0] + turn * one.steps[0]: strip.start + turn
        for one in strip.statements
        if one.spaces[0] == BLOCK and one.steps[0]
        for turn in range(strip.count)
    }


def _group(strips: Sequence[Strip]) -> tuple[Group, int]:
    """The longest group of strips from the first on, and how many it has."""
    group, taken = _longest(strips)
    fewer = taken
    # What is only filled in is needed by what comes next.
    while 0 < fewer < len(strips) and all(len(s.spaces) == 1 for s in strips[fewer - 1].statements):
        fewer -= 1
    return (group, taken) if fewer in (0, taken) else _longest(strips[:fewer])


def _longest(strips: Sequence[Strip]) -> tuple[Group, int]:
    builders = [_Builder(back) for back in (False, True)]
    lengths = [0, 0]
    for i, builder in enumerate(builders):
        for strip in strips:
            if not builder.add(strip):
                break
            lengths[i] += 1
        if lengths[i] == len(strips):
            break
    best = builders[lengths.index(max(lengths))]
    return Group(tuple(best.strips), best.first, best.last), max(lengths)
