"""Object files: what they lack, and static libraries made of one.

References: the ELF specification (https://refspecs.linuxfoundation.org/elf/elf.pdf), and for
libraries the form that GNU and LLVM tools share (https://man.freebsd.org/cgi/man.cgi?ar(5)).
"""

import struct
from collections.abc import Iterable
from typing import NamedTuple

# By ELF's numbers.
MACHINES = {3: "x86", 40: "Arm", 62: "x86-64", 183: "AArch64", 243: "RISC-V"}

_SYMBOLS = 2  # the kind of section that is the table of symbols
_LOCAL = 0
# Of Arm: the kind of section that has the attributes; the one that tells how floats are passed;
# and its value for code that fits either way.
_ATTRIBUTES, _FLOAT_ARGUMENTS, _EITHER = 0x70000003, 28, 3


class Symbol(NamedTuple):
    """A name that other objects see, or that this one lacks."""

    name: str
    defined: bool


class Elf(NamedTuple):
    """What an ELF file says of itself.

    Attributes:
        machine: for which it is.
        bits: of an address.
        symbols: the names that go across its border.
    """

    machine: str
    bits: int
    symbols: list[Symbol]

    @property
    def undefined(self) -> list[str]:
        """The names that it lacks."""
        return [symbol.name for symbol in self.symbols if not symbol.defined]


def read_elf(obj: bytes) -> Elf | None:
    """What an object file says of itself; None if it is no ELF file in little-endian order."""
    if obj[:4] != b"\x7fELF" or obj[5] != 1:
        return None
    wide = obj[4] == 2
    (machine,) = struct.unpack_from("<H", obj, 18)
    sections = _sections(obj)
    symbols = []
    for kind, start, length, link in sections:
        if kind != _SYMBOLS:
            continue
        names = sections[link][1]
        entry = 24 if wide else 16
        for at in range(start + entry, start + length, entry):
            if wide:
                name, info, _, section = struct.unpack_from("<IBBH", obj, at)
            else:
                name, info, _, section = struct.unpack_from("<I8xBBH", obj, at)
            if info >> 4 != _LOCAL:
                end = obj.index(b"\0", names + name)
                symbols.append(Symbol(obj[names + name : end].decode(), section != 0))
    return Elf(MACHINES.get(machine, str(machine)), 64 if wide else 32, symbols)


def _sections(obj: bytes) -> list[tuple[int, int, int, int]]:
    """Of each section its kind, where it begins, its size, and the section of its names."""
    wide = obj[4] == 2
    (table,) = struct.unpack_from("<Q" if wide else "<I", obj, 40 if wide else 32)
    size, count = struct.unpack_from("<HH", obj, 58 if wide else 46)
    form = "<4xI16xQQI" if wide else "<4xI8xIII"
    return [struct.unpack_from(form, obj, table + i * size) for i in range(count)]


def any_float_convention(obj: bytes) -> bytes:
    """An Arm object that says that it may be linked with code of either convention for floats.

    That is so for functions that take and give none: pointers and integers go the same way.

    Reference: Tag_ABI_VFP_args in https://github.com/ARM-software/abi-aa, addenda32.
    """
    changed = bytearray(obj)
    for kind, start, size, _ in _sections(obj):
        if kind == _ATTRIBUTES:
            at = _attribute(obj[start : start + size], _FLOAT_ARGUMENTS)
            if at is not None:
                changed[start + at] = _EITHER
    return bytes(changed)


def _attribute(content: bytes, wanted: int) -> int | None:
    """Where the number stands that an attribute of a file has; all numbers here take one byte."""
    at = content.index(b"aeabi\0") + 6 + 1 + 4  # the vendor, the tag for a file, its size
    while at < len(content):
        tag = content[at]
        if tag == wanted:
            return at + 1
        text = tag in (4, 5) or (tag > 32 and tag % 2 == 1)
        at = content.index(0, at + 1) + 1 if text else at + 2
    return None


def archive(name: str, obj: bytes, symbols: Iterable[str]) -> bytes:
    """A static library of one object, in the form of GNU's tools.

    Args:
        name: of the object in it.
        obj: the object file.
        symbols: the functions in it, which linkers look up in the index.

    >>> archive("f.o", b"code", ["f"])[:8]
    b'!<arch>\\n'
    """
    names = [symbol.encode() + b"\0" for symbol in symbols]
    index_size = 4 + 4 * len(names) + sum(map(len, names))
    index_size += index_size % 2
    long = f"{name}/\n".encode()
    long += b"\n" * (len(long) % 2)
    at = 8 + 60 + index_size + 60 + len(long)
    index = struct.pack(f">{1 + len(names)}I", len(names), *[at] * len(names)) + b"".join(names)
    parts = [("/", index.ljust(index_size, b"\0")), ("//", long), ("/0", obj)]
    return b"!<arch>\n" + b"".join(_member(*part) for part in parts)


def _member(name: str, content: bytes) -> bytes:
    """A part of a library; its time and owner are 0, so that libraries can be compared."""
    head = f"{name:<16}{0:<12}{0:<6}{0:<6}{'644':<8}{len(content):<10}`\n"
    return head.encode() + content + b"\n" * (len(content) % 2)
