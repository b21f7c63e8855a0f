"""Array instructions, all of one form.

    for index in shape:  out[view(index)]  (= | +=)  body(in0[view0(index)], in1[view1(index)], ...)

All numbers lie in one flat *arena*: inputs, parameters, a slot for each scalar that is computed,
constants. `+=` with a zero stride in `out` is a reduction; what a sum starts from stands
in the arena beforehand (-0.0, which changes no sum, or the constant among its terms). Since an
adjoint has the same form, so does every derivative.

A long recurrence repeats the same few instructions, each time some slots further on; rolled up
(`roll`) they are one `Loop`. Derivatives are taken of flat programs.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradloom.loom.views import View

# What a body is: an operand's place, a plain number, or a symbol of the table with bodies for its
# operands.
Body = int | float | tuple[str, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Instruction:
    """One array instruction; see the module.

    Attributes:
        shape: the sizes of the loop, outermost first.
        out: where the results go.
        body: what is computed of the operands.
        operands: where they lie.
        accumulate: whether the results are added to what stands there.
        ordered: whether they must be so one by one, in the order of the loop.
        muted: operands of which a 0 makes a result that is inf or nan 0: what does not move
            moves nothing, whatever the slope.
    """

    shape: tuple[int, ...]
    out: View
    body: Body
    operands: tuple[View, ...]
    accumulate: bool
    ordered: bool = False
    muted: tuple[int, ...] = ()

    @property
    def views(self) -> tuple[View, ...]:
        """Where the results go, then where each operand lies."""
        return (self.out, *self.operands)

    def moved(self, by: Iterable[int]) -> "Instruction":
        """The same so many slots further on, each view by a number of its own."""
        out, *operands = [view.moved(one) for view, one in zip(self.views, by, strict=True)]
        return replace(self, out=out, operands=tuple(operands))

    def __str__(self) -> str:
        return self.text("", [""] * len(self.views))

    def text(self, indent: str, steps: Iterable[str]) -> str:
        """A line: how often, and what; behind each slot how it moves from turn to turn."""
        loop = " × ".join(map(str, self.shape)) or "1"
        sign = "+=" if self.accumulate else "="
        out, *read = [_place(view, step) for view, step in zip(self.views, steps, strict=True)]
        return f"{loop:>14}  {indent}{out} {sign} {_written(self.body, read)}"


@dataclass(frozen=True, slots=True)
class Loop:
    """Instructions that are run again and again, each time some slots further on.

    Attributes:
        count: how many turns.
        body: what the first turn runs, in order; loops among it are run in every turn.
        steps: for each instruction of the body, those within its loops included, how many slots
            each of its views (`out`, then the operands) lies further on with every turn.

    >>> one = Instruction((), View(1, ()), ("sin", (0,)), (View(0, ()),), accumulate=False)
    >>> for instruction in Loop(3, (one,), ((1, 1),)).expanded():
    ...     print(instruction)
                 1  @1 = sin(@0)
                 1  @2 = sin(@1)
                 1  @3 = sin(@2)
    """

    count: int
    body: tuple["Instruction | Loop", ...]
    steps: tuple[tuple[int, ...], ...]

    def expanded(self) -> Iterator[Instruction]:
        """The instructions of all turns, in the order of running."""
        for turn in range(self.count):
            yield from flat(self.turn(turn))

    def turn(self, index: int) -> Iterator["Instruction | Loop"]:
        """The body as a turn runs it; turns count from 0."""
        steps = iter(self.steps)
        return (_moved(one, index, steps) for one in self.body)

    def members(self) -> Iterator[Instruction]:
        """The instructions of the body in order, those within its loops included."""
        for one in self.body:
            if isinstance(one, Loop):
                yield from one.members()
            else:
                yield one


Item: TypeAlias = Instruction | Loop


def flat(items: Iterable[Item]) -> Iterator[Instruction]:
    """The instructions in the order of running, with every loop written out."""
    for one in items:
        if isinstance(one, Loop):
            yield from one.expanded()
        else:
            yield one


def _moved(one: Item, turns: int, steps: Iterator[tuple[int, ...]]) -> Item:
    """A part of a loop's body as it is so many turns later, by the next of the steps."""
    if isinstance(one, Loop):
        return replace(one, body=tuple([_moved(part, turns, steps) for part in one.body]))
    return one.moved([turns * step for step in next(steps)])


@dataclass(slots=True)
class Program:
    """What a graph was woven into.

    Attributes:
        template: the arena before a run: constants and what sums start from.
        inputs: the slot of each argument.
        parameters: the slot of each value in `values`.
        values: the values from outside that are read at each run.
        instructions: in the order of running; those of a rolled program have loops among them.
        outputs: the slot of each result.
        guards: slots that must hold these numbers after a run.
        laned: for each slot, whether every lane has a number of its own there.
    """

    template: NDArray[np.float64]
    inputs: NDArray[np.int64]
    parameters: NDArray[np.int64]
    values: list[Any]
    instructions: list[Any]  # of Item; most of the code takes programs that have no loops
    outputs: NDArray[np.int64]
    guards: list[tuple[int, float]]
    laned: NDArray[np.bool_]

    @property
    def tables(self) -> int:
        """How many operands are index tables rather than views."""
        return sum(view.table is not None for one in self.written for view in one.views)

    @property
    def flat(self) -> list[Instruction]:
        """The instructions in the order of running, with every loop written out."""
        return list(flat(self.instructions))

    @property
    def written(self) -> list[Instruction]:
        """The instructions as they are written: those in a loop once."""
        return list(Loop(1, tuple(self.instructions), ()).members())

    def lines(self) -> Iterator[str]:
        """A head line, then one line an instruction."""
        yield (
            f"arena of {len(self.template)}: {len(self.inputs)} inputs, "
            f"{len(self.parameters)} parameters; {len(self.written)} instructions"
        )
        yield from _lines(self.instructions, 0, itertools.repeat([]))

    def __str__(self) -> str:
        return "\n".join(self.lines())


def _lines(
    items: Iterable[Item], depth: int, moves: Iterator[list[tuple[int, ...]]]
) -> Iterator[str]:
    """The lines of some instructions, and what each moves by in the loops around it."""
    for one in items:
        if isinstance(one, Loop):
            yield f"{f'× {one.count}':>14}  {'    ' * depth}for {_letter(depth)}:"
            inner = ([*next(moves), step] for step in one.steps)
            yield from _lines(one.body, depth + 1, inner)
        else:
            own = next(moves)
            marks = [
                "".join(f"{by[place]:+}{_letter(i)}" for i, by in enumerate(own) if by[place])
                for place in range(len(one.views))
            ]
            yield one.text("    " * depth, marks)


def _letter(depth: int) -> str:
    return chr(ord("i") + depth)


def _place(view: View, step: str = "") -> str:
    """`@12(8,1)` is slot 12 with strides 8 and 1; `@12+3i(8,1)` is 3 further every turn."""
    if view.table is not None:
        return f"@table{step}{view.table.shape}"
    strides = f"({','.join(map(str, view.strides))})" if view.strides else ""
    return f"@{view.offset}{step}{strides}"


def _written(body: Body, operands: list[str]) -> str:
    if isinstance(body, int):
        return operands[body]
    if isinstance(body, float):
        return repr(body)
    symbol, parts = body
    inner = [_written(part, operands) for part in parts]
    if len(inner) == 2 and not symbol[0].isalpha():
        return f"({inner[0]} {symbol} {inner[1]})"
    return f"{symbol}({', '.join(inner)})"
