"""Exported files as their users see them: C, C++ and JavaScript programs that call them.

Other machines' programs run under QEMU where it and a compiler for them are installed:
apt-get install qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-riscv64-linux-gnu
libc6-dev-riscv64-cross gcc-arm-none-eabi libnewlib-arm-none-eabi
"""

import doctest
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import gradloom as gl
from gradloom import nn
from gradloom.backends.llvm.machines import MACHINES
from gradloom.errors import (
    ArgumentError,
    NotANumberError,
    RunFolderError,
    ShapeError,
)
from gradloom.train.experiment import prepare, train_run
from gradloom.train.export import export_run
from gradloom.train.preprocess import Categories
from gradloom.train.run import Run, load_run
from gradloom.train.settings import Settings

STRICT = ["-O2", "-Wall", "-Wextra", "-Werror", "-pedantic"]
INPUTS = [1.25, 0.5, -0.25, 2.0, 0.75]


def model() -> nn.MLP:
    return nn.MLP(4, [8, 8, 1], activation="tanh", seed=3)


def risk(network: Any) -> Any:
    """A function of all kinds of operations, with a branch."""

    def value(xs: Any, limit: Any) -> Any:
        y = network(xs)
        z = gl.sqrt(xs[0] * xs[0] + 1.0) * gl.exp(-limit) + gl.floor(xs[3] * 3.5)
        return y * z if limit > 0.5 else y - z

    return value


def program(name: str, inputs: Sequence[float], *, real: str = "double", suffix: str = "") -> str:
    """A C program that prints what a function returns, and its outputs."""
    big = name.upper()
    count = f"1 + {big}_GRADIENT" if suffix else f"{big}_OUTPUTS"
    room = f"{big}{suffix.upper()}_WORKSPACE"
    return f"""
#include <stdio.h>
#include "{name}.h"

static {real} workspace[{room} + 1];

int main(void) {{
    const {real} inputs[{big}_INPUTS] = {{{", ".join(map(repr, inputs))}}};
    {real} outputs[{count}];
    int i, result = {name}{suffix}(inputs, outputs, workspace);
    printf("%d\\n", result);
    for (i = 0; i < {count}; i++) printf("%.17g\\n", (double)outputs[i]);
    return 0;
}}
"""


