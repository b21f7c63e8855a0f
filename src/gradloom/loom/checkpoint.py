"""An adjoint in less memory: the values of a long recurrence are computed a second time.

An adjoint reads the values of all steps backward, so all are kept: memory grows with the steps.
Here a recurrence is cut into segments of so many turns. All segments use the same stretch of the
arena, a *window*. The forward pass keeps only the *state* with which each segment begins: what it
reads of earlier ones. The backward pass takes the segments from the last to the first; for each it
restores the state, runs it once more, and goes backward through it.

    for each segment:                  for each segment, from the last on:
        window = states[segment]           window = states[segment]
        run its turns                      run its turns again
        states[segment + 1] = window       cotangents of window = 0, but of the state: carried
                                           run its turns backward
                                           carried = cotangents of the state

With k turns a segment, memory for k turns and T / k states does for T turns (the two-level scheme
of Griewank and Walther, Evaluating Derivatives, 2008, chapter 12), at the price of one more forward
pass. What the rest of the program reads of single turns is copied out of the window.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradloom.core import collector
from gradloom.errors import ArgumentError
from gradloom.loom.adjoint import adjoint
from gradloom.loom.program import Instruction, Item, Loop, Program
from gradloom.loom.repeats import Ints, Names, Run, aligned, can_cut, cut, pattern
from gradloom.loom.views import Slots, View, pieces, slots_of

_LEAST = 4  # turns, at least, of a recurrence that is worth cutting


class _FormError(Exception):
    """A recurrence is not of the form that can be cut; the message says why."""


@collector.paused()
def checkpointed(
    program: Program, wanted: NDArray[np.int64], limit: int, *, bits: int = 64
) -> Program:
    """The adjoint of a program in an arena of at most so many bytes.

    Where the plain adjoint fits it is that; else the program's longest recurrence is cut into
    segments, of the length that takes least memory.

    Args:
        program, wanted: as for `adjoint`.
        limit: how many bytes the arena may have, for one lane.
        bits: of a number.

    Raises:
        ArgumentError: it cannot be done in so little; the message says what it takes.

    >>> import gradloom as gl
    >>> from gradloom.backends.numpy import Runner
    >>> from gradloom.loom.record import record
    >>> from gradloom.loom.weave import weave
    >>> def f(x):
    ...     for _ in range(1000):
    ...         x = gl.sin(gl.exp(x))
    ...     return x
    >>> program = weave(record(f, 1.0)[0])
    >>> plain = adjoint(program, program.inputs)
    >>> small = checkpointed(program, program.inputs, 3000)
    >>> len(plain.template), len(small.template) < 3000 // 8
    (4002, True)
    >>> bool((Runner(small).run([1.0, 1.0]) == Runner(plain).run([1.0, 1.0])).all())
    True
    """
    plain = adjoint(program, wanted)
    number = bits // 8
    needed = number * len(plain.template)
    if needed <= limit:
        return plain
    names = Names(program.laned)
    items, runs, sheet = aligned(list(program.flat), names, _LEAST)
    if runs:
        longest = max(runs, key=lambda run: _weight(items, run))
        items, runs, sheet = aligned(_spread(items, longest, len(program.template)), names, _LEAST)
    flat = replace(program, instructions=items)
    reason = "it has no long recurrence"
    least = needed
    for run in sorted(runs, key=lambda run: -_weight(items, run))[:3]:
        try:
            plan = _Plan.for_least(_Recurrence(flat, wanted, run, sheet.table(run)))
            if number * plan.size <= limit:
                return plan.program()
        except _FormError as error:
            reason = str(error)
            continue
        least = min(least, number * plan.size)
        steps = f"its recurrence of {run.turns} steps"
        reason = f"with {steps} in segments it takes {number * plan.size}"
    raise ArgumentError(
        f"memory_limit={limit}: the gradient takes {needed} bytes, and {reason}; "
        f"raise memory_limit to {least}, or shorten what is differentiated"
    )


def _weight(items: Sequence[Item], run: Run) -> int:
    """About how many slots the turns of a run write."""
    body = items[run.start : run.start + run.period]
    sizes = [slots_of(one.out, one.shape).size for one in body if isinstance(one, Instruction)]
    return run.turns * sum(sizes)


def _spread(items: Sequence[Item], run: Run, size: int) -> list[Item]:
    """The items, but sums over all turns of a run are taken turn by turn, where that is the same.

    Else all that a loss sums up over the steps would have to be kept until then.
    """
    ones = [one for one in items if isinstance(one, Instruction)]
    made = np.full(size, -1)  # by which item last
    read = np.full(size, len(ones))  # by which item first
    stored = np.zeros(size, dtype=bool)
    adders = np.zeros(size, dtype=np.int64)  # how many items add to it
    for place, one in enumerate(ones):
        for view in one.operands:
            slots = slots_of(view, one.shape)
            read[slots] = np.minimum(read[slots], place)
        slots = slots_of(one.out, one.shape)
        made[slots] = place
        stored[slots] |= not one.accumulate
        adders[slots] += 1
    turns: dict[int, list[Instruction]] = {}
    behind: list[Item] = []
    for place, one in enumerate(ones[run.end :], run.end):
        slots = slots_of(one.out, one.shape)
        early = one.accumulate and not stored[slots].any() and bool((read[slots] > place).all())
        if one.ordered:
            early &= bool((adders[slots] == 1).all())
        axis = next((i for i, step in enumerate(one.out.strides) if step == 0), None)
        if not early or axis is None or not can_cut(one, axis):
            behind.append(one)
            continue
        when = np.full(one.shape, -1)
        for view in one.operands:
            when = np.maximum(when, made[slots_of(view, one.shape)])
        last = np.moveaxis(when, axis, 0).reshape(one.shape[axis], -1).max(axis=1)
        of_turn = (last - run.start) // run.period
        inside = (last >= run.start) & (last < run.end)
        if inside.sum() < _LEAST or (np.diff(of_turn[inside]) <= 0).any():
            behind.append(one)
            continue
        for turn, within, part in zip(of_turn.tolist(), inside, cut(one, axis), strict=True):
            (turns.setdefault(turn, []) if within else behind).append(part)
    found = list(items[: run.start])
    for turn in range(run.turns):
        begin = run.start + turn * run.period
        found += [*items[begin : begin + run.period], *turns.get(turn, [])]
    return found + behind


class _Line(NamedTuple):
    """An instruction in a segment: as it is first, and how its views go on by turn, by segment."""

    one: Instruction
    by_turn: tuple[int, ...]
    by_segment: tuple[int, ...]

    def last_turn(self, turns: int) -> "_Line":
        """As it is in the last of so many turns, going back."""
        one = self.one.moved([(turns - 1) * step for step in self.by_turn])
        return self._replace(one=one, by_turn=tuple([-step for step in self.by_turn]))

    def last_segment(self, segments: int) -> "_Line":
        """As it is in the last of so many segments, going back."""
        one = self.one.moved([(segments - 1) * step for step in self.by_segment])
        return self._replace(one=one, by_segment=tuple([-step for step in self.by_segment]))


def _nested(parts: Sequence[list[_Line] | tuple[int, list[_Line]]], count: int) -> Loop:
    """A loop over segments; of its parts those with a number are loops over so many turns."""
    body: list[Item] = []
    steps: list[tuple[int, ...]] = []
    for part in parts:
        if isinstance(part, tuple):
            turns, lines = part
            inner = tuple([line.by_turn for line in lines])
            body.append(Loop(turns, tuple([line.one for line in lines]), inner))
        else:
            lines = part
            body += [line.one for line in lines]
        steps += [line.by_segment for line in lines]
    return Loop(count, tuple(body), tuple(steps))


def _handed_back(program: Program, plain: Program) -> list[list[Instruction]]:
    """For each instruction of a program, those of its adjoint that hand its cotangent on."""
    size = len(program.template)
    rest = iter(plain.instructions[len(program.instructions) :])
    following = next(rest, None)
    found: list[list[Instruction]] = []
    for one in reversed(program.instructions):
        above = _shifted(one.out, size)
        below = [_shifted(view, size) for view in one.operands]
        own = []
        while following is not None and _among(following.out, below):
            if not _among(above, following.operands):
                break
            own.append(following)
            following = next(rest, None)
        found.append(own)
    if following is not None:
        raise _FormError("its backward pass does not follow its forward pass")
    return found[::-1]


def _shifted(view: View, by: int) -> View:
    return View(view.offset + by, view.strides, None if view.table is None else view.table + by)


def _among(view: View, views: Iterable[View]) -> bool:
    """Whether a view is one of these."""
    if view.table is None:
        return any(other.table is None and other == view for other in views)
    tables = [other.table for other in views if other.table is not None]
    return any(np.array_equal(view.table, table) for table in tables)


class _Body:
    """What is done in every turn of a recurrence, forward or backward, by the turn in the middle.

    Attributes:
        ones: the instructions of that turn.
        begins, steps: for each of their views the first slot, and how far it goes on by turn.
    """

    def __init__(self, ones: list[Instruction], begins: Ints, steps: Ints) -> None:
        self.ones = ones
        # Of a turn that hands nothing back, there are no instructions.
        ends = np.cumsum([len(one.views) for one in ones])
        self.begins = [some.tolist() for some in np.split(begins, ends)[:-1]]
        self.steps = [some.tolist() for some in np.split(steps, ends)[:-1]]

    def views(self) -> Iterator[tuple[Slots, int]]:
        """For each view its slots, and how far they go on by turn."""
        for one, begins, steps in zip(self.ones, self.begins, self.steps, strict=True):
            for place, (begin, step) in enumerate(zip(begins, steps, strict=True)):
                yield begin + pattern(one, place), step


class _Recurrence:
    """A run of turns that can be cut into segments, and what they touch.

    Turns count from 0; those in `range(first, end)` do the very same forward and backward. Slots
    are told relative to a turn: those of turn 0 with `step` slots for each turn taken off.

    Attributes:
        step: how many slots further on the results of a turn lie than those of the turn before.
        owner: for each slot the turn that makes it its own, -1 for all that outlive a turn.
        low, high: the first and the last slot that a turn touches of its own and earlier turns'.
        state: the slots that a segment reads of earlier ones, relative to its first turn.
        escaping: what is read of turns elsewhere, relative to them.
        fixed: inputs, parameters, and what turns read or write that outlives them.
        sums: the slots in which a turn adds up, relative to it, and what they start from.
    """

    def __init__(self, program: Program, wanted: NDArray[np.int64], run: Run, table: Ints) -> None:
        self.program, self.wanted = program, wanted
        self.size = len(program.template)
        body = program.instructions[run.start : run.start + run.period]
        self.step, shift = self._rotation(body, table)
        self.period = run.period
        self.start = run.start + shift
        self.turns = run.turns - (shift > 0)
        plain = adjoint(program, wanted)
        self.laned = plain.laned[: self.size]
        self.back = _handed_back(program, plain)
        self._find_turns(Names(plain.laned))
        self._find_owners()
        self._find_state()
        self._find_escaping()
        self._find_sums()

    def _rotation(self, body: list[Instruction], table: Ints) -> tuple[int, int]:
        """By how much results move, and with which instruction a turn begins to write its own.

        A slot that is added to again and again must be so within one turn.
        """
        starts = np.cumsum([0, *[len(one.views) for one in body]])
        steps = (table[1] - table[0])[starts[:-1]]
        weights: dict[int, int] = {}
        for one, step in zip(body, steps.tolist(), strict=True):
            weights[step] = weights.get(step, 0) + len(pattern(one, 0))
        step = max(weights, key=lambda step: weights[step] if step else 0)
        if step <= 0:
            raise _FormError("its recurrence does not go forward")
        early = np.full(self.size, np.iinfo(np.int64).max)
        late = np.full(self.size, -1)
        turns = np.arange(len(table))[:, None] * len(body)
        for place, one in enumerate(body):
            if steps[place] == step:
                slots = table[:, starts[place], None] + pattern(one, 0)
                early[slots] = np.minimum(early[slots], turns + place)
                late[slots] = np.maximum(late[slots], turns + place)
        written = late >= 0
        early, late = early[written], late[written]
        for shift in range(len(body)):
            if ((early - shift) // len(body) == (late - shift) // len(body)).all():
                return step, shift
        raise _FormError("its recurrence adds to one number in several steps")

    def turn(self, index: int) -> tuple[list[Instruction], list[Instruction]]:
        """What a turn does forward, and backward."""
        begin = self.start + index * self.period
        forward = self.program.instructions[begin : begin + self.period]
        backward = [one for own in reversed(self.back[begin : begin + self.period]) for one in own]
        return forward, backward

    def _find_turns(self, names: Names) -> None:
        """The turns that do the same as the one in the middle, each so many slots further on."""
        keys, rows = [], []
        for index in range(self.turns):
            own, begins = names.of(chain(*self.turn(index)))
            keys.append(own)
            rows.append(list(chain.from_iterable(begins)))
        self.middle = middle = self.turns // 2
        here = np.array(rows[middle])
        if keys[middle + 1] != keys[middle]:
            raise _FormError("its recurrence is too short")
        steps = np.array(rows[middle + 1]) - here
        self.first, self.end = middle, middle + 1
        while self.first and self._like(keys, rows, self.first - 1, here, steps):
            self.first -= 1
        while self.end < self.turns and self._like(keys, rows, self.end, here, steps):
            self.end += 1
        if self.end - self.first < _LEAST:
            raise _FormError("its recurrence is too short")
        forward, backward = self.turn(middle)
        cut = sum(len(one.views) for one in forward)
        self.forward = _Body(forward, here[:cut], steps[:cut])
        self.backward = _Body(backward, here[cut:], steps[cut:])

    def _like(
        self, keys: list[list[int]], rows: list[list[int]], turn: int, here: Ints, steps: Ints
    ) -> bool:
        return keys[turn] == keys[self.middle] and np.array_equal(
            rows[turn], here + (turn - self.middle) * steps
        )

    def _find_owners(self) -> None:
        """What is written by one turn alone, at the recurrence's pace."""
        elsewhere = np.zeros(self.size, dtype=bool)
        for one in self._outside():
            elsewhere[slots_of(one.out, one.shape)] = True
        self.owner = np.full(self.size, -1)
        turns = np.arange(self.first, self.end)[:, None]
        written = np.full(self.size, -1)
        for order, slots, step, place in self._forward_views():
            if not place:
                every = slots + (turns - self.middle) * step
                if step == self.step and not elsewhere[every].any():
                    self.owner[every] = turns
                else:
                    written[every] = turns * self.period + order
        # What is not computed again must have been complete when it was first read.
        for order, slots, step, place in self._forward_views():
            every = slots + (turns - self.middle) * step
            if place and (written[every] > turns * self.period + order).any():
                raise _FormError("its recurrence reads a number that later steps change")

    def _forward_views(self) -> Iterator[tuple[int, Slots, int, int]]:
        """For each view of a turn whose it is, its slots in the middle, its step, its place."""
        body = self.forward
        for order, one in enumerate(body.ones):
            for place, (begin, step) in enumerate(
                zip(body.begins[order], body.steps[order], strict=True)
            ):
                yield order, begin + pattern(one, place), step, place

    def _outside(self) -> list[Instruction]:
        """The instructions before the first and behind the last of the turns."""
        begin, end = (self.start + turn * self.period for turn in (self.first, self.end))
        sequence = self.program.instructions
        return [*sequence[:begin], *sequence[end:]]

    def owned(self, slots: Slots, step: int) -> bool:
        """Whether these slots of the turn in the middle, or their cotangents, are of some turn."""
        slots = slots % self.size
        flags = self.owner[slots] >= 0
        if step == self.step and flags.all():
            return True
        turns = np.arange(self.first, self.end)[:, None] - self.middle
        if (self.owner[slots + turns * step] >= 0).any():
            raise _FormError("its recurrence reads steps in another order than it takes them")
        return False

    def _find_state(self) -> None:
        touched, state = [], []
        self.fixed = np.zeros(self.size, dtype=bool)
        self.fixed[self.program.inputs] = self.fixed[self.program.parameters] = True
        turns = np.arange(self.first, self.end)[:, None] - self.middle
        for body in (self.forward, self.backward):
            for slots, step in body.views():
                if self.owned(slots, step):
                    here = slots % self.size
                    touched.append(here - self.step * self.middle)
                    lags = self.middle - self.owner[here]
                    for later in range(int(lags.max())):
                        behind = here[lags > later]
                        state.append(behind - self.step * (self.middle - later))
                else:
                    self.fixed[(slots + turns * step) % self.size] = True
        every = np.concatenate(touched)
        self.low, self.high = int(every.min()), int(every.max())
        self.state = np.unique(np.concatenate(state)) if state else np.zeros(0, dtype=np.int64)

    def _find_escaping(self) -> None:
        """What the rest of the program reads of turns, but for the state behind the last."""
        program = self.program
        seen = np.zeros(self.size, dtype=bool)
        for one in self._outside():
            for view in one.views:
                seen[slots_of(view, one.shape)] = True
        seen[program.outputs] = True
        seen[[slot for slot, _ in program.guards]] = True
        if (self.owner[self.wanted] >= 0).any():
            raise _FormError("a derivative by what a step of its recurrence computes is wanted")
        seen[self.state + self.step * self.end] = False
        slots = np.flatnonzero(seen & (self.owner >= 0))
        self.escaping = np.unique(slots - self.step * self.owner[slots])

    def _find_sums(self) -> None:
        begins: dict[int, float] = {}
        template = self.program.template.view(np.int64)
        turns = np.arange(self.first, self.end)[:, None] - self.middle
        for order, slots, step, place in self._forward_views():
            if not place and self.forward.ones[order].accumulate and self.owned(slots, step):
                every = template[slots + turns * step]
                if (every != every[:1]).any():
                    raise _FormError("the sums of its recurrence start from several numbers")
                numbers = self.program.template[slots].tolist()
                begins.update(zip((slots - step * self.middle).tolist(), numbers, strict=True))
        self.sums = np.array(sorted(begins), dtype=np.int64)
        self.sums_from = np.array([begins[slot] for slot in sorted(begins)])


