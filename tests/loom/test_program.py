"""Programs: how they print, and that they survive being sent to another process."""

import pickle

import numpy as np

from gradloom.backends.numpy import Runner
from gradloom.loom.program import Instruction
from gradloom.loom.record import record
from gradloom.loom.views import View
from gradloom.loom.weave import weave


def test_an_instruction_prints_its_loop_its_places_and_its_body() -> None:
    views = View(3, (0, 1)), View(0, (), np.zeros((2, 4), dtype=np.int64))
    body = ("-", (("*", (0, 1)), 0.5))
    one = Instruction((2, 4), View(20, (4, 1)), body, views, accumulate=False)
    assert str(one).split("  ")[-1] == "@20(4,1) = ((@3(0,1) * @table(2, 4)) - 0.5)"
    assert str(one).strip().startswith("2 × 4")


def test_a_function_of_one_number_prints_as_one_line() -> None:
    graph, _ = record(lambda x: x * x, 3.0)
    head, line = str(weave(graph)).splitlines()
    assert head == "arena of 2: 1 inputs, 0 parameters; 1 instructions"
    assert line.split() == ["1", "@1", "=", "(@0", "*", "@0)"]


def test_a_pickled_program_runs_as_before() -> None:
    graph, _ = record(lambda xs: [sum(x * x for x in xs), xs[0] / xs[1]], [3.0, 4.0])
    program = pickle.loads(pickle.dumps(weave(graph)))
    assert Runner(program).run([3.0, 4.0]).tolist() == [25.0, 0.75]
