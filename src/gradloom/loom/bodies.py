"""Bodies of instructions, differentiated: the rules of the table, run on expressions.

A `Sketch` is an operand that writes down what is done to it. Run on sketches, a rule gives the
derivative as an expression over the operands of the instruction, which is all that an adjoint or
a tangent needs.
"""

from collections.abc import Sequence
from typing import Any

from gradloom.core import ops
from gradloom.core.operand import Operand
from gradloom.core.table import OPS, Op, Scalar
from gradloom.loom.program import Body, Instruction
from gradloom.loom.views import View


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
    operands = [x if isinstance(x, float) else Sketch(x) for x in parts]
    total: Any = None
    blocks = False
    for i, part in enumerate(parts):
        inner = _slope(part, place, Sketch(part))
        if inner is None:
            continue
        outer = op.derivatives(result, operands, [j == i for j in range(len(parts))])[i]
        if outer is None or (isinstance(outer, float) and outer == 0.0):
            continue
        blocks |= op.masks or inner[1]
        share = times(outer, inner[0], masks=op.masks)
        total = share if total is None else total + share
    return None if total is None else (total, blocks)


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


def moved(view: View, by: int) -> View:
    """The same view of slots that stand `by` further on."""
    table = None if view.table is None else view.table + by
    return View(view.offset + by, view.strides, table)


def used(body: Body, operands: tuple[View, ...]) -> tuple[Body, tuple[View, ...]]:
    """The body over those operands alone that occur in it.

    >>> used(("exp", (1,)), (View(5, ()), View(6, ())))
    (('exp', (0,)), (View(offset=6, strides=(), table=None),))
    """
    order: dict[int, int] = {}
    renumbered = _renumbered(body, order)
    return renumbered, tuple(operands[i] for i in order)


def _renumbered(body: Body, order: dict[int, int]) -> Body:
    if isinstance(body, float):
        return body
    if isinstance(body, int):
        return order.setdefault(body, len(order))
    return body[0], tuple(_renumbered(part, order) for part in body[1])
