"""The table of operations: everything known of one stands in one row.

A row says how to evaluate the operation on floats, what its partial derivatives are, written
with the operations themselves, and where it may safely be sampled in a test. Because a rule is
written in operations, it runs on whatever they run on: floats, values (higher derivatives), and
later the operands of a recorded program. A new operation is a new row, nothing else:

    >>> @operation(partials=[lambda y, x: 3.0 * square(x)], domain=[REAL])
    ... def cube(x):
    ...     return x * x * x
    >>> cube(2.0)
    8.0
    >>> from gradloom import Value
    >>> x = Value(2.0)
    >>> cube(x).backward()
    >>> x.grad
    12.0
    >>> del OPS["cube"]

An operation never raises for a number: where mathematics has no answer it gives what IEEE 754
gives (inf, -inf, nan, signed zeros), and its derivative what PyTorch gives. What it does at its
edges stands in its docstring. The first argument of a partial is the result, `y`, then come the
operands.
"""

import builtins
import functools
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from math import copysign, inf, nan
from typing import Any

from gradloom.core.table import (
    BETWEEN_INTEGERS,
    INSIDE_ONE,
    NONZERO,
    OPS,
    POSITIVE,
    REAL,
    Op,
    Partial,
    Scalar,
    apply,
    as_number,
    operation,
    primal,
)
from gradloom.errors import ArgumentError, ShapeError

__all__ = [
    "abs", "acos", "acosh", "add", "asin", "asinh", "atan", "atan2", "atanh", "ceil", "cos",
    "cosh", "detach", "div", "dot", "elu", "equal", "erf", "erfc", "exp", "expm1", "floor",
    "floordiv", "gelu", "greater", "hypot", "leaky_relu", "less_equal", "log", "log1p", "log2",
    "log10",
    "log_softmax", "logsumexp", "max", "min", "mod", "mul", "neg", "pow", "reciprocal", "relu",
    "sigmoid", "sign", "silu", "sin", "sinh", "softmax", "softplus", "sqrt", "square", "sub",
    "sum", "take", "tan", "tanh", "where",
]  # fmt: skip

# Arithmetic


@operation("+", partials=[lambda y, a, b: 1.0, lambda y, a, b: 1.0], domain=[REAL, REAL])
def add(a: float, b: float) -> float:
    """The sum a + b. inf + -inf is nan.

    >>> add(2.0, 3.0)
    5.0
    """
    return a + b


@operation("-", partials=[lambda y, a, b: 1.0, lambda y, a, b: -1.0], domain=[REAL, REAL])
def sub(a: float, b: float) -> float:
    """The difference a - b. inf - inf is nan.

    >>> sub(2.0, 3.0)
    -1.0
    """
    return a - b


@operation("*", partials=[lambda y, a, b: b, lambda y, a, b: a], domain=[REAL, REAL])
def mul(a: float, b: float) -> float:
    """The product a · b. 0 · inf is nan.

    >>> mul(2.0, 3.0)
    6.0
    """
    return a * b


@operation(
    "/",
    partials=[lambda y, a, b: div(1.0, b), lambda y, a, b: -div(y, b)],
    domain=[REAL, NONZERO],
)
def div(a: float, b: float) -> float:
    """The quotient a / b. Division by zero gives ±inf by the signs, 0 / 0 gives nan.

    >>> div(1.0, 4.0), div(1.0, -0.0), div(0.0, 0.0)
    (0.25, -inf, nan)
    """
    try:
        return a / b
    except ZeroDivisionError:
        return nan if a == 0.0 or math.isnan(a) else copysign(inf, a) * copysign(1.0, b)


