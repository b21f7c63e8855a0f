"""compile: what the plain function gives, and every trap that a user might fall into."""

import copy
import inspect
import math
import pickle
import random
import threading
import warnings
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import Value, nn
from gradloom.errors import (
    ArgumentError,
    LostGradientError,
    NotANumberError,
    RecordingError,
    RecordingWarning,
)


def added(xs: Any) -> Any:
    """The sum one by one; Python's own `sum` of floats compensates its rounding from 3.12 on."""
    total: Any = 0
    for x in xs:
        total = total + x
    return total


def agree(f: Callable[..., Any], *calls: tuple[Any, ...]) -> gl.Compiled:
    """Each call gives the same, compiled and plain, both when recorded and when replayed."""
    compiled = gl.compile(f)
    for _ in range(2):
        for args in calls:
            assert numbers(compiled(*args)) == numbers(f(*args))
    return compiled


def numbers(x: Any) -> Any:
    """The result with values as marked numbers."""
    if isinstance(x, list | tuple):
        return type(x), [numbers(part) for part in x]
    if isinstance(x, dict):
        return {key: numbers(part) for key, part in x.items()}
    return ("value", x.data) if isinstance(x, Value) else x


class Counted:
    """A function that counts how often it really runs."""

    def __init__(self, f: Callable[..., Any]) -> None:
        self.f = f
        self.runs = 0
        self.__name__ = "counted"

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.runs += 1
        return self.f(*args, **options)


# What goes in


def test_a_function_runs_once_and_is_replayed_with_other_numbers() -> None:
    plain = Counted(lambda x, y: x * y + gl.sin(x))
    compiled = gl.compile(plain)
    for x in (0.5, 1.5, -2.0):
        assert compiled(x, 3.0) == pytest.approx(x * 3.0 + math.sin(x), rel=1e-15)
    assert plain.runs == 1
    assert compiled.cache_info() == (2, 1, 64, 1)


def test_lists_tuples_dicts_and_named_tuples_go_in_and_come_out() -> None:
    point = namedtuple("point", "x y")

    def f(a: Any) -> Any:
        x, y = a["p"]
        return {"sum": x + y, "both": (a["list"][0] * x, [y]), "p": point(y, x)}

    compiled = agree(
        f, ({"p": point(1.0, 2.0), "list": [3.0]},), ({"p": point(4, 5), "list": [6]},)
    )
    result = compiled({"p": point(1.0, 2.0), "list": [3.0]})
    assert result["p"].x == 2.0
    assert compiled.cache_info().currsize == 1


def test_arrays_are_arrays_inside_and_outside() -> None:
    def f(x: Any) -> Any:
        assert x.shape == (2, 3)
        return {"scaled": x * 2, "entry": x[1, 2], "row": x.sum(axis=0), "product": x @ x.T}

    x = np.arange(6.0).reshape(2, 3)
    compiled = gl.compile(f)
    compiled(x)
    result = compiled(x + 1)
    for name, wanted in f(x + 1).items():
        np.testing.assert_array_equal(result[name], wanted)
    assert isinstance(result["row"], np.ndarray)
    assert result["row"].dtype == np.float64
    assert compiled.cache_info().misses == 1


def test_a_new_structure_or_shape_records_anew() -> None:
    plain = Counted(lambda xs: sum(xs) / len(xs))
    compiled = gl.compile(plain)
    for xs in ([1.0], [1.0, 2.0], (1.0, 2.0), np.ones(2), np.ones(3), [3.0, 4.0]):
        assert compiled(xs) == sum(xs) / len(xs)
    assert plain.runs == 5
    assert len(compiled.programs) == 5


