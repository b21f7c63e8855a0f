"""The document that pictures and pages are drawn from: a folded diagram, column by column.

It is JSON. Numbers keep every bit; nan and the infinities, which JSON does not have, are texts.
"""

import json
import math
from typing import Any

from gradloom.view.diagram import Diagram
from gradloom.view.folds import Fold

_KINDS = {"result": "r", "leaf": "l", "parameter": "p", "constant": "c"}


def document_of(diagram: Diagram, folds: list[Fold]) -> dict[str, Any]:
    """The document of a diagram.

    >>> from gradloom import Value
    >>> from gradloom.view.diagram import diagram_of
    >>> from gradloom.view.folds import folds_of
    >>> diagram = diagram_of([Value(2.0, label="x") * float("inf")])
    >>> document = document_of(diagram, folds_of(diagram))
    >>> document["kinds"], document["data"], document["labels"]
    ('lcr', [2.0, 'Infinity', 'Infinity'], ['x', '', ''])
    """
    nodes = diagram.nodes
    symbols = _numbered([str(node.op) for node in nodes])
    places = _numbered([node.place for node in nodes])
    return {
        "kinds": "".join(_KINDS[node.kind] for node in nodes),
        "symbols": list(symbols),
        "ops": [symbols[str(node.op)] for node in nodes],
        "operands": [list(node.operands) for node in nodes],
        "data": [number(node.data) for node in nodes],
        "grads": [number(node.grad) for node in nodes],
        "labels": [node.label for node in nodes],
        "places": list(places),
        "lines": [places[node.place] for node in nodes],
        "roots": diagram.roots,
        "folds": [
            {"kind": f.kind, "title": f.title, "parent": f.parent, "items": f.items, "size": f.size}
            for f in folds
        ],
    }


def as_json(document: Any) -> str:
    """The document as compact JSON that may stand inside a page."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")  # no "</script>" from a label ends the page's own


def number(x: float | None) -> float | str | None:
    """A number as JSON can hold it.

    >>> number(float("nan")), number(-float("inf")), number(0.5), number(None)
    ('NaN', '-Infinity', 0.5, None)
    """
    if x is None or math.isfinite(x):
        return x
    return "NaN" if math.isnan(x) else f"{'-' if x < 0 else ''}Infinity"


def _numbered(texts: list[str]) -> dict[str, int]:
    """Each text that occurs with its place among them."""
    return {text: i for i, text in enumerate(dict.fromkeys(texts))}
