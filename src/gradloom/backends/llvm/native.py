"""Programs as machine code, ready to run."""

import ctypes
import functools
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.backends.batch import Batch
from gradloom.backends.llvm import shelf
from gradloom.backends.llvm import target as targets
from gradloom.backends.llvm.elementary import FUNCTIONS
from gradloom.backends.llvm.frame import FIELDS
from gradloom.backends.llvm.library import Library, known, library, name_of
from gradloom.backends.llvm.lowering import Lowered, UnsupportedError, block_width, lower
from gradloom.backends.llvm.module import written
from gradloom.loom.absorb import absorb
from gradloom.loom.guards import same
from gradloom.loom.merge import merge
from gradloom.loom.program import Body, Item, Loop, Program
from gradloom.loom.roll import roll

Array = NDArray[np.float64]

LONGEST = 500_000  # instructions; machine code for twice as many would take minutes
CHUNKS = 16  # ranges of lanes that are summed up apart, whatever the number of threads
_RESULTS, _ORDER = FIELDS.index("results"), FIELDS.index("order")

# Operations on single numbers, about: from how many on waking a thread pays, and up to how many
# all is done in a single call, which no Ctrl-C interrupts.
_WORTH_A_THREAD, _PATIENCE = 4_000_000, 1_000_000_000


@dataclass(frozen=True, slots=True)
class Code:
    """A program's machine code.

    Attributes:
        lowered: the memory that it works on; its calls are in the library.
        library: as it runs.
        work: how many operations on single numbers a lane takes, about.
    """

    lowered: Lowered
    library: Library
    work: int = 0


def code(
    program: Program, bits: int = 64, *, lanes: bool = False, strict: bool = False, most: int = 0
) -> Code:
    """The machine code of a program for this machine; with lanes, of which there are at most so
    many, if that is known.

    Raises:
        UnsupportedError: it has an operation that a user entered, a lane depends on all lanes, or
            it is too long.
    """
    for one in program.written:
        _check(one.body)
    target = targets.host()
    key = shelf.of_program(program, bits, lanes, strict, most, str(target))
    kept = shelf.get(key) if key else None
    if kept:
        lowered, work, name = kept
        found = known(name)
        if found:
            return Code(lowered, found, work)
    program = rolled(program)
    if len(program.written) > LONGEST:
        raise UnsupportedError(f"{len(program.written):,} instructions, and none that repeat")
    width = 0
    if most:
        some = -most % target.width(bits) + most
        width = min(some, block_width(program, target, bits))
    lowered = lower(program, target, bits, lanes=lanes, width=width)
    module = written(program, lowered, target, bits, strict=strict)
    work = _work(program.instructions, program.laned) if lanes else 0
    memory = replace(lowered, before=[], lanes=[], after=[])
    name = name_of(module, target)
    made = Code(memory, library(module, target, name), work)
    if key:
        shelf.put(key, (memory, work, name))
    return made


def rolled(program: Program) -> Program:
    """What is lowered in a program's place: the same in few instructions, with what repeats in
    loops."""
    return roll(merge(absorb(program)))


def _work(items: Sequence[Item], laned: NDArray[np.bool_]) -> int:
    """How many operations these are in every lane."""
    total = 0
    for one in items:
        if isinstance(one, Loop):
            total += one.count * _work(one.body, laned)
            continue
        firsts = [x.offset if x.table is None else int(x.table.flat[0]) for x in one.views]
        if laned[firsts].any():
            total += math.prod(one.shape) * _operations(one.body)
    return total


def _operations(body: Body) -> int:
    """Of one element; a function takes as long as several sums."""
    if not isinstance(body, tuple):
        return 1
    return (8 if body[0].isalpha() else 1) + sum(map(_operations, body[1]))


def _check(body: Body) -> None:
    if isinstance(body, tuple):
        if body[0] not in FUNCTIONS:
            raise UnsupportedError(f"the operation {body[0]!r} is known to Python alone")
        for part in body[1]:
            _check(part)


