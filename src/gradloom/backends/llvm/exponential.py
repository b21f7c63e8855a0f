"""Exponentials, and what is made of them: hyperbolic functions, sigmoid, silu.

eˣ = 2ⁿ · (1 + r + tail), with n the integer next to x / ln 2, |r| at most ½ ln 2, and 1 + r held
apart from the tail so that each function rounds but once where it counts. No tables; the
polynomials are minimax, found with Remez' algorithm in 60 digits.
"""

import math
from typing import NamedTuple

from gradloom.backends.llvm.extended import (
    FRACTION,
    MAGIC,
    ONE,
    Pair,
    at_least,
    at_most,
    exact_product,
    exact_sum,
    ordered_sum,
    polynomial,
    power_of_two,
    quotient,
    scaled,
)
from gradloom.backends.llvm.ir import Arithmetic

# (eʳ - 1 - r) / r², to 2^-57 and 2^-28 of eʳ.
_POWERS = {
    64: (
        0.500000000000001, 0.1666666666666667, 0.041666666666520545, 0.008333333333325022,
        0.0013888888948262708, 0.0001984126987950365, 2.480148682689625e-05,
        2.7557249399402833e-06, 2.763284364018453e-07, 2.510761820501495e-08,
    ),
    32: (
        0.49999993335459864, 0.16666519977977465, 0.04166842021448354, 0.00836879574014926,
        0.0013812614408095756,
    ),
}  # fmt: skip
# (sinh r - r) / r³ and (cosh r - 1 - r²/2) / r⁴ as polynomials of r².
_ODD = {
    64: (
        0.16666666666666677, 0.008333333333321544, 0.0001984126988637277, 2.7557243936661656e-06,
        2.5109139959996548e-08,
    ),
    32: (0.16666666755041576, 0.008333288791377999, 0.00019905076690740345),
}  # fmt: skip
_EVEN = {
    64: (
        0.04166666666666667, 0.0013888888888880886, 2.48015873341283e-05, 2.755726411630478e-07,
        2.091821274795206e-09,
    ),
    32: (0.04166648668062967, 0.001393373321478673),
}  # fmt: skip
# ln 2 in two parts, of which the first times n is exact.
LN2 = {
    64: (0.6931471805592082, 7.371002565167799e-13),
    32: (0.693145751953125, 1.4286068203094173e-06),
}
# Where eˣ is 0 and where it is inf.
_RANGE = {64: (-746.0, 710.0), 32: (-104.5, 89.0)}


class Reduced(NamedTuple):
    """x = n · ln 2 + r + low; `shifted` is n with MAGIC added."""

    shifted: str
    n: str
    r: str
    low: str


def reduced(a: Arithmetic, x: str) -> Reduced:
    """The integer multiple of ln 2 in x, and what remains of it."""
    shifted, n, first, second = _parts(a, x)
    r, low = ordered_sum(a, first, second)
    return Reduced(shifted, n, r, low)


def _parts(a: Arithmetic, x: str) -> tuple[str, str, str, str]:
    """As in `reduced`, but r in two parts that are not yet added up, the second tiny."""
    magic = a.number(MAGIC[a.bits])
    high, low = LN2[a.bits]
    shifted = a.fma(x, a.number(1.0 / math.log(2.0)), magic)
    n = a.sub(shifted, magic)
    return shifted, n, a.fma(n, a.number(-high), x), a.mul(n, a.number(-low))


def tail(a: Arithmetic, r: str, low: str) -> str:
    """e^(r + low) - 1 - r."""
    return a.fma(a.mul(r, r), polynomial(a, r, _POWERS[a.bits]), low)


def exp(a: Arithmetic, x: str) -> str:
    """eˣ."""
    bottom, top = _RANGE[a.bits]
    shifted, _, first, second = _parts(a, at_least(a, at_most(a, x, top), bottom))
    small = a.add(first, tail(a, a.add(first, second), second))
    return scaled(a, a.add(a.number(1.0), small), shifted)


def exp_pair(a: Arithmetic, x: str, low: str | None = None) -> tuple[Pair, str]:
    """e^(x + low) as a pair and what to scale it by, see `scaled`; x within ±1200."""
    found = reduced(a, x)
    r, small = found.r, found.low
    if low is not None:
        r, small = ordered_sum(a, r, a.add(small, low))
    one, left = ordered_sum(a, a.number(1.0), r)
    return ordered_sum(a, one, a.add(left, tail(a, r, small))), found.shifted


def expm1(a: Arithmetic, x: str) -> str:
    """eˣ - 1 = 2ⁿ · ((1 - 2⁻ⁿ) + r + tail)."""
    found = reduced(a, at_least(a, at_most(a, x, _RANGE[a.bits][1]), -40.0))
    less = a.sub(a.number(1.0), _inverse_power(a, found.shifted))
    high, low = ordered_sum(a, less, found.r)
    y = a.add(high, a.add(low, tail(a, found.r, found.low)))
    return a.copysign(scaled(a, y, found.shifted), x)


