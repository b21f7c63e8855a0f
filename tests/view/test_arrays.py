"""A compiled function as scalars and as arrays."""

from collections import Counter

import pytest

pytest.importorskip("numpy")

import gradloom as gl
from gradloom import Value, nn
from gradloom.errors import ArgumentError
from gradloom.view.arrays import Step, compiled_diagram
from gradloom.view.diagram import Diagram
from gradloom.view.explore import _names


def explored(f: gl.Compiled, *args: object) -> tuple[Diagram, list[Step]]:
    return compiled_diagram(f, args, _names(f, args))


def moons() -> tuple[gl.Compiled, list[list[float]], list[float]]:
    model = nn.MLP(2, [4, 3, 1], "relu", seed=1)

    @gl.compile
    def loss(xs: list[list[float]], ys: list[float]) -> Value:
        scores = [model(x) for x in xs]
        return sum((1 - y * s).relu() for y, s in zip(ys, scores, strict=True)) / len(ys)

    loss.model = model  # type: ignore[attr-defined]
    xs = [[i / 7, (i * i % 5) / 5] for i in range(6)]
    return loss, xs, [1.0, -1.0, 1.0, 1.0, -1.0, -1.0]


def test_the_scalars_have_the_numbers_of_the_function() -> None:
    loss, xs, ys = moons()
    diagram, _ = explored(loss, xs, ys)
    assert diagram.nodes[diagram.roots[0]].data == pytest.approx(loss(xs, ys).data, rel=1e-12)
    labels = {node.label for node in diagram.nodes}
    assert {"xs0_0", "xs5_1", "ys3", "w0", "b"} <= labels


def test_modules_are_boxed_as_in_the_plain_function() -> None:
    loss, xs, ys = moons()
    diagram, _ = explored(loss, xs, ys)
    assert Counter(box.title for box in diagram.boxes)["MLP"] == 6


def test_each_result_knows_its_line() -> None:
    loss, xs, ys = moons()
    diagram, _ = explored(loss, xs, ys)
    places = {node.place.partition(": ")[2] for node in diagram.nodes if node.kind == "result"}
    assert places == {
        "scores = [model(x) for x in xs]",
        "return sum((1 - y * s).relu() for y, s in zip(ys, scores, strict=True)) / len(ys)",
    }


def test_each_result_belongs_to_an_instruction_and_each_instruction_has_some() -> None:
    loss, xs, ys = moons()
    diagram, steps = explored(loss, xs, ys)
    covered = {i for step in steps for i in step.nodes}
    results = {i for i, node in enumerate(diagram.nodes) if node.kind == "result"}
    assert results <= covered
    assert all(step.nodes for step in steps)
    code = [step.text for step in steps if step.kind == "code"]
    assert len(code) == len(loss.program.flat)


def test_a_map_stands_for_as_many_scalars_as_it_has_turns() -> None:
    loss, xs, ys = moons()
    diagram, steps = explored(loss, xs, ys)
    for step in steps:
        if "= relu(" in step.text:
            assert len(step.nodes) == int(step.shape)
            assert {diagram.nodes[i].op for i in step.nodes} == {"relu"}


def test_an_instruction_reads_what_came_before_it() -> None:
    loss, xs, ys = moons()
    _, steps = explored(loss, xs, ys)
    assert [step.kind for step in steps[:2]] == ["leaf", "parameter"]
    for i, step in enumerate(steps):
        assert all(x < i for x in step.reads)
    assert all(step.reads for step in steps if step.kind == "code")


def test_what_a_recurrence_repeats_is_shown_once() -> None:
    def cells(x: Value, w: Value) -> Value:
        for _ in range(50):
            x = (w * x + 0.1).tanh()
        return x

    diagram, steps = explored(gl.compile(cells), 0.5, 0.7)
    assert len(steps) < 10
    assert any(step.shape.startswith(("49 turns", "50 turns")) for step in steps)
    assert {i for step in steps for i in step.nodes} >= {
        i for i, node in enumerate(diagram.nodes) if node.kind == "result"
    }


def test_a_function_of_many_results_is_an_error_that_says_so() -> None:
    both = gl.compile(lambda x: [x, x * 2.0])
    with pytest.raises(ArgumentError, match="gives 2 numbers"):
        explored(both, 1.0)
