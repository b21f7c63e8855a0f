"""Logarithms, and what is made of them: inverse hyperbolic functions, powers, softplus.

x = 2ᵏ · (1 + f) with 1 + f between √½ and √2, and ln(1 + f) = 2 artanh s, s = f / (2 + f), a
polynomial of s². Its sum is arranged as in Sun's fdlibm (e_log.c, e_log2.c, e_log10.c, 1993: freely
granted), so that it errs by less than a unit; the polynomials are minimax, found with Remez'
algorithm in 60 digits.
"""

from typing import NamedTuple

from gradloom.backends.llvm.exponential import LN2, exp, exp_pair
from gradloom.backends.llvm.extended import (
    FRACTION,
    INFINITY,
    NAN,
    ONE,
    Pair,
    at_least,
    at_most,
    doubled,
    exact_product,
    exact_sum,
    in_double,
    narrow,
    ordered_sum,
    polynomial,
    quotient_pair,
    rest,
    root_pair,
    scaled,
    widen,
)
from gradloom.backends.llvm.ir import Arithmetic

# (ln(1 + f) - 2 s) / s³ as a polynomial of s².
_SERIES = {
    64: (
        0.6666666666666735, 0.3999999999941218, 0.2857142874304591, 0.22222198495248974,
        0.18183568891277105, 0.15313921395676816, 0.14797357451381524,
    ),
    32: (0.666666656420493, 0.40000336061556147, 0.2853724587164412, 0.23583464839077464),
}  # fmt: skip
# What remains of it after 2/3, over s².
_BEYOND = (
    0.39999999999999997, 0.2857142857143293, 0.2222222222034763, 0.1818181854720784,
    0.15384577361107504, 0.1333558789534237, 0.11688490495175527, 0.1188400117642773,
)  # fmt: skip
_TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)
# 1 / (1 + x) for x from 0 to 1, to 2 %.
_INVERSE = (1.0, -0.98, 0.75, -0.27)
_ROOT_HALF = {64: 0x3FE6A09E667F3BCD, 32: 0x3F3504F3}
_BIAS = {64: 1023, 32: 127}
_SMALLEST = {64: 2.0**-1022, 32: 2.0**-126}
# 1 / ln 2 and 1 / ln 10, log10 of 2, in two parts; the first has 21 digits, or 42.
_LOG2_E = (1.44269504072144627571, 1.67517131648865118353e-10)
_LOG10_E = (0.434294481878168880939, 2.50829467116452752298e-11)
_LOG10_2 = (0.301029995663611771306, 3.69423907715893078616e-13)


class Reduced(NamedTuple):
    """x = 2ᵏ · (1 + f); `biased` is k as an integer, with the bias of exponents."""

    k: str
    f: str
    biased: str


def reduced(a: Arithmetic, x: str, offset: str) -> Reduced:
    """The power of two in a positive normal number, and what remains; k less an offset."""
    fraction = FRACTION[a.bits]
    u = a.integers("add", a.bits_of(x), a.integer(ONE[a.bits] - _ROOT_HALF[a.bits]))
    biased = a.integers("lshr", u, a.integer(fraction))
    # An integer in the last bits of 2^fraction is that integer added to it.
    base = (fraction + _BIAS[a.bits]) << fraction
    k = a.sub(a.from_bits(a.integers("or", biased, a.integer(base))), offset)
    mantissa = a.integers("and", u, a.integer((1 << fraction) - 1))
    m = a.from_bits(a.integers("add", mantissa, a.integer(_ROOT_HALF[a.bits])))
    return Reduced(k, a.sub(m, a.number(1.0)), biased)


def _offset(a: Arithmetic, more: float = 0.0) -> float:
    return 2.0 ** FRACTION[a.bits] + _BIAS[a.bits] + more


def _normal(a: Arithmetic, x: str) -> Reduced:
    """The same of any positive number."""
    tiny = a.compare("olt", x, a.number(_SMALLEST[a.bits]))
    up = FRACTION[a.bits] + 2
    raised = a.select(tiny, a.mul(x, a.number(2.0**up)), x)
    offset = a.select(tiny, a.number(_offset(a, up)), a.number(_offset(a)))
    return reduced(a, raised, offset)


