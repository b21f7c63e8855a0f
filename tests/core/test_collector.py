"""The garbage collector is paced by large graphs, and given back as it was."""

import contextlib
import gc
from collections.abc import Callable, Iterator

import pytest

import gradloom as gl
from gradloom import Value
from gradloom.core import collector

SMALL = collector.SMALL


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The collector as at the start of a program."""
    thresholds, on = gc.get_threshold(), gc.isenabled()
    monkeypatch.setattr(collector, "_usual", 700)
    monkeypatch.setattr(collector, "_ours", None)
    monkeypatch.setattr(collector, "_passes", 0)
    gc.set_threshold(700, 10, 10)
    gc.enable()
    yield
    gc.set_threshold(*thresholds)
    (gc.enable if on else gc.disable)()


def test_small_graphs_change_nothing() -> None:
    for _ in range(50):
        collector.pace(SMALL - 1)
    assert gc.get_threshold() == (700, 10, 10)


def test_a_large_graph_widens_the_first_generation_alone() -> None:
    collector.pace(100_000)
    assert gc.get_threshold() == (200_000, 10, 10)


def test_the_first_small_graph_puts_it_back() -> None:
    collector.pace(100_000)
    collector.pace(10)
    assert gc.get_threshold() == (700, 10, 10)
    collector.pace(50_000)
    assert gc.get_threshold() == (100_000, 10, 10)


def test_graphs_of_about_one_size_keep_the_threshold() -> None:
    collector.pace(100_000)
    for nodes in (100_000, 150_000, 60_000, 30_000):
        collector.pace(nodes)
        assert gc.get_threshold()[0] == 200_000
    collector.pace(300_000)
    assert gc.get_threshold()[0] == 600_000
    collector.pace(20_000)
    assert gc.get_threshold()[0] == 40_000


@pytest.mark.parametrize("theirs", [(5_000, 10, 10), (1, 1, 1), (0, 10, 10)])
def test_thresholds_of_the_program_are_left_alone(theirs: tuple[int, int, int]) -> None:
    gc.set_threshold(*theirs)
    for nodes in (100_000, 10, 200_000):
        collector.pace(nodes)
        assert gc.get_threshold() == theirs


def test_thresholds_the_program_sets_later_are_left_alone() -> None:
    collector.pace(100_000)
    gc.set_threshold(5_000, 5, 5)
    for nodes in (100_000, 10, 300_000):
        collector.pace(nodes)
        assert gc.get_threshold() == (5_000, 5, 5)


def test_older_generations_of_the_program_are_kept() -> None:
    gc.set_threshold(700, 3, 4)
    collector.pace(100_000)
    assert gc.get_threshold() == (200_000, 3, 4)
    collector.pace(10)
    assert gc.get_threshold() == (700, 3, 4)


def test_a_collector_that_is_off_stays_off_and_untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.disable()
    monkeypatch.setattr(gc, "collect", lambda *_: pytest.fail("collected"))
    for _ in range(200):
        collector.pace(100_000)
    assert not gc.isenabled()
    assert gc.get_threshold() == (700, 10, 10)


def test_every_tenth_large_pass_collects_in_its_stead(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(gc, "collect", asked.append)
    for _ in range(200):
        collector.pace(100_000)
    assert asked == [*[1] * 9, 2] * 2


def test_garbage_of_the_program_is_still_found() -> None:
    class Cycle:
        """An object that refers to itself."""

        alive = 0

        def __init__(self) -> None:
            self.self = self
            Cycle.alive += 1

        def __del__(self) -> None:
            Cycle.alive -= 1

    for _ in range(2 * collector.PASSES):
        Cycle()
        collector.pace(100_000)
    assert Cycle.alive < 2 * collector.PASSES


def graph(nodes: int) -> Value:
    y = Value(0.5)
    for _ in range(nodes):
        y = y + 1.0
    return y


def test_backward_paces_the_collector() -> None:
    y = graph(2 * SMALL)
    assert gc.get_threshold()[0] == 700
    y.backward()
    assert gc.get_threshold()[0] == 4 * SMALL
    graph(10).backward()
    assert gc.get_threshold()[0] == 700


@pytest.mark.parametrize("run", [lambda: gl.grad(gl.tanh)(0.5), lambda: Value(1.0).backward()])
def test_what_builds_no_graph_leaves_the_pace(run: Callable[[], object]) -> None:
    graph(2 * SMALL).backward()
    run()
    assert gc.get_threshold()[0] == 4 * SMALL


def test_pauses_nest_and_end_with_an_exception() -> None:
    with collector.paused():
        with contextlib.suppress(KeyError), collector.paused():
            raise KeyError
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with collector.paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
