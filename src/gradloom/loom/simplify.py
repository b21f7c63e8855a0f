"""Simplify a graph: fold constants, share equal nodes, drop what nobody reads.

Nothing is done that could change a bit of a result, a nan, an infinity or the sign of a zero, nor
the order of anything. Identities such as x · 1 = x are left alone too: among a thousand products
alike, one that is missing would cost more than it saves.
"""

import struct

import numpy as np
from numpy.typing import NDArray

from gradloom.loom.graph import CONSTANT, INPUT, PARAMETER, Graph, arities, row_of
from gradloom.loom.terms import BLOCK, Codes, Flags, Nodes, mixed, ragged
from gradloom.loom.views import Slots

_ROUNDS = 16  # of sharing all nodes at once, before it is done one by one
_MANY = 100  # unread nodes from which on they go all at once


def simplify(graph: Graph) -> Graph:
    """A graph with the same inputs, parameters, outputs and guards, and no needless node.

    >>> from gradloom.loom.record import record
    >>> graph, _ = record(lambda x: (x * x + 1.0) * (x * x + 1.0), 3.0)
    >>> print(simplify(graph))
    %0 = input 0
    %1 = * %0, %0
    %2 = 1.0
    %3 = + %1, %2
    %4 = * %3, %3
    return %4
    """
    graph = _folded(graph)
    codes, starts, operands = graph.arrays()
    operands = operands.copy()
    inner = np.repeat(codes > PARAMETER, np.diff(starts))
    same = _shared(graph, codes, starts, operands, inner)
    outside = same[[*graph.outputs, *(node for node, _ in graph.guards)]]
    operands[inner] = same[operands[inner]]
    live = _read(codes, starts, operands, inner, outside)
    live &= same == np.arange(len(codes))
    if live.all():
        return graph
    number = np.cumsum(live, dtype=np.int32) - 1
    operands[inner] = number[operands[inner]]
    number = number[same]
    kept = Graph(
        constants=graph.constants,
        inputs=graph.inputs,
        parameters=graph.parameters,
        outputs=number[graph.outputs].tolist(),
        guards=[(int(number[node]), value) for node, value in graph.guards],
    )
    kept.codes.frombytes(codes[live].tobytes())
    several = arities()[codes] < 0
    kept.counts.frombytes(np.asarray(graph.counts)[live[several]].tobytes())
    entries = operands[np.repeat(live, np.diff(starts))]
    kept.operands.frombytes(entries.astype(np.uint32).tobytes())
    return kept


def _folded(graph: Graph) -> Graph:
    """Operations on constants alone, replaced by their results."""
    codes, starts, operands = graph.arrays()
    owners = np.repeat(np.arange(len(codes), dtype=np.int32), np.diff(starts))
    open_ = codes <= PARAMETER
    inner = ~open_[owners]
    open_[owners[inner][codes[operands[inner]] != CONSTANT]] = True
    if open_.all():
        return graph
    folded = Graph(
        constants=list(graph.constants),
        inputs=graph.inputs,
        parameters=graph.parameters,
        outputs=graph.outputs,
        guards=graph.guards,
    )
    numbers: dict[int, float] = {}
    for node, code in enumerate(graph.codes):
        places = graph.operands_of(node)
        if code == CONSTANT:
            numbers[node] = graph.constants[places[0]]
        elif code > PARAMETER and all(place in numbers for place in places):
            numbers[node] = row_of(code).evaluate(*[numbers[place] for place in places])
            code = CONSTANT
            places = places[:0]
            places.append(len(folded.constants))
            folded.constants.append(numbers[node])
        folded.add(code, places)
    return folded


def _shared(graph: Graph, codes: Codes, starts: Nodes, operands: Nodes, inner: Flags) -> Nodes:
    """For each node the first that is equal to it: the same operation on equal operands."""
    size = len(codes)
    counts = np.diff(starts)
    same = np.arange(size, dtype=np.int32)
    if not size:
        return same
    bits = np.array([*graph.constants, 0.0]).view(np.int64)
    numbers = np.unique(bits, return_inverse=True)[1].astype(np.int32)
    constant = np.repeat(codes == CONSTANT, counts)
    read = operands.copy()
    read[constant] = numbers[operands[constant]]
    among = same  # the nodes that may be equal to another
    keys = _keys(codes, starts, read)
    for _ in range(_ROUNDS):
        found = same.copy()
        found[among] = among[_first(keys)]
        _verify(found, codes, starts, read)
        moved = np.flatnonzero(found != same)
        if not len(moved):
            return same
        same = found
        read[inner] = same[read[inner]]
        # Equal nodes read equal nodes: another round is for those that read what was found equal.
        met = np.zeros(size, dtype=bool)
        met[same[moved]] = True
        owners = np.repeat(np.arange(size, dtype=np.int32), counts)
        among = np.unique(owners[inner & met[read]])
        own = np.append(0, np.cumsum(counts[among]))
        keys = _keys(codes[among], own, read[ragged(starts[among], counts[among])])
    return _shared_one_by_one(graph)


