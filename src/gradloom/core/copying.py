"""Copy and pickle graphs of any depth.

`pickle` and `deepcopy` recurse into what an object refers to; a graph deeper than Python's
recursion limit would stop them. So a result, when asked how it is to be copied, first hands out
a list of everything below it, operands before results. By the time a node's turn comes its
operands are known to the copier already, and nothing recurses. Sharing is kept throughout, also
between several roots copied together. Networks, modules within modules, are copied likewise.
"""

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gradloom.core.value import Value

    Parts = Callable[[Any], list[Any]]  # the nodes that a node is made of

_FIELDS = ("data", "grad", "_op", "_left", "_right", "_dleft", "_dright", "_name")


class _Listed(threading.local):
    """The nodes being handed out in this thread, by id: they need no list of their own."""

    nodes: dict[int, Any] = {}  # noqa: RUF012 - replaced, never changed


_listed = _Listed()


class Below:
    """Everything below a node; it copies to a list, node by node."""

    def __init__(self, root: Any, parts: "Parts") -> None:
        self.root = root
        self.parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (), None, self._nodes()

    def _nodes(self) -> "Iterator[Any]":
        outer, _listed.nodes = _listed.nodes, below(self.root, self.parts)
        try:
            yield from _listed.nodes.values()
        finally:
            _listed.nodes = outer


def is_listed(node: object) -> bool:
    """Whether the node is being handed out already, by the `Below` of one above it."""
    return id(node) in _listed.nodes


def results(node: "Value") -> "list[Value]":
    """The operands of a value that are results, not leaves."""
    return [x for x in node._operands if not isinstance(x, float) and x._left is not None]


def below(root: Any, parts: "Parts") -> dict[int, Any]:
    """Every node below `root` by id, parts before wholes, without `root` itself."""
    done: dict[int, Any] = {}
    entered: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in entered:
            done.setdefault(id(node), node)
            continue
        entered.add(id(node))
        waiting.append(node)
        waiting += [x for x in reversed(parts(node)) if id(x) not in entered]  # the first on top
    del done[id(root)]
    return done


def blank(kind: type["Value"]) -> "Value":
    """A value with nothing in it yet."""
    return object.__new__(kind)


def reduce(self: "Value") -> tuple[Any, ...]:
    """How a value is copied: see the module."""
    fields = {name: getattr(self, name) for name in _FIELDS if hasattr(self, name)}
    fields |= getattr(self, "__dict__", {})  # of a subclass without slots
    deep = self._left is not None and not is_listed(self)
    return blank, (type(self),), (Below(self, results) if deep else None, fields)


def restore(self: "Value", state: tuple[Any, dict[str, Any]]) -> None:
    """Fill a blank value."""
    for name, field in state[1].items():
        setattr(self, name, field)
