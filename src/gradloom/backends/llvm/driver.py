"""Many steps in one call: a gradient and an update, again and again, as machine code.

A program that leaves a gradient in its arena and the update that follows it (see
`gradloom.loom.update`) are compiled each by itself; the *driver* is a little function, the same for
all programs, that calls one after the other: for so many steps, on a batch of samples each if there
are lanes, with the numbers of parameters copied in before and out behind. It stops before the
update of a step that must not be made as it is: where a guard broke, where the gradient's length
cannot be told or is not finite. What to do then is up to who called.
"""

import ctypes
import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradloom.backends.llvm import frame as frames
from gradloom.backends.llvm import native
from gradloom.backends.llvm import target as targets
from gradloom.backends.llvm.ir import Arithmetic, Writer, literal
from gradloom.backends.llvm.kernel import splat
from gradloom.backends.llvm.library import library
from gradloom.backends.llvm.lowering import UnsupportedError
from gradloom.backends.llvm.module import Module
from gradloom.backends.llvm.native import aligned
from gradloom.backends.llvm.sweep import swept
from gradloom.loom.program import Program
from gradloom.loom.update import Plan
from gradloom.loom.views import Slots

Array: TypeAlias = NDArray[np.float64]

# The fields of what the driver is given, 8 bytes each: addresses and counts.
FIELDS = (
    "arena", "before", "before_scratch", "before_tables", "prepare", "prepare_scratch",
    "prepare_tables", "update", "update_scratch", "update_tables", "steps", "done", "rates",
    "rate_slot", "rate_count", "guards", "wanted", "guard_count", "loss", "losses", "squares",
    "norm", "norms", "finite", "load", "load_count", "save", "save_count", "add", "add_count",
    "frame", "block", "chunk", "finish", "order", "size", "samples", "results", "outputs", "share",
)  # fmt: skip

VECTOR = 8  # numbers that are copied at once
# Between these a sum of squares has lost nothing to overflow or underflow.
RANGE = {64: (1e-280, 1e300), 32: (1e-25, 1e35)}


