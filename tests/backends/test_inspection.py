"""What runs: its work is counted right, its machine code is there, and nobody's numbers move."""

import sys
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import Value
from gradloom.backends import choice
from gradloom.backends.inspection import Work, operations
from gradloom.core.table import OPS, REAL, operation
from gradloom.errors import RecordingError

native = pytest.mark.skipif(not choice.has_native(), reason="needs llvmlite")


def product(a: Any, b: Any) -> Any:
    """A product of matrices, number by number."""
    columns = list(zip(*b, strict=True))
    return [[sum(x * y for x, y in zip(row, col, strict=True)) for col in columns] for row in a]


def matrices(*shapes: tuple[int, int]) -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).tolist() for shape in shapes]


def test_a_product_of_matrices_has_a_multiplication_and_an_addition_for_each_pair() -> None:
    compiled = gl.compile(product, backend="numpy")
    compiled(*matrices((100, 16), (16, 16)))
    work = compiled.inspect().work
    assert work == Work(51_200, 0, 8 * (100 * 16 + 16 * 16 + 100 * 16))


def test_elementary_functions_are_counted_apart() -> None:
    assert operations(("exp", (("*", (0, ("-", (1, 2.0)))),))) == (2, 1)
    assert operations(("max", (0, 1, 2))) == (2, 0)
    assert operations(("sum", (0,)), fold=5) == (4, 0)
    assert operations(("detach", (0,))) == (0, 0)


def test_every_turn_of_a_loop_counts() -> None:
    @gl.compile(backend="numpy")
    def walk(x: Any) -> Any:
        for _ in range(50):
            x = gl.sin(x) * 0.5
        return x

    walk(1.0)
    found = walk.inspect()
    assert len(found.program.written) < 50
    assert (found.work.flops, found.work.calls) == (50, 50)


def test_on_numpy_it_says_why_there_is_no_machine_code() -> None:
    compiled = gl.compile(lambda x: x * x, backend="numpy")
    compiled(3.0)
    found = compiled.inspect()
    assert found.kernels == []
    assert found.why == "the backend 'numpy' was chosen"
    assert str(found).endswith("NumPy runs it: the backend 'numpy' was chosen")


def test_without_llvmlite_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    monkeypatch.setattr("gradloom.backends.choice.has_native", lambda: False)
    monkeypatch.setattr("gradloom.backends.inspection.has_native", lambda: False)
    compiled = gl.compile(lambda x: x * x)
    compiled(3.0)
    assert "pip install 'gradloom[native]'" in compiled.inspect().why


def test_what_was_not_called_cannot_be_inspected() -> None:
    with pytest.raises(RecordingError, match="call it first"):
        gl.compile(lambda x: x * x).inspect()
    with pytest.raises(RecordingError, match="call it first"):
        gl.vmap(lambda x: x * x).inspect()


@native
def test_an_operation_that_a_user_entered_is_named() -> None:
    rule = operation("cubed", partials=[lambda _, x: 3.0 * x * x], domain=[REAL])
    try:
        cubed: Any = rule(lambda x: x**3)
        compiled = gl.compile(lambda x: cubed(x) + 1.0, backend="native")
        assert compiled(2.0) == 9.0
        assert "'cubed'" in compiled.inspect().why
    finally:
        del OPS["cubed"]


@native
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_kernels_do_the_work_of_the_program(dtype: str) -> None:
    compiled = gl.compile(product, backend="native", dtype=dtype)
    compiled(*matrices((10, 8), (8, 4)))
    found = compiled.inspect()
    assert sum((kernel.work for kernel in found.kernels), Work()).flops == 2 * 10 * 8 * 4
    assert sum(kernel.count for kernel in found.kernels) >= 1
    assert any("10 × 4 × 8" in kernel.text for kernel in found.kernels)


@native
def test_each_kernel_has_its_text_and_its_machine_code() -> None:
    compiled = gl.compile(product, backend="native")
    compiled(*matrices((10, 8), (8, 4)))
    for kernel in compiled.inspect().kernels:
        assert "define" in kernel.llvm
        assert "once" in kernel.assembly


@native
def test_gradients_that_were_taken_are_passes_of_their_own() -> None:
    w = Value(3.0)
    compiled = gl.compile(lambda x: gl.exp(w * x), backend="native")
    y = compiled(2.0)
    assert [one.name for one in compiled.inspect().passes] == ["forward"]
    y.backward()
    passes = compiled.inspect().passes
    assert [one.name for one in passes] == ["forward", "gradient"]
    assert passes[1].work.flops > passes[0].work.flops


@native
def test_measuring_changes_no_result() -> None:
    w = Value(0.5)
    compiled = gl.compile(lambda xs: sum((gl.tanh(w * x) - x) ** 2 for x in xs), backend="native")
    first = compiled([1.0, 2.0, 3.0])
    first.backward()
    grad = w.grad
    text = str(compiled.inspect())
    assert "% of peak" in text
    assert "GFlop/s" in text
    assert w.grad == grad
    again = compiled([1.0, 2.0, 3.0])
    again.backward()
    assert (again.data, w.grad) == (first.data, 2.0 * grad)


@native
def test_what_is_measured_is_positive_and_the_peak_is_measured_once() -> None:
    compiled = gl.compile(product, backend="native")
    compiled(*matrices((10, 8), (8, 4)))
    (forward,) = compiled.inspect().passes
    assert all(kernel.seconds > 0.0 for kernel in forward.kernels)
    assert min(forward.peak.flops, forward.peak.cache, forward.peak.memory) > 0.0
    assert compiled.inspect().passes[0].peak is forward.peak


@native
def test_a_derivative_shows_its_own_program() -> None:
    slope: Any = gl.grad(gl.compile(lambda x: gl.sin(x) * x, backend="native"))
    slope(2.0)
    found = slope.inspect()
    assert found.name == "grad(<lambda>)"
    assert found.work.calls >= 2


@native
def test_lanes_do_their_work_each_and_blocks_of_them_are_calls() -> None:
    mapped = gl.vmap(lambda x: gl.exp(x * 2.0), backend="native")
    mapped(np.linspace(0.0, 1.0, 1_000))
    found = mapped.inspect()
    assert (found.work.flops, found.work.calls) == (1_000, 1_000)
    total = sum((kernel.work for kernel in found.kernels), Work())
    # What lies between the two instructions is passed on in one kernel, and counted once there.
    assert (total.flops, total.calls, total.bytes) == (1_000, 1_000, 24_000)
    assert found.work.bytes == 32_000
    assert all(kernel.seconds > 0.0 for kernel in found.kernels)