class _Plan:
    """A recurrence cut into segments, and where everything lies.

    The arena: what outlives a turn and its cotangents; numbers that sums start from; the states;
    the cotangent of the state; the window and its cotangents.
    """

    def __init__(self, recurrence: _Recurrence, turns: int) -> None:
        self.of = of = recurrence
        self.turns = turns
        self.segments = (of.end - of.first) // turns
        self.end = of.first + turns * self.segments
        outliving = (of.owner < 0) | (of.owner >= self.end)
        self.kept = len(of.escaping)
        # What escapes has slots turn by turn, also those before and behind the segments.
        indices = np.arange(-2, of.turns + 2)[:, None]
        escaping = (of.escaping + indices * of.step).ravel()
        places = np.arange(len(escaping))
        valid = (escaping >= 0) & (escaping < of.size)
        valid[valid] = ~of.fixed[escaping[valid]]
        self.new = np.full(of.size, -1)
        outliving[escaping[valid]] = False
        count = int(outliving.sum())
        self.new[outliving] = np.arange(count)
        self.new[escaping[valid]] = count + places[valid]
        self.kept_at = count + 2 * self.kept
        self.last_state = count + len(escaping)
        state = of.state + of.step * self.end
        hidden = self.new[state] < 0
        self.new[state[hidden]] = self.last_state + np.flatnonzero(hidden)
        self.half = self.last_state + len(of.state)
        self.zero = 2 * self.half
        self.sums_from = self.zero + 1
        self.states = self.sums_from + len(of.sums)
        self.carried = self.states + (self.segments + 1) * len(of.state)
        self.window = self.carried + len(of.state)
        self.width = of.high - of.low + 1 + of.step * (turns - 1)
        self.size = self.window + 2 * self.width

    @classmethod
    def for_least(cls, recurrence: _Recurrence) -> "_Plan":
        """Segments of the length that takes least memory."""
        of = recurrence
        lag = max(1, -(-int(np.ptp(of.state) + 1) // of.step)) if len(of.state) else 1
        most = (of.end - of.first) // 2
        if lag > most:
            raise _FormError("its recurrence is too short")
        lengths = np.unique(np.geomspace(lag, most, 40).astype(int)).tolist()
        return min((cls(of, turns) for turns in lengths), key=lambda plan: plan.size)

    # … where things lie

    def _outliving(self, view: View, shape: tuple[int, ...]) -> View:
        """A view of the plain adjoint in the new arena."""
        slots = slots_of(view, shape)
        new = self._place(slots)
        if (new < 0).any():
            raise _FormError("its recurrence is read in another order")
        first = (0,) * len(shape)
        axes = np.eye(len(shape), dtype=int) * (np.array(shape) > 1)
        strides = tuple([int(new[tuple(step)] - new[first]) for step in axes])
        found = View(int(new[first]), strides)
        return found if (slots_of(found, shape) == new).all() else View(0, (), new)

    def _place(self, slots: Slots) -> Slots:
        """New slots for slots of the plain adjoint's arena, cotangents among them."""
        behind = slots >= self.of.size
        found: Slots = np.where(behind, self.half, 0) + self.new[slots % self.of.size]
        return np.where(self.new[slots % self.of.size] < 0, -1, found)

    def _moved(self, one: Instruction) -> Instruction:
        """An instruction outside of the segments."""
        out, *operands = [self._outliving(view, one.shape) for view in one.views]
        return replace(one, out=out, operands=tuple(operands))

    def _lines(self, body: _Body) -> Iterator[tuple[_Line, bool]]:
        """The instructions of a turn, and whether their results are its own."""
        of = self.of
        for one, begins, steps in zip(body.ones, body.begins, body.steps, strict=True):
            views, by_turn, by_segment = [], [], []
            own = False
            for place, (begin, step) in enumerate(zip(begins, steps, strict=True)):
                slots = begin + pattern(one, place)
                view = one.views[place]
                if of.owned(slots, step):
                    window = self.window + (self.width if begin >= of.size else 0)
                    to = window - of.low - of.step * of.middle
                    views.append(_shifted(view, to - (of.size if begin >= of.size else 0)))
                    by_turn.append(of.step)
                    by_segment.append(0)
                    own |= not place
                    continue
                first = _shifted(view, step * (of.first - of.middle))
                views.append(self._outliving(first, one.shape))
                turns = np.arange(self.end - of.first)[:, None]
                places = self._place(slots + (of.first - of.middle + turns) * step)
                move = int(places[1, 0] - places[0, 0])
                if (places != places[:1] + turns * move).any():
                    raise _FormError("what its recurrence reads moves unevenly")
                by_turn.append(move)
                by_segment.append(move * self.turns)
            moved = replace(one, out=views[0], operands=tuple(views[1:]))
            yield _Line(moved, tuple(by_turn), tuple(by_segment)), own

    def _copies(
        self,
        to: Slots,
        of: Slots,
        flags: NDArray[np.bool_],
        by_turn: tuple[int, int] = (0, 0),
        by_segment: tuple[int, int] = (0, 0),
        *,
        add: bool = False,
    ) -> list[_Line]:
        """Copy slots to others; `flags` tells which of them are laned."""
        lines = []
        for which in (flags, ~flags):
            if which.any():
                for shape, (out, read) in pieces([to[which], of[which]]):
                    one = Instruction(shape, out, 0, (read,), accumulate=add)
                    lines.append(_Line(one, by_turn, by_segment))
        return lines

    def program(self) -> Program:
        """The adjoint, segment by segment."""
        of, half, window, width = self.of, self.half, self.window, self.width
        whole = of.program
        begin, end = (of.start + turn * of.period for turn in (of.first, self.end))
        sequence = whole.instructions
        state, count = of.state, len(of.state)
        laned = self._laned()
        rows = np.arange(count)
        inside = window + state - of.low  # the state in the window, before the first turn
        onward = of.step * self.turns  # and behind the last
        flags = laned[inside]
        restore = self._copies(inside, self.states + rows, flags, by_segment=(0, count))
        save = self._copies(
            self.states + count + rows, inside + onward, flags, by_segment=(count, 0)
        )
        sums = window + of.sums - of.low
        sources = self.sums_from + np.arange(len(of.sums))
        if len(sources) and (of.sums_from == of.sums_from[0]).all():
            sources[:] = sources[0]
        reset = self._copies(sums, sources, laned[sums], by_turn=(of.step, 0))
        inner = window + of.escaping - of.low
        outer = self.kept_at + of.first * self.kept + np.arange(self.kept)
        move = (self.kept, of.step), (self.kept * self.turns, 0)
        keep = self._copies(outer, inner, laned[inner], *move)
        kept = self._copies(
            inner + width, outer + half, laned[inner], move[0][::-1], move[1][::-1], add=True
        )
        forward = list(self._lines(of.forward))
        again = [line for line, own in forward if own]
        backward = [line for line, _ in self._lines(of.backward)]
        every = window + width + np.arange(width)
        clear = self._copies(every, np.full(width, self.zero), laned[every])
        carried = self.carried + rows
        first = self.new[state + of.step * of.first]

        instructions: list[Item] = [self._moved(one) for one in sequence[:begin]]
        instructions += _ones(self._copies(self.states + rows, first, flags))
        turns = [*reset, *[line for line, _ in forward], *keep]
        instructions.append(_nested([restore, (self.turns, turns), save], self.segments))
        last = self.states + self.segments * count + rows
        instructions += _ones(self._copies(self.last_state + rows, last, flags))
        instructions += [self._moved(one) for one in sequence[end:]]
        instructions += [self._moved(one) for own in of.back[end:][::-1] for one in own]
        instructions += _ones(self._copies(carried, half + self.last_state + rows, flags))
        segment: list[list[_Line] | tuple[int, list[_Line]]] = [
            [line.last_segment(self.segments) for line in restore],
            (self.turns, [line.last_segment(self.segments) for line in [*reset, *again]]),
            [*clear, *self._copies(inside + width + onward, carried, flags)],
            (
                self.turns,
                [
                    line.last_turn(self.turns).last_segment(self.segments)
                    for line in [*kept, *backward]
                ],
            ),
            self._copies(carried, inside + width, flags),
        ]
        instructions.append(_nested(segment, self.segments))
        instructions += _ones(self._copies(half + first, carried, flags, add=True))
        instructions += [self._moved(one) for own in of.back[:begin][::-1] for one in own]

        template = np.zeros(self.size)
        placed = self.new >= 0
        template[self.new[placed]] = whole.template[placed]
        template[self.sums_from : self.states] = of.sums_from
        outputs, wanted = self.new[whole.outputs], self.new[of.wanted]
        return Program(
            template=template,
            inputs=np.concatenate([self.new[whole.inputs], half + outputs]),
            parameters=self.new[whole.parameters],
            values=whole.values,
            instructions=instructions,
            outputs=np.concatenate([outputs, half + wanted]),
            guards=[(int(self.new[slot]), number) for slot, number in whole.guards],
            laned=laned,
        )

    def _laned(self) -> NDArray[np.bool_]:
        of = self.of
        laned = np.zeros(self.size, dtype=bool)
        placed = self.new >= 0
        laned[self.new[placed]] = of.laned[placed]
        state = of.laned[of.state + of.step * of.end]
        laned[self.last_state : self.half] = state
        laned[self.half : 2 * self.half] = laned[: self.half]
        laned[self.states : self.window] = np.tile(state, self.segments + 2)
        begin = of.low + of.step * (of.end - self.turns)
        slots = np.arange(begin, begin + self.width)
        window = of.laned[np.clip(slots, 0, of.size - 1)]
        laned[self.window :] = np.concatenate([window, window])
        return laned


def _ones(lines: Iterable[_Line]) -> Iterator[Instruction]:
    return (line.one for line in lines)
