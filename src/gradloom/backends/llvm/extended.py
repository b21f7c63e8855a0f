"""What the elementary functions are built of: polynomials, and sums and products without loss.

A pair (high, low) stands for high + low, with low below the last place of high: twice the digits.
The sums are Knuth's and Dekker's; a product's error comes from a fused multiply-add where the
target has one, else from halves of the factors (Dekker, 1971), split by their bits so that nothing
overflows.
"""

from collections.abc import Sequence

from gradloom.backends.llvm.ir import Arithmetic, Function

Pair = tuple[str, str]

# Bits of the fraction of a number.
FRACTION = {64: 52, 32: 23}
ONE = {64: 0x3FF0000000000000, 32: 0x3F800000}
# Added to a number that is smaller by far, 1.5 · 2^fraction rounds it to an integer, which then
# stands in the last bits of the sum.
MAGIC = {64: 6755399441055744.0, 32: 12582912.0}
INFINITY, NAN = float("inf"), float("nan")


def polynomial(a: Arithmetic, x: str, coefficients: Sequence[float]) -> str:
    """A polynomial, the constant term first, by Estrin's scheme: short chains, few operations."""
    terms = [a.number(c) for c in coefficients]
    while len(terms) > 1:
        terms = [
            a.fma(terms[i + 1], x, terms[i]) if i + 1 < len(terms) else terms[i]
            for i in range(0, len(terms), 2)
        ]
        x = a.mul(x, x)
    return terms[0]


def ordered_sum(a: Arithmetic, x: str, y: str) -> Pair:
    """x + y exactly, where |x| ≥ |y| or x is 0."""
    high = a.add(x, y)
    return high, a.add(a.sub(x, high), y)


def exact_sum(a: Arithmetic, x: str, y: str) -> Pair:
    """x + y exactly."""
    high = a.add(x, y)
    other = a.sub(high, x)
    return high, a.add(a.sub(x, a.sub(high, other)), a.sub(y, other))


def exact_product(a: Arithmetic, x: str, y: str) -> Pair:
    """x · y exactly, unless it underflows."""
    high = a.mul(x, y)
    if a.fused:
        return high, a.fma(x, y, a.neg(high))
    (x1, x2), (y1, y2) = _halves(a, x), _halves(a, y)
    low = a.sub(a.mul(x1, y1), high)
    low = a.add(a.add(low, a.mul(x1, y2)), a.mul(x2, y1))
    return high, a.add(low, a.mul(x2, y2))


def _halves(a: Arithmetic, x: str) -> Pair:
    """The upper half of a number's digits, and the rest."""
    dropped = FRACTION[a.bits] // 2 + 1
    rounded = a.integers("add", a.bits_of(x), a.integer(1 << (dropped - 1)))
    high = a.from_bits(a.integers("and", rounded, a.integer(-(1 << dropped))))
    return high, a.sub(x, high)


def rest(a: Arithmetic, x: str, q: str, d: str) -> str:
    """x - q · d, which is exact where q is the quotient x / d."""
    if a.fused:
        return a.fma(a.neg(q), d, x)
    high, low = exact_product(a, q, d)
    return a.sub(a.sub(x, high), low)


def quotient(a: Arithmetic, x: Pair, d: Pair) -> str:
    """A quotient of pairs, all but correctly rounded; 1 / d must be a normal number."""
    return a.add(*quotient_in_two(a, x, d))


def quotient_in_two(a: Arithmetic, x: Pair, d: Pair) -> Pair:
    """The same as a large part and a small one, with a single division."""
    inverse = a.div(a.number(1.0), d[0])
    first = a.mul(x[0], inverse)
    left = a.add(rest(a, x[0], first, d[0]), a.fma(a.neg(first), d[1], x[1]))
    return first, a.mul(left, inverse)


def quotient_pair(a: Arithmetic, x: Pair, d: Pair) -> Pair:
    """A quotient of pairs as a pair, whatever the exponents."""
    first = a.div(x[0], d[0])
    left = a.add(rest(a, x[0], first, d[0]), a.fma(a.neg(first), d[1], x[1]))
    return first, a.div(left, d[0])


def root_pair(a: Arithmetic, x: Pair) -> Pair:
    """A square root as a pair; 0 of 0."""
    root = a.sqrt(x[0])
    low = a.div(a.add(rest(a, x[0], root, root), x[1]), a.add(root, root))
    zero = a.number(0.0)
    return root, a.select(a.compare("oeq", root, zero), zero, low)


def at_most(a: Arithmetic, x: str, bound: float) -> str:
    """The smaller one; nan stays nan."""
    top = a.number(bound)
    return a.select(a.compare("olt", top, x), top, x)


def at_least(a: Arithmetic, x: str, bound: float) -> str:
    """The larger one; nan stays nan."""
    bottom = a.number(bound)
    return a.select(a.compare("ogt", bottom, x), bottom, x)


def power_of_two(a: Arithmetic, n: str) -> str:
    """2ⁿ for integers, in the range of normal numbers."""
    shifted = a.integers("shl", n, a.integer(FRACTION[a.bits]))
    return a.from_bits(a.integers("add", shifted, a.integer(ONE[a.bits])))


def scaled(a: Arithmetic, y: str, sum_with_magic: str) -> str:
    """y · 2ⁿ in two steps, so that it may be subnormal or overflow; n came with MAGIC added."""
    magic = a.number(MAGIC[a.bits])
    half = a.bits_of(a.fma(a.sub(sum_with_magic, magic), a.number(0.5), magic))
    other = a.integers("sub", a.bits_of(sum_with_magic), half)
    return a.mul(a.mul(y, power_of_two(a, half)), power_of_two(a, other))


def doubled(a: Arithmetic) -> Arithmetic:
    """The same width in double precision."""
    return Arithmetic(a.writer, a.width, 64, fused=a.fused, rounds=a.rounds)


def widen(a: Arithmetic, x: str) -> str:
    """Floats as doubles."""
    return a.writer.assign(f"fpext {a.real} {x} to {doubled(a).real}")


def narrow(a: Arithmetic, x: str) -> str:
    """Doubles as floats, rounded."""
    return a.writer.assign(f"fptrunc {doubled(a).real} {x} to {a.real}")


def in_double(function: Function) -> Function:
    """A function that reckons floats in double precision; one of doubles as it is."""

    def either(a: Arithmetic, *operands: str) -> str:
        if a.bits == 64:
            return function(a, *operands)
        return narrow(a, function(doubled(a), *[widen(a, x) for x in operands]))

    return either
