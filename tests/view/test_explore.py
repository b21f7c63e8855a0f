"""The explorer, in a browser and around it."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import gradloom as gl
from gradloom import Value, nn
from gradloom.core.table import operation
from gradloom.errors import ArgumentError, NotANumberError
from view.browser import Page


def f(a: Value, b: Value) -> Value:
    c = a * b
    d = c + a**2
    return d.tanh() * c


def explore(what: Any, *args: Any, path: Path) -> Path:
    return gl.explore(what, *args, path=path / "page.html", open=False).path


def document(file: Path) -> dict[str, Any]:
    found = re.search(r'id="document">(.*?)</script>', file.read_text(), re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


def shown(page: Page, key: str) -> list[str]:
    """The texts of a part of the graph."""
    script = (
        f"return [...document.querySelectorAll('[data-key={key}] text')].map(t => t.textContent)"
    )
    return list(page.run(script))


def steps(page: Page, count: int, key: str = "ARROW_RIGHT") -> None:
    page.press(*[key] * count)


def quiet(page: Page, file: Path) -> None:
    assert page.errors() == []
    assert page.requests() == [file.as_uri()]


# The file


def test_the_file_is_whole_and_asks_for_nothing_outside(tmp_path: Path) -> None:
    text = explore(f, 2.0, -0.3, path=tmp_path).read_text()
    assert "{{" not in text.split("<script", maxsplit=1)[0]
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:|//)""", text)
    assert "default-src 'none'" in text
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_a_function_names_its_arguments_its_variables_and_its_lines(tmp_path: Path) -> None:
    found = document(explore(f, 2.0, -0.3, path=tmp_path))
    assert {"a", "b", "c", "d"} <= set(found["labels"])
    assert any(place.endswith(": c = a * b") for place in found["places"])


def test_a_label_that_looks_like_markup_does_no_harm(tmp_path: Path) -> None:
    label = "</script><b>"
    file = explore(Value(2.0, label=label) * 3.0, path=tmp_path)
    assert label in document(file)["labels"]


def test_it_opens_the_browser_if_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    page = gl.explore(Value(2.0) * 3.0, path=tmp_path / "a.html")
    assert opened == [page.path.as_uri()]
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: str(tmp_path))
    assert gl.explore(Value(2.0) * 3.0).path.parent == tmp_path


def test_a_notebook_shows_it_in_place_and_opens_nothing(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    monkeypatch.setattr("webbrowser.open", lambda _: pytest.fail("opened"))
    shown = gl.explore(Value(2.0, label="x") * 3.0, path=tmp_path / "a.html")._repr_html_()
    cell = tmp_path / "cell.html"
    cell.write_text(f"<link rel=icon href='data:,'>{shown}")
    page.open(cell)
    page.driver.switch_to.frame(0)
    assert page.count("[data-key]") == 3
    assert page.errors() == []
    assert page.requests() == [cell.as_uri()]


def test_bad_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotANumberError, match="got 3"):
        explore(3, path=tmp_path)
    with pytest.raises(ArgumentError, match="takes no arguments"):
        explore(Value(1.0), 2.0, path=tmp_path)
    with pytest.raises(ArgumentError, match="must give one value"):
        explore(lambda x: [x, x], 2.0, path=tmp_path)
    assert list(tmp_path.iterdir()) == []


# Stepping


def test_it_steps_forward_then_backward(page: Page, tmp_path: Path) -> None:
    file = explore(f, 2.0, -0.3, path=tmp_path)
    page.open(file)
    assert "start" in page.text("#where")
    assert shown(page, "n2")[-3:] == ["–", "grad", "–"]
    steps(page, 1)
    assert page.text("#where") == "forward 1 of 5"
    assert shown(page, "n2")[-3:] == ["−0.6", "grad", "–"]
    assert "c = a * b" in page.text("#step code")
    steps(page, 4)
    assert page.text("#where") == "forward 5 of 5"
    steps(page, 1)
    assert page.text("#where") == "backward 0 of 5"
    steps(page, 5)
    assert page.text("#where") == "backward 5 of 5"
    a, b = Value(2.0), Value(-0.3)
    f(a, b).backward()
    assert shown(page, "n0")[-1] == f"{a.grad:.5g}".replace("-", "−")
    assert shown(page, "n1")[-1] == f"{b.grad:.5g}".replace("-", "−")
    steps(page, 3, "ARROW_LEFT")
    assert page.text("#where") == "backward 2 of 5"
    page.press("HOME")
    assert "start" in page.text("#where")
    page.press("END")
    assert page.text("#where") == "backward 5 of 5"
    quiet(page, file)


