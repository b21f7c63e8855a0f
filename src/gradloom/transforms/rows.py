"""Samples that come in arrays: taken as they lie, without a look at their numbers.

What a mapped function is called with most often, arrays of float64 and shared numbers, needs no
taking apart: where an array begins and how far apart its lanes are is all that a program asks.
Everything else is taken apart by `Samples`.
"""

from collections.abc import Callable, Hashable
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from gradloom.backends.batch import Batch
from gradloom.core import tree
from gradloom.errors import ArgumentError
from gradloom.transforms.arguments import Arguments, Key
from gradloom.transforms.samples import Array, Axis, Samples, split

if TYPE_CHECKING:
    from gradloom.core.value import Value

_FLOAT = np.dtype(np.float64)


class Rows:
    """The arguments of one call, lane by lane; attributes as those of `Samples`."""

    symbolic = False

    def __init__(
        self,
        f: Callable[..., Any],
        args: tuple[Any, ...],
        options: dict[str, Any],
        axes: tuple[Axis, ...],
    ) -> None:
        """
        Raises:
            _OtherwiseError: the samples are no arrays of one length.
        """
        self.f, self.options = f, options
        self.count = 0
        self.values: list[tuple[int, Value]] = []
        self.spans: list[tuple[int, int]] = []
        self._parts: list[Any] = []
        self._shared: list[float] = []
        self._arrays: list[Array] = []
        self.mapped = tuple([axis is not None for axis in axes])
        keys: list[Any] = []
        self._end = 0
        for x, axis in zip(args, axes, strict=True):
            keys.append(self._take_shared(x) if axis is None else self._take_mapped(x, axis))
        for name, x in options.items():
            keys.append((name, self._take_shared(x)))
        if not self.count:
            raise _OtherwiseError
        if self.values:  # they stand for no lane, but come before all
            self.values = [(place * self.count, value) for place, value in self.values]
        self.key: Hashable = (tuple(keys), self.mapped)

    def _take_shared(self, x: Any) -> Key:
        self._parts.append(x)
        kind = type(x)
        if kind is float or kind is int:
            self._shared.append(float(x))
            size, key = 1, Arguments.NUMBER
        else:
            found = Arguments(self.f, (x,), {})
            if found.symbolic:
                raise _OtherwiseError
            self.values += [(self._end + place, value) for place, value in found.values]
            self._shared += found.numbers
            size, key = len(found.numbers), found.key
        self.spans.append((self._end, self._end + size))
        self._end += size
        return key

    def _take_mapped(self, x: Any, axis: int) -> Key:
        if type(x) is not np.ndarray or x.dtype.kind not in "iuf" or x.ndim <= axis:
            raise _OtherwiseError
        if axis:
            x = x.T if x.ndim == 2 else np.moveaxis(x, axis, 0)
        if x.dtype != _FLOAT:
            x = x.astype(np.float64)
        lanes, *shape = x.shape
        if self.count not in (0, lanes):
            raise _OtherwiseError
        self.count = lanes
        size = 1
        for length in shape:
            size *= length
        self._parts.append(x)
        self._arrays.append(x)
        self.spans.append((self._end, self._end + size))
        self._end += size
        return ((np.ndarray, tuple(shape)),) if shape else Arguments.NUMBER

    def batch(self) -> Batch:
        """As programs take them."""
        return Batch(self._shared, self._arrays, self.count)

    def sample(self, lane: int) -> tuple[Any, ...]:
        """The arguments of one lane."""
        pairs = zip(self._parts, self.mapped, strict=False)  # shared options come behind
        return tuple(part[lane] if mapped else part for part, mapped in pairs)

    @property
    def laned(self) -> list[int]:
        """The inputs that differ from lane to lane, by place."""
        pairs = zip(self.spans, self.mapped, strict=False)
        return [i for (start, stop), mapped in pairs if mapped for i in range(start, stop)]

    @cached_property
    def numbers(self) -> list[float | Array]:
        """For each input a number, or as many as lanes."""
        shared, columns = iter(self._shared), iter(self.batch().columns())
        mapped = set(self.laned)
        return [next(columns) if i in mapped else next(shared) for i in range(self._end)]


class _OtherwiseError(Exception):
    """The samples must be taken apart."""


Given: TypeAlias = Rows | Samples


def given(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    options: dict[str, Any],
    axes: Axis | tuple[Axis, ...],
) -> Given:
    """The arguments of one call, lane by lane."""
    each = axes if isinstance(axes, tuple) else (axes,) * len(args)
    if len(each) == len(args):
        try:
            return Rows(f, args, options, each)
        except (_OtherwiseError, ArgumentError):
            pass
    return Samples(f, args, options, axes)


def put(x: Any, axis: Axis, found: Any) -> Any:
    """Numbers, or values, in the structure of an argument.

    Args:
        x: the argument.
        axis: along which its samples lie; None if it is shared.
        found: for each of its inputs one; with lanes a row of as many.

    Returns:
        An array for an array; else lists where there are arrays, as derivatives have them.
    """
    if type(x) is float:
        return found[0].item()
    if isinstance(x, np.ndarray) and x.ndim:
        if axis is None:
            return found.reshape(x.shape)
        if x.ndim == 1:
            return found[0]
        if x.ndim == 2:
            return found if axis else found.T
        shape = x.shape[:axis] + x.shape[axis + 1 :]
        return np.moveaxis(found.reshape(*shape, -1), -1, axis)
    leaves, structure = tree.flatten(x)
    if axis is None:
        return tree.unflatten(structure, found.tolist())
    numbered = tree.unflatten(structure, [float(i) for i in range(len(leaves))])
    lanes = split(numbered, axis, "the argument")
    ordered = np.empty(len(leaves), dtype=found.dtype)
    places = np.array([tree.flatten(lane)[0] for lane in lanes], dtype=np.int64)
    ordered[places.reshape(len(lanes), -1)] = found.T
    return tree.unflatten(structure, ordered.tolist())
