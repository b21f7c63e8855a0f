"""Rolling: how few instructions a recurrence of any length is written in, and what it computes."""

import math
import pickle
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl
import workloads
from gradloom.backends.numpy import Runner
from gradloom.loom.adjoint import adjoint
from gradloom.loom.merge import merge
from gradloom.loom.program import Body, Instruction, Loop, Program
from gradloom.loom.record import record
from gradloom.loom.roll import expand, roll
from gradloom.loom.tangent import tangent
from gradloom.loom.views import View, slots_of
from gradloom.loom.weave import weave

SIZE = 400
NOTHING = np.zeros(0, dtype=np.int64)


def program_of(instructions: Sequence[Instruction], size: int = SIZE) -> Program:
    """A program that starts from seeded numbers and gives out its whole arena."""
    return Program(
        template=np.random.default_rng(0).uniform(-1, 1, size),
        inputs=NOTHING,
        parameters=NOTHING,
        values=[],
        instructions=list(instructions),
        outputs=np.arange(size),
        guards=[],
        laned=np.zeros(size, dtype=bool),
    )


def woven(name: str, kind: str, **sizes: int) -> Program:
    """A workload's program, its adjoint or its tangent."""
    workload = getattr(workloads, name)(**sizes)
    graph, _ = record(workload.function, *workload.arguments)
    program = weave(graph)
    wanted = np.concatenate([program.inputs, program.parameters])
    if kind == "forward":
        return program
    return adjoint(program, wanted) if kind == "adjoint" else tangent(program, wanted)


def bounded(place: int) -> Body:
    """x / (1 + x²), which Python and NumPy round alike, and which lets no number run away."""
    return ("/", (place, ("+", (1.0, ("*", (place, place))))))


BODIES: list[Body] = [
    bounded(0),
    ("neg", (bounded(0),)),
    ("-", (bounded(0), bounded(1))),
    ("*", (bounded(0), bounded(1))),
    ("*", (2.0, bounded(0))),
]


def operands(body: Body) -> int:
    """How many operands a body reads."""
    if isinstance(body, tuple):
        return max(map(operands, body[1]))
    return body + 1 if isinstance(body, int) else 0


@st.composite
def instruction(draw: st.DrawFn, ordered: bool) -> tuple[Instruction, list[int]]:
    """An instruction somewhere in the middle, and by how much its views go on in a repeat."""
    shape = draw(st.sampled_from([(), (3,), (2, 3), (4, 2)]))
    body = draw(st.sampled_from(BODIES))
    accumulate = draw(st.booleans())
    views = []
    for _ in range(1 + operands(body)):
        strides = tuple([draw(st.integers(-4, 4)) for _ in shape])
        views.append(View(draw(st.integers(150, 200)), strides))
    if not accumulate:  # of two results for one slot none is the last
        views[0] = View(views[0].offset, {0: (), 1: (2,), 2: (1, 5)}[len(shape)])
    written = set(slots_of(views[0], shape).ravel().tolist())
    for i in range(1, len(views)):
        while written & set(slots_of(views[i], shape).ravel().tolist()):
            views[i] = View(views[i].offset + 1, views[i].strides)
    steps = [draw(st.sampled_from([0, 1, 2, 6, -3, -8])) for _ in views]
    for i in range(1, len(views)):  # what it reads must not be its own result later on either
        if steps[i] != steps[0]:
            views[i] = View(views[i].offset + draw(st.sampled_from([0, 100])), views[i].strides)
    one = Instruction(shape, views[0], body, tuple(views[1:]), accumulate, accumulate and ordered)
    return one, steps


def sound(one: Instruction) -> bool:
    """Whether the instruction reads none of its results, so that their order means nothing."""
    written = set(slots_of(one.out, one.shape).ravel().tolist())
    return all(
        written.isdisjoint(slots_of(view, one.shape).ravel().tolist()) for view in one.operands
    )


@st.composite
def sequences(draw: st.DrawFn, ordered: bool) -> list[Instruction]:
    """A few repeats, of some turns each, of a few instructions each."""
    found = []
    for _ in range(draw(st.integers(1, 3))):
        body = [draw(instruction(ordered)) for _ in range(draw(st.integers(1, 3)))]
        for turn in range(draw(st.integers(1, 9))):
            found += [one.moved([turn * step for step in steps]) for one, steps in body]
    return [one for one in found if sound(one)]


@settings(max_examples=150, deadline=None)
@given(sequences(ordered=True))
def test_what_is_merged_and_rolled_gives_the_same_bits(instructions: list[Instruction]) -> None:
    program = program_of(instructions)
    expected = Runner(program).run([])
    for other in (merge(program), roll(program), roll(merge(program)), expand(roll(program))):
        assert np.array_equal(Runner(other).run([]), expected)


@settings(max_examples=150, deadline=None)
@given(sequences(ordered=False))
def test_sums_that_may_be_reordered_agree_to_rounding(instructions: list[Instruction]) -> None:
    program = program_of(instructions)
    expected = Runner(program).run([])
    for other in (merge(program), roll(merge(program))):
        np.testing.assert_allclose(Runner(other).run([]), expected, rtol=1e-9, atol=1e-9)