def test_what_is_no_number_is_part_of_the_key() -> None:
    def f(x: float, how: str, *, twice: bool = False, activation: Any = None) -> Any:
        y = x + 1 if how == "plus" else x * 10
        y = activation(y) if activation else y
        return 2 * y if twice else y

    compiled = gl.compile(f)
    for _ in range(2):
        assert compiled(1.0, "plus") == 2.0
        assert compiled(1.0, "times") == 10.0
        assert compiled(1.0, "plus", twice=True) == 4.0
        assert compiled(1.0, how="plus", activation=gl.square) == 4.0
    assert compiled.cache_info().misses == 4


def test_true_is_not_one() -> None:
    compiled = gl.compile(lambda x: 5.0 if x is True else x + 1)
    assert [compiled(True), compiled(1), compiled(1.0), compiled(True)] == [5.0, 2.0, 2.0, 5.0]


def test_the_structure_used_longest_ago_is_forgotten() -> None:
    compiled = gl.compile(sum, cache_size=2)
    for xs in ([1.0], [1.0] * 2, [1.0], [1.0] * 3, [1.0]):
        compiled(xs)
    assert compiled.cache_info() == (2, 3, 2, 2)
    compiled([1.0] * 2)
    assert compiled.cache_info().misses == 4


def test_clear_forgets_and_reads_the_outside_again() -> None:
    outside = {"scale": 2.0}
    compiled = gl.compile(lambda x: x * outside["scale"])
    assert compiled(3.0) == 6.0
    outside["scale"] = 5.0
    compiled.clear()
    assert compiled.cache_info() == (0, 0, 64, 0)
    assert compiled(3.0) == 15.0


def test_there_is_no_program_before_the_first_call() -> None:
    compiled = gl.compile(lambda x: x)
    assert compiled.programs == []
    with pytest.raises(RecordingError, match="has not been recorded; call it first"):
        compiled.program  # noqa: B018


def test_no_arguments_and_no_numbers_are_fine() -> None:
    w = Value(2.0)
    compiled = gl.compile(lambda: w * w)
    assert compiled().data == 4.0
    w.data = 3.0
    assert compiled().data == 9.0
    assert agree(lambda: [], ())() == []
    assert agree(lambda x: (), (1.0,))(2.0) == ()  # noqa: ARG005


def test_a_module_is_an_argument() -> None:
    first, second = nn.MLP(2, [3, 1], seed=1), nn.MLP(2, [3, 1], seed=2)
    compiled = gl.compile(lambda model, x: model(x))
    for _ in range(2):
        for model in (first, second):
            assert compiled(model, [1.0, 2.0]).data == pytest.approx(model([1.0, 2.0]).data)
    assert compiled.cache_info().misses == 2


def test_a_method_can_be_compiled() -> None:
    class Line(nn.Module):
        def __init__(self, slope: float) -> None:
            self.slope = nn.Parameter(slope)

        @gl.compile
        def __call__(self, x: Any) -> Any:
            return self.slope * x

    two, three = Line(2.0), Line(3.0)
    assert [two(1.0).data, three(1.0).data, two(5.0).data] == [2.0, 3.0, 10.0]


def test_a_compiled_function_keeps_name_and_docstring() -> None:
    @gl.compile
    def area(r: float) -> float:
        """Of a circle."""
        return 3.0 * r * r

    assert area.__name__ == "area"
    assert area.__doc__ == "Of a circle."
    assert list(inspect.signature(area).parameters) == ["r"]
    assert "area" in repr(area)
    assert copy.deepcopy(area)(1.0) == 3.0


def test_options_are_checked() -> None:
    with pytest.raises(ArgumentError, match="cache_size must be a whole number from 1 on, got 0"):
        gl.compile(abs, cache_size=0)
    with pytest.raises(ArgumentError, match="compile needs a function, got 3"):
        gl.compile(3)  # type: ignore[call-overload]


# What comes out


def test_plain_numbers_give_plain_numbers_and_values_give_values() -> None:
    w = Value(2.0)
    compiled = agree(lambda x: [x + 1, w * x, w.data * x, x > 2, 7, True, w], (1.0,), (3.0,))
    plain, value, data, truth, constant, flag, parameter = compiled(3.0)
    assert type(plain) is type(data) is float
    assert isinstance(value, Value)
    assert isinstance(parameter, Value)
    assert truth is True
    assert type(constant) is int
    assert flag is True


