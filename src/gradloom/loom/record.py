"""Record a Python function: run it once on symbols that note what happens to them.

A symbol stands for a number that will be another at each run. It carries the number it has in
this run too, so that code may look at it: where a truth value, an index or a plain number is
needed, it goes the way that this run's numbers go and leaves a *guard*, the condition under which
the recording holds. Comparisons and `data` are symbols again, so that they may stand in
arithmetic, or in `where`, without one. Values that existed before (a model's parameters) become
leaves that are read afresh at each run; plain numbers become constants.
"""

import math
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from gradloom.core import autodiff, ops, table, tree
from gradloom.core.operand import Operand
from gradloom.core.table import OPS, Op, Scalar
from gradloom.core.value import Value
from gradloom.errors import NotANumberError, RecordingError
from gradloom.loom import guards
from gradloom.loom.graph import CONSTANT, INPUT, PARAMETER, Graph, code_of

_new = object.__new__


class Recording:
    """A graph in the making, while it is entered as a context.

    Attributes:
        graph: what was recorded so far.
        sites: for each guard of the graph the line that left it.
        active: whether it goes on.
    """

    def __init__(self) -> None:
        self.graph = Graph()
        self.codes, self.operands = self.graph.codes, self.graph.operands
        self.sites: list[guards.Site] = []
        self.level = autodiff.new_level()
        self.active = False
        self.truths: set[int] = set()  # comparisons, which are True or False in plain code
        self.plain: set[int] = set()  # nodes that are plain numbers in plain code, not values
        self._value_inputs = False
        self._found_values: set[int] = set()  # nodes that are values in plain code
        self._constants: dict[bytes, int] = {}
        self._numbers: dict[float, Symbol] = {}  # but -0.0, which is equal to 0.0
        self.values: dict[int, Symbol] = {}
        self._alive: list[Value] = []
        self._around: Recording | None = None

    def __enter__(self) -> Self:
        self._around, _here.recording = _here.recording, self
        _outside.watch()
        self.active = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.active = False
        _outside.unwatch()
        _here.recording = self._around
        if kind is None:
            self._check_parameters()

    def _check_parameters(self) -> None:
        """What was read as a parameter must not have been written meanwhile."""
        for value in self.graph.parameters:
            number = self.values[id(value)]._number
            if value.data != number and not (math.isnan(number) and math.isnan(value.data)):
                raise _written(value)

    def input(self, number: float, *, is_value: bool = False) -> "Symbol":
        """The next argument; `is_value` says that it is a value in plain code."""
        node = self.graph.add(INPUT, (self.graph.inputs,))
        self.graph.inputs += 1
        if is_value:
            self._value_inputs = True
            self._found_values.add(node)
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
        known = self.values.get(id(x))
        if known is not None:
            return known
        if type(x) is float:
            found = _symbol(self, self.constant(x), x)
            if x or math.copysign(1.0, x) > 0.0:
                self._numbers[x] = found
            return found
        if type(x) is Symbol and x._recording is self:
            return x
        if isinstance(x, Value):
            return self._leaf(x) if x._left is None else self._take(x)
        if type(x) is Symbol and not x._recording.active:
            raise _ended(x)
        raise RecordingError(
            f"{x!r} belongs to another recording or derivative and cannot be read in this one; "
            "pass it to the function as an argument, or use detach(x).data for its number"
        )

    def operand(self, x: Any) -> "Symbol | None":
        """What stands for an operand that needs no second look: met before, or a plain number."""
        kind = type(x)
        if kind is Symbol:
            return x if x._recording is self else None
        if kind is float or kind is int:
            found = self._numbers.get(x) if x or kind is int else None  # 0.0 == -0.0
            return self.symbol(table.as_number(x)) if found is None else found
        return self.values.get(id(x))

    def _leaf(self, value: Value) -> "Symbol":
        """Note a leaf from outside as a parameter."""
        parameters = self.graph.parameters
        self.codes.append(PARAMETER)
        self.operands.append(len(parameters))
        parameters.append(value)
        return self._keep(value, len(self.codes) - 1)

    def _take(self, value: Value) -> "Symbol":
        """Note a result from outside with all below it.

        So arithmetic among values alone (a penalty on the weights) is recorded like any other,
        and read afresh at each run.
        """
        waiting = [value]
        while waiting:
            node = waiting[-1]
            below: list[Any] = [x for x in node._operands if type(x) is not float]
            missing = [x for x in below if id(x) not in self.values]
            if missing:
                waiting += missing
                continue
            waiting.pop()
            if id(node) in self.values:
                continue
            if node._left is None:
                self._leaf(node)
                continue
            if node._op not in OPS:
                raise RecordingError(
                    f"{node!r} is a result of another compiled function, computed before this "
                    "recording began; pass it to the function as an argument"
                )
            places = [self.symbol(x)._node for x in node._operands]
            self._keep(node, self.graph.add(code_of(node._op), places))
        return self.values[id(value)]

    def _keep(self, value: Value, node: int) -> "Symbol":
        found = self.values[id(value)] = _symbol(self, node, _outside.number(value))
        self._alive.append(value)  # so that no other takes its id
        return found

    def is_value(self, node: int) -> bool:
        """Whether plain code would have a value here, with a graph, rather than a plain number."""
        if not self.graph.parameters and not self._value_inputs:
            return False
        codes, starts, operands = self.graph.codes, self.graph.starts, self.graph.operands
        plain, values = self.plain, self._found_values
        seen: set[int] = set()
        waiting = [node]
        while waiting:
            below = waiting.pop()
            if below in plain or below in seen:
                continue
            if codes[below] == PARAMETER or below in values:
                values.add(node)
                return True
            seen.add(below)
            if codes[below] > PARAMETER:
                waiting += operands[starts[below] : starts[below + 1]]
        plain |= seen
        return False


