"""Recording: what stands in the graph, and what symbols do where numbers are expected."""

import math
import operator
import threading
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import Value
from gradloom.core import ops, table
from gradloom.core.ops import OPS
from gradloom.errors import LostGradientError, NotANumberError, RecordingError
from gradloom.loom import record as record_module
from gradloom.loom.record import Recording, Symbol, current, record


def test_every_operation_of_the_table_is_recorded_under_its_symbol() -> None:
    for op in OPS.values():
        arity = op.arity or 4
        numbers = [op.domain[i % len(op.domain)][0][0] for i in range(arity)]
        graph, _ = record(lambda *xs, op=op: table.apply(op, *xs), *numbers)
        assert str(graph).splitlines()[arity].startswith(f"%{arity} = {op.symbol} ")


def test_equal_constants_share_a_node_but_zeros_of_either_sign_do_not() -> None:
    graph, _ = record(lambda x: x * 2.0 + 2 + 0.0 * x + -0.0 * x, 1.0)
    assert [math.copysign(1.0, c) * (c + 1) for c in graph.constants] == [3.0, 1.0, -1.0]


def test_values_from_outside_are_parameters_once_each() -> None:
    w, v = Value(2.0), Value(3.0)
    graph, _ = record(lambda x: w * x + v * x + w, 1.0)
    assert graph.parameters == [w, v]


def test_arithmetic_among_values_alone_is_recorded_down_to_its_leaves() -> None:
    w = Value(2.0)
    penalty = (w * w + 1.0) * w
    graph, _ = record(lambda x: x + penalty + w * w, 1.0)
    assert graph.parameters == [w]
    assert sorted(line.split()[2] for line in str(graph).splitlines()[:-1]) == sorted(
        ["input", "parameter", "1.0", "*", "+", "*", "+", "*", "+"]
    )


OPERATORS = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod,
    operator.pow,
]  # fmt: skip
OPERANDS = [2.0, 2, 0.0, -0.0, 0, np.float64(3.0), Fraction(1, 2), 2**60, Value(2.0), math.nan]


@pytest.mark.parametrize("operate", OPERATORS)
@pytest.mark.parametrize("other", OPERANDS, ids=repr)
@pytest.mark.parametrize("of_values", [False, True], ids=["symbol", "value"])
def test_every_operator_records_what_the_eager_engine_computes(
    operate: Any, other: Any, of_values: bool
) -> None:
    w = Value(5.0)
    for both in ((w, other), (other, w)):
        wanted = operate(*both).data
        seen = []

        def f(x: Any, both: Any = both, seen: list[Any] = seen) -> Any:
            for _ in range(2):
                seen.append(operate(*[x if part is w and not of_values else part for part in both]))
            return seen[-1]

        graph, _ = record(f, 5.0)
        assert isinstance(seen[1], Symbol)
        for symbol in seen:
            np.testing.assert_equal(symbol._number, wanted)
        row = str(graph).splitlines()[-2].split()[2]
        assert OPS[row].evaluate is vars(ops)[NAMES[operate]].op.evaluate
        assert len(graph.constants) == (0 if isinstance(other, Value) else 1)


NAMES = {
    operator.add: "add", operator.sub: "sub", operator.mul: "mul", operator.truediv: "div",
    operator.floordiv: "floordiv", operator.mod: "mod", operator.pow: "pow",
}  # fmt: skip


@pytest.mark.parametrize("operate", OPERATORS)
@pytest.mark.parametrize("other", ["text", None, 1j, [2.0]], ids=repr)
def test_operators_refuse_what_is_no_number(operate: Any, other: Any) -> None:
    for f in (lambda x: operate(x, other), lambda x: operate(other, x)):
        with pytest.raises(TypeError):
            record(f, 5.5)


def test_arithmetic_on_values_inside_a_recording_makes_symbols_and_outside_values() -> None:
    w = Value(2.0)
    seen: list[Any] = []

    def elsewhere() -> None:
        seen.append(w * w)

    def f(x: Any) -> Any:
        seen.append(w * w + gl.exp(w))
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        return x

    record(f, 1.0)
    assert [type(y) for y in seen] == [Symbol, Value]
    assert type(w * w + gl.exp(w)) is Value


def test_a_long_chain_of_values_is_recorded_without_recursion() -> None:
    w = Value(1.0)
    chain = w
    for _ in range(20_000):
        chain = chain + w
    graph, _ = record(lambda x: x * chain, 1.0)
    assert len(graph) == 20_003


def test_a_comparison_is_a_symbol_and_a_guard_only_when_its_truth_is_asked() -> None:
    seen: list[Any] = []

    def f(x: Any) -> Any:
        seen.append(x > 1.0)
        unused = x < 3.0, x >= 1.0, x <= 2.0, x == 2.0, x != 2.0  # noqa: F841
        return x * (x > 1.0)

    graph, _ = record(f, 2.0)
    assert isinstance(seen[0], Symbol)
    assert graph.guards == []
    graph, _ = record(lambda x: x if x > 1.0 else -x, 2.0)
    assert [number for _, number in graph.guards] == [1.0]


