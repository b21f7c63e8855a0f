"""The adjoint of a program: the same instructions backward, each with the chain rule in its body.

The adjoint has an arena twice as long. The first half is the program's own; behind it every slot
has another for its cotangent, d(output)/d(slot). The instruction `out = body(in0, in1, ...)`
turns into one for each operand, of the same shape:

    cotangent(in0) += d body / d in0 · cotangent(out)

with the operand's view, so that a broadcast becomes a reduction, a reduction a broadcast, and a
matrix product two. The derivative is the rule from the table, run on the operands' places.
"""

import numpy as np
from numpy.typing import NDArray

from gradloom.loom.bodies import behind, depends, handed_on, masks, slots_behind
from gradloom.loom.program import Program
from gradloom.loom.views import place_of


def adjoint(
    program: Program, wanted: NDArray[np.int64], *, directions: int | None = None
) -> Program:
    """The program followed by its backward pass.

    Args:
        program: its outputs' cotangents become further inputs, after its own.
        wanted: the slots whose cotangents are wanted; they become the outputs, after the
            program's own.
        directions: that many cotangents for every slot, side by side, each with its own seeds.

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
        moves = [
            bool(active[place_of(view, instruction.shape)].any()) and depends(instruction, place)
            for place, view in enumerate(instruction.operands)
        ]
        touched.append(moves)
        if any(moves):
            active[place_of(instruction.out, instruction.shape)] = True
    reached = np.zeros(size, dtype=bool)  # something that is handed in depends on it
    reached[program.outputs] = True
    certain = reached.copy()  # and no mask stands between
    backward = []
    for instruction, moves in zip(reversed(program.instructions), reversed(touched), strict=True):
        results = reached[place_of(instruction.out, instruction.shape)]
        if not results.any():
            continue
        # Where nothing arrives the cotangent is 0, and a slope of inf must not make it nan.
        arrives = bool(certain[place_of(instruction.out, instruction.shape)].all())
        still = directions is not None or not arrives
        for place, move in enumerate(moves):
            if move:
                above = behind(instruction.out, size, directions)
                target = behind(instruction.operands[place], size, directions)
                below = place_of(instruction.operands[place], instruction.shape)
                reached[below] = True
                certain[below] |= arrives and not masks(instruction, place)
                backward += handed_on(instruction, place, above, target, directions, still=still)
    count = directions or 1
    template = np.concatenate([program.template, np.zeros(size * count)])
    return Program(
        template=template,
        inputs=np.concatenate([program.inputs, slots_behind(program.outputs, size, directions)]),
        parameters=program.parameters,
        values=program.values,
        instructions=[*program.instructions, *backward],
        outputs=np.concatenate([program.outputs, slots_behind(wanted, size, directions)]),
        guards=program.guards,
        laned=np.concatenate([program.laned, program.laned.repeat(count)]),
    )
