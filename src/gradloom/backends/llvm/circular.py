"""Circular functions and their inverses.

x = q · π/2 + r with |r| at most π/4: the multiple is taken off in parts (Cody and Waite, 1980), and
sine and cosine of r are chosen, and signed, by q. Arguments too large for that go, all those of a
vector together, to a function of their own, rarely called, that multiplies with as many digits of
2/π as matter (Payne and Hanek, 1983). The polynomials are minimax, found with Remez' algorithm in
60 digits.
"""

import itertools
from typing import NamedTuple

from gradloom.backends.llvm.extended import (
    INFINITY,
    MAGIC,
    NAN,
    Pair,
    doubled,
    exact_product,
    exact_sum,
    in_double,
    narrow,
    ordered_sum,
    polynomial,
    quotient,
    quotient_pair,
    root_pair,
    widen,
)
from gradloom.backends.llvm.ir import Arithmetic, Writer

# (sin r - r) / r³ and (cos r - 1 + r²/2) / r⁴ as polynomials of r².
_SINE = {
    64: (
        -0.16666666666666632, 0.008333333333322382, -0.0001984126982977891,
        2.755731368092232e-06, -2.5050756259054554e-08, 1.5896681211220487e-10,
    ),
    32: (-0.16666654906774314, 0.008332175780491554, -0.00019516973633333765),
}  # fmt: skip
_COSINE = {
    64: (
        0.04166666666666665, -0.0013888888888882816, 2.480158729460575e-05,
        -2.755731573026091e-07, 2.0875896367421945e-09, -1.1367900030299088e-11,
    ),
    32: (0.04166665461582898, -0.0013887651924486917, 2.4463501842847984e-05),
}  # fmt: skip
# (atan t - t) / t³ for t up to tan(π/8), and (asin t - t) / t³ for t up to ½, of t².
_ARC = {
    64: (
        -0.333333333333332, 0.19999999999953677, -0.14285714280205236, 0.11111110783864998,
        -0.09090897768272474, 0.07692060378991776, -0.06663105612487187, 0.05847898298480407,
        -0.0503933404507303, 0.03806501873482807, -0.017907397912854596,
    ),
    32: (
        -0.33333315459761587, 0.19998485436432714, -0.14243754090768934, 0.10595193447138727,
        -0.060811907038484624,
    ),
}  # fmt: skip
_ARC_OF_SINE = {
    64: (
        0.16666666666666763, 0.07499999999970078, 0.04464285717530304, 0.03038194267455448,
        0.022372215924301248, 0.017351595200974863, 0.013981021790859385, 0.011397268808097072,
        0.01078944511274797, 0.003671756861088975, 0.021791601943003346, -0.021117959410428242,
        0.03270287450852809,
    ),
    32: (
        0.1666665986373819, 0.07500511520067371, 0.04451557747178062, 0.031819037118928174,
        0.01439636651183335, 0.037575073612185546,
    ),
}  # fmt: skip
# π/2 in parts; all but the last times q are exact, where products are not fused because the parts
# are short. And up to where that serves.
_FUSED_PARTS = {
    64: (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
    32: (1.570796251296997, 7.549789415861596e-08, 5.390302858158119e-15),
}
_PARTS = {
    64: (1.5707963267341256, 6.07710050359346e-11, 2.9127320548227e-20, 1.2706558760139879e-29),
    32: (1.5703125, 0.0004837512969970703, 7.549533620476723e-08, 2.563344151594519e-12),
}
_FUSED_LIMIT = {64: 2.0**40, 32: 2.0**15}
_LIMIT = {64: 2.0**21, 32: 2.0**12}
_TWO_OVER_PI = 0.6366197723675814
_HALF_PI = (1.5707963267948966, 6.123233995736766e-17)
# π/4, the first part short enough that small multiples of it are exact.
_QUARTER_PI = {
    64: (0.7853981633974492, -8.575622497214414e-16),
    32: (0.7853984832763672, -3.1987891887788434e-07),
}
_TAN_EIGHTH = 0.41421356237309503

# The digits of 2/π, 32 bits a word, after three words of 0.
_WORDS = (
    0, 0, 0,
    2734261102, 1313084713, 4230436817, 4113882560, 3680671129, 1011060801, 4266746795,
    3736847713, 3072618042, 1112396512, 105459434, 164729372, 4263373596, 2972297022, 3900847605,
    784024708, 3919343654, 3026157121, 965858873, 2203269620, 2625920907, 3187222587, 536385535,
    3724908559, 4012839307, 1510632735, 1832287951, 667617719, 1330003814, 2657085997, 1965537991,
    3957715323, 1023883767, 2320667370, 1811636145, 529358088, 1443049542, 4235946923, 4040145952,
    2599695901,
)  # fmt: skip


class Reduced(NamedTuple):
    """x = q · π/2 + r + low; of q only the last bits count."""

    q: str
    r: str
    low: str


def _reduced(a: Arithmetic, x: str) -> Reduced:
    w = a.writer
    limit = (_FUSED_LIMIT if a.fused else _LIMIT)[a.bits]
    near = _near(a, x)
    large = a.compare("ogt", a.abs(x), a.number(limit))
    some = a.any(large)
    before, inside, after = w.block, w.label("large"), w.label("reduced")
    w.line(f"br i1 {some}, label %{inside}, label %{after}")
    w.start(inside)
    found = _far(a, x)
    far = (
        a.select_integers(large, found.q, near.q),
        a.select(large, found.r, near.r),
        a.select(large, found.low, near.low),
    )
    last = w.block
    w.line(f"br label %{after}")
    w.start(after)
    kinds = (a.whole, a.real, a.real)
    return Reduced(
        *[
            w.assign(f"phi {kind} [{one}, %{before}], [{other}, %{last}]")
            for kind, one, other in zip(kinds, near, far, strict=True)
        ]
    )


def _near(a: Arithmetic, x: str) -> Reduced:
    magic = a.number(MAGIC[a.bits])
    shifted = a.fma(x, a.number(_TWO_OVER_PI), magic)
    n = a.sub(shifted, magic)
    first, *others = (_FUSED_PARTS if a.fused else _PARTS)[a.bits]
    r, low = a.fma(n, a.number(-first), x), None
    for part in others[:-1]:
        product, lost = a.mul(n, a.number(-part)), None
        if a.fused:
            lost = a.fma(n, a.number(-part), a.neg(product))
        r, error = exact_sum(a, r, product)
        error = error if lost is None else a.add(error, lost)
        low = error if low is None else a.add(low, error)
    if low is None:
        raise AssertionError("π/2 has three parts at least")
    return Reduced(a.bits_of(shifted), *ordered_sum(a, r, a.fma(n, a.number(-others[-1]), low)))


def _far(a: Arithmetic, x: str) -> Reduced:
    """The same by the function for large arguments."""
    w, wide = a.writer, doubled(a)
    kind = f"{{{wide.whole}, {wide.real}, {wide.real}}}"
    name = f"gradloom.reduce.{a.width}{'' if a.fused else '.unfused'}"
    w.declared |= _function_for_large(name, kind, wide)
    argument = x if a.bits == 64 else widen(a, x)
    found = w.assign(f"call {kind} @{name}({wide.real} {argument})")
    q, r, low = (w.assign(f"extractvalue {kind} {found}, {i}") for i in range(3))
    if a.bits == 64:
        return Reduced(q, r, low)
    q = w.assign(f"trunc {wide.whole} {q} to {a.whole}")
    high = narrow(a, r)
    return Reduced(q, high, narrow(a, wide.sub(r, widen(a, high))))


def _function_for_large(name: str, kind: str, wide: Arithmetic) -> set[str]:
    """What a module needs for reducing vectors of large numbers, one number after the other."""
    w = Writer()
    one = Arithmetic(w, 1, 64, fused=wide.fused, rounds=wide.rounds)
    digits = f"@{name}.digits"
    kinds, scalars = [(a.whole, a.real, a.real) for a in (wide, one)]
    if wide.width == 1:
        results = list(_payne_hanek(one, "%x", digits))
    else:
        with w.loop(wide.width, [(k, "poison") for k in kinds]) as turn:
            x = w.assign(f"extractelement {wide.real} %x, i64 {turn.index}")
            found = _payne_hanek(one, x, digits)
            turn.next = [
                w.assign(f"insertelement {k} {vector}, {of} {value}, i64 {turn.index}")
                for k, vector, of, value in zip(kinds, turn.carried, scalars, found, strict=True)
            ]
        results = turn.next
    value = "poison"
    for i, (k, result) in enumerate(zip(kinds, results, strict=True)):
        value = w.assign(f"insertvalue {kind} {value}, {k} {result}, {i}")
    table = ", ".join(f"i32 {word}" for word in _WORDS)
    body = "\n".join([*w.lines, f"ret {kind} {value}"])
    return w.declared | {
        f"{digits} = internal unnamed_addr constant [{len(_WORDS)} x i32] [{table}]",
        f"define internal {kind} @{name}({wide.real} %x) cold noinline nounwind optnone {{\n"
        f"entry:\n{body}\n}}",
    }


def _payne_hanek(a: Arithmetic, x: str, digits: str) -> Reduced:
    """The reduction of one large double by integers of 32 bits in places of 64.

    x = M · 2ᵉ, M whole. Words of 2/π that M · 2ᵉ makes multiples of 4 are left out; the next
    seven, times M, modulo 2²²⁴, have q in their upper two bits and then the fraction: with at most
    62 zeros or ones at its beginning, enough is left for a double and more.
    """
    w, mask = a.writer, a.integer(0xFFFFFFFF)

    def whole(operation: str, left: str, right: str | int) -> str:
        return a.integers(operation, left, str(right))

    bits = a.bits_of(a.abs(x))
    m = whole("or", whole("and", bits, (1 << 52) - 1), 1 << 52)
    m_low, m_high = whole("and", m, mask), whole("lshr", m, 32)
    place = whole("add", whole("lshr", bits, 52), 94 - 1075)
    place = a.select_integers(a.compare_integers("slt", place, "0"), "0", place)  # if x is small
    first, shift = whole("lshr", place, 5), whole("and", place, 31)
    # From the lowest word up; of the product's limbs the last five are kept.
    with w.loop(7, [("i64", "0")] * 7) as turn:
        before, carry, _, *kept = turn.carried
        behind = whole("sub", whole("add", first, 6), turn.index)
        at = w.assign(f"getelementptr i32, ptr {digits}, i64 {behind}")
        word = w.assign(f"zext i32 {w.assign(f'load i32, ptr {at}')} to i64")
        one, two = whole("mul", m_low, word), whole("mul", m_high, before)
        low = whole("add", whole("and", one, mask), whole("and", two, mask))
        low = whole("add", low, carry)
        carry = whole("add", whole("lshr", one, 32), whole("lshr", two, 32))
        carry = whole("add", carry, whole("lshr", low, 32))
        turn.next = [word, carry, *kept, whole("and", low, mask)]
    limbs = turn.next[2:]
    shifted = [
        whole("lshr", whole("shl", whole("or", whole("shl", high, 32), low), shift), 32)
        for low, high in itertools.pairwise(limbs)
    ]
    top = shifted.pop()
    up = whole("and", whole("lshr", top, 29), 1)  # the fraction is ½ or more
    q = whole("add", whole("lshr", top, 30), up)
    top = whole("sub", whole("and", top, (1 << 30) - 1), whole("shl", up, 30))
    pieces = [
        a.mul(a.from_integer(n), a.number(2.0 ** -(30 + 32 * i)))
        for i, n in enumerate([top, *reversed(shifted)])
    ]
    high, low = ordered_sum(a, pieces[0], pieces[1])
    low, lower = ordered_sum(a, low, pieces[2])
    high, low = ordered_sum(a, high, low)
    low = a.add(low, a.add(lower, pieces[3]))
    # Times π/2, and with the sign of x.
    product, lost = exact_product(a, high, a.number(_HALF_PI[0]))
    lost = a.add(lost, a.fma(high, a.number(_HALF_PI[1]), a.mul(low, a.number(_HALF_PI[0]))))
    r, low = ordered_sum(a, product, lost)
    negative = a.compare("olt", x, a.number(0.0))
    finite = a.compare("olt", a.abs(x), a.number(INFINITY))
    r = a.select(finite, a.select(negative, a.neg(r), r), a.number(NAN))
    low = a.select(negative, a.neg(low), low)
    return Reduced(a.select_integers(negative, whole("sub", "0", q), q), r, low)


# Sine, cosine, tangent


def _sine_and_cosine(a: Arithmetic, found: Reduced) -> tuple[Pair, Pair]:
    """Those of r + low, each as a large part and a small one."""
    r, low, one = found.r, found.low, a.number(1.0)
    square = a.mul(r, r)
    half = a.mul(square, a.number(0.5))
    nearly = a.sub(one, half)
    cubic = a.mul(a.mul(square, r), polynomial(a, square, _SINE[a.bits]))
    sine = r, a.fma(low, nearly, cubic)
    quartic = a.mul(a.mul(square, square), polynomial(a, square, _COSINE[a.bits]))
    lost = a.sub(a.sub(one, nearly), half)
    cosine = nearly, a.add(lost, a.fma(a.neg(r), low, quartic))
    return sine, cosine


def _chosen(a: Arithmetic, truth: str, x: Pair, y: Pair) -> Pair:
    """One pair or the other."""
    return a.select(truth, x[0], y[0]), a.select(truth, x[1], y[1])


def _is_odd(a: Arithmetic, q: str) -> str:
    return a.compare_integers("ne", a.integers("and", q, a.integer(1)), a.integer(0))


def _signed(a: Arithmetic, y: str, q: str) -> str:
    """y, or -y if the last but one bit of q is set."""
    sign = a.integers("shl", a.integers("and", q, a.integer(2)), a.integer(a.bits - 2))
    return a.from_bits(a.integers("xor", a.bits_of(y), sign))


def _zero_kept(a: Arithmetic, x: str, y: str) -> str:
    """y, but x itself where that is 0, for its sign."""
    return a.select(a.compare("oeq", x, a.number(0.0)), x, y)


def sin(a: Arithmetic, x: str) -> str:
    """The sine."""
    found = _reduced(a, x)
    sine, cosine = _sine_and_cosine(a, found)
    y = a.add(*_chosen(a, _is_odd(a, found.q), cosine, sine))
    return _zero_kept(a, x, _signed(a, y, found.q))


def cos(a: Arithmetic, x: str) -> str:
    """The cosine."""
    found = _reduced(a, x)
    sine, cosine = _sine_and_cosine(a, found)
    next_q = a.integers("add", found.q, a.integer(1))
    y = a.add(*_chosen(a, _is_odd(a, found.q), sine, cosine))
    return _signed(a, y, next_q)


def tan(a: Arithmetic, x: str) -> str:
    """The tangent: sine over cosine, or minus cosine over sine."""
    found = _reduced(a, x)
    sine, cosine = _sine_and_cosine(a, found)
    odd = _is_odd(a, found.q)
    above, below = _chosen(a, odd, cosine, sine), _chosen(a, odd, sine, cosine)
    y = quotient(a, ordered_sum(a, *above), ordered_sum(a, *below))
    return _zero_kept(a, x, a.select(odd, a.neg(y), y))


# Inverses


def _turned(a: Arithmetic, quarters: str, minus: str, angle: str, small: str) -> str:
    """quarters · π/4 ± (angle + small), for 0 to 4 quarters; |angle| is below π/4 if not 0 of them.

    Args:
        a: where to write.
        quarters: how many.
        minus: where the angle is taken off.
        angle, small: its large part and its small one.
    """
    high, low = (a.mul(quarters, a.number(part)) for part in _QUARTER_PI[a.bits])
    angle = a.select(minus, a.neg(angle), angle)
    small = a.select(minus, a.neg(small), small)
    total, lost = ordered_sum(a, high, angle)
    return a.add(total, a.add(lost, a.add(low, small)))


def _arc(a: Arithmetic, y: str, x: str, left: str | None) -> str:
    """The angle of (x, y) for x, y ≥ 0, one of them more than 0; of (-x, y) where `left` holds."""
    steep = a.compare("ogt", y, x)
    above, below = a.select(steep, x, y), a.select(steep, y, x)
    # atan(n / d) = π/4 + atan((n - d) / (n + d)).
    far = a.compare("ogt", above, a.mul(below, a.number(_TAN_EIGHTH)))
    zero = a.number(0.0)
    shift = a.select(far, below, zero)
    t, t_low = quotient_pair(
        a, exact_sum(a, above, a.neg(shift)), ordered_sum(a, below, a.select(far, above, zero))
    )
    square = a.mul(t, t)
    small = a.fma(a.mul(square, t), polynomial(a, square, _ARC[a.bits]), t_low)
    quarters = a.select(far, a.number(1.0), zero)
    quarters = a.select(steep, a.sub(a.number(2.0), quarters), quarters)
    minus = steep
    if left is not None:
        quarters = a.select(left, a.sub(a.number(4.0), quarters), quarters)
        minus = a.writer.assign(f"xor {a.truth} {steep}, {left}")
    return _turned(a, quarters, minus, t, small)


def atan(a: Arithmetic, x: str) -> str:
    """The arc tangent of |x| with the sign of x."""
    most = a.number(2.0**60)  # from there on it is π/2
    size = a.abs(x)
    y = a.select(a.compare("ogt", size, most), most, size)
    return a.copysign(_arc(a, y, a.number(1.0), None), x)


@in_double
def atan2(a: Arithmetic, y: str, x: str) -> str:
    """The angle of (x, y)."""
    infinity, zero, one = a.number(INFINITY), a.number(0.0), a.number(1.0)
    high, wide = a.abs(y), a.abs(x)
    largest = a.select(a.compare("ogt", high, wide), high, wide)
    # Between infinities only those count; and 0 is told from 0 by its sign alone.
    endless, origin = a.compare("oeq", largest, infinity), a.compare("oeq", largest, zero)
    # What is small is brought where no error of a product is lost below the smallest number.
    scale = a.select(a.compare("olt", largest, a.number(2.0**500)), a.number(2.0**500), one)
    scale = a.select(a.compare("ogt", largest, a.number(2.0**1000)), a.number(2.0**-30), scale)
    sides = []
    for side, alone in ((high, zero), (wide, one)):
        unit = a.select(a.compare("oeq", side, infinity), one, zero)
        sides.append(a.select(origin, alone, a.select(endless, unit, a.mul(side, scale))))
    left = a.compare_integers("slt", a.bits_of(x), a.integer(0))
    angle = a.copysign(_arc(a, sides[0], sides[1], left), y)
    return a.select(a.compare("uno", x, y), a.number(NAN), angle)


def _root_of_complement(a: Arithmetic, size: str) -> tuple[str, str, str]:
    """Where |x| > ½, and then asin √((1 - |x|) / 2), else asin |x|, as a pair."""
    large = a.compare("ogt", size, a.number(0.5))
    half = a.mul(a.sub(a.number(1.0), size), a.number(0.5))
    root, root_low = root_pair(a, (half, a.number(0.0)))
    square = a.select(large, half, a.mul(size, size))
    base = a.select(large, root, size)
    low = a.select(large, root_low, a.number(0.0))
    return large, base, a.fma(a.mul(square, base), polynomial(a, square, _ARC_OF_SINE[a.bits]), low)


def asin(a: Arithmetic, x: str) -> str:
    """The arc sine of |x| with the sign of x; above ½ it is π/2 - 2 asin √((1 - x) / 2)."""
    large, angle, small = _root_of_complement(a, a.abs(x))
    factor = a.select(large, a.number(2.0), a.number(1.0))
    quarters = a.select(large, a.number(2.0), a.number(0.0))
    y = _turned(a, quarters, large, a.mul(angle, factor), a.mul(small, factor))
    return a.copysign(y, x)


def acos(a: Arithmetic, x: str) -> str:
    """The arc cosine."""
    large, angle, small = _root_of_complement(a, a.abs(x))
    negative = a.compare("olt", x, a.number(0.0))
    factor = a.select(large, a.number(2.0), a.number(1.0))
    both_ends = a.select(negative, a.number(4.0), a.number(0.0))
    quarters = a.select(large, both_ends, a.number(2.0))
    minus = a.writer.assign(f"xor {a.truth} {large}, {a.negation(negative)}")
    return _turned(a, quarters, minus, a.mul(angle, factor), a.mul(small, factor))