def test_a_step_back_shows_the_rule_with_its_numbers(page: Page, tmp_path: Path) -> None:
    page.open(explore(f, 2.0, -0.3, path=tmp_path))
    steps(page, 8)
    assert page.count("#step math msup") >= 1  # 1 − v², set as mathematics
    text = page.run("return document.querySelector('#step .share').textContent")
    tanh = 0.9977749
    local = 1 - tanh**2
    for number in (f"{tanh:.5g}", f"{local:.5g}", f"{local * -0.6:.5g}".replace("-", "−")):
        assert number in text, number
    assert "+=" in text


def test_where_paths_meet_the_sum_is_seen(page: Page, tmp_path: Path) -> None:
    page.open(explore(lambda a: a * a + a, 3.0, path=tmp_path))
    steps(page, 4)  # the root hands 1 to the product and 1 to a
    assert page.count(".share.meets") == 0
    steps(page, 1)
    assert page.count(".share.meets") == 2
    assert page.text(".share.meets .note").startswith("path 2 of 3 that meet in a")
    badges = page.run("return [...document.querySelectorAll('.plus')].map(t => t.textContent)")
    assert badges == ["1 += 3", "4 += 3"]
    assert shown(page, "n0")[-1] == "7"


def test_it_plays_by_itself_and_pauses(page: Page, tmp_path: Path) -> None:
    page.open(explore(lambda a: a * 3.0, 2.0, path=tmp_path))
    page.run("document.getElementById('canvas').focus()")
    page.press(" ")
    assert page.run("return document.getElementById('play').getAttribute('aria-label')") == "Pause"
    page.wait("return document.getElementById('where').textContent.startsWith('backward')")
    page.press(" ")
    where = page.text("#where")
    assert page.run("return document.getElementById('play').getAttribute('aria-label')") == "Play"
    assert page.text("#where") == where


def test_the_bar_scrubs(page: Page, tmp_path: Path) -> None:
    page.open(explore(f, 2.0, -0.3, path=tmp_path))
    page.run(
        "const bar = document.getElementById('scrub'); bar.value = 7;"
        "bar.dispatchEvent(new Event('input'))"
    )
    assert page.text("#where") == "backward 1 of 5"


# Editing


def test_editing_a_leaf_recomputes_everything(page: Page, tmp_path: Path) -> None:
    file = explore(f, 2.0, -0.3, path=tmp_path)
    page.open(file)
    page.press("END")
    page.click("[data-key=n0]")
    page.type("#number", "1.25")
    a, b = Value(1.25), Value(-0.3)
    y = f(a, b)
    y.backward()
    root = document(file)["roots"][0]
    assert shown(page, f"n{root}")[-3] == f"{y.data:.5g}".replace("-", "−")
    assert shown(page, "n0")[-1] == f"{a.grad:.5g}".replace("-", "−")
    quiet(page, file)


def test_what_is_no_number_is_refused(page: Page, tmp_path: Path) -> None:
    page.open(explore(f, 2.0, -0.3, path=tmp_path))
    page.click("[data-key=n0]")
    page.type("#number", "two")
    assert "a number is needed" in page.run(
        "return document.getElementById('number').validationMessage"
    )
    assert "2" in shown(page, "n0")


def test_a_result_cannot_be_edited(page: Page, tmp_path: Path) -> None:
    page.open(explore(f, 2.0, -0.3, path=tmp_path))
    page.click("[data-key=n2]")
    assert "Selected: result" in page.text("#selected h2")
    assert page.count("#number") == 0


