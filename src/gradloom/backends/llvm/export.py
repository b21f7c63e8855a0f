"""Programs as functions of C, in an object file for any machine.

A function takes pointers alone and keeps nothing: inputs, perhaps parameters, where the outputs
go, and a workspace that the caller has. What never changes is read-only data in the object. So it
allocates nothing, calls nothing, and may run on many threads at once.

A recording follows one path; its guards tell whether the inputs take it. A function tries the paths
that it has one after another, and says by its result whether one was right.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import llvmlite.binding as llvm
import numpy as np
from numpy.typing import NDArray

from gradloom.backends.llvm import target as targets
from gradloom.backends.llvm.elementary import FUNCTIONS
from gradloom.backends.llvm.ir import Writer, literal
from gradloom.backends.llvm.machines import Machine
from gradloom.backends.llvm.memory import (
    CONSTANTS,
    INPUTS,
    OUTPUTS,
    PARAMETERS,
    WORKSPACE,
    Placed,
    place,
)
from gradloom.backends.llvm.module import Module
from gradloom.backends.llvm.narrow import narrowed
from gradloom.backends.llvm.objects import any_float_convention, read_elf
from gradloom.backends.llvm.softmath import definitions
from gradloom.errors import ArgumentError
from gradloom.loom.merge import merge
from gradloom.loom.program import Body, Program
from gradloom.loom.roll import roll

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Function:
    """A function to be written.

    Attributes:
        name: of the symbol.
        programs: one for each path; with the same inputs, parameters and number of outputs.
    """

    name: str
    programs: Sequence[Program]


class Written(NamedTuple):
    """What was made.

    Attributes:
        object: the bytes of the object file.
        text: the module as LLVM reads it.
        workspaces: for each function how many numbers its workspace must have.
        helpers: functions of the compiler's own library that it calls.
    """

    object: bytes
    text: str
    workspaces: list[int]
    helpers: list[str]


def write(
    functions: Sequence[Function],
    machine: Machine,
    bits: int,
    parameters: Numbers,
    *,
    passed: bool = False,
    strict: bool = False,
) -> Written:
    """The object file of some functions.

    Args:
        functions: what to write.
        machine: for which machine.
        bits: of a number: 64 or 32.
        parameters: the numbers of the programs' parameters.
        passed: whether the caller passes them; else they are constants.
        strict: nothing is contracted.

    Raises:
        ArgumentError: a program has an operation that is known to Python alone.
    """
    target = machine.target_for(bits)
    made = Module(target, bits, strict=strict)
    workspaces = []
    for function in functions:
        for program in function.programs:
            for one in program.written:
                _check(one.body)
        placed = [
            place(roll(merge(program)), target, bits, None if passed else parameters)
            for program in function.programs
        ]
        _write_function(made, function.name, placed, passed)
        workspaces.append(max(each.workspace for each in placed))
    if passed:
        made.functions.append(_constant(f"{functions[0].name}_parameters", parameters, made, True))
    text = re.sub(r"\) nounwind[ a-z]* \{", ") #0 {", made.text())
    if machine.narrow:
        text = narrowed(text)
    # Without this a loop that fills or copies would become a call of the C library.
    size = "optsize " if machine.small else ""
    text += f'\nattributes #0 = {{ nounwind {size}"no-builtins" }}\n'
    obj = _compiled(text, machine)
    lacks = _lacking(obj)
    if own := definitions(lacks):
        obj = _compiled(text + own, machine)
        lacks = _lacking(obj)
    if strange := [name for name in lacks if not name.startswith("__")]:
        raise AssertionError(f"{machine.name}: calls {', '.join(strange)}")
    return Written(obj, text, workspaces, sorted(lacks))


def _check(body: Body) -> None:
    if isinstance(body, tuple):
        if body[0] not in FUNCTIONS:
            raise ArgumentError(
                f"the operation {body[0]!r} is known to Python alone and cannot be exported: "
                "write it with Gradloom's own"
            )
        for part in body[1]:
            _check(part)


def _write_function(made: Module, name: str, placed: Sequence[Placed], passed: bool) -> None:
    """Add a function that tries one path after another; it returns 0 where one was right."""
    w = Writer()
    for number, path in enumerate(placed):
        spaces = {
            INPUTS: "%inputs",
            PARAMETERS: "%parameters",
            OUTPUTS: "%outputs",
            WORKSPACE: "%workspace",
            CONSTANTS: f"@{name}.constants{number}",
        }
        tables = f"@{name}.tables{number}"
        if len(path.constants):
            made.functions.append(_constant(spaces[CONSTANTS][1:], path.constants, made))
        if len(path.tables):
            items = ", ".join(f"i32 {x}" for x in path.tables.tolist())
            kind = f"[{len(path.tables)} x i32]"
            made.functions.append(
                f"{tables} = internal unnamed_addr constant {kind} [{items}], align 4"
            )
        made.calls(w, path.parts, spaces, tables)
        broken = _broken(w, made, path, spaces)
        if broken:
            right, wrong = w.label("right"), w.label("wrong")
            w.line(f"br i1 {broken}, label %{wrong}, label %{right}")
            w.start(right)
            w.line("ret i32 0")
            w.start(wrong)
        else:
            w.line("ret i32 0")
            break
    else:
        w.line("ret i32 1")
    pointers = ["inputs", *(["parameters"] if passed else []), "outputs", "workspace"]
    made.define(name, [f"ptr %{pointer}" for pointer in pointers], w, result="i32")


def _broken(w: Writer, made: Module, path: Placed, spaces: dict[str, str]) -> str:
    """A register that holds whether any guard does not; empty if there are none."""
    whole = f"i{made.bits}"
    found = ""
    for (space, offset), number in path.guards:
        at = w.assign(f"getelementptr inbounds {made.real}, ptr {spaces[space]}, i64 {offset}")
        seen = w.assign(f"load {made.real}, ptr {at}")
        if math.isnan(number):
            odd = w.assign(f"fcmp ord {made.real} {seen}, {seen}")
        else:  # by bits: zeros must agree in sign
            left = w.assign(f"bitcast {made.real} {seen} to {whole}")
            right = w.assign(f"bitcast {made.real} {literal(number, made.bits)} to {whole}")
            odd = w.assign(f"icmp ne {whole} {left}, {right}")
        found = w.assign(f"or i1 {found}, {odd}") if found else odd
    return found


def _constant(name: str, numbers: Numbers, made: Module, visible: bool = False) -> str:
    """The text of an array that is read only."""
    items = ", ".join(f"{made.real} {literal(x, made.bits)}" for x in numbers.tolist())
    linkage = "" if visible else "internal unnamed_addr "
    kind = f"[{len(numbers)} x {made.real}]"
    return f"@{name} = {linkage}constant {kind} [{items}], align {made.bits // 8}"


def _compiled(text: str, machine: Machine) -> bytes:
    """The object file of a module."""
    targets.initialize()
    target = machine.target
    tool = llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu,
        features=target.features,
        opt=2,
        reloc="pic" if machine.pic else "static",
        codemodel="default",
    )
    module = llvm.parse_assembly(text, llvm.create_context())
    module.triple = target.triple
    module.data_layout = str(tool.target_data)
    # Kernels are blocked and in vectors as they are written; what is left is to clean up.
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = False
    options.loop_unrolling = not machine.small
    builder = llvm.create_pass_builder(tool, options)
    builder.getModulePassManager().run(module, builder)
    obj = bytes(tool.emit_object(module))
    return any_float_convention(obj) if "eabihf" in target.triple else obj


def _lacking(obj: bytes) -> list[str]:
    """What an object needs from elsewhere, as far as can be told."""
    elf = read_elf(obj)
    return elf.undefined if elf else []
