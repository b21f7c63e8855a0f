"""What a compiled function is called with, and what it gives: numbers, and the structure around.

The numbers of the arguments are the inputs of the program; everything else is the *key*, under
which recordings are kept: the nesting of lists, tuples, dicts and arrays, and what is no number.
Recording, the same arguments are built again with symbols in place of the numbers; afterwards
those copies must be as they were, for what happens to them would be lost at a replay.
"""

import inspect
from array import array
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from numbers import Real
from typing import Any, TypeAlias

import numpy as np

from gradloom.core import tree
from gradloom.core.table import as_number
from gradloom.core.value import Value
from gradloom.errors import ArgumentError, NotANumberError, RecordingError
from gradloom.loom.record import Recording, Symbol

Key: TypeAlias = Hashable
_NUMBER, _VALUE = "number", "value"  # the keys of what is an input
_PLAIN = {float, int, np.float64, np.int64}


class Arguments:
    """The arguments of one call, taken apart.

    Attributes:
        key: the structure, and what is no number; hashable.
        numbers: every number in order, those of values among them.
        values: the values, each with its place among the numbers.
        symbolic: whether something among them stands for numbers of a recording or derivative
            around this call.

    Raises:
        ArgumentError: an argument can only be read once, or is neither number nor hashable.
    """

    NUMBER: Key = (_NUMBER,)  # the key of a single plain number

    def __init__(
        self, f: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any]
    ) -> None:
        self.function, self.args, self.options = f, args, options
        self.numbers = array("d")
        self.values: list[tuple[int, Value]] = []
        self.symbolic = False
        try:
            parts = [self._take(part) for part in args]
            parts += [(name, self._take(part)) for name, part in options.items()]
        except _NoArgumentError as error:
            raise ArgumentError(self._explain(error.args[0])) from None
        self.key: Key = tuple(parts)

    def _take(self, x: Any) -> Key:
        """Append the numbers in `x`; the key of what is around them."""
        kind = type(x)
        if kind is float:
            self.numbers.append(x)
            return _NUMBER
        if kind is list or kind is tuple:
            if x and set(map(type, x)) <= _PLAIN:
                before = len(self.numbers)
                try:
                    self.numbers.extend(x)
                except OverflowError:  # an int too large for a float: one by one
                    del self.numbers[before:]
                else:
                    return kind, len(x)
            return kind, tuple([self._take(part) for part in x])
        if isinstance(x, Value):
            self.values.append((len(self.numbers), x))
            self.numbers.append(x.data)
            return _VALUE
        if hasattr(x, "_level"):
            self.symbolic = True
            return _VALUE
        if isinstance(x, list | tuple):
            return kind, tuple([self._take(part) for part in x])
        if isinstance(x, dict):
            return kind, tuple(x), tuple([self._take(part) for part in x.values()])
        if _is_array(x):
            return self._take_array(np.asarray(x))
        if _is_number(x):
            self.numbers.append(as_number(x))
            return _NUMBER
        return self._take_other(x)

    def _take_other(self, x: Any) -> Key:
        """What is no number is part of the key, if it can be."""
        if isinstance(x, Iterator):
            raise _NoArgumentError(x)
        try:
            hash(x)
        except TypeError:
            raise _NoArgumentError(x) from None
        return type(x), x

    def _take_array(self, x: Any) -> Key:
        if x.dtype.kind in "biuf":
            self.numbers.frombytes(x.astype(np.float64).tobytes())
            return np.ndarray, x.shape
        return np.ndarray, x.shape, tuple([self._take(part) for part in x.ravel().tolist()])

    def _explain(self, culprit: Any) -> str:
        """The message for an argument that cannot be one."""
        where = next(path for path, part in self._named() if part is culprit)
        shown = f"{tree.name(self.function)}: {where} is of type {type(culprit).__name__}"
        if isinstance(culprit, Iterator):
            return f"{shown}, which can be read only once; pass a list made of it, list(...)"
        return (
            f"{shown}, which is neither made of numbers nor hashable; pass numbers in lists, "
            "tuples, dicts or arrays, and anything else as a hashable object"
        )

    def _named(self) -> Iterator[tuple[str, Any]]:
        """Everything in the arguments with how it is reached."""
        for name, x in self.names():
            yield from _parts(name, x)

    def names(self) -> list[tuple[str, Any]]:
        """The arguments by their names in the function, as far as it says."""
        try:
            bound = inspect.signature(self.function).bind(*self.args, **self.options)
        except (TypeError, ValueError):
            named = [(f"argument {i}", x) for i, x in enumerate(self.args)]
            return named + [(f"argument {name!r}", x) for name, x in self.options.items()]
        return [(f"argument {name!r}", x) for name, x in bound.arguments.items()]

    def call(self, recording: Recording) -> Any:
        """What the function gives for symbols in place of the numbers.

        Raises:
            RecordingError: the function changed an argument in place.
        """
        builder = _Builder(recording)
        args = [builder.build(x) for x in self.args]
        options = {name: builder.build(x) for name, x in self.options.items()}
        result = self.function(*args, **options)
        changed = builder.changed()
        if changed is not None:
            where = next(path for path, part in self._named() if part is changed)
            raise RecordingError(
                f"{tree.name(self.function)} changed {where} in place while it was recorded, which "
                "a replay would not do; let it change a copy (xs = list(xs)) and return that"
            )
        return result


