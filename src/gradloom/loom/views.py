"""Lists of slots as strided views, found rather than declared.

A list of slot numbers is a *view* if it is nested arithmetic: a run with a constant difference,
repeated with a constant difference, and so on. Then an offset, a shape and one stride for each
axis say it all; a stride of 0 is a broadcast.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Slots: TypeAlias = NDArray[np.integer[Any]]
Axes: TypeAlias = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class View:
    """Where an operand of an instruction lies, element by element of the instruction's shape.

    Attributes:
        offset: the slot of the first element.
        strides: for each axis of the instruction, how many slots a step goes.
        table: the slots one by one, where they follow no arithmetic; offset and strides are
            meaningless then.
    """

    offset: int
    strides: tuple[int, ...]
    table: Slots | None = None

    def moved(self, by: int) -> "View":
        """The view so many slots further on."""
        table = None if self.table is None else self.table + by
        return View(self.offset + by, self.strides, table)


# A shape, and a view for each list of an instruction.
Piece: TypeAlias = tuple[tuple[int, ...], list[View]]

# The length of a row, and where each row is cut, its ends included.
Cut: TypeAlias = tuple[int, list[int]]


def axes_of(slots: Slots) -> Axes | None:
    """The axes (size, stride), outermost first, of a list that is nested arithmetic, else None.

    >>> axes_of(np.array([5, 7, 9, 25, 27, 29]))
    [(2, 20), (3, 2)]
    >>> axes_of(np.array([1, 2, 4])) is None
    True
    """
    axes: Axes = []
    while len(slots) > 1:
        run, step = _even(slots)
        if len(slots) % run:
            return None
        rows = slots.reshape(-1, run)
        if len(rows) > 1 and (rows[:, 1:] - rows[:, :-1] != step).any():
            return None
        axes.append((run, step))
        slots = rows[:, 0]
    return axes[::-1]


def _even(slots: Slots) -> tuple[int, int]:
    """How many elements from the first on are evenly spaced, and by what step."""
    steps = slots[1:] - slots[:-1]  # np.diff would take most of the time
    uneven = steps != steps[0]
    first = int(uneven.argmax())
    return first + 1 if first else len(slots), int(steps[0])


def common(lists: Sequence[Slots]) -> Piece:
    """One shape under which as many of these equally long lists as possible are views.

    A list that is no view, or whose axes fit none of the others', becomes a table.

    >>> shape, views = common([np.arange(6), np.array([0, 0, 0, 1, 1, 1])])
    >>> shape, [view.strides for view in views]
    ((2, 3), [(3, 1), (1, 0)])
    """
    if len(lists[0]) == 1:
        return (), [View(slots.item(), ()) for slots in lists]
    found = [axes_of(slots) for slots in lists]
    sizes = {1, len(lists[0])}
    kept: list[Axes | None] = []
    for axes in found:
        if axes is not None:
            merged = sorted(sizes | set(_spans(axes)))
            if all(big % small == 0 for small, big in pairwise(merged)):
                sizes = set(merged)
            else:
                axes = None
        kept.append(axes)
    spans = sorted(sizes)
    shape = tuple(big // small for small, big in pairwise(spans))[::-1]
    views = []
    for slots, axes in zip(lists, kept, strict=True):
        if axes is None:
            views.append(View(0, (), slots.reshape(shape).astype(np.intp)))
        else:
            strides = tuple(int(slots[span] - slots[0]) for span in spans[:-1])[::-1]
            views.append(View(int(slots[0]), strides))
    return shape, views


def pieces(lists: Sequence[Slots], row: int = 1, most: int = 4) -> list[Piece]:
    """The lists, cut where they are views back to back: each piece with its shape and views.

    Args:
        lists: equally long.
        row: how many elements belong together; the lists are cut between rows, or all rows
            alike.
        most: how many pieces there may be; where more were needed the lists stay in one, and
            some are tables.

    >>> for shape, (view,) in pieces([np.array([0, 2, 4, 6, 8, 9, 10, 11, 12, 13])]):
    ...     print(shape, view.offset, view.strides)
    (5,) 0 (2,)
    (5,) 9 (1,)
    """
    return cut(lists, row, most)[1]


def cut(lists: Sequence[Slots], row: int = 1, most: int = 4) -> tuple[Cut, list[Piece]]:
    """`pieces`, and where they were cut."""
    size = len(lists[0])
    whole, found = (size, [0, size]), [common(lists)]
    if size == 1 or not tables(found):
        return whole, found
    if 1 < row < size:
        columns = row, _cuts([slots[:row] for slots in lists], most)
        apart = [common([part.ravel() for part in parts]) for parts in _parts(lists, columns)]
        if not tables(apart):
            return columns, apart
    rows = size, _cuts(lists, min(most, size // 2))
    apart = [common([part.ravel() for part in parts]) for parts in _parts(lists, rows)]
    return (whole, found) if tables(apart) else (rows, apart)


def again(lists: Sequence[Slots], where: Cut, shapes: Iterable[tuple[int, ...]]) -> list[Piece]:
    """The pieces of lists that are cut in the same places as others were, into the same shapes.

    Returns:
        The pieces; none if any list is no view like that.

    >>> again([np.array([0, 1, 5, 6])], (4, [0, 4]), [(2, 2)])[0][1][0].strides
    (5, 1)
    >>> again([np.array([0, 1, 5, 7])], (4, [0, 4]), [(2, 2)])
    []
    """
    found: list[Piece] = []
    for parts, shape in zip(_parts(lists, where), shapes, strict=True):
        views = [_view(part.reshape(shape)) for part in parts]
        if None in views:
            return []
        found.append((shape, views))  # type: ignore[arg-type]
    return found


def _view(slots: Slots) -> View | None:
    """The view in which each axis has one stride, if it is one."""
    offset = int(slots.flat[0])
    strides = []
    for axis in range(slots.ndim):
        step = [0] * slots.ndim
        step[axis] = 1
        strides.append(int(slots[tuple(step)]) - offset)
    view = View(offset, tuple(strides))
    return view if (slots_of(view, slots.shape) == slots).all() else None


def _parts(lists: Sequence[Slots], where: Cut) -> Iterator[list[Slots]]:
    """The lists, cut in these places."""
    width, bounds = where
    grids = [slots.reshape(-1, width) for slots in lists]
    for a, b in pairwise(bounds):
        yield [grid[:, a:b] for grid in grids]


def tables(found: Sequence[Piece]) -> int:
    """How many of the views are tables."""
    return sum(view.table is not None for _, views in found for view in views)


def _cuts(lists: Sequence[Slots], most: int) -> list[int]:
    """Where to cut so that all pieces are views, ends included; just the ends if too often."""
    size = len(lists[0])
    bounds = [0]
    while bounds[-1] < size:
        if len(bounds) > most:
            return [0, size]
        bounds.append(bounds[-1] + _prefix([slots[bounds[-1] :] for slots in lists]))
    return bounds


def _prefix(lists: Sequence[Slots]) -> int:
    """How many elements from the first on are views of one shape, going by the longest runs."""
    length, before = len(lists[0]), 0
    while length != before:
        before = length
        for slots in lists:
            length = _run(slots[:length])
        spans = {1, length}.union(*(_spans(axes_of(slots[:length]) or []) for slots in lists))
        for small, big in pairwise(sorted(spans)):
            if big % small:
                length = small
                break
    return length


def _run(slots: Slots) -> int:
    """How many elements from the first on are nested arithmetic."""
    whole = 1
    while len(slots) > 1:
        run, _ = _even(slots)
        rows = slots[: len(slots) // run * run].reshape(-1, run)
        broken = (rows - rows[:, :1] != rows[0] - rows[0, 0]).any(axis=1)
        first = int(broken.argmax())  # the first row is never broken
        whole *= run
        slots = rows[: first or len(rows), 0]
    return whole


def slots_of(view: View, shape: tuple[int, ...]) -> Slots:
    """The slot of every element.

    >>> slots_of(View(5, (10, 1)), (2, 3)).tolist()
    [[5, 6, 7], [15, 16, 17]]
    """
    if view.table is not None:
        return view.table
    total = np.full(shape, view.offset)
    for axis, (size, stride) in enumerate(zip(shape, view.strides, strict=True)):
        total += (np.arange(size) * stride).reshape(-1, *[1] * (len(shape) - axis - 1))
    return total


def seen(numbers: NDArray[Any], view: View, shape: tuple[int, ...]) -> Any:
    """The elements of a flat array where a view lies.

    What is written there is written to the flat array, but for a table.

    >>> seen(np.arange(20), View(5, (10, 1)), (2, 3)).tolist()
    [[5, 6, 7], [15, 16, 17]]
    """
    if view.table is not None:
        return numbers[view.table]
    size = numbers.itemsize
    strides = [size * stride for stride in view.strides]
    return np.ndarray(shape, numbers.dtype, numbers, size * view.offset, strides)


class Marks:
    """A flag for each slot, set and asked for where views lie.

    >>> marks = Marks(6, [1])
    >>> marks.set(View(3, (2,)), (2,))
    >>> marks.any(View(0, (1,)), (3,)), marks.all(View(1, (2,)), (3,)), marks.any(View(4, ()), ())
    (True, True, False)
    """

    def __init__(self, size: int, slots: Any) -> None:
        self._flags = np.zeros(size, dtype=bool)
        self._flags[slots] = True
        self._single = self._flags.data  # of one slot, NumPy would take ten times as long

    def any(self, view: View, shape: tuple[int, ...]) -> bool:
        """Whether any flag is set there."""
        if not shape:
            return bool(self._single[view.offset])
        return bool(seen(self._flags, view, shape).any())

    def all(self, view: View, shape: tuple[int, ...]) -> bool:
        """Whether all flags are set there."""
        if not shape:
            return bool(self._single[view.offset])
        return bool(seen(self._flags, view, shape).all())

    def set(self, view: View, shape: tuple[int, ...]) -> None:
        """Set the flags there."""
        if not shape:
            self._single[view.offset] = True
        elif view.table is not None:
            self._flags[view.table] = True
        else:
            seen(self._flags, view, shape)[...] = True


def _spans(axes: Axes) -> list[int]:
    """How many elements lie under one step of each axis, and under all."""
    spans, span = [], 1
    for size, _ in reversed(axes):
        span *= size
        spans.append(span)
    return spans
