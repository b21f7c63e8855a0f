"""Compiled functions as files for other programs: C headers, objects, libraries, WebAssembly.

What was recorded and woven for Python is written once more for another machine. The header says
where each number of the arguments and results stands, since C knows nothing of nested lists.
"""

import keyword
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np

from gradloom.backends.choice import DTYPES
from gradloom.backends.llvm import header
from gradloom.backends.llvm.export import Function, Written, write
from gradloom.backends.llvm.header import Field, Interface
from gradloom.backends.llvm.machines import Machine, machine
from gradloom.backends.llvm.objects import archive
from gradloom.backends.llvm.wasm import link
from gradloom.core import autodiff
from gradloom.errors import ArgumentError
from gradloom.loom.derivatives import gradient as derived
from gradloom.loom.guards import Site
from gradloom.loom.program import Program
from gradloom.transforms.arguments import Arguments
from gradloom.transforms.compiled import Compiled, compile
from gradloom.transforms.replay import Path

WASM = "wasm32"
_OBJECT, _LIBRARY, _MODULE = (".o", ".obj"), (".a", ".lib"), (".wasm",)
# Of C and C++, beside those that are Python's as well.
_RESERVED = {
    "auto", "bool", "case", "catch", "char", "const", "default", "delete", "do", "double",
    "enum", "extern", "false", "float", "goto", "inline", "int", "long", "main", "namespace",
    "new", "operator", "private", "protected", "public", "register", "restrict", "short",
    "signed", "sizeof", "static", "struct", "switch", "template", "this", "throw", "true",
    "typedef", "typename", "union", "unsigned", "using", "virtual", "void", "volatile",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a function is to be written; see `gradloom.export`.

    Raises:
        ArgumentError: there is no such choice.
    """

    target: str | None = None
    name: str | None = None
    dtype: str | None = None
    gradient: str | None = None
    parameters: str = "constant"

    def __post_init__(self) -> None:
        _one_of("dtype", self.dtype, (None, *DTYPES))
        _one_of("gradient", self.gradient, (None, "inputs", "parameters", "both"))
        _one_of("parameters", self.parameters, ("constant", "argument"))
        if self.gradient in ("parameters", "both") and self.parameters == "constant":
            raise ArgumentError(
                f"gradient={self.gradient!r} needs parameters='argument': the derivatives by "
                "constants are of no use"
            )


class Extra(NamedTuple):
    """What else to say in a header.

    Attributes:
        about: lines for its beginning.
        inputs, outputs: what stands where, in place of what the function itself tells.
        definitions: further macros.
    """

    about: Sequence[str] = ()
    inputs: Sequence[Field] = ()
    outputs: Sequence[Field] = ()
    definitions: Sequence[tuple[str, str]] = ()


def exported(
    f: Callable[..., Any],
    path: PurePath,
    wanted: Wanted,
    *,
    args: Sequence[Any] | None = None,
    extra: Extra | None = None,
) -> dict[PurePath, bytes]:
    """The files that `gradloom.export` writes, and what is in them; see there.

    Args:
        f, path, args: see there.
        wanted: all other choices.
        extra: what else to say in the header.
    """
    path, chosen = _chosen(path, wanted.target)
    compiled = f if isinstance(f, Compiled) else compile(f)
    key, paths = _recorded(compiled, args)
    first, leaves = paths[0], paths[0].program.values
    name = _identifier(wanted.name or _plain_name(compiled, path))
    dtype = wanted.dtype or compiled._options.dtype
    passed = wanted.parameters == "argument" and bool(leaves)
    inputs = list(_inputs(compiled, key))
    functions = [Function(name, [each.program for each in paths])]
    by: list[Field] = []
    if wanted.gradient is not None:
        autodiff.check_number(compiled, first.result.structure)
        by = _derived_by(inputs, len(leaves), wanted.gradient)
        if not header.total(by):
            raise ArgumentError(f"gradient={wanted.gradient!r}: {name} has none to derive by")
        programs = [_gradient(each, wanted.gradient) for each in paths]
        functions.append(Function(f"{name}_gradient", programs))
    numbers = np.array([value.data for value in leaves], dtype=np.float64)
    bits, strict = DTYPES[dtype], first.options.strict
    written = write(functions, chosen, bits, numbers, passed=passed, strict=strict)
    more = extra or Extra()
    interface = Interface(
        name=name,
        about=[*_about(name, chosen, dtype, written), *more.about],
        bits=bits,
        inputs=more.inputs or inputs,
        outputs=more.outputs or list(_outputs(first.result.structure)),
        parameters=len(leaves) if passed else 0,
        gradient=by,
        workspaces=written.workspaces,
        guards=_lines([site for each in paths for site in each.sites]),
        definitions=more.definitions,
    )
    return _files(path, chosen, interface, written)


def _one_of(option: str, given: Any, known: Sequence[Any]) -> None:
    if given not in known:
        raise ArgumentError(f"{option} must be one of {', '.join(map(repr, known))}, got {given!r}")


def _chosen(path: PurePath, target: str | None) -> tuple[PurePath, Machine]:
    """The file to write, with its suffix, and the machine."""
    if target is None:
        target = WASM if path.suffix in _MODULE else "host"
    chosen = machine(target)
    if path.suffix in ("", ".h"):
        path = path.with_suffix(".wasm" if target == WASM else ".o")
    known = _MODULE if target == WASM else _OBJECT + _LIBRARY
    if path.suffix not in known:
        raise ArgumentError(
            f"{path}: for {target} the file must end in {' or '.join(known)}, not {path.suffix}"
        )
    if path.suffix in _LIBRARY and "darwin" in chosen.target.triple:
        raise ArgumentError(
            f"{path}: macOS has libraries of its own form: export {path.stem}.o, then run "
            f"libtool -static -o {path.name} {path.stem}.o"
        )
    return path, chosen


def _recorded(compiled: Compiled, args: Sequence[Any] | None) -> tuple[tuple[Any, ...], list[Path]]:
    """The structure of the arguments, and all paths that are known for it; one is recorded if
    there is none."""
    if args is not None and (not isinstance(args, Sequence) or isinstance(args, str)):
        raise ArgumentError(
            f"args must be the arguments in a list or tuple, got {args!r:.60}; for one argument "
            "write args=[x]"
        )
    path = compiled._last if args is None else compiled.lookup(*args)
    key: Any
    if args is None:
        entries = compiled._entries.items()
        key = next((key for key, entry in entries if path in entry.paths), None)
    else:
        key = Arguments(compiled, tuple(args), {}).key
    if path is None or key is None:
        raise ArgumentError(
            f"{compiled._name} has not been recorded: give arguments to record it with, args=[...]"
        )
    with compiled._lock:
        others = [other for other in compiled._entries[key].paths if other is not path]
    ids = list(map(id, path.program.values))
    same = [
        other
        for other in others
        if list(map(id, other.program.values)) == ids
        and len(other.program.outputs) == len(path.program.outputs)
    ]
    return key, [path, *same]


def _derived_by(inputs: Sequence[Field], parameters: int, gradient: str) -> list[Field]:
    """The numbers that derivatives are by, in their order."""
    by = [] if gradient == "parameters" else list(inputs)
    if gradient != "inputs":
        by.append(Field("parameters", header.total(by), (parameters,)))
    return by


def _gradient(path: Path, by: str) -> Program:
    """The program of the value and its derivatives."""
    program = path.program
    wrt = [program.inputs] if by != "parameters" else []
    wrt += [program.parameters] if by != "inputs" else []
    return derived(program, np.concatenate(wrt))


def _plain_name(compiled: Compiled, path: PurePath) -> str:
    """The function's name if C can have it, else that of the file."""
    own = re.sub(r"\W", "_", compiled._name, flags=re.ASCII).strip("_")
    return own if re.match(r"[A-Za-z]", own) and "lambda" not in own else path.stem


def _identifier(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        raise ArgumentError(f"name must be an identifier of C, got {name!r}")
    if name in _RESERVED or keyword.iskeyword(name):
        raise ArgumentError(f"{name!r} is a word of the language: choose another name=")
    return name


def _about(name: str, chosen: Machine, dtype: str, written: Written) -> list[str]:
    from gradloom import __version__

    lines = [f"{name}, made by Gradloom {__version__} for {chosen.about}; {dtype}."]
    if written.helpers:
        lines += [
            "The processor lacks instructions for some of it: link with the compiler's own library "
            "(libgcc or compiler-rt), as compilers do by themselves.",
        ]
    return lines


def _lines(sites: Sequence[Site]) -> list[str]:
    """The lines where numbers decide, each once."""
    return list(dict.fromkeys(f"{PurePath(site.file).name}:{site.line}" for site in sites))


def _files(
    path: PurePath, chosen: Machine, interface: Interface, written: Written
) -> dict[PurePath, bytes]:
    if chosen.name == WASM:
        names = list(interface.functions)
        if interface.parameters:
            names.append(f"{interface.name}_parameters")
        module = link(written.object, names, header.room(interface))
        script = header.javascript(interface, path.name)
        return {path: module.content, path.with_suffix(".mjs"): script.encode()}
    content = written.object
    if path.suffix in _LIBRARY:
        content = archive(f"{path.stem}.o", content, interface.functions)
    return {path: content, path.with_suffix(".h"): header.c_header(interface).encode()}


# What stands where


def _inputs(compiled: Compiled, key: tuple[Any, ...]) -> Iterator[Field]:
    """The inputs of a structure of arguments."""
    names = _argument_names(compiled)
    at = 0
    for i, part in enumerate(key):
        if isinstance(part, tuple) and part and isinstance(part[0], str):
            name, part = part
        else:
            name = names[i] if i < len(names) else f"argument {i}"
        for each in _fields(name, part, at):
            yield each
            at = each.start + each.count


def _argument_names(compiled: Compiled) -> list[str]:
    import inspect

    try:
        parameters = inspect.signature(compiled).parameters.values()
    except (TypeError, ValueError):
        return []
    return [x.name for x in parameters if x.kind in (x.POSITIONAL_ONLY, x.POSITIONAL_OR_KEYWORD)]


def _fields(name: str, key: Any, at: int) -> Iterator[Field]:
    """The numbers in an argument, by its key; see `Arguments`."""
    shape = _shape(key)
    if shape is not None:
        yield Field(name, at, shape)
        return
    if not isinstance(key, tuple) or not isinstance(key[0], type):
        return
    parts: Sequence[Any]
    if issubclass(key[0], dict):
        labels, parts = [repr(label) for label in key[1]], key[2]
    elif issubclass(key[0], list | tuple) and isinstance(key[1], tuple):
        labels, parts = [str(i) for i in range(len(key[1]))], key[1]
    elif len(key) == 3:  # an array of objects
        labels, parts = [str(i) for i in range(len(key[2]))], key[2]
    else:
        return
    for label, part in zip(labels, parts, strict=True):
        for each in _fields(f"{name}[{label}]", part, at):
            yield each
            at = each.start + each.count


def _shape(key: Any) -> tuple[int, ...] | None:
    """The shape of an array of numbers, () for a number; None for anything else."""
    if key in ("number", "value"):
        return ()
    if not isinstance(key, tuple) or not isinstance(key[0], type):
        return None
    if issubclass(key[0], np.ndarray):
        return key[1] if len(key) == 2 else None
    if not issubclass(key[0], list | tuple) or hasattr(key[0], "_fields"):
        return None
    if isinstance(key[1], int):
        return (key[1],)
    inner = {_shape(part) for part in key[1]}
    if len(inner) != 1 or None in inner:
        return None
    (one,) = inner
    return (len(key[1]), *(one or ()))


def _outputs(structure: Any, name: str = "result", at: int = 0) -> Iterator[Field]:
    """The outputs, by the structure of a result."""
    shape = _result_shape(structure)
    if shape is not None:
        yield Field(name, at, shape)
        return
    if isinstance(structure, dict):
        parts = [(repr(label), part) for label, part in structure.items()]
    elif isinstance(structure, np.ndarray):
        parts = [(str(list(i))[1:-1], part) for i, part in np.ndenumerate(structure)]
    else:
        parts = [(str(i), part) for i, part in enumerate(structure)]
    for label, part in parts:
        for each in _outputs(part, f"{name}[{label}]", at):
            yield each
            at = each.start + each.count


def _result_shape(structure: Any) -> tuple[int, ...] | None:
    if structure is None:
        return ()
    if isinstance(structure, np.ndarray):
        return structure.shape if all(x is None for x in structure.flat) else None
    if isinstance(structure, dict) or hasattr(structure, "_fields"):
        return None
    inner = {_result_shape(part) for part in structure}
    if len(inner) != 1 or None in inner:
        return None
    (one,) = inner
    return (len(structure), *(one or ()))
