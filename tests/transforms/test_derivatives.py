"""Derivatives of compiled functions, against those of the plain ones."""

import pickle
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl
from gradloom import Value, nn
from gradloom.core import tree
from gradloom.errors import ArgumentError, NotANumberError, RecordingError, ShapeError
from strategies import Formula, formulas

X, Y = [1.0, 2.0], 3.0
V = [0.5, -1.5]


def f(x: list[Any], y: Any) -> Any:
    return gl.sin(x[0] * x[1]) * y + x[0] ** 2


def g(x: list[Any]) -> list[Any]:
    return [x[0] * x[1], {"a": x[0] / x[1], "b": (x[1], 2.0)}]


def h(x: list[Any]) -> Any:
    return x[0] ** 3 * gl.exp(x[1])


def chain(x: list[Any]) -> Any:
    return sum(100.0 * (b - a * a) ** 2 + (1.0 - a) ** 2 for a, b in pairwise(x))


def leaves(x: Any) -> list[float]:
    return [getattr(leaf, "data", leaf) for leaf in tree.flatten(x)[0]]


def same(found: Any, wanted: Any) -> None:
    """One structure, and numbers that differ in the last digits at most."""
    assert tree.flatten(found)[1] == tree.flatten(wanted)[1]
    np.testing.assert_allclose(leaves(found), leaves(wanted), rtol=1e-12, atol=1e-13)


# Each of them


@pytest.mark.parametrize("argnums", [0, 1, -1, [0, 1], (1,), [1, 0]])
def test_gradients_by_one_argument_or_several(argnums: Any) -> None:
    compiled = gl.compile(f)
    same(gl.grad(compiled, argnums)(X, Y), gl.grad(f, argnums)(X, Y))
    same(gl.value_and_grad(compiled, argnums)(X, Y), gl.value_and_grad(f, argnums)(X, Y))


@pytest.mark.parametrize(
    "transform",
    [
        lambda f: gl.jacobian(f)(X),
        lambda f: gl.jvp(f, (X,), (V,)),
        lambda f: gl.vjp(f, X)[0],
        lambda f: gl.vjp(f, X)[1]([2.0, {"a": 0.5, "b": (1.0, 7.0)}]),
    ],
)
def test_derivatives_of_a_function_with_many_results(transform: Callable[..., Any]) -> None:
    same(transform(gl.compile(g)), transform(g))


@pytest.mark.parametrize(
    "transform",
    [
        lambda f: gl.hessian(f)(X),
        lambda f: gl.hvp(f, X, V),
        lambda f: gl.grad(f)(X),
        lambda f: gl.jacobian(gl.grad(f))(X),
        lambda f: gl.jacobian(gl.hessian(f))(X),
        lambda f: gl.jvp(gl.grad(f), (X,), (V,)),
        lambda f: gl.grad(lambda x: sum(gl.grad(f)(x)))(X),
    ],
)
def test_second_and_third_derivatives_in_either_order_with_compile(
    transform: Callable[..., Any],
) -> None:
    wanted = transform(h)
    same(transform(gl.compile(h)), wanted)
    same(gl.compile(lambda _: transform(h))(0.0), wanted)


def test_compile_may_stand_anywhere_among_gradients() -> None:
    cube = lambda x: x**3  # noqa: E731
    for second in (
        gl.grad(gl.grad(gl.compile(cube))),
        gl.grad(gl.compile(gl.grad(cube))),
        gl.compile(gl.grad(gl.grad(cube))),
        gl.compile(gl.grad(gl.compile(gl.grad(gl.compile(cube))))),
    ):
        assert second(2.0) == second(2.0) == 12.0


@settings(max_examples=30, deadline=None)
@given(formulas(), st.lists(st.floats(-2, 2), min_size=3, max_size=3))
def test_formulas_have_the_derivatives_of_plain_code(formula: Formula, xs: list[float]) -> None:
    x = xs[: formula.inputs]
    plain = lambda x: formula(x, gl)  # noqa: E731
    compiled = gl.compile(plain)
    np.testing.assert_allclose(gl.grad(compiled)(x), gl.grad(plain)(x), rtol=1e-10, atol=1e-10)
    wanted = gl.hessian(plain)(x)
    np.testing.assert_allclose(gl.hessian(compiled)(x), wanted, rtol=1e-9, atol=1e-9)


