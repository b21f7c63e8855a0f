"""A group of strips as code: for each vector of lanes all turns, their state in registers.

What a statement has computed is in a register for the rest of the turn, and for the turn after;
sums stay in one until the last turn. Only what somebody reads at another time goes to memory: to
find out who does, everything is written twice, and the first time thrown away.
"""

from collections.abc import Sequence

from gradloom.backends.llvm.fuse import Group, Statement, Strip
from gradloom.backends.llvm.ir import Arithmetic, Writer
from gradloom.backends.llvm.kernel import (
    Evaluator,
    Outline,
    added_up,
    called,
    factors,
    lanes_left,
    quiet,
    splat,
)
from gradloom.backends.llvm.lowering import ARENA, BLOCK, SUMS
from gradloom.backends.llvm.target import Target

# In a turn of the loop: where a number would stand at turn 0 of the group, and how far it moves.
Key = tuple[int, int]


class Stream:
    """Writes one group.

    Args:
        w: where to.
        group: the strips.
        target, bits: for which machine, and how many bits a number has.
        strict: nothing is contracted.
        spaces: for each memory the register of where it begins.
        count: that of the number of lanes.
        outline: adds a function to the module.
    """

    def __init__(
        self,
        w: Writer,
        group: Group,
        target: Target,
        bits: int,
        *,
        strict: bool,
        spaces: dict[str, str],
        count: str,
        outline: Outline,
    ) -> None:
        self.w, self.group, self.strict, self.count = w, group, strict, count
        self.target, self.bits = target, bits
        self.spaces, self.outline = spaces, outline
        self.width = target.width(bits)
        self.a = Arithmetic(w, self.width, bits, fused=target.fused, rounds=target.rounds)
        self.one = self.a.scalar
        self.sums = {
            one.offsets[0]
            for strip in group.strips
            for one in strip.statements
            if strip.count > 1 and not one.steps[0] and one.spaces[0] == BLOCK
        }
        self.loaded: set[int] = set()  # numbers of the block that were read from memory
        self.needed: set[int] | None = None
        self.inside = False
        # What is in a register: by its number in the block, or by its key in a turn of the loop.
        self.here: dict[int | Key, str] = {}
        self.shared: dict[int, str] = {}
        self.totals: dict[int, str] = {}  # sums over lanes, for this vector
        self.passed: set[str] = set()  # what came from the turn before

    def write(self) -> None:
        """All of it."""
        draft = Stream(
            Writer(),
            self.group,
            self.target,
            self.bits,
            strict=self.strict,
            spaces=self.spaces,
            count=self.count,
            outline=self.outline,
        )
        draft._lanes()
        self.needed = draft.loaded | self.group.read
        self._lanes()

    def _lanes(self) -> None:
        w, a = self.w, self.a
        self._share()
        over = sorted(
            {
                one.offsets[0]
                for strip in self.group.strips
                for one in strip.statements
                if one.spaces[0] == SUMS
            }
        )
        up = w.assign(f"add nuw nsw i64 {self.count}, {self.width - 1}")
        vectors = w.assign(f"udiv i64 {up}, {self.width}")
        nothing = a.number(-0.0)
        with w.loop(vectors, [(a.real, nothing) for _ in over]) as turn:
            ahead = w.assign(f"mul nsw i64 {turn.index}, {self.width}")
            self.block = w.assign(
                f"getelementptr inbounds {self.one}, ptr {self.spaces[BLOCK]}, i64 {ahead}"
            )
            self.totals = dict.fromkeys(over, nothing)
            self._turns()
            mask = lanes_left(w, self.count, turn.index, self.width) if over else ""
            for total, slot in zip(turn.carried, over, strict=True):
                added = a.add(total, self.totals[slot])
                turn.next.append(a.select(mask, added, total))
        for slot, total in zip(over, turn.next, strict=True):
            at = self._ahead(self.spaces[SUMS], slot)
            before = w.assign(f"load {self.one}, ptr {at}")
            found = w.assign(f"fadd {self.one} {before}, {added_up(a, total)}")
            w.line(f"store {self.one} {found}, ptr {at}")

    def _share(self) -> None:
        """Load what all lanes and all turns share."""
        for strip in self.group.strips:
            for one in strip.statements:
                for space, offset, step in zip(one.spaces, one.offsets, one.steps, strict=True):
                    if space == ARENA and not step and offset not in self.shared:
                        self.shared[offset] = self._load_shared(offset)

    def _load_shared(self, offset: int, ahead: str = "") -> str:
        at = self._ahead(self.spaces[ARENA], offset)
        if ahead:
            at = self.w.assign(f"getelementptr inbounds {self.one}, ptr {at}, i64 {ahead}")
        found = self.w.assign(f"load {self.one}, ptr {at}")
        return splat(self.w, self.a.real, self.one, found, self.width) if self.width > 1 else found

    def _ahead(self, pointer: str, offset: int) -> str:
        if not offset:
            return pointer
        return self.w.assign(f"getelementptr inbounds {self.one}, ptr {pointer}, i64 {offset}")

    # Turns

    def _turns(self) -> None:
        """All turns for one vector of lanes."""
        self.here = {}
        before, behind = self.group.turns
        for turn in before:
            self._turn(turn)
        if self.group.first < self.group.last:
            self._loop()
        for turn in behind:
            self._turn(turn)
        for slot in sorted(self.sums & self.here.keys()):
            self._store(slot, self.here[slot])

    def _turn(self, turn: int) -> None:
        """What is done at one turn, written out."""
        for strip in self.group.strips:
            if strip.start <= turn < strip.end:
                for one in strip.statements:
                    self._single(one, strip, turn - strip.start)

    def _single(self, one: Statement, strip: Strip, turn: int) -> None:
        at = [offset + step * turn for offset, step in zip(one.offsets, one.steps, strict=True)]
        operands = [
            self._read(space, offset, step == 0)
            for space, offset, step in zip(one.spaces[1:], at[1:], one.steps[1:], strict=True)
        ]
        if one.spaces[0] == SUMS:
            self.totals[at[0]] = self._added(one, operands, self.totals[at[0]])
            return
        start = one.kernel.start
        if start is None:
            value = self._value(one, operands)
        elif start == "add" or (at[0] in self.sums and at[0] in self.here and strip.count > 1):
            value = self._added(one, operands, self._read(BLOCK, at[0], False))
        else:
            assert isinstance(start, float)
            value = self._added(one, operands, self.a.number(start))
        self.here[at[0]] = value
        if at[0] not in self.sums and (self.needed is None or at[0] in self.needed):
            self._store(at[0], value)

    def _read(self, space: str, offset: int, stands: bool) -> str:
        """A number from its register, or from memory."""
        if space == ARENA:
            return self.shared[offset] if stands else self._load_shared(offset)
        if offset not in self.here:
            self.loaded.add(offset)
            at = self._ahead(self.block, offset)
            self.here[offset] = self.w.assign(
                f"load {self.a.real}, ptr {at}, align {self.bits // 8}"
            )
        return self.here[offset]

    def _store(self, offset: int, value: str) -> None:
        at = self._ahead(self.block, offset)
        self.w.line(f"store {self.a.real} {value}, ptr {at}, align {self.bits // 8}")

    # The loop

    def _loop(self) -> None:
        """The turns at which all long strips run, as a loop."""
        group, w, a = self.group, self.w, self.a
        strips = [s for s in group.strips if s.start <= group.first and s.end >= group.last]
        written = {
            self._key(one, strip, 0)
            for strip in strips
            for one in strip.statements
            if one.spaces[0] == BLOCK
        }
        carried, begins = self._carried(strips, written)
        outer = self.here
        standing: dict[int | Key, str] = {}
        for strip in strips:
            for one in strip.statements:
                for place, space in enumerate(one.spaces[1:], 1):
                    key = self._key(one, strip, place)
                    if space == BLOCK and isinstance(key, int) and key not in written:
                        standing[key] = self._read(BLOCK, key, False)
        totals = sorted(self.totals)
        kinds = [(a.real, x) for x in [*begins, *[self.totals[slot] for slot in totals]]]
        with w.loop(group.last, kinds, start=group.first) as turn:
            self.here = {**standing, **dict(zip(carried, turn.carried, strict=False))}
            self.passed = set(turn.carried)
            self.totals = dict(zip(totals, turn.carried[len(carried) :], strict=True))
            for strip in strips:
                for one in strip.statements:
                    self._inside(one, strip, turn.index)
            turn.next = [
                self._look(
                    BLOCK, (key[0] + key[1], key[1]) if isinstance(key, tuple) else key, turn.index
                )
                for key in carried
            ]
            turn.next += [self.totals[slot] for slot in totals]
        found: dict[int | Key, str] = {}
        for key, register in self.here.items():
            if isinstance(key, tuple):
                if key in written:
                    found[key[0] + (group.last - 1) * key[1]] = register
            elif key in self.sums:
                found[key] = register
        for slot in self.sums:
            if slot in outer and slot not in found:
                found[slot] = outer[slot]
        self.here = found

    def _carried(
        self, strips: Sequence[Strip], written: set[int | Key]
    ) -> tuple[list[int | Key], list[str]]:
        """What goes from turn to turn in registers, and what that is at first."""
        carried: list[int | Key] = []
        begins: list[str] = []
        done: set[int | Key] = set()  # computed at this turn already
        for strip in strips:
            for one in strip.statements:
                for place in self._read_places(one):
                    key = self._key(one, strip, place)
                    if key in carried or key in done:
                        continue
                    if not isinstance(key, tuple):
                        if key in written:
                            carried.append(key)
                            begins.append(self._begin(one, key, place))
                    elif (key[0] + key[1], key[1]) in written:
                        carried.append(key)
                        begins.append(self._read(BLOCK, key[0] + self.group.first * key[1], False))
                if one.spaces[0] == BLOCK:
                    done.add(self._key(one, strip, 0))
        return carried, begins

    @staticmethod
    def _read_places(one: Statement) -> list[int]:
        """The accesses to the block that a statement reads in a turn of the loop, operands first:
        its own result is one where it adds to what is there, or goes on with a sum."""
        found = [place for place in range(1, len(one.spaces)) if one.spaces[place] == BLOCK]
        start = one.kernel.start
        goes_on = start == "add" or (start is not None and not one.steps[0])
        return [*found, 0] if goes_on and one.spaces[0] == BLOCK else found

    def _key(self, one: Statement, strip: Strip, place: int) -> int | Key:
        step = one.steps[place]
        if not step:
            return one.offsets[place]
        return one.offsets[place] - strip.start * step, step

    def _begin(self, one: Statement, key: int, place: int) -> str:
        """What a sum is before the loop."""
        start = one.kernel.start
        if place == 0 and isinstance(start, float) and key not in self.here:
            return self.a.number(start)
        return self._read(BLOCK, key, False)

    def _inside(self, one: Statement, strip: Strip, index: str) -> None:
        """A statement at a turn of the loop."""
        keys = [self._key(one, strip, place) for place in range(len(one.spaces))]
        operands = [
            self._look(space, key, index)
            for space, key in zip(one.spaces[1:], keys[1:], strict=True)
        ]
        key, start = keys[0], one.kernel.start
        if one.spaces[0] == SUMS:
            slot = one.offsets[0]
            self.totals[slot] = self._added(one, operands, self.totals[slot])
            return
        if start is None:
            value = self._value(one, operands, inline=True)
        elif isinstance(start, float) and isinstance(key, tuple):
            value = self._added(one, operands, self.a.number(start), inline=True)
        else:
            value = self._added(one, operands, self._look(BLOCK, key, index), inline=True)
        self.here[key] = value
        if not isinstance(key, tuple):
            return
        for other in [x for x in self.here if isinstance(x, tuple) and self._meet(x, key)]:
            del self.here[other]  # at some turn it is the same number, and may be an old one
        every = {key[0] + turn * key[1] for turn in range(self.group.first, self.group.last)}
        if self.needed is not None and not every & self.needed:
            return
        self.w.line(
            f"store {self.a.real} {value}, ptr {self._spot(key, index)}, align {self.bits // 8}"
        )

    def _meet(self, one: Key, other: Key) -> bool:
        """Whether two numbers that move are the same at some turn of the loop."""
        closer = one[1] - other[1]
        if not closer or (other[0] - one[0]) % closer:
            return False
        return self.group.first <= (other[0] - one[0]) // closer < self.group.last

    def _look(self, space: str, key: int | Key, index: str) -> str:
        """A number at a turn of the loop."""
        if space == ARENA:
            if isinstance(key, int):
                return self.shared[key]
            further = self.w.assign(f"mul nsw i64 {index}, {key[1]}")
            return self._load_shared(key[0], further)
        if key not in self.here:
            assert isinstance(key, tuple)
            every = range(self.group.first, self.group.last)
            slots = {key[0] + turn * key[1] for turn in every}
            if slots & self.sums:
                raise StandingError
            self.loaded |= slots
            self.here[key] = self.w.assign(
                f"load {self.a.real}, ptr {self._spot(key, index)}, align {self.bits // 8}"
            )
        return self.here[key]

    def _spot(self, key: Key, index: str) -> str:
        further = self.w.assign(f"mul nsw i64 {index}, {key[1]}")
        at = self.w.assign(f"getelementptr {self.one}, ptr {self.block}, i64 {further}")
        return self._ahead(at, key[0])

    # Values

    def _added(
        self, one: Statement, operands: Sequence[str], total: str, *, inline: bool = False
    ) -> str:
        kernel = one.kernel
        product = kernel.body == ("*", (0, 1)) and len(kernel.operands) == 2
        if product and not kernel.muted and not self.strict:
            return self.a.fma(operands[0], operands[1], total)
        return self.a.add(total, self._value(one, operands, inline=inline))

    def _value(self, one: Statement, operands: Sequence[str], *, inline: bool = False) -> str:
        kernel, a = one.kernel, self.a
        by_call = None if inline else called(a, self.outline)
        value = Evaluator(a, operands, by_call).number(kernel.body)
        muted = [operands[i] for i in kernel.muted]
        product = bool(muted) and factors(kernel.body) >= set(kernel.muted)
        if not self.passed.intersection(muted):
            return quiet(a, value, muted, product=product)
        # The next turn waits for this one: a branch that is hardly ever taken delays nobody.
        w, fast, careful, after = self.w, self.w.block, self.w.label("odd"), self.w.label("even")
        odd = a.any(a.compare("uno", a.sub(value, value), a.number(0.0)))
        w.line(f"br i1 {odd}, label %{careful}, label %{after}")
        w.start(careful)
        fixed = quiet(a, value, muted, product=product)
        w.line(f"br label %{after}")
        w.start(after)
        return w.assign(f"phi {a.real} [{value}, %{fast}], [{fixed}, %{careful}]")


class StandingError(Exception):
    """A sum that is in a register would be read from memory."""
