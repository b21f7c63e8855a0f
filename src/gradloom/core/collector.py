"""Keep Python's garbage collector from walking graphs again and again while they are built.

Values form no cycles, so their memory comes back with the last reference, without the collector.
It cannot know that, and looks at every node several times on the way to a large graph; at
100,000 nodes that was measured to be a third of the time of building it. So once a backward
pass has walked a large graph, the collector's first generation is made wide enough for two of
them, and every tenth such pass collects the young objects (every hundredth all) in its stead.
The first small graph puts things back. Programs whose graphs stay below `SMALL` nodes are left
alone, and so are those that set thresholds of their own or switch the collector off.
"""

import contextlib
import gc
import threading
from collections.abc import Iterator

SMALL = 2_000  # nodes; up to here the collector costs little
PASSES = 10  # large passes between collections, as Python counts its generations

_usual = gc.get_threshold()[0]  # the program's own, at the time of import
_ours: int | None = None  # what is set here instead, if anything
_passes = 0
_lock = threading.Lock()
_pauses = 0  # how many are in progress
_resume = False  # whether the collector goes on after the last


def pace(nodes: int) -> None:
    """Adapt the collector to a graph of this many nodes, which has just been walked.

    >>> pace(100)  # a small graph changes nothing
    """
    global _ours, _passes  # noqa: PLW0603 - the process has one collector
    if nodes < SMALL and _ours is None:
        return
    threshold, *older = gc.get_threshold()
    if threshold != (_ours or _usual) or not threshold or not gc.isenabled():
        return  # the program knows better
    if nodes < SMALL:
        _ours = None
        gc.set_threshold(_usual, *older)
        return
    if not (_ours and nodes <= _ours <= 8 * nodes):
        _ours = 2 * nodes
        gc.set_threshold(_ours, *older)
    _passes += 1
    if _passes % PASSES == 0:
        gc.collect(1 if _passes % PASSES**2 else 2)


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """A context, or a decorator, in which the collector rests: for what builds much and no cycles.

    >>> with paused():
    ...     gc.isenabled()
    False
    >>> gc.isenabled()
    True
    """
    global _pauses, _resume  # noqa: PLW0603 - the process has one collector
    with _lock:
        _pauses += 1
        if _pauses == 1:
            _resume = gc.isenabled()
            gc.disable()
    try:
        yield
    finally:
        with _lock:
            _pauses -= 1
            if _pauses == 0 and _resume:
                gc.enable()
