"""A program as one module of LLVM's: a function for each distinct kernel, and what calls them.

The functions take pointers alone, so that one object file serves any number of runners, and can be
kept on disk.
"""

import hashlib
import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gradloom.backends.llvm.frame import Frame
from gradloom.backends.llvm.fuse import Group, fused
from gradloom.backends.llvm.ir import Writer
from gradloom.backends.llvm.kernel import Emitter
from gradloom.backends.llvm.lowering import (
    ARENA,
    BLOCK,
    SCRATCH,
    SUMS,
    Call,
    Lowered,
    Part,
    Repeat,
)
from gradloom.backends.llvm.stream import StandingError, Stream
from gradloom.backends.llvm.target import Target
from gradloom.loom.program import Program

PLAIN = "nounwind optnone noinline"
_LITTLE = 4000  # instructions of a kernel, roughly, that are worth no better code
_PIECE = 256  # calls in a row that are a function of their own: LLVM's time grows as the square


@dataclass(frozen=True)
class Shared:
    """A function that any program may call: it is named for what it does.

    Attributes:
        parameters: types and names.
        lines: what it does.
        result: the type of that.
        declared: the intrinsics that it calls.
        plain: whether LLVM takes it as it is written. That is a third of the work, and what comes
            out takes a tenth longer, which is well for what takes little time anyway.
    """

    parameters: tuple[str, ...]
    lines: tuple[str, ...]
    result: str
    declared: frozenset[str]
    plain: bool

    @cached_property
    def name(self) -> str:
        """The digest of all that can make a difference."""
        said = "\n".join([str(self.plain), self.result, *self.parameters, *self.lines]).encode()
        return f"g{hashlib.blake2b(said, digest_size=12).hexdigest()}"

    def text(self, linkage: str = "") -> str:
        """Its definition."""
        body = "\n".join(self.lines)
        parameters = ", ".join(self.parameters)
        return (
            f"define {linkage}{self.result} @{self.name}({parameters}) "
            f"{PLAIN if self.plain else 'nounwind'} {{\nentry:\n{body}\n}}"
        )

    @property
    def declaration(self) -> str:
        """What a module says that only calls it."""
        kinds = ", ".join(one.rsplit(" ", 1)[0] for one in self.parameters)
        return f"declare {self.result} @{self.name}({kinds})"


