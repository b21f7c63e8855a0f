"""Record a Python function: run it once on symbols that note what happens to them.

A symbol stands for a number that will be another at each run. It carries the number it has in
this run too, so that code may look at it: a comparison, a truth value, a read of `data` goes the
way that this run's numbers go and leaves a *guard*, the condition under which the recording
holds. Values that existed before (a model's parameters) become leaves that are read afresh at
each run; plain numbers become constants.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Any

from gradloom.core import autodiff, tree
from gradloom.core.copying import below
from gradloom.core.operand import Operand
from gradloom.core.table import OPS, Op, Scalar
from gradloom.core.value import Value
from gradloom.errors import RecordingError
from gradloom.loom.graph import CONSTANT, INPUT, PARAMETER, Graph, code_of

_new = object.__new__


class Recording:
    """A graph in the making."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.level = autodiff.new_level()
        self.active = True
        self._constants: dict[bytes, int] = {}
        self._values: dict[int, Symbol] = {}
        self._alive: list[Value] = []

    def input(self, number: float) -> "Symbol":
        """The next argument."""
        node = self.graph.add(INPUT, (self.graph.inputs,))
        self.graph.inputs += 1
        return _symbol(self, node, number)

    def constant(self, number: float) -> int:
        """The node of a plain number; equal ones share it, 0.0 and -0.0 do not."""
        key = struct.pack("d", number)
        node = self._constants.get(key)
        if node is None:
            node = self._constants[key] = self.graph.add(CONSTANT, (len(self.graph.constants),))
            self.graph.constants.append(number)
        return node

    def symbol(self, x: Scalar) -> "Symbol":
        """What stands for an operand in this recording.

        Raises:
            RecordingError: it belongs to another recording or to a derivative around this one.
        """
        if type(x) is float:
            return _symbol(self, self.constant(x), x)
        if type(x) is Symbol and x._recording is self:
            return x
        if isinstance(x, Value):
            if id(x) not in self._values:
                self._take(x)
            return self._values[id(x)]
        raise RecordingError(
            f"{x!r} belongs to another recording or derivative and cannot be read in this one; "
            "pass it to the function as an argument, or use detach(x).data for its number"
        )

    def _take(self, value: Value) -> None:
        """Note a value from outside: a leaf as a parameter, a result with all below it.

        So arithmetic among values alone (a penalty on the weights) is recorded like any other,
        and read afresh at each run.
        """
        results = [*below(value).values(), value] if value._left is not None else []
        for result in results:
            operands = [self.symbol(x)._node for x in result._operands]  # results came before
            if id(result) not in self._values:
                self._keep(result, self.graph.add(code_of(result._op), operands))
        if not results:
            self._keep(value, self.graph.add(PARAMETER, (len(self.graph.parameters),)))
            self.graph.parameters.append(value)

    def _keep(self, value: Value, node: int) -> None:
        self._values[id(value)] = _symbol(self, node, value.data)
        self._alive.append(value)  # so that no other takes its id


class Symbol(Operand):
    """A number in a recording."""

    __slots__ = ("_level", "_node", "_number", "_recording")
    _symbolic = True
    _recording: Recording
    _node: int
    _number: float

    def __repr__(self) -> str:
        return f"Symbol(%{self._node}: {self._number})"

    def __add__(self, other: Scalar) -> Any:
        recording = self._recording
        if type(other) is Symbol and other._recording is recording and recording.active:
            node = recording.graph.add(_ADD, (self._node, other._node))
            return _symbol(recording, node, self._number + other._number)
        return super().__add__(other)

    def __mul__(self, other: Scalar) -> Any:
        recording = self._recording
        if type(other) is Symbol and other._recording is recording and recording.active:
            node = recording.graph.add(_MUL, (self._node, other._node))
            return _symbol(recording, node, self._number * other._number)
        return super().__mul__(other)

    def _apply(self, op: Op, operands: Sequence[Scalar]) -> "Symbol":
        recording = self._recording
        if not recording.active:
            raise RecordingError(
                f"{self!r} was made in a recording that has ended, and has no number any more; "
                "return it from the recorded function instead of keeping it elsewhere"
            )
        symbols = [recording.symbol(x) for x in operands]
        node = recording.graph.add(code_of(op.symbol), [x._node for x in symbols])
        return _symbol(recording, node, op.evaluate(*[x._number for x in symbols]))

    @property
    def data(self) -> float:
        """This run's number; reading it makes the recording hold for this number alone."""
        self._recording.graph.guards.append((self._node, self._number))
        return self._number

    def _guard(self, symbol: str, left: Scalar, right: Scalar) -> bool:
        """The truth of a comparison, noted as a condition of the recording."""
        step = self._apply(OPS[symbol], (left, right))
        self._recording.graph.guards.append((step._node, step._number))
        return step._number != 0.0

    def __lt__(self, other: Scalar) -> bool:
        return self._guard("greater", _checked(other), self)

    def __gt__(self, other: Scalar) -> bool:
        return self._guard("greater", self, _checked(other))

    def __le__(self, other: Scalar) -> bool:
        return self._guard("less_equal", self, _checked(other))

    def __ge__(self, other: Scalar) -> bool:
        return self._guard("less_equal", _checked(other), self)

    def __eq__(self, other: object) -> bool:
        return self is other or self._guard("equal", self, _checked(other))

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        return not self._guard("equal", self, 0.0)


_ADD, _MUL = code_of("+"), code_of("*")


def _symbol(recording: Recording, node: int, number: float) -> Symbol:
    out = _new(Symbol)
    out._level = recording.level
    out._recording = recording
    out._node = node
    out._number = number
    return out


def _checked(x: Any) -> Scalar:
    return tree.flatten(x)[0][0]


def record(f: Callable[..., Any], *args: Any) -> tuple[Graph, Any]:
    """Run `f` on symbols for the numbers in `args`; the graph, and the structure of the result.

    Args:
        f: a function of numbers and nested lists, tuples and dicts of numbers.
        args: where to run it. The numbers decide which way comparisons go.

    Raises:
        NotANumberError: an argument or the result is not made of numbers.
        RecordingError: a value of another recording was read.

    >>> graph, _ = record(lambda x, y: x * y + 2.0 * x, 3.0, 4.0)
    >>> print(graph)
    %0 = input 0
    %1 = input 1
    %2 = * %0, %1
    %3 = 2.0
    %4 = * %3, %0
    %5 = + %2, %4
    return %5
    """
    recording = Recording()
    leaves, shape = tree.flatten(list(args))
    symbols = [recording.input(x) for x in leaves]
    try:
        results, result_shape = tree.flatten(f(*tree.unflatten(shape, symbols)))
        recording.graph.outputs = [recording.symbol(y)._node for y in results]
    finally:
        recording.active = False
    return recording.graph, result_shape