@operation(
    "//",
    partials=[lambda y, a, b: 0.0, lambda y, a, b: 0.0],
    domain=[((0.6, 0.7),), ((0.25, 0.29),)],
    masks=True,
)
def floordiv(a: float, b: float) -> float:
    """The quotient rounded down, as Python's `//`. Division by zero as in `a / b`.

    Its derivative is 0: between two jumps the result stays the same whatever a and b do. At a
    jump there is none, and 0 is given there too.

    >>> floordiv(7.0, 2.0), floordiv(-7.0, 2.0), floordiv(1.0, 0.0)
    (3.0, -4.0, inf)
    """
    return a // b if b else div(a, b)


@operation(
    "%",
    partials=[lambda y, a, b: 1.0, lambda y, a, b: -floordiv(a, b)],
    domain=[((0.6, 0.7),), ((0.25, 0.29),)],
)
def mod(a: float, b: float) -> float:
    """The remainder a - b · (a // b), with the sign of b as in Python. a % 0 is nan.

    The derivative of a // b is 0 almost everywhere, so what remains is 1 for a and -(a // b)
    for b; at the jumps too (PyTorch's `remainder` does the same).

    >>> mod(7.0, 3.0), mod(-7.0, 3.0), mod(1.0, 0.0)
    (1.0, 2.0, nan)
    """
    return a % b if b else nan


def _power_slope(a: Scalar, b: Scalar) -> Scalar:
    """b · a^(b-1), and 0 for an exponent of 0 whatever the base: x ** 0 is a constant."""
    if type(b) is float:
        return b * pow(a, b - 1.0) if b else 0.0
    origin = equal(a, 0.0) * equal(b, 0.0)  # elsewhere the plain formula: b may vary as well
    return b * pow(where(origin, 1.0, a), b - 1.0)


@operation(
    "**",
    partials=[
        lambda y, a, b: _power_slope(a, b),
        # y · ln a, and 0 where 0 is raised to what is not negative.
        lambda y, a, b: y * log(where(equal(a, 0.0) * less_equal(0.0, b), 1.0, a)),
    ],
    domain=[POSITIVE, REAL],
)
def pow(a: float, b: float) -> float:
    """The power a ** b. 0 ** 0 is 1; 0 to a negative power is inf; overflow is ±inf.

    A negative base needs a whole exponent, or the result is nan. For an exponent that is a
    value the derivative is y · ln a: nan for a negative base, 0 at 0 ** b with b ≥ 0. A plain
    number as exponent is a constant, and whatever the base it costs no logarithm.

    >>> pow(2.0, 3.0), pow(0.0, 0.0), pow(-8.0, 1 / 3), pow(-0.0, -1.0)
    (8.0, 1.0, nan, -inf)
    """
    try:
        return math.pow(a, b)
    except OverflowError:
        return -inf if a < 0.0 and b % 2.0 == 1.0 else inf
    except ValueError:
        if a == 0.0:
            return copysign(inf, a) if b % 2.0 == 1.0 else inf
        return nan


@operation("neg", partials=[lambda y, x: -1.0], domain=[REAL])
def neg(x: float) -> float:
    """The negative -x.

    >>> neg(2.0)
    -2.0
    """
    return -x


@operation("abs", partials=[lambda y, x: sign(x)], domain=[NONZERO])
def abs(x: float) -> float:
    """The absolute value |x|. Its derivative at 0 is 0.

    >>> abs(-2.0)
    2.0
    """
    return math.fabs(x)


@operation("reciprocal", partials=[lambda y, x: -(y * y)], domain=[NONZERO])
def reciprocal(x: float) -> float:
    """The reciprocal 1 / x; ±inf at ±0.

    >>> reciprocal(4.0)
    0.25
    """
    return div(1.0, x)  # type: ignore[no-any-return]


@operation("square", partials=[lambda y, x: 2.0 * x], domain=[REAL])
def square(x: float) -> float:
    """The square x².

    >>> square(3.0)
    9.0
    """
    return x * x


