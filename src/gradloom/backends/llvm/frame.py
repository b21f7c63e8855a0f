"""What is around blocks of lanes: numbers in, numbers out, guards, and sums over all lanes."""

from typing import Any

from gradloom.backends.llvm.ir import Writer

# The fields of a frame, 8 bytes each.
FIELDS = (
    "arena", "scratch", "tables", "sources", "strides", "inputs", "input_count", "results",
    "outputs", "output_count", "held", "guards", "wanted", "guard_count", "sum_slots", "sum_count",
    "sums", "sum_pitch", "lanes", "chunk", "chunks", "order",
)  # fmt: skip

_WIDE = 8  # lanes that are copied at once
_NEAR = 8  # inputs of a row that are; rows a power of 2 apart drive each other from the cache


class Frame:
    """Writes the functions that run the blocks.

    `chunk(frame, block, c)` runs the blocks of a range of lanes, with sums of its own;
    `finish(frame)` puts the sums together; `whole(frame, block)` is all of it. A frame is an array
    of addresses and counts:

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

    def chunk(self, take: str) -> Writer:
        """The lines of `chunk`, given the name of `take`."""
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
            w.line(
                f"call void @{take}(ptr %frame, ptr %block, i64 {self.width}, i64 {begin}, "
                f"i64 {count})"
            )
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

    def take(self) -> Writer:
        """The lines of `take`, which copies the inputs of some lanes into a block.

        Inputs that stand one behind the other, as in the rows of an array, are taken together.
        """
        w = Writer()
        _Taking(self, w).write()
        w.line("ret void")
        return w

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

    def whole(self) -> Writer:
        """The lines of `whole`: what comes before the lanes, all chunks, and `finish`."""
        w = Writer()
        given = ", ".join(f"ptr {self._field(w, x)}" for x in ("arena", "scratch", "tables"))
        w.line(f"call void @before({given})")
        with w.loop(self._field(w, "chunks", "i64")) as turn:
            w.line(f"call void @chunk(ptr %frame, ptr %block, i64 {turn.index})")
        w.line("call void @finish(ptr %frame)")
        w.line("ret void")
        return w

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


class _Taking:
    """Writes how the inputs of some lanes are copied into a block.

    Args:
        frame, w: what writes, and where.
    """

    def __init__(self, frame: Frame, w: Writer) -> None:
        self.frame, self.w = frame, w
        self.own = w.assign("alloca i64")  # a lane that is its own place
        self.order = frame._field(w, "order")
        self.plain = w.assign(f"icmp eq ptr {self.order}, null")
        self.sources, self.strides = (frame._field(w, x) for x in ("sources", "strides"))
        self.slots, self.inputs = frame._field(w, "inputs"), frame._field(w, "input_count", "i64")

    def write(self) -> None:
        """All inputs: the first, those that stand behind it, and so on."""
        w, item = self.w, self.frame._item
        names = ("first", "scan", "look", "take", "next", "end")
        first, scan, look, take, further, end = (w.label(name) for name in names)
        i, k, on, bumped = (w.name() for _ in range(4))
        before = w.block
        any_ = w.assign(f"icmp sgt i64 {self.inputs}, 0")
        w.line(f"br i1 {any_}, label %{first}, label %{end}")
        w.start(first)
        w.line(f"{i} = phi i64 [0, %{before}], [{on}, %{further}]")
        stride, source = item(w, self.strides, i, "i64"), item(w, self.sources, i, "i64")
        # Lanes that lie side by side are copied as they are.
        close = w.assign(f"and i1 {w.assign(f'icmp eq i64 {stride}, 8')}, {self.plain}")
        w.line(f"br i1 {close}, label %{take}, label %{scan}")
        w.start(scan)
        w.line(f"{k} = phi i64 [1, %{first}], [{bumped}, %{look}]")
        at = w.assign(f"add i64 {i}, {k}")
        inside = w.assign(f"icmp slt i64 {at}, {self.inputs}")
        w.line(f"br i1 {inside}, label %{look}, label %{take}")
        w.start(look)
        behind = w.assign(f"add i64 {source}, {w.assign(f'mul i64 {k}, 8')}")
        near = w.assign(f"icmp eq i64 {item(w, self.sources, at, 'i64')}, {behind}")
        alike = w.assign(f"icmp eq i64 {item(w, self.strides, at, 'i64')}, {stride}")
        bump = w.assign(f"and i1 {near}, {alike}")
        w.line(f"{bumped} = add i64 {k}, 1")
        w.line(f"br i1 {bump}, label %{scan}, label %{take}")
        w.start(take)
        run = w.assign(f"phi i64 [1, %{first}], [{k}, %{scan}], [{k}, %{look}]")
        pointer = w.assign(f"inttoptr i64 {source} to ptr")
        several = w.assign(f"icmp sgt i64 {run}, 1")
        with w.choose(several) as otherwise:
            self._rows(i, run, pointer, stride)
            otherwise()
            self._column(i, pointer, stride, close)
        w.line(f"br label %{further}")
        w.start(further)
        w.line(f"{on} = add i64 {i}, {run}")
        more = w.assign(f"icmp slt i64 {on}, {self.inputs}")
        w.line(f"br i1 {more}, label %{first}, label %{end}")
        w.start(end)

    def _into(self, index: str, lane: str) -> str:
        """Where an input's number for a lane goes."""
        w, real = self.w, self.frame.real
        row = w.assign(f"mul i64 {self.frame._slot(w, self.slots, index)}, %width")
        place = w.assign(f"add i64 {row}, {lane}")
        return w.assign(f"getelementptr {real}, ptr %block, i64 {place}")

    def _from(self, source: str, stride: str, lane: str) -> str:
        """Where a lane's number is: where the order says, if there is one."""
        w = self.w
        lane = w.assign(f"add i64 %begin, {lane}")
        w.line(f"store i64 {lane}, ptr {self.own}")
        ordered = w.assign(f"getelementptr i64, ptr {self.order}, i64 {lane}")
        at = w.assign(f"select i1 {self.plain}, ptr {self.own}, ptr {ordered}")
        ahead = w.assign(f"mul i64 {w.assign(f'load i64, ptr {at}')}, {stride}")
        return w.assign(f"getelementptr i8, ptr {source}, i64 {ahead}")

    def _store(self, found: str, into: str, width: int) -> None:
        w, real = self.w, self.frame.real
        double, kind = (x if width == 1 else f"<{width} x {x}>" for x in ("double", real))
        if real == "float":
            found = w.assign(f"fptrunc {double} {found} to {kind}")
        w.line(f"store {kind} {found}, ptr {into}, align {8 if real == 'double' else 4}")

    def _column(self, index: str, source: str, stride: str, close: str) -> None:
        """One input: several lanes at once where they lie side by side, else one by one."""
        w = self.w

        def copy(lane: str, width: int) -> None:
            kind = "double" if width == 1 else f"<{width} x double>"
            at = self._from(source, stride, lane)
            found = w.assign(f"load {kind}, ptr {at}, align 8")
            self._store(found, self._into(index, lane), width)
            if width > 1:  # the next block's are far from all that was read: ask for them early
                ahead = w.assign(f"getelementptr double, ptr {at}, i64 %width")
                w.declared.add("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
                w.line(f"call void @llvm.prefetch.p0(ptr {ahead}, i32 0, i32 2, i32 1)")

        some = w.assign(f"sdiv i64 %count, {_WIDE}")
        some = w.assign(f"select i1 {close}, i64 {some}, i64 0")
        with _Each(w, some) as turn:
            copy(w.assign(f"mul i64 {turn}, {_WIDE}"), _WIDE)
        done = w.assign(f"mul i64 {some}, {_WIDE}")
        with _Each(w, w.assign(f"sub i64 %count, {done}")) as turn:
            copy(w.assign(f"add i64 {turn}, {done}"), 1)

    def _rows(self, first: str, run: str, source: str, stride: str) -> None:
        """Inputs that stand one behind the other: a few of them for all lanes, then the next.

        The last few, and the last two of these, may be among those before, and are copied again.
        """
        w = self.w
        count = _least(w, run, str(_NEAR))
        last = w.assign(f"sub i64 {run}, {count}")
        up = w.assign(f"add i64 {run}, {_NEAR - 1}")
        with w.loop(w.assign(f"sdiv i64 {up}, {_NEAR}")) as turn:
            begin = _least(w, w.assign(f"mul i64 {turn.index}, {_NEAR}"), last)
            start = w.assign(f"getelementptr double, ptr {source}, i64 {begin}")
            self._tiles(w.assign(f"add i64 {first}, {begin}"), count, start, stride)

    def _tiles(self, first: str, count: str, source: str, stride: str) -> None:
        """Some of them, two at once for several lanes."""
        w = self.w
        groups = w.assign(f"sdiv i64 %count, {_WIDE}")
        pairs = w.assign(f"sdiv i64 {w.assign(f'add i64 {count}, 1')}, 2")
        last = w.assign(f"sub i64 {count}, 2")
        with _Each(w, groups) as group:
            lane = w.assign(f"mul i64 {group}, {_WIDE}")
            lanes = [w.assign(f"add i64 {lane}, {i}") for i in range(_WIDE)]
            rows = [self._from(source, stride, one) for one in lanes]
            with w.loop(pairs) as pair:
                step = _least(w, w.assign(f"mul i64 {pair.index}, 2"), last)
                found = [self._number(row, step, 2) for row in rows]
                for place, column in enumerate(self._turned(found)):
                    index = w.assign(f"add i64 {first}, {w.assign(f'add i64 {step}, {place}')}")
                    self._store(column, self._into(index, lane), _WIDE)
        done = w.assign(f"mul i64 {groups}, {_WIDE}")
        with _Each(w, w.assign(f"sub i64 %count, {done}")) as turn:
            lane = w.assign(f"add i64 {done}, {turn}")
            row = self._from(source, stride, lane)
            with w.loop(count) as inner:
                index = w.assign(f"add i64 {first}, {inner.index}")
                self._store(self._number(row, inner.index, 1), self._into(index, lane), 1)

    def _number(self, row: str, index: str, width: int) -> str:
        """Some of a row's numbers from a place on."""
        at = self.w.assign(f"getelementptr double, ptr {row}, i64 {index}")
        kind = "double" if width == 1 else f"<{width} x double>"
        return self.w.assign(f"load {kind}, ptr {at}, align 8")

    def _turned(self, pairs: list[str]) -> list[str]:
        """Of a pair for each lane, a vector of the first numbers and one of the second."""
        # Even and odd lanes apart: what is left then stays within 16 bytes, which is cheap.
        even, odd = self._joined(pairs[::2]), self._joined(pairs[1::2])
        kind, width = f"<{_WIDE} x double>", _WIDE
        columns = []
        for first in (0, 1):
            places = [first + i - i % 2 + (width if i % 2 else 0) for i in range(width)]
            mask = ", ".join(f"i32 {place}" for place in places)
            columns.append(
                self.w.assign(
                    f"shufflevector {kind} {even}, {kind} {odd}, <{width} x i32> <{mask}>"
                )
            )
        return columns

    def _joined(self, parts: list[str]) -> str:
        """Vectors one behind the other."""
        size = 2
        while len(parts) > 1:
            kind, mask = f"<{size} x double>", ", ".join(f"i32 {i}" for i in range(2 * size))
            parts = [
                self.w.assign(f"shufflevector {kind} {a}, {kind} {b}, <{2 * size} x i32> <{mask}>")
                for a, b in zip(parts[::2], parts[1::2], strict=True)
            ]
            size *= 2
        return parts[0]


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
