"""Adjoints in less memory: the same derivatives, in an arena that grows with the root."""

import math
import random
import re
from collections.abc import Callable, Collection
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import gradloom as gl
import workloads
from gradloom.backends.numpy import Runner
from gradloom.errors import ArgumentError
from gradloom.loom.adjoint import adjoint
from gradloom.loom.checkpoint import checkpointed
from gradloom.loom.merge import merge
from gradloom.loom.program import Loop, Program
from gradloom.loom.record import record
from gradloom.loom.roll import expand, roll
from gradloom.loom.weave import weave


def chain(x: Any, steps: int = 400) -> Any:
    """Nothing but a state."""
    for _ in range(steps):
        x = gl.sin(gl.exp(-x))
    return x


def three_back(x: Any) -> Any:
    """What a step reads of three steps before."""
    a, b, c = x, x * 0.5, x * 0.3
    for _ in range(200):
        a, b, c = b, c, gl.tanh(a * b + c)
    return c * a


def volatile(shocks: list[Any], noise: list[Any]) -> Any:
    """Two states, shared parameters, and a sum over what every step leaves (Heston, 1993)."""
    price, variance, total = shocks[0] * 0.0 + 100.0, noise[0] * 0.0 + 0.04, 0.0
    for a, b in zip(shocks, noise, strict=True):
        spread = gl.relu(variance)
        price = price * gl.exp(-0.002 * spread + 0.06 * gl.sqrt(spread + 1e-9) * a)
        variance = variance + 0.006 * (0.04 - spread) + 0.02 * gl.sqrt(spread + 1e-9) * (a - b)
        total = total + price
    return gl.relu(total / len(shocks) - 90.0)


def diffusion(row: list[Any]) -> Any:
    """A row of states, each of which reads its neighbours."""
    for _ in range(40):
        inner = [
            row[i] + 0.1 * (row[i - 1] - 2.0 * row[i] + row[i + 1]) for i in range(1, len(row) - 1)
        ]
        row = [row[0], *inner, row[-1]]
    return sum(x * x for x in row)


def cells(weights: list[list[Any]], inputs: list[list[Any]]) -> Any:
    """A recurrent layer with a loss at every step."""
    h, total = [0.0] * 4, 0.0
    for x in inputs:
        h = [gl.tanh(sum(w * v for w, v in zip(row, [*h, *x], strict=True))) for row in weights]
        total += gl.sum([gl.exp(a) * a for a in h])
    return total


def path(x: Any) -> list[Any]:
    """What comes out at every step."""
    found = []
    for _ in range(120):
        x = gl.sin(gl.exp(gl.tanh(gl.cos(-x))))
        found.append(x)
    return found


def states(weights: list[list[Any]], inputs: list[list[Any]]) -> Any:
    """A recurrent layer of which every state is compared with the one before, at the end."""
    h, every = [0.0] * 4, []
    for x in inputs:
        h = [gl.tanh(sum(w * v for w, v in zip(row, [*h, *x], strict=True))) for row in weights]
        every.append(h)
    return gl.logsumexp(
        [a * b for old, new in pairwise(every) for a, b in zip(old, new, strict=True)]
    )


def numbers(*shape: int, seed: int = 0) -> Any:
    rng = random.Random(seed)

    def made(*rest: int) -> Any:
        return [made(*rest[1:]) for _ in range(rest[0])] if rest else rng.uniform(-0.5, 0.5)

    return made(*shape)


def of(name: str, **sizes: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    workload = getattr(workloads, name)(**sizes)
    return workload.function, workload.arguments


CASES: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "chain": (chain, (0.3,)),
    "three back": (three_back, (0.7,)),
    "volatile": (volatile, (numbers(80), numbers(80, seed=1))),
    "diffusion": (diffusion, (numbers(12),)),
    "cells": (cells, (numbers(4, 7), numbers(80, 3))),
    "path": (path, (0.3,)),
    "states": (states, (numbers(4, 7), numbers(80, 3))),
    "runge_kutta": of("runge_kutta", starts=2, steps=24),
    "lstm of one layer": of("lstm", layers=1, units=2, steps=30),
    "lstm of two layers": of("lstm", layers=2, units=2, steps=30),
}


def least(program: Program, wanted: Any) -> int:
    """How many bytes the message about a limit of one byte asks for."""
    with pytest.raises(ArgumentError, match="raise memory_limit to") as caught:
        checkpointed(program, wanted, 1)
    found = re.search(r"raise memory_limit to (\d+)", str(caught.value))
    assert found
    return int(found[1])


