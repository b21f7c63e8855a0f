"""The history of a training: one record an epoch, kept as JSON lines.

A record is a flat dictionary of numbers, so that a column of it is a curve:

    epoch                       1, 2, 3, …
    loss, accuracy, …           means over the samples as they were learned from
    validation_loss, …          the same figures on samples held out, after the epoch
    learning_rate               of the last update
    gradient_norm               mean over the updates, before clipping
    seconds                     the epoch's duration
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from gradloom.errors import ArgumentError, RunFolderError
from gradloom.nn.checks import choose
from gradloom.train.extras import extra
from gradloom.train.files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Record = dict[str, float]


@dataclass
class History:
    """What `fit` returns: the records of all epochs and why the training ended.

    Attributes:
        records: one dictionary an epoch, oldest first; `epoch` counts from 1.
        ended: why the training ended, in words; empty while it runs.
        interrupted: whether it was ended by Ctrl-C.

    Example:
        >>> history = History([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}])
        >>> history["loss"]
        [0.5, 0.25]
        >>> history.best()["epoch"]
        2
        >>> history
        History(2 epochs, best loss 0.25 in epoch 2, not ended)
    """

    records: list[Record] = field(default_factory=list)
    ended: str = ""
    interrupted: bool = False

    def __repr__(self) -> str:
        parts = ["1 epoch" if len(self) == 1 else f"{len(self)} epochs"]
        if self.records:
            best = self.best()
            parts.append(f"best {self.monitor} {best[self.monitor]:.4g} in epoch {best['epoch']}")
        return f"History({', '.join([*parts, self.ended or 'not ended'])})"

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __getitem__(self, column: str) -> list[float]:
        """The figures of one column, an epoch each.

        Raises:
            ArgumentError: no such column; the message names the nearest.
        """
        if self.records:
            choose("column of the history", column, self.records[0])
        return [record[column] for record in self.records]

    @property
    def columns(self) -> list[str]:
        """The names of the columns, in the order of the records."""
        return list(self.records[0]) if self.records else []

    @property
    def monitor(self) -> str:
        """The column that tells the best epoch: the loss on held-out samples where there is one."""
        return "validation_loss" if "validation_loss" in self.columns else "loss"

    def best(self) -> Record:
        """The record of the epoch with the lowest `monitor`.

        Raises:
            ArgumentError: no epoch was finished.
        """
        if not self.records:
            raise ArgumentError("the history is empty: no epoch was finished")
        return min(self.records, key=lambda record: record[self.monitor])

    def plot(self, *columns: str) -> "Figure":
        """The loss and the metrics by epoch, with the best epoch marked, as a matplotlib figure.

        A notebook shows it where it is the last thing in a cell; `figure.savefig(path)` saves it.

        Args:
            columns: which to draw instead, such as "loss", "gradient_norm".

        Raises:
            ArgumentError: no epoch was finished, or no such column.
            MissingExtraError: matplotlib is not installed.

        Example:
            >>> History([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]).plot()
            <Figure size ...>
        """
        with extra():
            plots = import_module("gradloom.view.plots")  # above this layer, so only when asked
        figure: Figure = plots.history_curves(self, columns or None)
        return figure

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes one JSON object a line: every record, then how the training ended.

        Raises:
            RunFolderError: the file cannot be written.

        Example:
            >>> import tempfile
            >>> file = Path(tempfile.mkdtemp()) / "history.jsonl"
            >>> history = History([{"epoch": 1, "loss": 0.1}], ended="interrupted")
            >>> history.save(file)
            >>> print(file.read_text())
            {"epoch": 1, "loss": 0.1}
            {"ended": "interrupted", "interrupted": false}
            >>> History.load(file) == history
            True
        """
        end = {"ended": self.ended, "interrupted": self.interrupted}
        write_whole(path, "".join(json.dumps(line) + "\n" for line in [*self.records, end]))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "History":
        """Reads back what `save` wrote.

        Raises:
            RunFolderError: the file is missing or holds something else.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
            *records, end = [json.loads(line) for line in text.splitlines()]
            history = cls(records, end["ended"], end["interrupted"])
            if any(not isinstance(record["epoch"], int) for record in records):
                raise ValueError("an epoch is no whole number")
        except OSError as error:
            raise RunFolderError(f"cannot read {path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise RunFolderError(
                f"{path} is damaged ({error}): it should hold one JSON record a line"
            ) from error
        return history
