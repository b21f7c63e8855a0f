"""Patterns of derivatives against the derivatives themselves, and colours against patterns."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl
from gradloom.core.ops import greater
from gradloom.loom.adjoint import adjoint
from gradloom.loom.record import record
from gradloom.loom.sparsity import Pattern, colours, pattern, seeds
from gradloom.loom.weave import weave
from strategies import Formula, formulas


def of_jacobian(f: Callable[..., Any], *args: Any) -> Pattern:
    program = weave(record(f, *args)[0])
    return pattern(program, program.outputs, program.inputs)


def of_hessian(f: Callable[..., Any], *args: Any) -> Pattern:
    program = weave(record(f, *args)[0])
    backward = adjoint(program, program.inputs)
    return pattern(backward, backward.outputs[1:], program.inputs)


def dense(found: Pattern) -> Any:
    matrix = np.zeros(found.shape, dtype=bool)
    matrix[found.rows, found.columns] = True
    return matrix


def rosenbrock(x: list[Any]) -> Any:
    return sum(100.0 * (b - a * a) ** 2 + (1.0 - a) ** 2 for a, b in pairwise(x))


def test_the_hessian_of_a_chain_is_tridiagonal() -> None:
    n = 40
    found = of_hessian(rosenbrock, [0.1] * n)
    i, j = np.indices((n, n))
    np.testing.assert_array_equal(dense(found), abs(i - j) <= 1)


def test_a_chain_takes_three_colours_at_any_length() -> None:
    for n in (10, 1_000):  # the longer one in blocks of columns
        chosen = colours(of_hessian(rosenbrock, [0.1] * n), limit=n)
        assert chosen is not None
        assert chosen.max() == 2


def test_what_is_linear_has_no_second_derivative() -> None:
    assert of_hessian(lambda x, y: 3.0 * x + y * 2.0 - x, 1.0, 2.0).pairs() == []
    assert of_hessian(lambda x, y: x * y + x, 1.0, 2.0).pairs() == [(0, 1), (1, 0)]


def test_steps_comparisons_and_detached_values_move_nothing() -> None:
    def f(x: list[Any]) -> list[Any]:
        return [gl.floor(x[0]), gl.where(greater(x[0], 0.0), x[1], 2.0), gl.detach(x[2])]

    assert of_jacobian(f, [1.0, 2.0, 3.0]).pairs() == [(1, 1)]


def test_constants_and_inputs_may_be_results_and_a_result_may_come_twice() -> None:
    found = of_jacobian(lambda x, y: [1.0, y, y, x * y, 2.0 * x], 3.0, 4.0)
    assert found.pairs() == [(1, 1), (2, 1), (3, 0), (3, 1), (4, 0)]
    assert found.shape == (5, 2)
    assert of_jacobian(lambda: [1.0]).shape == (1, 0)


@settings(max_examples=40, deadline=None)
@given(formulas(), st.lists(st.floats(-2, 2), min_size=3, max_size=3))
def test_no_derivative_lies_outside_the_pattern(formula: Formula, xs: list[float]) -> None:
    x = xs[: formula.inputs]

    def f(x: list[Any]) -> Any:
        return formula(x, gl)

    assert not np.any(np.array([gl.grad(f)(x)])[~dense(of_jacobian(f, x))])
    assert not np.any(np.array(gl.hessian(f)(x))[~dense(of_hessian(f, x))])


@given(st.data())
def test_columns_of_one_colour_share_no_row(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(0, 8)), data.draw(st.integers(1, 8))
    bits = st.lists(st.booleans(), min_size=height * width, max_size=height * width)
    matrix = np.array(data.draw(bits), dtype=bool).reshape(height, width)
    chosen = colours(Pattern(matrix.shape, *np.nonzero(matrix)), limit=width)
    assert chosen is not None
    together = matrix.astype(int) @ seeds(chosen).T.astype(int)
    assert (together <= 1).all()
    assert seeds(chosen).sum() == width


def test_a_full_matrix_takes_a_colour_each_and_gives_up_at_the_limit() -> None:
    full = Pattern((3, 4), *np.nonzero(np.ones((3, 4))))
    assert colours(full, limit=3) is None
    every = colours(full, limit=4)
    assert every is not None
    assert sorted(every) == [0, 1, 2, 3]


def test_rows_and_columns_change_places() -> None:
    found = of_jacobian(lambda x: [x[0], x[0] * x[1]], [1.0, 2.0])
    assert found.pairs() == [(0, 0), (1, 0), (1, 1)]
    assert sorted(found.transposed.pairs()) == [(0, 0), (0, 1), (1, 1)]


@pytest.mark.parametrize("n", [63, 64, 65, 511, 512, 513])
def test_blocks_of_columns_join_without_a_seam(n: int) -> None:
    found = of_jacobian(lambda x: [a * b for a, b in pairwise(x)], [1.0] * n)
    assert found.pairs() == [(i, j) for i in range(n - 1) for j in (i, i + 1)]
