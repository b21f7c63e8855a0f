"""A number that remembers how it was made, and can tell how much it depends on what made it.

Arithmetic on values builds a graph, one node an operation. Every node keeps its operands and,
for each of them, the local derivative: how fast the node moves when that operand alone is
nudged. `backward()` starts at the end with the derivative 1, visits the graph so that a node's
turn comes after everything made from it, and hands each operand its share:

    operand.grad += local derivative * node.grad

That is the chain rule, and the whole of backpropagation. After Karpathy's micrograd.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from gradloom.core import collector, copying, ops
from gradloom.core.operand import Operand
from gradloom.core.table import Op, Scalar, as_number


class Watcher(Protocol):
    """Somebody who wants to see every result and every backward step: `detect_anomaly()`."""

    def made(self, node: "Value") -> None: ...
    def passed(self, node: "Value") -> None: ...

    # The same for the numbers of autodiff: a result is told with a note, a step back with it.
    def computed(self, op: Op, operands: Sequence[Scalar], *found: Scalar) -> str: ...
    def pulled(self, note: str, local: Scalar, above: Scalar, share: Scalar) -> None: ...


watcher: Watcher | None = None
_new = object.__new__  # faster than calling the class, which would run __init__


class Value(Operand):
    """A number with a gradient.

    Args:
        data: the number (any real one: int, float, fraction, NumPy scalar), kept as a float.
        label: a name for pictures and messages.

    Raises:
        NotANumberError: `data` is a string, None, complex, a list, …; it is a TypeError.

    Attributes:
        data: the number.
        grad: d(root)/d(this) after `root.backward()`, 0.0 until then. On a leaf it adds up
            over passes; a result shows the last pass alone.
        label: the name, "" if there is none.

    >>> a, b = Value(2.0, label="a"), Value(-3.0, label="b")
    >>> c = a * b + a**2
    >>> c.backward()
    >>> c.data, a.grad, b.grad
    (-2.0, 1.0, 2.0)
    """

    # Two operands stand in _left and _right, their local derivatives in _dleft and _dright. A
    # plain number stands on the right, in a tuple if it came first; it has no derivative: None.
    # An operation of more operands has a tuple of them on the left. Two slots instead of one
    # tuple for all save a third of the memory, and of the time.
    __slots__ = ("_dleft", "_dright", "_left", "_name", "_op", "_right", "data", "grad")
    _level = 0  # below every nested derivative (see autodiff)
    data: float
    grad: float
    _op: str  # the symbol of the operation's row, "" for a leaf
    _left: Any  # None for a leaf
    _right: Any
    _dleft: Any
    _dright: Any
    _name: str

    def __init__(self, data: Scalar, label: str = "") -> None:
        self.data = as_number(data)
        self.grad = 0.0
        self._op = ""
        self._left = None
        if label:
            self._name = label

    def __repr__(self) -> str:
        label = f", label={self.label!r}" if self.label else ""
        return f"{type(self).__name__}(data={self.data}, grad={self.grad}{label})"

    @property
    def label(self) -> str:
        """The name for pictures and messages, "" if there is none."""
        return getattr(self, "_name", "")

    @label.setter
    def label(self, name: str) -> None:
        self._name = name

    _label = label

    @property
    def _operands(self) -> tuple["Value | float", ...]:
        """The operands in order, plain numbers among them as they are."""
        left = self._left
        if left is None:
            return ()
        if type(left) is tuple:
            return left
        right = self._right
        if right is None:
            return (left,)
        return (*right, left) if type(right) is tuple else (left, right)

    @property
    def _local(self) -> tuple[float | None, ...]:
        """The local derivative for each operand, None where no gradient flows."""
        if self._left is None:
            return ()
        if type(self._left) is tuple:
            return tuple(self._dleft)
        if type(self._right) is tuple:
            return (None, self._dleft)
        return (self._dleft, self._dright)[: len(self._operands)]

    @property
    def _prev(self) -> tuple["Value", ...]:
        """The operands in order, as values: a plain number becomes a leaf when first asked for."""
        found = self._operands
        if any(type(x) is float for x in found):
            found = tuple([Value(x) if type(x) is float else x for x in found])
            self._left, self._dleft, self._right = found, self._local, None
        return found  # type: ignore[return-value]

    # Operators that are most of what runs are spelled out, the others are inherited. They do
    # what their rows of the table say; a test compares.

    def __add__(self, other: Scalar) -> "Value":
        if watcher is None:
            if type(other) is Value:
                return _node("+", self.data + other.data, self, other, 1.0, 1.0)
            if type(other) is float:
                return _node("+", self.data + other, self, other, 1.0)
        return ops.add(self, other)  # type: ignore[no-any-return]

    def __mul__(self, other: Scalar) -> "Value":
        if watcher is None:
            if type(other) is Value:
                return _node("*", self.data * other.data, self, other, other.data, self.data)
            if type(other) is float:
                return _node("*", self.data * other, self, other, other)
        return ops.mul(self, other)  # type: ignore[no-any-return]

    def __rmul__(self, other: Scalar) -> "Value":
        if type(other) is float and watcher is None:
            return _node("*", other * self.data, self, (other,), other)
        return ops.mul(other, self)  # type: ignore[no-any-return]

    def __sub__(self, other: Scalar) -> "Value":
        if watcher is None:
            if type(other) is Value:
                return _node("-", self.data - other.data, self, other, 1.0, -1.0)
            if type(other) is float:
                return _node("-", self.data - other, self, other, 1.0)
        return ops.sub(self, other)  # type: ignore[no-any-return]

    def __truediv__(self, other: Scalar) -> "Value":
        if type(other) is Value and watcher is None and other.data:
            y = self.data / other.data
            return _node("/", y, self, other, 1.0 / other.data, -(y / other.data))
        return ops.div(self, other)  # type: ignore[no-any-return]

    def _apply(self, op: Op, operands: Sequence[Scalar]) -> "Value":
        """A node for any row of the table; the operands are values and floats."""
        if op.arity == 1:
            x = self.data
            y = op.evaluate(x)
            out = _node(op.symbol, y, self, None, op.partials[0](y, x))  # type: ignore[index]
        elif op.arity == 2 and not op.masks:
            a, b = operands
            left, right = op.partials  # type: ignore[misc]
            if type(a) is float:
                y = b.data
                z = op.evaluate(a, y)
                out = _node(op.symbol, z, b, (a,), right(z, a, y))
            elif type(b) is float:
                x = a.data
                z = op.evaluate(x, b)
                out = _node(op.symbol, z, a, b, left(z, x, b))
            else:
                x, y = a.data, b.data
                z = op.evaluate(x, y)
                out = _node(op.symbol, z, a, b, left(z, x, y), right(z, x, y))
        else:
            wanted = [type(x) is not float for x in operands]
            numbers = [x.data if want else x for x, want in zip(operands, wanted, strict=True)]
            y = op.evaluate(*numbers)
            local = op.derivatives(y, numbers, wanted)
            out = _node(op.symbol, y, tuple(operands), None, local)
        if op.masks and out._dleft == 0.0:
            out._dleft = None
        if (seen_by := watcher) is not None:  # looked up once: another thread may put it back
            seen_by.made(out)
        return out

    def backward(self) -> None:
        """Fill in d(self)/d(node) as `grad` of every node that this value was made from.

        The results on the way start at 0; leaves add to what they hold (`zero_grad()` of
        modules and optimisers sets them back). Time and memory are linear in the nodes, and no
        graph is too deep.

        >>> x = Value(3.0)
        >>> y = (x * x) ** 2
        >>> y.backward(); x.grad
        108.0
        >>> y.backward(); x.grad  # a leaf adds up: 108 twice
        216.0
        """
        if self._left is None:
            self.grad += 1.0
            return
        order, zero = _topological(self)
        collector.pace(len(order))
        self.grad = 1.0
        order.reverse()
        if (seen_by := watcher) is not None:
            for node in order:
                if node.grad is not zero:
                    node._backward()
                    seen_by.passed(node)
            return
        for node in order:  # node._backward() spelled out: a call costs more than the arithmetic
            grad = node.grad
            if grad is zero:  # nothing came past a mask; 0 · nan must not go on from here
                continue
            left = node._left
            if type(left) is tuple:
                for operand, local in zip(left, node._dleft, strict=True):
                    if local is not None:
                        operand.grad += local * grad
                continue
            if (local := node._dleft) is not None:
                left.grad += local * grad
            if (local := node._dright) is not None:
                node._right.grad += local * grad

    def _backward(self) -> None:
        """Hand this node's gradient on to its operands: the chain rule, one step."""
        for operand, local in zip(self._prev, self._local, strict=True):
            if local is not None:
                operand.grad += local * self.grad

    def draw(self, **options: Any) -> Any:
        """A picture of everything that this value was made from; see `gradloom.draw`."""
        from gradloom import draw  # the layers above, and their libraries, when asked for

        return draw(self, **options)

    def _repr_svg_(self) -> str | None:
        from gradloom import _svg_of  # for notebooks

        return _svg_of(self)

    __reduce__ = copying.reduce
    __setstate__ = copying.restore


