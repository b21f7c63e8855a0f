"""The rows of the table as functions of vectors, written in LLVM's language, true to their edges.

Nothing here calls a library: every function is made of the target's arithmetic, for vectors of any
width, in double or single precision, with fused multiplication and addition or without.
The largest errors, in units in the last place of doubles and of floats, whatever the operands:

    exp       0.9  0.9
    expm1     1.3  1.1
    log       0.9  0.9
    log1p     1.0  1.0
    log2      0.8  0.6
    log10     0.8  0.6
    **        0.8  0.6
    sin       0.9  0.9
    cos       0.9  0.9
    tan       1.0  1.2
    asin      0.8  0.8
    acos      0.8  0.8
    atan      1.0  1.0
    atan2     1.0  0.6
    sinh      0.9  0.9
    cosh      1.0  1.0
    tanh      1.0  1.0
    asinh     1.0  1.0
    acosh     1.0  1.0
    atanh     1.0  1.0
    sigmoid   0.8  0.8
    softplus  1.4  1.4
    silu      1.5  1.5
    gelu      1.9  1.9
    erf       1.4  1.4
    erfc      1.6  1.6
    hypot     0.9  0.6

+, -, *, /, % and sqrt, those that select or round to whole numbers, and // are exact or rounded
correctly, as in Python. logsumexp errs by a unit or two of its largest operand or of the result.

>>> from gradloom.backends.llvm.ir import Writer
>>> writer = Writer()
>>> FUNCTIONS["relu"](Arithmetic(writer, 1), "%x")
'%v2'
>>> print(*writer.lines, sep="\\n")
%v1 = fcmp ole double %x, 0x0000000000000000
%v2 = select i1 %v1, double 0x0000000000000000, double %x
"""

import functools
from collections.abc import Callable

from gradloom.backends.llvm.circular import acos, asin, atan, atan2, cos, sin, tan
from gradloom.backends.llvm.exponential import (
    cosh,
    exp,
    expm1,
    sigmoid,
    silu,
    sinh,
    tanh,
)
from gradloom.backends.llvm.extended import (
    FRACTION,
    INFINITY,
    exact_product,
    exact_sum,
    in_double,
)
from gradloom.backends.llvm.ir import Arithmetic, Function
from gradloom.backends.llvm.logarithm import (
    acosh,
    asinh,
    atanh,
    log,
    log1p,
    log2,
    log10,
    log_of_pair,
    power,
    softplus,
)
from gradloom.backends.llvm.normal import erf, erfc, gelu
from gradloom.backends.llvm.remainder import floor_quotient, modulo


def _compared(relation: str) -> Function:
    """A comparison as 1.0 or 0.0, to be reckoned with."""

    def compare(a: Arithmetic, x: str, y: str) -> str:
        return a.select(a.compare(relation, x, y), a.number(1.0), a.number(0.0))

    return compare


def _where(a: Arithmetic, condition: str, x: str, y: str) -> str:
    return a.select(a.compare("une", condition, a.number(0.0)), x, y)


def _sign(a: Arithmetic, x: str) -> str:
    zero = a.number(0.0)
    below = a.select(a.compare("olt", x, zero), a.number(-1.0), a.add(zero, a.abs(x)))
    return a.select(a.compare("ogt", x, zero), a.number(1.0), below)


def _relu(a: Arithmetic, x: str) -> str:
    return a.select(a.compare("ole", x, a.number(0.0)), a.number(0.0), x)


def _leaky_relu(a: Arithmetic, x: str, slope: str) -> str:
    return a.select(a.compare("ogt", x, a.number(0.0)), x, a.mul(slope, x))


def _elu(a: Arithmetic, x: str, alpha: str) -> str:
    return a.select(a.compare("ogt", x, a.number(0.0)), x, a.mul(alpha, expm1(a, x)))