class Runner:
    """A program with an arena of its own, as machine code.

    It does what `gradloom.backends.numpy.Runner` does, which is its reference.

    Args:
        program: what to run.
        lanes: how many lanes; None where the program has no laned inputs.
        bits: 64 for float64, 32 for float32 inside; what goes in and out is float64.
        strict: nothing is contracted.
        threads: how many share the lanes; by default as many as there are cores.
        code: the program's machine code, from who has it.

    Raises:
        UnsupportedError: it has an operation that a user entered, or a lane depends on all lanes.

    >>> from gradloom.loom.record import record
    >>> from gradloom.loom.weave import weave
    >>> graph, _ = record(lambda x, y: x * y + x, 3.0, 4.0)
    >>> Runner(weave(graph)).run([5.0, 6.0])
    array([35.])
    >>> Runner(weave(graph, lanes=[1]), lanes=3).run([5.0, np.array([1.0, 2.0, 3.0])])
    array([[10., 15., 20.]])
    """

    def __init__(
        self,
        program: Program,
        lanes: int | None = None,
        *,
        bits: int = 64,
        strict: bool = False,
        threads: int | None = None,
        code: Code | None = None,
    ) -> None:
        self.program, self.lanes = program, lanes
        self.code = code or _code(program, bits, lanes=lanes is not None, strict=strict)
        lowered = self.code.lowered
        self._real: Any = np.float64 if bits == 64 else np.float32
        self.arena: Array = aligned(lowered.size, self._real)
        self.arena[:] = program.template
        self._scratch = aligned(lowered.scratch, self._real)
        pointers = [_address(x) for x in (self.arena, self._scratch, lowered.tables)]
        self._before = functools.partial(
            self.code.library.function("before", *[ctypes.c_void_p] * 3), *pointers
        )
        self._inputs, self._parameters = run_of(program.inputs), run_of(program.parameters)
        self._outputs = run_of(program.outputs)
        self._guards = run_of([slot for slot, _ in program.guards])
        wanted = np.array([number for _, number in program.guards]).astype(self._real)
        self._wanted = wanted.astype(np.float64)
        self._laned = None if lanes is None else _Laned(self, lanes, threads or _cores())

    def run(self, inputs: Sequence[Any] | Array, parameters: Array | None = None) -> Array:
        """The outputs for these inputs, with the parameters as they are now.

        Args:
            inputs: a number for each input of the program, or for a laned one as many as lanes.
            parameters: the numbers of `program.values`, from who has them at hand in an array; by
                default they are read one by one.

        Returns:
            The outputs; with lanes a row of as many as lanes for each.
        """
        if parameters is None:
            parameters = np.array([value.data for value in self.program.values])
        self.arena[self._parameters] = parameters
        if self._laned is not None:
            return self._laned.run(inputs)
        self.arena[self._inputs] = inputs
        self._before()
        return np.asarray(self.arena[self._outputs], dtype=np.float64).copy()

    def holds(self) -> NDArray[np.bool_]:
        """Which guards held in the last run, one after another; with lanes, in which lanes all."""
        found = same(np.asarray(self.arena[self._guards], dtype=np.float64), self._wanted)
        return found if self._laned is None else self._laned.held(found)

    def run_batch(self, batch: Batch, parameters: Array) -> tuple[Array, Array]:
        """The same of a runner with lanes, for samples in arrays, of which there may be any number.

        Returns:
            The outputs that all lanes share; and a row of as many as lanes for each of the others.
        """
        laned = self._laned
        if laned is None:
            raise ValueError("a runner without lanes takes no batch")
        self.lanes = batch.lanes
        self.arena[self._parameters] = parameters
        rows = laned.run_batch(batch)
        return np.asarray(self.arena[laned.shared_slots], dtype=np.float64), rows

    def read_shared(self, slots: NDArray[np.int64]) -> Array:
        """What stands in these slots after a run, if all lanes share them."""
        return np.asarray(self.arena[slots], dtype=np.float64)


_code = code