def _node(
    op: str, data: float, left: Any, right: Any, dleft: Any = None, dright: Any = None
) -> Value:
    """A result."""
    out = _new(Value)
    out.data = data
    out.grad = 0.0
    out._op = op
    out._left = left
    out._right = right
    out._dleft = dleft
    out._dright = dright
    return out


def _topological(root: Value) -> tuple[list[Value], float]:
    """Every result below `root`, operands before what was made from them; `root` comes last.

    A walk depth first, with a list in place of recursion so that no graph is too deep. Leaves
    are left out, for they pass nothing on. Where the walk has been stands in the gradients: two
    floats made for this walk alone mark the results whose operands are being visited and those
    that are done, at 0. That saves a set as large as the graph. The second mark is given too:
    a result that still holds it after the pass has been reached by no gradient.
    """
    zero, entered = float(), float()  # noqa: UP018 - literals would be one object for all walks
    order: list[Value] = []
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.grad is entered:  # all that it was made from is in the list now
            node.grad = zero
            order.append(node)
            continue
        while node.grad is not zero:
            node.grad = entered
            waiting.append(node)
            left = node._left
            if type(left) is tuple:
                waiting += [
                    x
                    for x in left
                    if type(x) is not float and x._left is not None and x.grad is not zero
                ]
                break
            if node._dright is not None:
                right = node._right
                if right._left is not None and right.grad is not zero:
                    waiting.append(right)
            if left._left is None:
                break
            node = left
    return order, zero
