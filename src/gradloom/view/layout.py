"""Lay a document out: the page's own code, run by V8 inside this process.

Pictures and pages are drawn by the same JavaScript, `assets/scene.js`, on the layered layout of
dagre (which is inside the package), so that both look alike and each rule stands in one place.
mini-racer brings V8 as a wheel; no program has to be installed.
"""

import functools
import json
import threading
from importlib import resources
from typing import Any

from gradloom.train.extras import extra
from gradloom.view.document import as_json

_lock = threading.Lock()
# What browsers have and bare V8 has not.
_BARE = "globalThis.structuredClone ??= (x) => x && JSON.parse(JSON.stringify(x));"


def asset(name: str) -> str:
    """The text of a file that the package brings along.

    >>> asset("scene.js").startswith("// From a folded graph to shapes")
    True
    """
    return resources.files("gradloom.view").joinpath("assets", name).read_text(encoding="utf-8")


@functools.cache
def engine(*names: str) -> Any:
    """JavaScript with these assets loaded, started once.

    Raises:
        MissingExtraError: mini-racer is not installed.
    """
    with extra("view"):
        from py_mini_racer import MiniRacer
    started = MiniRacer()
    started.eval("\n".join([_BARE, *map(asset, names)]))
    return started


def picture(document: dict[str, Any], limit: int, *, numbers: bool) -> dict[str, Any]:
    """What is seen of a document when at most `limit` things are, and where.

    Args:
        document: see `document`.
        limit: folds are opened, the outermost first, as long as no more is seen.
        numbers: show data and gradients.

    Returns:
        `bounds` (left, top, right, bottom in px), `shapes`, the same as SVG `elements`, and
        `units`, `boxes` and `edges`.
    """
    with _lock:
        found = engine("dagre.min.js", "scene.js").call(
            "scene.picture", as_json(document), limit, numbers
        )
    return json.loads(found)  # type: ignore[no-any-return]
