"""How large graphs fold."""

import random

import gradloom as gl
from gradloom import Value, nn
from gradloom.view.boxes import put_in_boxes
from gradloom.view.diagram import diagram_of
from gradloom.view.folds import Fold, folds_of


def folded(*roots: Value) -> list[Fold]:
    diagram = diagram_of(roots)
    put_in_boxes(diagram)
    return folds_of(diagram)


def around(folds: list[Fold]) -> list[tuple[str, str, int]]:
    """The outermost folds."""
    return [(fold.kind, fold.title, len(fold.items)) for fold in folds[1:] if fold.parent == 0]


def test_every_node_is_in_the_tree_once() -> None:
    model = nn.MLP(2, [4, 1], seed=1)
    loss = sum((model([float(i), 1.0]) - 1.0) ** 2 for i in range(20))
    diagram = diagram_of([loss])
    put_in_boxes(diagram)
    folds = folds_of(diagram)
    items = [item for fold in folds for item in fold.items]
    assert sorted(item for item in items if item >= 0) == list(range(len(diagram.nodes)))
    assert sorted(-item for item in items if item < 0) == list(range(1, len(folds)))
    assert folds[0].size == len(diagram.nodes)


def test_a_layer_of_sixteen_is_one_neuron_sixteen_times() -> None:
    layer = nn.Layer(2, 16, seed=1)
    folds = folded(*layer([1.0, 2.0]))
    (repeat,) = [fold for fold in folds if fold.kind == "repeat" and fold.title == "Neuron"]
    assert len(repeat.items) == 16


def test_a_loss_over_samples_reads_like_a_loss_over_one() -> None:
    model = nn.MLP(2, [4, 1], seed=1)
    xs = [[Value(float(i)), Value(1.0)] for i in range(50)]
    loss = sum((model(x) - 1.0) ** 2 for x in xs)
    names = around(folded(loss))
    assert ("repeat", "MLP", 50) in names
    assert ("repeat", "**", 50) in names
    assert ("chain", "+", 50) in names
    assert len(names) < 12


def test_parts_that_are_read_differently_are_not_the_same() -> None:
    xs = [Value(float(i)) for i in range(4)]
    terms = [xs[0].tanh(), xs[1].tanh() * 2.0, xs[2].tanh() * 2.0, xs[3].exp()]
    folds = folded(gl.sum(terms))
    assert ("repeat", "tanh", 2) in around(folds)


def test_where_nothing_repeats_there_are_runs() -> None:
    x, rng = Value(0.5), random.Random(0)
    for _ in range(3_000):
        x = x.sin() if rng.random() < 0.5 else x.exp()
    folds = folded(x)
    assert max(len(fold.items) for fold in folds) <= 48
    assert folds[0].size == 3_001


def test_the_parts_are_found_in_the_same_order_each_time() -> None:
    model = nn.MLP(2, [4, 1], seed=1)
    loss = sum(model([float(i), 1.0]) for i in range(5))
    assert folded(loss) == folded(loss)


def test_the_steps_of_a_recurrence_are_one_part_that_says_how_often() -> None:
    z = Value(0.5)
    for _ in range(100):
        z = (z * 1.01 + 0.1).tanh()
    repeats = [fold for fold in folds_of(diagram_of([z])) if fold.kind == "repeat"]
    assert [(fold.title, len(fold.items), fold.size) for fold in repeats] == [
        ("* + tanh", 99, 495)  # each three results and two constants; the last reads otherwise
    ]
    assert "× 99" in z.draw().svg
