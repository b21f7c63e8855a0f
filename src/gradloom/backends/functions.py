"""The rows of the table as functions of whole arrays, true to their edges."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.backends.error_function import erf, erfc
from gradloom.core.table import OPS

Array = NDArray[np.float64]

_ROOT_HALF = math.sqrt(0.5)


def _sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    return np.where(x < 0.0, small, 1.0) / (1.0 + small)


def _logsumexp(*xs: Array) -> Array:
    largest = functools.reduce(np.maximum, xs)
    shift = np.where(np.isfinite(largest), largest, 0.0)
    return np.log(sum(np.exp(x - shift) for x in xs)) + shift


def _extreme(better: Callable[[Array, Array], Array]) -> Callable[..., Array]:
    """The best of several; of equals (0.0 and -0.0) the first, and nan if there is one."""

    def choose(best: Array, x: Array) -> Array:
        return np.where(better(x, best) | ((x != x) & (best == best)), x, best)  # noqa: PLR0124

    return lambda *xs: functools.reduce(choose, xs)


def _number(compare: Callable[[Array, Array], Any]) -> Callable[[Array, Array], Array]:
    """A comparison as 1.0 or 0.0, to be reckoned with."""
    return lambda a, b: np.asarray(compare(a, b), dtype=np.float64)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "//": lambda a, b: np.where(b == 0.0, a / b, np.floor_divide(a, b)),
    "%": np.mod,
    "**": np.power,
    "neg": np.negative,
    "abs": np.abs,
    "reciprocal": np.reciprocal,
    "square": np.square,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "log2": np.log2,
    "log10": np.log10,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "sigmoid": _sigmoid,
    "softplus": lambda x: np.where(x < 0.0, 0.0, x) + np.log1p(np.exp(-np.abs(x))),
    "relu": lambda x: np.where(x <= 0.0, 0.0, x),
    "leaky_relu": lambda x, slope: np.where(x > 0.0, x, slope * x),
    "elu": lambda x, alpha: np.where(x > 0.0, x, alpha * np.expm1(x)),
    "gelu": lambda x: 0.5 * x * erfc(-_ROOT_HALF * x),
    "silu": lambda x: x * _sigmoid(x),
    "erf": erf,
    "erfc": erfc,
    "floor": np.floor,
    "ceil": np.ceil,
    "sign": np.sign,
    "detach": np.positive,
    "greater": _number(np.greater),
    "less_equal": _number(np.less_equal),
    "equal": _number(np.equal),
    "where": lambda condition, a, b: np.where(condition != 0.0, a, b),
    "max": _extreme(np.greater),
    "min": _extreme(np.less),
    "sum": lambda *xs: functools.reduce(np.add, xs, 0.0),
    "hypot": lambda *xs: functools.reduce(np.hypot, xs, 0.0),
    "logsumexp": _logsumexp,
}


def function(symbol: str) -> Callable[..., Any]:
    """An operation as a function of arrays; a row that a user entered is run number by number.

    >>> function("relu")(np.array([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    found = FUNCTIONS.get(symbol)
    return _by_element(OPS[symbol].evaluate) if found is None else found


def _by_element(evaluate: Callable[..., float]) -> Callable[..., Array]:
    def every(*xs: Array) -> Array:
        results = np.frompyfunc(evaluate, len(xs), 1)(*[np.asarray(x).astype(object) for x in xs])
        return np.asarray(results, dtype=np.float64)

    return every