class _Laned:
    """The lanes of a runner: where their numbers come from and go to."""

    def __init__(self, runner: Runner, lanes: int, threads: int) -> None:
        program, lowered = runner.program, runner.code.lowered
        self._runner, self._real, self._width = runner, runner._real, lowered.width
        self._most_threads = threads
        laned = program.laned
        self._own = [bool(laned[slot]) for slot in program.inputs]
        self._shared_inputs = run_of(program.inputs[~laned[program.inputs]])
        slots = {
            "inputs": program.inputs[laned[program.inputs]],
            "outputs": program.outputs[laned[program.outputs]],
            "guards": np.array([s for s, _ in program.guards if laned[s]]),
            "sum_slots": lowered.sums,
        }
        self._first_sum = int(lowered.sums.min()) if len(lowered.sums) else 0
        pitch = int(lowered.sums.max()) - self._first_sum + 1 if len(lowered.sums) else 0
        self._pitch = pitch + -pitch % 16
        self._kept: dict[str, Any] = {name: x.astype(np.int32) for name, x in slots.items()}
        self._kept["sources"] = np.zeros(max(1, len(slots["inputs"])), dtype=np.int64)
        self._kept["strides"] = np.zeros(max(1, len(slots["inputs"])), dtype=np.int64)
        wanted = [number for slot, number in program.guards if laned[slot]]
        self._kept["wanted"] = np.array(wanted).astype(self._real).astype(np.float64)
        counts = {
            "arena": _address(runner.arena),
            "scratch": _address(runner._scratch),
            "tables": _address(lowered.tables),
            "input_count": len(slots["inputs"]),
            "output_count": len(slots["outputs"]),
            "guard_count": len(slots["guards"]),
            "sum_count": len(lowered.sums),
            "sum_pitch": self._pitch,
        }
        fields = {**{name: _address(x) for name, x in self._kept.items()}, **counts}
        self._frame = np.array([fields.get(name, 0) for name in FIELDS], dtype=np.int64)
        self._at = _address(self._frame)
        self._blocks: list[Any] = []
        self._lanes = 0
        self.resize(lanes)
        pointer = ctypes.c_void_p
        function = runner.code.library.function
        self._chunk = function("chunk", pointer, pointer, ctypes.c_int64)
        self._finish = function("finish", pointer)
        self._whole = function("whole", pointer, pointer)
        self.shared_outputs = run_of(np.flatnonzero(~laned[program.outputs]))
        self._laned_outputs = run_of(np.flatnonzero(laned[program.outputs]))
        self.shared_slots = program.outputs[self.shared_outputs]
        self._shared_guards = np.array([not laned[s] for s, _ in program.guards], dtype=bool)
        self._form: Any = None  # of the arrays that the strides are set for

    def resize(self, lanes: int) -> None:
        """Be ready for so many lanes."""
        if lanes == self._lanes:
            return
        blocks = -(-lanes // self._width)
        chunk = -(-blocks // CHUNKS) * self._width
        self._lanes, self._chunks = lanes, -(-lanes // chunk)
        self._kept["held"] = np.ones(lanes, dtype=np.uint8)
        self._kept["sums"] = aligned(self._pitch * self._chunks, self._real)
        sums = _address(self._kept["sums"]) - self._first_sum * self._real().itemsize
        fields = {
            "held": _address(self._kept["held"]),
            "sums": sums,
            "lanes": lanes,
            "chunk": chunk,
            "chunks": self._chunks,
        }
        for name, number in fields.items():
            self._frame[FIELDS.index(name)] = number
        work = lanes * self._runner.code.work
        self._at_once = work < _PATIENCE
        self._threads = min(self._most_threads, self._chunks) if work >= _WORTH_A_THREAD else 1
        while len(self._blocks) < self._threads:
            block = aligned(self._runner.code.lowered.block, self._real)
            block.reshape(-1, self._width)[:] = self._runner.program.template[:, None]
            self._blocks.append(block)
        self._own_block = _address(self._blocks[0])

    def run(self, inputs: Sequence[Any] | Array) -> Array:
        """The outputs, a row of as many as lanes for each."""
        runner, lanes = self._runner, self._lanes
        program = runner.program
        sources, strides = self._kept["sources"], self._kept["strides"]
        columns: Any = inputs
        self._form = None
        if isinstance(inputs, np.ndarray) and inputs.dtype == np.float64 and all(self._own):
            sources[:] = _address(inputs) + np.arange(len(inputs)) * inputs.strides[0]
            strides[:] = inputs.strides[1]
        else:
            columns = []
            for slot, own, numbers in zip(program.inputs, self._own, inputs, strict=True):
                if own:
                    columns.append(np.asarray(numbers, dtype=np.float64))
                else:
                    runner.arena[slot] = numbers
            for i, column in enumerate(columns):
                sources[i], strides[i] = _address(column), column.strides[0]
        results = self._go()
        if not len(self.shared_slots):
            return results
        found = np.empty((len(program.outputs), lanes))
        found[self._laned_outputs] = results
        found[self.shared_outputs] = runner.arena[self.shared_slots][:, None]
        return found

    def run_batch(self, batch: Batch) -> Array:
        """The outputs that have lanes, a row for each."""
        self.resize(batch.lanes)
        self._runner.arena[self._shared_inputs] = batch.shared
        form = [(x.shape[1:], x.strides) for x in batch.arrays]
        if form != self._form:
            self._lay(batch.arrays)
            self._form = form
        sources = self._kept["sources"]
        for x, (places, ahead) in zip(batch.arrays, self._layout, strict=True):
            if len(ahead) == 1:
                sources[places.start] = _address(x)
            else:
                np.add(ahead, _address(x), out=sources[places])
        order = batch.order
        self._frame[_ORDER] = 0 if order is None else _address(order)
        results = self._go()
        self._frame[_ORDER] = 0
        return results

    def _lay(self, arrays: Sequence[Array]) -> None:
        """Note how far the inputs lie behind the beginnings of such arrays."""
        self._layout: list[tuple[slice, NDArray[np.int64]]] = []
        first = 0
        for x in arrays:
            ahead = np.zeros(1, dtype=np.int64)
            for size, stride in zip(x.shape[1:], x.strides[1:], strict=True):
                ahead = (ahead[:, None] + np.arange(size) * stride).reshape(-1)
            places = slice(first, first + len(ahead))
            self._layout.append((places, ahead))
            self._kept["strides"][places] = x.strides[0]
            first = places.stop

    def _go(self) -> Array:
        """Run all lanes; the outputs that have some."""
        results = np.empty((len(self._kept["outputs"]), self._lanes))
        self._frame[_RESULTS] = _address(results)
        if len(self._kept["guards"]):
            self._kept["held"][:] = 1
        if self._threads == 1 and self._at_once:
            self._whole(self._at, self._own_block)
            return results
        self._runner._before()
        left = iter(range(self._chunks))

        def work(block: int) -> None:
            for number in left:  # a range's iterator is safe to share under the interpreter's lock
                self._chunk(self._at, block, number)

        more = self._blocks[1 : self._threads]
        others = [_pool().submit(work, _address(block)) for block in more]
        work(self._own_block)
        for other in others:
            other.result()
        self._finish(self._at)
        return results

    def held(self, found: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """In which lanes all guards held; `found` tells of those that all lanes share."""
        if not found[self._shared_guards].all():
            return np.zeros(self._lanes, dtype=bool)
        return np.array(self._kept["held"], dtype=bool)


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, _cores()), thread_name_prefix="gradloom")


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def aligned(size: int, real: Any) -> Any:
    """An array of zeros that begins at a cache line."""
    item = np.dtype(real).itemsize
    room = np.zeros(size + 64 // item, dtype=real)
    start = -room.ctypes.data % 64 // item
    return room[start : start + size]


def run_of(slots: Any) -> Any:
    """A slice if the slots follow one another, which is faster, else an index array."""
    found = np.asarray(slots, dtype=np.int64)
    if len(found) and (np.diff(found) == 1).all():
        return slice(int(found[0]), int(found[-1]) + 1)
    return found


def _address(array: Any) -> int:
    """Where an array begins. (`array.ctypes` takes a microsecond.)"""
    return int(array.__array_interface__["data"][0])
