"""Pictures of graphs."""

import math
import random
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import gradloom as gl
from gradloom import Value, nn
from gradloom.errors import ArgumentError, MissingExtraError, NotANumberError
from gradloom.view.draw import Drawing

pytest.importorskip("py_mini_racer")


def texts(drawing: Drawing) -> list[str]:
    root = ElementTree.fromstring(drawing.svg)
    return [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]


def example() -> Value:
    a, b = Value(2.0, label="a"), Value(-3.0, label="b")
    c = a * b + 10.0
    c.label = "c"
    return c


def test_a_value_is_drawn_with_label_data_and_gradient() -> None:
    c = example()
    c.backward()
    found = texts(c.draw())
    assert {"a", "b", "c", "*", "+", "10"} <= set(found)
    assert {"−3", "−6", "4", "2", "1"} <= set(found)
    assert found.count("data") == found.count("grad") == 4


def test_a_gradient_not_computed_is_a_dash() -> None:
    found = texts(example().draw())
    assert found.count("–") == 4
    assert "0" not in found


def disjoint(drawing: Drawing) -> int:
    """How many things are drawn, none of which lies on another."""
    kinds = ("result", "leaf", "parameter", "constant", "fold", "op")
    shapes = drawing._found["shapes"]
    rects = [s["rect"][:4] for s in shapes if "rect" in s and s["cls"] in kinds]
    for i, (x, y, width, height) in enumerate(rects):
        for left, top, wide, high in rects[:i]:
            apart = x + width <= left or left + wide <= x or y + height <= top or top + high <= y
            assert apart
    return len(rects)


def test_a_network_runs_from_left_to_right_and_nothing_overlaps() -> None:
    model = nn.MLP(3, [4, 4, 1], "relu", seed=1)
    drawing = gl.draw(model([1.0, 2.0, 3.0]), limit=300)
    assert disjoint(drawing) == 96
    edges = [s["curve"] for s in drawing._found["shapes"] if s["cls"] == "edge"]
    assert all(curve[0][0] <= curve[-1][0] for curve in edges)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("limit", [10, 40, 400])
def test_whatever_was_computed_nothing_overlaps_and_edges_go_right(seed: int, limit: int) -> None:
    rng = random.Random(seed)
    pool = [Value(rng.random(), label="x" if i % 2 else "") for i in range(4)]
    for _ in range(60):
        a, b = rng.choice(pool), rng.choice(pool)
        pool.append(rng.choice([a * b, a + 1.0, a - b, a.tanh(), gl.max(a, b, 0.5)]))
    drawing = gl.draw(*pool[-3:], limit=limit)
    disjoint(drawing)
    edges = [s["curve"] for s in drawing._found["shapes"] if s["cls"] == "edge"]
    assert limit < 400 or all(curve[0][0] <= curve[-1][0] for curve in edges)


def test_what_is_named_first_stands_on_top() -> None:
    a, b = Value(2.0, label="a"), Value(-3.0, label="b")
    texts_at = {
        s["text"][2]: s["text"][1]
        for s in gl.draw((a * b + a**2).tanh() * a)._found["shapes"]
        if "text" in s
    }
    assert texts_at["a"] < texts_at["b"]


def test_boxes_contain_what_their_module_computed_and_are_titled() -> None:
    model = nn.MLP(2, [2, 1], seed=1)
    drawing = gl.draw(model([1.0, 2.0]))
    assert {"MLP", "layers.0 Layer", "neurons.1 Neuron"} <= set(texts(drawing))
    boxes = [s["rect"] for s in drawing._found["shapes"] if s["cls"].startswith("box ")]
    inside = [s["rect"] for s in drawing._found["shapes"] if s["cls"] == "parameter"]
    x, y, width, height, _ = boxes[0]
    for left, top, wide, high, _ in [*boxes, *inside]:
        assert x <= left <= left + wide <= x + width
        assert y <= top <= top + high <= y + height


def test_a_large_graph_is_folded_and_a_small_one_is_not() -> None:
    model = nn.MLP(2, [16, 16, 1], "relu", seed=1)
    xs = [[Value(i / 10), Value(1.0)] for i in range(50)]
    large = gl.draw(sum((model(x) - 1.0) ** 2 for x in xs))
    assert "× 50" in texts(large)
    assert len(large._found["units"]) < 20
    assert not any("×" in text for text in texts(example().draw()))