@pytest.mark.parametrize(
    ("f", "shown"),
    [
        (lambda x: {"a": [x, "b"]}, r"the result\['a'\]\[1\] of .* is str 'b'"),
        (lambda x: None, "the result of .* is None"),  # noqa: ARG005
        (lambda x: (y for y in [x]), "the result of .* is generator"),
        (lambda x: {x}, "the result of .* is set"),
        (lambda x: np.array([x, "b"], dtype=object), r"the result\[1\] of .* is str 'b'"),
    ],
)
def test_a_result_that_is_not_made_of_numbers_is_named(f: Any, shown: str) -> None:
    with pytest.raises(NotANumberError, match=shown):
        gl.compile(f)(1.0)


# Gradients


def network_loss(model: Any) -> Callable[..., Any]:
    def loss(xs: Any, ys: Any) -> Any:
        scores = [model(x) for x in xs]
        data = sum((1 - y * s).relu() for s, y in zip(scores, ys, strict=True)) / len(ys)
        return data + 1e-3 * sum(p * p for p in model.parameters())

    return loss


def test_training_compiled_is_training_eager() -> None:
    rng = random.Random(1)
    xs = [[rng.gauss(0, 1), rng.gauss(0, 1)] for _ in range(8)]
    ys = [rng.choice([-1.0, 1.0]) for _ in range(8)]
    models = nn.MLP(2, [4, 4, 1], seed=3), nn.MLP(2, [4, 4, 1], seed=3)
    losses = gl.compile(network_loss(models[0])), network_loss(models[1])
    for _ in range(5):
        totals = []
        for model, loss in zip(models, losses, strict=True):
            total = loss(xs, ys)
            model.zero_grad()
            total.backward()
            totals.append(total.data)
            for p in model.parameters():
                p.data -= 0.1 * p.grad
        assert totals[0] == pytest.approx(totals[1], rel=1e-12)
    for p, q in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert p.data == pytest.approx(q.data, rel=1e-12)


def test_gradients_add_up_over_calls_and_passes() -> None:
    w = Value(3.0)
    compiled = gl.compile(lambda x: w * x)
    y = compiled(2.0)
    y.backward()
    y.backward()
    compiled(5.0).backward()
    assert w.grad == 9.0


def test_a_result_computes_on_like_any_value() -> None:
    w, b = Value(3.0), Value(1.0)
    compiled = gl.compile(lambda x: [w * x, w * w])
    first, second = compiled(2.0)
    total = (first * second + b * first).tanh() * 1e3
    total.backward()
    got = w.grad, b.grad
    w.grad = b.grad = 0.0
    first, second = w * 2.0, w * w
    ((first * second + b * first).tanh() * 1e3).backward()
    assert got == pytest.approx((w.grad, b.grad))


def test_values_as_arguments_get_their_gradient_through_all_that_made_them() -> None:
    a, w = Value(2.0), Value(5.0)
    compiled = gl.compile(lambda xs, k: k * w * xs[0] * xs[0] + xs[1])
    for _ in range(2):
        a.grad = w.grad = 0.0
        inner = a * 3.0
        compiled([inner, inner], 2.0).backward()
        assert a.grad == 2.0 * 5.0 * 2 * 6.0 * 3.0 + 3.0
        assert w.grad == 2.0 * 36.0
        assert inner.grad == 121.0


def test_results_of_one_compiled_function_go_into_another() -> None:
    w = Value(2.0)
    first = gl.compile(lambda x: w * x)
    second = gl.compile(lambda y: y * y * w)
    second(first(3.0)).backward()
    assert w.grad == 3 * w.data**2 * 9.0


