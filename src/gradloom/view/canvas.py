"""What all figures share: their canvas, their colours, names as plain text, and how one is saved.

Figures are made without pyplot: no window opens and nothing global changes. A notebook shows one
that is the last thing in its cell; `figure.savefig(path)` works without a display.

matplotlib's own figures are shown in a notebook only once pyplot was loaded there, so ours say
themselves how.
"""

import io
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.figure
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, NullFormatter

from gradloom.errors import ArgumentError
from gradloom.train.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

INK, ACCENT, PALE, GRID = "#334155", "#e4572e", "#94a3b8", "#e2e8f0"
_DPI = 150
_FORMATS = ("png", "svg", "pdf")


class Figure(matplotlib.figure.Figure):
    """A matplotlib figure that a notebook shows by itself, in its size on paper."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        width, height = self.get_size_inches()
        size = {"width": round(100 * width), "height": round(100 * height)}
        return _drawn(self, "png"), size


def canvas(width: float, height: float, rows: int = 1) -> "tuple[Figure, list[Axes]]":
    """A figure of that size in inches, with clean axes below each other that share their x.

    Example:
        >>> figure, axes = canvas(6.4, 4.0, rows=2)
        >>> len(axes)
        2
    """
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=(width, height), dpi=_DPI, layout=layout)
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0].tolist()
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def palette(size: int) -> "NDArray[np.float64]":
    """A colour for each class: hand-picked ones as far as they go, evenly spread ones beyond.

    Example:
        >>> palette(2).shape
        (2, 3)
    """
    picked = [
        "#3d7ea6",
        "#e4572e",
        "#5fa55a",
        "#8661c1",
        "#f0a202",
        "#17a398",
        "#c2487f",
        "#7a6c5d",
    ]
    if size <= len(picked):
        return np.array([to_rgb(color) for color in picked[:size]])
    return np.array(colormaps["turbo"](np.linspace(0.05, 0.95, size)))[:, :3]


def grow(axes: "Axes") -> None:
    """A logarithmic scale with round numbers along the left side."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def plain(name: str, length: int = 16) -> str:
    """A name as matplotlib shows it letter by letter: short, on one line, its dollars no TeX.

    Example:
        >>> print(plain("the price in US$"), plain("a long name", length=6))
        the price in US\\$ a lon…
    """
    name = "".join(letter if letter.isprintable() else " " for letter in name)
    name = name if len(name) <= length else f"{name[: length - 1]}…"
    return name.replace("$", r"\$")


def save(figure: matplotlib.figure.Figure, path: str | os.PathLike[str]) -> None:
    """Writes a figure as a PNG, SVG or PDF file, by its ending, whole or not at all.

    Raises:
        ArgumentError: another ending.
        RunFolderError: the file cannot be written.
    """
    format = Path(path).suffix.lower().removeprefix(".")
    if format not in _FORMATS:
        raise ArgumentError(f"{path}: a figure is saved as .png, .svg or .pdf")
    write_whole(path, _drawn(figure, format))


def _drawn(figure: matplotlib.figure.Figure, format: str) -> bytes:
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # a name beyond the font: boxes
        figure.savefig(picture, format=format)
    return picture.getvalue()
