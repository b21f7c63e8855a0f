"""The error function, its complement, and gelu, which is made of the normal distribution.

Near 0 erf x is x times a polynomial of x². Elsewhere erfc x = e^(-x²) · G(x), with x² as a pair,
for its rounding would be magnified; (1 + 2x) · G(x) is smooth, a polynomial of (x - 4) / (x + 4)
(Shepherd and Laframboise, 1981). The polynomials are minimax, found with Remez' algorithm in 60
digits.
"""

import math

from gradloom.backends.llvm.exponential import exp_pair
from gradloom.backends.llvm.extended import (
    Pair,
    at_most,
    exact_product,
    in_double,
    ordered_sum,
    polynomial,
    quotient,
    scaled,
)
from gradloom.backends.llvm.ir import Arithmetic

# erf x / x - 1 as a polynomial of x², for x up to 1.
_NEAR = (
    0.1283791670955126, -0.3761263890318375, 0.11283791670954857, -0.026866170645072827,
    0.005223977624780199, -0.0008548326978703036, 0.00012055331035436608, -1.492559347087697e-05,
    1.6460972225722918e-06, -1.635001881474282e-07, 1.4657835847642884e-08,
    -1.1365492627752155e-09, 5.944963283675354e-11,
)  # fmt: skip
# (1 + 2x) e^(x²) erfc x - 1 as a polynomial of (x - 4) / (x + 4), for x from 0.45 on.
_FAR = (
    0.2329951186255525, -0.1396211168405625, 0.015379652102618718, 0.0680970542546913,
    -0.10103906603623453, 0.09373283499841131, -0.06633036581406508, 0.03716751553616565,
    -0.01619773403278182, 0.0050319699939041975, -0.0007577734860998176, -0.00019925681353024526,
    0.000150622649623957, -2.4398638097045325e-05, -1.1225125061757516e-05,
    5.7078832188136335e-06, 3.0015903141058666e-07, -8.215289234807948e-07, 6.651687157342342e-08,
    1.0489212251840267e-07, -1.2042312786024923e-08, -1.0216716377996986e-08,
)  # fmt: skip
# From here on erfc is not 1 less what is found near 0.
_BORDER = 0.47
_ROOT_HALF = math.sqrt(0.5)


def _near(a: Arithmetic, x: str) -> str:
    """erf x - x."""
    square = a.mul(x, x)
    return a.mul(x, polynomial(a, square, _NEAR))


def _far(a: Arithmetic, x: str, square: Pair) -> tuple[str, str]:
    """erfc x as a number and what to scale it by, see `scaled`; x from 0.45 to 28."""
    four, one = a.number(4.0), a.number(1.0)
    place = a.div(a.sub(x, four), a.add(x, four))
    above = ordered_sum(a, one, polynomial(a, place, _FAR))
    share = quotient(a, above, ordered_sum(a, a.add(x, x), one))
    small, shifted = exp_pair(a, a.neg(square[0]), a.neg(square[1]))
    return a.mul(small, share), shifted


@in_double
def erf(a: Arithmetic, x: str) -> str:
    """The error function."""
    size = a.abs(x)
    near = a.add(size, _near(a, size))
    kept = at_most(a, size, 28.0)
    far = a.sub(a.number(1.0), scaled(a, *_far(a, kept, exact_product(a, kept, kept))))
    return a.copysign(a.select(a.compare("olt", size, a.number(1.0)), near, far), x)


@in_double
def erfc(a: Arithmetic, x: str) -> str:
    """1 - erf x."""
    size, half, two = at_most(a, a.abs(x), 28.0), a.number(0.5), a.number(2.0)
    near = a.add(half, a.sub(a.sub(half, x), _near(a, x)))
    far = scaled(a, *_far(a, size, exact_product(a, size, size)))
    far = a.select(a.compare("olt", x, a.number(0.0)), a.sub(two, far), far)
    return a.select(a.compare("olt", size, a.number(_BORDER)), near, far)


@in_double
def gelu(a: Arithmetic, x: str) -> str:
    """x Φ(x), Φ(x) = ½ erfc(-x / √2); nan at -inf."""
    size, half = at_most(a, a.abs(x), 39.5), a.number(0.5)
    scaled_size = a.mul(x, a.number(_ROOT_HALF))
    near = a.fma(a.add(scaled_size, _near(a, scaled_size)), half, half)
    square, lost = exact_product(a, size, size)
    far, shifted = _far(
        a, a.mul(size, a.number(_ROOT_HALF)), (a.mul(square, half), a.mul(lost, half))
    )
    far = a.mul(far, half)
    # Below 0 the product is rounded before it may become subnormal.
    gone = a.compare("olt", x, a.number(-39.0))
    factor = a.select(gone, a.mul(x, a.number(0.0)), x)
    below = scaled(a, a.mul(factor, far), shifted)
    above = a.mul(x, a.sub(a.number(1.0), scaled(a, far, shifted)))
    outer = a.select(a.compare("olt", x, a.number(0.0)), below, above)
    is_near = a.compare("olt", size, a.number(_BORDER / _ROOT_HALF))
    return a.select(is_near, a.mul(x, near), outer)