def test_an_operation_unknown_to_the_page_can_be_stepped_through_but_not_edited(
    page: Page, tmp_path: Path
) -> None:
    from gradloom.core.table import OPS

    @operation("cube", partials=[lambda _, x: 3.0 * x * x], domain=[((-1.0, 1.0),)])
    def cube(x: float) -> float:
        """The cube."""
        return x * x * x

    try:
        page.open(explore(cube(Value(2.0, label="x")), path=tmp_path))
    finally:
        del OPS["cube"]
    page.press("END")
    assert shown(page, "n0")[-1] == "12"
    page.click("[data-key=n0]")
    assert page.count("#number") == 0
    assert "does not know the operation cube" in page.text("#selected")
    assert page.errors() == []


# What goes wrong


def test_without_the_topological_order_gradients_come_out_wrong(page: Page, tmp_path: Path) -> None:
    page.open(explore(f, 2.0, -0.3, path=tmp_path))
    page.click("#plain-order")
    assert "2 gradients come out wrong" in page.text("#verdict")
    assert page.count(".wrong text.grad") == 2
    notes = page.run("return [...document.querySelectorAll('.should')].map(t => t.textContent)")
    assert all(note.startswith("should be ") for note in notes)
    early = 0
    for _ in range(5):
        early += page.count("#step p.wrong")
        page.press("ARROW_LEFT")
    assert early == 1
    page.click("#plain-order")
    page.press("END")
    assert page.text("#verdict") == ""
    assert page.count(".wrong") == 0


def test_without_a_reset_the_leaves_hold_twice_the_gradient(page: Page, tmp_path: Path) -> None:
    page.open(explore(lambda a: a * 3.0, 2.0, path=tmp_path))
    page.click("#no-reset")
    assert shown(page, "n0")[-1] == "6"
    assert "1 gradient comes out wrong" in page.text("#verdict")


def test_a_tree_needs_no_order(page: Page, tmp_path: Path) -> None:
    page.open(explore(lambda a, b: a.tanh() * b, 2.0, 3.0, path=tmp_path))
    page.click("#plain-order")
    assert "Nothing goes wrong" in page.text("#verdict")


def test_what_comes_to_nothing_past_a_mask_is_not_waited_for(page: Page, tmp_path: Path) -> None:
    page.open(explore(lambda a, b: (a * b).tanh().relu() + a, 2.0, -0.5, path=tmp_path))
    page.press("END")
    told = []
    for _ in range(4):
        told.append(page.text("#step"))
        page.press("ARROW_LEFT")
    assert ["no gradient reached it" in text for text in told] == [True, True, False, False]
    assert "its local derivative is 0 here" in told[2]
    assert not any("still to come" in text or "of 2 that meet" in text for text in told)


# Folding, searching, moving


def test_closed_folds_say_how_many_of_their_gradients_are_wrong(page: Page, tmp_path: Path) -> None:
    page.open(explore(large(), path=tmp_path))
    page.click("#no-reset")
    notes = page.run("return [...document.querySelectorAll('.should')].map(t => t.textContent)")
    counts = [int(note.split()[0]) for note in notes if note.endswith("gradients wrong")]
    assert sum(counts) > 50


def large(samples: int = 30) -> Value:
    model = nn.MLP(2, [8, 8, 1], "tanh", seed=1)
    xs = [[Value(i / 10, label=f"x{i}"), Value(1.0, label=f"y{i}")] for i in range(samples)]
    with gl.tracing():
        return sum(((model(x) - 1.0) ** 2 for x in xs), Value(0.0))


def test_a_large_graph_is_folded_and_opens_part_by_part(page: Page, tmp_path: Path) -> None:
    file = explore(large(), path=tmp_path)
    page.open(file)
    assert page.count("[data-key]") < 25
    key = page.run(
        "return [...document.querySelectorAll('[data-key]')]"
        ".find(g => g.getAttribute('aria-label').startsWith('MLP × 30')).dataset.key"
    )
    page.click(f"[data-key={key}]")
    assert "MLP × 30" in page.text("#selected")
    before = page.count("[data-key]")
    page.click("[data-do=open]")
    assert page.count("[data-key]") > before
    titles = page.run("return [...document.querySelectorAll('.boxtitle')].map(t => t.textContent)")
    assert "MLP" in titles
    assert "× 29" in page.run("return document.getElementById('plane').textContent")
    page.click("#refold")
    assert page.count("[data-key]") == before
    quiet(page, file)


