"""Finding a learning rate: train for a moment while the rate grows, and watch the loss.

Too small a rate changes nothing, too large a one makes the loss explode; in between there is a
stretch where it falls. The training is thrown away afterwards.

Reference: Smith 2017, "Cyclical learning rates for training neural networks", section 3.3, with an
exponential ramp as in his "Super-convergence" (Smith & Topin 2018).
"""

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from gradloom.errors import AnomalyError, ArgumentError
from gradloom.nn import LOSSES, OPTIMIZERS, Module, Optimizer
from gradloom.nn.checks import choose, number, whole
from gradloom.train.engine import Loss, Penalty, Task
from gradloom.train.extras import extra
from gradloom.train.samples import check_samples
from gradloom.train.stepper import Stepper

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KEPT = 0.9  # the share of the old running mean that each new loss leaves in it


@dataclass(frozen=True)
class RateSearch:
    """What `find_learning_rate` saw.

    Attributes:
        rates: the learning rate of each update, growing.
        losses: the mean loss of that update's batch, before the update.
        smoothed: each loss averaged with its neighbours on either side.
        suggested: the rate around which the smoothed loss fell fastest; None if it never fell.

    Example:
        >>> RateSearch([0.1, 1.0], [0.5, 0.4], [0.5, 0.45], suggested=1.0)
        RateSearch(2 rates from 0.1 to 1, suggested 1)
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    suggested: float | None

    def __repr__(self) -> str:
        told = "none suggested" if self.suggested is None else f"suggested {self.suggested:.2g}"
        return (
            f"RateSearch({len(self.rates)} rates from {self.rates[0]:.2g} "
            f"to {self.rates[-1]:.2g}, {told})"
        )

    def plot(self) -> "Figure":
        """The loss by learning rate as a matplotlib figure.

        Raises:
            MissingExtraError: matplotlib is not installed.

        Example:
            >>> RateSearch([0.1, 1.0], [0.5, 0.4], [0.5, 0.45], suggested=1.0).plot()
            <Figure size ...>
        """
        with extra():
            plots = import_module("gradloom.view.plots")  # above this layer, so only when asked
        figure: Figure = plots.rate_curve(self)
        return figure


def find_learning_rate(
    model: Module,
    x: Any,
    y: Any,
    *,
    loss: str | Loss = "mse",
    optimizer: str | Optimizer = "adam",
    batch_size: int = 32,
    penalty: Penalty | None = None,
    start: float = 1e-5,
    end: float = 10.0,
    steps: int = 100,
    seed: int = 0,
    engine: str = "auto",
) -> RateSearch:
    """Tries growing learning rates in one short training, and suggests the most effective.

    The rate grows from `start` to `end` by the same factor at each update; the search ends early
    when the loss explodes. The model's numbers and gradients, the optimizer and the global random
    generators are afterwards what they were.

    Args:
        model, x, y, loss, optimizer, batch_size, penalty, seed, engine: as for `fit`.
        start, end: the first and the last rate, 0 < start < end.
        steps: how many updates to make, at least 10.

    Raises:
        ArgumentError: an option out of its range or unknown.
        DataError, ShapeError, MissingExtraError: as for `fit`.
        AnomalyError: the loss is not finite even before the first update.

    Example:
        >>> from gradloom.nn import MLP
        >>> x = [[i / 10] for i in range(20)]
        >>> search = find_learning_rate(MLP(1, [1], seed=1), x, [3 * row[0] for row in x])
        >>> 0.01 < search.suggested < 10
        True
    """
    start = number("find_learning_rate: start", start, zero=False)
    end = number("find_learning_rate: end", end, zero=False)
    steps = whole("find_learning_rate: steps", steps, least=10)
    batch_size = whole("find_learning_rate: batch_size", batch_size)
    if start >= end:
        raise ArgumentError(f"start must be below end, got {start:g} and {end:g}")
    samples = check_samples(x, y)
    call = loss if callable(loss) else choose("loss", loss, LOSSES)
    if not isinstance(optimizer, Optimizer):
        optimizer = choose("optimizer", optimizer, OPTIMIZERS)(model)
    with _unchanged(model, optimizer):
        call(model(samples[0][0]), samples[1][0])  # says what does not fit together
        task = Task(model, call, penalty, samples, optimizer)
        stepper = Stepper(task, batch_size=batch_size, seed=seed, engine=engine)
        rates, losses = _climb(stepper, optimizer, start, end, steps)
    smoothed = _smooth(losses, steps // 20)
    return RateSearch(rates, losses, smoothed, _steepest(rates, smoothed, steps // 10))


def _climb(
    stepper: Stepper, optimizer: Optimizer, start: float, end: float, steps: int
) -> tuple[list[float], list[float]]:
    """The rates and the losses of the updates, until the loss explodes or all steps are made.

    Raises:
        AnomalyError: the very first loss or its gradient is not finite.
    """
    rates: list[float] = []
    losses: list[float] = []
    running: list[float] = []
    mean = 0.0
    for step in range(steps):
        optimizer.lr = start * (end / start) ** (step / (steps - 1))
        try:
            losses.append(stepper.step())
        except AnomalyError:
            if step:
                break
            raise
        rates.append(optimizer.lr)
        mean = _KEPT * mean + (1 - _KEPT) * losses[-1]
        running.append(mean / (1 - _KEPT ** len(losses)))  # freed of its bias to 0
        first, low = running[0], min(running)
        if running[-1] > first + 3 * max(abs(first), first - low):
            break
    return rates, losses


def _smooth(losses: list[float], reach: int) -> list[float]:
    """Each loss averaged with as many neighbours on either side, fewer at the ends.

    Example:
        >>> _smooth([0.0, 3.0, 0.0, 3.0], 1)
        [0.0, 1.0, 2.0, 3.0]
    """
    last = len(losses) - 1
    smoothed = []
    for i in range(len(losses)):
        near = min(reach, i, last - i)
        smoothed.append(sum(losses[i - near : i + near + 1]) / (2 * near + 1))
    return smoothed


def _steepest(rates: list[float], smoothed: list[float], reach: int) -> float | None:
    """The rate around which the loss falls most from `reach` updates before to as many after.

    Noise makes the loss fall here and there; over a tenth of all updates only learning does.

    Example:
        >>> _steepest([1.0, 2.0, 4.0, 8.0], [5.0, 4.0, 1.0, 0.0], 1)
        2.0
    """
    bottom = smoothed.index(min(smoothed))
    falls = {
        i: smoothed[i - reach] - smoothed[i + reach] for i in range(reach, len(smoothed) - reach)
    }
    before = {i: fall for i, fall in falls.items() if i <= bottom}
    best = max(before, key=before.__getitem__, default=None)
    return None if best is None or before[best] <= 0 else rates[best]


@contextmanager
def _unchanged(model: Module, optimizer: Optimizer) -> Iterator[None]:
    """Puts everything back at the end that a training changes, however it ends."""
    parameters = [(p, p.data, p.grad) for p in model.parameters()]
    state, generator = optimizer.state(), random.getstate()
    numpy: Any = sys.modules.get("numpy")  # who has not loaded it has no generator to lose
    legacy = numpy.random.get_state() if numpy else None
    try:
        yield
    finally:
        for parameter, data, grad in parameters:
            parameter.data, parameter.grad = data, grad
        optimizer.load_state(state)
        random.setstate(generator)
        if numpy:
            numpy.random.set_state(legacy)
