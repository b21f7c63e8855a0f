"""What is kept between a recording and machine code: found again, never trusted when damaged."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llvmlite")

import gradloom as gl
from gradloom import Value
from gradloom.backends.llvm import cache, native, shelf
from gradloom.core.table import OPS, REAL, operation
from gradloom.loom.program import Program
from gradloom.loom.record import record
from gradloom.loom.weave import weave


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for each test."""
    monkeypatch.setenv("GRADLOOM_CACHE", str(tmp_path))
    return tmp_path


def polynomial(xs: Any) -> Any:
    return sum(x * x * 3.0 + gl.exp(x) for x in xs)


def test_a_graph_is_woven_once(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, _ = record(polynomial, [1.0, 2.0, 3.0])
    first = shelf.woven(graph)
    monkeypatch.delattr(shelf, "weave")
    again, _ = record(polynomial, [4.0, 5.0, 6.0])
    assert str(shelf.woven(again)) == str(first) == str(weave(graph))


def test_order_and_lanes_are_part_of_the_key() -> None:
    graph, _ = record(polynomial, [1.0, 2.0, 3.0])
    kinds = [shelf.woven(graph), shelf.woven(graph, [0, 1, 2]), shelf.woven(graph, strict=True)]
    plain = [weave(graph), weave(graph, [0, 1, 2]), weave(graph, strict=True)]
    for program, wanted in zip(kinds, plain, strict=True):
        assert str(program) == str(wanted)
        assert program.laned.tolist() == wanted.laned.tolist()


def test_what_is_found_reads_the_parameters_of_this_recording() -> None:
    def program_of(w: Value) -> Program:
        return shelf.woven(record(lambda x: w * x, 1.0)[0])

    first, second = Value(2.0), Value(3.0)
    assert program_of(first).values == [first]
    assert program_of(second).values[0] is second


def test_what_a_user_entered_is_not_kept(folder: Path) -> None:
    rule = operation("shelved", partials=[lambda _, x: 2.0 * x], domain=[REAL])
    try:
        square: Any = rule(lambda x: x * x)
        shelf.woven(record(lambda x: square(x) + 1.0, 2.0)[0])
        assert list((folder / "objects").iterdir()) == []
    finally:
        del OPS["shelved"]


def test_equal_programs_have_one_key_and_others_another() -> None:
    graph, _ = record(polynomial, [1.0, 2.0, 3.0])
    fresh, kept = shelf.woven(graph), shelf.woven(graph)
    assert fresh.instructions[0] is not kept.instructions[0]
    assert shelf.of_program(fresh, 64) == shelf.of_program(kept, 64)
    assert shelf.of_program(fresh, 32) != shelf.of_program(kept, 64)
    other, _ = record(lambda xs: polynomial(xs) * 2.0, [1.0, 2.0, 3.0])
    assert shelf.of_program(weave(other), 64) != shelf.of_program(kept, 64)


def test_a_program_that_was_compiled_is_lowered_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, _ = record(polynomial, [1.0, 2.0, 3.0])
    program = weave(graph)
    first = native.Runner(program).run([0.5, 1.5, 2.5])
    monkeypatch.delattr(native, "lower")
    assert native.Runner(program).run([0.5, 1.5, 2.5]) == first


def test_damaged_entries_count_as_absent() -> None:
    graph, _ = record(polynomial, [1.0, 2.0, 3.0])
    program = weave(graph)
    wanted = native.Runner(program).run([0.5, 1.5, 2.5])
    kept, key = cache.default(), shelf.of_program(program, 64)
    assert kept is not None
    assert key is not None
    kept.put(key, b"no pickle")
    assert shelf.get(key) is None
    for path in (Path(str(kept._folder))).iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert native.Runner(shelf.woven(graph)).run([0.5, 1.5, 2.5]) == wanted


def test_without_a_cache_everything_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADLOOM_CACHE", "off")
    graph, _ = record(polynomial, [1.0, 2.0, 3.0])
    assert str(shelf.woven(graph)) == str(shelf.woven(graph))
    assert shelf.of_program(weave(graph), 64) is None


SECOND = """
import gradloom as gl
from gradloom.backends.llvm import native, shelf
if {again}:
    del shelf.weave, native.lower, native.merge
w = gl.Value(0.5)
f = gl.compile(lambda xs: sum(gl.tanh(w * x) ** 2 for x in xs), backend="native")
y = f([1.0, 2.0, 3.0, 4.0, 5.0])
y.backward()
print(y.data, w.grad)
"""


def test_a_second_process_neither_weaves_nor_lowers() -> None:
    said = [
        subprocess.run(
            [sys.executable, "-c", SECOND.format(again=again)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for again in (False, True)
    ]
    assert said[0] == said[1] != ""
