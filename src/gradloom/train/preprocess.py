"""Preprocessing: from a table's columns to rows of numbers that a network learns well from.

Number columns have gaps filled with the median and are scaled to mean 0 and variance 1; category
columns have gaps filled with the commonest value and become one 0/1 column a category; a number to
predict is scaled too. scikit-learn learns the figures, from the training rows alone. They are kept
as JSON, and applied by the few lines here, so that a loaded run repeats training exactly and no
pickle is ever opened.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gradloom.errors import DataError
from gradloom.train.columns import (
    Task,
    column_numbers,
    column_texts,
    complete_numbers,
    is_numbers,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_CATEGORIES = 50  # a text column with more is taken for an identifier


@dataclass(frozen=True)
class Numbers:
    """A column of numbers: gaps become `median`, then (number - mean) / scale."""

    name: str
    median: float
    mean: float
    scale: float

    @property
    def width(self) -> int:
        """How many numbers of a row it takes."""
        return 1

    def encode(self, column: "pd.Series[Any]") -> "NDArray[np.float64]":
        """The column as an n by 1 array."""
        numbers = column_numbers(column)
        filled = np.where(np.isnan(numbers), self.median, numbers)
        return ((filled - self.mean) / self.scale)[:, None]

    def decode(self, number: float) -> float:
        """A number of a row in the column's own unit."""
        return number * self.scale + self.mean


@dataclass(frozen=True)
class Categories:
    """A column of categories: gaps become `fill`, then one 0/1 column for each of `categories`.

    A category that training did not see is unknown: 0 in all of them.
    """

    name: str
    fill: str
    categories: list[str]

    @property
    def width(self) -> int:
        """How many numbers of a row it takes."""
        return len(self.categories)

    def encode(self, column: "pd.Series[Any]") -> "NDArray[np.float64]":
        """The column as an n by width array."""
        texts = [self.fill if text is None else text for text in column_texts(column)]
        return np.array([[text == known for known in self.categories] for text in texts], float)

    def unknown(self, column: "pd.Series[Any]") -> list[str]:
        """A note on the values in the column that training did not see, if there are any."""
        known = {*self.categories, None}
        strange = [text for text in column_texts(column) if text not in known]
        if not strange:
            return []
        distinct = sorted(map(repr, {*strange}))
        named = ", ".join(distinct[:5]) + (", …" if len(distinct) > 5 else "")
        rows = "1 row" if len(strange) == 1 else f"{len(strange)} rows"
        return [f"column {self.name!r}: {named} not seen in training, taken as unknown ({rows})"]


@dataclass(frozen=True)
class ClassTarget:
    """A column of classes to predict, as indices into `classes`."""

    name: str
    classes: list[str]

    def encode(self, column: "pd.Series[Any]") -> list[int]:
        """The class indices of the column.

        Raises:
            DataError: a value is missing or is no class of the training.
        """
        index = {name: i for i, name in enumerate(self.classes)}
        texts = column_texts(column)
        for row, text in enumerate(texts, 1):
            if text not in index:
                raise DataError(
                    f"column {self.name!r}, row {row}: "
                    f"{'no value' if text is None else repr(text)} where a class is needed "
                    f"(one of {', '.join(self.classes)})"
                )
        return [index[text] for text in texts if text is not None]


@dataclass(frozen=True)
class NumberTarget:
    """A column of numbers to predict, learned as (number - mean) / scale."""

    name: str
    mean: float
    scale: float

    def encode(self, column: "pd.Series[Any]") -> list[float]:
        """The numbers of the column as the network learns them.

        Raises:
            DataError: a value is missing or no number.
        """
        return [(number - self.mean) / self.scale for number in complete_numbers(column)]

    def decode(self, output: float) -> float:
        """A network's output in the column's own unit."""
        return output * self.scale + self.mean


