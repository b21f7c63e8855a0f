"""What a picture of an expression graph is made from: numbered nodes, and boxes around them.

A `Diagram` is plain data, taken from live values once. Plain numbers that stand in an expression
are nodes too, though they have no gradient. A gradient that no backward pass has filled in is
None here and never 0: the two mean different things, and a picture must not mix them up.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gradloom.core.value import Value
from gradloom.nn.module import Parameter

RESULT, LEAF, PARAMETER, CONSTANT = "result", "leaf", "parameter", "constant"

# The very zero that a result is born with: a backward pass puts another in its place.
_UNTOUCHED = (-Value(1.0)).grad

# Where the values live that stand for the call of a compiled function, with all its numbers.
_CALLS = "gradloom.transforms.replay"


@dataclass(slots=True)
class Node:
    """One number of an expression.

    Attributes:
        kind: RESULT of an operation, LEAF, PARAMETER of a module, or CONSTANT, a plain number.
        op: the symbol of the operation, "" for all but results.
        operands: the numbers of its operands, in order.
        data: the number; None of a compiled function's call, which has many.
        grad: its gradient, None if it has not been computed.
        local: for each operand the local derivative, None where no gradient flows.
        label: its name, "" if it has none.
        place: the line that made it, as `file:line: code`; "" if nobody took notes.
        box: the innermost box that it stands in.
    """

    kind: str
    op: str = ""
    operands: tuple[int, ...] = ()
    data: float | None = 0.0
    grad: float | None = None
    local: tuple[float | None, ...] = ()
    label: str = ""
    place: str = ""
    box: int = 0


@dataclass(slots=True)
class Box:
    """A call of a module, drawn around what it computed."""

    title: str
    parent: int


@dataclass(slots=True)
class Diagram:
    """An expression graph as plain data.

    Attributes:
        nodes: operands before what was made from them.
        boxes: the first, which has no parent (-1), is around everything.
        roots: the nodes that were asked for.
        leaves: the live values behind leaves and parameters, by node.
    """

    nodes: list[Node] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=lambda: [Box("", -1)])
    roots: list[int] = field(default_factory=list)
    leaves: dict[int, Any] = field(default_factory=dict)

    def consumers(self) -> list[list[int]]:
        """For each node the results that read it."""
        found: list[list[int]] = [[] for _ in self.nodes]
        for i, node in enumerate(self.nodes):
            for operand in dict.fromkeys(node.operands):
                found[operand].append(i)
        return found

    def lineage(self, box: int) -> list[int]:
        """A box and those around it, the outermost first."""
        path = []
        while box >= 0:
            path.append(box)
            box = self.boxes[box].parent
        return path[::-1]


def diagram_of(roots: Sequence[Value]) -> Diagram:
    """The graph below some values.

    >>> a, b = Value(2.0, label="a"), Value(-3.0, label="b")
    >>> diagram = diagram_of([a * b + 1.0])
    >>> [node.op or node.label or node.data for node in diagram.nodes]
    ['a', 'b', '*', 1.0, '+']
    >>> diagram.nodes[-1].grad is None
    True
    """
    diagram = Diagram()
    number: dict[int, int] = {}
    for value in _ordered(roots):
        operands = []
        for x in value._operands:
            if type(x) is float:
                diagram.nodes.append(Node(CONSTANT, data=x))
                operands.append(len(diagram.nodes) - 1)
            else:
                operands.append(number[id(x)])
        number[id(value)] = len(diagram.nodes)
        if type(value).__module__ == _CALLS:
            label = "" if operands else value.label or repr(value)
            kind = RESULT if operands else LEAF
            diagram.nodes.append(Node(kind, value._op, tuple(operands), None, label=label))
            continue
        if value._left is not None:
            local = tuple([d if isinstance(d, float) else None for d in value._local])
            node = Node(RESULT, value._op, tuple(operands), value.data, local=local)
            node.grad = None if value.grad is _UNTOUCHED else value.grad
        else:
            diagram.leaves[len(diagram.nodes)] = value
            node = Node(PARAMETER if isinstance(value, Parameter) else LEAF, data=value.data)
        node.label = value.label
        diagram.nodes.append(node)
    diagram.roots = [number[id(root)] for root in dict.fromkeys(roots)]
    _leaf_gradients(diagram)
    return diagram


def _ordered(roots: Iterable[Value]) -> list[Value]:
    """Every value below the roots, operands first and from left to right."""
    order: list[Value] = []
    entered: set[int] = set()
    done: set[int] = set()
    waiting = list(roots)[::-1]
    while waiting:
        value = waiting[-1]
        if id(value) in entered:
            waiting.pop()
            if id(value) not in done:
                done.add(id(value))
                order.append(value)
            continue
        entered.add(id(value))
        for x in value._operands[::-1]:
            if not isinstance(x, float) and id(x) not in entered:
                waiting.append(x)
    return order


def _leaf_gradients(diagram: Diagram) -> None:
    """Fill in the gradients of leaves: computed unless they are 0 where they should not be.

    A leaf holds 0 before any pass, after a reset, and where 0 is what came. What the results
    above it would have handed down tells these apart.
    """
    reached: dict[int, list[float]] = {}
    for node in diagram.nodes:
        if node.grad is None:
            continue
        for operand, local in zip(node.operands, node.local, strict=True):
            if operand in diagram.leaves:
                reached.setdefault(operand, []).append((local or 0.0) * node.grad)
    for i, leaf in diagram.leaves.items():
        shares = reached.get(i)
        is_zero = shares is not None and sum(shares) == 0.0
        diagram.nodes[i].grad = leaf.grad if leaf.grad != 0.0 or is_zero else None