class _Here(threading.local):
    """The recording that goes on in this thread."""

    recording: Recording | None = None


_here = _Here()


def current() -> Recording | None:
    """The recording that goes on in this thread, if any."""
    return _here.recording


def _look_up(value: Value) -> Any:
    """The number of a value from outside: in a thread that records, the symbol for it."""
    recording = _here.recording
    return value.data if recording is None else recording.symbol(value).data


class _Outside:
    """Sees to it that values from outside are noticed when code looks at them, not their graph.

    Comparisons ask `table.recorded` (by way of `primal`). `data` and `grad` are slots, which must
    cost nothing in plain code; so while recordings are in progress, and only then, properties
    stand in their place. In threads that do not record, and for the engine itself, they do what
    the slots do.

    From Python 3.13 on, a class that has been changed a thousand times is never again cached by
    the interpreter, and every operation would take more than twice as long for the rest of the
    process. So there the first `TIMES` recordings alone are watched like this.
    """

    TIMES = 100 if sys.version_info >= (3, 13) else sys.maxsize

    def __init__(self) -> None:
        self.count = 0
        self.times = 0
        self.lock = threading.Lock()
        self.usual: list[tuple[type[Value], str, Any]] = []
        self.reads: dict[type, Callable[[Value], Any]] = {}

    def number(self, value: Value) -> float:
        """The number of a value, read past what watches it."""
        read = self.reads.get(type(value))
        return value.data if read is None else read(value)

    def watch(self) -> None:
        """One recording more is in progress."""
        with self.lock:
            self.count += 1
            if self.count == 1:
                table.recorded = _look_up
                self.times += 1
                self.usual = list(_attributes(Value)) if self.times <= self.TIMES else []
                self.reads = {kind: x.__get__ for kind, name, x in self.usual if name == "data"}
                for kind, name, usual in self.usual:
                    stand_in = _recorded if name in _OPERATORS else _watched
                    setattr(kind, name, stand_in(name, usual))

    def unwatch(self) -> None:
        """One less."""
        with self.lock:
            self.count -= 1
            if self.count == 0:
                table.recorded = None
                for kind, name, usual in self.usual:
                    setattr(kind, name, usual)


_outside = _Outside()


_OPERATORS = ("__add__", "__mul__", "__rmul__", "__sub__", "__truediv__", "_apply")


def _attributes(kind: type[Value]) -> Iterator[tuple[type[Value], str, Any]]:
    """What is replaced, of the class and those below it, wherever it is defined."""
    for name in ("data", "grad", *_OPERATORS):
        if name in vars(kind):
            yield kind, name, vars(kind)[name]
    for below in kind.__subclasses__():
        yield from _attributes(below)


def _recorded(name: str, usual: Any) -> Callable[..., Any]:
    """What stands in place of an operator meanwhile: arithmetic on values makes symbols."""
    operate = getattr(Symbol, name)

    def recorded(value: Value, other: Any) -> Any:
        recording = _here.recording
        if recording is None:
            return usual(value, other)
        known = recording.values.get(id(value))
        return operate(recording.symbol(value) if known is None else known, other)

    def applied(value: Value, op: Op, operands: Sequence[Scalar]) -> Any:
        recording = _here.recording
        if recording is None:
            return usual(value, op, operands)
        return recording.symbol(value)._apply(op, operands)

    return applied if name == "_apply" else recorded


