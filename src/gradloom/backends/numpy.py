"""Run array programs with NumPy: the living definition of what an instruction does.

Views become strided arrays over the arena, made once; products that are summed go to BLAS by
way of `matmul`; everything else is a whole-array expression. There is no loop over elements.
Instructions on single numbers, of which a long recurrence has many in a row, run as plain
floats from a tape: an array of one costs ten times as much.
"""

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from gradloom.backends.batch import Batch
from gradloom.backends.functions import function
from gradloom.core.table import OPS
from gradloom.loom.guards import same
from gradloom.loom.program import Body, Instruction, Program
from gradloom.loom.views import View, slots_of

Array = NDArray[np.float64]
Step = Callable[[], None]
# A step on single numbers: a function, the cell for its result, and the cells of its operands.
_Line = tuple[Callable[..., float], int, tuple[int, ...]]


class Runner:
    """A program with an arena of its own, ready to run.

    Args:
        program: what to run.
        lanes: how many lanes; None where the program has no laned inputs.

    With lanes the arena is one flat array of `1 + lanes` parts: what all lanes share, then every
    slot once for each lane, lanes innermost. A lane is thus one more axis of the instruction, of
    stride 1 for what is laned and 0 for what is shared, and a sum over lanes is a reduction.

    >>> from gradloom.loom.record import record
    >>> from gradloom.loom.weave import weave
    >>> graph, _ = record(lambda x, y: x * y + x, 3.0, 4.0)
    >>> Runner(weave(graph)).run([5.0, 6.0])
    array([35.])
    >>> Runner(weave(graph, lanes=[1]), lanes=3).run([5.0, np.array([1.0, 2.0, 3.0])])
    array([[10., 15., 20.]])
    """

    def __init__(self, program: Program, lanes: int | None = None) -> None:
        self.program = program
        self.lanes = lanes
        size = len(program.template)
        end = size * (1 + (lanes or 0))
        self._all_laned = bool(program.laned[program.inputs].all())
        lowered = program.flat
        if lanes is not None:
            lowered = [_with_lanes(one, program, lanes) for one in lowered]
        self._guards = np.array([slot for slot, _ in program.guards], dtype=np.int64)
        self._wanted = np.array([number for _, number in program.guards])
        scribe = _Scribe(end)
        stretches: list[tuple[list[Instruction], list[_Line]]] = []
        for single, stretch in itertools.groupby(lowered, key=lambda one: not one.shape):
            ones = list(stretch)
            stretches.append(([], scribe.write(ones)) if single else (ones, []))
        behind = np.array(scribe.behind, dtype=np.float64)
        laned = program.template.repeat(lanes or 0)
        self._template = np.concatenate([program.template, laned, behind])
        self.arena = self._template.copy()
        self._shared = self.arena[:size]
        self._laned = self.arena[size:end].reshape(size, lanes or 0)
        self._sums = _added_to(lowered, end)
        self._steps: list[Step] = []
        for instructions, tape in stretches:
            self._steps += [_step(one, self.arena) for one in instructions]
            if tape:
                self._steps.append(functools.partial(_run_tape, tape, self.arena.data))

    def run(self, inputs: Sequence[Any] | Array, parameters: Array | None = None) -> Array:
        """The outputs for these inputs, with the parameters as they are now.

        Args:
            inputs: a number for each input of the program, or for a laned one as many as lanes.
            parameters: the numbers of `program.values`, from who has them at hand in an array; by
                default they are read one by one.

        Returns:
            The outputs; with lanes a row of as many as lanes for each.
        """
        program = self.program
        self.arena[self._sums] = self._template[self._sums]
        if self.lanes is None:
            self._shared[program.inputs] = inputs
        elif isinstance(inputs, np.ndarray) and self._all_laned:
            self._laned[program.inputs] = inputs
        else:
            for slot, number in zip(program.inputs, inputs, strict=True):
                (self._laned if program.laned[slot] else self._shared)[slot] = number
        if parameters is None:
            parameters = np.array([value.data for value in program.values])
        self._shared[program.parameters] = parameters
        with np.errstate(all="ignore"):
            for step in self._steps:
                step()
        return self.read(program.outputs)

    def run_batch(self, batch: Batch, parameters: Array) -> tuple[Array, Array]:
        """The same of a runner with lanes, for samples in arrays, of which there may be any number.

        Returns:
            The outputs that all lanes share; and a row of as many as lanes for each of the others.
        """
        if batch.lanes != self.lanes:
            Runner.__init__(self, self.program, batch.lanes)
        program, shared, columns = self.program, iter(batch.shared), iter(batch.columns())
        own = program.laned[program.inputs]
        found = self.run([next(columns if laned else shared) for laned in own], parameters)
        outputs = program.laned[program.outputs]
        return self._shared[program.outputs[~outputs]], found[outputs]

    def holds(self) -> NDArray[np.bool_]:
        """Which guards held in the last run, one after another; with lanes, in which lanes all."""
        found, wanted = self.read(self._guards), self._wanted
        if self.lanes is None:
            return same(found, wanted)
        return np.asarray(same(found, wanted[:, None]).all(axis=0))

    def read_shared(self, slots: NDArray[np.int64]) -> Array:
        """What stands in these slots after a run, if all lanes share them."""
        return self._shared[slots]

    def read(self, slots: NDArray[np.int64]) -> Array:
        """What stands in these slots after a run; with lanes a row of as many as lanes for each."""
        if self.lanes is None:
            return self._shared[slots]
        found = self._laned[slots]
        shared = ~self.program.laned[slots]
        found[shared] = self._shared[slots[shared], None]
        return found


