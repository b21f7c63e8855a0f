"""Machine code in a process and on the disk: compiled once, shared, and let go."""

import gc
import json
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradloom as gl
import workloads
from gradloom.backends.llvm import cache, library, native
from gradloom.backends.llvm.native import Runner
from gradloom.loom.adjoint import adjoint
from gradloom.loom.program import Program
from gradloom.loom.record import record
from gradloom.loom.weave import weave


class Compiled:
    """Counts what LLVM is given: for each module how many functions it defines."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.modules: list[int] = []
        self._compiled = library.compiled
        monkeypatch.setattr(library, "compiled", self._counted)

    def _counted(self, text: str, target: Any) -> bytes:
        self.modules.append(text.count("\ndefine ") + text.startswith("define "))
        return self._compiled(text, target)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Compiled:
    """What is compiled in a process that has nothing yet."""
    monkeypatch.setattr(library, "_LIBRARIES", type(library._LIBRARIES)())
    monkeypatch.setattr(library, "_BLOBS", weakref.WeakValueDictionary())
    return Compiled(monkeypatch)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of its own."""
    monkeypatch.setenv("GRADLOOM_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


def forget() -> None:
    """Be as a process that has nothing yet."""
    library._LIBRARIES.clear()
    library._BLOBS.clear()


def work(number: float = 2.0) -> Program:
    """A program of several kernels, and one number that tells it from others."""

    def loss(xs: Any) -> Any:
        ys = [gl.tanh(x * number) for x in xs]
        return sum(y * y for y in ys) + gl.logsumexp(ys) * gl.sin(xs[0])

    return weave(record(loss, [0.1 * i for i in range(9)])[0])


POINT = [0.3 * i for i in range(9)]


def test_a_program_is_compiled_once(compiled: Compiled) -> None:
    first, second = native.code(work()), native.code(work())
    assert len(compiled.modules) == 1
    assert first.library is second.library


def test_an_adjoint_compiles_what_is_new_in_it_alone(compiled: Compiled) -> None:
    whole = workloads.moons(20)
    program = weave(record(whole.function, *whole.arguments)[0])
    derived = adjoint(program, program.parameters)
    forward = native.code(program)
    native.code(derived)
    forget()
    native.code(derived)
    (_, new, alone), held = compiled.modules, forward.library
    assert held.address("before")
    assert new < alone


def test_another_program_calls_the_kernels_that_are_there(compiled: Compiled) -> None:
    one = native.code(work(2.0))
    other = native.code(work(3.0))
    assert compiled.modules[1] < compiled.modules[0]
    found = [Runner(work(x), code=code).run(POINT)[0] for x, code in ((2.0, one), (3.0, other))]
    want = [Runner(work(x)).run(POINT)[0] for x in (2.0, 3.0)]
    assert found == want


def test_two_threads_that_need_one_program_compile_it_once(compiled: Compiled) -> None:
    programs = [work() for _ in range(4)]
    found: list[float] = []

    def run(program: Program) -> None:
        found.append(Runner(program).run(POINT)[0])

    threads = [threading.Thread(target=run, args=(program,)) for program in programs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(compiled.modules) == 1
    assert len(set(found)) == 1
    assert len(found) == 4


def test_what_is_on_the_disk_is_not_compiled(compiled: Compiled, folder: Path) -> None:
    want = Runner(work()).run(POINT)
    assert folder.exists()
    forget()
    assert Runner(work()).run(POINT).tolist() == want.tolist()
    assert len(compiled.modules) == 1


@pytest.mark.usefixtures("folder")
def test_what_calls_the_kernels_of_others_finds_them_on_the_disk(compiled: Compiled) -> None:
    program = work()
    first, held = native.code(program), native.code(adjoint(program, program.inputs))
    assert first.library is not held.library
    inputs = [*POINT, 1.0]
    want = Runner(adjoint(program, program.inputs), code=held).run(inputs)
    count = len(compiled.modules)
    forget()
    found = Runner(adjoint(program, program.inputs)).run(inputs)
    assert found.tolist() == want.tolist()
    assert len(compiled.modules) == count == 2


def damaged(folder: Path, how: str) -> int:
    """Damage every file; how many there were."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        data = path.read_bytes()
        if how == "cut":
            path.write_bytes(data[: len(data) // 2])
        elif how == "changed":
            path.write_bytes(data[:-5] + bytes([data[-5] ^ 1]) + data[-4:])
        elif how == "empty":
            path.write_bytes(b"")
        else:
            path.unlink()
    return len(files)


@pytest.mark.parametrize("how", ["cut", "changed", "empty", "gone"])
def test_what_is_damaged_is_compiled_anew(compiled: Compiled, folder: Path, how: str) -> None:
    want = Runner(work()).run(POINT)
    assert damaged(folder, how)
    forget()
    assert Runner(work()).run(POINT).tolist() == want.tolist()
    assert len(compiled.modules) == 2
    forget()  # and it is kept once more
    assert Runner(work()).run(POINT).tolist() == want.tolist()
    assert len(compiled.modules) == 2


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("lost", range(5))
def test_what_is_there_in_part_is_compiled_anew(folder: Path, lost: int) -> None:
    program = work()
    derived = adjoint(program, program.inputs)
    held = native.code(program)
    inputs = [*POINT, 1.0]
    want = Runner(derived).run(inputs)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    files[lost % len(files)].unlink()
    forget()
    assert Runner(derived).run(inputs).tolist() == want.tolist()
    assert held.library.address("before")


SECOND = """
import json
import sys
sys.path.insert(0, sys.argv[1])
from gradloom.backends.llvm import library
import test_library as tests
count = [0]
compiled = library.compiled
def counted(text, target):
    count[0] += 1
    return compiled(text, target)
library.compiled = counted
found = tests.Runner(tests.work()).run(tests.POINT).tolist()
print(json.dumps([count[0], found]))
"""


def test_a_second_process_compiles_nothing(folder: Path) -> None:
    environment = {**os.environ, "GRADLOOM_CACHE": str(folder)}
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parents[1])])
    environment["PYTHONPATH"] = os.pathsep.join([paths, environment.get("PYTHONPATH", "")])
    found = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", SECOND, str(here)],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for _ in range(2)
    ]
    assert [count for count, _ in found] == [1, 0]
    assert found[0][1] == found[1][1]


def test_without_a_cache_nothing_is_written(
    compiled: Compiled, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("GRADLOOM_CACHE", "off")
    assert cache.default() is None
    native.code(work())
    assert len(compiled.modules) == 1
    assert not list(tmp_path.iterdir())


# What is let go


@pytest.mark.usefixtures("compiled")
def test_of_many_programs_the_first_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_KEPT", 3)
    gone = weakref.ref(native.code(work(0.5)).library._own)
    runner = Runner(work(1.5))
    want = runner.run(POINT).tolist()
    for i in range(5):
        native.code(work(10.0 + i))
    gc.collect()
    assert len(library._LIBRARIES) == 3
    # Others call its kernels; what it has of its own is with them.
    assert runner.run(POINT).tolist() == want
    del runner
    forget()
    gc.collect()
    assert gone() is None


@pytest.mark.usefixtures("compiled")
def test_kernels_that_others_hold_still_work_when_their_program_is_gone() -> None:
    program = work()
    derived = adjoint(program, program.inputs)
    first = native.code(program)
    blob = weakref.ref(first.library._own)
    runner = Runner(derived)
    inputs = [*POINT, 1.0]
    want = runner.run(inputs).tolist()
    del first
    library._LIBRARIES.clear()
    gc.collect()
    assert blob() is not None  # the adjoint calls it
    assert runner.run(inputs).tolist() == want
    native.code(work(7.0))  # may use its kernels too
    assert runner.run(inputs).tolist() == want
    del runner
    library._LIBRARIES.clear()
    gc.collect()
    assert blob() is None


def test_a_kernel_is_compiled_anew_when_nobody_has_it_any_more(compiled: Compiled) -> None:
    want = Runner(work()).run(POINT).tolist()
    library._LIBRARIES.clear()
    gc.collect()
    assert not library._BLOBS
    assert Runner(work()).run(POINT).tolist() == want
    assert compiled.modules[0] == compiled.modules[1]


@pytest.mark.usefixtures("compiled")
def test_numbers_do_not_depend_on_who_brought_the_kernels() -> None:
    program = work()
    derived = adjoint(program, program.inputs)
    inputs = [*POINT, 1.0]
    alone = Runner(derived).run(inputs)
    forget()
    held = native.code(program)
    shared = Runner(derived).run(inputs)
    np.testing.assert_array_equal(alone, shared)
    assert held.library.address("before")


def test_what_is_needed_is_listed_once_and_first_however_long_the_chains() -> None:
    class Blob:
        def __init__(self, number: int, held: list[Any]) -> None:
            self.number, self._held = number, held

    blobs: list[Any] = []
    for number in range(3000):  # each needs the two before it: walked anew it would never end
        blobs.append(Blob(number, blobs[-2:]))
    assert library._with_held([blobs[-1]]) == blobs
