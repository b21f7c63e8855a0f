"""What runs when a program runs: its instructions, its kernels, the work they do, and how fast.

Work is counted, not measured. An operation of the table that a processor has as an instruction is
one *flop*, so that a multiplication with an addition behind it is two; every other, `exp` and its
kin, is one *call* of an elementary function. Bytes are those of all numbers that are read or
written, each once for every time that a kernel runs, wherever they lie.

Time is measured when it is asked for, on a copy of the numbers of the last run.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from gradloom.backends.choice import DTYPES, Options, Runner, has_native
from gradloom.loom.program import Body, Instruction, Item, Loop, Program
from gradloom.loom.roll import roll
from gradloom.loom.views import slots_of

_FOLDED = {"+", "max", "min", "sum"}  # of n numbers, n - 1 operations
_FLOPS = {"-", "*", "/", "neg", "abs", "square", "sqrt", "reciprocal", "greater", "less_equal",
          "equal", "where", "relu", "leaky_relu", "sign", "floor", "ceil"}  # fmt: skip
_NOTHING = {"detach"}
_LINES = 40  # of a program that are shown
_ROWS = 20  # of a table


@dataclass(frozen=True, slots=True)
class Work:
    """What is done in a run.

    Attributes:
        flops: operations; a multiplication with an addition is two.
        calls: of elementary functions.
        bytes: of the numbers that are read and written.

    >>> Work(2, 0, 24) + Work(1, 1, 16)
    Work(flops=3, calls=1, bytes=40)
    """

    flops: int = 0
    calls: int = 0
    bytes: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.flops + other.flops, self.calls + other.calls, self.bytes + other.bytes)

    def __mul__(self, times: int) -> "Work":
        return Work(self.flops * times, self.calls * times, self.bytes * times)

    def __str__(self) -> str:
        return f"{self.flops:,} flops, {self.calls:,} elementary calls, {self.bytes:,} bytes"


def operations(body: Body, fold: int = 0) -> tuple[int, int]:
    """How many flops and how many calls of elementary functions a body is.

    Args:
        body: what is computed.
        fold: of how many numbers the outermost operation is taken, if not of those written.

    >>> operations(("+", (("*", (0, 1)), ("exp", (2,)))))
    (2, 1)
    """
    if not isinstance(body, tuple):
        return 0, 0
    symbol, parts = body
    flops, calls = 0, 0
    if symbol in _FOLDED:
        flops = (fold or len(parts)) - 1
    elif symbol in _FLOPS:
        flops = 1
    elif symbol not in _NOTHING:
        calls = 1
    inner = [operations(part) for part in parts]
    return flops + sum(one for one, _ in inner), calls + sum(one for _, one in inner)


@dataclass(frozen=True, slots=True)
class Peak:
    """What one core of this machine reaches, measured.

    Attributes:
        flops: a second, in vectors that stay in registers.
        cache, memory: bytes a second that are read from the cache, and from beyond it.
    """

    flops: float
    cache: float
    memory: float

    def __str__(self) -> str:
        numbers = self.flops / 1e9, self.cache / 1e9, self.memory / 1e9
        return "peak {:.1f} GFlop/s; reads {:.0f} GB/s in cache, {:.0f} from memory".format(
            *numbers
        )


@dataclass
class KernelReport:
    """A kernel of a program: one piece of machine code, for all places that it works at.

    Attributes:
        name: k0, k1, … in the order of running.
        text: what it computes.
        count: how often it is called in a run.
        work: of all these calls.
        llvm: its text as LLVM reads it: a module whose function `once` makes all of its calls.
    """

    name: str
    text: str
    count: int
    work: Work
    llvm: str
    _assemble: Callable[[str], str] = field(repr=False)
    _time: Callable[[], float] = field(repr=False)

    @cached_property
    def assembly(self) -> str:
        """Its machine code, as this machine's assembler reads it."""
        return self._assemble(self.llvm)

    @cached_property
    def seconds(self) -> float:
        """How long all of its calls take in a run, on one core."""
        return self._time()


