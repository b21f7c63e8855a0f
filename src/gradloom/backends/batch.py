"""Samples that lie in arrays, as programs with lanes take them: by address, not one by one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Places: TypeAlias = NDArray[np.int64]


@dataclass(slots=True)
class Batch:
    """What goes into a program with lanes.

    Attributes:
        shared: a number for each input that all lanes share.
        arrays: the other inputs. Lanes lie along the first axis, however far apart; the other axes,
            one behind the other, are inputs, and so are the arrays.
        lanes: how many lanes there are.
        order: which of the arrays' samples they are, contiguous; None for all as they stand.

    >>> batch = Batch([], [np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([5.0, 6.0])], 2)
    >>> [column.tolist() for column in batch.columns()]
    [[1.0, 3.0], [2.0, 4.0], [5.0, 6.0]]
    >>> [column.tolist() for column in batch.chosen(np.array([1])).columns()]
    [[3.0], [4.0], [6.0]]
    """

    shared: Sequence[float]
    arrays: Sequence[Array]
    lanes: int
    order: Places | None = None

    def chosen(self, order: Places) -> "Batch":
        """Some of its samples."""
        return Batch(self.shared, self.arrays, len(order), np.ascontiguousarray(order))

    def with_shared(self, more: Sequence[float]) -> "Batch":
        """The same with more shared inputs behind its own."""
        return Batch([*self.shared, *more], self.arrays, self.lanes, self.order)

    def with_array(self, more: Array) -> "Batch":
        """The same with more laned inputs behind its own, of which `order` chooses too."""
        return Batch(self.shared, [*self.arrays, more], self.lanes, self.order)

    def copy(self) -> "Batch":
        """The same with arrays of its own."""
        return Batch(self.shared, [x.copy() for x in self.arrays], self.lanes, self.order)

    def columns(self) -> list[Array]:
        """A number for each lane, for each laned input."""
        found: list[Array] = []
        for x in self.arrays:
            rows = x if self.order is None else x[self.order]
            found += list(rows.reshape(len(rows), -1).T)
        return found
