"""Recurrences of lanes that run together, against NumPy and against themselves one by one."""

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import gradloom as gl
from gradloom.backends.llvm import module
from gradloom.backends.llvm.fuse import Group, fused
from gradloom.backends.llvm.lowering import UnsupportedError, lower
from gradloom.backends.llvm.native import Runner, rolled
from gradloom.backends.llvm.target import Target
from gradloom.loom.adjoint import adjoint
from gradloom.loom.program import Instruction, Program
from gradloom.loom.record import record
from gradloom.loom.views import View
from gradloom.loom.weave import weave
from native_code import HOST, TARGETS, code_for, exact, expected, inputs_for, outputs_of
from programs import plain_program, random_recurrence
from workloads import asian_option

FEW = settings(deadline=None, max_examples=20, derandomize=True)
MANY = settings(deadline=None, max_examples=600)
targets = st.sampled_from(TARGETS)
randoms = st.integers(0, 2**32).map(Random)
lanes_drawn = st.sampled_from([1, 2, 7, 8, 9, 33])


def agrees(random: Random, target: Target, bits: int, lanes: int, *, muted: bool) -> None:
    program = random_recurrence(random, lanes=True, muted=muted)
    inputs = inputs_for(program, random, lanes)
    want = expected(program, inputs, lanes)
    assume(exact(want, bits))
    width = random.choice([0, 1, 3]) * target.width(bits)
    try:
        code = code_for(program, target, bits, lanes=True, width=width)
    except UnsupportedError:
        assume(False)
    runner = Runner(program, lanes, bits=bits, threads=1, code=code)
    np.testing.assert_array_equal(outputs_of(runner, inputs), want)


@FEW
@given(randoms, targets, st.sampled_from([64, 32]), lanes_drawn, st.booleans())
def test_recurrences_of_lanes_give_what_numpy_gives(
    random: Random, target: Target, bits: int, lanes: int, muted: bool
) -> None:
    agrees(random, target, bits, lanes, muted=muted)


@pytest.mark.slow
@MANY
@given(randoms, targets, st.sampled_from([64, 32]), lanes_drawn, st.booleans())
def test_many_recurrences_of_lanes_give_what_numpy_gives(
    random: Random, target: Target, bits: int, lanes: int, muted: bool
) -> None:
    agrees(random, target, bits, lanes, muted=muted)


@FEW
@given(randoms, targets)
def test_recurrences_without_lanes_give_what_numpy_gives(random: Random, target: Target) -> None:
    program = random_recurrence(random)
    inputs = inputs_for(program, random, None)
    want = expected(program, inputs)
    assume(exact(want, 64))
    found = outputs_of(Runner(program, code=code_for(program, target)), inputs)
    np.testing.assert_array_equal(found, want)


def laned(instructions: list[Instruction], slots: int, inputs: int) -> Program:
    program = plain_program([0.0] * slots, *instructions)
    program.laned[:] = True
    program.inputs = np.arange(inputs)
    return program


def step(out: int, symbol: str, *operands: int) -> Instruction:
    body = symbol, tuple(range(len(operands)))
    return Instruction((), View(out, ()), body, tuple([View(x, ()) for x in operands]), False)


def groups_of(program: Program) -> list[Any]:
    """What a program's lanes do, fused."""
    lowered = lower(rolled(program), HOST, 64, lanes=True)
    wanted = np.array(program.outputs) * lowered.width
    return fused(lowered.lanes, wanted, lowered.tables)


@pytest.mark.parametrize("turn", range(8))
def test_what_a_loop_has_written_may_stand_in_the_rest_of_it(turn: int) -> None:
    # x[t] = x[t-1] - z[t];  y[t] = y[t-1] - x[turn] - x[t], from that turn on
    count, inputs = 30, 40  # the last input is x[-1]; y[turn - 1] is 0
    x, y = 40, 80
    program = laned(
        [
            *[step(x + t, "-", x + t - 1, 2 + t) for t in range(count)],
            *[step(y + t, "max", y + t - 1, x + turn, x + t) for t in range(turn, count)],
        ],
        120,
        inputs,
    )
    given = [np.arange(9.0) * (-1) ** i * (i % 5) for i in range(inputs)]
    want = expected(program, given, 9)
    found = outputs_of(Runner(program, 9, code=code_for(program, lanes=True)), given)
    assert found.tolist() == want.tolist()


@pytest.mark.parametrize("count", [4, 5, 6, 9, 30])
def test_a_loop_may_read_its_own_first_number_in_every_turn(count: int) -> None:
    # a[t] = b[t-1] - z[t];  b[t] = a[t] - a[0]
    a, b = 50, 51  # and so on in turns; b[-1] is the last input
    program = laned(
        [
            one
            for t in range(count)
            for one in (
                step(a + 2 * t, "-", b + 2 * t - 2, 1 + t),
                step(b + 2 * t, "-", a + 2 * t, a),
            )
        ],
        170,
        50,
    )
    given = [np.arange(9.0) * (-1) ** i * (i % 5) for i in range(50)]
    found = outputs_of(Runner(program, 9, code=code_for(program, lanes=True)), given)
    assert found.tolist() == expected(program, given, 9).tolist()


def asian(lanes: bool = True) -> Program:
    """The price of an Asian option along a path, and its derivatives."""
    work = asian_option()
    graph, _ = record(work.function, *work.arguments)
    count = graph.inputs
    program = weave(graph, lanes=range(count) if lanes else ())
    return adjoint(program, program.inputs)


def test_steps_in_time_are_fused() -> None:
    parts = groups_of(asian())
    assert [type(one) for one in parts] == [Group, Group]


def test_fused_or_one_by_one_the_numbers_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    program = asian()
    random = Random(0)
    lanes = 33
    inputs = [np.array([random.uniform(0.1, 1.0) for _ in range(lanes)]) for _ in program.inputs]
    together = outputs_of(Runner(program, lanes, code=code_for(program, lanes=True)), inputs)
    monkeypatch.setattr(module, "fused", lambda parts, *_: parts)
    apart = outputs_of(Runner(program, lanes, code=code_for(program, lanes=True)), inputs)
    np.testing.assert_allclose(together, apart, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(together, expected(program, inputs, lanes), rtol=1e-11, atol=1e-11)


def test_recurrences_with_functions_give_what_numpy_gives() -> None:
    def walk(start: Any, drift: Any, noise: Any) -> Any:
        x, total = start, 0.0
        first = None
        for z in noise:
            x = x + drift * gl.tanh(x) + 0.3 * z * gl.exp(-x * x)
            first = x if first is None else first
            total = total + gl.relu(x - first) + gl.sin(x) * first
        return total / len(noise) + x

    graph, _ = record(walk, 0.1, 0.2, [0.1 * i for i in range(40)])
    for lanes_of in (range(42), [0], range(1, 42)):
        program = weave(graph, lanes=lanes_of)
        program = adjoint(program, program.inputs)
        random = Random(1)
        for lanes in (1, 9, 33):
            inputs = [
                np.array([random.gauss(0, 1) for _ in range(lanes)])
                if program.laned[slot]
                else random.gauss(0, 1)
                for slot in program.inputs
            ]
            want = expected(program, inputs, lanes)
            for bits, close in ((64, 1e-12), (32, 2e-4)):
                code = code_for(program, bits=bits, lanes=True)
                found = outputs_of(Runner(program, lanes, bits=bits, code=code), inputs)
                np.testing.assert_allclose(found, want, rtol=close, atol=close * lanes)
