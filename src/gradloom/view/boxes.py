"""Which call of which module computed a node.

Where `tracing()` took notes they say it, exactly and for any module. Without notes it is told
from what a node reads: a product with the weights of a Neuron, the sum that adds its bias, and
its activation are a call of that Neuron. Neurons that feed each other, or that look at the same
inputs, are a call of the Layer, MLP or other module that holds them. Who holds what is asked of
the modules that are alive, so keep the model. Without notes a node of any other kind stands in
no box, an activation that is a function of one's own stays outside of its Neuron, and of neurons
that look at equal plain numbers it is a guess which of two equal samples they belong to.
"""

import gc
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

from gradloom.nn.layers import ACTIVATIONS, Neuron
from gradloom.nn.module import Module, _leaves, _parts
from gradloom.view.diagram import CONSTANT, LEAF, PARAMETER, RESULT, Box, Diagram, Node
from gradloom.view.trace import parts_of

Way = tuple[tuple[Hashable, str], ...]  # boxes from the outermost on: what tells them apart, title


def put_in_boxes(diagram: Diagram) -> None:
    """Give the diagram its boxes, and every node its own.

    >>> from gradloom import nn
    >>> from gradloom.view.diagram import diagram_of
    >>> layer = nn.Layer(2, 2, seed=1)
    >>> diagram = diagram_of(layer([1.0, 2.0])[:1])
    >>> put_in_boxes(diagram)
    >>> [box.title for box in diagram.boxes]
    ['', 'Layer', 'neurons.0 Neuron']
    """
    noted = any(hasattr(node.op, "calls") for node in diagram.nodes)
    _box(diagram, _noted(diagram) if noted else _told(diagram))
    _name_parameters(diagram)
    _place_leaves(diagram)
    _share_inputs(diagram)


def put_parts_in_boxes(diagram: Diagram, module: Module) -> None:
    """Give a diagram of a module's parameters a box for every module that holds some.

    >>> from gradloom import nn
    >>> from gradloom.view.diagram import diagram_of
    >>> layer = nn.Layer(1, 2)
    >>> diagram = diagram_of(layer.parameters())
    >>> put_parts_in_boxes(diagram, layer)
    >>> [box.title for box in diagram.boxes]
    ['', 'Layer', 'neurons.0 Neuron', 'neurons.1 Neuron']
    """
    numbers = {id(leaf): i for i, leaf in diagram.leaves.items()}
    ways: dict[int, Way] = {}
    for way in [[("", module)], *([("", module), *way] for way in parts_of(module).values())]:
        titles = tuple((id(m), f"{name} {type(m).__name__}".strip()) for name, m in way)
        for _, part in _parts("", vars(way[-1][1])):
            if not isinstance(part, Module):
                ways |= {numbers[id(p)]: titles for p in _leaves(part)}
    _box(diagram, dict(sorted(ways.items())))


def _box(diagram: Diagram, ways: dict[int, Way]) -> None:
    """Make the boxes that these nodes stand in."""
    numbers: dict[Way, int] = {(): 0}
    for i, way in ways.items():
        for end in range(1, len(way) + 1):
            if way[:end] not in numbers:
                numbers[way[:end]] = len(diagram.boxes)
                diagram.boxes.append(Box(way[end - 1][1], numbers[way[: end - 1]]))
        diagram.nodes[i].box = numbers[way]


def _noted(diagram: Diagram) -> dict[int, Way]:
    """The boxes of each result by the notes of `tracing`."""
    ways: dict[int, Way] = {}
    for i, node in enumerate(diagram.nodes):
        ways[i] = getattr(node.op, "calls", ())
        node.place = getattr(node.op, "place", node.place)
    return ways


@dataclass(slots=True)
class _Call:
    """What a neuron did once."""

    neuron: Neuron
    nodes: list[int] = field(default_factory=list)
    inputs: list[Hashable] = field(default_factory=list)
    result: int = -1  # the last of its nodes
    has_bias: bool = False
    is_bent: bool = False
    into: "_Call | None" = None  # the call that this one has become part of

    def now(self) -> "_Call":
        call = self
        while call.into is not None:
            call = call.into
        return call


