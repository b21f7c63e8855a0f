"""The table of operations in a page, against Python's."""

import json
import math
import random

import pytest

from gradloom.core.table import OPS
from gradloom.view.rules import rule_of

pytest.importorskip("py_mini_racer")

from gradloom.view.layout import engine

EDGES = [0.0, -0.0, 1.0, -1.0, 2.0, -2.5, 1e-9, 30.0, -30.0, 800.0, math.inf, -math.inf, math.nan]


def in_page(script: str, *arguments: object) -> object:
    text = ", ".join(json.dumps(argument) for argument in arguments)
    return json.loads(engine("ops.js").eval(f"JSON.stringify((({script})({text})))"))


def coded(x: float | None) -> float | str | None:
    return x if x is None or math.isfinite(x) else str(x)


def same(ours: float | None, theirs: float | str | None, tolerance: float = 1e-13) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    theirs = float(theirs)
    if math.isnan(ours) or math.isnan(theirs):
        return math.isnan(ours) and math.isnan(theirs)
    return ours == theirs or abs(ours - theirs) <= tolerance * max(abs(ours), 1e-3)


CODE = "x => x === null || Number.isFinite(x) ? x : String(x).replace('Infinity', 'inf')"


def evaluated(symbol: str, points: list[list[float]]) -> list[float | str]:
    script = f"""(symbol, points) => points.map(xs =>
        ({CODE})(ops[symbol](...xs.map(x =>
            typeof x === "string" ? Number(x.replace("inf", "Infinity")) : x))))"""
    found = in_page(script, symbol, [[coded(x) for x in xs] for xs in points])
    assert isinstance(found, list)
    return found


def arity_of(symbol: str) -> int:
    return OPS[symbol].arity or 4


def sampled(symbol: str, count: int = 60) -> list[list[float]]:
    rng = random.Random(symbol)
    domain, arity = OPS[symbol].domain, arity_of(symbol)
    places = [domain[i if len(domain) > 1 else 0] for i in range(arity)]
    return [[rng.uniform(*rng.choice(place)) for place in places] for _ in range(count)]


@pytest.mark.parametrize("symbol", list(OPS))
def test_an_operation_gives_what_its_row_gives(symbol: str) -> None:
    points = sampled(symbol)
    ours = [OPS[symbol].evaluate(*xs) for xs in points]
    pairs = zip(points, ours, evaluated(symbol, points), strict=True)
    assert [(xs, y, z) for xs, y, z in pairs if not same(y, z)] == []


@pytest.mark.parametrize("symbol", list(OPS))
def test_an_operation_gives_what_its_row_gives_at_the_edges(symbol: str) -> None:
    rng = random.Random(symbol)
    arity = arity_of(symbol)
    points = [[x] for x in EDGES] if arity == 1 else []
    points += [[a, b] for a in EDGES for b in EDGES] if arity == 2 else []
    points += [rng.choices(EDGES, k=arity) for _ in range(60)] if arity > 2 else []
    ours = [OPS[symbol].evaluate(*xs) for xs in points]
    pairs = zip(points, ours, evaluated(symbol, points), strict=True)
    assert [(xs, y, z) for xs, y, z in pairs if not same(y, z)] == []


@pytest.mark.parametrize("symbol", list(OPS))
def test_a_rule_gives_the_derivatives_of_its_row(symbol: str) -> None:
    op, arity = OPS[symbol], arity_of(symbol)
    points = sampled(symbol)
    ours = [op.derivatives(op.evaluate(*xs), xs, [True] * arity) for xs in points]
    script = f"""(rule, symbol, points) => points.map(xs =>
        derivatives(rule, ops[symbol](...xs), xs).map({CODE}))"""
    theirs = in_page(script, rule_of(symbol, arity), symbol, points)
    assert isinstance(theirs, list)
    for xs, mine, found in zip(points, ours, theirs, strict=True):
        for d, e in zip(mine, found, strict=True):
            # A derivative that is 0 for every number blocks as None does.
            assert same(d, e, 1e-12) or (not d and not e), (xs, mine, found)


def test_a_long_maximum_has_a_short_rule() -> None:
    assert len(rule_of("max", 100)["steps"]) < 400
