"""Pictures of a training: its loss curve, what it decides where, and what it confuses.

Each function returns a matplotlib figure: a notebook shows it, and `figure.savefig(path)` saves it.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from gradloom.errors import ArgumentError, DataError
from gradloom.nn import LOSSES, Module
from gradloom.nn.checks import choose, whole
from gradloom.train.compiled import predict
from gradloom.train.history import History
from gradloom.train.metrics import METRICS
from gradloom.train.rates import RateSearch
from gradloom.train.run import number, probabilities
from gradloom.train.samples import check_samples
from gradloom.view.canvas import ACCENT, GRID, INK, PALE, Figure, canvas, grow, palette, plain
from gradloom.view.scales import is_steep

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


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
    return history_curves(history, ["loss"])


def history_curves(history: History, columns: Sequence[str] | None = None) -> Figure:
    """Columns of a history by epoch, one below the other, with the best epoch marked in each.

    Args:
        history: of at least one epoch.
        columns: which to draw, each with its validation figures where there are any; by default
            the loss and all metrics.

    Raises:
        ArgumentError: the history is empty, or has no such column.

    Example:
        >>> records = [{"epoch": n, "loss": 1 / n, "accuracy": 1 - 1 / n} for n in (1, 2, 3)]
        >>> figure = history_curves(History(records))
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['loss', 'accuracy']
    """
    best = history.best()
    if columns is None:
        others = ("epoch", "learning_rate", "gradient_norm", "seconds")
        held_out = [f"validation_{column}" for column in history.columns]
        columns = [c for c in history.columns if c not in (*others, *held_out)]
    for column in columns:
        choose("column of the history", column, history.records[0])
    if not columns:
        raise ArgumentError("no column of the history to draw: name at least one")
    figure, panels = canvas(6.4, 4.0 + 2.2 * (len(columns) - 1), rows=len(columns))
    for axes, column in zip(panels, columns, strict=True):
        _draw_column(axes, history, column, best["epoch"])
    panels[-1].set(xlabel="epoch")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return figure


def _draw_column(axes: "Axes", history: History, column: str, best: float) -> None:
    """One column with its validation figures; the monitored loss has its best epoch named."""
    epochs, held_out = history["epoch"], f"validation_{column}"
    style = "o-" if len(epochs) == 1 else "-"  # a line through a single point is not seen
    paired = held_out in history.columns
    curves = {"training": (column, PALE if paired or column == "loss" else INK)}
    if paired:
        curves["validation"] = (held_out, INK)
    for label, (name, color) in curves.items():
        axes.plot(epochs, history[name], style, color=color, label=label)
    judged = held_out if paired else column
    figure = history[judged][epochs.index(best)]
    label = (
        f"best: {figure:.3g} in epoch {best}"
        if judged == history.monitor
        else f"epoch {best}: {figure:.3g}"
    )
    axes.plot(best, figure, "o", color=ACCENT, label=label, zorder=3)
    metric = METRICS.get(column)
    if not (metric and metric.better == "max") and is_steep(history[column] + history[judged]):
        grow(axes)
    axes.set(ylabel=plain(column.replace("_", " "), 40))
    axes.grid(visible=True, which="major", color=GRID, linewidth=0.8)
    axes.legend(frameon=False)


def plot_decision(
    model: Module,
    x: Any,
    y: Any,
    *,
    loss: str = "auto",
    names: Sequence[str] = ("x", "y"),
    classes: Sequence[str] | None = None,
    resolution: int = 60,
) -> Figure:
    """What a model of two inputs says all over their plane, under the samples.

    Where it learned classes, the plane has their colours, mixed by probability, and lines where
    they meet; else it has a scale of colours.

    Args:
        model: takes rows of two numbers.
        x: n rows of two numbers.
        y: n targets, as `fit` was given them.
        loss: which it was trained with: "cross_entropy" and "binary_cross_entropy" make its outputs
            logits, "hinge" margins, any other plain numbers. "auto" takes several outputs for
            logits, a single one beside targets -1 and 1 for a margin, all else for numbers.
        names: of the two inputs.
        classes: their names; by default their numbers.
        resolution: points along each side of the grid on which the model is asked.

    Raises:
        DataError: no rows, rows of another length than two, or targets that are no classes of the
            model where the loss needs them.
        ArgumentError: an unknown loss, or a resolution below 2.
        ShapeError: the model takes rows of another size.

    Example:
        >>> from gradloom.nn import MLP
        >>> plot_decision(MLP(2, [4, 1], seed=1), [[0, 0], [1, 1]], [-1, 1], resolution=5)
        <Figure size ...>
    """
    rows, targets = check_samples(x, y)
    if loss != "auto":
        choose("loss", loss, LOSSES)
    first = model(rows[0])
    outputs = len(first) if isinstance(first, list | tuple) else 1
    if loss == "auto":
        margin = outputs == 1 and set(map(str, targets)) <= {"1", "-1", "1.0", "-1.0"}
        loss = "cross_entropy" if outputs > 1 else "hinge" if margin else "mse"
    if loss not in ("cross_entropy", "binary_cross_entropy", "hinge"):
        if any(isinstance(target, list) for target in targets) or outputs > 1:
            raise DataError("a plane of numbers needs a model of one output, and a number a target")
        return decision_boundary(
            lambda rows: [number(output) for output in predict(model, rows)],
            rows,
            targets,  # type: ignore[arg-type]
            names=names,
            resolution=resolution,
        )
    count = max(outputs, 2)
    labels = [int(target > 0) if loss == "hinge" else target for target in targets]  # type: ignore[operator]
    if not all(label in range(count) for label in labels):
        wrong = next(label for label in labels if label not in range(count))
        raise DataError(f"a target is {wrong!r}: this model tells the classes 0 to {count - 1}")
    if classes is None:
        classes = ["-1", "1"] if loss == "hinge" else [str(k) for k in range(count)]
    elif len(classes) != count:
        raise DataError(f"{len(classes)} names of classes for a model that tells {count}")
    return decision_boundary(
        lambda rows: [probabilities(output) for output in predict(model, rows)],
        rows,
        labels,  # type: ignore[arg-type]
        names=names,
        classes=classes,
        resolution=resolution,
    )


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
        ArgumentError: a resolution below 2.

    Example:
        >>> slope = lambda rows: [row[0] - row[1] for row in rows]
        >>> decision_boundary(slope, [[0.0, 1.0], [1.0, 0.0]], [-1.0, 1.0], resolution=5)
        <Figure size ...>
    """
    if not x or any(len(row) != 2 for row in x):
        raise DataError("a decision boundary needs rows of two numbers")
    whole("resolution", resolution, least=2)
    points = np.array(x, dtype=float)
    low, high = points.min(axis=0), points.max(axis=0)
    margin = np.where(high > low, 0.08 * (high - low), 1.0)
    sides = np.linspace(low - margin, high + margin, resolution).T
    across, up = np.meshgrid(*sides)
    rows = np.column_stack([across.ravel(), up.ravel()]).tolist()
    surface = np.array(predict(rows)).reshape(resolution, resolution, -1)
    figure, (axes,) = canvas(6.4, 5.2)
    if classes is None:
        numbers = np.array(y, dtype=float)
        both = np.append(surface, numbers)
        levels = MaxNLocator(20).tick_values(both.min(), both.max())
        filled = axes.contourf(across, up, surface[..., 0], levels=levels, cmap="viridis")
        figure.colorbar(filled, ax=axes, ticks=MaxNLocator(6), label=plain(target, 40))
        colors = colormaps["viridis"]((numbers - levels[0]) / (levels[-1] - levels[0]))
    else:
        hues = palette(len(classes))
        colors = hues[np.array(y, dtype=int)]
        _paint_classes(axes, across, up, surface, hues)
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
    axes.set(xlabel=plain(names[0], 40), ylabel=plain(names[1], 40))
    axes.set(xlim=sides[0][[0, -1]], ylim=sides[1][[0, -1]])
    _explain_points(axes, classes, bool(rimmed.any()))
    return figure


