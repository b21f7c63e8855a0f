"""Learning-rate schedules: functions from the step to a factor on the learning rate.

A schedule knows nothing of an optimiser: it maps a step (an epoch or an update, as you like) to a
factor. So it composes, resumes from the step alone, and can be plotted. `Scheduler` ties one to an
optimiser. The formulas are those of PyTorch's `torch.optim.lr_scheduler`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from gradloom.errors import ArgumentError, DataError
from gradloom.nn.checks import number, whole
from gradloom.nn.optim import Optimizer

Schedule: TypeAlias = Callable[[int], float]


@dataclass(frozen=True)
class Constant:
    """The factor 1 at every step.

    >>> Constant()(7)
    1.0
    """

    def __call__(self, step: int) -> float:  # noqa: ARG002 - all schedules are called alike
        """The factor at `step`."""
        return 1.0


@dataclass(frozen=True)
class Step:
    """The factor shrinks to `gamma` of itself after every `size` steps: gamma^⌊step / size⌋.

    >>> schedule = Step(10)
    >>> schedule(9), schedule(10)
    (1.0, 0.1)
    """

    size: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        whole("Step: size", self.size)
        number("Step: gamma", self.gamma)

    def __call__(self, step: int) -> float:
        """The factor at `step`."""
        return self.gamma ** (step // self.size)


@dataclass(frozen=True)
class Linear:
    """The factor goes in a straight line from `start` to `end` in `total` steps, and stays there.

    >>> schedule = Linear(100)
    >>> schedule(0), schedule(50), schedule(200)
    (1.0, 0.5, 0.0)
    """

    total: int
    start: float = 1.0
    end: float = 0.0

    def __post_init__(self) -> None:
        whole("Linear: total", self.total)
        number("Linear: start", self.start)
        number("Linear: end", self.end)

    def __call__(self, step: int) -> float:
        """The factor at `step`."""
        return self.start + (self.end - self.start) * min(step / self.total, 1.0)


@dataclass(frozen=True)
class Cosine:
    """The factor falls from 1 to `end` along half a cosine in `total` steps, and stays there.

    Loshchilov & Hutter 2017, "SGDR: Stochastic gradient descent with warm restarts", equation 5,
    without the restarts.

    >>> schedule = Cosine(100)
    >>> schedule(0), schedule(50), schedule(100)
    (1.0, 0.5, 0.0)
    """

    total: int
    end: float = 0.0

    def __post_init__(self) -> None:
        whole("Cosine: total", self.total)
        number("Cosine: end", self.end)

    def __call__(self, step: int) -> float:
        """The factor at `step`."""
        angle = math.pi * min(step / self.total, 1.0)
        return self.end + (1 - self.end) * (1 + math.cos(angle)) / 2


@dataclass(frozen=True)
class Warmup:
    """The factor rises in a straight line from `start` to 1 in `steps` steps; then `then` begins.

    Goyal et al. 2017, "Accurate, large minibatch SGD", section 2.2. With a `start` of 0 the first
    step would change nothing.

    >>> schedule = Warmup(10, Cosine(100), start=0.1)
    >>> schedule(0), schedule(10), schedule(60), schedule(110)
    (0.1, 1.0, 0.5, 0.0)
    """

    steps: int
    then: Schedule = field(default_factory=Constant)
    start: float = 0.1

    def __post_init__(self) -> None:
        whole("Warmup: steps", self.steps)
        number("Warmup: start", self.start, high=1)
        if not callable(self.then):
            raise ArgumentError(
                f"Warmup: then is a schedule such as Cosine(100), got {self.then!r}"
            )

    def __call__(self, step: int) -> float:
        """The factor at `step`."""
        if step < self.steps:
            return Linear(self.steps, self.start, 1.0)(step)
        return self.then(step - self.steps)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": Constant,
    "step": Step,
    "linear": Linear,
    "cosine": Cosine,
    "warmup": Warmup,
}


class Scheduler:
    """Keeps an optimiser's learning rate at its first value times a schedule's factor.

    Args:
        optimizer: whose `lr` is set, at once and after every `step()`.
        schedule: one of this module's, or any function from the step (0, 1, …) to a factor.

    >>> from gradloom.nn import SGD, Parameter
    >>> optimizer = SGD([Parameter(1.0)], lr=0.5)
    >>> scheduler = Scheduler(optimizer, Step(1, gamma=0.5))
    >>> scheduler.step()
    >>> optimizer.lr
    0.25
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule) -> None:
        if not callable(schedule):
            raise ArgumentError(f"a schedule is a function of the step, got {schedule!r}")
        self.optimizer = optimizer
        self.schedule = schedule
        self.base_lr = optimizer.lr
        self.steps = 0
        self._set()

    def step(self) -> None:
        """Go one step on: call it after each update, or after each epoch."""
        self.steps += 1
        self._set()

    def state(self) -> dict[str, Any]:
        """The step and the learning rate at factor 1; fit for JSON."""
        return {"base_lr": self.base_lr, "steps": self.steps}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()`; raises DataError or ArgumentError, before anything is changed."""
        if not isinstance(state, Mapping) or set(state) != {"base_lr", "steps"}:
            raise DataError(f"a scheduler's state has base_lr and steps, got {state!r:.60}")
        base_lr = number("Scheduler: base_lr", state["base_lr"])
        self.steps, self.base_lr = whole("Scheduler: steps", state["steps"], least=0), base_lr
        self._set()

    def _set(self) -> None:
        self.optimizer.lr = self.base_lr * self.schedule(self.steps)
