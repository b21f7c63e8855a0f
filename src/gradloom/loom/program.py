"""Array instructions, all of one form.

    for index in shape:  out[view(index)]  (= | +=)  body(in0[view0(index)], in1[view1(index)], ...)

All numbers lie in one flat *arena*: inputs, parameters, a slot for each scalar that is computed,
constants. `+=` with a zero stride in `out` is a reduction; what a sum starts from stands
in the arena beforehand (-0.0, which changes no sum, or the constant among its terms). Since an
adjoint has the same form, so does every derivative.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

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

    def __str__(self) -> str:
        loop = " × ".join(map(str, self.shape)) or "1"
        sign = "+=" if self.accumulate else "="
        return f"{loop:>14}  {_place(self.out)} {sign} {_written(self.body, self.operands)}"


@dataclass(slots=True)
class Program:
    """What a graph was woven into.

    Attributes:
        template: the arena before a run: constants and what sums start from.
        inputs: the slot of each argument.
        parameters: the slot of each value in `values`.
        values: the values from outside that are read at each run.
        instructions: in the order of running.
        outputs: the slot of each result.
        guards: slots that must hold these numbers after a run.
        laned: for each slot, whether every lane has a number of its own there.
    """

    template: NDArray[np.float64]
    inputs: NDArray[np.int64]
    parameters: NDArray[np.int64]
    values: list[Any]
    instructions: list[Instruction]
    outputs: NDArray[np.int64]
    guards: list[tuple[int, float]]
    laned: NDArray[np.bool_]

    @property
    def tables(self) -> int:
        """How many operands are index tables rather than views."""
        views = [v for i in self.instructions for v in (i.out, *i.operands)]
        return sum(view.table is not None for view in views)

    def lines(self) -> Iterator[str]:
        """A head line, then one line an instruction."""
        yield (
            f"arena of {len(self.template)}: {len(self.inputs)} inputs, "
            f"{len(self.parameters)} parameters; {len(self.instructions)} instructions"
        )
        yield from map(str, self.instructions)

    def __str__(self) -> str:
        return "\n".join(self.lines())


def _place(view: View) -> str:
    """`@12(8,1)` is slot 12 with strides 8 and 1."""
    if view.table is not None:
        return f"@table{view.table.shape}"
    return f"@{view.offset}" + (f"({','.join(map(str, view.strides))})" if view.strides else "")


def _written(body: Body, operands: tuple[View, ...]) -> str:
    if isinstance(body, int):
        return _place(operands[body])
    if isinstance(body, float):
        return repr(body)
    symbol, parts = body
    inner = [_written(part, operands) for part in parts]
    if len(inner) == 2 and not symbol[0].isalpha():
        return f"({inner[0]} {symbol} {inner[1]})"
    return f"{symbol}({', '.join(inner)})"