def woven(function: Callable[..., Any], args: Any, lanes: Collection[int] = ()) -> tuple[Any, ...]:
    graph, _ = record(function, *args)
    program = weave(graph, lanes=lanes)
    wanted = np.concatenate([program.inputs, program.parameters])
    return program, wanted, adjoint(program, wanted)


@pytest.mark.parametrize("name", CASES)
def test_derivatives_in_little_memory_are_those_in_much(name: str) -> None:
    program, wanted, plain = woven(*CASES[name])
    limit = least(program, wanted)
    small = checkpointed(program, wanted, limit)
    assert 8 * len(small.template) <= limit < 8 * len(plain.template)
    loops = [one for one in small.instructions if isinstance(one, Loop)]
    assert len(loops) == 2
    assert all(any(isinstance(part, Loop) for part in loop.body) for loop in loops)
    inputs = np.random.default_rng(0).uniform(0.1, 0.6, len(plain.inputs))
    plain_runner, runner = Runner(plain), Runner(small)
    for numbers in (inputs, inputs[::-1].copy()):  # the second time the window has been used
        expected = plain_runner.run(numbers)
        np.testing.assert_allclose(runner.run(numbers), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["chain", "volatile"])
def test_what_is_around_the_segments_can_be_rolled(name: str) -> None:
    program, wanted, plain = woven(*CASES[name])
    small = checkpointed(program, wanted, least(program, wanted))
    inputs = np.random.default_rng(0).uniform(0.1, 0.6, len(plain.inputs))
    for other in (roll(small), expand(small), merge(small)):
        found = Runner(other).run(inputs)
        np.testing.assert_allclose(found, Runner(plain).run(inputs), rtol=1e-9, atol=1e-12)


def test_lanes_have_windows_of_their_own() -> None:
    args = numbers(4, 7), numbers(80, 3)
    program, wanted, plain = woven(cells, args, lanes=range(28, 28 + 240))
    small = checkpointed(program, wanted, least(program, wanted))
    rng = np.random.default_rng(0)
    inputs = [rng.uniform(-1, 1, 3 if plain.laned[slot] else None) for slot in plain.inputs]
    expected = Runner(plain, lanes=3).run(inputs)
    np.testing.assert_allclose(Runner(small, lanes=3).run(inputs), expected, rtol=1e-9, atol=1e-12)


def losses(x: Any, steps: int) -> Any:
    """A state, and a loss that sums up something of every step."""
    total = 0.0
    for _ in range(steps):
        x = gl.sin(gl.exp(-x))
        total += x * x
    return total


@pytest.mark.parametrize("function", [chain, losses])
def test_memory_grows_with_the_root_of_the_steps(function: Callable[..., Any]) -> None:
    sizes = []
    for steps in (400, 1600):
        graph, _ = record(lambda x, n=steps: function(x, n), 0.3)
        program = weave(graph)
        sizes.append(least(program, program.inputs))
    assert 1.5 < sizes[1] / sizes[0] < 2.5


def test_where_all_fits_the_plain_adjoint_is_taken() -> None:
    program, wanted, plain = woven(*CASES["chain"])
    found = checkpointed(program, wanted, 8 * len(plain.template))
    assert found.instructions == plain.instructions


def test_what_is_no_recurrence_is_refused_with_the_bytes_that_it_takes() -> None:
    program, wanted, plain = woven(lambda xs: sum(gl.exp(x) for x in xs), (numbers(50),))
    with pytest.raises(ArgumentError) as caught:
        checkpointed(program, wanted, 100)
    assert f"takes {8 * len(plain.template)} bytes, and it has no long recurrence" in str(
        caught.value
    )


def test_guards_and_further_outputs_go_along() -> None:
    def f(x: Any) -> Any:
        y = chain(x, 100)
        return [y, x * 2.0] if y > 0.0 else [x, y]

    program, wanted, plain = woven(f, (0.3,))
    small = checkpointed(program, wanted, least(program, wanted))
    inputs = np.array([0.3, 1.0, 0.5])
    np.testing.assert_array_equal(Runner(small).run(inputs), Runner(plain).run(inputs))
    runner = Runner(small)
    runner.run(inputs)
    slots, expected = zip(*small.guards, strict=True)
    assert runner.read(np.array(slots)).tolist() == list(expected)
    assert math.isclose(Runner(small).run(inputs)[1], 0.6)


def test_a_recurrence_through_steps_hands_nothing_back() -> None:
    def stairs(x: Any) -> Any:
        y = x
        for _ in range(100):
            y = gl.floor(gl.sin(y) * 2.0 + 1.0)
        return x * x + y

    small = gl.grad(gl.compile(stairs, memory_limit=1000, backend="numpy"))
    assert small(0.7) == gl.grad(stairs)(0.7) == 1.4