class Point(NamedTuple):
    x: Any
    y: Any


def test_arguments_of_any_structure() -> None:
    def area(p: Point, rest: dict[str, Any], *, scale: float = 1.0) -> Any:
        return p.x * p.y[1] * rest["k"][0] * scale

    args = Point(2.0, np.array([3.0, 4.0])), {"k": (5.0, 6.0)}
    for argnum in (0, 1):
        found = gl.grad(gl.compile(area), argnum)(*args, scale=3.0)
        same(found, gl.grad(area, argnum)(*args, scale=3.0))


def test_tangents_and_cotangents_go_by_key_whatever_their_order() -> None:
    def weigh(d: dict[str, Any]) -> dict[str, Any]:
        return {"p": d["a"] * d["b"], "q": d["a"]}

    d, move, above = {"a": 2.0, "b": 3.0}, {"b": 1.0, "a": 10.0}, {"q": 1.0, "p": 100.0}
    compiled = gl.compile(weigh)
    same(gl.jvp(compiled, (d,), (move,)), gl.jvp(weigh, (d,), (move,)))
    same(gl.vjp(compiled, d)[1](above), gl.vjp(weigh, d)[1](above))


# As programs


def test_a_derivative_records_nothing_of_its_own_and_has_a_program() -> None:
    calls = []

    def counted(x: Any) -> Any:
        calls.append(1)
        return h(x)

    compiled = gl.compile(counted)
    for _ in range(3):
        gl.hessian(compiled)(X), gl.grad(compiled)(X), gl.hvp(compiled, X, V)
    assert len(calls) == 1
    derivative = gl.grad(compiled)
    assert derivative is gl.grad(compiled)
    derivative(X)
    assert len(derivative.program.inputs) == 2
    assert "instructions" in str(derivative.program)


def test_a_derivative_follows_its_function_from_branch_to_branch() -> None:
    def branching(x: Any) -> Any:
        return x * x if x > 0.0 else gl.exp(x)

    compiled = gl.compile(branching)
    slope, bend = gl.grad(compiled), gl.grad(gl.grad(compiled))
    for x in (2.0, -1.0, 3.0, -2.0, 2.5):
        assert slope(x) == pytest.approx(gl.grad(branching)(x))
        assert bend(x) == pytest.approx(gl.grad(gl.grad(branching))(x))
    assert len(slope.programs) == len(compiled.programs) == 2


def test_a_sparse_hessian_takes_few_directions_and_is_the_same() -> None:
    x = list(np.random.default_rng(0).normal(size=40))
    second = gl.hessian(gl.compile(chain))
    np.testing.assert_allclose(second(x), gl.hessian(chain)(x), rtol=1e-12, atol=1e-11)
    first = gl.grad(gl.compile(chain))
    first(x)
    assert len(second.program.template) < 6 * len(first.program.template)


def test_clear_forgets_derivatives_too() -> None:
    factor = 2.0
    compiled = gl.compile(lambda x: factor * x)
    slope = gl.grad(compiled)
    assert slope(1.0) == 2.0
    factor = 3.0
    compiled.clear()
    assert slope(1.0) == 3.0


def test_a_derivative_pickles_as_its_programs() -> None:
    compiled = gl.compile(h)
    slope = gl.grad(compiled)
    wanted = slope(X)
    elsewhere = pickle.loads(pickle.dumps(slope))
    assert elsewhere(X) == wanted
    with pytest.raises(RecordingError, match="came from another process"):
        elsewhere([1.0, 2.0, 3.0])
    assert pickle.loads(pickle.dumps(compiled))(X) == h(X)


# With values


def test_derivatives_of_values_are_values_to_go_backward_through() -> None:
    w = Value(2.0)
    wave = lambda x: gl.sin(w * x)  # noqa: E731
    results = []
    for function in (wave, gl.compile(wave)):
        slope = gl.grad(function)(0.5)
        bend = gl.grad(gl.grad(function))(0.5)
        (slope * bend).backward()
        results.append((slope.data, bend.data, w.grad))
        w.grad = 0.0
    assert results[0] == pytest.approx(results[1], rel=1e-13)


