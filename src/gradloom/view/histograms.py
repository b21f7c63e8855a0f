"""Histograms of a network's numbers and gradients, a row for each layer.

Weights share one scale, so that a layer whose weights explode or never move stands out. Gradients
are shown by their size, on a logarithmic scale: where they vanish, the rows drift to the left from
the last layer to the first.
"""

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from gradloom.errors import ArgumentError, DataError
from gradloom.nn import LOSSES, SGD, Module
from gradloom.nn.checks import choose
from gradloom.train.engine import Loss, Task, find_engine
from gradloom.train.samples import Row, Target, check_samples
from gradloom.view.canvas import GRID, INK, Figure, canvas, palette, plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST = 16  # rows; a deeper network shows its first and last layers


def plot_weights(model: Module) -> Figure:
    """A histogram of each layer's parameters, all on one scale.

    Args:
        model: with at least one parameter, all of them finite.

    Raises:
        DataError: the model has no parameters, or one is not finite; the message names it.

    Example:
        >>> from gradloom.nn import MLP
        >>> figure = plot_weights(MLP(2, [8, 1], seed=1))
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['layers.0', 'layers.1']
    """
    layers = _by_layer(model, "data", "number")
    notes = {name: f"{len(each)} parameters, spread {np.std(each):.2g}" for name, each in layers}
    return _histograms(layers, notes, "weights and biases")


def plot_gradients(
    model: Module, x: Any = None, y: Any = None, *, loss: str | Loss = "mse"
) -> Figure:
    """A histogram of the sizes of each layer's gradients, all on one logarithmic scale.

    Args:
        model: after a backward pass, its gradients are shown as they stand; or any, with samples.
        x, y: samples, as for `fit`: the gradient of their mean loss is shown instead, and the
            model keeps the gradients that it had.
        loss: of those samples, as for `fit`.

    Raises:
        DataError: the model has no parameters, a gradient is not finite (the message names it), or
            all are 0, as they are before the first backward pass; or the samples are at fault.
        ArgumentError: x without y, or an unknown loss.

    Example:
        >>> from gradloom.nn import MLP
        >>> model = MLP(2, [8, 1], seed=1)
        >>> len(plot_gradients(model, [[1.0, 2.0]], [0.5]).axes)
        2
        >>> model([1.0, 2.0]).backward()
        >>> len(plot_gradients(model).axes)
        2
    """
    if (x is None) != (y is None):
        raise ArgumentError("samples are rows and targets: give both x and y, or neither")
    if x is None:
        layers = _by_layer(model, "grad", "gradient")
    else:
        before = [(parameter, parameter.grad) for parameter in model.parameters()]
        try:
            _find_gradient(model, *check_samples(x, y), loss)
            layers = _by_layer(model, "grad", "gradient")
        finally:
            for parameter, gradient in before:
                parameter.grad = gradient
    if not any(each.any() for _, each in layers):
        raise DataError("all gradients are 0: call backward() on a loss before plotting them")
    sizes = [(name, np.log10(np.abs(each[each != 0]))) for name, each in layers]
    notes = {}
    for name, each in layers:
        zero = np.mean(each == 0)
        middle = f"median {np.median(np.abs(each)):.2g}"
        notes[name] = f"{middle}, {zero:.0%} are 0" if zero else middle
    return _histograms(sizes, notes, "size of the gradient", powers=True)


def _find_gradient(model: Module, rows: list[Row], targets: list[Target], loss: str | Loss) -> None:
    """Leaves the gradient of the samples' mean loss in the model."""
    call = loss if callable(loss) else choose("loss", loss, LOSSES)
    task = Task(model, call, None, (rows, targets), SGD(model))
    find_engine("auto", task).learn(range(len(rows)), [])


def _by_layer(model: Module, field: str, what: str) -> "list[tuple[str, NDArray[np.float64]]]":
    """The parameters' numbers or gradients by layer, in the order of the model."""
    layers: dict[str, list[float]] = {}
    for name, parameter in model.named_parameters():
        number = getattr(parameter, field)
        if not math.isfinite(number):
            raise DataError(f"the {what} of {name} is {number}: it has no place in a histogram")
        layers.setdefault(layer_of(name), []).append(number)
    if not layers:
        raise DataError(f"{type(model).__name__} has no parameters: there is nothing to plot")
    return [(name, np.array(each)) for name, each in layers.items()]


def layer_of(name: str) -> str:
    """The layer that a parameter's name belongs to: its neurons and its indices are left out.

    Example:
        >>> layer_of("layers.0.neurons.3.w.1"), layer_of("scale.2"), layer_of("w.0")
        ('layers.0', 'scale', 'w')
    """
    within = re.sub(r"(^|\.)neurons\.\d+\.(w\.\d+|b)$", "", name)
    return re.sub(r"(\.\d+)+$", "", name) if within == name else within or "layer"


def _histograms(
    layers: "list[tuple[str, NDArray[np.float64]]]",
    notes: dict[str, str],
    label: str,
    powers: bool = False,
) -> Figure:
    hidden = max(len(layers) - _MOST, 0)
    if hidden:
        layers = layers[: _MOST // 2] + layers[-_MOST // 2 :]
    together = np.concatenate([each for _, each in layers])
    low, high = together.min(), together.max()
    room = 0.03 * (high - low) or 0.5
    edges = np.linspace(low - room, high + room, 41)
    figure, panels = canvas(6.4, 0.8 + 1.1 * len(layers), rows=len(layers))
    color = palette(1)[0]
    for axes, (name, each) in zip(panels, layers, strict=True):
        axes.hist(each, bins=edges.tolist(), color=color)
        axes.set_ylabel(plain(name, 24), rotation=0, ha="right", va="center")
        axes.set_title(notes[name], loc="right", fontsize="small", color=INK, pad=2)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(visible=True, axis="x", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
    if hidden:
        label += f" ({hidden} layers in the middle are not shown)"
    panels[-1].set(xlabel=label, xlim=edges[[0, -1]])
    if powers:
        panels[-1].xaxis.set_major_formatter(lambda power, _: f"$10^{{{power:g}}}$")
        panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
