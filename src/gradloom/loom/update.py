"""What an optimizer does to parameters, as instructions.

An optimizer's rule is a function of one number, its gradient, what is remembered of it, and a few
rates that change from step to step. Run once on sketches it gives a body for each number that it
changes, and with that an instruction over all parameters, which puts the results where the numbers
stood. So numbers and memory stay in the arena from step to step. Penalties and the clipping of
gradients come before as instructions too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gradloom.core import ops
from gradloom.loom.bodies import Sketch
from gradloom.loom.bodies import _renumbered as renumbered
from gradloom.loom.program import Body, Instruction, Program
from gradloom.loom.views import Slots, View, pieces

# From symbols for the rates, and what has functions of symbols, to a function of a number, its
# gradient, and what is remembered of it, to what they become: `gradloom.nn.Optimizer.rule`.
MakeRule = Callable[[Sequence[Any], Any], Callable[..., tuple[Any, ...]]]

NUMBER, GRADIENT, MEMORY = 0, 1, 2  # places of operands; behind what is remembered come the rates


class OutOfOrderError(Exception):
    """A rule that needs what it has replaced."""


class Change(NamedTuple):
    """What becomes of one of the numbers: its place, and a body of the numbers in all places, as
    they are after the changes before this one."""

    place: int
    body: Body


def changes(make: MakeRule, memory: int, rates: int) -> list[Change]:
    """The changes that a rule makes, in the order in which they are to be made.

    Args:
        make: the rule, to be run on sketches.
        memory: how many numbers are remembered of each parameter.
        rates: how many change from step to step.

    Raises:
        OutOfOrderError: a change needs an old number that a change before it has replaced.

    >>> def heavy_ball(rates, of):
    ...     def move(x, g, v):
    ...         v = 0.5 * v + g
    ...         return x - rates[0] * v, v
    ...     return move
    >>> for change in changes(heavy_ball, 1, 1):
    ...     print(*change)
    2 ('+', (('*', (0.5, 2)), 1))
    0 ('-', (0, ('*', (3, 2))))
    """
    behind = MEMORY + memory
    symbols = [Sketch(place) for place in range(behind + rates)]
    rule = make(symbols[behind:], ops)
    number, *remembered = [
        x.body if isinstance(x, Sketch) else float(x) for x in rule(*symbols[:behind])
    ]
    new: dict[int, int] = {}  # the bodies of numbers that are in their places by then
    found = []
    for place, body in [*enumerate(remembered, MEMORY), (NUMBER, number)]:
        if isinstance(body, int) and body == place:
            continue
        found.append(Change(place, _with_new(body, new)))
        new[id(body)] = place
    return found


def _with_new(body: Body, new: dict[int, int]) -> Body:
    """The body with what has been computed already read from where it is."""
    if isinstance(body, tuple):
        if id(body) in new:
            return new[id(body)]
        return body[0], tuple([_with_new(part, new) for part in body[1]])
    if isinstance(body, int) and body in new.values():
        raise OutOfOrderError(f"what stood in place {body} is needed after it has been replaced")
    return body


def update(changes: Sequence[Change], slots: Sequence[Slots], rates: int) -> list[Instruction]:
    """The instructions that make changes to parameters, all of them at once.

    Args:
        changes: what is done to each.
        slots: where the numbers stand, their gradients, and each of what is remembered of them.
        rates: the slot of the first rate; the others follow.

    >>> one = Change(0, ("-", (0, ("*", (2, 1)))))
    >>> print(*update([one], [np.arange(5), np.arange(10, 15)], 20))
                 5  @0(1) = (@0(1) - (@20(0) * @10(1)))
    """
    found = []
    for shape, views in pieces(slots):
        for place, body in changes:
            order: dict[int, int] = {}
            body = renumbered(body, order)
            operands = [
                views[i] if i < len(views) else View(rates + i - len(views), (0,) * len(shape))
                for i in order
            ]
            found.append(Instruction(shape, views[place], body, tuple(operands), accumulate=False))
    return found


@dataclass(frozen=True, slots=True)
class Before:
    """What is to be done to a gradient before the update.

    Attributes:
        clip_value: its entries are moved into [-clip_value, clip_value].
        clip_norm: then it is shortened to this length, if it is longer.
        measured: its length is wanted.
        penalty: a program whose gradient is added first, with no inputs left to be filled in.
        slopes: the slots of that gradient.
        places: which parameters the penalty's are.
    """

    clip_value: float | None = None
    clip_norm: float | None = None
    measured: bool = False
    penalty: Program | None = None
    slopes: Slots | None = None
    places: Slots | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """An update in the arena of a program that leaves a gradient there, which is made longer.

    Attributes:
        prepare: what is done to the gradient, if anything.
        update: what is done to the parameters.
        source: the slots of the gradient as the program leaves it.
        numbers, gradient: the slots of the parameters and of the gradient that the update takes.
        memory: the slots of all that is remembered.
        rates: the slot of the first rate.
        squares, norm: the slots of the gradient's squared length and of its length before it is
            shortened; None where that is not needed.
    """

    prepare: Program | None
    update: Program
    source: Slots
    numbers: Slots
    gradient: Slots
    memory: list[Slots]
    rates: int
    squares: int | None
    norm: int | None


def plan(
    program: Program,
    numbers: Slots,
    gradient: Slots,
    changes: Sequence[Change],
    memory: int,
    rates: int,
    before: Before,
) -> Plan:
    """The update that follows a program.

    Args:
        program: leaves the gradient in its arena.
        numbers, gradient: the slots of each parameter and of its gradient; -1 for one that the
            program does not read.
        changes, memory, rates: the rule, as `changes` gives it, and how much it remembers.
        before: what is done to the gradient first.
    """
    return _Planner(program, numbers, gradient, changes, before).plan(memory, rates)


class _Planner:
    """Makes one plan; see `plan`."""

    def __init__(
        self,
        program: Program,
        numbers: Slots,
        gradient: Slots,
        changes: Sequence[Change],
        before: Before,
    ) -> None:
        self.parts: list[Any] = [program.template]
        self.size = len(program.template)
        self.changes, self.before = changes, before
        self.source = gradient[gradient >= 0]
        unread = np.flatnonzero(numbers < 0)
        numbers, gradient = numbers.copy(), gradient.copy()
        numbers[unread] = self._take(len(unread))
        gradient[unread] = self._take(len(unread))
        self.numbers = numbers
        # All that is new is laid out as the numbers are, so that every list is one view.
        self.order = np.argsort(numbers, kind="stable")
        self.now = gradient[self.order]
        self.own: Slots | None = None
        self.steps: list[Instruction] = []

    def plan(self, memory: int, rates: int) -> Plan:
        count = len(self.numbers)
        sorted_numbers = self.numbers[self.order]
        first_rate = int(self._take(rates)[0]) if rates else 0
        kept = [self._take(count) for _ in range(memory)]
        squares, norm = self._prepare()
        made = update(self.changes, [sorted_numbers, self.now, *kept], first_rate)
        measured = [] if squares is None or norm is None else [np.array([squares, norm])]
        return Plan(
            self._program(self.steps, [self.now, *measured]) if self.steps else None,
            self._program(made, [sorted_numbers, *kept]),
            self.source,
            self.numbers,
            self._unsorted(self.now),
            [self._unsorted(slots) for slots in kept],
            first_rate,
            squares,
            norm,
        )

    def _prepare(self) -> tuple[int | None, int | None]:
        """Write down what is done to the gradient."""
        before = self.before
        if before.penalty is not None:
            self._penalize(before.penalty)
        if before.clip_value is not None:
            limit = before.clip_value
            self._change(("min", (("max", (0, -limit)), limit)))
        if not before.measured and before.clip_norm is None:
            return None, None
        squares, norm, factor = map(int, self._take(3))
        for shape, (view,) in pieces([self.now]):
            total = View(squares, (0,) * len(shape))
            self.steps.append(
                Instruction(shape, total, ("*", (0, 1)), (view, view), accumulate=True)
            )
        self._one(("sqrt", (0,)), norm, squares)
        if before.clip_norm is not None:
            limit, longer = before.clip_norm, ("+", (0, 1e-6))
            fits = ("less_equal", (longer, limit))
            self._one(("where", (fits, 1.0, ("/", (limit, longer)))), factor, norm)
            self._change(("*", (0, 1)), factor)
        return squares, norm

    def _penalize(self, penalty: Program) -> None:
        """Run the penalty on the parameters, and add its gradient."""
        assert self.before.slopes is not None
        assert self.before.places is not None
        begin = self.size
        self.parts.append(penalty.template)
        self.size += len(penalty.template)
        places = self.before.places
        self._put(0, penalty.parameters + begin, self.numbers[places])
        for one in penalty.flat:
            self.steps.append(one.moved([begin] * len(one.views)))
        self._change(0)
        target = self._unsorted(self.now)[places]
        self._put(0, target, self.before.slopes + begin, accumulate=True)

    def _change(self, body: Body, *more: int) -> None:
        """The gradient becomes a body of itself and of some slots; the program's own stays."""
        if self.own is None:
            self.own = self._take(len(self.now))
        for shape, (out, view) in pieces([self.own, self.now]):
            still = (0,) * len(shape)
            views = (view, *[View(slot, still) for slot in more])
            self.steps.append(Instruction(shape, out, body, views, accumulate=False))
        self.now = self.own

    def _put(self, body: Body, into: Slots, *of: Slots, accumulate: bool = False) -> None:
        for shape, (out, *views) in pieces([into, *of]):
            self.steps.append(Instruction(shape, out, body, tuple(views), accumulate))

    def _one(self, body: Body, into: int, of: int) -> None:
        """A body of a single number."""
        one = Instruction((), View(into, ()), body, (View(of, ()),), accumulate=False)
        self.steps.append(one)

    def _take(self, count: int) -> Slots:
        """New slots, of zeros."""
        found = np.arange(self.size, self.size + count)
        self.parts.append(np.zeros(count))
        self.size += count
        return found

    def _unsorted(self, slots: Slots) -> Slots:
        found = np.empty_like(slots)
        found[self.order] = slots
        return found

    def _program(self, steps: list[Instruction], outputs: list[Slots]) -> Program:
        nothing = np.zeros(0, dtype=np.int64)
        template = np.concatenate(self.parts)
        return Program(
            template=template,
            inputs=nothing,
            parameters=nothing,
            values=[],
            instructions=steps,
            outputs=np.concatenate(outputs).astype(np.int64),
            guards=[],
            laned=np.zeros(len(template), dtype=bool),
        )
