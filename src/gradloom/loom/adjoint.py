"""The adjoint of a program: the same instructions backward, each with the chain rule in its body.

The adjoint has an arena twice as long. The first half is the program's own; behind it every slot
has another for its cotangent, d(output)/d(slot). The instruction `out = body(in0, in1, ...)`
turns into one for each operand, of the same shape:

    cotangent(in0) += d body / d in0 · cotangent(out)

with the operand's view, so that a broadcast becomes a reduction, a reduction a broadcast, and a
matrix product two. The derivative is the rule from the table, run on the operands' places.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.core import ops
from gradloom.core.operand import Operand
from gradloom.core.table import OPS, Op, Scalar
from gradloom.loom.program import Body, Instruction, Program
from gradloom.loom.views import View, slots_of


class Sketch(Operand):
    """An operand of a body that is being written."""

    __slots__ = ("body",)
    _level = 1 << 62  # it meets floats alone
    _symbolic = True

    def __init__(self, body: Body) -> None:
        self.body = body

    def _apply(self, op: Op, operands: Sequence[Scalar]) -> "Sketch":
        return Sketch((op.symbol, tuple(x.body if isinstance(x, Sketch) else x for x in operands)))


def adjoint(program: Program, wanted: NDArray[np.int64]) -> Program:
    """The program followed by its backward pass.

    Args:
        program: its outputs' cotangents become further inputs, after its own.
        wanted: the slots whose cotangents are wanted; they become the outputs, after the
            program's own.

    >>> from gradloom.backends.numpy import Runner
    >>> from gradloom.loom.record import record
    >>> from gradloom.loom.weave import weave
    >>> graph, _ = record(lambda x, y: x * y, 3.0, 4.0)
    >>> program = weave(graph)
    >>> Runner(adjoint(program, program.inputs)).run([3.0, 4.0, 1.0]).tolist()
    [12.0, 4.0, 3.0]
    """
    size = len(program.template)
    active = np.zeros(size, dtype=bool)  # depends on something wanted
    active[wanted] = True
    touched = []
    for instruction in program.instructions:
        moves = [bool(active[slots_of(v, instruction.shape)].any()) for v in instruction.operands]
        touched.append(moves)
        if any(moves):
            active[slots_of(instruction.out, instruction.shape)] = True
    backward = []
    for instruction, moves in zip(reversed(program.instructions), reversed(touched), strict=True):
        for place, move in enumerate(moves):
            if move:
                backward += _pull(instruction, place, size)
    template = np.concatenate([program.template, np.zeros(size)])
    return Program(
        template=template,
        inputs=np.concatenate([program.inputs, program.outputs + size]),
        parameters=program.parameters,
        values=program.values,
        instructions=[*program.instructions, *backward],
        outputs=np.concatenate([program.outputs, wanted + size]),
        guards=program.guards,
        laned=np.concatenate([program.laned, program.laned]),
    )


def _pull(instruction: Instruction, place: int, size: int) -> list[Instruction]:
    """What hands the cotangent of an instruction's result to one of its operands."""
    count = len(instruction.operands)
    slope = _slope(instruction.body, place, Sketch(count + 1))
    if slope is None:
        return []
    behind = _moved(instruction.out, size)
    body, masks = slope
    above = Sketch(count)
    if isinstance(body, float):
        share: Any = above if body == 1.0 else -above if body == -1.0 else body * above
    else:
        share = Sketch(body) * above
        if masks:
            share = ops.where(ops.equal(Sketch(body), 0.0), 0.0, share)
    operands = (*instruction.operands, behind, instruction.out)
    used, kept = _used(share.body, operands)
    target = _moved(instruction.operands[place], size)
    return [Instruction(instruction.shape, target, used, kept, accumulate=True)]


def _slope(body: Body, place: int, result: Sketch) -> tuple[Body, bool] | None:
    """The derivative of a body by one operand, and whether its zeros block; None if it is 0."""
    if isinstance(body, int):
        return (1.0, False) if body == place else None
    if isinstance(body, float):
        return None
    symbol, parts = body
    op = OPS[symbol]
    total: Any = None
    blocks = False
    for i, part in enumerate(parts):
        inner = _slope(part, place, result)
        if inner is None:
            continue
        operands = [x if isinstance(x, float) else Sketch(x) for x in parts]
        outer = op.derivatives(result, operands, [j == i for j in range(len(parts))])[i]
        if outer is None or (isinstance(outer, float) and outer == 0.0):
            continue
        if not (isinstance(inner[0], float) and inner[0] == 1.0):
            outer = outer * (inner[0] if isinstance(inner[0], float) else Sketch(inner[0]))
        blocks |= op.masks or inner[1]
        total = outer if total is None else total + outer
    if total is None:
        return None
    return (total.body if isinstance(total, Sketch) else total), blocks


def _moved(view: View, by: int) -> View:
    table = None if view.table is None else view.table + by
    return View(view.offset + by, view.strides, table)


def _used(body: Body, operands: tuple[View, ...]) -> tuple[Body, tuple[View, ...]]:
    """The body over those operands alone that occur in it."""
    order: dict[int, int] = {}

    def renumber(part: Body) -> Body:
        if isinstance(part, float):
            return part
        if isinstance(part, int):
            return order.setdefault(part, len(order))
        return part[0], tuple(renumber(inner) for inner in part[1])

    renumbered = renumber(body)
    return renumbered, tuple(operands[i] for i in order)
