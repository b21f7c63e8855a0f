"""Guards: the conditions under which a recording holds, and what to say when there are too many.

A recording follows one path through a function. Where the path was chosen by looking at a number
(a comparison, `float()`, an index), the recording notes the node that was looked at and what it
was, and the line that looked. A replay that finds anything else there has left the path.
"""

import linecache
import os
import random
import re
import sys
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradloom.core import copying

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep  # noqa: PTH120 - once per guard

TRUTH, NUMBER, INDEX = "the truth of a comparison", "a recorded number", "a recorded index"

# What to write instead, by what stands in the line; the first that fits.
_REMEDIES = [
    (r"\bmax\(", "gl.max(...) for Python's max"),
    (r"\bmin\(", "gl.min(...) for Python's min"),
    (r"\bsorted\(|\.sort\(", "gl.max, gl.min or gl.logsumexp, which need no order"),
    (r"\babs\(", "gl.abs(x) or gl.relu(x)"),
    (r"\bwhile\b|\bbreak\b", "a fixed number of steps, and gl.where(going, new, old) in each"),
]
_BY_KIND = {
    TRUTH: "gl.where(condition, a, b), gl.max, gl.min or gl.relu for the branch",
    NUMBER: "Gradloom's own functions (gl.exp(x), not math.exp(x)), and no float() or int()",
    INDEX: "gl.take(table, index) for the lookup",
}


class Site(NamedTuple):
    """Where a recorded number was looked at, and for what."""

    file: str
    line: int
    kind: str

    @property
    def remedy(self) -> str:
        """The operation that needs no look."""
        if self.kind == TRUTH:
            text = linecache.getline(self.file, self.line)
            for pattern, remedy in _REMEDIES:
                if re.search(pattern, text):
                    return remedy
        return _BY_KIND[self.kind]


def is_inside(frame: FrameType) -> bool:
    """Whether a line of this package is running in this frame."""
    return frame.f_code.co_filename.startswith(_PACKAGE)


def is_copying(frame: FrameType) -> bool:
    """Whether a value is asked there how it is to be copied or pickled."""
    code = frame.f_code
    return code.co_name == "__reduce__" or code.co_filename == copying.__file__


def here(kind: str) -> Site:
    """The innermost line outside this package."""
    frame = sys._getframe(1)
    while frame.f_back and is_inside(frame):
        frame = frame.f_back
    return Site(frame.f_code.co_filename, frame.f_lineno, kind)


def same(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which numbers are the wanted ones. Zeros must agree in sign, and NaN is NaN."""
    equal = (found == wanted) & (np.signbit(found) == np.signbit(wanted))
    return np.asarray(equal | (np.isnan(found) & np.isnan(wanted)))


def broken(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> int | None:
    """The place of the first guard whose number is not the wanted one, or None if all hold.

    >>> broken(np.array([1.0, 0.0]), np.array([1.0, 0.0])) is None
    True
    >>> broken(np.array([1.0, -0.0]), np.array([1.0, 0.0]))
    1
    """
    holds = same(found, wanted)
    return None if holds.all() else int(np.argmin(holds))


def random_state() -> tuple[Any, ...]:
    """The states of the generators that everybody shares, to see whether numbers were drawn."""
    kind, keys, position, *rest = np.random.get_state(legacy=True)
    return random.getstate(), kind, bytes(keys), position, *rest  # type: ignore[arg-type]
