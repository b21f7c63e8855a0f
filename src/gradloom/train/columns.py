"""What a column of a table holds: numbers, texts, classes; and whether it can be learned from.

A CSV file brings all its columns as text, a Parquet file brings types. Both are read alike here, so
that a run trained on one can predict from the other.
"""

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from gradloom.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Task = Literal["classification", "regression"]

MAX_CLASSES = 10  # whole numbers with no more distinct values are taken for classes


def find_task(column: "pd.Series[Any]") -> Task:
    """What a column to predict calls for, when nobody has said.

    Text is taken for classes, and so are at most ten distinct whole numbers; others are numbers.

    Example:
        >>> find_task(pd.Series(["a", "b"])), find_task(pd.Series([0.5, 1.5]))
        ('classification', 'regression')
    """
    if not is_numbers(column):
        return "classification"
    distinct = np.unique(column_numbers(column))
    whole = bool((distinct == np.round(distinct)).all())
    return "classification" if whole and len(distinct) <= MAX_CLASSES else "regression"


def check_target(column: "pd.Series[Any]", task: Task) -> None:
    """Refuses a target that nothing can be learned about.

    Raises:
        DataError: gaps, infinite numbers, a single value, text for a regression, a class with too
            few rows to be split in three.
    """
    texts = column_texts(column)
    if None in texts:
        raise DataError(
            f"the target {column.name!r} has no value in row {texts.index(None) + 1} "
            f"({texts.count(None)} of {len(texts)} rows): fill or drop them"
        )
    if task == "regression":
        complete_numbers(column)
    counts = Counter(texts)
    if len(counts) == 1:
        raise DataError(
            f"the target {column.name!r} has a single value, {texts[0]!r}: there is nothing to "
            "learn; choose another --target or add rows with another value"
        )
    if task == "classification":
        rarest = min(counts, key=counts.__getitem__)
        if counts[rarest] < 3:
            raise DataError(
                f"class {rarest!r} of {column.name!r} has {counts[rarest]} of the 3 rows it needs "
                "to be split: add rows, merge classes, or use --task regression for numbers"
            )


def is_numbers(column: "pd.Series[Any]") -> bool:
    """Whether a column holds numbers (and gaps) only, be they typed or written as text.

    Example:
        >>> is_numbers(pd.Series(["1.5", None])), is_numbers(pd.Series(["1.5", "red"]))
        (True, False)
    """
    types = pd.api.types
    if types.is_object_dtype(column) or types.is_string_dtype(column):
        return bool((pd.to_numeric(column, errors="coerce").isna() == column.isna()).all())
    return types.is_numeric_dtype(column) and not types.is_bool_dtype(column)


def column_numbers(column: "pd.Series[Any]") -> "NDArray[np.float64]":
    """The column as floats, NaN in its gaps.

    Raises:
        DataError: text, infinity or a number beyond 1e100 in it (too large to scale); the message
            gives the row.

    Example:
        >>> column_numbers(pd.Series(["1.5", None]))
        array([1.5, nan])
    """
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(float, na_value=np.nan)
    text = np.isnan(numbers) & column.notna().to_numpy()
    huge = np.abs(numbers) > 1e100
    for wrong, advice in ((text, "a number is needed"), (huge, "too large: correct or empty it")):
        if wrong.any():
            row = int(wrong.argmax())
            value = column.tolist()[row]
            raise DataError(f"column {column.name!r}, row {row + 1}: {value!r}: {advice}")
    return numbers


def complete_numbers(column: "pd.Series[Any]") -> list[float]:
    """The column as floats without gaps.

    Raises:
        DataError: a gap, text or infinity in it; the message gives the row.
    """
    numbers = column_numbers(column)
    if np.isnan(numbers).any():
        row = int(np.isnan(numbers).argmax()) + 1
        raise DataError(f"column {column.name!r}, row {row}: no value where a number is needed")
    return list(map(float, numbers))


_BARE = re.compile(r"^(?:(-?\d+)\.0+|(\d+-\d\d-\d\d)[ T]00:00:00)$")


def column_texts(column: "pd.Series[Any]") -> list[str | None]:
    """The column as text, None in its gaps; whole numbers without a decimal point.

    Midnight is left out of dates, as those in a CSV file have none.

    Example:
        >>> column_texts(pd.Series([1.0, None, 2.5]))
        ['1', None, '2.5']
        >>> column_texts(pd.Series(pd.to_datetime(["2024-01-01"])))
        ['2024-01-01']
    """
    return [
        None if gap else _BARE.sub(r"\1\2", str(value))
        for value, gap in zip(column.tolist(), column.isna(), strict=True)
    ]
