"""Callbacks: what happens beside the learning, after each batch and each epoch.

Subclass `Callback` and override the moments you care about. Each gets the `Training`, which holds
the model, the optimizer and the history so far, and whose `stop(reason)` ends the training after
the epoch. A callback that remembers something between epochs returns it from `state`, as plain
JSON, and takes it back in `load_state`; so a resumed training goes on as if never interrupted.
"""

import os
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradloom.errors import ArgumentError
from gradloom.nn.checks import choose, number, whole
from gradloom.train.metrics import METRICS

if TYPE_CHECKING:
    from gradloom.train.training import Training


class Callback:
    """Does nothing at every moment of a training; override the ones you need.

    Example:
        >>> class Say(Callback):
        ...     def on_epoch(self, training):
        ...         print(training.history.records[-1]["loss"])
    """

    def on_start(self, training: "Training") -> None:
        """Before the first epoch; raise here what makes the training impossible."""

    def on_batch(self, training: "Training", size: int, loss: float) -> None:
        """After each update: the batch's number of samples, the epoch's mean loss so far."""

    def on_epoch(self, training: "Training") -> None:
        """After each epoch; its record is the last of `training.history.records`."""

    def on_end(self, training: "Training") -> None:
        """After the training, however it ended: all epochs, stopped, interrupted or failed."""

    def state(self) -> dict[str, Any]:
        """What an exact resume needs to know of this callback, as plain JSON."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes back what `state` returned, before `on_start`."""


class EarlyStopping(Callback):
    """Stops when a figure has not improved for a while, and restores the best weights.

    Args:
        monitor: the column of the history to watch; by default the validation loss, or the loss
            where there is no validation.
        patience: epochs without improvement after which to stop.
        min_delta: the least change that counts as an improvement.
        mode: whether lower ("min") or higher ("max") is better; "auto" knows it for the losses and
            the metrics of `METRICS`.
        restore_best: put the weights of the best epoch back at the end, however it comes.

    Attributes:
        best: the best figure so far, None before the first epoch.
        best_epoch: the epoch that had it, counted from 1.

    Raises:
        ArgumentError: a patience below 1 or a negative `min_delta`.

    Reference: Prechelt, "Early Stopping - But When?", 1998.

    Example:
        >>> EarlyStopping("validation_accuracy", patience=5).patience
        5
    """

    def __init__(
        self,
        monitor: str | None = None,
        *,
        patience: int = 10,
        min_delta: float = 0.0,
        mode: Literal["auto", "min", "max"] = "auto",
        restore_best: bool = True,
    ) -> None:
        if mode not in ("auto", "min", "max"):
            raise ArgumentError(f"mode is {mode!r}: give 'auto', 'min' or 'max'")
        self.monitor = monitor
        self.patience = whole("EarlyStopping: patience", patience)
        self.min_delta = number("EarlyStopping: min_delta", min_delta)
        self.mode = mode
        self.restore_best = restore_best
        self._forget()

    def _forget(self) -> None:
        self.best: float | None = None
        self.best_epoch = 0
        self._waited = 0
        self._weights = array("d")

    def on_start(self, training: "Training") -> None:
        monitor = self._column(training)
        choose("recorded figure", monitor, dict.fromkeys(training.columns))
        if not training.history:  # a new training, perhaps with a callback used before
            self._forget()
        self._stop_if_due(training)

    def on_epoch(self, training: "Training") -> None:
        monitor = self._column(training)
        figure = training.history.records[-1][monitor]
        if self._improves(monitor, figure):
            self._weights = training.model.pack()[0][:]
            self.best, self.best_epoch, self._waited = figure, training.epoch, 0
        else:
            self._waited += 1
        self._stop_if_due(training)

    def on_end(self, training: "Training") -> None:
        if self.restore_best and self.best is not None:
            training.model.pack()[0][:] = self._weights

    def state(self) -> dict[str, Any]:
        return {
            "best": self.best,
            "best_epoch": self.best_epoch,
            "waited": self._waited,
            "weights": self._weights.tolist(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self._waited, self._weights = state["waited"], array("d", state["weights"])

    def _column(self, training: "Training") -> str:
        return self.monitor or training.monitor

    def _improves(self, monitor: str, figure: float) -> bool:
        if self.best is None:
            return True
        metric = METRICS.get(monitor.removeprefix("validation_"))
        better = self.mode if self.mode != "auto" else metric.better if metric else "min"
        gain = figure - self.best if better == "max" else self.best - figure
        return gain > self.min_delta

    def _stop_if_due(self, training: "Training") -> None:
        if self._waited >= self.patience:
            training.stop(
                f"stopped early: {self._column(training)} has not improved "
                f"since epoch {self.best_epoch}"
            )


class Checkpoint(Callback):
    """Saves all that an exact resume needs, after every few epochs.

    `fit(..., resume=path)` then goes on with the same figures, bit for bit, as a training that was
    never interrupted: weights, the optimizer's memory, the learning rate's place in its schedule,
    the random order of the samples, the history and the other callbacks' state are all kept.
    The file is JSON and is replaced as a whole, so that a crash cannot spoil it.

    Args:
        path: the file.
        every: epochs between two saves; the last epoch is always saved.

    Raises:
        ArgumentError: `every` below 1.

    Example:
        >>> Checkpoint("checkpoint.json", every=5).every
        5
    """

    def __init__(self, path: str | os.PathLike[str], *, every: int = 1) -> None:
        self.path = Path(path)
        self.every = whole("Checkpoint: every", every)

    def on_epoch(self, training: "Training") -> None:
        if training.epoch % self.every == 0 or training.epoch == training.epochs:
            training.save(self.path)