@dataclass(frozen=True)
class Preprocessing:
    """All that turns a frame into rows and targets, and outputs back into values.

    Attributes:
        inputs: the columns that are learned from, numbers first.
        target: the column to predict.
        left_out: the columns that are not learned from, each with the reason.
    """

    inputs: list[Numbers | Categories]
    target: ClassTarget | NumberTarget
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def task(self) -> Task:
        """What kind of thing is predicted."""
        return "classification" if isinstance(self.target, ClassTarget) else "regression"

    @property
    def classes(self) -> list[str] | None:
        """The names of the classes to predict; None where a number is predicted."""
        return self.target.classes if isinstance(self.target, ClassTarget) else None

    @property
    def width(self) -> int:
        """The length of a row."""
        return sum(column.width for column in self.inputs)

    def rows(self, frame: pd.DataFrame) -> tuple[list[list[float]], list[str]]:
        """The rows of numbers for a frame, and notes on what was unknown in it.

        Raises:
            DataError: a column is missing, or holds text or infinity where numbers belong.
        """
        absent = [column.name for column in self.inputs if column.name not in frame.columns]
        if absent:
            raise DataError(
                f"the data lack {'column' if len(absent) == 1 else 'columns'} "
                f"{', '.join(map(repr, absent))}: the run was trained with "
                f"{', '.join(repr(column.name) for column in self.inputs)}"
            )
        blocks = [column.encode(frame[column.name]) for column in self.inputs]
        rows: list[list[float]] = np.hstack(blocks).tolist()
        coded = [column for column in self.inputs if isinstance(column, Categories)]
        return rows, [note for column in coded for note in column.unknown(frame[column.name])]

    def targets(self, frame: pd.DataFrame) -> Sequence[float]:
        """The targets in a frame: class indices, or scaled numbers.

        Raises:
            DataError: the target column is missing, or has gaps or values that do not belong.
        """
        if self.target.name not in frame.columns:
            raise DataError(
                f"the data lack the target {self.target.name!r}: add it, or use predict"
            )
        return self.target.encode(frame[self.target.name])

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON."""
        return {
            "numbers": [asdict(each) for each in self.inputs if isinstance(each, Numbers)],
            "categories": [asdict(each) for each in self.inputs if isinstance(each, Categories)],
            "target": asdict(self.target),
            "left_out": self.left_out,
        }

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "Preprocessing":
        """Takes back what `to_json` gave; KeyError or TypeError where it is something else."""
        inputs: list[Numbers | Categories] = [Numbers(**each) for each in saved["numbers"]]
        inputs += [Categories(**each) for each in saved["categories"]]
        target = saved["target"]
        kind = ClassTarget if "classes" in target else NumberTarget
        return cls(inputs, kind(**target), saved["left_out"])


def learn_preprocessing(
    frame: pd.DataFrame, train: Sequence[int], target: str, task: Task
) -> Preprocessing:
    """Learns the preprocessing of a frame.

    Args:
        frame: all rows; what kind a column is, and which classes there are, is decided on these.
        train: the positions of the training rows; medians, means, scales and categories are
            learned from these alone.
        target: the column to predict.
        task: what to take it for.

    Raises:
        DataError: infinite numbers, no usable column.
    """
    columns: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    for name in frame.columns.drop(target):
        texts = column_texts(frame[name])
        distinct = {texts[i] for i in train} - {None}
        if not distinct:
            left_out[name] = "no values in the training rows"
        elif is_numbers(frame[name]):
            columns[name] = column_numbers(frame[name])
        elif len(distinct) > MAX_CATEGORIES:
            left_out[name] = f"text with {len(distinct)} different values (an identifier?)"
        else:
            columns[name] = np.array([np.nan if t is None else t for t in texts], object)
    if not columns:
        reasons = "; ".join(f"{name!r}: {reason}" for name, reason in left_out.items())
        raise DataError(f"no column can be learned from: {reasons}")
    inputs = _learn_inputs(pd.DataFrame(columns).iloc[list(train)])
    return Preprocessing(inputs, _learn_target(frame[target], train, task), left_out)


def _learn_inputs(frame: pd.DataFrame) -> list[Numbers | Categories]:
    """What scikit-learn's imputers, scaler and encoder learn from the training rows."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = frame.select_dtypes("number").columns.tolist()
    categories = frame.columns.drop(numbers).tolist()
    scaling = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    coding = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder())
    parts = [("numbers", scaling, numbers), ("categories", coding, categories)]
    learned = ColumnTransformer([part for part in parts if part[2]]).fit(frame).named_transformers_
    inputs: list[Numbers | Categories] = []
    if numbers:
        fill, scale = (step for _, step in learned["numbers"].steps)
        for figures in zip(numbers, fill.statistics_, scale.mean_, scale.scale_, strict=True):
            inputs.append(Numbers(figures[0], *map(float, figures[1:])))
    if categories:
        fill, code = (step for _, step in learned["categories"].steps)
        for name, commonest, known in zip(
            categories, fill.statistics_, code.categories_, strict=True
        ):
            inputs.append(Categories(name, commonest, known.tolist()))
    return inputs


def _learn_target(
    column: "pd.Series[Any]", train: Sequence[int], task: Task
) -> ClassTarget | NumberTarget:
    if task == "classification":
        classes = {text for text in column_texts(column) if text is not None}
        return ClassTarget(str(column.name), sorted(classes, key=_natural))
    learned = np.array(complete_numbers(column))[list(train)]
    return NumberTarget(str(column.name), float(learned.mean()), float(learned.std()) or 1.0)


def _natural(text: str) -> tuple[int, float, str]:
    """A sorting key that puts numbers before words and 2 before 10."""
    return (0, float(text), text) if re.fullmatch(r"-?\d+(\.\d+)?", text) else (1, 0.0, text)
