"""Counters of 32 bits: what becomes one, and what must not."""

import numpy as np
import pytest

import workloads
from gradloom.backends.llvm.export import Function, write
from gradloom.backends.llvm.machines import machine
from gradloom.backends.llvm.narrow import narrowed
from gradloom.loom.derivatives import gradient
from gradloom.loom.record import record
from gradloom.loom.weave import weave


@pytest.mark.parametrize("name", ["moons", "gpt", "lstm", "asian_option"])
def test_no_loop_counts_with_64_bits_unless_its_end_is_passed(name: str) -> None:
    workload = workloads.WORKLOADS[name]()
    program = weave(record(workload.function, *workload.arguments)[0])
    program = gradient(program, program.parameters)
    numbers = np.array([value.data for value in program.values])
    texts = {
        chosen: write([Function("f", [program])], machine(chosen), 32, numbers).text
        for chosen in ("aarch64", "riscv32f")
    }
    assert "phi i64" in texts["aarch64"]
    assert "phi i32" in texts["riscv32f"]
    for function in texts["riscv32f"].split("\n}\n"):
        head = function.lstrip().partition("\n")[0]
        assert "phi i64" not in function or "i64 %" in head


@pytest.mark.parametrize(
    "line",
    [
        "%b = bitcast i64 %n to double",  # the bits of a number
        "%b = shl i64 %n, 52",
        "%b = select i1 %c, i64 %n, i64 0",
        "store i64 %n, ptr %p",
        "call void @other(i64 %n)",
    ],
)
def test_what_is_more_than_a_counter_keeps_its_bits(line: str) -> None:
    text = f"""define void @f(ptr %p, i1 %c) {{
loop:
%i = phi i64 [0, %entry], [%n, %loop]
%n = add nuw nsw i64 %i, 1
%m = icmp slt i64 %n, 8
{line}
%q = getelementptr float, ptr %p, i64 %i
}}"""
    assert narrowed(text) == text


def test_what_a_caller_passes_keeps_its_bits() -> None:
    text = """define void @f(ptr %p, i64 %count) {
loop:
%i = phi i64 [0, %entry], [%n, %loop]
%n = add nuw nsw i64 %i, 1
%m = icmp slt i64 %n, %count
}"""
    assert narrowed(text) == text


def test_functions_are_told_apart() -> None:
    counting = "%i = phi i64 [0, %entry], [%n, %loop]\n%n = add i64 %i, 1"
    text = (
        f"define void @f() {{\n{counting}\n}}\n"
        f"define void @g() {{\n{counting}\ncall void @h(i64 %i)\n}}\n"
    )
    first, second = narrowed(text).split("define void @g")
    assert "i64" not in first
    assert "i32" not in second
