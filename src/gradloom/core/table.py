"""What a row of the table of operations is, and how an operation finds the operand it belongs to.

The rows themselves stand in `ops`.
"""

import functools
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from gradloom.errors import NotANumberError

# A float or anything that has a `_level` and an `_apply`: what goes in decides what comes out.
Scalar = Any
Interval = tuple[float, float]
Partial = Callable[..., Scalar]

REAL: tuple[Interval, ...] = ((-3.0, 3.0),)
NONZERO: tuple[Interval, ...] = ((-3.0, -0.1), (0.1, 3.0))
POSITIVE: tuple[Interval, ...] = ((0.1, 3.0),)
INSIDE_ONE: tuple[Interval, ...] = ((-0.9, 0.9),)
BETWEEN_INTEGERS: tuple[Interval, ...] = ((-1.9, -1.1), (-0.9, -0.1), (0.1, 0.9), (1.1, 1.9))


@dataclass(frozen=True, slots=True)
class Op:
    """One row of the table.

    Attributes:
        symbol: what a node's `_op` shows, and the row's key in `OPS`: `"+"`, `"tanh"`.
        arity: the number of operands, or None where any number will do.
        evaluate: the result on floats, a float; it never raises for a float.
        partials: one function `(y, *operands) -> derivative` for each operand; for an operation
            of any arity one function that gives the whole sequence.
        domain: for each operand (for any arity: for all) the intervals in which the derivative
            is smooth and moderate, for tests to sample.
        masks: a derivative of zero blocks what comes from above even if that is inf or nan, as
            PyTorch does for selections: `sqrt(relu(x))` at x = -1 has the derivative 0, not nan.
            Unlike in PyTorch nothing goes on from behind the mask either, so the branch that
            `where(x > 0, sqrt(x), 0)` does not take may be nan, forward and reverse alike.
    """

    symbol: str
    arity: int | None
    evaluate: Callable[..., float]
    partials: Sequence[Partial] | Callable[..., Sequence[Scalar]]
    domain: Sequence[tuple[Interval, ...]]
    masks: bool = False

    def derivatives(
        self, y: Scalar, operands: Sequence[Scalar], wanted: Sequence[bool]
    ) -> list[Scalar | None]:
        """The partial derivative for each wanted operand, None for those that get nothing."""
        if callable(self.partials):
            every = self.partials(y, *operands)
            found = [d if want else None for d, want in zip(every, wanted, strict=True)]
        else:
            pairs = zip(self.partials, wanted, strict=True)
            found = [rule(y, *operands) if want else None for rule, want in pairs]
        if self.masks:
            return [None if d is None or _is_zero(d) else d for d in found]
        return found


def _bottom(x: Scalar) -> Scalar:
    """The float that `x` is nested around, or what stands for a number to come."""
    while hasattr(x, "_level") and not x._symbolic:
        x = x.data
    return x


def is_symbolic(x: Scalar) -> bool:
    """Whether `x` stands for numbers to come, at the bottom of whatever it is nested in."""
    return hasattr(_bottom(x), "_level")


def _is_zero(derivative: Scalar) -> bool:
    """Zero now and at every run: what stands for numbers to come is not known to be."""
    number = _bottom(derivative)
    return not hasattr(number, "_level") and number == 0.0


OPS: dict[str, Op] = {}


