"""A program as calls of kernels, with the numbers of all lanes in blocks.

What all lanes share stands in the *arena*, one number a slot. What each lane has of its own stands
in a *block*: for each slot as many numbers side by side as a block has lanes, so that a lane is one
more axis of an instruction, of stride 1 for what is laned and 0 for what is shared. A program with
lanes falls apart in three: what is done before, since no lane has a say in it; what is done for
every block; and what is done after, with the sums over all lanes. Each block adds to sums of its
own, which are put together in a fixed order, so that the number of threads changes no digit.

Sums start from what stands in the template. Where an instruction is the first to add to its slots,
and all start from one number, it starts its registers with that number and reads nothing; the
few slots for which that does not hold are filled beforehand.
"""

import itertools
import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradloom.backends.llvm.kernel import LANE, Access, Kernel, Plan, is_multiple, normal, plan
from gradloom.backends.llvm.target import Target
from gradloom.backends.numpy import _injective as injective
from gradloom.loom.program import Instruction, Item, Loop, Program
from gradloom.loom.views import View

ARENA, BLOCK, SUMS, SCRATCH = "arena", "block", "sums", "scratch"
BEFORE, LANES, AFTER = "before", "lanes", "after"

CACHE = 1024 * 1024  # bytes of all slots of a block of lanes; a part of them is in use at a time

Slots: TypeAlias = NDArray[np.int64]


class UnsupportedError(Exception):
    """A program that is no business of this backend."""


@dataclass(frozen=True, slots=True)
class Call:
    """A kernel with places to work at.

    Attributes:
        kernel, plan: what is done, and how.
        spaces: for each access, in which memory it lies.
        offsets: how many numbers from its beginning.
        tables: for each access that has one, where its table begins among all tables.
        moves: for each loop around the call, the outermost first, how many numbers each access
            moves with every turn.
    """

    kernel: Kernel
    plan: Plan
    spaces: tuple[str, ...]
    offsets: tuple[int, ...]
    tables: tuple[int, ...]
    moves: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Repeat:
    """Calls in a counted loop."""

    count: int
    body: "tuple[Call | Repeat, ...]"


Part: TypeAlias = Call | Repeat


@dataclass(slots=True)
class Lowered:
    """A program as calls.

    Attributes:
        before, lanes, after: what is done once, for every block, and once again.
        size: numbers in the arena: one a slot.
        scratch: numbers in the room that operands are copied to.
        block: numbers in a block.
        width: lanes in a block; 0 without lanes.
        sums: which slots are sums over lanes.
        tables: all index tables, one behind the other.
    """

    before: list[Part] = field(default_factory=list)
    lanes: list[Part] = field(default_factory=list)
    after: list[Part] = field(default_factory=list)
    size: int = 0
    scratch: int = 0
    block: int = 0
    width: int = 0
    sums: Slots = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    tables: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, dtype=np.int32))


def lower(
    program: Program, target: Target, bits: int, *, lanes: bool = False, width: int = 0
) -> Lowered:
    """The calls of a program.

    Args:
        program: what to lower; its loops stay loops.
        target, bits: for which machine, with how many bits a number.
        lanes: whether the program runs with lanes.
        width: lanes in a block, a multiple of a vector's; by default as many as fit the cache.

    Raises:
        UnsupportedError: a lane depends on a sum over all lanes.
    """
    wide = (width or block_width(program, target, bits)) if lanes else 0
    return _Lowering(program, target, bits, wide).run()


