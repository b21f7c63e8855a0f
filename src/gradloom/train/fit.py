"""`fit`: checks what it is given, puts a `Training` together from it, and runs it."""

import math
import os
import random
from collections.abc import Iterable, Sequence
from typing import Any

from gradloom.errors import ArgumentError, DataError, ShapeError
from gradloom.nn import LOSSES, OPTIMIZERS, Module, Optimizer
from gradloom.nn.checks import choose, number, whole
from gradloom.nn.schedules import Constant, Cosine, Linear, Schedule, Step, Warmup
from gradloom.train.callbacks import Callback
from gradloom.train.engine import Loss, Penalty, Task
from gradloom.train.history import History
from gradloom.train.metrics import DEFAULT_METRICS, Score, find_metrics
from gradloom.train.progress import Progress, progress_callback
from gradloom.train.samples import Samples, check_samples
from gradloom.train.training import Training


def fit(
    model: Module,
    x: Any,
    y: Any,
    *,
    loss: str | Loss = "mse",
    optimizer: str | Optimizer = "adam",
    learning_rate: float | None = None,
    schedule: str | Schedule | None = None,
    epochs: int = 100,
    batch_size: int = 32,
    validation: tuple[Any, Any] | float | None = None,
    metrics: Iterable[str | Score] | None = None,
    penalty: Penalty | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    callbacks: Sequence[Callback] = (),
    shuffle: bool = True,
    seed: int = 0,
    engine: str = "auto",
    progress: Progress = "auto",
    resume: str | os.PathLike[str] | None = None,
) -> History:
    """Trains `model` on the samples and returns the history of its epochs.

    Each epoch goes through the samples in a new random order, a batch an update: the gradient of
    the batch's mean loss (and of the penalty) is computed, clipped, and handed to the optimizer.

    Args:
        model: the network; called with one row, it returns a number or a list of numbers.
        x: n rows of k numbers (list of lists, or n by k array).
        y: n targets: a number each, a class index each (cross_entropy), or a list of numbers each.
        loss: a name in `gradloom.nn.LOSSES`, or a function of (output, target) for one sample.
        optimizer: a name in `gradloom.nn.OPTIMIZERS`, or an optimizer over the
            model's parameters, or some of them.
        learning_rate: for an optimizer given by name; 0.01 by default.
        schedule: of the learning rate: "constant", "linear" or "cosine" (to 0 at the end), "step"
            (a tenth after each third), "warmup" (a tenth of the way up, then cosine); or a function
            from the number of updates made to the factor.
        epochs: how often to go through the samples.
        batch_size: samples an update; the last batch of an epoch may be smaller.
        validation: samples (x, y) held out to judge by, or the share of the given ones to hold
            out, between 0 and 1.
        metrics: names in `METRICS` or functions of (outputs, targets), all those of an epoch;
            by default accuracy or r2, as fits the loss.
        penalty: a function of the parameters that is added to each batch's loss, such as
            `lambda parameters: nn.l2(parameters, 1e-4)`; the history's loss leaves it out.
        clip_norm: largest norm of the gradient; a longer one is scaled down.
        clip_value: largest size of any one entry of the gradient.
        callbacks: what else to do after batches and epochs, in this order.
        shuffle: whether to draw a new order of the samples for each epoch.
        seed: of the order and of the held-out share; the same seed gives the same figures.
        engine: "compiled" records one sample and runs each batch as arrays, "eager" builds and
            walks the graph of every sample, many times slower. Both give the same figures, to
            rounding. "auto" compiles where NumPy is installed (without it, it is quietly eager)
            and the model and the loss can be recorded (a warning says why not), except under
            `detect_anomaly()`. Plain numbers that they read and a callback changes are looked at
            anew in each epoch.
        progress: "bar" (live), "lines", "silent", or "auto": a bar on a terminal, else lines.
        resume: a file that `Checkpoint` wrote in a training with these same arguments (`epochs`
            may be larger); goes on from there.

    Returns:
        The history; after Ctrl-C too, with `interrupted` set, and the model keeps what it learned.

    Raises:
        DataError: no samples, lengths that differ, ragged rows, numbers that are not finite, a
            target that the loss does not take. Raised before anything is changed, as are
        ShapeError: rows of another size than the model's input, and
        ArgumentError: an option out of its range or unknown, or a checkpoint of another training.
        MissingExtraError: engine="compiled" without NumPy.
        AnomalyError: the loss or its gradient became infinite or NaN; the weights are those
            before the update at fault.

    Example:
        >>> from gradloom.nn import MLP
        >>> x, y = [[0.0], [1.0], [2.0], [3.0]], [1.0, 3.0, 5.0, 7.0]
        >>> line = MLP(1, [1], seed=1)
        >>> history = fit(line, x, y, epochs=300, learning_rate=0.1, progress="silent")
        >>> round(line([4.0]).data, 2)
        9.0
        >>> history.ended
        'finished all 300 epochs'
    """
    _check_kind("model", model, Module)
    for callback in callbacks:
        _check_kind("callback", callback, Callback)
    samples, held_out = _samples(x, y, validation, seed)
    if not callable(loss):
        loss = choose("loss", loss, LOSSES)
    if metrics is None:
        name = getattr(loss, "__name__", "")
        metrics = [DEFAULT_METRICS[name]] if name in DEFAULT_METRICS else []
    if not isinstance(optimizer, Optimizer):
        rate = 0.01 if learning_rate is None else learning_rate
        optimizer = choose("optimizer", optimizer, OPTIMIZERS)(model, lr=rate)
    elif learning_rate is not None:
        raise ArgumentError("learning_rate goes with an optimizer's name: set it on the optimizer")
    own = set(map(id, model.parameters()))
    if not own.issuperset(map(id, optimizer.parameters)):
        raise ArgumentError(
            "the optimizer holds parameters that are not the model's: make it from this model"
        )
    batch_size = whole("fit: batch_size", batch_size)
    epochs = whole("fit: epochs", epochs)
    if schedule is not None and not callable(schedule):
        schedule = _named_schedule(schedule, epochs * math.ceil(len(samples[0]) / batch_size))
    training = Training(
        task=Task(model, loss, penalty, samples, optimizer),
        validation=held_out,
        schedule=schedule,
        epochs=epochs,
        batch_size=batch_size,
        metrics=find_metrics(metrics),
        clip_norm=_limit("fit: clip_norm", clip_norm),
        clip_value=_limit("fit: clip_value", clip_value),
        callbacks=[progress_callback(progress), *callbacks],
        rng=random.Random(seed) if shuffle else None,
    )
    training.try_out()
    training.use(engine)
    if resume is not None:
        training.load(resume)
    return training.run()


