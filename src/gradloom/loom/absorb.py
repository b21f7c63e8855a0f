"""Absorb: what one instruction computes for one other alone, that one computes for itself.

An elementwise result that is read once, element by element, need not stand in the arena: its body
takes the place of the operand that read it. So a sum of `where(…)` needs no array of them, and a
copy is no instruction at all.
"""

from dataclasses import replace

import numpy as np

from gradloom.loom.program import Body, Instruction, Loop, Program
from gradloom.loom.views import Slots, View

_OPERANDS = 8  # of an instruction that has absorbed others, at most
_LENGTH = 24  # operations in its body, at most

Axes = list[tuple[int, int]]  # a size and a stride for each axis


def absorb(program: Program) -> Program:
    """The same program in fewer instructions.

    Args:
        program: a flat one; one with loops comes back as it is.

    >>> import gradloom as gl
    >>> from gradloom.loom.record import record
    >>> from gradloom.loom.weave import weave
    >>> graph, _ = record(lambda xs: sum(gl.exp(-x) for x in xs), [0.5] * 3)
    >>> print(absorb(weave(graph)))
    arena of 10: 3 inputs, 0 parameters; 1 instructions
                 3  @9(0) += exp(neg(@0(1)))
    """
    if any(isinstance(one, Loop) for one in program.instructions):
        return program
    return _Absorber(program).run()


class _Absorber:
    """Absorbs in one program; see `absorb`."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.items: list[Instruction | None] = list(program.flat)
        size = len(program.template)
        self.kept = np.zeros(size, dtype=bool)  # read from outside, or given
        guards = np.array([slot for slot, _ in program.guards], dtype=np.int64)
        for seen in (program.outputs, program.inputs, program.parameters, guards):
            self.kept[seen] = True
        self.writes = np.zeros(size, dtype=np.int64)
        self.last = np.full(size, -1)  # who writes last
        self.reads = np.zeros(size, dtype=np.int64)
        self.reader = np.full(size, -1)
        singles: list[tuple[int, int]] = []  # slots that single numbers are written to, and by whom
        read: list[tuple[int, int]] = []
        for i, one in enumerate(program.flat):
            if not one.shape and all(view.table is None for view in one.views):
                singles.append((one.out.offset, i))
                read += [(view.offset, i) for view in one.operands]
                continue
            out = _slots(one.out, one.shape)
            self.writes[out] += 1
            self.last[out] = i
            for view in one.operands:
                at = _slots(view, one.shape)
                self.reads[at] += 1
                self.reader[at] = i
        for some, counts, who in (
            (singles, self.writes, self.last),
            (read, self.reads, self.reader),
        ):
            slots, by = np.array(some, dtype=np.int64).reshape(-1, 2).T
            np.add.at(counts, slots, 1)
            np.maximum.at(who, slots, by)

    def run(self) -> Program:
        for i, one in enumerate(self.items):
            if one is not None and one.shape:  # a single number is in a register anyway
                self._try(i, one)
        return replace(self.program, instructions=[one for one in self.items if one is not None])

    def _try(self, i: int, one: Instruction) -> None:
        """Let the reader of an instruction's results absorb it, if that can be."""
        body = self._alone(i, one)
        if body is None:
            return
        j = int(self.reader[one.out.offset])
        found = _absorbed(self.items[j], one, body)
        if found is None:
            return
        for view in one.operands:
            at = _slots(view, one.shape)
            self.reader[at[self.reader[at] == i]] = j
        self.items[i], self.items[j] = None, found

    def _alone(self, i: int, one: Instruction) -> Body | None:
        """What an instruction computes, if only one other reads it, and all of it."""
        out = one.out
        if out.table is not None or any(view.table is not None for view in one.operands):
            return None
        if any(s == 0 and n > 1 for s, n in zip(out.strides, one.shape, strict=True)):
            return None
        slots = _slots(out, one.shape)
        if (self.writes[slots] != 1).any() or self.kept[slots].any():
            return None
        readers = self.reader[slots]
        if (self.reads[slots] != 1).any() or readers[0] < 0 or (readers != readers[0]).any():
            return None
        laned = self.program.laned
        own = [_slots(view, one.shape) for view in one.operands]
        if any((self.last[at] >= i).any() for at in own):  # it changes before it would be read
            return None
        if bool(laned[slots].any()) != any(bool(laned[at].any()) for at in own):
            return None
        if one.muted and not isinstance(one.body, int):
            return None
        if not one.accumulate:
            return one.body
        start = self.program.template[slots]
        if (start != start[0]).any():
            return None
        return one.body if start[0] == 0.0 else ("+", (float(start[0]), one.body))


