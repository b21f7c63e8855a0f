"""Random functions full of looks at their numbers: compiled, they do what they do plainly."""

import math
import random
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import gradloom as gl
from gradloom import Value
from gradloom.errors import RecordingWarning


def at(x: Any) -> Any:
    """`data` of a value; plain numbers have none."""
    return getattr(x, "data", x)


def halved(p: Any, q: Any, n: Any) -> Any:
    for _ in range(n):
        p = p * 0.5 + q
    return p


# Each makes a number of two others, or of two others and a count.
STEPS: list[Callable[[Any, Any], Any]] = [
    lambda p, q: p + q,
    lambda p, q: p * q,
    lambda p, q: gl.tanh(p) - q,
    lambda p, q: p if p > q else q * 2,
    lambda p, q: max(p, q) + min(p, q),
    lambda p, q: gl.where(p <= q, p * 3, q),
    lambda p, q: sorted([p, q, 0.5], key=at)[1] * 1.0,
    lambda p, q: gl.relu(p) - abs(q),
    lambda p, q: p - at(q) * 0.5,
    lambda p, q: p * 1.0 if p else q + 1,
]
COUNTED: list[Callable[[Any, Any, Any], Any]] = [
    halved,
    lambda p, q, n: gl.take([p * q, p + q, p - q], n),
    lambda p, q, n: [p, q, p][n] + (p != q) * 2.0,
]


def generated(rng: random.Random, weights: list[Value]) -> Callable[..., Any]:
    """A function of two numbers and a count, on the weights."""
    count = rng.randrange(3, 20)
    lines = [(rng.choice(STEPS + COUNTED), rng.random(), rng.random()) for _ in range(count)]

    def f(xs: list[Any], n: int) -> list[Any]:
        made = [*xs, *weights]
        for step, a, b in lines:
            operands = made[int(a * len(made))], made[int(b * len(made))]
            made.append(step(*operands, n) if step in COUNTED else step(*operands))
        return [made[-1], made[-2] + made[-3], made[-1] > made[-2]]

    return f


def number(rng: random.Random) -> float:
    return rng.choice([0.0, 1.0, rng.gauss(0, 1)])


def outcome(f: Callable[..., Any], leaves: list[Value], *args: Any) -> list[float]:
    """The results of a call and the gradients of all leaves."""
    for leaf in leaves:
        leaf.grad = 0.0
    results = f(*args)
    for y in results:
        if isinstance(y, Value):
            y.backward()
    return [at(y) for y in results] + [leaf.grad for leaf in leaves]


@pytest.mark.parametrize("seed", range(40))
def test_results_and_gradients_are_those_of_the_plain_function(seed: int) -> None:
    rng = random.Random(seed)
    weights = [Value(number(rng)) for _ in range(3)]
    f = generated(rng, weights)
    compiled = gl.compile(f)
    for _ in range(6):
        x, n = Value(number(rng)), rng.randrange(3)
        for w in weights:
            w.data = number(rng)
        args = [x, number(rng)], n
        wanted = outcome(f, [x, *weights], *args)
        for _ in range(2):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RecordingWarning)
                found = outcome(compiled, [x, *weights], *args)
            assert all(map(close, found, wanted))


def close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-12)
