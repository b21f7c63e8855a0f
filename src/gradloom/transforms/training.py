"""training_step: loss, gradient and the optimizer's update as one program, for many steps at once.

What a training loop does number by number in Python (zero the gradients, compute the loss, walk
back, clip, update) is compiled as a whole; numbers and the optimizer's memory stay where the
machine code works until it returns. It returns at least every twentieth of a second, so that Ctrl-C
gets through. A step that takes another branch than the recorded one is made as the loop in Python
would make it, and recorded for the next time.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradloom.backends.choice import DTYPES, Options, woven
from gradloom.backends.interrupt import patient_interrupt
from gradloom.backends.steps import has_rule
from gradloom.core import ops, tree
from gradloom.core.value import Value
from gradloom.errors import ArgumentError, RecordingError
from gradloom.loom.adjoint import adjoint
from gradloom.loom.program import Program
from gradloom.loom.update import Before, OutOfOrderError, Plan, changes, plan
from gradloom.nn import Optimizer, clip_grad_norm, clip_grad_value
from gradloom.nn.checks import number, whole
from gradloom.nn.module import Parameter
from gradloom.transforms.arguments import Arguments
from gradloom.transforms.bind import is_loss
from gradloom.transforms.compiled import Compiled
from gradloom.transforms.lanes import vmap
from gradloom.transforms.replay import Leaves, Path

Array: TypeAlias = NDArray[np.float64]

CHUNK = 0.05  # seconds, about, after which machine code returns


class Pace:
    """How many steps take about as long as machine code should.

    >>> pace = Pace()
    >>> pace.steps(100)
    1
    >>> pace.took(1, 0.01)
    >>> pace.steps(100), pace.steps(3)
    (5, 3)
    """

    def __init__(self) -> None:
        self._each: float | None = None

    def steps(self, left: int) -> int:
        """How many to make next, of so many that are left."""
        if self._each is None:
            return 1
        return max(1, min(left, round(CHUNK / max(self._each, 1e-9))))

    def took(self, steps: int, seconds: float) -> None:
        """Take note of how long some took."""
        if steps:
            self._each = seconds / steps


class Batches:
    """Samples as rows of numbers, and which of them each update is for."""

    def __init__(self, columns: Sequence[Any], batch_size: int, order: Any) -> None:
        self.columns = [np.asarray(column, dtype=np.float64) for column in columns]
        if not columns or any(column.ndim == 0 for column in self.columns):
            raise ArgumentError("an epoch takes arrays of samples: one for each argument")
        count = len(self.columns[0])
        if any(len(column) != count for column in self.columns) or not count:
            sizes = [len(column) for column in self.columns]
            raise ArgumentError(f"the arrays of samples must be equally long, got {sizes}")
        self.rows = [column.reshape(count, -1) for column in self.columns]
        self.size = min(whole("epoch: batch_size", batch_size), count)
        self.order = np.arange(count) if order is None else np.asarray(order)
        if self.order.ndim != 1 or self.order.dtype.kind not in "iu" or not len(self.order):
            raise ArgumentError("order must be a list of the places of samples")
        if self.order.min() < 0 or self.order.max() >= count:
            raise ArgumentError(f"order must hold places from 0 to {count - 1}")
        self.order = self.order.astype(np.int64)
        self.count = -(-len(self.order) // self.size)
        self.sizes = np.array([len(self.batch(number)) for number in range(self.count)])

    def sample(self, place: int) -> list[Any]:
        """The arguments for one sample."""
        return [column[place].tolist() for column in self.columns]

    def batch(self, number: int) -> Any:
        """The places of the samples of a batch."""
        return self.order[number * self.size : (number + 1) * self.size]


class TrainingStep:
    """What `training_step` gives; see there.

    Attributes:
        optimizer: what makes the updates.
        calls: how often machine code was called, all in all.
    """

    def __init__(
        self,
        loss: Callable[..., Any],
        optimizer: Optimizer,
        options: Options,
        clip_value: float | None,
        clip_norm: float | None,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise ArgumentError(f"the optimizer is {optimizer!r:.60}: give one of gradloom.nn")
        self._loss = loss if isinstance(loss, Compiled) else Compiled(loss, options=options)
        self.optimizer = optimizer
        self.calls = 0
        self._options = self._loss._options
        self._clip_value = _limit("clip_value", clip_value)
        self._clip_norm = _limit("clip_norm", clip_norm)
        self._name = tree.name(loss)
        self._mapped = vmap(self._loss, backend=options.backend, dtype=options.dtype)
        self._has_rule = has_rule(optimizer)
        self._known: dict[Any, list[Trainer]] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<training step of {self._name} by {self.optimizer!r}>"

    def __call__(self, *data: Any) -> float:
        """One step: the loss before the update."""
        return self.bind(*data)()

    def bind(self, *data: Any) -> "BoundStep":
        """This step on these data, to be called without any; the numbers are those of now.

        Raises:
            ArgumentError: a value is among them.
        """
        arguments = Arguments(self._loss._function or self._loss, data, {})
        if arguments.values:
            raise ArgumentError(f"{self._name}: a training step takes plain numbers, not values")
        return BoundStep(self, arguments)

    def repeat(self, count: int, *data: Any) -> Array:
        """So many steps on the same data: the loss before each.

        After Ctrl-C, which is raised between two steps, those that were made are kept.
        """
        return self.bind(*data).repeat(count)

    def epoch(self, *samples: Any, batch_size: int = 32, order: Any = None) -> Array:
        """A step for each batch of samples, by the mean of their losses; returns these means.

        Args:
            samples: for each argument of the loss an array, of which the first axis goes through
                the samples.
            batch_size: samples a step; the last batch may be smaller.
            order: the places of the samples in the order in which they are taken; by default as
                they stand.

        Raises:
            ArgumentError: the arrays are not equally long, or a place is out of range.
        """
        batches = Batches(samples, batch_size, order)
        with self._lock, patient_interrupt() as let_interrupt_through:
            return self._epoch(batches, let_interrupt_through)

    # Steps on the same data

    def _repeat(
        self, count: int, arguments: Arguments, let_interrupt_through: Callable[[], None]
    ) -> Array:
        losses = np.empty(count)
        done = 0
        while done < count:
            for native in self._candidates(arguments):
                native.feed(arguments)
                made, found = self._run(native, native.pace.steps(count - done))
                losses[done : done + made] = found[:made]
                done += made
                if made:
                    break
            else:
                losses[done] = self._plain(partial(self._loss, *arguments.args))
                done += 1
            let_interrupt_through()
        return losses

    def _serving(self, arguments: Arguments) -> "Iterator[Trainer]":
        """The machine code that has these data in place."""
        for known in self._known.values():
            yield from (native for native in known if native.fed is arguments)

    def _candidates(self, arguments: Arguments) -> "Iterator[Trainer]":
        """The machine code that may serve; at last what is recorded for just these numbers."""
        if not self._is_native():
            return
        known = self._known.setdefault((arguments.key, settings(self.optimizer)), [])
        yield from list(known)
        path = self._loss.lookup(*arguments.args)
        if not is_loss(path):
            raise RecordingError(f"{self._name} must return one value, the loss")
        if all(native.path is not path for native in known):
            native = self._native(path)
            if native:
                known.insert(0, native)
                yield native

    # Steps on batches

    def _epoch(self, batches: Batches, let_interrupt_through: Callable[[], None]) -> Array:
        losses = np.empty(batches.count)
        done = 0
        native = self._batched(batches)
        while done < batches.count:
            made = 0
            if native:
                some = native.pace.steps(batches.count - done)
                native.driver.sample_from(batches.rows)
                taken = batches.order[done * batches.size : (done + some) * batches.size]
                made, found = self._run(native, some, taken)
                losses[done : done + made] = found[:made] / batches.sizes[done : done + made]
                done += made
            if not made:
                losses[done] = self._plain(partial(self._mean, batches, done))
                done += 1
            let_interrupt_through()
        return losses

    def _batched(self, batches: Batches) -> "Trainer | None":
        """The machine code for such batches, if there is any."""
        if not self._is_native():
            return None
        shapes = tuple([column.shape[1:] for column in batches.columns])
        key = shapes, batches.size, settings(self.optimizer)
        if key not in self._known:
            sample = batches.sample(int(batches.order[0]))
            path = self._loss.lookup(*sample)
            if not is_loss(path):
                raise RecordingError(f"{self._name} must return one value, the loss")
            native = self._native(path, batches.size)
            self._known[key] = [native] if native else []
        return next(iter(self._known[key]), None)

    def _mean(self, batches: Batches, number: int) -> Any:
        """The mean loss of a batch, as a value."""
        places = batches.batch(number)
        losses = self._mapped(*[column[places] for column in batches.columns])
        return ops.sum(losses.tolist()) / len(places)

    # What is common to both

    def _is_native(self) -> bool:
        return self._has_rule and self._options.chosen == "native"

    def _native(self, path: Path, batch: int = 0) -> "Trainer | None":
        """The machine code of the steps on a path; of a batch, samples in lanes; None if there
        cannot be any."""
        from gradloom.backends.llvm.lowering import UnsupportedError

        program = path.program
        if batch:
            assert path.graph is not None
            lanes = range(path.graph.inputs)
            program = woven(path.graph, self._options, lanes)
        both = adjoint(program, program.parameters)
        slopes = both.outputs[1:]
        both = replace(both, outputs=program.outputs)
        before = Before(self._clip_value, self._clip_norm)
        try:
            made = Trainer(
                both,
                slopes,
                self.optimizer,
                before,
                bits=DTYPES[self._options.dtype],
                strict=self._options.strict,
                batch=batch,
            )
        except (UnsupportedError, OutOfOrderError):
            return None
        made.path = path
        return made

    def _run(self, native: "Trainer", steps: int, order: Any = None) -> tuple[int, Array]:
        """Make steps natively: how many were made, and the losses."""
        self.calls += 1
        started = perf_counter()
        made, losses, *_ = native.run(steps, order)
        native.pace.took(made, perf_counter() - started)
        return made, losses

    def _plain(self, loss: Callable[[], Any]) -> float:
        """One step as a loop in Python makes it."""
        optimizer = self.optimizer
        optimizer.zero_grad()
        found = loss()
        if not isinstance(found, Value):
            raise RecordingError(f"{self._name} must return one value, the loss")
        found.backward()
        if self._clip_value is not None:
            clip_grad_value(optimizer.parameters, self._clip_value)
        if self._clip_norm is not None:
            clip_grad_norm(optimizer.parameters, self._clip_norm)
        optimizer.step()
        return found.data


class BoundStep:
    """A training step with its data in place; see `TrainingStep.bind`.

    The optimizer's settings beside the learning rate count as they were at the first call.
    """

    def __init__(self, step: TrainingStep, arguments: Arguments) -> None:
        self._step, self._arguments = step, arguments
        self._native: Trainer | None = None

    def __call__(self) -> float:
        """One step: the loss before the update."""
        step, native = self._step, self._native
        with step._lock:
            if native is not None and native.fed is self._arguments:
                loss = native.once()
                step.calls += 1
                if loss is not None:
                    return loss
            losses = step._repeat(1, self._arguments, lambda: None)
            self._native = next(step._serving(self._arguments), None)
            return float(losses[0])

    def repeat(self, count: int) -> Array:
        """So many steps: the loss before each."""
        whole("repeat: count", count)
        with self._step._lock, patient_interrupt() as let_interrupt_through:
            return self._step._repeat(count, self._arguments, let_interrupt_through)


class Trainer:
    """A program that leaves a gradient and an optimizer's update of it, as machine code.

    Args:
        program: its first output is the loss; its values are what it reads.
        slopes: the slot of the gradient of each of these.
        optimizer: has a rule.
        before: what is done to the gradient before the update.
        bits, strict, batch, finite: see `gradloom.backends.llvm.driver.Driver`.

    Attributes:
        driver: what runs it.
        pace: how many steps to make at once.
        path: what it was made of, where somebody wants to know.
        fed: the data that are in place.

    Raises:
        UnsupportedError, OutOfOrderError: there can be no machine code of this.
    """

    def __init__(
        self,
        program: Program,
        slopes: NDArray[np.int64],
        optimizer: Optimizer,
        before: Before,
        *,
        bits: int = 64,
        strict: bool = False,
        batch: int = 0,
        finite: bool = False,
    ) -> None:
        from gradloom.backends.llvm.driver import Driver

        self.path: Path | None = None
        self.fed: Arguments | None = None
        self.pace = Pace()
        self._optimizer = optimizer
        mine = optimizer.parameters
        at = {id(value): place for place, value in enumerate(program.values)}
        places = np.array([at.get(id(parameter), -1) for parameter in mine])
        read = places >= 0
        numbers, gradient = np.full((2, len(mine)), -1)
        numbers[read] = program.parameters[places[read]]
        gradient[read] = slopes[places[read]]
        own = set(map(id, mine))
        others = [place for place, value in enumerate(program.values) if id(value) not in own]
        memory, rates = len(optimizer.slots), _count_rates(optimizer)
        steps = changes(optimizer.rule, memory, rates)
        self._plan: Plan = plan(program, numbers, gradient, steps, memory, rates, before)
        self.driver = Driver(
            program, self._plan, bits=bits, strict=strict, batch=batch, finite=finite
        )
        self._leaves = Leaves([*mine, *[program.values[place] for place in others]])
        self._slots = np.concatenate([self._plan.numbers, program.parameters[others]])
        self._moves = -1
        self._memory: list[Any] = []
        self._known_memory: list[int] = []
        self._loose: tuple[Array, Array] = (np.empty(0), np.empty(0))

    def run(
        self,
        steps: int,
        order: Any = None,
        *,
        schedule: Callable[[int], float] | None = None,
    ) -> tuple[int, Array, Array, Array]:
        """Make steps, with the parameters, their gradients and the optimizer as they are then.

        Args:
            steps: how many.
            order: with lanes, which samples each batch has.
            schedule: the learning rate for each of these steps, counted from 0.

        Returns:
            What `Driver.run` does.
        """
        self._connect()
        optimizer = self._optimizer
        begun, rate = optimizer.steps, optimizer.lr
        rows: list[tuple[float, ...]] = []
        rates = [rate]
        made = 0
        try:
            try:
                for number in range(steps):
                    optimizer.steps += 1
                    if schedule is not None:
                        optimizer.lr = schedule(number)
                        rates.append(optimizer.lr)
                    rows.append(optimizer.rates())
            except Exception:
                if not rows:
                    raise
                steps = len(rows)  # those before the fault come first
            self._fetch()
            found = self.driver.run(steps, rows, order)
            made = found[0]
            self._bring()
        finally:
            optimizer.steps = begun + made
            optimizer.lr = rates[made] if schedule is not None else rate
        return found

    def feed(self, arguments: Arguments) -> None:
        """Put data in place."""
        if self.fed is not arguments:
            self.driver.feed([*arguments.numbers, 1.0])
            self.fed = arguments

    def once(self) -> float | None:
        """One step, as fast as can be: the loss, or None where it was refused."""
        self._connect()
        optimizer = self._optimizer
        self._fetch()
        optimizer.steps += 1
        loss = self.driver.once(optimizer.rates())
        if loss is None:
            optimizer.steps -= 1
        self._bring()
        return loss

    def _connect(self) -> None:
        """Look up where numbers and memory live, if anything has moved."""
        optimizer = self._optimizer
        memory = [getattr(optimizer, slot) for slot in optimizer.slots]
        if self._moves != Parameter.moves or list(map(id, memory)) != self._known_memory:
            self._connect_to(memory)

    def _connect_to(self, memory: list[Any]) -> None:
        from gradloom.backends.llvm.driver import Outside

        optimizer = self._optimizer
        own = len(optimizer.parameters)
        load, save = [], []
        loose = np.array([place for place, _ in self._leaves.loose], dtype=np.int64)
        self._loose = np.empty(len(loose)), np.empty(len(loose))
        homes = [*self._leaves.homes(), (loose, *self._loose, np.arange(len(loose)))]
        for places, numbers, grads, indices in homes:
            load.append(Outside(numbers, indices, self._slots[places]))
            mine = places < own
            places, indices = places[mine], indices[mine]
            save.append(Outside(numbers, indices, self._plan.numbers[places]))
            save.append(Outside(grads, indices, self._plan.gradient[places]))
        for array, slots in zip(memory, self._plan.memory, strict=True):
            load.append(Outside(np.frombuffer(array), np.arange(own), slots))
        self.driver.place("load", load)
        self.driver.place("save", [*save, *load[len(homes) :]])
        self._moves, self._memory = Parameter.moves, memory
        self._known_memory = list(map(id, memory))

    def _fetch(self) -> None:
        """Copy the numbers of values that are no parameters, one by one."""
        for i, (_, value) in enumerate(self._leaves.loose):
            self._loose[0][i] = value.data

    def _bring(self) -> None:
        """Copy them back."""
        own = len(self._optimizer.parameters)
        for i, (place, value) in enumerate(self._leaves.loose):
            if place < own:
                value.data, value.grad = (float(numbers[i]) for numbers in self._loose)


def settings(optimizer: Optimizer) -> Any:
    """All that its rule was made for; a rule is as good as before while this is the same."""
    hidden = {"parameters", "steps", "_lr", *optimizer.slots}
    found = tuple([(name, x) for name, x in vars(optimizer).items() if name not in hidden])
    try:
        hash(found)
    except TypeError:
        return repr(found)
    return found


def _count_rates(optimizer: Optimizer) -> int:
    """How many rates its rule has."""
    optimizer.steps += 1
    try:
        return len(optimizer.rates())
    finally:
        optimizer.steps -= 1


def _limit(what: str, limit: float | None) -> float | None:
    return None if limit is None else number(f"training_step: {what}", limit, zero=False)


def training_step(
    loss: Callable[..., Any],
    optimizer: Optimizer,
    *,
    clip_value: float | None = None,
    clip_norm: float | None = None,
    backend: str | None = None,
    dtype: str = "float64",
) -> TrainingStep:
    """A function of data that makes one step of the optimizer by the gradient of the loss there.

    A call `step(*data)` does what this loop does, and returns the loss:

        optimizer.zero_grad()
        value = loss(*data)
        value.backward()
        clip_grad_value(...); clip_grad_norm(...)   # where asked for
        optimizer.step()

    `step.repeat(n, *data)` does it n times, and returns all losses; `step.epoch(xs, ys,
    batch_size=...)` takes the loss of one sample, and makes a step for every batch by the mean of
    its losses. With native code each is one call of machine code (or several, each of about a
    twentieth of a second); it needs an optimizer with a rule, as all of gradloom.nn are.
    Gradients are left as the last step used them; those of values that the optimizer does not have
    are of no account.

    Args:
        loss: from data to a value. It is compiled, with all that `compile` says of functions.
        optimizer: over the parameters that are to be learned.
        clip_value: the largest size of an entry of the gradient.
        clip_norm: the largest length of the gradient; a longer one is scaled down.
        backend: "native" or "numpy"; by default native code where llvmlite is installed.
        dtype: "float32" computes faster and less exactly inside, on the native backend.

    Raises:
        ArgumentError: an option has no such value.
        RecordingError: when called: the loss is not a single value.

    >>> from gradloom.nn import MLP, SGD
    >>> line = MLP(1, [1], seed=1)
    >>> step = training_step(lambda x, y: (line([x]) - y) ** 2, SGD(line, lr=0.03))
    >>> losses = step.repeat(200, 3.0, 6.0)
    >>> len(losses), round(line([3.0]).data, 6)
    (200, 6.0)
    >>> means = step.epoch([0.0, 1.0, 2.0], [1.0, 3.0, 5.0], batch_size=2)
    >>> len(means)
    2
    """
    options = Options(backend, dtype)
    return TrainingStep(loss, optimizer, options, clip_value, clip_norm)