@dataclass
class Pass:
    """A program that runs: the function itself, or its gradient.

    Attributes:
        name: "forward" or "gradient".
        program: the array program, with what repeats in loops.
        work: of a run.
        kernels: as machine code, in the order of running; none where NumPy runs the program.
        why: why there is no machine code; "" where there is.
    """

    name: str
    program: Program
    work: Work
    kernels: list[KernelReport]
    why: str
    _peak: Callable[[], Peak] = field(repr=False)

    @cached_property
    def peak(self) -> Peak:
        """What this machine reaches; measured once in a process, in some 20 ms."""
        return self._peak()

    def table(self) -> str:
        """The kernels that take longest: how often they are called, how long, and how fast."""
        rows = sorted(self.kernels, key=lambda kernel: -kernel.seconds)
        lines = ["kernel   calls         µs  GFlop/s  % of peak     GB/s  "]
        lines += [self._row(row.name, row.count, row.work, row.seconds) + row.text for row in rows]
        if len(rows) > _ROWS:
            lines[_ROWS + 1 :] = [f"… and {len(rows) - _ROWS} that take less"]
        count, seconds = sum(row.count for row in rows), sum(row.seconds for row in rows)
        lines.append(self._row("all", count, sum((row.work for row in rows), Work()), seconds))
        return "\n".join(line.rstrip() for line in lines)

    def _row(self, name: str, count: int, work: Work, seconds: float) -> str:
        flops, traffic = (x / seconds if seconds else 0.0 for x in (work.flops, work.bytes))
        share = flops / self.peak.flops
        return (
            f"{name:<6} {count:>7} {seconds * 1e6:>10.2f} {flops / 1e9:>8.2f} {share:>10.1%} "
            f"{traffic / 1e9:>8.2f}  "
        )

    def __str__(self) -> str:
        lines = list(self.program.lines())
        if len(lines) > _LINES:
            lines[_LINES:] = [f"… and {len(lines) - _LINES} lines more, in .program"]
        head = [f"{self.name}: {self.work}", *lines]
        if self.why:
            return "\n".join([*head, f"NumPy runs it: {self.why}"])
        return "\n".join([*head, self.table(), str(self.peak)])


@dataclass
class Inspection:
    """What runs when a function runs; printed, all of it with the times that it takes.

    Attributes:
        name: of the function.
        passes: the function, then each gradient that was taken of it.
    """

    name: str
    passes: list[Pass]

    @property
    def program(self) -> Program:
        """The function's array program."""
        return self.passes[0].program

    @property
    def work(self) -> Work:
        """What the function does in a run."""
        return self.passes[0].work

    @property
    def kernels(self) -> list[KernelReport]:
        """The function's kernels."""
        return self.passes[0].kernels

    @property
    def why(self) -> str:
        """Why the function runs on NumPy; "" where it is machine code."""
        return self.passes[0].why

    def __str__(self) -> str:
        return "\n\n".join([self.name, *map(str, self.passes)])


def inspected(
    name: str, program: Program, runner: Runner, options: Options, lanes: int | None = None
) -> Pass:
    """What runs when a program runs.

    Args:
        name: what the pass is called.
        program: the program.
        runner: one that has run it.
        options: how it is run.
        lanes: how many it has.
    """
    bits = DTYPES[options.dtype]
    if not hasattr(runner, "code"):
        shown = roll(program)
        total = _work(shown.instructions, shown, bits // 8, lanes)
        return Pass(name, shown, total, [], _reason(program, options), _no_peak)
    from gradloom.backends.llvm import inspection, native

    shown = native.rolled(program)
    total = _work(shown.instructions, shown, bits // 8, lanes)
    kernels = inspection.kernels(shown, runner, options)
    return Pass(name, shown, total, kernels, "", lambda: inspection.peak(bits))


def _no_peak() -> Peak:
    return Peak(math.nan, math.nan, math.nan)


def _reason(program: Program, options: Options) -> str:
    """Why NumPy runs a program."""
    if not has_native():
        return "llvmlite is not installed (pip install 'gradloom[native]')"
    if options.chosen == "numpy":
        return "the backend 'numpy' was chosen"
    from gradloom.backends.llvm import native
    from gradloom.backends.llvm.lowering import UnsupportedError

    try:
        native.code(program, DTYPES[options.dtype], lanes=bool(program.laned.any()))
    except UnsupportedError as error:
        return str(error)
    return "it was recorded before there was machine code"


def _work(items: Sequence[Item], program: Program, real: int, lanes: int | None) -> Work:
    """What instructions do in a run of so many lanes."""
    found = Work()
    for one in items:
        if isinstance(one, Loop):
            found += _work(one.body, program, real, lanes) * one.count
        else:
            found += _of_instruction(one, program, real, lanes)
    return found


def _of_instruction(one: Instruction, program: Program, real: int, lanes: int | None) -> Work:
    slots = np.unique(np.concatenate([slots_of(view, one.shape).reshape(-1) for view in one.views]))
    flops, calls = operations(one.body)
    size = math.prod(one.shape)
    own = int(program.laned[slots].sum()) if lanes else 0
    times = lanes if lanes and own else 1
    touched = len(slots) - own + own * times
    return Work((flops + one.accumulate) * size * times, calls * size * times, touched * real)
