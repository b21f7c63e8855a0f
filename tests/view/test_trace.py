"""Notes on where numbers come from."""

import copy
import threading

import gradloom as gl
from gradloom import Value, nn
from gradloom.core import value
from gradloom.view.trace import Traced


def test_outside_of_it_nothing_is_noted_and_nothing_is_watched() -> None:
    with gl.tracing():
        pass
    assert value.watcher is None
    assert type((Value(1.0) * 2.0)._op) is str


def test_a_result_notes_the_line_that_made_it() -> None:
    a = Value(2.0)
    with gl.tracing():
        b = a * 3.0  # this one
    assert isinstance(b._op, Traced)
    assert b._op == "*"
    assert b._op.place.startswith("test_trace.py:")
    assert b._op.place.endswith(": b = a * 3.0  # this one")


def test_the_line_is_the_users_also_inside_the_library() -> None:
    model = nn.MLP(2, [2, 1], seed=1)
    with gl.tracing():
        y = model([1.0, 2.0])  # called here
    assert y._op.place.endswith("# called here")
    assert [title for _, title in y._op.calls] == ["MLP", "layers.1 Layer", "neurons.0 Neuron"]


def test_numbers_and_gradients_are_those_without_it() -> None:
    def f() -> tuple[float, float]:
        x = Value(0.5)
        y = (1.0 - x * x).tanh() / x + x.exp()
        y.backward()
        return y.data, x.grad

    plain = f()
    with gl.tracing():
        assert f() == plain


def test_other_threads_are_not_noted() -> None:
    made: list[Value] = []
    with gl.tracing():
        thread = threading.Thread(target=lambda: made.append(Value(1.0) * 2.0))
        thread.start()
        thread.join()
    assert type(made[0]._op) is str


def test_two_threads_may_trace_at_once_and_end_in_any_order() -> None:
    first_is_in, second_is_in = threading.Event(), threading.Event()
    made: list[Value] = []

    def other() -> None:
        first_is_in.wait()
        with gl.tracing():
            second_is_in.set()
            first_is_out.wait()
            made.append(Value(1.0) * 2.0)

    first_is_out = threading.Event()
    thread = threading.Thread(target=other)
    thread.start()
    with gl.tracing():
        first_is_in.set()
        second_is_in.wait()
        mine = Value(1.0) * 3.0
    first_is_out.set()
    thread.join()
    assert isinstance(mine._op, Traced)
    assert isinstance(made[0]._op, Traced)
    assert value.watcher is None


def test_it_goes_together_with_the_watch_for_anomalies() -> None:
    with gl.detect_anomaly():
        with gl.tracing():
            y = Value(1.0) * 2.0
        assert value.watcher is not None
    assert y._op.place
    assert value.watcher is None


def test_what_is_noted_is_copied_along() -> None:
    with gl.tracing():
        y = Value(1.0) * 2.0
    assert copy.deepcopy(y)._op.place == y._op.place
