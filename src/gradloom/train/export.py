"""Functions and trained networks as files for other programs."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gradloom.train.files import write_whole
from gradloom.transforms.export import exported


def export(
    f: Callable[..., Any],
    path: str | os.PathLike[str],
    target: str | None = None,
    *,
    args: Sequence[Any] | None = None,
    name: str | None = None,
    dtype: str = "float64",
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
        dtype: float64 or float32, what numbers are outside and inside.
        gradient: inputs, parameters or both: adds NAME_gradient(), which gives the value, one
            number, and its derivatives by these.
        parameters: constant, in the object's read-only data; or argument: the caller passes them,
            and finds them as they are now in `NAME_parameters`.

    Returns:
        The files written.

    Raises:
        ArgumentError: an option is unknown, or `f` was not recorded and no `args` are given.
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
    files = exported(
        f,
        Path(path),
        target,
        args=args,
        name=name,
        dtype=dtype,
        gradient=gradient,
        parameters=parameters,
    )
    for file, content in files.items():
        write_whole(Path(file), content)
    return [Path(file) for file in files]
