"""Gradients in little memory: what they give is what the others give."""

from typing import Any

import pytest

import gradloom as gl
from gradloom import Value
from gradloom.backends.choice import has_native
from gradloom.errors import ArgumentError
from gradloom.loom.program import Loop

BACKENDS = ["numpy", *(["native"] if has_native() else [])]
LIMIT = 6_000  # bytes; the plain gradients here take three times as much, and more


def walk(x: Any, steps: int = 300) -> Any:
    """A long recurrence."""
    total = 0.0
    for _ in range(steps):
        x = gl.sin(gl.exp(-x) + 0.1)
        total = total + x
    return total


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_gradient_in_little_memory_is_the_same(backend: str) -> None:
    small = gl.compile(walk, backend=backend, memory_limit=LIMIT)
    plain = gl.compile(walk, backend=backend)
    assert gl.value_and_grad(small)(0.3) == pytest.approx(gl.value_and_grad(plain)(0.3), rel=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_arena_keeps_to_the_limit(backend: str) -> None:
    def chain(x: Any) -> Any:
        for _ in range(1_000):
            x = gl.sin(gl.exp(-x))
        return x

    x = Value(0.3)
    grads, sizes = [], []
    for limit in (None, LIMIT):
        compiled = gl.compile(chain, backend=backend, memory_limit=limit)
        compiled(x).backward()
        grads.append(x.grad)
        x.grad = 0.0
        sizes.append(8 * len(compiled.inspect().passes[1].program.template))
    assert grads[1] == pytest.approx(grads[0], rel=1e-12)
    assert sizes[0] > 5 * LIMIT
    assert sizes[1] <= LIMIT


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_vector_may_be_pulled_back_in_little_memory(backend: str) -> None:
    small = gl.compile(walk, backend=backend, memory_limit=LIMIT)
    value, pull = gl.vjp(small, 0.3)
    plain_value, plain_pull = gl.vjp(walk, 0.3)
    assert value == pytest.approx(plain_value)
    assert pull(2.0) == pytest.approx(plain_pull(2.0))


def test_second_derivatives_take_what_they_take() -> None:
    small = gl.compile(lambda x: walk(x, 50), memory_limit=2_500)
    once: Any = gl.grad(small)
    twice = gl.grad(once)
    plain = gl.compile(lambda x: walk(x, 50))
    assert once(0.3) == pytest.approx(gl.grad(plain)(0.3))
    assert twice(0.3) == pytest.approx(gl.grad(gl.grad(plain))(0.3))
    assert gl.sparsity(once)(0.3) == [(0, 0)]
    assert any(isinstance(one, Loop) for one in once.program.instructions)


def test_a_gradient_in_little_memory_does_not_go_backward() -> None:
    slope: Any = gl.grad(gl.compile(walk, memory_limit=LIMIT))
    with pytest.raises(ArgumentError, match="leave memory_limit out"):
        slope(Value(0.3)).backward()


def test_numbers_of_single_precision_take_half() -> None:
    if not has_native():
        pytest.skip("NumPy computes with float64")
    compiled = gl.compile(walk, backend="native", dtype="float32", memory_limit=LIMIT // 2)
    assert gl.grad(compiled)(0.3) == pytest.approx(gl.grad(gl.compile(walk))(0.3), rel=1e-3)


def test_too_little_says_what_it_takes() -> None:
    compiled = gl.compile(walk, memory_limit=50)
    y = compiled(Value(0.3))
    with pytest.raises(ArgumentError, match="raise memory_limit to"):
        y.backward()


@pytest.mark.parametrize("limit", [0, -1, 2.5, True])
def test_a_limit_is_a_number_of_bytes(limit: Any) -> None:
    with pytest.raises(ArgumentError, match="memory_limit must be a whole number"):
        gl.compile(walk, memory_limit=limit)


@pytest.mark.skipif(not has_native(), reason="needs llvmlite")
def test_a_bound_loss_keeps_to_the_limit() -> None:
    w = Value(0.3)
    grads = []
    for limit in (None, LIMIT):
        w.grad = 0.0
        loss = gl.compile(lambda s: walk(w * s), backend="native", memory_limit=limit).bind(1.0)
        assert loss.native
        loss()
        grads.append(w.grad)
    assert grads[1] == pytest.approx(grads[0], rel=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("reduce", [None, "sum"])
def test_every_lane_keeps_to_the_limit(backend: str, reduce: str | None) -> None:
    w = Value(0.9)
    grads = []
    for limit in (None, LIMIT):
        w.grad = 0.0
        mapped = gl.vmap(lambda x: walk(w * x), backend=backend, memory_limit=limit, reduce=reduce)
        found: Any = mapped([0.1, 0.2, 0.3, 0.4, 0.5])
        (found if reduce else sum(found)).backward()
        grads.append(w.grad)
        sizes = [8 * len(one.program.template) for one in mapped.inspect().passes]
    assert grads[1] == pytest.approx(grads[0], rel=1e-12)
    assert sizes[-1] <= LIMIT
