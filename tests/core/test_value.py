"""Values: the graph they build, the walk back, and what both cost."""

import gc
import itertools
import math
import operator
import struct
import sys
import threading
import tracemalloc
import types
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as hs

import gradloom as gl
import strategies as st
from gradloom import Value, grad
from gradloom.core import value as module
from gradloom.core.table import OPS

# What a value shows


def test_a_leaf_holds_a_number_and_nothing_else() -> None:
    x = Value(2)
    assert (x.data, x.grad, x._prev, x._op, x._label, x.label) == (2.0, 0.0, (), "", "", "")
    assert type(x.data) is float


def test_the_attributes_of_micrograd_are_there() -> None:
    a, b = Value(2.0, label="a"), Value(-3.0)
    c = a * b
    assert (c._prev, c._op) == ((a, b), "*")
    assert c._prev[0] is a
    assert callable(c._backward)
    c.grad = 1.0
    c._backward()
    assert (a.grad, b.grad) == (-3.0, 2.0)
    a._backward()  # a leaf has nothing to hand on
    assert (a.grad, b.grad, a._prev) == (-3.0, 2.0, ())


def test_the_walk_of_the_lecture_gives_the_same_gradients() -> None:
    def build() -> tuple[Value, Value]:
        x = Value(0.5)
        return x, gl.sum([x * 3.0, (2.0 - x).tanh(), x.relu() / x, x**2])

    x, y = build()
    order: list[Value] = []
    seen = set()

    def visit(v: Value) -> None:
        if v not in seen:
            seen.add(v)
            for child in v._prev:
                visit(child)
            order.append(v)

    visit(y)
    y.grad = 1.0
    for v in reversed(order):
        v._backward()
    x2, y2 = build()
    y2.backward()
    assert x.grad == x2.grad


def test_a_label_can_be_given_and_changed() -> None:
    a = Value(2.0, label="a")
    assert a.label == a._label == "a"
    a.label = "b"
    assert a._label == "b"
    a._label = "c"
    assert a.label == "c"
    y = a + 1.0
    assert y.label == ""
    y.label = "y"
    assert repr(y) == "Value(data=3.0, grad=0.0, label='y')"


def test_operands_stand_in_order_numbers_too() -> None:
    a = Value(2.0)
    for y, expected in (
        (a - 3, [2.0, 3.0]),
        (3 - a, [3.0, 2.0]),
        (3.0 * a, [3.0, 2.0]),
        (a * 3.0, [2.0, 3.0]),
        (3 / a, [3.0, 2.0]),
        (a**3, [2.0, 3.0]),
        (3**a, [3.0, 2.0]),
        (a - a, [2.0, 2.0]),
        (gl.max(1, a, 5.0), [1.0, 2.0, 5.0]),
        (a.exp(), [2.0]),
    ):
        assert [p.data for p in y._prev] == expected
        assert all(isinstance(p, Value) for p in y._prev)
        assert any(p is a for p in y._prev)


def test_asking_for_the_operands_does_not_change_the_gradient() -> None:
    for build in (
        lambda a: 3.0 * a,
        lambda a: a - 3.0,
        lambda a: 3.0**a,
        lambda a: gl.sum([1.0, a]),
    ):
        a, b = Value(2.0), Value(2.0)
        asked, plain = build(a), build(b)
        first = asked._prev
        assert asked._prev == first
        assert all(p is q for p, q in zip(asked._prev, first, strict=True))
        for _ in range(2):
            asked.backward()
            plain.backward()
            assert a.grad == b.grad


def test_a_misspelt_attribute_is_an_error() -> None:
    with pytest.raises(AttributeError):
        Value(1.0).gradient = 2.0  # type: ignore[attr-defined]
    assert not hasattr(Value(1.0), "__dict__")


# Spelled-out operators


SPELLED: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
}


def bits(x: float | None) -> bytes | None:
    """All nans alike, all else bit for bit."""
    return None if x is None else struct.pack("d", math.nan if math.isnan(x) else x)


def node(y: Value) -> tuple[Any, ...]:
    """All there is to a node."""
    local = dict(zip(map(id, y._operands), y._local, strict=True))
    operands = [(bits(p.data), bits(local.get(id(p)))) for p in y._prev]
    return y._op, bits(y.data), operands, [bits(d) for d in y._local]


