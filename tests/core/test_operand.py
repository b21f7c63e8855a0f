"""Python's spelling of the operations, on both sides of every kind of number."""

import cmath
import decimal
import fractions
import math
import operator
from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as hs

import gradloom as gl
import strategies as st
from gradloom import Value, grad, jvp
from gradloom.core.table import OPS
from gradloom.errors import LostGradientError, NotANumberError

BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
}
NUMBERS: list[Any] = [
    2,
    2.0,
    True,
    fractions.Fraction(5, 2),
    np.float16(2.0),
    np.float32(2.0),
    np.float64(2.0),
    np.longdouble(2.0),
    np.int8(2),
    np.int64(2),
    np.uint32(2),
    np.bool_(True),
    np.array(2.0),
    np.array(2),
]
every_operator = pytest.mark.parametrize("symbol", sorted(BINARY))
every_kind = pytest.mark.parametrize("other", NUMBERS, ids=lambda x: type(x).__name__ + str(x))


@every_operator
@every_kind
def test_numbers_of_every_kind_stand_on_either_side(symbol: str, other: Any) -> None:
    how, row, x = BINARY[symbol], OPS[symbol], 3.5
    plain = float(other)
    for y, operands, slope in (
        (how(a := Value(x), other), (x, plain), 0),
        (how(other, b := Value(x)), (plain, x), 1),
    ):
        assert isinstance(y, Value)
        assert type(y.data) is float
        assert y.data == row.evaluate(*operands)
        assert y._op == symbol
        assert tuple(p.data for p in y._prev) == operands
        y.backward()
        value = (a, b)[slope]
        assert y._prev[slope] is value
        assert value.grad == row.partials[slope](y.data, *operands)  # type: ignore[index]


@every_operator
@every_kind
def test_numbers_of_every_kind_stand_beside_nested_derivatives(symbol: str, other: Any) -> None:
    how = BINARY[symbol]
    plain = float(other)
    for f, g in (
        (lambda x: how(x, other), lambda x: how(x, plain)),
        (lambda x: how(other, x), lambda x: how(plain, x)),
    ):
        assert grad(f)(3.5) == grad(g)(3.5)
        assert jvp(f, (3.5,), (1.0,)) == jvp(g, (3.5,), (1.0,))
        assert grad(grad(f))(3.5) == grad(grad(g))(3.5)


@every_operator
def test_in_place_forms_rebind_and_leave_the_old_node_alone(symbol: str) -> None:
    in_place = {
        "+": operator.iadd, "-": operator.isub, "*": operator.imul, "/": operator.itruediv,
        "//": operator.ifloordiv, "%": operator.imod, "**": operator.ipow,
    }[symbol]  # fmt: skip
    for other in (2, 2.0, Value(2.0)):
        old = a = Value(3.5, label="a")
        a = in_place(a, other)
        assert a is not old
        assert a._prev[0] is old
        assert (old.data, old.grad, old._prev, old.label) == (3.5, 0.0, (), "a")
        assert a.data == BINARY[symbol](3.5, 2.0)
        number: Any = 2.0
        number = in_place(number, old)
        assert isinstance(number, Value)
        assert number.data == BINARY[symbol](2.0, 3.5)


@every_operator
@pytest.mark.parametrize("bad", ["2", None, 2j, [2.0], (2.0,), {}, decimal.Decimal(2), object()])
def test_what_is_no_number_is_refused_on_either_side(symbol: str, bad: Any) -> None:
    if symbol == "%" and isinstance(bad, str):
        with pytest.raises(TypeError, match=r"not all arguments converted"):
            bad % Value(1.0)
    else:
        with pytest.raises(NotANumberError, match="a number is needed here, not"):
            BINARY[symbol](bad, Value(1.0))
    with pytest.raises(NotANumberError, match="a number is needed here, not"):
        BINARY[symbol](Value(1.0), bad)


@every_operator
@pytest.mark.parametrize("array", [np.array([1.0, 2.0]), np.eye(2), np.array([], dtype=int)])
def test_arrays_are_refused_with_advice_on_either_side(symbol: str, array: Any) -> None:
    for a, b in ((array, Value(1.0)), (Value(1.0), array)):
        with pytest.raises(NotANumberError, match=r"not ndarray array.*one number at a time"):
            BINARY[symbol](a, b)


def test_an_array_of_values_works_element_by_element() -> None:
    values = [Value(1.0), Value(2.0)]
    array = np.array(values)
    total = (array * 3.0 + 1.0).sum() + np.exp(array)[0]
    assert isinstance(total, Value)
    total.backward()
    assert [v.grad for v in values] == [3.0 + math.e, 3.0]


def test_an_array_is_not_changed_in_place() -> None:
    array = np.array([1.0, 2.0])
    with pytest.raises(TypeError):
        array += Value(1.0)
    assert array.tolist() == [1.0, 2.0]


def test_signs_and_absolute_value() -> None:
    x = Value(-2.0)
    assert +x is x
    assert ((-x).data, (-x)._op) == (2.0, "neg")
    assert (abs(x).data, abs(x)._op) == (2.0, "abs")
    abs(-x).backward()
    assert x.grad == -1.0


def test_builtins_that_only_use_operators_work() -> None:
    xs = [Value(3.0), Value(1.0), Value(2.0)]
    total = sum(xs)
    total.backward()
    assert total.data == 6.0
    assert [x.grad for x in xs] == [1.0, 1.0, 1.0]
    assert max(xs) is xs[0]
    assert min(xs) is xs[1]
    assert [x.data for x in sorted(xs)] == [1.0, 2.0, 3.0]
    assert pow(xs[0], 2).data == math.prod([xs[0], xs[0]]).data == 9.0


