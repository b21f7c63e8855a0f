import io
import re
import sys

import pytest
from rich import console

from gradloom.train import fit
from gradloom.train.callbacks import Callback
from gradloom.train.progress import LEGEND, ProgressBar, ProgressLines, clock, progress_callback


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def test_a_terminal_gets_a_bar_and_a_pipe_gets_lines(monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert isinstance(progress_callback("auto"), ProgressBar)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert isinstance(progress_callback("auto"), ProgressLines)


def test_without_rich_there_are_lines(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert isinstance(progress_callback("bar"), ProgressLines)


def test_silence_is_silent(x, y, model, capsys):
    assert type(progress_callback("silent")) is Callback
    fit(model, x, y, epochs=2, progress="silent")
    assert capsys.readouterr() == ("", "")


def test_lines_tell_figures_rate_and_time_left_about_twenty_times(x, y, model, capsys):
    fit(model, x, y, epochs=60, validation=0.2, progress="lines")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 23
    assert lines.pop(0) == LEGEND
    number = r"-?\d+\.\d{4}"
    assert re.fullmatch(
        rf"epoch 3/60  loss {number} \({number}\)  r2 {number} \({number}\)  "
        r"[\d,]+ samples/s  \d+:\d\d left",
        lines[1],
    )
    assert lines[0].startswith("epoch 1/60 ")
    assert lines[-2].startswith("epoch 60/60 ")
    assert lines[-1] == "finished all 60 epochs"


@pytest.mark.parametrize("interrupted", [False, True])
def test_the_bar_shows_epoch_figures_rate_and_time_left_and_is_taken_down(
    x, y, model, monkeypatch, interrupted
):
    screen = Terminal()
    terminal = console.Console(file=screen, force_terminal=True, width=160)
    monkeypatch.setattr("rich.progress.get_console", lambda: terminal)

    class Watch(Callback):
        def on_epoch(self, _):
            if interrupted:
                raise KeyboardInterrupt

    fit(model, x, y, epochs=2, validation=0.2, progress="bar", callbacks=[Watch()])
    shown = screen.getvalue()
    assert shown.count(LEGEND) == 1
    epoch = "./2" if interrupted else "2/2"
    assert re.search(rf"epoch {epoch} .*loss \d\.\d{{4}} \(\d\.\d{{4}}\)  r2 .*samples/s", shown)
    assert ("interrupted in epoch 2" if interrupted else "finished all 2 epochs") in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1  # cursor hidden, shown again


def test_without_validation_samples_nothing_is_said_of_them(x, y, model, capsys):
    fit(model, x, y, epochs=1, progress="lines")
    assert LEGEND not in capsys.readouterr().out


def test_a_duration_reads_as_minutes_and_seconds():
    assert [clock(0), clock(59.6), clock(3601)] == ["0:00", "1:00", "60:01"]