class _Writing:
    """Writes the functions of the driver."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.real = "double" if bits == 64 else "float"
        self.w = Writer()

    def module(self) -> Module:
        """The module: `run`, which takes the fields, and `step`, which it calls."""
        made = Module(targets.host(), self.bits)
        for name, parameters, lines, result in (
            ("step", ["ptr %frame", "i64 %i"], self._step, "i1"),
            ("run", ["ptr %frame"], self._run, "void"),
        ):
            self.w = Writer()
            lines()
            made.define(name, parameters, self.w, result=result)
        return made

    # A field, an element

    def _at(self, name: str) -> str:
        place = FIELDS.index(name)
        return self.w.assign(f"getelementptr inbounds i64, ptr %frame, i64 {place}")

    def _field(self, name: str, kind: str = "ptr") -> str:
        return self.w.assign(f"load {kind}, ptr {self._at(name)}")

    def _whole(self, name: str) -> str:
        return self._field(name, "i64")

    def _element(self, kind: str, base: str, index: str | int) -> str:
        return self.w.assign(f"getelementptr {kind}, ptr {base}, i64 {index}")

    def _item(self, kind: str, base: str, index: str | int) -> str:
        return self.w.assign(f"load {kind}, ptr {self._element(kind, base, index)}")

    def _wide(self, number: str) -> str:
        return number if self.bits == 64 else self.w.assign(f"fpext float {number} to double")

    def _narrow(self, number: str) -> str:
        return number if self.bits == 64 else self.w.assign(f"fptrunc double {number} to float")

    # Steps

    def _call(self, name: str) -> None:
        """Call a program's function, if there is one."""
        function = self._field(name)
        with self.w.when(self.w.assign(f"icmp ne ptr {function}, null")):
            given = [self._field(x) for x in ("arena", f"{name}_scratch", f"{name}_tables")]
            self.w.line(f"call void {function}({', '.join(f'ptr {x}' for x in given)})")

    def _refuse(self, bad: str) -> None:
        """Go no further if a condition holds."""
        further = self.w.label("further")
        self.w.line(f"br i1 {bad}, label %refuse, label %{further}")
        self.w.start(further)

    def _step(self) -> None:
        w = self.w
        arena = self._field("arena")
        rates, count = self._field("rates"), self._whole("rate_count")
        row = self._element("double", rates, w.assign(f"mul i64 %i, {count}"))
        into = self._element(self.real, arena, self._whole("rate_slot"))
        with frames._Each(w, count) as j:
            rate = self._narrow(self._item("double", row, j))
            w.line(f"store {self.real} {rate}, ptr {self._element(self.real, into, j)}")
        lanes = self._field("frame")
        with w.choose(w.assign(f"icmp eq ptr {lanes}, null")) as otherwise:
            self._call("before")
            self._keep_loss(self._wide(self._item(self.real, arena, self._whole("loss"))))
            otherwise()
            self._batch(lanes)
        slots, wanted = self._field("guards"), self._field("wanted")
        with frames._Each(w, self._whole("guard_count")) as j:
            slot = w.assign(f"sext i32 {self._item('i32', slots, j)} to i64")
            found = self._wide(self._item(self.real, arena, slot))
            right = self._item("double", wanted, j)
            bits = [w.assign(f"bitcast double {x} to i64") for x in (found, right)]
            other = w.assign(f"icmp ne i64 {bits[0]}, {bits[1]}")
            known = [w.assign(f"fcmp ord double {x}, {x}") for x in (found, right)]
            some = w.assign(f"or i1 {known[0]}, {known[1]}")
            self._refuse(w.assign(f"and i1 {other}, {some}"))
        self._call("prepare")
        self._judge(arena)
        self._call("update")
        w.line("ret i1 true")
        w.start("refuse")
        w.line("ret i1 false")

    def _keep_loss(self, loss: str) -> None:
        self.w.line(
            f"store double {loss}, ptr {self._element('double', self._field('losses'), '%i')}"
        )

    def _judge(self, arena: str) -> None:
        """Refuse a gradient whose length is not certain, and perhaps a loss that is not finite."""
        w = self.w
        with w.when(w.assign(f"icmp ne i64 {self._whole('finite')}, 0")):
            loss = self._item("double", self._field("losses"), "%i")
            odd = w.assign(f"fsub double {loss}, {loss}")
            self._refuse(w.assign(f"fcmp une double {odd}, {literal(0.0)}"))
        slot = self._whole("squares")
        with w.when(w.assign(f"icmp sge i64 {slot}, 0")):
            squares = self._wide(self._item(self.real, arena, slot))
            low, high = RANGE[self.bits]
            self._refuse(w.assign(f"fcmp ult double {squares}, {literal(low)}"))
            self._refuse(w.assign(f"fcmp ogt double {squares}, {literal(high)}"))
            norm = self._wide(self._item(self.real, arena, self._whole("norm")))
            w.line(
                f"store double {norm}, ptr {self._element('double', self._field('norms'), '%i')}"
            )

    def _batch(self, lanes: str) -> None:
        """The gradient of the mean loss of a batch."""
        w = self.w

        def put(name: str, kind: str, value: str) -> None:
            place = frames.FIELDS.index(name)
            w.line(f"store {kind} {value}, ptr {self._element('i64', lanes, place)}")

        size, samples = self._whole("size"), self._whole("samples")
        begin = w.assign(f"mul i64 %i, {size}")
        count = frames._least(w, size, w.assign(f"sub i64 {samples}, {begin}"))
        put("lanes", "i64", count)
        put("chunk", "i64", count)
        put("order", "ptr", self._element("i64", self._field("order"), begin))
        done = w.assign(f"mul i64 {begin}, {self._whole('outputs')}")
        results = self._element("double", self._field("results"), done)
        put("results", "ptr", results)
        number = w.assign(f"sitofp i64 {count} to double")
        share = w.assign(f"fdiv double {literal(1.0)}, {number}")
        w.line(f"store double {share}, ptr {self._field('share')}")
        place = frames.FIELDS.index
        held = self._item("ptr", lanes, place("held"))
        judged = w.assign(f"icmp sgt i64 {self._item('i64', lanes, place('guard_count'))}, 0")
        with w.when(judged), w.loop(count) as turn:
            w.line(f"store i8 1, ptr {self._element('i8', held, turn.index)}")
        self._call("before")
        w.line(f"call void {self._field('chunk')}(ptr {lanes}, ptr {self._field('block')}, i64 0)")
        w.line(f"call void {self._field('finish')}(ptr {lanes})")
        with w.when(judged), w.loop(count) as turn:
            found = self._item("i8", held, turn.index)
            self._refuse(w.assign(f"icmp eq i8 {found}, 0"))
        with w.loop(count, [("double", literal(0.0))]) as turn:
            loss = self._item("double", results, turn.index)
            turn.next = [w.assign(f"fadd double {turn.carried[0]}, {loss}")]
        self._keep_loss(turn.next[0])

    def _run(self) -> None:
        w = self.w
        self._copies("load")
        steps = self._whole("steps")
        before = w.block
        w.line("br label %head")
        w.start("head")
        w.line(f"%i = phi i64 [0, %{before}], [%j, %on]")
        w.line(f"%more = icmp slt i64 %i, {steps}")
        w.line("br i1 %more, label %try, label %over")
        w.start("try")
        w.line("%good = call i1 @step(ptr %frame, i64 %i)")
        w.line("br i1 %good, label %on, label %over")
        w.start("on")
        w.line("%j = add nuw nsw i64 %i, 1")
        w.line("br label %head")
        w.start("over")
        w.line(f"store i64 %i, ptr {self._at('done')}")
        self._copies("save")
        with w.when(w.assign("icmp sgt i64 %i, 0")):
            self._copies("add")
        w.line("ret void")

    # Copies

    def _copies(self, kind: str) -> None:
        """Numbers into the arena, out of it, or added to what is outside.

        Each copy is told by five numbers: an address outside, a slot, how many, and how far each is
        from the next, outside and in the arena.
        """
        w, arena, copies = self.w, self._field("arena"), self._field(kind)
        with frames._Each(w, self._whole(f"{kind}_count")) as i:
            copy = self._element("[5 x i64]", copies, i)
            outside, slot = self._item("ptr", copy, 0), self._item("i64", copy, 1)
            count, *steps = [self._item("i64", copy, place) for place in (2, 3, 4)]
            inside = self._element(self.real, arena, slot)
            ones = [w.assign(f"icmp eq i64 {step}, 1") for step in steps]
            dense = w.assign(f"and i1 {ones[0]}, {ones[1]}")
            with w.choose(dense) as otherwise:
                self._copy_dense(kind, outside, inside, count)
                otherwise()
                with w.loop(count) as turn:
                    ahead = [w.assign(f"mul i64 {turn.index}, {step}") for step in steps]
                    there = self._element("double", outside, ahead[0])
                    self._copy(kind, there, self._element(self.real, inside, ahead[1]), 1, "")

    def _copy_dense(self, kind: str, outside: str, inside: str, count: str) -> None:
        """Copy numbers that follow one another, a vector at a time."""
        w = self.w

        def some(at: str, mask: str) -> None:
            there, here = self._element("double", outside, at), self._element(self.real, inside, at)
            self._copy(kind, there, here, VECTOR, mask)

        turns = w.assign(f"sdiv i64 {count}, {VECTOR}")
        with frames._Each(w, turns) as turn:
            some(w.assign(f"mul i64 {turn}, {VECTOR}"), "")
        done = w.assign(f"mul i64 {turns}, {VECTOR}")
        rest = w.assign(f"sub i64 {count}, {done}")
        with w.when(w.assign(f"icmp ne i64 {rest}, 0")):
            every = splat(w, f"<{VECTOR} x i64>", "i64", rest, VECTOR)
            order = ", ".join(f"i64 {i}" for i in range(VECTOR))
            some(done, w.assign(f"icmp slt <{VECTOR} x i64> <{order}>, {every}"))

    def _copy(self, kind: str, outside: str, inside: str, width: int, mask: str) -> None:
        """Copy a vector, or some of its numbers."""
        w = self.w
        wide, own = (Arithmetic(w, width, bits) for bits in (64, self.bits))
        there, here = (outside, wide), (inside, own)
        if kind == "load":
            found = self._read(*there, mask)
            if self.bits == 32:
                found = w.assign(f"fptrunc {wide.real} {found} to {own.real}")
            self._put(*here, mask, found)
            return
        found = self._read(*here, mask)
        if self.bits == 32:
            found = w.assign(f"fpext {own.real} {found} to {wide.real}")
        if kind == "add":
            found = wide.add(self._read(*there, mask), found)
        self._put(*there, mask, found)

    def _read(self, at: str, a: Arithmetic, mask: str) -> str:
        if mask:
            return self.w.masked_load(a, at, mask, a.bits // 8)
        return self.w.assign(f"load {a.real}, ptr {at}, align {a.bits // 8}")

    def _put(self, at: str, a: Arithmetic, mask: str, found: str) -> None:
        if mask:
            self.w.masked_store(a, found, at, mask, a.bits // 8)
        else:
            self.w.line(f"store {a.real} {found}, ptr {at}, align {a.bits // 8}")


@functools.cache
def _library(bits: int) -> Any:
    """The driver's machine code."""
    return library(_Writing(bits).module(), targets.host())


@dataclass(frozen=True, slots=True)
class Outside:
    """Numbers outside of an arena, and the slots that they belong to.

    Attributes:
        array: where they live; it is read and written in place.
        indices: which of its numbers.
        slots: the slot of each.
    """

    array: Array
    indices: Slots
    slots: Slots

    def copies(self) -> NDArray[np.int64]:
        """For each run of them an address, a slot, how many, and how far each is from the next."""
        order = np.lexsort((self.slots, self.indices))
        pairs = np.stack([self.indices[order], self.slots[order]], axis=1).astype(np.int64)
        steps = np.diff(pairs, axis=0)
        ends = np.flatnonzero((steps != 1).any(axis=1)) + 1
        begins = [0, *ends.tolist()]
        counts = np.diff([*begins, len(pairs)])
        found = [
            (begin, count, 1, 1)
            for begin, count in zip(begins, counts.tolist(), strict=True)
            if count >= VECTOR
        ]
        left = np.flatnonzero(np.repeat(counts < VECTOR, counts))
        for begin, count, *further in _even_runs(pairs[left]):
            found.append((int(left[begin]), count, further[0], further[1]))
        start, size = self.array.ctypes.data, self.array.itemsize
        rows = [
            (start + size * int(pairs[begin, 0]), int(pairs[begin, 1]), *rest)
            for begin, *rest in found
        ]
        return np.array(rows, dtype=np.int64).reshape(-1, 5)


def _even_runs(pairs: NDArray[np.int64]) -> Iterator[tuple[int, int, int, int]]:
    """Rows cut into runs of even steps: where each begins, how many it has, and both its steps.

    >>> list(_even_runs(np.array([[0, 5], [1, 7], [2, 9], [9, 0]])))
    [(0, 3, 1, 2), (3, 1, 1, 1)]
    """
    steps = np.diff(pairs, axis=0).tolist()
    begin = 0
    while begin < len(pairs):
        end = begin + 1
        step = steps[begin] if begin < len(steps) else [1, 1]
        while end < len(pairs) and steps[end - 1] == step:
            end += 1
        yield begin, end - begin, *step
        begin = end


class Driver:
    """A gradient program, and perhaps an update, to be run for many steps at once.

    Args:
        program: the gradient program; of its outputs the first is the loss.
        plan: the update that follows; without, each step is the same.
        bits: 64 for float64, 32 for float32 inside.
        strict: nothing is contracted.
        batch: of a program with lanes, how many there are at most.
        finite: whether steps of a loss that is not finite are refused.

    Raises:
        UnsupportedError: a program has an operation that a user entered, or a lane depends on all
            lanes.
    """

    def __init__(
        self,
        program: Program,
        plan: Plan | None = None,
        *,
        bits: int = 64,
        strict: bool = False,
        batch: int = 0,
        finite: bool = False,
    ) -> None:
        self.program = program
        self._real: Any = np.float64 if bits == 64 else np.float32
        # What is read from outside its own code must be there, results or not.
        seen = np.concatenate([program.outputs, plan.source]) if plan else program.outputs
        code = native.code(
            replace(program, outputs=seen), bits, lanes=batch > 0, strict=strict, most=batch
        )
        template = plan.update.template if plan else program.template
        self.arena: Array = aligned(len(template), self._real)
        self.arena[:] = template
        self._fields = (ctypes.c_int64 * len(FIELDS))()
        self._alive: dict[str, Any] = {}  # what the fields point at
        self._loss, norm = ctypes.c_double(), ctypes.c_double()
        self._row: Any = ()
        self._alive["one norm"] = norm
        self._loss_at, self._norm_at = ctypes.addressof(self._loss), ctypes.addressof(norm)
        self._function("before", code)
        self._set("squares", -1)
        if plan:
            update = swept(plan.update, bits)
            if update is None:
                self._function("update", native.code(plan.update, bits))
            else:
                self._alive["update"] = update
                self._set("update", update.address("before"))
            if plan.prepare:
                self._function("prepare", native.code(plan.prepare, bits))
            self._set("rate_slot", plan.rates)
            if plan.squares is not None and plan.norm is not None:
                self._set("squares", plan.squares)
                self._set("norm", plan.norm)
        self._set("arena", self.arena)
        self._set("finite", int(finite))
        self._set("loss", int(program.outputs[0]))
        own = [(s, x) for s, x in program.guards if not (batch and program.laned[s])]
        self._set("guards", np.array([s for s, _ in own], dtype=np.int32))
        wanted = np.array([x for _, x in own], dtype=np.float64)
        self._set("wanted", wanted.astype(self._real).astype(np.float64))
        self._set("guard_count", len(own))
        if batch:
            self._lay_lanes(code, batch)
        run = _library(bits).function("run", ctypes.c_void_p)
        self._run = functools.partial(run, ctypes.addressof(self._fields))

    def _set(self, name: str, value: Any) -> None:
        """Set a field to a number, or to the address of an array."""
        if isinstance(value, np.ndarray):
            self._alive[name] = value
            value = value.ctypes.data
        self._fields[FIELDS.index(name)] = value

    def _function(self, name: str, code: native.Code) -> None:
        """Let a program's code, which is `before` all lanes, be called under a name."""
        self._set(name, code.library.address("before"))
        self._set(f"{name}_scratch", aligned(code.lowered.scratch, self._real))
        self._set(f"{name}_tables", code.lowered.tables)
        self._alive[name] = code

    def _lay_lanes(self, code: native.Code, batch: int) -> None:
        program, lowered = self.program, code.lowered
        laned = program.laned
        if not laned[program.inputs].all() or not laned[program.outputs].all():
            raise UnsupportedError("an input or a result has no lanes of its own")
        guards = [(s, x) for s, x in program.guards if laned[s]]
        inputs = len(program.inputs)
        self._sources = np.zeros(max(1, inputs), dtype=np.int64)
        self._strides = np.zeros(max(1, inputs), dtype=np.int64)
        share = np.ones(1)
        wanted = np.array([x for _, x in guards], dtype=np.float64)
        kept: dict[str, Any] = {
            "arena": self.arena,
            "scratch": self._alive["before_scratch"],
            "tables": lowered.tables,
            "sources": self._sources,
            "strides": self._strides,
            "inputs": program.inputs.astype(np.int32),
            "outputs": program.outputs.astype(np.int32),
            "held": np.ones(batch, dtype=np.uint8),
            "guards": np.array([s for s, _ in guards], dtype=np.int32),
            "wanted": wanted.astype(self._real).astype(np.float64),
            "sums": self.arena,  # there is one chunk alone, so that what is added up needs no copy
        }
        fields = {name: array.ctypes.data for name, array in kept.items()}
        fields |= {
            "input_count": inputs,
            "output_count": len(program.outputs),
            "guard_count": len(guards),
            "chunks": 1,
        }
        frame = np.array([fields.get(name, 0) for name in frames.FIELDS], dtype=np.int64)
        block = aligned(lowered.block, self._real)
        block.reshape(-1, lowered.width)[:] = program.template[:, None]
        self._alive["lanes"] = kept
        self._set("frame", frame)
        self._set("block", block)
        for name in ("chunk", "finish"):
            self._set(name, code.library.address(name))
        self._set("size", batch)
        self._set("outputs", len(program.outputs))
        self._set("share", share)
        self._sources[-1] = share.ctypes.data  # the last input is what the loss's share is

    # What it is given

    def place(self, kind: str, places: Iterable[Outside]) -> None:
        """Say which numbers are copied in before all steps ("load"), out behind ("save"), or, if
        a step was made, added to what is outside ("add")."""
        some = list(places)
        copies = [one.copies() for one in some]
        every = np.ascontiguousarray(np.concatenate([*copies, np.zeros((0, 5), dtype=np.int64)]))
        self._alive[f"{kind}ed"] = some
        self._set(kind, every)
        self._set(f"{kind}_count", len(every))

    def feed(self, inputs: Any) -> None:
        """Put numbers into the inputs; there they stay."""
        self.arena[self.program.inputs] = inputs

    def sample_from(self, columns: Sequence[Array]) -> None:
        """Take samples from the rows of some arrays; side by side their numbers are all inputs but
        the last, which is the share of each sample in the loss."""
        self._alive["columns"] = columns
        first = 0
        for column in columns:
            last = first + column.shape[1]
            ahead = np.arange(column.shape[1]) * column.strides[1]
            self._sources[first:last] = column.ctypes.data + ahead
            self._strides[first:last] = column.strides[0]
            first = last

    def run(
        self, steps: int, rates: Sequence[Sequence[float]] = (), order: Any = None
    ) -> tuple[int, Array, Array, Array]:
        """Make steps.

        Args:
            steps: how many.
            rates: of an update, a row for each step.
            order: with lanes, which samples each batch has, one batch behind the other; the last
                may be smaller.

        Returns:
            How many steps were made; for each the loss (of a batch the sum of the losses) and the
            length of the gradient, if it is measured; and the results, batch by batch, in each a
            row for each output.
        """
        losses, norms, results = np.empty(max(steps, 1)), np.zeros(max(steps, 1)), np.empty(0)
        self._set("steps", steps)
        self._set("losses", losses)
        self._set("norms", norms)
        if len(rates):
            rows = np.array(rates, dtype=np.float64)
            self._set("rates", rows)
            self._set("rate_count", rows.shape[1])
        if order is not None:
            order = np.ascontiguousarray(order, dtype=np.int64)
            results = np.empty(len(order) * len(self.program.outputs))
            self._set("order", order)
            self._set("samples", len(order))
            self._set("results", results)
        self._run()
        return self._fields[_DONE], losses, norms, results

    def once(self, rates: Sequence[float] = ()) -> float | None:
        """Make one step: its loss, or None where it was refused."""
        fields = self._fields
        fields[_STEPS], fields[_LOSSES], fields[_NORMS] = 1, self._loss_at, self._norm_at
        if rates:
            row = self._row
            if len(row) != len(rates):
                row = self._row = (ctypes.c_double * len(rates))()
            row[:] = rates
            fields[_RATES], fields[_RATE_COUNT] = ctypes.addressof(row), len(row)
        self._run()
        return self._loss.value if fields[_DONE] else None


_STEPS, _DONE, _LOSSES, _NORMS, _RATES, _RATE_COUNT = (
    FIELDS.index(name) for name in ("steps", "done", "losses", "norms", "rates", "rate_count")
)