def _with_lanes(instruction: Instruction, program: Program, lanes: int) -> Instruction:
    """The instruction over the arena with lanes, with an axis for them where any is needed."""
    views = (instruction.out, *instruction.operands)
    laned = [bool(program.laned[slots_of(v, instruction.shape)].any()) for v in views]
    if not any(laned):
        return instruction
    size = len(program.template)
    lowered = []
    for view, own in zip(views, laned, strict=True):
        if not own:
            table = None if view.table is None else view.table[..., None]
            lowered.append(View(view.offset, (*view.strides, 0), table))
            continue
        table = None
        if view.table is not None:
            table = size + view.table[..., None] * lanes + np.arange(lanes)
        strides = tuple(s * lanes for s in view.strides)
        lowered.append(View(size + view.offset * lanes, (*strides, 1), table))
    shape = (*instruction.shape, lanes)
    out, *operands = lowered
    return replace(instruction, shape=shape, out=out, operands=tuple(operands))


def _step(instruction: Instruction, arena: Array) -> Step:
    # A body of one operand and 1.0 would be equal to this one, hence the count.
    product = instruction.body == ("*", (0, 1)) and len(instruction.operands) == 2
    if product and instruction.accumulate and not instruction.ordered:
        step = _contraction(instruction, arena)
        if step is not None:
            return step
    return _plain(instruction, arena)