def _watched(name: str, usual: Any) -> property:
    """What stands in place of an attribute meanwhile."""

    def read(value: Value) -> Any:
        recording = _here.recording
        if recording is None:
            return usual.__get__(value)
        frame = sys._getframe(1)
        if guards.is_inside(frame):
            if guards.is_copying(frame):
                raise RecordingError(
                    f"{value!r} was copied or pickled while a function was recorded, and a replay "
                    "would not copy its number again; use it as it is, detach(x) for a constant, "
                    "or copy it outside of compiled functions"
                )
            return usual.__get__(value)
        if name == "grad":
            raise RecordingError(
                f"the gradient of {value!r} was read while a function was recorded, and a replay "
                "would not read it again; pass it to the function as an argument"
            )
        return recording.symbol(value).data

    def write(value: Value, number: float) -> None:
        if _here.recording is not None and not guards.is_inside(sys._getframe(1)):
            raise _written(value, name)
        usual.__set__(value, number)

    return property(read, write)


_ADD, _MUL = code_of("+"), code_of("*")
_SEQUENCES = (list, tuple, str)


def _operator(
    symbol: str, usual: Callable[..., Any], *, reflected: bool = False
) -> Callable[..., Any]:
    """An operator of symbols: `usual`, with the everyday case spelled out."""
    code, evaluate = code_of(symbol), OPS[symbol].evaluate

    def operate(self: "Symbol", other: Scalar) -> Any:
        recording = self._recording
        known = recording.operand(other)
        if known is None or not recording.active:
            return usual(self, other)
        left, right = (known, self) if reflected else (self, known)
        codes, operands = recording.codes, recording.operands
        out = _new(Symbol)
        out._recording = recording
        out._node = len(codes)
        out._number = evaluate(left._number, right._number)
        codes.append(code)
        operands.append(left._node)
        operands.append(right._node)
        return out

    return operate


def _scaled(self: "Symbol", other: Scalar) -> Any:
    """other * self; [0.0] * n repeats the list, for which Python asks for the index n."""
    return NotImplemented if isinstance(other, _SEQUENCES) else Operand.__rmul__(self, other)