def test_the_same_number_returned_twice_gets_both_gradients() -> None:
    w = Value(2.0)
    a, b, c = gl.compile(lambda x: [w * x] * 2 + [w])(3.0)
    (a + 10.0 * b + 100.0 * c).backward()
    assert w.grad == 133.0


def test_a_result_that_nothing_reaches_blocks_nothing() -> None:
    """At 0 the square root has slope inf, and inf · 0 would be nan."""
    w = Value(0.0)
    root, double = gl.compile(lambda: [gl.sqrt(w), 2.0 * w])()
    double.backward()
    assert w.grad == 2.0
    assert root.data == 0.0


def test_what_only_a_guard_reads_adds_nothing_to_the_gradient() -> None:
    w = Value(0.0)
    compiled = gl.compile(lambda x: w * x if gl.sqrt(w) < 1.0 else x)
    compiled(3.0).backward()
    assert w.grad == 3.0


def test_the_gradient_is_that_of_the_call_even_if_parameters_have_moved_since() -> None:
    w = Value(3.0)
    compiled = gl.compile(lambda: w * w)
    y = compiled()
    w.data = 100.0
    y.backward()
    assert w.grad == 6.0


def test_parameters_may_be_packed_between_calls() -> None:
    inner = nn.MLP(2, [3, 1], seed=0)
    compiled = gl.compile(inner)
    inner.pack()
    compiled([1.0, 2.0]).backward()
    outer = nn.Module()
    outer.first, outer.second = nn.Neuron(2), inner
    inner.zero_grad()
    outer.pack()
    inner.parameters()[0].data += 1.0
    total = compiled([1.0, 2.0])
    assert total.data == pytest.approx(inner([1.0, 2.0]).data)
    total.backward()
    got = [p.grad for p in inner.parameters()]
    inner.zero_grad()
    inner([1.0, 2.0]).backward()
    assert got == pytest.approx([p.grad for p in inner.parameters()])


def test_a_result_can_be_copied_and_pickled_with_its_graph() -> None:
    w = Value(3.0)
    y = gl.compile(lambda x: w * x)(2.0) * 5.0
    for again in (copy.deepcopy(y), pickle.loads(pickle.dumps(y))):
        again.backward()
        assert again.data == 30.0
    assert w.grad == 0.0


def test_derivatives_of_a_compiled_function_are_those_of_the_plain_one() -> None:
    def f(v: Any) -> Any:
        return v[0] ** 2 * v[1] + gl.sin(v[1])

    compiled, at = gl.compile(f), [3.0, 5.0]
    np.testing.assert_allclose(gl.grad(compiled)(at), gl.grad(f)(at), rtol=1e-12)
    np.testing.assert_allclose(gl.hessian(compiled)(at), gl.hessian(f)(at), rtol=1e-12)
    np.testing.assert_allclose(gl.compile(gl.grad(f))(at), gl.grad(f)(at), rtol=1e-12)
    np.testing.assert_allclose(gl.compile(gl.grad(gl.grad(gl.compile(gl.exp))))(1.0), math.e)


def test_compiled_pieces_inside_a_compiled_function_are_part_of_it() -> None:
    w = Value(2.0)
    inner = gl.compile(lambda x: w * x)
    penalty = gl.compile(lambda: w * w)
    outer = gl.compile(lambda x: inner(x) + penalty())
    total = outer(3.0)
    total.backward()
    assert (total.data, w.grad) == (10.0, 7.0)
    assert inner.cache_info().misses == penalty.cache_info().misses == 0


# Never silently stale


def test_a_branch_on_an_argument_is_recorded_on_both_sides() -> None:
    compiled = agree(lambda x: x * 2 if x > 1 else x - 3, (0.5,), (2.0,), (1.0,), (7.0,))
    assert compiled.cache_info().misses == 2


def test_a_branch_on_a_parameter_is_recorded_on_both_sides() -> None:
    w = Value(1.0)
    compiled = gl.compile(lambda x: x + w if w > 0 else x - w)
    assert compiled(1.0).data == 2.0
    w.data = -5.0
    assert compiled(1.0).data == 6.0
    w.data = 2.0
    assert compiled(1.0).data == 3.0
    assert compiled.cache_info().misses == 2