@operation("sqrt", partials=[lambda y, x: div(0.5, y)], domain=[POSITIVE])
def sqrt(x: float) -> float:
    """The square root √x; nan below 0. Its derivative at 0 is inf.

    >>> sqrt(9.0), sqrt(-1.0)
    (3.0, nan)
    """
    return math.sqrt(x) if x >= 0.0 else nan


# Exponentials and logarithms


@operation("exp", partials=[lambda y, x: y], domain=[REAL])
def exp(x: float) -> float:
    """The exponential eˣ; inf on overflow, from x = 709.79 on.

    >>> exp(0.0), exp(1000.0)
    (1.0, inf)
    """
    try:
        return math.exp(x)
    except OverflowError:
        return inf


@operation("expm1", partials=[lambda y, x: y + 1.0], domain=[REAL])
def expm1(x: float) -> float:
    """eˣ - 1, accurate near 0; inf on overflow.

    >>> expm1(1e-20)
    1e-20
    """
    try:
        return math.expm1(x)
    except OverflowError:
        return inf


def _logarithm(function: Callable[[float], float], x: float, pole: float = 0.0) -> float:
    """A logarithm of math, with -inf at its pole and nan below instead of an exception."""
    if x > pole:
        return function(x)
    return -inf if x == pole else nan


@operation("log", partials=[lambda y, x: div(1.0, x)], domain=[POSITIVE])
def log(x: float) -> float:
    """The natural logarithm; -inf at 0 (with derivative inf), nan below 0.

    >>> log(1.0), log(0.0), log(-1.0)
    (0.0, -inf, nan)
    """
    return _logarithm(math.log, x)


@operation("log1p", partials=[lambda y, x: reciprocal(1.0 + x)], domain=[((-0.9, 3.0),)])
def log1p(x: float) -> float:
    """ln(1 + x), accurate near 0; -inf at -1, nan below.

    >>> log1p(1e-20)
    1e-20
    """
    return _logarithm(math.log1p, x, pole=-1.0)


@operation("log2", partials=[lambda y, x: div(1.0 / math.log(2.0), x)], domain=[POSITIVE])
def log2(x: float) -> float:
    """The logarithm to base 2; -inf at 0, nan below.

    >>> log2(8.0)
    3.0
    """
    return _logarithm(math.log2, x)


@operation("log10", partials=[lambda y, x: div(1.0 / math.log(10.0), x)], domain=[POSITIVE])
def log10(x: float) -> float:
    """The logarithm to base 10; -inf at 0, nan below.

    >>> log10(1000.0)
    3.0
    """
    return _logarithm(math.log10, x)


# Circular and hyperbolic functions


def _wave(function: Callable[[float], float], x: float) -> float:
    """A circular function of math, with nan at ±inf instead of an exception."""
    return function(x) if math.isfinite(x) else nan


@operation("sin", partials=[lambda y, x: cos(x)], domain=[REAL])
def sin(x: float) -> float:
    """The sine of x radians; nan at ±inf.

    >>> sin(0.0)
    0.0
    """
    return _wave(math.sin, x)


@operation("cos", partials=[lambda y, x: -sin(x)], domain=[REAL])
def cos(x: float) -> float:
    """The cosine of x radians; nan at ±inf.

    >>> cos(0.0)
    1.0
    """
    return _wave(math.cos, x)


@operation("tan", partials=[lambda y, x: 1.0 + y * y], domain=[((-1.2, 1.2),)])
def tan(x: float) -> float:
    """The tangent of x radians; nan at ±inf.

    >>> tan(0.0)
    0.0
    """
    return _wave(math.tan, x)


@operation(
    "asin", partials=[lambda y, x: reciprocal(sqrt((1.0 - x) * (1.0 + x)))], domain=[INSIDE_ONE]
)
def asin(x: float) -> float:
    """The inverse sine, in radians; nan beyond ±1, where the derivative becomes inf.

    >>> asin(0.0), asin(2.0)
    (0.0, nan)
    """
    return math.asin(x) if -1.0 <= x <= 1.0 else nan


