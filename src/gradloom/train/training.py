"""A training as it runs: samples, batches, epochs, and the state that a checkpoint keeps.

Three layers, each plain. An `Example` is one sample: its loss and the model's output, a function of
(x, y) alone. `accumulate` is one batch: it builds, differentiates and frees the graph of a sample
at a time, so that memory holds one sample's graph however large the batch. `Training` is the loop
over batches and epochs: forward, zero the gradients, backward, update, statistics.
"""

import math
import os
import random
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from gradloom.core.value import Value
from gradloom.errors import AnomalyError, ArgumentError, DataError, GradloomError
from gradloom.nn import Module, Optimizer, Parameter, clip_grad_norm, clip_grad_value
from gradloom.nn.schedules import Schedule
from gradloom.train.callbacks import Callback, Checkpoint
from gradloom.train.files import read_json, write_json
from gradloom.train.history import History, Record
from gradloom.train.interrupt import patient_interrupt
from gradloom.train.metrics import Score
from gradloom.train.samples import Output, Row, Target

Loss = Callable[[Any, Any], Value]
Penalty = Callable[[list[Parameter]], Value]
Example = Callable[[Row, Target], tuple[Value, Any]]
Samples = tuple[list[Row], list[Target]]


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
        model: Module,
        loss: Loss,
        samples: Samples,
        validation: Samples,
        optimizer: Optimizer,
        schedule: Schedule | None,
        epochs: int,
        batch_size: int,
        metrics: dict[str, Score],
        penalty: Penalty | None,
        clip_norm: float | None,
        clip_value: float | None,
        callbacks: Sequence[Callback],
        rng: random.Random | None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.epochs = epochs
        self.size = len(samples[0])
        self.history = History()
        self.monitor = "validation_loss" if validation[0] else "loss"
        self._loss = loss
        self._samples = samples
        self._validation = validation
        self._schedule = schedule
        self._parameters = model.parameters()
        self._base_rate = optimizer.lr
        self._updates = 0
        self._batch_size = batch_size
        self._metrics = metrics
        self._penalty = penalty
        self._clip_norm = clip_norm
        self._clip_value = clip_value
        # A checkpoint is taken last, when the other callbacks have seen the epoch.
        self._callbacks = sorted(callbacks, key=lambda callback: isinstance(callback, Checkpoint))
        self._rng = rng

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

    def try_out(self) -> None:
        """Runs the first sample, and the loss on every distinct target, to refuse what cannot work.

        Raises:
            ShapeError: the model takes rows of another size.
            DataError: a target that the loss does not take, such as a class beyond the outputs.
        """
        output = self.model(self._samples[0][0])
        for name, targets in (("y", self._samples[1]), ("validation y", self._validation[1])):
            first: dict[float | None, int] = {}
            for i, target in enumerate(targets):  # of lists, equally long, the first will do
                first.setdefault(None if isinstance(target, list) else target, i)
            for i in first.values():
                try:
                    value = self._loss(output, targets[i])
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
                history.ended = history.ended or f"all {self.epochs} epochs"
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
        rows, targets = self._samples
        outputs: list[Output] = []
        losses = norms = 0.0
        for first in range(0, self.size, self._batch_size):
            batch = order[first : first + self._batch_size]
            self.optimizer.zero_grad()
            losses += accumulate(self._example, [(rows[i], targets[i]) for i in batch], outputs)
            norms += self._update(losses)
            for callback in self._callbacks:
                callback.on_batch(self, len(batch), losses / len(outputs))
            after_batch()
        record: Record = {"epoch": self.epoch + 1}
        record |= self._figures(losses, outputs, [targets[i] for i in order])
        if self._validation[0]:
            held_out = evaluate(self._example, *self._validation)
            self._check_finite("validation loss", held_out[0])
            figures = self._figures(*held_out, self._validation[1])
            record |= {f"validation_{name}": figure for name, figure in figures.items()}
        record["learning_rate"] = self.optimizer.lr
        record["gradient_norm"] = norms / math.ceil(self.size / self._batch_size)
        record["seconds"] = perf_counter() - started
        return record

    def _example(self, row: Row, target: Target) -> tuple[Value, Any]:
        """One sample: its loss, and the model's output."""
        output = self.model(row)
        return self._loss(output, target), output

    def _update(self, losses: float) -> float:
        """One step of the optimizer by the accumulated gradient; returns the gradient's norm."""
        if self._penalty:
            self._penalty(self._parameters).backward()
        if self._clip_value:
            clip_grad_value(self._parameters, self._clip_value)
        if self._clip_norm:
            norm = clip_grad_norm(self._parameters, self._clip_norm)
        else:
            norm = math.hypot(*[parameter.grad for parameter in self._parameters])
        self._check_finite("gradient", losses + norm)
        if self._schedule:
            self.optimizer.lr = self._base_rate * self._schedule(self._updates)
        self.optimizer.step()
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
        if not isinstance(state, dict) or "training" not in state:
            raise ArgumentError(f"{path} is no checkpoint of Gradloom")
        for name, value in self._signature().items():
            if state["training"].get(name) != value:
                raise ArgumentError(
                    f"{path} belongs to another training: its {name} is "
                    f"{state['training'].get(name)!r}, here it is {value!r}"
                )
        weights = self.model.state()
        try:
            self.model.load_state(state["model"])
            self.optimizer.load_state(state["optimizer"])
            for callback, remembered in zip(self._remembering(), state["callbacks"], strict=True):
                callback.load_state(remembered)
            if self._rng:
                version, numbers, gauss = state["rng"]
                self._rng.setstate((version, tuple(numbers), gauss))
            self._updates = state["updates"]
            self.history.records = state["history"]
        except (GradloomError, KeyError, TypeError, ValueError) as error:
            self.model.load_state(weights)
            raise ArgumentError(f"{path} does not fit this training: {error}") from error

    def _signature(self) -> dict[str, Any]:
        """What must be the same for a resumed training to give the same figures."""
        return {
            "samples": self.size,
            "batch_size": self._batch_size,
            "shuffle": self._rng is not None,
            "loss": getattr(self._loss, "__name__", type(self._loss).__name__),
            "optimizer": type(self.optimizer).__name__,
            "figures": self.columns,
            "callbacks": [type(callback).__name__ for callback in self._remembering()],
        }

    def _remembering(self) -> list[Callback]:
        """The callbacks that have a state to keep."""
        return [callback for callback in self._callbacks if callback.state()]


