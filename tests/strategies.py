"""What the property tests draw: numbers of every kind, operands of the table's rows, formulas."""

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from gradloom.core.table import OPS, Op

# Every float there is, with a leaning towards those that break things.
floats = st.floats() | st.sampled_from(
    [0.0, -0.0, 1.0, -1.0, float("inf"), float("-inf"), float("nan"), 5e-324, 1.7e308, 710.0]
)
# Whatever else counts as a number in plain Python.
numbers = floats | st.integers() | st.sampled_from([10**400, -(10**400), True, False])
moderate = st.floats(-3.0, 3.0)

EVEN = {"dot"}  # rows of any arity that need an even number of operands
TIES = {"max", "min", "greater", "less_equal", "equal"}  # rows that jump where operands tie
symbols = st.sampled_from(sorted(OPS))


def count(op: Op) -> st.SearchStrategy[int]:
    """How many operands a row may be given."""
    if op.arity is not None:
        return st.just(op.arity)
    return st.sampled_from([2, 4, 6] if op.symbol in EVEN else [1, 2, 3, 5])


@st.composite
def operands(draw: st.DrawFn, op: Op, of: st.SearchStrategy[Any]) -> list[Any]:
    """As many operands as the row takes, of one kind."""
    size = draw(count(op))
    return draw(st.lists(of, min_size=size, max_size=size))


@st.composite
def in_domain(draw: st.DrawFn, op: Op) -> list[float]:
    """Operands from the row's own domain, where it is smooth."""
    size = draw(count(op))
    domains = op.domain * size if op.arity is None else op.domain
    xs = [draw(st.one_of([st.floats(*interval) for interval in each])) for each in domains]
    if op.symbol in TIES:
        ordered = sorted(xs)
        assume(all(b - a > 1e-4 for a, b in itertools.pairwise(ordered)))
    return xs


@dataclass(frozen=True)
class Formula:
    """A random smooth formula: each step takes two of the numbers so far.

    It runs on anything that has Python's operators, given the functions in `elementary`.
    """

    inputs: int
    steps: tuple[tuple[str, int, int, float], ...]

    def __call__(self, xs: Sequence[Any], elementary: Any) -> Any:
        rules: dict[str, Callable[[Any, Any, float], Any]] = {
            "+": lambda a, b, _: a + b,
            "-": lambda a, b, _: a - b,
            "*": lambda a, b, _: a * b,
            "/": lambda a, b, _: a / (b * b + 1.0),
            "**": lambda a, b, _: (a * a + 1.0) ** elementary.tanh(b),
            "c+": lambda a, _, c: c + a,
            "c*": lambda a, _, c: c * a,
            "c-": lambda a, _, c: c - a,
            "c/": lambda a, _, c: c / (a * a + 1.0),
            "c**": lambda a, _, c: (abs(c) + 0.5) ** elementary.tanh(a),
            "**2": lambda a, _, __: a**2,
            "tanh": lambda a, _, __: elementary.tanh(a),
            "sin": lambda a, _, __: elementary.sin(a),
            "exp": lambda a, _, __: elementary.exp(elementary.sin(a)),
            "log": lambda a, _, __: elementary.log(a * a + 1.0),
            "sqrt": lambda a, _, __: elementary.sqrt(a * a + 1.0),
        }
        found = list(xs)
        for how, i, j, c in self.steps:
            squeezed = [elementary.tanh(found[k % len(found)]) for k in (i, j)]  # keep it moderate
            found.append(rules[how](*squeezed, c))
        return functools.reduce(lambda a, b: a + b, found)


@st.composite
def formulas(draw: st.DrawFn, longest: int = 12) -> Formula:
    """Formulas of one to three inputs; later steps use earlier ones more than once."""
    step = st.tuples(
        st.sampled_from(
            "+ - * / ** c+ c* c- c/ c** **2 tanh sin exp log sqrt".split()  # noqa: SIM905
        ),
        st.integers(0, 50),
        st.integers(0, 50),
        st.floats(-2.0, 2.0),
    )
    return Formula(
        draw(st.integers(1, 3)), tuple(draw(st.lists(step, min_size=1, max_size=longest)))
    )