def test_the_limit_decides_how_far_it_unfolds() -> None:
    model = nn.MLP(2, [3, 1], seed=1)
    y = model([1.0, 2.0])
    sizes = [len(gl.draw(y, limit=limit)._found["units"]) for limit in (3, 10, 30, 100)]
    assert sizes == sorted(sizes)
    assert sizes[0] <= 3
    assert len(set(sizes)) >= 3


def test_labels_with_signs_of_markup_are_shown_as_they_are(tmp_path: Path) -> None:
    label = '<b> & "$x$" \\'
    drawing = Value(1.0, label=label).draw()
    assert label in texts(drawing)
    assert drawing.save(tmp_path / "x.png").stat().st_size > 500
    assert '\\"$x$\\" \\\\' in drawing.dot


def test_numbers_beyond_the_finite_are_drawn() -> None:
    y = Value(math.inf) * Value(math.nan) + Value(-0.0) + Value(1e-12)
    assert {"∞", "nan", "−0", "1e−12"} <= set(texts(y.draw()))


def test_it_is_readable_in_light_and_dark() -> None:
    svg = example().draw().svg
    assert "prefers-color-scheme: dark" in svg
    used = set(re.findall(r"var\(--(\w+)\)", svg))
    assert used <= set(re.findall(r"--(\w+):", svg))


@pytest.mark.parametrize(
    ("name", "start"),
    [("a.svg", b"<svg"), ("a.png", b"\x89PNG"), ("a.PDF", b"%PDF"), ("a.dot", b"digraph")],
)
def test_it_is_saved_by_the_ending_of_the_name(tmp_path: Path, name: str, start: bytes) -> None:
    path = example().draw().save(tmp_path / name)
    assert path.read_bytes().startswith(start)


def test_another_ending_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"'a\.gif'"):
        example().draw().save(tmp_path / "a.gif")
    assert list(tmp_path.iterdir()) == []


def test_what_is_drawn_in_dot_has_the_same_parts() -> None:
    model = nn.MLP(2, [2, 1], seed=1)
    drawing = gl.draw(model([1.0, 2.0]))
    dot = drawing.dot
    assert dot.count("subgraph") == len(drawing._found["boxes"]) == 6
    assert len(re.findall(r"^ *u\d+ \[", dot, re.MULTILINE)) == len(drawing._found["units"])
    assert dot.count("{") == dot.count("}")


def test_several_values_are_drawn_together() -> None:
    a = Value(2.0, label="a")
    assert texts(gl.draw([a * 2.0, (a * 3.0,)])).count("a") == 1


def test_a_module_is_drawn_without_numbers() -> None:
    found = texts(gl.draw(nn.MLP(2, [3, 1], seed=1)))
    assert {"x0", "x1", "dot", "tanh", "w0", "MLP"} <= set(found)
    assert "data" not in found


def test_a_module_of_another_kind_is_drawn_by_what_it_holds() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            self.first, self.second = nn.Neuron(2), nn.Neuron(2)
            self.scale = nn.Parameter(1.0)

    found = texts(gl.draw(Pair()))
    assert {"Pair", "first Neuron", "second Neuron", "scale", "w0", "b"} <= set(found)


def test_notebooks_show_values_and_modules() -> None:
    for shown in (example(), nn.Neuron(2), nn.MLP(2, [16, 16, 1])):
        assert (shown._repr_svg_() or "").startswith("<svg")
    assert gl.draw(example())._repr_svg_().startswith("<svg")


def test_notebooks_show_text_where_the_library_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from gradloom.view import layout

    layout.engine.cache_clear()
    monkeypatch.setitem(sys.modules, "py_mini_racer", None)
    assert example()._repr_svg_() is None
    with pytest.raises(MissingExtraError, match=r"gradloom\[view\]"):
        example().draw()


def test_bad_input_is_named() -> None:
    with pytest.raises(NotANumberError, match="got 3"):
        gl.draw(3.0)
    with pytest.raises(ArgumentError, match="at least one"):
        gl.draw([])
    with pytest.raises(ArgumentError, match="limit"):
        gl.draw(example(), limit=0)


def test_a_graph_of_twenty_thousand_nodes_is_drawn_small() -> None:
    x = Value(0.5)
    for i in range(10_000):
        x = x * 1.01 if i % 3 else x.sin()
    drawing = x.draw()
    assert len(drawing._found["units"]) <= 70
