"""The NumPy functions against the rows of the table, at ordinary and at special numbers."""

import itertools
import math

import numpy as np
import pytest

from gradloom.backends.error_function import erf, erfc
from gradloom.backends.functions import FUNCTIONS, function
from gradloom.core.ops import operation
from gradloom.core.table import OPS, REAL

INF, NAN = math.inf, math.nan
SPECIAL = [
    *[0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 2.5, -7.25, 1e-9, -1e-9],
    *[5e-324, -5e-324, 1e300, -1e300, 710.0, -746.0, INF, -INF, NAN],
]
# Rows whose results NumPy computes by other formulas than the C library.
ULPS = dict.fromkeys(OPS, 4.0) | {"logsumexp": 8.0, "hypot": 2.0, "gelu": 8.0}


def operands_of(symbol: str) -> list[tuple[float, ...]]:
    arity = OPS[symbol].arity or 3
    if arity < 3:
        return list(itertools.product(SPECIAL, repeat=arity))
    return list(itertools.product([0.0, -0.0, 1.0, -2.5, 1e300, INF, -INF, NAN], repeat=3))


@pytest.mark.parametrize("symbol", sorted(set(OPS) - {"dot"}))  # a dot product is woven to a sum
def test_a_function_is_its_row_at_special_numbers(symbol: str) -> None:
    rows = operands_of(symbol)
    with np.errstate(all="ignore"):
        found = np.asarray(function(symbol)(*np.array(rows).T), dtype=np.float64)
        wanted = np.array([OPS[symbol].evaluate(*row) for row in rows])
        np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
        apart = np.abs(found - wanted) / np.spacing(np.abs(wanted))
    apart[(found == wanted) | np.isnan(wanted)] = 0.0
    assert apart.max() <= ULPS[symbol], rows[int(apart.argmax())]
    zero = wanted == 0.0
    np.testing.assert_array_equal(np.signbit(found[zero]), np.signbit(wanted[zero]))


def test_every_row_but_the_dot_product_has_a_function_of_arrays() -> None:
    assert set(FUNCTIONS) == set(OPS) - {"dot"}


def test_the_error_functions_are_those_of_the_c_library() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-7.0, 28.0, 20_000), rng.normal(size=20_000)])
    for ours, theirs in [(erf, math.erf), (erfc, math.erfc)]:
        wanted = np.array([theirs(v) for v in x])
        with np.errstate(under="ignore"):
            assert (np.abs(ours(x) - wanted) <= 4.0 * np.spacing(np.abs(wanted))).all()


def test_a_row_that_a_user_entered_is_run_number_by_number() -> None:
    @operation("halved", partials=[lambda *_: 0.5], domain=[REAL])
    def halved(x: float) -> float:
        return x / 2.0

    try:
        assert function("halved")(np.array([[1.0, 2.0]])).tolist() == [[0.5, 1.0]]
    finally:
        del OPS["halved"]