@operation(
    "acos", partials=[lambda y, x: -reciprocal(sqrt((1.0 - x) * (1.0 + x)))], domain=[INSIDE_ONE]
)
def acos(x: float) -> float:
    """The inverse cosine, in radians; nan beyond ±1, where the derivative becomes -inf.

    >>> acos(1.0)
    0.0
    """
    return math.acos(x) if -1.0 <= x <= 1.0 else nan


@operation("atan", partials=[lambda y, x: reciprocal(1.0 + x * x)], domain=[REAL])
def atan(x: float) -> float:
    """The inverse tangent, in radians.

    >>> atan(0.0)
    0.0
    """
    return math.atan(x)


def _over_square(part: Scalar, y: Scalar, x: Scalar) -> Scalar:
    """part / (x² + y²) without overflow, and 0 at the origin."""
    radius = hypot(y, x)
    radius = where(equal(radius, 0.0), inf, radius)
    return div(div(part, radius), radius)


@operation(
    "atan2",
    partials=[lambda a, y, x: _over_square(x, y, x), lambda a, y, x: -_over_square(y, y, x)],
    domain=[NONZERO, NONZERO],
)
def atan2(y: float, x: float) -> float:
    """The angle of the point (x, y) in radians, within ±π. At the origin the derivatives are 0.

    >>> atan2(0.0, 1.0)
    0.0
    """
    return math.atan2(y, x)


@operation("sinh", partials=[lambda y, x: cosh(x)], domain=[REAL])
def sinh(x: float) -> float:
    """The hyperbolic sine; ±inf on overflow.

    >>> sinh(0.0), sinh(-1000.0)
    (0.0, -inf)
    """
    try:
        return math.sinh(x)
    except OverflowError:
        return copysign(inf, x)


@operation("cosh", partials=[lambda y, x: sinh(x)], domain=[REAL])
def cosh(x: float) -> float:
    """The hyperbolic cosine; inf on overflow.

    >>> cosh(0.0)
    1.0
    """
    try:
        return math.cosh(x)
    except OverflowError:
        return inf


@operation("tanh", partials=[lambda y, x: 1.0 - y * y], domain=[REAL])
def tanh(x: float) -> float:
    """The hyperbolic tangent, within ±1.

    >>> tanh(0.0), tanh(1000.0)
    (0.0, 1.0)
    """
    return math.tanh(x)


@operation("asinh", partials=[lambda y, x: reciprocal(hypot(x, 1.0))], domain=[REAL])
def asinh(x: float) -> float:
    """The inverse hyperbolic sine.

    >>> asinh(0.0)
    0.0
    """
    return math.asinh(x)


@operation(
    "acosh",
    partials=[lambda y, x: reciprocal(sqrt(x - 1.0) * sqrt(x + 1.0))],
    domain=[((1.1, 3.0),)],
)
def acosh(x: float) -> float:
    """The inverse hyperbolic cosine; nan below 1. Its derivative at 1 is inf.

    >>> acosh(1.0), acosh(0.5)
    (0.0, nan)
    """
    return math.acosh(x) if x >= 1.0 else nan


@operation("atanh", partials=[lambda y, x: reciprocal((1.0 - x) * (1.0 + x))], domain=[INSIDE_ONE])
def atanh(x: float) -> float:
    """The inverse hyperbolic tangent; ±inf at ±1 (with derivative inf), nan beyond.

    >>> atanh(0.0), atanh(-1.0)
    (0.0, -inf)
    """
    if -1.0 < x < 1.0:
        return math.atanh(x)
    return copysign(inf, x) if builtins.abs(x) == 1.0 else nan


# Activations


@operation("sigmoid", partials=[lambda y, x: y * (1.0 - y)], domain=[REAL])
def sigmoid(x: float) -> float:
    """The logistic function 1 / (1 + e⁻ˣ), from 0 to 1, without overflow.

    >>> sigmoid(0.0), sigmoid(-1000.0)
    (0.5, 0.0)
    """
    if x >= 0.0:
        return 1.0 / (1.0 + math.exp(-x))
    small = math.exp(x)
    return small / (1.0 + small)


