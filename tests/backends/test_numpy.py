"""The reference backend: every form of instruction against the loop that it stands for."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradloom.backends.numpy import Runner
from gradloom.core.table import OPS
from gradloom.loom.adjoint import adjoint
from gradloom.loom.program import Body, Instruction, Program
from gradloom.loom.record import record
from gradloom.loom.views import View, slots_of
from gradloom.loom.weave import weave

SIZE = 60


def program_of(*instructions: Instruction) -> Program:
    """A program of whose arena of 60 slots the last 30 are written and come out."""
    template = np.random.default_rng(0).integers(-3, 4, SIZE).astype(float)
    nothing = np.zeros(0, dtype=np.int64)
    return Program(
        template=template,
        inputs=nothing,
        parameters=nothing,
        values=[],
        instructions=list(instructions),
        outputs=np.arange(SIZE),
        guards=[],
        laned=np.zeros(SIZE, dtype=bool),
    )


def by_the_loop(program: Program) -> list[float]:
    """What the module docstring of `program` says, element by element."""
    arena = program.template.tolist()

    def evaluate(body: Body, slots: list[int]) -> float:
        if isinstance(body, int):
            return arena[slots[body]]
        if isinstance(body, float):
            return body
        return OPS[body[0]].evaluate(*[evaluate(part, slots) for part in body[1]])

    for one in program.instructions:
        places = [slots_of(view, one.shape) for view in (one.out, *one.operands)]
        for out, *slots in zip(*[place.ravel().tolist() for place in places], strict=True):
            number = evaluate(one.body, slots)
            arena[out] = arena[out] + number if one.accumulate else number
    return arena


def views(shape: tuple[int, ...], begin: int) -> Iterator[View]:
    """Some views of 30 slots from `begin` on: permuted, broadcast, overlapping, a table."""
    count = math.prod(shape)
    for order in itertools.permutations(range(len(shape))):
        strides, step = [0] * len(shape), 1
        for axis in order:
            strides[axis] = step
            step *= shape[axis]
        yield View(begin, tuple(strides))
    for zeros in itertools.product([0, 1], repeat=len(shape)):
        yield View(begin + 2, tuple(zeros))
    yield View(begin + 29, tuple([-12, -3, -1][3 - len(shape) :]))
    yield View(0, (), begin + np.arange(count).reshape(shape) * 7 % 30)


bodies = st.sampled_from(
    [("*", (0, 1)), 0, ("-", (("*", (0, 1)), 2.0)), ("max", (0, ("neg", (1,)))), ("*", (0, 1.0))]
)


@settings(deadline=None)
@given(st.data(), st.sampled_from([(), (5,), (3, 4), (2, 3, 2)]), bodies, st.booleans())
def test_an_instruction_is_its_loop(
    data: st.DataObject, shape: tuple[int, ...], body: Body, ordered: bool
) -> None:
    text = repr(body)
    count = 1 if text == "0" or "1.0" in text else 2
    operands = [data.draw(st.sampled_from(list(views(shape, 0)))) for _ in range(count)]
    out = data.draw(st.sampled_from(list(views(shape, 30))))
    slots = slots_of(out, shape).ravel()
    accumulate = len(np.unique(slots)) < len(slots) or data.draw(st.booleans())
    program = program_of(
        Instruction(shape, out, body, tuple(operands), accumulate, ordered=ordered)
    )
    runner = Runner(program)
    for _ in range(2):  # the second run starts from the beginning again
        assert runner.run([]).tolist() == by_the_loop(program)


@given(st.permutations(range(30)))
def test_sums_in_order_round_as_the_loop_does(order: list[int]) -> None:
    numbers = [10.0 ** (i % 17) * (-1) ** i / 3 for i in order]
    begin = View(30, (0,))
    one = Instruction((30,), begin, 0, (View(0, (1,)),), accumulate=True, ordered=True)
    program = program_of(one)
    program.template[:30] = numbers
    assert Runner(program).run([])[30] == by_the_loop(program)[30]


@pytest.mark.parametrize("shape", [(), (3,)])
def test_a_muted_zero_makes_inf_and_nan_zero(shape: tuple[int, ...]) -> None:
    step = View(0, (0,) * len(shape)), View(1, (0,) * len(shape))
    out = View(30, (1,) * len(shape))
    for body in [("*", (0, 1)), ("*", (("reciprocal", (0,)), ("square", (1,))))]:
        for number in (math.inf, math.nan, 0.0):
            one = Instruction(shape, out, body, step, accumulate=True, muted=(1,))
            program = program_of(one)
            program.template[:2] = number, 0.0
            program.template[30:] = 5.0
            assert Runner(program).run([])[30:33].tolist() == [5.0] * 3


def test_a_chain_of_many_levels_records_weaves_and_differentiates() -> None:
    count = 20_000

    def chain(x: Any) -> Any:
        for i in range(count):
            x = x * 1.0001 if i % 2 else x + 1e-4
        return x

    graph, _ = record(chain, 0.5)
    program = weave(graph)
    assert len(program.instructions) <= count
    y, slope = Runner(adjoint(program, program.inputs)).run([0.5, 1.0])
    assert y == pytest.approx(chain(0.5), rel=1e-12)
    assert slope == pytest.approx(1.0001 ** (count / 2), rel=1e-10)


def test_no_program_of_constants_needs_an_instruction() -> None:
    graph, _ = record(lambda x: [2.0, x, x], 1.0)
    program = weave(graph)
    assert Runner(program).run([7.0]).tolist() == [2.0, 7.0, 7.0]
