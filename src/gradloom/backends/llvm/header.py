"""What callers of exported code read: a header for C and C++, a module for JavaScript."""

import json
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Field:
    """Some numbers in a row among the inputs or outputs.

    Attributes:
        name: how they are reached in Python.
        start: where they begin.
        shape: of an array of them; () for a single one.
        note: what else there is to say.
    """

    name: str
    start: int
    shape: tuple[int, ...] = ()
    note: str = ""

    @property
    def count(self) -> int:
        """How many numbers.

        >>> Field("x", 0, (2, 3)).count
        6
        """
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclass(frozen=True, slots=True)
class Interface:
    """All that there is to say of exported functions.

    Attributes:
        name: of the function, and what the names of all else begin with.
        about: a line for each thing to know, such as who made it.
        bits: of a number.
        inputs, outputs: the numbers that go in and come out.
        parameters: how many are passed; 0 if none.
        gradient: the numbers that the derivatives are by, as they come out; empty for no gradient.
        workspaces: numbers of room that the function needs, and its gradient.
        guards: the lines that decide which way is taken; empty if none does.
        definitions: further macros, names and what they stand for.
    """

    name: str
    about: Sequence[str]
    bits: int
    inputs: Sequence[Field]
    outputs: Sequence[Field]
    parameters: int
    gradient: Sequence[Field]
    workspaces: Sequence[int]
    guards: Sequence[str]
    definitions: Sequence[tuple[str, str]] = field(default=())

    @property
    def real(self) -> str:
        """C's type of a number."""
        return "double" if self.bits == 64 else "float"

    @property
    def functions(self) -> list[str]:
        """The names of the functions."""
        return [self.name, *([f"{self.name}_gradient"] if self.gradient else [])]

    @property
    def unknown(self) -> str:
        """When the functions have no result, in words."""
        return (
            "where the inputs take a way through the Python function that was not recorded "
            f"(decided at {', '.join(self.guards)})"
        )


def _result(interface: Interface) -> list[str]:
    """What a function of C returns."""
    if not interface.guards:
        return ["", "Returns 0."]
    return ["", f"Returns 0; or 1 {interface.unknown}: the outputs are meaningless then."]


def total(fields: Sequence[Field]) -> int:
    """How many numbers all have together."""
    return sum(each.count for each in fields)


def macro(text: str) -> str:
    """A text as a name for the preprocessor.

    >>> macro("x['price']")
    'X_PRICE'
    """
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_").upper()


def c_header(interface: Interface) -> str:
    """The header for C99 and C++.

    >>> made = Interface("half", ["half of x"], 64, [Field("x", 0)], [Field("result", 0)], 0, [],
    ...                  [0], [])
    >>> [line for line in c_header(made).splitlines() if line.startswith("int")]
    ['int half(const double *inputs, double *outputs, double *workspace);']
    """
    big = interface.name.upper()
    guard = f"{big}_H"
    lines = [_comment([*interface.about, *_rules(interface)])]
    lines += [f"#ifndef {guard}", f"#define {guard}", ""]
    lines += ["#ifdef __cplusplus", 'extern "C" {', "#endif", ""]
    seen: set[str] = set()
    for line in _macros(interface, big):
        word = line.split(" ", 2)[1] if line else ""
        if not word or word not in seen:
            lines.append(line)
        seen.add(word)
    real = interface.real
    if interface.parameters:
        lines += [
            _comment(["The parameters as they were when this was made."]),
            f"extern const {real} {interface.name}_parameters[{big}_PARAMETERS];",
            "",
        ]
    lines += list(_prototypes(interface, big))
    lines += ["#ifdef __cplusplus", "}", "#endif", "", "#endif", ""]
    return "\n".join(lines)


def _comment(lines: Sequence[str]) -> str:
    wrapped = [part for line in lines for part in textwrap.wrap(line, 96) or [""]]
    printable = ["".join(c if c.isprintable() else "?" for c in line) for line in wrapped]
    safe = [line.replace("*/", "* /").replace("/*", "/ *") for line in printable]
    if len(safe) == 1:
        return f"/* {safe[0]} */"
    return "\n".join(["/*", *[f" * {line}".rstrip() for line in safe], " */"])