@operation("softplus", partials=[lambda y, x: sigmoid(x)], domain=[REAL])
def softplus(x: float) -> float:
    """ln(1 + eˣ), a smooth relu, without overflow.

    >>> softplus(1000.0), softplus(-1000.0)
    (1000.0, 0.0)
    """
    return (0.0 if x < 0.0 else x) + math.log1p(math.exp(-math.fabs(x)))


@operation("relu", partials=[lambda y, x: 1.0 - less_equal(x, 0.0)], domain=[NONZERO], masks=True)
def relu(x: float) -> float:
    """x where positive, else 0. Its derivative at 0 is 0.

    >>> relu(2.0), relu(-2.0)
    (2.0, 0.0)
    """
    return 0.0 if x <= 0.0 else x


_LEAKY_RELU = Op(
    "leaky_relu",
    2,
    lambda x, slope: x if x > 0.0 else slope * x,
    [
        lambda y, x, slope: where(greater(x, 0.0), 1.0, slope),
        lambda y, x, slope: where(greater(x, 0.0), 0.0, x),
    ],
    [NONZERO, REAL],
)
OPS[_LEAKY_RELU.symbol] = _LEAKY_RELU


def leaky_relu(x: Scalar, slope: Scalar = 0.01) -> Scalar:
    """x where positive, else slope · x (Maas et al., 2013). Its derivative at 0 is the slope.

    The slope may be a value, and is learned then (He et al., 2015: PReLU).

    >>> leaky_relu(-2.0), leaky_relu(-2.0, slope=0.5)
    (-0.02, -1.0)
    """
    return apply(_LEAKY_RELU, x, slope)


_ELU = Op(
    "elu",
    2,
    lambda x, alpha: x if x > 0.0 else alpha * math.expm1(x),
    [
        lambda y, x, alpha: where(greater(x, 0.0), 1.0, y + alpha),
        lambda y, x, alpha: where(greater(x, 0.0), 0.0, expm1(x)),
    ],
    [NONZERO, REAL],
)
OPS[_ELU.symbol] = _ELU


def elu(x: Scalar, alpha: Scalar = 1.0) -> Scalar:
    """x where positive, else alpha · (eˣ - 1) (Clevert et al., 2016). Its derivative at 0 is alpha.

    >>> elu(2.0), elu(-1000.0, alpha=2.0)
    (2.0, -2.0)
    """
    return apply(_ELU, x, alpha)


_ROOT_HALF = math.sqrt(0.5)
_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)


@operation(
    "gelu",
    partials=[lambda y, x: 0.5 * erfc(-_ROOT_HALF * x) + _DENSITY * x * exp(-0.5 * x * x)],
    domain=[REAL],
)
def gelu(x: float) -> float:
    """x · Φ(x), Φ the normal distribution function, not its tanh approximation.

    Hendrycks and Gimpel, 2016. At -inf it is nan, as in PyTorch.

    >>> gelu(0.0), gelu(100.0)
    (0.0, 100.0)
    """
    return 0.5 * x * math.erfc(-_ROOT_HALF * x)


def _silu_slope(y: Scalar, x: Scalar) -> Scalar:
    gate = sigmoid(x)
    return gate + y * (1.0 - gate)


@operation("silu", partials=[_silu_slope], domain=[REAL])
def silu(x: float) -> float:
    """x · sigmoid(x), also called swish (Elfwing et al., 2018). At -inf it is nan, as in PyTorch.

    >>> silu(0.0), silu(100.0)
    (0.0, 100.0)
    """
    return x * sigmoid(x)  # type: ignore[no-any-return]


_ERF_SLOPE = 2.0 / math.sqrt(math.pi)


