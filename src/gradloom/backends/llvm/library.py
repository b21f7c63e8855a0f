"""Modules as machine code in this process: compiled once, and kept on disk for the next one.

Kernels are named for what they do, so a program that needs one that any other has brought along
calls that: the adjoint of a function compiles what is new in it alone. What was compiled at once is
a `Blob`; a program holds those with the kernels it calls.
"""

import ctypes
import hashlib
import itertools
import json
import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import llvmlite.binding as llvm

from gradloom.backends.llvm import cache
from gradloom.backends.llvm import target as targets
from gradloom.backends.llvm.module import Module
from gradloom.backends.llvm.target import Target


class Blob:
    """An object file in this process.

    Args:
        names: the shared functions in it.
        needs: those that it calls and others have; they must be here already.
        data: the object file.

    Attributes:
        number: later ones have greater ones; none needs a later one.
    """

    def __init__(self, names: Sequence[str], needs: Sequence[str], data: bytes) -> None:
        self.names, self.needs, self.data = list(names), list(needs), data
        self._held = list(dict.fromkeys(_BLOBS[name] for name in needs))
        self.number = next(_NUMBERS)
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), targets.host().machine())
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(data))
        self._engine.finalize_object()
        for name in names:
            llvm.add_symbol(name, self.address(name))
            _BLOBS[name] = self

    def address(self, name: str) -> int:
        """Where one of its functions begins."""
        return int(self._engine.get_function_address(name))

    def packed(self) -> bytes:
        """As it is kept on disk."""
        return json.dumps([self.names, self.needs]).encode() + b"\0" + self.data

    @classmethod
    def unpacked(cls, data: bytes) -> "Blob":
        """From what was kept.

        Raises:
            KeyError: something that it calls is not here.
        """
        head, _, rest = data.partition(b"\0")
        names, needs = json.loads(head)
        return cls(names, needs, rest)


_NUMBERS = itertools.count()  # of blobs, in the order of their making

# Who has a shared function; those that nobody holds are gone.
_BLOBS: "weakref.WeakValueDictionary[str, Blob]" = weakref.WeakValueDictionary()


class Library:
    """A module's machine code in this process.

    Args:
        own: where the functions are that the module does not share.
        others: where those are that it calls.
    """

    def __init__(self, own: Blob, others: Sequence[Blob]) -> None:
        self._own, self._others = own, list(others)

    def function(self, name: str, *arguments: Any) -> Any:
        """One of its functions, of arguments of these types of ctypes; without a result."""
        return ctypes.CFUNCTYPE(None, *arguments)(self.address(name))

    def address(self, name: str) -> int:
        """Where one of its functions begins."""
        return self._own.address(name)


_LIBRARIES: "OrderedDict[bytes, Library]" = OrderedDict()
_KEPT = 256
_LOCK = threading.RLock()


def name_of(module: Module, target: Target) -> bytes:
    """What a module's machine code is kept under."""
    said = [str(llvm.llvm_version_info), str(target), *module.shared, *module.functions]
    return _digest("\n".join(said))


def library(module: Module, target: Target, name: bytes = b"") -> Library:
    """The machine code of a module (and its name, from who has it): from this process, from the
    disk, or new."""
    name = name or name_of(module, target)
    with _LOCK:
        return known(name) or _noted(name, _new(module, target, name))


def known(name: bytes) -> Library | None:
    """The machine code of a module by its name, if it is in this process or on the disk."""
    with _LOCK:
        found = _LIBRARIES.get(name) or _from_disk(name)
        return _noted(name, found) if found else None


def _noted(name: bytes, found: Library) -> Library:
    _LIBRARIES[name] = found
    _LIBRARIES.move_to_end(name)
    if len(_LIBRARIES) > _KEPT:
        _LIBRARIES.popitem(last=False)
    return found


def _digest(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return hashlib.blake2b(data, digest_size=20).digest()


def _from_disk(key: bytes) -> Library | None:
    """A module whose blobs are all on disk, or here."""
    kept = cache.default()
    listed = kept.get(key) if kept else None
    if kept is None or listed is None:
        return None
    blobs: list[Blob] = []
    for i in range(0, len(listed), 20):
        data = kept.get(listed[i : i + 20])
        if data is None:
            return None
        try:
            blobs.append(Blob.unpacked(data))
        except KeyError:
            return None
    return Library(blobs[-1], blobs[:-1])


def _new(module: Module, target: Target, key: bytes) -> Library:
    """Compile what is not here yet."""
    known = {name: _BLOBS.get(name) for name in module.shared}
    new = [one for name, one in module.shared.items() if known[name] is None]
    needs = [name for name, blob in known.items() if blob is not None]
    text = "\n".join(
        [
            *[one.text() for one in new],
            *module.functions,
            *[module.shared[name].declaration for name in needs],
            *sorted(module.declared),
        ]
    )
    own = Blob([one.name for one in new], needs, compiled(text, target))
    others = list(dict.fromkeys(blob for blob in known.values() if blob is not None))
    kept = cache.default()
    if kept:
        listed = b""
        for blob in [*_with_held(others), own]:
            data = blob.packed()
            listed += (name := _digest(data))
            if kept.get(name) is None:
                kept.put(name, data)
        kept.put(key, listed)
    return Library(own, others)


def _with_held(blobs: Sequence[Blob]) -> list[Blob]:
    """Some blobs and all that they need, these first: they were here before."""
    found: set[Blob] = set()
    left = list(blobs)
    while left:
        blob = left.pop()
        if blob not in found:  # once each: many blobs need the same ones
            found.add(blob)
            left += blob._held
    return sorted(found, key=lambda blob: blob.number)


def compiled(text: str, target: Target) -> bytes:
    """The object file of a module."""
    machine = target.machine()
    parsed = llvm.parse_assembly(text, llvm.create_context())
    return bytes(machine.emit_object(parsed))
