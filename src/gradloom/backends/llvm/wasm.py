"""A WebAssembly module from the object file that LLVM writes.

LLVM leaves the last step to a linker: an object imports its memory and its stack pointer, and lists
what to correct where objects are joined. But what stands in an object on its own is right as it is:
functions call each other by their places in it, and addresses count from 0. So nothing needs
correction; the imports become the module's own, and the functions asked for are exported. Where
this would not do (a function from elsewhere, a table of functions) the object is refused.

Reference: https://webassembly.github.io/spec/core/binary, and for objects
https://github.com/WebAssembly/tool-conventions/blob/main/Linking.md
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_MAGIC = b"\0asm\1\0\0\0"
_CUSTOM, _IMPORT, _MEMORY, _GLOBAL, _EXPORT, _DATA = 0, 2, 5, 6, 7, 11
_ORDER = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 10, 11]  # in which sections come
_FUNCTION_KIND, _MEMORY_KIND, _GLOBAL_KIND = 0, 2, 3
_SYMBOLS = 8  # the part of the section on linking that is the table of symbols
_PAGE = 65536
_STACK = 65536  # bytes; kernels keep a few vectors there, if anything


class NotLinkableError(Exception):
    """An object that needs a real linker."""


@dataclass(frozen=True, slots=True)
class Linked:
    """A module.

    Attributes:
        content: the bytes of the file.
        heap: the first address that the module does not use; it exports it as `heap`.
    """

    content: bytes
    heap: int


def link(obj: bytes, exports: Iterable[str], room: int = 0) -> Linked:
    """The module that has these functions and arrays of an object, and its memory as `memory`.

    Args:
        obj: the object file.
        exports: the names of functions, and of arrays, whose addresses are exported.
        room: bytes of memory that callers need, beyond what the module itself does.
    """
    sections, custom = _sections(obj)
    stack = _own_imports(sections.pop(_IMPORT, b"\0"))
    segments = list(_segments(sections.get(_DATA, b"\0")))
    functions, data = _symbols(custom.get("linking", b""), [start for start, _ in segments])
    top = -(-max([0, *(start + size for start, size in segments)]) // 16) * 16
    heap = top + (_STACK if stack else 0)
    pages = -(-(heap + room) // _PAGE)
    sections[_MEMORY] = b"\1\0" + _leb(pages)
    numbers = [_number(heap, mutable=True)] if stack else []  # the stack grows downwards
    shown = [_name("memory") + bytes([_MEMORY_KIND, 0])]
    for name, address in [
        ("heap", heap),
        *[(name, data[name]) for name in exports if name in data],
    ]:
        shown.append(_name(name) + bytes([_GLOBAL_KIND]) + _leb(len(numbers)))
        numbers.append(_number(address))
    for name in exports:
        if name not in data:
            shown.append(_name(name) + bytes([_FUNCTION_KIND]) + _leb(functions[name]))
    sections[_GLOBAL] = _vector(numbers)
    sections[_EXPORT] = _vector(shown)
    parts = [
        bytes([kind]) + _leb(len(sections[kind])) + sections[kind]
        for kind in _ORDER
        if kind in sections
    ]
    return Linked(_MAGIC + b"".join(parts), heap)


class _Reader:
    """Reads from the beginning of some bytes on."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def take(self, count: int) -> bytes:
        self.at += count
        return self.content[self.at - count : self.at]

    def byte(self) -> int:
        return self.take(1)[0]

    def leb(self) -> int:
        found = shift = 0
        while True:
            byte = self.byte()
            found |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return found

    def sleb(self) -> int:
        start = self.at
        found = self.leb()
        bits = 7 * (self.at - start)
        return found - (1 << bits) if found >> (bits - 1) else found

    def name(self) -> str:
        return self.take(self.leb()).decode()

    def limits(self) -> None:
        flags = self.byte()
        self.leb()
        if flags & 1:
            self.leb()

    def __bool__(self) -> bool:
        return self.at < len(self.content)


def _sections(obj: bytes) -> tuple[dict[int, bytes], dict[str, bytes]]:
    """The sections by kind, and the custom ones by name."""
    reader = _Reader(obj)
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise NotLinkableError("no WebAssembly object")
    sections, custom = {}, {}
    while reader:
        kind = reader.byte()
        content = reader.take(reader.leb())
        if kind == _CUSTOM:
            inner = _Reader(content)
            name = inner.name()
            custom[name] = content[inner.at :]
        else:
            sections[kind] = content
    return sections, custom


def _own_imports(content: bytes) -> bool:
    """Whether the stack pointer is among the imports; all must be what a module can have itself."""
    reader, stack = _Reader(content), False
    for _ in range(reader.leb()):
        _, name, kind = reader.name(), reader.name(), reader.byte()
        if kind == _MEMORY_KIND:
            reader.limits()
        elif kind == _GLOBAL_KIND and name == "__stack_pointer":
            reader.take(2)
            stack = True
        else:
            raise NotLinkableError(f"{name} from elsewhere")
    return stack


def _symbols(linking: bytes, starts: list[int]) -> tuple[dict[str, int], dict[str, int]]:
    """The places of functions and the addresses of data, by name."""
    reader = _Reader(linking)
    functions: dict[str, int] = {}
    data: dict[str, int] = {}
    reader.leb()  # version
    while reader:
        kind = reader.byte()
        table = _Reader(reader.take(reader.leb()))
        if kind == _SYMBOLS:
            for _ in range(table.leb()):
                _symbol(table, functions, data, starts)
    return functions, data


def _symbol(
    table: _Reader, functions: dict[str, int], data: dict[str, int], starts: list[int]
) -> None:
    """Read a symbol from the table of them."""
    kind, flags = table.byte(), table.leb()
    undefined, named = flags & 0x10, flags & 0x40
    if kind == 1:
        name = table.name()
        if not undefined:
            segment, offset, _ = table.leb(), table.leb(), table.leb()
            data[name] = starts[segment] + offset
    elif kind == 3:  # a section
        table.leb()
    else:
        place = table.leb()
        if not undefined or named:
            name = table.name()
            if kind == 0:
                functions[name] = place


def _segments(content: bytes) -> Iterator[tuple[int, int]]:
    """Where each piece of data begins, and its size."""
    reader = _Reader(content)
    for _ in range(reader.leb()):
        if reader.leb() != 0 or reader.byte() != 0x41:
            raise NotLinkableError("data without a place")
        start = reader.sleb()
        reader.byte()  # the end of the expression
        size = reader.leb()
        reader.take(size)
        yield start, size


def _number(address: int, *, mutable: bool = False) -> bytes:
    """A global number of 32 bits."""
    return bytes([0x7F, mutable, 0x41]) + _sleb(address) + b"\x0b"


def _leb(number: int) -> bytes:
    """An unsigned number in seven bits a byte.

    >>> _leb(300).hex()
    'ac02'
    """
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _sleb(number: int) -> bytes:
    """A number of at least 0 as a signed one.

    >>> _sleb(64).hex()
    'c000'
    """
    found = bytearray()
    while number > 0x3F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _name(text: str) -> bytes:
    return _leb(len(text.encode())) + text.encode()


def _vector(parts: list[bytes]) -> bytes:
    return _leb(len(parts)) + b"".join(parts)
