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
from gradloom.nn import OPTIMIZERS, Module, Optimizer
from gradloom.nn.checks import choose, number, whole
from gradloom.train.callbacks import Callback
from gradloom.train.engine import Loss, Penalty
from gradloom.train.extras import extra
from gradloom.train.fit import fit
from gradloom.train.samples import check_samples

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gradloom.train.training import Training

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


class _EnoughError(Exception):
    """The loss has exploded, or all rates were tried."""


class _Watch(Callback):
    """Notes the rate and the mean loss of each batch, and stops when that explodes."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.rates: list[float] = []
        self.losses: list[float] = []
        self._seen, self._total, self._mean = 0, 0.0, 0.0
        self._running: list[float] = []

    def on_batch(self, training: "Training", size: int, loss: float) -> None:
        total = loss * (self._seen + size)  # the loss is the mean of the epoch so far
        self.rates.append(training.optimizer.lr)
        self.losses.append((total - self._total) / size)
        self._seen, self._total = self._seen + size, total
        if self._seen == training.size:
            self._seen, self._total = 0, 0.0
        if len(self.losses) == self.steps or self._explodes():
            raise _EnoughError

    def _explodes(self) -> bool:
        """Whether the running mean has risen above four times what it began with."""
        self._mean = _KEPT * self._mean + (1 - _KEPT) * self.losses[-1]
        self._running.append(self._mean / (1 - _KEPT ** len(self.losses)))  # freed of its bias to 0
        first, low = self._running[0], min(self._running)
        return self._running[-1] > first + 3 * max(abs(first), first - low)


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
        DataError, ShapeError, MissingExtraError: as for `fit`, before anything is changed.

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
    rows, targets = check_samples(x, y)
    if not isinstance(optimizer, Optimizer):
        optimizer = choose("optimizer", optimizer, OPTIMIZERS)(model)
    watch = _Watch(steps)
    with _unchanged(model, optimizer):
        optimizer.lr = 1.0
        try:
            fit(
                model,
                rows,
                targets,
                loss=loss,
                optimizer=optimizer,
                schedule=lambda update: start * (end / start) ** (update / (steps - 1)),
                epochs=steps,
                batch_size=batch_size,
                metrics=[],
                penalty=penalty,
                callbacks=[watch],
                seed=seed,
                engine=engine,
                progress="silent",
            )
        except (_EnoughError, AnomalyError):
            if not watch.losses:
                raise
    smoothed = _smooth(watch.losses, steps // 20)
    return RateSearch(
        watch.rates, watch.losses, smoothed, _steepest(watch.rates, smoothed, steps // 10)
    )


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
