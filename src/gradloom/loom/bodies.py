"""Bodies of instructions, differentiated: the rules of the table, run on expressions.

A `Sketch` is an operand that writes down what is done to it. Run on sketches, a rule gives the
derivative as an expression over the operands of the instruction, which is all that an adjoint or
a tangent needs.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gradloom.core import ops
from gradloom.core.operand import Operand
from gradloom.core.table import OPS, Op, Scalar
from gradloom.loom.program import Body, Instruction
from gradloom.loom.views import Slots, View


class Sketch(Operand):
    """An operand of a body that is being written."""

    __slots__ = ("body",)
    _level = 1 << 62  # it meets floats alone
    _symbolic = True

    def __init__(self, body: Body) -> None:
        self.body = body

    def _apply(self, op: Op, operands: Sequence[Scalar]) -> "Sketch":
        return Sketch((op.symbol, tuple(x.body if isinstance(x, Sketch) else x for x in operands)))


def slope(instruction: Instruction, place: int) -> tuple[Body, bool] | None:
    """The derivative of an instruction's result by one operand, as a body.

    Its operands are the instruction's own, and behind them the result itself.

    Returns:
        The body, and whether its zeros block what they are multiplied by even if that is inf or
        nan; None if the derivative is 0.

    >>> one = View(0, ())
    >>> slope(Instruction((), one, ("*", (0, 1)), (one, one), accumulate=False), 0)
    (1, False)
    """
    body = instruction.body
    result = body if instruction.accumulate else len(instruction.operands)
    found = _slope(body, place, Sketch(result))
    if found is None:
        return None
    return (found[0].body if isinstance(found[0], Sketch) else found[0]), found[1]


def _slope(body: Body, place: int, result: Sketch) -> tuple[Any, bool] | None:
    if isinstance(body, int):
        return (1.0, False) if body == place else None
    if isinstance(body, float):
        return None
    symbol, parts = body
    op = OPS[symbol]
    outers: list[Any] = []
    total: Any = None
    blocks = False
    for i, part in enumerate(parts):
        inner = _slope(part, place, Sketch(part))
        if inner is None:
            continue
        outers = outers or _partials(_Text(body), _Text(result.body))
        outer = outers[i]
        if outer is None or (isinstance(outer, float) and outer == 0.0):
            continue
        blocks |= op.masks or inner[1]
        share = times(outer, inner[0], masks=op.masks)
        total = share if total is None else total + share
    return None if total is None else (total, blocks)


@functools.lru_cache(maxsize=16)
def _partials(written: "_Text", result: "_Text") -> list[Any]:
    """The derivatives by all operands: those of a long list are asked for one after another."""
    symbol, parts = written.body  # type: ignore[misc]
    operands = [x if isinstance(x, float) else Sketch(x) for x in parts]
    return OPS[symbol].derivatives(Sketch(result.body), operands, [True] * len(parts))


def times(slope: Any, share: Any, *, masks: bool) -> Any:
    """A product of sketches or numbers; with `masks` a slope of 0 gives 0, whatever the share.

    >>> x, y = Sketch(0), Sketch(1)
    >>> times(1.0, x, masks=False).body, times(x, y, masks=False).body
    (0, ('*', (0, 1)))
    """
    if isinstance(slope, float) and slope in (1.0, -1.0):
        return share if slope == 1.0 else -share
    if isinstance(share, float) and share in (1.0, -1.0):
        return slope if share == 1.0 else -slope
    product = slope * share
    if masks and not isinstance(slope, float):
        return ops.where(ops.equal(slope, 0.0), 0.0, product)
    return product


def behind(view: View, size: int, directions: int | None) -> View:
    """Where the tangents or cotangents of a view's slots lie, `size` slots further on.

    With directions every slot has so many, side by side, and the view one more axis for them.

    >>> behind(View(2, (3,)), 10, None), behind(View(2, (3,)), 10, 4)
    (View(offset=12, strides=(3,), table=None), View(offset=18, strides=(12, 1), table=None))
    """
    if directions is None:
        return view.moved(size)
    table = view.table
    if table is not None:
        table = size + table[..., None] * directions + np.arange(directions)
    strides = (*(s * directions for s in view.strides), 1)
    return View(size + view.offset * directions, strides, table)


def slots_behind(slots: Slots, size: int, directions: int | None) -> Slots:
    """`behind` for a list of slots: for each its tangents, direction by direction.

    >>> slots_behind(np.array([0, 2]), 10, 3).tolist()
    [10, 11, 12, 16, 17, 18]
    """
    count = directions or 1
    return (size + slots[:, None] * count + np.arange(count)).reshape(-1)


def through(view: View, shape: tuple[int, ...], directions: int) -> View:
    """The same slots for every direction: a broadcast along one more axis."""
    table = view.table
    if table is not None:
        table = np.broadcast_to(table.reshape(*shape, 1), (*shape, directions))
    return View(view.offset, (*view.strides, 0), table)


def _renumbered(body: Body, order: dict[int, int]) -> Body:
    if isinstance(body, float):
        return body
    if isinstance(body, int):
        return order.setdefault(body, len(order))
    return body[0], tuple(_renumbered(part, order) for part in body[1])


class Share(NamedTuple):
    """What an operand has in its instruction's result: d(result) / d(operand) · what moves.

    Attributes:
        body: of the instruction's own operands, its result, and what moves, ...
        order: ... by their places among those.
        masks: whether the derivative may be a 0 that lets nothing past.
    """

    body: Body
    order: tuple[int, ...]
    masks: bool


class Shares:
    """The share of every operand, found once for each body that occurs in a program."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, int, int, bool], tuple[Body, Share | None]] = {}

    def of(self, instruction: Instruction, place: int) -> Share | None:
        """The share of one operand; None if its derivative is 0, as it is of `detach`.

        >>> one = View(0, ())
        >>> Shares().of(Instruction((), one, ("relu", (0,)), (one,), accumulate=False), 0).masks
        True
        """
        body, count = instruction.body, len(instruction.operands)
        key = id(body), count, place, instruction.accumulate
        if key not in self._found:  # the body stays with its share, so that no other takes its id
            self._found[key] = body, _share(_Text(body), place, count, instruction.accumulate)
        return self._found[key][1]


