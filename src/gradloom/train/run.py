"""Run folders: everything that a training leaves, and how to use it again.

    runs/iris-1/
      config.json          the settings, and what they were about
      preprocessing.json   medians, means, scales, categories, classes
      checkpoint.json      where to go on from (`gradloom train --resume`)
      model.safetensors    the network
      history.jsonl        a record an epoch
      metrics.json         scores of the network and the linear model
      loss.png, boundary.png, confusion.png

No file is a pickle; the model file comes late, so a folder without one is an unfinished run.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gradloom.core import ops
from gradloom.errors import AnomalyError, GradloomError, RunFolderError
from gradloom.nn import Module
from gradloom.train.compiled import predict
from gradloom.train.files import cannot_write, read_json
from gradloom.train.history import History
from gradloom.train.modelfile import load_model
from gradloom.train.preprocess import NumberTarget, Preprocessing
from gradloom.train.samples import Output
from gradloom.train.scores import Scores, classification_scores, regression_scores
from gradloom.train.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

CONFIG = "config.json"
PREPROCESSING = "preprocessing.json"
CHECKPOINT = "checkpoint.json"
MODEL = "model.safetensors"
HISTORY = "history.jsonl"
METRICS = "metrics.json"


class Predictions(NamedTuple):
    """What a run says of a table's rows.

    Attributes:
        values: a class or a number a row.
        probabilities: for classes, a probability each a row; else None. (After training with the
            hinge loss they are squashed margins: they rank, but are not calibrated.)
        notes: what in the data was unknown to the run.
    """

    values: list[str] | list[float]
    probabilities: list[list[float]] | None
    notes: list[str]


@dataclass(frozen=True)
class Predictor:
    """A trained network with its preprocessing: from a table's rows to classes or numbers."""

    preprocessing: Preprocessing
    model: Module

    def predict(self, frame: "pd.DataFrame") -> Predictions:
        """What the network says of the rows of a frame; other columns than the inputs are ignored.

        Raises:
            DataError: a column is missing, or holds text or infinity where numbers belong.
        """
        rows, notes = self.preprocessing.rows(frame)
        outputs = predict(self.model, rows)
        target = self.preprocessing.target
        if isinstance(target, NumberTarget):
            return Predictions([target.decode(number(o)) for o in outputs], None, notes)
        likely = [probabilities(output) for output in outputs]
        classes = [target.classes[each.index(max(each))] for each in likely]
        return Predictions(classes, likely, notes)

    def evaluate(self, frame: "pd.DataFrame") -> tuple[Scores, list[str]]:
        """The scores on the rows of a frame that has the target column, and notes.

        Raises:
            DataError: see `predict`; or the target is missing or has gaps or unknown classes.
        """
        truth = self.preprocessing.targets(frame)
        rows, notes = self.preprocessing.rows(frame)
        return self.score(rows, truth), notes

    def score(self, rows: Sequence[list[float]], truth: Sequence[float]) -> Scores:
        """The scores on rows and targets that are preprocessed already."""
        outputs = predict(self.model, rows)
        target = self.preprocessing.target
        if isinstance(target, NumberTarget):
            return regression_scores(target, truth, [number(output) for output in outputs])
        return classification_scores(target, truth, [probabilities(each) for each in outputs])


@dataclass(frozen=True)
class Run(Predictor):
    """A finished run, as read from its folder."""

    folder: Path
    settings: Settings
    config: dict[str, Any]
    history: History
    metrics: dict[str, Any]


def number(output: Output) -> float:
    """The one number of an output."""
    return output[0] if isinstance(output, list) else output


def probabilities(output: Output) -> list[float]:
    """The class probabilities of logits: softmax of several, sigmoid of a single one.

    Example:
        >>> probabilities(0.0), probabilities([1.0, 1.0])
        ([0.5, 0.5], [0.5, 0.5])
    """
    if isinstance(output, list):
        likely: list[float] = ops.softmax(output)
        return likely
    # Each side by its own sigmoid: 1 - sigmoid(40) would round to 0.
    return [ops.sigmoid(-output), ops.sigmoid(output)]


