"""Distrust: gradients against finite differences, and a watch for the first NaN or infinity."""

import contextvars
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from gradloom.core import tree, value
from gradloom.core.autodiff import value_and_grad
from gradloom.core.table import Op, Scalar, primal
from gradloom.core.value import Value
from gradloom.errors import AnomalyError

__all__ = ["GradcheckReport", "detect_anomaly", "gradcheck"]

# Not by pathlib, whose import takes as long as that of the whole table.
_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep  # noqa: PTH120


@dataclass(frozen=True, slots=True)
class GradcheckReport:
    """What `gradcheck` found; true if every entry agrees.

    Attributes:
        ok: every entry is within the tolerance.
        entries: how many derivatives were compared.
        worst: the entry that is furthest off, written as Python reaches it: `x[0][2]`.
        gradient: its derivative by `grad`.
        difference: its derivative by central differences.
        error: how far apart they are, in units of the tolerance: 1 is the limit.
    """

    ok: bool
    entries: int
    worst: str
    gradient: float
    difference: float
    error: float

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        verdict = "agree" if self.ok else "DISAGREE"
        return (
            f"gradient and central differences {verdict} over {self.entries} entries; the worst is "
            f"{self.worst}: gradient {self.gradient:.10g}, differences {self.difference:.10g} "
            f"({self.error:.3g} × the tolerance)"
        )


def gradcheck(
    f: Callable[..., Any],
    *args: Any,
    step: float | None = None,
    rtol: float = 1e-6,
    atol: float = 1e-8,
) -> GradcheckReport:
    """Compare the gradient of `f` with central differences, (f(x + h) - f(x - h)) / 2h.

    Args:
        f: a function with one number as its result.
        args: where; numbers and nested lists of numbers. All are checked.
        step: h; by default the cube root of the rounding unit, 6.1e-6, times max(1, |x|), which
            balances truncation against rounding (Nocedal and Wright, 2006, section 8.1).
        rtol: tolerance relative to the larger of the two derivatives.
        atol: absolute tolerance, taken times max(1, |f(x)|): rounding of f sets that floor.

    Returns:
        A report that is true if all agree, and names the worst entry.

    Raises:
        ShapeError: the result is not one number.

    >>> report = gradcheck(lambda x, w: (x * w[0]).tanh() + w[1] ** 2, 0.5, [1.5, -2.0])
    >>> bool(report), report.entries
    (True, 3)
    """
    result, found = value_and_grad(f, range(len(args)))(*args)
    gradients = [primal(g) for g in tree.flatten(list(found))[0]]
    leaves, structure = tree.flatten(list(args))
    numbers = [primal(x) for x in leaves]
    names = [
        path.replace("[", "argument ", 1).replace("]", "", 1) for path in tree.paths(structure)
    ]
    if len(args) == 1:
        names = ["x" + path.removeprefix("argument 0") for path in names]

    def at(i: int, x: float) -> float:
        moved = [*numbers[:i], x, *numbers[i + 1 :]]
        return float(primal(f(*tree.unflatten(structure, [Value(m) for m in moved]))))

    worst = GradcheckReport(True, len(numbers), "nothing", 0.0, 0.0, -1.0)
    floor = atol * max(1.0, abs(primal(result)))
    for i, (name, x, gradient) in enumerate(zip(names, numbers, gradients, strict=True)):
        h = step or sys.float_info.epsilon ** (1 / 3) * max(1.0, abs(x))
        above, below = x + h, x - h
        difference = (at(i, above) - at(i, below)) / (above - below)
        limit = floor + rtol * max(abs(gradient), abs(difference))
        error = abs(gradient - difference) / limit
        if not error <= worst.error:  # a nan is worse than anything
            error = math.inf if math.isnan(error) else error
            report = (error <= 1.0, len(numbers), name, gradient, difference, error)
            worst = GradcheckReport(*report)
    return worst


_ADVICE = "keep its inputs in range there (clip, shift, or use a stable form)"
_BEFORE = "a line before detect_anomaly() began"


class _Placed(str):
    """The name of an operation that remembers which line of the user's asked for it."""

    __slots__ = ("place",)
    place: str


def _user_line() -> str:
    """File and line of the innermost frame outside this package."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


class _Anomalies:
    """The watcher behind `detect_anomaly`; it looks only in contexts that asked for it."""

    def __init__(self) -> None:
        self.here = contextvars.ContextVar("detect_anomaly", default=False)
        self.contexts = 0
        self.lock = threading.Lock()

    def enter(self) -> contextvars.Token[bool]:
        with self.lock:
            self.contexts += 1
            value.watcher = self
        return self.here.set(True)

    def leave(self, token: contextvars.Token[bool]) -> None:
        self.here.reset(token)
        with self.lock:
            self.contexts -= 1
            if not self.contexts:
                value.watcher = None

    def made(self, node: Value) -> None:
        if not self.here.get():
            return
        place = _user_line()
        node._op = _Placed(node._op)
        node._op.place = place
        if not math.isfinite(node.data):
            raise AnomalyError(f"{_call(node)} gave {node.data} at {place}; {_ADVICE}")

    def passed(self, node: Value) -> None:
        if not self.here.get():
            return
        for i, (operand, local) in enumerate(zip(node._prev, node._local, strict=True)):
            if local is not None and not math.isfinite(operand.grad):
                place = getattr(node._op, "place", _BEFORE)
                raise AnomalyError(
                    f"backward through {_call(node)} made the gradient of operand {i} "
                    f"{operand.grad} (local derivative {local}, gradient from above {node.grad}); "
                    f"the operation stands at {place}"
                )

    def computed(self, op: Op, operands: Sequence[Scalar], *found: Scalar) -> str:
        if not self.here.get():
            return ""
        place = _user_line()
        call = _show(op.symbol, [f"{primal(x)}" for x in operands])
        for what, number in zip(("gave", "has the tangent"), found, strict=False):
            if not math.isfinite(primal(number)):
                raise AnomalyError(f"{call} {what} {primal(number)} at {place}; {_ADVICE}")
        return f"{call}, which stands at {place},"

    def pulled(self, note: str, local: Scalar, above: Scalar, share: Scalar) -> None:
        if self.here.get() and not math.isfinite(primal(share)):
            raise AnomalyError(
                f"backward through {note or f'an operation on {_BEFORE}'} made a gradient "
                f"{primal(share)} (local derivative {primal(local)}, gradient from above "
                f"{primal(above)})"
            )


def _call(node: Value) -> str:
    names = [f"{x.label}={x.data}" if x.label else f"{x.data}" for x in node._prev[:5]]
    return _show(str(node._op), names)


def _show(symbol: str, operands: Sequence[str]) -> str:
    return f"{symbol!r}({', '.join(operands[:4])}{', …' if len(operands) > 4 else ''})"


_anomalies = _Anomalies()


@contextmanager
def detect_anomaly() -> Iterator[None]:
    """A context in which the first NaN or infinity raises, forward or backward.

    Values are watched, and so are `grad`, `jvp` and their kin; plain numbers are not. The
    exception names the operation, its inputs, and the file and line that asked for it.
    Everything is checked, so it costs several times the plain run. Other threads are not
    disturbed.

    Raises:
        AnomalyError: (an ArithmeticError) a result or a gradient is not finite.

    >>> x = Value(0.0, label="x")
    >>> with detect_anomaly():
    ...     y = x.log()
    Traceback (most recent call last):
    ...
    gradloom.errors.AnomalyError: 'log'(x=0.0) gave -inf at ...; keep its inputs in range ...
    """
    token = _anomalies.enter()
    try:
        yield
    finally:
        _anomalies.leave(token)
