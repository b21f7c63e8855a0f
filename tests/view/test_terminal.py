import pytest

from gradloom.errors import ArgumentError
from gradloom.train import History
from gradloom.view.terminal import loss_text


def falling(count, **columns):
    return History([{"epoch": n, "loss": 2.0**-n, **columns} for n in range(1, count + 1)])


def test_the_curve_falls_from_the_upper_left_to_the_lower_right():
    lines = loss_text(falling(20), width=30, height=5).split("\n")
    assert len(lines) == 7
    curve = [line.split(mark)[1] for line, mark in zip(lines[:5], "┤│││┤", strict=True)]
    blank = "\u2800"
    assert all(len(line) == 30 for line in curve)
    assert curve[0][0] != blank
    assert curve[-1][-1] != blank
    first = [next(i for i, dot in enumerate(line) if dot != blank) for line in curve]
    assert first == sorted(set(first))


def test_the_scales_name_the_extremes_and_the_epochs():
    lines = loss_text(falling(20), width=30, height=5).split("\n")
    assert lines[0].startswith("     0.5 ┤")
    assert lines[4].startswith("9.54e-07 ┤")
    assert lines[-1].split() == ["1", "epoch", "20"]


def test_without_colours_the_curve_is_the_one_that_tells_the_best_epoch():
    text = loss_text(falling(5, validation_loss=3.0), width=20, height=3)
    assert text.startswith("3 ┤")
    assert "\x1b" not in text


def test_with_colours_both_curves_are_drawn(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    text = loss_text(falling(5, validation_loss=3.0), width=20, height=3, colors=True)
    assert text.startswith("     3 ┤\x1b[36m")
    assert "0.0312 ┤" in text


@pytest.mark.parametrize("losses", [[0.5], [0.5, 0.5], [0.0, -1.0], [1e300, 1e-300]])
def test_short_flat_negative_and_steep_curves_are_drawn(losses):
    history = History([{"epoch": n, "loss": loss} for n, loss in enumerate(losses, 1)])
    text = loss_text(history)
    assert any("\u2800" < letter <= "\u28ff" for letter in text)
    assert f"{max(losses):.3g} ┤" in text


def test_no_epochs_and_no_room_are_refused():
    with pytest.raises(ArgumentError, match="no epoch was finished"):
        loss_text(History())
    with pytest.raises(ArgumentError, match="at least 20 by 3 letters, got 19 by 10"):
        loss_text(falling(3), width=19)
