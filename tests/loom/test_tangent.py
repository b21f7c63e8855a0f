"""Tangents of programs, of adjoints and of tangents, against the derivatives of eager code."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl
from gradloom.backends.numpy import Runner
from gradloom.core.ops import greater
from gradloom.core.table import OPS, apply
from gradloom.loom.adjoint import adjoint
from gradloom.loom.program import Program
from gradloom.loom.record import record
from gradloom.loom.tangent import tangent
from gradloom.loom.weave import weave
from strategies import Formula, formulas, in_domain


def woven(f: Callable[..., Any], *args: Any, lanes: tuple[int, ...] = ()) -> Program:
    return weave(record(f, *args)[0], lanes)


def mixed(x: list[Any]) -> Any:
    """Sums, products, functions, a selection and an operation of many operands."""
    hidden = [gl.tanh(sum(a * (0.1 * i + 0.2 * j) for j, a in enumerate(x))) for i in range(1, 5)]
    ratios = sum(gl.exp(a) / (1.0 + b * b) for a, b in zip(hidden, x, strict=False))
    return ratios + gl.sin(x[0] * x[-1]) + gl.logsumexp(x) + gl.max(*x) * gl.hypot(*x[:2]) ** 2.5


POINT = [0.3, -0.4, 0.5, 0.9, -1.2, 0.77]
DIRECTION = [1.0, -0.5, 0.25, 0.0, 2.0, -1.0]


@pytest.mark.parametrize("symbol", sorted(OPS))
@settings(max_examples=8)
@given(data=st.data())
def test_every_row_of_the_table_moves_as_in_eager_code(symbol: str, data: st.DataObject) -> None:
    op = OPS[symbol]
    xs = data.draw(in_domain(op))
    moves = data.draw(st.lists(st.floats(-2, 2), min_size=len(xs), max_size=len(xs)))

    def f(*operands: Any) -> Any:
        return apply(op, *operands)

    program = woven(f, *xs)
    found = Runner(tangent(program, program.inputs)).run([*xs, *moves])
    np.testing.assert_allclose(found, gl.jvp(f, xs, moves), rtol=1e-12, atol=1e-13)


@settings(max_examples=40, deadline=None)
@given(formulas(), st.lists(st.floats(-2, 2), min_size=3, max_size=3))
def test_the_tangent_of_the_adjoint_is_the_hessian_vector_product(
    formula: Formula, xs: list[float]
) -> None:
    x, v = xs[: formula.inputs], DIRECTION[: formula.inputs]

    def f(x: list[Any]) -> Any:
        return formula(x, gl)

    program = woven(f, x)
    twice = tangent(adjoint(program, program.inputs), program.inputs)
    found = Runner(twice).run([*x, 1.0, *v])[-len(x) :]
    np.testing.assert_allclose(found, gl.hvp(f, x, v), rtol=1e-10, atol=1e-10)


def test_tangents_and_adjoints_compose_in_any_order() -> None:
    program = woven(mixed, POINT)
    n = len(POINT)
    wanted = gl.hvp(mixed, POINT, DIRECTION)
    forward = tangent(program, program.inputs)  # outputs: f, df
    over = adjoint(forward, program.inputs)
    found = Runner(over).run([*POINT, *DIRECTION, 0.0, 1.0])[-n:]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    backward = adjoint(program, program.inputs)  # outputs: f, then the gradient
    twice = adjoint(backward, program.inputs)
    found = Runner(twice).run([*POINT, 1.0, 0.0, *DIRECTION])[-n:]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_the_third_derivative_along_a_direction_is_a_tangent_of_a_tangent_of_an_adjoint() -> None:
    program = woven(mixed, POINT)
    third = adjoint(program, program.inputs)
    for _ in range(2):
        third = tangent(third, program.inputs)
    found = Runner(third).run([*POINT, 1.0, *DIRECTION, *DIRECTION])[-len(POINT) :]

    def second(x: list[Any]) -> Any:
        return gl.hvp(mixed, x, DIRECTION)

    np.testing.assert_allclose(found, gl.jvp(second, [POINT], [DIRECTION])[1], rtol=1e-11)


@pytest.mark.parametrize("k", [1, 3, 6])
def test_many_directions_side_by_side_give_columns_of_the_hessian(k: int) -> None:
    program = woven(mixed, POINT)
    n = len(POINT)
    backward = adjoint(program, program.inputs)
    every = tangent(backward, program.inputs, directions=k)
    found = Runner(every).run([*POINT, 1.0, *np.eye(n, k).reshape(-1)])[-n * k :]
    wanted = np.array(gl.hessian(mixed)(POINT))[:, :k]
    np.testing.assert_allclose(found.reshape(n, k), wanted, rtol=1e-12, atol=1e-14)


def test_many_cotangents_side_by_side_give_rows_of_the_jacobian() -> None:
    def f(x: list[Any]) -> list[Any]:
        return [mixed(x), x[0] * x[3], gl.exp(x[2])]

    program = woven(f, POINT)
    rows = adjoint(program, program.inputs, directions=3)
    found = Runner(rows).run([*POINT, *np.eye(3).reshape(-1)])[3:]
    np.testing.assert_allclose(found.reshape(-1, 3).T, gl.jacobian(f)(POINT), rtol=1e-12)


def test_directions_and_lanes_do_not_mix_up() -> None:
    program = woven(lambda w, x: gl.sin(w[0] * x) + w[1] * x * x, [2.0, 3.0], 0.5, lanes=(2,))
    twice = tangent(adjoint(program, program.inputs), program.inputs, directions=3)
    xs = np.array([0.5, -1.0])
    found = Runner(twice, lanes=2).run([2.0, 3.0, xs, 1.0, *np.eye(3).reshape(-1)])

    def total(v: list[Any]) -> Any:
        return sum(gl.sin(v[0] * x) + v[1] * x * x for x in v[2:])

    wanted = np.array(gl.hessian(total)([2.0, 3.0, *xs]))
    # The inputs of both lanes move in the third direction, and w is moved by the sum over lanes.
    fused = np.column_stack([wanted[:, :2], wanted[:, 2] + wanted[:, 3]])
    hessian = found[-9:].reshape(3, 3, 2)
    for lane in range(2):
        np.testing.assert_allclose(hessian[:2, :, lane], fused[:2], rtol=1e-12)
        np.testing.assert_allclose(hessian[2, :, lane], fused[2 + lane], rtol=1e-12, atol=1e-15)


def test_a_program_with_lanes_moves_lane_by_lane_and_shared_inputs_with_all() -> None:
    def f(w: list[Any], x: list[Any]) -> Any:
        return gl.tanh(sum(a * b for a, b in zip(w, x, strict=True))) * w[0]

    w, xs = [0.5, -1.0, 0.25], np.array([[0.1, 0.2, 0.3], [1.0, -1.0, 0.5]])
    dw, dxs = [1.0, 2.0, -1.0], np.array([[0.3, 0.1, 0.0], [0.0, 2.0, 1.0]])
    program = woven(f, w, list(xs[0]), lanes=(3, 4, 5))
    found = Runner(tangent(program, program.inputs), lanes=2).run([*w, *xs.T, *dw, *dxs.T])
    for lane in range(2):
        y, dy = gl.jvp(f, (w, xs[lane]), (dw, dxs[lane]))
        assert found[:, lane] == pytest.approx([y, dy], rel=1e-14)


@pytest.mark.parametrize(
    ("f", "x", "v"),
    [
        (lambda x, y: gl.sqrt(x) + y, [0.0, 1.0], [0.0, 1.0]),
        (lambda x, y: gl.sqrt(gl.relu(x)) + y, [-1.0, 1.0], [1.0, 1.0]),
        (lambda x, y: gl.where(x > y, x, gl.sqrt(x)) * y, [-1.0, 1.0], [1.0, 1.0]),
        (lambda x, y: gl.where(greater(x, 0.0), gl.sqrt(x), y), [-1.0, 1.0], [1.0, 1.0]),
        (lambda x, y: x / y, [1.0, 0.0], [1.0, 0.0]),
        (lambda x, y: x**y, [0.0, 2.0], [1.0, 0.0]),
    ],
)
def test_what_does_not_move_moves_nothing_even_where_a_slope_is_infinite(
    f: Callable[..., Any], x: list[float], v: list[float]
) -> None:
    program = woven(f, *x)
    found = Runner(tangent(program, program.inputs)).run([*x, *v])[1]
    wanted = gl.jvp(f, x, v)[1]
    assert found == wanted or (math.isnan(found) and math.isnan(wanted))
