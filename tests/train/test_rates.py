import random

import numpy as np
import pytest

import gradloom as gl
from gradloom import nn
from gradloom.errors import AnomalyError, ArgumentError, DataError
from gradloom.train.rates import find_learning_rate
from gradloom.view.plots import rate_curve

X = [[i / 16] for i in range(64)]
Y = [3 * row[0] - 1 for row in X]


def search(model=None, x=X, y=Y, **options):
    return find_learning_rate(model or nn.MLP(1, [8, 1], seed=1), x, y, **options)


def test_rates_grow_by_the_same_factor_from_start_to_end():
    found = search(start=1e-4, end=1e-1, steps=31)
    assert found.rates[0] == 1e-4
    assert found.rates[-1] == pytest.approx(1e-1)
    ratios = np.diff(np.log(found.rates))
    assert np.allclose(ratios, ratios[0])
    assert len(found.rates) == len(found.losses) == len(found.smoothed) == 31


def test_the_losses_are_those_of_a_training_with_these_rates():
    found = search(batch_size=16, steps=10, start=1e-3, end=1e-2)
    model = nn.MLP(1, [8, 1], seed=1)
    seen = []

    class Watch(gl.Callback):
        def on_batch(self, _training, _size, loss):
            seen.append(loss)

    gl.fit(
        model, X, Y, optimizer=nn.Adam(model, lr=1.0), batch_size=16, epochs=1, callbacks=[Watch()],
        schedule=lambda step: 1e-3 * 10 ** (step / 9), progress="silent",
    )  # fmt: skip
    running = np.cumsum(found.losses[:4]) / np.arange(1, 5)
    assert np.allclose(running, seen)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop", "adamw"])
def test_the_suggested_rate_learns_better_than_a_hundredth_and_than_a_thousandfold(optimizer):
    rate = search(optimizer=optimizer).suggested
    losses = []
    for factor in (0.01, 1, 1000):
        model = nn.MLP(1, [8, 1], seed=1)
        try:
            history = gl.fit(
                model, X, Y, optimizer=optimizer, learning_rate=factor * rate, epochs=40,
                progress="silent",
            )  # fmt: skip
            losses.append(history["loss"][-1])
        except AnomalyError:
            losses.append(float("inf"))
    assert losses[1] < min(losses[0], losses[2])


def test_the_search_ends_when_the_loss_explodes():
    found = search(optimizer="sgd", end=1e4)
    assert len(found.rates) < 100
    assert found.rates[-1] < 1e3


def test_everything_is_afterwards_what_it_was():
    model = nn.MLP(1, [8, 1], seed=1)
    optimizer = nn.Adam(model, lr=0.03)
    gl.fit(model, X, Y, optimizer=optimizer, epochs=2, progress="silent")
    random.seed(5)
    np.random.seed(5)

    def everything():
        grads = [p.grad for p in model.parameters()]
        numpy = np.random.get_state()[1].tolist()
        return model.state(), grads, optimizer.state(), random.getstate(), numpy

    def noisy(output, target):
        random.random()
        np.random.rand()
        return nn.mse(output, target)

    before = everything()
    search(model, optimizer=optimizer)
    assert everything() == before
    search(model, optimizer=optimizer, loss=noisy, engine="eager", steps=10)
    assert everything() == before
    with pytest.raises(AnomalyError):
        search(model, optimizer=optimizer, loss=lambda o, t: o / (t - t), engine="eager")
    assert everything() == before


def test_a_loss_that_never_falls_suggests_nothing():
    found = search(y=[0.0] * 64, loss=lambda output, _: output * 0 + 1)
    assert found.suggested is None
    assert "none suggested" in repr(found)
    assert len(rate_curve(found).axes[0].lines) == 2


def test_the_curve_shows_the_losses_and_the_suggestion():
    found = search()
    axes = found.plot().axes[0]
    assert axes.get_xscale() == "log"
    assert axes.lines[0].get_ydata().tolist() == found.losses
    assert axes.lines[1].get_ydata().tolist() == found.smoothed
    assert axes.lines[-1].get_xdata() == [found.suggested]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 0}, "start is a number in"),
        ({"start": 1, "end": 0.1}, "start must be below end, got 1 and 0.1"),
        ({"steps": 9}, "steps is a whole number of at least 10"),
        ({"batch_size": 0}, "batch_size is a whole number of at least 1"),
        ({"optimizer": "adm"}, "did you mean 'adam'"),
        ({"loss": "msee"}, "did you mean 'mse'"),
        ({"engine": "fast"}, "no engine is called"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    model = nn.MLP(1, [1], seed=1)
    before = model.state()
    with pytest.raises(ArgumentError, match=message):
        search(model, **options)
    assert model.state() == before


def test_samples_are_checked():
    with pytest.raises(DataError, match=r"x\[1\]"):
        search(x=[[1.0], [float("nan")]], y=[1.0, 2.0])
