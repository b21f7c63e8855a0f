"""Instructions on the same elements of long rows, all in one pass.

An optimizer's update is a few instructions over all parameters, each of which reads what others
have put there for the same parameter. Written as one loop, every number is read and written once,
and what is computed goes from one instruction to the next in registers. Nothing is contracted, so
that the numbers are those of the rule to the last bit.
"""

import itertools
from collections.abc import Callable, Sequence

from gradloom.backends.llvm import target as targets
from gradloom.backends.llvm.ir import Arithmetic, Writer
from gradloom.backends.llvm.kernel import _mask, evaluate, splat
from gradloom.backends.llvm.library import Library, library
from gradloom.backends.llvm.module import Module
from gradloom.loom.program import Instruction, Program
from gradloom.loom.views import View


def swept(program: Program, bits: int) -> Library | None:
    """The machine code of a program of such instructions alone, under the name `before`; None of
    any other."""
    groups = [list(some) for _, some in itertools.groupby(program.flat, lambda one: one.shape)]
    if not all(map(_can_be_swept, groups)):
        return None
    target = targets.host()
    made = Module(target, bits)
    w = Writer()
    wide = Arithmetic(w, target.width(bits), bits, fused=target.fused)
    for group in groups:
        _Sweep(wide, group).write()
    w.line("ret void")
    made.define("before", ["ptr %arena", "ptr %scratch", "ptr %tables"], w)
    return library(made, target)


def _can_be_swept(group: Sequence[Instruction]) -> bool:
    """Whether every row is read or written at one element alone when its turn comes."""
    if len(group[0].shape) != 1:
        return False
    (size,) = group[0].shape
    rows: set[int] = set()
    single: set[int] = set()
    for one in group:
        if one.accumulate or one.muted or one.out.strides != (1,):
            return False
        for view in one.views:
            if view.table is not None or view.strides not in ((0,), (1,)):
                return False
            (rows if view.strides == (1,) else single).add(view.offset)
    begins = sorted(rows)
    apart = all(b - a >= size for a, b in itertools.pairwise(begins))
    return apart and not any(0 <= slot - row < size for slot in single for row in rows)


class _Sweep:
    """Writes the loop of one group."""

    def __init__(self, a: Arithmetic, group: Sequence[Instruction]) -> None:
        self.a, self.w, self.group = a, a.writer, group
        (self.size,) = group[0].shape
        self.align = a.bits // 8

    def write(self) -> None:
        """The loop, and what is left at its end."""
        w, width = self.w, self.a.width
        views = [view for one in self.group for view in one.operands]
        single = sorted({view.offset for view in views if view.strides == (0,)})
        self.same = {slot: self._splat(slot) for slot in single}
        whole, rest = divmod(self.size, width)
        if whole:
            with w.loop(whole) as turn:
                at = w.assign(f"mul nuw nsw i64 {turn.index}, {width}")
                self._turn(at, self._load, self._store)
        if rest and width > 1:
            mask = _mask(width, rest)
            self._turn(
                str(whole * width),
                lambda place: w.masked_load(self.a, place, mask, self.align),
                lambda value, place: w.masked_store(self.a, value, place, mask, self.align),
            )

    def _turn(self, at: str, load: Callable[[str], str], store: Callable[[str, str], None]) -> None:
        """All instructions on a vector of each row."""
        known: dict[int, str] = {}
        places: dict[int, str] = {}

        def place(offset: int) -> str:
            if offset not in places:
                row = self._ahead("%arena", str(offset))
                places[offset] = self._ahead(row, at)
            return places[offset]

        def number(view: View) -> str:
            if view.strides == (0,):
                return self.same[view.offset]
            if view.offset not in known:
                known[view.offset] = load(place(view.offset))
            return known[view.offset]

        for one in self.group:
            value = evaluate(self.a, one.body, [number(view) for view in one.operands])
            known[one.out.offset] = value
            store(value, place(one.out.offset))

    def _ahead(self, pointer: str, by: str) -> str:
        return self.w.assign(f"getelementptr inbounds {self.a.scalar}, ptr {pointer}, i64 {by}")

    def _load(self, place: str) -> str:
        return self.w.assign(f"load {self.a.real}, ptr {place}, align {self.align}")

    def _store(self, value: str, place: str) -> None:
        self.w.line(f"store {self.a.real} {value}, ptr {place}, align {self.align}")

    def _splat(self, slot: int) -> str:
        place = self._ahead("%arena", str(slot))
        one = self.w.assign(f"load {self.a.scalar}, ptr {place}")
        if self.a.width == 1:
            return one
        return splat(self.w, self.a.real, self.a.scalar, one, self.a.width)
