"""WebAssembly modules from objects."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import pytest

from gradloom.backends.llvm import target as targets
from gradloom.backends.llvm.machines import machine
from gradloom.backends.llvm.wasm import NotLinkableError, link

TEXT = """
@numbers = constant [3 x double] [double 1.5, double 2.5, double 3.5], align 8
@small = internal constant [4 x i32] [i32 10, i32 20, i32 30, i32 40], align 16
define internal void @store(ptr %to, double %x) noinline nounwind {
  store double %x, ptr %to
  ret void
}
define double @second() nounwind {
  %x = load double, ptr getelementptr (i8, ptr @numbers, i32 8)
  ret double %x
}
define i32 @pick(i32 %i) nounwind {
  %at = getelementptr i32, ptr @small, i32 %i
  %x = load i32, ptr %at
  ret i32 %x
}
"""
STACK = """
define double @through(double %x) nounwind {
  %room = alloca [40 x double]
  %at = getelementptr double, ptr %room, i32 7
  call void @store(ptr %at, double %x)
  %y = load double, ptr %at
  ret double %y
}
"""
ELSEWHERE = """
declare double @sin(double)
define double @sine(double %x) nounwind {
  %y = call double @sin(double %x)
  ret double %y
}
"""


def built(text: str) -> bytes:
    targets.initialize()
    chosen = machine("wasm32").target
    module = llvm.parse_assembly(text)
    module.triple = chosen.triple
    tool = llvm.Target.from_triple(chosen.triple).create_target_machine(
        cpu=chosen.cpu, features=chosen.features, opt=2, reloc="static", codemodel="default"
    )
    return bytes(tool.emit_object(module))


def run(content: bytes, code: str, folder: Path) -> Any:
    """What an expression of the module's exports comes to in Node."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    (folder / "m.wasm").write_bytes(content)
    (folder / "m.mjs").write_text(
        'import { readFileSync } from "node:fs";'
        f'const bytes = readFileSync("{folder / "m.wasm"}");'
        "const { exports } = (await WebAssembly.instantiate(bytes)).instance;"
        f"console.log(JSON.stringify({code}));"
    )
    done = subprocess.run(
        ["node", str(folder / "m.mjs")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_functions_find_their_constants_and_each_other(tmp_path: Path) -> None:
    linked = link(built(TEXT + STACK), ["second", "pick", "through", "numbers"])
    code = "[exports.second(), exports.pick(0), exports.pick(3), exports.through(0.125)]"
    assert run(linked.content, code, tmp_path) == [2.5, 10, 40, 0.125]
    code = "[...new Float64Array(exports.memory.buffer, exports.numbers.value, 3)]"
    assert run(linked.content, code, tmp_path) == [1.5, 2.5, 3.5]
    assert run(linked.content, "exports.heap.value", tmp_path) == linked.heap


def test_memory_is_as_large_as_is_asked_for(tmp_path: Path) -> None:
    plain = link(built(TEXT), ["second"], 200_000)
    assert plain.heap < 1000  # no stack is needed
    assert run(plain.content, "exports.memory.buffer.byteLength", tmp_path) == 4 * 65536
    stacked = link(built(TEXT + STACK), ["second"], 0)
    assert stacked.heap > 65536
    assert run(stacked.content, "exports.memory.buffer.byteLength", tmp_path) == 2 * 65536


def test_only_what_is_asked_for_is_seen(tmp_path: Path) -> None:
    linked = link(built(TEXT), ["pick"])
    found = run(linked.content, "Object.keys(exports)", tmp_path)
    assert sorted(found) == ["heap", "memory", "pick"]


def test_what_needs_a_real_linker_is_refused() -> None:
    with pytest.raises(NotLinkableError, match="sin from elsewhere"):
        link(built(TEXT + ELSEWHERE), ["sine"])
    with pytest.raises(NotLinkableError, match="no WebAssembly object"):
        link(b"\x7fELF....", ["f"])