def depends(instruction: Instruction, place: int) -> bool:
    """Whether the derivative by this operand is any but 0."""
    return Shares().of(instruction, place) is not None


def handed_on(
    instruction: Instruction,
    place: int,
    share: Share,
    moving: View,
    target: View,
    directions: int | None,
    *,
    still: bool,
) -> Instruction:
    """The instruction `target += d(result) / d(operand at place) · moving`.

    Args:
        instruction, place, share: what to differentiate by which operand.
        moving, target: views with an axis for the directions, where there are any.
        directions: how many at once, None for one without an axis of its own.
        still: what does not move moves nothing, even by a slope of inf or nan.
    """
    count, order = len(instruction.operands), share.order
    every = (*instruction.operands, instruction.out)
    shape = instruction.shape
    if directions is not None:
        every = tuple([through(view, shape, directions) for view in every])
        shape = (*shape, directions)
    every = (*every, moving)
    muted: tuple[int, ...] = ()
    if still or instruction.muted:
        still_ones = [i for i in instruction.muted if i != place]
        if still:
            still_ones.append(count + 1)
        muted = tuple([order.index(i) for i in still_ones if i in order])
    views = tuple([every[i] for i in order])
    return Instruction(shape, target, share.body, views, accumulate=True, muted=muted)


class _Text:
    """A body that is equal to one written alike: of 1 and 1.0 one is an operand."""

    __slots__ = ("body", "text")

    def __init__(self, body: Body) -> None:
        self.body = body
        self.text = repr(body)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Text) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


@functools.lru_cache(maxsize=4096)
def _share(written: _Text, place: int, count: int, accumulate: bool) -> Share | None:
    views = (View(0, ()),) * count
    found = slope(Instruction((), View(0, ()), written.body, views, accumulate), place)
    if found is None:
        return None
    body, masks = found
    share = times(body if isinstance(body, float) else Sketch(body), Sketch(count + 1), masks=masks)
    order: dict[int, int] = {}
    return Share(_renumbered(share.body, order), tuple(order), masks)