@pytest.mark.parametrize("symbol", sorted(SPELLED))
@hypothesis.given(a=st.floats, b=st.floats | hs.integers())
@hypothesis.settings(max_examples=150, deadline=None)
def test_operators_agree_with_their_rows_bit_for_bit(symbol: str, a: float, b: Any) -> None:
    how, op = SPELLED[symbol], OPS[symbol]
    hypothesis.assume(abs(b) < 2**900 or not isinstance(b, int))
    for x, y in ((Value(a), Value(b)), (Value(a), b), (b, Value(a))):
        found = how(x, y)
        left, right = float(getattr(x, "data", x)), float(getattr(y, "data", y))
        expected = op.evaluate(left, right)
        slopes = [rule(expected, left, right) for rule in op.partials]  # type: ignore[union-attr]
        assert type(found) is Value
        assert (found._op, bits(found.data)) == (symbol, bits(expected))
        assert [bits(p.data) for p in found._prev] == [bits(left), bits(right)]
        assert [p is v for p, v in zip(found._prev, (x, y), strict=True)] == [
            isinstance(x, Value),
            isinstance(y, Value),
        ]
        for operand, local, slope in zip((x, y), found._local, slopes, strict=True):
            if not isinstance(operand, Value) or (op.masks and slope == 0.0):
                assert local is None
            else:
                assert bits(local) == bits(slope)


@pytest.mark.parametrize("symbol", sorted(SPELLED))
def test_a_watched_operator_makes_the_same_node(symbol: str) -> None:
    how = SPELLED[symbol]
    for a, b in itertools.product((2.5, -1.5, 3), repeat=2):
        for x, y in ((Value(a), Value(b)), (Value(a), b), (a, Value(b))):
            plain = how(x, y)
            if not math.isfinite(plain.data):
                continue
            with gl.detect_anomaly():
                watched = how(x, y)
            assert node(watched) == node(plain)


# backward


def test_the_example_of_micrograd() -> None:
    a, b = Value(-4.0), Value(2.0)
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + (b + a).relu()
    d += 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2.0
    g += 10.0 / f
    assert f"{g.data:.4f}" == "24.7041"
    g.backward()
    assert f"{a.grad:.4f}" == "138.8338"
    assert f"{b.grad:.4f}" == "645.5773"


def test_a_second_pass_adds_up_at_leaves_alone() -> None:
    x = Value(3.0)
    inner = x * x
    y = inner**2
    y.backward()
    assert (x.grad, inner.grad, y.grad) == (108.0, 18.0, 1.0)
    y.backward()
    assert (x.grad, inner.grad, y.grad) == (216.0, 18.0, 1.0)
    x.grad = 0.0
    y.backward()
    assert (x.grad, inner.grad, y.grad) == (108.0, 18.0, 1.0)


def test_inner_nodes_show_the_last_pass_whichever_root_it_had() -> None:
    x = Value(2.0)
    shared = x * 3.0
    first, second = shared * shared, shared.square() * 5.0
    first.backward()
    assert shared.grad == 12.0
    second.backward()
    assert shared.grad == 60.0
    assert x.grad == 3.0 * (12.0 + 60.0)


def test_a_pass_from_an_inner_node_starts_at_1() -> None:
    x = Value(2.0)
    inner = x * 3.0
    (inner * 7.0).backward()
    inner.backward()
    assert inner.grad == 1.0
    assert x.grad == 21.0 + 3.0


def test_backward_from_a_leaf_counts_up_by_1() -> None:
    x = Value(2.0)
    x.backward()
    x.backward()
    assert x.grad == 2.0


def test_a_value_used_many_times_gets_every_share() -> None:
    x = Value(3.0)
    (x + x).backward()
    assert x.grad == 2.0
    x.grad = 0.0
    (x * x * x + x - x / x).backward()
    assert x.grad == 28.0
    x.grad = 0.0
    gl.sum([x, x, x * x, 1.0, x]).backward()
    assert x.grad == 9.0


def test_diamonds_on_diamonds_are_walked_once() -> None:
    x = Value(1.0)
    y = x
    for _ in range(200):  # 2 ** 200 paths
        y = 0.5 * y + 0.5 * y
    y.backward()
    assert x.grad == 1.0
    order, _ = module._topological(y)
    assert len(order) == 600


def test_an_operand_comes_after_everything_made_from_it() -> None:
    x = Value(1.0)
    deep = x * 2.0
    for _ in range(5):
        deep = deep + 1.0
    orders = [x * 2.0, deep]
    for left, right in itertools.permutations([orders[0], deep, orders[0] * deep], 2):
        root = left * right + gl.sum([right, deep, left]) + left
        order, _ = module._topological(root)
        place = {id(n): i for i, n in enumerate(order)}
        assert len(place) == len(order)
        for n in order:
            assert all(place[id(p)] < place[id(n)] for p in n._prev if p._op)


GROW: list[Callable[[Value, Value, Value], Value]] = [
    lambda a, b, _: a + b,
    lambda a, b, _: a * b,
    lambda a, b, _: a // b,
    lambda a, _, __: -a,
    lambda a, _, __: a.relu(),
    lambda a, _, __: 2.0 * a,
    lambda a, b, c: gl.sum([a, b, c, 1.0]),
    gl.where,
]


