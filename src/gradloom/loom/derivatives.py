"""Derivatives of a program as programs of the same inputs: gradient, Jacobian, Hessian, products.

Each is an adjoint or a tangent with its seeds put in: as constants where they are unit vectors,
as further inputs where a caller chooses them. What comes out is a program like any other, so the
derivative of a derivative is the same function once more.

A Jacobian takes a tangent for each column or a cotangent for each row, whichever are fewer, or,
where its pattern is known to have room, one for several of them at once (see `sparsity`).
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gradloom.loom.adjoint import adjoint
from gradloom.loom.program import Program
from gradloom.loom.sparsity import Pattern, colours, pattern, seeds
from gradloom.loom.tangent import tangent

Slots = NDArray[np.int64]

# Columns are compressed where there are at least so many, and half as many directions will do.
# Below that, reading the pattern costs more than the directions it saves.
COMPRESS_FROM = 8


def gradient(
    program: Program, wrt: Slots, *, back: Callable[[Program, Slots], Program] = adjoint
) -> Program:
    """The derivatives of a program's one result by the slots `wrt`.

    Args:
        program, wrt: what to differentiate by what.
        back: what makes the adjoint.

    Returns:
        A program of the same inputs: the result, then its derivatives.

    >>> from gradloom.backends.numpy import Runner
    >>> from gradloom.loom.record import record
    >>> from gradloom.loom.weave import weave
    >>> program = weave(record(lambda x, y: x * x * y, 3.0, 4.0)[0])
    >>> Runner(gradient(program, program.inputs)).run([3.0, 4.0]).tolist()
    [36.0, 24.0, 9.0]
    """
    return _seeded(back(program, wrt), program, np.ones(1))


def jacobian(program: Program, wrt: Slots, *, compress: bool = True) -> Program:
    """The derivatives of all results of a program by the slots `wrt`.

    Args:
        program, wrt: what to differentiate by what.
        compress: find several columns or rows at once where the pattern allows.

    Returns:
        A program of the same inputs: the results, then the matrix row by row.

    >>> from gradloom.backends.numpy import Runner
    >>> from gradloom.loom.record import record
    >>> from gradloom.loom.weave import weave
    >>> program = weave(record(lambda x, y: [x * y, x + y, 2.0 * x], 3.0, 4.0)[0])
    >>> Runner(jacobian(program, program.inputs)).run([3.0, 4.0]).tolist()
    [12.0, 7.0, 6.0, 4.0, 3.0, 1.0, 1.0, 2.0, 0.0]
    """
    height, width = len(program.outputs), len(wrt)
    if not height * width:
        return program
    rows, columns = np.arange(height), np.arange(width)
    found = None
    if compress and min(height, width) >= COMPRESS_FROM:
        found = pattern(program, program.outputs, wrt)
        rows, columns = _coloured(found.transposed, rows), _coloured(found, columns)
    if columns.max() <= rows.max():
        return _by_columns(program, wrt, columns, found)
    return _by_rows(program, wrt, rows, found)


def hessian(program: Program, wrt: Slots, *, compress: bool = True) -> Program:
    """The second derivatives of a program's one result by the slots `wrt`.

    Returns:
        A program of the same inputs: the result, the gradient, then the matrix row by row.

    >>> from gradloom.backends.numpy import Runner
    >>> from gradloom.loom.record import record
    >>> from gradloom.loom.weave import weave
    >>> program = weave(record(lambda x, y: x * x * y, 3.0, 4.0)[0])
    >>> Runner(hessian(program, program.inputs)).run([3.0, 4.0])[3:].tolist()
    [8.0, 6.0, 6.0, 0.0]
    """
    first = gradient(program, wrt)
    second = jacobian(replace(first, outputs=first.outputs[1:]), wrt, compress=compress)
    return replace(second, outputs=np.concatenate([program.outputs, second.outputs]))


def hvp(program: Program, wrt: Slots) -> Program:
    """The gradient of a program's one result by `wrt`, moving in a direction.

    Returns:
        A program whose inputs are the program's own and the direction, one number for each of
        `wrt`; its results are the product of the Hessian and the direction.
    """
    first = gradient(program, wrt)
    moving = tangent(replace(first, outputs=first.outputs[1:]), wrt)
    return replace(moving, outputs=moving.outputs[len(wrt) :])


def hessian_pattern(program: Program, wrt: Slots) -> Pattern:
    """Where the second derivatives of a program's one result may differ from 0."""
    first = gradient(program, wrt)
    return pattern(first, first.outputs[1:], wrt)


def _coloured(found: Pattern, own: Slots) -> Slots:
    """A direction for each column: shared where that halves them, else each its own."""
    chosen = colours(found, limit=len(own) // 2)
    return own if chosen is None else chosen


def _by_columns(program: Program, wrt: Slots, chosen: Slots, found: Pattern | None) -> Program:
    """A Jacobian from tangents, `chosen` saying for each column in which direction it is."""
    directions = seeds(chosen)
    moved = tangent(program, wrt, directions=len(directions))
    moved = _seeded(moved, program, directions.T.reshape(-1))
    height = len(program.outputs)
    matrix = moved.outputs[height:].reshape(height, -1)[:, chosen]
    return _read(moved, program, matrix, found)


def _by_rows(program: Program, wrt: Slots, chosen: Slots, found: Pattern | None) -> Program:
    """A Jacobian from cotangents, `chosen` saying for each row in which direction it is."""
    directions = seeds(chosen)
    pulled = adjoint(program, wrt, directions=len(directions))
    pulled = _seeded(pulled, program, directions.T.reshape(-1))
    matrix = pulled.outputs[len(program.outputs) :].reshape(len(wrt), -1).T[chosen]
    return _read(pulled, program, matrix, found)


def _seeded(derived: Program, program: Program, numbers: NDArray[np.float64]) -> Program:
    """The derivative with constants in place of the inputs that the program itself has not."""
    template = derived.template.copy()
    own = len(program.inputs)
    np.add.at(template, derived.inputs[own:], numbers)  # two results may share a slot
    return replace(derived, template=template, inputs=derived.inputs[:own])


def _read(derived: Program, program: Program, matrix: Slots, found: Pattern | None) -> Program:
    """The derivative with the program's results and a matrix as its results.

    What lies outside the pattern is read from a slot that stays 0.
    """
    template, laned = derived.template, derived.laned
    if found is not None:
        places = np.full(matrix.shape, len(template))
        places[found.rows, found.columns] = matrix[found.rows, found.columns]
        matrix = places
        template, laned = np.append(template, 0.0), np.append(laned, False)
    outputs = np.concatenate([program.outputs, matrix.reshape(-1)])
    return replace(derived, template=template, laned=laned, outputs=outputs)