@pytest.mark.parametrize(
    "look",
    [
        bool,
        lambda w: w == 0.0,
        lambda w: w != 0.0,
        lambda w: w * w <= 1.0,
        lambda w: not w,
        lambda w: w in (0.0, 1.0),
        lambda w: max(w, 0.5) is w,
        lambda w: sorted([w, 0.5 * w + 0.1])[0] is w,
        lambda w: w.data > 0.5,
        lambda w: float(w.data) > 0.5,
        lambda w: int(w.data) == 1,
        lambda w: math.floor(w.data) == 0,
        lambda w: round(w.data) == 1,
        lambda w: math.isclose(w.data, 1.0),
        lambda w: w.data in {0.0, 1.0},
    ],
)
@pytest.mark.parametrize("how", ["parameter", "argument", "computed"])
def test_every_way_to_look_at_a_value_is_guarded(look: Any, how: str) -> None:
    w = Value(0.0)

    def f(x: Any) -> Any:
        looked = {"parameter": w, "argument": x, "computed": w * 1.0}[how]
        return x * 2.0 if look(looked) else x + 100.0

    compiled = gl.compile(f)
    for number in (0.0, 1.0, -3.0, 1.0, 0.0, 0.25):
        w.data = number
        x = Value(number)
        assert compiled(x).data == f(x).data


def test_an_argument_that_counts_or_indexes_is_guarded() -> None:
    def f(xs: Any, n: int) -> Any:
        total = [0.0] * n
        for i in range(n):
            total[i] += xs[i] * n
        return [*total, xs[n - 1], *list(xs[:n])]

    compiled = agree(f, ([1.0, 2.0, 3.0], 2), ([1.0, 2.0, 3.0], 3), ([4.0, 5.0, 6.0], 2))
    assert compiled.cache_info().misses == 2


def test_a_key_of_a_dict_is_guarded() -> None:
    agree(lambda x, k: x + {1: 10.0, 2: 20.0}[k], (1.0, 1), (1.0, 2), (3.0, 1))


def test_functions_of_math_follow_the_number() -> None:
    agree(lambda x: math.exp(x) + x, (1.0,), (2.0,))


def test_float_of_a_value_is_refused_as_in_plain_code() -> None:
    w = Value(1.0)
    for look in (float, int, math.exp, math.floor, round):
        with pytest.raises(LostGradientError):
            gl.compile(lambda x, look=look: look(w * x))(1.0)


def test_a_loop_until_convergence_follows_the_numbers() -> None:
    def root(x: Any) -> Any:
        y = x
        while abs(y * y - x) > 1e-12:
            y = 0.5 * (y + x / y)
        return y

    compiled = agree(root, (2.0,), (9.0,), (1e6,), (2.5,))
    assert 1 < compiled.cache_info().misses <= 4


def test_a_condition_in_where_needs_no_guard() -> None:
    w = Value(1.0)
    compiled = gl.compile(lambda x: gl.where(x > w, x * w, -x) + gl.where(w == 1.0, 1.0, 0.0))
    assert [compiled(0.5).data, compiled(2.0).data] == [0.5, 3.0]
    w.data = 3.0
    assert compiled(2.0).data == -2.0
    assert compiled.cache_info().misses == 1


def test_counting_hits_needs_no_guard() -> None:
    compiled = agree(lambda xs: sum(x > 0 for x in xs) / len(xs), ([1.0, -1.0],), ([1.0, 2.0],))
    assert compiled.cache_info().misses == 1