class Module:
    """The text of a module: kernels, each once, and what calls them.

    Args:
        target, bits: for which machine, with how many bits a number.
        strict: nothing is contracted.
        quick: functions that take little time are compiled with little effort.
    """

    def __init__(
        self, target: Target, bits: int, *, strict: bool = False, quick: bool = False
    ) -> None:
        self.target, self.bits, self.strict, self.quick = target, bits, strict, quick
        self.real = "double" if bits == 64 else "float"
        self.functions: list[str] = []
        self.shared: dict[str, Shared] = {}
        self.declared: set[str] = set()
        self.kernels: dict[tuple[Any, ...], str] = {}
        self._often = 1  # turns of the loops around what is being written
        self.outlined: dict[Hashable, str] = {}

    def text(self) -> str:
        """All of it."""
        shared = [one.text("internal ") for one in self.shared.values()]
        return "\n".join([*shared, *self.functions, *sorted(self.declared)])

    def define(
        self,
        name: str,
        parameters: Sequence[str],
        writer: Writer,
        *,
        result: str = "void",
    ) -> None:
        """Add a function whose lines have been written."""
        body = "\n".join(writer.lines)
        # Calls in a row leave nothing to improve.
        loops = any(" phi " in line for line in writer.lines)
        marks = PLAIN if self.quick and not loops else "nounwind"
        self.functions.append(
            f"define {result} @{name}({', '.join(parameters)}) {marks} {{\nentry:\n{body}\n}}"
        )
        self.declared |= writer.declared

    def share(
        self,
        parameters: Sequence[str],
        writer: Writer,
        result: str = "void",
        *,
        plain: bool = False,
    ) -> str:
        """Add a function that is named for what it does, and return its name."""
        declared = frozenset(writer.declared)
        lines, quick = tuple(writer.lines), self.quick and plain
        one = Shared(tuple(parameters), lines, result, declared, quick)
        self.shared.setdefault(one.name, one)
        self.declared |= writer.declared
        return one.name

    def calls(
        self,
        w: Writer,
        parts: Sequence[Part | Group],
        spaces: dict[str, str],
        tables: str,
        count: str = "",
    ) -> None:
        """Write calls, one after another.

        Args:
            w: where to.
            parts: what to call.
            spaces: for each memory the register of where it begins.
            tables: that of the tables.
            count: that of the number of lanes.
        """
        self._parts(w, parts, spaces, tables, count, [])

    def _parts(
        self,
        w: Writer,
        parts: Sequence[Part | Group],
        spaces: dict[str, str],
        tables: str,
        count: str,
        turns: list[str],
    ) -> None:
        if len(parts) > 2 * _PIECE:
            for begin in range(0, len(parts), _PIECE):
                some = parts[begin : begin + _PIECE]
                self._piece(w, some, spaces, tables, count, turns)
            return
        for part in parts:
            if isinstance(part, Group):
                self._group(w, part, spaces, tables, count)
            elif isinstance(part, Repeat):
                self._often *= part.count
                with w.loop(part.count) as turn:
                    self._parts(w, part.body, spaces, tables, count, [*turns, turn.index])
                self._often //= part.count
            else:
                self._call(w, part, spaces, tables, count, turns)

    def _piece(
        self,
        w: Writer,
        parts: Sequence[Part | Group],
        spaces: dict[str, str],
        tables: str,
        count: str,
        turns: list[str],
    ) -> None:
        """Some parts as a function of their own."""
        inner = Writer()
        own = {space: f"%{space}" for space in spaces}
        counts = [f"%turn{i}" for i in range(len(turns))]
        self._parts(inner, parts, own, "%tables", "%count", counts)
        inner.line("ret void")
        kinds = ["ptr"] * (len(spaces) + 1) + ["i64"] * (1 + len(turns))
        names = [*own.values(), "%tables", "%count", *counts]
        values = [*spaces.values(), tables, count, *turns]
        # Not every program has all of them.
        mentioned = set(re.findall(r"%\w+", "\n".join(inner.lines)))
        every = zip(kinds, names, values, strict=True)
        used = [one for one in every if one[1] in mentioned]
        loops = any(" phi " in line for line in inner.lines)
        parameters = [f"{kind} {name}" for kind, name, _ in used]
        name = self.share(parameters, inner, plain=not loops)
        w.line(f"call void @{name}({', '.join(f'{kind} {value}' for kind, _, value in used)})")

    def _group(
        self, w: Writer, group: Group, spaces: dict[str, str], tables: str, count: str
    ) -> None:
        """A group of strips, as a function of its own."""
        inner = Writer()
        names = {ARENA: "%arena", BLOCK: "%block", SUMS: "%sums"}
        stream = Stream(
            inner,
            group,
            self.target,
            self.bits,
            strict=self.strict,
            spaces=names,
            count="%count",
            outline=self._outline,
        )
        try:
            stream.write()
        except StandingError:
            self._parts(w, group.parts, spaces, tables, count, [])
            return
        inner.line("ret void")
        parameters = [*[f"ptr {pointer}" for pointer in names.values()], "i64 %count"]
        name = self.share(parameters, inner)
        given = ", ".join(f"ptr {spaces[space]}" for space in names)
        w.line(f"call void @{name}({given}, i64 {count})")

    def _call(
        self,
        w: Writer,
        call: Call,
        spaces: dict[str, str],
        tables: str,
        count: str,
        turns: list[str],
    ) -> None:
        pointers = []
        for i, (space, offset) in enumerate(zip(call.spaces, call.offsets, strict=True)):
            pointer = spaces[space]
            for turn, steps in zip(turns, call.moves, strict=True):
                if steps[i]:
                    further = w.assign(f"mul nsw i64 {turn}, {steps[i]}")
                    pointer = w.assign(
                        f"getelementptr inbounds {self.real}, ptr {pointer}, i64 {further}"
                    )
            if offset:
                pointer = w.assign(
                    f"getelementptr inbounds {self.real}, ptr {pointer}, i64 {offset}"
                )
            pointers.append(pointer)
        starts = [
            w.assign(f"getelementptr inbounds i32, ptr {tables}, i64 {start}") if start else tables
            for start in call.tables
        ]
        if not call.kernel.shape:
            self._emitter(w, call, count).write(pointers, starts)
            return
        name = self._kernel(call)
        given = [f"ptr {pointer}" for pointer in [*pointers, *starts]]
        if call.kernel.laned:
            given.append(f"i64 {count}")
        w.line(f"call void @{name}({', '.join(given)})")

    def _emitter(self, w: Writer, call: Call, count: str) -> Emitter:
        return Emitter(
            w,
            call.kernel,
            call.plan,
            self.target,
            self.bits,
            strict=self.strict,
            count=count,
            outline=self._outline,
            often=self._often,
        )

    def _outline(
        self, key: Hashable, parameters: list[str], lines: Callable[[], Writer], result: str
    ) -> str:
        """The name of a function that is written the first time somebody asks for it."""
        if key not in self.outlined:
            self.outlined[key] = self.share(parameters, lines(), result, plain=result == "void")
        return self.outlined[key]

    def _kernel(self, call: Call) -> str:
        """The name of a kernel's function, which is written the first time."""
        kernel, chosen = call.kernel, call.plan
        key = (
            self._often > 1,
            kernel.key,
            chosen.axis,
            chosen.width,
            chosen.rows,
            chosen.vectors,
        )
        if key in self.kernels:
            return self.kernels[key]
        w = Writer()
        pointers = [f"%p{i}" for i in range(len(call.spaces))]
        tables = [f"%t{i}" for i in range(len(call.tables))]
        self._emitter(w, call, "%count").write(pointers, tables)
        w.line("ret void")
        # Results may replace what they are computed of, so nothing is said about aliases.
        parameters = [f"ptr {p}" for p in pointers]
        parameters += [f"ptr readonly {t}" for t in tables]
        if kernel.laned:
            parameters.append("i64 %count")
        plain = not kernel.laned and chosen.cost * self._often < _LITTLE
        self.kernels[key] = self.share(parameters, w, plain=plain)
        return self.kernels[key]


