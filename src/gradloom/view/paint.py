"""Paint the shapes of a picture with matplotlib: PNG and PDF files, where SVG will not do."""

import io
import warnings
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path

from gradloom.view.colors import PALETTE, STYLES, Style

_PX = 1 / 96  # inches
_POINT = 0.75  # of a px
_ALIGN = {"start": "left", "middle": "center", "end": "right"}


def paint(shapes: list[dict[str, Any]], bounds: list[float], kind: str) -> bytes:
    """A file of that kind (png, pdf) with the shapes, in light colours.

    >>> box = {"rect": [0, 0, 40, 20, 4], "cls": "leaf"}
    >>> paint([box], [0, 0, 40, 20], "png")[1:4]
    b'PNG'
    """
    left, top, right, bottom = bounds
    figure = Figure(figsize=((right - left) * _PX, (bottom - top) * _PX), dpi=192)
    figure.patch.set_facecolor(PALETTE["paper"][0])
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(left, right), ylim=(bottom, top))
    axes.axis("off")
    for order, shape in enumerate(shapes):
        _add(axes, shape, order)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # a label beyond the font: boxes
        figure.savefig(file, format=kind, metadata={"CreationDate": None} if kind == "pdf" else {})
    return file.getvalue()


def _add(axes: Axes, shape: dict[str, Any], order: int) -> None:
    """One shape, above those before it."""
    style = STYLES[shape["cls"].split()[-1]]
    if "rect" in shape:
        x, y, width, height, rounding = shape["rect"]
        rounding = min(rounding, width / 2, height / 2)
        look = f"round,pad=0,rounding_size={rounding}"
        axes.add_patch(FancyBboxPatch((x, y), width, height, look, **_colors(style), zorder=order))
    elif "curve" in shape:
        codes = [Path.MOVETO] + [Path.CURVE4] * (len(shape["curve"]) - 1)
        line = Path(shape["curve"], codes)
        width = shape["width"] * _POINT
        axes.add_patch(PathPatch(line, **_colors(style) | {"linewidth": width}, zorder=order))
    else:
        x, y, content, anchor = shape["text"]
        axes.text(
            x,
            y,
            content.replace("$", r"\$"),  # no formula
            color=PALETTE[style.fill][0],
            size=style.size * _POINT,
            weight="bold" if style.bold else "normal",
            family="DejaVu Sans Mono",
            ha=_ALIGN[anchor],
            va="baseline",
            zorder=order,
        )


def _colors(style: Style) -> dict[str, Any]:
    return {
        "facecolor": PALETTE[style.fill][0] if style.fill else "none",
        "edgecolor": PALETTE[style.stroke][0] if style.stroke else "none",
        "linewidth": style.width * _POINT,
    }
