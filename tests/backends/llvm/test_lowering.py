"""Programs as calls of kernels: lanes in blocks, sums over them, loops, what sums start from."""

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gradloom.backends.llvm import native
from gradloom.backends.llvm.lowering import UnsupportedError, lower
from gradloom.backends.llvm.native import Runner
from gradloom.backends.llvm.target import Target
from gradloom.loom.program import Instruction, Loop, Program
from gradloom.loom.views import View
from native_code import HOST, TARGETS, code_for, exact, expected, inputs_for, outputs_of
from programs import plain_program, random_program

FEW = settings(deadline=None, max_examples=20, derandomize=True)
MANY = settings(deadline=None, max_examples=600)
LANES = [1, 2, 7, 8, 9, 31, 33, 100, 1000]
targets = st.sampled_from(TARGETS)
randoms = st.integers(0, 2**32).map(Random)
lanes_or_none = st.sampled_from(LANES)


def agrees(random: Random, target: Target, bits: int, lanes: int, **options: bool) -> None:
    """Whole numbers come out as NumPy's, in blocks of any width, on any number of threads."""
    program = random_program(random, lanes=True, **options)
    inputs = inputs_for(program, random, lanes)
    want = expected(program, inputs, lanes)
    assume(exact(want, bits))
    width = random.choice([0, 1, 3]) * target.width(bits)
    try:
        code = code_for(
            program, target, bits, lanes=True, width=width, rolled=random.random() < 0.8
        )
    except UnsupportedError:
        assume(False)
    runner = Runner(program, lanes, bits=bits, threads=random.choice([1, 2, 3]), code=code)
    np.testing.assert_array_equal(outputs_of(runner, inputs), want)


@pytest.fixture(autouse=True)
def threads_for_little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_WORTH_A_THREAD", 0)


@FEW
@given(randoms, targets, st.sampled_from([64, 32]), lanes_or_none, st.booleans())
def test_lanes_give_what_numpy_gives(
    random: Random, target: Target, bits: int, lanes: int, muted: bool
) -> None:
    agrees(random, target, bits, lanes, muted=muted)


@pytest.mark.slow
@MANY
@given(randoms, targets, st.sampled_from([64, 32]), lanes_or_none, st.booleans())
def test_lanes_of_many_programs_give_what_numpy_gives(
    random: Random, target: Target, bits: int, lanes: int, muted: bool
) -> None:
    agrees(random, target, bits, lanes, muted=muted)


@pytest.mark.parametrize("lanes", [7, 100, 1000])
def test_the_number_of_threads_changes_no_digit(lanes: int) -> None:
    for seed in range(6):
        random = Random(seed)
        program = random_program(random, lanes=True, real=True)
        inputs = inputs_for(program, random, lanes, real=True)
        code = code_for(program, lanes=True, width=HOST.width(64))
        found = [
            outputs_of(Runner(program, lanes, threads=threads, code=code), inputs).tobytes()
            for threads in (1, 2, 3)
        ]
        assert found[0] == found[1] == found[2]


def test_threads_are_used_once_there_is_work_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    program = laned_program(Instruction((), View(1, ()), ("neg", (0,)), (View(0, ()),), False))
    code = code_for(program, lanes=True, width=HOST.width(64))
    assert len(Runner(program, 1000, threads=3, code=code)._laned._blocks) == 3
    monkeypatch.setattr(native, "_WORTH_A_THREAD", 1_000_000)
    assert len(Runner(program, 1000, threads=3, code=code)._laned._blocks) == 1


def laned_program(*instructions: Any, laned: int = 2, shared: int = 0, inputs: int = 1) -> Program:
    """A program of so many laned slots, the first of them inputs, then shared ones."""
    program = plain_program([-0.0] * (laned + shared), *instructions)
    program.laned[:laned] = True
    program.inputs = np.arange(inputs)
    return program


# Loops


def loop_of_maxima(steps: tuple[int, ...], shared: tuple[int, ...] = (40, 0, 2, 4, 6)) -> Program:
    out, *operands = [View(offset, ()) for offset in shared]
    one = Instruction((), out, ("max", (0, 1, 2, 3)), tuple(operands), accumulate=False)
    numbers = [float(i * 7 % 19) for i in range(60)]
    return plain_program(numbers, Loop(4, (one,), (steps,)))