def block_width(program: Program, target: Target, bits: int) -> int:
    """How many lanes a block has: as many as keep what they work on in the cache."""
    slots = max(1, int(np.count_nonzero(program.laned)))
    wide = target.width(bits)
    vectors = CACHE * 8 // bits // slots // wide
    return wide * min(max(vectors, 1), max(256 // wide, 1))


@dataclass(frozen=True, slots=True)
class _Member:
    """An instruction as it is written, with the loops around it.

    Attributes:
        one: as the first turns of all loops run it.
        loops: for each loop around it, the outermost first, how many turns it has, how long one
            takes, and how many slots each view moves with it.
        time: when it runs first.
    """

    one: Instruction
    loops: tuple[tuple[int, int, tuple[int, ...]], ...]
    time: int

    def slots(self, place: int) -> Slots:
        """The slots of a view at all turns: an axis for each loop, and one for all of them."""
        view = self.one.views[place]
        if view.table is not None:
            found = view.table.reshape(-1).astype(np.int64)
        else:
            found = np.full(1, view.offset, dtype=np.int64)
            for size, stride in zip(self.one.shape, view.strides, strict=True):
                if stride and size > 1:
                    found = (found[:, None] + np.arange(size) * stride).reshape(-1)
        for count, _, steps in reversed(self.loops):
            turns = np.arange(count) * steps[place]
            found = turns.reshape(-1, *[1] * found.ndim) + found
        return found

    def times(self) -> Slots:
        """When it runs, turn by turn: an axis for each loop, and one for all slots."""
        found = np.full(1, self.time, dtype=np.int64)
        for count, duration, _ in reversed(self.loops):
            turns = np.arange(count) * duration
            found = turns.reshape(-1, *[1] * found.ndim) + found
        return found


def _duration(item: Item) -> int:
    return item.count * sum(map(_duration, item.body)) if isinstance(item, Loop) else 1


def _members(
    items: Iterable[Item], time: int = 0, loops: tuple[Any, ...] = ()
) -> Iterator[_Member]:
    """The instructions as they are written, in order. `loops` has, for each loop around, its turns,
    how long one takes, and an iterator over the steps of what it holds."""
    for item in items:
        if isinstance(item, Loop):
            duration = sum(map(_duration, item.body))
            around = (*loops, (item.count, duration, iter(item.steps)))
            yield from _members(item.body, time, around)
        else:
            inside = tuple([(count, long, next(steps)) for count, long, steps in loops])
            yield _Member(item, inside, time)
        time += _duration(item)


class _Lowering:
    """Lowers one program; see `lower`."""

    def __init__(self, program: Program, target: Target, bits: int, width: int) -> None:
        self.program, self.target, self.bits, self.width = program, target, bits, width
        size = len(program.template)
        self.laned = program.laned if width else np.zeros(size, dtype=bool)
        self.sums = np.zeros(size, dtype=bool)
        self.scratch = 0
        self._plans: dict[Hashable, tuple[Kernel, list[int], Plan]] = {}
        self._tables: dict[bytes, int] = {}
        self._table_parts: list[NDArray[np.int32]] = []
        self._table_size = 0

    def run(self) -> Lowered:
        members = list(_members(self.program.instructions))
        phases = self._phases(members)
        starts, fill = self._starts(members, phases)
        found = Lowered(size=len(self.program.template), width=self.width)
        parts = {BEFORE: found.before, LANES: found.lanes, AFTER: found.after}
        for phase, into in parts.items():
            rest = iter(zip(members, phases, starts, strict=True))
            if phase == BEFORE:
                into += self._fills(np.flatnonzero(fill & ~self.laned), phase)
            left = fill & self.laned
            for item in self.program.instructions:
                made = list(self._parts([item], phase, rest))
                if phase == LANES and left.any():
                    # Just before they are added to, so that it all stays in registers.
                    touched = np.zeros_like(left)
                    for member in _members([item]):
                        touched[member.slots(0)] = True
                    into += self._fills(np.flatnonzero(left & touched), phase)
                    left &= ~touched
                into += made
        found.scratch = self.scratch
        found.block = found.size * self.width
        found.sums = np.flatnonzero(self.sums)
        if self._table_parts:
            found.tables = np.concatenate(self._table_parts)
        return found

    def _phases(self, members: Sequence[_Member]) -> list[str]:
        """When each instruction is run."""
        if not self.width:
            return [BEFORE] * len(members)
        late = np.zeros(len(self.laned), dtype=bool)  # depends on a sum over lanes
        while True:
            before = np.count_nonzero(late)
            found = [self._phase(member, late) for member in members]
            # In a loop, what is written further down may be read further up a turn later.
            if np.count_nonzero(late) == before or not any(member.loops for member in members):
                return found

    def _phase(self, member: _Member, late: NDArray[np.bool_]) -> str:
        """When an instruction is run; marks what is late because of it."""
        slots = [member.slots(place) for place in range(len(member.one.views))]
        after = any(bool(late[at].any()) for at in slots[1:])
        own = [bool(self.laned[at].any()) for at in slots]
        if not any(own):
            late[slots[0]] |= after
            return AFTER if after else BEFORE
        if after:
            raise UnsupportedError("a lane depends on a sum over all lanes")
        if not own[0]:
            self.sums[slots[0]] = late[slots[0]] = True
        return LANES

    def _starts(
        self, members: Sequence[_Member], phases: Sequence[str]
    ) -> tuple[list[str | float | None], NDArray[np.bool_]]:
        """What the results of each instruction are added to, and which slots to fill beforehand."""
        size = len(self.program.template)
        first = np.full(size, np.iinfo(np.int64).max)  # when something is first written there
        first[self.program.inputs] = first[self.program.parameters] = -1
        outs = [member.slots(0) for member in members]
        total = sum(map(_duration, self.program.instructions))
        # All lanes are run between what is before and after them.
        whens = [
            member.times() + (BEFORE, LANES, AFTER).index(phase) * total
            for member, phase in zip(members, phases, strict=True)
        ]
        for when, out in zip(whens, outs, strict=True):
            times = np.broadcast_to(when, out.shape)
            np.minimum.at(first, out.reshape(-1), times.reshape(-1))
        found: list[str | float | None] = []
        fill = np.zeros(size, dtype=bool)
        for member, phase, out, when in zip(members, phases, outs, whens, strict=True):
            one = member.one
            if not one.accumulate:
                found.append(None)
                continue
            mine = first[out] == when
            summed = phase == LANES and bool(self.sums[out].any())
            plain = one.out.table is None and injective(one.out, one.shape)
            start = self._common(out) if plain and not summed and mine.all() else None
            if start is None:
                fill[out[mine]] = True
            found.append("add" if start is None else start)
        return found, fill | self.sums

    def _common(self, slots: Slots) -> float | None:
        """The number that all these slots start from; None if they differ."""
        numbers = self.program.template[slots.reshape(-1)]
        bits = numbers.view(np.int64)
        return float(numbers[0]) if (bits == bits[0]).all() else None

    def _fills(self, slots: Slots, phase: str) -> Iterator[Call]:
        """Calls that put into slots what their sums start from."""
        if not len(slots):
            return
        bits = self.program.template[slots].view(np.int64)
        breaks = np.flatnonzero((np.diff(slots) != 1) | (np.diff(bits) != 0)) + 1
        for a, b in itertools.pairwise([0, *breaks.tolist(), len(slots)]):
            slot = int(slots[a])
            number = float(self.program.template[slot])
            one = Instruction((b - a,), View(slot, (1,)), number, (), accumulate=False)
            yield from self._calls(_Member(one, (), 0), phase, None)

    def _parts(
        self,
        items: Iterable[Item],
        phase: str,
        rest: Iterator[tuple[_Member, str, str | float | None]],
    ) -> Iterator[Part]:
        """What one phase runs of some instructions; takes theirs from the rest."""
        for item in items:
            if isinstance(item, Loop):
                body = tuple(self._parts(item.body, phase, rest))
                if body:
                    yield Repeat(item.count, body)
            else:
                member, own, start = next(rest)
                if own == phase:
                    yield from self._calls(member, phase, start)

    # Calls

    def _calls(self, member: _Member, phase: str, start: str | float | None) -> list[Call]:
        """The calls for an instruction: copies of what lies badly, then itself."""
        one, laned = member.one, phase == LANES
        spaces, offsets, accesses, tables, scales = [], [], [], [], []
        for i, view in enumerate(one.views):
            own = laned and bool(self.laned[member.slots(i)].any())
            scale = self.width if own else 1
            scales.append(scale)
            lane = (int(own),) if laned else ()
            spaces.append(BLOCK if own else SUMS if laned and i == 0 else ARENA)
            if view.table is None:
                accesses.append(Access((*[s * scale for s in view.strides], *lane)))
                offsets.append(view.offset * scale)
                continue
            base, table, rows, plain = _split(view.table)
            tables.append(self._table(table))
            further = (*[s * scale for s in plain], *lane)
            accesses.append(Access((*rows, 0) if laned else rows, scale, further))
            offsets.append(base * scale)
        apart = one.out.table is not None or injective(one.out, one.shape)
        body, fold, step = one.body, 0, _even_step(member, accesses[1:], offsets[1:])
        if step is not None:
            assert isinstance(body, tuple)
            body, fold = (body[0], (0,)), len(one.operands)
            del spaces[2:], offsets[2:], accesses[2:], scales[2:]
        kernel = Kernel(
            (*one.shape, LANE) if laned else one.shape,
            accesses[0],
            body,
            tuple(accesses[1:]),
            start,
            ordered=one.ordered,
            muted=tuple([i for i in one.muted if not is_multiple(body, i)]),
            overlap=start is not None and not apart,
            fold=fold,
            step=step or 0,
        )
        small, moved, chosen = self._planned(kernel)
        call = Call(
            small,
            chosen,
            tuple(spaces),
            tuple([a + b for a, b in zip(offsets, moved, strict=True)]),
            tuple(tables),
            tuple(
                tuple([step * scale for step, scale in zip(steps, scales, strict=False)])
                for _, _, steps in member.loops
            ),
        )
        return self._packed(call) if chosen.packed else [call]

    def _planned(self, kernel: Kernel) -> tuple[Kernel, list[int], Plan]:
        """A kernel in normal form, how far its accesses move for that, and its plan."""
        key = kernel.key
        if key not in self._plans:
            small, moved = normal(kernel)
            self._plans[key] = small, moved, plan(small, self.target, self.bits)
        return self._plans[key]

    def _packed(self, call: Call) -> list[Call]:
        """Copies of some operands that lie without gaps along the vectors, and the call on them."""
        kernel, chosen = call.kernel, call.plan
        calls: list[Call] = []
        operands, spaces, offsets = list(kernel.operands), list(call.spaces), list(call.offsets)
        moves = [list(steps) for steps in call.moves]
        used = 0
        for place in chosen.packed:
            access = kernel.operands[place]
            axes = [i for i, s in enumerate(access.strides) if s and i != chosen.axis]
            axes.append(chosen.axis or 0)
            shape = tuple(kernel.shape[i] for i in axes)
            rows = _rows(shape)
            source = Access(tuple(access.strides[i] for i in axes))
            copy, moved, way = self._planned(Kernel(shape, Access(rows), 0, (source,), None))
            at = used + moved[0], offsets[place + 1] + moved[1]
            further = tuple((0, steps[place + 1]) for steps in moves)
            calls.append(Call(copy, way, (SCRATCH, spaces[place + 1]), at, (), further))
            strides = dict(zip(axes, rows, strict=True))
            operands[place] = Access(tuple(strides.get(i, 0) for i in range(len(kernel.shape))))
            spaces[place + 1], offsets[place + 1] = SCRATCH, used
            for steps in moves:
                steps[place + 1] = 0
            used += math.prod(shape)
        self.scratch = max(self.scratch, used)
        calls.append(
            Call(
                replace(kernel, operands=tuple(operands)),
                replace(chosen, packed=()),
                tuple(spaces),
                tuple(offsets),
                call.tables,
                tuple(map(tuple, moves)),
            )
        )
        return calls

    def _table(self, table: NDArray[Any]) -> int:
        """Where an index table begins among all tables."""
        flat = np.ascontiguousarray(table, dtype=np.int32).reshape(-1)
        key = flat.tobytes()
        if key not in self._tables:
            self._tables[key] = self._table_size
            self._table_parts.append(flat)
            self._table_size += len(flat)
        return self._tables[key]


def _split(
    table: NDArray[Any],
) -> tuple[int, NDArray[Any], tuple[int, ...], tuple[int, ...]]:
    """The least slot of a table; the table from there, without the axes along which it goes at even
    steps everywhere; and the strides of all axes in it, and of those axes.

    >>> _split(np.array([[7, 8, 9], [2, 3, 4], [5, 6, 7]]))
    (2, array([5, 0, 3]), (1, 0), (0, 1))
    """
    plain = [0] * table.ndim
    for axis, size in enumerate(table.shape):
        steps = np.diff(table, axis=axis)
        if size > 1 and (steps == steps.flat[0]).all():
            plain[axis] = int(steps.flat[0])
            table = table.take([0], axis=axis)
    rows = tuple(0 if n == 1 else s for n, s in zip(table.shape, _rows(table.shape), strict=True))
    base = int(table.min())
    return base, table.reshape([n for n in table.shape if n > 1]) - base, rows, tuple(plain)


_FOLDS = {"max", "min", "sum", "logsumexp"}


def _even_step(member: _Member, accesses: list[Access], offsets: list[int]) -> int | None:
    """How far apart the operands of an operation of many are, if always as far; else None."""
    one = member.one
    if not isinstance(one.body, tuple) or one.body[0] not in _FOLDS or len(accesses) < 4:
        return None
    if list(one.body[1]) != list(range(len(accesses))) or one.muted or one.accumulate:
        return None
    steps = {b - a for a, b in itertools.pairwise(offsets)}
    alike = all(access == accesses[0] and not access.scale for access in accesses)
    alike = alike and all(len(set(moves[1:])) == 1 for _, _, moves in member.loops)
    return steps.pop() if alike and len(steps) == 1 else None


def _rows(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of an array without gaps.

    >>> _rows((2, 3, 4))
    (12, 4, 1)
    """
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
