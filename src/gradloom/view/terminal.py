"""A training's loss curve in the terminal, drawn with the dots of braille letters."""

import math

from plotille import Canvas

from gradloom.errors import ArgumentError
from gradloom.train.history import History
from gradloom.view.scales import is_steep

_COLORS = {"validation_loss": "cyan", "loss": None}


def loss_text(history: History, *, width: int = 60, height: int = 10, colors: bool = False) -> str:
    """The loss by epoch as lines of text: that on held-out samples where there are any.

    The scale is logarithmic where the loss falls by more than a factor of three.

    Args:
        history: of at least one epoch.
        width, height: of the curve in letters; the numbers beside and below it come on top.
        colors: whether to draw the training loss as well, and tell the two apart by colours,
            which are written only where the output is a terminal.

    Raises:
        ArgumentError: the history is empty, or the picture would be smaller than 20 by 3 letters.

    Example:
        >>> records = [{"epoch": n, "loss": 2.0 ** (1 - n)} for n in range(1, 9)]
        >>> print(loss_text(History(records), width=20, height=3))
              1 ┤⠉⠒⠢⠤⢄⣀⡀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀
                │⠀⠀⠀⠀⠀⠀⠈⠉⠒⠒⠤⠤⣀⡀⠀⠀⠀⠀⠀⠀
        0.00781 ┤⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠈⠉⠑⠒⠢⠤⣀
                └────────────────────
                 1      epoch       8
    """
    if not history:
        raise ArgumentError("the history is empty: no epoch was finished")
    if width < 20 or height < 3:
        raise ArgumentError(f"a curve needs at least 20 by 3 letters, got {width} by {height}")
    shown = dict.fromkeys(["loss", history.monitor] if colors else [history.monitor])
    losses = [loss for column in shown for loss in history[column]]
    low, high = min(losses), max(losses)
    canvas = Canvas(width, height, 0, 0, 2 * width, 4 * height)
    for column in shown:
        levels = _levels(history[column], low, high, steep=is_steep(losses))
        dots = [
            (round((2 * width - 1) * i / max(len(levels) - 1, 1)), round((4 * height - 1) * level))
            for i, level in enumerate(levels)
        ]
        for (x0, y0), (x1, y1) in zip(dots, dots[1:] or dots, strict=False):
            canvas.line(x0, y0, x1, y1, color=_COLORS[column] if colors else None)
    figures = [f"{high:.3g}", *[""] * (height - 2), f"{low:.3g}"]
    margin = max(map(len, figures))
    lines = [
        f"{figure:>{margin}} {'┤' if figure else '│'}{line}"
        for figure, line in zip(figures, canvas.plot(linesep="\n").split("\n"), strict=True)
    ]
    first, last = f"{history['epoch'][0]}", f"{history['epoch'][-1]}"
    below = f"{first}{'epoch':^{width - len(first) - len(last)}}{last}"
    return "\n".join([*lines, f"{'':{margin}} └{'─' * width}", f"{'':{margin}}  {below}"])


def _levels(losses: list[float], low: float, high: float, *, steep: bool) -> list[float]:
    """Where each loss stands between the lowest, 0, and the highest, 1."""
    if low == high:
        return [0.5] * len(losses)
    if steep:
        return [
            (math.log(loss) - math.log(low)) / (math.log(high) - math.log(low)) for loss in losses
        ]
    return [(loss - low) / (high - low) for loss in losses]
