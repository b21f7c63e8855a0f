"""Copy and pickle graphs of any depth.

`pickle` and `deepcopy` recurse into what an object refers to; a graph deeper than Python's
recursion limit would stop them. So a result, when asked how it is to be copied, first hands out
a list of everything below it, operands before results. By the time a node's turn comes its
operands are known to the copier already, and nothing recurses. Sharing is kept throughout, also
between several roots copied together.
"""

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradloom.core.value import Value

_FIELDS = ("data", "grad", "_op", "_left", "_right", "_dleft", "_dright", "_name")


class _Listed(threading.local):
    """The nodes being handed out in this thread, by id: they need no list of their own."""

    nodes: "dict[int, Value]" = {}  # noqa: RUF012 - replaced, never changed


_listed = _Listed()


class _Below:
    """Everything below a result; it copies to a list, node by node."""

    def __init__(self, root: "Value") -> None:
        self.root = root

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (), None, self._nodes()

    def _nodes(self) -> "Iterator[Value]":
        outer, _listed.nodes = _listed.nodes, below(self.root)
        try:
            yield from _listed.nodes.values()
        finally:
            _listed.nodes = outer


def below(root: "Value") -> "dict[int, Value]":
    """Every result below `root` by id, operands first, without `root` itself and leaves."""
    done: dict[int, Value] = {}
    entered: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in entered:
            done.setdefault(id(node), node)
            continue
        entered.add(id(node))
        waiting.append(node)
        for x in node._operands:
            if not isinstance(x, float) and x._left is not None and id(x) not in entered:
                waiting.append(x)
    del done[id(root)]
    return done


def blank(kind: type["Value"]) -> "Value":
    """A value with nothing in it yet."""
    return object.__new__(kind)


def reduce(self: "Value") -> tuple[Any, ...]:
    """How a value is copied: see the module."""
    fields = {name: getattr(self, name) for name in _FIELDS if hasattr(self, name)}
    fields |= getattr(self, "__dict__", {})  # of a subclass without slots
    deep = self._left is not None and id(self) not in _listed.nodes
    return blank, (type(self),), (_Below(self) if deep else None, fields)


def restore(self: "Value", state: tuple[Any, dict[str, Any]]) -> None:
    """Fill a blank value."""
    for name, field in state[1].items():
        setattr(self, name, field)
