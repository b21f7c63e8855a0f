"""Functions and trained networks as files for other programs.

An exported run takes a row of the table as it comes: what training did to the numbers before the
network, and to what the network says, is in the function too.
"""

import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradloom.backends.llvm.header import Field, macro
from gradloom.core.ops import where
from gradloom.train.files import write_whole
from gradloom.transforms.export import Extra, Wanted, exported

if TYPE_CHECKING:
    from gradloom.train.preprocess import Categories, Numbers
    from gradloom.train.run import Run


def export(
    f: Callable[..., Any],
    path: str | os.PathLike[str],
    target: str | None = None,
    *,
    args: Sequence[Any] | None = None,
    name: str | None = None,
    dtype: str | None = None,
    gradient: str | None = None,
    parameters: str = "constant",
) -> list[Path]:
    """Writes a function as machine code that other programs call, with a header that documents it.

    For C and C++ the object or library holds a function
    `int NAME(const double *inputs, double *outputs, double *workspace)`. It needs no library, no
    memory but what it is given, and may run on many threads at once; sizes are macros of the
    header. For WebAssembly a JavaScript module loads and calls it. Where `f` branches on a number,
    every way that was recorded so far is in it, and the function tells by returning 1 when its
    inputs take another.

    Args:
        f: the function, compiled or not; what it reads from outside, such as a network's
            parameters, is read now.
        path: the object (.o), static library (.a) or WebAssembly module (.wasm) to write; a header
            (.h) or JavaScript module (.mjs) goes beside it.
        target: the machine: host (this one), x86-64, x86-64-v3, aarch64, cortex-m0, -m3, -m4, -m7,
            -m33, riscv32, riscv32f, riscv64 or wasm32; by default host, or wasm32 for .wasm.
        args: arguments to record with; only their structure counts, and the way they take. By
            default those of the last call of a compiled function.
        name: what the function is called in C; by default as in Python.
        dtype: float64 or float32, what numbers are outside and inside; by default as the function
            was compiled, which is float64 unless it was said.
        gradient: inputs, parameters or both: adds NAME_gradient(), which gives the value, one
            number, and its derivatives by these.
        parameters: constant, in the object's read-only data; or argument: the caller passes them,
            and finds them as they are now in `NAME_parameters`.

    Returns:
        The files written.

    Raises:
        ArgumentError: an option is unknown, `f` was not recorded and no `args` are given, or it has
            an operation of the user's own.
        ShapeError: a gradient is asked for, and the result is not one number.
        NotANumberError, RecordingError: `f` cannot be recorded; see `compile`.
        RunFolderError: a file cannot be written.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> files = export(lambda x, y: x * y.exp(), folder / "area.o", "cortex-m4", args=[1.0, 2.0],
    ...                dtype="float32", gradient="inputs")
    >>> [file.name for file in files]
    ['area.o', 'area.h']
    >>> [line for line in files[1].read_text().splitlines() if line.startswith("int area(")]
    ['int area(const float *inputs, float *outputs, float *workspace);']
    """
    wanted = Wanted(target, name, dtype, gradient, parameters)
    files = exported(f, Path(path), wanted, args=args)
    return _written(files)