KINDS = ["forward", "adjoint", "tangent"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "few", "many"), [("asian_option", 20, 252), ("lstm", 20, 60), ("runge_kutta", 8, 40)]
)
def test_a_recurrence_is_written_alike_however_long(
    name: str, few: int, many: int, kind: str
) -> None:
    short, long = (woven(name, kind, steps=steps) for steps in (few, many))
    for rolled in (roll, lambda program: roll(merge(program))):
        assert len(rolled(short).written) == len(rolled(long).written)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "steps"), [("asian_option", 252), ("lstm", 60)])
def test_rolled_workloads_compute_what_they_did(name: str, steps: int, kind: str) -> None:
    program = woven(name, kind, steps=steps)
    inputs = np.random.default_rng(1).uniform(0.1, 1.0, len(program.inputs))
    expected = Runner(program).run(inputs)
    for other in (roll(program), roll(merge(program))):
        np.testing.assert_allclose(Runner(other).run(inputs), expected, rtol=1e-9, atol=1e-12)


def chain(turns: int) -> list[Instruction]:
    """x = sin(x) * a + b, again and again."""
    a, b = View(1, ()), View(2, ())
    found = []
    for i in range(turns):
        x, sine, result = (View(3 + 2 * i + k, ()) for k in (0, 1, 2))
        found.append(Instruction((), sine, ("sin", (0,)), (x,), accumulate=False))
        body = ("+", (("*", (0, 1)), 2))
        found.append(Instruction((), result, body, (sine, a, b), accumulate=False))
    return found


def test_a_chain_of_a_hundred_thousand_operations_is_one_loop_of_two() -> None:
    rolled = roll(program_of(chain(50_000), 100_010))
    (loop,) = rolled.instructions
    assert isinstance(loop, Loop)
    assert (loop.count, len(loop.body), loop.steps) == (50_000, 2, ((2, 2), (2, 2, 0, 0)))


def test_a_loop_prints_how_its_slots_move() -> None:
    _, *lines = str(roll(program_of(chain(9)))).splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "× 9 for i:",
        "1 @4+2i = sin(@3+2i)",
        "1 @5+2i = ((@4+2i * @1) + @2)",
    ]


def test_loops_within_loops_are_found() -> None:
    ones = []
    for outer in range(12):
        for inner in range(20):
            to, of = View(20 * outer + inner + 1, ()), View(20 * outer + inner, ())
            ones.append(Instruction((), to, ("sin", (0,)), (of,), accumulate=False))
        total = View(390, ())
        ones.append(Instruction((), total, ("tanh", (0,)), (to,), accumulate=True, ordered=True))
    program = program_of(ones)
    rolled = roll(program)
    assert len(rolled.written) == 2
    assert str(rolled).splitlines()[-3].split() == ["×", "20", "for", "j:"]
    assert rolled.flat == ones
    assert np.array_equal(Runner(rolled).run([]), Runner(program).run([]))


def test_index_tables_that_move_as_a_whole_are_rolled_in() -> None:
    ones = []
    table = np.array([3, 0, 1])
    for turn in range(10):
        of = View(0, (), table + 5 * turn)
        out = View(100 + 3 * turn, (1,))
        ones.append(Instruction((3,), out, ("sin", (0,)), (of,), accumulate=False))
    rolled = roll(program_of(ones))
    (loop,) = rolled.instructions
    assert loop.steps == ((3, 5),)
    assert np.array_equal(Runner(rolled).run([]), Runner(program_of(ones)).run([]))


def test_turns_over_slots_that_lanes_share_and_do_not_share_are_two_loops() -> None:
    program = program_of(chain(40))
    program.laned[3 + 40 :] = True
    for one in roll(program).instructions:
        turns = one.expanded() if isinstance(one, Loop) else [one]
        flags = [[bool(program.laned[view.offset]) for view in some.views] for some in turns]
        assert all(some in (flags[0], flags[1 % len(flags)]) for some in flags)
    assert sum(isinstance(one, Loop) for one in roll(program).instructions) == 2


def test_a_rolled_program_is_pickled_as_it_is() -> None:
    rolled = roll(program_of(chain(10)))
    again = pickle.loads(pickle.dumps(rolled))
    assert again.instructions == rolled.instructions
    assert math.prod([one.count for one in again.instructions]) == 10


def test_too_few_repeats_are_left_as_they_are() -> None:
    program = program_of(chain(3))
    assert roll(program).instructions == program.instructions


def test_a_program_without_instructions_stays_empty() -> None:
    assert roll(merge(program_of([]))).instructions == []


def test_the_gradient_of_a_rolled_program_is_that_of_its_flat_one() -> None:
    def f(x: gl.Value) -> gl.Value:
        for _ in range(30):
            x = gl.sin(x) * 1.5
        return x

    graph, _ = record(f, 0.7)
    program = weave(graph)
    backward = adjoint(program, program.inputs)
    assert np.array_equal(Runner(backward).run([0.7, 1.0]), Runner(roll(backward)).run([0.7, 1.0]))
