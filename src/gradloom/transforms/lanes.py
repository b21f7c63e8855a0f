"""vmap: one sample is recorded, and all samples run at once, each in a lane of its own.

A program with lanes does every instruction for all lanes; what no sample has a say in is done
once. A lane whose numbers take another branch than the recorded sample breaks a guard; it is left
to another path, recorded from a lane that takes it, until every lane has had the path it takes.
"""

import functools
import threading
import warnings
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradloom.backends.batch import Batch
from gradloom.backends.choice import Options, Runner, maker, woven
from gradloom.backends.inspection import Inspection, Pass, inspected
from gradloom.core import tree
from gradloom.core.value import Value, _node
from gradloom.errors import ArgumentError, RecordingError, RecordingWarning
from gradloom.loom import guards
from gradloom.loom.graph import Graph
from gradloom.loom.program import Program
from gradloom.loom.record import Recording, current
from gradloom.transforms.arguments import Arguments, Result
from gradloom.transforms.replay import Call, Path, _Share
from gradloom.transforms.rows import Given, given
from gradloom.transforms.samples import Array, Axis, column, entries, joined, stacked

Mask: TypeAlias = NDArray[np.bool_]

# Structures of arguments that a mapped function remembers, paths through it under each, and
# numbers of lanes for which a path keeps an arena.
STRUCTURES, PATHS, ARENAS = 16, 16, 2


def vmap(
    f: Callable[..., Any],
    in_axes: Axis | Sequence[Axis] = 0,
    *,
    backend: str | None = None,
    dtype: str = "float64",
    threads: int | None = None,
    memory_limit: int | None = None,
    reduce: str | None = None,
) -> "Mapped":
    """A function that maps `f` over samples and stacks the results in NumPy arrays.

    Args:
        f: a function of one sample: of numbers, arrays and nested lists, tuples and dicts.
        in_axes: for each positional argument the axis along which its samples lie, or None for
            an argument that all samples share; one axis for all is written once. Arrays and
            lists have axes (of a list: 0 is the list itself, 1 the lists in it); tuples and dicts
            are mapped entry by entry. Keyword arguments are shared.
        backend: "native" or "numpy"; by default native code where llvmlite is installed.
        dtype: "float32" computes faster and less exactly inside, on the native backend.
        threads: how many share the samples, by default as many as there are cores. The sums over
            samples are taken in one order, whatever their number, and little work is left to one.
        memory_limit: how many bytes of one sample a gradient may take; see `compile`.
        reduce: "mean" or "sum": of each number of f's result over all samples, in place of the
            stack. Then `grad` and `value_and_grad` of this function take one run of machine code,
            and so does a call of what its `bind` gives; by an array the gradient is an array.

    Returns:
        A function of as many arguments. Each number of f's result becomes an array with the
        samples as its first axis, each list of n numbers an array of n columns. Where `f` gives
        values (it reads parameters, or values go in), so does this one: `backward()` works.

    Raises:
        ArgumentError: an option has no such value, or `in_axes` is no axis, or (when called)
            does not fit the arguments; or a gradient cannot be taken in so little memory.
        ShapeError (when called): the numbers of samples differ, or their structures.

    Inside a derivative or a recording the samples run one after another, and are recorded or
    traced like any loop; `compile` weaves that loop into arrays again.

    >>> import gradloom as gl
    >>> area = vmap(lambda r, unit: 3.0 * r * r * unit, in_axes=(0, None))
    >>> area([1.0, 2.0, 3.0], 10.0)
    array([ 30., 120., 270.])
    >>> vmap(gl.grad(lambda x: gl.where(x > 2.0, x * x, x)))([1.0, 2.0, 3.0])
    array([1., 1., 6.])
    >>> loss = vmap(lambda w, x: (w * x - 1.0) ** 2, in_axes=(None, 0), reduce="mean")
    >>> gl.value_and_grad(loss)(3.0, [1.0, 2.0])
    (14.5, 12.0)
    """
    options = Options(backend, dtype, threads=threads, memory_limit=memory_limit)
    if reduce is None:
        return Mapped(f, in_axes, options)
    from gradloom.transforms.reduce import Reduced  # it builds on this module

    return Reduced(f, in_axes, options, reduce)


