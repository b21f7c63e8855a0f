"""Kernels one by one: their text, their machine code, and how long they take where they are.

For each kernel there is a function that does all of its calls of a run and nothing else, on a copy
of the memory of somebody who has run the program. What it does a second time is what it did the
first time, so it can be timed as often as need be.
"""

import ctypes
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import llvmlite.binding as llvm
import numpy as np
from numpy.typing import NDArray

from gradloom.backends.choice import DTYPES, Options
from gradloom.backends.inspection import KernelReport, Peak, Work, operations
from gradloom.backends.llvm import target as targets
from gradloom.backends.llvm.fuse import Group, fused
from gradloom.backends.llvm.ir import Arithmetic, Writer
from gradloom.backends.llvm.kernel import LANE
from gradloom.backends.llvm.library import Blob, compiled
from gradloom.backends.llvm.lowering import (
    ARENA,
    BLOCK,
    LANES,
    SCRATCH,
    SUMS,
    Call,
    Lowered,
    Repeat,
    lower,
)
from gradloom.backends.llvm.module import Module
from gradloom.backends.llvm.native import Runner, aligned
from gradloom.loom.program import Program, _written

Node: TypeAlias = Call | Repeat | Group

Numbers: TypeAlias = NDArray[np.int64]

_MEMORIES = (ARENA, BLOCK, SUMS, SCRATCH)
_SPACE = 48  # bits of a place in one of them
_LONG = 200_000  # nanoseconds that a measurement takes at least
_BEST_OF = 5


