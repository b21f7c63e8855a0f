"""A whole experiment: read, split, scale, train, score on unseen rows, compare, keep.

The same steps serve a new run and a resumed one. All of them follow from the settings and the data
alone, so that a run can be repeated, or gone on with, to the last bit.
"""

import os
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.numpy  # noqa: F401  (save_model needs it: better missed before training than after)

from gradloom.errors import DataError, RunFolderError
from gradloom.nn import MLP, OPTIMIZERS
from gradloom.nn.checks import choose, number, whole
from gradloom.train.callbacks import Checkpoint, EarlyStopping
from gradloom.train.columns import Task, check_target, find_task
from gradloom.train.data import Table, load_table
from gradloom.train.files import write_json
from gradloom.train.fit import fit
from gradloom.train.modelfile import save_model
from gradloom.train.preprocess import Preprocessing, learn_preprocessing
from gradloom.train.progress import Progress
from gradloom.train.run import (
    CHECKPOINT,
    CONFIG,
    HISTORY,
    METRICS,
    MODEL,
    PREPROCESSING,
    Predictor,
    Run,
    load_run,
    new_folder,
    read_config,
)
from gradloom.train.scores import linear_baseline
from gradloom.train.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

Parts = dict[str, list[int]]

# The losses that suit each task; those for two classes work on a single logit.
_LOSSES: dict[str, list[str]] = {
    "two classes": ["binary_cross_entropy", "cross_entropy", "hinge"],
    "several classes": ["cross_entropy"],
    "numbers": ["mse", "mae", "huber"],
}


@dataclass(frozen=True)
class Experiment:
    """An experiment that is ready to run; `prepare` makes one.

    Attributes:
        settings: what was asked for.
        table: the data.
        parts: the positions of the rows for "train", "validation" and "test".
        preprocessing: learned from the training rows.
        loss: the name of the loss, "auto" resolved.
        rows, targets: all samples, preprocessed.
        notes: what a person should know of the data.
    """

    settings: Settings
    table: Table
    parts: Parts
    preprocessing: Preprocessing
    loss: str
    rows: list[list[float]]
    targets: list[float]
    notes: list[str]

    def network(self) -> MLP:
        """The network before training."""
        classes = self.preprocessing.classes
        outputs = len(classes) if classes and self.loss == "cross_entropy" else 1
        sizes = [*self.settings.layers, outputs]
        activation, seed = self.settings.activation, self.settings.seed
        return MLP(self.preprocessing.width, sizes, activation, seed=seed)

    def samples(self, part: str) -> tuple[list[list[float]], list[float]]:
        """The rows and targets of a part, as the loss wants them."""
        targets = [self.targets[i] for i in self.parts[part]]
        if self.loss == "hinge":
            targets = [2 * target - 1 for target in targets]
        return [self.rows[i] for i in self.parts[part]], targets

    def config(self) -> dict[str, Any]:
        """What `config.json` holds."""
        return {
            "gradloom": version("gradloom"),
            "settings": self.settings.to_json(),
            "data": {
                "name": self.table.name,
                "target": self.table.target,
                "task": self.preprocessing.task,
                "fingerprint": self.table.fingerprint(),
                "rows": {part: len(positions) for part, positions in self.parts.items()},
            },
            "loss": self.loss,
            "notes": self.notes,
        }


def prepare(settings: Settings) -> Experiment:
    """Reads, checks and splits the data, and learns the preprocessing; writes nothing.

    Raises:
        ArgumentError: a setting is out of its range or names something unknown.
        DataError: the data cannot be learned from.
    """
    table = load_table(settings.source, settings.target)
    column = table.frame[table.target]
    tasks: dict[str, Task] = {
        "auto": find_task(column),
        "classification": "classification",
        "regression": "regression",
    }
    task = choose("task", settings.task, tasks)
    check_target(column, task)
    parts = _split(column, task, settings)
    preprocessing = learn_preprocessing(table.frame, parts["train"], table.target, task)
    rows, notes = preprocessing.rows(table.frame)
    left_out = [f"column {name!r} left out: {why}" for name, why in preprocessing.left_out.items()]
    return Experiment(
        settings=settings,
        table=table,
        parts=parts,
        preprocessing=preprocessing,
        loss=_find_loss(settings.loss, preprocessing),
        rows=rows,
        targets=list(preprocessing.targets(table.frame)),
        notes=left_out + notes,
    )


