"""Notes on where numbers come from: the line that made a node, and the modules it was made in.

Values are lean and remember neither. Inside `tracing()` every result is given both, by a look at
the stack when it is made; outside nothing is noted and nothing is paid. What is noted stands in
the name of the node's operation, which goes on being that name for everybody else.
"""

import linecache
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from gradloom.core import value
from gradloom.core.table import Op, Scalar
from gradloom.core.value import Value
from gradloom.nn.module import Module, _parts

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep  # noqa: PTH120 - as frames have it


class Traced(str):
    """The symbol of an operation, with notes.

    Attributes:
        place: the line that asked for it, as `file:line: code`.
        calls: the modules in whose call it was made, the outermost first: a number for each call,
            and the module's name and kind.
    """

    __slots__ = ("calls", "place")
    calls: tuple[tuple[int, str], ...]
    place: str


class Tracer:
    """Takes notes, and numbers the calls that it meets."""

    def __init__(self) -> None:
        self.numbers: dict[object, tuple[object, int]] = {}  # of calls
        self.parts: dict[int, tuple[Module | None, dict[int, list[tuple[str, Module]]]]] = {}

    def note(self, op: str, made: FrameType) -> Traced:
        """The symbol of an operation with notes on the frame that it was made in."""
        symbol = Traced(op)
        symbol.place, symbol.calls = self.look(made)
        return symbol

    def look(self, made: FrameType) -> tuple[str, tuple[tuple[int, str], ...]]:
        """The innermost line outside of this package, and the calls of modules around it."""
        place = ""
        calls: list[tuple[FrameType, Module]] = []
        frame: FrameType | None = made
        while frame is not None:
            code = frame.f_code
            if not place and not code.co_filename.startswith(_PACKAGE):
                line = linecache.getline(code.co_filename, frame.f_lineno, frame.f_globals).strip()
                name = os.path.basename(code.co_filename)  # noqa: PTH119
                place = f"{name}:{frame.f_lineno}" + (f": {line}" if line else "")
            if code.co_name == "__call__" and code.co_argcount:
                called = frame.f_locals.get(code.co_varnames[0])
                if isinstance(called, Module):
                    calls.append((frame, called))
            frame = frame.f_back
        found: list[tuple[int, str]] = []
        around: Module | None = None
        for called_in, module in reversed(calls):
            if around is not None:
                found += self.between(found[-1][0], around, module)
            name = self.held(around).get(id(module), [("", module)])[-1][0]
            found.append((self.number(called_in), f"{name} {type(module).__name__}".strip()))
            around = module
        return place, tuple(found)

    def between(self, call: int, around: Module, module: Module) -> list[tuple[int, str]]:
        """The modules on the way from one to a part of it, as if they had been called too."""
        found = []
        for name, part in self.held(around).get(id(module), [])[:-1]:
            found.append((self.number((call, id(part))), f"{name} {type(part).__name__}"))
        return found

    def held(self, module: Module | None) -> "dict[int, list[tuple[str, Module]]]":
        """`parts_of` a module, looked up once."""
        if id(module) not in self.parts:
            self.parts[id(module)] = module, parts_of(module) if module is not None else {}
        return self.parts[id(module)][1]

    def number(self, call: object) -> int:
        """The number of a call; what stands for it is kept, so that no other takes its place."""
        key = id(call) if isinstance(call, FrameType) else call
        if key not in self.numbers:
            self.numbers[key] = call, len(self.numbers) + 1
        return self.numbers[key][1]


class _Tracers:
    """The watcher behind `tracing`: a tracer for each thread that asked, innermost last."""

    def __init__(self) -> None:
        self.around: value.Watcher | None = None  # who watches besides
        self.active: dict[int, list[Tracer]] = {}
        self.lock = threading.Lock()

    def enter(self) -> None:
        with self.lock:
            if not self.active:
                self.around, value.watcher = value.watcher, self
            self.active.setdefault(threading.get_ident(), []).append(Tracer())

    def leave(self) -> None:
        with self.lock:
            ours = self.active[threading.get_ident()]
            ours.pop()
            if not ours:
                del self.active[threading.get_ident()]
            if not self.active:
                value.watcher, self.around = self.around, None

    def made(self, node: Value) -> None:
        if self.around is not None:
            self.around.made(node)
        if ours := self.active.get(threading.get_ident()):
            node._op = ours[-1].note(node._op, sys._getframe(1))

    def passed(self, node: Value) -> None:
        if self.around is not None:
            self.around.passed(node)

    def computed(self, op: Op, operands: Sequence[Scalar], *found: Scalar) -> str:
        return self.around.computed(op, operands, *found) if self.around is not None else ""

    def pulled(self, note: str, local: Scalar, above: Scalar, share: Scalar) -> None:
        if self.around is not None:
            self.around.pulled(note, local, above, share)


_tracers = _Tracers()


def parts_of(module: Module) -> dict[int, list[tuple[str, Module]]]:
    """The modules that a module holds, however deep, each with the way that leads to it.

    The way is the names and modules from the outermost on, the module itself last.

    >>> from gradloom.nn import MLP
    >>> ways = parts_of(MLP(1, [2, 1]))
    >>> [" ".join(name for name, _ in way) for way in ways.values()]
    ['layers.0', 'layers.0 neurons.0', 'layers.0 neurons.1', 'layers.1', 'layers.1 neurons.0']
    """
    found: dict[int, list[tuple[str, Module]]] = {}

    def enter(way: list[tuple[str, Module]], module: Module) -> None:
        for name, part in _parts("", vars(module)):
            if isinstance(part, Module) and id(part) not in found:
                found[id(part)] = [*way, (name, part)]
                enter(found[id(part)], part)

    enter([], module)
    return found


@contextmanager
def tracing() -> Iterator[None]:
    """A context in which every result notes the line that made it and the modules around it.

    Pictures and the explorer show both. Without it they know no lines, and box what they can
    tell from the parameters: calls of Neuron, Layer, MLP, and modules made of those.

    Only results made by the thread that entered are noted, at several times the cost of a plain
    one. Inside `detect_anomaly()` enter this second.

    >>> with tracing():
    ...     y = Value(2.0) * 3.0
    >>> y._op, y._op.place.partition(":")[2][:1].isdigit()
    ('*', True)
    """
    _tracers.enter()
    try:
        yield
    finally:
        _tracers.leave()
