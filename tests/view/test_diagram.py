"""What a picture is made from: nodes, and gradients that are computed or not."""

import copy

import pytest

import gradloom as gl
from gradloom import Value, nn
from gradloom.view.diagram import Diagram, Node, diagram_of


def labelled(diagram: Diagram, label: str) -> Node:
    (found,) = [node for node in diagram.nodes if node.label == label]
    return found


def test_operands_come_before_what_was_made_from_them() -> None:
    a, b = Value(2.0), Value(3.0)
    diagram = diagram_of([(a * b + a).tanh() / b])
    assert all(x < i for i, node in enumerate(diagram.nodes) for x in node.operands)


def test_a_shared_node_stands_once_and_a_plain_number_where_it_is_used() -> None:
    a = Value(2.0)
    diagram = diagram_of([a * 3.0 + a * 3.0])
    assert [node.kind for node in diagram.nodes].count("leaf") == 1
    assert [node.kind for node in diagram.nodes].count("constant") == 2


def test_drawing_does_not_change_the_graph() -> None:
    x = Value(2.0)
    y = 1.0 - x * 3.0
    diagram_of([y])
    assert y._operands[0] == 1.0
    assert type(y._operands[0]) is float


def test_the_order_of_operands_is_kept_with_plain_numbers_on_either_side() -> None:
    x = Value(2.0, label="x")
    for y, shown in ((1.0 - x, [1.0, 2.0]), (x - 1.0, [2.0, 1.0])):
        diagram = diagram_of([y])
        assert [diagram.nodes[i].data for i in diagram.nodes[-1].operands] == shown


def test_no_gradient_is_computed_before_a_pass() -> None:
    a, b = Value(2.0, label="a"), Value(3.0, label="b")
    assert {node.grad for node in diagram_of([a * b + a]).nodes} == {None}


def test_after_a_pass_gradients_are_what_it_found() -> None:
    a, b = Value(2.0, label="a"), Value(3.0, label="b")
    y = a * b
    y.backward()
    diagram = diagram_of([y])
    assert (labelled(diagram, "a").grad, labelled(diagram, "b").grad) == (3.0, 2.0)
    assert diagram.nodes[-1].grad == 1.0


def test_a_gradient_that_came_out_as_zero_is_zero() -> None:
    a, b = Value(-2.0, label="a"), Value(3.0, label="b")
    y = (a * b).relu()
    y.backward()
    diagram = diagram_of([y])
    assert labelled(diagram, "a").grad == 0.0
    assert [node.grad for node in diagram.nodes if node.kind == "result"] == [0.0, 1.0]


def test_a_leaf_that_was_reset_is_not_computed() -> None:
    a, b = Value(2.0, label="a"), Value(3.0, label="b")
    y = a * b
    y.backward()
    a.grad = 0.0
    diagram = diagram_of([y])
    assert labelled(diagram, "a").grad is None
    assert labelled(diagram, "b").grad == 2.0


def test_a_parameter_is_computed_by_the_same_rule() -> None:
    neuron = nn.Neuron(1, seed=1)
    y = neuron([2.0])
    assert labelled(diagram_of([y]), "b").grad is None
    y.backward()
    assert labelled(diagram_of([y]), "b").grad == neuron.b.grad
    neuron.zero_grad()
    assert labelled(diagram_of([y]), "b").grad is None


def test_a_part_that_no_pass_reached_is_not_computed() -> None:
    a = Value(2.0)
    y, z = a * 2.0, a * 3.0
    y.backward()
    diagram = diagram_of([y, z])
    assert [node.grad for node in diagram.nodes if node.kind == "result"] == [1.0, None]


def test_a_copied_graph_is_as_computed_as_the_original() -> None:
    y = Value(2.0) * 3.0
    assert diagram_of([copy.deepcopy(y)]).nodes[-1].grad is None


def test_a_graph_of_any_depth_will_do() -> None:
    x = Value(1.0)
    for _ in range(5_000):
        x = x * 1.0
    assert len(diagram_of([x]).nodes) == 10_001


def test_the_call_of_a_compiled_function_has_no_number_of_its_own() -> None:
    pytest.importorskip("numpy")
    w = Value(2.0)
    y = gl.compile(lambda x: w * x)(3.0)
    y.backward()
    diagram = diagram_of([y])
    assert [node.data for node in diagram.nodes] == [None, None, 6.0]
    assert diagram.nodes[-1].grad == 1.0
