"""The compiled engine: one sample is recorded, the samples of a batch are its lanes.

What the model and the loss do with one sample becomes an array program (see `gradloom.loom`); its
adjoint leaves the gradient in the array that all parameters share, and the optimizer steps on that
array. So Python's work in an update does not grow with the network or the batch.

A recording holds for the samples that take the same way through every branch. Where samples part,
each way is recorded, and a batch is sorted by them first. A recording is trusted only if it gives
the plain engine's numbers. What it was given besides the sample and the parameters (an attribute, a
number outside) is looked at again after the first update and between epochs.
"""

import hashlib
import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import zip_longest
from time import perf_counter
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradloom.backends import steps
from gradloom.backends.choice import Options, Runner, maker, woven
from gradloom.core import tree
from gradloom.core.table import primal
from gradloom.core.value import Value
from gradloom.loom.adjoint import adjoint
from gradloom.loom.graph import Graph
from gradloom.loom.guards import Site
from gradloom.loom.program import Program
from gradloom.loom.record import Recording
from gradloom.loom.update import Before, OutOfOrderError
from gradloom.nn import Module, Parameter
from gradloom.train.engine import CannotCompileError, Engine, Task, Update
from gradloom.train.engine import plain as plain_output
from gradloom.train.samples import Output, Row, Samples, Target
from gradloom.transforms.training import Trainer, settings

Array: TypeAlias = NDArray[np.float64]
Places: TypeAlias = NDArray[np.int64]
# From a row and a target to numbers; the first is the loss, if it is to be differentiated.
Function = Callable[[Row, Target], Sequence[Any]]

_WAYS = 16  # as many as are recorded before the plain engine is the better choice
_ROOM = 1 << 19  # numbers in the arena of a block of lanes: it should stay in cache
_SHARED = 1 << 22  # operations in a batch from which on threads gain more than fewer calls do
_RUNNERS = 12  # arenas kept for each way, one for each number of lanes


