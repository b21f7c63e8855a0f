"""Programs as functions of C: their numbers against the reference, and their objects."""

import ctypes
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
from numpy.typing import NDArray

import gradloom as gl
import workloads
from gradloom.backends.llvm.export import Function, Written, write
from gradloom.backends.llvm.machines import MACHINES, machine
from gradloom.backends.llvm.objects import read_elf
from gradloom.backends.llvm.target import host
from gradloom.backends.numpy import Runner
from gradloom.errors import ArgumentError
from gradloom.loom.derivatives import gradient, hessian, jacobian
from gradloom.loom.program import Program
from gradloom.loom.record import record
from gradloom.loom.weave import weave

Array = NDArray[Any]
GUARD = 64  # numbers behind an array that nobody may touch


def woven(f: Any, *arguments: Any) -> Program:
    return weave(record(f, *arguments)[0])


def parameters_of(program: Program) -> Array:
    return np.array([value.data for value in program.values])


class Loaded:
    """An object of this machine, loaded."""

    def __init__(self, written: Written) -> None:
        self.engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), host().machine())
        self.engine.add_object_file(llvm.ObjectFileRef.from_data(written.object))
        self.engine.finalize_object()
        self.workspaces = written.workspaces

    def call(
        self,
        number: int,
        inputs: Sequence[float],
        outputs: int,
        parameters: Array | None = None,
        *,
        real: Any = np.float64,
    ) -> tuple[int, Array]:
        """What a function returns, and its outputs; its room is full of nan beforehand."""
        room = self.workspaces[number]
        # One number off what suits vectors: nothing is promised but that of a number.
        given = [np.array([0.0, *x], dtype=real)[1:] for x in (inputs, parameters) if x is not None]
        before = [array.copy() for array in given]
        out, workspace = (np.full(1 + n + GUARD, 7.0, real)[1:] for n in (outputs, room))
        out[:outputs] = workspace[:room] = np.nan
        arrays = [*given, out, workspace]
        address = self.engine.get_function_address(f"f{number}")
        function = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * len(arrays))(address)
        returned = function(*[array.ctypes.data for array in arrays])
        assert (out[outputs:] == 7.0).all()
        assert (workspace[room:] == 7.0).all()
        for array, was in zip(given, before, strict=True):
            np.testing.assert_array_equal(array, was)
        return returned, out[:outputs].astype(np.float64)


def check(
    programs: Sequence[Program], inputs: Sequence[float], *, bits: int = 64, passed: bool = False
) -> None:
    """The functions give what the reference gives."""
    functions = [Function(f"f{i}", [program]) for i, program in enumerate(programs)]
    numbers = parameters_of(programs[0])
    loaded = Loaded(write(functions, machine("host"), bits, numbers, passed=passed))
    real = np.float64 if bits == 64 else np.float32
    exact = np.array(inputs, dtype=real).astype(np.float64)
    for i, program in enumerate(programs):
        wanted = Runner(program).run(exact, numbers.astype(real).astype(np.float64))
        given = numbers if passed else None
        returned, found = loaded.call(i, inputs, len(wanted), given, real=real)
        assert returned == 0
        scale = max(float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0)), 1e-30)
        tolerance = 1e-12 if bits == 64 else 2e-4
        np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("passed", [False, True], ids=["constant", "argument"])
@pytest.mark.parametrize("name", workloads.WORKLOADS)
def test_a_workload_and_its_gradient_are_those_of_the_reference(name: str, passed: bool) -> None:
    workload = workloads.WORKLOADS[name]()
    program = woven(workload.function, *workload.arguments)
    programs = [program]
    if len(program.outputs) == 1:
        wrt = np.concatenate([program.inputs, program.parameters])
        programs.append(gradient(program, wrt))
    inputs = workloads.arguments_flat(workload.arguments)[: len(program.inputs)]
    check(programs, inputs, passed=passed)


@pytest.mark.parametrize("name", ["moons", "lstm", "mixture"])
def test_single_precision_is_as_exact_as_it_can_be(name: str) -> None:
    workload = workloads.WORKLOADS[name]()
    program = woven(workload.function, *workload.arguments)
    inputs = workloads.arguments_flat(workload.arguments)
    check([program, gradient(program, program.parameters)], inputs, bits=32)


def test_matrices_of_derivatives_come_row_by_row() -> None:
    def f(x: Any) -> Any:
        return [x[i] * gl.sin(x[(i + 1) % 12]) for i in range(12)]

    inputs = [0.1 * i for i in range(12)]
    program = woven(f, inputs)
    check([program, jacobian(program, program.inputs)], inputs)
    single = woven(lambda x: gl.sum(f(x)) ** 2, inputs)
    check([hessian(single, single.inputs)], inputs)


