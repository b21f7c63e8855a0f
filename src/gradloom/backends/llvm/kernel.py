"""An instruction as loops over vectors: the kernel, in a form that serves at any offset.

What an instruction does is told by its shape, its strides and its body; where it does it, by
pointers. So two instructions that differ in their offsets share one kernel, and are compiled once.

A kernel is one nest of loops:

    for the outer axes, a tile of rows at a time, a few vectors at a time:
        begin a register for each row and vector of the tile
        for the axes that are summed over:
            load, compute, add to the registers
        store

One axis lies along the vectors: one that the results follow without gaps, so that a register holds
several results; or one that is summed over, so that it holds several parts of a sum. `plan` picks
it by counting loads. Rows share what they load: a product of matrices reads a vector once and
multiplies it with several numbers.
"""

import functools
import itertools
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

from gradloom.backends.llvm.elementary import FUNCTIONS
from gradloom.backends.llvm.ir import Arithmetic, Writer, literal
from gradloom.backends.llvm.target import Target
from gradloom.loom.program import Body

LANE = -1  # the size of the lane axis: known when it runs


@dataclass(frozen=True, slots=True)
class Access:
    """How an operand is walked through: a stride for each axis, in numbers.

    Attributes:
        strides: how many numbers further each axis goes; 0 for a broadcast or a sum.
        scale: 0 where these strides say all. Else they lead through a table of slots, and a slot is
            so many numbers wide.
        plain: the strides of the axes that go on from what a table points at.
    """

    strides: tuple[int, ...]
    scale: int = 0
    plain: tuple[int, ...] = ()

    @property
    def own(self) -> tuple[int, ...]:
        """The strides of the axes that need no table."""
        return self.plain if self.scale else self.strides


@dataclass(frozen=True, slots=True)
class Kernel:
    """An instruction without its place.

    Attributes:
        shape: the sizes of the loop, outermost first; `LANE` as the last is that of the lanes.
        out: how the results are laid.
        body: what is computed of the operands.
        operands: how they are walked through.
        start: None where the results are stored; "add" where they are added to what is there; a
            number where they are added to that, whatever is there.
        ordered: sums are added up in the order of the loop, from what they start with.
        muted: operands of which a 0 makes what is inf or nan 0.
        overlap: several elements may be added to one place at different turns.
        fold: of how many numbers the body's one operation is taken, if they lie at even steps: then
            the one operand is the first of them, and `step` leads to the next.
    """

    shape: tuple[int, ...]
    out: Access
    body: Body
    operands: tuple[Access, ...]
    start: str | float | None
    ordered: bool = False
    muted: tuple[int, ...] = ()
    overlap: bool = False
    fold: int = 0
    step: int = 0

    @property
    def key(self) -> Hashable:
        """What tells it from others: to Python 1 equals 1.0, and 0.0 equals -0.0."""
        return self, repr(self.body), repr(self.start)

    @property
    def size(self) -> int:
        """How many elements it has, in one vector of lanes; without lanes at all."""
        return math.prod(abs(size) for size in self.shape)

    @property
    def laned(self) -> bool:
        """Whether the last axis is that of the lanes."""
        return bool(self.shape) and self.shape[-1] == LANE

    @property
    def accesses(self) -> tuple[Access, ...]:
        """The results', then the operands'."""
        return (self.out, *self.operands)

    @property
    def summed(self) -> list[int]:
        """The axes that are summed over."""
        if self.start is None:
            return []
        out = self.out
        found = [
            i
            for i, stride in enumerate(out.own)
            if stride == 0 and not (out.scale and out.strides[i])
        ]
        if self.ordered and (out.scale or self.overlap):  # only the lanes may be
            return [i for i in found if self.shape[i] == LANE]
        return found


def normal(kernel: Kernel) -> tuple[Kernel, list[int]]:
    """The kernel with as few axes as can be, and how far the pointers of its accesses move.

    Axes of one step go; an axis that nobody walks upwards is turned round; and two axes that
    everybody walks as one become one.

    >>> row = Access((8, 1)); back = Access((8, -1))
    >>> normal(Kernel((4, 8), row, 0, (row,), None))[0].shape
    (32,)
    >>> normal(Kernel((4, 8), Access((1, 0)), 0, (back,), 0.0))[1]
    [0, -7]
    """
    shape, moved = list(kernel.shape), [0] * (1 + len(kernel.operands))
    strides = [list(access.strides) for access in kernel.accesses]
    lane = kernel.laned
    plain = [list(access.plain) for access in kernel.accesses if access.scale]
    tables = bool(plain)
    if not kernel.ordered and not tables:
        for axis, size in enumerate(shape):
            ways = [row[axis] for row in strides]
            if size > 1 and (ways[0] < 0 or (ways[0] == 0 and sum(map(_sign, ways)) < 0)):
                for i, row in enumerate(strides):
                    moved[i] += row[axis] * (size - 1)
                    row[axis] = -row[axis]
    keep = [i for i, size in enumerate(shape) if size != 1]
    axes: list[int] = []
    for axis in keep:
        last = axes[-1] if axes else None
        if (
            last is not None
            and not (lane and axis == len(shape) - 1)
            and all(row[last] == row[axis] * shape[axis] for row in [*strides, *plain])
        ):
            shape[axis] *= shape[last]
            axes[-1] = axis
        else:
            axes.append(axis)
    accesses = [
        replace(
            access,
            strides=tuple([row[i] for i in axes]),
            plain=tuple([access.plain[i] for i in axes]) if access.scale else (),
        )
        for access, row in zip(kernel.accesses, strides, strict=True)
    ]
    small = replace(
        kernel,
        shape=tuple(shape[i] for i in axes),
        out=accesses[0],
        operands=tuple(accesses[1:]),
    )
    return small, moved


