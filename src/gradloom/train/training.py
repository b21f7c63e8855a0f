"""A training as it runs: batches, epochs, and the state that a checkpoint keeps.

`Training` is the loop over batches and epochs: gradient, update, statistics. What a batch does to
the gradient, and the gradient to the numbers, is the engine's business (see `engine`).
"""

import math
import os
import random
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, TypeVar

from gradloom.backends.interrupt import patient_interrupt
from gradloom.core.value import Value
from gradloom.errors import AnomalyError, ArgumentError, DataError, GradloomError
from gradloom.nn.checks import whole
from gradloom.nn.schedules import Schedule
from gradloom.train.callbacks import Callback, Checkpoint
from gradloom.train.engine import (
    CannotCompileError,
    EagerEngine,
    Engine,
    Task,
    Update,
    fall_back,
    find_engine,
)
from gradloom.train.files import read_json, write_json
from gradloom.train.history import History, Record
from gradloom.train.metrics import Score
from gradloom.train.progress import ProgressBar
from gradloom.train.samples import Output, Samples, Target

T = TypeVar("T")


class Training:
    """One training as it runs; what callbacks see.

    Attributes:
        model: the network that learns.
        optimizer: what updates it.
        history: the records of all finished epochs.
        epochs: how many epochs were asked for.
        size: the number of samples in an epoch.
        monitor: the column that tells the best epoch.
    """

    def __init__(
        self,
        *,
        task: Task,
        validation: Samples,
        schedule: Schedule | None,
        epochs: int,
        batch_size: int,
        metrics: dict[str, Score],
        clip_norm: float | None,
        clip_value: float | None,
        callbacks: Sequence[Callback],
        rng: random.Random | None,
    ) -> None:
        self.model = task.model
        self.optimizer = task.optimizer
        self.epochs = epochs
        self.size = len(task.samples[0])
        self.history = History()
        self.monitor = "validation_loss" if validation[0] else "loss"
        self._task = task
        self._engine: Engine = EagerEngine(task)
        self._begun = self._engine.name
        self._validation = validation
        self._schedule = schedule
        self._base_rate = task.optimizer.lr
        self._updates = 0
        self._batch_size = batch_size
        self._metrics = metrics
        self._clip_norm = clip_norm
        self._clip_value = clip_value
        # A checkpoint is taken last, when the other callbacks have seen the epoch.
        self._callbacks = sorted(callbacks, key=lambda callback: isinstance(callback, Checkpoint))
        self._rng = rng
        # Whether code that is not ours runs between updates, and may change what the model reads.
        guests = [*self._callbacks, *metrics.values(), task.optimizer, schedule]
        self._foreign = any(guest is not None and not _is_ours(guest) for guest in guests)
        # Whether one of them is to see each update before the next.
        blind = Callback.on_batch, ProgressBar.on_batch
        self._watched = any(type(guest).on_batch not in blind for guest in self._callbacks)

    @property
    def epoch(self) -> int:
        """The number of epochs finished."""
        return len(self.history)

    @property
    def columns(self) -> list[str]:
        """The names of the figures in each record of the history."""
        figures = ["loss", *self._metrics]
        held_out = [f"validation_{name}" for name in figures if self._validation[0]]
        return ["epoch", *figures, *held_out, "learning_rate", "gradient_norm", "seconds"]

    def stop(self, reason: str) -> None:
        """Ends the training after this epoch; the history keeps the reason."""
        self.history.ended = reason

    @property
    def engine(self) -> str:
        """The name of the engine that is at work: "compiled" or "eager"."""
        return self._engine.name

    def use(self, engine: str) -> None:
        """Sets the engine up.

        Raises:
            ArgumentError: another name; or "compiled" is asked of what cannot be compiled.
            MissingExtraError: "compiled" is asked for without NumPy.
        """
        self._engine = find_engine(engine, self._task)
        self._begun = self._engine.name

    def try_out(self) -> None:
        """Runs the first sample, and the loss on every distinct target, to refuse what cannot work.

        Raises:
            ShapeError: the model takes rows of another size.
            DataError: a target that the loss does not take, such as a class beyond the outputs.
        """
        rows, own = self._task.samples
        output = self.model(rows[0])
        for name, targets in (("y", own), ("validation y", self._validation[1])):
            first: dict[float | None, int] = {}
            for i, target in enumerate(targets):  # of lists, equally long, the first will do
                first.setdefault(None if isinstance(target, list) else target, i)
            for i in first.values():
                try:
                    value = self._task.loss(output, targets[i])
                except AnomalyError:
                    raise  # detect_anomaly() says where, which is more than the target
                except GradloomError as error:
                    raise DataError(f"{name}[{i}] is {targets[i]!r}: {error}") from error
                if not isinstance(value, Value):
                    raise ArgumentError(
                        f"the loss returned {value!r}: it must return a Value made from the output"
                    )

    def run(self) -> History:
        """The epochs that are left, with all callbacks; returns the history."""
        history = self.history
        with patient_interrupt() as let_interrupt_through:
            try:
                for callback in self._callbacks:
                    callback.on_start(self)
                while not history.ended and self.epoch < self.epochs:
                    history.records.append(self._learn_epoch(let_interrupt_through))
                    for callback in self._callbacks:
                        callback.on_epoch(self)
                history.ended = history.ended or f"finished all {self.epochs} epochs"
            except KeyboardInterrupt:
                history.ended, history.interrupted = f"interrupted in epoch {self.epoch + 1}", True
            finally:
                for callback in self._callbacks:
                    callback.on_end(self)
        return history

    def _learn_epoch(self, after_batch: Callable[[], None]) -> Record:
        started = perf_counter()
        order = list(range(self.size))
        if self._rng:
            self._rng.shuffle(order)
        outputs: list[Output] = []
        if self._foreign or self.epoch.bit_count() <= 1:  # if not, ever more rarely
            self._work(lambda engine: engine.look_again())
        losses = norms = 0.0
        done = 0
        while done < self.size:
            for made in self._rush(order[done:], outputs) or [self._learn(order, done, outputs)]:
                done += made.size
                losses += made.losses
                norms += made.norm
                for callback in self._callbacks:
                    callback.on_batch(self, made.size, losses / done)
            after_batch()
        record: Record = {"epoch": self.epoch + 1}
        targets = self._task.samples[1]
        record |= self._figures(losses, outputs, [targets[i] for i in order])
        if self._validation[0]:
            held_out = self._work(lambda engine: engine.judge(self._validation))
            self._check_finite("validation loss", held_out[0])
            figures = self._figures(*held_out, self._validation[1])
            record |= {f"validation_{name}": figure for name, figure in figures.items()}
        record["learning_rate"] = self.optimizer.lr
        record["gradient_norm"] = norms / math.ceil(self.size / self._batch_size)
        record["seconds"] = perf_counter() - started
        return record

    def _rush(self, order: Sequence[int], outputs: list[Output]) -> list[Update]:
        """Many updates at once, if the engine can; but one where somebody watches each."""
        if self._watched:
            order = order[: self._batch_size]
        base, begun, schedule = self._base_rate, self._updates, self._schedule
        made = self._work(
            lambda engine: engine.rush(
                order,
                self._batch_size,
                (self._clip_value, self._clip_norm),
                (lambda number: base * schedule(begun + number)) if schedule else None,
                outputs if self._metrics else None,
            )
        )
        self._updates += len(made)
        return made

    def _learn(self, order: Sequence[int], first: int, outputs: list[Output]) -> Update:
        """The update by the next batch; appends the outputs."""
        batch = order[first : first + self._batch_size]
        losses = self._work(lambda engine: engine.learn(batch, outputs))
        return Update(len(batch), losses, self._update(losses))

    def _work(self, work: Callable[[Engine], T]) -> T:
        """Has the engine do something; the plain one, from now on, if it finds that it cannot."""
        try:
            return work(self._engine)
        except CannotCompileError as reason:
            self._engine = fall_back(self._task, reason)
            return work(self._engine)

    def _update(self, losses: float) -> float:
        """One step of the optimizer by the accumulated gradient; returns the gradient's norm."""
        norm = self._engine.clip(self._clip_value, self._clip_norm)
        self._check_finite("gradient", losses + norm)
        if self._schedule:
            self.optimizer.lr = self._base_rate * self._schedule(self._updates)
        self._engine.step()
        self._updates += 1
        return norm

    def _check_finite(self, what: str, figure: float) -> None:
        if not math.isfinite(figure):
            raise AnomalyError(
                f"the training diverged in epoch {self.epoch + 1}: the {what} is no longer finite; "
                "lower the learning rate, clip the gradient, or scale the data"
            )

    def _figures(self, losses: float, outputs: list[Output], targets: list[Target]) -> Record:
        scores = {name: score(outputs, targets) for name, score in self._metrics.items()}
        return {"loss": losses / len(targets)} | scores

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes all that an exact resume needs, as JSON, whole or not at all.

        Raises:
            RunFolderError: the file cannot be written.
        """
        state = {
            "training": self._signature(),
            "model": self.model.state(),
            "optimizer": self.optimizer.state(),
            "engine": {"name": self._engine.name, "state": self._engine.state()},
            "updates": self._updates,
            "rng": self._rng.getstate() if self._rng else None,
            "history": self.history.records,
            "callbacks": [callback.state() for callback in self._remembering()],
        }
        write_json(path, state, indent=None)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Goes back to where `save` was called.

        Raises:
            ArgumentError: the file is no checkpoint, or one of another training; nothing changed.
        """
        state = read_json(path, damaged=ArgumentError)
        if not isinstance(state, dict) or not isinstance(state.get("training"), dict):
            raise ArgumentError(f"{path} is no checkpoint of Gradloom")
        for name, value in self._signature().items():
            if state["training"].get(name) != value:
                raise ArgumentError(
                    f"{path} belongs to another training: its {name} is "
                    f"{state['training'].get(name)!r}, here it is {value!r}"
                )
        weights = self.model.state()
        try:
            if any(list(record) != self.columns for record in state["history"]):
                raise ValueError("its history has other columns")
            whole("updates", state["updates"], least=0)
            self.model.load_state(state["model"])
            self.optimizer.load_state(state["optimizer"])
            if state["engine"]["name"] != self._engine.name:
                self._engine = EagerEngine(self._task)  # as the compiled one did not suffice
            self._engine.load_state(state["engine"]["state"])
            for callback, remembered in zip(self._remembering(), state["callbacks"], strict=True):
                callback.load_state(remembered)
            if self._rng:
                version, numbers, gauss = state["rng"]
                self._rng.setstate((version, tuple(numbers), gauss))
            self._updates = state["updates"]
            self.history.records = state["history"]
        except (GradloomError, AttributeError, KeyError, TypeError, ValueError) as error:
            self.model.load_state(weights)
            raise ArgumentError(f"{path} does not fit this training: {error}") from error

    def _signature(self) -> dict[str, Any]:
        """What must be the same for a resumed training to give the same figures."""
        return {
            "samples": self.size,
            "batch_size": self._batch_size,
            "shuffle": self._rng is not None,
            "engine": self._begun,
            "loss": getattr(self._task.loss, "__name__", type(self._task.loss).__name__),
            "optimizer": type(self.optimizer).__name__,
            "figures": self.columns,
            "callbacks": [type(callback).__name__ for callback in self._remembering()],
        }

    def _remembering(self) -> list[Callback]:
        """The callbacks that have a state to keep."""
        return [callback for callback in self._callbacks if callback.state()]


def _is_ours(guest: object) -> bool:
    """Whether a function, or the class of an object, is part of this package."""
    return str(getattr(guest, "__module__", "")).startswith("gradloom.")
