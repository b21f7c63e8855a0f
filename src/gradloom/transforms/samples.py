"""What a mapped function is called with and gives, lane by lane.

The numbers of the mapped arguments become columns, a number for each lane; what is shared stays a
number. The samples of all lanes must have one structure, and so must their results, which are
stacked.
"""

import inspect
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradloom.backends.batch import Batch
from gradloom.core import tree
from gradloom.core.value import Value
from gradloom.errors import ArgumentError, ShapeError
from gradloom.transforms.arguments import Arguments

Axis: TypeAlias = int | None
Array: TypeAlias = NDArray[np.float64]


class Samples:
    """The arguments of one call, lane by lane.

    Attributes:
        count: how many lanes.
        key: the structure of a sample, and which arguments are mapped.
        numbers: for each input a number, or as many as lanes.
        values: the values among the numbers, each with its place: input · lanes + lane.
        mapped: for each argument whether it has samples.
        spans: for each argument where its inputs begin and end.
        symbolic: whether an operand of a derivative or recording around is among them.
    """

    def __init__(
        self,
        f: Callable[..., Any],
        args: tuple[Any, ...],
        options: dict[str, Any],
        axes: Axis | tuple[Axis, ...],
    ) -> None:
        if not isinstance(axes, tuple):
            axes = (axes,) * len(args)
        if len(axes) != len(args):
            raise ArgumentError(
                f"vmap of {tree.name(f)}: in_axes={axes} is for {len(axes)} positional arguments, "
                f"but {len(args)} were given"
            )
        self.f, self.options = f, options
        self._parts: list[Any] = [
            x if axis is None else split(x, axis, f"vmap of {tree.name(f)}: {_name(f, i)}")
            for i, (x, axis) in enumerate(zip(args, axes, strict=True))
        ]
        self.mapped = [axis is not None for axis in axes]
        self.count = self._count()
        self.numbers: list[float | Array] = []
        self.values: list[tuple[int, Value]] = []
        self.spans: list[tuple[int, int]] = []
        self.symbolic = False
        keys = []
        for i, (part, mapped) in enumerate(zip(self._parts, self.mapped, strict=True)):
            start = len(self.numbers)
            keys.append(self._take_mapped(part, i) if mapped else self._take_shared(part))
            self.spans.append((start, len(self.numbers)))
        keys += [(name, self._take_shared(part)) for name, part in options.items()]
        self.key: Hashable = (tuple(keys), tuple(self.mapped))

    def _count(self) -> int:
        sizes = {
            _name(self.f, i): len(part)
            for i, (part, mapped) in enumerate(zip(self._parts, self.mapped, strict=True))
            if mapped
        }
        if not sizes:
            raise ArgumentError(
                f"vmap of {tree.name(self.f)}: no argument is mapped; give one an axis in in_axes, "
                f"or call {tree.name(self.f)} itself"
            )
        if len(set(sizes.values())) > 1:
            shown = ", ".join(f"{n} in {name}" for name, n in sizes.items())
            raise ShapeError(
                f"vmap of {tree.name(self.f)}: the arguments have different numbers of samples: "
                f"{shown}; they must agree, and what all share has None in in_axes"
            )
        count = next(iter(sizes.values()))
        if not count:
            raise ShapeError(
                f"vmap of {tree.name(self.f)}: {next(iter(sizes))} has no samples; one is needed "
                "to record"
            )
        return count

    def sample(self, lane: int) -> tuple[Any, ...]:
        """The arguments of one lane."""
        pairs = zip(self._parts, self.mapped, strict=True)
        return tuple(part[lane] if mapped else part for part, mapped in pairs)

    @property
    def laned(self) -> list[int]:
        """The inputs that differ from lane to lane, by place."""
        return [i for i, x in enumerate(self.numbers) if isinstance(x, np.ndarray)]

    def batch(self) -> Batch:
        """As programs take them."""
        shared = [x for x in self.numbers if not isinstance(x, np.ndarray)]
        columns = [x for x in self.numbers if isinstance(x, np.ndarray)]
        return Batch(shared, [np.array(columns).T] if columns else [], self.count)

    def _flat(self, x: Any) -> Arguments:
        try:
            found = Arguments(self.f, (x,), {})
        except ArgumentError:
            Arguments(self.f, self.sample(0), self.options)  # says which argument it is
            raise
        self.symbolic |= found.symbolic
        return found

    def _take_shared(self, x: Any) -> Hashable:
        found = self._flat(x)
        start = len(self.numbers)
        self.numbers += found.numbers
        self.values += [((start + place) * self.count, value) for place, value in found.values]
        return found.key

    def _take_mapped(self, part: Any, i: int) -> Hashable:
        first = self._flat(part[0])
        start = len(self.numbers)
        if isinstance(part, np.ndarray) and part.dtype.kind in "biuf":
            self.numbers += list(part.reshape(self.count, -1).T.astype(np.float64))
            return first.key
        lanes = [first, *map(self._flat, part[1:])]
        for lane, found in enumerate(lanes):
            if found.key != first.key:
                raise ShapeError(
                    f"vmap of {tree.name(self.f)}: in {_name(self.f, i)} lane {lane} is "
                    f"{_shown(part[lane])}, but lane 0 {_shown(part[0])}; all lanes need one "
                    "structure: pad them, or call the function in a loop"
                )
        self.numbers += list(np.array([found.numbers for found in lanes]).T)
        self.values += [
            ((start + place) * self.count + lane, value)
            for lane, found in enumerate(lanes)
            for place, value in found.values
        ]
        return first.key