def test_results_may_be_inputs_constants_and_parameters_in_any_order() -> None:
    w = gl.Value(5.0)
    program = woven(lambda x, y: [y, 3.0, x * y, w, x, x * y, 3.0, w + 0.0], 2.0, 7.0)
    for passed in (False, True):
        check([program], [2.0, 7.0], passed=passed)


def test_operands_may_be_gathered_from_everywhere() -> None:
    ws = [gl.Value(0.1 * i) for i in range(9)]

    def f(x: Any) -> Any:
        mixed = [x[0] * 2.0, *ws, *x, 4.0, x[3] - x[1]]
        order = [7, 0, 3, 12, 1, 14, 9, 2, 11, 5, 13]
        return gl.sum([gl.exp(-mixed[i]) * mixed[j] for i in order for j in order if i * j % 5 < 3])

    program = woven(f, [1.0, 2.0, 3.0, 4.0])
    every = np.concatenate([program.inputs, program.parameters])
    for passed in (False, True):
        check([program, gradient(program, every)], [1.0, 2.0, 3.0, 4.0], passed=passed)


def generated(rng: random.Random, weights: Sequence[gl.Value]) -> Any:
    """A function of a list: vectors made of others, of weights, and of numbers from anywhere."""
    plan = [(rng.randrange(7), rng.random(), rng.random(), rng.random()) for _ in range(14)]

    def f(xs: Any) -> Any:
        made = [list(xs), list(weights)]
        for kind, a, b, c in plan:
            p, q = made[int(a * len(made))], made[int(b * len(made))]
            size = min(len(p), len(q))
            if kind == 0:
                made.append([gl.tanh(x + y) for x, y in zip(p, q, strict=False)])
            elif kind == 1:
                made.append([gl.sum([x * y for y in q]) / len(q) for x in p])
            elif kind == 2:
                rows = [weights[i * len(p) : (i + 1) * len(p)] for i in range(3)]
                made.append([gl.dot(row, p[: len(row)]) for row in rows if row])
            elif kind == 3:
                made.append([p[i * 7 % len(p)] - q[i * 5 % len(q)] * c for i in range(size)])
            elif kind == 4:
                made.append([*p[::-1], 0.5, *q[::2]][:24])
            elif kind == 5:
                made.append([p[0], gl.logsumexp(q), *q[-2:]])
            else:
                total = p[0]
                for y in q:
                    total = gl.sin(total) + y * 0.5
                made.append([total, *p[1:]])
        return gl.sum([x * (0.1 * i + 0.1) for part in made[2:] for i, x in enumerate(part)])

    return f


@pytest.mark.parametrize("seed", range(16))
def test_random_programs_and_their_gradients_are_those_of_the_reference(seed: int) -> None:
    rng = random.Random(seed)
    weights = [gl.Value(rng.gauss(0, 1)) for _ in range(rng.randrange(3, 12))]
    inputs = [rng.gauss(0, 1) for _ in range(rng.randrange(2, 10))]
    program = woven(generated(rng, weights), inputs)
    every = np.concatenate([program.inputs, program.parameters])
    check([program, gradient(program, every)], inputs, passed=seed % 2 == 1)


def test_a_function_without_inputs_gives_its_constant() -> None:
    check([woven(lambda: [2.0, 3.0])], [])


def test_a_workspace_is_smaller_than_what_is_computed() -> None:
    def f(x: Any) -> Any:
        for i in range(40):
            x = [gl.sin(a * (i + 1.0)) + b for a, b in zip(x, x[1:] + x[:1], strict=True)]
        return gl.sum(x)

    program = woven(f, [0.1 * i for i in range(16)])
    written = write([Function("f0", [program])], machine("cortex-m4"), 32, np.zeros(0))
    assert written.workspaces[0] < len(program.template)


def _branching(x: Any) -> Any:
    return x * 2.0 if x > 1.0 else gl.exp(x) if x > 0.0 else -x


def test_each_recorded_way_is_taken_by_its_inputs_and_others_are_refused() -> None:
    ways = [woven(_branching, x) for x in (2.0, 0.5)]
    loaded = Loaded(write([Function("f0", ways)], machine("host"), 64, np.zeros(0)))
    assert loaded.call(0, [3.0], 1)[1] == [6.0]
    np.testing.assert_allclose(loaded.call(0, [0.25], 1)[1], [np.exp(0.25)], rtol=1e-15)
    assert loaded.call(0, [2.0], 1)[0] == loaded.call(0, [0.5], 1)[0] == 0
    assert loaded.call(0, [-1.0], 1)[0] == 1
    assert loaded.call(0, [np.nan], 1)[0] == 1


