"""Runners of machine code: real work against NumPy and plain Python, and how they are fed."""

import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest

import gradloom as gl
import workloads
from gradloom.backends import choice
from gradloom.backends import numpy as reference
from gradloom.backends.llvm import native
from gradloom.backends.llvm.lowering import UnsupportedError, lower
from gradloom.backends.llvm.module import written
from gradloom.backends.llvm.native import Runner
from gradloom.core.ops import operation
from gradloom.core.table import OPS, REAL
from gradloom.loom.adjoint import adjoint
from gradloom.loom.program import Program
from gradloom.loom.record import record
from gradloom.loom.tangent import tangent
from gradloom.loom.weave import weave
from native_code import HOST, code_for
from workloads import Workload, arguments_flat

WORK: dict[str, Callable[[], Workload]] = {
    "moons": lambda: workloads.moons(20),
    "gpt": workloads.gpt,
    "lstm": lambda: workloads.lstm(4, 2, 8),
    "diagonal_lstm": lambda: workloads.diagonal_lstm(2, 20, 5),
    "runge_kutta": lambda: workloads.runge_kutta(3, 20),
    "mixture": lambda: workloads.mixture(30, 3, 2),
    "gmm": lambda: workloads.gmm_point(10, 4, 3),
    "black_scholes": lambda: workloads.black_scholes(20),
    "asian_option": lambda: workloads.asian_option(60),
    "distance_matrix": lambda: workloads.distance_matrix(5, 6, 3),
    "convolution": lambda: workloads.convolution(9, 2, 3),
}


def woven(work: Workload, **options: Any) -> Program:
    return weave(record(work.function, *work.arguments)[0], **options)


def size_of(rows: Any) -> Any:
    """The largest number but inf and nan."""
    return np.abs(rows[np.isfinite(rows)]).max(initial=1e-300)


@pytest.mark.parametrize("name", WORK)
def test_real_work_and_its_gradient_come_out_as_numpys(name: str) -> None:
    work = WORK[name]()
    program = woven(work)
    slots = np.concatenate([program.inputs, program.parameters])
    derived = adjoint(program, slots)
    random = Random(name)
    for one in (program, derived):
        inputs = [random.uniform(0.5, 1.5) for _ in one.inputs]
        near = [x * y for x, y in zip(arguments_flat(work.arguments), inputs, strict=False)]
        inputs[: len(near)] = near
        want = reference.Runner(one).run(inputs)
        for bits, close in ((64, 1e-12), (32, 1e-4)):
            runner = Runner(one, bits=bits)
            runner.run([x * 2 for x in inputs])
            found = runner.run(inputs)
            assert np.abs(found - want).max() < close * size_of(want)
    assert np.isfinite(want).all()


def numbers_in(result: Any) -> Iterator[float]:
    """The numbers of a result, from its lists."""
    if isinstance(result, list):
        for part in result:
            yield from numbers_in(part)
    else:
        yield result.data if isinstance(result, gl.Value) else result


@pytest.mark.parametrize("name", WORK)
def test_real_work_comes_out_as_plain_pythons(name: str) -> None:
    work = WORK[name]()
    plain = work.function(*work.arguments)
    found = gl.compile(work.function, backend="native")(*work.arguments)
    flat = [list(numbers_in(y)) for y in (plain, found)]
    np.testing.assert_allclose(flat[1], flat[0], rtol=1e-12)


@pytest.mark.parametrize("name", ["moons", "lstm", "mixture", "runge_kutta"])
def test_the_adjoint_of_a_tangent_comes_out_as_numpys(name: str) -> None:
    program = woven(WORK[name]())
    moved = tangent(program, program.inputs)
    twice = adjoint(moved, moved.inputs)
    random = Random(name)
    inputs = [random.uniform(0.5, 1.5) for _ in twice.inputs]
    want = reference.Runner(twice).run(inputs)
    found = Runner(twice).run(inputs)
    assert np.abs(found - want).max() < 1e-11 * size_of(want)


def energy(xs: Any) -> Any:
    total = 0.0
    for a, b in pairwise(xs):
        total = total + gl.sin(a * b) * gl.exp(-b) + gl.log(1.0 + a * a)
    return total


