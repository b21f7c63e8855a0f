"""Derivatives of functions, nested to any order, by both modes."""

import cmath
import functools
import itertools
import math
import threading
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as hs

import gradloom as gl
import strategies as st
from gradloom import (
    Value,
    exp,
    grad,
    hessian,
    hvp,
    jacobian,
    jvp,
    sin,
    tanh,
    value_and_grad,
    vjp,
)
from gradloom.errors import ArgumentError, GradloomError, NotANumberError, ShapeError

ELEMENTARY = types.SimpleNamespace(
    **{name: getattr(gl, name) for name in ("tanh", "sin", "exp", "log", "sqrt")}
)


def forward(f: Callable[..., Any]) -> Callable[[Any], Any]:
    """The derivative of a function of one number by forward mode."""
    return lambda x: jvp(f, (x,), (1.0,))[1]


def by_graph(f: Callable[..., Any]) -> Callable[[Any], Any]:
    """The derivative of a function of one number by a graph of values."""

    def derivative(x: Any) -> float:
        leaf = Value(x)
        f(leaf).backward()
        return leaf.grad

    return derivative


MODES = {"reverse": grad, "forward": forward}


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("modes", list(itertools.product(MODES, repeat=4)), ids="-".join)
def test_modes_nest_in_any_mixture_to_the_fourth_order(order: int, modes: tuple[str, ...]) -> None:
    def f(x: Any) -> Any:
        return sin(x) * exp(0.5 * x) + x**5

    # sin(x) e^(x/2) = Im e^((1/2 + i) x), so its nth derivative is Im (1/2 + i)^n e^((1/2 + i) x)
    x = 0.7
    rate = complex(0.5, 1.0)
    expected = (rate**order * cmath.exp(rate * x)).imag
    expected += math.perm(5, order) * x ** (5 - order)
    derivative: Callable[..., Any] = f
    for mode in modes[:order]:
        derivative = MODES[mode](derivative)
    assert derivative(x) == pytest.approx(expected, rel=1e-12)


def test_a_graph_of_values_can_be_the_outermost_or_the_only_derivative() -> None:
    def f(x: Any) -> Any:
        return x**4 + sin(x)

    for inner in MODES.values():
        assert by_graph(inner(f))(0.5) == pytest.approx(12 * 0.25 - math.sin(0.5))
        second = by_graph(inner(MODES["reverse"](f)))
        assert second(0.5) == pytest.approx(24 * 0.5 - math.cos(0.5))
    assert by_graph(f)(0.5) == grad(f)(0.5)


# Perturbation confusion (Siskind and Pearlmutter, 2005)

PAIRS = [*itertools.product(["reverse", "forward", "graph"], ["reverse", "forward"])]
ALL = {**MODES, "graph": by_graph}


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
def test_perturbations_are_not_confused(outer: str, inner: str) -> None:
    d_outer, d_inner = ALL[outer], ALL[inner]
    assert d_outer(lambda x: x * d_inner(lambda y: x + y)(1.0))(1.0) == 1.0
    assert d_outer(lambda x: x * d_inner(lambda _: x)(1.0))(1.0) == 0.0
    assert d_outer(lambda x: d_inner(lambda y: x * y)(2.0))(5.0) == 1.0
    assert d_outer(lambda x: x * d_inner(lambda y: x * y * y)(3.0))(2.0) == 24.0
    assert d_outer(lambda x: d_inner(lambda y: x * y)(x) * x)(3.0) == 6.0
    assert d_outer(lambda x: d_inner(lambda y: x**2 * y**3)(x))(2.0) == 12.0 * 2.0**3


@pytest.mark.parametrize("modes", list(itertools.product(MODES, repeat=3)), ids="-".join)
def test_perturbations_are_not_confused_three_deep(modes: tuple[str, ...]) -> None:
    a, b, c = (MODES[mode] for mode in modes)

    # d/dx [x d/dy [x y d/dz (x y z² )]] at y = x, z = y
    def of_x(x: Any) -> Any:
        def of_y(y: Any) -> Any:
            return x * y * c(lambda z: x * y * z**2)(y)  # 2 x² y³

        return x * b(of_y)(x)  # x · 6 x² y² = 6 x⁵

    assert a(of_x)(1.5) == pytest.approx(30 * 1.5**4)