def accumulate(
    example: Example, batch: Sequence[tuple[Row, Target]], outputs: list[Output]
) -> float:
    """Adds the gradient of the batch's mean loss to the parameters' `grad`.

    Args:
        example: from a row and a target to (loss, output).
        batch: the samples.
        outputs: where to append the outputs, as plain numbers.

    Returns:
        The sum of the losses.
    """
    total, share = 0.0, 1 / len(batch)
    for row, target in batch:
        loss, output = example(row, target)
        (loss * share).backward()
        total += loss.data
        outputs.append(plain(output))
    return total


def evaluate(
    example: Example, rows: Sequence[Row], targets: Sequence[Target]
) -> tuple[float, list[Output]]:
    """The sum of the losses, and the outputs as plain numbers; no gradients."""
    total, outputs = 0.0, []
    for row, target in zip(rows, targets, strict=True):
        loss, output = example(row, target)
        total += loss.data
        outputs.append(plain(output))
    return total, outputs


def plain(output: Any) -> Output:
    """A model's output as numbers: a float, or a list of floats.

    Example:
        >>> plain([Value(1.0), Value(2.0)])
        [1.0, 2.0]
    """
    if isinstance(output, list | tuple):
        return [value.data if isinstance(value, Value) else value for value in output]
    return output.data if isinstance(output, Value) else float(output)