def _told(diagram: Diagram) -> dict[int, Way]:
    """The boxes of each result by the parameters that it reads."""
    numbers = {
        id(leaf): i for i, leaf in diagram.leaves.items() if diagram.nodes[i].kind == PARAMETER
    }
    holders = _holders(numbers)
    weights: dict[int, Neuron] = {}
    biases: dict[int, Neuron] = {}
    for module, _, _ in holders.values():
        if isinstance(module, Neuron):
            weights |= {numbers[id(w)]: module for w in module.w if id(w) in numbers}
            biases |= {numbers[id(b)]: module for b in [module.b] if id(b) in numbers}
    ways: dict[int, Way] = {}
    for way, call in _assembled(_neuron_calls(diagram, weights, biases), holders):
        ways |= dict.fromkeys(call.nodes, way)
    return dict(sorted(ways.items()))


def _holders(parameters: Iterable[int]) -> dict[int, tuple[Module, "Module | None", str]]:
    """The modules alive that hold some of these, with the module that holds them, and as what."""
    wanted = set(parameters)
    if not wanted:
        return {}
    alive = [x for x in gc.get_objects() if issubclass(type(x), Module) and hasattr(x, "__dict__")]
    found: dict[int, tuple[Module, Module | None, str]] = {
        id(m): (m, None, "") for m in alive if any(id(p) in wanted for p in m.parameters())
    }
    for module, _, _ in list(found.values()):
        for name, part in _parts("", vars(module)):
            if isinstance(part, Module) and id(part) in found:
                found[id(part)] = part, module, name
    return found


def _neuron_calls(
    diagram: Diagram, weights: dict[int, Neuron], biases: dict[int, Neuron]
) -> list[_Call]:
    """Products with weights, what adds them up with the bias, and the activation."""
    calls: dict[int, _Call] = {}  # by node
    started: list[_Call] = []
    for i, node in enumerate(diagram.nodes):
        if node.kind != RESULT:
            continue
        parameters = [x for x in node.operands if diagram.nodes[x].kind == PARAMETER]
        others = [x for x in node.operands if diagram.nodes[x].kind != PARAMETER]
        below = [calls[x].now() for x in others if x in calls]
        call: _Call | None = None
        if node.op in ("*", "dot") and parameters:
            neurons = {id(weights.get(x)): weights.get(x) for x in parameters}
            neuron = neurons.popitem()[1] if len(neurons) == 1 else None
            if neuron is not None and others:
                call = _Call(neuron, inputs=[_identity(diagram, x) for x in others])
                started.append(call)
        elif node.op in ("+", "sum") and below:
            call = _summed(diagram, below, parameters, others, biases)
        elif len(below) == 1 and _bends(diagram, node, below[0], others):
            call = below[0]
            call.is_bent = True
        if call is not None:
            call.nodes.append(i)
            call.result = i
            calls[i] = call
    return [call for call in started if call.into is None and call.has_bias]


def _summed(
    diagram: Diagram,
    below: list[_Call],
    parameters: list[int],
    others: list[int],
    biases: dict[int, Neuron],
) -> _Call | None:
    """The call that this sum goes on with: of one neuron's products, and its bias if any."""
    first = below[0]
    constants = sum(diagram.nodes[x].kind == CONSTANT for x in others)
    alike = all(call.neuron is first.neuron and not call.has_bias for call in below)
    if not alike or len(below) + constants < len(others):
        return None
    if any(biases.get(x) is not first.neuron for x in parameters):
        return None
    for call in below[1:]:
        if call is not first:
            first.nodes += call.nodes
            first.inputs += call.inputs
            call.into = first
    first.has_bias = bool(parameters)
    return first


def _bends(diagram: Diagram, node: Node, call: _Call, others: list[int]) -> bool:
    """Whether this is the activation on a sum with a bias."""
    if not call.has_bias or call.is_bent or node.operands[0] != call.result:
        return False
    name = call.neuron.activation
    activation = ACTIVATIONS.get(name) if isinstance(name, str) else name
    row = getattr(activation, "op", None)
    symbol = row.symbol if row is not None else name
    return node.op == symbol and all(
        diagram.nodes[x].kind == CONSTANT or x == call.result for x in others
    )


def _identity(diagram: Diagram, i: int) -> Hashable:
    """The node, or of a plain number, which has no identity, the number."""
    node = diagram.nodes[i]
    return (node.data,) if node.kind == CONSTANT else i


