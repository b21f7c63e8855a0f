"""One row of a table on its way through a run's network, as a value to draw or to explore."""

from typing import TYPE_CHECKING

from gradloom.core import ops
from gradloom.core.value import Value
from gradloom.errors import ArgumentError
from gradloom.nn.losses import LOSSES
from gradloom.train.preprocess import Categories
from gradloom.view.trace import tracing

if TYPE_CHECKING:
    import pandas as pd

    from gradloom.train.run import Run


def row_value(run: "Run", frame: "pd.DataFrame", row: int) -> tuple[Value, list[str]]:
    """The loss of a run's network on a row, or its output where the table lacks the target.

    Args:
        run: a finished run.
        frame: a table with the columns that the run was trained with.
        row: which one, counting from 1.

    Returns:
        The value, its nodes with notes, and notes on what in the row was unknown to the run. Of
        several outputs it is the largest, which is the class that is predicted.

    Raises:
        ArgumentError: there is no such row.
        DataError: a column is missing, or holds what does not belong.
    """
    if not 1 <= row <= len(frame):
        raise ArgumentError(f"row {row} does not exist: the table has rows 1 to {len(frame)}")
    one = frame.iloc[row - 1 : row]
    preprocessing = run.preprocessing
    (numbers,), notes = preprocessing.rows(one)
    names = [
        name
        for column in preprocessing.inputs
        for name in (
            [f"{column.name}={category}" for category in column.categories]
            if isinstance(column, Categories)
            else [column.name]
        )
    ]
    inputs = [Value(x, label=name) for x, name in zip(numbers, names, strict=True)]
    with tracing():
        output = run.model(inputs)
        if preprocessing.target.name in frame.columns:
            (target,) = preprocessing.targets(one)
            name = run.config["loss"]
            value = LOSSES[name](output, 2 * target - 1 if name == "hinge" else target)
            value.label = "loss"
        else:
            value = output if isinstance(output, Value) else ops.max(output)
            value.label = preprocessing.target.name
    return value, notes
