"""Which module computed what, with and without notes."""

from collections import Counter

import pytest

import gradloom as gl
from gradloom import Value, nn
from gradloom.view.boxes import put_in_boxes
from gradloom.view.diagram import Diagram, diagram_of


def boxed(*roots: Value) -> Diagram:
    diagram = diagram_of(roots)
    put_in_boxes(diagram)
    return diagram


def signature(diagram: Diagram) -> list[str]:
    """Every node with the titles of the boxes around it."""
    return sorted(
        str((node.op, node.data, [diagram.boxes[box].title for box in diagram.lineage(node.box)]))
        for node in diagram.nodes
    )


class Scaled(nn.Module):
    """A module that is not made of neurons alone."""

    def __init__(self) -> None:
        self.scale = nn.Parameter(2.0)
        self.body = nn.MLP(2, [2, 1], seed=1)

    def __call__(self, x: list[float]) -> Value:
        return self.scale * self.body(x)


@pytest.mark.parametrize("activation", sorted(nn.layers.ACTIVATIONS))
def test_a_neuron_is_boxed_with_its_activation(activation: str) -> None:
    neuron = nn.Neuron(2, activation, seed=1)
    diagram = boxed(neuron([1.0, 2.0]))
    assert [box.title for box in diagram.boxes] == ["", "Neuron"]
    assert {node.box for node in diagram.nodes if node.kind == "result"} == {1}
    assert {node.box for node in diagram.nodes if node.kind == "parameter"} == {1}
    inputs = [node.data for node in diagram.nodes if node.box == 0]
    assert inputs == [1.0, 2.0]


def test_what_follows_a_network_is_outside_of_it() -> None:
    neuron = nn.Neuron(1, "linear", seed=1)
    diagram = boxed(neuron([2.0]).tanh() ** 2)
    assert [node.op for node in diagram.nodes if node.box == 0 and node.op] == ["tanh", "**"]


def test_a_penalty_on_the_weights_is_outside_of_the_network() -> None:
    model = nn.MLP(2, [2, 1], seed=1)
    diagram = boxed(model([1.0, 2.0]) + sum(0.1 * p * p for p in model.parameters()))
    inside = [node for node in diagram.nodes if node.kind == "result" and node.box]
    assert Counter(node.op for node in inside) == {"dot": 3, "+": 3, "tanh": 2}


def test_each_call_has_a_box_of_its_own() -> None:
    model = nn.MLP(2, [3, 1], seed=1)
    diagram = boxed(model([1.0, 2.0]) + model([3.0, 4.0]))
    assert Counter(box.title for box in diagram.boxes)["MLP"] == 2
    shared = [node for node in diagram.nodes if node.kind == "parameter"]
    assert {node.box for node in shared} == {0}


def test_an_input_of_many_neurons_stands_once() -> None:
    layer = nn.Layer(2, 3, seed=1)
    diagram = boxed(*layer([1, 1]))
    assert [node.data for node in diagram.nodes if node.box == 0] == [1.0, 1.0]


@pytest.mark.parametrize(
    "samples",
    [[[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]], [[1, 2], [1, 2], [0.5, 2]]],
)
def test_without_notes_the_boxes_are_those_with_notes(samples: list[list[float]]) -> None:
    model = nn.MLP(2, [3, 2, 1], "relu", seed=1)

    def loss() -> Value:
        return sum((model(x) - 1.0) ** 2 for x in samples)  # type: ignore[operator, misc]

    plain = boxed(loss())
    with gl.tracing():
        traced = loss()
    assert signature(plain) == signature(boxed(traced))


def test_notes_tell_of_modules_of_any_kind_and_of_parts_called_through_others() -> None:
    model = Scaled()
    with gl.tracing():
        y = model([1.0, 2.0])
    diagram = boxed(y)
    titles = [box.title for box in diagram.boxes]
    assert titles[:4] == ["", "Scaled", "body MLP", "layers.0 Layer"]
    assert diagram.nodes[-1].box == 1


def test_a_parameter_without_a_label_has_the_name_it_has_in_its_module() -> None:
    model = Scaled()
    diagram = boxed(model([1.0, 2.0]))
    assert "scale" in [node.label for node in diagram.nodes]