def written(
    program: Program, lowered: Lowered, target: Target, bits: int, *, strict: bool = False
) -> Module:
    """A program's module.

    Its functions: `before`, all that no lane has a say in; `lanes`, a block of lanes; `after`, what
    needs sums over lanes; and, with lanes, `chunk`, `finish` and `whole` (see `Frame`).
    """
    made = Module(target, bits, strict=strict, quick=True)
    spaces = {ARENA: "%arena", SUMS: "%arena", SCRATCH: "%scratch"}
    shared = ["ptr %arena", "ptr %scratch", "ptr %tables"]
    for name, parts in (("before", lowered.before), ("after", lowered.after)):
        if name == "before" or lowered.width:
            w = Writer()
            made.calls(w, parts, spaces, "%tables")
            w.line("ret void")
            made.define(name, shared, w)
    if lowered.width:
        w = Writer()
        slots = [*program.outputs.tolist(), *[slot for slot, _ in program.guards]]
        wanted = np.array(slots, dtype=np.int64) * lowered.width
        groups = fused(lowered.lanes, wanted, lowered.tables)
        made.calls(w, groups, {**spaces, SUMS: "%sums", BLOCK: "%block"}, "%tables", "%count")
        w.line("ret void")
        made.define("lanes", [*shared, "ptr %block", "ptr %sums", "i64 %count"], w)
        frame = Frame(made.real, lowered.width)
        taken = ["ptr %frame", "ptr %block", "i64 %width", "i64 %begin", "i64 %count"]
        take = made.share(taken, frame.take())
        made.define("chunk", ["ptr %frame", "ptr %block", "i64 %number"], frame.chunk(take))
        made.define("finish", ["ptr %frame"], frame.finish())
        made.define("whole", ["ptr %frame", "ptr %block"], frame.whole())
    return made