def pair(xs: Any) -> Any:
    return [energy(xs), gl.tanh(xs[0] * xs[-1]), xs[1] / (1.0 + xs[2] ** 2)]


POINT = [0.3, -0.7, 1.1, 0.4, -1.3, 0.9, 0.2, 1.7, -0.1]
ALONG = [(-1.0) ** i * 0.1 * i for i in range(9)]


@pytest.mark.parametrize(
    ("derived", "function"),
    [
        (lambda f: gl.grad(f)(POINT), energy),
        (lambda f: gl.hessian(f)(POINT), energy),
        (lambda f: gl.hvp(f, POINT, ALONG), energy),
        (lambda f: gl.jvp(f, [POINT], [ALONG])[-1], pair),
        (lambda f: gl.jacobian(f)(POINT), pair),
        (lambda f: gl.vmap(gl.grad(f))([POINT, ALONG, POINT[::-1]]), energy),
    ],
    ids=["grad", "hessian", "hvp", "jvp", "jacobian", "vmap of grad"],
)
def test_derivatives_are_the_same_on_either_backend(derived: Any, function: Any) -> None:
    found = [
        np.array(derived(gl.compile(function, backend=backend)), dtype=float)
        for backend in choice.BACKENDS
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12, atol=1e-13)


# How runners are fed


def laned(lanes: int = 50) -> tuple[Program, Any]:
    work = WORK["mixture"]()
    graph, _ = record(work.function, *work.arguments)
    program = weave(graph, lanes=range(graph.inputs))
    random = Random(lanes)
    return program, np.array([[random.gauss(0, 1) for _ in range(lanes)] for _ in program.inputs])


@pytest.mark.parametrize(
    "fed",
    [
        np.asfortranarray,
        lambda x: np.repeat(x, 3, axis=1)[:, ::3],
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: x[:, ::-1].copy()[:, ::-1],
        lambda x: np.ascontiguousarray(x.T).T,
        lambda x: x.astype(np.longdouble),
        lambda x: x.astype(">f8"),
        list,
        lambda x: [row.tolist() for row in x],
        lambda x: [np.repeat(row, 5)[::5] for row in x],
    ],
    ids=["Fortran", "columns", "rows", "back", "T", "long", "big", "list", "lists", "strided"],
)
def test_inputs_may_lie_in_any_way(fed: Callable[[Any], Any]) -> None:
    program, inputs = laned()
    runner = Runner(program, 50)
    want = runner.run(np.ascontiguousarray(inputs)).tolist()
    assert runner.run(fed(inputs)).tolist() == want


@pytest.mark.parametrize("kind", [np.float32, np.int64, np.bool_])
def test_inputs_may_be_numbers_of_any_kind(kind: Any) -> None:
    program, inputs = laned()
    given = (inputs * 2).astype(kind)
    runner = Runner(program, 50)
    assert runner.run(given).tolist() == runner.run(given.astype(np.float64)).tolist()


def test_guards_tell_of_every_lane_by_itself() -> None:
    graph, _ = record(lambda x, y: x * y if x > y else x + y, 2.0, 1.0)
    program = weave(graph, lanes=[0, 1])
    assert program.guards
    x, y = np.arange(100.0), 50.0 - 10.0 * np.sin(np.arange(100.0))
    for bits in (64, 32):
        runner = Runner(program, 100, bits=bits, threads=1)
        runner.run([x, y])
        assert runner.holds().tolist() == (x > y).tolist()
        runner.run([y, x])  # of the run before nothing is left
        assert runner.holds().tolist() == (y > x).tolist()


def test_running_takes_no_new_memory() -> None:
    program, inputs = laned()
    for runner in (Runner(program, 50), Runner(woven(WORK["moons"]()))):
        before = runner.arena.ctypes.data, runner._scratch.ctypes.data
        for _ in range(3):
            runner.run(inputs if runner.lanes else arguments_flat(WORK["moons"]().arguments))
        assert (runner.arena.ctypes.data, runner._scratch.ctypes.data) == before