def rate_curve(search: RateSearch) -> Figure:
    """The loss by learning rate, as a search found it, and the rate that it suggests.

    Example:
        >>> rates, losses = [1e-3, 1e-2, 1e-1, 1.0], [1.0, 0.9, 0.2, 5.0]
        >>> rate_curve(RateSearch(rates, losses, losses, suggested=0.1))
        <Figure size ...>
    """
    figure, (axes,) = canvas(6.4, 4.0)
    axes.plot(search.rates, search.losses, color=PALE, linewidth=0.8, label="of each batch")
    axes.plot(search.rates, search.smoothed, color=INK, label="smoothed")
    if search.suggested is not None:
        loss = search.smoothed[search.rates.index(search.suggested)]
        label = f"suggested: {search.suggested:.2g}"
        axes.axvline(search.suggested, color=ACCENT, linewidth=0.8, linestyle=":")
        axes.plot(search.suggested, loss, "o", color=ACCENT, label=label, zorder=3)
    low, high = min(search.smoothed), max(search.smoothed)
    top = max(search.smoothed[: search.smoothed.index(low) + 1])
    if top > low:
        high = min(high, top + (top - low))  # the explosion need not be seen to its end
    room = 0.08 * (high - low) or 1.0
    axes.set(xlabel="learning rate", ylabel="loss", xscale="log", ylim=(low - room, high + room))
    axes.grid(visible=True, which="major", color=GRID, linewidth=0.8)
    axes.legend(frameon=False)
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
    figure, (axes,) = canvas(side + 0.6, side)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if shares[row, column] > 0.5 else INK
            axes.text(column, row, f"{count}", ha="center", va="center", color=color)
    shown = [plain(name) for name in classes]
    slanted = max(map(len, shown)) * size > 40
    axes.set_xticks(
        range(size), shown, rotation=40 if slanted else 0, ha="right" if slanted else "center"
    )
    axes.set_yticks(range(size), shown)
    axes.set(xlabel="predicted", ylabel="true")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


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
            axes.contour(across, up, lead, levels=[0.0], colors=INK, linewidths=1.0)


def _explain_points(axes: "Axes", classes: Sequence[str] | None, rimmed: bool) -> None:
    """A legend of the classes, and of the rim of test samples."""
    style = {"linestyle": "", "marker": "o", "markersize": 5.5}
    # A legend leaves out names that begin with an underscore; a space in front brings them in.
    shown = [f" {name}" if name.startswith("_") else name for name in map(plain, classes or [])]
    handles = [
        Line2D([], [], color=color, label=name, **style)  # type: ignore[arg-type]
        for name, color in zip(shown, palette(len(shown)), strict=True)
    ]
    if rimmed:
        rim = {"markerfacecolor": "white", "markeredgecolor": "black"}
        handles.append(Line2D([], [], label="test", **style, **rim))  # type: ignore[arg-type]
    if handles:
        axes.legend(handles=handles, framealpha=0.85, edgecolor="none", fontsize="small")