def _rules(interface: Interface) -> list[str]:
    return [
        "",
        "The functions keep nothing, allocate nothing and may run on any number of threads, each "
        "with a workspace of its own. Arrays must not overlap; what a workspace holds before and "
        f"after a call is of no meaning. All numbers are of type {interface.real}.",
    ]


def _macros(interface: Interface, big: str) -> Iterator[str]:
    """The sizes, and where each argument begins."""
    sizes = [("INPUTS", total(interface.inputs), "numbers that go in")]
    if interface.parameters:
        sizes.append(("PARAMETERS", interface.parameters, "numbers that were learned"))
    sizes.append(("OUTPUTS", total(interface.outputs), "numbers that come out"))
    sizes.append(("WORKSPACE", interface.workspaces[0], f"of {interface.name}()"))
    if interface.gradient:
        sizes.append(("GRADIENT", total(interface.gradient), "derivatives that come out"))
        sizes.append(
            ("GRADIENT_WORKSPACE", interface.workspaces[1], f"of {interface.name}_gradient()")
        )
    for word, number, about in sizes:
        yield f"#define {big}_{word} {number} /* {about} */"
    yield ""
    groups = [("IN", interface.inputs), ("OUT", interface.outputs)]
    for word, fields in groups:
        if len(fields) > 1:
            for name, each in zip(_distinct(fields), fields, strict=True):
                yield f"#define {big}_{word}_{name} {each.start}"
            yield ""
    for name, text in interface.definitions:
        yield f"#define {big}_{name} {text}"
    if interface.definitions:
        yield ""


def _distinct(fields: Sequence[Field]) -> list[str]:
    """Names for the fields, each another."""
    found: list[str] = []
    for each in fields:
        name = macro(each.name) or "X"
        found.append(name if name not in found else f"{name}_{each.start}")
    return found


def _listed(array: str, fields: Sequence[Field]) -> list[str]:
    """What stands where in an array."""
    lines = []
    for each in fields:
        if not each.count:
            continue
        where = f"{array}[{each.start}]"
        if each.count > 1:
            where = f"{array}[{each.start}..{each.start + each.count - 1}]"
        size = f", {' x '.join(map(str, each.shape))}" if each.shape else ""
        order = ", row by row" if len(each.shape) > 1 else ""
        note = f": {each.note}" if each.note else ""
        lines.append(f"    {where}  {each.name}{size}{order}{note}")
    return lines


def _prototypes(interface: Interface, big: str) -> Iterator[str]:
    real, name = interface.real, interface.name
    passed = f"const {real} *parameters, " if interface.parameters else ""
    numbers = [f"  parameters  {big}_PARAMETERS numbers"] if interface.parameters else []
    inputs = [f"  inputs      {big}_INPUTS numbers:", *_listed("inputs", interface.inputs)]
    room = "  workspace   {} numbers of room; may be null if that is 0"
    lines = [f"{name}: the result.", "", *inputs, *numbers]
    lines += [f"  outputs     {big}_OUTPUTS numbers:", *_listed("outputs", interface.outputs)]
    lines += [room.format(f"{big}_WORKSPACE"), *_result(interface)]
    yield _comment(lines)
    yield f"int {name}(const {real} *inputs, {passed}{real} *outputs, {real} *workspace);"
    yield ""
    if interface.gradient:
        lines = [f"{name}_gradient: the value and its derivatives.", "", *inputs, *numbers]
        lines += [
            "  outputs     1 + " + f"{big}_GRADIENT numbers: the value, then its derivatives by"
        ]
        lines += [_listed("outputs", [each])[0] for each in _behind(interface.gradient)]
        lines += [room.format(f"{big}_GRADIENT_WORKSPACE"), *_result(interface)]
        yield _comment(lines)
        yield (
            f"int {name}_gradient(const {real} *inputs, {passed}{real} *outputs, "
            f"{real} *workspace);"
        )
        yield ""


def _behind(fields: Sequence[Field]) -> list[Field]:
    """The fields one number further on, behind the value."""
    return [Field(x.name, x.start + 1, x.shape, x.note) for x in fields if x.count]