def test_too_many_paths_warn_with_the_line_and_the_remedy_and_stay_correct() -> None:
    def f(x: Any) -> Any:
        return x + math.exp(x)

    plain = Counted(f)
    compiled = gl.compile(plain, max_paths=3)
    for i in range(3):
        assert compiled(float(i)) == f(float(i))
    line = inspect.getsourcelines(f)[1] + 1
    with pytest.warns(RecordingWarning, match=rf"{__file__}:{line}; .*gl.exp\(x\), not math.exp"):
        assert compiled(3.0) == f(3.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compiled(4.0) == f(4.0)
        assert compiled(0.0) == f(0.0)
    assert plain.runs == 6


@pytest.mark.parametrize(
    ("f", "remedy"),
    [
        (lambda xs: max(xs) + max(xs), "gl.max"),
        (lambda xs: min(xs) + min(xs), "gl.min"),
        (lambda xs: sorted(xs)[0], "gl.max, gl.min or gl.logsumexp"),
        (lambda xs: xs[0] if xs[0] > xs[1] else xs[1], "gl.where"),
        (lambda xs: [0.0] * 9 + [xs[int(gl.floor(xs[0]))]], "gl.take"),
    ],
)
def test_the_remedy_fits_the_line(f: Any, remedy: str) -> None:
    compiled = gl.compile(f, max_paths=1)
    compiled([0.0, 1.0, 2.0])
    with pytest.warns(RecordingWarning, match=remedy):
        compiled([2.0, 1.0, 0.0])


def test_after_giving_up_gradients_still_flow() -> None:
    w = Value(2.0)
    compiled = gl.compile(lambda x: w * x * float(x), max_paths=1)
    compiled(1.0)
    with pytest.warns(RecordingWarning):
        compiled(2.0).backward()
    assert w.grad == 4.0


def test_random_numbers_are_reported() -> None:
    with pytest.warns(RecordingWarning, match="drew random numbers while it was recorded"):
        gl.compile(lambda x: x + random.random())(1.0)
    with pytest.warns(RecordingWarning, match="pass them as arguments"):
        gl.compile(lambda x: x + np.random.rand())(1.0)


def test_a_value_kept_from_a_recording_cannot_be_used() -> None:
    kept: list[Any] = []

    @gl.compile
    def f(x: Any) -> Any:
        kept.append(x * 2)
        return x

    f(1.0)
    for use in (
        lambda s: s + 1,
        lambda s: 1.0 - s,
        lambda s: s * s,
        lambda s: s > 0,
        lambda s: s.data,
        float,
        bool,
        range,
        lambda s: Value(1.0) * s,
        lambda s: gl.compile(lambda x: x + s)(1.0),
        lambda s: gl.grad(lambda x: x * s)(1.0),
    ):
        with pytest.raises(RecordingError, match="recording that has ended"):
            use(kept[0])


def test_a_value_of_a_recording_around_cannot_be_read_inside_another() -> None:
    from gradloom.loom.record import record

    with pytest.raises(RecordingError, match="belongs to another recording"):
        record(lambda x: record(lambda y: x * y, 2.0)[0].outputs, 1.0)


def test_a_result_computed_outside_by_another_compiled_function_is_refused_inside() -> None:
    w = Value(2.0)
    outside = gl.compile(lambda x: w * x)(1.0) + 1.0
    with pytest.raises(RecordingError, match="result of another compiled function"):
        gl.compile(lambda x: x * outside)(1.0)


def test_backward_inside_says_where_it_belongs() -> None:
    w = Value(2.0)
    with pytest.raises(RecordingError, match=r"call it on the result .* or use gradloom.grad"):
        gl.compile(lambda x: (w * x).backward())(1.0)


def test_changing_a_parameter_inside_is_an_error() -> None:
    w = Value(2.0, label="w")

    def step(x: Any) -> Any:
        y = w * x
        w.data -= 0.5
        return y

    with pytest.raises(RecordingError, match=r"label='w'.* changed while a function"):
        gl.compile(step)(1.0)


def test_a_gradient_from_outside_is_an_argument_or_an_error() -> None:
    w = Value(2.0)
    with pytest.raises(RecordingError, match=r"the gradient of .* pass it to the function"):
        gl.compile(lambda x: x * w.grad)(1.0)
    with pytest.raises(RecordingError, match=r"the grad of .* was changed"):
        gl.compile(lambda x: setattr(w, "grad", x))(1.0)
    assert gl.compile(lambda x, g: w.detach() * x * g)(1.0, w.grad).data == 0.0


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
@pytest.mark.parametrize("make", [lambda: Value(2.0), lambda: nn.MLP(1, [1]).parameters()[0]])
def test_a_copy_of_a_value_from_outside_is_an_error(
    again: Callable[[Any], Any], make: Callable[[], Value]
) -> None:
    w = make()
    with pytest.raises(RecordingError, match="copied or pickled while a function was recorded"):
        gl.compile(lambda x: x * again(w))(1.0)


# What bad input gets


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda a: a["xs"].append(1.0), r"argument 'a'\['xs'\]"),
        (lambda a: a["xs"].sort(), r"argument 'a'\['xs'\]"),
        (lambda a: a["xs"].__setitem__(0, 5.0), r"argument 'a'\['xs'\]"),
        (lambda a: a.update(new=1.0), "argument 'a'"),
        (lambda a: a["array"].__setitem__(1, 5.0), r"argument 'a'\['array'\]"),
    ],
)
def test_an_argument_changed_in_place_is_named(change: Any, where: str) -> None:
    def f(a: Any) -> Any:
        change(a)
        return a["array"][0]

    given = {"xs": [3.0, 2.0], "array": np.array([1.0, 2.0])}
    with pytest.raises(RecordingError, match=f"f changed {where} in place .* change a copy"):
        gl.compile(f)(given)
    assert given["xs"] == [3.0, 2.0]