@operation("erf", partials=[lambda y, x: _ERF_SLOPE * exp(-(x * x))], domain=[REAL])
def erf(x: float) -> float:
    """The error function 2/√π ∫₀ˣ e^(-t²) dt, within ±1.

    >>> erf(0.0)
    0.0
    """
    return math.erf(x)


@operation("erfc", partials=[lambda y, x: -_ERF_SLOPE * exp(-(x * x))], domain=[REAL])
def erfc(x: float) -> float:
    """The complement 1 - erf(x), accurate where it is small.

    >>> erfc(0.0)
    1.0
    """
    return math.erfc(x)


# Steps and selections: their derivative is 0 or 1 on either side, and a 0 blocks


@operation("floor", partials=[lambda y, x: 0.0], domain=[BETWEEN_INTEGERS], masks=True)
def floor(x: float) -> float:
    """The largest whole number that is at most x. The derivative is 0, at the jumps too.

    >>> floor(-1.5)
    -2.0
    """
    return copysign(float(math.floor(x)), x) if math.isfinite(x) else x


@operation("ceil", partials=[lambda y, x: 0.0], domain=[BETWEEN_INTEGERS], masks=True)
def ceil(x: float) -> float:
    """The smallest whole number that is at least x. The derivative is 0, at the jumps too.

    >>> ceil(-1.5)
    -1.0
    """
    return copysign(float(math.ceil(x)), x) if math.isfinite(x) else x


@operation("sign", partials=[lambda y, x: 0.0], domain=[NONZERO], masks=True)
def sign(x: float) -> float:
    """-1, 0 or 1, as x is negative, zero or positive; nan for nan. The derivative is 0.

    >>> sign(-3.0), sign(0.0)
    (-1.0, 0.0)
    """
    return x if math.isnan(x) else float((x > 0.0) - (x < 0.0))


@operation("detach", partials=[lambda y, x: 0.0], domain=[((0.0, 0.0),)], masks=True)
def detach(x: float) -> float:
    """x itself, as a constant: no gradient flows back through it.

    >>> detach(2.0)
    2.0
    """
    return x


def _step(symbol: str, doc: str, compare: Callable[[float, float], bool]) -> Callable[..., Scalar]:
    """A comparison as an operation: 1.0 where it holds, else 0.0; for rules and `where`."""
    zero: Partial = lambda y, a, b: 0.0  # noqa: E731
    op = Op(symbol, 2, lambda a, b: 1.0 if compare(a, b) else 0.0, [zero, zero], [REAL, REAL], True)
    OPS[symbol] = op

    def step(a: Scalar, b: Scalar) -> Scalar:
        if type(a) is type(b) is float:
            return 1.0 if compare(a, b) else 0.0
        return apply(op, a, b)

    step.__name__ = step.__qualname__ = symbol
    step.__doc__ = doc
    return step


greater: Callable[..., Scalar] = _step(
    "greater", "1.0 where a > b, else 0.0. The derivatives are 0.", operator.gt
)
less_equal: Callable[..., Scalar] = _step(
    "less_equal", "1.0 where a ≤ b, else 0.0. The derivatives are 0.", operator.le
)
equal: Callable[..., Scalar] = _step(
    "equal", "1.0 where a = b, else 0.0. The derivatives are 0.", operator.eq
)


@operation(
    "where",
    partials=[
        lambda y, condition, a, b: 0.0,
        lambda y, condition, a, b: where(condition, 1.0, 0.0),
        lambda y, condition, a, b: where(condition, 0.0, 1.0),
    ],
    domain=[NONZERO, REAL, REAL],
    masks=True,
)
def where(condition: float, a: float, b: float) -> float:
    """a where the condition is true (not 0), else b. The other one gets no gradient, even of inf.

    >>> where(2.0 > 1.0, 10.0, 20.0)
    10.0
    """
    return a if condition else b