@pytest.mark.slow
def test_twenty_thousand_nodes_stay_few_to_look_at(page: Page, tmp_path: Path) -> None:
    file = explore(large(samples=420), path=tmp_path)
    assert len(document(file)["data"]) > 20_000
    page.open(file)
    assert page.count("[data-key]") < 25
    page.press("END")
    assert page.text("#where").startswith("backward")
    page.press("ARROW_LEFT", "HOME")
    page.type("#search", "x417")
    assert "x417" in page.text("#selected")
    assert page.count("[data-key]") < 60
    quiet(page, file)


def test_a_search_opens_what_hides_the_node(page: Page, tmp_path: Path) -> None:
    file = explore(large(), path=tmp_path)
    found = document(file)
    page.open(file)
    node = next(
        i for i, op in enumerate(found["ops"]) if found["symbols"][op] == "dot" and i > 1000
    )
    assert page.count(f"[data-key=n{node}]") == 0
    page.type("#search", f"v{node}")
    assert page.count(f"[data-key=n{node}]") == 1
    assert "MLP" in page.text("#selected .path")
    assert "(model(x) - 1.0) ** 2" in page.text("#selected code")
    page.run("document.activeElement.blur()")
    page.press("c")
    assert page.count(f"[data-key=n{node}]") == 0


def test_a_search_without_hits_says_so(page: Page, tmp_path: Path) -> None:
    page.open(explore(f, 2.0, -0.3, path=tmp_path))
    page.find("#search").send_keys("nowhere")
    assert page.text("#hits") == "nothing found"


def scale(page: Page) -> float:
    transform = page.run("return document.getElementById('plane').getAttribute('transform')")
    return float(re.findall(r"scale\(([\d.]+)\)", transform)[0])


@pytest.mark.parametrize("width", [390, 1280])
def test_a_small_graph_stands_in_the_middle(page: Page, tmp_path: Path, width: int) -> None:
    page.size(width, 800)
    page.open(explore(f, 2.0, -0.3, path=tmp_path))
    page.find("[data-key=n0]")
    off = page.run(
        "const middle = ({ top, bottom }) => (top + bottom) / 2;"
        "const box = (id) => document.getElementById(id).getBoundingClientRect();"
        "return middle(box('plane')) - middle(box('canvas'));"
    )
    assert abs(off) < 12


def test_what_goes_wrong_is_in_sight_below_many_words(page: Page, tmp_path: Path) -> None:
    page.open(explore(lambda a: gl.dot([a] * 6, [a] * 6), 2.0, path=tmp_path))
    page.press("END")
    page.click("#no-reset")
    below = "return document.getElementById('verdict').getBoundingClientRect().bottom - innerHeight"
    assert page.run(
        "const a = document.querySelector('aside'); return a.scrollHeight > a.clientHeight"
    )
    assert page.run(below) < 0


def test_it_zooms_and_moves(page: Page, tmp_path: Path) -> None:
    page.open(explore(f, 2.0, -0.3, path=tmp_path))
    start = scale(page)
    page.press("+")
    assert scale(page) == pytest.approx(1.25 * start)
    page.press("0")
    assert scale(page) == pytest.approx(start)
    page.click("#zoom-out")
    assert scale(page) == pytest.approx(0.8 * start)
    place = "return document.getElementById('plane').getAttribute('transform')"
    before = page.run(place)
    page.run(
        "const c = document.getElementById('canvas');"
        "const at = (name, x) => new PointerEvent(name,"
        " {pointerId: 1, clientX: x, clientY: 300, bubbles: true});"
        "c.dispatchEvent(at('pointerdown', 300)); window.dispatchEvent(at('pointermove', 380));"
        "window.dispatchEvent(at('pointerup', 380))"
    )
    assert page.run(place) != before


