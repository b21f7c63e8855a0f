"""The rules of differentiation for a page: those of the table of operations, run on sketches.

A page evaluates and prints the rules that the engine itself goes by. Each is written down as a
few steps, every one an operation of the table on operands and earlier steps, so that what several
derivatives share (the number of ties of a maximum) stands once.
"""

from collections.abc import Iterable
from typing import Any

from gradloom.core.table import OPS
from gradloom.loom.bodies import Sketch

# What a step reads: the operand of that place (the result comes after the last), the step -1 - n,
# or {"n": a plain number}.
Ref = int | dict[str, float]


def rule_of(symbol: str, arity: int) -> dict[str, Any]:
    """The derivatives of an operation on so many operands.

    Returns:
        `steps`, each a symbol with what it reads; `partials`, what the derivative by each operand
        is, None where it is always 0; `masks`, whether a derivative of 0 lets nothing past.

    >>> rule_of("tanh", 1)["steps"]  # 1 - y²
    [['*', 1, 1], ['-', {'n': 1.0}, -1]]
    >>> rule_of("tanh", 1)["partials"]
    [-2]
    """
    op = OPS[symbol]
    found = op.derivatives(Sketch(arity), [Sketch(i) for i in range(arity)], [True] * arity)
    writer = _Writer()
    partials = [None if d is None else writer.ref(getattr(d, "body", d)) for d in found]
    return {"steps": writer.steps, "partials": partials, "masks": op.masks}


def rules_of(used: Iterable[tuple[str, int]]) -> dict[str, Any]:
    """The rules of all operations of the table among these, by `symbol/arity`.

    >>> list(rules_of([("*", 2), ("no row", 1)]))
    ['*/2']
    """
    return {f"{symbol}/{arity}": rule_of(symbol, arity) for symbol, arity in used if symbol in OPS}


class _Writer:
    """Steps in the making."""

    def __init__(self) -> None:
        self.steps: list[list[Any]] = []
        self.written: dict[int, tuple[Any, int]] = {}  # by identity, which sharing keeps

    def ref(self, body: Any) -> Ref:
        """How to refer to a body."""
        if isinstance(body, int):
            return body
        if isinstance(body, float):
            return {"n": body}
        if id(body) not in self.written:
            parts = [self.ref(part) for part in body[1]]
            self.steps.append([body[0], *parts])
            self.written[id(body)] = body, -len(self.steps)
        return self.written[id(body)][1]