def test_a_closure_over_an_outer_derivative_stays_a_constant_inside() -> None:
    seen = []

    def outer(x: Any) -> Any:
        inner = grad(lambda y: (x - y) ** 2)  # called twice, at two levels
        seen.append(inner(0.0) + inner(1.0))
        return inner(0.0) + inner(1.0)

    assert grad(outer)(3.0) == -4.0
    assert by_graph(outer)(3.0) == -4.0


def test_a_pullback_may_be_used_inside_another_derivative() -> None:
    y, pullback = vjp(lambda x: x**3, 2.0)
    assert y == 8.0
    assert grad(lambda t: pullback(t * t)[0])(3.0) == 12.0 * 6.0
    assert jvp(lambda t: pullback(t)[0], (1.0,), (1.0,)) == (12.0, 12.0)


# Values through derivatives


def test_the_derivative_at_a_value_is_a_value_with_a_graph() -> None:
    x, w = Value(2.0, label="x"), Value(3.0)
    slope = grad(lambda x: w * x**3)(x)
    assert isinstance(slope, Value)
    assert slope.data == 36.0
    slope.backward()
    assert (x.grad, w.grad) == (36.0, 12.0)


def test_values_held_by_the_function_get_their_gradient() -> None:
    w = Value(0.5)
    penalty = grad(lambda x: tanh(w * x))(2.0) ** 2  # as a gradient penalty does
    penalty.backward()
    expected = grad(lambda w: grad(lambda x: tanh(w * x))(2.0) ** 2)(0.5)
    assert w.grad == pytest.approx(expected)


def test_hessians_and_jacobians_at_values_are_values() -> None:
    v = [Value(2.0), Value(3.0)]
    h = hessian(lambda v: v[0] ** 3 * v[1])(v)
    assert [[e.data if isinstance(e, Value) else e for e in row] for row in h] == [
        [36.0, 12.0],
        [12.0, 0.0],
    ]
    h[0][0].backward()
    assert [x.grad for x in v] == [18.0, 12.0]
    jac = jacobian(lambda v: [v[0] * v[1], v[0], v[1]])(v)
    assert jac[0][0] == 3.0
    assert jac[1] == [1.0, 0.0]


# Structures


class Parameters(NamedTuple):
    """Named weights."""

    w: Any
    b: Any


def test_gradients_are_structured_like_the_argument() -> None:
    def f(p: Any) -> Any:
        return p["w"][0] * p["w"][1][0] + p["b"] ** 2

    found = grad(f)({"w": [2.0, (3.0,)], "b": 4})
    assert found == {"w": [3.0, (2.0,)], "b": 8.0}
    assert type(found["w"][1]) is tuple
    named = grad(lambda p: p.w * p.b)(Parameters(2.0, 3.0))
    assert named == Parameters(3.0, 2.0)
    assert type(named) is Parameters


def test_numpy_arrays_are_taken_as_nested_lists() -> None:
    a = np.array([[1.0, 2.0], [3.0, 4.0]])

    def f(m: Any) -> Any:
        return m[0][0] * m[1][1] - m[0][1] * m[1][0]

    assert grad(f)(a) == [[4.0, -3.0], [-2.0, 1.0]]
    assert value_and_grad(f)(a)[0] == -2.0
    assert hvp(f, a, np.eye(2)) == [[1.0, 0.0], [0.0, 1.0]]
    assert jacobian(lambda v: np.array([v[0] * v[1], v[0]]))(np.array([2.0, 3.0])) == [
        [3.0, 2.0],
        [1.0, 0.0],
    ]
    assert grad(lambda x: x * x)(np.array(3.0)) == grad(lambda x: x * x)(np.int64(3)) == 6.0


