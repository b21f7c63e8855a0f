"""What layers, losses, optimisers and schedules ask of their arguments, each in one place.

A check returns the argument ready for use, or raises an error that names it, shows what it was
and says what it may be.
"""

import difflib
import math
import operator
from collections.abc import Mapping
from typing import TypeVar

from gradloom.errors import ArgumentError

T = TypeVar("T")


def choose(kind: str, name: object, table: Mapping[str, T]) -> T:
    """The entry of `table` called `name`, or an error with the nearest name.

    >>> choose("colour", "blue", {"blue": 1, "red": 2})
    1
    >>> choose("colour", "bleu", {"blue": 1, "red": 2})
    Traceback (most recent call last):
    gradloom.errors.ArgumentError: no colour is called 'bleu'; did you mean 'blue'?
    """
    if isinstance(name, str) and name in table:
        return table[name]
    near = difflib.get_close_matches(str(name), table, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(table)}"
    raise ArgumentError(f"no {kind} is called {name!r}; {hint}")


def whole(what: str, value: object, least: int = 1) -> int:
    """`value` as an int of at least `least`; NumPy's integers will do, bools and floats will not.

    >>> whole("Layer: nin", 0)
    Traceback (most recent call last):
    gradloom.errors.ArgumentError: Layer: nin is a whole number of at least 1, got 0
    """
    if not isinstance(value, bool) and hasattr(value, "__index__"):
        number = operator.index(value)
        if number >= least:
            return number
    raise ArgumentError(f"{what} is a whole number of at least {least}, got {value!r}")


def number(
    what: str, value: object, low: float = 0, high: float = math.inf, *, zero: bool = True
) -> float:
    """`value` as a float with low ≤ value < high, and not 0 unless `zero`.

    >>> number("Adam: beta1", 1, high=1)
    Traceback (most recent call last):
    gradloom.errors.ArgumentError: Adam: beta1 is a number in [0, 1), got 1
    """
    if not isinstance(value, bool) and hasattr(value, "__float__"):
        result = float(value)
        if low <= result < high and (zero or result):
            return result
    interval = f"{'[' if zero else '('}{low:g}, {high:g})"
    raise ArgumentError(f"{what} is a number in {interval}, got {value!r}")