def kernels(program: Program, runner: Any, options: Options) -> list[KernelReport]:
    """The kernels of a program, in the order of running.

    Args:
        program: merged and rolled.
        runner: one of machine code that has run it.
        options: how it is run.
    """
    bits, target = DTYPES[options.dtype], targets.host()
    lowered = lower(program, target, bits, lanes=runner.lanes is not None)
    room = _Room(runner, lowered)
    found: list[KernelReport] = []
    for phase, parts in _phases(program, lowered).items():
        distinct: dict[Any, Call | Group] = {}
        for one in _leaves(parts):
            distinct.setdefault(_key(one), one)
        laned = phase == LANES
        for key, one in distinct.items():
            mine = list(_only(parts, key))
            text = _module(mine, bits, laned=laned, strict=options.strict).text()
            lanes = room.lanes if laned else 1
            blocks = -(-lanes // max(1, lowered.width))
            found.append(
                KernelReport(
                    name=f"k{len(found)}",
                    text=_described(one),
                    count=_count(mine) * blocks,
                    work=_work(mine, lowered.tables, bits // 8, lowered.width, lanes),
                    llvm=text,
                    _assemble=_assembly,
                    _time=functools.partial(room.seconds, text, blocks),
                )
            )
    return found


def _phases(program: Program, lowered: Lowered) -> dict[str, list[Node]]:
    """What is run when, as `module.written` has it."""
    slots = [*program.outputs.tolist(), *[slot for slot, _ in program.guards]]
    wanted = np.array(slots, dtype=np.int64) * lowered.width
    lanes = fused(lowered.lanes, wanted, lowered.tables) if lowered.width else []
    return {"before": [*lowered.before], LANES: [*lanes], "after": [*lowered.after]}


def _leaves(parts: Sequence[Node]) -> Iterator[Call | Group]:
    for part in parts:
        if isinstance(part, Repeat):
            yield from _leaves(part.body)
        else:
            yield part


def _key(one: Call | Group) -> Any:
    """What calls of one kernel have in common."""
    if isinstance(one, Group):
        return id(one)
    chosen = one.plan
    tiles = chosen.axis, chosen.width, chosen.rows, chosen.vectors
    return one.kernel.key, tiles


def _only(parts: Sequence[Node], key: Any) -> Iterator[Node]:
    """The calls of one kernel, in the loops around them."""
    for part in parts:
        if isinstance(part, Repeat):
            inner = tuple(_only(part.body, key))
            if inner:
                yield Repeat(part.count, inner)  # type: ignore[arg-type]
        elif _key(part) == key:
            yield part


def _count(parts: Sequence[Node]) -> int:
    """How many calls these are."""
    return sum(part.count * _count(part.body) if isinstance(part, Repeat) else 1 for part in parts)


def _work(
    parts: Sequence[Node], tables: Any, real: int, width: int, lanes: int, *, bare: bool = False
) -> Work:
    """What calls do in a run; `bare` leaves out the bytes."""
    found = Work()
    for part in parts:
        if isinstance(part, Repeat):
            found += _work(part.body, tables, real, width, lanes, bare=bare) * part.count
        elif isinstance(part, Group):
            found += _work(part.parts, tables, real, width, lanes, bare=True)
            touched = [_touched(one, tables) for one in _every(part.parts)]
            found += Work(bytes=_bytes(np.concatenate(touched), real, lanes))
        else:
            kernel = part.kernel
            flops, calls = operations(kernel.body, kernel.fold)
            times = kernel.size * (lanes if kernel.laned else 1)
            times_touched = lanes if kernel.laned else 1
            own = 0 if bare else _bytes(_touched(part, tables), real, times_touched)
            found += Work((flops + (kernel.start is not None)) * times, calls * times, own)
    return found


def _bytes(touched: Numbers, real: int, lanes: int) -> int:
    """How many bytes these numbers have, in so many lanes."""
    distinct = np.unique(touched)
    own = int(((distinct >> _SPACE) == _MEMORIES.index(BLOCK)).sum())
    return (len(distinct) - own + own * lanes) * real


def _every(parts: Sequence[Node]) -> Iterator[Call]:
    """The calls of all turns."""
    for part in parts:
        if isinstance(part, Repeat):
            for turn in range(part.count):
                for one in _every(part.body):
                    first, *rest = one.moves
                    offsets = [o + turn * s for o, s in zip(one.offsets, first, strict=True)]
                    yield Call(
                        one.kernel, one.plan, one.spaces, tuple(offsets), one.tables, tuple(rest)
                    )
        else:
            assert isinstance(part, Call)
            yield part


def _touched(call: Call, tables: Any) -> Numbers:
    """The numbers that a call reads or writes, those of the first lane; above `_SPACE` bits stands
    in which memory."""
    kernel = call.kernel
    shape = kernel.shape[:-1] if kernel.laned else kernel.shape
    starts = iter(call.tables)
    found = []
    for place, access in enumerate(kernel.accesses):
        at = np.full(1, next(starts) if access.scale else 0, dtype=np.int64)
        for size, stride in zip(shape, access.strides, strict=False):
            if stride and size > 1:
                at = np.unique(at[:, None] + np.arange(size) * stride)
        if access.scale:
            at = tables[at].astype(np.int64) * access.scale
        if place and kernel.fold:
            at = (at[:, None] + np.arange(kernel.fold) * kernel.step).reshape(-1)
        space = _MEMORIES.index(call.spaces[place])
        found.append(at + call.offsets[place] + (space << _SPACE))
    return np.concatenate(found)


def _described(one: Call | Group) -> str:
    """What a kernel computes, in a line."""
    if isinstance(one, Group):
        parts = sum(len(strip.statements) for strip in one.strips)
        turns = max(strip.count for strip in one.strips)
        return f"lanes: {parts} statements fused, {turns} turns"
    kernel = one.kernel
    shape = " × ".join("lanes" if size == LANE else str(size) for size in kernel.shape) or "1"
    sign = "=" if kernel.start is None else "+="
    operands = [chr(ord("a") + i % 26) for i in range(len(kernel.operands))]
    fold = f" of {kernel.fold}" if kernel.fold else ""
    return f"{shape}: {sign} {_written(kernel.body, operands)}{fold}"


_SPACES = {ARENA: "%arena", SCRATCH: "%scratch", BLOCK: "%block", SUMS: "%sums"}
_GIVEN = ["arena", "scratch", "tables", "block", "sums"]


def _module(parts: Sequence[Node], bits: int, *, laned: bool, strict: bool) -> Module:
    """A module whose `once` makes some calls, and whose `often` makes them so many times."""
    made = Module(targets.host(), bits, strict=strict, quick=True)
    spaces = _SPACES if laned else {**_SPACES, SUMS: "%arena"}
    parameters = [*[f"ptr %{name}" for name in _GIVEN], "i64 %count"]
    w = Writer()
    made.calls(w, parts, spaces, "%tables", "%count")
    w.line("ret void")
    made.define("once", parameters, w)
    w = Writer()
    with w.loop("%turns"):
        w.line(f"call void @once({', '.join(parameters)})")
    w.line("ret void")
    made.define("often", [*parameters, "i64 %turns"], w)
    return made


def _assembly(text: str) -> str:
    parsed = llvm.parse_assembly(text, llvm.create_context())
    return str(targets.host().machine().emit_assembly(parsed))


class _Room:
    """A copy of a runner's memory."""

    def __init__(self, runner: Runner, lowered: Lowered) -> None:
        real = runner.arena.dtype
        self.lanes, self.width = runner.lanes or 1, lowered.width
        block = runner._laned._blocks[0] if runner._laned else np.zeros(0)
        kept = [runner.arena, np.zeros(lowered.scratch), np.zeros(0), block]
        self._kept = [aligned(len(x), real) for x in kept]
        for own, x in zip(self._kept, kept, strict=True):
            own[:] = x
        self._kept[2] = lowered.tables
        self._kept.append(aligned(lowered.size, real))

    def seconds(self, text: str, blocks: int) -> float:
        """How long a module's `once` takes, for so many blocks."""
        memory = [x.copy() for x in self._kept]
        blob = Blob([], [], compiled(text, targets.host()))
        kinds = [*[ctypes.c_void_p] * len(memory), ctypes.c_int64, ctypes.c_int64]
        often = ctypes.CFUNCTYPE(None, *kinds)(blob.address("often"))
        for copy, kept in zip(memory, self._kept, strict=True):
            copy[:] = kept
        given = [x.ctypes.data for x in memory]
        return _timed(lambda turns: often(*given, self.width, turns)) * blocks


def _timed(run: Callable[[int], Any], best_of: int = _BEST_OF) -> float:
    """How long a turn takes: seconds, the best of so many."""
    turns, best = 1, float("inf")
    run(1)
    while True:
        begin = time.perf_counter_ns()
        run(turns)
        taken = time.perf_counter_ns() - begin
        if taken >= _LONG:
            break
        turns = turns * 2 if taken * 8 > _LONG else turns * 8
    for _ in range(best_of):
        best = min(best, taken / turns)
        begin = time.perf_counter_ns()
        run(turns)
        taken = time.perf_counter_ns() - begin
    return min(best, taken / turns) * 1e-9


@functools.cache
def peak(bits: int) -> Peak:
    """What one core reaches with numbers of so many bits."""
    target = targets.host()
    width = target.width(bits)
    chains = 20 if target.registers >= 32 else 10  # more than are on their way at any time
    vector = f"<{width} x {'double' if bits == 64 else 'float'}>"
    functions = [_products(target, bits, chains), _reads(vector, chains)]
    blob = Blob([], [], compiled("\n".join(functions), target))
    kinds = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64
    products, reads = (
        ctypes.CFUNCTYPE(None, *kinds)(blob.address(name)) for name in ("products", "reads")
    )
    real = np.float64 if bits == 64 else np.float32
    numbers = aligned(chains * width, real)
    step = chains * width * bits // 8
    taken = _timed(lambda turns: products(numbers.ctypes.data, 1, turns), 20)
    flops, found = 2 * chains * width / taken, []
    for size in (64 << 10, 32 << 20):
        room = aligned(size // (bits // 8) + chains * width, real)
        room[:] = 1.0
        times, address = size // step, room.ctypes.data

        def read(turns: int, times: int = times, address: int = address) -> None:
            reads(address, times, turns)

        found.append(times * step / _timed(read))
    return Peak(flops, *found)


def _products(target: targets.Target, bits: int, chains: int) -> str:
    """Chains of multiplications with an addition, which stay in registers."""
    width = target.width(bits)
    w = Writer()
    a = Arithmetic(w, width, bits, fused=target.fused, rounds=target.rounds)
    first = w.assign(f"load {a.real}, ptr %numbers, align 64")
    with w.loop("%turns", [(a.real, a.number(0.0))] * chains) as turn:
        turn.next = [
            a.fma(x, first, first) if target.fused else a.add(a.mul(x, first), first)
            for x in turn.carried
        ]
    last = functools.reduce(a.add, turn.next)
    w.line(f"store {a.real} {last}, ptr %numbers, align 64")
    w.line("ret void")
    return _function("products", w)


def _reads(vector: str, chains: int) -> str:
    """Vectors read one after another, so many times, and added up."""
    w = Writer()
    zeros = [(vector, "zeroinitializer")] * chains
    with w.loop("%turns", zeros) as outer:
        with w.loop("%times", [(vector, x) for x in outer.carried]) as turn:
            start = w.assign(f"mul nsw i64 {turn.index}, {chains}")
            at = w.assign(f"getelementptr inbounds {vector}, ptr %numbers, i64 {start}")
            for i, x in enumerate(turn.carried):
                place = w.assign(f"getelementptr inbounds {vector}, ptr {at}, i64 {i}")
                read = w.assign(f"load {vector}, ptr {place}")
                turn.next.append(w.assign(f"fadd {vector} {x}, {read}"))
        outer.next = turn.next
    last = functools.reduce(lambda x, y: w.assign(f"fadd {vector} {x}, {y}"), outer.next)
    w.line(f"store {vector} {last}, ptr %numbers")
    w.line("ret void")
    return _function("reads", w)


def _function(name: str, w: Writer) -> str:
    body = "\n".join([*w.lines, "}", *sorted(w.declared)])
    return f"define void @{name}(ptr %numbers, i64 %times, i64 %turns) nounwind {{\nentry:\n{body}"
