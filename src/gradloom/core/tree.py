"""Nested lists, tuples and dicts of numbers, taken apart into their leaves and put together."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

from gradloom.core.table import as_number

# Where the leaves go: None stands for a leaf, a list, tuple or dict for itself.
Structure = Any


def is_leaf(x: Any) -> bool:
    """True for what is no list, tuple, dict or array with axes."""
    return not isinstance(x, list | tuple | dict) and not getattr(x, "ndim", 0)


def flatten(x: Any) -> tuple[list[Any], Structure]:
    """The leaves in order (of a dict: in the order of its keys) and the structure around them.

    Numbers become floats; what has operators of its own stays as it is.

    Raises:
        NotANumberError: a leaf is no number.

    >>> flatten({"a": 1, "b": [2.0, (3.0,)]})
    ([1.0, 2.0, 3.0], {'a': None, 'b': [None, (None,)]})
    """
    leaves: list[Any] = []
    structure = _take(x, leaves)
    return leaves, structure


# Inner functions that call themselves would be cycles, and keep every leaf until the garbage
# collector comes round; so the recursions stand outside.


def _take(x: Any, leaves: list[Any]) -> Structure:
    """Append the leaves of `x`; the structure around them."""
    if isinstance(x, dict):
        return {key: _take(part, leaves) for key, part in x.items()}
    if isinstance(x, list | tuple):
        return _like(x, [_take(part, leaves) for part in x])
    if getattr(x, "ndim", 0):
        return [_take(part, leaves) for part in x.tolist()]
    leaves.append(x if hasattr(x, "_level") else as_number(x))
    return None


def unflatten(structure: Structure, leaves: list[Any]) -> Any:
    """The structure with these leaves in it.

    >>> unflatten([None, (None, None)], [1.0, 2.0, 3.0])
    [1.0, (2.0, 3.0)]
    """
    return _put(structure, iter(leaves))


def _put(structure: Structure, leaves: Iterator[Any]) -> Any:
    if structure is None:
        return next(leaves)
    if isinstance(structure, dict):
        return {key: _put(part, leaves) for key, part in structure.items()}
    return _like(structure, [_put(part, leaves) for part in structure])


def leaves_like(structure: Structure, x: Any) -> list[Any] | None:
    """The leaves of `x` in the order of `structure`, or None if `x` is structured differently.

    >>> leaves_like({"a": None, "b": None}, {"b": 2, "a": 1}), leaves_like(None, [1.0])
    ([1.0, 2.0], None)
    """
    leaves, given = flatten(x)
    return list(_in_order(structure, unflatten(given, leaves))) if given == structure else None


def _in_order(structure: Structure, x: Any) -> Iterator[Any]:
    if structure is None:
        yield x
        return
    for key in structure if isinstance(structure, dict) else range(len(structure)):
        yield from _in_order(structure[key], x[key])


def _like(old: list[Any] | tuple[Any, ...], parts: list[Any]) -> Any:
    """The parts as the same kind of sequence; a named tuple takes them one by one."""
    if hasattr(old, "_fields"):
        return type(old)(*parts)
    return parts if isinstance(old, list) else tuple(parts)


def paths(structure: Structure, so_far: str = "") -> Iterator[str]:
    """How each leaf is reached, as Python would write it behind a name.

    >>> list(paths({"w": [None, None]}))
    ["['w'][0]", "['w'][1]"]
    """
    if structure is None:
        yield so_far
    elif isinstance(structure, dict):
        for key, part in structure.items():
            yield from paths(part, f"{so_far}[{key!r}]")
    else:
        for i, part in enumerate(structure):
            yield from paths(part, f"{so_far}[{i}]")


def basis(size: int) -> Iterator[list[float]]:
    """The unit vectors.

    >>> list(basis(2))
    [[1.0, 0.0], [0.0, 1.0]]
    """
    for i in range(size):
        yield [float(i == j) for j in range(size)]


def describe(structure: Structure) -> str:
    """A structure in a few words for a message.

    >>> describe(None), describe([None, None]), describe([[None], [None]])
    ('one number', 'a list of 2', 'a list of 2 × 1')
    """
    if structure is None:
        return "one number"
    if not isinstance(structure, list):
        return f"a {type(structure).__name__} of {len(structure)}"
    sizes = []
    part: Structure = structure
    while isinstance(part, list):
        sizes.append(str(len(part)))
        part = part[0] if part else None
    return "a list of " + " × ".join(sizes)


def name(f: Callable[..., Any]) -> str:
    """A function's name for a message."""
    while isinstance(f, functools.partial):
        f = f.func
    return str(getattr(f, "__name__", repr(f)))