COMPARISONS = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]
every_comparison = pytest.mark.parametrize("how", COMPARISONS, ids=lambda f: f.__name__)


@every_comparison
@hypothesis.given(hs.data())
@hypothesis.settings(max_examples=60, deadline=None)
def test_comparisons_are_those_of_the_numbers(how: Callable[[Any, Any], bool], data: Any) -> None:
    a, b = data.draw(st.floats), data.draw(st.numbers)
    assert how(Value(a), b) is how(a, b)
    assert how(b, Value(a)) is how(b, a)
    if isinstance(b, float):
        assert how(Value(a), Value(b)) is how(a, b)


@every_comparison
@every_kind
def test_comparisons_take_every_kind_of_number(how: Callable[[Any, Any], bool], other: Any) -> None:
    for x in (1.0, 2.0, 2.5):
        assert how(Value(x), other) is how(x, float(other))
        assert how(other, Value(x)) is how(float(other), x)


@pytest.mark.parametrize("other", ["2", None, 2j, [2.0], object(), decimal.Decimal(2)])
def test_a_value_equals_nothing_but_numbers_and_has_no_order_with_them(other: Any) -> None:
    x = Value(2.0)
    assert (x == other) is False
    assert (other == x) is False
    assert (x != other) is True
    for how in COMPARISONS[:4]:
        for a, b in ((x, other), (other, x)):
            with pytest.raises(TypeError, match="not supported between"):
                how(a, b)


def test_comparisons_do_not_round_the_value_to_the_other_kind() -> None:
    assert (Value(2.1) == np.float32(2.1)) is False
    assert Value(2.1) > np.float32(2.1)
    assert Value(2.0**53) < 2**53 + 1
    assert Value(math.inf) > 10**400


def test_hash_and_identity_are_the_objects() -> None:
    a, b = Value(2.0), Value(2.0)
    assert a == b
    assert hash(a) != hash(b)
    assert len({a, b, a}) == 2
    named = {a: "a", b: "b"}
    assert (named[a], named[b]) == ("a", "b")
    before = hash(a)
    a.data = 3.0
    assert hash(a) == before


def test_a_value_is_true_unless_it_is_zero() -> None:
    assert [bool(Value(x)) for x in (1.0, -2.0, math.nan, math.inf)] == [True] * 4
    assert [bool(Value(x)) for x in (0.0, -0.0)] == [False] * 2


def test_format_formats_the_number() -> None:
    x = Value(3.14159, label="pi")
    assert f"{x:.2f}" == "3.14"
    assert f"{x:>10.1e}" == "   3.1e+00"
    assert f"{x}" == str(x) == repr(x) == "Value(data=3.14159, grad=0.0, label='pi')"
    with pytest.raises(ValueError, match="format code"):
        f"{x:d}"


def test_repr_shows_data_and_gradient() -> None:
    x = Value(2)
    y = x * 3
    y.backward()
    assert repr(x) == "Value(data=2.0, grad=3.0)"
    assert repr(y) == "Value(data=6.0, grad=1.0)"


LOSING: list[Callable[[Any], Any]] = [
    float, int, complex, round, lambda v: round(v, 2), math.exp, math.sqrt, math.sin, math.floor,
    math.ceil, math.trunc, math.isnan, lambda v: math.pow(v, 2), lambda v: math.fsum([v]),
    cmath.exp, "%.2f".__mod__, np.float64, lambda v: np.array([v], dtype=float),
    lambda v: np.full(2, v, dtype=float),
]  # fmt: skip


@pytest.mark.parametrize("lose", LOSING)
def test_what_would_lose_the_gradient_says_what_to_use(lose: Callable[[Any], Any]) -> None:
    with pytest.raises(LostGradientError, match=r"gradloom\.exp\(v\).*v\.data") as caught:
        lose(Value(2.0))
    assert isinstance(caught.value, TypeError)
    with pytest.raises(LostGradientError):
        grad(lambda x: x * lose(x))(2.0)
    with pytest.raises(LostGradientError):
        jvp(lambda x: x * lose(x), (2.0,), (1.0,))


def test_numpy_functions_refuse_a_value() -> None:
    for function in (np.exp, np.sin, np.abs, np.add.reduce, np.isnan):
        with pytest.raises(TypeError):
            function(Value(2.0))


def test_a_value_is_no_index() -> None:
    with pytest.raises(TypeError):
        [1, 2, 3][Value(1.0)]  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        range(Value(3.0))  # type: ignore[call-overload]


def test_every_operation_of_the_package_is_a_method_of_a_value() -> None:
    not_methods = {"sum", "dot", "softmax", "log_softmax", "take", "abs", "pow"}
    functions = {name for name in gl.__all__ if hasattr(gl.core.ops, name)}
    missing = {name for name in functions - not_methods if not callable(getattr(Value, name, None))}
    assert missing == set()


def test_nested_derivatives_have_every_method_too() -> None:
    for name in ("tanh", "exp", "relu", "gelu", "sqrt"):
        x = Value(0.5)
        getattr(x, name)().backward()
        assert grad(lambda x, name=name: getattr(x, name)())(0.5) == x.grad
    assert grad(lambda x: x.atan2(2.0) + x.max(0.0) + x.where(True, 1.0))(0.5) == pytest.approx(
        2.0 / 4.25 + 2.0
    )