class Lanes:
    """A function of one sample, run on many at once.

    Args:
        function: what to record.
        parameters: the Values whose numbers the methods are given.
        row, target: the first sample.

    Attributes:
        ways: what is recorded.
        leaves: the parameters and behind them the other Values that the function reads.
        seen: the digests of all ways that were recorded.

    Raises:
        CannotCompileError: from here and from each method, before anything is changed.
    """

    def __init__(
        self, function: Function, parameters: Sequence[Value], row: Row, target: Target
    ) -> None:
        self.leaves: list[Value] = list(parameters)
        self.seen: set[str] = set()
        self._places = {id(leaf): place for place, leaf in enumerate(parameters)}
        self._function = function
        self._first, self._structure = tree.flatten((row, target))
        raw = [*row, *(target if isinstance(target, list) else [target])]
        self._kinds = [int if isinstance(number, int) else float for number in raw]
        self.ways: list[_Way] = []
        way = self._record(self._first)
        if self._record(self._first).digest != way.digest:
            raise CannotCompileError("the model, loss or penalty draws random numbers, or counts")
        self._keep(way)

    def evaluate(self, columns: Array, numbers: Array) -> Array:
        """The function's results, a row each, for samples that are columns."""
        return self._run(columns, numbers, None)[0]

    def differentiate(self, columns: Array, numbers: Array, share: float) -> tuple[Array, Array]:
        """The results, and the derivative of `share` times the sum of the first by every leaf."""
        return self._run(columns, numbers, share)

    def look_again(self, *, moved: bool) -> None:
        """Records the first sample anew, lest something it depends on has changed unnoticed.

        Args:
            moved: whether nothing but the parameters can have changed since the last time.
        """
        way = self._record(self._first)
        if any(way.digest == known.digest for known in self.ways):
            return
        if any(way.decisions == known.decisions for known in self.ways):
            if moved:
                raise CannotCompileError(
                    "the model, loss or penalty reads plain numbers that change with the updates"
                )
            self.ways.clear()
            self.seen.clear()
        self._keep(way)

    def _run(self, columns: Array, numbers: Array, share: float | None) -> tuple[Array, Array]:
        if len(self.ways) == 1:  # in the hope that all samples take it
            groups = [(self.ways[0], np.arange(columns.shape[1]))]
            done = self._blocks(groups, columns, numbers, share, sure=False)
            if done is not None:
                return done
        groups = self._sorted(columns, numbers)
        done = self._blocks(groups, columns, numbers, share, sure=True)
        assert done is not None
        return done

    def _blocks(
        self,
        groups: "list[tuple[_Way, Places]]",
        columns: Array,
        numbers: Array,
        share: float | None,
        *,
        sure: bool,
    ) -> tuple[Array, Array] | None:
        """The results of every group and the gradient; None if a sample takes another way.

        Once they are sorted the ways are sure: what rounding puts on either side of a branch is
        right on both.
        """
        found = np.empty((groups[0][0].outputs, columns.shape[1]))
        gradient = np.zeros(len(self.leaves))
        for way, group in groups:
            at = self._at(way, numbers)
            for first in range(0, len(group), way.block):
                block = group[first : first + way.block]
                found[:, block], held = way.run(columns[:, block], at, share)
                if not (sure or held.all()):
                    return None
                if share is not None:
                    gradient[way.order] += way.gradient
        return found, gradient

    def _at(self, way: "_Way", numbers: Array) -> Array:
        """The numbers that a way's program reads, from those of the parameters."""
        others = [leaf.data for leaf in self.leaves[len(numbers) :]]
        return (np.concatenate([numbers, others]) if others else numbers)[way.order]

    def _sorted(self, columns: Array, numbers: Array) -> "list[tuple[_Way, Places]]":
        """The samples by their ways, in an order that depends on the batch alone."""
        groups = []
        left = np.arange(columns.shape[1])
        tried = 0
        while len(left):
            if tried == len(self.ways):
                self._keep(self._record(columns[:, left[0]].tolist()))
            way, tried = self.ways[tried], tried + 1
            held = way.holds(columns[:, left], self._at(way, numbers))
            if held.any():
                groups.append((way, left[held]))
            left = left[~held]
        return sorted(groups, key=lambda group: int(group[1][0]))

    def _record(self, sample: list[float]) -> "_Way":
        recording = Recording()
        graph = recording.graph
        try:
            with recording:
                symbols = [recording.input(number) for number in sample]
                results = self._function(*tree.unflatten(self._structure, symbols))
                nodes = [recording.symbol(y)._node for y in tree.flatten(results)[0]]
            graph.outputs = nodes
        except Exception as error:  # whatever the plain engine does not meet
            raise CannotCompileError(f"recording it failed: {error}") from error
        for value in graph.parameters:
            if self._places.setdefault(id(value), len(self.leaves)) == len(self.leaves):
                self.leaves.append(value)
        order = [self._places[id(value)] for value in graph.parameters]
        return _Way(graph, order, sample, recording.sites)

    def _keep(self, way: "_Way") -> None:
        """Takes a new way up, if it is not one too many and gives the plain engine's numbers."""
        if len(self.seen | {way.digest}) > _WAYS:
            raise CannotCompileError(f"samples take more than {_WAYS} ways{way.parting(self.ways)}")
        if any(way.outputs != known.outputs for known in self.ways):
            raise CannotCompileError("samples give outputs of different sizes")
        sample = np.array(way.sample)[:, None]
        at = np.array([self.leaves[place].data for place in way.order])
        results, _ = way.run(sample, at, None)
        plain = [kind(number) for kind, number in zip(self._kinds, way.sample, strict=True)]
        wanted = [primal(y) for y in self._function(*tree.unflatten(self._structure, plain))]
        if not np.allclose(results[:, 0], wanted, rtol=1e-9, atol=1e-9, equal_nan=True):
            raise CannotCompileError(
                f"recorded, a sample gives {results[0, 0]:.12g} where it should give "
                f"{wanted[0]:.12g}"
            )
        self.seen.add(way.digest)
        self.ways.append(way)


