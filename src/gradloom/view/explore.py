"""The explorer: one HTML file in which a reader steps through backpropagation.

Everything is inside the file: the graph, the page's code, the rules of differentiation, and, for
a compiled function, its array program. It asks nothing of any other machine.
"""

import html
import inspect
import os
import re
import sys
import tempfile
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from gradloom.core import collector, ops, tree
from gradloom.core.table import OPS
from gradloom.core.value import Value
from gradloom.errors import ArgumentError, NotANumberError
from gradloom.nn.module import Module
from gradloom.train.files import write_whole
from gradloom.view.boxes import put_in_boxes
from gradloom.view.colors import FONT, css
from gradloom.view.diagram import Diagram, Node, diagram_of
from gradloom.view.document import as_json, document_of, number
from gradloom.view.folds import folds_of
from gradloom.view.layout import asset
from gradloom.view.rules import rules_of
from gradloom.view.trace import tracing

_SCRIPTS = (
    "dagre.min.js",
    "scene.js",
    "ops.js",
    "tape.js",
    "math.js",
    "tell.js",
    "camera.js",
    "search.js",
    "explorer.js",
)


class Explorer:
    """A page that was written; a notebook shows it in place.

    Attributes:
        path: the file. It may be given wherever a path may.
        html: what is in it.
    """

    def __init__(self, path: Path, html: str) -> None:
        self.path = path
        self.html = html

    def __repr__(self) -> str:
        return f"<explorer in {self.path}>"

    def __fspath__(self) -> str:
        return str(self.path)

    def _repr_html_(self) -> str:
        style = "width:100%;height:640px;border:1px solid #94a3b8;border-radius:8px"
        return f'<iframe srcdoc="{html.escape(self.html)}" style="{style}"></iframe>'


def explore(
    what: Any,
    *args: Any,
    path: str | os.PathLike[str] | None = None,
    open: bool | None = None,
    title: str | None = None,
) -> Explorer:
    """Writes a page in which to step through the backpropagation of a value, and opens it.

    The page plays the forward pass and the backward pass node by node, shows each rule with its
    numbers, recomputes everything when a leaf is edited, and shows what goes wrong without the
    topological order and without resetting gradients. It is one file without outside assets.
    What is replayed are the operations that were recorded: an `if` in Python stays as it went.

    Args:
        what: a value; or a function, which is called with `args` and notes the line of each node;
            or a compiled function, which is recorded with `args` and shown as arrays too.
        args: for a function: numbers become values, named as the function names them.
        path: the file; by default a new one in the folder for temporary files.
        open: show it in the browser; by default yes, but not in a notebook, which shows it itself.
        title: above the page; by default the name of the function.

    Returns:
        The page, with its `path`.

    Raises:
        ArgumentError: arguments beside a value, or a function whose result is not one number.
        NotANumberError: nothing that can be explored.
        RunFolderError: the file cannot be written.

    >>> a, b = Value(2.0, label="a"), Value(-3.0, label="b")
    >>> page = explore((a * b).tanh(), path=Path(tempfile.mkdtemp()) / "tanh.html", open=False)
    >>> page.path.name
    'tanh.html'
    """
    diagram: Diagram
    if isinstance(what, Value):
        if args:
            raise ArgumentError("explore: a value takes no arguments; give the function instead")
        document = _document(_boxed(what))
    elif hasattr(type(what), "programs"):
        from gradloom.view.arrays import compiled_diagram

        diagram, steps = compiled_diagram(what, args, _names(what, args))
        document = _document(diagram) | {"program": {"instructions": list(map(asdict, steps))}}
    elif callable(what):
        document = _document(_boxed(_traced(what, args)))
    else:
        raise NotANumberError(f"explore needs a value or a function, got {what!r:.60}")
    if title is None:
        title = _title(what)
    if path is None:
        path = Path(tempfile.mkdtemp(prefix="gradloom-")) / "explorer.html"
    found = Explorer(Path(path), page(document, title))
    write_whole(found.path, found.html)
    if open or (open is None and "ipykernel" not in sys.modules):
        webbrowser.open(found.path.resolve().as_uri())
    return found


