"""The error function and its complement on whole arrays, which NumPy lacks.

The rational approximations of Sun's fdlibm (s_erf.c, 1993), one for each range of |x|; every
platform's C library has them too, so that the two agree within a unit or two in the last place.
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# Numerators and denominators, the constant terms first.
_BELOW = (
    [0.128379167095512558561, -0.325042107247001499370, -0.0284817495755985104766,
     -5.77027029648944159157e-3, -2.37630166566501626084e-5],
    [1.0, 0.397917223959155352819, 0.0650222499887672944485, 5.08130628187576562776e-3,
     1.32494738004321644526e-4, -3.96022827877536812320e-6],
)  # fmt: skip
_NEAR_ONE = (
    [-2.36211856075265944077e-3, 0.414856118683748331666, -0.372207876035701323847,
     0.318346619901161753674, -0.110894694282396677476, 0.0354783043256182359371,
     -2.16637559486879084300e-3],
    [1.0, 0.106420880400844228286, 0.540397917702171048937, 0.0718286544141962662868,
     0.126171219808761642112, 0.0136370839120290507362, 0.0119844998467991074170],
)  # fmt: skip
_MIDDLE = (
    [-9.86494403484714822705e-3, -0.693858572707181764372, -10.5586262253232909814,
     -62.3753324503260060396, -162.396669462573470355, -184.605092906711035994,
     -81.2874355063065934246, -9.81432934416914548592],
    [1.0, 19.6512716674392571292, 137.657754143519042600, 434.565877475229228821,
     645.387271733267880336, 429.008140027567833386, 108.635005541779435134,
     6.57024977031928170135, -0.0604244152148580987438],
)  # fmt: skip
_FAR = (
    [-9.86494292470009928597e-3, -0.799283237680523006574, -17.7579549177547519889,
     -160.636384855821916062, -637.566443368389627722, -1025.09513161107724954,
     -483.519191608651397019],
    [1.0, 30.3380607434824582924, 325.792512996573918826, 1536.72958608443695994,
     3199.85821950859553908, 2553.05040643316442583, 474.528541206955367215,
     -22.4409524465858183362],
)  # fmt: skip
_AT_ONE = 0.845062911510467529297  # erf(1), to the single precision that the fractions add to


def _flat(function: Callable[[Array], Array]) -> Callable[[ArrayLike], Array]:
    """The function for arrays of any shape and for single numbers."""

    @functools.wraps(function)
    def shaped(x: ArrayLike) -> Array:
        array = np.asarray(x, dtype=np.float64)
        return function(array.reshape(-1)).reshape(array.shape)

    return shaped


def _fraction(x: Array, polynomials: tuple[Sequence[float], Sequence[float]]) -> Array:
    """One polynomial over another, by Horner's rule."""
    above, below = (np.full_like(x, p[-1]) for p in polynomials)
    for total, coefficients in zip((above, below), polynomials, strict=True):
        for c in reversed(coefficients[:-1]):
            total *= x
            total += c
    return above / below


def _tail(x: Array) -> Array:
    """erfc(x) for x from 1.25 on."""
    inverse = 1.0 / (x * x)
    middle = x < 1.0 / 0.35
    ratio = np.where(middle, _fraction(inverse, _MIDDLE), _fraction(inverse, _FAR))
    # x² is split, or its rounding would be magnified by the exponential.
    high = (x.view(np.int64) & ~0xFFFFFFFF).view(np.float64)
    return np.exp(-high * high - 0.5625) * np.exp((high - x) * (high + x) + ratio) / x


@_flat
def erf(x: Array) -> Array:
    """The error function, within ±1.

    >>> erf(np.array([0.0, 0.5, -30.0])).tolist()
    [0.0, 0.5204998778130465, -1.0]
    """
    size = np.abs(x)
    out = np.copysign(1.0, x)
    out[np.isnan(x)] = np.nan
    below = size < 0.84375
    part = x[below]
    out[below] = part + part * _fraction(part * part, _BELOW)
    middle = (size >= 0.84375) & (size < 1.25)
    out[middle] *= _AT_ONE + _fraction(size[middle] - 1.0, _NEAR_ONE)
    far = (size >= 1.25) & (size < 6.0)
    out[far] *= 1.0 - _tail(size[far])
    return out


@_flat
def erfc(x: Array) -> Array:
    """The complement 1 - erf(x), accurate where it is small.

    >>> erfc(np.array([0.0, 30.0, -30.0])).tolist()
    [1.0, 0.0, 2.0]
    """
    size = np.abs(x)
    out = np.where(x < 0.0, 2.0, 0.0)
    out[np.isnan(x)] = np.nan
    below = size < 0.84375
    part = x[below]
    share = part * _fraction(part * part, _BELOW)
    out[below] = np.where(part < 0.25, 1.0 - (part + share), 0.5 - (share + (part - 0.5)))
    middle = (size >= 0.84375) & (size < 1.25)
    share = _fraction(size[middle] - 1.0, _NEAR_ONE)
    out[middle] = np.where(x[middle] > 0.0, 1.0 - _AT_ONE - share, 1.0 + (_AT_ONE + share))
    far = (size >= 1.25) & (size < 28.0)
    share = _tail(size[far])
    out[far] = np.where(x[far] > 0.0, share, 2.0 - share)
    return out
