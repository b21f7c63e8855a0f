"""Pictures of a training: its loss curve, what it decides where, and what it confuses.

Each function returns a matplotlib `Figure` that was made without pyplot: no window opens, nothing
global changes, and `figure.savefig(path)` works without a display.
"""

import io
import math
import os
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from gradloom.errors import DataError
from gradloom.train.files import write_whole
from gradloom.train.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_INK, _ACCENT, _PALE = "#334155", "#e4572e", "#94a3b8"
_DPI = 150


def loss_curve(history: History) -> Figure:
    """The loss by epoch: training, validation where there is one, and the best epoch.

    The scale is logarithmic where the loss falls by more than a factor of three.

    Args:
        history: of at least one epoch.

    Raises:
        ArgumentError: the history is empty.

    Example:
        >>> loss_curve(History([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.1}]))
        <Figure size ...>
    """
    best = history.best()
    figure, axes = _canvas(6.4, 4.0)
    epochs = history["epoch"]
    style = "o-" if len(epochs) == 1 else "-"  # a line through a single point is not seen
    axes.plot(epochs, history["loss"], style, color=_PALE, label="training")
    if history.monitor == "validation_loss":
        axes.plot(epochs, history["validation_loss"], style, color=_INK, label="validation")
    label = f"best: {best[history.monitor]:.3g} in epoch {best['epoch']}"
    axes.plot(best["epoch"], best[history.monitor], "o", color=_ACCENT, label=label, zorder=3)
    losses = history["loss"] + history[history.monitor]
    if 0 < 3 * min(losses) < max(losses):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="epoch", ylabel="loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(visible=True, which="major", color="#e2e8f0", linewidth=0.8)
    axes.legend(frameon=False)
    return figure


def decision_boundary(
    predict: Callable[[list[list[float]]], Sequence[Sequence[float]] | Sequence[float]],
    x: Sequence[Sequence[float]],
    y: Sequence[float],
    *,
    names: Sequence[str] = ("x", "y"),
    target: str = "",
    classes: Sequence[str] | None = None,
    test: Sequence[bool] | None = None,
    resolution: int = 60,
) -> Figure:
    """What a model says all over the plane of its two inputs, under the samples.

    Args:
        predict: from rows of two numbers to k class probabilities each, or to a number each.
        x: n rows of two numbers.
        y: n class indices, or n numbers.
        names: of the two inputs.
        target: what the numbers are, beside their scale; nothing by default.
        classes: the names of the k classes; None where `predict` gives numbers.
        test: for each sample, whether it is one to test on; those get a dark rim.
        resolution: points along each side of the grid on which `predict` is asked.

    Raises:
        DataError: no rows, or rows of another length than two.

    Example:
        >>> slope = lambda rows: [row[0] - row[1] for row in rows]
        >>> decision_boundary(slope, [[0.0, 1.0], [1.0, 0.0]], [-1.0, 1.0], resolution=5)
        <Figure size ...>
    """
    if not x or any(len(row) != 2 for row in x):
        raise DataError("a decision boundary needs rows of two numbers")
    points = np.array(x, dtype=float)
    low, high = points.min(axis=0), points.max(axis=0)
    margin = np.where(high > low, 0.08 * (high - low), 1.0)
    sides = np.linspace(low - margin, high + margin, resolution).T
    across, up = np.meshgrid(*sides)
    rows = np.column_stack([across.ravel(), up.ravel()]).tolist()
    surface = np.array(predict(rows)).reshape(resolution, resolution, -1)
    figure, axes = _canvas(6.4, 5.2)
    if classes is None:
        numbers = np.array(y, dtype=float)
        both = np.append(surface, numbers)
        levels = MaxNLocator(20).tick_values(both.min(), both.max())
        filled = axes.contourf(across, up, surface[..., 0], levels=levels, cmap="viridis")
        figure.colorbar(filled, ax=axes, ticks=MaxNLocator(6), label=_plain(target, 40))
        colors = colormaps["viridis"]((numbers - levels[0]) / (levels[-1] - levels[0]))
    else:
        palette = _palette(len(classes))
        colors = palette[np.array(y, dtype=int)]
        _paint_classes(axes, across, up, surface, palette)
    rimmed = np.array(test if test is not None else [False] * len(x))
    for shown, edge, width in ((~rimmed, "white", 0.5), (rimmed, "black", 1.0)):
        axes.scatter(
            points[shown, 0],
            points[shown, 1],
            c=colors[shown],
            s=26,
            edgecolors=edge,
            linewidths=width,
            zorder=3,
        )
    axes.set(xlabel=_plain(names[0], 40), ylabel=_plain(names[1], 40))
    axes.set(xlim=sides[0][[0, -1]], ylim=sides[1][[0, -1]])
    _explain_points(axes, classes, bool(rimmed.any()))
    return figure