def _inverse_power(a: Arithmetic, shifted: str) -> str:
    """2⁻ⁿ, and something small where that would be subnormal."""
    most = a.number(MAGIC[a.bits] + (1000.0 if a.bits == 64 else 120.0))
    kept = a.bits_of(a.select(a.compare("olt", most, shifted), most, shifted))
    raised = a.integers("shl", kept, a.integer(FRACTION[a.bits]))
    return a.from_bits(a.integers("sub", a.integer(ONE[a.bits]), raised))


def tanh(a: Arithmetic, x: str) -> str:
    """(e²ˣ - 1) / (e²ˣ + 1), both as pairs."""
    bound = 40.0 if a.bits == 64 else 20.0
    size = a.abs(x)
    found = reduced(a, at_most(a, a.add(size, size), bound))
    inverse, small = _inverse_power(a, found.shifted), tail(a, found.r, found.low)
    parts = []
    for term in (a.neg(inverse), inverse):
        one, lost = ordered_sum(a, a.number(1.0), term)
        parts.append(_with_tail(a, ordered_sum(a, one, found.r), a.add(small, lost)))
    return a.copysign(quotient(a, *parts), x)


def _with_tail(a: Arithmetic, pair: Pair, small: str) -> Pair:
    return ordered_sum(a, pair[0], a.add(pair[1], small))


def logistic(a: Arithmetic, x: str) -> tuple[str, str]:
    """1 / (1 + e⁻ˣ) as a number and a power of two to multiply it by, which may make it subnormal.

    (1 + r + tail) / (2⁻ⁿ + 1 + r + tail); where x is so small that the 1 does not count, 2⁻ⁿ is
    held back.
    """
    bottom, top, held = (-760.0, 40.0, -100.0) if a.bits == 64 else (-111.0, 20.0, -34.0)
    found = reduced(a, at_least(a, at_most(a, x, top), bottom))
    above = _with_tail(a, ordered_sum(a, a.number(1.0), found.r), tail(a, found.r, found.low))
    kept = at_least(a, found.shifted, MAGIC[a.bits] + held)
    high, low = exact_sum(a, _inverse_power(a, kept), above[0])
    y = quotient(a, above, (high, a.add(low, above[1])))
    return y, power_of_two(a, a.integers("sub", a.bits_of(found.shifted), a.bits_of(kept)))


def sigmoid(a: Arithmetic, x: str) -> str:
    """1 / (1 + e⁻ˣ)."""
    return a.mul(*logistic(a, x))


def silu(a: Arithmetic, x: str) -> str:
    """x · sigmoid(x), rounded before it may become subnormal; nan at -inf."""
    y, scale = logistic(a, x)
    gone = a.compare("olt", x, a.number(-755.0 if a.bits == 64 else -110.0))
    return a.mul(a.mul(x, y), a.select(gone, a.number(0.0), scale))


def _hyperbolic(a: Arithmetic, x: str, *, odd: bool) -> str:
    """sinh or cosh of |x| by the addition theorem: of r, and of n ln 2 (halves of 2ⁿ ± 2⁻ⁿ).

    Both are taken out of 2ⁿ⁻¹; the largest two terms are added without loss.
    """
    found = reduced(a, at_most(a, a.abs(x), 712.0 if a.bits == 64 else 90.0))
    most = at_most(a, found.n, 60.0 if a.bits == 64 else 30.0)
    one, r = a.number(1.0), found.r
    double = a.bits_of(a.add(a.add(most, most), a.number(MAGIC[a.bits])))
    inverse = power_of_two(a, a.integers("sub", a.integer(0), double))
    # Of n ln 2: the sine and the cosine, or the other way round.
    sine, lost_sine = ordered_sum(a, one, a.neg(inverse) if odd else inverse)
    cosine = a.add(one, inverse) if odd else a.sub(one, inverse)
    square = a.mul(r, r)
    odd_part = a.mul(a.mul(square, r), polynomial(a, square, _ODD[a.bits]))
    even_part = a.fma(
        a.mul(square, square), polynomial(a, square, _EVEN[a.bits]), a.mul(square, a.number(0.5))
    )
    product, lost = exact_product(a, cosine, r)
    high, low = exact_sum(a, sine, product)
    small = a.fma(cosine, a.add(odd_part, found.low), a.fma(sine, even_part, lost))
    y = a.add(high, a.add(a.add(low, lost_sine), small))
    return scaled(a, y, a.sub(found.shifted, one))


def sinh(a: Arithmetic, x: str) -> str:
    """sinh |x| with the sign of x."""
    return a.copysign(_hyperbolic(a, x, odd=True), x)


def cosh(a: Arithmetic, x: str) -> str:
    """cosh x."""
    return _hyperbolic(a, x, odd=False)
