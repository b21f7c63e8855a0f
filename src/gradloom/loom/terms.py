"""Sums, flattened: chains of additions that nobody else reads become one list of terms.

`a + b*c - d` is three nodes and one sum, of the terms a, b·c and −d. A term has one factor or
two, and a kind: whether it is subtracted, how many factors it has and which of them are laned.
Terms of one kind stand together, since an instruction can add up only what is alike.

With `strict` nothing is reassociated: a sum takes in only the sum that it begins with, and its
terms stay in order, so that adding them up one by one is what Python does.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradloom.loom.graph import CONSTANT, INPUT, PARAMETER, Graph, code_of

_ADD, _SUB, _NEG, _MUL = (code_of(symbol) for symbol in ("+", "-", "neg", "*"))
SUM, _DOT = code_of("sum"), code_of("dot")

Nodes: TypeAlias = NDArray[np.int32]
Codes: TypeAlias = NDArray[np.uint16]
Flags: TypeAlias = NDArray[np.bool_]

BLOCK = 1 << 16  # rows at a time, so that what lies between stays small

# The bits of a kind. With `strict` the number of the run of terms stands above them.
MINUS, PAIR, _FIRST_LANED, _SECOND_LANED, _RUN = 1, 2, 4, 8, 16


@dataclass(slots=True)
class Terms:
    """The sums of a graph.

    Attributes:
        is_sum: for each node, whether it is a sum, with all that it took in.
        absorbed: for each node, whether it is a term, or part of a sum further on.
        start: for each node the number that its sum starts from; -0.0 changes nothing.
        owner: for each row (the terms of one kind in one sum) the sum, in ascending order.
        kind: for each row its kind.
        begin: where the terms of each row begin in `first` and `second`; they end where the
            next begins.
        first: the factor of each term.
        second: the other one, -1 if there is none.
    """

    is_sum: Flags
    absorbed: Flags
    start: NDArray[np.float64]
    owner: Nodes
    kind: Nodes
    begin: Nodes
    first: Nodes
    second: Nodes

    def keys(self, levels: Nodes) -> tuple[Nodes, NDArray[np.uint64]]:
        """The sums, and for each a number that is the same for sums of the same form."""
        if not len(self.owner):
            return self.owner, np.zeros(0, dtype=np.uint64)
        begin = self.begin[:-1]
        one, other = levels[self.first], levels[np.maximum(self.second, 0)]
        other = np.where(self.second < 0, one, other)
        lowest = np.minimum.reduceat(np.minimum(one, other), begin)
        highest = np.maximum.reduceat(np.maximum(one, other), begin)
        fresh = np.flatnonzero(np.diff(self.owner, prepend=-1))
        place = np.arange(len(begin)) - np.repeat(fresh, np.diff(fresh, append=len(begin)))
        rows = mixed(place, self.kind, np.diff(self.begin), lowest, highest)
        return self.owner[fresh], np.add.reduceat(rows, fresh)


def mixed(*columns: NDArray[Any]) -> NDArray[np.uint64]:
    """A number for each row of these columns; rows that differ have, but for luck, another."""
    total = np.zeros(len(columns[0]), dtype=np.uint64)
    for begin in range(0, len(total), BLOCK):
        block = total[begin : begin + BLOCK]
        for column in columns:
            block ^= column[begin : begin + BLOCK].astype(np.uint64)
            block *= np.uint64(0x9E3779B97F4A7C15)
            block ^= block >> np.uint64(29)
        block *= np.uint64(0xBF58476D1CE4E5B9)  # sums of such numbers should differ too
        block ^= block >> np.uint64(32)
    return total


def ragged(starts: Nodes, counts: NDArray[Any]) -> Nodes:
    """Runs of whole numbers, one after the other: each from its start, so many.

    >>> ragged(np.array([5, 0, 7]), np.array([2, 0, 3])).tolist()
    [5, 6, 7, 8, 9]
    """
    ends = np.cumsum(counts, dtype=np.int32)
    size = int(ends[-1]) if len(ends) else 0
    shifts = np.repeat((starts - (ends - counts)).astype(np.int32), counts)
    shifts += np.arange(size, dtype=np.int32)
    return shifts


def laned_nodes(graph: Graph, lanes: Collection[int]) -> Flags:
    """For each node, whether it differs from lane to lane."""
    laned = bytearray(len(graph))
    flags = np.frombuffer(laned, dtype=bool)
    if lanes:
        codes, starts, operands = graph.arrays()
        inputs = np.flatnonzero(codes == INPUT)
        flags[inputs] = np.isin(operands[starts[inputs]], list(lanes))
        inner = np.flatnonzero(codes > PARAMETER)
        read, is_laned = graph.operands, laned.__getitem__
        ends = zip(inner.tolist(), starts[inner].tolist(), starts[inner + 1].tolist(), strict=True)
        for node, start, end in ends:
            if end > start and (laned[read[start]] or laned[read[end - 1]]):
                laned[node] = True
            elif end > start + 2:
                laned[node] = any(map(is_laned, read[start + 1 : end - 1]))
    return flags


def flatten(graph: Graph, laned: Flags, *, strict: bool) -> Terms:
    """The sums of a graph in which nothing is unread."""
    codes, starts, operands = graph.arrays()
    size = len(codes)
    owners = np.repeat(np.arange(size, dtype=np.int32), np.diff(starts))
    once = _read_once(graph, codes, owners, operands)
    is_sum = np.isin(codes, [_ADD, _SUB, _NEG, SUM, _DOT])

    # What is added: each operand of a sum, but those of dot products, which are terms in pairs.
    at = np.flatnonzero(is_sum[owners] & (codes[owners] != _DOT)).astype(np.int32)
    owner, operand = owners[at], operands[at]
    where = at - starts[owner]
    minus = (codes[owner] == _NEG) | ((codes[owner] == _SUB) & (where == 1))
    swaps = (codes[owner] == _ADD) & (where == 1)  # a + b may begin with b
    # What all lanes share is computed once, not in every lane's sum.
    free = once[operand] & (laned[operand] == laned[owner])
    sums = free & is_sum[operand] & ~minus  # -(a + b) is not -a - b where a + b is 0
    products = free & (codes[operand] == _MUL)
    constants = codes[operand] == CONSTANT
    if strict:
        sums &= (where == 0) | (swaps & ~_before(sums))
        begun = np.zeros(size, dtype=bool)
        begun[owner[sums]] = True
        constants &= ((where == 0) | swaps) & ~begun[owner] & ~minus

    root = _roots(operand[sums], owner[sums], size)
    absorbed = root != np.arange(size)

    start = np.full(size, -0.0)
    start[(codes == SUM) | (codes == _DOT)] = 0.0
    with np.errstate(invalid="ignore"):
        taken = np.flatnonzero(absorbed)
        np.add.at(start, root[taken], start[taken])
        numbers = np.array([*graph.constants, 0.0])
        number = numbers[operands[starts[operand[constants]]]]
        np.add.at(start, root[owner[constants]], np.where(minus[constants], -number, number))

    absorbed[operand[products]] = True
    single = ~(sums | products | constants)
    factors = starts[operand[products]]
    pairs, halves = _dots(codes, starts)
    del where, free, sums, swaps, constants, owner
    begin = np.concatenate([at[single], at[products], pairs])
    first = np.concatenate([operand[single], operands[factors], operands[pairs]])
    alone = np.full(np.count_nonzero(single), -1, dtype=np.int32)
    second = np.concatenate([alone, operands[factors + 1], operands[pairs + halves]])
    del factors, operand, at, operands
    signs = np.concatenate([minus[single], minus[products], np.zeros(len(pairs), dtype=bool)])
    kind = _kinds(signs, first, second, laned)
    rooted = root[owners[begin]]
    del root, owners, codes, starts
    order, kind = _ordered(begin, rooted, kind, strict)
    sorted_by = (rooted[order], kind[order], first[order], second[order])
    return _rows(is_sum & ~absorbed, absorbed, start, *sorted_by)


def _roots(parts: Nodes, owners: Nodes, size: int) -> Nodes:
    """For each node the sum that it is a part of a part of, and so on; else itself."""
    root = np.arange(size, dtype=np.int32)
    root[parts] = owners
    while len(parts):
        above = root[parts]
        root[parts] = further = root[above]
        parts = parts[further != above]
    return root


def _kinds(signs: Flags, first: Nodes, second: Nodes, laned: Flags) -> Nodes:
    """The kind of each term, in which the factor that all lanes share is brought to the front."""
    pair = second >= 0
    swap = pair & laned[first] & ~laned[second]
    first[swap], second[swap] = second[swap], first[swap]
    kind = signs * MINUS + pair * PAIR
    kind += laned[first] * _FIRST_LANED + (pair & laned[second]) * _SECOND_LANED
    return kind.astype(np.int32)


def _ordered(begin: Nodes, rooted: Nodes, kind: Nodes, strict: bool) -> tuple[Nodes, Nodes]:
    """The order of terms sum by sum and kind by kind, and the kinds; with `strict` runs of them."""
    if not strict:
        return np.lexsort((begin, kind, rooted)).astype(np.int32), kind
    order = np.lexsort((begin, rooted)).astype(np.int32)
    breaks = (np.diff(kind[order]) != 0) | (np.diff(rooted[order]) != 0)
    runs = np.zeros(len(order), dtype=np.int32)
    runs[order[1:]] = np.cumsum(breaks)
    return order, kind + runs * _RUN


def _rows(
    is_sum: Flags,
    absorbed: Flags,
    start: NDArray[np.float64],
    rooted: Nodes,
    kind: Nodes,
    first: Nodes,
    second: Nodes,
) -> Terms:
    """The terms, sorted already, as rows of one kind."""
    fresh = (np.diff(rooted, prepend=-1) != 0) | (np.diff(kind, prepend=-1) != 0)
    begin = np.flatnonzero(fresh)
    own = (kind[begin] % _RUN).astype(np.int32)
    ends = np.append(begin, len(first)).astype(np.int32)
    return Terms(is_sum, absorbed, start, rooted[begin], own, ends, first, second)


def _read_once(graph: Graph, codes: Codes, owners: Nodes, operands: Nodes) -> Flags:
    """Which nodes one operand of one node reads, and nothing else."""
    inner = codes[owners] > PARAMETER
    outside = [*graph.outputs, *(node for node, _ in graph.guards)]
    uses = np.bincount(operands[inner], minlength=len(codes))
    np.add.at(uses, np.array(outside, dtype=np.int64), 1)
    once: Flags = uses == 1
    return once


def _before(flags: Flags) -> Flags:
    """For each place, the flag of the place before."""
    return np.append(False, flags[:-1])


def _dots(codes: Codes, starts: Nodes) -> tuple[Nodes, Nodes]:
    """Of the dot products, where each first factor stands, and how much further the second."""
    nodes = np.flatnonzero(codes == _DOT)
    halves = (starts[nodes + 1] - starts[nodes]) // 2
    firsts = np.cumsum(halves, dtype=np.int32) - halves
    place = np.arange(halves.sum(), dtype=np.int32) - np.repeat(firsts, halves)
    return np.repeat(starts[nodes], halves) + place, np.repeat(halves, halves)
