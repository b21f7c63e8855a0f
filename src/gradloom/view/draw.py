"""Pictures of expression graphs: what was computed from what, with every number and gradient.

    values → diagram → boxes → folds → document → layout → Drawing

`draw` does all of it. A graph too large to read is drawn folded: what repeats stands once, with
the number of times; modules are closed.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gradloom.core import collector, tree
from gradloom.core.value import Value
from gradloom.errors import ArgumentError, GradloomError, NotANumberError
from gradloom.nn.module import Module
from gradloom.train.extras import extra
from gradloom.train.files import write_whole
from gradloom.view import layout
from gradloom.view.boxes import put_in_boxes, put_parts_in_boxes
from gradloom.view.colors import css
from gradloom.view.diagram import _ordered, diagram_of
from gradloom.view.document import document_of
from gradloom.view.folds import folds_of

_READABLE = 70  # things to look at in one picture
_AT_A_GLANCE = 20_000  # nodes; a notebook need not wait for the picture of more


class Drawing:
    """A picture of a graph; notebooks show it, `save` writes it.

    Attributes:
        svg: the picture as the text of an SVG file, light or dark as the reader prefers.
        dot: what is drawn in Graphviz's language, for other tools.
    """

    def __init__(self, found: dict[str, Any]) -> None:
        self._found = found

    def __repr__(self) -> str:
        units = self._found["units"]
        return f"<drawing of {len(units)} parts; save(path) or svg>"

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in px."""
        left, top, right, bottom = self._found["bounds"]
        return right - left, bottom - top

    @property
    def svg(self) -> str:
        """The picture as the text of an SVG file."""
        left, top, _, _ = self._found["bounds"]
        width, height = self.size
        rim = f'x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="gradloom" role="img" '
            f'aria-label="expression graph" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="{left:g} {top:g} {width:g} {height:g}" style="max-width:100%;height:auto">'
            f"<style>{css('.gradloom')}.gradloom .edge{{fill:none}}"
            f".gradloom .paper{{fill:var(--paper)}}</style>"
            f'<rect class="paper" {rim} rx="8"/>{self._found["elements"]}</svg>'
        )

    @property
    def dot(self) -> str:
        """What is drawn, in the DOT language of Graphviz."""
        return "\n".join(_dot_lines(self._found)) + "\n"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the picture, whole or not at all; the ending says how: .svg .png .pdf .dot

        Returns:
            The path.

        Raises:
            ArgumentError: another ending.
            MissingExtraError: for PNG and PDF, matplotlib is not installed.
            RunFolderError: the file cannot be written.
        """
        path = Path(path)
        kind = path.suffix.lower().removeprefix(".")
        if kind in ("svg", "dot"):
            write_whole(path, self.svg if kind == "svg" else self.dot)
        elif kind in ("png", "pdf"):
            write_whole(path, _painted(self._found, kind))
        else:
            raise ArgumentError(
                f"a drawing is saved as .svg, .png, .pdf or .dot, and {path.name!r} ends otherwise"
            )
        return path

    def _repr_svg_(self) -> str:
        return self.svg


def draw(*what: Any, limit: int = _READABLE) -> Drawing:
    """A picture of the graph below some values, or of a module.

    Results stand right of what they were made from, each behind its operation, with data and
    gradient; a gradient that has not been computed is a dash. Calls of modules are boxed: after
    `with gl.tracing():` exactly as they happened, else those of Neuron, Layer, MLP and modules
    that hold them, as far as they are alive and their parameters tell.

    Args:
        what: values, or lists of them; or one module, which is drawn without numbers: what it
            computes if it says how many inputs it takes (`nin`), else the parameters it holds.
        limit: how many things the picture may show before parts of it are folded: a closed
            module, or `× 16` for parts that do the same.

    Raises:
        ArgumentError: nothing to draw, or a limit below 1.
        NotANumberError: something that is neither a value nor a module.
        MissingExtraError: the layout's library is not installed.

    >>> a, b = Value(2.0, label="a"), Value(-3.0, label="b")
    >>> drawing = draw(a * b + 10.0)
    >>> drawing
    <drawing of 5 parts; save(path) or svg>
    >>> "grad" in drawing.svg
    True
    """
    if not isinstance(limit, int) or limit < 1:
        raise ArgumentError(f"draw: limit must be a whole number from 1 on, got {limit!r}")
    if len(what) == 1 and isinstance(what[0], Module):
        return Drawing(layout.picture(_module_document(what[0]), limit, numbers=False))
    values = tree.flatten(list(what))[0]
    for value in values:
        if not isinstance(value, Value):
            raise NotANumberError(f"draw needs values or a module, got {value!r:.60}")
    if not values:
        raise ArgumentError("draw needs at least one value and got none")
    return Drawing(layout.picture(graph_document(values), limit, numbers=True))


@collector.paused()
def graph_document(values: Sequence[Value]) -> dict[str, Any]:
    """The folded document of the graph below some values."""
    diagram = diagram_of(values)
    put_in_boxes(diagram)
    return document_of(diagram, folds_of(diagram))


def _module_document(module: Module) -> dict[str, Any]:
    """What a module computes from inputs x0, x1, …; or what it holds."""
    size = getattr(module, "nin", None)
    if isinstance(size, int):
        outputs = tree.flatten([module([Value(0.0, label=f"x{i}") for i in range(size)])])[0]
        return graph_document(outputs)
    diagram = diagram_of(module.parameters())
    for (name, _), node in zip(module.named_parameters(), diagram.nodes, strict=True):
        node.label = node.label or name.rpartition(".")[2]
    put_parts_in_boxes(diagram, module)
    return document_of(diagram, folds_of(diagram))


def _svg_of(what: Value | Module) -> str | None:
    """The picture that a notebook shows; None, and text instead, where there can be none."""
    if isinstance(what, Value) and len(_ordered([what])) > _AT_A_GLANCE:
        return None
    try:
        return draw(what).svg
    except GradloomError:
        return None


def _dot_lines(found: dict[str, Any]) -> "list[str]":
    lines = ["digraph gradloom {", "  rankdir=LR; node [shape=box fontname=monospace];"]

    def enter(box: int, indent: str) -> None:
        for i, unit in enumerate(found["units"]):
            if unit["box"] == box:
                rows = [f"{name} {value}".strip() for name, value, _ in unit["content"]["rows"]]
                lines.append(f"{indent}u{i} [label={_quoted(chr(10).join(rows))}];")
                if unit["content"]["op"]:
                    label = _quoted(unit["content"]["op"])
                    lines.append(f"{indent}o{i} [label={label} shape=circle]; o{i} -> u{i};")
        for i, inner in enumerate(found["boxes"]):
            if inner["parent"] == box:
                lines.append(f"{indent}subgraph cluster{i} {{ label={_quoted(inner['title'])};")
                enter(i, indent + "  ")
                lines.append(f"{indent}}}")

    enter(-1, "  ")
    for start, end, count in found["edges"]:
        target = "o" if found["units"][end]["content"]["op"] else "u"
        label = f" [label={_quoted(f'× {count}')}]" if count > 1 else ""
        lines.append(f"  u{start} -> {target}{end}{label};")
    return [*lines, "}"]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _painted(found: dict[str, Any], kind: str) -> bytes:
    """The picture as a PNG or PDF file, light, painted by matplotlib."""
    with extra("view"):
        from gradloom.view.paint import paint
    return paint(found["shapes"], found["bounds"], kind)
