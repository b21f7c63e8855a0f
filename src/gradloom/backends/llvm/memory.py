"""Where the numbers of an exported program lie.

Inside a process all numbers of a program stand in one arena. A caller with little memory is better
served: what never changes goes into the object, where it can stay in read-only memory; inputs,
parameters and outputs are read and written where the caller has them; and the rest shares a
workspace, in which numbers take the place of others that nobody reads any more.

An access walks over slots by strides, so all its slots move together. Slots whose accesses overlap
form a *unit*; a unit lives from the first call that touches it to the last.
"""

import bisect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradloom.backends.llvm.kernel import Access, Kernel, normal, plan
from gradloom.backends.llvm.lowering import SCRATCH, Call, Part, Repeat, lower
from gradloom.backends.llvm.target import Target
from gradloom.loom.program import Instruction, Program
from gradloom.loom.views import pieces

CONSTANTS, INPUTS, PARAMETERS = "constants", "inputs", "parameters"
OUTPUTS, WORKSPACE = "outputs", "workspace"

Slots: TypeAlias = NDArray[np.int64]
Place: TypeAlias = tuple[str, int]

_ALWAYS = 1 << 60  # later than all calls


@dataclass(slots=True)
class Placed:
    """A program whose numbers have their places.

    Attributes:
        parts: what to call.
        constants: the numbers that go into the object.
        tables: the index tables, which do so too.
        workspace: how many numbers the caller must have room for.
        guards: places that must hold these numbers afterwards.
    """

    parts: list[Part]
    constants: NDArray[np.float64]
    tables: NDArray[np.int32]
    workspace: int
    guards: list[tuple[Place, float]]


def place(
    program: Program, target: Target, bits: int, parameters: NDArray[np.float64] | None = None
) -> Placed:
    """Give the numbers of a program their places.

    Args:
        program: what to place; without lanes.
        target, bits: for which machine, with how many bits a number.
        parameters: their numbers, if they go into the object; None if the caller passes them.

    Raises:
        Unsupported: see `lower`.

    >>> from gradloom.loom.record import record
    >>> from gradloom.loom.weave import weave
    >>> graph, _ = record(lambda x, y: (x * y + x).exp() * 3.0, 3.0, 4.0)
    >>> placed = place(weave(graph), Target("", "", "", vector=128), 64)
    >>> placed.workspace, placed.constants.tolist()
    (2, [])
    """
    return _Placing(program, target, bits, parameters).run()


@dataclass(slots=True)
class _Use:
    """An access of a call.

    Attributes:
        slots: all that it reads or writes, in every turn of the loops around it.
        time: when it is called; within a loop, when that begins.
        place: where its first slot went.
    """

    slots: Slots
    time: int
    writes: bool = False
    place: Place | None = None
    first: int = field(init=False)
    last: int = field(init=False)

    def __post_init__(self) -> None:
        self.first, self.last = int(self.slots.min()), int(self.slots.max())


@dataclass(slots=True)
class _Unit:
    """Slots that keep their distances, from the first to the last, and when they are needed."""

    first: int
    last: int
    begin: int
    end: int
    offset: int = 0

    @property
    def size(self) -> int:
        return self.last - self.first + 1