def test_whole_numbers_are_numbers() -> None:
    assert grad(lambda x: x**3)(2) == 12.0
    assert grad(lambda v: v[0] * v[1])([2, True]) == [1.0, 2.0]
    assert jvp(lambda x: x * x, (3,), (1,)) == (9.0, 6.0)


def test_a_result_that_does_not_depend_has_the_derivative_0() -> None:
    assert grad(lambda _: 3.0)(1.0) == 0.0
    assert grad(lambda _: 3)(1.0) == 0.0
    assert grad(lambda v: v[0])([1.0, 2.0]) == [1.0, 0.0]
    assert jvp(lambda _: 3.0, (1.0,), (1.0,)) == (3.0, 0.0)
    assert jacobian(lambda _: [1.0, 2.0])(1.0) == [0.0, 0.0]
    assert hessian(lambda v: v[0] + 0.0 * v[1])([1.0, 2.0]) == [[0.0, 0.0], [0.0, 0.0]]


def test_the_identity_has_the_derivative_1() -> None:
    assert grad(lambda x: x)(5.0) == 1.0
    assert jacobian(lambda v: v)([1.0, 2.0]) == [[1.0, 0.0], [0.0, 1.0]]
    assert jvp(lambda v: v, ([1.0, 2.0],), ([3.0, 4.0],)) == ([1.0, 2.0], [3.0, 4.0])
    assert vjp(lambda v: (v, v), 2.0)[1]((3.0, 4.0)) == (7.0,)


# argnums


def test_argnums_choose_the_arguments() -> None:
    def f(x: Any, y: Any, z: Any = 1.0) -> Any:
        return x * y**2 * z

    assert grad(f)(2.0, 3.0) == 9.0
    assert grad(f, 1)(2.0, 3.0) == 12.0
    assert grad(f, -1)(2.0, 3.0, 5.0) == 18.0
    assert grad(f, [1, 0])(2.0, 3.0) == (12.0, 9.0)
    assert grad(f, ())(2.0, 3.0) == ()
    assert grad(f, range(2))(2.0, 3.0) == (9.0, 12.0)
    assert grad(f, np.int64(1))(2.0, 3.0) == 12.0  # type: ignore[arg-type]
    assert value_and_grad(f, (0, 1))(2.0, 3.0) == (18.0, (9.0, 12.0))
    assert jacobian(lambda x, y: [x * y[0], y[1]], 1)(2.0, [3.0, 4.0]) == [[2.0, 0.0], [0.0, 1.0]]
    assert hessian(f, 1)(2.0, 3.0) == 4.0


def test_other_arguments_may_be_anything() -> None:
    def f(x: Any, name: str, *, power: Any = 1, flag: object = None) -> Any:
        assert (name, flag) == ("n", "f")
        assert type(power) is int
        return x**power

    assert grad(f)(3.0, "n", power=2, flag="f") == 6.0
    assert jacobian(f)(3.0, "n", power=2, flag="f") == 6.0
    assert hessian(f)(3.0, "n", power=2, flag="f") == 2.0


@pytest.mark.parametrize("wrong", [2, -3, [0, 2], (5,)])
def test_an_argument_that_is_not_there_is_named(wrong: Any) -> None:
    def area(x: Any, y: Any) -> Any:
        return x * y

    with pytest.raises(ArgumentError, match="area was called with 2 positional arguments"):
        grad(area, wrong)(1.0, 2.0)


@pytest.mark.parametrize("twice", [(0, 0), [1, -1], (-2, 0)])
def test_an_argument_named_twice_is_refused(twice: Any) -> None:
    with pytest.raises(ArgumentError, match="names an argument twice"):
        grad(lambda x, y: x * y, twice)(1.0, 2.0)


