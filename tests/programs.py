"""Random array programs of whole numbers, for backends that must agree to the last bit.

Small whole numbers are added and multiplied without rounding, so two backends agree exactly,
whatever the order of their sums and whether they contract, or one of them is wrong.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

import numpy as np

from gradloom.loom.program import Body, Instruction, Program
from gradloom.loom.views import View, slots_of

SIZES = (1, 2, 2, 3, 3, 4, 5, 7, 8, 9, 15, 16, 17, 20, 33, 40)
LARGEST = 3000  # elements of an instruction
WHOLE = (-2, -1, 0, 0, 1, 2)  # so are their reciprocals, but for 2
STARTS = (-0.0, -0.0, 0.0, 1.0, -3.0)


@dataclass
class Held:
    """A value from outside."""

    data: float


def limited(body: Body) -> Body:
    """The body, moved into what can be multiplied and added up often without rounding."""
    return "max", (("min", (body, 9.0)), -9.0)


@dataclass
class Maker:
    """Makes one program, instruction by instruction.

    Attributes:
        random: what decides.
        lanes: whether numbers may be laned.
        real: whether numbers have fractions, and operations may round.
        muted: whether terms may be inf or nan, and muted.
        ordered: whether all sums are taken in order.
    """

    random: Random
    lanes: bool = False
    real: bool = False
    muted: bool = False
    ordered: bool = False
    template: list[float] = field(default_factory=list)
    laned: list[bool] = field(default_factory=list)
    instructions: list[Instruction] = field(default_factory=list)
    # Slots in a row that may be read, and whether they are laned.
    known: list[tuple[int, int, bool]] = field(default_factory=list)
    late: list[tuple[int, int, bool]] = field(default_factory=list)  # no lane may read them
    inputs: list[int] = field(default_factory=list)
    parameters: list[int] = field(default_factory=list)

    def number(self) -> float:
        """A number to compute with."""
        if self.muted and self.random.random() < 0.1:
            return self.random.choice([math.inf, -math.inf, math.nan, 0.0])
        return self.random.uniform(-2, 2) if self.real else float(self.random.choice(WHOLE))

    def slots(self, count: int, laned: bool, numbers: Callable[[], float]) -> int:
        """The first of some fresh slots."""
        first = len(self.template)
        self.template += [numbers() for _ in range(count)]
        self.laned += [laned] * count
        return first

    def begin(self, inputs: int, parameters: int, constants: int) -> None:
        """What programs start from; of the inputs a part is laned."""
        own = self.random.randint(1, inputs) if self.lanes else 0
        for count, laned in ((own, True), (inputs - own, False)):
            if count:
                first = self.slots(count, laned, lambda: 0.0)
                self.inputs += range(first, first + count)
                self.known.append((first, count, laned))
        first = self.slots(parameters, False, lambda: 0.0)
        self.parameters += range(first, first + parameters)
        self.known.append((first, parameters, False))
        self.known.append((self.slots(constants, False, self.number), constants, False))

    def shape(self) -> tuple[int, ...]:
        """A shape of up to four axes."""
        found = [
            self.random.choice(SIZES) for _ in range(self.random.choice([0, 1, 1, 2, 2, 3, 4]))
        ]
        while math.prod(found) > LARGEST:
            found[found.index(max(found))] //= 2
        return tuple(max(1, size) for size in found)

    def operand(self, shape: tuple[int, ...], laned: bool) -> View:
        """Somewhere to read from."""
        choices = [one for one in self.known if laned or not one[2]]
        if not laned and self.late and self.random.random() < 0.5:
            choices = self.late
        first, count, _ = self.random.choice(choices)
        if shape and self.random.random() < 0.12:
            size = math.prod(shape)
            table = np.array([first + self.random.randrange(count) for _ in range(size)])
            return View(0, (), table.reshape(shape).astype(np.intp))
        dense = self.random.random() < 0.6
        order = list(range(len(shape)))
        self.random.shuffle(order)
        strides, room, step = [0] * len(shape), count - 1, 1
        for axis in order:
            choices = [step] if dense else [0, 1, -1, 2, 3, step, -step, 5]
            stride = self.random.choice(choices) if self.random.random() < 0.75 else 0
            reach = abs(stride) * (shape[axis] - 1)
            if reach <= room:
                strides[axis] = stride
                room -= reach
                if stride:
                    step = max(step, abs(stride) * shape[axis])
        low = sum(
            stride * (size - 1) for stride, size in zip(strides, shape, strict=True) if stride < 0
        )
        offset = first - low + self.random.randint(0, room)
        return View(offset, tuple(strides))

    def body(self, operands: int) -> Body:
        """A body of so many operands, each at least once."""
        parts: list[Body] = list(range(operands))
        if self.random.random() < 0.3:
            parts.append(self.number() if not self.muted else 2.0)
        if operands > 3 and self.random.random() < 0.5:
            return self.random.choice(["max", "min", "sum"]), tuple(parts[:operands])
        if operands == 2 and self.random.random() < 0.5:
            return "*", (0, 1)
        while len(parts) > 1 or self.random.random() < 0.3:
            if len(parts) > 1:
                self.random.shuffle(parts)
                a, b = parts.pop(), parts.pop()
                parts.append(self.binary(a, b))
            else:
                symbols = ["neg", "abs", "square", "relu"]
                if self.real:
                    symbols = ["neg", "abs", "square", "sqrt"]
                parts = [(self.random.choice(symbols), (parts[0],))]
                if repr(parts[0]).count("square") > 1:
                    break
        return parts[0]

    def binary(self, a: Body, b: Body) -> Body:
        if self.real:
            return self.random.choice("+-*/"), (a, b)
        how = self.random.choice([*"+-***", "max", "min", "greater", "where", "nowhere"])
        if how == "where":
            return "where", (("greater", (a, 0.0)), b, ("neg", (b,)))
        if how == "nowhere":
            return "where", (("-", (1.0, ("equal", (a, b)))), a, 2.0)
        return how, (a, b)

    def out(self, shape: tuple[int, ...], laned: bool) -> tuple[View, bool]:
        """Fresh slots for results, and whether they must be added to what is there."""
        random = self.random
        order = list(range(len(shape)))
        if random.random() < 0.5:
            random.shuffle(order)
        summing = random.random() < 0.6
        overlap = summing and random.random() < 0.15
        strides, step = [0] * len(shape), random.choice([1, 1, 1, 2])
        for axis in reversed(order):
            if summing and random.random() < 0.5:
                continue
            strides[axis] = random.choice([1, 2, 3]) if overlap else step
            step = max(step * shape[axis], abs(strides[axis]) * shape[axis])
            if random.random() < 0.15:
                strides[axis] = -strides[axis]
            step += random.choice([0, 0, 0, 1])
        reach = sum(abs(s) * (n - 1) for s, n in zip(strides, shape, strict=True)) + 1
        start = random.choice(STARTS)
        varied = random.random() < 0.2
        numbers = (lambda: random.choice(STARTS)) if varied else (lambda: start)
        first = self.slots(reach, laned, numbers)
        low = sum(s * (n - 1) for s, n in zip(strides, shape, strict=True) if s < 0)
        view = View(first - low, tuple(strides))
        found = slots_of(view, shape).reshape(-1)
        if shape and random.random() < 0.1:
            table = found.copy()
            if summing:
                random.shuffle(table)
            view, found = View(0, (), table.reshape(shape).astype(np.intp)), table
        self.known.append((first, reach, laned))
        return view, summing or len(np.unique(found)) < len(found)

    def instruction(self) -> None:
        """Append an instruction."""
        random = self.random
        last = self.instructions[-1] if self.instructions else None
        # Perhaps what the last one adds to is added to once more; nobody has read it yet.
        again = last if last is not None and last.accumulate and random.random() < 0.25 else None
        shape = again.shape if again else self.shape()
        known, late = self.known, self.late
        if again:
            self.known = [one for one in known if not _holds(one, again.out, shape)]
            self.late = [one for one in late if not _holds(one, again.out, shape)]
        laned = self.lanes and random.random() < 0.75
        count = random.choice([1, 1, 2, 2, 2, 3, 4, 5])
        operands = [self.operand(shape, laned) for _ in range(count)]
        if count > 3 and random.random() < 0.6:
            operands = self.in_steps(operands[0], shape, count)
        own = any(np.array(self.laned)[slots_of(one, shape)].any() for one in operands)
        body = self.body(count)
        text = repr(body)
        operands = [one for i, one in enumerate(operands) if _mentions(body, i)]
        body = _renumbered(body)
        lane_sum = own and not self.ordered and random.random() < 0.3
        if again is not None:
            out, accumulate = again.out, True
            after = self.is_late(operands, shape)
            self.known, self.late = known, late
            if own and self.ordered and not self.laned[int(slots_of(out, shape).min())]:
                return  # sums over lanes are taken in an order of their own
            if own or after:
                self.postpone(out, shape)
        elif own and lane_sum:
            out, accumulate = self.out(shape, False)[0], True
            self.postpone(out, shape)
        else:
            out, accumulate = self.out(shape, own)
            if self.is_late(operands, shape):
                self.postpone(out, shape)
        whole = not self.muted and not self.real and not accumulate
        if (whole or "*" in text) and body != ("*", (0, 1)) and random.random() < 0.8:
            body = limited(body)
        muted: tuple[int, ...] = ()
        if self.muted:
            muted = tuple(i for i in range(len(operands)) if random.random() < 0.6)
        one = Instruction(shape, out, body, tuple(operands), accumulate, self.ordered, muted)
        self.instructions.append(one)

    def is_late(self, operands: Sequence[View], shape: tuple[int, ...]) -> bool:
        """Whether any operand depends on a sum over lanes."""
        return any(_holds(late, one, shape) for one in operands for late in self.late)

    def postpone(self, out: View, shape: tuple[int, ...]) -> None:
        """From now on these depend on sums over lanes, unless they are laned."""
        moved = [one for one in self.known if _holds(one, out, shape) and not one[2]]
        self.known = [one for one in self.known if one not in moved]
        self.late += moved

    def in_steps(self, view: View, shape: tuple[int, ...], count: int) -> list[View]:
        """Operands that lie at even steps, where there is room for them."""
        if view.table is not None:
            return [view] * count
        slots = slots_of(view, shape)
        first, size, _ = next(
            one for one in self.known + self.late if one[0] <= slots.min() < one[0] + one[1]
        )
        step = (first + size - 1 - int(slots.max())) // (count - 1)
        return [view.moved(i * step) for i in range(count)]

    def program(self) -> Program:
        """The program so far: everything that was computed comes out."""
        laned = np.array(self.laned)
        written = np.zeros(len(laned), dtype=bool)
        for one in self.instructions:
            written[slots_of(one.out, one.shape)] = True
        return Program(
            template=np.array(self.template),
            inputs=np.array(self.inputs, dtype=np.int64),
            parameters=np.array(self.parameters, dtype=np.int64),
            values=[Held(self.number()) for _ in self.parameters],
            instructions=list(self.instructions),
            outputs=np.flatnonzero(written),
            guards=[],
            laned=laned if self.lanes else np.zeros_like(laned),
        )


def _holds(region: tuple[int, int, bool], view: View, shape: tuple[int, ...]) -> bool:
    """Whether any element of a view lies in these slots."""
    slots = slots_of(view, shape)
    return bool(((slots >= region[0]) & (slots < region[0] + region[1])).any())


def _mentions(body: Body, place: int) -> bool:
    if isinstance(body, tuple):
        return any(_mentions(part, place) for part in body[1])
    return isinstance(body, int) and body == place


def _renumbered(body: Body) -> Body:
    """The body with its operands numbered anew, without gaps."""
    places: set[int] = set()

    def look(part: Body) -> None:
        if isinstance(part, tuple):
            for inner in part[1]:
                look(inner)
        elif isinstance(part, int):
            places.add(part)

    look(body)
    new = {old: i for i, old in enumerate(sorted(places))}

    def swap(part: Body) -> Body:
        if isinstance(part, tuple):
            return part[0], tuple(map(swap, part[1]))
        return new[part] if isinstance(part, int) else part

    return swap(body)


def random_program(random: Random, most: int = 8, **options: bool) -> Program:
    """A program of up to so many instructions."""
    made = Maker(random, **options)
    made.begin(random.randint(1, 60), random.randint(1, 40), random.randint(1, 60))
    for _ in range(random.randint(1, most)):
        made.instruction()
    return made.program()


@dataclass
class Recurrences:
    """Makes a program of steps in time, one number at a time, as a simulation writes them.

    Attributes:
        random: what decides.
        lanes: whether the state is laned.
        muted: whether sums mute what is inf or nan.
    """

    random: Random
    lanes: bool = False
    muted: bool = False

    def __post_init__(self) -> None:
        self.maker = Maker(self.random, lanes=self.lanes)
        self.maker.begin(self.random.randint(2, 6), 4, 4)
        self.turns = self.random.choice([3, 5, 6, 9, 12, 20, 33])
        self.series: list[list[int]] = []  # one slot a turn, all of them computed
        self.totals: list[int] = []  # numbers that every lane or all share, computed

    def single(self, laned: bool) -> int:
        """A slot that stands."""
        choices = [one for one in self.maker.known if laned or not one[2]]
        first, count, _ = self.random.choice(choices)
        return first + self.random.randrange(count)

    def block(self, columns: int, laned: bool, extra: int = 0) -> list[list[int]]:
        """Fresh slots: so many series, each with a slot for every turn."""
        count = self.turns + extra
        start = self.random.choice(STARTS)
        first = self.maker.slots(columns * count, laned, lambda: start)
        if self.random.random() < 0.5:
            return [[first + j * count + t for t in range(count)] for j in range(columns)]
        return [[first + t * columns + j for t in range(count)] for j in range(columns)]

    def given(self, laned: bool) -> list[int]:
        """A series of inputs, or of constants."""
        (found,) = self.block(1, laned)
        if laned or self.random.random() < 0.5:
            self.maker.inputs += found
        else:
            for slot in found:
                self.maker.template[slot] = self.maker.number()
        return found

    def phase(self, laned: bool, back: bool = False) -> None:
        """A recurrence of a few numbers, over time or back."""
        random, maker = self.random, self.maker
        columns = random.randint(1, 3)
        ahead = random.choice([0, 0, 2])  # whether what comes first stands beside the rest
        state = self.block(columns, laned, ahead)
        inits = [self.single(laned) for _ in range(3)]
        readable = [s for s in self.series if laned or not maker.laned[s[0]]]
        given = [self.given(False)] + ([self.given(True)] if laned else [])
        stands = [self.single(laned) for _ in range(2)]
        stands += [t for t in self.totals if not maker.laned[t] or laned]
        plans = []
        for j in range(columns):
            reads: list[tuple[Any, ...]] = []
            for _ in range(random.randint(1, 4)):
                kind = random.choice(
                    ["before", "before", "given", "stands", "now", "fixed", "older"]
                )
                if kind == "now" and j == 0:
                    kind = "before"
                reads.append((kind, random.randrange(j if kind == "now" else columns)))
            if readable and random.random() < 0.7:
                reads.append(("series", random.choice(readable), random.choice([0, 0, 0, -1, 1])))
            plans.append((reads, random.choice(given), random.choice(stands), random.randint(0, 4)))
        bodies = [limited(_product(random, len(plan[0]))) for plan in plans]
        sums = [self.plan_sum(laned) for _ in range(random.randint(0, 3))]
        last = self.turns - 1
        for turn in range(self.turns):
            time = last - turn if back else turn
            at = turn + ahead

            def earlier(j: int, by: int, at: int = at) -> int:
                return state[j][at - by] if at >= by else inits[j]

            for j, (reads, input_, stand, fixed) in enumerate(plans):
                operands = []
                for kind, *what in reads:
                    if kind == "series":
                        operands.append(what[0][min(max(time + what[1], 0), last)])
                        continue
                    (k,) = what
                    places: dict[str, Callable[[], int]] = {
                        "before": partial(earlier, k, 1),
                        "older": partial(earlier, k, 2),
                        "now": partial(state[k].__getitem__, at),
                        "given": partial(input_.__getitem__, time),
                        "stands": lambda stand=stand: stand,
                        "fixed": partial(earlier, k, at - fixed)
                        if fixed < at
                        else partial(inits.__getitem__, k),
                    }
                    operands.append(places[kind]())
                self.write(state[j][at], bodies[j], operands, accumulate=False)
            for into, body, column in sums:
                slot = into if isinstance(into, int) else into[time]
                operands = [state[column][at], given[-1][time]]
                muted = (0,) if self.muted else ()
                self.write(slot, body, operands, accumulate=True, muted=muted)
        for j in range(columns):
            row = state[j][ahead:]
            self.series.append(row[::-1] if back else row)
        self.totals += [i for i, _, _ in sums if isinstance(i, int) and maker.laned[i] == laned]

    def plan_sum(self, laned: bool) -> tuple[Any, Body, int]:
        """Where to add up what at each turn."""
        random = self.random
        own = laned and random.random() < 0.5
        body: Body = random.choice([("*", (0, 1)), 0, ("*", (("square", (0,)), 1)), ("+", (0, 1))])
        if self.muted:
            body = ("*", (0, ("reciprocal", (1,))))
        into: Any = self.maker.slots(1, own, lambda: random.choice(STARTS))
        if random.random() < 0.3:
            (into,) = self.block(1, own)
        return into, body, 0

    def write(
        self,
        out: int,
        body: Body,
        operands: Sequence[int],
        *,
        accumulate: bool,
        muted: tuple[int, ...] = (),
    ) -> None:
        """Append an instruction on single numbers."""
        used = [i for i in range(len(operands)) if _mentions(body, i)]
        views = tuple([View(operands[i], ()) for i in used])
        kept = tuple([used.index(i) for i in muted if i in used])
        one = Instruction((), View(out, ()), _renumbered(body), views, accumulate, False, kept)
        self.maker.instructions.append(one)


def _product(random: Random, operands: int) -> Body:
    found: Body = 0
    for i in range(1, operands):
        found = random.choice(["+", "-", "*", "+"]), (found, i)
    return found


def random_recurrence(random: Random, *, lanes: bool = False, muted: bool = False) -> Program:
    """A program of a few recurrences, one after the other."""
    made = Recurrences(random, lanes, muted)
    for _ in range(random.randint(1, 3)):
        laned = lanes and random.random() < 0.85
        made.phase(laned, back=random.random() < 0.4)
    return made.maker.program()


def plain_program(template: Sequence[float], *instructions: Any) -> Program:
    """A program without inputs of which all slots come out."""
    nothing = np.zeros(0, dtype=np.int64)
    return Program(
        template=np.array(template),
        inputs=nothing,
        parameters=nothing,
        values=[],
        instructions=list(instructions),
        outputs=np.arange(len(template)),
        guards=[],
        laned=np.zeros(len(template), dtype=bool),
    )
