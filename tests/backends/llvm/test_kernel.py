"""Kernels of every shape on every machine that this one can stand in for, against NumPy."""

import dataclasses
import itertools
import math
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gradloom.backends.llvm.native import Runner
from gradloom.backends.llvm.target import Target
from gradloom.backends.numpy import Runner as Reference
from gradloom.loom.program import Body, Instruction, Program
from gradloom.loom.views import View, slots_of
from native_code import TARGETS, code_for, exact, expected, inputs_for, outputs_of
from programs import plain_program, random_program

FEW = settings(deadline=None, max_examples=25, derandomize=True)
MANY = settings(deadline=None, max_examples=800)
targets = st.sampled_from(TARGETS)
randoms = st.integers(0, 2**32).map(Random)


def agrees(random: Random, target: Target, bits: int, *, rolled: bool, **options: bool) -> None:
    """Whole numbers come out as NumPy's, to the last bit."""
    program = random_program(random, **options)
    inputs = inputs_for(program, random, None)
    want = expected(program, inputs)
    assume(exact(want, bits))
    runner = Runner(program, bits=bits, code=code_for(program, target, bits, rolled=rolled))
    np.testing.assert_array_equal(outputs_of(runner, inputs), want)


@FEW
@given(randoms, targets, st.sampled_from([64, 32]), st.booleans(), st.booleans())
def test_instructions_give_what_numpy_gives(
    random: Random, target: Target, bits: int, rolled: bool, muted: bool
) -> None:
    agrees(random, target, bits, rolled=rolled, muted=muted)


@pytest.mark.slow
@MANY
@given(randoms, targets, st.sampled_from([64, 32]), st.booleans(), st.booleans())
def test_many_instructions_give_what_numpy_gives(
    random: Random, target: Target, bits: int, rolled: bool, muted: bool
) -> None:
    agrees(random, target, bits, rolled=rolled, muted=muted)


def agrees_strictly(random: Random, target: Target) -> None:
    """Real numbers come out as NumPy's to the last bit if nothing is reordered or contracted."""
    program = random_program(random, real=True, ordered=True)
    inputs = inputs_for(program, random, None, real=True)
    want = expected(program, inputs)
    found = outputs_of(Runner(program, code=code_for(program, target, strict=True)), inputs)
    np.testing.assert_array_equal(found, want)
    numbers = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(found[numbers]), np.signbit(want[numbers]))


@FEW
@given(randoms, targets)
def test_strict_instructions_round_as_numpy_does(random: Random, target: Target) -> None:
    agrees_strictly(random, target)


@pytest.mark.slow
@MANY
@given(randoms, targets)
def test_many_strict_instructions_round_as_numpy_does(random: Random, target: Target) -> None:
    agrees_strictly(random, target)


BODIES: list[Body] = [
    ("*", (0, 1)),
    ("*", (("exp", (0,)), ("sin", (1,)))),
    ("tanh", (("-", (0, 1)),)),
    ("/", (0, ("+", (("square", (1,)), 0.5)))),
    ("sigmoid", (("*", (("log", (("+", (2.5, 0)),)), 1)),)),
]


@pytest.mark.parametrize("body", BODIES, ids=repr)
@pytest.mark.parametrize("target", TARGETS, ids=range(len(TARGETS)))
def test_sums_err_by_little_of_their_terms(body: Body, target: Target) -> None:
    random = Random(repr(body))
    for shape, bits in itertools.product([(7, 33), (5, 16, 3)], (64, 32)):
        numbers = [random.uniform(-2, 2) for _ in range(300)]
        rows = tuple([math.prod(shape[i + 1 :]) for i in range(len(shape))])
        columns = tuple([math.prod(shape[:i]) for i in range(len(shape))])
        # Each sum over one of the axes, or all.
        for kept in [(), *[(i,) for i in range(len(shape))]]:
            strides = tuple([int(i in kept) for i in range(len(shape))])
            views = View(0, rows), View(40, columns)
            one = Instruction(shape, View(600, strides), body, views, accumulate=True)
            size = Instruction(shape, View(650, strides), ("abs", (body,)), views, accumulate=True)
            program = plain_program([*numbers, *numbers, *[0.0] * 100], one, size)
            want = expected(program, [])
            found = outputs_of(Runner(program, bits=bits, code=code_for(program, target, bits)), [])
            places = 600 + np.arange(50)
            scale = np.maximum(1e-300, want[places + 50])
            error = np.abs(found[places] - want[places]) / scale
            assert error.max() < (1e-14 if bits == 64 else 1e-6)


def found_by(program: Program, target: Target = TARGETS[0], **options: bool) -> list[float]:
    """What a program without inputs comes to."""
    return outputs_of(Runner(program, code=code_for(program, target, **options)), []).tolist()


