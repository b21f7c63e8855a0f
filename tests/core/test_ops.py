"""The rows of the table: each against mpmath, another engine, PyTorch's edges, and all floats."""

import itertools
import math
import struct
from collections.abc import Callable
from typing import Any

import hypothesis
import mpmath
import numpy as np
import pytest
from hypothesis import strategies as hs

import gradloom as gl
import strategies as st
from gradloom import Value, grad, jvp
from gradloom.core import ops
from gradloom.core.table import OPS, apply
from gradloom.errors import GradloomError, ShapeError

DIGITS = 60
mp = mpmath.mp.clone()
mp.dps = DIGITS

# The same operations to sixty digits.
EXACT: dict[str, Callable[..., Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "//": lambda a, b: mp.floor(a / b),
    "%": lambda a, b: a - b * mp.floor(a / b),
    "**": mp.power,
    "neg": lambda x: -x,
    "abs": abs,
    "reciprocal": lambda x: 1 / x,
    "square": lambda x: x**2,
    "sqrt": mp.sqrt,
    "exp": mp.exp,
    "expm1": mp.expm1,
    "log": mp.log,
    "log1p": mp.log1p,
    "log2": lambda x: mp.log(x, 2),
    "log10": lambda x: mp.log(x, 10),
    "sin": mp.sin,
    "cos": mp.cos,
    "tan": mp.tan,
    "asin": mp.asin,
    "acos": mp.acos,
    "atan": mp.atan,
    "atan2": mp.atan2,
    "sinh": mp.sinh,
    "cosh": mp.cosh,
    "tanh": mp.tanh,
    "asinh": mp.asinh,
    "acosh": mp.acosh,
    "atanh": mp.atanh,
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "softplus": lambda x: mp.log1p(mp.exp(x)),
    "relu": lambda x: max(x, 0),
    "leaky_relu": lambda x, slope: x if x > 0 else slope * x,
    "elu": lambda x, alpha: x if x > 0 else alpha * mp.expm1(x),
    "gelu": lambda x: x * mp.ncdf(x),
    "silu": lambda x: x / (1 + mp.exp(-x)),
    "erf": mp.erf,
    "erfc": mp.erfc,
    "floor": mp.floor,
    "ceil": mp.ceil,
    "sign": mp.sign,
    "detach": lambda x: x,
    "greater": lambda a, b: mp.mpf(a > b),
    "less_equal": lambda a, b: mp.mpf(a <= b),
    "equal": lambda a, b: mp.mpf(a == b),
    "where": lambda condition, a, b: a if condition else b,
    "max": lambda *xs: max(xs),
    "min": lambda *xs: min(xs),
    "sum": lambda *xs: mp.fsum(xs),
    "dot": lambda *xs: mp.fdot(xs[: len(xs) // 2], xs[len(xs) // 2 :]),
    "hypot": lambda *xs: mp.sqrt(mp.fsum(x * x for x in xs)),
    "logsumexp": lambda *xs: mp.log(mp.fsum(mp.exp(x) for x in xs)),
}
# How many units in the last place a value may be off, where it is not a handful; the functions
# of C's library and sums of several terms round more than once.
ULPS = {"gelu": 40, "erfc": 10}
# Rows that add terms which may cancel: their error is relative to the terms, not to the result.
CANCELS = {"sum", "dot", "logsumexp"}


def exact(symbol: str, xs: list[Any]) -> Any:
    return EXACT[symbol](*xs)


def exact_first(symbol: str, xs: list[float], i: int) -> Any:
    """The derivative by operand i, by central differences to about forty digits."""
    h = mp.mpf(10) ** -20

    def at(step: Any) -> Any:
        moved = [mp.mpf(x) for x in xs]
        moved[i] += step
        return exact(symbol, moved)

    return (at(h) - at(-h)) / (2 * h)


def exact_second(symbol: str, xs: list[float], i: int, j: int) -> Any:
    """The derivative by operands i and j, by central differences to about thirty digits."""
    h = mp.mpf(10) ** -15

    def at(step: Any, other: Any) -> Any:
        moved = [mp.mpf(x) for x in xs]
        moved[i] += step
        moved[j] += other
        return exact(symbol, moved)

    return (at(h, h) - at(h, -h) - at(-h, h) + at(-h, -h)) / (4 * h * h)


every_row = pytest.mark.parametrize("symbol", sorted(OPS))
few = hypothesis.settings(
    max_examples=15, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
)


def test_every_row_has_an_exact_reference() -> None:
    assert set(EXACT) == set(OPS)


@every_row
@hypothesis.given(data=hs.data())
@few
def test_the_value_is_right_to_a_few_units_in_the_last_place(symbol: str, data: Any) -> None:
    xs = data.draw(st.in_domain(OPS[symbol]))
    found = apply(OPS[symbol], *xs)
    expected = exact(symbol, [mp.mpf(x) for x in xs])
    size = float(abs(expected))
    if symbol in CANCELS:
        size = max(size, sum(abs(x) for x in xs) * 3.0, 1.0)
    assert abs(mp.mpf(found) - expected) <= ULPS.get(symbol, 4) * math.ulp(size), xs


@every_row
@hypothesis.given(data=hs.data())
@few
def test_first_derivatives_agree_with_differences_of_sixty_digits(symbol: str, data: Any) -> None:
    xs = data.draw(st.in_domain(OPS[symbol]))
    values = [Value(x) for x in xs]
    apply(OPS[symbol], *values).backward()
    for i, value in enumerate(values):
        expected = 0.0 if symbol == "detach" else float(exact_first(symbol, xs, i))
        assert value.grad == pytest.approx(expected, rel=1e-12, abs=1e-14), (xs, i)


@every_row
@hypothesis.given(data=hs.data())
@few
def test_second_derivatives_agree_with_differences_of_sixty_digits(symbol: str, data: Any) -> None:
    xs = data.draw(st.in_domain(OPS[symbol]))[:3]
    size = len(xs) - len(xs) % 2 if symbol in st.EVEN else len(xs)
    xs = xs[:size]
    hessian = gl.hessian(lambda v: apply(OPS[symbol], *v))(xs)
    for i, j in itertools.product(range(size), repeat=2):
        expected = 0.0 if symbol == "detach" else float(exact_second(symbol, xs, i, j))
        assert hessian[i][j] == pytest.approx(expected, rel=1e-10, abs=1e-12), (xs, i, j)


@every_row
@hypothesis.given(data=hs.data())
@few
def test_nested_modes_agree_on_the_third_derivative(symbol: str, data: Any) -> None:
    xs = data.draw(st.in_domain(OPS[symbol]))

    def along(t: Any) -> Any:
        return apply(OPS[symbol], *[x + (i + 1) * 0.1 * t for i, x in enumerate(xs)])

    def forward(f: Callable[..., Any]) -> Callable[[Any], Any]:
        return lambda t: jvp(f, (t,), (1.0,))[1]

    backward = grad(grad(grad(along)))(0.0)
    for mixed in (
        forward(grad(grad(along))),
        grad(forward(grad(along))),
        forward(forward(forward(along))),
    ):
        assert mixed(0.0) == pytest.approx(backward, rel=1e-9, abs=1e-9), xs


HIPS: dict[str, str] = {
    "+": "add", "-": "subtract", "*": "multiply", "/": "divide", "%": "mod", "**": "power",
    "neg": "negative", "abs": "abs", "reciprocal": "reciprocal", "square": "square",
    "sqrt": "sqrt", "exp": "exp", "expm1": "expm1", "log": "log", "log1p": "log1p",
    "log2": "log2", "log10": "log10", "sin": "sin", "cos": "cos", "tan": "tan",
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2", "sinh": "sinh",
    "cosh": "cosh", "tanh": "tanh", "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh",
}  # fmt: skip
HIPS_SPECIAL = {"sigmoid": "expit", "erf": "erf", "erfc": "erfc"}


@pytest.mark.parametrize("symbol", sorted(HIPS | HIPS_SPECIAL))
@hypothesis.given(data=hs.data())
@few
def test_derivatives_agree_with_autograd(symbol: str, data: Any) -> None:
    autograd = pytest.importorskip("autograd")
    special = pytest.importorskip("autograd.scipy.special")
    theirs = getattr(autograd.numpy, HIPS.get(symbol, ""), None) or getattr(
        special, HIPS_SPECIAL.get(symbol, "")
    )
    xs = data.draw(st.in_domain(OPS[symbol]))
    for i in range(len(xs)):
        ours = grad(lambda *v: apply(OPS[symbol], *v), i)(*xs)
        assert ours == pytest.approx(float(autograd.grad(theirs, i)(*xs)), rel=1e-9, abs=1e-12)


# Edges

# Rows that PyTorch does not have, or that are recorded in a composition.
OURS_ALONE = {"detach", "greater", "less_equal", "equal", "where", "sum", "dot"}
OURS_ALONE |= {"leaky_relu", "elu"}
PYTORCH: dict[str, Callable[[Value], Value]] = {
    "sqrt(relu(x))": lambda x: x.relu().sqrt(),
    "sqrt(abs(x))": lambda x: abs(x).sqrt(),
    "log(relu(x))": lambda x: x.relu().log(),
    "where(x > 0, sqrt(x), 0)": lambda x: gl.where(x > 0, x.sqrt(), 0),
    "where(x > 0, x, 0) ** 0.5": lambda x: gl.where(x > 0, x, 0) ** 0.5,
    "sqrt(floor(x))": lambda x: x.floor().sqrt(),
    "sqrt(x - x)": lambda x: (x - x).sqrt(),
    "x ** 0": lambda x: x**0,
    "x ** 0.5": lambda x: x**0.5,
    "x ** 2": lambda x: x**2,
    "x ** -1": lambda x: x**-1,
    "2 ** x": lambda x: 2**x,
    "0 ** x": lambda x: 0**x,
    "max(x, 0, x)": lambda x: gl.max(x, 0.0, x),
    "leaky_relu(x, 0)": lambda x: x.leaky_relu(0),
    "leaky_relu(x)": lambda x: x.leaky_relu(),
    "elu(x)": lambda x: x.elu(),
    "softmax([x, 0])[0]": lambda x: gl.softmax([x, 0])[0],
    "log_softmax([x, 0])[0]": lambda x: gl.log_softmax([x, 0])[0],
}


def differs_on_purpose(name: str, xs: list[float]) -> bool:
    """Where we do something else than PyTorch, and why."""
    return any(
        [
            # NaN in, NaN out; PyTorch takes its sign to be 0, and its slope in elu to be 1.
            name in ("abs", "sign", "elu(x)") and math.isnan(xs[0]),
            # There is no acosh below 1, so no derivative either; PyTorch extends the formula.
            name == "acosh" and xs[0] < 1.0,
            # x² + y² overflows in PyTorch, so that its derivative is 0.
            name == "atan2" and 1e200 in xs,
            # What a mask blocks stays blocked; PyTorch lets 0 · nan out of it.
            name == "where(x > 0, sqrt(x), 0)" and not xs[0] > 0.0,
            # IEEE's pow(-0, 0.5) is 0 and pow(-inf, 0.5) is inf; PyTorch takes the square root.
            name == "x ** 0.5" and (xs[0] == -math.inf or math.copysign(1.0, xs[0]) < 0.0 == xs[0]),
        ]
    )


def same(ours: float, theirs: float) -> bool:
    if math.isnan(ours) or math.isnan(theirs):
        return math.isnan(ours) and math.isnan(theirs)
    return math.isclose(ours, theirs, rel_tol=1e-12, abs_tol=1e-300)


def test_the_recorded_edges_cover_every_row_that_pytorch_has(torch_edges: dict[str, Any]) -> None:
    assert set(torch_edges) == (set(OPS) - OURS_ALONE) | set(PYTORCH) | {"torch"}


@pytest.mark.parametrize(
    "name",
    sorted((set(OPS) | set(PYTORCH)) - OURS_ALONE),
)
def test_edges_are_those_of_pytorch(name: str, torch_edges: dict[str, Any]) -> None:
    function = PYTORCH.get(name) or (lambda *v: apply(OPS[name], *v))
    for given, result, slopes in torch_edges[name]:
        xs = [float(x) for x in given]
        if differs_on_purpose(name, xs):
            continue
        values = [Value(x) for x in xs]
        y = function(*values)
        y.backward()
        assert same(y.data, float(result)), xs
        for value, slope in zip(values, slopes, strict=True):
            assert same(value.grad, float(slope or 0.0)), (xs, slopes)
        reverse = grad(function, range(len(xs)))(*xs)
        assert all(same(a, b.grad) for a, b in zip(reverse, values, strict=True)), xs


def slope(function: Callable[[Any], Any], x: float) -> float:
    """The derivative at x by backward(), by grad and by jvp, which must agree."""
    value = Value(x)
    function(value).backward()
    reverse, forward = grad(function)(x), jvp(function, (x,), (1.0,))[1]
    assert same(value.grad, reverse)
    assert same(value.grad, forward)
    return value.grad


INF, NAN = math.inf, math.nan


def test_relu_and_abs_have_the_derivative_0_at_0() -> None:
    for zero in (0.0, -0.0):
        assert slope(gl.relu, zero) == 0.0
        assert slope(abs, zero) == 0.0
        assert slope(lambda x: x.leaky_relu(0.1), zero) == 0.1
        assert slope(lambda x: x.elu(0.5), zero) == 0.5


def test_values_that_tie_for_the_maximum_share_the_gradient_evenly() -> None:
    for function in (gl.max, gl.min):
        a, b, c = Value(1.0), Value(1.0), Value(1.0)
        function(a, b, c).backward()
        assert a.grad == b.grad == c.grad == pytest.approx(1 / 3)
    a = Value(2.0)
    gl.max(a, a, 1.0).backward()
    assert a.grad == 1.0
    b = Value(2.0)
    gl.max(b, 2.0).backward()  # a plain number that ties takes its share too
    assert b.grad == 0.5


def test_nothing_to_the_power_of_nothing_is_1_and_flat() -> None:
    assert (Value(0.0) ** 0).data == 1.0
    assert (Value(0.0) ** Value(0.0)).data == 1.0
    for base in (0.0, -0.0, 2.0, -2.0, 5e-324, INF, -INF, NAN):
        assert slope(lambda x: x**0, base) == 0.0
        assert grad(grad(lambda x: x**0))(base) == 0.0
        assert grad(grad(grad(lambda x: x**0)))(base) == 0.0
    assert slope(lambda x: 0.0**x, 0.0) == 0.0
    assert slope(lambda x: 0.0**x, 2.0) == 0.0


def test_powers_of_zero_keep_their_higher_derivatives() -> None:
    square, cube = grad(grad(lambda x: x**2)), grad(grad(grad(lambda x: x**3)))
    assert square(0.0) == 2.0
    assert cube(0.0) == 6.0
    assert grad(cube)(0.0) == 0.0
    assert grad(grad(lambda x: x**1))(0.0) == 0.0


def test_a_power_has_its_mixed_derivative_at_exponent_0() -> None:
    def by_base(a: Any, b: Any) -> Any:
        return grad(lambda a: a**b)(a)

    def by_exponent(a: Any, b: Any) -> Any:
        return grad(lambda b: a**b)(b)

    for a in (0.5, 3.0):  # d²/da db a^b = a^(b-1) (1 + b ln a)
        assert grad(by_base, 1)(a, 0.0) == pytest.approx(1 / a)
        assert grad(by_exponent, 0)(a, 0.0) == pytest.approx(1 / a)
        assert gl.hessian(lambda v: v[0] ** v[1])([a, 0.0]) == [
            pytest.approx([0.0, 1 / a]),
            pytest.approx([1 / a, math.log(a) ** 2]),
        ]


def test_a_negative_base_needs_a_whole_exponent() -> None:
    a, b = Value(-2.0), Value(3.0)
    y = a**b
    y.backward()
    assert (y.data, a.grad) == (-8.0, 12.0)
    assert math.isnan(b.grad)
    assert math.isnan((Value(-8.0) ** (1 / 3)).data)
    c = Value(-2.0)
    (c**3).backward()
    assert c.grad == 12.0


def test_exp_overflows_to_infinity() -> None:
    for function in (gl.exp, gl.expm1, gl.cosh, gl.sinh):
        assert function(1e4) == INF
        assert slope(function, 1e4) == INF
    assert gl.sinh(-1e4) == -INF
    assert (Value(10.0) ** 1000).data == INF
    assert (Value(-10.0) ** 1001).data == -INF
    assert (Value(-10.0) ** 1000).data == INF


def test_logarithms_of_zero_and_of_negative_numbers() -> None:
    for function in (gl.log, gl.log2, gl.log10):
        assert function(0.0) == -INF
        assert slope(function, 0.0) == INF
        assert math.isnan(function(-1.0))
    assert gl.log1p(-1.0) == -INF
    assert math.isnan(gl.log1p(-2.0))


def test_division_by_zero_follows_the_signs() -> None:
    for top, bottom in itertools.product((1.0, -1.0, INF, -INF), (0.0, -0.0)):
        expected = math.copysign(INF, top) * math.copysign(1.0, bottom)
        assert (Value(top) / bottom).data == expected
        assert (top / Value(bottom)).data == expected
        assert (Value(top) / Value(bottom)).data == expected
    assert math.isnan((Value(0.0) / 0).data)
    assert math.isnan((Value(NAN) / 0).data)
    assert Value(0.0).reciprocal().data == INF
    assert Value(-0.0).reciprocal().data == -INF


def test_floor_division_and_modulo_are_those_of_python() -> None:
    for a, b in itertools.product((7.0, -7.0, 7.5, 0.0, -0.0), (2.0, -2.0, 0.3, INF, -INF)):
        for left, right in ((Value(a), b), (a, Value(b)), (Value(a), Value(b))):
            assert (left // right).data == a // b
            assert (left % right).data == a % b
    assert (Value(1.0) // 0).data == INF
    assert (Value(-1.0) // 0).data == -INF
    assert math.isnan((Value(1.0) % 0).data)


def test_floor_division_is_flat_and_modulo_follows() -> None:
    a, b = Value(7.5), Value(2.0)
    (a // b).backward()
    assert (a.grad, b.grad) == (0.0, 0.0)
    (a % b).backward()
    assert (a.grad, b.grad) == (1.0, -3.0)
    for x in (6.0, 6.5):  # at a jump and between two
        assert slope(lambda x: x // 2.0, x) == 0.0
        assert slope(lambda x: x % 2.0, x) == 1.0


def test_nan_comes_out_where_nan_goes_in() -> None:
    blind = {"**", "greater", "less_equal", "equal", "where"}
    for symbol, op in OPS.items():
        if symbol in blind:
            continue
        size = op.arity or 2
        for i in range(size):
            xs = [0.5] * size
            xs[i] = NAN
            if (symbol, i) in (("leaky_relu", 1), ("elu", 1)):
                continue  # a slope that is not used
            assert math.isnan(apply(op, *xs)), (symbol, i)
    assert gl.pow(1.0, NAN) == 1.0  # as IEEE 754 has it
    assert gl.pow(NAN, 0.0) == 1.0


def test_a_mask_blocks_an_infinite_gradient() -> None:
    flat = [
        lambda x: gl.sqrt(gl.relu(x - 1.0)),
        lambda x: gl.sqrt(x // 10.0),
        lambda x: gl.sqrt(10.0 // x - 20.0),
        lambda x: gl.sqrt(x.floor()),
        lambda x: gl.sqrt(gl.max(0.0, x - 1.0)),
        lambda x: gl.sqrt(gl.min(0.0, x + 1.0)),
        lambda x: gl.where(x > 1.0, gl.sqrt(x - 1.0), 2.0),
        lambda x: gl.where(x < 1.0, 2.0, gl.log(x - 0.5)),
        lambda x: gl.sqrt(x.sign() - 1.0),
        lambda x: gl.sqrt(x.detach() - x.detach()),
    ]
    for function in flat:
        assert slope(function, 0.5) == 0.0
        assert grad(grad(function))(0.5) == 0.0


def test_hypot_and_atan2_at_the_origin() -> None:
    x, y = Value(0.0), Value(0.0)
    gl.atan2(y, x).backward()
    assert (x.grad, y.grad) == (0.0, 0.0)
    gl.hypot(x, y).backward()
    assert math.isnan(x.grad)
    assert math.isnan(y.grad)
    assert gl.hessian(lambda v: gl.atan2(*v))([0.0, 0.0]) == [[0.0, 0.0], [0.0, 0.0]]


def test_hypot_and_atan2_neither_overflow_nor_underflow() -> None:
    for size in (1e-300, 1e300):
        x, y = Value(3.0 * size), Value(4.0 * size)
        length = gl.hypot(x, y)
        length.backward()
        assert length.data == pytest.approx(5.0 * size)
        assert (x.grad, y.grad) == (pytest.approx(0.6), pytest.approx(0.8))
        x, y = Value(3.0 * size), Value(4.0 * size)
        gl.atan2(y, x).backward()
        assert (x.grad * size, y.grad * size) == (pytest.approx(-0.16), pytest.approx(0.12))


def test_signed_zeros_come_through() -> None:
    for function in (
        gl.floor,
        gl.ceil,
        gl.sin,
        gl.tan,
        gl.asin,
        gl.atan,
        gl.tanh,
        gl.expm1,
        gl.log1p,
        gl.sqrt,
        gl.erf,
    ):
        assert math.copysign(1.0, function(-0.0)) == -1.0, function
    assert math.copysign(1.0, gl.ceil(-0.5)) == -1.0


def test_the_stable_functions_stand_large_numbers() -> None:
    for big in (1e3, 1e8, 1e300, 1.7e308):
        assert (gl.sigmoid(big), gl.sigmoid(-big)) == (1.0, 0.0)
        assert (gl.softplus(big), gl.softplus(-big)) == (big, 0.0)
        assert (gl.gelu(big), gl.gelu(-big)) == (big, 0.0)
        assert (gl.silu(big), gl.silu(-big)) == (big, 0.0)
        assert gl.softmax([big, 0.0, -big]) == [1.0, 0.0, 0.0]
        assert gl.logsumexp(big, 0.0) == big
        assert gl.log_softmax([0.0, -big]) == [0.0, -big]
        assert (gl.tanh(big), gl.erf(big), gl.erfc(big)) == (1.0, 1.0, 0.0)


@every_row
@hypothesis.given(data=hs.data())
@hypothesis.settings(max_examples=40, deadline=None)
def test_an_operation_never_raises_for_a_number(symbol: str, data: Any) -> None:
    op = OPS[symbol]
    xs = data.draw(st.operands(op, st.numbers))
    plain = apply(op, *xs)
    values = [Value(x) for x in xs]
    result = apply(op, *values)
    assert type(result.data) is float
    assert struct.pack("d", result.data) == struct.pack("d", plain) or math.isnan(plain)
    result.backward()
    slopes = [v.grad for v in values]
    assert all(type(g) is float for g in slopes)

    def function(*v: Any) -> Any:
        return apply(op, *v)

    floats = [v.data for v in values]
    every = range(len(xs))
    assert all(map(same, grad(function, every)(*floats), slopes)), "reverse mode differs"
    forward = [jvp(function, floats, [float(i == j) for j in every])[1] for i in every]
    assert all(map(same, forward, slopes)), "forward mode differs"
    gl.hessian(lambda v: function(*v))(floats)
    grad(grad(grad(lambda x: function(x, *floats[1:]))))(floats[0])


@every_row
@hypothesis.given(data=hs.data())
@hypothesis.settings(max_examples=10, deadline=None)
def test_plain_numbers_among_values_are_constants(symbol: str, data: Any) -> None:
    op = OPS[symbol]
    xs = data.draw(st.in_domain(op))
    fixed = data.draw(hs.lists(hs.booleans(), min_size=len(xs), max_size=len(xs)))
    hypothesis.assume(not all(fixed))
    all_values = [Value(x) for x in xs]
    apply(op, *all_values).backward()
    some = [x if f else Value(x) for x, f in zip(xs, fixed, strict=True)]
    y = apply(op, *some)
    y.backward()
    assert y.data == apply(op, *xs)
    assert [p.data for p in y._prev] == xs
    for mixed, full, constant in zip(some, all_values, fixed, strict=True):
        assert constant or mixed.grad == full.grad


# The functions

FUNCTIONS = [
    "exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "square", "reciprocal", "sin", "cos",
    "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "sigmoid",
    "softplus", "relu", "leaky_relu", "elu", "gelu", "silu", "erf", "erfc", "floor", "ceil", "sign",
]  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_a_method_too_and_takes_plain_numbers(name: str) -> None:
    function = getattr(gl, name)
    x = 1.25 if name == "acosh" else 0.75
    plain = function(x)
    assert type(plain) is float
    value = function(Value(x))
    assert isinstance(value, Value)
    method = getattr(Value(x), name)()
    assert value.data == method.data == plain
    assert value._op == method._op == name
    assert function(np.float32(x)) == plain
    assert type(function(2)) is float
    assert function.__doc__
    assert function.__name__ == name


def test_functions_of_two_and_more_are_methods_too() -> None:
    a = Value(3.0)
    assert gl.atan2(a, 4.0).data == a.atan2(4.0).data == math.atan2(3.0, 4.0)
    assert gl.hypot(a, 4.0).data == a.hypot(4.0).data == 5.0
    assert gl.hypot(a, 4.0, 12).data == a.hypot(4.0, 12).data == 13.0
    assert gl.max(a, 4).data == a.max(4).data == 4.0
    assert gl.min(a, 4, 2).data == a.min(4, 2).data == 2.0
    assert gl.logsumexp(a, 4, 2).data == a.logsumexp(4, 2).data
    assert gl.where(True, a, 5.0).data == a.where(True, 5.0).data == 3.0
    assert gl.where(np.bool_(False), a, 5.0).data == a.where(False, 5.0).data == 5.0
    assert gl.atan2(1, 1) == math.pi / 4
    assert gl.hypot() == 0.0


def test_every_public_operation_has_an_example() -> None:
    without = [name for name in ops.__all__ if ">>>" not in (getattr(ops, name).__doc__ or "")]
    assert without == ["equal", "greater", "less_equal"]  # for rules; their docstring says all


@pytest.mark.parametrize("function", [gl.max, gl.min, gl.logsumexp])
def test_any_number_of_values_or_one_iterable(function: Callable[..., Any]) -> None:
    a, b = Value(1.0), Value(2.0)
    expected = function(a, b, 1.5).data
    for given in (
        [a, b, 1.5],
        (a, b, 1.5),
        iter([a, b, 1.5]),
        {a: 0, b: 0, 1.5: 0},
        (x for x in (a, b, 1.5)),
    ):
        assert function(given).data == expected
    assert function(np.array([1.0, 2.0, 1.5])) == expected
    assert function(a).data == function([a]).data == 1.0
    assert function(np.array(2.0)) == function(2) == 2.0


@pytest.mark.parametrize("name", ["max", "min", "logsumexp", "softmax", "log_softmax"])
def test_no_values_at_all_is_an_error(name: str) -> None:
    with pytest.raises(ShapeError, match=rf"{name}\(\) needs at least one value and got none"):
        getattr(gl, name)([])


def test_sums_and_products_make_one_node() -> None:
    xs, ys = [Value(float(i)) for i in range(5)], [Value(float(i + 1)) for i in range(5)]
    total = gl.sum(xs)
    assert total.data == 10.0
    assert total._prev == tuple(xs)
    product = gl.dot(xs, ys)
    assert product.data == 40.0
    assert product._prev == (*xs, *ys)
    product.backward()
    assert [x.grad for x in xs] == [y.data for y in ys]
    assert [y.grad for y in ys] == [x.data for x in xs]
    assert gl.sum([]) == gl.dot([], []) == 0.0
    assert gl.sum(iter([1, Value(2.0), np.float32(3)])).data == 6.0


def test_sum_adds_left_to_right_as_python_did() -> None:
    xs = [1e16, 1.0, -1e16, 1.0]
    assert gl.sum(xs) == ((1e16 + 1.0) + -1e16) + 1.0
    assert gl.sum([Value(x) for x in xs]).data == gl.sum(xs)


def test_dot_of_different_lengths_gives_both() -> None:
    with pytest.raises(ShapeError, match="got 2 and 3 values"):
        gl.dot([1.0, 2.0], [Value(1.0)] * 3)


@pytest.mark.parametrize("bad", [Value(1.0), 3.0, None])
def test_a_sum_of_what_is_no_list_is_a_type_error_of_python(bad: Any) -> None:
    for function in (gl.sum, gl.softmax, lambda x: gl.dot(x, [1.0])):
        with pytest.raises(TypeError, match="not iterable"):
            function(bad)


@hypothesis.given(hs.lists(st.moderate, min_size=1, max_size=6))
@few
def test_softmax_sums_to_one_and_its_logarithm_is_log_softmax(xs: list[float]) -> None:
    values = [Value(x) for x in xs]
    shares, logs = gl.softmax(values), gl.log_softmax(values)
    assert math.fsum(s.data for s in shares) == pytest.approx(1.0)
    for share, log in zip(shares, logs, strict=True):
        assert log.data == pytest.approx(math.log(share.data), abs=1e-12)
    gl.logsumexp(values).backward()
    assert [v.grad for v in values] == pytest.approx([s.data for s in shares])
    jacobian = gl.jacobian(gl.softmax)(xs)
    for i, j in itertools.product(range(len(xs)), repeat=2):
        expected = shares[i].data * ((i == j) - shares[j].data)
        assert jacobian[i][j] == pytest.approx(expected, abs=1e-12)


def test_prelu_learns_its_slope() -> None:
    x, slope = Value(-2.0), Value(0.25)
    y = gl.leaky_relu(x, slope)
    y.backward()
    assert (y.data, x.grad, slope.grad) == (-0.5, 0.25, -2.0)


def test_detach_stops_the_gradient() -> None:
    x = Value(3.0)
    y = x * x.detach()
    y.backward()
    assert (y.data, x.grad) == (9.0, 3.0)
    assert grad(lambda x: x * gl.detach(x))(3.0) == 3.0
    assert jvp(lambda x: x * gl.detach(x), (3.0,), (1.0,)) == (9.0, 3.0)


def test_where_takes_conditions_of_every_kind() -> None:
    x = Value(2.0)
    for true in (True, 1, 2.5, np.bool_(True), x > 1, x, NAN):
        assert gl.where(true, x, 5.0).data == 2.0
    for false in (False, 0, 0.0, -0.0, np.bool_(False), x < 1, Value(0.0)):
        assert gl.where(false, 5.0, x).data == 2.0


def test_errors_of_the_operations_are_gradlooms() -> None:
    for attempt in (lambda: gl.exp("a"), lambda: gl.max([]), lambda: gl.dot([1.0], [])):
        with pytest.raises(GradloomError):
            attempt()
