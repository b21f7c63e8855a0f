"""The machinery of the table: rows, dispatch, and what counts as a number."""

import datetime
import decimal
import fractions
import math
from typing import Any

import hypothesis
import numpy as np
import pytest

import strategies as st
from gradloom import Value, grad, sqrt
from gradloom.core.table import OPS, REAL, Op, apply, as_number, operation, primal
from gradloom.errors import GradloomError, NotANumberError


@pytest.mark.parametrize(
    ("given", "number"),
    [
        (3, 3.0),
        (2.5, 2.5),
        (True, 1.0),
        (fractions.Fraction(1, 4), 0.25),
        (10**400, math.inf),
        (-(10**400), -math.inf),
        (fractions.Fraction(10**400, 3), math.inf),
        (np.float64(1.5), 1.5),
        (np.float32(0.5), 0.5),
        (np.float16(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.int64(-7), -7.0),
        (np.uint8(7), 7.0),
        (np.bool_(True), 1.0),
        (np.array(2.0), 2.0),
        (np.array(2, dtype=np.int32), 2.0),
        (np.array(True), 1.0),
    ],
)
def test_every_real_number_becomes_a_plain_float(given: Any, number: float) -> None:
    assert type(as_number(given)) is float
    assert as_number(given) == number
    assert Value(given).data == number
    assert (Value(1.0) * given).data == number


class Subclass(float):
    """A float that is not exactly a float."""


def test_a_subclass_of_float_becomes_a_plain_float() -> None:
    assert type(as_number(Subclass(2.0))) is float
    assert type((Value(1.0) + Subclass(2.0)).data) is float


@pytest.mark.parametrize(
    ("given", "named", "advice"),
    [
        ("3", "str '3'", "float()"),
        (b"3", "bytes b'3'", "float()"),
        (None, "None", "forget to return"),
        (1j, "complex 1j", ".real and .imag"),
        ([1.0], "list [1.0]", "one number at a time"),
        ((1.0,), "tuple (1.0,)", "one number at a time"),
        ({1.0}, "set {1.0}", "one number at a time"),
        ({"a": 1}, "dict {'a': 1}", "one number at a time"),
        (decimal.Decimal("1.5"), "Decimal", "float()"),
        (datetime.date(2020, 1, 1), "date", "float()"),
        (np.array([1.0]), "ndarray array([1.])", "one number at a time"),
        (np.eye(2), "ndarray array([[1., 0.], [0., 1.]])", "one number at a time"),
        (np.str_("3"), "str_", "float()"),
        (np.array("3"), "ndarray", "float()"),
        (np.array(None), "ndarray", "float()"),
        (np.complex128(1), "complex128", ".real and .imag"),
        (np.clongdouble(1), "clongdouble", ".real and .imag"),
        (np.datetime64(1, "ns"), "datetime64", "float()"),
        (Value(2.0), "Value Value(data=2.0, grad=0.0)", "a value already"),
        (object, "type", "float()"),
    ],
)
def test_what_is_no_number_is_refused_by_name(given: Any, named: str, advice: str) -> None:
    with pytest.raises(NotANumberError) as caught:
        as_number(given)
    message = str(caught.value)
    assert named in message
    assert advice in message
    assert "\n" not in message
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, GradloomError)


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(NotANumberError, match=r"x{50}") as caught:
        as_number("x" * 1000)
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize("bad", ["3", None, 1j, [1.0], (2.0,), np.array([1.0, 2.0])])
@pytest.mark.parametrize("symbol", sorted(OPS))
def test_every_row_refuses_what_is_no_number(symbol: str, bad: Any) -> None:
    op = OPS[symbol]
    for other in (1.0, Value(1.0)):
        operands = [other] * (op.arity or 2)
        operands[-1] = bad
        with pytest.raises(NotANumberError, match="a number is needed here"):
            apply(op, *operands)


def test_a_failed_operation_leaves_its_operands_alone() -> None:
    a = Value(2.0, label="a")
    for attempt in (lambda: a + "b", lambda: [1] * a, lambda: a**None):
        with pytest.raises(NotANumberError):
            attempt()
    assert (a.data, a.grad, a._prev, a.label) == (2.0, 0.0, (), "a")


@hypothesis.given(hypothesis.strategies.data(), st.symbols)
@hypothesis.settings(max_examples=200, deadline=None)
def test_plain_numbers_give_plain_floats(data: Any, symbol: str) -> None:
    numbers = data.draw(st.operands(OPS[symbol], st.numbers))
    assert type(apply(OPS[symbol], *numbers)) is float


