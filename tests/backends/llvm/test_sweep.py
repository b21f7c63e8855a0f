"""Rows of numbers in one pass, as the reference has them bit for bit."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import ctypes

from gradloom.backends import numpy as reference
from gradloom.backends.llvm.sweep import swept
from gradloom.loom.program import Instruction, Program
from gradloom.loom.views import View

STEPS = [  # of rows at 0, 100 and 200, and single numbers at 300 and 301
    (100, ("*", (("+", (0, 1)), 2)), (0, 100, 300)),
    (200, ("/", (("sqrt", (0,)), ("+", (1, 0.5)))), (100, 301)),
    (0, ("-", (0, ("max", (1, 2)))), (0, 100, 200)),
]


def program(size, steps=STEPS):
    rng = np.random.default_rng(0)
    nothing = np.zeros(0, dtype=np.int64)
    return Program(
        template=rng.uniform(-1, 3, 302),
        inputs=nothing,
        parameters=nothing,
        values=[],
        instructions=[
            Instruction(
                (size,),
                View(out, (1,)),
                body,
                tuple(View(at, (0 if at >= 300 else 1,)) for at in operands),
                accumulate=False,
            )
            for out, body, operands in steps
        ],
        outputs=np.arange(302),
        guards=[],
        laned=np.zeros(302, dtype=bool),
    )


@pytest.mark.parametrize("size", [2, 3, 7, 8, 9, 16, 33, 100])
def test_numbers_are_those_of_one_instruction_after_another(size):
    made = program(size)
    expected = reference.Runner(made).run([])
    arena = made.template.copy()
    code = swept(made, 64)
    assert code is not None
    code.function("before", *[ctypes.c_void_p] * 3)(arena.ctypes.data, None, None)
    np.testing.assert_array_equal(arena, expected)


def test_what_is_no_sweep_is_left_to_kernels():
    made = program(50)
    first = made.instructions[0]
    for other in (
        replace(first, accumulate=True),
        replace(first, out=View(100, (2,))),
        replace(first, out=View(120, (1,))),  # overlaps the row at 100
        replace(first, operands=(View(0, (-1,)), *first.operands[1:])),
        replace(first, operands=(*first.operands[:2], View(101, (0,)))),  # in a row itself
        replace(first, shape=()),
    ):
        assert swept(replace(made, instructions=[other, *made.instructions[1:]]), 64) is None