class Terms(NamedTuple):
    """ln(1 + f) = f - half + rest, half = f² / 2."""

    half: str
    rest: str
    s: str


def _terms(a: Arithmetic, f: str) -> Terms:
    s = a.div(f, a.add(a.number(2.0), f))
    square = a.mul(s, s)
    series = a.mul(square, polynomial(a, square, _SERIES[a.bits]))
    half = a.mul(a.mul(f, a.number(0.5)), f)
    return Terms(half, a.mul(s, a.add(half, series)), s)


def _total(a: Arithmetic, found: Reduced, terms: Terms, low: str | None = None) -> str:
    """k ln 2 + ln(1 + f), and something small."""
    high_ln2, low_ln2 = (a.number(x) for x in LN2[a.bits])
    small = a.mul(found.k, low_ln2) if low is None else a.fma(found.k, low_ln2, low)
    inner = a.sub(a.sub(terms.half, a.add(terms.rest, small)), found.f)
    return a.fma(found.k, high_ln2, a.neg(inner))


def _with_edges(a: Arithmetic, x: str, y: str) -> str:
    """A logarithm y of x: -inf at 0, nan below, inf and nan of themselves."""
    zero, infinity = a.number(0.0), a.number(INFINITY)
    above = a.compare("ogt", x, zero)
    inside = a.both(above, a.compare("olt", x, infinity))
    below = a.select(a.compare("oeq", x, zero), a.number(-INFINITY), a.number(NAN))
    return a.select(inside, y, a.select(above, x, below))


def log(a: Arithmetic, x: str) -> str:
    """ln x."""
    found = _normal(a, x)
    return _with_edges(a, x, _total(a, found, _terms(a, found.f)))


def log_of_pair(a: Arithmetic, x: Pair, offset: str | None = None) -> str:
    """ln of a pair, not subnormal; where its high part is 0, inf or nan that of it alone."""
    found = reduced(a, x[0], offset or a.number(_offset(a)))
    terms = _terms(a, found.f)
    bias = a.integer(2 * _BIAS[a.bits])
    shrink = a.integers("shl", a.integers("sub", bias, found.biased), a.integer(FRACTION[a.bits]))
    # low / m to a few digits: 1 / m = (1 - s) / (1 + s).
    slope = a.fma(a.add(terms.s, terms.s), a.sub(terms.s, a.number(1.0)), a.number(1.0))
    counts = a.compare("olt", x[0], a.number(2.0**60))
    low = a.select(counts, a.mul(a.mul(x[1], a.from_bits(shrink)), slope), a.number(0.0))
    return _with_edges(a, x[0], _total(a, found, terms, low))


def log1p(a: Arithmetic, x: str) -> str:
    """ln(1 + x)."""
    return a.copysign(log_of_pair(a, exact_sum(a, a.number(1.0), x)), x)


def softplus(a: Arithmetic, x: str) -> str:
    """ln(1 + eˣ) = max(x, 0) + ln(1 + e^-|x|)."""
    positive = a.select(a.compare("olt", x, a.number(0.0)), a.number(0.0), x)
    size = at_most(a, a.abs(x), 760.0 if a.bits == 64 else 110.0)
    power_of_e, shifted = exp_pair(a, a.neg(size))
    small, small_low = (scaled(a, part, shifted) for part in power_of_e)
    high, low = ordered_sum(a, a.number(1.0), small)
    found = reduced(a, high, a.number(_offset(a)))
    terms = _terms(a, found.f)
    # 1 + f is at most 2, so that low / (1 + f) is needed to a few digits only.
    low = a.add(low, small_low)
    inverse = polynomial(a, small, _INVERSE)
    return a.add(positive, _total(a, found, terms, a.mul(low, inverse)))