def _split(column: "pd.Series[Any]", task: Task, settings: Settings) -> Parts:
    """The positions of the rows of each part, drawn by the seed; classes keep their shares."""
    from sklearn.model_selection import train_test_split

    test = number("test_size", settings.test_size, high=1, zero=False)
    validation = number("validation_size", settings.validation_size, high=1 - test, zero=False)
    seed = whole("seed", settings.seed, least=0) % 2**32  # what NumPy's generator takes
    left = list(range(len(column)))
    parts: Parts = {}
    for part, share in (("test", test), ("validation", validation / (1 - test))):
        try:
            left, parts[part] = train_test_split(
                left,
                test_size=share,
                random_state=seed,
                stratify=column.iloc[left] if task == "classification" else None,
            )
        except ValueError as error:
            raise DataError(
                f"{len(column)} rows cannot be split into training, validation and test rows "
                f"({error}): add rows or change the sizes"
            ) from error
    parts["train"] = left
    return {part: sorted(parts[part]) for part in ("train", "validation", "test")}


def _find_loss(name: str, preprocessing: Preprocessing) -> str:
    classes = preprocessing.classes
    kind = "numbers" if not classes else "two classes" if len(classes) == 2 else "several classes"
    suited = _LOSSES[kind]
    if name == "auto":
        return suited[0]
    return choose(f"loss for {kind}", name, {loss: loss for loss in suited})


def train_run(experiment: Experiment, out: Path | None = None, progress: Progress = "auto") -> Run:
    """Trains the network of an experiment and leaves a run folder.

    Args:
        experiment: what to do, from `prepare`.
        out: the run folder; None for the first free one of runs/NAME-1, runs/NAME-2, …
        progress: as for `fit`.

    Returns:
        The run, as read back from its folder.

    Raises:
        RunFolderError: the folder exists, or cannot be written.
        ArgumentError: a setting that the training refuses; no folder stays.
        AnomalyError: the training diverged; no folder stays.
    """
    with new_folder(out, experiment.table.name) as folder:
        write_json(folder / CONFIG, experiment.config())
        write_json(folder / PREPROCESSING, experiment.preprocessing.to_json())
        return _train(experiment, folder, progress)


def reopen(
    folder: str | os.PathLike[str], epochs: int | None = None, patience: int | None = None
) -> Experiment:
    """The experiment of a run folder, to go on with by `resume_run`.

    Args:
        folder: the run folder.
        epochs: the number of epochs to reach in all; by default the former one.
        patience: another patience; by default the former one.

    Raises:
        RunFolderError: no run folder, a damaged one, or one whose data have changed since.
    """
    folder = Path(folder)
    settings, config = read_config(folder)
    if not (folder / CHECKPOINT).exists():
        raise RunFolderError(f"{folder} holds no {CHECKPOINT} to go on from: train again")
    if epochs is not None:
        settings = replace(settings, epochs=epochs)
    if patience is not None:
        settings = replace(settings, patience=patience)
    experiment = prepare(settings)
    if experiment.config()["data"] != config.get("data"):
        raise RunFolderError(
            f"{settings.source} has changed since {folder} was begun: train a new run on it"
        )
    return experiment


def resume_run(
    experiment: Experiment, folder: str | os.PathLike[str], progress: Progress = "auto"
) -> Run:
    """Goes on with a run from its checkpoint, with the same figures as if never interrupted.

    Args:
        experiment: of that folder, from `reopen`.
        folder: the run folder; its model, history and scores are replaced at the end.
        progress: as for `fit`.

    Raises:
        ArgumentError: the checkpoint is damaged.
        RunFolderError: the folder cannot be written.
    """
    folder = Path(folder)
    run = _train(experiment, folder, progress, resume=folder / CHECKPOINT)
    write_json(folder / CONFIG, experiment.config())  # with the new number of epochs
    return run


def _train(
    experiment: Experiment, folder: Path, progress: Progress, resume: Path | None = None
) -> Run:
    """Trains, scores, and fills the folder, the model file last."""
    settings = experiment.settings
    model = experiment.network()
    optimizer = choose("optimizer", settings.optimizer, OPTIMIZERS)
    history = fit(
        model,
        *experiment.samples("train"),
        loss=experiment.loss,
        optimizer=optimizer(model, lr=settings.learning_rate, weight_decay=settings.weight_decay),
        clip_norm=settings.clip_norm,
        schedule=settings.schedule,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        validation=experiment.samples("validation"),
        callbacks=[EarlyStopping(patience=settings.patience), Checkpoint(folder / CHECKPOINT)],
        seed=settings.seed,
        engine=settings.engine,
        progress=progress,
        resume=resume,
    )
    history.save(folder / HISTORY)
    write_json(folder / METRICS, _scores(experiment, Predictor(experiment.preprocessing, model)))
    save_model(model, folder / MODEL)
    return load_run(folder)


def _scores(experiment: Experiment, network: Predictor) -> dict[str, Any]:
    """The scores on every part, of the network and of a linear model."""
    rows, targets, parts = experiment.rows, experiment.targets, experiment.parts
    scores = {
        name: network.score([rows[i] for i in part], [targets[i] for i in part])
        for name, part in parts.items()
    }
    linear = linear_baseline(experiment.preprocessing.target, rows, targets, parts)
    return {"network": scores, "linear": linear}
