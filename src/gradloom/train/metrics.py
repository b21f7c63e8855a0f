"""Metrics: figures people read, from all predictions and targets of an epoch.

A metric is a function of two lists, the model's raw outputs (logits, not probabilities) and the
targets. Unlike a loss it is not differentiated, so it may count, sort or compare.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from gradloom.errors import ArgumentError
from gradloom.nn.checks import choose
from gradloom.train.samples import Output, Target

Score = Callable[[Sequence[Output], Sequence[Target]], float]


class Metric(NamedTuple):
    """One row of the table of metrics: how to compute it and which end of it is better."""

    score: Score
    better: Literal["max", "min"]


def predicted_class(output: Output) -> int:
    """The class with the largest logit; of a single logit, class 1 where it is positive.

    Example:
        >>> predicted_class([0.1, 2.0, -1.0]), predicted_class(-0.3)
        (1, 0)
    """
    if isinstance(output, list):
        return output.index(max(output))
    return int(output > 0)


def accuracy(outputs: Sequence[Output], targets: Sequence[Target]) -> float:
    """The share of samples whose predicted class is their target, from 0 to 1.

    Targets are class indices; beside a single logit, 0 and 1, or -1 and 1 (hinge).

    Example:
        >>> accuracy([[0.2, 1.5], [3.0, 1.0]], [1, 1])
        0.5
        >>> accuracy([2.0, -1.0], [1, -1])
        1.0
    """
    hits = sum(
        predicted_class(output) == (target if isinstance(output, list) else target > 0)  # type: ignore[operator]
        for output, target in zip(outputs, targets, strict=True)
    )
    return hits / len(targets)


def r2(outputs: Sequence[Output], targets: Sequence[Target]) -> float:
    """The coefficient of determination, 1 - residual / total sum of squares; 1 is perfect.

    Several outputs are averaged. Targets without spread give 1 when met exactly and 0 otherwise,
    as scikit-learn's `r2_score` does.

    Example:
        >>> r2([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
        0.7857142857142857
    """
    scores = []
    for predicted, wanted in zip(_columns(outputs), _columns(targets), strict=True):
        mean = sum(wanted) / len(wanted)
        total = _squares(t - mean for t in wanted)
        residual = _squares(t - p for p, t in zip(predicted, wanted, strict=True))
        scores.append(1 - residual / total if total else float(residual == 0))
    return sum(scores) / len(scores)


def mae(outputs: Sequence[Output], targets: Sequence[Target]) -> float:
    """The mean absolute error.

    Example:
        >>> mae([1.0, 2.0], [1.0, 4.0])
        1.0
    """
    errors = _errors(outputs, targets)
    return sum(map(abs, errors)) / len(errors)


def rmse(outputs: Sequence[Output], targets: Sequence[Target]) -> float:
    """The root of the mean squared error.

    Example:
        >>> rmse([1.0, 2.0], [1.0, 4.0])
        1.4142135623730951
    """
    errors = _errors(outputs, targets)
    return math.sqrt(_squares(errors) / len(errors))


def _columns(values: Sequence[float | list[float]]) -> list[tuple[float, ...]]:
    return list(zip(*(v if isinstance(v, list) else [v] for v in values), strict=True))


def _squares(values: Iterable[float]) -> float:
    return sum(value * value for value in values)


def _errors(outputs: Sequence[Output], targets: Sequence[Target]) -> list[float]:
    pairs = zip(_columns(outputs), _columns(targets), strict=True)
    return [p - t for predicted, wanted in pairs for p, t in zip(predicted, wanted, strict=True)]


METRICS: dict[str, Metric] = {
    "accuracy": Metric(accuracy, "max"),
    "r2": Metric(r2, "max"),
    "mae": Metric(mae, "min"),
    "rmse": Metric(rmse, "min"),
}

# What `fit` reports beside each loss when it is not told.
DEFAULT_METRICS: dict[str, str] = {
    "cross_entropy": "accuracy",
    "binary_cross_entropy": "accuracy",
    "hinge": "accuracy",
    "mse": "r2",
    "mae": "r2",
    "huber": "r2",
}


def find_metrics(metrics: Iterable[str | Score]) -> dict[str, Score]:
    """Metrics by the name under which the history keeps them.

    Raises:
        ArgumentError: an unknown name (the message gives the nearest), a name used twice, or one
            that the history uses itself.

    Example:
        >>> list(find_metrics(["accuracy"]))
        ['accuracy']
    """
    found: dict[str, Score] = {}
    for metric in metrics:
        if isinstance(metric, str):
            name, score = metric, choose("metric", metric, METRICS).score
        else:
            name, score = getattr(metric, "__name__", type(metric).__name__), metric
        if name in found or name in {"epoch", "loss", "learning_rate", "gradient_norm", "seconds"}:
            raise ArgumentError(f"the metric name {name!r} is taken: rename the function")
        found[name] = score
    return found
