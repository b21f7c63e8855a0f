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

from gradloom.core import collector
from gradloom.loom.bodies import Share, Shares, behind, handed_on, slots_behind
from gradloom.loom.program import Program
from gradloom.loom.views import Marks


@collector.paused()
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
    shares = Shares()
    active = Marks(size, wanted)  # what depends on something wanted
    touched: list[list[Share | None]] = []
    for one in program.instructions:
        found = [
            shares.of(one, place) if active.any(view, one.shape) else None
            for place, view in enumerate(one.operands)
        ]
        touched.append(found)
        if any(found):
            active.set(one.out, one.shape)
    reached = Marks(size, program.outputs)  # what something depends on that is handed in,
    certain = Marks(size, program.outputs)  # and no mask stands between
    backward = []
    for one, found in zip(reversed(program.instructions), reversed(touched), strict=True):
        if not any(found) or not reached.any(one.out, one.shape):
            continue
        # Where nothing arrives the cotangent is 0, and a slope of inf must not make it nan.
        arrives = certain.all(one.out, one.shape)
        above = behind(one.out, size, directions)
        for place, share in enumerate(found):
            if share is None:
                continue
            view = one.operands[place]
            reached.set(view, one.shape)
            if arrives and not share.masks:
                certain.set(view, one.shape)
            target = behind(view, size, directions)
            still = directions is not None or not arrives
            backward.append(handed_on(one, place, share, above, target, directions, still=still))
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
