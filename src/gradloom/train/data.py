"""Data to learn from: scikit-learn's bundled sets by name, CSV and Parquet files by path.

Everything becomes a `Table`: a pandas frame and the name of the column to predict. What a column
means (numbers, categories, classes) is `preprocess`'s business; here it is only read and checked.
"""

import csv
import hashlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from gradloom.errors import ArgumentError, DataError
from gradloom.nn.checks import choose
from gradloom.train.extras import extra

if TYPE_CHECKING:
    import pandas as pd

Load: TypeAlias = Callable[[], "pd.DataFrame"]

# What stands for a missing value in a text file; compared without regard to case.
MISSING = {"", "na", "n/a", "nan", "null", "none", "?"}


@dataclass(frozen=True)
class Table:
    """Rows to learn from.

    Attributes:
        name: of the data set, short; names its run folder.
        frame: the columns.
        target: the name of the column to predict.
    """

    name: str
    frame: "pd.DataFrame"
    target: str

    def fingerprint(self) -> str:
        """A hash of the contents, which tells whether a file has changed since a run."""
        import pandas as pd

        rows = pd.util.hash_pandas_object(self.frame, index=False).to_numpy().tobytes()
        return hashlib.sha256(",".join(self.frame.columns).encode() + rows).hexdigest()[:16]


def load_table(source: str | os.PathLike[str], target: str | None = None) -> Table:
    """The bundled set of that name, or the file at that path.

    Args:
        source: a name in `DATA_SETS`, or a path that ends in .csv or .parquet.
        target: the column to predict; by default the last one.

    Raises:
        ArgumentError: an unknown data set or target; the message names the nearest.
        DataError: see `read_frame`; or there is no column beside the target.
        MissingExtraError: pandas or scikit-learn is not installed.

    Example:
        >>> table = load_table("iris")
        >>> table.frame.shape, table.target
        ((150, 5), 'species')
    """
    path = Path(source)
    if path.suffix.lower() in _READERS:
        name, frame = path.stem, read_frame(path)
    elif path.exists():
        raise ArgumentError(f"{path} is no table: give a file that ends in .csv or .parquet")
    else:
        try:
            load = choose("data set", name := str(source), DATA_SETS)
        except ArgumentError as error:
            raise ArgumentError(f"{error} (or give a .csv or .parquet file)") from None
        with extra():
            frame = load()
    columns = list(frame.columns)
    target = choose("column", target or columns[-1], {column: column for column in columns})
    if len(columns) == 1:
        raise DataError(f"{source} has no column beside {target!r}: there is nothing to learn from")
    return Table(name, frame, target)


def read_frame(path: str | os.PathLike[str]) -> "pd.DataFrame":
    """The columns of a CSV or Parquet file.

    A CSV file is UTF-8 text with a header line; its separator (comma, semicolon, tab or bar) is
    the commonest in that line. Its columns come as text, missing where a field is empty or says
    NA, NaN, null, None or ?.

    Raises:
        ArgumentError: the path ends otherwise.
        DataError: the file is missing, empty, damaged, ragged, or has no proper header; the message
            gives the line.
        MissingExtraError: pandas or pyarrow is not installed.
    """
    path = Path(path)
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise ArgumentError(f"{path} is no table: give a file that ends in .csv or .parquet")
    try:
        frame = read(path)
    except FileNotFoundError:
        raise DataError(f"there is no file {path}: check the name") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise DataError(f"{path} has two columns called {twice[0]!r}: rename one")
    if frame.empty:
        raise DataError(f"{path} has a header but no rows: add at least one")
    return frame


def _read_csv(path: Path) -> "pd.DataFrame":
    with extra():
        import pandas as pd
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is no UTF-8 text (byte {error.start}): save it as CSV in UTF-8"
        ) from error
    head = text.lstrip("\r\n").partition("\n")[0]
    separator = max(",;\t|", key=head.count)
    lines_in = io.StringIO(text, newline="")
    reader = csv.reader(lines_in, delimiter=separator, skipinitialspace=True, strict=True)
    lines: list[list[str | None]] = []
    header: list[str] = []
    try:
        for fields in reader:
            cells = [field.strip() for field in fields]
            if not header and any(cells):
                header = _check_header(path, cells)
            elif fields:  # not a blank line
                if len(cells) != len(header):
                    raise DataError(
                        f"{path}, line {reader.line_num}: {len(cells)} fields where the header "
                        f"has {len(header)}: correct or remove the line"
                    )
                lines.append([None if cell.lower() in MISSING else cell for cell in cells])
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}: correct the line") from error
    if not header:
        raise DataError(f"{path} is empty: it needs a header line and rows")
    return pd.DataFrame(lines, columns=header, dtype=object)


def _check_header(path: Path, names: list[str]) -> list[str]:
    for i, name in enumerate(names):
        if not name:
            raise DataError(f"{path}: column {i + 1} has no name: give it one in the header line")
    if all(name.replace(".", "").lstrip("+-").isdigit() for name in names):
        raise DataError(f"{path} starts with numbers: its first line must name the columns")
    return names


def _read_parquet(path: Path) -> "pd.DataFrame":
    with extra():
        import pandas as pd
        import pyarrow
    try:
        frame = pd.read_parquet(path).reset_index(drop=True)
    except (ValueError, pyarrow.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} is damaged or no Parquet file ({reason})") from error
    if not len(frame.columns):
        raise DataError(f"{path} is empty: it needs columns and rows")
    frame.columns = frame.columns.map(str)
    for name, column in frame.items():
        if column.dtype == object and column.map(pd.api.types.is_list_like).any():
            raise DataError(f"{path}: column {name!r} holds lists: give each item its own column")
    return frame


_READERS: dict[str, Callable[[Path], "pd.DataFrame"]] = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}


def _bundled(loader: str, target: str, **options: Any) -> Load:
    """A set that scikit-learn carries; classes go by their names."""

    def load() -> "pd.DataFrame":
        from sklearn import datasets

        bunch = getattr(datasets, loader)(as_frame=True, **options)
        names = bunch.get("target_names")
        values = bunch.target if names is None else [str(names[i]) for i in bunch.target]
        frame: pd.DataFrame = bunch.data.assign(**{target: values})
        return frame

    return load


def _drawn(maker: str, target: str, **options: Any) -> Load:
    """A set of 500 points that scikit-learn draws, the same ones each time."""

    def load() -> "pd.DataFrame":
        import pandas as pd
        from sklearn import datasets

        points, classes = getattr(datasets, maker)(n_samples=500, random_state=0, **options)
        return pd.DataFrame(points, columns=["x", "y"]).assign(**{target: classes})

    return load


DATA_SETS: dict[str, Load] = {
    "iris": _bundled("load_iris", "species"),
    "wine": _bundled("load_wine", "cultivar"),
    "breast-cancer": _bundled("load_breast_cancer", "diagnosis"),
    "digits": _bundled("load_digits", "digit"),
    "diabetes": _bundled("load_diabetes", "progression", scaled=False),
    "moons": _drawn("make_moons", "moon", noise=0.2),
    "circles": _drawn("make_circles", "ring", noise=0.1, factor=0.5),
}
