"""Notes on a recorded graph: the lines and modules that its nodes come from.

A recording notes nothing but the graph. So the function is recorded once more, into a graph that
looks at the stack for every node. The graph that was woven has fewer nodes, for it was folded and
shared; a node of it has the notes of the first that computes the same.
"""

import struct
import sys
from array import array
from collections.abc import Hashable
from typing import Any

from gradloom.loom.graph import CONSTANT, INPUT, PARAMETER, Graph, row_of, symbol_of
from gradloom.loom.record import Recording
from gradloom.transforms.arguments import Arguments, Result
from gradloom.transforms.compiled import Compiled
from gradloom.view.trace import Traced, Tracer


class _NotedCodes(array):  # type: ignore[type-arg]
    """The codes of a graph in the making, with a note on where each operation comes from."""

    tracer: Tracer
    notes: dict[int, Traced]

    def append(self, code: int) -> None:
        if code > PARAMETER:
            self.notes[len(self)] = self.tracer.note(symbol_of(code), sys._getframe(1))
        super().append(code)


def notes_of(f: Compiled, args: tuple[Any, ...], graph: Graph) -> dict[int, Traced]:
    """For nodes of a graph that was recorded with these arguments, its operation with notes.

    None where the function itself is not at hand, as in another process.

    >>> import gradloom as gl
    >>> from gradloom.loom.simplify import simplify
    >>> f = gl.compile(lambda x: x * x + 1.0)
    >>> graph = simplify(f.lookup(3.0).graph)
    >>> [str(symbol) for symbol in notes_of(f, (3.0,), graph).values()]
    ['*', '+']
    """
    if f._function is None:
        return {}
    arguments = Arguments(f._function, args, {})
    with Recording() as recording:
        codes = recording.codes = recording.graph.codes = _NotedCodes("H")
        codes.tracer, codes.notes = Tracer(), {}
        Result(f._function, arguments.call(recording), recording)
    known: dict[Hashable, int] = {}
    first: dict[int, Traced] = {}
    for node, number in enumerate(_numbered(recording.graph, known)):
        if node in codes.notes:
            first.setdefault(number, codes.notes[node])
    numbers = _numbered(graph, known)
    return {
        node: first[number]
        for node, number in enumerate(numbers)
        if number in first and graph.codes[node] > PARAMETER
    }


def _numbered(graph: Graph, known: dict[Hashable, int]) -> list[int]:
    """A number for each node, the same for those that compute the same from the same."""
    found: list[int] = []
    plain: dict[int, float] = {}  # those that are constant
    for node, code in enumerate(graph.codes):
        places = graph.operands_of(node)
        if code == CONSTANT:
            plain[node] = graph.constants[places[0]]
        elif code > PARAMETER and all(x in plain for x in places):
            plain[node] = row_of(code).evaluate(*[plain[x] for x in places])
        key: Hashable
        if node in plain:
            key = struct.pack("d", plain[node])
        elif code in (INPUT, PARAMETER):
            key = (code, places[0])
        else:
            key = (code, *[found[x] for x in places])
        found.append(known.setdefault(key, len(known)))
    return found
