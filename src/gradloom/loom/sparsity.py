"""Which results depend on which inputs, read off a program without running it.

Every slot gets the set of the inputs that can move it: an instruction hands the sets of its
operands on to its result, where the derivative is not 0 whatever the numbers are. The sets are
rows of bits, and a view of slots is a view of rows, so one instruction is one array operation.
The pattern of a Hessian is the pattern of the adjoint.

Columns of a Jacobian that share no row can be found from one direction, their sum, since each row
then has one of them to thank for all that moves it (Curtis, Powell and Reid, 1974). A banded
Jacobian of any size thus takes as many directions as its band is wide.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradloom.loom.bodies import depends
from gradloom.loom.program import Instruction, Program
from gradloom.loom.views import slots_of

Slots = NDArray[np.int64]

# Sets of so many inputs are handed on at a time: 64 bytes a slot.
_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Pattern:
    """The places of a matrix that may differ from 0, row by row.

    Attributes:
        shape: how many rows and columns.
        rows, columns: where each place is.
    """

    shape: tuple[int, int]
    rows: Slots
    columns: Slots

    @property
    def transposed(self) -> "Pattern":
        """The pattern with rows and columns exchanged."""
        return Pattern(self.shape[::-1], self.columns, self.rows)

    def pairs(self) -> list[tuple[int, int]]:
        """The places as (row, column)."""
        return [(int(i), int(j)) for i, j in zip(self.rows, self.columns, strict=True)]


def pattern(program: Program, results: Slots, wrt: Slots) -> Pattern:
    """Which of the slots in `results` can be moved by which of those in `wrt`.

    A place outside the pattern is 0 at every input; one inside may be 0 at some.

    >>> from gradloom.loom.record import record
    >>> from gradloom.loom.weave import weave
    >>> program = weave(record(lambda x: [x[0] * x[1], x[1] + 1.0, 3.0], [1.0, 2.0])[0])
    >>> pattern(program, program.outputs, program.inputs).pairs()
    [(0, 0), (0, 1), (1, 1)]
    """
    found = []
    passes = [
        (view, instruction)
        for instruction in program.instructions
        for place, view in enumerate(instruction.operands)
        if depends(instruction, place)
    ]
    for start in range(0, len(wrt), _AT_ONCE):
        block = wrt[start : start + _AT_ONCE]
        sets = np.zeros((len(program.template), (len(block) + 7) // 8), dtype=np.uint8)
        sets[block] = np.packbits(np.eye(len(block), dtype=bool), axis=1)
        for view, instruction in passes:
            read = sets[slots_of(view, instruction.shape)]
            if read.any():
                _join(sets, instruction, read)
        rows, columns = np.nonzero(np.unpackbits(sets[results], axis=1, count=len(block)))
        found.append((rows, columns + start))
    rows, columns = (np.concatenate([f[i] for f in found] or [np.zeros(0, int)]) for i in (0, 1))
    order = np.lexsort((columns, rows))
    return Pattern((len(results), len(wrt)), rows[order], columns[order])


def _join(sets: NDArray[np.uint8], instruction: Instruction, read: NDArray[np.uint8]) -> None:
    """Add the sets that were read to those of the instruction's results."""
    slots = slots_of(instruction.out, instruction.shape).reshape(-1)
    rows = read.reshape(len(slots), -1)
    order = np.argsort(slots, kind="stable")
    ordered = slots[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    sets[ordered[starts]] |= np.bitwise_or.reduceat(rows[order], starts, axis=0)


def colours(found: Pattern, limit: int) -> Slots | None:
    """A colour for each column so that columns of one colour share no row.

    Greedily in their order: each column takes the first colour that is free in all its rows.

    Returns:
        The colours, from 0, or None where more than `limit` are needed.

    >>> places = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 2, 2, 3])
    >>> colours(Pattern((3, 4), *places), limit=4).tolist()
    [0, 1, 0, 1]
    """
    height, width = found.shape
    taken = np.zeros((limit, height), dtype=bool)
    order = np.argsort(found.columns, kind="stable")
    bounds = np.searchsorted(found.columns[order], np.arange(width + 1))
    chosen = np.zeros(width, dtype=np.int64)
    for column in range(width):
        rows = found.rows[order[bounds[column] : bounds[column + 1]]]
        free = np.flatnonzero(~taken[:, rows].any(axis=1))
        if not len(free):
            return None
        chosen[column] = free[0]
        taken[free[0], rows] = True
    return chosen


def seeds(chosen: Slots) -> NDArray[np.float64]:
    """The directions, one row a colour: the sum of the columns' unit vectors.

    >>> seeds(np.array([0, 1, 0])).tolist()
    [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    """
    return np.eye(int(chosen.max(initial=-1)) + 1)[:, chosen]
