"""The error function, its complement, and gelu, which is made of the normal distribution.

Near 0 erf x is x times a polynomial of x². Elsewhere erfc x = e^(-x²) · G(x), with x² as a pair,
for its rounding would be magnified; (1 + 2x) · G(x) is smooth, a polynomial of (x - 4) / (x + 4)
(Shepherd and Laframboise, 1981). The polynomials are minimax, found with Remez' algorithm in 60
digits.
"""

from gradloom.backends.llvm.exponential import exp_pair
from gradloom.backends.llvm.extended import (
    Pair,
    at_most,
    exact_product,
    exact_sum,
    ordered_sum,
    polynomial,
    quotient_in_two,
    scaled,
)
from gradloom.backends.llvm.ir import Arithmetic

# erf x / x - 1 as a polynomial of x², for x up to 1.
_NEAR = {
    64: (
        0.1283791670955126, -0.3761263890318375, 0.11283791670954857, -0.026866170645072827,
        0.005223977624780199, -0.0008548326978703036, 0.00012055331035436608,
        -1.492559347087697e-05, 1.6460972225722918e-06, -1.635001881474282e-07,
        1.4657835847642884e-08, -1.1365492627752155e-09, 5.944963283675354e-11,
    ),
    32: (
        0.12837916571668023, -0.3761262579716613, 0.11283584892771896, -0.026853801245082954,
        0.005188306369895419, -0.0008009994781740051, 7.853164011773987e-05,
    ),
}  # fmt: skip
# (1 + 2x) e^(x²) erfc x - 1 as a polynomial of (x - 4) / (x + 4), for x from 0.45 on.
_FAR = {
    64: (
        0.2329951186255525, -0.1396211168405625, 0.015379652102618718, 0.0680970542546913,
        -0.10103906603623453, 0.09373283499841131, -0.06633036581406508, 0.03716751553616565,
        -0.01619773403278182, 0.0050319699939041975, -0.0007577734860998176,
        -0.00019925681353024526, 0.000150622649623957, -2.4398638097045325e-05,
        -1.1225125061757516e-05, 5.7078832188136335e-06, 3.0015903141058666e-07,
        -8.215289234807948e-07, 6.651687157342342e-08, 1.0489212251840267e-07,
        -1.2042312786024923e-08, -1.0216716377996986e-08,
    ),
    32: (
        0.23299511673070764, -0.13962105378314402, 0.015379940807356114, 0.06809400050693291,
        -0.10104721510581052, 0.0937716674820136, -0.066241058320232, 0.03699293540590712,
        -0.016622540290561524, 0.005237735921515324,
    ),
}  # fmt: skip
# From here on erfc is not 1 less what is found near 0.
_BORDER = 0.47
_ROOT_TWO = {
    64: (1.4142135623730951, -9.667293313452913e-17),
    32: (1.4142135381698608, 2.420323420895794e-08),
}
# Where erfc is 0.
_END = {64: 28.0, 32: 12.0}


def _near(a: Arithmetic, x: str) -> str:
    """erf x - x."""
    square = a.mul(x, x)
    return a.mul(x, polynomial(a, square, _NEAR[a.bits]))


def _far(a: Arithmetic, place: str, below: Pair, square: Pair) -> tuple[Pair, str]:
    """erfc x as a pair and what to scale it by, see `scaled`; x from 0.45 on.

    Args:
        a: where to write.
        place: (x - 4) / (x + 4).
        below: 1 + 2x.
        square: x².
    """
    above = ordered_sum(a, a.number(1.0), polynomial(a, place, _FAR[a.bits]))
    share, share_low = quotient_in_two(a, above, below)
    (y, y_low), shifted = exp_pair(a, a.neg(square[0]), a.neg(square[1]))
    product, lost = exact_product(a, y, share)
    lost = a.add(lost, a.fma(y, share_low, a.mul(y_low, share)))
    return (product, lost), shifted


def _place(a: Arithmetic, x: str, center: float) -> str:
    """(x - center) / (x + center)."""
    middle = a.number(center)
    return a.div(a.sub(x, middle), a.add(x, middle))


def _complement(a: Arithmetic, x: str) -> str:
    """erfc x from 0.45 on."""
    below = exact_sum(a, a.number(1.0), a.add(x, x))
    (y, low), shifted = _far(a, _place(a, x, 4.0), below, exact_product(a, x, x))
    return scaled(a, a.add(y, low), shifted)


def erf(a: Arithmetic, x: str) -> str:
    """The error function."""
    size = a.abs(x)
    near = a.add(size, _near(a, size))
    far = a.sub(a.number(1.0), _complement(a, at_most(a, size, _END[a.bits])))
    return a.copysign(a.select(a.compare("olt", size, a.number(1.0)), near, far), x)


def erfc(a: Arithmetic, x: str) -> str:
    """1 - erf x."""
    size, half, two = at_most(a, a.abs(x), _END[a.bits]), a.number(0.5), a.number(2.0)
    near = a.add(half, a.sub(a.sub(half, x), _near(a, x)))
    far = _complement(a, size)
    far = a.select(a.compare("olt", x, a.number(0.0)), a.sub(two, far), far)
    return a.select(a.compare("olt", size, a.number(_BORDER)), near, far)


def gelu(a: Arithmetic, x: str) -> str:
    """x Φ(x), Φ(x) = ½ erfc(-x / √2); nan at -inf."""
    end, floor = (39.5, -39.0) if a.bits == 64 else (16.0, -15.0)
    size, half, one = at_most(a, a.abs(x), end), a.number(0.5), a.number(1.0)
    root_two, root_two_low = _ROOT_TWO[a.bits]
    product, lost = exact_product(a, size, a.number(root_two))
    high, low = exact_sum(a, one, product)
    below = high, a.add(low, a.fma(size, a.number(root_two_low), lost))
    square, lost = exact_product(a, size, size)
    square_pair = a.mul(square, half), a.mul(lost, half)
    far, shifted = _far(a, _place(a, size, 4.0 * root_two), below, square_pair)
    y, low = a.mul(far[0], half), a.mul(far[1], half)
    # Below 0 the product is rounded before it may become subnormal.
    gone = a.compare("olt", x, a.number(floor))
    factor = a.select(gone, a.mul(x, a.number(0.0)), x)
    negative = a.copysign(scaled(a, a.fma(factor, y, a.mul(factor, low)), shifted), x)
    positive = a.mul(x, a.sub(one, scaled(a, y, shifted)))
    outer = a.select(a.compare("olt", x, a.number(0.0)), negative, positive)
    argument = a.mul(x, a.number(0.5 * root_two))
    near = a.mul(x, a.fma(a.add(argument, _near(a, argument)), half, half))
    is_near = a.compare("olt", size, a.number(_BORDER * root_two))
    return a.select(is_near, near, outer)
