"""How few array instructions whole workloads become, and that their numbers stay right."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import workloads
from gradloom import Value
from gradloom.backends.numpy import Runner
from gradloom.core.tree import flatten
from gradloom.loom.adjoint import adjoint
from gradloom.loom.graph import Graph
from gradloom.loom.record import record
from gradloom.loom.weave import weave

# Of each workload the scalar nodes, at least, and the instructions and index tables, at most. In
# the causal attention of the GPT every token has one score more than the one before, which is no
# strided view; all else is one. A step of a recurrence takes 8 instructions for the two LSTM cells
# side by side, 16 by Runge and Kutta, and 1 of the option's path, and waits for the one before.
COUNTS = {
    "moons": (65_000, 14, 0),
    "gpt": (64_000, 56, 4),
    "lstm": (45_000, 8 * 20 + 8, 1),
    "runge_kutta": (29_000, 16 * 25 + 3, 0),
    "mixture": (26_000, 12, 0),
    "black_scholes": (2_900, 24, 0),
    "asian_option": (2_700, 252 + 13, 0),
    "distance_matrix": (8_000, 4, 0),
    "convolution": (16_000, 5, 0),
}


@pytest.fixture(scope="module", params=COUNTS)
def recorded(request: pytest.FixtureRequest) -> tuple[str, workloads.Workload, Graph]:
    workload = workloads.WORKLOADS[request.param]()
    graph, _ = record(workload.function, *workload.arguments)
    return request.param, workload, graph


def test_a_workload_is_no_more_than_its_count_of_instructions(
    recorded: tuple[str, workloads.Workload, Graph],
) -> None:
    name, _, graph = recorded
    program = weave(graph)
    nodes, instructions, tables = COUNTS[name]
    assert len(graph) > nodes
    assert len(program.instructions) <= instructions
    assert program.tables <= tables


def test_value_and_gradient_of_a_workload_are_those_of_the_eager_engine(
    recorded: tuple[str, workloads.Workload, Graph],
) -> None:
    _, workload, graph = recorded
    program = weave(graph)
    inputs = workloads.arguments_flat(workload.arguments)
    wanted = np.concatenate([program.parameters, program.inputs])
    count = len(program.outputs)
    found = Runner(adjoint(program, wanted)).run([*inputs, *[1.0] * count])
    leaves = [Value(x) for x in inputs]
    results, _ = flatten(workload.function(*_in_place(workload.arguments, iter(leaves).__next__)))
    total = sum(results)
    for value in program.values:
        value.grad = 0.0
    total.backward()
    np.testing.assert_allclose(found[:count], [y.data for y in results], rtol=1e-12)
    gradient = [x.grad for x in [*program.values, *leaves]]
    np.testing.assert_allclose(found[count:], gradient, rtol=1e-12, atol=1e-12)


def _in_place(nested: Any, number: Callable[[], Value]) -> Any:
    if isinstance(nested, (list, tuple)):
        return [_in_place(x, number) for x in nested]
    return number()


def test_query_key_and_value_of_the_gpt_are_one_product_of_48_by_16() -> None:
    workload = workloads.gpt()
    graph, _ = record(workload.function)
    products = [i for i in weave(graph).instructions if i.body == ("*", (0, 1))]
    assert [8, 16, 48] in [sorted(i.shape) for i in products]