@hypothesis.given(hs.data())
@hypothesis.settings(max_examples=150, deadline=None)
def test_random_graphs_are_walked_in_order_and_once(data: Any) -> None:
    nodes = [Value(1.0), Value(2.0)]
    for _ in range(data.draw(hs.integers(1, 25))):
        pick = hs.integers(0, len(nodes) - 1).map(nodes.__getitem__)
        how = data.draw(hs.sampled_from(GROW))
        nodes.append(how(data.draw(pick), data.draw(pick), data.draw(pick)))
    root = nodes[-1]
    expected, waiting = set(), [root]
    while waiting:
        n = waiting.pop()
        if n._op and id(n) not in expected:
            expected.add(id(n))
            waiting.extend(n._prev)
    order, _ = module._topological(root)
    place = {id(n): i for i, n in enumerate(order)}
    assert len(order) == len(place)
    assert set(place) == expected
    for n in order:
        assert all(place.get(id(p), -1) < place[id(n)] for p in n._prev)
    root.backward()
    leaf = nodes[0].grad
    root.backward()
    assert nodes[0].grad == 2.0 * leaf or math.isnan(leaf) or math.isinf(leaf)


ELEMENTARY = types.SimpleNamespace(
    **{name: getattr(gl, name) for name in ("tanh", "sin", "exp", "log", "sqrt")}
)


@hypothesis.given(st.formulas(), hs.lists(st.moderate, min_size=3, max_size=3))
@hypothesis.settings(max_examples=100, deadline=None)
def test_random_formulas_agree_with_autograd_and_with_differences(
    formula: st.Formula, numbers: list[float]
) -> None:
    anp = pytest.importorskip("autograd.numpy")
    autograd = pytest.importorskip("autograd")
    xs = numbers[: formula.inputs]
    values = [Value(x) for x in xs]
    y = formula(values, ELEMENTARY)
    y.backward()
    reverse = grad(lambda v: formula(v, ELEMENTARY))(xs)
    for i, value in enumerate(values):

        def along(x: Any, i: int = i) -> Any:
            return formula([*xs[:i], x, *xs[i + 1 :]], anp)

        assert y.data == pytest.approx(float(along(xs[i])), rel=1e-12, abs=1e-12)
        theirs = float(autograd.grad(along)(xs[i]))
        assert value.grad == pytest.approx(theirs, rel=1e-9, abs=1e-9)
        assert reverse[i] == pytest.approx(value.grad, rel=1e-12, abs=1e-12)
        h = 6e-6
        difference = float(along(xs[i] + h) - along(xs[i] - h)) / (2.0 * h)
        assert value.grad == pytest.approx(difference, rel=1e-6, abs=1e-6)


def test_what_a_mask_blocks_is_nan_proof_in_backward() -> None:
    x = Value(-1.0)
    behind = (x.sqrt() * 3.0).exp()
    y = gl.where(x > 0, behind, x * 2.0)
    y.backward()
    assert (x.grad, behind.grad) == (2.0, 0.0)
    y.backward()
    assert x.grad == 4.0


def test_threads_each_with_a_graph_of_their_own_do_not_disturb_each_other() -> None:
    barrier = threading.Barrier(4)

    def work(seed: float) -> tuple[float, float]:
        barrier.wait()
        for _ in range(30):
            x = Value(seed)
            y = x
            for _ in range(200):
                y = (y * 0.5 + x).tanh()
            y.backward()
        return y.data, x.grad

    seeds = [0.1, 0.2, 0.3, 0.4]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(work, seeds))
    barrier = threading.Barrier(1)
    assert together == [work(seed) for seed in seeds]


# Size


