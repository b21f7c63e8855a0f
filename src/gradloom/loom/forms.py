"""Forms: what a group of like nodes does, as bodies over views.

A group is written with lists of slots, and its form with views counted from the first slot of
each list: every step of a recurrence has the same form, only further on. So forms are kept, and
finding views, the slow part of weaving, is done once for all steps. Where a step differs in some
strides alone (a weight stands still while the state moves on), the way in which the steps before
were cut and sorted is tried first; that takes a comparison instead of a search.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from gradloom.loom.program import Body
from gradloom.loom.terms import Nodes
from gradloom.loom.views import Cut, Piece, Slots, again, cut, tables

_FEW = 8  # terms that may stand in one body
_KEPT = 1 << 12  # elements of the lists of a group up to which its form is kept under them


@dataclass(slots=True)
class Part:
    """A body over lists of nodes, and how many elements in a row are added up for each result."""

    body: Body
    lists: list[Nodes]
    repeat: int = 1


@dataclass(slots=True)
class Group:
    """Nodes that are alike, and what they do.

    Attributes:
        start: of sums, what they start from if that is the same for all, -0.0 if it is nothing.
        loose: a single sum, whose terms may come in any order.
    """

    nodes: Nodes
    parts: list[Part]
    accumulate: bool = False
    start: float | None = None
    loose: bool = False

    @property
    def outline(self) -> tuple[Any, ...]:
        """What groups have in common that may have the same form; of bodies there is one each."""
        parts = [(id(part.body), part.repeat, len(part.lists)) for part in self.parts]
        return len(self.nodes), repr(self.start), self.accumulate, self.loose, *parts


@dataclass(slots=True)
class Step:
    """A body with the views that it runs over, those of `out` first.

    Attributes:
        sources: for each further view which of the group's lists it is of.
        where: how the lists were cut into pieces.
    """

    body: Body
    accumulate: bool
    sources: tuple[int, ...]
    where: Cut
    found: list[Piece]


@dataclass(slots=True)
class Form:
    """What a group does.

    Attributes:
        by: the list by which the group's members are sorted first; None as they are.
        order: the order of the members then.
        fused: whether all terms stand in one body.
    """

    steps: list[Step]
    by: int | None = None
    order: Slots | None = None
    fused: bool = False

    @property
    def cost(self) -> tuple[int, int]:
        """How many tables and how many instructions."""
        found = [step.found for step in self.steps]
        return sum(map(tables, found)), sum(map(len, found))

    @property
    def recipe(self) -> tuple[Any, ...]:
        """How the form was found."""
        shapes = [[shape for shape, _ in step.found] for step in self.steps]
        return self.by, self.fused, [step.where for step in self.steps], shapes


class Forms:
    """The forms of the groups of one program.

    Args:
        one: gives the one object that stands for a body wherever it occurs.
    """

    def __init__(self, one: Callable[[Body], Body]) -> None:
        self._one = one
        self._known: dict[tuple[Any, ...], Form] = {}
        self._recent: dict[tuple[Any, ...], list[Form]] = {}

    def of(self, group: Group, lists: list[Slots]) -> Form:
        """The form of a group, whose lists are given as slots from the first of each."""
        outline = group.outline
        if sum(map(len, lists)) > _KEPT:  # seldom comes twice, and keeping it would cost more
            return self._new(outline, group, lists)
        key = (outline, *map(bytes, lists))
        form = self._known.get(key)
        if form is None:
            form = self._known[key] = self._new(outline, group, lists)
        return form

    def _new(self, outline: tuple[Any, ...], group: Group, lists: list[Slots]) -> Form:
        """What came out the last two times if it fits, else the best that is found."""
        recent = self._recent.setdefault(outline, [])
        form = None
        if len(recent) == 2 and recent[0].recipe == recent[1].recipe and not recent[1].cost[0]:
            form = self._like(recent[1], group, lists)
        form = form or self._best(group, lists)
        recent.append(form)
        del recent[:-2]
        return form

    def _like(self, old: Form, group: Group, lists: list[Slots]) -> Form | None:
        """The form that is found as another was, if there is one."""
        order = None if old.by is None else _order(group, lists, old.by)
        steps = []
        for step, plan in zip(old.steps, _plans(group, lists, order, fused=old.fused), strict=True):
            found = again(plan.lists, step.where, [shape for shape, _ in step.found])
            if not found:
                return None
            steps.append(Step(step.body, step.accumulate, step.sources, step.where, found))
        return Form(steps, old.by, order, old.fused)

    def _best(self, group: Group, lists: list[Slots]) -> Form:
        """The form that costs least, of the members as recorded or sorted by one of the lists."""
        best = self._found(group, lists, None)
        if len(group.nodes) > 1 and best.cost > (0, len(group.parts)):
            for by in range(len(lists)):
                best = min(best, self._found(group, lists, by), key=lambda form: form.cost)
        return best

    def _found(self, group: Group, lists: list[Slots], by: int | None) -> Form:
        """The form with the members in one order, term by term or in one body."""
        order = None if by is None else _order(group, lists, by)
        form = Form(
            self._steps(_plans(group, lists, order, fused=False), group.accumulate), by, order
        )
        terms = sum(part.repeat for part in group.parts)
        if group.start is None or terms > _FEW or form.cost <= (0, len(group.parts)):
            return form
        steps = self._steps(_plans(group, lists, order, fused=True), accumulate=False)
        fused = Form(steps, by, order, fused=True)
        return min(fused, form, key=lambda form: form.cost)

    def _steps(self, plans: "list[_Plan]", accumulate: bool) -> list[Step]:
        steps = []
        for plan in plans:
            where, found = cut(plan.lists, plan.row)
            steps.append(Step(self._one(plan.body), accumulate, plan.sources, where, found))
        return steps


@dataclass(slots=True)
class _Plan:
    """A step whose lists, that of `out` first, are not views yet; `row` elements make a result."""

    body: Body
    lists: list[Slots]
    sources: tuple[int, ...]
    row: int


def _plans(group: Group, lists: list[Slots], order: Slots | None, *, fused: bool) -> list[_Plan]:
    """A step for each part of a group, or one for all."""
    if order is not None:
        pairs = zip(lists, _repeats(group), strict=True)
        lists = [slots.reshape(-1, repeat)[order].ravel() for slots, repeat in pairs]
    out = np.arange(len(group.nodes))
    plans: list[_Plan] = []
    end = 0
    for part in group.parts:
        sources = tuple(range(end, end := end + len(part.lists)))
        own = [lists[i] for i in sources]
        if group.loose:
            ascending = np.lexsort(own[::-1])
            own = [slots[ascending] for slots in own]
        plans.append(_Plan(part.body, [out.repeat(part.repeat), *own], sources, part.repeat))
    if not fused:
        return plans
    terms = [(plan, i) for plan in plans for i in range(plan.row)]
    columns = [(plan.body, [slots[i :: plan.row] for slots in plan.lists[1:]]) for plan, i in terms]
    body, every = together(group.start, columns)
    sources = tuple(chain.from_iterable(plan.sources for plan, _ in terms))
    return [_Plan(body, [out, *every], sources, 1)]


def _order(group: Group, lists: list[Slots], by: int) -> Slots:
    """The members sorted by what they read in one list, then in the others."""
    firsts = [slots[::repeat] for slots, repeat in zip(lists, _repeats(group), strict=True)]
    return np.lexsort([*firsts[:by], *firsts[by + 1 :], firsts[by]])


def _repeats(group: Group) -> list[int]:
    """For each list of a group how many elements belong to one member."""
    return [part.repeat for part in group.parts for _ in part.lists]


def together(start: float | None, parts: list[tuple[Body, list[Any]]]) -> tuple[Body, list[Any]]:
    """A number and the sum of several parts as one body over all their lists.

    >>> together(1.5, [(("*", (0, 1)), ["a", "b"]), (("neg", (0,)), ["c"])])
    (('-', (('+', (1.5, ('*', (0, 1)))), 2)), ['a', 'b', 'c'])
    """
    total: Body | None = None if start == 0.0 and math.copysign(1.0, start) < 0.0 else start
    every: list[Any] = []
    for body, lists in parts:
        minus = total is not None and isinstance(body, tuple) and body[0] == "neg"
        term = body[1][0] if minus else body  # type: ignore[index]
        term = over(term, [len(every) + i for i in range(len(lists))])
        total = term if total is None else ("-" if minus else "+", (total, term))
        every += lists
    return total, every  # type: ignore[return-value]


def over(body: Body, places: Sequence[Body]) -> Body:
    """The body with these in place of its operands.

    >>> over(("*", (0, 1)), [5, 2.0])
    ('*', (5, 2.0))
    """
    if isinstance(body, int):
        return places[body]
    if isinstance(body, float):
        return body
    return body[0], tuple([over(part, places) for part in body[1]])