def test_jacobian_and_hessian_take_one_argument_only() -> None:
    for transform in (jacobian, hessian):
        with pytest.raises(ArgumentError, match=r"argnum=\[0, 1\] must be one"):
            transform(lambda x, y: x * y, [0, 1])(1.0, 2.0)  # type: ignore[arg-type]


def test_wrapped_functions_keep_their_name_and_doc() -> None:
    def area(x: Any) -> Any:
        """The area."""
        return x * x

    for transform in (grad, value_and_grad, jacobian, hessian):
        assert transform(area).__name__ == "area"
        assert transform(area).__doc__ == "The area."
    assert grad(functools.partial(lambda a, x: a * x * x, 3.0))(2.0) == 12.0
    assert grad(type("Square", (), {"__call__": lambda _, x: x * x})())(2.0) == 4.0


# Errors


@pytest.mark.parametrize(
    ("result", "described"),
    [
        (lambda x: [x, x], "a list of 2"),
        (lambda x: [[x, x]], "a list of 1 × 2"),
        (lambda x: {"a": x}, "a dict of 1"),
        (lambda x: (x,), "a tuple of 1"),
        (lambda x: np.array([x]), "a list of 1"),
    ],
)
def test_grad_of_more_than_one_number_says_so(result: Any, described: str) -> None:
    def f(x: Any) -> Any:
        return result(x)

    for attempt in (grad(f), value_and_grad(f), hessian(f), lambda x: hvp(f, x, 1.0)):
        with pytest.raises(ShapeError, match=f"f returned {described}: use jacobian"):
            attempt(1.0)


def test_a_function_that_forgets_to_return_is_told_so() -> None:
    for attempt in (grad, forward, jacobian):
        with pytest.raises(NotANumberError, match="did a function forget to return"):
            attempt(lambda _: None)(1.0)


@pytest.mark.parametrize("bad", ["a", None, 1j, [1.0, "a"], {1.0}])
def test_an_argument_that_is_no_number_is_refused(bad: Any) -> None:
    with pytest.raises(NotANumberError):
        grad(lambda x: x)(bad)


def test_structures_that_differ_are_both_described() -> None:
    _, pullback = vjp(lambda x: [x, 2.0 * x], 1.0)
    for wrong in (1.0, [1.0], (1.0, 1.0), [[1.0], 1.0]):
        with pytest.raises(ShapeError, match="structured like the result, a list of 2"):
            pullback(wrong)
    with pytest.raises(ShapeError, match=r"like the primals, a list of 1 × 2.* a list of 1 × 3"):
        jvp(lambda v: v[0], ([1.0, 2.0],), ([1.0, 2.0, 3.0],))
    with pytest.raises(ShapeError):
        jvp(lambda x: x, (1.0,), (1.0, 2.0))
    with pytest.raises(ShapeError):
        hvp(lambda v: v[0], [1.0, 2.0], [1.0])


def test_dicts_are_matched_by_key_in_any_order() -> None:
    def f(d: Any) -> Any:
        return {"p": d["a"] * 2.0, "q": d["b"] * 3.0}

    value, tangent = jvp(f, ({"a": 1.0, "b": 10.0},), ({"b": 0.0, "a": 1.0},))
    assert (value, tangent) == ({"p": 2.0, "q": 30.0}, {"p": 2.0, "q": 0.0})
    _, pullback = vjp(f, {"a": 1.0, "b": 10.0})
    assert pullback({"q": 1.0, "p": 0.0}) == ({"a": 0.0, "b": 3.0},)
    assert hvp(lambda d: d["a"] ** 2 * d["b"], {"a": 3.0, "b": 5.0}, {"b": 0.0, "a": 1.0}) == {
        "a": 10.0,
        "b": 6.0,
    }


def test_an_exception_in_the_function_comes_through_and_leaves_nothing_behind() -> None:
    def broken(x: Any) -> Any:
        raise KeyError(str(x.data))

    for attempt in (grad, forward, jacobian, hessian):
        with pytest.raises(KeyError):
            attempt(broken)(1.0)
    assert grad(lambda x: x * x)(3.0) == 6.0


