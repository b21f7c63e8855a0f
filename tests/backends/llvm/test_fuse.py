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
from gradloom.loom.checkpoint import checkpointed
from gradloom.loom.program import Instruction, Loop, Program
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


def laned(instructions: list[Any], slots: int, inputs: int) -> Program:
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


@pytest.mark.parametrize("count", [5, 6, 12])
def test_a_sum_may_go_on_from_what_a_loop_has_written(count: int) -> None:
    # Some are added to; the first of them then gets a sum of its own.
    x = View(100, (1,))
    first = Instruction((count,), x, ("neg", (0,)), (View(1, (1,)),), accumulate=False)
    total = Instruction((count,), View(100, (0,)), 0, (View(20, (1,)),), accumulate=True)
    program = laned([first, total], 120, 40)
    given = [np.arange(9.0) * (-1) ** i * (i % 5) for i in range(40)]
    code = code_for(program, lanes=True, rolled=False)
    found = outputs_of(Runner(program, 9, code=code), given)
    assert found.tolist() == expected(program, given, 9).tolist()


@pytest.mark.parametrize("apart", [-7, -2, 2, 3, 7])
@pytest.mark.parametrize("count", [5, 8, 12])
def test_two_strips_of_a_group_may_cross(apart: int, count: int) -> None:
    # Some are added to, and among them are some that a recurrence adds to and reads.
    x = 120
    places = View(x, (apart,))
    add = Instruction((count,), places, 0, (View(1, (1,)),), accumulate=True)
    chain = Instruction((), View(x + 1, ()), ("neg", (0,)), (View(x, ()),), accumulate=True)
    program = laned([add, Loop(count, (chain,), ((1, 1),))], 220, 20)
    given = [np.arange(9.0) * (-1) ** i * (i % 5) for i in range(20)]
    code = code_for(program, lanes=True, rolled=False)
    found = outputs_of(Runner(program, 9, code=code), given)
    assert found.tolist() == expected(program, given, 9).tolist()


@pytest.mark.parametrize("lanes_of", [range(62), [0], range(2, 62)], ids=["all", "one", "noise"])
def test_what_is_computed_twice_to_save_memory_gives_what_numpy_gives(lanes_of: Any) -> None:
    def swing(place: Any, push: Any, noise: Any) -> Any:
        speed, total = push, 0.0
        for z in noise:
            speed = 0.9 * speed - gl.sin(place) * 0.1 + z * push
            place = place + 0.1 * speed
            total += gl.relu(place - push) + speed * speed
        return total

    graph, _ = record(swing, 0.1, 0.2, [0.1 * i for i in range(60)])
    program = weave(graph, lanes=lanes_of)
    plain = adjoint(program, program.inputs)
    small = checkpointed(program, program.inputs, 8 * len(plain.template) * 3 // 4)
    assert len(small.template) < len(plain.template)
    random = Random(0)
    for lanes in (1, 9, 40):
        given = [
            np.array([random.gauss(0, 1) for _ in range(lanes)])
            if small.laned[slot]
            else random.gauss(0, 1)
            for slot in small.inputs
        ]
        want = expected(plain, given, lanes)
        code = code_for(small, lanes=True, width=HOST.width(64))
        found = outputs_of(Runner(small, lanes, threads=1, code=code), given)
        np.testing.assert_allclose(found, want, rtol=1e-10, atol=1e-10 * np.abs(want).max())


@pytest.mark.parametrize("seed", range(4))
def test_loops_in_loops_and_their_gradients_give_what_numpy_gives(seed: int) -> None:
    nested_agrees(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4, 60))
def test_more_loops_in_loops_give_what_numpy_gives(seed: int) -> None:
    nested_agrees(seed)


def nested_agrees(seed: int) -> None:
    """Steps within steps, their adjoint, with lanes of every kind and without."""
    random = Random(seed)
    rows, columns = random.choice([4, 5, 7]), random.choice([4, 5, 8])
    f = nested(random, rows, columns)
    count = rows * columns
    some = [[0.1 * i for i in range(count)], [0.2 * i for i in range(columns)]]
    graph, _ = record(f, 0.3, 0.7, *some)
    inputs = graph.inputs
    for laned_inputs in ((), range(inputs), [0], range(1, inputs)):
        program = weave(graph, lanes=laned_inputs)
        lanes = random.choice([1, 5, 17]) if laned_inputs else None
        for one in (program, adjoint(program, program.inputs)):
            given = [
                np.array([random.gauss(0, 1) for _ in range(lanes)])
                if lanes and one.laned[slot]
                else random.gauss(0, 1)
                for slot in one.inputs
            ]
            want = expected(one, given, lanes)
            code = code_for(one, random.choice(TARGETS), lanes=lanes is not None)
            found = outputs_of(Runner(one, lanes, threads=1, code=code), given)
            np.testing.assert_allclose(found, want, rtol=0, atol=1e-10 * (1 + np.abs(want).max()))


def nested(random: Random, rows: int, columns: int) -> Any:
    """A function of steps within steps."""
    rules = (
        lambda a, b, c: gl.sin(a) + b * c,
        lambda a, b, c: a * 0.5 - b * c * 0.1,
        lambda a, b, c: gl.tanh(a * b) + c,
        lambda a, b, c: a / (1.5 + b * b) + 0.1 * c,
        lambda a, b, c: gl.relu(a - b) * 0.3 + c * 0.2,
        lambda a, b, c: gl.max(a * 0.7, b, c) * 0.9,
    )
    width = random.choice([1, 2, 3])
    first, second, third, *each = random.choices(rules, k=6)
    anew, every, inner, outer = (random.random() < 0.5 for _ in range(4))

    def f(x: Any, p: Any, fine: Any, coarse: Any) -> Any:
        state = [x * (1 + 0.1 * j) for j in range(width)]
        total, kept = 0.0, []
        for i in range(rows):
            g = p if anew else state[0]
            for j in range(columns):
                z = fine[i * columns + j] if every else coarse[j]
                state = [each[k](state[k], state[(k + 1) % width], z) for k in range(width)]
                g = first(g, state[-1], coarse[j])
                total = total + g * state[0] if inner else total
            kept.append(g)
            state = [second(s, g, coarse[i % columns]) for s in state]
            total = total + gl.logsumexp([g, state[0], x]) if outer else total
        return total + third(kept[0], kept[-1], p) + sum(kept)

    return f


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