def ran(command: Sequence[Any]) -> list[float]:
    done = subprocess.run([str(x) for x in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return [float(line) for line in done.stdout.split()]


def compiled_and_run(
    compiler: Sequence[str], code: str, files: Sequence[Path], *, runner: Sequence[str] = ()
) -> list[float]:
    """What a program prints that was compiled with an object or library."""
    folder = files[0].parent
    language = "main.cpp" if "g++" in compiler[0] else "main.c"
    (folder / language).write_text(code)
    command = [*compiler, *STRICT, f"-I{folder}", folder / language, files[0]]
    done = subprocess.run(
        [*map(str, command), "-o", str(folder / "main")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return ran([*runner, folder / "main"])


def needs(*tools: str) -> pytest.MarkDecorator:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not installed")


@pytest.mark.parametrize("suffix", [".o", ".a"])
@pytest.mark.parametrize(
    "compiler",
    [
        pytest.param(["gcc", "-std=c99"], marks=needs("gcc")),
        pytest.param(["g++", "-std=c++11"], marks=needs("g++")),
    ],
    ids=["C", "C++"],
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_program_gets_the_same_numbers(
    tmp_path: Path, compiler: list[str], suffix: str, dtype: str
) -> None:
    f = gl.compile(risk(model()))
    wanted = f(INPUTS[:4], INPUTS[4]).data
    assert f(INPUTS[:4], 0.25).data != wanted  # the other way
    arguments = [INPUTS[:4], INPUTS[4]]
    files = gl.export(f, tmp_path / f"risk{suffix}", args=arguments, name="risk", dtype=dtype)
    assert [file.name for file in files] == [f"risk{suffix}", "risk.h"]
    real, rtol = ("double", 1e-13) if dtype == "float64" else ("float", 2e-6)
    found = compiled_and_run(compiler, program("risk", INPUTS, real=real), files)
    np.testing.assert_allclose(found, [0, wanted], rtol=rtol)
    found = compiled_and_run(compiler, program("risk", [*INPUTS[:4], 0.25], real=real), files)
    np.testing.assert_allclose(found, [0, f(INPUTS[:4], 0.25).data], rtol=rtol)


@needs("gcc")
def test_a_way_that_was_not_recorded_is_told(tmp_path: Path) -> None:
    f = risk(model())
    files = gl.export(f, tmp_path / "risk.o", args=[INPUTS[:4], 0.75], name="risk")
    text = files[1].read_text()
    assert re.search(r"Returns 0; or 1 where .* \(decided at\s+(\* )?test_export\.py:\d+\)",
                     text.replace("\n *", ""))  # fmt: skip
    found = compiled_and_run(["gcc", "-std=c99"], program("risk", [*INPUTS[:4], 0.25]), files)
    assert found[0] == 1


@needs("gcc")
def test_a_gradient_by_inputs_comes_with_the_value(tmp_path: Path) -> None:
    f = risk(model())
    arguments = [INPUTS[:4], INPUTS[4]]
    files = gl.export(f, tmp_path / "risk.a", args=arguments, name="risk", gradient="inputs")
    found = compiled_and_run(
        ["gcc", "-std=c99"], program("risk", INPUTS, suffix="_gradient"), files
    )
    value, (by_xs, by_limit) = gl.value_and_grad(f, argnums=(0, 1))(*arguments)
    wanted = [0, value.data, *[x.data for x in by_xs], by_limit.data]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


TRAINING = """
#include <stdio.h>
#include "loss.h"

int main(void) {
    double parameters[LOSS_PARAMETERS], outputs[1 + LOSS_GRADIENT];
    double workspace[LOSS_GRADIENT_WORKSPACE + 1];
    const double inputs[LOSS_INPUTS] = {1.0, -0.5, 0.25, 2.0, 0.5};
    int i, step;
    for (i = 0; i < LOSS_PARAMETERS; i++) parameters[i] = loss_parameters[i];
    for (step = 0; step < 20; step++) {
        if (loss_gradient(inputs, parameters, outputs, workspace)) return 1;
        for (i = 0; i < LOSS_PARAMETERS; i++) parameters[i] -= 0.05 * outputs[1 + i];
    }
    loss(inputs, parameters, outputs, workspace);
    printf("%.17g\\n", outputs[0]);
    for (i = 0; i < LOSS_PARAMETERS; i++) printf("%.17g\\n", parameters[i]);
    return 0;
}
"""


@needs("gcc")
def test_a_network_learns_in_c_as_in_python(tmp_path: Path) -> None:
    network = model()

    def loss(xs: Any, y: Any) -> Any:
        return (network(xs) - y) ** 2

    xs, y = [1.0, -0.5, 0.25, 2.0], 0.5
    files = gl.export(
        loss, tmp_path / "loss.o", args=[xs, y], parameters="argument", gradient="parameters"
    )
    found = compiled_and_run(["gcc", "-std=c99"], TRAINING, files)
    for _ in range(20):
        network.zero_grad()
        loss(xs, y).backward()
        for parameter in network.parameters():
            parameter.data -= 0.05 * parameter.grad
    wanted = [loss(xs, y).data, *[parameter.data for parameter in network.parameters()]]
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


@needs("gcc", "nm")
def test_an_object_needs_nothing_but_itself(tmp_path: Path) -> None:
    f = gl.compile(risk(model()))
    arguments = [INPUTS[:4], INPUTS[4]]
    files = gl.export(f, tmp_path / "risk.o", args=arguments, name="risk", gradient="inputs")
    lines = subprocess.run(
        ["nm", "-u", str(files[0])], capture_output=True, text=True, check=True
    ).stdout.split()
    assert lines == []
    sizes = subprocess.run(["nm", str(files[0])], capture_output=True, text=True, check=True).stdout
    assert not re.search(r" [bBdDC] ", sizes)  # nothing that could be written


@needs("gcc")
def test_a_mapped_function_takes_a_batch(tmp_path: Path) -> None:
    def payoff(path: Any, rate: Any) -> Any:
        spot = path[0]
        for shock in path[1:]:
            spot = spot * gl.exp(0.1 * shock + rate)
        return gl.relu(spot - 1.0)

    paths = np.random.default_rng(0).standard_normal((16, 6)) + 1.0
    f = gl.vmap(payoff, in_axes=(0, None))
    files = gl.export(f, tmp_path / "payoff.o", args=[paths, 0.01])
    code = program("payoff", [*paths.ravel().tolist(), 0.01])
    found = compiled_and_run(["gcc", "-std=c99"], code, files)
    np.testing.assert_allclose(found, [0, *f(paths, 0.01)], rtol=1e-13)


# WebAssembly


@needs("node")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_webassembly_module_gets_the_same_numbers(tmp_path: Path, dtype: str) -> None:
    f = gl.compile(risk(model()))
    arguments = [INPUTS[:4], INPUTS[4]]
    files = gl.export(
        f,
        tmp_path / "risk.wasm",
        args=arguments,
        name="risk",
        dtype=dtype,
        gradient="both",
        parameters="argument",
    )
    assert [file.name for file in files] == ["risk.wasm", "risk.mjs"]
    (tmp_path / "main.mjs").write_text(
        f"""
        import {{ readFile }} from "node:fs/promises";
        import {{ load }} from "./risk.mjs";
        const fails = (f) => {{
            try {{ f(); }} catch (error) {{ return String(error); }}
        }};
        const one = await load();
        const two = await load(await readFile("{files[0]}"));
        const parameters = two.risk_parameters;
        console.log(JSON.stringify({{
            value: [...one.risk({INPUTS}, parameters)],
            gradient: [...two.risk_gradient({INPUTS}, parameters)],
            short: fails(() => one.risk([1.0], parameters)),
            way: fails(() => one.risk([1.0, 2.0, 3.0, 4.0, 0.25], parameters)),
            again: [...one.risk({INPUTS}, parameters)],
        }}));
        """
    )
    done = subprocess.run(
        ["node", str(tmp_path / "main.mjs")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    value, (by_xs, by_limit) = gl.value_and_grad(f, argnums=(0, 1))(*arguments)
    rtol = 1e-12 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(found["value"], [value.data], rtol=rtol)
    assert found["again"] == found["value"]
    wanted = [value.data, *[x.data for x in by_xs], by_limit.data]
    np.testing.assert_allclose(found["gradient"][:6], wanted, rtol=rtol)
    network = next(cell.cell_contents for cell in f.__wrapped__.__closure__)
    f(*arguments).backward()
    slopes = [parameter.grad for parameter in network.parameters()]
    np.testing.assert_allclose(found["gradient"][6:], slopes, rtol=rtol, atol=rtol)
    assert found["short"] == "RangeError: inputs: 5 numbers are needed, got 1"
    assert found["way"] == "Error: risk: these inputs take a way that was not recorded"


@needs("node")
def test_a_webassembly_module_has_the_memory_that_it_needs(tmp_path: Path) -> None:
    weights = [gl.Value(0.001 * i) for i in range(9_000)]

    def blend(xs: Any) -> Any:
        scaled = [gl.exp(w * xs[i % 7]) for i, w in enumerate(weights)]
        return [a * b for a, b in pairwise(scaled)]

    xs = [0.1 * i for i in range(7)]
    gl.export(blend, tmp_path / "blend.wasm", args=[xs])
    (tmp_path / "main.mjs").write_text(
        f"""
        import {{ load }} from "./blend.mjs";
        console.log((await load()).blend({xs}).join(" "));
        """
    )
    found = ran(["node", tmp_path / "main.mjs"])
    np.testing.assert_allclose(found, [y.data for y in blend(xs)], rtol=1e-14)


@needs("node")
def test_a_webassembly_module_is_found_by_name_beside_its_script(tmp_path: Path) -> None:
    gl.export(lambda x: x * x, tmp_path / "square.wasm", args=[1.0], name="square")
    (tmp_path / "square.wasm").rename(tmp_path / "other.wasm")
    (tmp_path / "main.mjs").write_text(
        """
        import { load } from "./square.mjs";
        console.log((await load("other.wasm")).square([3]).join(" "));
        """
    )
    assert list(ran(["node", tmp_path / "main.mjs"])) == [9.0]


# Other machines, under QEMU

# What a bare Cortex-M begins with: a stack, and where to go; the floating-point unit is off.
CORTEX = """
extern void _start(void);
static void reset(void) {
    *(volatile unsigned *)0xE000ED88u |= 0xFu << 20;
    __asm__ volatile("dsb\\n isb");
    _start();
}
static const struct { unsigned stack; void (*start)(void); } vectors
    __attribute__((section(".vectors"), used)) = {0x300000u, reset};
"""
ARM = ["arm-none-eabi-gcc", "-mthumb", "--specs=rdimon.specs", "-Wl,--section-start=.vectors=0"]
BOARD = ["qemu-system-arm", "-nographic", "-monitor", "none", "-serial", "none", "-semihosting"]
RISCV = ["riscv64-unknown-elf-gcc", "--specs=picolibc.specs", "--crt0=hosted", "--oslib=semihost"]
RISCV += [f"-Wl,--defsym=__{name}={at}" for name, at in (
    ("flash", 0x80000000), ("flash_size", 0x200000), ("ram", 0x80200000), ("ram_size", 0x200000),
)]  # fmt: skip
VIRT = ["qemu-system-riscv32", "-machine", "virt", "-bios", "none", "-nographic"]
VIRT += ["-monitor", "none", "-serial", "none", "-chardev", "stdio,id=out"]
VIRT += ["-semihosting-config", "enable=on,chardev=out"]
# A Cortex-M3 runs an M0's code, and an M7 an M33's.
# For each target a compiler and what runs its programs, the program last.
TOOLS = {
    "x86-64": (["gcc"], []),
    "aarch64": (["aarch64-linux-gnu-gcc", "-static"], ["qemu-aarch64"]),
    "riscv64": (["riscv64-linux-gnu-gcc", "-static"], ["qemu-riscv64"]),
    "riscv32": ([*RISCV, "-march=rv32imac", "-mabi=ilp32"], [*VIRT, "-kernel"]),
    "riscv32f": ([*RISCV, "-march=rv32imafc", "-mabi=ilp32f"], [*VIRT, "-kernel"]),
    "cortex-m0": ([*ARM, "-mcpu=cortex-m0"], [*BOARD, "-M", "mps2-an385", "-kernel"]),
    "cortex-m3": ([*ARM, "-mcpu=cortex-m3"], [*BOARD, "-M", "mps2-an385", "-kernel"]),
    "cortex-m4": (
        [*ARM, "-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"],
        [*BOARD, "-M", "mps2-an386", "-kernel"],
    ),
    "cortex-m4 softfp": (
        [*ARM, "-mcpu=cortex-m4", "-mfloat-abi=softfp", "-mfpu=fpv4-sp-d16"],
        [*BOARD, "-M", "mps2-an386", "-kernel"],
    ),
    "cortex-m7": (
        [*ARM, "-mcpu=cortex-m7", "-mfloat-abi=hard", "-mfpu=fpv5-d16"],
        [*BOARD, "-M", "mps2-an500", "-kernel"],
    ),
    "cortex-m33": (
        [*ARM, "-mcpu=cortex-m33", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"],
        [*BOARD, "-M", "mps2-an500", "-kernel"],
    ),
}
CROSS = [
    pytest.param(target, dtype, marks=needs(compiler[0], *runner[:1]), id=f"{target}-{dtype}")
    for target, (compiler, runner) in TOOLS.items()
    for dtype in ("float64", "float32")
]


@pytest.mark.parametrize(("target", "dtype"), CROSS)
def test_another_machine_gets_the_same_numbers(tmp_path: Path, target: str, dtype: str) -> None:
    compiler, runner = TOOLS[target]
    f = gl.compile(risk(model()))
    arguments = [INPUTS[:4], INPUTS[4]]
    files = gl.export(
        f,
        tmp_path / "risk.a",
        target.split(maxsplit=1)[0],
        args=arguments,
        name="risk",
        dtype=dtype,
        gradient="inputs",
    )
    real, rtol = ("double", 1e-12) if dtype == "float64" else ("float", 1e-4)
    code = program("risk", INPUTS, real=real, suffix="_gradient")
    if target.startswith("cortex"):
        code += CORTEX
    found = compiled_and_run([*compiler, "-std=c99"], code, files, runner=runner)
    value, (by_xs, by_limit) = gl.value_and_grad(f, argnums=(0, 1))(*arguments)
    wanted = [0, value.data, *[x.data for x in by_xs], by_limit.data]
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=rtol)


# What the header says


def test_the_header_tells_where_each_number_stands(tmp_path: Path) -> None:
    def price(spot: Any, curve: Any, market: Any, *, scale: Any = 1.0) -> Any:
        rates = market["rates"]
        up = spot * curve[0] + rates[0][1] + market["vol"] * scale
        return {"price": up, "greeks": [up * 2.0, up * 3.0]}

    f = gl.compile(price)
    market = {"vol": 0.5, "rates": [[1.0, 2.0], [3.0, 4.0]]}
    f(1.0, np.ones(6), market, scale=2.0)
    files = gl.export(f, tmp_path / "price.h", "cortex-m4")
    text = files[1].read_text()
    for line in (
        "#define PRICE_INPUTS 13 /* numbers that go in */",
        "#define PRICE_OUTPUTS 3 /* numbers that come out */",
        "#define PRICE_IN_CURVE 1",
        "#define PRICE_IN_MARKET_RATES 8",
        "#define PRICE_OUT_RESULT_GREEKS 1",
        " *     inputs[0]  spot",
        " *     inputs[1..6]  curve, 6",
        " *     inputs[7]  market['vol']",
        " *     inputs[8..11]  market['rates'], 2 x 2, row by row",
        " *     inputs[12]  scale",
        " *     outputs[0]  result['price']",
        " *     outputs[1..2]  result['greeks'], 2",
        " * Returns 0.",
        "int price(const double *inputs, double *outputs, double *workspace);",
    ):
        assert line in text.splitlines()


def test_the_last_call_serves_where_no_arguments_are_given(tmp_path: Path) -> None:
    def total(xs: Any) -> Any:
        return gl.sum(xs)

    f = gl.compile(total)
    f([1.0, 2.0])
    f([1.0, 2.0, 3.0])
    header = gl.export(f, tmp_path / "total.o")[1].read_text()
    assert "#define TOTAL_INPUTS 3 " in header


def test_a_function_is_named_as_in_python_or_like_the_file(tmp_path: Path) -> None:
    def area(x: Any) -> Any:
        return x * x

    assert "int area(" in gl.export(area, tmp_path / "a.o", args=[1.0])[1].read_text()
    header = gl.export(lambda x: x, tmp_path / "b.o", args=[1.0])[1].read_text()
    assert "int b(" in header


def test_a_function_compiled_in_float32_is_exported_so(tmp_path: Path) -> None:
    f = gl.compile(double, dtype="float32")
    assert (
        "(const float *inputs"
        in gl.export(f, tmp_path / "f.o", args=[1.0], name="f")[1].read_text()
    )


def test_the_same_export_gives_the_same_bytes(tmp_path: Path) -> None:
    network = model()
    for name in ("one", "two"):
        path = tmp_path / f"{name}.a"
        gl.export(network, path, "cortex-m4", args=[[1.0, 2.0, 3.0, 4.0]], name="net")
    one, two = ((tmp_path / f"{name}.a").read_bytes() for name in ("one", "two"))
    assert one.replace(b"one.o", b"two.o") == two


def test_the_page_on_export_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[2] / "docs" / "export.md"
    results = doctest.testfile(str(page), module_relative=False)
    assert results.attempted > 4
    assert results.failed == 0
    text = page.read_text(encoding="utf-8")
    for name in MACHINES:
        assert name.removeprefix("cortex") in text
    for name in MACHINES:
        assert name.removeprefix("cortex") in (gl.export.__doc__ or "")


# What is refused


def double(x: Any) -> Any:
    return x * 2.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "z80"}, "no target is called 'z80'"),
        ({"dtype": "half"}, "dtype must be one of None, 'float64', 'float32', got 'half'"),
        ({"gradient": "all"}, "gradient must be one of None, 'inputs', 'parameters', 'both'"),
        ({"parameters": "none"}, "parameters must be one of 'constant', 'argument'"),
        ({"gradient": "both"}, "gradient='both' needs parameters='argument'"),
        (
            {"gradient": "parameters", "parameters": "argument"},
            "gradient='parameters': f has none to derive by",
        ),
        ({"name": "2x"}, "name must be an identifier of C, got '2x'"),
        ({"name": "double"}, "'double' is a word of the language: choose another name="),
        ({"args": 1.0}, r"for one argument write args=\[x\]"),
        ({"args": None}, "lambda> has not been recorded: give arguments to record it with"),
        ({"path": "f.exe"}, "for host the file must end in .o or .obj or .a or .lib, not .exe"),
        ({"path": "f.wasm", "target": "host"}, "for host the file must end in"),
        ({"path": "f.o", "target": "wasm32"}, "for wasm32 the file must end in .wasm, not .o"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    given = {"path": "f.o", "args": [1.0], **options}
    path = tmp_path / given.pop("path")
    with pytest.raises(ArgumentError, match=message):
        gl.export(lambda x: x * 2.0, path, **given)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_recorded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotANumberError):
        gl.export(lambda _: None, tmp_path / "f.o", args=[1.0])
    with pytest.raises(ShapeError):
        gl.export(lambda x: [x, x], tmp_path / "f.o", args=[1.0], gradient="inputs")
    with pytest.raises(RunFolderError, match="the folder does not exist: create it first"):
        gl.export(double, tmp_path / "none" / "f.o", args=[1.0], name="f")
    assert list(tmp_path.iterdir()) == []


# Runs


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with numbers, categories and gaps, and a class and a number to predict."""
    rows = [
        {
            "size": None if i % 11 == 5 else i % 7 + 0.5,
            "colour": None if i % 13 == 2 else ["red", "deep green", "blue"][i % 3],
            "price": 10.0 * (i % 7) + 3 * (i % 3) + 100,
            "kind": ["cheap", 'very "dear"'][(i % 7) > 3],
        }
        for i in range(60)
    ]
    path = tmp_path_factory.mktemp("data") / "shop 2.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module", params=["kind", "price"])
def run(
    request: pytest.FixtureRequest, shop: Path, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    settings = Settings(str(shop), target=request.param, hidden="4", epochs=5)
    return train_run(prepare(settings), tmp_path_factory.mktemp("runs") / "run", progress="silent")


FRAME = pd.DataFrame(
    {
        "size": [1.5, float("nan"), 4.0, 2.5],
        "colour": ["red", "blue", None, "pink"],
        "price": [100.0, 131.0, float("nan"), 160.0],
        "kind": ["cheap", 'very "dear"', "cheap", "other"],
    }
)


def entries(run: Run, frame: pd.DataFrame) -> list[list[float]]:
    """The rows of a table as the header says that they go in."""
    found = []
    for _, row in frame.iterrows():
        numbers = []
        for column in run.preprocessing.inputs:
            entry = row[column.name]
            if entry is None or entry != entry:  # noqa: PLR0124 - nan
                numbers.append(float("nan"))
            elif isinstance(column, Categories):
                known = column.categories
                numbers.append(float(known.index(entry)) if entry in known else -1.0)
            else:
                numbers.append(float(entry))
        found.append(numbers)
    return found


@needs("gcc")
def test_a_run_predicts_in_c_what_it_predicts_in_python(run: Run) -> None:
    files = export_run(load_run(run.folder))
    assert [file.name for file in files] == ["shop_2.o", "shop_2.h"]
    assert files[0].parent == run.folder
    values, likely, _ = run.predict(FRAME)
    wanted = likely if likely is not None else [[value] for value in values]
    for row, expected in zip(entries(run, FRAME), wanted, strict=True):
        code = program("shop_2", row).replace("nan", "(0.0 / 0.0)")
        found = compiled_and_run(["gcc", "-std=c99"], code, files)
        np.testing.assert_allclose(found, [0, *expected], rtol=1e-12)


@pytest.mark.parametrize("run", ["kind"], indirect=True)
def test_the_header_of_a_run_tells_of_columns_gaps_and_classes(run: Run, tmp_path: Path) -> None:
    text = export_run(run, tmp_path / "m.o", "cortex-m4", name="judge", dtype="float32")[1]
    lines = text.read_text().splitlines()
    said = " ".join(" ".join(line.removeprefix(" *") for line in lines).split())
    for words in (
        "It predicts 'kind' of 'shop 2'. Inputs are as they stand in the table; NaN stands for",
        "inputs[2] colour: 0 'blue', 1 'deep green', 2 'red', -1 anything else; a gap counts",
    ):
        assert words in said
    for line in (
        "#define JUDGE_IN_PRICE 1",
        "#define JUDGE_COLOUR_DEEP_GREEN 1",
        "#define JUDGE_OUT_CHEAP 0",
        '#define JUDGE_CLASS_NAMES {"cheap", "very \\042dear\\042"}',
        " *     inputs[0]  size: a gap counts as 3.5",
        " *     outputs[0]  cheap: its probability",
        "int judge(const float *inputs, float *outputs, float *workspace);",
    ):
        assert line in lines


@needs("node")
@pytest.mark.parametrize("run", ["kind"], indirect=True)
def test_a_run_predicts_in_javascript_what_it_predicts_in_python(run: Run) -> None:
    files = export_run(run, target="wasm32")
    assert [file.name for file in files] == ["shop_2.wasm", "shop_2.mjs"]
    (run.folder / "main.mjs").write_text(
        f"""
        import {{ load }} from "./shop_2.mjs";
        const {{ shop_2 }} = await load();
        for (const row of {json.dumps(entries(run, FRAME))}) console.log(shop_2(row).join(" "));
        """
    )
    found = ran(["node", run.folder / "main.mjs"])
    np.testing.assert_allclose(found, np.ravel(run.predict(FRAME).probabilities), rtol=1e-12)