def chain(length: int, x: Value) -> Value:
    """Every kind of node in turn, one after another."""
    y = x
    for i in range(length // 5):
        y = y + x
        y = y * 0.5
        y = 1.0 - y
        y = gl.sum([y, x, 0.1]) if i % 10 == 0 else y - x
        y = y.tanh()
    return y


def test_a_chain_of_a_million_operations_goes_forward_and_back() -> None:
    x = Value(0.5)
    y = x
    for _ in range(1_000_000):
        y = y + 1.0
    y.backward()
    assert (y.data, x.grad) == (1_000_000.5, 1.0)
    del y  # freed without recursion


@pytest.mark.parametrize("unary", [True, False])
def test_a_long_chain_of_one_kind_is_freed_without_recursion(unary: bool) -> None:
    y = Value(0.5)
    for _ in range(200_000):
        y = y.sin() if unary else gl.sum([y, 1.0])
    y.backward()
    assert y.grad == 1.0
    del y  # freed without recursion, or the process is gone


def steps_of(run: Callable[[], object]) -> int:
    """How many lines of Python a call runs: a measure of work without a clock."""
    count = 0

    def trace(_frame: Any, event: str, _arg: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("shape", ["sum", "dot", "chain", "builtin sum", "shared"])
def test_backward_is_linear_in_the_nodes(shape: str) -> None:
    def build(n: int) -> Value:
        x = Value(0.5)
        inner = [x * 2.0 for _ in range(n)]
        if shape == "sum":
            return gl.sum(inner)
        if shape == "dot":
            return gl.dot(inner, reversed(inner))
        if shape == "chain":
            return chain(n, x)
        if shape == "shared":  # n nodes that all use the same n operands' sum
            total = gl.sum(inner)
            return gl.sum([y * total for y in inner])
        return sum(inner, Value(0.0))

    small, large = build(1_000), build(10_000)
    assert steps_of(large.backward) < 11 * steps_of(small.backward)


def test_a_sum_of_a_hundred_thousand_inner_nodes() -> None:
    x = Value(0.5)
    y = gl.sum([x * 2.0 for _ in range(100_000)])
    y.backward()
    assert (y.data, x.grad) == (100_000.0, 200_000.0)


def test_a_node_takes_at_most_200_bytes() -> None:
    x, w, b = Value(0.5), Value(0.7), Value(-0.1)

    def build(rounds: int) -> tuple[Value, int]:
        """The operations of networks and physics, and how many they were."""
        y = x
        for _ in range(rounds):
            y = y * w
            y = y + b
            y = y.tanh()
            y = y - 0.1
            y = (y * y) / (w + 2.0)
            y = gl.exp(-y) + x
            y = y**2
        return y, rounds * 11

    build(10)[0].backward()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        y, nodes = build(5_000)
        y.backward()
        after = tracemalloc.get_traced_memory()[0]
        assert len(module._topological(y)[0]) == nodes
    finally:
        tracemalloc.stop()
    assert (after - before) / nodes <= 200.0


@pytest.fixture
def no_collector() -> Iterator[None]:
    """The garbage collector off, and its work done."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def count_values() -> int:
    return sum(isinstance(x, Value) for x in gc.get_objects())


@pytest.mark.usefixtures("no_collector")
def test_memory_is_back_with_the_last_reference_without_the_collector() -> None:
    x = Value(0.5)
    before = count_values()
    y = chain(5_000, x)
    y.backward()
    kept = [n._prev for n in module._topological(y)[0]]  # asking for operands makes no cycles
    assert count_values() > before + 5_000
    del kept, y
    assert count_values() == before
    assert gc.collect() == 0


@pytest.mark.usefixtures("no_collector")
def test_nested_derivatives_leave_no_garbage() -> None:
    def f(x: Any) -> Any:
        return gl.sum([x.tanh() * x, x**3]).exp()

    for run in (
        lambda: grad(grad(f))(0.3),
        lambda: gl.hessian(lambda v: f(v[0]) * v[1])([0.3, 0.4]),
        lambda: gl.jvp(f, (0.3,), (1.0,)),
        lambda: grad(f)(Value(0.3)).backward(),
    ):
        run()
        gc.collect()
        run()
        assert gc.collect() == 0


class Weak(Value):
    """A value that can be referred to weakly."""

    __slots__ = ("__weakref__",)


def test_a_leaf_is_let_go_with_the_graph_over_it() -> None:
    x = Weak(2.0)
    gone = weakref.ref(x)
    y = x * 3.0 + x
    y.backward()
    assert x.grad == 4.0
    del x
    assert gone() is not None
    del y
    assert gone() is None


class Shifted(Value):
    """A subclass that keeps its number elsewhere, as parameters do."""

    __slots__ = ("_held",)

    def __init__(self, data: float) -> None:
        self._held = [data, 0.0]
        self._op = ""
        self._left = None

    @property
    def data(self) -> float:  # type: ignore[override]
        return self._held[0]

    @property
    def grad(self) -> float:  # type: ignore[override]
        return self._held[1]

    @grad.setter
    def grad(self, grad: float) -> None:
        self._held[1] = grad


def test_a_subclass_may_keep_data_and_gradient_elsewhere() -> None:
    x, y = Shifted(2.0), Value(3.0)
    z = x * y + y * x + x**2 - 1.0 / x + gl.sum([x, y]) + x.tanh()
    z.backward()
    plain = grad(lambda x: 6.0 * x + x**2 - 1.0 / x + x + x.tanh())(2.0)
    assert x._held[1] == pytest.approx(plain)
    assert type(z) is Value


def test_results_are_plain_values_whatever_the_operands() -> None:
    assert type(Weak(1.0) + Weak(2.0)) is Value
