"""Modules as machine code in this process: compiled once, and kept on disk for the next one."""

import ctypes
import hashlib
import threading
from collections import OrderedDict
from typing import Any

import llvmlite.binding as llvm

from gradloom.backends.llvm import cache
from gradloom.backends.llvm import target as targets
from gradloom.backends.llvm.target import Target


class Library:
    """A module's machine code in this process.

    Args:
        data: an object file for this machine.
    """

    def __init__(self, data: bytes) -> None:
        machine = targets.host().machine()
        self.data = data
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(data))
        self._engine.finalize_object()

    def function(self, name: str, *arguments: Any) -> Any:
        """One of its functions, of arguments of these types of ctypes; without a result."""
        return ctypes.CFUNCTYPE(None, *arguments)(self.address(name))

    def address(self, name: str) -> int:
        """Where one of its functions begins."""
        return int(self._engine.get_function_address(name))


_LIBRARIES: "OrderedDict[bytes, Library]" = OrderedDict()
_KEPT = 256
_LOCK = threading.Lock()


def library(text: str, target: Target) -> Library:
    """The machine code of a module: from this process, from the disk, or new."""
    said = f"{llvm.llvm_version_info}{target}{text}".encode()
    key = hashlib.blake2b(said, digest_size=20).digest()
    with _LOCK:
        if key in _LIBRARIES:
            _LIBRARIES.move_to_end(key)
            return _LIBRARIES[key]
    kept = cache.default()
    data = kept.get(key) if kept else None
    if data is None:
        data = compiled(text, target)
        if kept:
            kept.put(key, data)
    found = Library(data)
    with _LOCK:
        _LIBRARIES[key] = found
        if len(_LIBRARIES) > _KEPT:
            _LIBRARIES.popitem(last=False)
    return found


def compiled(text: str, target: Target) -> bytes:
    """The object file of a module."""
    machine = target.machine()
    parsed = llvm.parse_assembly(text, llvm.create_context())
    return bytes(machine.emit_object(parsed))
