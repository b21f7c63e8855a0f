"""Gradients, Jacobians and Hessians as programs, against those of eager code."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl
from gradloom.backends.numpy import Runner
from gradloom.loom.derivatives import gradient, hessian, hessian_pattern, hvp, jacobian
from gradloom.loom.program import Program
from gradloom.loom.record import record
from gradloom.loom.weave import weave
from strategies import Formula, formulas


def woven(f: Callable[..., Any], *args: Any) -> Program:
    return weave(record(f, *args)[0])


def banded(x: list[Any]) -> list[Any]:
    """Each result depends on two neighbours."""
    return [gl.sin(a) * b + gl.exp(0.1 * a) for a, b in pairwise(x)]


def arrow(x: list[Any]) -> list[Any]:
    """One full row, and a diagonal: rows compress badly, columns not at all."""
    return [sum(a * a for a in x), *(gl.sin(a) for a in x)]


def chain(x: list[Any]) -> Any:
    return sum(100.0 * (b - a * a) ** 2 + (1.0 - a) ** 2 for a, b in pairwise(x))


def numbers(n: int) -> list[float]:
    return list(np.random.default_rng(n).normal(size=n))


def matrix(program: Program, x: list[float], rows: int) -> Any:
    """What follows the first results of a run."""
    found = Runner(program).run(x)
    return found[len(found) - rows * len(x) :].reshape(rows, len(x))


@pytest.mark.parametrize("f", [banded, arrow, lambda x: [chain(x)], lambda x: [x[0] * x[1]] * 9])
@pytest.mark.parametrize("n", [2, 5, 30])
def test_the_jacobian_is_that_of_eager_code(f: Callable[..., Any], n: int) -> None:
    x = numbers(n)
    program = woven(f, x)
    wanted = gl.jacobian(f)(x)
    for compress in (True, False):
        found = jacobian(program, program.inputs, compress=compress)
        np.testing.assert_allclose(matrix(found, x, len(wanted)), wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("n", [2, 30])
def test_the_hessian_is_that_of_eager_code(n: int) -> None:
    x = numbers(n)
    program = woven(chain, x)
    found = Runner(hessian(program, program.inputs)).run(x)
    assert found[0] == pytest.approx(chain(x), rel=1e-13)
    np.testing.assert_allclose(found[1 : n + 1], gl.grad(chain)(x), rtol=1e-11)
    wanted = gl.hessian(chain)(x)
    np.testing.assert_allclose(found[n + 1 :].reshape(n, n), wanted, rtol=1e-12, atol=1e-11)


def test_compression_changes_no_digit_and_saves_directions() -> None:
    x = numbers(200)
    for derivative, f, rows in ((jacobian, banded, 199), (hessian, chain, 200)):
        program = woven(f, x)
        short = derivative(program, program.inputs)
        full = derivative(program, program.inputs, compress=False)
        np.testing.assert_array_equal(matrix(short, x, rows), matrix(full, x, rows))
        assert len(full.template) > 20 * len(short.template)


def test_few_results_take_cotangents_and_few_inputs_take_tangents() -> None:
    for f, n in (
        (lambda x: [gl.sin(sum(x)), gl.exp(x[0])], 40),
        (lambda x: [x[0] * k for k in range(40)], 2),
    ):
        program = woven(f, [0.1] * n)
        found = jacobian(program, program.inputs)
        assert len(found.template) <= 3 * len(program.template) + 1


def test_a_hessian_vector_product_takes_the_direction_as_further_inputs() -> None:
    x, v = numbers(6), numbers(7)[:6]
    program = woven(chain, x)
    found = Runner(hvp(program, program.inputs)).run([*x, *v])
    np.testing.assert_allclose(found, gl.hvp(chain, x, v), rtol=1e-11)


def test_derivatives_of_derivatives_are_programs_again() -> None:
    x = numbers(4)
    program = woven(chain, x)
    third = jacobian(hessian(program, program.inputs), program.inputs)
    found = Runner(third).run(x)[-64:].reshape(4, 4, 4)
    wanted = gl.jacobian(gl.hessian(chain))(x)
    np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-10)


@settings(max_examples=40, deadline=None)
@given(formulas(), st.lists(st.floats(-2, 2), min_size=3, max_size=3))
def test_formulas_have_the_gradients_and_hessians_of_eager_code(
    formula: Formula, xs: list[float]
) -> None:
    x = xs[: formula.inputs]

    def f(x: list[Any]) -> Any:
        return formula(x, gl)

    program = woven(f, x)
    first = Runner(gradient(program, program.inputs)).run(x)[1:]
    np.testing.assert_allclose(first, gl.grad(f)(x), rtol=1e-11, atol=1e-11)
    second = matrix(hessian(program, program.inputs), x, len(x))
    np.testing.assert_allclose(second, gl.hessian(f)(x), rtol=1e-10, atol=1e-10)


def test_results_may_be_inputs_constants_and_come_twice() -> None:
    program = woven(lambda x, y: [x, 3.0, x * y, x * y, y], 2.0, 5.0)
    found = matrix(jacobian(program, program.inputs), [2.0, 5.0], 5)
    np.testing.assert_array_equal(found, [[1, 0], [0, 0], [5, 2], [5, 2], [0, 1]])


def test_nothing_by_something_and_something_by_nothing_are_empty() -> None:
    nothing = woven(lambda x: [], 1.0)  # noqa: ARG005
    assert len(Runner(jacobian(nothing, nothing.inputs)).run([1.0])) == 0
    constant = woven(lambda: [1.0, 2.0])
    assert Runner(jacobian(constant, constant.inputs)).run([]).tolist() == [1.0, 2.0]


def test_a_slope_may_be_asked_for_by_a_parameter() -> None:
    w = gl.Value(3.0)
    program = woven(lambda x: gl.sin(w * x), 2.0)
    both = np.concatenate([program.parameters, program.inputs])
    found = Runner(hessian(program, both)).run([2.0])[3:].reshape(2, 2)
    wanted = gl.hessian(lambda v: gl.sin(v[0] * v[1]))([3.0, 2.0])
    np.testing.assert_allclose(found, wanted, rtol=1e-14)


def test_the_hessian_of_a_product_of_neighbours_has_no_diagonal() -> None:
    program = woven(lambda x: sum(a * b for a, b in pairwise(x)), [1.0] * 4)
    assert hessian_pattern(program, program.inputs).pairs() == [
        (0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2),
    ]  # fmt: skip
