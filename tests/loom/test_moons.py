"""The whole of micrograd's moons demo: 66,000 scalars become a handful of array instructions."""

import random
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from gradloom import Value
from gradloom.backends.numpy import Runner
from gradloom.loom.adjoint import adjoint
from gradloom.loom.program import Program
from gradloom.loom.record import record
from gradloom.loom.weave import weave


class Neuron:
    """micrograd's, to the letter."""

    def __init__(self, nin: int, rng: random.Random, nonlin: bool) -> None:
        self.w = [Value(rng.uniform(-1, 1)) for _ in range(nin)]
        self.b = Value(0.0)
        self.nonlin = nonlin

    def __call__(self, x: list[Any]) -> Any:
        act = sum((wi * xi for wi, xi in zip(self.w, x, strict=True)), self.b)
        return act.relu() if self.nonlin else act


class Network:
    def __init__(self, sizes: list[int], rng: random.Random) -> None:
        pairs = list(pairwise(sizes))
        self.layers = [
            [Neuron(nin, rng, nonlin=i + 1 < len(pairs)) for _ in range(nout)]
            for i, (nin, nout) in enumerate(pairs)
        ]

    def __call__(self, x: list[Any]) -> Any:
        for layer in self.layers:
            x = [neuron(x) for neuron in layer]
        return x[0]

    def parameters(self) -> list[Value]:
        return [p for layer in self.layers for neuron in layer for p in [*neuron.w, neuron.b]]


RNG = random.Random(0)
MODEL = Network([2, 16, 16, 1], RNG)
X = [[RNG.gauss(0, 1), RNG.gauss(0, 1)] for _ in range(100)]
Y = [RNG.choice([-1.0, 1.0]) for _ in range(100)]


def loss(xs: list[list[Any]], ys: list[Any]) -> Any:
    scores = [MODEL(x) for x in xs]
    losses = [(1 + -yi * score).relu() for yi, score in zip(ys, scores, strict=True)]
    data_loss = sum(losses) * (1.0 / len(losses))
    return data_loss + 1e-4 * sum(p * p for p in MODEL.parameters())


@pytest.fixture(scope="module")
def program() -> Program:
    graph, _ = record(loss, X, Y)
    assert len(graph) > 65_000
    return weave(graph)


def test_it_is_at_most_sixteen_instructions_without_an_index_table(program: Program) -> None:
    assert len(program.instructions) <= 16
    assert program.tables == 0


def test_value_and_gradient_are_those_of_the_eager_engine(program: Program) -> None:
    inputs = [x for row in X for x in row] + Y
    total, *gradient = Runner(adjoint(program, program.parameters)).run([*inputs, 1.0])
    eager = loss(X, Y)
    eager.backward()
    assert total == pytest.approx(eager.data, rel=1e-12)
    wanted = [value.grad for value in program.values]
    np.testing.assert_allclose(gradient, wanted, rtol=1e-12, atol=1e-15)
    for parameter in MODEL.parameters():
        parameter.grad = 0.0
