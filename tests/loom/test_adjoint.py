"""Adjoints: what they leave out."""

import gradloom as gl
from gradloom.loom.adjoint import adjoint
from gradloom.loom.record import record
from gradloom.loom.weave import weave


def backward(f: object, *args: object) -> list[str]:
    graph, _ = record(f, *args)
    program = weave(graph)
    reverse = adjoint(program, program.inputs)
    return [str(i) for i in reverse.instructions[len(program.instructions) :]]


def test_nothing_goes_back_through_what_is_only_read_detached() -> None:
    steps = backward(lambda xs: xs[0] * gl.detach(gl.max(xs)), [1.0, 2.0, 3.0])
    assert not any("equal" in step for step in steps)  # of which the slope of max is made


def test_nothing_goes_back_to_what_no_input_moves() -> None:
    w = gl.Value(2.0)
    assert len(backward(lambda x: x * gl.exp(gl.sin(w)), 1.0)) == 1
