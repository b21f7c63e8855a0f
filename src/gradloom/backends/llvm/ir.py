"""LLVM's language, written as text: a function is a list of lines, a register a name.

Text is what LLVM reads fastest from Python: a builder of objects takes ten times as long. A
`Writer` holds the lines of one function; an `Arithmetic` writes operations on vectors of one width
and precision into it. Every method returns the name of the register that holds its result, or the
text of a constant, so that calls nest like the formula that they spell.
"""

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


class Writer:
    """The lines of one function, with fresh names, and the intrinsics it needs declared.

    >>> w = Writer()
    >>> x = w.assign("fadd double 1.0, 2.0")
    >>> w.lines
    ['%v1 = fadd double 1.0, 2.0']
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.declared: set[str] = set()
        self._count = 0
        self.block = "entry"

    def name(self) -> str:
        """A register that nothing has yet."""
        self._count += 1
        return f"%v{self._count}"

    def assign(self, text: str) -> str:
        """The register that gets what an operation gives."""
        name = self.name()
        self.lines.append(f"{name} = {text}")
        return name

    def line(self, text: str) -> None:
        """An operation without a result."""
        self.lines.append(text)

    def start(self, label: str) -> None:
        """Begin a block."""
        self.lines.append(f"{label}:")
        self.block = label

    def label(self, word: str) -> str:
        """A label that nothing has yet."""
        self._count += 1
        return f"{word}{self._count}"

    def call(self, result: str, intrinsic: str, *operands: tuple[str, str]) -> str:
        """Call an intrinsic on operands, each a type and a register."""
        types = ", ".join(kind for kind, _ in operands)
        self.declared.add(f"declare {result} @{intrinsic}({types})")
        given = ", ".join(f"{kind} {value}" for kind, value in operands)
        return self.assign(f"call {result} @{intrinsic}({given})")

    def masked_load(self, a: "Arithmetic", pointer: str, mask: str, align: int) -> str:
        """Some numbers of a vector from memory; the others are 0."""
        return self.masked(f"v{a.width}f{a.bits}", a.real, pointer, mask, a.width, align)

    def masked(
        self, suffix: str, kind: str, pointer: str, mask: str, width: int, align: int
    ) -> str:
        """Some elements of a vector of any type from memory; the others are 0."""
        name, truth = f"llvm.masked.load.{suffix}.p0", f"<{width} x i1>"
        self.declared.add(f"declare {kind} @{name}(ptr, {truth}, {kind})")
        return self.assign(
            f"call {kind} @{name}(ptr align {align} {pointer}, {truth} {mask}, "
            f"{kind} zeroinitializer)"
        )

    def gather(self, a: "Arithmetic", pointers: str, mask: str, align: int) -> str:
        """A vector of numbers, each from where a pointer points; where masked out, 0."""
        spots = f"<{a.width} x ptr>"
        kind = f"llvm.masked.gather.v{a.width}f{a.bits}.v{a.width}p0"
        self.declared.add(f"declare {a.real} @{kind}({spots}, {a.truth}, {a.real})")
        return self.assign(
            f"call {a.real} @{kind}({spots} align {align} {pointers}, {a.truth} {mask}, "
            f"{a.real} zeroinitializer)"
        )

    def masked_store(
        self, a: "Arithmetic", value: str, pointer: str, mask: str, align: int
    ) -> None:
        """Put some numbers of a vector into memory."""
        kind = f"llvm.masked.store.v{a.width}f{a.bits}.p0"
        self.declared.add(f"declare void @{kind}({a.real}, ptr, {a.truth})")
        self.line(
            f"call void @{kind}({a.real} {value}, ptr align {align} {pointer}, {a.truth} {mask})"
        )

    @contextmanager
    def loop(
        self, count: str | int, carried: Sequence[tuple[str, str]] = (), *, start: str | int = 0
    ) -> "Iterator[Loop]":
        """A counted loop, run at least once, around what is written inside.

        Args:
            count: where the counter, an i64, ends.
            carried: what goes from turn to turn: types, and what they are at first. The body must
                set `next`, as many registers; after the loop they hold the last.
            start: where the counter begins.
        """
        before, head = self.block, self.label("loop")
        self.line(f"br label %{head}")
        self.start(head)
        index, bumped = self.name(), self.name()
        at = len(self.lines)
        turn = Loop(index, [self.name() for _ in carried])
        self.lines += [""] * (1 + len(carried))
        yield turn
        if len(turn.next) != len(carried):
            raise AssertionError(f"{len(carried)} carried, {len(turn.next)} handed on")
        self.line(f"{bumped} = add nuw nsw i64 {index}, 1")
        self.lines[at] = f"{index} = phi i64 [{start}, %{before}], [{bumped}, %{self.block}]"
        pairs = zip(carried, turn.carried, turn.next, strict=True)
        for i, ((kind, first), name, last) in enumerate(pairs):
            self.lines[at + 1 + i] = (
                f"{name} = phi {kind} [{first}, %{before}], [{last}, %{self.block}]"
            )
        more, done = self.assign(f"icmp slt i64 {bumped}, {count}"), self.label("done")
        self.line(f"br i1 {more}, label %{head}, label %{done}")
        self.start(done)

    @contextmanager
    def when(self, condition: str) -> Iterator[None]:
        """Only if a condition, an i1, holds."""
        inside, after = self.label("then"), self.label("after")
        self.line(f"br i1 {condition}, label %{inside}, label %{after}")
        self.start(inside)
        yield
        self.line(f"br label %{after}")
        self.start(after)

    @contextmanager
    def choose(self, condition: str) -> Iterator[Callable[[], None]]:
        """What is written inside is done if a condition holds; after the call of what this
        gives, what is written is done if it does not."""
        inside, other, after = self.label("then"), self.label("else"), self.label("after")
        self.line(f"br i1 {condition}, label %{inside}, label %{other}")
        self.start(inside)

        def otherwise() -> None:
            self.line(f"br label %{after}")
            self.start(other)

        yield otherwise
        self.line(f"br label %{after}")
        self.start(after)


class Loop:
    """A turn of a loop.

    Attributes:
        index: the counter.
        carried: what came from the turn before.
        next: what goes on to the next one; the body sets it.
    """

    def __init__(self, index: str, carried: list[str]) -> None:
        self.index = index
        self.carried = carried
        self.next: list[str] = []


class Arithmetic:
    """Operations on vectors of floating-point numbers, and on integers and truths as wide.

    Args:
        writer: where to write.
        width: how many numbers a vector has; 1 for plain ones.
        bits: of each number: 64 or 32.
        fused: whether the target multiplies and adds in one instruction.
        rounds: whether it rounds to whole numbers in one.

    Attributes:
        real, whole, truth: the types of numbers, of integers as wide, and of truths.

    >>> w = Writer()
    >>> a = Arithmetic(w, 4)
    >>> _ = a.add(a.mul("%x", "%y"), a.number(1.0))
    >>> print(*w.lines, sep="\\n")
    %v1 = fmul <4 x double> %x, %y
    %v2 = fadd <4 x double> %v1, splat (double 0x3FF0000000000000)
    """

    def __init__(
        self,
        writer: Writer,
        width: int,
        bits: int = 64,
        *,
        fused: bool = True,
        rounds: bool = True,
    ) -> None:
        self.writer = writer
        self.width, self.bits, self.fused, self.rounds = width, bits, fused, rounds
        self.scalar = "double" if bits == 64 else "float"
        self.real, self.whole, self.truth = (
            kind if width == 1 else f"<{width} x {kind}>"
            for kind in (self.scalar, f"i{bits}", "i1")
        )
        self._suffix = f"f{bits}" if width == 1 else f"v{width}f{bits}"

    # Constants

    def number(self, x: float) -> str:
        """A constant, in every element.

        >>> Arithmetic(Writer(), 1).number(0.5)
        '0x3FE0000000000000'
        """
        return self._every(self.scalar, literal(x, self.bits))

    def integer(self, n: int) -> str:
        """An integer constant, in every element; two's complement if negative."""
        return self._every(f"i{self.bits}", str(n))

    def _every(self, kind: str, text: str) -> str:
        return text if self.width == 1 else f"splat ({kind} {text})"

    # Numbers

    def add(self, a: str, b: str) -> str:
        """a + b."""
        return self.writer.assign(f"fadd {self.real} {a}, {b}")

    def sub(self, a: str, b: str) -> str:
        """a - b."""
        return self.writer.assign(f"fsub {self.real} {a}, {b}")

    def mul(self, a: str, b: str) -> str:
        """a · b."""
        return self.writer.assign(f"fmul {self.real} {a}, {b}")

    def div(self, a: str, b: str) -> str:
        """a / b."""
        return self.writer.assign(f"fdiv {self.real} {a}, {b}")

    def neg(self, a: str) -> str:
        """-a."""
        return self.writer.assign(f"fneg {self.real} {a}")

    def fma(self, a: str, b: str, c: str) -> str:
        """a · b + c, rounded once where the target can, else twice."""
        if not self.fused:
            return self.add(self.mul(a, b), c)
        return self.intrinsic("fma", a, b, c)

    def intrinsic(self, name: str, *operands: str) -> str:
        """One of LLVM's functions of numbers: sqrt, floor, ceil, trunc, roundeven, fabs,
        copysign, maxnum, minnum, fma."""
        return self.writer.call(
            self.real, f"llvm.{name}.{self._suffix}", *[(self.real, x) for x in operands]
        )

    def sqrt(self, a: str) -> str:
        """√a, rounded correctly; nan below 0."""
        return self.intrinsic("sqrt", a)

    def abs(self, a: str) -> str:
        """|a|."""
        return self.intrinsic("fabs", a)

    def copysign(self, a: str, sign: str) -> str:
        """|a| with the sign of another number."""
        return self.intrinsic("copysign", a, sign)

    def trunc(self, a: str) -> str:
        """The whole number next to a on the side of 0."""
        if self.rounds:
            return self.intrinsic("trunc", a)
        # Numbers from 2^52 on are whole; a smaller one loses its fraction when that is added.
        large, size = self.number(2.0**52 if self.bits == 64 else 2.0**23), self.abs(a)
        near = self.sub(self.add(size, large), large)
        less = self.sub(near, self.number(1.0))
        whole = self.select(self.compare("ogt", near, size), less, near)
        return self.select(self.compare("olt", size, large), self.copysign(whole, a), a)

    def floor(self, a: str) -> str:
        """The largest whole number that is at most a."""
        if self.rounds:
            return self.intrinsic("floor", a)
        whole = self.trunc(a)
        less = self.sub(whole, self.number(1.0))
        return self.select(self.compare("ogt", whole, a), less, whole)

    def ceil(self, a: str) -> str:
        """The smallest whole number that is at least a."""
        return self.intrinsic("ceil", a) if self.rounds else self.neg(self.floor(self.neg(a)))

    # Truths

    def compare(self, relation: str, a: str, b: str) -> str:
        """A comparison by LLVM's name of it: oeq, ogt, oge, olt, ole, one, une, uno, ord, …"""
        return self.writer.assign(f"fcmp {relation} {self.real} {a}, {b}")

    def select(self, truth: str, a: str, b: str) -> str:
        """a where it is true, else b."""
        return self.writer.assign(f"select {self.truth} {truth}, {self.real} {a}, {self.real} {b}")

    def both(self, a: str, b: str) -> str:
        """Whether a and b."""
        return self.writer.assign(f"and {self.truth} {a}, {b}")

    def either(self, a: str, b: str) -> str:
        """Whether a or b."""
        return self.writer.assign(f"or {self.truth} {a}, {b}")

    def negation(self, a: str) -> str:
        """Whether not a."""
        return self.writer.assign(f"xor {self.truth} {a}, {self._every('i1', 'true')}")

    def any(self, a: str) -> str:
        """Whether it is true of any element, an i1."""
        if self.width == 1:
            return a
        mask = self.writer.assign(f"bitcast {self.truth} {a} to i{self.width}")
        return self.writer.assign(f"icmp ne i{self.width} {mask}, 0")

    # Integers and bits

    def integers(self, operation: str, a: str, b: str) -> str:
        """An operation on integers by LLVM's name of it: add, sub, mul, and, or, xor, shl, lshr,
        ashr."""
        return self.writer.assign(f"{operation} {self.whole} {a}, {b}")

    def compare_integers(self, relation: str, a: str, b: str) -> str:
        """A comparison of integers: eq, ne, slt, sle, sgt, sge, ult, …"""
        return self.writer.assign(f"icmp {relation} {self.whole} {a}, {b}")

    def select_integers(self, truth: str, a: str, b: str) -> str:
        """a where it is true, else b."""
        return self.writer.assign(
            f"select {self.truth} {truth}, {self.whole} {a}, {self.whole} {b}"
        )

    def bits_of(self, a: str) -> str:
        """The bits of numbers as integers."""
        return self.writer.assign(f"bitcast {self.real} {a} to {self.whole}")

    def from_bits(self, a: str) -> str:
        """The numbers that have these bits."""
        return self.writer.assign(f"bitcast {self.whole} {a} to {self.real}")

    def to_integer(self, a: str) -> str:
        """The integer part; what is out of range, inf and nan give an unspecified integer."""
        # Without freeze LLVM may take the rest of the function for impossible.
        found = self.writer.assign(f"fptosi {self.real} {a} to {self.whole}")
        return self.writer.assign(f"freeze {self.whole} {found}")

    def from_integer(self, a: str) -> str:
        """Integers as numbers."""
        return self.writer.assign(f"sitofp {self.whole} {a} to {self.real}")


def literal(x: float, bits: int = 64) -> str:
    """A number as LLVM reads it: the bits of a double, rounded first if it stands for a float.

    >>> literal(1.0), literal(0.1, 32)
    ('0x3FF0000000000000', '0x3FB99999A0000000')
    """
    if bits == 32 and math.isfinite(x):
        try:
            (x,) = struct.unpack("<f", struct.pack("<f", x))
        except OverflowError:
            x = math.copysign(math.inf, x)
    return f"0x{struct.unpack('<Q', struct.pack('<d', x))[0]:016X}"


# A function of vectors: it writes what computes it and returns the register of the result.
Function = Callable[..., str]