class _Way:
    """One way through the branches of a function.

    Attributes:
        sample: the one it was recorded on.
        order: the places of the program's values among the leaves.
        decisions: the numbers on which the recording depends.
        digest: tells recordings apart, in every process alike.
        gradient: after a run with a share, the derivative by the program's values.
    """

    gradient: Array

    def __init__(
        self, graph: Graph, order: list[int], sample: list[float], sites: Sequence[Site]
    ) -> None:
        self.sample = sample
        self._sites = sites
        self.order: Places = np.array(order, dtype=np.int64)
        self.decisions = [(node, repr(number)) for node, number in graph.guards]
        constants = array("d", graph.constants)
        said = repr((order, graph.outputs, self.decisions)).encode()
        digest = hashlib.blake2b(said, digest_size=16)
        for part in (graph.codes, graph.starts, graph.operands, constants):
            digest.update(part)
        self.digest = digest.hexdigest()
        self.outputs = len(graph.outputs)
        self._graph = graph
        self._runners: dict[tuple[bool, int], Runner] = {}
        self._makers: dict[bool, Callable[[int | None], Runner]] = {}

    @cached_property
    def _forward(self) -> Program:
        return woven(self._graph, Options(), range(self._graph.inputs))

    @cached_property
    def backward(self) -> tuple[Program, Places]:
        """The program with its adjoint by the loss, and where that leaves the gradient."""
        program = self._forward
        both = adjoint(replace(program, outputs=program.outputs[:1]), program.parameters)
        return replace(both, outputs=program.outputs), both.outputs[1:]

    @cached_property
    def operations(self) -> int:
        """About how many a sample takes, forward and backward."""
        return sum(math.prod(one.shape) for one in self.backward[0].instructions)

    @property
    def block(self) -> int:
        """How many lanes to run at once, a power of 2."""
        return 1 << max(1, _ROOM // len(self._forward.template)).bit_length() - 1

    def run(
        self, columns: Array, numbers: Array, share: float | None
    ) -> tuple[Array, NDArray[np.bool_]]:
        """The results, and which of the samples take this way.

        Where samples may part, the number of lanes is rounded up to a power of 2, so that few
        arenas serve groups of all sizes; the lanes too many repeat a sample and have no share.
        """
        count = columns.shape[1]
        lanes = 1 << (count - 1).bit_length() if self.decisions else count
        if lanes > count:
            spare = columns[:, -1:].repeat(lanes - count, axis=1)
            columns = np.concatenate([columns, spare], axis=1)
        runner = self._runner(lanes, backward=share is not None)
        inputs: Any = columns
        if share is not None:
            shares = np.zeros((1, lanes))
            shares[0, :count] = share
            if self._forward.laned[self._forward.outputs[0]]:
                inputs = np.concatenate([columns, shares])
            else:  # a loss that does not look at the samples
                inputs = [*columns, share * count]
        results = runner.run(inputs, numbers)
        if share is not None:
            self.gradient = runner.read_shared(self.backward[1])
        return results[:, :count], runner.holds()[:count]

    def holds(self, columns: Array, numbers: Array) -> NDArray[np.bool_]:
        """Which of the samples take this way."""
        starts = range(0, columns.shape[1], self.block)
        blocks = [columns[:, first : first + self.block] for first in starts]
        return np.concatenate([self.run(block, numbers, None)[1] for block in blocks])

    def parting(self, others: "Sequence[_Way]") -> str:
        """Where this way parts from the last of the others, and what to write there instead."""
        known = others[-1].decisions if others else []
        pairs = enumerate(zip_longest(self.decisions, known))
        parting = [i for i, (ours, theirs) in pairs if ours != theirs and i < len(self._sites)]
        if not parting:
            return ""
        site = self._sites[parting[0]]
        return f", because {site.kind} decides at {site.file}:{site.line}; write {site.remedy}"

    def _runner(self, lanes: int, *, backward: bool) -> Runner:
        runner = self._runners.pop((backward, lanes), None)
        if runner is None:
            if len(self._runners) == _RUNNERS:
                del self._runners[next(iter(self._runners))]  # the one that has rested longest
            if backward not in self._makers:
                program = self.backward[0] if backward else self._forward
                self._makers[backward] = maker(program, Options(), lanes=True)
            runner = self._makers[backward](lanes)
        self._runners[backward, lanes] = runner
        return runner


class CompiledEngine(Engine):
    """The engine that runs a batch as arrays; see the module.

    Raises:
        CannotCompileError: the model, the loss or the penalty cannot be recorded.
    """

    name: ClassVar = "compiled"

    def __init__(self, task: Task) -> None:
        self._task = task
        self._columns = _columns(task.samples)
        self._trainer: tuple[Any, Trainer | None] = None, None
        self._steps = 0
        self._moves = -1
        self._numbers = self._grads = np.empty(0)
        ours = task.optimizer.parameters
        self._packed = steps.has_rule(task.optimizer) and (
            list(map(id, ours)) == list(map(id, task.parameters))
        )
        rows, targets = task.samples
        self._bare = True

        def example(row: Row, target: Target) -> list[Any]:
            loss, output = task.example(row, target)
            self._bare = not isinstance(output, list | tuple)
            return [loss, output] if self._bare else [loss, *output]

        self._samples = Lanes(example, task.parameters, rows[0], targets[0])
        self._recorded = [self._samples]
        self._penalty = None
        if penalty := task.penalty:
            parameters = task.parameters
            self._penalty = Lanes(lambda *_: [penalty(parameters)], parameters, [0.0], 0.0)
            self._recorded.append(self._penalty)

    def look_again(self) -> None:
        for lanes in self._recorded:
            lanes.look_again(moved=False)

    def rush(
        self,
        order: Sequence[int],
        batch_size: int,
        clipping: tuple[float | None, float | None],
        schedule: Callable[[int], float] | None,
        outputs: list[Output] | None,
    ) -> list[Update]:
        self._look_after_first()
        self._home()  # all parameters side by side
        trainer = self._trainer_for(min(batch_size, len(self._columns.T)), clipping)
        if trainer is None:
            return []
        steps = trainer.pace.steps(-(-len(order) // batch_size)) if self._steps else 1
        order = order[: steps * batch_size]
        started = perf_counter()
        trainer.driver.sample_from([self._columns.T])
        made, losses, norms, results = trainer.run(steps, order, schedule=schedule)
        trainer.pace.took(made, perf_counter() - started)
        self._steps += made
        sizes = [min(batch_size, len(order) - i * batch_size) for i in range(made)]
        if outputs is not None:
            rows = len(results) // len(order)
            ends = rows * np.cumsum([0, *sizes])
            for size, begin, end in zip(sizes, ends[:-1], ends[1:], strict=True):
                outputs += self._plain(results[begin:end].reshape(rows, size))
        figures = zip(sizes, losses.tolist(), norms.tolist(), strict=False)
        return [Update(*figure) for figure in figures]

    def _trainer_for(
        self, batch_size: int, clipping: tuple[float | None, float | None]
    ) -> Trainer | None:
        """What makes many updates at once; None where samples or the penalty may part, where there
        is more to do than it does, and where a batch is so much that threads had better share
        it."""
        optimizer = self._task.optimizer
        lone = all(len(lanes.seen) == len(lanes.ways) == 1 for lanes in self._recorded)
        bare = all(len(lanes.leaves) == len(optimizer.parameters) for lanes in self._recorded)
        if not (self._packed and lone and bare) or Options().chosen != "native":
            return None
        ways = [lanes.ways[0] for lanes in self._recorded]
        if ways[0].operations * batch_size > _SHARED:
            return None
        key = [way.digest for way in ways], batch_size, clipping, settings(optimizer)
        if self._trainer[0] != key:
            self._trainer = key, self._make_trainer(ways, batch_size, clipping)
        return self._trainer[1]

    def _make_trainer(
        self, ways: "list[_Way]", batch_size: int, clipping: tuple[float | None, float | None]
    ) -> Trainer | None:
        from gradloom.backends.llvm.lowering import UnsupportedError

        before = Before(*clipping, measured=True)
        if len(ways) == 2:
            program, slopes = ways[1].backward
            if ways[1].decisions:
                return None
            template = program.template.copy()
            template[program.inputs[-1]] = 1.0  # the share of the penalty in what is minimised
            program = replace(program, template=template)
            before = replace(before, penalty=program, slopes=slopes, places=ways[1].order)
        try:
            return Trainer(
                *ways[0].backward, self._task.optimizer, before, batch=batch_size, finite=True
            )
        except (UnsupportedError, OutOfOrderError):
            return None

    def _look_after_first(self) -> None:
        """See whether the first update has changed anything but the parameters."""
        if self._steps == 1:
            for lanes in self._recorded:
                lanes.look_again(moved=True)

    def learn(self, batch: Sequence[int], outputs: list[Output]) -> float:
        self._look_after_first()
        numbers, grads = self._home()
        columns = self._columns[:, batch]
        found, gradient = self._samples.differentiate(columns, numbers, 1 / len(batch))
        shares = [(self._samples, gradient)]
        if self._penalty:
            shares.append((self._penalty, self._penalty.differentiate(_NOTHING, numbers, 1.0)[1]))
        grads[:] = 0.0  # all of them: the optimizer may have but some
        for lanes, share in shares:
            grads += share[: len(grads)]
            for leaf, slope in zip(lanes.leaves[len(grads) :], share[len(grads) :], strict=True):
                leaf.grad += float(slope)
        outputs += self._plain(found)
        return float(found[0].sum())

    def clip(self, value: float | None, norm: float | None) -> float:
        _, grads = self._home()
        if value:
            np.clip(grads, -value, value, out=grads)
        length = _norm(grads)
        if norm and not length + 1e-6 <= norm:
            grads *= norm / (length + 1e-6)
        return length

    def step(self) -> None:
        self._steps += 1
        if self._packed:
            steps.step(self._task.optimizer, *self._home())
        else:
            self._task.optimizer.step()

    def judge(self, samples: Samples) -> tuple[float, list[Output]]:
        found = self._samples.evaluate(_columns(samples), self._home()[0])
        return float(found[0].sum()), self._plain(found)

    def state(self) -> list[list[str]]:
        return [sorted(lanes.seen) for lanes in self._recorded]

    def load_state(self, state: Any) -> None:
        for lanes, seen in zip(self._recorded, state, strict=True):
            lanes.seen.update(seen)

    def _home(self) -> tuple[Array, Array]:
        """The arrays in which the parameters' numbers and gradients live now."""
        if self._moves != Parameter.moves:
            numbers, grads = self._task.model.pack()
            self._numbers, self._grads = np.frombuffer(numbers), np.frombuffer(grads)
            self._moves = Parameter.moves
        return self._numbers, self._grads

    def _plain(self, found: Array) -> list[Output]:
        return found[1].tolist() if self._bare else found[1:].T.tolist()  # type: ignore[no-any-return]


def predict(model: Module, rows: Sequence[Row]) -> list[Output]:
    """The model's outputs for these rows, as plain numbers.

    Example:
        >>> from gradloom.nn import Layer
        >>> layer = Layer(1, 2)
        >>> len(predict(layer, [[0.0], [1.0], [2.0]]))
        3
    """
    if not rows:
        return []
    bare = True

    def outputs(row: Row, _: Target) -> list[Any]:
        nonlocal bare
        output = model(row)
        bare = not isinstance(output, list | tuple)
        return [output] if bare else list(output)

    try:
        lanes = Lanes(outputs, model.parameters(), rows[0], 0.0)
        numbers = np.array([parameter.data for parameter in model.parameters()])
        found = lanes.evaluate(_columns((list(rows), [0.0] * len(rows))), numbers)
    except CannotCompileError:
        return [plain_output(model(row)) for row in rows]
    return found[0].tolist() if bare else found.T.tolist()  # type: ignore[no-any-return]


_NOTHING = np.zeros((2, 1))  # the one sample of a function that does not look at it


def _columns(samples: Samples) -> Array:
    """A column a sample: the numbers of its row, then those of its target. A sample lies in one
    place, since it is taken as a whole."""
    rows, targets = (np.array(part, dtype=np.float64) for part in samples)
    return np.ascontiguousarray(np.column_stack([rows, targets])).T


def _norm(grads: Array) -> float:
    """The length of a vector, without overflow."""
    largest = float(np.abs(grads).max())
    if not largest or not math.isfinite(largest):
        return largest
    scaled = grads / largest
    return largest * math.sqrt(float(scaled @ scaled))
