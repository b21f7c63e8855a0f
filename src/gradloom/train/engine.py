"""Engines: how the samples of a batch become gradients, and gradients a step.

The plain engine does on every sample what a reader would write: run the model, build the graph,
walk it back. The compiled one (see `compiled`) records one sample and runs the batch as arrays.
Both give the same figures, to rounding.
"""

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

from gradloom.core import value
from gradloom.core.value import Value
from gradloom.errors import ArgumentError, MissingExtraError, RecordingWarning
from gradloom.nn import Module, Optimizer, Parameter, clip_grad_norm, clip_grad_value
from gradloom.nn.checks import choose
from gradloom.train.extras import extra
from gradloom.train.samples import Output, Row, Samples, Target

Loss = Callable[[Any, Any], Value]
Penalty = Callable[[list[Parameter]], Value]


class CannotCompileError(Exception):
    """Why a model or its loss must be left to the plain engine; nothing has been changed."""


@dataclass(frozen=True)
class Task:
    """What is to be learned, and by which optimizer.

    Attributes:
        model: the network that learns.
        loss: from an output and a target to a Value.
        penalty: from the parameters to a Value, or None.
        samples: the rows and targets to learn from.
        optimizer: what updates the model.
    """

    model: Module
    loss: Loss
    penalty: Penalty | None
    samples: Samples
    optimizer: Optimizer

    @cached_property
    def parameters(self) -> list[Parameter]:
        """The model's."""
        return self.model.parameters()

    def example(self, row: Row, target: Target) -> tuple[Any, Any]:
        """One sample: its loss, and the model's output."""
        output = self.model(row)
        return self.loss(output, target), output


class Update(NamedTuple):
    """How many samples an update was for, the sum of their losses, and the gradient's norm."""

    size: int
    losses: float
    norm: float


class Engine(ABC):
    """What the training loop asks of an engine."""

    name: ClassVar[str]

    @abstractmethod
    def look_again(self) -> None:
        """Takes note of what may have changed beside the parameters."""

    @abstractmethod
    def learn(self, batch: Sequence[int], outputs: list[Output]) -> float:
        """Sets the gradient to that of the batch's mean loss and of the penalty.

        Args:
            batch: the positions of the samples.
            outputs: where to append the model's outputs, as plain numbers.

        Returns:
            The sum of the losses, the penalty left out.
        """

    @abstractmethod
    def clip(self, value: float | None, norm: float | None) -> float:
        """Bounds the gradient's entries, then its norm; returns the norm before the latter."""

    @abstractmethod
    def step(self) -> None:
        """One step of the optimizer."""

    def rush(  # only some can
        self,
        order: Sequence[int],  # noqa: ARG002
        batch_size: int,  # noqa: ARG002
        clipping: tuple[float | None, float | None],  # noqa: ARG002
        schedule: Callable[[int], float] | None,  # noqa: ARG002
        outputs: list[Output] | None,  # noqa: ARG002
    ) -> list[Update]:
        """Makes many updates at once: gradients, clipping, steps.

        Args:
            order: the positions of the samples that are left.
            batch_size: how many an update takes; the last may have fewer.
            clipping: the bounds of the gradient's entries and of its norm.
            schedule: the learning rate for each of these updates, counted from 0.
            outputs: where to append the model's outputs, if anywhere.

        Returns:
            What was done, for one update after another; none where `learn` and the others must do
            the next one.
        """
        return []

    @abstractmethod
    def judge(self, samples: Samples) -> tuple[float, list[Output]]:
        """The sum of the losses and the outputs as plain numbers; no gradients."""

    def state(self) -> Any:
        """What an exact resume needs to know of the engine, as plain JSON."""
        return None

    def load_state(self, state: Any) -> None:  # noqa: B027 - the plain engine has none
        """Takes back what `state` returned."""


class EagerEngine(Engine):
    """The plain engine; it holds one sample's graph at a time, however large the batch."""

    name = "eager"

    def __init__(self, task: Task) -> None:
        self._task = task

    def look_again(self) -> None:
        pass

    def learn(self, batch: Sequence[int], outputs: list[Output]) -> float:
        task = self._task
        rows, targets = task.samples
        for parameter in task.parameters:  # all of them: the optimizer may have but some
            parameter.grad = 0.0
        total, share = 0.0, 1 / len(batch)
        for i in batch:
            loss, output = task.example(rows[i], targets[i])
            (loss * share).backward()
            total += loss.data
            outputs.append(plain(output))
        if task.penalty:
            task.penalty(task.parameters).backward()
        return total

    def clip(self, value: float | None, norm: float | None) -> float:
        parameters = self._task.parameters
        if value:
            clip_grad_value(parameters, value)
        if norm:
            return clip_grad_norm(parameters, norm)
        return math.hypot(*[parameter.grad for parameter in parameters])

    def step(self) -> None:
        self._task.optimizer.step()

    def judge(self, samples: Samples) -> tuple[float, list[Output]]:
        total, outputs = 0.0, []
        for row, target in zip(*samples, strict=True):
            loss, output = self._task.example(row, target)
            total += loss.data
            outputs.append(plain(output))
        return total, outputs


def find_engine(name: str, task: Task) -> Engine:
    """The engine of that name; "auto" is the compiled one wherever it can do the task.

    Raises:
        ArgumentError: another name; or "compiled" is asked of what cannot be compiled.
        MissingExtraError: "compiled" is asked for without NumPy.
    """
    choose("engine", name, dict.fromkeys(("auto", "compiled", "eager")))
    watched = value.watcher is not None  # detect_anomaly() wants to see every operation
    if name == "eager" or (name == "auto" and watched):
        return EagerEngine(task)
    try:
        with extra():
            from gradloom.train.compiled import CompiledEngine
        return CompiledEngine(task)
    except MissingExtraError:
        if name == "compiled":
            raise
        return EagerEngine(task)  # quietly: this is how the bare package trains
    except CannotCompileError as reason:
        if name == "compiled":
            raise ArgumentError(
                f"this training cannot be compiled: {reason}; use engine='eager'"
            ) from reason
        return fall_back(task, reason)


def fall_back(task: Task, reason: Exception) -> EagerEngine:
    """The plain engine, with a warning that says why."""
    warnings.warn(
        f"training goes on uncompiled, many times slower: {reason}",
        RecordingWarning,
        stacklevel=2,
    )
    return EagerEngine(task)


def plain(output: Any) -> Output:
    """A model's output as numbers: a float, or a list of floats.

    Example:
        >>> plain([Value(1.0), Value(2.0)])
        [1.0, 2.0]
    """
    if isinstance(output, list | tuple):
        return [x.data if isinstance(x, Value) else x for x in output]
    return output.data if isinstance(output, Value) else float(output)