def _absorbed(reader: Instruction | None, one: Instruction, body: Body) -> Instruction | None:
    """The reader with what it read computed in it; None if their elements do not match."""
    assert reader is not None
    place = _place(reader, one.out)
    if place is None:
        return None
    if place in reader.muted and not isinstance(body, int):
        return None
    matched = _matched(reader, place, one)
    if matched is None:
        return None
    reader, strides = matched
    broadcast = any(
        s == 0 and n > 1 for s, n in zip(reader.operands[place].strides, reader.shape, strict=True)
    )
    if broadcast and not isinstance(body, int):
        return None
    others = [view for k, view in enumerate(reader.operands) if k != place]
    views = [View(v.offset, s) for v, s in zip(one.operands, strides, strict=True)]
    names = {k: (k if k < place else k - 1) for k in range(len(reader.operands)) if k != place}
    inner = _renamed(body, {k: len(others) + k for k in range(len(views))})
    whole = _renamed(reader.body, names, {place: inner})
    if len(others) + len(views) > _OPERANDS or _length(whole) > _LENGTH:
        return None
    muted = []
    for k in reader.muted:
        if k != place:
            muted.append(names[k])
        elif isinstance(inner, int):
            muted.append(inner)
    return replace(reader, body=whole, operands=(*others, *views), muted=tuple(muted))


def _place(reader: Instruction, out: View) -> int | None:
    """The operand that begins where the results do, if it is one alone and of the same slots."""
    found = [
        k
        for k, view in enumerate(reader.operands)
        if view.table is None and view.offset == out.offset
    ]
    return found[0] if len(found) == 1 else None


def _matched(
    reader: Instruction, place: int, one: Instruction
) -> tuple[Instruction, list[tuple[int, ...]]] | None:
    """The reader, its axes split where it must be, and along those the strides of each operand of
    the instruction that it is to absorb."""
    view = reader.operands[place]
    left: list[list[int]] = [
        [n, s, k] for k, (n, s) in enumerate(zip(one.shape, one.out.strides, strict=True)) if n > 1
    ]
    axis = len(reader.shape) - 1
    walked: dict[int, tuple[int, int]] = {}  # reader's axis: the other's, and how many of its steps
    passed = [1] * len(one.shape)
    while axis >= 0:
        size, stride = reader.shape[axis], view.strides[axis]
        if size > 1 and stride:
            match = [entry for entry in left if entry[1] == stride]
            if len(match) != 1:
                return None
            entry = match[0]
            if entry[0] < size:
                if size % entry[0] or any(v.table is not None for v in reader.views):
                    return None
                reader, axis = _split(reader, axis, entry[0]), axis + 1
                view = reader.operands[place]
                walked = {k + 1 if k >= axis else k: v for k, v in walked.items()}
                size = entry[0]
            if entry[0] % size:
                return None
            walked[axis] = entry[2], passed[entry[2]]
            passed[entry[2]] *= size
            entry[0] //= size
            entry[1] *= size
            if entry[0] == 1:
                left.remove(entry)
        axis -= 1
    if left:
        return None
    strides = []
    for operand in one.operands:
        row = [0] * len(reader.shape)
        for k, (theirs, steps) in walked.items():
            row[k] = operand.strides[theirs] * steps
        strides.append(tuple(row))
    return reader, strides


def _split(one: Instruction, axis: int, inner: int) -> Instruction:
    """The instruction with one axis as two."""

    def view(old: View) -> View:
        stride = old.strides[axis]
        between = (stride * inner, stride)
        return replace(old, strides=(*old.strides[:axis], *between, *old.strides[axis + 1 :]))

    outer = one.shape[axis] // inner
    shape = (*one.shape[:axis], outer, inner, *one.shape[axis + 1 :])
    operands = tuple([view(old) for old in one.operands])
    return replace(one, shape=shape, out=view(one.out), operands=operands)


def _renamed(body: Body, names: dict[int, int], bodies: dict[int, Body] | None = None) -> Body:
    """A body with its operands renumbered, or bodies in their places."""
    if isinstance(body, float):
        return body
    if isinstance(body, int):
        return bodies[body] if bodies and body in bodies else names[body]
    return body[0], tuple([_renamed(part, names, bodies) for part in body[1]])


def _length(body: Body) -> int:
    return 1 + sum(map(_length, body[1])) if isinstance(body, tuple) else 0


def _slots(view: View, shape: tuple[int, ...]) -> Slots:
    """The slots of a view, each at least once."""
    if view.table is not None:
        return view.table.reshape(-1)
    found: Slots = np.full(1, view.offset, dtype=np.int64)
    for size, stride in zip(shape, view.strides, strict=True):
        if stride and size > 1:
            found = (found[:, None] + np.arange(size) * stride).reshape(-1)
    return found
