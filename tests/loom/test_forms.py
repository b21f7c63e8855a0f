"""Forms: found once for all steps of a recurrence, and the same as if they were found for each."""

from typing import Any

import numpy as np
import pytest

import gradloom as gl
import workloads
from gradloom.backends.numpy import Runner
from gradloom.loom.forms import Form, Forms, Group
from gradloom.loom.graph import Graph
from gradloom.loom.program import Program
from gradloom.loom.record import record
from gradloom.loom.views import Slots
from gradloom.loom.weave import _Weaver, weave


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[Group]:
    """The groups for which the best form was searched."""
    found: list[Group] = []
    search = Forms._best

    def best(self: Forms, group: Group, lists: list[Slots]) -> Form:
        found.append(group)
        return search(self, group, lists)

    monkeypatch.setattr(Forms, "_best", best)
    return found


def recorded(steps: int, name: str) -> tuple[Graph, list[float]]:
    workload = workloads.WORKLOADS[name](steps=steps)
    graph, _ = record(workload.function, *workload.arguments)
    return graph, workloads.arguments_flat(workload.arguments)


def outputs(program: Program, inputs: list[float]) -> list[float]:
    return Runner(program).run(inputs).tolist()


@pytest.mark.parametrize("name", ["lstm", "runge_kutta", "asian_option"])
def test_views_are_searched_no_more_often_for_many_steps_than_for_few(
    name: str, searches: list[Group]
) -> None:
    counts = []
    for steps in (10, 30):
        searches.clear()
        weave(recorded(steps, name)[0])
        counts.append(len(searches))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("name", ["lstm", "runge_kutta", "asian_option"])
def test_forms_that_come_again_are_as_good_as_those_searched_for_each_step(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, inputs = recorded(12, name)
    again = weave(graph)
    monkeypatch.setattr(Forms, "of", Forms._best)
    each = weave(graph)
    assert (again.tables, len(again.instructions)) == (each.tables, len(each.instructions))
    np.testing.assert_allclose(outputs(again, inputs), outputs(each, inputs), rtol=1e-14)


def chain(x: Any, y: Any) -> Any:
    w = gl.Value(3.0)
    for i in range(30):
        x = gl.sin(x) * y - 0.5 * x if i % 3 else gl.where(x, 2.0, w) ** 2.0 + 1.5 - x
        y = gl.max(x, y, 0.1 * i) + -0.0 - w * w
    return x / y


@pytest.mark.parametrize("strict", [False, True])
def test_nodes_alike_to_no_other_are_woven_as_groups_of_one_would_be(
    strict: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, _ = record(chain, 0.5, 0.1)
    alone = weave(graph, strict=strict)
    monkeypatch.setattr(_Weaver, "_is_map", lambda _, nodes: np.zeros(len(nodes), dtype=bool))
    grouped = weave(graph, strict=strict)
    assert str(alone) == str(grouped)
    np.testing.assert_array_equal(alone.template, grouped.template)


def test_a_form_with_tables_is_no_pattern_for_the_next(searches: list[Group]) -> None:
    rng = np.random.default_rng(0)
    order = rng.permutation(40).tolist()

    def f(xs: list[Any]) -> Any:
        for _ in range(5):
            xs = [xs[a] * xs[b] for a, b in zip(order, order[::-1], strict=True)]
        return xs

    graph, _ = record(f, [1.0] * 40)
    program = weave(graph)
    assert program.tables > 0
    assert len(searches) == 5
    xs = rng.uniform(0.9, 1.1, 40).tolist()
    np.testing.assert_allclose(outputs(program, xs), f(xs), rtol=1e-12)