@pytest.mark.parametrize("steps", [(1, 1, 1, 1, 1), (1, 1, 2, 3, 4), (1, 0, 0, 0, 1)])
def test_operands_at_even_steps_may_part_in_a_loop(steps: tuple[int, ...]) -> None:
    program = loop_of_maxima(steps)
    found = outputs_of(Runner(program, code=code_for(program, rolled=False)), [])
    assert found.tolist() == expected(program, []).tolist()


def test_what_reads_a_sum_over_lanes_a_turn_later_waits_for_it() -> None:
    # total[i] = total[i-1] + sum[i-1];  sum[i] = the sum of x[i] over lanes
    total = Instruction((), View(20, ()), ("+", (0, 1)), (View(19, ()), View(29, ())), False)
    sums = Instruction((), View(30, ()), 0, (View(0, ()),), accumulate=True)
    loop = Loop(8, (total, sums), ((1, 1, 1), (1, 1)))
    program = laned_program(loop, laned=10, shared=40, inputs=10)
    inputs = [np.arange(5.0) + i for i in range(10)]
    code = code_for(program, lanes=True, rolled=False)
    found = outputs_of(Runner(program, 5, code=code), inputs)
    assert found.tolist() == expected(program, inputs, 5).tolist()
    assert found[27].tolist() == [sum(10.0 + 5 * i for i in range(7))] * 5


def test_no_lane_may_depend_on_a_sum_over_lanes_even_a_turn_later() -> None:
    apart = Instruction((), View(10, ()), ("+", (0, 1)), (View(0, ()), View(29, ())), False)
    sums = Instruction((), View(30, ()), 0, (View(0, ()),), accumulate=True)
    loop = Loop(8, (apart, sums), ((1, 1, 1), (1, 1)))
    program = laned_program(loop, laned=20, shared=30, inputs=10)
    with pytest.raises(UnsupportedError, match="depends on a sum over all lanes"):
        lower(program, HOST, 64, lanes=True)


def test_nested_loops_add_up_from_what_stands_in_the_template() -> None:
    for number in (-0.0, 0.0, 2.0):
        add = Instruction((), View(0, ()), ("*", (0, 1)), (View(10, ()), View(20, ())), True)
        inner = Loop(3, (add,), ((0, 1, 0),))
        program = plain_program([0.0] * 30, Loop(4, (inner,), ((1, 0, 1),)))
        program.template[:10] = number
        program.template[10:] = np.arange(20)
        found = outputs_of(Runner(program, code=code_for(program, rolled=False)), [])
        assert found.tolist() == expected(program, []).tolist()
        assert found[1] == number + (0 + 1 + 2) * 11


# What sums start from


def test_of_slots_that_are_added_to_twice_the_first_time_alone_starts_them() -> None:
    row = View(0, (1,))
    first = Instruction((4,), View(10, (1,)), 0, (row,), accumulate=True)
    second = Instruction((8,), View(10, (1,)), 0, (View(2, (1,)),), accumulate=True)
    program = plain_program([float(i) for i in range(30)], first, second)
    found = outputs_of(Runner(program, code=code_for(program, rolled=False)), [])
    assert found.tolist() == expected(program, []).tolist()


def test_inputs_may_be_added_to() -> None:
    add = Instruction((3,), View(0, (1,)), 0, (View(1, (1,)),), accumulate=True)
    program = plain_program([0.0] * 4, Instruction((4,), View(0, (1,)), 1.0, (), True), add)
    program.inputs = np.arange(1)
    for number in (5.0, 7.0):
        runner = Runner(program, code=code_for(program, rolled=False))
        want = expected(program, [number]).tolist()
        assert outputs_of(runner, [number]).tolist() == want


def test_every_block_of_lanes_starts_its_sums_anew() -> None:
    add = Instruction((4,), View(8, (0,)), ("*", (0, 1)), (View(0, (1,)), View(4, (1,))), True)
    program = laned_program(add, laned=9, inputs=8)
    program.template[8] = 3.0
    inputs = [np.arange(100.0) + i for i in range(8)]
    code = code_for(program, lanes=True, width=HOST.width(64))
    found = outputs_of(Runner(program, 100, threads=1, code=code), inputs)
    assert found.tolist() == expected(program, inputs, 100).tolist()