@pytest.mark.parametrize("other", ["a", None, [1.0], 1j])
def test_what_is_no_number_is_not_equal_and_cannot_be_ordered(other: Any) -> None:
    graph, _ = record(lambda x: 1.0 if x == other else 2.0, 1.0)
    assert graph.constants == [2.0]
    with pytest.raises(TypeError):
        record(lambda x: x < other, 1.0)


def test_a_whole_number_is_one_guard_for_all_numbers_that_round_to_it() -> None:
    with Recording() as recording:
        x = recording.input(2.5)
        assert (int(x), math.floor(x), math.ceil(x), math.trunc(x)) == (2, 2, 3, 2)
    assert [number for _, number in recording.graph.guards] == [2.0, 2.0, 3.0, 2.0]


@pytest.mark.parametrize("number", [0.5, math.nan, math.inf])
def test_only_whole_numbers_count(number: float) -> None:
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        record(lambda n: [0.0] * n, number)


def test_lists_strings_and_tuples_repeat_by_a_symbol_on_either_side() -> None:
    def f(n: Any) -> Any:
        assert "ab" * n == "ababab"
        assert n * (1,) == (1, 1, 1)
        return n * [0.0]

    assert record(f, 3)[1] == [None] * 3


def test_plain_numbers_convert_and_values_do_not() -> None:
    w = Value(1.0)
    graph, _ = record(lambda x: w * float(x) + math.sin(x) + round(x, 1) + float(w.data), 2.0)
    assert len(graph.guards) == 4
    for convert in (float, int, round, math.floor, math.ceil, math.sin, complex):
        with pytest.raises(LostGradientError):
            record(lambda x, convert=convert: convert(w + x), 2.0)


def test_data_is_a_number_without_a_gradient() -> None:
    w = Value(3.0)
    compiled = gl.compile(lambda: w * w.data)
    y = compiled()
    y.backward()
    assert (y.data, w.grad) == (9.0, 3.0)


def test_what_hangs_on_data_alone_is_plain() -> None:
    w = Value(3.0)
    with Recording() as recording:
        symbol = recording.symbol(w)
        assert recording.is_value((symbol * 2.0)._node)
        assert not recording.is_value((symbol.data * 2.0 + 1.0)._node)
        assert not recording.is_value((symbol > 2.0)._node)


def test_a_symbol_is_one_number() -> None:
    with pytest.raises(TypeError, match="one number"):
        record(lambda x: sum(x), 1.0)  # noqa: PLW0108
    with pytest.raises(NotANumberError, match="it is a value already: use it as it is"):
        record(lambda x: Value(x), 1.0)  # noqa: PLW0108


def test_the_engine_is_as_before_when_no_recording_is_in_progress() -> None:
    slot = vars(Value)["data"]
    seen: list[Any] = []

    def f(x: Any) -> Any:  # noqa: ARG001
        seen.append((vars(Value)["data"] is slot, table.recorded is None, current() is None))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        record(f, 1.0)
    assert seen == [(False, False, False)]
    assert vars(Value)["data"] is slot
    assert table.recorded is None
    assert current() is None


def test_recordings_nest() -> None:
    w = Value(2.0)

    def outer(x: Any) -> Any:
        inner, _ = record(lambda y: y * w if w > 1.0 else y, 3.0)
        assert len(inner.guards) == 1
        return x * w

    graph, _ = record(outer, 1.0)
    assert graph.guards == []
    assert graph.parameters == [w]


def test_printing_shows_the_number_and_leaves_no_guard(capsys: Any) -> None:
    def f(x: Any) -> Any:
        print(x, np.isscalar(x))
        return x

    graph, _ = record(f, 2.0)
    assert capsys.readouterr().out == "Symbol(%0: 2.0) False\n"
    assert graph.guards == []


def test_a_number_that_became_text_is_guarded() -> None:
    graph, _ = record(lambda x: x * float(f"{x:.1f}"), 2.0)
    assert [number for _, number in graph.guards] == [2.0]
    rounded = gl.compile(lambda x: x * float(f"{x:.1f}"))
    assert [rounded(2.04), rounded(3.06)] == [2.04 * 2.0, 3.06 * 3.1]


def test_the_message_names_a_value_written_meanwhile() -> None:
    w = Value(2.0, label="w")

    def f(x: Any) -> Any:
        w.data = 5.0
        return x

    with pytest.raises(RecordingError, match=r"label='w'\) was changed while"):
        record(f, 1.0)
    assert w.data == 2.0


@pytest.mark.parametrize("times", [0, 1])
def test_the_class_of_values_is_changed_no_more_often_than_the_interpreter_bears(
    times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_module._outside, "TIMES", times)
    monkeypatch.setattr(record_module._outside, "times", 0)
    seen: list[object] = []

    def look(x: Any) -> Any:
        seen.append(vars(Value)["data"])
        return x

    for _ in range(2):
        record(look, 1.0)
    assert [isinstance(found, property) for found in seen] == [times == 1, False]
    assert not isinstance(vars(Value)["data"], property)