def test_a_row_holds_what_is_known_of_an_operation() -> None:
    for symbol, op in OPS.items():
        assert op.symbol == symbol
        assert op.arity is None or op.arity == len(op.partials) == len(op.domain)  # type: ignore[arg-type]
        assert op.arity is not None or (callable(op.partials) and len(op.domain) == 1)
        assert all(low <= high for each in op.domain for low, high in each)


def test_a_symbol_can_be_entered_only_once() -> None:
    with pytest.raises(ValueError, match=r"'tanh' is in the table already; choose another"):
        operation("tanh", partials=[lambda _y, _x: 1.0], domain=[REAL])(lambda x: x)
    assert OPS["tanh"].evaluate(0.5) == math.tanh(0.5)


@pytest.fixture
def entered() -> Any:
    """Enter rows in the table for one test."""
    before = dict(OPS)
    yield operation
    OPS.clear()
    OPS.update(before)


def test_a_new_row_works_on_numbers_values_and_derivatives(entered: Any) -> None:
    @entered(partials=[lambda _y, x: 3.0 * x * x], domain=[REAL])
    def cube(x: float) -> float:
        """x³."""
        return x * x * x

    assert cube(2) == 8.0
    assert cube.__doc__ == "x³."
    assert cube.op is OPS["cube"]
    x = Value(2.0)
    y = cube(x)
    y.backward()
    assert (y._op, y.data, x.grad) == ("cube", 8.0, 12.0)
    assert grad(grad(cube))(2.0) == 12.0


def test_a_new_row_of_three_operands_works(entered: Any) -> None:
    @entered(
        partials=[lambda _y, _a, b, _c: b, lambda _y, a, _b, _c: a, lambda _y, _a, _b, _c: 1.0],
        domain=[REAL, REAL, REAL],
    )
    def fma(a: float, b: float, c: float) -> float:
        return a * b + c

    a, b = Value(2.0), Value(3.0)
    y = fma(a, b, 4)
    y.backward()
    assert (y.data, a.grad, b.grad) == (10.0, 3.0, 2.0)
    assert y._local == (3.0, 2.0, None)
    assert grad(fma, (0, 1, 2))(2.0, 3.0, 4.0) == (3.0, 2.0, 1.0)


def test_a_masking_row_of_two_operands_blocks_each_on_its_own(entered: Any) -> None:
    @entered(
        partials=[lambda _y, _a, _b: 0.0, lambda _y, _a, _b: 1.0], domain=[REAL, REAL], masks=True
    )
    def second(_a: float, b: float) -> float:
        return b

    a, b = Value(3.0), Value(0.0)
    sqrt(second(a, b)).backward()  # the derivative of sqrt at 0 is inf; 0 · inf would be nan
    assert (a.grad, b.grad) == (0.0, math.inf)
    assert grad(lambda a, b: sqrt(second(a, b)), (0, 1))(3.0, 0.0) == (0.0, math.inf)


def test_derivatives_are_given_only_where_wanted() -> None:
    assert OPS["*"].derivatives(6.0, (2.0, 3.0), (True, False)) == [3.0, None]
    assert OPS["sum"].derivatives(6.0, (1.0, 2.0, 3.0), (False, True, True)) == [None, 1.0, 1.0]
    assert OPS["relu"].derivatives(0.0, (-1.0,), (True,)) == [None]


def test_rows_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        OPS["+"].masks = True  # type: ignore[misc]


def test_a_value_among_any_number_of_plain_ones_makes_a_value() -> None:
    for place in range(4):
        operands: list[Any] = [1, 2.0, np.float32(3.0), True]
        operands[place] = x = Value(4.0)
        y = apply(OPS["sum"], *operands)
        assert isinstance(y, Value)
        y.backward()
        assert x.grad == 1.0


def test_primal_digs_to_the_float_at_the_bottom() -> None:
    seen = []

    def spy(x: Any) -> Any:
        seen.append(x)
        return x * x

    grad(grad(spy))(Value(3.0))
    assert type(seen[0].data) is not float
    assert primal(seen[0]) == 3.0
    assert primal(3) == 3.0


def test_an_op_is_made_of_its_row_alone() -> None:
    square = Op("square2", 1, lambda x: x * x, [lambda _y, x: 2.0 * x], [REAL])
    assert apply(square, 3) == 9.0
    assert "square2" not in OPS
    x = Value(3.0)
    apply(square, x).backward()
    assert x.grad == 6.0
