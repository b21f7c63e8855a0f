"""Replay: run what was recorded, and give values that can go backward through it.

A call of a compiled function leaves three kinds of node in the graph that a learner draws. Each
number of the result hangs on one node for the *call*; the call hangs on the values among the
arguments, and on one leaf that stands for all *parameters*, the values from outside. So
`backward()` is the ordinary walk over a handful of nodes: what reaches the results is gathered
in the call as one cotangent, the adjoint program runs once, and the gradients of all parameters
are added as an array.
"""

import functools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.backends.choice import Options, Runner, backward, maker
from gradloom.backends.inspection import Pass, inspected
from gradloom.core.value import Value, _node
from gradloom.loom import guards
from gradloom.loom.graph import Graph
from gradloom.loom.program import Program
from gradloom.nn.module import Parameter
from gradloom.transforms.arguments import Result

Array = NDArray[np.float64]


class Leaves:
    """Many leaf values as two vectors: their numbers, and what is added to their gradients.

    Parameters that live in one array are read and written at once; other values one by one.

    >>> x = Value(2.0)
    >>> leaves = Leaves([x])
    >>> leaves.numbers()
    array([2.])
    >>> leaves.add(np.array([5.0])); x.grad
    5.0
    """

    def __init__(self, values: list[Value]) -> None:
        self.values = values
        self._moves = -1  # when the arrays were last looked up
        self._packed: list[tuple[Any, Array, Array, Any]] = []
        self._loose: list[tuple[int, Value]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.values,)

    def _look_up(self) -> None:
        """Find the arrays again if any parameter anywhere has moved since."""
        moves = Parameter.moves
        if moves == self._moves:
            return
        homes: dict[int, list[int]] = {}
        loose = []
        for place, value in enumerate(self.values):
            if isinstance(value, Parameter):
                homes.setdefault(id(value._numbers), []).append(place)
            else:
                loose.append((place, value))
        packed = []
        for places in homes.values():
            first: Any = self.values[places[0]]
            indices = [self.values[place]._index for place in places]  # type: ignore[attr-defined]
            arrays = np.frombuffer(first._numbers), np.frombuffer(first._grads)
            packed.append((_run(places), *arrays, _run(indices)))
        self._packed, self._loose, self._moves = packed, loose, moves

    def numbers(self) -> Array:
        """The numbers, in order."""
        self._look_up()
        found = np.empty(len(self.values))
        for places, numbers, _, indices in self._packed:
            found[places] = numbers[indices]
        for place, value in self._loose:
            found[place] = value.data
        return found

    def homes(self) -> list[tuple[NDArray[np.int64], Array, Array, NDArray[np.int64]]]:
        """Where those that live in arrays do: their places among the values, the arrays of numbers
        and of gradients, and their places in these."""
        self._look_up()
        places = np.arange(len(self.values))
        return [
            (places[some], numbers, grads, np.arange(len(numbers))[indices])
            for some, numbers, grads, indices in self._packed
        ]

    @property
    def loose(self) -> list[tuple[int, Value]]:
        """The others, each with its place."""
        self._look_up()
        return self._loose

    def add(self, gradient: Array) -> None:
        """Add to each value's gradient."""
        self._look_up()
        for places, _, grads, indices in self._packed:
            grads[indices] += gradient[places]
        for place, value in self._loose:
            value.grad += float(gradient[place])


def _run(places: list[int]) -> Any:
    """A slice if they are consecutive, which is faster, else an index array."""
    if places == list(range(places[0], places[0] + len(places))):
        return slice(places[0], places[0] + len(places))
    return np.array(places)