def _other_base(a: Arithmetic, x: str, inverse: Pair, two: Pair | None) -> str:
    """A logarithm to another base: ln(1 + f) in two parts times 1 / ln of the base, also in two."""
    found = _normal(a, x)
    terms = _terms(a, found.f)
    short = a.integers("and", a.bits_of(a.sub(found.f, terms.half)), a.integer(-(1 << 32)))
    high = a.from_bits(short)
    low = a.add(a.sub(a.sub(found.f, high), terms.half), terms.rest)
    head = a.mul(high, inverse[0])
    foot = a.fma(a.add(low, high), inverse[1], a.mul(low, inverse[0]))
    whole = found.k
    if two is not None:
        whole, foot = a.mul(found.k, two[0]), a.fma(found.k, two[1], foot)
    total, lost = ordered_sum(a, whole, head)
    return _with_edges(a, x, a.add(total, a.add(lost, foot)))


@in_double
def log2(a: Arithmetic, x: str) -> str:
    """The logarithm to base 2."""
    return _other_base(a, x, (a.number(_LOG2_E[0]), a.number(_LOG2_E[1])), None)


@in_double
def log10(a: Arithmetic, x: str) -> str:
    """The logarithm to base 10."""
    inverse, two = ((a.number(c[0]), a.number(c[1])) for c in (_LOG10_E, _LOG10_2))
    return _other_base(a, x, inverse, two)


# Inverse hyperbolic functions


def asinh(a: Arithmetic, x: str) -> str:
    """ln(|x| + √(x² + 1)) with the sign of x; near 0 by its series."""
    size = a.abs(x)
    y = _log_of_sum_with_root(a, size, 1.0)
    square = a.mul(x, x)
    series = polynomial(a, square, (-1 / 6, 3 / 40, -15 / 336))
    near = a.fma(a.mul(square, size), series, size)
    return a.copysign(
        a.select(a.compare("olt", size, a.number(2.0**-7 if a.bits == 64 else 2.0**-4)), near, y), x
    )


def acosh(a: Arithmetic, x: str) -> str:
    """ln(x + √(x² - 1)); nan below 1."""
    inside = a.compare("oge", x, a.number(1.0))
    return a.select(inside, _log_of_sum_with_root(a, x, -1.0), a.number(NAN))


def _log_of_sum_with_root(a: Arithmetic, x: str, constant: float) -> str:
    """ln(x + √(x² + constant)); where the constant does not count, ln 2x."""
    square, lost = exact_product(a, x, x)
    high, low = exact_sum(a, square, a.number(constant))
    root = root_pair(a, ordered_sum(a, high, a.add(low, lost)))
    total, lost = exact_sum(a, x, root[0])
    large = a.compare("ogt", x, a.number(2.0**28 if a.bits == 64 else 2.0**13))
    pair = (
        a.select(large, x, total),
        a.select(large, a.number(0.0), a.add(lost, root[1])),
    )
    offset = a.select(large, a.number(_offset(a, -1.0)), a.number(_offset(a)))
    return log_of_pair(a, pair, offset)


def atanh(a: Arithmetic, x: str) -> str:
    """½ ln((1 + |x|) / (1 - |x|)) with the sign of x; near 0 the series of logarithms itself."""
    size, one = a.abs(x), a.number(1.0)
    above, below = ordered_sum(a, one, size), ordered_sum(a, one, a.neg(size))
    y = a.mul(log_of_pair(a, quotient_pair(a, above, below)), a.number(0.5))
    square = a.mul(x, x)
    half_series = a.mul(polynomial(a, square, _SERIES[a.bits]), a.number(0.5))
    near = a.fma(a.mul(square, size), half_series, size)
    return a.copysign(a.select(a.compare("olt", size, a.number(0.17)), near, y), x)


# Powers