def _sign(x: int) -> int:
    return (x > 0) - (x < 0)


@dataclass(slots=True)
class Plan:
    """How a kernel is run.

    Attributes:
        axis: the axis along the vectors; None for numbers one by one.
        width: numbers in a vector.
        row: the axis of which a tile has several; None for one.
        rows: how many.
        vectors: how many vectors of the axis a tile has.
        cost: roughly how many instructions it takes.
        packed: operands that are first copied, so that they lie without gaps along the axis.
    """

    axis: int | None
    width: int
    row: int | None = None
    rows: int = 1
    vectors: int = 1
    cost: float = 0.0
    packed: tuple[int, ...] = ()


def plan(kernel: Kernel, target: Target, bits: int) -> Plan:
    """The cheapest way to run a kernel that is in normal form.

    >>> machine = Target("", "", "", vector=512, registers=32)
    >>> x = Access((16, 0, 1)); w = Access((0, 16, 1)); out = Access((16, 1, 0))
    >>> product = Kernel((100, 16, 16), out, ("*", (0, 1)), (x, w), 0.0)
    >>> chosen = plan(product, machine, 64)
    >>> chosen.axis, chosen.packed, chosen.row, chosen.vectors
    (1, (1,), 0, 2)
    """
    most = target.width(bits)
    if kernel.laned:
        best = Plan(len(kernel.shape) - 1, most)
    else:
        best = _scalar(kernel)
        for axis in range(len(kernel.shape)):
            found = _along(kernel, axis, most)
            if found is not None and found.cost < best.cost:
                best = found
    _tile(kernel, best, target)
    return best


def _weight(body: Body) -> float:
    """Roughly how many instructions a body takes."""
    if not isinstance(body, tuple):
        return 0.0
    symbol, parts = body
    own = 1.0 if symbol in _LIGHT else 6.0 if symbol in _MIDDLE else 20.0
    return own + sum(map(_weight, parts))


_LIGHT = {"+", "-", "*", "neg", "abs", "square", "greater", "less_equal", "equal", "where", "relu",
          "detach", "max", "min", "sum", "sign", "leaky_relu", "floor", "ceil"}  # fmt: skip
_MIDDLE = {"/", "sqrt", "reciprocal"}


def _scalar(kernel: Kernel) -> Plan:
    loads = sum(2.5 if access.scale else 1.0 for access in kernel.operands)
    body = _weight(kernel.body) + (0 if kernel.start is None else 1)
    return Plan(None, 1, cost=math.prod(kernel.shape) * (loads + max(1.0, body)) * 1.2)


def _along(kernel: Kernel, axis: int, most: int) -> Plan | None:
    """The plan with this axis along the vectors; None if that cannot be."""
    size = kernel.shape[axis]
    summed = kernel.summed
    step = kernel.out.own[axis]
    if (kernel.out.scale and kernel.out.strides[axis]) or most == 1 or size == 1:
        return None
    if axis in summed:
        if kernel.ordered or kernel.overlap:
            return None
    elif step != 1 or (kernel.ordered and kernel.overlap):
        return None
    width = min(most, 1 << (size - 1).bit_length())
    total = math.prod(kernel.shape)
    turns = total // size * -(-size // width)
    outputs = math.prod(n for i, n in enumerate(kernel.shape) if i not in summed)
    cost = turns * (_weight(kernel.body) + (0 if kernel.start is None else 1))
    packed = []
    for place, access in enumerate(kernel.operands):
        stride = access.own[axis]
        if access.scale and access.strides[axis]:
            cost += turns * width * 2.5
            continue
        cost += 2.0 * turns if access.scale else 0.0
        if stride in (0, 1, -1):
            cost += turns * (0.5 if stride == 0 else 1.0)
        elif access.scale:
            cost += turns * width * 1.3
        else:
            gathered = turns * width * 1.3
            footprint = math.prod(n for n, s in zip(kernel.shape, access.strides, strict=True) if s)
            copied = footprint * 2.0 + turns
            # What is folded lies at other places too.
            if copied < gathered and not kernel.overlap and not kernel.fold:
                packed.append(place)
                gathered = copied
            cost += gathered
    if axis in summed:
        cost += outputs * 8.0
    else:
        cost += turns * outputs / total * (1.0 if kernel.start is None else 2.0)
    return Plan(axis, width, cost=cost, packed=tuple(packed))


