"""vmap with `reduce`: the mean or the sum over all samples, and its gradient, in one native call.

What a function gives for a sample becomes one more sum over lanes, so that the sum over samples is
a number of the program itself, and its adjoint that of any program: nothing comes out of it lane by
lane but what is asked for by lane. Lanes that take different ways are different programs; each
adds up its own, and the sums are added here.
"""

import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradloom.backends.batch import Batch
from gradloom.backends.choice import Options, backward
from gradloom.backends.inspection import Pass
from gradloom.core import autodiff, ops, tree
from gradloom.core.value import Value, _node
from gradloom.errors import ArgumentError, RecordingError, ShapeError
from gradloom.loom import guards
from gradloom.loom.graph import Graph
from gradloom.loom.program import Instruction, Program
from gradloom.loom.record import current
from gradloom.loom.views import View
from gradloom.transforms.arguments import Result, _put
from gradloom.transforms.lanes import STRUCTURES, Batches, Mapped, Mask, recorded
from gradloom.transforms.replay import Call, Path, _Share
from gradloom.transforms.rows import Given, given, put
from gradloom.transforms.samples import Array, Axis, bare

REDUCTIONS = ("mean", "sum")
Slots: TypeAlias = NDArray[np.int64]


class Reduced(Mapped):
    """What `vmap` returns where it has a `reduce`."""

    def __init__(
        self,
        f: Callable[..., Any],
        in_axes: Axis | Sequence[Axis],
        options: Options,
        reduce: str,
    ) -> None:
        if reduce not in REDUCTIONS:
            raise ArgumentError(f"reduce must be 'mean', 'sum' or None, got {reduce!r}")
        super().__init__(f, in_axes, options)
        self._reduce = reduce

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, reduce={self._reduce!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Reduced, (self._f, self._axes, self._options, self._reduce)

    def _share(self, samples: Given) -> float:
        """What a sample counts."""
        return 1.0 / samples.count if self._reduce == "mean" else 1.0

    def _one_by_one(self, samples: Given) -> Any:
        flat: list[list[Any]] = []
        first: Any = None
        for lane in range(samples.count):
            flat.append([])
            structure = bare(self._f(*samples.sample(lane), **samples.options), flat[-1])
            first = structure if lane == 0 else first
            if structure != first:
                raise ShapeError(
                    f"vmap of {tree.name(self._f)}: the result of lane {lane} is structured "
                    "otherwise than that of lane 0; results are added up, so all lanes must give "
                    "one structure"
                )
        share = self._share(samples)
        return _put(first, iter([ops.sum(numbers) * share for numbers in zip(*flat, strict=True)]))

    def _recorded(self, samples: Given, lane: int) -> "Total":  # type: ignore[override]
        return Total(*recorded(self._f, samples, lane, self._options))

    def _parts(
        self, samples: Given, form: "Callable[[Total], Form]", seeds: Sequence[float] = ()
    ) -> "list[Part] | None":
        """What each way gives for the lanes that take it, or None where they take too many.

        Args:
            samples: all lanes.
            form: which program of a way is run.
            seeds: what more goes into it.
        """
        batch = samples.batch().with_shared(seeds)
        paths: Any = self._known(samples)
        if paths:
            part: Part | None = paths[0].part(form(paths[0]), batch)
            if part is not None and part.lanes is None:
                return [part]
        else:
            part = None
        found = [] if part is None else [part]
        left = np.ones(samples.count, dtype=bool) if part is None else ~part.taken
        way: Any
        for way, sure in self._ways(paths, samples, left, tried=1 if paths else 0):
            part = way.part(form(way), batch, left, sure)
            if part is not None:
                found.append(part)
                left &= ~part.taken
        return None if left.any() else found

    def _run(self, samples: Given) -> Any:
        parts = self._parts(samples, Total.going_back)
        if parts is None:
            return self._one_by_one(samples)
        share, result = self._share(samples), parts[0].way.result
        if any(part.way.result.structure != result.structure for part in parts[1:]):
            return self._one_by_one(samples)  # which says what is wrong
        columns = [part.totals(samples, share) for part in parts]
        return result.put([functools.reduce(_plus, some) for some in zip(*columns, strict=True)])

    def _derive(self, kind: str, *argnums: Any) -> "Slope | None":
        """A derivative of this function; `core.autodiff` asks for it."""
        return Slope(self, kind, *argnums) if kind in ("grad", "value_and_grad") else None

    def bind(self, *args: Any, **options: Any) -> "BoundTotal":
        """This function of these arguments, to be called without any: value and gradient at once.

        A call gives the number that the function gives, and adds to the gradient of every value
        what `backward()` on the result adds, in one native call. Values are read anew at each call,
        and so are arrays of float64, where they lie; anything else is not.

        Raises:
            RecordingError (when called): the function returns anything but one value.

        >>> import gradloom as gl
        >>> w = gl.Value(3.0)
        >>> loss = gl.vmap(lambda x: (w * x - 1.0) ** 2, reduce="mean").bind([1.0, 2.0])
        >>> loss(), w.grad
        (14.5, 12.0)
        """
        return BoundTotal(self, given(self._f, args, options, self._axes))


def _plus(a: Any, b: Any) -> Any:
    return a + b


def summed(program: Program) -> Program:
    """The program with the sums over lanes of its results as results, as far as they have lanes."""
    own = np.unique(program.outputs[program.laned[program.outputs]])
    size, count = len(program.template), len(own)
    if not count:
        return program
    into = View(size, (1,))
    at = View(int(own[0]), (1,))
    if (np.diff(own) != 1).any():
        at = View(0, (1,), own)
    add = Instruction((count,), into, 0, (at,), accumulate=True)
    places = np.arange(size + count)
    places[own] = size + np.arange(count)
    return replace(
        program,
        template=np.concatenate([program.template, np.full(count, -0.0)]),
        instructions=[*program.instructions, add],
        outputs=places[program.outputs],
        laned=np.concatenate([program.laned, np.zeros(count, dtype=bool)]),
    )


class Form:
    """A program of a way, with where its results go.

    Args:
        program: what is run.
        options: how.
    """

    def __init__(self, program: Program, options: Options) -> None:
        self.program = program
        self._batches = Batches(program, options)
        own = program.laned[program.outputs]
        self.laned = own.tolist()
        self.shared = int(np.count_nonzero(~program.laned[program.inputs]))  # inputs
        # For each result its place among those that have lanes, or among those that have none.
        self.places = np.where(own, np.cumsum(own), np.cumsum(~own)).astype(int) - 1

    def run(self, batch: Batch, parameters: Array) -> "tuple[Outcome, Mask | None]":
        """The results, and which lanes hold all guards: None if all do."""
        shared, rows, holds = self._batches.run(batch, parameters)
        return Outcome(self, shared, rows), holds

    def inspect(self, name: str) -> Pass:
        """What runs; see `Mapped.inspect`."""
        return self._batches.inspect(name)


@dataclass(slots=True)
class Outcome:
    """The results of a run of a form: some shared, the others in rows of as many as lanes."""

    form: Form
    shared: Array
    rows: Array

    def some(self, start: int, stop: int) -> Array:
        """Results that all have lanes, or all have none."""
        if start == stop:
            return np.empty(0)
        places, source = self.form.places, self.rows if self.form.laned[start] else self.shared
        return source[places[start] : places[stop - 1] + 1]


@dataclass(slots=True)
class _Fed:
    """What went into a run.

    Attributes:
        batch: the numbers; where they may change before anybody goes back, copies.
        values: the values among them, each with its place: input · lanes + lane.
        count: how many lanes the arrays have.
        found: the gradient by a seed of 1, if it was computed along with the result.
        back: whether somebody has gone back.
    """

    batch: Batch
    values: list[tuple[int, Value]]
    count: int
    found: Outcome | None = None
    back: bool = False


class Total(Path):
    """A way through a function: its results are sums over the lanes that take it, and so are
    gradients by what all lanes share."""

    def __init__(
        self,
        name: str,
        graph: Graph | None,
        program: Program,
        result: Result,
        sites: list[guards.Site],
        options: Options,
    ) -> None:
        self.weighted = program.laned[program.outputs].tolist()
        super().__init__(name, graph, summed(program), result, sites, options)
        self._forms: dict[Any, Form] = {}
        self._last: _Fed | None = None
        self.gives_values = "value" in result.kinds

    def inspect(self) -> list[Pass]:
        """What runs: the function and its gradients, as far as they were asked for."""
        return [
            form.inspect("gradient" if key else "forward")
            for key, form in list(self._forms.items())
        ]

    # Forms

    def form(self, key: Any, make: Callable[[], Program]) -> Form:
        """One of the programs, made once."""
        found = self._forms.get(key)
        if found is None:
            found = self._forms[key] = Form(make(), self.options)
        return found

    @property
    def is_loss(self) -> bool:
        """Whether the function gives one value and nothing else."""
        return self.result.structure is None and self.gives_values

    def going_back(self) -> Form:
        """The function with its gradient, if the last result went back; else by itself.

        A training step takes one run so, and a look at the loss no more than it must.
        """
        last = self._last
        if self.is_loss and last is not None and last.back:
            return self.gradient((0,), self._inputs_of(last))
        return self.form((), lambda: self.program)

    def _inputs_of(self, fed: _Fed) -> tuple[int, ...]:
        return tuple(sorted({place // fed.count for place, _ in fed.values}))

    def gradient(self, reached: tuple[int, ...], wanted: tuple[int, ...]) -> Form:
        """The results reached, each once, then their gradients by inputs and all parameters; what
        is seeded is put in behind the inputs."""

        def make() -> Program:
            program = self.program
            slots = dict.fromkeys(int(program.outputs[i]) for i in reached)
            some = replace(program, outputs=np.array(list(slots), dtype=np.int64))
            by = np.concatenate([program.inputs[list(wanted)], program.parameters])
            return backward(some, by.astype(np.int64), self.options)

        return self.form((reached, wanted), make)

    # Runs

    def part(
        self, form: Form, batch: Batch, left: Mask | None = None, sure: int | None = None
    ) -> "Part | None":
        """What comes out for those of the lanes that are left which take this way, if any do.

        Args:
            form: what is run.
            batch: all lanes.
            left: which of them have no way yet; None for all.
            sure: one that takes this way in any case.
        """
        parameters = self._leaves.numbers()
        some = batch if left is None else batch.chosen(np.flatnonzero(left))
        if len(some.shared) < form.shared:
            some = some.with_shared([1.0])  # the seed of a gradient that is computed along
        outcome, holds = form.run(some, parameters)
        if holds is None:
            return Part(self, some, left if left is None else left.copy(), parameters, outcome)
        lanes = np.ones(batch.lanes, dtype=bool) if left is None else left.copy()
        if sure is not None:
            holds[np.count_nonzero(lanes[:sure])] = True
        if not holds.any():
            return None
        lanes[lanes] = holds
        if not holds.all():
            some = some.chosen(np.flatnonzero(lanes))
            outcome, _ = form.run(some, parameters)
        return Part(self, some, lanes, parameters, outcome)

    def pull(
        self, cotangents: dict[int, float], inputs: Any, parameters: Array, places: tuple[int, ...]
    ) -> tuple[list[float], Array]:
        """The gradients of the inputs at these places, and of the parameters."""
        fed: _Fed = inputs
        fed.back = True
        reached = tuple(sorted(cotangents))
        wanted = self._inputs_of(fed)
        outcome, scale = fed.found, 1.0
        if len(reached) == 1:
            scale = cotangents[reached[0]]
        if outcome is None:
            above: dict[int, float] = {}
            for i in reached:
                slot = int(self.program.outputs[i])
                above[slot] = above.get(slot, 0.0) + cotangents[i]
            seeds = [1.0] if len(reached) == 1 else list(above.values())
            form = self.gradient(reached, wanted)
            outcome, _ = form.run(fed.batch.with_shared(seeds), parameters)
        return taken(outcome, fed, wanted, places, scale)


def taken(
    outcome: Outcome, fed: _Fed, wanted: Sequence[int], places: Sequence[int], scale: float
) -> tuple[list[float], Array]:
    """Of a gradient, what belongs to values at places among the inputs, and to parameters."""
    last = len(outcome.form.laned)
    program = outcome.form.program
    first = last - len(program.parameters)
    start = first - len(wanted)
    row_of = {x: outcome.some(start + i, start + i + 1)[0] for i, x in enumerate(wanted)}
    order = fed.batch.order
    found = []
    for place in places:
        gradient, lane = row_of[place // fed.count], place % fed.count
        if np.ndim(gradient):
            gradient = gradient[lane if order is None else int(np.searchsorted(order, lane))]
        found.append(float(gradient) * scale)
    return found, outcome.some(first, last) * scale


@dataclass(slots=True)
class Part:
    """What one way gives for the lanes that take it, None for all.

    Attributes:
        way: the way.
        batch: what went in.
        lanes: which lanes take it.
        parameters: the numbers of the values that were read.
        outcome: what came out.
    """

    way: Total
    batch: Batch
    lanes: Mask | None
    parameters: Array
    outcome: Outcome

    @property
    def taken(self) -> Mask:
        """Which lanes take it, one by one."""
        return np.ones(self.batch.lanes, dtype=bool) if self.lanes is None else self.lanes

    def weights(self, share: float) -> list[float]:
        """What each result counts: what all lanes share, once for every lane."""
        return [share if own else share * self.batch.lanes for own in self.way.weighted]

    def slopes(self, start: int, stop: int) -> Array:
        """Some of the gradients, of a seed that is what a lane counts."""
        found = self.outcome.some(start, stop)
        return found if self.way.weighted[0] or found.ndim == 2 else found * self.batch.lanes

    def totals(self, samples: Given, share: float) -> list[Any]:
        """This way's part of each number of the result."""
        way, result = self.way, self.way.result
        numbers = self.outcome.shared[: len(way.weighted)].tolist()
        if not way.gives_values:
            return [x * w for x, w in zip(numbers, self.weights(share), strict=True)]
        fed = self.feed(samples)
        way._last = fed
        call = Call(way, fed, self.parameters, fed.values)  # type: ignore[arg-type]
        return [
            _node(f"{way.name}()", x * w, call, None, _Share(i, w)) if kind == "value" else x * w
            for i, (x, w, kind) in enumerate(
                zip(numbers, self.weights(share), result.kinds, strict=False)
            )
        ]

    def feed(self, samples: Given) -> _Fed:
        """What went in, for the way back."""
        count, along = samples.count, self.outcome.form.program is not self.way.program
        laned = set(samples.laned) if samples.values else set()
        values = [
            (place, value)
            for place, value in samples.values
            if place // count not in laned or self.lanes is None or self.lanes[place % count]
        ]
        found = self.outcome if along else None
        return _Fed(self.batch if along else self.batch.copy(), values, count, found)


class Slope:
    """`grad` or `value_and_grad` of a reduced function: one native call for each way.

    Args:
        base: the function.
        kind: "grad" or "value_and_grad".
        argnums: the argument or arguments to differentiate by.
    """

    def __init__(self, base: Reduced, kind: str, argnums: int | Sequence[int]) -> None:
        self._base, self._kind, self._argnums = base, kind, argnums
        self._plans: dict[Any, _Plan] = {}
        functools.update_wrapper(self, base, updated=())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._base, self._kind, self._argnums)

    def __repr__(self) -> str:
        return f"{self._kind}({self._base!r})"

    def __call__(self, *args: Any, **options: Any) -> Any:
        base = self._base
        samples = given(base._f, args, options, base._axes)
        if not samples.symbolic and not samples.values and current() is None:
            found = self._run(samples, args)
            if found is not None:
                return found if self._kind == "value_and_grad" else found[1]
        derive = getattr(autodiff, self._kind)
        return derive(functools.partial(_plain, base), self._argnums)(*args, **options)

    def _plan(self, samples: Given, args: tuple[Any, ...]) -> "_Plan":
        """What to do for samples of one structure, told once."""
        plan = self._plans.get(samples.key)
        if plan is None:
            argnums: Any = self._argnums
            autodiff.pick(self._base, args, argnums)
            several = isinstance(argnums, Sequence)
            places = [i % len(args) for i in (argnums if several else [argnums])]
            spans = [samples.spans[i] for i in places]
            wanted = tuple([x for start, stop in spans for x in range(start, stop)])
            axes = self._base._axes
            each = axes if isinstance(axes, tuple) else (axes,) * len(args)
            ways = [
                (i, each[i], start, stop) for i, (start, stop) in zip(places, spans, strict=True)
            ]
            if len(self._plans) >= STRUCTURES:
                self._plans.clear()
            plan = self._plans[samples.key] = _Plan(ways, wanted, several)
        for i, _, start, stop in plan.chosen:
            self._check(args[i], stop - start, samples, i)
        return plan

    def _run(self, samples: Given, args: tuple[Any, ...]) -> tuple[Any, Any] | None:
        """Value and gradient; None where plain code must find them."""
        base, plan = self._base, self._plan(samples, args)
        share = base._share(samples)
        try:
            parts = base._parts(samples, plan.form, [share])
        except RecordingError:
            return None
        if parts is None or any(part.way.gives_values for part in parts):
            return None
        total = 0.0
        for part in parts:
            if part.way.result.structure is not None:
                autodiff.check_number(base._f, part.way.result.structure)
            total += float(part.outcome.shared[0]) * part.weights(share)[0]
        slopes = []
        at = 1
        for i, axis, start, stop in plan.chosen:
            found = [part.slopes(at, at + stop - start) for part in parts]
            at += stop - start
            whole = found[0]
            if len(parts) > 1 and axis is not None:
                whole = np.zeros((stop - start, samples.count))
                for part, own in zip(parts, found, strict=True):
                    whole[:, part.taken] = own
            elif len(parts) > 1:
                whole = functools.reduce(np.add, found)
            slopes.append(put(args[i], axis, whole))
        return total, tuple(slopes) if plan.several else slopes[0]

    def _check(self, x: Any, size: int, samples: Given, place: int) -> None:
        """Every leaf of an argument must be a number that the program takes."""
        if isinstance(x, float) or (isinstance(x, np.ndarray) and x.dtype.kind in "iuf"):
            return
        if len(tree.flatten(x)[0]) != size * (samples.count if samples.mapped[place] else 1):
            raise ArgumentError(
                f"argument {place} holds truth values, which are taken as they are; pass 1.0 and "
                "0.0 to differentiate by them"
            )


@dataclass(frozen=True, slots=True)
class _Plan:
    """How gradients are taken of samples of one structure.

    Attributes:
        chosen: the arguments by which: which, the axis of its samples, where its inputs begin and
            where they end.
        wanted: all those inputs.
        several: whether a list of arguments was asked for.
    """

    chosen: list[tuple[int, Axis, int, int]]
    wanted: tuple[int, ...]
    several: bool

    def form(self, way: Total) -> Form:
        """The gradient of a way."""
        return way.gradient((0,), self.wanted)


def _plain(base: Reduced, *args: Any, **options: Any) -> Any:
    """A reduced function as one that does not derive itself."""
    return base(*args, **options)


class BoundTotal:
    """What `Reduced.bind` gives; see there."""

    def __init__(self, base: Reduced, samples: Given) -> None:
        self._base, self._samples = base, samples
        self._lock = threading.Lock()
        count = samples.count
        self._wanted = tuple(sorted({place // count for place, _ in samples.values}))

    def __call__(self) -> float:
        """The number that the function gives; its gradient is added to that of every value."""
        base, samples = self._base, self._samples
        with self._lock:
            parts = base._parts(samples, self._form, [1.0])
        if parts is None:
            result = base._one_by_one(samples)
            result.backward()
            return float(result.data)
        share, total = base._share(samples), 0.0
        for part in parts:
            (weight,) = part.weights(share)
            total += float(part.outcome.shared[0]) * weight
            fed = part.feed(samples) if samples.values else _Fed(part.batch, [], samples.count)
            places = [place for place, _ in fed.values]
            inner, outer = taken(part.outcome, fed, self._wanted, places, weight)
            part.way._leaves.add(outer)
            for (_, value), gradient in zip(fed.values, inner, strict=True):
                value.grad += gradient
        return total

    def _form(self, way: Total) -> Form:
        if way.result.structure is not None:
            raise RecordingError(f"{way.name} returns no single value; only a loss can be bound")
        return way.gradient((0,), self._wanted)