def _assembled(
    calls: list[_Call], holders: dict[int, tuple[Module, "Module | None", str]]
) -> list[tuple[Way, _Call]]:
    """The calls of neurons, each with the calls of modules around it."""
    makers = {node: k for k, call in enumerate(calls) for node in call.nodes}
    ways = [_way(call.neuron, holders) for call in calls]
    group = list(range(len(calls)))  # a forest: calls that belong to one call of the outermost

    def top(k: int) -> int:
        while group[k] != k:
            group[k] = group[group[k]]
            k = group[k]
        return k

    for k, call in enumerate(calls):
        for x in call.inputs:
            maker = makers.get(x) if isinstance(x, int) else None
            if maker is not None and ways[maker][0] == ways[k][0]:
                group[top(k)] = top(maker)
    members: dict[int, list[int]] = {}
    for k in range(len(calls)):
        members.setdefault(top(k), []).append(k)
    whole: list[list[int]] = []
    by_inputs: dict[Hashable, list[list[int]]] = {}
    for some in members.values():
        first = calls[some[0]]
        key = ways[some[0]][0], tuple(first.inputs)
        taken = {id(calls[k].neuron) for k in some}
        for other in by_inputs.setdefault(key, []):
            if taken.isdisjoint(id(calls[k].neuron) for k in other):
                other += some
                break
        else:
            by_inputs[key].append(list(some))
            whole.append(by_inputs[key][-1])
    found: list[tuple[Way, _Call]] = []
    for number, some in enumerate(whole):
        times: dict[int, int] = {}  # how often this call used a neuron before
        for k in sorted(some, key=lambda k: calls[k].nodes[0]):
            again = times[id(calls[k].neuron)] = times.get(id(calls[k].neuron), -1) + 1
            way = [((number, again, id(module)), title) for module, title in ways[k]]
            found.append((tuple(way), calls[k]))
    return found


def _way(
    module: Module, holders: dict[int, tuple[Module, "Module | None", str]]
) -> tuple[tuple[Any, str], ...]:
    """A module and those around it with their titles, the outermost first."""
    way: list[tuple[Any, str]] = []
    at: Module | None = module
    while at is not None and all(at is not known for known, _ in way):
        _, holder, name = holders[id(at)]
        way.append((at, f"{name} {type(at).__name__}".strip()))
        at = holder
    return tuple(way[::-1])


def _name_parameters(diagram: Diagram) -> None:
    """Call parameters without a label what a module that holds them calls them."""
    nameless = {
        id(leaf): diagram.nodes[i]
        for i, leaf in diagram.leaves.items()
        if diagram.nodes[i].kind == PARAMETER and not leaf.label
    }
    for module, _, _ in _holders(nameless).values():
        for name, part in _parts("", vars(module)):
            for p in [] if isinstance(part, Module) else _leaves(part):
                if id(p) in nameless:
                    nameless[id(p)].label = name


def _place_leaves(diagram: Diagram) -> None:
    """Parameters stand in the innermost box around all that read them, inputs outside.

    A plain number that meets no parameter is part of a formula (the slope of a leaky ReLU) and
    stands where it is read.
    """
    for i, readers in enumerate(diagram.consumers()):
        node = diagram.nodes[i]
        if node.kind == RESULT or not readers:
            continue
        is_input = node.kind == LEAF or any(
            diagram.nodes[x].kind == PARAMETER for r in readers for x in diagram.nodes[r].operands
        )
        if node.kind == PARAMETER or not is_input:
            paths = [diagram.lineage(diagram.nodes[r].box) for r in readers]
            node.box = [same[0] for same in zip(*paths, strict=False) if len(set(same)) == 1][-1]


def _share_inputs(diagram: Diagram) -> None:
    """Make one node of the plain number that all neurons of a call read in the same place."""
    first: dict[Hashable, int] = {}
    kept: list[int] = []
    same: dict[int, int] = {}
    readers = diagram.consumers()
    for i, node in enumerate(diagram.nodes):
        if node.kind == CONSTANT and node.box == 0 and readers[i]:
            reader = diagram.nodes[readers[i][0]]
            if reader.box:
                place = reader.operands.index(i)
                call = diagram.lineage(reader.box)[1]
                same[i] = first.setdefault((call, place, str(node.data)), i)
    for i in range(len(diagram.nodes)):
        if same.get(i, i) == i:
            kept.append(i)
    number = {i: new for new, i in enumerate(kept)}
    number |= {i: number[to] for i, to in same.items()}
    for node in diagram.nodes:
        node.operands = tuple([number[x] for x in node.operands])
    diagram.nodes = [diagram.nodes[i] for i in kept]
    diagram.roots = [number[i] for i in diagram.roots]
    diagram.leaves = {number[i]: leaf for i, leaf in diagram.leaves.items()}
