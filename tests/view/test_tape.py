"""The engine of the page, against the engine itself."""

import json
import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from gradloom import Value, nn
from gradloom.core import ops
from gradloom.view.document import as_json
from gradloom.view.explore import _boxed, _document

pytest.importorskip("py_mini_racer")

from gradloom.view.layout import engine

PASS = """(doc, order, leftover) => {
  tape.prepare(scene.read(doc));
  const right = tape.order(doc);
  const truth = tape.backward(doc, right, right.length).grads;
  const used = order === "right" ? right : tape.naive(doc)[order];
  return { grads: tape.backward(doc, used, used.length, leftover ? truth : null).grads, truth };
}"""
EDIT = """(doc, node, number) => {
  tape.prepare(scene.read(doc));
  doc.data[node] = number;
  tape.evaluate(doc);
  const order = tape.order(doc);
  return { data: doc.data, grads: tape.backward(doc, order, order.length).grads };
}"""


def in_page(script: str, value: Value, *arguments: object) -> Any:
    rest = "".join(f", {json.dumps(argument)}" for argument in arguments)
    code = f"JSON.stringify(({script})({as_json(_document(_boxed(value)))}{rest}))"
    return json.loads(engine("scene.js", "ops.js", "tape.js").eval(code))


STEPS: list[Callable[[Value, Value], Value]] = [
    lambda a, b: a * b,
    lambda a, b: a - b,
    lambda a, b: a / (b * b + 1.0),
    lambda a, b: a.tanh() + b,
    lambda a, b: (a * 0.5).sin() - b,
    lambda a, b: (a - b).relu(),
    lambda a, b: ops.max(a, b, 0.3),
    lambda a, b: ops.dot([a, b], [b, 2.0]),
    lambda a, b: (a * a + b * b + 0.1) ** 0.5,
    lambda a, b: ops.where(a > b, a, b),
]


def random_value(seed: int, size: int = 60) -> tuple[Value, list[Value]]:
    """An expression in which much is shared, and its leaves."""
    rng = random.Random(seed)
    leaves = [Value(rng.uniform(0.2, 1.5), label=f"x{i}") for i in range(4)]
    pool = list(leaves)
    for _ in range(size):
        pool.append(rng.choice(STEPS)(rng.choice(pool), rng.choice(pool)).tanh())
    return ops.sum(pool[-12:]), leaves


def close(ours: float, theirs: float | None) -> bool:
    return math.isclose(ours, theirs or 0.0, rel_tol=1e-9, abs_tol=1e-12)


@pytest.mark.parametrize("seed", range(25))
def test_a_pass_gives_the_gradients_of_the_engine(seed: int) -> None:
    value, leaves = random_value(seed)
    found = in_page(PASS, value, "right", False)["grads"]
    value.backward()
    diagram = _boxed(value)
    for i, node in enumerate(diagram.nodes):
        if node.kind == "result":
            assert close(node.grad or 0.0, found[i])
    for leaf in leaves:
        places = [i for i, known in diagram.leaves.items() if known is leaf]
        assert all(close(leaf.grad, found[i]) for i in places)


@pytest.mark.parametrize("seed", range(25))
def test_an_edited_leaf_gives_what_the_engine_gives(seed: int) -> None:
    value, leaves = random_value(seed)
    diagram = _boxed(value)
    node, leaf = next(iter(diagram.leaves.items()))
    found = in_page(EDIT, value, node, 0.77)
    again, others = random_value(seed)
    others[leaves.index(leaf)].data = 0.77
    rebuilt, _ = rebuild(again)
    assert close(rebuilt.data, found["data"][diagram.roots[0]])
    rebuilt.backward()
    assert close(others[leaves.index(leaf)].grad, found["grads"][node])


def rebuild(value: Value) -> tuple[Value, int]:
    """The same expression computed again from its leaves."""
    from gradloom.core.table import OPS, apply
    from gradloom.view.diagram import _ordered

    made: dict[int, Value] = {}
    for each in _ordered([value]):
        operands = [x if type(x) is float else made[id(x)] for x in each._operands]
        made[id(each)] = apply(OPS[each._op], *operands) if each._op else each
    return made[id(value)], len(made)


def test_without_a_reset_a_second_pass_doubles_the_leaves_and_nothing_else() -> None:
    value, _ = random_value(3)
    found = in_page(PASS, value, "right", True)
    for node, grad, truth in zip(_boxed(value).nodes, found["grads"], found["truth"], strict=True):
        if node.kind == "leaf" and truth is not None:
            assert close(2.0 * truth, grad)
        elif node.kind == "result":
            assert grad == truth


def test_without_the_topological_order_a_shared_result_hands_on_too_little() -> None:
    a = Value(2.0, label="a")
    b = a * 3.0
    c = b * b.tanh()
    wrong = [in_page(PASS, c, order, False) for order in range(3)]
    assert any(one["grads"][0] != one["truth"][0] for one in wrong)


def test_in_a_tree_any_order_will_do() -> None:
    value = Value(2.0).tanh() * Value(3.0).exp() + Value(1.0)
    for order in range(3):
        found = in_page(PASS, value, order, False)
        assert found["grads"] == found["truth"]


def test_a_network_in_the_page_is_the_network() -> None:
    model = nn.MLP(2, [4, 1], "gelu", seed=1)
    loss = (model([0.5, -0.2]) - 1.0) ** 2
    found = in_page(PASS, loss, "right", False)["grads"]
    diagram = _boxed(loss)
    loss.backward()
    for i, leaf in diagram.leaves.items():
        assert close(leaf.grad, found[i])