def test_all_can_be_done_from_the_keyboard(page: Page, tmp_path: Path) -> None:
    file = explore(large(), path=tmp_path)
    page.open(file)
    page.press("/")
    assert page.run("return document.activeElement.id") == "search"
    page.press("ESCAPE")
    assert page.run("return document.activeElement.id") == "canvas"
    focused = ""
    while not focused.startswith("f"):  # to the first part that is folded
        page.press("TAB")
        focused = page.run("return document.activeElement.dataset.key")
    page.press("ENTER")
    assert page.run("return document.querySelector('.selected').dataset.key") == focused
    before = page.count("[data-key]")
    page.press("o")
    assert page.count("[data-key]") > before
    page.press("?")
    assert page.run("return document.getElementById('keys').open") is True
    page.press("ESCAPE")
    assert page.run("return document.getElementById('keys').open") is False
    page.press("f")
    assert page.count("[data-key]") == before
    quiet(page, file)


def test_every_part_says_what_it_is(page: Page, tmp_path: Path) -> None:
    page.open(explore(f, 2.0, -0.3, path=tmp_path))
    labels = page.run(
        "return [...document.querySelectorAll('[data-key]')].map(g => g.getAttribute('aria-label'))"
    )
    assert "a, data 2, grad –" in labels
    unnamed = page.run(
        "return [...document.querySelectorAll('button, input')].filter("
        "b => !(b.textContent.trim() || b.getAttribute('aria-label') || b.closest('label'))).length"
    )
    assert unnamed == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_text_is_readable_in_each_theme_and_nothing_sticks_out(
    page: Page, tmp_path: Path, scheme: str, width: int
) -> None:
    page.theme(scheme)
    page.size(width, 800, mobile=width < 500)
    page.open(explore(f, 2.0, -0.3, path=tmp_path))
    steps(page, 8)
    assert page.run("return document.documentElement.scrollWidth") == width
    ratios = page.run(CONTRAST, ["#step h2", "#step p", "#where", "#fit", "#verdict"])
    assert min(ratios) > 4.5
    heights = page.run(
        "return ['#canvas', 'aside', 'footer'].map("
        "s => document.querySelector(s).getBoundingClientRect().height)"
    )
    assert min(heights) > 40


CONTRAST = """
const light = (color) => {
  const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((x) => {
    const c = x / 255;
    return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
return arguments[0].map((css) => {
  const ink = light(getComputedStyle(document.querySelector(css)).color);
  const paper = light(getComputedStyle(document.body).backgroundColor);
  return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
});
"""

# Arrays


def test_a_compiled_function_is_shown_as_arrays_too(page: Page, tmp_path: Path) -> None:
    model = nn.MLP(2, [4, 1], "relu", seed=1)

    @gl.compile
    def loss(xs: list[list[float]]) -> Value:
        return sum((model(x) - 1.0) ** 2 for x in xs) / len(xs)  # type: ignore[no-any-return]

    file = explore(loss, [[i / 10, 1.0] for i in range(12)], path=tmp_path)
    page.open(file)
    page.press("END")
    grads = document(file)
    page.click("#tab-arrays")
    count = len(grads["program"]["instructions"])
    assert page.count("[data-key]") == count
    assert "12 × 4" in page.run("return document.getElementById('plane').textContent")
    key = page.run(
        "return [...document.querySelectorAll('[data-key]')]"
        ".find(g => g.textContent.includes('relu')).dataset.key"
    )
    page.click(f"[data-key={key}]")
    assert "It stands for 48 scalar nodes" in page.text("#selected")
    page.click("#selected [data-node]")
    assert page.run("return document.getElementById('tab-scalars').ariaSelected") == "true"
    assert "relu" in page.text("#selected h2")
    page.click("#tab-arrays")
    page.click(f"[data-key={key}]")
    page.click("[data-do=mark]")
    assert page.count(".marked") >= 1
    quiet(page, file)


def test_what_is_not_compiled_has_no_second_view(page: Page, tmp_path: Path) -> None:
    page.open(explore(f, 2.0, -0.3, path=tmp_path))
    assert page.run("return document.getElementById('tabs').hidden") is True
