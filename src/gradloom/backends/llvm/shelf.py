"""What leads from a recording to machine code, kept on disk, so that a second process skips it.

Weaving, merging, rolling and writing kernels take longer than loading the code that they lead to.
Two of their results are kept beside it (see `cache`): the program that a graph is woven into, by
the digest of the graph; and what a program was lowered to with the name of its library, by the
program itself. Every key also has the sources of this package, so nothing outlives a change.

They are pickled. A pickle can run anything when it is read, but so can the machine code that lies
in the same folder, open to the user alone: one is as safe as the other.
"""

import hashlib
import marshal
import pickle
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import gradloom
from gradloom.backends.llvm import cache
from gradloom.backends.llvm.elementary import FUNCTIONS
from gradloom.core import collector
from gradloom.loom.graph import PARAMETER, Graph, symbol_of
from gradloom.loom.program import Item, Loop, Program
from gradloom.loom.weave import weave

# Beyond these a digest takes long, and few entries would fill the cache.
_NODES, _SLOTS, _INSTRUCTIONS = 2_000_000, 500_000, 20_000


def woven(graph: Graph, lanes: Collection[int] = (), *, strict: bool = False) -> Program:
    """What `weave` gives, from the disk if it was woven before.

    >>> from gradloom.loom.record import record
    >>> graph, _ = record(lambda x, y: x * y + x, 3.0, 4.0)
    >>> print(woven(graph))
    arena of 3: 2 inputs, 0 parameters; 1 instructions
                 1  @2 = (@0 + (@0 * @1))
    """
    key = _of_graph(graph, lanes, strict) if cache.default() else None
    program = None if key is None else get(key)
    if isinstance(program, Program):
        program.values = graph.parameters
        return program
    program = weave(graph, lanes, strict=strict)
    if key is not None and len(program.template) <= _SLOTS:
        put(key, replace(program, values=[]))
    return program


def _of_graph(graph: Graph, lanes: Collection[int], strict: bool) -> bytes | None:
    """The key of what a graph is woven into; None if it had better not be kept.

    What a user's operation does is not told by its name.
    """
    if len(graph) > _NODES:
        return None
    used = np.flatnonzero(np.bincount(np.asarray(graph.codes)))
    known = {*FUNCTIONS, "dot"}
    if any(code > PARAMETER and symbol_of(code) not in known for code in used.tolist()):
        return None
    return _key("woven", graph.digest(), sorted(lanes), strict)


def of_program(program: Program, *said: Any) -> bytes | None:
    """A key of a program, and of what else matters; None if there is nowhere to keep anything, or
    it had better not be kept."""
    large = len(program.template) > _SLOTS or len(program.instructions) > _INSTRUCTIONS
    if large or cache.default() is None:
        return None
    places = program.inputs, program.parameters, program.outputs
    arrays = [program.template, *[slots.astype(np.int64) for slots in places], program.laned]
    parts = [array.tobytes() for array in arrays]
    items = [_said(one) for one in program.instructions]
    # Not pickled: that would tell equal things from the same. Format 0 does not.
    return _key("lowered", marshal.dumps((parts, items, program.guards), 0), *said)


def _said(item: Item) -> tuple[Any, ...]:
    """An instruction or loop as tuples of plain things."""
    if isinstance(item, Loop):
        return item.count, [_said(one) for one in item.body], item.steps
    views = [
        (view.offset, view.strides)
        if view.table is None
        else (view.table.shape, view.table.astype(np.int64).tobytes())
        for view in item.views
    ]
    return item.shape, item.body, views, item.accumulate, item.ordered, item.muted


def get(key: bytes) -> Any:
    """What was kept under a key; None if it is not there or cannot be read."""
    kept = cache.default()
    data = kept.get(key) if kept else None
    try:
        return None if data is None else _loaded(data)
    except Exception:  # whatever is wrong with it, it can be made again
        return None


def put(key: bytes, thing: Any) -> None:
    """Keep something under a key."""
    kept = cache.default()
    if kept:
        kept.put(key, _dumped(thing))


@collector.paused()
def _dumped(thing: Any) -> bytes:
    return pickle.dumps(thing, protocol=5)


@collector.paused()
def _loaded(data: bytes) -> Any:
    return pickle.loads(data)


def _key(kind: str, digest: bytes, *said: Any) -> bytes:
    found = hashlib.blake2b(repr((kind, _VERSION, said)).encode(), digest_size=20)
    found.update(digest)
    return found.digest()


def _version() -> tuple[Any, ...]:
    """This package, and what its pickles depend on.

    Between two releases the version stays, so the sources count, by name, size and time of change.
    """
    folder = Path(__file__).parents[2]
    parts = "core", "loom", "backends"
    files = sorted(path for part in parts for path in (folder / part).rglob("*.py"))
    sources = [(str(x), x.stat().st_size, x.stat().st_mtime_ns) for x in files]
    return gradloom.__version__, sys.version_info[:3], np.__version__, sources


_VERSION = _version()  # once: what is edited later is not what runs here
