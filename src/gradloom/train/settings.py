"""The settings of a run: what the command's options say, kept in the run's `config.json`."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from gradloom.errors import ArgumentError


@dataclass(frozen=True)
class Settings:
    """All that decides a run's figures, beside the data.

    Attributes:
        source: a bundled data set's name, or the path of a CSV or Parquet file.
        target: the column to predict; None for the last one (or the bundled set's own).
        task: "classification", "regression", or "auto" to tell by the target.
        hidden: the sizes of the hidden layers, such as "16,16", or "none".
        activation: of the hidden layers; a name in `gradloom.nn.ACTIVATIONS`.
        loss: a name in `gradloom.nn.LOSSES`, or "auto" to tell by the task.
        optimizer: a name in `gradloom.nn.OPTIMIZERS`.
        learning_rate, schedule, epochs, batch_size, engine: as for `fit`.
        weight_decay: of the optimizer.
        clip_norm: largest norm of the gradient; None for no limit.
        patience: epochs without a better validation loss after which to stop.
        test_size, validation_size: the shares of all rows held out to score and to stop by.
        seed: of the split, the first weights and the order of the samples.

    Example:
        >>> Settings("iris", hidden="16,16").layers
        [16, 16]
    """

    source: str
    target: str | None = None
    task: str = "auto"
    hidden: str = "32"
    activation: str = "tanh"
    loss: str = "auto"
    optimizer: str = "adam"
    learning_rate: float = 0.01
    schedule: str = "constant"
    # Of 0, 1e-4, 1e-3 and 1e-2 the best on the validation rows of the bundled sets, on balance.
    weight_decay: float = 1e-4
    clip_norm: float | None = None
    epochs: int = 100
    batch_size: int = 16
    patience: int = 20
    test_size: float = 0.2
    validation_size: float = 0.2
    seed: int = 0
    engine: str = "auto"

    @property
    def layers(self) -> list[int]:
        """The sizes of the hidden layers.

        Raises:
            ArgumentError: they are no whole numbers above 0, separated by commas.
        """
        if self.hidden == "none":
            return []
        sizes = self.hidden.split(",")
        if not all(
            size.strip().isascii() and size.strip().isdigit() and int(size) for size in sizes
        ):
            raise ArgumentError(
                f"hidden is {self.hidden!r}: give layer sizes such as 16,16 (or none for no layer)"
            )
        return list(map(int, sizes))

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "Settings":
        """Takes back what `to_json` gave; TypeError where it is something else."""
        if set(saved) != {field.name for field in fields(cls)}:
            raise TypeError("the settings are not those of a run")
        return cls(**saved)