class Symbol(Operand):
    """A number in a recording."""

    __slots__ = ("_node", "_number", "_recording")
    _symbolic = True
    _recording: Recording
    _node: int
    _number: float

    def __repr__(self) -> str:
        return f"Symbol(%{self._node}: {self._number})"

    # Operators are what recordings spend their time on: a sum and a product are spelled out here,
    # the others of two operands come from `_operator` below. What needs a second look (lists,
    # operands of other recordings or derivatives) goes the general way, by `ops` and `_apply`.

    def __add__(self, other: Scalar) -> Any:
        recording = self._recording
        known = recording.operand(other) if type(other) is not Symbol else other
        if known is None or known._recording is not recording or not recording.active:
            return super().__add__(other)
        codes, operands = recording.codes, recording.operands
        out = _new(Symbol)
        out._recording = recording
        out._node = len(codes)
        out._number = self._number + known._number
        codes.append(_ADD)
        operands.append(self._node)
        operands.append(known._node)
        return out

    def __mul__(self, other: Scalar) -> Any:
        recording = self._recording
        known = recording.operand(other) if type(other) is not Symbol else other
        if known is None or known._recording is not recording or not recording.active:
            return NotImplemented if isinstance(other, _SEQUENCES) else super().__mul__(other)
        codes, operands = recording.codes, recording.operands
        out = _new(Symbol)
        out._recording = recording
        out._node = len(codes)
        out._number = self._number * known._number
        codes.append(_MUL)
        operands.append(self._node)
        operands.append(known._node)
        return out

    __radd__ = _operator("+", Operand.__radd__, reflected=True)
    __sub__ = _operator("-", Operand.__sub__)
    __rsub__ = _operator("-", Operand.__rsub__, reflected=True)
    __rmul__ = _operator("*", _scaled, reflected=True)
    __truediv__ = _operator("/", Operand.__truediv__)
    __rtruediv__ = _operator("/", Operand.__rtruediv__, reflected=True)
    __pow__ = _operator("**", Operand.__pow__)
    __rpow__ = _operator("**", Operand.__rpow__, reflected=True)

    def _apply(self, op: Op, operands: Sequence[Scalar]) -> "Symbol":
        recording = self._recording
        if not recording.active:
            raise _ended(self)
        codes = recording.codes
        if op.arity == 1:  # the one operand is this
            codes.append(code_of(op.symbol))
            recording.operands.append(self._node)
            return _symbol(recording, len(codes) - 1, op.evaluate(self._number))
        places, numbers = [], []
        for x in operands:
            if type(x) is not Symbol or x._recording is not recording:
                x = recording.symbol(x)
            places.append(x._node)
            numbers.append(x._number)
        node = len(codes)
        codes.append(code_of(op.symbol))
        recording.operands.extend(places)
        if op.arity is None:
            recording.graph.counts.append(len(places))
        return _symbol(recording, node, op.evaluate(*numbers))

    @property
    def _level(self) -> int:  # type: ignore[override]
        return self._recording.level

    @property
    def data(self) -> "Symbol":
        """The number without its gradient, still a symbol."""
        if self._is_plain():
            return self
        found: Symbol = ops.detach(self)
        self._recording.plain.add(found._node)
        return found

    def backward(self) -> None:
        """Not for what is being recorded."""
        raise RecordingError(
            "backward() cannot be called while a function is recorded; call it on the result of "
            "the compiled function, or use gradloom.grad inside"
        )

    def _is_plain(self) -> bool:
        if not self._recording.active:
            raise _ended(self)
        return not self._recording.is_value(self._node)

    def _hold(self, kind: str) -> float:
        """This run's number, under the condition that every run has the same."""
        recording = self._recording
        if not recording.active:
            raise _ended(self)
        recording.graph.guards.append((self._node, self._number))
        recording.sites.append(guards.here(kind))
        return self._number

    def _compare(self, symbol: str, left: Scalar, right: Scalar) -> Any:
        """A comparison: 1.0 or 0.0, until somebody asks for its truth."""
        try:
            operands = [_checked(left), _checked(right)]
        except NotANumberError:
            return NotImplemented
        step = self._apply(OPS[symbol], operands)
        self._recording.truths.add(step._node)
        self._recording.plain.add(step._node)
        return step

    def __lt__(self, other: Scalar) -> Any:
        return self._compare("greater", other, self)

    def __gt__(self, other: Scalar) -> Any:
        return self._compare("greater", self, other)

    def __le__(self, other: Scalar) -> Any:
        return self._compare("less_equal", self, other)

    def __ge__(self, other: Scalar) -> Any:
        return self._compare("less_equal", other, self)

    def __eq__(self, other: object) -> Any:
        return self._compare("equal", self, other)

    def __ne__(self, other: object) -> Any:
        equal = self._compare("equal", self, other)
        return NotImplemented if equal is NotImplemented else equal._compare("equal", equal, 0.0)

    def __bool__(self) -> bool:
        truth = self if self._node in self._recording.truths else self != 0.0
        return truth._hold(guards.TRUTH) != 0.0

    def __hash__(self) -> int:
        """The number's, as the plain number would have it; a value's is its identity."""
        if not self._recording.active or not self._is_plain():
            return object.__hash__(self)
        return hash(self._hold(guards.NUMBER))

    def __index__(self) -> int:
        if not self._is_plain() or not self._number.is_integer():
            raise TypeError(
                f"{self._number} cannot be interpreted as an integer: only a plain whole number "
                "can count or index"
            )
        return int(self._hold(guards.INDEX))

    def __float__(self, *_: object) -> float:  # type: ignore[override]
        if not self._is_plain():
            super().__float__()
        return self._hold(guards.NUMBER)

    def __floor__(self) -> int:  # type: ignore[override]
        return self._whole(ops.floor, math.floor)

    def __ceil__(self) -> int:  # type: ignore[override]
        return self._whole(ops.ceil, math.ceil)

    def __int__(self) -> int:  # type: ignore[override]
        return self._whole(ops.ceil if self._number < 0.0 else ops.floor, math.trunc)

    __trunc__ = __int__  # type: ignore[assignment]

    def _whole(self, rounded: Callable[[Any], Any], exact: Callable[[float], int]) -> int:
        """A whole number, under the condition that every run rounds to the same."""
        if not self._is_plain():
            super().__float__()
        rounded(self)._hold(guards.INDEX)
        return exact(self._number)

    def __round__(self, digits: int | None = None) -> Any:  # type: ignore[override]
        return round(float(self), digits)

    def __format__(self, spec: str) -> str:
        # Text may be parsed again, or come out as a key: it holds for this number alone.
        return format(self._hold(guards.NUMBER), spec) if spec else str(self)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __iter__(self) -> Iterator[Any]:
        raise TypeError(f"{self!r} is one number and cannot be iterated over")


def _symbol(recording: Recording, node: int, number: float) -> Symbol:
    out = _new(Symbol)
    out._recording = recording
    out._node = node
    out._number = number
    return out


def _checked(x: Any) -> Scalar:
    return x if hasattr(x, "_level") else table.as_number(x)


def _written(value: Value, name: str = "data") -> RecordingError:
    return RecordingError(
        f"the {name} of {value!r} was changed while a function was recorded, which a replay would "
        "not do; change values outside of compiled functions (an optimiser's step after backward())"
    )


def _ended(symbol: Symbol) -> RecordingError:
    return RecordingError(
        f"{symbol!r} was made in a recording that has ended, and has no number any more; "
        "return it from the recorded function instead of keeping it elsewhere"
    )


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
    leaves, shape = tree.flatten(list(args))
    with Recording() as recording:
        symbols = [recording.input(table.primal(x), is_value=type(x) is not float) for x in leaves]
        results, result_shape = tree.flatten(f(*tree.unflatten(shape, symbols)))
        recording.graph.outputs = [recording.symbol(y)._node for y in results]
    return recording.graph, result_shape
