"""Merging: what becomes one instruction, what must not, and where it goes."""

import math

import numpy as np

import gradloom as gl
import workloads
from gradloom.backends.numpy import Runner
from gradloom.loom.adjoint import adjoint
from gradloom.loom.merge import merge
from gradloom.loom.program import Body, Instruction, Program
from gradloom.loom.record import record
from gradloom.loom.views import View
from gradloom.loom.weave import weave


def program_of(*instructions: Instruction, size: int = 400) -> Program:
    """A program that starts from seeded numbers and gives out its whole arena."""
    nothing = np.zeros(0, dtype=np.int64)
    return Program(
        template=np.random.default_rng(0).uniform(0.5, 1, size),
        inputs=nothing,
        parameters=nothing,
        values=[],
        instructions=list(instructions),
        outputs=np.arange(size),
        guards=[],
        laned=np.zeros(size, dtype=bool),
    )


def single(out: int, body: Body, *operands: int, accumulate: bool = False) -> Instruction:
    """An instruction on single slots."""
    return Instruction((), View(out, ()), body, tuple(View(x, ()) for x in operands), accumulate)


def written(program: Program) -> list[str]:
    """Its lines, without the head and with single blanks, after checking what it computes."""
    merged = merge(program)
    np.testing.assert_allclose(Runner(merged).run([]), Runner(program).run([]), rtol=1e-13)
    return [" ".join(str(one).split()) for one in merged.instructions]


def test_neighbours_alike_become_one_with_one_more_axis() -> None:
    ones = [single(100 + 3 * i, ("exp", (0,)), 2 * i) for i in range(5)]
    assert written(program_of(*ones)) == ["5 @100(3) = exp(@0(2))"]


def test_rows_back_to_back_become_one_row() -> None:
    ones = [
        Instruction((4,), View(100 + 4 * i, (1,)), ("exp", (0,)), (View(4 * i, (1,)),), False)
        for i in range(5)
    ]
    assert written(program_of(*ones)) == ["20 @100(1) = exp(@0(1))"]


def test_neighbours_are_put_in_order_if_they_are_independent() -> None:
    ones = [single(100 + i, ("exp", (0,)), i) for i in (3, 0, 9, 4, 1, 2)]
    assert written(program_of(*ones)) == ["5 @100(1) = exp(@0(1))", "1 @109 = exp(@9)"]


def test_neighbours_that_read_each_other_stay_apart() -> None:
    ones = [single(i + 1, ("exp", (("neg", (0,)),)), i) for i in range(20)]
    assert len(written(program_of(*ones))) == 20


def test_neighbours_that_overwrite_what_another_reads_stay_apart() -> None:
    ones = [single(i, ("exp", (("neg", (0,)),)), i + 1) for i in range(20)]
    assert len(written(program_of(*ones))) == 20


def test_two_that_alternate_become_two() -> None:
    ones = []
    for i in range(6):
        ones += [single(100 + i, ("exp", (0,)), i), single(200 + i, ("log", (0,)), 100 + i)]
    assert written(program_of(*ones)) == ["6 @100(1) = exp(@0(1))", "6 @200(1) = log(@100(1))"]


def test_sums_into_one_slot_become_one_sum() -> None:
    ones = [single(300, ("*", (0, 1)), i, 50 + i, accumulate=True) for i in range(7)]
    assert written(program_of(*ones)) == ["7 @300(0) += (@0(1) * @50(1))"]


def test_what_a_recurrence_waits_for_goes_before_it_and_what_it_leaves_behind() -> None:
    ones = []
    for i in range(10):
        ones += [
            single(50 + i, ("exp", (0,)), i),
            single(100 + i, ("neg", (0,)), 50 + i),
            single(151 + i, ("tanh", (("+", (0, 1)),)), 150 + i, 100 + i),
            single(200 + i, ("square", (0,)), 151 + i),
            single(300, 0, 200 + i, accumulate=True),
        ]
    lines = written(program_of(*ones))
    assert lines[:2] == ["10 @50(1) = exp(@0(1))", "10 @100(1) = neg(@50(1))"]
    assert all("tanh" in line for line in lines[2:-2])
    assert lines[-2:] == ["10 @200(1) = square(@151(1))", "10 @300(0) += @200(1)"]


def test_a_gradient_by_many_operands_is_one_instruction() -> None:
    """That of the logsumexp of 27 logits, for 8 tokens."""
    graph, _ = record(workloads.gpt().function)
    program = weave(graph)
    backward = merge(adjoint(program, program.parameters))
    slopes = [one for one in backward.instructions if "(exp(" in str(one) and one.accumulate]
    assert [math.prod(one.shape) for one in slopes] == [27 * 8]


def test_the_gradients_of_a_recurrences_weights_are_one_product() -> None:
    workload = workloads.lstm(steps=40)
    graph, _ = record(workload.function, *workload.arguments)
    program = weave(graph)
    backward = merge(adjoint(program, program.parameters))
    products = [one for one in backward.instructions if len(one.operands) == 2]
    assert any(one.shape[0] > 30 and one.out.strides[0] == 0 for one in products)
    inputs = np.random.default_rng(0).uniform(-1, 1, len(backward.inputs))
    expected = Runner(adjoint(program, program.parameters)).run(inputs)
    np.testing.assert_allclose(Runner(backward).run(inputs), expected, rtol=1e-9, atol=1e-12)


def test_strict_sums_keep_their_bits() -> None:
    def f(xs: list[gl.Value]) -> gl.Value:
        total, x = 0.0, xs[0]
        for y in xs:
            x = x * 0.75 + y
            total = total + x / (1.0 + x * x)
        return total

    numbers = np.random.default_rng(0).uniform(-1, 1, 50).tolist()
    graph, _ = record(f, numbers)
    program = weave(graph, strict=True)
    assert Runner(merge(program)).run(numbers) == f(numbers)