class _Placing:
    """The state between the steps; see `place`."""

    def __init__(
        self,
        program: Program,
        target: Target,
        bits: int,
        parameters: NDArray[np.float64] | None,
    ) -> None:
        self.target, self.bits = target, bits
        self.program, self.outputs = _with_outputs(program), len(program.template)
        self.template = self.program.template.copy()
        self.homes: dict[str, Slots] = {INPUTS: program.inputs}
        if parameters is None:
            self.homes[PARAMETERS] = program.parameters
        else:
            self.template[program.parameters] = parameters
        self.homes[OUTPUTS] = np.arange(self.outputs, len(self.template))
        self.orders = {space: self._order(slots) for space, slots in self.homes.items()}
        self.constants = np.zeros(0)

    def run(self) -> Placed:
        lowered = lower(self.program, self.target, self.bits)
        self.tables = lowered.tables
        parts = lowered.before
        uses: dict[int, list[_Use | None]] = {}  # by the identity of the call
        for time, part in enumerate(parts):
            for call, counts in _calls([part]):
                uses[id(call)] = self._uses(call, counts, time)
        guards = [_Use(np.array([slot]), _ALWAYS) for slot, _ in self.program.guards]
        every = [use for each in uses.values() for use in each if use is not None] + guards
        copies, work = self._settle(every)
        guarded = zip(guards, self.program.guards, strict=True)
        return Placed(
            [*copies, *[self._moved(part, uses, work) for part in parts]],
            self.constants,
            lowered.tables,
            work + lowered.scratch,
            [(use.place or ("", 0), number) for use, (_, number) in guarded],
        )

    def _uses(self, call: Call, counts: Sequence[int], time: int) -> list[_Use | None]:
        """The accesses of a call; None for one to scratch memory."""
        tables = iter(call.tables)
        found: list[_Use | None] = []
        for i, access in enumerate(call.kernel.accesses):
            walked = _walked(call.kernel.shape, access.strides)
            if access.scale:
                slots = self.tables[next(tables) + walked].astype(np.int64)
                walked = np.unique(slots[:, None] + _walked(call.kernel.shape, access.plain))
            if call.kernel.fold and i:
                folded = np.arange(call.kernel.fold) * call.kernel.step
                walked = np.unique(walked[:, None] + folded)
            for count, steps in zip(counts, call.moves, strict=True):
                if steps[i]:
                    walked = np.unique(walked[:, None] + np.arange(count) * steps[i])
            scratch = call.spaces[i] == SCRATCH
            found.append(None if scratch else _Use(call.offsets[i] + walked, time, writes=i == 0))
        return found

    def _settle(self, uses: Sequence[_Use]) -> tuple[list[Part], int]:
        """Give every access its place.

        Returns:
            Calls that fill what stands in the workspace though nobody writes it, and how many
            numbers the workspace takes.
        """
        size = len(self.template)
        outside = np.zeros(size, dtype=bool)
        written = np.zeros(size, dtype=bool)
        for slots in self.homes.values():
            outside[slots] = True
        for use in uses:
            if use.writes:
                written[use.slots] = True
        fixed = ~written & ~outside
        constant, working = [], []
        for use in uses:
            if fixed[use.slots].all():
                constant.append(use)
            elif (home := self._home(use, written)) is not None:
                use.place = home
            else:
                working.append(use)
        units = _units(working)
        sources = self._sources(working, units, written)
        self._keep(constant, [slots for slots in sources if fixed[slots[0]]])
        for slots in sources:
            _unit_of(units, int(slots[0])).begin = -1
        work = _allocate(units)
        for use in working:
            use.place = WORKSPACE, _within(units, use.first)
        copies: list[Part] = []
        for slots in sources:
            use = _Use(slots, -1)
            source = self._home(use, written) or (CONSTANTS, self._constant_places[use.first])
            copies.append(self._copy((WORKSPACE, _within(units, use.first)), source, len(slots)))
        return copies, work

    def _order(self, slots: Slots) -> Slots:
        """For each slot of the arena its place among these, or -1."""
        order = np.full(len(self.template), -1)
        order[slots] = np.arange(len(slots))
        return order

    def _home(self, use: _Use, written: NDArray[np.bool_]) -> Place | None:
        """Where the caller has these numbers, if they lie there as they do in the arena."""
        for space, order in self.orders.items():
            if order[use.first] < 0 or (space != OUTPUTS and written[use.slots].any()):
                continue
            found = order[use.slots]
            if found.min() >= 0 and (found - use.slots == found[0] - use.slots[0]).all():
                return space, int(order[use.first])
        return None

    def _sources(
        self, working: Sequence[_Use], units: Sequence[_Unit], written: NDArray[np.bool_]
    ) -> list[Slots]:
        """Slots that are read in the workspace though nobody writes them, in runs."""
        if not working:
            return []
        read = np.unique(np.concatenate([use.slots for use in working]))
        read = read[~written[read]]
        kinds = np.zeros(len(self.template), dtype=np.int64)
        for kind, slots in enumerate(self.homes.values(), 1):
            kinds[slots] = np.arange(len(slots)) - slots + kind * 2 * len(self.template)
        owner = np.searchsorted([unit.first for unit in units], read, side="right")
        breaks = (np.diff(read) != 1) | (np.diff(kinds[read]) != 0) | (np.diff(owner) != 0)
        return [run for run in np.split(read, np.flatnonzero(breaks) + 1) if len(run)]

    def _keep(self, uses: Sequence[_Use], runs: Sequence[Slots]) -> None:
        """Gather the constants, and give accesses to them their places."""
        units = _units([*uses, *[_Use(run, 0) for run in runs]])
        end = 0
        for unit in units:
            unit.offset, end = end, end + unit.size
        kept = [self.template[unit.first : unit.last + 1] for unit in units]
        self.constants = np.concatenate([np.zeros(0), *kept])
        for use in uses:
            use.place = CONSTANTS, _within(units, use.first)
        self._constant_places = {int(run[0]): _within(units, int(run[0])) for run in runs}

    def _copy(self, to: Place, source: Place, count: int) -> Call:
        """A call that copies so many numbers."""
        row = Access((1,))
        kernel, _ = normal(Kernel((count,), row, 0, (row,), None))
        chosen = plan(kernel, self.target, self.bits)
        return Call(kernel, chosen, (to[0], source[0]), (to[1], source[1]), ())

    def _moved(self, part: Part, uses: dict[int, list[_Use | None]], work: int) -> Part:
        """A part in which every access is where it was placed."""
        if isinstance(part, Repeat):
            return Repeat(part.count, tuple(self._moved(x, uses, work) for x in part.body))
        spaces, offsets = [], []
        for use, offset in zip(uses[id(part)], part.offsets, strict=True):
            if use is None:
                spaces.append(WORKSPACE)
                offsets.append(work + offset)
                continue
            space, at = use.place or ("", 0)
            spaces.append(space)
            offsets.append(offset + at - use.first)
        return replace(part, spaces=tuple(spaces), offsets=tuple(offsets))


