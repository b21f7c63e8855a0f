import math

import numpy as np
import pytest

from gradloom import nn
from gradloom.errors import ArgumentError, DataError
from gradloom.view.histograms import layer_of, plot_gradients, plot_weights

ROWS, TARGETS = [[0.5, -1.0], [2.0, 0.25]], [1.0, -1.0]


def counted(axes):
    """How many parameters a panel's bars stand for, and between which ends."""
    bars = [bar for bar in axes.patches if bar.get_height()]
    return (
        sum(bar.get_height() for bar in bars),
        bars[0].get_x(),
        bars[-1].get_x() + bars[-1].get_width(),
    )


def test_weights_have_a_panel_a_layer_on_one_scale():
    model = nn.MLP(2, [8, 1], seed=1)
    figure = plot_weights(model)
    assert [axes.get_ylabel() for axes in figure.axes] == ["layers.0", "layers.1"]
    for axes, layer in zip(figure.axes, model.layers, strict=True):
        numbers = [p.data for p in layer.parameters()]
        count, low, high = counted(axes)
        assert count == len(numbers)
        assert low <= min(numbers)
        assert max(numbers) <= high
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()


def test_gradients_are_shown_as_they_stand_by_their_size():
    model = nn.MLP(2, [3, 1], seed=1)
    model(ROWS[0]).backward()
    figure = plot_gradients(model)
    for axes, layer in zip(figure.axes, model.layers, strict=True):
        sizes = [math.log10(abs(p.grad)) for p in layer.parameters()]
        count, low, high = counted(axes)
        assert count == len(sizes)
        assert low <= min(sizes)
        assert max(sizes) <= high


def test_gradients_of_samples_are_those_of_their_mean_loss_and_the_model_keeps_its_own():
    model = nn.MLP(2, [3, 1], seed=1)
    for p in model.parameters():
        p.grad = 7.0
    shown = plot_gradients(model, ROWS, TARGETS)
    assert {p.grad for p in model.parameters()} == {7.0}
    model.zero_grad()
    nn.mse([model(row) for row in ROWS], TARGETS).backward()
    wanted = plot_gradients(model)
    for axes, other in zip(shown.axes, wanted.axes, strict=True):
        assert counted(axes) == pytest.approx(counted(other))


def test_gradients_that_are_zero_are_counted_apart():
    model = nn.MLP(2, [3, 1], "relu", seed=1)
    for number, p in enumerate(model.parameters()):
        p.grad = float(number % 2)
    title = plot_gradients(model).axes[0].get_title(loc="right")
    assert title.endswith("56% are 0")


def test_deep_networks_show_their_ends_and_say_so():
    figure = plot_weights(nn.MLP(1, [1] * 30, seed=1))
    names = [axes.get_ylabel() for axes in figure.axes]
    assert names == [f"layers.{i}" for i in (*range(8), *range(22, 30))]
    assert "14 layers in the middle" in figure.axes[-1].get_xlabel()


@pytest.mark.parametrize(
    ("model", "names"),
    [(nn.Neuron(2), ["w", "b"]), (nn.Layer(2, 3), ["layer"]), (nn.MLP(2, [1]), ["layers.0"])],
)
def test_networks_of_all_kinds_have_layers(model, names):
    assert [axes.get_ylabel() for axes in plot_weights(model).axes] == names


def test_modules_of_ones_own_are_grouped_by_attribute():
    class Own(nn.Module):
        def __init__(self):
            self.head = nn.Layer(2, 2, seed=1)
            self.gains = [[nn.Parameter(1.0)], [nn.Parameter(2.0)]]

    names = list(dict.fromkeys(layer_of(name) for name, _ in Own().named_parameters()))
    assert names == ["head", "gains"]


def test_equal_weights_are_drawn():
    model = nn.MLP(2, [1], init=lambda: 0.5)
    assert counted(plot_weights(model).axes[0])[0] == 3


def test_what_has_no_histogram_is_refused():
    with pytest.raises(DataError, match="has no parameters"):
        plot_weights(nn.Module())
    model = nn.MLP(2, [1], seed=1)
    with pytest.raises(DataError, match=r"all gradients are 0: call backward\(\)"):
        plot_gradients(model)
    model.layers[0].neurons[0].b.grad = np.nan
    with pytest.raises(DataError, match=r"gradient of layers\.0\.neurons\.0\.b is nan"):
        plot_gradients(model)
    with pytest.raises(ArgumentError, match="both x and y, or neither"):
        plot_gradients(model, ROWS)
    with pytest.raises(ArgumentError, match="did you mean 'mse'"):
        plot_gradients(model, ROWS, TARGETS, loss="msee")