class Pool:
    """A program with as many runners as threads run it at once."""

    def __init__(self, program: Program, options: Options) -> None:
        self.program, self._options = program, options
        self._idle: deque[Runner] = deque()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.program, self._options)

    @functools.cached_property
    def _make(self) -> Callable[[int | None], Runner]:
        return maker(self.program, self._options)

    def run(self, inputs: Array, parameters: Array) -> tuple[Array, NDArray[np.bool_]]:
        """The outputs, and which guards held."""
        try:
            runner = self._idle.pop()
        except IndexError:
            runner = self._make(None)
        outputs = runner.run(inputs, parameters)
        holds = runner.holds()
        self._idle.append(runner)
        return outputs, holds

    def inspect(self, name: str) -> Pass:
        """What runs; see `Compiled.inspect`."""
        try:
            runner = self._idle.pop()
        except IndexError:
            runner = self._make(None)
        found = inspected(name, self.program, runner, self._options)
        self._idle.append(runner)
        return found


class Path:
    """One way through a function, recorded and woven.

    Attributes:
        name: of the function, for pictures and messages.
        graph: what was recorded; None in another process than the one that did.
        program: what it was woven into.
        result: the structure of the result.
        sites: for each guard the line that left it.
        options: how its programs are run.
    """

    def __init__(
        self,
        name: str,
        graph: Graph | None,
        program: Program,
        result: Result,
        sites: list[guards.Site],
        options: Options,
    ) -> None:
        self.name = name
        self.graph = graph
        self.program = program
        self.result = result
        self.sites = sites
        self.options = options
        self._leaves = Leaves(program.values)
        self._forward = Pool(program, options)
        self._backward: dict[tuple[tuple[int, ...], tuple[int, ...]], Pool] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "graph": None}

    def is_like(self, other: "Path") -> bool:
        """Whether the same was recorded, with the same values from outside."""
        mine, theirs = self.program.values, other.program.values
        return self.graph == other.graph and list(map(id, mine)) == list(map(id, theirs))

    def runner(self) -> Runner:
        """A new runner of the program."""
        return maker(self.program, self.options)(None)

    def inspect(self) -> list[Pass]:
        """What runs: the function, then the gradients that were taken of it."""
        backward = [pool.inspect("gradient") for pool in list(self._backward.values())]
        return [self._forward.inspect("forward"), *backward]

    def replay(self, inputs: Array, values: list[tuple[int, Value]], *, sure: bool = False) -> Any:
        """The result for these inputs, or the guard that does not hold.

        Args:
            inputs: the numbers among the arguments.
            values: the values among them, each with its place.
            sure: the path is known to be the right one.
        """
        parameters = self._leaves.numbers()
        outputs, holds = self._forward.run(inputs, parameters)
        if not sure and not holds.all():
            return Broken(self.sites[int(np.argmin(holds))])
        return self.result.put(self._leaf_results(outputs.tolist(), inputs, parameters, values))

    def _leaf_results(
        self,
        outputs: list[float],
        inputs: Array,
        parameters: Array,
        values: list[tuple[int, Value]],
    ) -> list[Any]:
        """Each number of the result as plain code would give it."""
        call = None
        found: list[Any] = outputs
        for i, kind in enumerate(self.result.kinds):
            if kind == "value":
                if call is None:
                    call = Call(self, inputs, parameters, values)
                found[i] = _node(f"{self.name}()", outputs[i], call, None, _Share(i, 1.0))
            elif kind == "truth":
                found[i] = bool(outputs[i])
            elif kind == "constant":
                found[i] = self.result.constants[i]
        return found

    def pull(
        self,
        cotangents: dict[int, float],
        inputs: Array,
        parameters: Array,
        places: tuple[int, ...],
    ) -> tuple[list[float], Array]:
        """The gradients of the inputs at these places, and of the parameters."""
        reached = tuple(sorted(cotangents))
        pool = self._backward.get((reached, places))
        if pool is None:
            pool = self._backward[reached, places] = Pool(
                self._adjoint(reached, places), self.options
            )
        above: dict[int, float] = {}
        for i in reached:
            slot = int(self.program.outputs[i])
            above[slot] = above.get(slot, 0.0) + cotangents[i]
        found, _ = pool.run(np.concatenate([inputs, list(above.values())]), parameters)
        found = found[len(above) :]
        return found[: len(places)].tolist(), found[len(places) :]

    def _adjoint(self, reached: tuple[int, ...], places: tuple[int, ...]) -> Program:
        """The adjoint for those outputs alone that a cotangent has reached, each once."""
        program = self.program
        slots = dict.fromkeys(int(program.outputs[i]) for i in reached)
        outputs = np.array(list(slots), dtype=np.int64)
        some = replace(program, outputs=outputs, guards=[])
        wanted = np.concatenate([program.inputs[list(places)], program.parameters])
        return backward(some, wanted.astype(np.int64), self.options)


