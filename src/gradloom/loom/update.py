"""What an optimizer does to parameters, as instructions.

An optimizer's rule is a function of one number, its gradient, what is remembered of it, and a few
rates that change from step to step. Run once on sketches it gives a body for each number that it
changes, and with that an instruction over all parameters, which puts the results where the numbers
stood. So numbers and memory stay in the arena from step to step.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from gradloom.core import ops
from gradloom.loom.bodies import Sketch
from gradloom.loom.bodies import _renumbered as renumbered
from gradloom.loom.program import Body, Instruction
from gradloom.loom.views import Slots, View, pieces

# From symbols for the rates, and what has functions of symbols, to a function of a number, its
# gradient, and what is remembered of it, to what they become: `gradloom.nn.Optimizer.rule`.
MakeRule = Callable[[Sequence[Any], Any], Callable[..., tuple[Any, ...]]]

NUMBER, GRADIENT, MEMORY = 0, 1, 2  # places of operands; behind what is remembered come the rates


class OutOfOrderError(Exception):
    """A rule that needs what it has replaced."""


class Change(NamedTuple):
    """What becomes of one of the numbers: its place, and a body of the numbers in all places, as
    they are after the changes before this one."""

    place: int
    body: Body


def changes(make: MakeRule, memory: int, rates: int) -> list[Change]:
    """The changes that a rule makes, in the order in which they are to be made.

    Args:
        make: the rule, to be run on sketches.
        memory: how many numbers are remembered of each parameter.
        rates: how many change from step to step.

    Raises:
        OutOfOrderError: a change needs an old number that a change before it has replaced.

    >>> def heavy_ball(rates, of):
    ...     def move(x, g, v):
    ...         v = 0.5 * v + g
    ...         return x - rates[0] * v, v
    ...     return move
    >>> for change in changes(heavy_ball, 1, 1):
    ...     print(*change)
    2 ('+', (('*', (0.5, 2)), 1))
    0 ('-', (0, ('*', (3, 2))))
    """
    behind = MEMORY + memory
    symbols = [Sketch(place) for place in range(behind + rates)]
    rule = make(symbols[behind:], ops)
    number, *remembered = [
        x.body if isinstance(x, Sketch) else float(x) for x in rule(*symbols[:behind])
    ]
    new: dict[int, int] = {}  # the bodies of numbers that are in their places by then
    found = []
    for place, body in [*enumerate(remembered, MEMORY), (NUMBER, number)]:
        if isinstance(body, int) and body == place:
            continue
        found.append(Change(place, _with_new(body, new)))
        new[id(body)] = place
    return found


def _with_new(body: Body, new: dict[int, int]) -> Body:
    """The body with what has been computed already read from where it is."""
    if isinstance(body, tuple):
        if id(body) in new:
            return new[id(body)]
        return body[0], tuple([_with_new(part, new) for part in body[1]])
    if isinstance(body, int) and body in new.values():
        raise OutOfOrderError(f"what stood in place {body} is needed after it has been replaced")
    return body


def update(changes: Sequence[Change], slots: Sequence[Slots], rates: int) -> list[Instruction]:
    """The instructions that make changes to parameters, all of them at once.

    Args:
        changes: what is done to each.
        slots: where the numbers stand, their gradients, and each of what is remembered of them.
        rates: the slot of the first rate; the others follow.

    >>> import numpy as np
    >>> one = Change(0, ("-", (0, ("*", (2, 1)))))
    >>> print(*update([one], [np.arange(5), np.arange(10, 15)], 20))
                 5  @0(1) = (@0(1) - (@20(0) * @10(1)))
    """
    found = []
    for shape, views in pieces(slots):
        for place, body in changes:
            order: dict[int, int] = {}
            body = renumbered(body, order)
            operands = [
                views[i] if i < len(views) else View(rates + i - len(views), (0,) * len(shape))
                for i in order
            ]
            found.append(Instruction(shape, views[place], body, tuple(operands), accumulate=False))
    return found
