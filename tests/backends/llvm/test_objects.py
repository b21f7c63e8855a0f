"""Object files and libraries, against the tools that everybody has."""

import shutil
import subprocess
from pathlib import Path

import llvmlite.binding as llvm
import pytest

from gradloom.backends.llvm import target as targets
from gradloom.backends.llvm.objects import any_float_convention, archive, read_elf

TEXT = """
@shown = constant double 1.0
declare double @missing(double)
define internal double @hidden(double %x) noinline nounwind {
  %y = fmul double %x, %x
  ret double %y
}
define double @first(double %x) nounwind {
  %y = call double @hidden(double %x)
  %z = call double @missing(double %y)
  ret double %z
}
define double @second(double %x) nounwind {
  ret double %x
}
"""
TRIPLES = {
    "x86_64-unknown-linux-gnu": ("x86-64", 64),
    "aarch64-unknown-linux-gnu": ("AArch64", 64),
    "thumbv7m-unknown-none-eabi": ("Arm", 32),
    "riscv32-unknown-none-elf": ("RISC-V", 32),
    "riscv64-unknown-none-elf": ("RISC-V", 64),
}


def built(triple: str) -> bytes:
    targets.initialize()
    module = llvm.parse_assembly(TEXT)
    module.triple = triple
    tool = llvm.Target.from_triple(triple).create_target_machine(reloc="pic", codemodel="default")
    return bytes(tool.emit_object(module))


@pytest.mark.parametrize("triple", TRIPLES)
def test_an_object_tells_its_machine_and_what_it_lacks(triple: str) -> None:
    elf = read_elf(built(triple))
    assert elf is not None
    assert (elf.machine, elf.bits) == TRIPLES[triple]
    defined = {symbol.name for symbol in elf.symbols if symbol.defined}
    assert defined == {"shown", "first", "second"}
    lacking = {name for name in elf.undefined if not name.startswith("__")}
    assert lacking == {"missing"}


@pytest.mark.parametrize("content", [b"", b"\0asm\1\0\0\0", b"\xcf\xfa\xed\xfe" + bytes(60)])
def test_other_files_are_none(content: bytes) -> None:
    assert read_elf(content) is None


def test_only_the_convention_for_floats_is_changed() -> None:
    for triple in ("thumbv7em-unknown-none-eabihf", "thumbv7m-unknown-none-eabi"):
        before = built(triple)
        after = any_float_convention(before)
        places = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
        if triple.endswith("hf"):
            assert [(before[i - 1], before[i], after[i]) for i in places] == [(28, 1, 3)]
        else:
            assert places == []


@pytest.mark.skipif(shutil.which("ar") is None, reason="ar is not installed")
@pytest.mark.parametrize("name", ["f.o", "a_name_that_is_longer_than_fits.o"])
@pytest.mark.parametrize("odd", [b"", b"x"])
def test_a_library_is_one_to_its_tools(tmp_path: Path, name: str, odd: bytes) -> None:
    content = built("x86_64-unknown-linux-gnu") + odd
    path = tmp_path / "lib.a"
    path.write_bytes(archive(name, content, ["first", "second"]))

    def said(*command: str) -> str:
        done = subprocess.run(
            [*command, str(path)], capture_output=True, text=True, check=True, cwd=tmp_path
        )
        return done.stdout

    assert said("ar", "t").split() == [name]
    index = said("nm", "-s").split("\n\n")[0]
    assert f"first in {name}\nsecond in {name}" in index
    said("ar", "x")
    assert (tmp_path / name).read_bytes() == content