class Broken:
    """What a replay gives that left its path: the line that looked."""

    def __init__(self, site: guards.Site) -> None:
        self.site = site


class Call(Value):
    """A node for one call of a compiled function: all its results hang on it.

    Its gradient, while it is on its way, is the cotangent of all results.
    """

    __slots__ = ("_inputs", "_parameters", "_path", "_places")

    def __init__(
        self, path: Path, inputs: Array, parameters: Array, values: list[tuple[int, Value]]
    ) -> None:
        super().__init__(0.0)
        self._op = f"{path.name}()"
        self._path, self._inputs, self._parameters = path, inputs, parameters
        self._places = tuple(place for place, _ in values)
        operands = [value for _, value in values]
        if path.program.values:
            operands.append(Parameters(path._leaves))
        self._left = tuple(operands)
        self._right = self._dright = None
        self._dleft = _Slopes(self)

    def __repr__(self) -> str:
        return f"Call({self._op})"

    def __reduce__(self) -> tuple[Any, ...]:
        values = list(zip(self._places, self._left, strict=False))
        return type(self), (self._path, self._inputs, self._parameters, values)


class Parameters(Value):
    """A leaf for all the parameters that a compiled function reads; they get its gradient."""

    __slots__ = ("_leaves",)

    def __init__(self, leaves: Leaves) -> None:
        self._leaves = leaves
        super().__init__(float(len(leaves.values)), label=f"{len(leaves.values)} parameters")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._leaves,)

    @property
    def grad(self) -> Any:
        """Nothing: the parameters have it."""
        return 0.0

    @grad.setter
    def grad(self, gradient: Any) -> None:
        if isinstance(gradient, np.ndarray):
            self._leaves.add(gradient)


class _Share:
    """The local derivative of a result by its call; times its gradient, its share of all."""

    __slots__ = ("number", "place")

    def __init__(self, place: int, number: float) -> None:
        self.place, self.number = place, number

    def __mul__(self, grad: float) -> "_Share":
        return _Share(self.place, self.number * grad)

    def __radd__(self, _: float) -> "_Cotangent":
        return _Cotangent({self.place: self.number})


class _Cotangent:
    """What has reached the results of a call, by place."""

    __slots__ = ("found", "shares")

    def __init__(self, shares: dict[int, float]) -> None:
        self.shares = shares
        self.found: list[Any] | None = None

    def __iadd__(self, share: _Share) -> "_Cotangent":
        self.shares[share.place] = self.shares.get(share.place, 0.0) + share.number
        return self

    def __float__(self) -> float:
        return sum(self.shares.values())


class _Slopes:
    """The local derivatives of a call by its operands: the adjoint program, run when asked."""

    def __init__(self, call: Call) -> None:
        self.call = call

    def __iter__(self) -> Iterator["_Slope"]:
        return iter([_Slope(self.call, k) for k in range(len(self.call._left))])


class _Slope:
    """One of them; times the cotangent of the call it is the share of one operand."""

    __slots__ = ("call", "place")

    def __init__(self, call: Call, place: int) -> None:
        self.call, self.place = call, place

    def __mul__(self, cotangent: _Cotangent) -> Any:
        if cotangent.found is None:
            call = self.call
            inner, outer = call._path.pull(
                cotangent.shares, call._inputs, call._parameters, call._places
            )
            cotangent.found = [*inner, outer]
        return cotangent.found[self.place]