def _plain(instruction: Instruction, arena: Array) -> Step:
    """Any instruction at all, as an expression on whole arrays."""
    out, body = instruction.out, instruction.body
    shape = instruction.shape
    read = [_reader(view, shape, arena) for view in instruction.operands]
    value = _muted(_evaluator(body, read), [read[i] for i in instruction.muted])
    if out.table is not None or not _injective(out, shape):
        slots = slots_of(out, shape)

        def scatter() -> None:
            np.add.at(arena, np.broadcast_to(slots, shape), np.broadcast_to(value(), shape))

        def assign() -> None:
            arena[slots] = value()

        return scatter if instruction.accumulate else assign
    summed = tuple(i for i, s in enumerate(out.strides) if s == 0 and shape[i] > 1)
    kept = tuple(1 if i in summed else n for i, n in enumerate(shape))
    target = _strided(out, kept, arena)

    def add() -> None:
        np.add(target, value(), out=target)

    def reduce() -> None:
        result = value()
        if np.shape(result) != shape:
            result = np.broadcast_to(result, shape)
        result = np.add.reduce(result, axis=summed, keepdims=True, initial=-0.0)
        np.add(target, result, out=target)

    def reduce_in_order() -> None:
        last = range(-len(summed), 0)
        terms = np.moveaxis(np.broadcast_to(value(), shape), summed, last)
        terms = terms.reshape(*terms.shape[: -len(summed)], -1)
        begin = np.moveaxis(target, summed, last).reshape(*terms.shape[:-1], 1)
        sums = np.add.accumulate(np.concatenate([begin, terms], axis=-1), axis=-1)
        target[...] = np.expand_dims(sums[..., -1], summed)

    def store() -> None:
        np.copyto(target, value())

    if not instruction.accumulate:
        return store
    if not summed:
        return add
    return reduce_in_order if instruction.ordered else reduce


def _evaluator(body: Body, read: Sequence[Callable[[], Array]]) -> Callable[[], Any]:
    """What a body comes to, whenever called."""
    if isinstance(body, int):
        return read[body]
    if isinstance(body, float):
        number = np.float64(body)
        return lambda: number
    return _applied(function(body[0]), [_evaluator(part, read) for part in body[1]])


def _muted(value: Callable[[], Any], read: Sequence[Callable[[], Array]]) -> Callable[[], Any]:
    """The value, but 0 where it is inf or nan and one of these is 0."""
    if not read:
        return value

    def checked() -> Any:
        found = value()
        if np.isfinite(found).all():
            return found
        quiet = functools.reduce(np.logical_or, [one() == 0.0 for one in read])
        return np.where(quiet & ~np.isfinite(found), 0.0, found)

    return checked


def _applied(f: Callable[..., Any], parts: Sequence[Callable[[], Any]]) -> Callable[[], Any]:
    if len(parts) == 1:
        (one,) = parts
        return lambda: f(one())
    if len(parts) == 2:
        left, right = parts
        return lambda: f(left(), right())
    return lambda: f(*[part() for part in parts])