def javascript(interface: Interface, file: str) -> str:
    """The module that loads and calls a WebAssembly module, of which it is told the file.

    >>> made = Interface("half", ["half of x"], 64, [Field("x", 0)], [Field("result", 0)], 0, [],
    ...                  [0], [])
    >>> [line for line in javascript(made, "half.wasm").splitlines() if "return {" in line]
    ['  return { half };']
    """
    outputs = [total(interface.outputs), 1 + total(interface.gradient)]
    sizes = [("inputs", total(interface.inputs)), ("parameters", interface.parameters)]
    sizes = [(word, count) for word, count in sizes if word == "inputs" or count]
    starts, end = [], 0
    for count in (*(count for _, count in sizes), max(outputs)):
        starts.append(end)
        end += count * interface.bits // 8
    puts = [
        f'    put("{word}", {start}, {count}, {word});'
        for (word, count), start in zip(sizes, starts, strict=False)
    ]
    functions = [
        _FUNCTION.replace("@name", name)
        .replace("@given", ", ".join(word for word, _ in sizes))
        .replace("@puts", "\n".join(puts))
        .replace("@addresses", ", ".join(f"heap.value + {start}" for start in [*starts, end]))
        .replace("@outputs", f"{starts[-1]}, {count}")
        for name, count in zip(interface.functions, outputs, strict=False)
    ]
    shown = list(interface.functions)
    if interface.parameters:
        shown.append(f"{interface.name}_parameters")
        functions.append(
            f"  const {shown[-1]} = at(exports.{shown[-1]}.value - heap.value, "
            f"{interface.parameters}).slice();"
        )
    return (
        _MODULE.replace("@comment", _comment(_described(interface)))
        .replace("@file", json.dumps(file)[1:-1])
        .replace("@array", "Float64Array" if interface.bits == 64 else "Float32Array")
        .replace("@functions", "\n".join(functions))
        .replace("@shown", ", ".join(shown))
    )


def _described(interface: Interface) -> list[str]:
    """What a reader of the JavaScript module has to know."""
    lines = [*interface.about, "", "Inputs:", *_listed("inputs", interface.inputs)]
    lines += ["Outputs:", *_listed("outputs", interface.outputs)]
    if interface.gradient:
        lines += [f"Outputs of {interface.name}_gradient: the value, then its derivatives by"]
        lines += [_listed("outputs", [each])[0] for each in _behind(interface.gradient)]
    if interface.guards:
        lines += ["", f"Throws {interface.unknown}."]
    return lines


_MODULE = """\
@comment

/** The functions of a module.
 *
 * @param source its bytes, or its URL, which may be relative to this file; by default beside it.
 * @returns an object of functions: arrays of numbers in, an array out.
 */
export async function load(source = new URL("@file", import.meta.url)) {
  const { exports } = (await WebAssembly.instantiate(await bytes(source))).instance;
  const { memory, heap } = exports;
  const at = (start, count) => new @array(memory.buffer, heap.value + start, count);
  const put = (what, start, count, numbers) => {
    if (numbers.length !== count) {
      throw new RangeError(`${what}: ${count} numbers are needed, got ${numbers.length}`);
    }
    at(start, count).set(numbers);
  };
@functions
  return { @shown };
}

async function bytes(source) {
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return source;
  const url = new URL(source, import.meta.url);
  if (url.protocol === "file:") return (await import("node:fs/promises")).readFile(url);
  return (await fetch(url)).arrayBuffer();
}
"""
_FUNCTION = """\
  const @name = (@given) => {
@puts
    if (exports.@name(@addresses) !== 0) {
      throw new Error("@name: these inputs take a way that was not recorded");
    }
    return at(@outputs).slice();
  };"""


def room(interface: Interface) -> int:
    """Bytes that the JavaScript module needs behind the WebAssembly module's own memory."""
    outputs = max(total(interface.outputs), 1 + total(interface.gradient))
    numbers = total(interface.inputs) + interface.parameters + outputs + max(interface.workspaces)
    return numbers * interface.bits // 8