def _name(f: Callable[..., Any], i: int) -> str:
    """A positional argument's name for a message."""
    try:
        return f"argument {list(inspect.signature(f).parameters)[i]!r}"
    except (TypeError, ValueError, IndexError):
        return f"argument {i}"


def _shown(x: Any) -> str:
    structure = tree.flatten(x)[1]
    return tree.describe(structure) + (" (a value)" if isinstance(x, Value) else "")


def split(x: Any, axis: int, name: str) -> Any:
    """The samples of an argument: an array or list of them.

    Raises:
        ShapeError: it has no such axis, or its entries have different numbers of samples.
    """
    if isinstance(x, dict):
        lanes = _together([split(part, axis, f"{name}[{k!r}]") for k, part in x.items()], name)
        return [dict(zip(x, parts, strict=True)) for parts in lanes]
    if isinstance(x, tuple):
        lanes = _together([split(part, axis, f"{name}[{i}]") for i, part in enumerate(x)], name)
        return [type(x)(*parts) if hasattr(x, "_fields") else parts for parts in lanes]
    if isinstance(x, list):
        if axis == 0:
            plain = x and set(map(type, x)) <= {float, int}
            return np.array(x, dtype=np.float64) if plain else x
        inner = [split(part, axis - 1, f"{name}[{i}]") for i, part in enumerate(x)]
        return [list(parts) for parts in _together(inner, name)]
    if getattr(x, "ndim", 0) > axis:
        return np.moveaxis(np.asarray(x), axis, 0)
    raise ShapeError(
        f"{name} has no axis {axis} to take samples from; pass a list or an array of samples, or "
        "None in in_axes for what all samples share"
    )


def _together(parts: list[Any], name: str) -> list[tuple[Any, ...]]:
    """The lanes of several parts side by side."""
    if len(set(map(len, parts))) > 1:
        raise ShapeError(
            f"{name}: its entries have different numbers of samples: "
            f"{', '.join(str(len(part)) for part in parts)}"
        )
    return list(zip(*parts, strict=True))


# What comes out


def stacked(structure: Any, columns: Iterator[Any]) -> Any:
    """The structure of one result with a column, a number for each lane, for every number."""
    if structure is None:
        return next(columns)
    if isinstance(structure, dict):
        return {key: stacked(part, columns) for key, part in structure.items()}
    if isinstance(structure, np.ndarray):
        flat = [next(columns) for _ in range(structure.size)]
        return np.stack(flat, axis=1).reshape(-1, *structure.shape) if flat else np.array([])
    parts = [stacked(part, columns) for part in structure]
    if isinstance(structure, tuple):
        return type(structure)(*parts) if hasattr(structure, "_fields") else tuple(parts)
    shapes = {getattr(part, "shape", None) for part in parts}
    return parts if len(shapes) != 1 or None in shapes else np.stack(parts, axis=1)


def joined(f: Callable[..., Any], results: list[Any]) -> Any:
    """The results of all lanes, computed one by one, as one."""
    flat: list[list[Any]] = []
    first = bare(results[0], [])
    for lane, result in enumerate(results):
        flat.append([])
        if bare(result, flat[-1]) != first:
            raise ShapeError(
                f"vmap of {tree.name(f)}: the result of lane {lane} is structured otherwise than "
                "that of lane 0; results are stacked, so all lanes must give one structure"
            )
    return stacked(first, iter([column(numbers) for numbers in zip(*flat, strict=True)]))


def bare(x: Any, leaves: list[Any]) -> Any:
    """The structure of a result, its leaves being appended as they are."""
    if isinstance(x, dict):
        return {key: bare(part, leaves) for key, part in x.items()}
    if isinstance(x, list | tuple):
        parts = [bare(part, leaves) for part in x]
        if hasattr(x, "_fields"):
            return type(x)(*parts)
        return parts if isinstance(x, list) else tuple(parts)
    if getattr(x, "ndim", 0):
        return [bare(part, leaves) for part in x]
    leaves.append(x)
    return None


def column(numbers: Sequence[Any]) -> Any:
    """An array of numbers, of objects if there are values among them."""
    if any(hasattr(x, "_level") for x in numbers):
        found = np.empty(len(numbers), dtype=object)
        found[:] = numbers
        return found
    return np.array(numbers)


def entries(result: Any) -> list[Any]:
    """All that a result holds, one by one."""
    leaves: list[Any] = []
    bare(result, leaves)
    return leaves