def page(document: dict[str, Any], title: str) -> str:
    """The HTML of the explorer for a document.

    >>> "<title>a &lt; b</title>" in page(_document(_boxed(Value(1.0))), "a < b")
    True
    """
    style = css(":root") + f":root{{--mono:{FONT}}}" + css_of_page()
    parts = {
        "title": html.escape(title),
        "style": style,
        "document": as_json(document),
        "scripts": "\n".join(asset(name) for name in _SCRIPTS),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], asset("explorer.html"))


def css_of_page() -> str:
    """The page's own style sheet, with two colours that pictures do not need."""
    more = {"wrong": ("#b91c1c", "#f87171"), "select": ("#2563eb", "#60a5fa")}
    light, dark = ("".join(f"--{k}:{v[i]};" for k, v in more.items()) for i in (0, 1))
    return f":root{{{light}}}@media (prefers-color-scheme: dark){{:root{{{dark}}}}}" + asset(
        "explorer.css"
    )


@collector.paused()
def _boxed(value: Value) -> Diagram:
    diagram = diagram_of([value])
    put_in_boxes(diagram)
    return diagram


@collector.paused()
def _document(diagram: Diagram) -> dict[str, Any]:
    """All that the page needs to know of a graph of scalars, which has its boxes."""
    document = document_of(diagram, folds_of(diagram))
    known: list[tuple[int, Node]] = []
    foreign: list[tuple[int, Node]] = []
    for i, node in enumerate(diagram.nodes):
        if node.op:
            (known if _is_ours(str(node.op)) else foreign).append((i, node))
    document["rules"] = rules_of({(str(node.op), len(node.operands)) for _, node in known})
    document["given"] = {i: [number(d) for d in node.local] for i, node in foreign}
    return document


def _is_ours(symbol: str) -> bool:
    """Whether the page can compute this operation; of others it knows the slopes found here."""
    return symbol in OPS and OPS[symbol].evaluate.__module__ == ops.__name__


def _traced(function: Callable[..., Any], args: tuple[Any, ...]) -> Value:
    """What a function gives, its nodes with notes."""
    leaves, shape = tree.flatten(list(args))
    names = _names(function, args)
    values = [
        Value(x, label=name) if isinstance(x, (int, float)) and not isinstance(x, bool) else x
        for x, name in zip(leaves, names, strict=True)
    ]
    with tracing(), _naming(function):
        result = function(*tree.unflatten(shape, values))
    results = tree.flatten([result])[0]
    if len(results) != 1 or not isinstance(results[0], Value):
        raise ArgumentError(
            f"explore: {tree.name(function)} must give one value, and gave {result!r:.60}; "
            "explore a function of it that does, such as a loss"
        )
    return results[0]


@contextmanager
def _naming(function: Callable[..., Any]) -> Iterator[None]:
    """Label values without a label by the function's own variables, when it returns."""
    code = getattr(function, "__code__", None)

    def look(frame: FrameType, event: str, _: object) -> None:
        if event == "return" and frame.f_code is code:
            for name, variable in frame.f_locals.items():
                if isinstance(variable, Value) and not variable.label:
                    variable.label = name

    before = sys.getprofile()
    sys.setprofile(look if code is not None else before)
    try:
        yield
    finally:
        sys.setprofile(before)


def _title(what: Any) -> str:
    """What a page is called.

    >>> _title(abs), _title(lambda x: x)
    ('abs', 'Expression')
    """
    if isinstance(what, Value):
        return what.label or "Expression"
    name = type(what).__name__ if isinstance(what, Module) else tree.name(what)
    return "Expression" if name == "<lambda>" else name


def _names(function: Callable[..., Any], args: tuple[Any, ...]) -> list[str]:
    """A name for each number in the arguments: x, or x0, x1 of a list x."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a builtin tells no names
        parameters = []
    named = [p.name for p in parameters if p.kind is not inspect.Parameter.VAR_POSITIONAL]
    names: list[str] = []
    for place, argument in enumerate(args):
        name = named[place] if place < len(named) else f"x{place}"
        paths = tree.paths(tree.flatten(argument)[1])
        names += [name + "_".join(re.findall(r"\w+", path)) for path in paths]
    return names