@pytest.mark.parametrize("make", [iter, lambda xs: (x for x in xs), lambda xs: map(abs, xs), zip])
def test_what_can_be_read_only_once_is_refused(make: Any) -> None:
    def f(k: float, xs: Any) -> Any:
        return k + sum(xs)

    for bad in (make([1.0, 2.0]), [make([1.0, 2.0])]):
        with pytest.raises(ArgumentError, match=r"f: argument 'xs'.*read only once; pass a list"):
            gl.compile(f)(1.0, bad)


def test_what_is_not_hashable_is_named() -> None:
    def f(x: Any, options: Any) -> Any:
        return x * len(options)

    with pytest.raises(ArgumentError, match=r"argument 'options' is of type set, .* hashable"):
        gl.compile(f)(1.0, {1, 2})
    with pytest.raises(ArgumentError, match=r"argument 'options'\[1\]\['a'\] is of type bytearray"):
        gl.compile(f)(1.0, [1.0, {"a": bytearray(b"a")}])
    with pytest.raises(ArgumentError, match="argument 'options' is of type set"):
        gl.compile(f)(1.0, options={1})


def test_what_the_function_raises_comes_through_and_nothing_is_kept() -> None:
    def f(x: Any) -> Any:
        if x < 0:
            raise ValueError("negative")
        return x

    compiled = gl.compile(f)
    assert compiled(1.0) == 1.0
    with pytest.raises(ValueError, match="negative"):
        compiled(-1.0)
    assert compiled(2.0) == 2.0
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        compiled()
    with pytest.raises(ZeroDivisionError):
        gl.compile(lambda: 1 / 0)()
    assert Value(1.0) > 0.5  # no recording is left in progress


def test_a_number_on_the_brink_adds_no_path_twice() -> None:
    """Summed in another order, numbers may fall on the other side of Python's sum."""
    rng = random.Random(0)
    xs = [rng.random() for _ in range(50)]
    f = lambda xs, t: 1.0 if added(xs) > t else 2.0  # noqa: E731
    loose, strict = gl.compile(f), gl.compile(f, strict=True)
    for t in (math.nextafter(added(xs), 0.0), added(xs), math.nextafter(added(xs), 99.0)):
        for _ in range(4):
            loose(xs, t)
            assert strict(xs, t) == f(xs, t)
    assert len(loose.programs) <= 2
    assert strict.cache_info().misses == 2


