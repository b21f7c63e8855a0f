"""The tangent of a program: every instruction followed by its rate of change in one direction.

The tangent has an arena twice as long. The first half is the program's own; behind it every slot
has another for its tangent, d(slot)/dt along the direction that is fed in. The instruction
`out = body(in0, in1, ...)` is followed by one for each operand, of the same shape:

    tangent(out) += d body / d in0 · tangent(in0)

It is the adjoint's rule with the two ends exchanged, so a tangent of an adjoint is a program like
any other: the Hessian times a direction. Many directions at once are one more axis of these
instructions, while what the program itself computes is computed once for all.

What does not move moves nothing, as in eager code: where a slope may be inf at finite numbers (a
root, a quotient) a tangent of 0 is left out. In sums and products it is not, so that they stay
matrix products; there a factor that is inf gives nan.
"""

import numpy as np
from numpy.typing import NDArray

from gradloom.loom.bodies import Shares, behind, handed_on, slots_behind
from gradloom.loom.program import Program
from gradloom.loom.views import Marks


def tangent(program: Program, wrt: NDArray[np.int64], *, directions: int | None = None) -> Program:
    """The program with its forward-mode derivative.

    Args:
        program: what to differentiate; an adjoint or a tangent will do.
        wrt: the slots that move; their tangents become further inputs, after the program's own.
        directions: that many tangents for every slot, side by side.

    Returns:
        A program whose outputs are the program's own, then the tangents of each.

    >>> from gradloom.backends.numpy import Runner
    >>> from gradloom.loom.record import record
    >>> from gradloom.loom.weave import weave
    >>> graph, _ = record(lambda x, y: x * y, 3.0, 4.0)
    >>> program = weave(graph)
    >>> Runner(tangent(program, program.inputs)).run([3.0, 4.0, 1.0, 0.0]).tolist()
    [12.0, 4.0]
    >>> both = tangent(program, program.inputs, directions=2)
    >>> Runner(both).run([3.0, 4.0, 1.0, 0.0, 0.0, 1.0]).tolist()
    [12.0, 4.0, 3.0]
    """
    size = len(program.template)
    count = directions or 1
    moves = Marks(size, wrt)
    shares = Shares()
    instructions = []
    for one in program.instructions:
        instructions.append(one)
        target = behind(one.out, size, directions)
        pushed = []
        for place, view in enumerate(one.operands):
            share = shares.of(one, place) if moves.any(view, one.shape) else None
            if share is not None:
                moving = behind(view, size, directions)
                pushed.append(handed_on(one, place, share, moving, target, directions, still=True))
        if pushed:
            moves.set(one.out, one.shape)
            instructions += pushed
    return Program(
        template=np.concatenate([program.template, np.zeros(size * count)]),
        inputs=np.concatenate([program.inputs, slots_behind(wrt, size, directions)]),
        parameters=program.parameters,
        values=program.values,
        instructions=instructions,
        outputs=np.concatenate([program.outputs, slots_behind(program.outputs, size, directions)]),
        guards=program.guards,
        laned=np.concatenate([program.laned, program.laned.repeat(count)]),
    )