@pytest.mark.parametrize("target", TARGETS, ids=range(len(TARGETS)))
def test_operands_at_even_steps_may_lie_far_apart_along_the_results(target: Target) -> None:
    # So far apart that copying them first would pay, if there were but one.
    numbers = [float(i % 19 - 9) for i in range(1000)]
    views = tuple([View(23 * i, (10, 1, 0, 80)) for i in range(4)])
    for symbol in ("sum", "max", "min"):
        body = symbol, (0, 1, 2, 3)
        one = Instruction((8, 10, 8, 3), View(1000, (30, 3, 240, 1)), body, views, False)
        program = plain_program([*numbers, *[0.0] * 1920], one)
        assert found_by(program, target) == expected(program, []).tolist()


def test_sums_that_start_from_zeros_of_either_sign_keep_them() -> None:
    zero = View(0, ())
    ones = [Instruction((), View(i, ()), 0, (zero,), accumulate=True) for i in (1, 2)]
    rows = [Instruction((5,), View(3 + 5 * i, (1,)), 0, (View(0, (0,)),), True) for i in (0, 1)]
    program = plain_program([-0.0, -0.0, 0.0, *[-0.0] * 5, *[0.0] * 5], *ones, *rows)
    found = np.signbit(found_by(program, rolled=False)).tolist()
    assert found == [True, True, False, *[True] * 5, *[False] * 5]


def test_sums_in_order_may_overlap() -> None:
    numbers = [10.0 ** (i % 17) * (-1) ** i / 3 for i in range(200)]
    views = (View(0, (20, 5, 1)),)
    for strides in itertools.product([0, 1, 2], repeat=3):
        one = Instruction((8, 4, 5), View(200, strides), 0, views, True, ordered=True)
        program = plain_program([*numbers, *[-0.0] * 40], one)
        arena = list(program.template)
        for out, place in zip(
            slots_of(one.out, one.shape).flat, slots_of(views[0], one.shape).flat, strict=True
        ):
            arena[out] += arena[place]
        for target in TARGETS:
            assert found_by(program, target, strict=True) == arena


@pytest.mark.parametrize("accumulate", [False, True])
def test_muted_results_are_stored_or_added(accumulate: bool) -> None:
    for shape in ((), (3,), (3, 7)):
        dull, views = (0,) * len(shape), []
        for place in (0, 1):
            views.append(View(place, dull))
        out = View(2, (7, 1)[: len(shape)])
        body = "*", (("reciprocal", (0,)), ("square", (1,)))
        one = Instruction(shape, out, body, tuple(views), accumulate, muted=(1,))
        program = plain_program([0.0, 0.0, *[5.0] * 30], one)
        want = 5.0 if accumulate else 0.0
        assert Reference(program).run([])[2] == want
        for target in TARGETS:
            assert found_by(program, target)[2] == want


@pytest.mark.parametrize("target", TARGETS, ids=range(len(TARGETS)))
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_one_muted_term_leaves_the_rest_of_its_sum(target: Target, bad: float) -> None:
    for rows, length in itertools.product((1, 5, 16), (1, 7, 8, 9, 17, 40)):
        # The last term of the last row is inf or nan, and muted by a 0; all others are 1.
        first = [1.0] * (rows * length - 1) + [bad]
        second = [1.0] * (rows * length - 1) + [0.0]
        views = View(0, (length, 1)), View(rows * length, (length, 1))
        for strides, size in (((1, 0), rows), ((0, 1), length)):
            out = View(2 * rows * length, strides)
            one = Instruction((rows, length), out, ("*", (0, 1)), views, True, muted=(1,))
            program = plain_program([*first, *second, *[-0.0] * size], one)
            sums = found_by(program, target)[-size:]
            each = rows * length // size
            assert sums == [float(each)] * (size - 1) + [each - 1.0]


def test_a_result_may_take_the_place_of_its_operand() -> None:
    for size, target in itertools.product((1, 7, 8, 9, 40), TARGETS):
        place = View(0, (1,))
        body = "-", (("*", (0, 0)), 1)
        first = Instruction((size,), View(50, (1,)), ("+", (0, 1.0)), (place,), accumulate=False)
        again = Instruction((size,), View(50, (1,)), body, (View(50, (1,)), place), False)
        program = plain_program([float(i % 7) for i in range(100)], first, again)
        assert found_by(program, target, rolled=False) == expected(program, []).tolist()


def test_a_narrower_machine_has_narrower_vectors() -> None:
    widths = [target.width(64) for target in TARGETS]
    assert widths[-1] == 1
    assert widths[2] == 2
    assert dataclasses.replace(TARGETS[0], vector=0).width(32) == 1
