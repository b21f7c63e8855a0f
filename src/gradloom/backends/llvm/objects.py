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
    (table,) = struct.unpack_from("<Q" if wide else "<I", obj, 40 if wide else 32)
    size, count = struct.unpack_from("<HH", obj, 58 if wide else 46)
    # Of a section: its kind, where it begins, its size, and the section of its names.
    form = "<4xI16xQQI" if wide else "<4xI8xIII"
    sections = [struct.unpack_from(form, obj, table + i * size) for i in range(count)]
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