def load_run(folder: str | os.PathLike[str]) -> Run:
    """The run in a folder.

    Raises:
        RunFolderError: there is no such folder, or it is unfinished or damaged; the message names
            the file.
        ModelFileError: its model file is damaged.
    """
    folder = Path(folder)
    settings, config = read_config(folder)
    if not (folder / MODEL).exists():
        advice = (
            f"finish it with: gradloom train --resume {folder}"
            if (folder / CHECKPOINT).exists()
            else "train again"
        )
        raise RunFolderError(f"{folder} holds no {MODEL}: the run was not finished; {advice}")
    saved, metrics = read_json(folder / PREPROCESSING), read_json(folder / METRICS)
    try:
        preprocessing = Preprocessing.from_json(saved)
    except (KeyError, TypeError) as error:
        raise RunFolderError(f"{folder / PREPROCESSING} is damaged: train again") from error
    try:
        _check_metrics(metrics, preprocessing.classes)
    except (KeyError, TypeError) as error:
        raise RunFolderError(f"{folder / METRICS} is damaged: train again") from error
    model = load_model(folder / MODEL)
    if getattr(model, "nin", None) != preprocessing.width:
        raise RunFolderError(
            f"{folder}: {MODEL} and {PREPROCESSING} do not belong together: restore them from a "
            "copy, or train again"
        )
    return Run(
        preprocessing=preprocessing,
        model=model,
        folder=folder,
        settings=settings,
        config=config,
        history=History.load(folder / HISTORY),
        metrics=metrics,
    )


def _check_metrics(metrics: Any, classes: list[str] | None) -> None:
    """KeyError or TypeError where `metrics.json` holds something else than a run's scores."""
    names = ["accuracy", "f1", "log_loss"] if classes else ["r2", "rmse", "mae"]
    for model in ("network", "linear"):
        for part in ("train", "validation", "test"):
            scores = metrics[model][part]
            figures = [scores[name] for name in names]
            figures += [scores["classes"][name]["f1"] for name in classes or []]
            if not all(isinstance(figure, float) for figure in figures):
                raise TypeError("a score is no number")


def read_config(folder: Path) -> tuple[Settings, dict[str, Any]]:
    """The settings in a run folder, and all of its `config.json`.

    Raises:
        RunFolderError: there is no such folder, or the file is missing or damaged.
    """
    if not folder.is_dir():
        raise RunFolderError(f"there is no run folder {folder}: give one that training has made")
    if not (folder / CONFIG).exists():
        raise RunFolderError(f"{folder} is no run folder: it holds no {CONFIG}")
    config = read_json(folder / CONFIG)
    try:
        if config.keys() != {"gradloom", "settings", "data", "loss", "notes"}:
            raise KeyError("other entries than a run's")
        return Settings.from_json(config["settings"]), config
    except (KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(f"{folder / CONFIG} is damaged ({error}): train again") from error


@contextmanager
def new_folder(out: Path | None, name: str) -> Iterator[Path]:
    """Makes a folder for a run; takes it away again if the run fails with nothing to keep.

    Args:
        out: the folder; None for the first free one of runs/NAME-1, runs/NAME-2, …
        name: of the data set.

    Raises:
        RunFolderError: `out` exists already, or cannot be made.
    """
    folder = _make_folder(out, name)
    try:
        yield folder
    except BaseException as error:
        # A training that diverged would diverge again; one that filled the disk can go on.
        if isinstance(error, AnomalyError) or not (folder / CHECKPOINT).exists():
            shutil.rmtree(folder, ignore_errors=True)
        elif isinstance(error, GradloomError):
            error.add_note(f"then go on with: gradloom train --resume {folder}")
        raise


def _make_folder(out: Path | None, name: str) -> Path:
    candidates = [out] if out else (Path("runs", f"{name}-{n}") for n in count(1))
    for folder in candidates:
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise cannot_write(folder, error) from error
        return folder
    raise RunFolderError(f"{out} exists already: choose another --out, or remove it first")