def test_strict_keeps_the_last_bit() -> None:
    rng = random.Random(0)
    xs = [rng.gauss(0.0, 1.0) for _ in range(100)]
    f = lambda xs: added(x * x / 3.0 for x in xs) - gl.sqrt(added(gl.square(x) for x in xs))  # noqa: E731
    assert gl.compile(f, strict=True)(xs) == f(xs)


# take


def test_take_looks_up_without_a_guard_and_hands_on_the_gradient() -> None:
    table = [[Value(10.0 * i + j) for j in range(3)] for i in range(4)]
    compiled = gl.compile(lambda i: sum(gl.take(table, i)))
    for i in (2, 0, 3):
        total = compiled(i)
        total.backward()
        assert total.data == 30.0 * i + 3.0
    assert [row[0].grad for row in table] == [1.0, 0.0, 1.0, 1.0]
    assert compiled.cache_info().misses == 1


def test_take_of_an_infinite_entry_does_not_disturb_the_others() -> None:
    compiled = gl.compile(lambda i: gl.take([1.0, math.inf, math.nan], i))
    assert [compiled(0), compiled(1), compiled(0)] == [1.0, math.inf, 1.0]
    assert math.isnan(compiled(2))


@pytest.mark.parametrize("index", [-1, 3, 0.5, math.nan, math.inf])
def test_take_out_of_range_names_the_index(index: float) -> None:
    compiled = gl.compile(lambda i: gl.take([1.0, 2.0, 3.0], i))
    assert compiled(1) == 2.0
    for f in (compiled, lambda i: gl.take([1.0, 2.0, 3.0], i), gl.compile(compiled)):
        with pytest.raises(ArgumentError, match=rf"index {index:g} is out of range.* 0 to 2"):
            f(index)
    with pytest.raises(NotANumberError):
        gl.take([1.0], "a")


# Threads and processes


def test_threads_record_and_replay_at_once() -> None:
    w = Value(2.0)
    compiled = gl.compile(lambda xs: sum(w * x if x > 0 else x for x in xs))
    other = Value(3.0)
    failures: list[Any] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(60):
            xs = [rng.choice([-1.0, 1.0]) * rng.random() for _ in range(rng.randrange(1, 4))]
            wanted = sum(2.0 * x if x > 0 else x for x in xs)
            got = gl.detach(compiled(xs))
            if abs(getattr(got, "data", got) - wanted) > 1e-12 or not other > 2.5:
                failures.append((xs, got, wanted))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_recording_in_one_thread_does_not_see_the_comparisons_of_another() -> None:
    w = Value(2.0)
    inside, compared = threading.Event(), threading.Event()
    seen: list[Any] = []

    def elsewhere() -> None:
        inside.wait()
        seen.append(w > 1.0)
        compared.set()

    def f(x: Any) -> Any:
        inside.set()
        compared.wait()
        return x * w

    thread = threading.Thread(target=elsewhere)
    thread.start()
    compiled = gl.compile(f)
    compiled(1.0)
    thread.join()
    assert seen == [True]
    assert compiled.program.guards == []


def test_a_compiled_function_pickles_as_its_programs() -> None:
    w = Value(2.0)
    compiled = gl.compile(lambda x: w * x if x > 0 else -x)
    compiled(1.0)
    compiled(-1.0)
    again = pickle.loads(pickle.dumps(compiled))
    assert again(3.0).data == 6.0
    assert again(-3.0) == 3.0
    assert len(again.programs) == 2
    with pytest.raises(RecordingError, match="none of them is for these arguments"):
        again([3.0])
    kept, both = pickle.loads(pickle.dumps((w, compiled)))
    both(5.0).backward()
    assert (kept.grad, w.grad) == (5.0, 0.0)
