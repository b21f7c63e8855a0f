"""Training an update at a time, for those who want to look in between.

`fit` may make many updates at one go; a `Stepper` makes the same ones to rounding, in the same
order and by the same engine, each when it is asked to.
"""

import math
import random
from collections.abc import Callable
from typing import TypeVar

from gradloom.errors import AnomalyError
from gradloom.train.engine import CannotCompileError, Engine, Task, fall_back, find_engine
from gradloom.train.samples import Output, Samples

T = TypeVar("T")


class Stepper:
    """A training that waits after each update.

    Args:
        task: what is to be learned.
        batch_size: samples an update.
        seed: of the order of the samples, as for `fit`; or the generator that draws it.
        engine: as for `fit`.

    Attributes:
        batch_size: may be changed at any time.
        updates, epochs: how many were made, and finished.

    Raises:
        ArgumentError, MissingExtraError: as `fit` for an engine that cannot be had.

    Example:
        >>> from gradloom.nn import MLP, SGD, mse
        >>> model = MLP(1, [1], seed=1)
        >>> task = Task(model, mse, None, ([[0.0], [1.0]], [0.0, 1.0]), SGD(model, lr=0.1))
        >>> stepper = Stepper(task, batch_size=1)
        >>> losses = [stepper.step(), stepper.step()]
        >>> stepper.updates, stepper.epochs
        (2, 1)
    """

    def __init__(
        self,
        task: Task,
        *,
        batch_size: int,
        seed: int | random.Random = 0,
        engine: str = "auto",
    ) -> None:
        self.batch_size = batch_size
        self.updates = self.epochs = 0
        self._task = task
        self._rng = seed if isinstance(seed, random.Random) else random.Random(seed)
        self._engine = find_engine(engine, task)
        self._begin_epoch()

    def step(self) -> float:
        """Makes one update; returns the mean loss of its batch, from before it.

        Raises:
            AnomalyError: that or its gradient is no longer finite; the weights are as before.
        """
        batch = self._order[self._at : self._at + self.batch_size]
        total = self._work(lambda engine: engine.learn(batch, []))
        norm = self._engine.clip(None, None)
        if not math.isfinite(total + norm):
            raise AnomalyError(
                f"the training diverged in update {self.updates + 1}: the loss or its gradient is "
                "no longer finite; begin anew with a lower learning rate"
            )
        self._engine.step()
        self.updates += 1
        self._at += len(batch)
        if self._at == len(self._order):
            self.epochs += 1
            self._begin_epoch()
        return total / len(batch)

    def judge(self, samples: Samples) -> tuple[float, list[Output]]:
        """The mean loss on other samples, and the model's outputs."""
        total, outputs = self._work(lambda engine: engine.judge(samples))
        return total / len(outputs), outputs

    def _begin_epoch(self) -> None:
        self._at = 0
        self._order = list(range(len(self._task.samples[0])))
        self._rng.shuffle(self._order)

    def _work(self, work: Callable[[Engine], T]) -> T:
        """Has the engine do something; the plain one, from now on, if it finds that it cannot."""
        try:
            return work(self._engine)
        except CannotCompileError as reason:
            self._engine = fall_back(self._task, reason)
            return work(self._engine)
