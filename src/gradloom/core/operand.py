"""What can stand in a formula: the operators and methods that every kind of value shares.

Each operator is the operation of the same name in `ops`; this class only gives it Python's
spelling. Subclasses say what an operation does to them: `Value` builds the graph that a learner
draws, the classes of `autodiff` carry higher derivatives.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Self

from gradloom.core import ops
from gradloom.core.table import Op, Scalar, as_number, primal
from gradloom.errors import LostGradientError, NotANumberError


def _compare(how: Callable[[float, float], bool], a: "Operand", b: object) -> bool:
    """Compare the numbers, not the graphs; what is no number is left to Python's own rules."""
    if isinstance(b, Operand):
        return how(primal(a), primal(b))
    if type(b) is int:  # exact, however large
        return how(primal(a), b)
    try:
        return how(primal(a), as_number(b))
    except NotANumberError:
        return NotImplemented  # type: ignore[no-any-return]


class Operand:
    """A number with operators; `data` is the number, `_level` how deep in nested derivatives."""

    __slots__ = ()
    _level: int
    _symbolic = False  # whether it stands for numbers to come rather than for one
    data: Any

    # NumPy's scalars would swallow a value into an object array; this makes them leave it to us.
    __array_ufunc__ = None

    def _apply(self, op: Op, operands: Sequence[Scalar]) -> Any:
        """The operation on these operands, of which this one has the highest level."""
        raise NotImplementedError

    def __add__(self, other: Scalar) -> Any:
        return ops.add(self, other)

    def __radd__(self, other: Scalar) -> Any:
        return ops.add(other, self)

    def __sub__(self, other: Scalar) -> Any:
        return ops.sub(self, other)

    def __rsub__(self, other: Scalar) -> Any:
        return ops.sub(other, self)

    def __mul__(self, other: Scalar) -> Any:
        return ops.mul(self, other)

    def __rmul__(self, other: Scalar) -> Any:
        return ops.mul(other, self)

    def __truediv__(self, other: Scalar) -> Any:
        return ops.div(self, other)

    def __rtruediv__(self, other: Scalar) -> Any:
        return ops.div(other, self)

    def __floordiv__(self, other: Scalar) -> Any:
        return ops.floordiv(self, other)

    def __rfloordiv__(self, other: Scalar) -> Any:
        return ops.floordiv(other, self)

    def __mod__(self, other: Scalar) -> Any:
        return ops.mod(self, other)

    def __rmod__(self, other: Scalar) -> Any:
        return ops.mod(other, self)

    def __pow__(self, other: Scalar) -> Any:
        return ops.pow(self, other)

    def __rpow__(self, other: Scalar) -> Any:
        return ops.pow(other, self)

    def __neg__(self) -> Any:
        return ops.neg(self)

    def __pos__(self) -> Self:
        return self

    def __abs__(self) -> Any:
        return ops.abs(self)

    def __lt__(self, other: Scalar) -> bool:
        return _compare(operator.lt, self, other)

    def __le__(self, other: Scalar) -> bool:
        return _compare(operator.le, self, other)

    def __gt__(self, other: Scalar) -> bool:
        return _compare(operator.gt, self, other)

    def __ge__(self, other: Scalar) -> bool:
        return _compare(operator.ge, self, other)

    def __eq__(self, other: object) -> bool:
        return _compare(operator.eq, self, other)

    __hash__ = object.__hash__  # the object's, not the number's: values live in sets and dicts

    def __bool__(self) -> bool:
        return bool(primal(self) != 0.0)

    def __format__(self, spec: str) -> str:
        return format(primal(self), spec) if spec else str(self)

    def __float__(self, *_: object) -> NoReturn:
        raise LostGradientError(
            "float() and the functions of math and numpy would lose the gradient of this value; "
            "use Gradloom's own (gradloom.exp(v), not math.exp(v)), or v.data for the plain number"
        )

    __int__ = __complex__ = __round__ = __trunc__ = __floor__ = __ceil__ = __float__

    exp, expm1, log, log1p, log2, log10 = (
        ops.exp, ops.expm1, ops.log, ops.log1p, ops.log2, ops.log10,
    )  # fmt: skip
    sqrt, square, reciprocal = ops.sqrt, ops.square, ops.reciprocal
    sin, cos, tan, asin, acos, atan, atan2 = (
        ops.sin, ops.cos, ops.tan, ops.asin, ops.acos, ops.atan, ops.atan2,
    )  # fmt: skip
    sinh, cosh, tanh, asinh, acosh, atanh = (
        ops.sinh, ops.cosh, ops.tanh, ops.asinh, ops.acosh, ops.atanh,
    )  # fmt: skip
    sigmoid, softplus, relu, leaky_relu = ops.sigmoid, ops.softplus, ops.relu, ops.leaky_relu
    elu, gelu, silu, erf, erfc = ops.elu, ops.gelu, ops.silu, ops.erf, ops.erfc
    floor, ceil, sign, hypot = ops.floor, ops.ceil, ops.sign, ops.hypot
    max, min, logsumexp, detach = ops.max, ops.min, ops.logsumexp, ops.detach

    def where(self, condition: Scalar, other: Scalar) -> Any:
        """This value where the condition is true, else the other."""
        return ops.where(condition, self, other)
