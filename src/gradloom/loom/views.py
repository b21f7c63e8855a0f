"""Lists of slots as strided views, found rather than declared.

A list of slot numbers is a *view* if it is nested arithmetic: a run with a constant difference,
repeated with a constant difference, and so on. Then an offset, a shape and one stride for each
axis say it all; a stride of 0 is a broadcast.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Slots: TypeAlias = NDArray[np.int64]
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


def axes_of(slots: Slots) -> Axes | None:
    """The axes (size, stride), outermost first, of a list that is nested arithmetic, else None.

    >>> axes_of(np.array([5, 7, 9, 25, 27, 29]))
    [(2, 20), (3, 2)]
    >>> axes_of(np.array([1, 2, 4])) is None
    True
    """
    axes: Axes = []
    while len(slots) > 1:
        steps = np.diff(slots)
        breaks = np.flatnonzero(steps != steps[0])
        run = int(breaks[0]) + 1 if len(breaks) else len(slots)
        if len(slots) % run:
            return None
        rows = slots.reshape(-1, run)
        if len(rows) > 1 and (np.diff(rows, axis=1) != steps[0]).any():
            return None
        axes.append((run, int(steps[0])))
        slots = rows[:, 0]
    return axes[::-1]


def common(lists: Sequence[Slots]) -> tuple[tuple[int, ...], list[View]]:
    """One shape under which as many of these equally long lists as possible are views.

    A list that is no view, or whose axes fit none of the others', becomes a table.

    >>> shape, views = common([np.arange(6), np.array([0, 0, 0, 1, 1, 1])])
    >>> shape, [view.strides for view in views]
    ((2, 3), [(3, 1), (1, 0)])
    """
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
            views.append(View(0, (), slots.reshape(shape)))
        else:
            strides = tuple(int(slots[span] - slots[0]) for span in spans[:-1])[::-1]
            views.append(View(int(slots[0]), strides))
    return shape, views


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


def _spans(axes: Axes) -> list[int]:
    """How many elements lie under one step of each axis, and under all."""
    spans, span = [], 1
    for size, _ in reversed(axes):
        span *= size
        spans.append(span)
    return spans