def test_every_error_is_gradlooms() -> None:
    with pytest.raises(GradloomError):
        grad(lambda x: [x])(1.0)


# Against other ways


@hypothesis.given(st.formulas(longest=8), hs.lists(st.moderate, min_size=3, max_size=3))
@hypothesis.settings(max_examples=40, deadline=None)
def test_hessians_of_random_formulas_agree_with_autograd(
    formula: st.Formula, numbers: list[float]
) -> None:
    anp = pytest.importorskip("autograd.numpy")
    autograd = pytest.importorskip("autograd")
    xs = numbers[: formula.inputs]

    def ours(v: Any) -> Any:
        return formula(v, ELEMENTARY)

    def theirs(v: Any) -> Any:
        return formula([v[i] for i in range(len(xs))], anp)

    expected = autograd.hessian(theirs)(np.array(xs))
    found = hessian(ours)(xs)
    assert np.allclose(found, expected, rtol=1e-8, atol=1e-8)
    assert np.allclose(found, np.transpose(found), rtol=1e-9, atol=1e-9)
    reverse = jacobian(grad(ours))(xs)
    assert np.allclose(found, reverse, rtol=1e-9, atol=1e-9)


def test_transforms_agree_with_autograd_on_a_small_network() -> None:
    anp = pytest.importorskip("autograd.numpy")
    autograd = pytest.importorskip("autograd")
    rng = np.random.default_rng(0)
    w1, w2, x, v = (rng.normal(size=s).tolist() for s in ((3, 4), (2, 3), (4,), (4,)))

    def ours(x: Any) -> Any:
        hidden = [tanh(gl.dot(row, x)) for row in w1]
        return gl.softmax([gl.dot(row, hidden) for row in w2])

    def theirs(x: Any) -> Any:
        out = anp.dot(anp.array(w2), anp.tanh(anp.dot(anp.array(w1), x)))
        powers = anp.exp(out - anp.max(out))
        return powers / anp.sum(powers)

    def first(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda x: f(x)[0]

    at = np.array(x)
    assert np.allclose(ours(x), theirs(at))
    assert np.allclose(jacobian(ours)(x), autograd.jacobian(theirs)(at))
    assert np.allclose(grad(first(ours))(x), autograd.grad(first(theirs))(at))
    assert np.allclose(hessian(first(ours))(x), autograd.hessian(first(theirs))(at))
    assert np.allclose(
        hvp(first(ours), x, v), autograd.hessian_vector_product(first(theirs))(at, np.array(v))
    )
    assert np.allclose(jvp(ours, (x,), (v,))[1], autograd.jacobian(theirs)(at) @ np.array(v))


@hypothesis.given(hs.data())
@hypothesis.settings(max_examples=40, deadline=None)
def test_pullback_and_pushforward_are_transposes_and_linear(data: Any) -> None:
    formulas = data.draw(hs.lists(st.formulas(longest=6), min_size=1, max_size=4))
    size = max(f.inputs for f in formulas)
    vector = hs.lists(st.moderate, min_size=size, max_size=size)
    x, u, w = data.draw(vector), data.draw(vector), data.draw(vector)
    out = hs.lists(st.moderate, min_size=len(formulas), max_size=len(formulas))
    v = data.draw(out)

    def f(x: Any) -> Any:
        return [formula(x[: formula.inputs], ELEMENTARY) for formula in formulas]

    y, pullback = vjp(f, x)
    value, pushed = jvp(f, (x,), (u,))
    assert value == y
    pulled = pullback(v)[0]
    assert np.dot(v, pushed) == pytest.approx(np.dot(pulled, u), rel=1e-9, abs=1e-9)
    both = jvp(f, (x,), ([2.0 * a + b for a, b in zip(u, w, strict=True)],))[1]
    other = jvp(f, (x,), (w,))[1]
    assert both == pytest.approx(
        [2.0 * a + b for a, b in zip(pushed, other, strict=True)], abs=1e-9
    )
    assert pullback([2.0 * a for a in v])[0] == pytest.approx([2.0 * a for a in pulled])


def test_wide_and_tall_jacobians_agree() -> None:
    def f(v: Any) -> Any:
        return [v[0] * v[1] * k + sin(v[1]) for k in range(5)]

    tall = jacobian(f)([2.0, 3.0])  # forward mode, five results of two inputs
    rows = [grad(lambda v, k=k: f(v)[k])([2.0, 3.0]) for k in range(5)]  # reverse mode
    assert np.allclose(tall, rows)
    assert np.shape(jacobian(lambda m: [m[0][0] * m[1][2]])(np.ones((2, 3)))) == (1, 2, 3)
    assert jacobian(lambda x: {"a": [x, x * x]})(3.0) == {"a": [1.0, 6.0]}
    assert jacobian(lambda x: x["a"] * x["b"])({"a": 2.0, "b": 3.0}) == {"a": 3.0, "b": 2.0}
    assert jacobian(lambda _: [])([1.0]) == []


def test_forward_mode_runs_a_tall_jacobian_once_an_input() -> None:
    calls = []

    def f(x: Any) -> Any:
        calls.append(1)
        return [x * k for k in range(50)]

    assert jacobian(f)(2.0) == [float(k) for k in range(50)]
    assert len(calls) <= 2


def test_grad_calls_the_function_once() -> None:
    calls = []

    def f(v: Any) -> Any:
        calls.append(1)
        return gl.sum([x * x for x in v])

    grad(f)([1.0] * 20)
    value_and_grad(f)([1.0] * 20)
    assert len(calls) == 2


# Edges


def test_a_direction_of_zero_moves_nothing_even_where_the_slope_is_infinite() -> None:
    assert jvp(lambda v: gl.sqrt(v[0]) + v[1], ([0.0, 1.0],), ([0.0, 1.0],)) == (1.0, 1.0)
    assert hessian(lambda v: gl.sqrt(v[0]) + v[1] ** 2)([0.0, 1.0]) == [
        [-math.inf, 0.0],
        [0.0, 2.0],
    ]


def test_infinities_and_nans_pass_through_without_an_exception() -> None:
    assert grad(gl.sqrt)(0.0) == math.inf
    assert grad(gl.log)(0.0) == math.inf
    assert math.isnan(grad(gl.sqrt)(-1.0))
    assert math.isnan(grad(sin)(math.inf))


def test_deep_functions_need_no_recursion() -> None:
    def f(x: Any) -> Any:
        for _ in range(20_000):
            x = x * 0.5 + 1.0
        return x

    assert grad(f)(1.0) == 0.5**20_000
    assert jvp(f, (1.0,), (1.0,)) == (2.0, 0.0)
    assert grad(grad(f))(1.0) == 0.0


def test_branches_on_the_number_are_taken() -> None:
    def f(x: Any) -> Any:
        if x > 1.0:
            return x**2
        while x < 0.5:
            x = x * 2.0
        return x if x else 0.0

    for x, slope in ((3.0, 6.0), (0.7, 1.0), (0.2, 4.0)):
        assert grad(f)(x) == forward(f)(x) == by_graph(f)(x) == slope


def test_threads_have_derivatives_of_their_own() -> None:
    barrier, found = threading.Barrier(4), {}

    def work(k: int) -> None:
        barrier.wait()
        found[k] = [grad(grad(lambda x: x**3 * k))(float(i)) for i in range(50)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {k: [6.0 * i * k for i in range(50)] for k in range(4)}


def test_what_runs_inside_shows_its_number() -> None:
    seen = []

    def f(x: Any) -> Any:
        seen.append((repr(x), f"{x:.1f}"))
        return x

    grad(f)(2.0)
    jvp(f, (2.0,), (1.0,))
    assert seen == [("Traced(2.0)", "2.0"), ("Dual(2.0, tangent=1.0)", "2.0")]
