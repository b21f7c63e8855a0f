"""Programs as machine code for several machines that this one can stand in for."""

import dataclasses
import math
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.backends import numpy as reference
from gradloom.backends.llvm import native
from gradloom.backends.llvm import target as targets
from gradloom.backends.llvm.library import library
from gradloom.backends.llvm.lowering import lower
from gradloom.backends.llvm.module import written
from gradloom.backends.llvm.target import Target
from gradloom.loom.program import Program

HOST = targets.host()


def _less(**features: Any) -> Target:
    """This machine with less than it has."""
    vector = min(HOST.vector, features.pop("vector"))
    return dataclasses.replace(HOST, vector=vector, registers=16, masked=False, **features)


TARGETS = [
    HOST,
    dataclasses.replace(_less(vector=256), masked=HOST.masked),
    _less(vector=128),
    _less(vector=256, fused=False, rounds=False),
    _less(vector=0),
]


def code_for(
    program: Program,
    target: Target = HOST,
    bits: int = 64,
    *,
    lanes: bool = False,
    strict: bool = False,
    width: int = 0,
    rolled: bool = True,
) -> native.Code:
    """The machine code of a program, in blocks of so many lanes."""
    if rolled:
        program = native.rolled(program)
    lowered = lower(program, target, bits, lanes=lanes, width=width)
    module = written(program, lowered, target, bits, strict=strict)
    return native.Code(lowered=lowered, library=library(module, target), work=1)


def inputs_for(program: Program, random: Random, lanes: int | None, *, real: bool = False) -> Any:
    """Numbers for a program's inputs."""

    def number() -> float:
        return random.uniform(-2, 2) if real else float(random.choice([-2, -1, 0, 1, 2]))

    return [
        np.array([number() for _ in range(lanes)]) if lanes and program.laned[slot] else number()
        for slot in program.inputs
    ]


def outputs_of(runner: Any, inputs: Any) -> NDArray[np.float64]:
    """What a runner finds after a run of nan: that must leave nothing behind."""
    runner.run([x * math.nan for x in inputs])
    found: NDArray[np.float64] = runner.run(inputs)
    return found


def expected(program: Program, inputs: Any, lanes: int | None = None) -> NDArray[np.float64]:
    """What NumPy finds."""
    return outputs_of(reference.Runner(program, lanes), inputs)


def exact(numbers: NDArray[np.float64], bits: int) -> bool:
    """Whether whole numbers (or halves) of this size are added up without rounding."""
    finite = np.abs(numbers[np.isfinite(numbers)])
    return bool(finite.max(initial=0.0) < (2.0**50 if bits == 64 else 2.0**21))