def take(table: Sequence[Any], index: Scalar) -> Any:
    """table[index], also where the index differs from call to call of a compiled function.

    Plain `table[index]` follows the index of the recording and records anew for every other one;
    this does not. The gradient goes to the entry that was taken.

    Args:
        table: numbers or values; or rows of them of equal length, as an embedding has.
        index: a whole number from 0 on.

    Raises:
        ArgumentError: the index is no whole number, or out of range.
        ShapeError: the table is empty, or its rows differ in length.

    >>> take([[1.0, 2.0], [3.0, 4.0]], 1)
    [3.0, 4.0]
    """
    rows = list(table)
    if not rows:
        raise ShapeError("take() needs a table with at least one entry and got none")
    number = primal(index) if hasattr(index, "_level") else as_number(index)
    if hasattr(number, "_level"):  # it stands for the indices to come
        hits = [equal(number, float(i)) for i in range(len(rows))]
        if equal(sum(hits), 1.0):
            return _select(hits, rows)
    elif number in range(len(rows)):
        return rows[int(number)]
    raise ArgumentError(
        f"take: index {number:g} is out of range; the table has {len(rows)} entries, so that it "
        f"must be a whole number from 0 to {len(rows) - 1}"
    )


def _select(hits: Sequence[Scalar], rows: Sequence[Any]) -> Any:
    """The row where the hit is 1, entry by entry."""
    if hasattr(rows[0], "_level") or not isinstance(rows[0], Iterable):
        return sum(where(hit, row, 0.0) for hit, row in zip(hits, rows, strict=True))
    if len({len(row) for row in rows}) > 1:
        raise ShapeError("take() needs rows of one length, and those of this table differ")
    return [_select(hits, column) for column in zip(*rows, strict=True)]


def _shares(y: Scalar, *operands: Scalar) -> list[Scalar]:
    """1 for the operand that equals the result; those that tie share it evenly."""
    hits = [equal(x, y) for x in operands]
    ties = functools.reduce(operator.add, hits)
    return [div(hit, ties) for hit in hits]


def _extreme(values: Sequence[float], better: Callable[[float, float], bool]) -> float:
    best = values[0]
    for value in values:
        if math.isnan(value):
            return value
        if better(value, best):
            best = value
    return best


_MAX = Op("max", None, lambda *xs: _extreme(xs, operator.gt), _shares, [REAL], masks=True)
_MIN = Op("min", None, lambda *xs: _extreme(xs, operator.lt), _shares, [REAL], masks=True)
OPS["max"], OPS["min"] = _MAX, _MIN


def _collect(name: str, values: tuple[Any, ...]) -> tuple[Scalar, ...]:
    """The operands of `name(a, b, …)` or `name(iterable)`."""
    first = values[0] if len(values) == 1 else None
    is_list = isinstance(first, Iterable) and not hasattr(first, "_level")
    if is_list and getattr(first, "ndim", 1) != 0:
        values = tuple(values[0])
    if not values:
        raise ShapeError(f"{name}() needs at least one value and got none; guard the empty case")
    return values


def max(*values: Scalar) -> Scalar:
    """The largest of any number of values, or of one iterable; nan if any is nan.

    Values that tie share the gradient evenly, as in PyTorch's `amax`.

    Raises:
        ShapeError: there are no values.

    >>> max(1.0, 3.0, 2.0), max([1.0, 2.0])
    (3.0, 2.0)
    """
    return apply(_MAX, *_collect("max", values))


def min(*values: Scalar) -> Scalar:
    """The smallest of any number of values, or of one iterable; nan if any is nan.

    Values that tie share the gradient evenly, as in PyTorch's `amin`.

    Raises:
        ShapeError: there are no values.

    >>> min(1.0, 3.0, 2.0), min([1.0, 2.0])
    (1.0, 1.0)
    """
    return apply(_MIN, *_collect("min", values))


# Sums


