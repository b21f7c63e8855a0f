"""Progress: a live bar on a terminal, plain lines elsewhere.

Both are callbacks. The bar shows the epoch, the figures of the last one, samples a second and the
time left; the lines are about twenty however many epochs there are, so that a log stays short.
"""

import math
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from gradloom.errors import ArgumentError
from gradloom.train.callbacks import Callback
from gradloom.train.history import Record

if TYPE_CHECKING:
    from gradloom.train.training import Training

Progress = Literal["auto", "bar", "lines", "silent"]

LINES = 20  # about as many as fit on a screen
LEGEND = "training figures, with those of the validation samples in parentheses"
_UNSHOWN = {"epoch", "gradient_norm", "learning_rate", "seconds"}


def progress_callback(kind: Progress = "auto") -> Callback:
    """The callback that shows a training's progress.

    Args:
        kind: "bar" needs `rich`; "auto" is a bar where standard output is a terminal and rich is
            installed, and lines elsewhere; "silent" shows nothing.

    Raises:
        ArgumentError: another kind.

    Example:
        >>> type(progress_callback("lines")).__name__
        'ProgressLines'
    """
    if kind == "silent":
        return Callback()
    if kind == "lines":
        return ProgressLines()
    if kind not in ("auto", "bar"):
        raise ArgumentError(f"progress is {kind!r}: give 'auto', 'bar', 'lines' or 'silent'")
    try:
        from rich.console import Console
    except ModuleNotFoundError:
        return ProgressLines()
    return ProgressBar() if kind == "bar" or Console().is_terminal else ProgressLines()


def figures(record: Record) -> str:
    """The losses and metrics of a record as text, those of held-out samples in parentheses.

    Example:
        >>> figures({"epoch": 3, "loss": 0.25, "validation_loss": 0.5, "seconds": 1.0})
        'loss 0.2500 (0.5000)'
    """
    parts = []
    for name, value in record.items():
        if name not in _UNSHOWN and not name.startswith("validation_"):
            held_out = record.get(f"validation_{name}")
            parts.append(
                f"{name} {value:.4f}" + (f" ({held_out:.4f})" if held_out is not None else "")
            )
    return "  ".join(parts)


class ProgressLines(Callback):
    """Prints about twenty lines over the training, the first and the last epoch among them."""

    def on_start(self, training: "Training") -> None:
        self._started, self._first = perf_counter(), training.epoch
        if training.monitor == "validation_loss":
            print(LEGEND, flush=True)

    def on_epoch(self, training: "Training") -> None:
        epoch, epochs = training.epoch, training.epochs
        if epoch == self._first + 1 or epoch % math.ceil(epochs / LINES) == 0 or epoch == epochs:
            done = epoch - self._first
            seconds = perf_counter() - self._started
            print(
                f"epoch {epoch}/{epochs}  {figures(training.history.records[-1])}  "
                f"{done * training.size / seconds:,.0f} samples/s  "
                f"{clock(seconds / done * (epochs - epoch))} left",
                flush=True,
            )

    def on_end(self, training: "Training") -> None:
        if training.history.ended:
            print(training.history.ended, flush=True)


def clock(seconds: float) -> str:
    """A duration as minutes and seconds.

    Example:
        >>> clock(83.2)
        '1:23'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


class ProgressBar(Callback):
    """A live bar by `rich`: epoch, figures, samples a second, time left."""

    def on_start(self, training: "Training") -> None:
        from rich import progress

        self._started = perf_counter()
        self._learned = 0
        self._bar: Any = progress.Progress(
            progress.TextColumn("epoch {task.fields[epoch]}"),
            progress.BarColumn(bar_width=12),
            progress.TextColumn("{task.fields[figures]}"),
            progress.TimeRemainingColumn(compact=True),
        )
        self._task = self._bar.add_task(
            "",
            total=training.size * training.epochs,
            completed=training.size * training.epoch,
            epoch=f"{training.epoch}/{training.epochs}",
            figures="",
        )
        self._bar.start()
        if training.monitor == "validation_loss":
            self._bar.console.print(LEGEND, markup=False, highlight=False)

    def on_batch(self, training: "Training", size: int, loss: float) -> None:
        self._learned += size
        shown = training.history.records[-1] if training.history else {}
        self._show(training, {**shown, "loss": loss}, size)

    def on_epoch(self, training: "Training") -> None:
        self._show(training, training.history.records[-1], 0)

    def on_end(self, training: "Training") -> None:
        self._bar.stop()
        if training.history.ended:
            self._bar.console.print(training.history.ended, markup=False, highlight=False)

    def _show(self, training: "Training", record: Record, size: int) -> None:
        rate = self._learned / (perf_counter() - self._started)
        self._bar.update(
            self._task,
            advance=size,
            epoch=f"{training.epoch}/{training.epochs}",
            figures=f"{figures(record)}  {rate:,.0f} samples/s",
        )
