"""Replay: parameters as arrays, and the graph that a call leaves behind."""

import pickle
import random

import numpy as np
import pytest

import gradloom as gl
from gradloom import Value, nn
from gradloom.core.value import _topological
from gradloom.transforms.replay import Leaves


def test_leaves_in_arrays_and_leaves_alone_are_read_and_written_alike() -> None:
    layer = nn.Layer(2, 3, seed=0)
    other = nn.Neuron(4, seed=1)
    loose = Value(7.0)
    values = [*layer.parameters(), loose, *other.parameters()]
    random.Random(0).shuffle(values)
    leaves = Leaves(values)
    for _ in range(2):
        assert leaves.numbers().tolist() == [value.data for value in values]
        for value in values:
            value.grad = 1.0
        leaves.add(np.arange(float(len(values))))
        assert [value.grad for value in values] == [1.0 + i for i in range(len(values))]
        layer.pack()
        other.pack()
        layer.parameters()[0].data = 0.25


def test_leaves_pickle_as_their_values() -> None:
    w = Value(3.0)
    again = pickle.loads(pickle.dumps(Leaves([w])))
    assert again.numbers().tolist() == [3.0]


def test_going_backward_visits_a_handful_of_nodes_however_many_parameters() -> None:
    model = nn.MLP(2, [16, 16, 1], seed=0)
    total = gl.compile(model)([1.0, 2.0])
    order, _ = _topological(total)
    assert len(order) == 2


def test_the_graph_shows_the_call_its_arguments_and_the_parameters() -> None:
    w, x = Value(2.0), Value(5.0)

    @gl.compile
    def double(x: Value) -> Value:
        return w * x

    y = double(x)
    y.backward()
    (call,) = y._prev
    assert y._op == call._op == "double()"
    assert call._prev[0] is x
    assert call._prev[1].label == "1 parameters"
    assert "double()" in repr(call)
    assert (y.grad, x.grad, w.grad) == (1.0, 2.0, 5.0)


def test_one_adjoint_run_serves_all_results_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    from gradloom.transforms import replay

    runs = []
    pull = replay.Path.pull
    monkeypatch.setattr(replay.Path, "pull", lambda *args: runs.append(1) or pull(*args))
    w, x = Value(2.0), Value(3.0)
    results = gl.compile(lambda x: [w * x * i for i in range(50)])(x)
    gl.sum(results).backward()
    assert len(runs) == 1
    assert (w.grad, x.grad) == (3.0 * 1225, 2.0 * 1225)


def test_detect_anomaly_goes_through_a_call() -> None:
    w = Value(2.0)
    compiled = gl.compile(lambda x: w * x)
    with gl.detect_anomaly():
        (compiled(3.0) * 2.0).backward()
    assert w.grad == 6.0