_SUM = Op(
    "sum",
    None,
    lambda *xs: functools.reduce(operator.add, xs, 0.0),
    lambda y, *xs: (1.0,) * len(xs),
    [REAL],
)
OPS["sum"] = _SUM


def sum(values: Iterable[Scalar]) -> Scalar:
    """The sum of the values, left to right, as one node of the graph; 0.0 of none.

    >>> sum([1.0, 2.0, 3.0])
    6.0
    """
    return apply(_SUM, *tuple(values))


def _dot(*operands: float) -> float:
    half = len(operands) // 2
    total = 0.0
    for x, y in zip(operands[:half], operands[half:], strict=True):
        total += x * y
    return total


def _swapped(_: Scalar, *operands: Scalar) -> tuple[Scalar, ...]:
    half = len(operands) // 2
    return operands[half:] + operands[:half]


_DOT = Op("dot", None, _dot, _swapped, [REAL])
OPS["dot"] = _DOT


def dot(xs: Iterable[Scalar], ys: Iterable[Scalar]) -> Scalar:
    """The sum of products Σ xᵢ yᵢ, left to right, as one node of the graph; 0.0 of none.

    Raises:
        ShapeError: the lengths differ.

    >>> dot([1.0, 2.0], [3.0, 4.0])
    11.0
    """
    xs, ys = tuple(xs), tuple(ys)
    if len(xs) != len(ys):
        raise ShapeError(f"dot() needs two lists of one length, got {len(xs)} and {len(ys)} values")
    return apply(_DOT, *xs, *ys)


@operation("hypot", partials=lambda y, *xs: [div(x, y) for x in xs], domain=[NONZERO])
def hypot(*xs: float) -> float:
    """The length √(x₁² + x₂² + …) without overflow. At the origin the derivatives are nan.

    >>> hypot(3.0, 4.0), hypot(2.0, 3.0, 6.0)
    (5.0, 7.0)
    """
    return math.hypot(*xs)


def _logsumexp(*xs: float) -> float:
    largest = _extreme(xs, operator.gt)
    if not math.isfinite(largest):
        return largest
    return largest + math.log(math.fsum(math.exp(x - largest) for x in xs))


_LOGSUMEXP = Op("logsumexp", None, _logsumexp, lambda y, *xs: [exp(x - y) for x in xs], [REAL])
OPS["logsumexp"] = _LOGSUMEXP


def logsumexp(*values: Scalar) -> Scalar:
    """ln Σ e^xᵢ of any number of values, or of one iterable, without overflow.

    The derivatives are the softmax of the values.

    Raises:
        ShapeError: there are no values.

    >>> logsumexp([1000.0, 1000.0])
    1000.6931471805599
    """
    return apply(_LOGSUMEXP, *_collect("logsumexp", values))


def _below_largest(name: str, values: Iterable[Scalar]) -> list[Scalar]:
    """The values less the largest, which changes no softmax and lets no exponential overflow."""
    operands = _collect(name, (tuple(values),))
    largest = detach(apply(_MAX, *operands))
    return [x - largest for x in operands]


def log_softmax(values: Iterable[Scalar]) -> list[Scalar]:
    """The logarithms of the softmax, xᵢ - ln Σ e^xⱼ, without overflow.

    Raises:
        ShapeError: there are no values.

    >>> log_softmax([1000.0, 0.0])
    [0.0, -1000.0]
    """
    shifted = _below_largest("log_softmax", values)
    total = logsumexp(shifted)
    return [x - total for x in shifted]


def softmax(values: Iterable[Scalar]) -> list[Scalar]:
    """e^xᵢ / Σ e^xⱼ, positive numbers that sum to 1, without overflow.

    Raises:
        ShapeError: there are no values.

    >>> softmax([1000.0, 1000.0])
    [0.5, 0.5]
    """
    powers = [exp(x) for x in _below_largest("softmax", values)]
    total = sum(powers)
    return [div(power, total) for power in powers]