def _keys(codes: Codes, starts: Slots, read: Nodes) -> NDArray[np.uint64]:
    """For each node a number, the same for nodes that do the same with the same operands."""
    keys = np.empty(len(codes), dtype=np.uint64)
    for begin in range(0, len(codes), BLOCK):
        own = starts[begin : begin + BLOCK + 1]
        firsts, counts = own[:-1] - own[0], np.diff(own)
        place = ragged(np.zeros_like(counts), counts)
        sums = np.zeros(len(counts), dtype=np.uint64)
        some = counts > 0
        if some.any():
            hashed = mixed(place, read[own[0] : own[-1]])
            sums[some] = np.add.reduceat(hashed, firsts[some])
        keys[begin : begin + BLOCK] = mixed(codes[begin : begin + BLOCK], sums)
    return keys


def _first(keys: NDArray[np.uint64]) -> Nodes:
    """For each place the first that holds the same key."""
    ranked = np.sort(keys)
    if (ranked[1:] != ranked[:-1]).all():  # as it is nearly always, and found out soon
        return np.arange(len(keys), dtype=np.int32)
    del ranked
    order = np.argsort(keys).astype(np.int32)  # not stable, which would take several times as long
    keys = keys[order]
    fresh = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    first = np.empty(len(order), dtype=np.int32)
    first[order] = np.repeat(np.minimum.reduceat(order, fresh), np.diff(fresh, append=len(order)))
    return first


def _verify(found: Nodes, codes: Codes, starts: Nodes, read: Nodes) -> None:
    """Take back what was found by the accident of equal keys."""
    moved = np.flatnonzero(found != np.arange(len(found)))
    if not len(moved):
        return
    to = found[moved]
    counts = starts[moved + 1] - starts[moved]
    right = (codes[moved] == codes[to]) & (counts == starts[to + 1] - starts[to])
    found[moved[~right]] = moved[~right]
    moved, to, counts = moved[right], to[right], counts[right]
    differ = read[ragged(starts[moved], counts)] != read[ragged(starts[to], counts)]
    wrong = np.repeat(moved, counts)[differ]
    found[wrong] = wrong


def _shared_one_by_one(graph: Graph) -> Nodes:
    """As `_shared`, for graphs in which one equality rests on another many times over."""
    same = np.arange(len(graph), dtype=np.int32)
    first: dict[tuple[object, ...], int] = {}
    for node, code in enumerate(graph.codes):
        places = graph.operands_of(node)
        key: tuple[object, ...]
        if code == CONSTANT:
            key = (code, struct.pack("d", graph.constants[places[0]]))
        elif code > PARAMETER:
            key = (code, *[int(same[place]) for place in places])
        else:
            continue
        same[node] = first.setdefault(key, node)
    return same


def _read(codes: Codes, starts: Nodes, operands: Nodes, inner: Flags, outside: Nodes) -> Flags:
    """Which nodes come in from outside, or are read by what comes out."""
    uses = np.bincount(operands[inner], minlength=len(codes))
    np.add.at(uses, outside, 1)
    stays = (codes == INPUT) | (codes == PARAMETER)
    live: Flags = (uses > 0) | stays
    unread = np.flatnonzero(~live & (codes > PARAMETER))
    while len(unread) > _MANY:  # what was found equal to another, and what only that read
        touched = operands[ragged(starts[unread], starts[unread + 1] - starts[unread])]
        uses -= np.bincount(touched, minlength=len(codes))
        unread = np.flatnonzero(live & ~stays & (uses == 0))
        live[unread] = False
        unread = unread[codes[unread] > PARAMETER]
    waiting = unread.tolist()
    while waiting:
        node = waiting.pop()
        for place in operands[starts[node] : starts[node + 1]].tolist():
            uses[place] -= 1
            if not uses[place] and live[place] and not stays[place]:
                live[place] = False
                if codes[place] > PARAMETER:
                    waiting.append(place)
    return live