def _log_with_more_digits(a: Arithmetic, x: str) -> Pair:
    """ln x of a positive number to some 65 bits; finite numbers only."""
    found = _normal(a, x)
    f, square_of = found.f, exact_product
    below = ordered_sum(a, a.number(2.0), f)
    inverse = a.div(a.number(1.0), below[0])
    s = a.mul(f, inverse)
    s_low = a.mul(a.fma(a.neg(s), below[1], rest(a, f, s, below[0])), inverse)
    z, z_low = square_of(a, s, s)
    z_low = a.fma(a.add(s, s), s_low, z_low)
    c, c_low = ordered_sum(a, a.number(_TWO_THIRDS[0]), a.mul(z, polynomial(a, z, _BEYOND)))
    c_low = a.add(c_low, a.number(_TWO_THIRDS[1]))
    t, t_low = exact_product(a, z, c)
    t_low = a.add(t_low, a.fma(z, c_low, a.mul(z_low, c)))
    b, b_low = ordered_sum(a, a.number(2.0), t)
    b_low = a.add(b_low, t_low)
    p, p_low = exact_product(a, s, b)
    p_low = a.add(p_low, a.fma(s, b_low, a.mul(s_low, b)))
    high, low = ordered_sum(a, a.mul(found.k, a.number(LN2[64][0])), p)
    return ordered_sum(a, high, a.add(low, a.fma(found.k, a.number(LN2[64][1]), p_low)))


def _power_of_positive(a: Arithmetic, x: str, y: str) -> str:
    """x ** y for finite x > 0: the exponential of y ln x."""
    log_high, log_low = _log_with_more_digits(a, x)
    high, low = exact_product(a, y, log_high)
    low = a.fma(y, log_low, low)
    # Where y ln x overflows, or is out of range anyway, its low part is without meaning.
    inside = a.compare("olt", a.abs(high), a.number(1000.0))
    kept = at_least(a, at_most(a, high, 1000.0), -1000.0)
    (y, _), shifted = exp_pair(a, kept, a.select(inside, low, a.number(0.0)))
    return scaled(a, y, shifted)


def _short_power_of_positive(a: Arithmetic, x: str, y: str) -> str:
    """The same to the digits of a float, still in doubles."""
    found = _normal(a, x)
    return exp(a, a.mul(y, _total(a, found, _terms(a, found.f))))


def power(a: Arithmetic, x: str, y: str) -> str:
    """x ** y with the edges of C's pow."""
    if a.bits == 64:
        return _power(a, x, y, short=False)
    return narrow(a, _power(doubled(a), widen(a, x), widen(a, y), short=True))


def _power(a: Arithmetic, x: str, y: str, *, short: bool) -> str:
    zero, one, infinity = a.number(0.0), a.number(1.0), a.number(INFINITY)
    size = a.abs(x)
    found = (_short_power_of_positive if short else _power_of_positive)(a, size, y)
    # 0 and inf to a power are 0 or inf.
    is_zero, is_infinite = a.compare("oeq", size, zero), a.compare("oeq", size, infinity)
    rises = a.select(a.compare("ogt", y, zero), infinity, zero)
    falls = a.select(a.compare("ogt", y, zero), zero, infinity)
    extreme = a.select(is_zero, falls, rises)
    missing = a.compare("uno", x, y)
    found = a.select(a.either(is_zero, is_infinite), extreme, found)
    # A negative base: its sign survives an odd exponent, and other than whole ones are not known.
    half = a.mul(y, a.number(0.5))
    whole = a.compare("oeq", a.trunc(y), y)
    odd = a.both(whole, a.compare("one", a.trunc(half), half))
    found = a.select(odd, a.copysign(found, x), found)
    lost = a.both(a.compare("olt", x, zero), a.negation(whole))
    lost = a.both(lost, a.negation(is_infinite))
    lost = a.both(lost, a.compare("olt", a.abs(y), infinity))
    found = a.select(a.either(lost, missing), a.number(NAN), found)
    # 1 to any power, any base to the power 0, -1 to ±inf.
    same = a.both(a.compare("oeq", size, one), a.compare("oeq", a.abs(y), infinity))
    same = a.either(same, a.either(a.compare("oeq", x, one), a.compare("oeq", y, zero)))
    return a.select(same, one, found)
