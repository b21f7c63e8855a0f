"""A compiled function as a page shows it: its scalars, and the array instructions they became.

The scalar graph is the one that was woven, after folding and sharing. Every array instruction is
given the scalar nodes that it stands for: those whose slots it writes, and the products and
partial sums that went into them and have no slot of their own. What repeats from turn to turn of
a recurrence is shown once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gradloom.errors import ArgumentError
from gradloom.loom.graph import CONSTANT as LITERAL
from gradloom.loom.graph import INPUT, Graph, row_of, symbol_of
from gradloom.loom.graph import PARAMETER as OUTSIDE
from gradloom.loom.lower import lower
from gradloom.loom.program import Instruction, Program
from gradloom.loom.roll import roll
from gradloom.loom.simplify import simplify
from gradloom.loom.views import slots_of
from gradloom.loom.weave import _Weaver
from gradloom.nn.module import Parameter
from gradloom.transforms.arguments import Arguments
from gradloom.transforms.compiled import Compiled
from gradloom.view.boxes import put_in_boxes
from gradloom.view.diagram import CONSTANT, LEAF, PARAMETER, RESULT, Diagram, Node
from gradloom.view.notes import notes_of


@dataclass(slots=True)
class Step:
    """An array instruction, or numbers from outside, for a page.

    Attributes:
        kind: "code", "leaf" for the arguments, "parameter" for values from outside.
        shape: the sizes of the loop.
        text: the instruction.
        nodes: the scalar nodes of the diagram that it stands for.
        reads: the steps whose numbers it reads.
    """

    kind: str
    shape: str
    text: str
    nodes: list[int]
    reads: list[int]


def compiled_diagram(
    f: Compiled, args: tuple[Any, ...], names: list[str]
) -> tuple[Diagram, list[Step]]:
    """The scalars of a compiled function, recorded with these arguments, and its instructions.

    Raises:
        ArgumentError: the result is not one number.

    >>> import gradloom as gl
    >>> dot = gl.compile(lambda w, x: sum(a * b for a, b in zip(w, x)))
    >>> diagram, steps = compiled_diagram(dot, ([1.0, 2.0], [3.0, 4.0]), ["w0", "w1", "x0", "x1"])
    >>> [(step.text, len(step.nodes)) for step in steps]
    [('arguments', 4), ('@4(0) += (@0(1) * @2(1))', 4)]
    """
    path = f.lookup(*args)
    if path.graph is None or len(path.program.outputs) != 1:
        raise ArgumentError(
            f"explore: {f!r} gives {len(path.program.outputs)} numbers; "
            "explore a function of it that gives one, such as a loss"
        )
    graph = simplify(lower(path.graph))
    diagram, number = _scalars(graph, list(Arguments(f, args, {}).numbers), names)
    weaver = _Weaver(graph, (), path.options.strict)
    weaver.lay_out(weaver.group())
    steps = list(_steps(roll(path.program), graph, weaver, number))
    for node, symbol in notes_of(f, args, graph).items():
        diagram.nodes[number[node]].op = symbol
    before = list(diagram.nodes)
    put_in_boxes(diagram)
    kept = {id(node): i for i, node in enumerate(diagram.nodes)}
    for step in steps:
        step.nodes = sorted(kept[id(before[i])] for i in step.nodes)
    return diagram, steps


def _scalars(graph: Graph, inputs: list[float], names: list[str]) -> tuple[Diagram, dict[int, int]]:
    """The graph as a diagram with its numbers, and where each node went.

    A constant stands wherever it is read, as it does in the code.
    """
    diagram = Diagram()
    number: dict[int, int] = {}
    numbers: list[float] = []

    def add(node: Node) -> int:
        diagram.nodes.append(node)
        return len(diagram.nodes) - 1

    for i, code in enumerate(graph.codes):
        places = graph.operands_of(i)
        if code == LITERAL:
            numbers.append(graph.constants[places[0]])
        elif code == INPUT:
            numbers.append(inputs[places[0]])
            number[i] = add(Node(LEAF, data=numbers[-1], label=names[places[0]]))
        elif code == OUTSIDE:
            value = graph.parameters[places[0]]
            numbers.append(value.data)
            kind = PARAMETER if isinstance(value, Parameter) else LEAF
            number[i] = add(Node(kind, data=value.data, label=value.label))
            diagram.leaves[number[i]] = value
        else:
            numbers.append(row_of(code).evaluate(*[numbers[x] for x in places]))
            operands = [
                number[x] if x in number else add(Node(CONSTANT, data=numbers[x])) for x in places
            ]
            number[i] = add(Node(RESULT, symbol_of(code), tuple(operands), numbers[-1]))
    diagram.roots = [
        number[i] if i in number else add(Node(CONSTANT, data=numbers[i])) for i in graph.outputs
    ]
    return diagram, number


def _steps(
    program: Program, graph: Graph, weaver: _Weaver, number: dict[int, int]
) -> Iterator[Step]:
    """The arguments, the parameters, and every instruction in the order of running."""
    owner = {int(slot): node for node, slot in enumerate(weaver.slot) if slot >= 0}
    writers: dict[int, list[int]] = {}
    made = 0
    for kind, text, slots in (
        ("leaf", "arguments", program.inputs),
        ("parameter", "parameters", program.parameters),
    ):
        used = [int(slot) for slot in slots if slot >= 0]
        if used:
            writers |= {slot: [made] for slot in used}
            yield Step(kind, f"{len(used)}", text, [number[owner[slot]] for slot in used], [])
            made += 1
    absorbed = weaver.terms.absorbed
    for same in _alike(program):
        out = {int(s) for one in same for s in slots_of(one.out, one.shape).ravel()}
        read = {
            int(s) for one in same for v in one.operands for s in slots_of(v, one.shape).ravel()
        }
        nodes: list[int] = []
        for slot in sorted(out & owner.keys()):
            nodes += _inside(graph, owner[slot], absorbed, weaver.slot, same[0], read)
        reads = {
            w
            for slot in read | (out if same[0].accumulate else set())
            for w in writers.get(slot, [])
        }
        for slot in out:
            writers.setdefault(slot, []).append(made)
        shape = " × ".join(map(str, same[0].shape))
        if len(same) > 1:
            shape = f"{len(same)} turns of {shape or 1}"
        text = str(same[0]).strip().partition("  ")[2]
        found = list(dict.fromkeys(number[i] for i in nodes if i in number))
        yield Step("code", shape or "1", text, found, sorted(reads - {made}))
        made += 1


def _alike(program: Program) -> list[list[Instruction]]:
    """The instructions; of a program with loops, those that are the same in every turn together."""
    flat = program.flat
    if len(flat) == len(program.instructions):
        return [[one] for one in flat]
    found: dict[Any, list[Instruction]] = {}
    for one in flat:
        strides = tuple(view.strides for view in one.views)
        found.setdefault((repr(one.body), one.shape, strides, one.accumulate), []).append(one)
    return list(found.values())


def _inside(
    graph: Graph,
    node: int,
    absorbed: Any,
    slot: Any,
    instruction: Instruction,
    read: set[int],
) -> Iterator[int]:
    """A node, and what went into it without a slot, as far as the instruction computes it."""
    yield node
    has_products = "*" in repr(instruction.body)
    waiting = [x for x in graph.operands_of(node) if graph.codes[x] > OUTSIDE and absorbed[x]]
    while waiting:
        x = waiting.pop()
        below = graph.operands_of(x)
        waiting += [i for i in below if graph.codes[i] > OUTSIDE and absorbed[i]]
        is_product = symbol_of(graph.codes[x]) in ("*", "dot")
        factors = {int(slot[i]) for i in below if graph.codes[i] != LITERAL}
        if not is_product or (has_products and factors <= read):
            yield x