class Mapped:
    """What `vmap` returns."""

    def __init__(
        self,
        f: Callable[..., Any],
        in_axes: Axis | Sequence[Axis] = 0,
        options: Options | None = None,
    ) -> None:
        self._f = f
        self._options = options or Options()
        self._options.load()
        several = isinstance(in_axes, Sequence)
        self._axes: Axis | tuple[Axis, ...] = tuple(in_axes) if several else in_axes  # type: ignore[arg-type, assignment]
        self._paths: OrderedDict[Hashable, list[_Way]] = OrderedDict()
        self._lock = threading.Lock()
        for axis in self._axes if isinstance(self._axes, tuple) else (self._axes,):
            if axis is not None and (type(axis) is not int or axis < 0):
                raise ArgumentError(
                    f"in_axes={in_axes!r}: an axis is 0, 1, … or None for a shared argument"
                )
        functools.update_wrapper(self, f, updated=())

    def __repr__(self) -> str:
        return f"vmap({tree.name(self._f)}, in_axes={self._axes})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Mapped, (self._f, self._axes, self._options)

    def __call__(self, *args: Any, **options: Any) -> Any:
        samples = given(self._f, args, options, self._axes)
        if samples.symbolic or current() is not None:
            return self._one_by_one(samples)
        try:
            return self._run(samples)
        except RecordingError:
            # f may read an operand of a derivative that this call is part of.
            result = self._one_by_one(samples)
            if any(getattr(x, "_level", 0) for x in entries(result)):
                return result
            raise

    def inspect(self) -> Inspection:
        """What runs in all lanes of the last call; see `Compiled.inspect`.

        Where the lanes took several ways there are the passes of each.

        Raises:
            RecordingError: there was no call.

        >>> import gradloom as gl
        >>> area = vmap(lambda r: 3.0 * r * r)
        >>> area([1.0, 2.0, 3.0, 4.0])
        array([ 3., 12., 27., 48.])
        >>> area.inspect().work.flops
        8
        """
        with self._lock:
            last: list[_Way] = list(next(reversed(self._paths.values()), []))
        if not last:
            raise RecordingError(f"{self!r} has not been recorded; call it first")
        return Inspection(repr(self), [one for path in last for one in path.inspect()])

    def _one_by_one(self, samples: Given) -> Any:
        calls = (samples.sample(lane) for lane in range(samples.count))
        return joined(self._f, [self._f(*args, **samples.options) for args in calls])

    def _run(self, samples: Given) -> Any:
        """All lanes, path by path."""
        paths = self._known(samples)
        left = np.ones(samples.count, dtype=bool)
        found: list[tuple[_Way, Mask, list[Any]]] = []
        for path, sure in self._ways(paths, samples, left):
            lanes, columns = path.run(samples, left, sure)
            if lanes.all():
                return stacked(path.result.structure, iter(columns))
            found.append((path, lanes, columns))
            left &= ~lanes
        results = [path.result for path, _, _ in found]
        if not left.any() and all(result.is_like(results[0]) for result in results):
            whole = [np.empty(samples.count, dtype=x.dtype) for x in found[0][2]]
            for _, lanes, columns in found:
                for x, column in zip(whole, columns, strict=True):
                    x[lanes] = column
            return stacked(results[0].structure, iter(whole))
        return self._joined(samples, found, left)

    def _joined(
        self, samples: Given, found: "list[tuple[_Way, Mask, list[Any]]]", left: Mask
    ) -> Any:
        """The results of several ways, and of the lanes that are left, lane by lane."""
        results: list[Any] = [None] * samples.count
        for path, lanes, columns in found:
            for k, lane in enumerate(np.flatnonzero(lanes)):
                results[lane] = path.result.put([x[k] for x in columns])
        for lane in np.flatnonzero(left):
            results[lane] = self._f(*samples.sample(int(lane)), **samples.options)
        return joined(self._f, results)

    def _known(self, samples: Given) -> "list[_Way]":
        """The paths there are for such samples; new ones are put in there."""
        with self._lock:
            paths = self._paths.setdefault(samples.key, [])
            self._paths.move_to_end(samples.key)
            if len(self._paths) > STRUCTURES:
                self._paths.popitem(last=False)
        return paths

    def _ways(
        self, paths: "list[_Way]", samples: Given, left: Mask, tried: int = 0
    ) -> "Iterator[tuple[_Way, int | None]]":
        """Paths for the lanes that are left: those there are, then new ones up to the limit.

        With a new path comes the lane from which it was recorded. The first ones may have been
        tried before.
        """
        for path in paths[tried:]:
            if left.any():
                yield path, None
        while left.any():
            if len(paths) >= PATHS:
                self._warn(paths)
                return
            lane = int(np.argmax(left))
            path = self._recorded(samples, lane)
            with self._lock:
                paths.append(path)
            yield path, lane

    def _recorded(self, samples: Given, lane: int) -> "_Way":
        """The way that one lane takes."""
        return _Way(*recorded(self._f, samples, lane, self._options))

    def _warn(self, paths: "list[_Way]") -> None:
        sites = [site for path in paths for site in path.sites]
        site = max(set(sites), key=sites.count)
        warnings.warn(
            f"vmap of {tree.name(self._f)}: its lanes take more than {PATHS} ways through "
            f"{site.file}:{site.line}, which asks for {site.kind}; the others run one by one. "
            f"Use {site.remedy}",
            RecordingWarning,
            stacklevel=4,
        )