def export_run(
    run: "Run",
    path: str | os.PathLike[str] | None = None,
    target: str | None = None,
    *,
    name: str | None = None,
    dtype: str = "float64",
) -> list[Path]:
    """Writes a trained network with its preprocessing as machine code; see `export`.

    The function takes a number for each column that the run learned from: numbers as they stand in
    the table, categories by the numbers that the header gives them, NaN for a gap. It gives the
    number predicted, or the probability of each class.

    Args:
        run: what `load_run` gives.
        path: see `export`; by default an object in the run's folder, named like the function.
        target, dtype: see `export`.
        name: what the function is called in C; by default like the data set.

    Raises:
        ArgumentError, RunFolderError: see `export`.
    """
    from gradloom.train.preprocess import Categories, NumberTarget

    inputs, target_column = run.preprocessing.inputs, run.preprocessing.target
    name = name or _identifier(str(run.config["data"]["name"]))
    if path is None:
        path = run.folder / f"{name}{'.wasm' if target == 'wasm32' else '.o'}"
    said = [
        f"It predicts {target_column.name!r} of {run.config['data']['name']!r}. Inputs are as they "
        "stand in the table; NaN stands for a gap."
    ]
    words: list[tuple[str, str]] = []
    for column in inputs:
        if isinstance(column, Categories):
            words += _numbered(macro(column.name), column.categories)
    if isinstance(target_column, NumberTarget):
        outputs = [Field(target_column.name, 0)]
    else:
        classes = target_column.classes
        outputs = [Field(each, i, note="its probability") for i, each in enumerate(classes)]
        words.append(("CLASS_NAMES", "{" + ", ".join(map(_quoted, classes)) + "}"))
    columns = [_input(i, column) for i, column in enumerate(inputs)]
    files = exported(
        _predictor(run),
        Path(path),
        Wanted(target, name, dtype),
        args=[[0.0] * len(inputs)],
        extra=Extra(said, columns, outputs, _distinct(words)),
    )
    return _written(files)


def _written(files: dict[Any, bytes]) -> list[Path]:
    for file, content in files.items():
        write_whole(file, content)
    return list(files)


def _predictor(run: "Run") -> Callable[[Sequence[Any]], Any]:
    """A function of a row of the table, by Gradloom's operations alone."""
    from gradloom.train.preprocess import NumberTarget
    from gradloom.train.run import number, probabilities

    columns, target = run.preprocessing.inputs, run.preprocessing.target

    def predict(row: Sequence[Any]) -> Any:
        numbers = [
            x for given, column in zip(row, columns, strict=True) for x in _encoded(given, column)
        ]
        output = run.model(numbers)
        if isinstance(target, NumberTarget):
            return target.decode(number(output))
        return probabilities(output)

    return predict


def _encoded(given: Any, column: "Numbers | Categories") -> list[Any]:
    """What the network gets for an entry of the table; see `preprocess`."""
    from gradloom.train.preprocess import Categories

    is_there = given <= math.inf  # as everything is but NaN
    if isinstance(column, Categories):
        index = where(is_there, given, float(column.categories.index(column.fill)))
        return [where(index == float(i), 1.0, 0.0) for i in range(column.width)]
    return [(where(is_there, given, column.median) - column.mean) / column.scale]


def _input(place: int, column: "Numbers | Categories") -> Field:
    from gradloom.train.preprocess import Categories

    if not isinstance(column, Categories):
        return Field(column.name, place, note=f"a gap counts as {column.median:.6g}")
    known = ", ".join(f"{i} {each!r}" for i, each in enumerate(column.categories))
    return Field(
        column.name, place, note=f"{known}, -1 anything else; a gap counts as {column.fill!r}"
    )


def _numbered(group: str, names: Sequence[str]) -> list[tuple[str, str]]:
    """Macros that number some names."""
    return [(f"{group or 'X'}_{macro(name) or 'X'}", str(i)) for i, name in enumerate(names)]


def _distinct(words: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The macros whose names no other one has."""
    names = [name for name, _ in words]
    return [(name, text) for name, text in words if names.count(name) == 1]


def _quoted(text: str) -> str:
    """A text as C writes it."""
    plain = "".join(c if c.isprintable() and c not in '"\\' else f"\\{ord(c):03o}" for c in text)
    return f'"{plain}"'


def _identifier(text: str) -> str:
    """A name that C can have for a data set or file."""
    word = re.sub(r"\W+", "_", Path(text).stem, flags=re.ASCII).strip("_")
    return word if re.match(r"[A-Za-z]", word) else f"model_{word}".rstrip("_")
