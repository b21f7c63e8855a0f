"""Long lists: a reduction each, with the value and the gradient of the one operation."""

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import Value
from gradloom.backends.numpy import Runner
from gradloom.loom.adjoint import adjoint
from gradloom.loom.lower import lower
from gradloom.loom.record import record
from gradloom.loom.weave import weave

INF, NAN = math.inf, math.nan
OPERATIONS: list[Callable[[list[Any]], Any]] = [gl.max, gl.min, gl.logsumexp]


def gauss(count: int) -> list[float]:
    rng = random.Random(0)
    return [rng.gauss(0.0, 5.0) for _ in range(count)]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "xs",
    [
        gauss(100),
        [*gauss(40), 50.0, 50.0, -50.0, -50.0, -50.0],
        [1000.0] * 33,
        [*gauss(33), INF],
        [*gauss(33), -INF],
        [-INF] * 20 + gauss(20),
        [-0.0] * 40,
        [0.0] * 40,
    ],
)
def test_value_and_gradient_are_those_of_the_eager_engine(
    operation: Callable[[list[Any]], Any], xs: list[float]
) -> None:
    graph, _ = record(operation, xs)
    program = weave(graph)
    y, *slopes = Runner(adjoint(program, program.inputs)).run([*xs, 1.0])
    leaves = [Value(x) for x in xs]
    eager = operation(leaves)
    eager.backward()
    assert math.copysign(1.0, y) == math.copysign(1.0, eager.data)
    np.testing.assert_allclose([y, *slopes], [eager.data, *[x.grad for x in leaves]], rtol=1e-12)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_nan_stays_nan(operation: Callable[[list[Any]], Any]) -> None:
    graph, _ = record(operation, [*gauss(40), NAN])
    assert math.isnan(Runner(weave(graph)).run([*gauss(40), NAN])[0])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_long_list_takes_few_instructions_forward_and_back(
    operation: Callable[[list[Any]], Any],
) -> None:
    counts = []
    for size in (512, 4096):
        graph, _ = record(operation, gauss(size))
        program = weave(graph)
        assert program.tables == 0
        counts.append(len(adjoint(program, program.inputs).instructions))
    assert counts[1] <= counts[0] + 10


def test_short_lists_stay_as_they_are() -> None:
    graph, _ = record(gl.max, gauss(32))
    assert lower(graph) is graph
