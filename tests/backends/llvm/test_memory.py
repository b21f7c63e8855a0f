"""Where the numbers of an exported program lie."""

from typing import Any

import numpy as np

import gradloom as gl
from gradloom.backends.llvm.lowering import Call, Repeat
from gradloom.backends.llvm.memory import (
    CONSTANTS,
    INPUTS,
    OUTPUTS,
    PARAMETERS,
    WORKSPACE,
    Placed,
    place,
)
from gradloom.backends.llvm.target import Target
from gradloom.loom.program import Program
from gradloom.loom.record import record
from gradloom.loom.weave import weave

SCALAR = Target("", "", "", vector=0)


def woven(f: Any, *arguments: Any) -> Program:
    return weave(record(f, *arguments)[0])


def spaces(placed: Placed) -> set[str]:
    found: set[str] = set()
    parts = list(placed.parts)
    while parts:
        part = parts.pop()
        if isinstance(part, Repeat):
            parts += part.body
        else:
            found |= {*part.spaces}
    return found


def numbers(program: Program) -> Any:
    return np.array([value.data for value in program.values])


def layers(xs: Any, weights: Any) -> Any:
    for layer in weights:
        xs = [gl.tanh(gl.sum([w * x for w, x in zip(row, xs, strict=True)])) for row in layer]
    return xs


WEIGHTS = [[[gl.Value(0.01 * (i + j + k)) for k in range(8)] for j in range(8)] for i in range(6)]


def test_constants_are_the_parameters_alone_where_they_are_read() -> None:
    program = woven(lambda xs: layers(xs, WEIGHTS), [0.1] * 8)
    placed = place(program, SCALAR, 64, numbers(program))
    assert sorted(placed.constants) == sorted(numbers(program))
    assert spaces(placed) == {INPUTS, CONSTANTS, WORKSPACE, OUTPUTS}


def test_passed_parameters_are_read_where_the_caller_has_them() -> None:
    program = woven(lambda xs: layers(xs, WEIGHTS), [0.1] * 8)
    placed = place(program, SCALAR, 64)
    assert len(placed.constants) == 0
    assert spaces(placed) == {INPUTS, PARAMETERS, WORKSPACE, OUTPUTS}


def test_layers_take_turns_in_the_workspace() -> None:
    one, many = (
        place(program, SCALAR, 64, numbers(program)).workspace
        for program in (
            woven(lambda xs: layers(xs, WEIGHTS[:2]), [0.1] * 8),
            woven(lambda xs: layers(xs, WEIGHTS), [0.1] * 8),
        )
    )
    assert one == many <= 3 * 8


def test_nothing_that_is_still_read_is_overwritten() -> None:
    """Each number of the workspace, followed through the calls, has the reader it was made for."""
    program = woven(lambda xs: [*layers(xs, WEIGHTS), gl.sum(xs)], [0.1] * 8)
    placed = place(program, SCALAR, 64, numbers(program))
    writers: dict[int, int] = {}
    for time, part in enumerate(placed.parts):
        assert isinstance(part, Call)
        for i, (space, offset) in enumerate(zip(part.spaces, part.offsets, strict=True)):
            if space == WORKSPACE:
                assert 0 <= offset < placed.workspace
                if i == 0:
                    writers[offset] = time
                else:
                    assert offset in writers


def test_a_program_that_copies_needs_no_workspace() -> None:
    placed = place(woven(lambda xs: xs[::-1], [1.0, 2.0, 3.0]), SCALAR, 64, np.zeros(0))
    assert placed.workspace == 0
    assert spaces(placed) == {INPUTS, OUTPUTS}


def test_guards_have_places_that_last() -> None:
    def f(xs: Any) -> Any:
        if xs[0] > 1.0:
            xs = [gl.sin(x) for x in xs]
        for _ in range(6):
            xs = [gl.exp(-x) for x in xs]
        return xs

    program = woven(f, [2.0] * 16)
    placed = place(program, SCALAR, 64, np.zeros(0))
    (((space, offset), number),) = placed.guards
    assert (space, number) == (WORKSPACE, 1.0)
    written = [
        part.offsets[0]
        for part in placed.parts
        if isinstance(part, Call) and part.spaces[0] == WORKSPACE
    ]
    assert written.count(offset) == 1


def test_a_long_recurrence_stays_a_loop() -> None:
    from gradloom.loom.roll import roll

    def f(x: Any) -> Any:
        for _ in range(500):
            x = gl.sin(gl.exp(x))
        return x

    placed = place(roll(woven(f, 1.0)), SCALAR, 64, np.zeros(0))
    assert len(placed.parts) < 8
    assert any(isinstance(part, Repeat) and part.count > 400 for part in placed.parts)