class _Fed(NamedTuple):
    """What went into a run.

    Attributes:
        numbers: for each input a number, or as many as lanes.
        lanes: which lanes count; the others hold the numbers of the first that does, so that none
            meets an inf or nan on a way that it does not take.
        values: the values among the numbers, each with its place: input · lanes + lane.
    """

    numbers: list[float | Array]
    lanes: Mask
    values: list[tuple[int, Value]]


def _fed(samples: Given, lanes: Mask) -> _Fed:
    if lanes.all():
        return _Fed(samples.numbers, lanes, samples.values)
    first = int(np.argmax(lanes))
    numbers = [
        np.where(lanes, x, x[first]) if isinstance(x, np.ndarray) else x for x in samples.numbers
    ]
    count = samples.count
    values = [
        (place, value)
        for place, value in samples.values
        if lanes[place % count] or not isinstance(numbers[place // count], np.ndarray)
    ]
    return _Fed(numbers, lanes, values)


class _Way(Path):
    """A path with a lane for each sample that takes it."""

    def __init__(
        self,
        name: str,
        graph: Graph,
        program: Program,
        result: Result,
        sites: list[guards.Site],
        options: Options,
    ) -> None:
        super().__init__(name, graph, program, result, sites, options)
        self._batches = Batches(program, options)
        self._own: list[bool] = program.laned[program.outputs].tolist()  # which results have lanes
        self._adjoints: dict[tuple[tuple[int, ...], tuple[int, ...]], _Arenas] = {}

    def inspect(self) -> list[Pass]:
        """What runs: the function, then the gradients that were taken of it."""
        backward = [one.inspect("gradient") for one in list(self._adjoints.values())]
        return [self._batches.inspect("forward"), *backward]

    def run(self, samples: Given, left: Mask, sure: int | None) -> tuple[Mask, list[Any]]:
        """Which of the lanes that are left take this way; their results, a column for each.

        Args:
            samples: all lanes.
            left: which of them have no way yet.
            sure: one that takes this way in any case.
        """
        parameters = self._leaves.numbers()
        batch = samples.batch()
        if not left.all():
            batch = batch.chosen(np.flatnonzero(left))
        shared, rows, holds = self._batches.run(batch, parameters)
        lanes = left.copy()
        if holds is not None:
            if sure is not None:
                holds[np.count_nonzero(left[:sure])] = True
            rows, lanes[left] = rows[:, holds], holds
        count = int(np.count_nonzero(lanes))
        fed = _fed(samples, lanes) if count and "value" in self.result.kinds else None
        columns: list[Any] = []
        call = None
        numbers, constants = iter(rows), iter(shared)
        for i, (own, kind) in enumerate(zip(self._own, self.result.kinds, strict=True)):
            row = next(numbers) if own else np.full(count, next(constants))
            if kind == "value" and fed is not None:
                call = call or Call(self, fed, parameters, fed.values)  # type: ignore[arg-type]
                op = f"{self.name}()"
                start = i * samples.count
                places = np.flatnonzero(lanes).tolist()
                columns.append(
                    column(
                        [
                            _node(op, number, call, None, _Share(start + lane, 1.0))
                            for number, lane in zip(row.tolist(), places, strict=True)
                        ]
                    )
                )
            else:
                columns.append(row != 0.0 if kind == "truth" else row)
        return lanes, columns

    def pull(
        self, cotangents: dict[int, float], inputs: Any, parameters: Array, places: tuple[int, ...]
    ) -> tuple[list[float], Array]:
        """The gradients of the inputs at these places, lane by lane, and of the parameters."""
        fed: _Fed = inputs
        count = len(fed.lanes)
        rows = np.zeros((len(self.program.outputs), count))
        for place, number in cotangents.items():
            rows[place // count, place % count] = number
        reached = tuple(sorted({place // count for place in cotangents}))
        wanted = tuple(sorted({place // count for place in places}))
        if (reached, wanted) not in self._adjoints:
            self._adjoints[reached, wanted] = _Arenas(self._adjoint(reached, wanted), self.options)
        seeds: dict[int, Any] = {}
        for i in reached:
            slot = int(self.program.outputs[i])
            seed = rows[i] if self.program.laned[slot] else rows[i].sum()
            seeds[slot] = seeds.get(slot, 0.0) + seed
        found, _ = self._adjoints[reached, wanted].run(
            [*fed.numbers, *seeds.values()], parameters, count
        )
        found = found[len(seeds) :]
        row_of = dict(zip(wanted, found, strict=False))
        gradients = [float(row_of[place // count][place % count]) for place in places]
        return gradients, found[len(wanted) :, 0]


class Batches:
    """A program with as many runners as threads run it at once, for any number of lanes."""

    def __init__(self, program: Program, options: Options) -> None:
        self.program, self._options = program, options
        self._idle: deque[Runner] = deque()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.program, self._options)

    @functools.cached_property
    def _make(self) -> Callable[[int | None], Runner]:
        return maker(self.program, self._options, lanes=True)

    def run(self, batch: Batch, parameters: Array) -> tuple[Array, Array, Mask | None]:
        """The outputs that all lanes share; a row for each of the others; and in which lanes all
        guards held, None for all of them."""
        try:
            runner = self._idle.pop()
        except IndexError:
            runner = self._make(batch.lanes)
        shared, rows = runner.run_batch(batch, parameters)
        holds = runner.holds() if self.program.guards else None
        self._idle.append(runner)
        return shared, rows, None if holds is None or holds.all() else holds

    def inspect(self, name: str) -> Pass:
        """What runs; see `Mapped.inspect`."""
        try:
            runner = self._idle.pop()
        except IndexError:
            runner = self._make(1)
        found = inspected(name, self.program, runner, self._options, runner.lanes)
        self._idle.append(runner)
        return found


class _Arenas:
    """A program with runners for a few numbers of lanes, as many as threads run it at once."""

    def __init__(self, program: Program, options: Options) -> None:
        self.program, self._options = program, options
        self._idle: OrderedDict[int, deque[Runner]] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.program, self._options)

    @functools.cached_property
    def _make(self) -> Callable[[int | None], Runner]:
        return maker(self.program, self._options, lanes=True)

    def run(self, inputs: list[Any], parameters: Array, lanes: int) -> tuple[Array, Mask]:
        """The outputs, and in which lanes all guards held."""
        idle = self._idle.setdefault(lanes, deque())
        try:
            runner = idle.pop()
        except IndexError:
            runner = self._make(lanes)
        outputs = runner.run(inputs, parameters)
        holds = runner.holds()
        idle.append(runner)
        while len(self._idle) > ARENAS:
            self._idle.popitem(last=False)
        return outputs, holds

    def inspect(self, name: str) -> Pass:
        """What runs; see `Mapped.inspect`."""
        lanes = next(reversed(self._idle), 1)
        idle = self._idle.setdefault(lanes, deque())
        try:
            runner = idle.pop()
        except IndexError:
            runner = self._make(lanes)
        found = inspected(name, self.program, runner, self._options, lanes)
        idle.append(runner)
        return found


Recorded: TypeAlias = tuple[str, Graph, Program, Result, list[guards.Site], Options]


def recorded(f: Callable[..., Any], samples: Given, lane: int, options: Options) -> Recorded:
    """What a path is made of: that which one lane takes."""
    arguments = Arguments(f, samples.sample(lane), samples.options)
    with Recording() as recording:
        result = Result(f, arguments.call(recording), recording)
        recording.graph.outputs = result.nodes
    graph = recording.graph
    program = woven(graph, options, samples.laned)
    return f"vmap({tree.name(f)})", graph, program, result, recording.sites, options