def test_runners_of_one_code_have_numbers_of_their_own() -> None:
    program = woven(WORK["lstm"]())
    code = native.code(program)
    points = [[0.1 * i + 0.01 * j for j in range(len(program.inputs))] for i in range(4)]
    want = [Runner(program, code=code).run(point)[0] for point in points]
    found: list[set[float]] = [set() for _ in points]

    def work(i: int) -> None:
        runner = Runner(program, code=code)
        for _ in range(200):
            found[i].add(runner.run(points[i])[0])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(points))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [{y} for y in want]


# How much code there is


def code_of(program: Program, *, lanes: bool = False) -> tuple[int, int]:
    """How many functions and lines a program's code has."""
    program = native.rolled(program)
    lowered = lower(program, HOST, 64, lanes=lanes)
    module = written(program, lowered, HOST, 64)
    texts = [*module.functions, *[one.text() for one in module.shared.values()]]
    return len(texts), sum(text.count("\n") for text in texts)


def test_long_recurrences_have_no_more_code_than_short_ones() -> None:
    sizes = []
    for steps in (60, 252):
        work = workloads.asian_option(steps)
        graph, _ = record(work.function, *work.arguments)
        program = weave(graph, lanes=range(graph.inputs))
        derived = adjoint(program, np.concatenate([program.inputs, program.parameters]))
        sizes.append(code_of(derived, lanes=True))
    assert sizes[0] == sizes[1]


def test_many_runge_kutta_steps_have_no_more_code_than_few() -> None:
    few, many = (
        code_of(adjoint(program, program.inputs))
        for program in (woven(workloads.runge_kutta(1, steps)) for steps in (30, 300))
    )
    assert many[0] <= few[0]
    assert many[1] <= 1.1 * few[1]


@pytest.mark.parametrize(("name", "most"), [("moons", 60), ("gpt", 160), ("lstm", 80)])
def test_real_work_needs_few_functions(name: str, most: int) -> None:
    program = woven(WORK[name]())
    derived = adjoint(program, np.concatenate([program.inputs, program.parameters]))
    assert code_of(derived)[0] < most


def test_work_that_repeats_nowhere_is_compiled_in_pieces() -> None:
    random = Random(0)
    steps = [(random.randrange(4), random.uniform(0.5, 1.5), random.randrange(1, 20))
             for _ in range(1500)]  # fmt: skip

    def chain(x: Any) -> Any:
        found = [x] * 20
        for how, c, back in steps:
            y, z = found[-1], found[-back]
            rules = (
                lambda y, z, c: y * z * c,
                lambda y, z, c: gl.sin(y) + c * z,
                lambda y, z, c: y - c * z,
                lambda y, z, c: y / (c + z * z),
            )
            found.append(rules[how](y, z, c))
        return found[-1]

    program = weave(record(chain, 0.5)[0])
    assert len(native.rolled(program).written) > 1000
    lowered = lower(native.rolled(program), HOST, 64)
    module = written(program, lowered, HOST, 64)
    longest = max(
        text.count("\n")
        for text in [*module.functions, *[x.text() for x in module.shared.values()]]
    )
    assert longest < 5000
    want = reference.Runner(program).run([0.3])
    found = Runner(program, code=code_for(program)).run([0.3])
    np.testing.assert_allclose(found, want, rtol=1e-6)


def test_a_program_that_is_too_long_runs_on_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    program = woven(WORK["lstm"]())
    make = choice.maker(program, choice.Options(backend="native"))
    assert isinstance(make(None), Runner)
    monkeypatch.setattr(native, "LONGEST", 3)
    with pytest.raises(UnsupportedError, match="instructions"):
        native.code(program)
    make = choice.maker(program, choice.Options(backend="native"))
    assert isinstance(make(None), reference.Runner)


def test_an_operation_that_a_user_entered_runs_on_numpy() -> None:
    @operation("halved", partials=[lambda *_: 0.5], domain=[REAL])
    def halved(x: Any) -> Any:
        return x / 2.0

    try:
        program = weave(record(lambda x: halved(x) * 3.0 + gl.sin(x), 2.0)[0])
        with pytest.raises(UnsupportedError, match="halved"):
            native.code(program)
        runner = choice.maker(program, choice.Options(backend="native"))(None)
        assert isinstance(runner, reference.Runner)
        assert runner.run([1.0]) == pytest.approx(1.5 + np.sin(1.0))
    finally:
        del OPS["halved"]