def test_guards_on_numbers_tell_zeros_apart_and_know_nan() -> None:
    for number in (0.0, -0.0, np.nan, 0.1):
        program = woven(lambda x: x + float(x), number)
        for bits, real in ((64, np.float64), (32, np.float32)):
            made = write([Function("f0", [program])], machine("host"), bits, np.zeros(0))
            loaded = Loaded(made)
            for other in (0.0, -0.0, np.nan, 0.1):
                right = repr(other) == repr(number)
                assert loaded.call(0, [other], 1, real=real)[0] == (0 if right else 1)


def test_an_operation_that_a_user_entered_is_refused() -> None:
    program = woven(gl.sin, 1.0)
    one = replace(program.instructions[0], body=("twice", (0,)))
    function = Function("f", [replace(program, instructions=[one])])
    with pytest.raises(ArgumentError, match="'twice' is known to Python alone"):
        write([function], machine("host"), 64, np.zeros(0))


# Other machines

EXPECTED = {
    "x86-64": ("x86-64", 64),
    "x86-64-v3": ("x86-64", 64),
    "aarch64": ("AArch64", 64),
    "cortex-m0": ("Arm", 32),
    "cortex-m3": ("Arm", 32),
    "cortex-m4": ("Arm", 32),
    "cortex-m7": ("Arm", 32),
    "cortex-m33": ("Arm", 32),
    "riscv32": ("RISC-V", 32),
    "riscv32f": ("RISC-V", 32),
    "riscv64": ("RISC-V", 64),
}


@pytest.fixture(scope="module")
def everything() -> Program:
    """A program with nearly every operation of the table."""
    one = (
        "abs acos acosh asin asinh atan atanh ceil cos cosh elu erf erfc exp expm1 floor gelu "
        "leaky_relu log log1p log2 log10 reciprocal relu sigmoid sign silu sin sinh softplus sqrt "
        "square tan tanh"
    )

    def f(x: Any) -> Any:
        found = [getattr(gl, name)(y) for name in one.split() for y in x]
        for a, b in ((x[0], x[1]), (x[1], x[2])):
            found += [a + b, a - b, a * b, a / b, a**b, a // b, a % b, gl.atan2(a, b)]
            found += [gl.hypot(a, b), gl.max(a, b), gl.min(a, b), gl.where(a > b, a, b)]
        return [*found, gl.logsumexp(x), gl.sum(x)]

    return woven(f, [0.3, 0.6, 0.8])


@pytest.mark.parametrize("bits", [64, 32])
def test_every_operation_is_that_of_the_reference(everything: Program, bits: int) -> None:
    for inputs in ([0.3, 0.6, 0.8], [-0.3, 1.7, -2.6]):
        check([everything], inputs, bits=bits)


def test_every_machine_is_tested() -> None:
    assert {*EXPECTED, "wasm32"} == set(MACHINES)


@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize("name", EXPECTED)
def test_an_object_is_for_its_machine_and_needs_no_library(name: str, bits: int) -> None:
    program = woven(lambda x, y: gl.tanh(gl.sqrt(x) * y) / gl.floor(y) + gl.max(x, y), 2.0, 3.0)
    written = write([Function("f", [program])], machine(name), bits, np.zeros(0))
    elf = read_elf(written.object)
    assert elf is not None
    assert (elf.machine, elf.bits) == EXPECTED[name]
    assert [symbol.name for symbol in elf.symbols if symbol.defined] == ["f"]
    assert sorted(elf.undefined) == written.helpers
    if bits <= MACHINES[name].real:
        # Sums are the processor's own; some functions of floats are reckoned in double precision.
        assert not {"__addsf3", "__aeabi_fadd"} & {*elf.undefined}
        if MACHINES[name].real == 64:
            assert not {"__adddf3", "__aeabi_dadd"} & {*elf.undefined}
    else:
        assert written.helpers


def test_arm_calls_helpers_by_the_names_that_its_compilers_have(everything: Program) -> None:
    written = write([Function("f", [everything])], machine("cortex-m4"), 64, np.zeros(0))
    assert "__aeabi_dadd" in written.helpers
    assert all(name.startswith("__aeabi_") for name in written.helpers)


def test_an_unknown_machine_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ArgumentError, match="no target is called 'cortex-m5'; there are host, x86"):
        machine("cortex-m5")