class _NoArgumentError(Exception):
    """Something that cannot be an argument."""


def _is_array(x: Any) -> bool:
    return bool(getattr(x, "ndim", 0)) and hasattr(x, "__array__")


def _is_number(x: Any) -> bool:
    """True and False are none: they choose a path rather than take part in arithmetic."""
    if isinstance(x, bool):
        return False
    kind = getattr(getattr(x, "dtype", None), "kind", "O")
    return isinstance(x, Real) or (getattr(x, "ndim", None) == 0 and kind in "biuf")


def _parts(path: str, x: Any) -> Iterator[tuple[str, Any]]:
    """`x` and everything in it, each with how it is reached."""
    yield path, x
    if isinstance(x, dict):
        for key, part in x.items():
            yield from _parts(f"{path}[{key!r}]", part)
    elif isinstance(x, list | tuple):
        for i, part in enumerate(x):
            yield from _parts(f"{path}[{i}]", part)
    elif _is_array(x):
        array = np.asarray(x)
        if array.dtype.kind not in "biuf":
            for place, part in np.ndenumerate(array):
                yield f"{path}{list(place)}", part


class _Builder:
    """Builds arguments again, of symbols."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._built: list[tuple[Any, Any, list[Any]]] = []  # the original, its copy, its parts

    def build(self, x: Any) -> Any:
        if isinstance(x, Value):
            return self._recording.input(x.data, is_value=True)
        if isinstance(x, list | tuple):
            parts = [self.build(part) for part in x]
            if hasattr(x, "_fields"):
                return type(x)(*parts)
            return tuple(parts) if isinstance(x, tuple) else self._keep(x, parts)
        if isinstance(x, dict):
            return self._keep(x, {key: self.build(part) for key, part in x.items()})
        if _is_array(x):
            return self._build_array(x)
        if _is_number(x):
            return self._recording.input(as_number(x))
        return x

    def _build_array(self, x: Any) -> Any:
        old = np.asarray(x)
        copy = np.empty(old.shape, dtype=object)
        flat = copy.reshape(-1)
        for i, part in enumerate(old.ravel().tolist()):
            number = old.dtype.kind in "biuf"
            flat[i] = self._recording.input(float(part)) if number else self.build(part)
        return self._keep(x, copy)

    def _keep(self, original: Any, copy: Any) -> Any:
        self._built.append((original, copy, _shallow(copy)))
        return copy

    def changed(self) -> Any:
        """The first original whose copy is not as it was built, or None."""
        for original, copy, parts in self._built:
            now = _shallow(copy)
            if len(now) != len(parts) or any(a is not b for a, b in zip(now, parts, strict=True)):
                return original
        return None


def _shallow(x: Any) -> list[Any]:
    """The parts of a list, dict or array."""
    if isinstance(x, dict):
        return [*x, *x.values()]
    return list(x) if isinstance(x, list) else x.ravel().tolist()


# What a function gives


class Result:
    """The structure of a result, and for each number in it how plain code would give it.

    Attributes:
        nodes: the nodes of the recording that hold the numbers, in order.

    Raises:
        NotANumberError: something in the result is no number.
    """

    def __init__(self, f: Callable[..., Any], result: Any, recording: Recording) -> None:
        self.nodes: list[int] = []
        # For each node: what a replay makes of its number. A plain number is given as it is.
        self.kinds: list[str] = []
        self.constants: dict[int, Any] = {}
        self._function, self._recording = f, recording
        self.structure = self._take(result, "the result")
        del self._function, self._recording

    def _take(self, x: Any, path: str) -> Any:
        """Note the numbers in `x`; its structure, in which None stands for a number."""
        if isinstance(x, dict):
            return {key: self._take(part, f"{path}[{key!r}]") for key, part in x.items()}
        if isinstance(x, list | tuple):
            parts = [self._take(part, f"{path}[{i}]") for i, part in enumerate(x)]
            if hasattr(x, "_fields"):
                return type(x)(*parts)
            return parts if isinstance(x, list) else tuple(parts)
        if isinstance(x, np.ndarray) and x.ndim:
            array = np.empty(x.shape, dtype=object)
            for place, part in np.ndenumerate(x):
                array[place] = self._take(part, f"{path}{list(place)}")
            return array
        self._note(x, path)
        return None

    def _note(self, x: Any, path: str) -> None:
        recording = self._recording
        if not hasattr(x, "_level"):
            try:
                number = as_number(x)
            except NotANumberError:
                shown = "None" if x is None else f"{type(x).__name__} {x!r:.60}"
                raise NotANumberError(
                    f"{path} of {tree.name(self._function)} is {shown}; a compiled function "
                    "returns numbers and values, alone or in lists, tuples, dicts and arrays"
                ) from None
            self.constants[len(self.nodes)] = x
            self.nodes.append(recording.constant(number))
            self.kinds.append("constant")
            return
        node = recording.symbol(x)._node
        self.nodes.append(node)
        if node in recording.truths:
            self.kinds.append("truth")
        else:
            value = not isinstance(x, Symbol) or recording.is_value(node)
            self.kinds.append("value" if value else "number")

    def is_like(self, other: "Result") -> bool:
        """Whether both are lists, tuples and dicts of plain numbers, structured alike."""
        plain = all(kind == "number" for kind in self.kinds)
        if not plain or self.kinds != other.kinds:
            return False
        return _holds_no_array(self.structure) and bool(self.structure == other.structure)

    def put(self, leaves: Sequence[Any]) -> Any:
        """The structure with these leaves."""
        if self.structure is None:
            return leaves[0]
        return _put(self.structure, iter(leaves))


def _holds_no_array(structure: Any) -> bool:
    if isinstance(structure, dict):
        return all(map(_holds_no_array, structure.values()))
    return structure is None or (
        isinstance(structure, list | tuple) and all(map(_holds_no_array, structure))
    )


def _put(structure: Any, leaves: Iterator[Any]) -> Any:
    if structure is None:
        return next(leaves)
    if isinstance(structure, dict):
        return {key: _put(part, leaves) for key, part in structure.items()}
    if isinstance(structure, np.ndarray):
        parts = [next(leaves) for _ in range(structure.size)]
        plain = not any(hasattr(part, "_level") for part in parts)
        out = np.empty(structure.shape, dtype=np.float64 if plain else object)
        out.reshape(-1)[:] = parts
        return out
    parts = [_put(part, leaves) for part in structure]
    if hasattr(structure, "_fields"):
        return type(structure)(*parts)
    return parts if isinstance(structure, list) else tuple(parts)