def _extreme(better_or_nan: str) -> Function:
    """The best of several; of equals (0.0 and -0.0) the first, and nan if there is one."""

    def choose(a: Arithmetic, *xs: str) -> str:
        def better(best: str, x: str) -> str:
            taken = a.both(a.compare(better_or_nan, x, best), a.compare("ord", best, best))
            return a.select(taken, x, best)

        return functools.reduce(better, xs)

    return choose


def _sum(a: Arithmetic, *xs: str) -> str:
    return functools.reduce(a.add, xs, a.number(0.0))


@in_double
def _hypot(a: Arithmetic, *xs: str) -> str:
    """√(x₁² + …) with the largest brought near 1, and the squares added without loss."""
    zero, sizes = a.number(0.0), [a.abs(x) for x in xs]
    largest = zero
    for x in sizes:
        largest = a.select(a.compare("ogt", x, largest), x, largest)
    unit = 1 << FRACTION[a.bits]
    exponent = a.integers("and", a.bits_of(largest), a.integer(2047 * unit))
    for relation, bound in (("ult", 1), ("ugt", 2045)):  # those whose inverses are normal
        limit = a.integer(bound * unit)
        exponent = a.select_integers(a.compare_integers(relation, exponent, limit), limit, exponent)
    shrink = a.from_bits(a.integers("sub", a.integer(2046 * unit), exponent))
    total, low = zero, zero
    for x in sizes:
        scaled = a.mul(x, shrink)
        square, lost = exact_product(a, scaled, scaled)
        total, error = exact_sum(a, total, square)
        low = a.add(low, a.add(error, lost))
    y = a.mul(a.sqrt(a.add(total, low)), a.from_bits(exponent))
    infinity = a.number(INFINITY)
    return a.select(a.compare("oeq", largest, infinity), infinity, y)


def _logsumexp(a: Arithmetic, *xs: str) -> str:
    """The largest plus the logarithm of the sum of the exponentials of the differences to it."""
    largest = FUNCTIONS["max"](a, *xs)
    finite = a.compare("olt", a.abs(largest), a.number(INFINITY))
    total = low = a.number(0.0)
    for x in xs:
        total, error = exact_sum(a, total, exp(a, a.sub(x, largest)))
        low = a.add(low, error)
    return a.select(finite, a.add(log_of_pair(a, (total, low)), largest), largest)


FUNCTIONS: dict[str, Callable[..., str]] = {
    "+": Arithmetic.add,
    "-": Arithmetic.sub,
    "*": Arithmetic.mul,
    "/": Arithmetic.div,
    "//": floor_quotient,
    "%": modulo,
    "**": power,
    "neg": Arithmetic.neg,
    "abs": Arithmetic.abs,
    "reciprocal": lambda a, x: a.div(a.number(1.0), x),
    "square": lambda a, x: a.mul(x, x),
    "sqrt": Arithmetic.sqrt,
    "exp": exp,
    "expm1": expm1,
    "log": log,
    "log1p": log1p,
    "log2": log2,
    "log10": log10,
    "sin": sin,
    "cos": cos,
    "tan": tan,
    "asin": asin,
    "acos": acos,
    "atan": atan,
    "atan2": atan2,
    "sinh": sinh,
    "cosh": cosh,
    "tanh": tanh,
    "asinh": asinh,
    "acosh": acosh,
    "atanh": atanh,
    "sigmoid": sigmoid,
    "softplus": softplus,
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "gelu": gelu,
    "silu": silu,
    "erf": erf,
    "erfc": erfc,
    "floor": Arithmetic.floor,
    "ceil": Arithmetic.ceil,
    "sign": _sign,
    "detach": lambda _, x: x,
    "greater": _compared("ogt"),
    "less_equal": _compared("ole"),
    "equal": _compared("oeq"),
    "where": _where,
    "max": _extreme("ugt"),
    "min": _extreme("ult"),
    "sum": _sum,
    "hypot": _hypot,
    "logsumexp": _logsumexp,
}