def confusion_matrix(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """How often each true class (row) was taken for each class (column).

    Args:
        matrix: k by k counts.
        classes: the names of the k classes.

    Raises:
        DataError: the matrix is not k by k.

    Example:
        >>> confusion_matrix([[9, 1], [0, 10]], ["blue", "red"])
        <Figure size ...>
    """
    size = len(classes)
    if len(matrix) != size or any(len(row) != size for row in matrix):
        raise DataError(f"a confusion matrix of {size} classes needs {size} rows and columns")
    counts = np.array(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(max(3.6, 1.6 + 0.55 * size), 12.0)
    figure, axes = _canvas(side + 0.6, side)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if shares[row, column] > 0.5 else _INK
            axes.text(column, row, f"{count}", ha="center", va="center", color=color)
    shown = [_plain(name) for name in classes]
    slanted = max(map(len, shown)) * size > 40
    axes.set_xticks(
        range(size), shown, rotation=40 if slanted else 0, ha="right" if slanted else "center"
    )
    axes.set_yticks(range(size), shown)
    axes.set(xlabel="predicted", ylabel="true")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes a figure as a PNG file, whole or not at all.

    Raises:
        RunFolderError: the file cannot be written.
    """
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # a name beyond the font: boxes
        figure.savefig(picture, format="png")
    write_whole(path, picture.getvalue())


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """A curve as one line of text, on a logarithmic scale where all values are positive.

    Args:
        values: any number of finite numbers, oldest first.
        width: the most characters to use.

    Example:
        >>> sparkline([8.0, 4.0, 2.0, 1.0])
        '█▆▃▁'
    """
    step = max(1, math.ceil(len(values) / width))
    heights = [min(values[i : i + step]) for i in range(0, len(values), step)]
    if heights and min(heights) > 0:
        heights = [math.log(height) for height in heights]
    low, high = min(heights, default=0.0), max(heights, default=0.0)
    bars = "▁▂▃▄▅▆▇█"
    scale = (len(bars) - 1) / (high - low) if high > low else 0.0
    return "".join(bars[round((height - low) * scale)] for height in heights)


def _canvas(width: float, height: float) -> "tuple[Figure, Axes]":
    """A figure of that size in inches, with one clean pair of axes."""
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=(width, height), dpi=_DPI, layout=layout)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _palette(size: int) -> "NDArray[np.float64]":
    """A colour for each class: hand-picked ones as far as they go, evenly spread ones beyond."""
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


def _paint_classes(
    axes: "Axes",
    across: "NDArray[np.float64]",
    up: "NDArray[np.float64]",
    surface: "NDArray[np.float64]",
    palette: "NDArray[np.float64]",
) -> None:
    """Each point of the plane in its classes' colours, mixed by probability; lines between them."""
    mixed = 1 - 0.45 * (1 - surface @ palette)  # paled, so that the samples stand out
    extent = (across.min(), across.max(), up.min(), up.max())
    axes.imshow(mixed, origin="lower", extent=extent, aspect="auto", interpolation="bilinear")
    for k in range(surface.shape[2]):
        lead = surface[..., k] - np.delete(surface, k, axis=2).max(axis=2)
        if lead.min() < 0 < lead.max():
            axes.contour(across, up, lead, levels=[0.0], colors=_INK, linewidths=1.0)


def _explain_points(axes: "Axes", classes: Sequence[str] | None, rimmed: bool) -> None:
    """A legend of the classes, and of the rim of test samples."""
    style = {"linestyle": "", "marker": "o", "markersize": 5.5}
    # A legend leaves out names that begin with an underscore; a space in front brings them in.
    shown = [f" {name}" if name.startswith("_") else name for name in map(_plain, classes or [])]
    handles = [
        Line2D([], [], color=color, label=name, **style)  # type: ignore[arg-type]
        for name, color in zip(shown, _palette(len(shown)), strict=True)
    ]
    if rimmed:
        rim = {"markerfacecolor": "white", "markeredgecolor": "black"}
        handles.append(Line2D([], [], label="test", **style, **rim))  # type: ignore[arg-type]
    if handles:
        axes.legend(handles=handles, framealpha=0.85, edgecolor="none", fontsize="small")


def _plain(name: str, length: int = 16) -> str:
    """A name as matplotlib shows it letter by letter: short, on one line, its dollars no TeX."""
    name = "".join(letter if letter.isprintable() else " " for letter in name)
    name = name if len(name) <= length else f"{name[: length - 1]}…"
    return name.replace("$", r"\$")