class _Scribe:
    """Writes instructions on single numbers down as steps: see `_run_tape`.

    The numbers in their bodies, and what their inner operations come to, have cells behind the
    arena.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.behind: list[float] = []
        # What to do for a body: steps with operands by place, and cells behind the arena as ~cell.
        self._known: dict[int, list[_Line]] = {}

    def write(self, instructions: Iterable[Instruction]) -> list[_Line]:
        """The steps of some instructions in a row."""
        tape: list[_Line] = []
        for one in instructions:
            lines = self._known.get(id(one.body))
            if lines is None:
                lines = []
                self._spell(one.body, lines)
                self._known[id(one.body)] = lines
            slots = [
                view.offset if view.table is None else int(view.table.item())
                for view in (*one.operands, one.out)
            ]
            for evaluate, to, operands in lines:
                cells = tuple([slots[i] if i >= 0 else ~i for i in operands])
                tape.append((evaluate, ~to, cells))
            evaluate, _, cells = tape.pop()  # the outermost, which goes where the result does
            out = slots[-1]
            if not one.accumulate and not one.muted:
                tape.append((evaluate, out, cells))
                continue
            result = ~lines[-1][1]
            tape.append((evaluate, result, cells))
            if one.muted:
                tape.append((_quiet, result, (result, *[slots[i] for i in one.muted])))
            sums = operator.add, out, (out, result)
            tape.append(sums if one.accumulate else (operator.pos, out, (result,)))
        return tape

    def _spell(self, body: Body, lines: list[_Line]) -> None:
        """Append the steps of a body; the last of them is the outermost."""
        symbol, parts = body if isinstance(body, tuple) else ("", (body,))
        operands = []
        for part in parts:
            if isinstance(part, int):
                operands.append(part)
            elif isinstance(part, float):
                operands.append(self._cell(part))
            else:
                self._spell(part, lines)
                operands.append(lines[-1][1])
        evaluate = OPS[symbol].evaluate if symbol else operator.pos
        lines.append((evaluate, self._cell(0.0), tuple(operands)))

    def _cell(self, number: float) -> int:
        self.behind.append(number)
        return ~(self.size + len(self.behind) - 1)


def _quiet(number: float, *muted: float) -> float:
    """The number, but 0 if it is inf or nan and one of the others is 0."""
    return number if math.isfinite(number) or all(muted) else 0.0


def _run_tape(tape: list[_Line], cells: Any) -> None:
    """Instructions on single numbers, without the ado of arrays."""
    read = cells.__getitem__
    for evaluate, to, operands in tape:
        cells[to] = evaluate(*map(read, operands))


def _added_to(instructions: Sequence[Instruction], size: int) -> NDArray[np.int64] | slice:
    """The slots that sums are added up in, to be set back before each run."""
    found = np.zeros(size, dtype=bool)
    for one in instructions:
        if one.accumulate:
            plain = not one.shape and one.out.table is None
            found[one.out.offset if plain else slots_of(one.out, one.shape)] = True
    slots = np.flatnonzero(found)
    return slots if len(slots) < size // 8 else slice(None)


def _strided(view: View, shape: Sequence[int], arena: Array) -> Array:
    strides = [8 * s for s in view.strides]
    return as_strided(arena[view.offset :], tuple(shape), strides)


def _reader(view: View, shape: tuple[int, ...], arena: Array) -> Callable[[], Array]:
    if view.table is not None:
        table = view.table
        return lambda: arena[table]
    array = _strided(view, shape, arena)
    return lambda: array


def _injective(view: View, shape: tuple[int, ...]) -> bool:
    """No two elements share a slot, but along axes of stride 0."""
    reach = 0
    for stride, size in sorted((abs(s), n) for s, n in zip(view.strides, shape, strict=True) if s):
        if stride <= reach:
            return False
        reach += stride * (size - 1)
    return True


def _contraction(instruction: Instruction, arena: Array) -> Step | None:
    """A summed product as one matrix product (perhaps many, side by side), if it is one."""
    out, (a, b), shape = instruction.out, instruction.operands, instruction.shape
    if any(view.table is not None for view in (out, a, b)) or not _injective(out, shape):
        return None
    roles: dict[str, list[int]] = {"batch": [], "m": [], "n": [], "k": []}
    for axis, strides in enumerate(zip(out.strides, a.strides, b.strides, strict=True)):
        in_out, in_a, in_b = (s != 0 for s in strides)
        if shape[axis] == 1:
            continue
        if in_a and in_b:
            roles["batch" if in_out else "k"].append(axis)
        elif in_out and (in_a or in_b):
            roles["m" if in_a else "n"].append(axis)
        else:
            return None
    if not roles["k"]:
        return None
    left = _pick(a, shape, roles["batch"] + roles["m"] + roles["k"], arena)
    right = _pick(b, shape, roles["batch"] + roles["k"] + roles["n"], arena)
    target = _pick(out, shape, roles["batch"] + roles["m"] + roles["n"], arena)
    sizes = {role: math.prod(shape[i] for i in axes) for role, axes in roles.items()}
    batch, m, n, k = sizes["batch"], sizes["m"], sizes["n"], sizes["k"]

    muted = bool(instruction.muted)

    def multiply() -> None:
        product = left.reshape(batch, m, k) @ right.reshape(batch, k, n)
        if muted and not np.isfinite(product).all():
            _plain(instruction, arena)()
        else:
            np.add(target, product.reshape(target.shape), out=target)

    return multiply


def _pick(view: View, shape: tuple[int, ...], axes: list[int], arena: Array) -> Array:
    """The strided array of these axes, in this order."""
    chosen = View(view.offset, tuple(view.strides[i] for i in axes))
    return _strided(chosen, [shape[i] for i in axes], arena)