def _with_outputs(program: Program) -> Program:
    """The program with its results copied into slots of their own, in order."""
    size, count = len(program.template), len(program.outputs)
    copies = []
    if count:
        for shape, (out, source) in pieces([np.arange(size, size + count), program.outputs]):
            copies.append(Instruction(shape, out, 0, (source,), accumulate=False))
    return replace(
        program,
        template=np.append(program.template, np.zeros(count)),
        laned=np.append(program.laned, np.zeros(count, dtype=bool)),
        instructions=[*program.instructions, *copies],
        outputs=np.arange(size, size + count),
    )


def _calls(parts: Iterable[Part], counts: tuple[int, ...] = ()) -> Iterator[tuple[Call, Any]]:
    """All calls, with how often the loops around each turn."""
    for part in parts:
        if isinstance(part, Repeat):
            yield from _calls(part.body, (*counts, part.count))
        else:
            yield part, counts


def _units(uses: Iterable[_Use]) -> list[_Unit]:
    """The units of some accesses, in order of their slots."""
    found: list[_Unit] = []
    for use in sorted(uses, key=lambda use: use.first):
        if found and use.first <= found[-1].last:
            unit = found[-1]
            unit.last = max(unit.last, use.last)
            unit.begin, unit.end = min(unit.begin, use.time), max(unit.end, use.time)
        else:
            found.append(_Unit(use.first, use.last, use.time, use.time))
    return found


def _unit_of(units: Sequence[_Unit], slot: int) -> _Unit:
    return units[bisect.bisect_right(units, slot, key=lambda unit: unit.first) - 1]


def _within(units: Sequence[_Unit], slot: int) -> int:
    """Where a slot is, given that its unit has a place."""
    unit = _unit_of(units, slot)
    return unit.offset + slot - unit.first


def _allocate(units: Iterable[_Unit]) -> int:
    """Give units offsets, so that none that live at one time overlap; how much room they take."""
    live: list[_Unit] = []
    most = 0
    for unit in sorted(units, key=lambda unit: (unit.begin, -unit.size)):
        live = [other for other in live if other.end >= unit.begin]
        offset = 0
        for other in sorted(live, key=lambda other: other.offset):
            if other.offset - offset >= unit.size:
                break
            offset = max(offset, other.offset + other.size)
        unit.offset = offset
        live.append(unit)
        most = max(most, offset + unit.size)
    return most


def _walked(shape: Sequence[int], strides: Sequence[int]) -> Slots:
    """How far each element is from the first; those at the same place once, if that is told by a
    stride of 0."""
    found = np.zeros(1, dtype=np.int64)
    for size, stride in zip(shape, strides, strict=True):
        if stride and size > 1:
            found = (found[:, None] + np.arange(size) * stride).reshape(-1)
    return found
