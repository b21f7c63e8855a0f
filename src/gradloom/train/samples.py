"""Samples as the training loop wants them: rows of finite floats, a target each.

Lists, tuples, NumPy arrays and pandas tables come in; lists of Python numbers go out, all checked,
so that a bad sample is named before any training has changed a weight.
"""

import math
from collections.abc import Sequence
from typing import Any

from gradloom.errors import DataError

Row = list[float]
Target = float | list[float]
Output = float | list[float]
Samples = tuple[list[Row], list[Target]]


def as_list(values: Any, name: str) -> list[Any]:
    """`values` as a list of Python objects; arrays and tables by their own `tolist`.

    Raises:
        DataError: `values` is nothing that holds samples.

    Example:
        >>> as_list((1, 2), "y")
        [1, 2]
    """
    if hasattr(values, "to_numpy"):  # a pandas table or column
        values = values.to_numpy()
    values = _plain(values)
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise DataError(f"{name} must be a list or an array, got {type(values).__name__}")
    return list(values)


def check_samples(x: Any, y: Any, name: str = "") -> tuple[list[Row], list[Target]]:
    """The rows of `x` and the targets `y` as lists of finite Python numbers.

    Args:
        x: n rows of k numbers (list of lists, or n by k array).
        y: n targets: numbers, class indices, or lists of m numbers.
        name: what the samples are for, in error messages ("validation ").

    Raises:
        DataError: no rows, lengths that differ, ragged rows, or an entry that is no finite number;
            the message names the row.

    Example:
        >>> check_samples([[1, 2], [3, 4]], [0, 1])
        ([[1, 2], [3, 4]], [0, 1])
        >>> check_samples([[1, 2], [3]], [0, 1])
        Traceback (most recent call last):
        gradloom.errors.DataError: x[1] has 1 number where x[0] has 2: all rows must be equally long
    """
    x_name, y_name = f"{name}x", f"{name}y"
    rows, targets = as_list(x, x_name), as_list(y, y_name)
    if not rows:
        raise DataError(f"{x_name} is empty: give at least one row")
    if len(rows) != len(targets):
        raise DataError(
            f"{x_name} has {len(rows)} rows but {y_name} has {len(targets)} targets: "
            "give one target a row"
        )
    rows = [_check_row(row, f"{x_name}[{i}]") for i, row in enumerate(rows)]
    _check_lengths(rows, x_name)
    targets = [_plain(target) for target in targets]
    if isinstance(targets[0], Sequence):
        targets = [_check_row(target, f"{y_name}[{i}]") for i, target in enumerate(targets)]
        _check_lengths(targets, y_name)
    else:
        targets = [_check_number(target, f"{y_name}[{i}]") for i, target in enumerate(targets)]
    return rows, targets


def _plain(value: Any) -> Any:
    """Python's own lists and numbers for NumPy's (or another library's)."""
    return value.tolist() if hasattr(value, "tolist") else value


def _check_row(row: Any, where: str) -> Row:
    row = _plain(row)
    if not isinstance(row, Sequence) or isinstance(row, str):
        raise DataError(f"{where} is {row!r}: each row must be a list of numbers")
    if all(number.__class__ is float and math.isfinite(number) for number in row):
        return list(row)  # the common case, fast
    return [_check_number(number, f"{where}[{j}]") for j, number in enumerate(row)]


def _check_number(number: Any, where: str) -> float:
    number = _plain(number)
    if not isinstance(number, int | float):
        raise DataError(f"{where} is {number!r}: a number is needed")
    if not math.isfinite(number):
        raise DataError(f"{where} is {number}: fill or drop what is missing or infinite")
    return number


def _check_lengths(rows: list[Row], name: str) -> None:
    size = len(rows[0])
    if not size:
        raise DataError(f"{name}[0] is empty: each row needs at least one number")
    for i, row in enumerate(rows):
        if len(row) != size:
            numbers = "number" if len(row) == 1 else "numbers"
            raise DataError(
                f"{name}[{i}] has {len(row)} {numbers} where {name}[0] has {size}: "
                "all rows must be equally long"
            )
