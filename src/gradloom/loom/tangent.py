"""The tangent of a program: every instruction followed by its rate of change in one direction.

The tangent has an arena twice as long. The first half is the program's own; behind it every slot
has another for its tangent, d(slot)/dt along the direction that is fed in. The instruction
`out = body(in0, in1, ...)` is followed by one for each operand, of the same shape:

    tangent(out) += d body / d in0 · tangent(in0)

It is the adjoint's rule with the two ends exchanged, so a tangent of an adjoint is a program like
any other: the Hessian times a direction. Many directions at once are lanes: then the tangents
have a lane for each, and what the program itself computes is computed once for all.

What does not move moves nothing, as in eager code: where a slope may be inf at finite numbers (a
root, a quotient) a tangent of 0 is left out. In sums and products it is not, so that they stay
matrix products; there a factor that is inf gives nan.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.core import ops
from gradloom.loom.bodies import Sketch, moved, slope, times, used
from gradloom.loom.program import Body, Instruction, Program
from gradloom.loom.views import slots_of


def tangent(program: Program, wrt: NDArray[np.int64], *, directions: bool = False) -> Program:
    """The program with its forward-mode derivative.

    Args:
        program: what to differentiate; an adjoint or a tangent will do.
        wrt: the slots that move; their tangents become further inputs, after the program's own.
        directions: give the tangents lanes of their own, one for each of many directions. The
            program must then have no lanes yet.

    Returns:
        A program whose outputs are the program's own, then the tangent of each.

    Raises:
        ValueError: `directions` for a program that has lanes.

    >>> from gradloom.backends.numpy import Runner
    >>> from gradloom.loom.record import record
    >>> from gradloom.loom.weave import weave
    >>> graph, _ = record(lambda x, y: x * y, 3.0, 4.0)
    >>> program = weave(graph)
    >>> Runner(tangent(program, program.inputs)).run([3.0, 4.0, 1.0, 0.0]).tolist()
    [12.0, 4.0]
    >>> both = tangent(program, program.inputs, directions=True)
    >>> Runner(both, lanes=2).run([3.0, 4.0, *np.eye(2)])[1].tolist()
    [4.0, 3.0]
    """
    if directions and program.laned.any():
        raise ValueError("a program with lanes takes one direction at a time; run it for each")
    size = len(program.template)
    moves = np.zeros(size, dtype=bool)
    moves[wrt] = True
    instructions = []
    for instruction in program.instructions:
        instructions.append(instruction)
        pushed = [
            one
            for place, view in enumerate(instruction.operands)
            if moves[slots_of(view, instruction.shape)].any()
            for one in _push(instruction, place, size)
        ]
        if pushed:
            moves[slots_of(instruction.out, instruction.shape)] = True
            instructions += pushed
    own = np.ones(size, dtype=bool) if directions else program.laned
    return Program(
        template=np.concatenate([program.template, np.zeros(size)]),
        inputs=np.concatenate([program.inputs, wrt + size]),
        parameters=program.parameters,
        values=program.values,
        instructions=instructions,
        outputs=np.concatenate([program.outputs, program.outputs + size]),
        guards=program.guards,
        laned=np.concatenate([program.laned, own]),
    )


def _push(instruction: Instruction, place: int, size: int) -> list[Instruction]:
    """What hands the tangent of an operand on to the result of an instruction."""
    found = slope(instruction, place)
    if found is None:
        return []
    body, masks = found
    below = Sketch(len(instruction.operands) + 1)
    share: Any = times(body if isinstance(body, float) else Sketch(body), below, masks=masks)
    if not _is_plain(body):
        share = ops.where(ops.equal(below, 0.0), 0.0, share)
    move = moved(instruction.operands[place], size)
    kept, views = used(share.body, (*instruction.operands, instruction.out, move))
    target = moved(instruction.out, size)
    return [Instruction(instruction.shape, target, kept, views, accumulate=True)]


def _is_plain(body: Body) -> bool:
    """A number or a factor, as in sums and products: finite wherever the operands are."""
    while isinstance(body, tuple) and body[0] == "neg":
        body = body[1][0]
    return not isinstance(body, tuple)
