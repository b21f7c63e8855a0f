"""The package as a whole: what it exports, what it imports, and in which direction."""

import ast
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gradloom

SOURCE = Path(gradloom.__file__).parent
MODULES = {
    ".".join(["gradloom", *file.relative_to(SOURCE).with_suffix("").parts]).removesuffix(
        ".__init__"
    ): file
    for file in sorted(SOURCE.rglob("*.py"))
}
PACKAGES = ["gradloom", "gradloom.core", "gradloom.nn", "gradloom.train", "gradloom.view"]

# What it exports


def natural(name: str) -> tuple[int, list[tuple[int, str]]]:
    """CONSTANTS first, then Classes, then functions; digits as numbers: log1p, log2, log10."""
    kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
    parts = re.findall(r"\d+|\D+", name)
    return kind, [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


@pytest.mark.parametrize("name", sorted(MODULES))
def test_exported_names_are_sorted_and_exist(name: str) -> None:
    if name.endswith("__main__"):
        pytest.skip("runs the command")
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", [])
    assert exported == sorted(exported, key=natural)
    assert len(exported) == len(set(exported))
    for each in exported:
        assert getattr(module, each) is not None


@pytest.mark.parametrize("name", PACKAGES)
def test_packages_say_what_they_are_and_export(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    assert name == "gradloom.view" or module.__all__


def test_every_module_opens_with_its_idea() -> None:
    without = [n for n, file in MODULES.items() if not ast.get_docstring(parse(file))]
    assert without == []


def test_what_is_exported_is_documented() -> None:
    without = [name for name in gradloom.__all__ if not getattr(gradloom, name).__doc__]
    assert without == []


def test_dir_lists_what_can_be_had() -> None:
    assert set(gradloom.__all__) <= set(dir(gradloom))


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'gradloom' has no attribute 'vlaue'"):
        gradloom.vlaue  # noqa: B018


def test_a_typed_package_says_so() -> None:
    assert (SOURCE / "py.typed").exists()


# What it imports


def in_a_fresh_interpreter(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.parametrize(
    "name",
    ["gradloom", "gradloom.core", "gradloom.core.check", "gradloom.nn", "gradloom.errors"],
)
def test_importing_pulls_in_the_standard_library_alone(name: str) -> None:
    loaded = json.loads(
        in_a_fresh_interpreter(
            "import json, sys; before = set(sys.modules);"
            f"import {name}; print(json.dumps(sorted(set(sys.modules) - before)))"
        )
    )
    roots = {module.partition(".")[0] for module in loaded}
    assert roots - sys.stdlib_module_names == {"gradloom"}
    beyond = {module for module in loaded if module.startswith(("gradloom.train", "gradloom.view"))}
    assert beyond == set()
    if name != "gradloom.nn":
        assert "gradloom.nn" not in loaded


def test_importing_takes_less_than_fifty_milliseconds() -> None:
    """Of the processor's time, at the best of a few tries: the machine may be busy."""
    code = (
        "import time; start = time.process_time(); import gradloom;"
        "print(time.process_time() - start)"
    )
    assert min(float(in_a_fresh_interpreter(code)) for _ in range(5)) < 0.05


def test_star_import_gives_what_is_exported() -> None:
    names = in_a_fresh_interpreter("from gradloom import *; print(*sorted(dir()))").split()
    assert set(gradloom.__all__) <= set(names)


# Which way the imports point. Each may import what is to the left of it, never what is right.

LAYERS = [
    ["errors"],
    ["core"],
    ["nn", "loom"],
    ["backends"],
    ["transforms"],
    ["train"],
    ["view"],
    ["cli"],
]
CORE = [
    ["table"],
    ["ops"],
    ["operand"],
    ["copying", "collector"],
    ["value"],
    ["tree"],
    ["autodiff"],
    ["check"],
]


def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Every module imported anywhere, but not what is there for the type checker alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                start = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*start, *([base] if base else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        yield from imports(node, package)


def imported(name: str) -> set[str]:
    """The modules of this package that a module of it imports."""
    file = MODULES[name]
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    found = set(imports(parse(file), package))
    return {m for m in found if m in MODULES and m not in (name, "gradloom")}


def rank(layers: list[list[str]], part: str) -> int:
    return next(i for i, layer in enumerate(layers) if part in layer)


def test_every_part_has_a_layer() -> None:
    parts = {name.split(".")[1] for name in MODULES if "." in name}
    assert parts <= {part for layer in LAYERS for part in layer}
    inner = {name.split(".")[2] for name in MODULES if name.startswith("gradloom.core.")}
    assert inner == {part for layer in CORE for part in layer}


@pytest.mark.parametrize("name", sorted(n for n in MODULES if "." in n))
def test_imports_point_down_only(name: str) -> None:
    part = name.split(".")[1]
    for other in imported(name):
        theirs = other.split(".")[1]
        if theirs != part:
            assert rank(LAYERS, theirs) < rank(LAYERS, part), f"{name} imports {other}"


@pytest.mark.parametrize("name", sorted(n for n in MODULES if n.startswith("gradloom.core.")))
def test_imports_within_the_core_point_down_only(name: str) -> None:
    part = name.split(".")[2]
    for other in imported(name):
        if other.startswith("gradloom.core."):
            theirs = other.split(".")[2]
            assert rank(CORE, theirs) < rank(CORE, part), f"{name} imports {other}"


@pytest.mark.parametrize(
    "name", sorted(n for n in MODULES if n.startswith(("gradloom.core", "gradloom.nn")))
)
def test_core_and_networks_need_the_standard_library_alone(name: str) -> None:
    file = MODULES[name]
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    roots = {module.partition(".")[0] for module in imports(parse(file), package)}
    assert roots - sys.stdlib_module_names <= {"gradloom"}


def test_the_layer_test_sees_every_kind_of_import() -> None:
    code = ast.parse(
        "import a.b\nfrom c import d\ndef f():\n    from ..e import g\n    import h\n"
        "if TYPE_CHECKING:\n    import never\nclass K:\n    from . import i\n"
    )
    assert set(imports(code, "p.q")) == {"a.b", "c", "c.d", "p.e", "p.e.g", "h", "p.q", "p.q.i"}