def _tile(kernel: Kernel, chosen: Plan, target: Target) -> None:
    """Choose how many rows and vectors a tile has."""
    axis, summed = chosen.axis, kernel.summed
    if kernel.overlap:
        return
    # Registers for sums, beside those for what is loaded.
    room = 24 if target.registers >= 32 else 10
    if not summed:
        if axis is not None and axis not in summed and _weight(kernel.body) <= 4:
            chosen.vectors = 1 if kernel.laned else min(4, -(-kernel.shape[axis] // chosen.width))
        return
    if axis is not None and axis not in summed and not kernel.laned:
        vectors = -(-kernel.shape[axis] // chosen.width)
        chosen.vectors = next(
            v for v in (4, 3, 2, 1) if v <= vectors and (vectors % v == 0 or v < 3)
        )
    if kernel.out.scale:
        return
    rows = [i for i in range(len(kernel.shape)) if i != axis and i not in summed]
    if not rows or _weight(kernel.body) > 8:
        return

    def shared(row: int) -> int:
        return sum(access.strides[row] == 0 for access in kernel.operands)

    chosen.row = max(rows, key=lambda row: (shared(row), kernel.shape[row]))
    size = kernel.shape[chosen.row]
    limit = max(1, min(size, room // chosen.vectors, 16))
    even = [n for n in range(limit, max(1, limit // 2) - 1, -1) if size % n == 0]
    chosen.rows = even[0] if even else limit


class Place(NamedTuple):
    """Where an access stands.

    Attributes:
        pointer: a register; through a table, what the table points at is counted from it.
        offset: so many numbers further on.
        row: through a table, the register of the index into it.
        entry: so many entries further on.
    """

    pointer: str
    offset: int = 0
    row: str = ""
    entry: int = 0


# Adds a function, by a key, with its parameters, its lines and its result.
Outline: TypeAlias = Callable[[Hashable, list[str], Callable[[], Writer], str], str]

_FEW = 4096  # elements


class Emitter:
    """Writes one kernel.

    Args:
        writer: where to.
        kernel: in normal form.
        chosen: its plan.
        target, bits: for which machine, and how many bits a number has.
        strict: nothing is contracted.
        count: the register that holds the number of lanes.
        outline: adds a function to the module, once for each key, and returns its name.
        often: turns of the loops around the kernel.
        careful: what is muted is looked at term by term; else only where a sum is inf or nan.
    """

    def __init__(
        self,
        writer: Writer,
        kernel: Kernel,
        chosen: Plan,
        target: Target,
        bits: int = 64,
        *,
        strict: bool = False,
        count: str = "",
        outline: Outline | None = None,
        often: int = 1,
        careful: bool = False,
    ) -> None:
        self.w, self.kernel, self.plan = writer, kernel, chosen
        self.outline, self.often = outline, often
        tables = any(access.scale for access in kernel.accesses)
        self.careful = careful or outline is None or tables or kernel.ordered or not kernel.summed
        self.target, self.bits, self.strict = target, bits, strict
        self.count = count
        self.vector, self.one = (
            Arithmetic(writer, width, bits, fused=target.fused, rounds=target.rounds)
            for width in (chosen.width, 1)
        )
        self.tables: list[str] = []
        self._slow = ""  # the function that does a tile number by number

    def write(self, pointers: Sequence[str], tables: Sequence[str] = ()) -> None:
        """All loops.

        Args:
            pointers: registers of where the results and the operands begin.
            tables: of the tables of those accesses that have one, in order.
        """
        given = iter(tables)
        self.tables = [next(given) if access.scale else "" for access in self.kernel.accesses]
        places = [Place(pointer) for pointer in pointers]
        kernel, chosen = self.kernel, self.plan
        inner = {*kernel.summed, chosen.axis}
        outer = [i for i in range(len(kernel.shape)) if i not in inner and i != chosen.row]
        self._outer(places, outer)

    def _outer(self, places: list[Place], axes: list[int]) -> None:
        if axes:
            for at in self._turns(places, axes[0], self.kernel.shape[axes[0]]):
                self._outer(at, axes[1:])
            return
        row = self.plan.row
        if row is None:
            self._vectors(places, 1)
            return
        size, rows = self.kernel.shape[row], self.plan.rows
        for at in self._turns(places, row, size // rows, rows):
            self._vectors(at, rows)
        if size % rows:
            self._vectors(self._shifted(places, row, size - size % rows), size % rows)

    def _vectors(self, places: list[Place], rows: int) -> None:
        """All vectors along the axis, a few at a time, for some rows."""
        axis, width = self.plan.axis, self.plan.width
        if axis is None or axis in self.kernel.summed:
            self._block(places, rows, 1, 0)
            return
        size, some = self.kernel.shape[axis], self.plan.vectors
        if size == LANE:
            up = self.w.assign(f"add nuw nsw i64 {self.count}, {width - 1}")
            turns = self.w.assign(f"udiv i64 {up}, {width}")
            with self.w.loop(turns) as turn:
                self._block(self._moved(places, axis, turn.index, width), rows, 1, 0)
            return
        whole, tail = divmod(size, width)
        for at in self._turns(places, axis, whole // some, some * width):
            self._block(at, rows, some, 0)
        done = whole // some * some
        left = whole - done + (tail > 0)
        if left:
            self._block(self._shifted(places, axis, done * width), rows, left, tail)

    def _turns(
        self, places: list[Place], axis: int, count: int, step: int = 1
    ) -> Iterator[list[Place]]:
        """The places at each turn of a loop; to be used by a `for`, whose body is written once."""
        if count == 1:
            yield places
        elif count > 1:
            with self.w.loop(count) as turn:
                yield self._moved(places, axis, turn.index, step)

    def _moved(self, places: list[Place], axis: int, index: str, step: int = 1) -> list[Place]:
        """The places so many steps along an axis."""
        known: dict[int, str] = {}

        def times(stride: int) -> str:
            if stride not in known:
                known[stride] = (
                    index if stride == 1 else self.w.assign(f"mul nsw i64 {index}, {stride}")
                )
            return known[stride]

        found = []
        for access, place in zip(self.kernel.accesses, places, strict=True):
            if own := access.own[axis] * step:
                pointer = self.w.assign(
                    f"getelementptr inbounds {self.one.real}, ptr {place.pointer}, i64 {times(own)}"
                )
                place = place._replace(pointer=pointer)
            if access.scale and (entries := access.strides[axis] * step):
                ahead = times(entries)
                if place.row:
                    ahead = self.w.assign(f"add nsw i64 {place.row}, {ahead}")
                place = place._replace(row=ahead)
            found.append(place)
        return found

    def _shifted(self, places: list[Place], axis: int, steps: int) -> list[Place]:
        return [
            place._replace(
                offset=place.offset + access.own[axis] * steps,
                entry=place.entry + (access.strides[axis] * steps if access.scale else 0),
            )
            for access, place in zip(self.kernel.accesses, places, strict=True)
        ]

    # One tile

    def _block(self, places: list[Place], rows: int, vectors: int, tail: int) -> None:
        """Some rows of some vectors; of the last vector only `tail` numbers, unless that is 0."""
        kernel, axis = self.kernel, self.plan.axis
        if kernel.start is None or not kernel.summed:
            for spot, _, _, part in self._tile_of(places, rows, vectors, tail):
                self._single(spot, part)
            return
        inside = axis is not None and axis in kernel.summed
        begin = self._begin(places, rows, vectors, tail, inside)
        sums = self._sum(places, list(kernel.summed), begin, rows, vectors, tail)

        def finish() -> None:
            tile = self._tile_of(places, rows, vectors, tail)
            for (spot, _, _, part), total in zip(tile, sums, strict=True):
                self._finish(spot, total, part, inside)

        if not kernel.muted or self.careful:
            finish()
            return
        # A term that is inf or nan makes the sum so: only then look at what is muted.
        with self.w.choose(self._odd(sums)) as otherwise:
            self._call_careful(places, rows, vectors, tail, inside)
            otherwise()
            finish()

    def _odd(self, sums: Sequence[str]) -> str:
        """Whether any sum is inf or nan."""
        a, w = self.vector, self.w
        zero = a.number(0.0)
        total = a.mul(sums[0], zero)
        for one in sums[1:]:
            total = a.add(total, a.mul(one, zero)) if self.strict else a.fma(one, zero, total)
        odd = a.compare("uno", total, zero)
        if a.width == 1:
            return odd
        kind = f"llvm.vector.reduce.or.v{a.width}i1"
        w.declared.add(f"declare i1 @{kind}({a.truth})")
        return w.assign(f"call i1 @{kind}({a.truth} {odd})")

    def _call_careful(
        self, places: list[Place], rows: int, vectors: int, tail: int, inside: bool
    ) -> None:
        """Call the function that does a tile number by number, and minds what is muted."""
        assert self.outline is not None
        if not self._slow:
            self._slow = self._written_careful(inside)
        width, w = self.plan.width, self.w
        columns = "1" if inside else str((vectors - (tail > 0)) * width + tail)
        given = [self._ahead(place.pointer, place.offset) for place in places]
        pointers = "".join(f"ptr {pointer}, " for pointer in given)
        lanes = self.count if self.kernel.laned else "0"
        w.line(f"call void @{self._slow}({pointers}i64 {rows}, i64 {columns}, i64 {lanes})")

    def _written_careful(self, inside: bool) -> str:
        assert self.outline is not None
        names = [f"%p{i}" for i in range(len(self.kernel.accesses))]
        parameters = [*[f"ptr {name}" for name in names], "i64 %rows", "i64 %columns", "i64 %count"]
        lines = functools.partial(self._careful_lines, names, inside)
        key = "careful", self.kernel.key, self.plan.axis, self.plan.row
        return self.outline(key, parameters, lines, "void")

    def _careful_lines(self, names: list[str], inside: bool) -> Writer:
        w = Writer()
        slow = Emitter(
            w,
            self.kernel,
            Plan(None, 1),
            self.target,
            self.bits,
            strict=self.strict,
            count="%count",
            careful=True,
        )
        at = [Place(name) for name in names]
        axis, row = self.plan.axis, self.plan.row
        with w.loop("%rows") as turn, w.loop("%columns") as column:
            if row is not None:
                at = slow._moved(at, row, turn.index)
            if axis is not None and not inside:
                at = slow._moved(at, axis, column.index)
            slow._block(at, 1, 1, 0)
        w.line("ret void")
        return w

    def _tile_of(
        self, places: list[Place], rows: int, vectors: int, tail: int
    ) -> Iterator[tuple[list[Place], int, int, int]]:
        """Each vector of a tile: its places, row, number, and how many numbers count (0: all)."""
        row, axis = self.plan.row, self.plan.axis
        for i, v in itertools.product(range(rows), range(vectors)):
            spot = self._shifted(places, row, i) if row is not None and i else places
            if v and axis is not None:
                spot = self._shifted(spot, axis, v * self.plan.width)
            yield spot, i, v, tail if v == vectors - 1 else 0

    def _single(self, places: list[Place], part: int) -> None:
        """A vector of results without a sum."""
        if self.kernel.fold:
            value = self._folded(places[1], part)
        else:
            loads = [self._load(i + 1, place, part) for i, place in enumerate(places[1:])]
            value = self._value(loads)
        start = self.kernel.start
        if start == "add":
            value = self.vector.add(self._load(0, places[0], part), value)
        elif isinstance(start, float) and not _is_minus_zero(start):
            value = self.vector.add(self.vector.number(start), value)
        self._store(places[0], value, part)

    def _folded(self, place: Place, part: int) -> str:
        """An operation of many numbers, one after another."""
        a, kernel = self.vector, self.kernel
        assert isinstance(kernel.body, tuple)
        symbol = kernel.body[0]

        def turns(first: int, begin: str, further: Callable[[str, str], str]) -> str:
            with self.w.loop(kernel.fold, [(a.real, begin)], start=first) as turn:
                ahead = self.w.assign(f"mul nsw i64 {turn.index}, {kernel.step}")
                at = self.w.assign(
                    f"getelementptr inbounds {self.one.real}, ptr {place.pointer}, i64 {ahead}"
                )
                found = self._load(1, place._replace(pointer=at), part)
                turn.next = [further(turn.carried[0], found)]
            return turn.next[0]

        if symbol == "sum":
            return turns(0, a.number(0.0), a.add)
        best = "max" if symbol == "logsumexp" else symbol
        largest = turns(1, self._load(1, place, part), functools.partial(FUNCTIONS[best], a))
        if symbol != "logsumexp":
            return largest
        exp, log = map(self.evaluator([]).function, ("exp", "log"))
        total = turns(0, a.number(0.0), lambda total, x: a.add(total, exp(a.sub(x, largest))))
        finite = a.compare("olt", a.abs(largest), a.number(math.inf))
        return a.select(finite, a.add(log(total), largest), largest)

    def _begin(
        self, places: list[Place], rows: int, vectors: int, tail: int, inside: bool
    ) -> list[str]:
        """What the sums start with."""
        start = self.kernel.start
        if inside:  # what was there comes last
            return [self.vector.number(-0.0)] * (rows * vectors)
        if self.kernel.ordered and start == "add":
            return [self._load(0, spot[0], part) for spot, _, _, part in
                    self._tile_of(places, rows, vectors, tail)]  # fmt: skip
        number = start if isinstance(start, float) else -0.0
        return [self.vector.number(number)] * (rows * vectors)

    def _sum(
        self,
        places: list[Place],
        axes: list[int],
        sums: list[str],
        rows: int,
        vectors: int,
        tail: int,
    ) -> list[str]:
        """The sums after all turns along some axes."""
        if not axes:
            return self._add(places, sums, rows, vectors, tail, "")
        axis, rest = axes[0], axes[1:]
        if axis == self.plan.axis and rest:  # the vectors' own is the innermost
            axis, rest = rest[0], [axis, *rest[1:]]
        size = self.kernel.shape[axis]
        if self.plan.axis is not None and axes[-1] == self.plan.axis and self.kernel.laned:
            return self._sum_lanes(places, axes[:-1], sums, rows)
        if axis == self.plan.axis:
            return self._sum_along(places, axis, sums, rows)
        if size == LANE:
            with self.w.loop(self.count, [(self.vector.real, x) for x in sums]) as turn:
                at = self._moved(places, axis, turn.index)
                turn.next = self._sum(at, rest, turn.carried, rows, vectors, tail)
            return turn.next
        if size <= 2:
            for step in range(size):
                at = self._shifted(places, axis, step)
                sums = self._sum(at, rest, sums, rows, vectors, tail)
            return sums
        # An addition waits for the one before: so few sums are taken in several parts.
        parts = 1 if rest or self.kernel.ordered or size < 16 else max(1, 4 // len(sums))
        begin = [*sums, *[self.vector.number(-0.0)] * (len(sums) * (parts - 1))]
        with self.w.loop(size // parts, [(self.vector.real, x) for x in begin]) as turn:
            at = self._moved(places, axis, turn.index, parts)
            for part in range(parts):
                some = turn.carried[part * len(sums) : (part + 1) * len(sums)]
                here = self._shifted(at, axis, part)
                turn.next += self._sum(here, rest, some, rows, vectors, tail)
        found = turn.next[: len(sums)]
        for part in range(1, parts):
            some = turn.next[part * len(sums) : (part + 1) * len(sums)]
            found = list(map(self.vector.add, found, some))
        for step in range(size // parts * parts, size):
            at = self._shifted(places, axis, step)
            found = self._sum(at, rest, found, rows, vectors, tail)
        return found

    def _sum_lanes(
        self, places: list[Place], axes: list[int], sums: list[str], rows: int
    ) -> list[str]:
        """The sums after all lanes, of each what is summed over some other axes."""
        axis, width, w = len(self.kernel.shape) - 1, self.plan.width, self.w
        up = w.assign(f"add nuw nsw i64 {self.count}, {width - 1}")
        turns = w.assign(f"udiv i64 {up}, {width}")
        carried = [(self.vector.real, x) for x in sums]
        with w.loop(turns, carried) as turn:
            at = self._moved(places, axis, turn.index, width)
            mask = lanes_left(w, self.count, turn.index, width)
            if not axes:
                turn.next = self._add(at, turn.carried, rows, 1, 0, mask)
            else:
                begin = [self.vector.number(-0.0)] * len(sums)
                added = self._sum(at, axes, begin, rows, 1, 0)
                turn.next = [
                    self.vector.select(mask, self.vector.add(total, one), total)
                    for total, one in zip(turn.carried, added, strict=True)
                ]
        return turn.next

    def _sum_along(self, places: list[Place], axis: int, sums: list[str], rows: int) -> list[str]:
        """The sums after all vectors along an axis that is summed over."""
        size, width, w = self.kernel.shape[axis], self.plan.width, self.w
        whole, tail = divmod(size, width)
        if whole == 1:
            sums = self._add(places, sums, rows, 1, 0, "")
        elif whole:
            with w.loop(whole, [(self.vector.real, x) for x in sums]) as turn:
                at = self._moved(places, axis, turn.index, width)
                turn.next = self._add(at, turn.carried, rows, 1, 0, "")
            sums = turn.next
        if tail:
            at = self._shifted(places, axis, whole * width)
            sums = self._add(at, sums, rows, 1, tail, _mask(width, tail))
        return sums

    def _add(
        self,
        places: list[Place],
        sums: list[str],
        rows: int,
        vectors: int,
        tail: int,
        mask: str,
    ) -> list[str]:
        """The sums of a tile after one more turn."""
        found = []
        loaded: dict[tuple[int, Place, int], str] = {}
        product = self._product
        for (spot, _, _, part), total in zip(
            self._tile_of(places, rows, vectors, tail), sums, strict=True
        ):
            operands = []
            for i, place in enumerate(spot[1:]):
                key = (i, place, part)
                if key not in loaded:
                    loaded[key] = self._load(i + 1, place, part)
                operands.append(loaded[key])
            if product:
                added = self.vector.fma(operands[0], operands[1], total)
            else:
                added = self.vector.add(total, self._value(operands))
            found.append(self.vector.select(mask, added, total) if mask else added)
        return found

    @property
    def _product(self) -> bool:
        """Whether what is summed is a plain product, to be contracted."""
        kernel = self.kernel
        # A body of one operand and 1.0 would be equal to this one, hence the count.
        plain = kernel.body == ("*", (0, 1)) and len(kernel.operands) == 2
        return plain and not (kernel.muted and self.careful) and not self.strict

    def _finish(self, places: list[Place], total: str, part: int, inside: bool) -> None:
        """Put a sum where it belongs."""
        start, place = self.kernel.start, places[0]
        if not inside:
            if start == "add" and not self.kernel.ordered:
                total = self.vector.add(self._load(0, place, part), total)
            self._store(place, total, part)
            return
        total = added_up(self.vector, total)
        if start == "add":
            before = self.w.assign(f"load {self.one.real}, ptr {self._address(0, place)}")
            total = self.one.add(before, total)
        elif isinstance(start, float):
            total = self.one.add(self.one.number(start), total)
        self.w.line(f"store {self.one.real} {total}, ptr {self._address(0, place)}")

    def _value(self, operands: list[str]) -> str:
        """What the body comes to."""
        value = self.evaluator(operands).number(self.kernel.body)
        muted = self.kernel.muted if self.careful else ()
        product = bool(muted) and factors(self.kernel.body) >= set(muted)
        return quiet(self.vector, value, [operands[i] for i in muted], product=product)

    def evaluator(self, operands: Sequence[str]) -> "Evaluator":
        """What evaluates bodies of these operands; long functions are called where calls are few,
        and written out where there are many."""
        few = self.kernel.size * self.often < _FEW and not self.kernel.laned
        by_call = called(self.vector, self.outline) if few and self.outline else None
        return Evaluator(self.vector, operands, by_call)

    # Memory

    def _address(self, number: int, place: Place) -> str:
        """Where an access stands; through a table, what the table points at."""
        scale = self.kernel.accesses[number].scale
        if not scale:
            return self._ahead(place.pointer, place.offset)
        short = self.w.assign(f"load i32, ptr {self._entry(number, place)}")
        slot = self.w.assign(f"sext i32 {short} to i64")
        if scale != 1:
            slot = self.w.assign(f"mul nsw i64 {slot}, {scale}")
        at = self.w.assign(
            f"getelementptr inbounds {self.one.real}, ptr {place.pointer}, i64 {slot}"
        )
        return self._ahead(at, place.offset)

    def _entry(self, number: int, place: Place) -> str:
        """Where an access stands in its table."""
        at = self.tables[number]
        if place.row:
            at = self.w.assign(f"getelementptr inbounds i32, ptr {at}, i64 {place.row}")
        if place.entry:
            at = self.w.assign(f"getelementptr inbounds i32, ptr {at}, i64 {place.entry}")
        return at

    def _ahead(self, register: str, offset: int) -> str:
        if not offset:
            return register
        return self.w.assign(
            f"getelementptr inbounds {self.one.real}, ptr {register}, i64 {offset}"
        )

    def _load(self, number: int, place: Place, part: int) -> str:
        """A vector of an access."""
        axis, width, access = self.plan.axis, self.plan.width, self.kernel.accesses[number]
        step = 0 if axis is None else access.own[axis]
        if axis is not None and access.scale and access.strides[axis]:
            return self._collected(number, place, part, 0, access.strides[axis])
        if width > 1 and step not in (0, 1, -1):
            return self._collected(number, place, part, step)
        one, vector = self.one.real, self.vector.real
        size = self.bits // 8
        if width == 1 or step == 0:
            found = self.w.assign(f"load {one}, ptr {self._address(number, place)}, align {size}")
            return found if width == 1 else splat(self.w, vector, one, found, width)
        if step == -1:
            if part:
                return self._collected(number, place, part, step)
            start = self._address(number, place._replace(offset=place.offset - (width - 1)))
            found = self.w.assign(f"load {vector}, ptr {start}, align {size}")
            order = ", ".join(f"i32 {i}" for i in reversed(range(width)))
            return self.w.assign(
                f"shufflevector {vector} {found}, {vector} poison, <{width} x i32> <{order}>"
            )
        address = self._address(number, place)
        if not part:
            return self.w.assign(f"load {vector}, ptr {address}, align {size}")
        return self.w.masked_load(self.vector, address, _mask(width, part), size)

    def _collected(self, number: int, place: Place, part: int, step: int, entries: int = 0) -> str:
        """A vector whose numbers lie apart: so many numbers, or so many entries of a table."""
        many = len(self.kernel.operands) > 4
        table = self.kernel.accesses[number].scale
        if self.target.masked and self.plan.width > 2 and (entries == 1 if table else many):
            return self._gathered(number, place, part, step)
        found = "poison" if not part else self.vector.number(0.0)
        for i in range(part or self.plan.width):
            at = place._replace(offset=place.offset + i * step, entry=place.entry + i * entries)
            address = self._address(number, at)
            value = self.w.assign(f"load {self.one.real}, ptr {address}, align {self.bits // 8}")
            found = self.w.assign(
                f"insertelement {self.vector.real} {found}, {self.one.real} {value}, i64 {i}"
            )
        return found

    def _gathered(self, number: int, place: Place, part: int, step: int) -> str:
        """The same in one instruction, which is shorter if not faster."""
        w, width, access = self.w, self.plan.width, self.kernel.accesses[number]
        mask = _mask(width, part or width)
        base, kind = self._ahead(place.pointer, place.offset), "i64"
        if access.scale:
            at, kind = self._entry(number, place), "i32"
            slots = w.masked(f"v{width}i32", f"<{width} x i32>", at, mask, width, 4)
            if access.scale != 1:
                slots = w.assign(f"mul nsw <{width} x i32> {slots}, splat (i32 {access.scale})")
        else:
            slots = "<" + ", ".join(f"i64 {i * step}" for i in range(width)) + ">"
        spots = w.assign(f"getelementptr {self.one.real}, ptr {base}, <{width} x {kind}> {slots}")
        return w.gather(self.vector, spots, mask, self.bits // 8)

    def _store(self, place: Place, value: str, part: int) -> None:
        """Put a vector of results where it belongs."""
        size, address = self.bits // 8, self._address(0, place)
        if part and self.plan.width > 1:
            self.w.masked_store(self.vector, value, address, _mask(self.plan.width, part), size)
        else:
            self.w.line(f"store {self.vector.real} {value}, ptr {address}, align {size}")


def called(a: Arithmetic, outline: Outline) -> Callable[..., str]:
    """What writes the call of a function of vectors, which stands in the module once."""

    def call(symbol: str, *operands: str) -> str:
        names = [f"%x{i}" for i in range(len(operands))]

        def lines() -> Writer:
            w = Writer()
            inner = Arithmetic(w, a.width, a.bits, fused=a.fused, rounds=a.rounds)
            w.line(f"ret {a.real} {FUNCTIONS[symbol](inner, *names)}")
            return w

        key = "elementary", symbol, len(operands), a.real
        name = outline(key, [f"{a.real} {x}" for x in names], lines, a.real)
        given = ", ".join(f"{a.real} {x}" for x in operands)
        return a.writer.assign(f"call {a.real} @{name}({given})")

    return call


def lanes_left(w: Writer, count: str, index: str, width: int) -> str:
    """Which lanes of a vector there are; the last vector may not be full."""
    first = w.assign(f"mul nuw nsw i64 {index}, {width}")
    left = w.assign(f"sub nsw i64 {count}, {first}")
    if width == 1:
        return w.assign(f"icmp sgt i64 {left}, 0")
    every = splat(w, f"<{width} x i64>", "i64", left, width)
    order = ", ".join(f"i64 {i}" for i in range(width))
    return w.assign(f"icmp slt <{width} x i64> <{order}>, {every}")


def splat(w: Writer, vector: str, one: str, value: str, width: int) -> str:
    """A number in every element."""
    first = w.assign(f"insertelement {vector} poison, {one} {value}, i64 0")
    return w.assign(
        f"shufflevector {vector} {first}, {vector} poison, <{width} x i32> zeroinitializer"
    )


def added_up(a: Arithmetic, vector: str) -> str:
    """The sum of a vector's elements, pair by pair."""
    if a.width == 1:
        return vector
    kind = f"llvm.vector.reduce.fadd.v{a.width}f{a.bits}"
    a.writer.declared.add(f"declare {a.scalar} @{kind}({a.scalar}, {a.real})")
    return a.writer.assign(
        f"call reassoc {a.scalar} @{kind}({a.scalar} {literal(-0.0)}, {a.real} {vector})"
    )


def quiet(a: Arithmetic, value: str, muted: Sequence[str], *, product: bool = False) -> str:
    """The value, but 0 where it is inf or nan and one of these is 0.

    Of a product of those with others it can be said at once, for it is 0 otherwise too.
    """
    if not muted:
        return value
    zero = a.number(0.0)
    if product:
        for factor in muted:
            value = a.select(a.compare("oeq", factor, zero), zero, value)
        return value
    # x - x is 0 but for inf and nan.
    odd = a.compare("uno", a.sub(value, value), zero)
    still = a.compare("oeq", muted[0], zero)
    for other in muted[1:]:
        still = a.either(still, a.compare("oeq", other, zero))
    return a.select(a.both(odd, still), zero, value)


def factors(body: Body) -> set[int]:
    """The operands of which a body is a product, whatever its other factors are.

    >>> factors(("*", (("exp", (0,)), ("neg", (1,)))))
    {1}
    """
    if isinstance(body, int):
        return {body}
    if isinstance(body, tuple) and body[0] in ("*", "neg"):
        return set().union(*map(factors, body[1]))
    return set()


def is_multiple(body: Body, place: int) -> bool:
    """Whether a body is one operand, perhaps times finite numbers: 0 if that is 0.

    >>> is_multiple(("neg", (0,)), 0), is_multiple(("*", (0, 1)), 0)
    (True, False)
    """
    if isinstance(body, int):
        return body == place
    if isinstance(body, float):
        return math.isfinite(body)
    return body[0] in ("*", "neg") and all(is_multiple(part, place) for part in body[1])


def evaluate(a: Arithmetic, body: Body, operands: Sequence[str]) -> str:
    """What a body comes to, of operands in registers.

    >>> w = Writer()
    >>> evaluate(Arithmetic(w, 1), ("+", (("*", (0, 1)), 2.0)), ["%x", "%y"])
    '%v2'
    >>> w.lines
    ['%v1 = fmul double %x, %y', '%v2 = fadd double %v1, 0x4000000000000000']
    """
    return Evaluator(a, operands).number(body)


class Evaluator:
    """Evaluates parts of a body, each once.

    Args:
        a: what to write with.
        operands: the body's, in registers.
        called: writes the call of a long function; without it each is written out in its place.
    """

    def __init__(
        self, a: Arithmetic, operands: Sequence[str], called: Callable[..., str] | None = None
    ) -> None:
        self.a, self.operands, self.called = a, operands, called
        self.numbers: dict[str, str] = {}
        self.truths: dict[str, str] = {}

    def number(self, body: Body) -> str:
        if isinstance(body, float):
            return self.a.number(body)
        if isinstance(body, int):
            return self.operands[body]
        key = repr(body)
        if key not in self.numbers:
            self.numbers[key] = self._number(*body)
        return self.numbers[key]

    def _number(self, symbol: str, parts: tuple[Body, ...]) -> str:
        if symbol == "where":
            return self.a.select(self.truth(parts[0]), *map(self.number, parts[1:]))
        return self.function(symbol)(*map(self.number, parts))

    def function(self, symbol: str) -> Callable[..., str]:
        """An operation on registers."""
        if self.called is not None and symbol not in _LIGHT | _MIDDLE:
            return functools.partial(self.called, symbol)
        return functools.partial(FUNCTIONS[symbol], self.a)

    def truth(self, body: Body) -> str:
        """Whether a body is anything but 0, without making a number of a comparison first."""
        key = repr(body)
        if key not in self.truths:
            self.truths[key] = self._truth(body)
        return self.truths[key]

    def _truth(self, body: Body) -> str:
        a = self.a
        if isinstance(body, tuple):
            symbol, parts = body
            if symbol in _RELATIONS:
                if symbol == "equal" and _is_zero(parts[1]) and _is_truth(parts[0]):
                    return a.negation(self.truth(parts[0]))
                return a.compare(_RELATIONS[symbol], *map(self.number, parts))
            if _is_truth(body):
                if symbol == "*":
                    return a.both(*map(self.truth, parts))
                return a.negation(self.truth(parts[1]))
        return a.compare("une", self.number(body), a.number(0.0))


_RELATIONS = {"greater": "ogt", "less_equal": "ole", "equal": "oeq"}


def _is_zero(body: Body) -> bool:
    return isinstance(body, float) and body == 0.0


def _is_truth(body: Body) -> bool:
    """Whether a body can be nothing but 1 or 0: a comparison, 1 minus one, a product of such."""
    if not isinstance(body, tuple):
        return False
    symbol, parts = body
    if symbol in _RELATIONS:
        return True
    if symbol == "-":
        return isinstance(parts[0], float) and parts[0] == 1.0 and _is_truth(parts[1])
    return symbol == "*" and all(map(_is_truth, parts))


def _is_minus_zero(x: float) -> bool:
    return x == 0.0 and math.copysign(1.0, x) < 0.0


def _mask(width: int, part: int) -> str:
    """The first few elements of a vector, as a constant."""
    if width == 1:
        return "true"
    return "<" + ", ".join(f"i1 {'true' if i < part else 'false'}" for i in range(width)) + ">"
