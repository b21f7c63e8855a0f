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
    reads = [np.unique(_reads(part, tables, ())) for part in parts]
    found: list[Part | Group] = []
    rows: list[tuple[int, Strip]] = []

    def close() -> None:
        left = rows.copy()
        rows.clear()
        while left:
            group, taken = _group([strip for _, strip in left])
            places = {place for place, _ in left[:taken]}
            others = [read for place, read in enumerate(reads) if place not in places]
            read = frozenset(np.concatenate([wanted, *others]).tolist())
            own = tuple([parts[place] for place in sorted(places)])
            found.append(replace(group, parts=own, read=read))
            del left[:taken]

    for place, part in enumerate(parts):
        strip = _strip(part)
        if strip is None:
            close()
            found.append(part)
        else:
            rows.append((place, strip))
    close()
    return found


def _reads(part: Part, tables: NDArray[np.int32], counts: tuple[int, ...]) -> Ints:
    """The numbers of the block that a part reads, those of the first lane."""
    if isinstance(part, Repeat):
        inner = [_reads(one, tables, (*counts, part.count)) for one in part.body]
        return np.concatenate(inner) if inner else np.zeros(0, dtype=np.int64)
    kernel, found = part.kernel, [np.zeros(0, dtype=np.int64)]
    starts = iter(part.tables)
    for place, access in enumerate(kernel.accesses):
        start = next(starts) if access.scale else 0
        if part.spaces[place] != BLOCK or (place == 0 and kernel.start != "add"):
            continue
        sizes = [size for size in kernel.shape if size > 0]
        at = np.zeros(1, dtype=np.int64)
        for size, stride in zip(sizes, access.strides, strict=False):
            at = (at[:, None] + np.arange(size) * stride).reshape(-1)
        if access.scale:
            at = tables[start + at].astype(np.int64) * access.scale
        if place and kernel.fold:
            at = (at[:, None] + np.arange(kernel.fold) * kernel.step).reshape(-1)
        at = at + part.offsets[place]
        for count, steps in zip(counts, part.moves, strict=True):
            at = (at[:, None] + np.arange(count) * steps[place]).reshape(-1)
        found.append(at)
    return np.concatenate(found)


def _strip(part: Part) -> Strip | None:
    """A part as a strip; None if it is too much for one."""
    if isinstance(part, Call):
        if not _simple(part, 1):
            return None
        if len(part.kernel.shape) == 1:
            return Strip(1, (_statement(part, None),), free=False)
        strip = Strip(part.kernel.shape[0], (_statement(part, 0),), free=not part.kernel.ordered)
        return strip if _sums_stand(strip) else None
    if not all(isinstance(one, Call) and _simple(one, 0) for one in part.body):
        return None
    statements = [_statement(one, None) for one in part.body if isinstance(one, Call)]
    strip = Strip(part.count, tuple(statements), free=False)
    return strip if _sums_stand(strip) else None


def _sums_stand(strip: Strip) -> bool:
    """Whether sums over lanes are the same at every turn."""
    return not any(one.spaces[0] == SUMS and one.steps[0] for one in strip.statements)


def _simple(call: Call, axes: int) -> bool:
    kernel = call.kernel
    return (
        kernel.laned
        and len(kernel.shape) <= 1 + axes
        and not kernel.fold
        and not kernel.overlap
        and not call.tables
    )


def _statement(call: Call, axis: int | None) -> Statement:
    if axis is not None:
        steps = tuple([access.strides[axis] for access in call.kernel.accesses])
    elif call.moves:
        steps = call.moves[0]
    else:
        steps = (0,) * len(call.offsets)
    return Statement(call.kernel, call.spaces, call.offsets, steps)


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
        # For each number of the block the last turn at which it is written, and read.
        self.written: dict[int, int] = {}
        self.read: dict[int, int] = {}

    def add(self, strip: Strip) -> bool:
        """Whether a strip fits; then it is one of them."""
        if strip.free and self.back:
            strip = strip.flipped()
        earliest = self._earliest(strip)
        placed = (
            self._place_short(strip, earliest)
            if strip.count <= _SHORT
            else self._place_long(strip, earliest)
        )
        if placed is None:
            return False
        self.strips.append(placed)
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