def operation(
    symbol: str | None = None,
    *,
    partials: Sequence[Partial] | Callable[..., Sequence[Scalar]],
    domain: Sequence[tuple[Interval, ...]],
    masks: bool = False,
) -> Callable[[Callable[..., float]], Callable[..., Scalar]]:
    """Enter a function of floats in the table and make it accept values too.

    Args:
        symbol: the row's key; by default the function's name.
        partials, domain, masks: as in `Op`.

    Returns:
        A decorator. The decorated function takes floats or values and has its row as `.op`.

    Raises:
        ValueError: the symbol is taken.
    """

    def enter(evaluate: Callable[..., float]) -> Callable[..., Scalar]:
        arity = None if callable(partials) else len(partials)
        op = Op(symbol or evaluate.__name__, arity, evaluate, partials, tuple(domain), masks)
        if op.symbol in OPS:
            raise ValueError(
                f"operation {op.symbol!r} is in the table already; choose another symbol"
            )
        OPS[op.symbol] = op

        if arity == 1:  # `apply` spelled out for one and two operands

            def dispatch(x: Scalar) -> Scalar:
                if type(x) is float:
                    return evaluate(x)
                try:
                    node = x._apply
                except AttributeError:
                    return evaluate(as_number(x))
                return node(op, (x,))

        elif arity == 2:

            def dispatch(a: Scalar, b: Scalar) -> Scalar:  # type: ignore[misc]
                ours = -1 if type(a) is float else getattr(a, "_level", None)
                if ours is None:
                    a, ours = as_number(a), -1
                theirs = -1 if type(b) is float else getattr(b, "_level", None)
                if theirs is None:
                    b, theirs = as_number(b), -1
                if ours < 0 > theirs:
                    return evaluate(a, b)
                return (a if ours >= theirs else b)._apply(op, (a, b))

        else:

            def dispatch(*operands: Scalar) -> Scalar:  # type: ignore[misc]
                return apply(op, *operands)

        functools.update_wrapper(dispatch, evaluate)
        dispatch.op = op  # type: ignore[attr-defined]
        return dispatch

    return enter


def apply(op: Op, *operands: Scalar) -> Scalar:
    """The operation on numbers or values.

    Operands of several nested derivatives may meet. The one made last, whose `_level` is the
    highest, decides how the operation is done, and takes all others for constants: this is
    what keeps perturbations apart (Siskind and Pearlmutter, 2005).

    >>> apply(OPS["*"], 2, 3)
    6.0
    """
    kinds = set(map(type, operands)) - {float}
    if all(getattr(kind, "_level", None) == 0 for kind in kinds):  # the everyday case, at a glance
        values = (x for x in operands if type(x) is not float)
        return next(values)._apply(op, operands) if kinds else op.evaluate(*operands)
    top, highest, checked = None, -1, []
    for x in operands:
        level = -1 if type(x) is float else getattr(x, "_level", None)
        if level is None:
            x, level = as_number(x), -1
        if level > highest:
            top, highest = x, level
        checked.append(x)
    return op.evaluate(*checked) if top is None else top._apply(op, checked)


def as_number(x: Any) -> float:
    """A plain number as a float: ints, floats, fractions, NumPy scalars and 0-d arrays.

    Ints beyond the range of floats become infinite.

    Raises:
        NotANumberError: `x` is a string, None, complex, a list, …

    >>> as_number(True), as_number(-10**400)
    (1.0, -inf)
    >>> as_number("3")
    Traceback (most recent call last):
    ...
    gradloom.errors.NotANumberError: a number is needed here, not str '3'; convert it with float()
    """
    kind = type(x)
    if kind is float:
        return x  # type: ignore[no-any-return]
    if kind is int or isinstance(x, numbers.Real):
        try:
            return float(x)
        except OverflowError:
            return inf if x > 0 else -inf
    is_date = getattr(getattr(x, "dtype", None), "kind", "") == "M"  # its item() may be an int
    if getattr(x, "ndim", None) == 0 and isinstance(x.item(), numbers.Real) and not is_date:
        return float(x.item())
    if hasattr(x, "_level"):
        hint = "it is a value already: use it as it is, or detach() for a constant"
    elif isinstance(x, numbers.Complex):
        hint = "only real numbers have a gradient here; pass .real and .imag as two numbers"
    elif x is None:
        hint = "give it a number (did a function forget to return?)"
    elif hasattr(x, "__len__") and not isinstance(x, str | bytes) and getattr(x, "ndim", 1) != 0:
        hint = "use one number at a time, e.g. [f(v) for v in values]"
    else:
        hint = "convert it with float()"
    shown = "None" if x is None else f"{type(x).__name__} {' '.join(repr(x).split()):.60}"
    raise NotANumberError(f"a number is needed here, not {shown}; {hint}")


# While a function is being recorded: what a value from outside is in that recording. The recorder
# sets it (see `loom.record`), and takes it away when no recording is in progress.
recorded: Callable[[Any], Any] | None = None


def primal(x: Scalar) -> Any:
    """The float at the bottom of however many derivatives `x` is nested in.

    In a recording it is what stands for that number at every run, so that nothing which is
    decided by it goes unnoticed.
    """
    look_up = recorded
    while hasattr(x, "_level") and not x._symbolic:
        x = x.data if look_up is None or x._level else look_up(x)
    return x if hasattr(x, "_level") else float(x)
