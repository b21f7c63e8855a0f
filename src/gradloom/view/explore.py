"""The explorer: one HTML file in which a reader steps through backpropagation.

Everything is inside the file: the graph, the page's code, the rules of differentiation, and, for
a compiled function, its array program. It asks nothing of any other machine.
"""

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

from gradloom.core import tree
from gradloom.core.table import OPS
from gradloom.core.value import Value
from gradloom.errors import ArgumentError, NotANumberError
from gradloom.train.files import write_whole
from gradloom.view.boxes import put_in_boxes
from gradloom.view.colors import FONT, css
from gradloom.view.diagram import Diagram, diagram_of
from gradloom.view.document import as_json, document_of, number
from gradloom.view.folds import folds_of
from gradloom.view.layout import asset
from gradloom.view.rules import rules_of
from gradloom.view.trace import tracing

_SCRIPTS = ("dagre.min.js", "scene.js", "ops.js", "tape.js", "math.js", "explorer.js")


def explore(
    what: Any,
    *args: Any,
    path: str | os.PathLike[str] | None = None,
    open: bool = True,
    title: str | None = None,
) -> Path:
    """Writes a page in which to step through the backpropagation of a value, and opens it.

    The page plays the forward pass and the backward pass node by node, shows each rule with its
    numbers, recomputes everything when a leaf is edited, and shows what goes wrong without the
    topological order and without resetting gradients. It is one file without outside assets.

    Args:
        what: a value; or a function, which is called with `args` and notes the line of each node;
            or a compiled function, which is recorded with `args` and shown as arrays too.
        args: for a function: numbers become values, named as the function names them.
        path: the file; by default a new one in the folder for temporary files.
        open: show it in the browser.
        title: above the page; by default the name of the function.

    Returns:
        The path of the file.

    Raises:
        ArgumentError: arguments beside a value, or a function whose result is not one number.
        NotANumberError: nothing that can be explored.
        RunFolderError: the file cannot be written.

    >>> a, b = Value(2.0, label="a"), Value(-3.0, label="b")
    >>> file = explore((a * b).tanh(), path=Path(tempfile.mkdtemp()) / "tanh.html", open=False)
    >>> file.name
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
        title = "Expression" if isinstance(what, Value) else tree.name(what)
    if path is None:
        path = Path(tempfile.mkdtemp(prefix="gradloom-")) / "explorer.html"
    path = Path(path)
    write_whole(path, page(document, title))
    if open:
        webbrowser.open(path.resolve().as_uri())
    return path


def page(document: dict[str, Any], title: str) -> str:
    """The HTML of the explorer for a document.

    >>> "<title>a &lt; b</title>" in page(_document(_boxed(Value(1.0))), "a < b")
    True
    """
    style = css(":root") + f":root{{--mono:{FONT}}}" + css_of_page()
    parts = {
        "title": title.replace("&", "&amp;").replace("<", "&lt;"),
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


def _boxed(value: Value) -> Diagram:
    diagram = diagram_of([value])
    put_in_boxes(diagram)
    return diagram


def _document(diagram: Diagram) -> dict[str, Any]:
    """All that the page needs to know of a graph of scalars, which has its boxes."""
    document = document_of(diagram, folds_of(diagram))
    results = [(i, node) for i, node in enumerate(diagram.nodes) if node.op]
    document["rules"] = rules_of({(str(node.op), len(node.operands)) for _, node in results})
    # Of an operation that is not in the table the page knows the slopes here, and nothing more.
    document["given"] = {
        i: [number(d) for d in node.local] for i, node in results if str(node.op) not in OPS
    }
    return document


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