def _limit(what: str, limit: float | None) -> float | None:
    return None if limit is None else number(what, limit, zero=False)


def _named_schedule(name: str, updates: int) -> Schedule:
    """The schedule of that name, laid out over all `updates`."""
    warm = math.ceil(updates / 10)
    schedules: dict[str, Schedule] = {
        "constant": Constant(),
        "step": Step(math.ceil(updates / 3)),
        "linear": Linear(updates),
        "cosine": Cosine(updates),
        "warmup": Warmup(warm, Cosine(max(updates - warm, 1))),
    }
    return choose("schedule", name, schedules)


def _samples(x: Any, y: Any, validation: Any, seed: int) -> tuple[Samples, Samples]:
    """The samples to learn from and those to judge by, if any; the latter given, or drawn."""
    rows, targets = check_samples(x, y)
    if validation is None:
        return (rows, targets), ([], [])
    if isinstance(validation, tuple):
        if len(validation) != 2:
            raise ArgumentError(
                f"validation is a pair (x, y) or a share, got {len(validation)} things"
            )
        held_out = check_samples(validation[0], validation[1], "validation ")
        if len(held_out[0][0]) != len(rows[0]):
            raise ShapeError(
                f"validation x has rows of {len(held_out[0][0])} numbers, x of {len(rows[0])}"
            )
        return (rows, targets), held_out
    count = round(number("fit: validation", validation, high=1, zero=False) * len(rows))
    if not 0 < count < len(rows):
        raise DataError(f"validation={validation} of {len(rows)} rows leaves one side empty")
    order = random.Random(seed).sample(range(len(rows)), len(rows))
    out, left = sorted(order[:count]), sorted(order[count:])
    return (
        ([rows[i] for i in left], [targets[i] for i in left]),
        ([rows[i] for i in out], [targets[i] for i in out]),
    )


def _check_kind(what: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise ArgumentError(f"the {what} is {value!r:.60}: give a gradloom {kind.__name__}")