def test_a_slope_of_a_network_can_be_learned() -> None:
    model = nn.MLP(2, [3, 1], seed=0)
    gradients = []
    for function in (model, gl.compile(model)):
        model.zero_grad()
        slope = gl.grad(function)([0.3, -0.7])
        sum(s * s for s in slope).backward()
        gradients.append([p.grad for p in model.parameters()])
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-11, atol=1e-15)


def test_values_among_the_arguments_get_the_gradient_of_the_gradient() -> None:
    grads = []
    for function in (h, gl.compile(h)):
        x = [Value(1.0), Value(2.0)]
        sum(gl.grad(function)(x)).backward()
        grads.append([v.grad for v in x])
    assert grads[1] == pytest.approx(grads[0], rel=1e-13)


# Patterns


def test_sparsity_is_the_pattern_of_the_jacobian_or_hessian() -> None:
    def steps(x: list[Any], k: Any) -> list[Any]:
        return [a * b * k for a, b in pairwise(x)]

    x = [1.0] * 4
    wanted = [(i, j) for i in range(3) for j in (i, i + 1)]
    for function in (steps, gl.compile(steps)):
        assert gl.sparsity(function)(x, 2.0) == wanted
        assert gl.sparsity(function, 1)(x, 2.0) == [(0, 0), (1, 0), (2, 0)]
    found = gl.sparsity(gl.compile(chain), order=2)(x)
    assert found == [(i, j) for i in range(4) for j in range(4) if abs(i - j) <= 1]


# What is refused, as plain code refuses it


@pytest.mark.parametrize(
    ("error", "use"),
    [
        (ShapeError, lambda c: gl.grad(c(g))(X)),
        (ShapeError, lambda c: gl.hessian(c(g))(X)),
        (ShapeError, lambda c: gl.hvp(c(g), X, V)),
        (ShapeError, lambda c: gl.hvp(c(h), X, [1.0])),
        (ShapeError, lambda c: gl.jvp(c(g), (X,), ([1.0],))),
        (ShapeError, lambda c: gl.vjp(c(g), X)[1]([1.0])),
        (ArgumentError, lambda c: gl.grad(c(f), 2)(X, Y)),
        (ArgumentError, lambda c: gl.grad(c(f), [0, -2])(X, Y)),
        (ArgumentError, lambda c: gl.jacobian(c(f), [0, 1])(X, Y)),
        (ArgumentError, lambda c: gl.hessian(c(f), 5)(X, Y)),
        (NotANumberError, lambda c: gl.grad(c(lambda s: 1.0))("text")),  # noqa: ARG005
    ],
)
def test_bad_input_is_refused_in_the_words_of_plain_code(
    error: type[Exception], use: Callable[..., Any]
) -> None:
    with pytest.raises(error) as plain:
        use(lambda f: f)
    with pytest.raises(error) as compiled:
        use(gl.compile)
    assert str(compiled.value) == str(plain.value)


def test_truth_values_are_no_numbers_to_differentiate_by() -> None:
    with pytest.raises(ArgumentError, match="argument 0 holds truth values"):
        gl.grad(gl.compile(lambda x: x[0] * 2.0))([1.0, True])


def test_patterns_of_no_order_and_of_hessians_that_are_none_are_refused() -> None:
    with pytest.raises(ArgumentError, match="order must be 1"):
        gl.sparsity(h, order=3)
    with pytest.raises(ShapeError, match="one number as its result"):
        gl.sparsity(g, order=2)(X)


@pytest.mark.parametrize("x", [-1.0, 2.0])
def test_what_a_mask_blocks_is_blocked_in_recorded_derivatives_too(x: float) -> None:
    def f(x: Any) -> Any:
        return gl.sqrt(gl.relu(x)) + gl.where(x > 0, gl.log(x) * gl.log(x), x * x)

    def push(x: Any) -> Any:
        return gl.jvp(f, (x,), (1.0,))[1]

    assert gl.compile(gl.grad(f))(x) == pytest.approx(gl.grad(f)(x), rel=1e-12)
    assert gl.compile(push)(x) == pytest.approx(push(x), rel=1e-12)
    assert gl.compile(gl.hessian(f))(x) == pytest.approx(gl.hessian(f)(x), rel=1e-12)
    assert gl.vmap(gl.grad(f))(np.array([x])) == pytest.approx([gl.grad(f)(x)], rel=1e-12)
