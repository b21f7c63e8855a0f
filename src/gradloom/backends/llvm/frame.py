"""What is around blocks of lanes: numbers in, numbers out, guards, and sums over all lanes."""

from collections.abc import Callable
from typing import Any

from gradloom.backends.llvm.ir import Writer

# The fields of a frame, 8 bytes each.
FIELDS = (
    "arena", "scratch", "tables", "sources", "strides", "inputs", "input_count", "results",
    "outputs", "output_count", "held", "guards", "wanted", "guard_count", "sum_slots", "sum_count",
    "sums", "sum_pitch", "lanes", "chunk", "chunks", "order",
)  # fmt: skip

_WIDE = 8  # lanes that are copied at once


class Frame:
    """Writes the functions that run the blocks.

    `chunk(frame, block, c)` runs the blocks of a range of lanes, with sums of its own;
    `finish(frame)` puts the sums together. A frame is an array of addresses and counts:

    - arena, scratch, tables: what all lanes share;
    - sources, strides, inputs, input_count: for each laned input where its numbers (doubles)
      begin, how many bytes each lane is further on, and its slot;
    - results, outputs, output_count: where a row of doubles for each laned output goes, and slots;
    - held, guards, wanted, guard_count: a byte for each lane, slots, what they should hold;
    - sum_slots, sum_count, sums, sum_pitch: which slots are sums, those of the first chunk, and
      how many numbers on the next chunk's are;
    - lanes, chunk, chunks: how many in all, how many in a chunk, and how many of those;
    - order: for each lane an i64, which of the numbers of an input are its own; null where they
      stand in order.
    """

    def __init__(self, real: str, width: int) -> None:
        self.real, self.width = real, width

    def _field(self, w: Writer, name: str, kind: str = "ptr") -> str:
        at = w.assign(f"getelementptr inbounds i64, ptr %frame, i64 {FIELDS.index(name)}")
        return w.assign(f"load {kind}, ptr {at}")

    def _item(self, w: Writer, base: str, index: str, kind: str) -> str:
        at = w.assign(f"getelementptr inbounds {kind}, ptr {base}, i64 {index}")
        return w.assign(f"load {kind}, ptr {at}")

    def _slot(self, w: Writer, slots: str, index: str) -> str:
        return w.assign(f"sext i32 {self._item(w, slots, index, 'i32')} to i64")

    def chunk(self) -> Writer:
        """The lines of `chunk`."""
        w = Writer()
        arena, scratch, tables = (self._field(w, x) for x in ("arena", "scratch", "tables"))
        pitch = w.assign(f"mul i64 {self._field(w, 'sum_pitch', 'i64')}, %number")
        sums = w.assign(f"getelementptr {self.real}, ptr {self._field(w, 'sums')}, i64 {pitch}")
        slots = self._field(w, "sum_slots")
        with _Each(w, self._field(w, "sum_count", "i64")) as i:
            at = w.assign(f"getelementptr {self.real}, ptr {sums}, i64 {self._slot(w, slots, i)}")
            w.line(f"store {self.real} -0.0, ptr {at}")
        lanes, size = self._field(w, "lanes", "i64"), self._field(w, "chunk", "i64")
        first = w.assign(f"mul i64 {size}, %number")
        end = _least(w, w.assign(f"add i64 {first}, {size}"), lanes)
        length = w.assign(f"sub i64 {end}, {first}")
        up = w.assign(f"add i64 {length}, {self.width - 1}")
        with _Each(w, w.assign(f"sdiv i64 {up}, {self.width}")) as i:
            begin = w.assign(f"add i64 {first}, {w.assign(f'mul i64 {i}, {self.width}')}")
            count = _least(w, w.assign(f"sub i64 {end}, {begin}"), str(self.width))
            self._take(w, begin, count)
            w.line(
                f"call void @lanes(ptr {arena}, ptr {scratch}, ptr {tables}, ptr %block, "
                f"ptr {sums}, i64 {count})"
            )
            self._give(w, begin, count, lanes)
            self._judge(w, begin, count)
        w.line("ret void")
        return w

    def _row(self, w: Writer, slots: str, index: str) -> str:
        """Where the numbers of a slot begin in the block."""
        slot = w.assign(f"mul i64 {self._slot(w, slots, index)}, {self.width}")
        return w.assign(f"getelementptr {self.real}, ptr %block, i64 {slot}")

    def _take(self, w: Writer, begin: str, count: str) -> None:
        """Copy the inputs into the block."""
        order = self._field(w, "order")
        with w.choose(w.assign(f"icmp eq ptr {order}, null")) as otherwise:
            self._take_from(w, begin, count, lambda lane: lane, ordered=False)
            otherwise()
            self._take_from(
                w, begin, count, lambda lane: self._item(w, order, lane, "i64"), ordered=True
            )

    def _take_from(
        self, w: Writer, begin: str, count: str, of: Callable[[str], str], *, ordered: bool
    ) -> None:
        """Copy the inputs into the block, for each lane the one that is its own."""
        sources, strides = self._field(w, "sources"), self._field(w, "strides")
        slots = self._field(w, "inputs")
        with _Each(w, self._field(w, "input_count", "i64")) as i:
            row = self._row(w, slots, i)
            stride, source = self._item(w, strides, i, "i64"), self._item(w, sources, i, "ptr")

            def copy(
                turn: str, width: int, row: str = row, source: str = source, stride: str = stride
            ) -> None:
                double, real = (
                    kind if width == 1 else f"<{width} x {kind}>" for kind in ("double", self.real)
                )
                lane = of(w.assign(f"add i64 {begin}, {turn}"))
                ahead = w.assign(f"mul i64 {lane}, {stride}")
                at = w.assign(f"getelementptr i8, ptr {source}, i64 {ahead}")
                found = w.assign(f"load {double}, ptr {at}, align 8")
                if self.real == "float":
                    found = w.assign(f"fptrunc {double} {found} to {real}")
                at = w.assign(f"getelementptr {self.real}, ptr {row}, i64 {turn}")
                w.line(f"store {real} {found}, ptr {at}, align 4")

            # Lanes that lie side by side are copied several at once.
            close = "false" if ordered else w.assign(f"icmp eq i64 {stride}, 8")
            some = w.assign(f"sdiv i64 {count}, {_WIDE}")
            some = w.assign(f"select i1 {close}, i64 {some}, i64 0")
            with _Each(w, some) as index:
                copy(w.assign(f"mul i64 {index}, {_WIDE}"), _WIDE)
            done = w.assign(f"mul i64 {some}, {_WIDE}")
            with _Each(w, w.assign(f"sub i64 {count}, {done}")) as index:
                copy(w.assign(f"add i64 {index}, {done}"), 1)

    def _wide(self, w: Writer, row: str, lane: str) -> str:
        """A number of the block as a double."""
        found = self._item(w, row, lane, self.real)
        return found if self.real == "double" else w.assign(f"fpext float {found} to double")

    def _give(self, w: Writer, begin: str, count: str, lanes: str) -> None:
        """Copy the outputs out of the block."""
        results, slots = self._field(w, "results"), self._field(w, "outputs")
        with _Each(w, self._field(w, "output_count", "i64")) as i:
            row = self._row(w, slots, i)
            place = w.assign(f"add i64 {w.assign(f'mul i64 {i}, {lanes}')}, {begin}")
            start = w.assign(f"getelementptr double, ptr {results}, i64 {place}")
            with w.loop(count) as turn:
                found = self._wide(w, row, turn.index)
                at = w.assign(f"getelementptr double, ptr {start}, i64 {turn.index}")
                w.line(f"store double {found}, ptr {at}")

    def _judge(self, w: Writer, begin: str, count: str) -> None:
        """Note which lanes hold all guards: the same number, zeros of one sign, nan for nan."""
        slots, wanted = self._field(w, "guards"), self._field(w, "wanted")
        held = w.assign(f"getelementptr i8, ptr {self._field(w, 'held')}, i64 {begin}")
        with _Each(w, self._field(w, "guard_count", "i64")) as i:
            row, right = self._row(w, slots, i), self._item(w, wanted, i, "double")
            bits = w.assign(f"bitcast double {right} to i64")
            odd = w.assign(f"fcmp uno double {right}, {right}")
            with w.loop(count) as turn:
                found = self._wide(w, row, turn.index)
                same = w.assign(f"bitcast double {found} to i64")
                same = w.assign(f"icmp eq i64 {same}, {bits}")
                both = w.assign(f"fcmp uno double {found}, {found}")
                both = w.assign(f"and i1 {both}, {odd}")
                good = w.assign(f"zext i1 {w.assign(f'or i1 {same}, {both}')} to i8")
                at = w.assign(f"getelementptr i8, ptr {held}, i64 {turn.index}")
                before = w.assign(f"load i8, ptr {at}")
                w.line(f"store i8 {w.assign(f'and i8 {before}, {good}')}, ptr {at}")

    def finish(self) -> Writer:
        """The lines of `finish`."""
        w = Writer()
        arena, scratch, tables = (self._field(w, x) for x in ("arena", "scratch", "tables"))
        slots, sums = self._field(w, "sum_slots"), self._field(w, "sums")
        pitch, chunks = self._field(w, "sum_pitch", "i64"), self._field(w, "chunks", "i64")
        with _Each(w, self._field(w, "sum_count", "i64")) as i:
            slot = self._slot(w, slots, i)
            into = w.assign(f"getelementptr {self.real}, ptr {arena}, i64 {slot}")
            start = w.assign(f"getelementptr {self.real}, ptr {sums}, i64 {slot}")
            total = w.assign(f"load {self.real}, ptr {into}")
            with w.loop(chunks, [(self.real, total)]) as turn:
                ahead = w.assign(f"mul i64 {turn.index}, {pitch}")
                found = self._item(w, start, ahead, self.real)
                turn.next = [w.assign(f"fadd {self.real} {turn.carried[0]}, {found}")]
            w.line(f"store {self.real} {turn.next[0]}, ptr {into}")
        w.line(f"call void @after(ptr {arena}, ptr {scratch}, ptr {tables})")
        w.line("ret void")
        return w


class _Each:
    """A loop over a count that may be 0."""

    def __init__(self, w: Writer, count: str) -> None:
        self._when = w.when(w.assign(f"icmp sgt i64 {count}, 0"))
        self._loop = w.loop(count)

    def __enter__(self) -> str:
        self._when.__enter__()
        return self._loop.__enter__().index

    def __exit__(self, *error: Any) -> None:
        self._loop.__exit__(*error)
        self._when.__exit__(*error)


def _least(w: Writer, a: str, b: str) -> str:
    less = w.assign(f"icmp slt i64 {a}, {b}")
    return w.assign(f"select i1 {less}, i64 {a}, i64 {b}")
