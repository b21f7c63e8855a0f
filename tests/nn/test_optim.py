"""Optimisers follow PyTorch's and the published rules, resume exactly, and refuse bad input."""

import copy
import json
import math
import pickle
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradloom import Value
from gradloom.errors import ArgumentError, DataError, GradloomError, NotANumberError
from gradloom.nn import (
    MLP,
    OPTIMIZERS,
    SGD,
    Adam,
    AdamW,
    Module,
    Optimizer,
    Parameter,
    RMSprop,
    binary_cross_entropy,
    clip_grad_norm,
    clip_grad_value,
)
from gradloom.nn.module import packed

# Each kind with every option in use, and with its defaults.
VARIANTS: list[tuple[type[Optimizer], dict[str, Any]]] = [
    (SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.01}),
    (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (RMSprop, {"momentum": 0.9, "centered": True, "weight_decay": 0.01}),
    (Adam, {"weight_decay": 0.01}),
    (AdamW, {}),
    *((kind, {}) for kind in (SGD, RMSprop, Adam)),
]
variants = pytest.mark.parametrize(("kind", "options"), VARIANTS)
histories = st.lists(st.floats(-100, 100).filter(lambda g: abs(g) > 1e-3), min_size=1, max_size=8)


def run(optimizer: Optimizer, gradients: list[list[float]]) -> list[list[float]]:
    """The numbers after each step with these gradients."""
    found = []
    for gradient in gradients:
        for p, g in zip(optimizer.parameters, gradient, strict=True):
            p.grad = g
        optimizer.step()
        found.append([p.data for p in optimizer.parameters])
    return found


def noise(steps: int, size: int) -> list[list[float]]:
    rng = random.Random(7)
    return [[rng.gauss(0, 1) for _ in range(size)] for _ in range(steps)]


@pytest.mark.parametrize("leaf", [Parameter, Value])
def test_numbers_are_pytorchs(
    optimizer_case: dict[str, Any], figures: dict[str, Any], leaf: type[Value]
) -> None:
    kind = OPTIMIZERS[optimizer_case["optimizer"]]
    optimizer = kind([leaf(x) for x in figures["start"]], **optimizer_case["options"])
    for ours, theirs in zip(
        run(optimizer, figures["gradients"]), optimizer_case["numbers"], strict=True
    ):
        assert ours == pytest.approx(theirs, rel=1e-12, abs=1e-15)


# The rules as published, one number at a time: x and the gradients in, the xs out.


def published_momentum(x: float, gs: list[float]) -> Iterator[float]:
    """Sutskever et al. 2013, equations 1 and 2, the learning rate taken out of the velocity."""
    v = 0.0
    for g in gs:
        v = 0.9 * v + g
        x = x - 0.1 * v
        yield x


def published_rmsprop(x: float, gs: list[float]) -> Iterator[float]:
    """Hinton's lecture 6.5, slide 29."""
    mean_square = 0.0
    for g in gs:
        mean_square = 0.9 * mean_square + 0.1 * g**2
        x = x - 0.01 * g / (math.sqrt(mean_square) + 1e-8)
        yield x


def published_adam(x: float, gs: list[float], decay: float = 0.0) -> Iterator[float]:
    """Kingma & Ba 2015, algorithm 1; with decay Loshchilov & Hutter 2019, algorithm 2."""
    m = v = 0.0
    for t, g in enumerate(gs, start=1):
        m = 0.9 * m + (1 - 0.9) * g
        v = 0.999 * v + (1 - 0.999) * g**2
        m_hat = m / (1 - 0.9**t)
        v_hat = v / (1 - 0.999**t)
        x = x - 0.01 * m_hat / (math.sqrt(v_hat) + 1e-8) - 0.01 * decay * x
        yield x


@pytest.mark.parametrize(
    ("make", "published"),
    [
        (lambda p: SGD(p, lr=0.1, momentum=0.9), published_momentum),
        (lambda p: RMSprop(p, lr=0.01, alpha=0.9), published_rmsprop),
        (lambda p: Adam(p, lr=0.01), published_adam),
        (lambda p: AdamW(p, lr=0.01, weight_decay=0.3), lambda x, g: published_adam(x, g, 0.3)),
    ],
)
@given(x=st.floats(-10, 10), gradients=histories)
def test_numbers_are_those_of_the_published_rule(
    make: Callable[[list[Value]], Optimizer],
    published: Callable[[float, list[float]], Iterator[float]],
    x: float,
    gradients: list[float],
) -> None:
    found = [step[0] for step in run(make([Value(x)]), [[g] for g in gradients])]
    assert found == pytest.approx(list(published(x, gradients)), rel=1e-11, abs=1e-11)


def test_plain_descent_is_new_equals_old_minus_rate_times_gradient() -> None:
    assert run(SGD([Value(3.0)], lr=0.5), [[1.0], [-4.0]]) == [[2.5], [4.5]]


@variants
def test_packed_parameters_and_plain_values_move_alike(
    kind: type[Optimizer], options: dict[str, Any]
) -> None:
    start, gradients = [0.5, -2.0, 0.0], noise(10, 3)
    ours = kind([Parameter(x) for x in start], **options)
    plain = kind([Value(x) for x in start], **options)
    assert run(ours, gradients) == run(plain, gradients)


@variants
class TestState:
    def test_goes_on_bit_for_bit_after_json(
        self, kind: type[Optimizer], options: dict[str, Any]
    ) -> None:
        start, gradients = [0.5, -2.0, 0.0], noise(20, 3)
        straight = run(kind([Value(x) for x in start], **options), gradients)
        first = kind([Value(x) for x in start], **options)
        run(first, gradients[:10])
        second = kind([Value(p.data) for p in first.parameters], **options)
        second.load_state(json.loads(json.dumps(first.state())))
        assert run(second, gradients[10:]) == straight[10:]

    @pytest.mark.parametrize(
        "change",
        [
            {"type": "Lion"},
            {"lr": -1.0},
            {"lr": None},
            {"steps": 1.5},
            {"slot": 1},
            {"velocity": [1.0]},
            {"velocity": [1.0, "2", 3.0]},
            {"velocity": 1.0},
            {"mean_square": [1.0] * 4},
            {"mean_square": None},
        ],
    )
    def test_that_does_not_fit_is_refused_and_changes_nothing(
        self, kind: type[Optimizer], options: dict[str, Any], change: dict[str, Any]
    ) -> None:
        optimizer = kind([Value(1.0), Value(2.0), Value(3.0)], **options)
        run(optimizer, noise(2, 3))
        before = optimizer.state()
        with pytest.raises(GradloomError):
            optimizer.load_state(before | {"lr": 0.7, "steps": 9} | change)
        assert optimizer.state() == before

    def test_survives_deepcopy_and_pickle_with_the_model(
        self, kind: type[Optimizer], options: dict[str, Any]
    ) -> None:
        net = MLP(2, [2, 1], seed=1)
        optimizer = kind(net, **options)
        size = len(optimizer.parameters)
        run(optimizer, noise(3, size))
        twins = [copy.deepcopy((net, optimizer)), pickle.loads(pickle.dumps((net, optimizer)))]
        after = run(optimizer, noise(3, size))
        for twin_net, twin in twins:
            assert run(twin, noise(3, size)) == after
            assert list(twin_net.pack()[0]) == after[-1]


def test_a_state_of_another_size_or_kind_says_so() -> None:
    optimizer = SGD([Value(1.0)])
    with pytest.raises(DataError, match="this is not the state of an optimiser of kind SGD: None"):
        optimizer.load_state(None)  # type: ignore[arg-type]
    with pytest.raises(
        DataError, match="SGD: velocity in the state has 2 numbers for 1 parameters"
    ):
        optimizer.load_state(SGD([Value(1.0), Value(2.0)]).state())
    with pytest.raises(
        DataError, match=r"this is not the state of an optimiser of kind SGD: \{'type"
    ):
        optimizer.load_state(Adam([Value(1.0)]).state())


class TestParameters:
    def test_may_be_a_module_or_any_leaves(self) -> None:
        net = MLP(2, [1], seed=1)
        assert SGD(net).parameters == SGD(iter(net.parameters())).parameters == net.parameters()

    def test_are_packed_so_that_no_step_copies_them(self) -> None:
        ps = [Parameter(1.0), Parameter(2.0)]
        SGD(ps)
        assert packed(ps)

    def test_of_one_module_may_have_two_optimisers(self) -> None:
        net = MLP(2, [3, 1], seed=1)
        before = net.state()
        first, last = SGD(net.layers[0], lr=1.0), SGD(net.layers[1].parameters(), lr=0.5)
        net.pack()
        for p in net.parameters():
            p.grad = 1.0
        first.step()
        last.step()
        moved = [a - b for a, b in zip(flat(before), flat(net.state()), strict=True)]
        assert moved == pytest.approx([1.0] * 9 + [0.5] * 4, rel=1e-15)

    def test_given_twice_move_once(self) -> None:
        p = Value(1.0)
        run(SGD([p, p], lr=1.0), [[2.0]])
        assert p.data == -1.0

    def test_have_their_gradients_zeroed(self) -> None:
        x = Value(3.0)
        (x * x).backward()
        SGD([x]).zero_grad()
        assert x.grad == 0.0

    @pytest.mark.parametrize("kind", OPTIMIZERS.values())
    def test_are_needed(self, kind: Callable[..., Optimizer]) -> None:
        for nothing in ([], Module()):
            with pytest.raises(ArgumentError, match="there are no parameters to optimise"):
                kind(nothing)

    def test_are_leaves(self) -> None:
        with pytest.raises(ArgumentError, match="SGD optimises leaves, not results of operations"):
            SGD([Value(1.0) * 2.0])

    def test_are_values(self) -> None:
        with pytest.raises(NotANumberError, match="parameters are Values, got 'w'"):
            SGD("w")  # type: ignore[arg-type]


def flat(nested: Any) -> list[float]:
    if isinstance(nested, dict):
        nested = list(nested.values())
    return [x for part in nested for x in flat(part)] if isinstance(nested, list) else [nested]


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        *((kind, {"lr": lr}, r"lr is a number in \[0") for kind in (SGD, Adam) for lr in (-1, "a")),
        (AdamW, {"lr": math.nan}, r"AdamW: lr is a number in \[0, inf\), got nan"),
        (SGD, {"momentum": -0.1}, "SGD: momentum"),
        (SGD, {"dampening": -0.1}, "SGD: dampening"),
        (SGD, {"weight_decay": -0.1}, "SGD: weight_decay"),
        (SGD, {"nesterov": True}, "nesterov needs a momentum above 0 and a dampening of 0"),
        (SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "nesterov needs"),
        (RMSprop, {"alpha": 1.0}, r"RMSprop: alpha is a number in \[0, 1\), got 1.0"),
        (RMSprop, {"eps": 0}, r"RMSprop: eps is a number in \(0, inf\), got 0"),
        (RMSprop, {"momentum": math.inf}, "RMSprop: momentum"),
        (RMSprop, {"weight_decay": None}, "RMSprop: weight_decay"),
        (Adam, {"betas": (0.9, 1.0)}, r"Adam: betas\[1\] is a number in \[0, 1\), got 1.0"),
        (Adam, {"betas": 0.9}, r"Adam: betas is a pair such as \(0.9, 0.999\), got 0.9"),
        (Adam, {"betas": (0.9,)}, "Adam: betas is a pair"),
        (Adam, {"eps": -1e-8}, "Adam: eps"),
        (AdamW, {"weight_decay": -1}, "AdamW: weight_decay"),
    ],
)
def test_a_bad_option_is_refused_by_name(
    kind: type[Optimizer], options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ArgumentError, match=told):
        kind([Value(1.0)], **options)


def test_the_learning_rate_may_change_at_any_time_but_only_to_a_rate() -> None:
    optimizer = SGD([Value(1.0)], lr=1.0)
    optimizer.lr = 0.25
    assert run(optimizer, [[2.0]]) == [[0.5]]
    with pytest.raises(ArgumentError, match="SGD: lr is a number in"):
        optimizer.lr = -0.1
    assert optimizer.lr == 0.25


@variants
@pytest.mark.parametrize("g", [math.inf, -math.inf, math.nan, 1e200, 1e308, 5e-324, 0.0])
def test_no_gradient_raises(kind: type[Optimizer], options: dict[str, Any], g: float) -> None:
    steps = run(kind([Value(1.0)], **options), [[g], [1.0], [g]])
    assert math.isfinite(g) or math.isnan(steps[0][0]) or math.isinf(steps[0][0])


def test_a_constant_gradient_leaves_centred_rmsprop_finite() -> None:
    steps = run(RMSprop([Value(1.0)], alpha=0.1, centered=True), [[0.1]] * 100)
    assert all(math.isfinite(x) for (x,) in steps)


@variants
def test_repr_tells_the_options(kind: type[Optimizer], options: dict[str, Any]) -> None:
    told = repr(kind([Value(1.0)], **options))
    assert told.startswith(f"{kind.__name__}(lr=")
    assert all(f"{name}={option!r}" in told for name, option in options.items())


@pytest.mark.parametrize(
    ("name", "lr"), [("sgd", 1.0), ("rmsprop", 0.03), ("adam", 0.1), ("adamw", 0.1)]
)
def test_learns_exclusive_or(name: str, lr: float) -> None:
    net = MLP(2, [4, 1], seed=2)
    optimizer = OPTIMIZERS[name](net, lr=lr)
    rows, targets = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    for _ in range(150):
        optimizer.zero_grad()
        loss = binary_cross_entropy([net(row) for row in rows], targets)
        loss.backward()
        optimizer.step()
    assert loss.data < 0.1


class TestClipping:
    def test_gives_pytorchs_gradients_and_norms(self, clip_case: dict[str, Any]) -> None:
        clip = {"clip_grad_value": clip_grad_value, "clip_grad_norm": clip_grad_norm}
        ps = with_gradients(clip_case["before"])
        norm = clip[clip_case["clip"]](ps, clip_case["limit"])
        expected = clip_case["norm"]
        assert norm == (expected and pytest.approx(expected, rel=1e-15, nan_ok=True))
        after = [p.grad for p in ps]
        assert after == pytest.approx(clip_case["after"], rel=1e-14, nan_ok=True)

    @given(st.lists(st.floats(-1e300, 1e300), min_size=1), st.floats(1e-3, 1e3))
    def test_keeps_the_norm_within_the_limit_and_the_direction(
        self, grads: list[float], limit: float
    ) -> None:
        ps = with_gradients(grads)
        norm = clip_grad_norm(ps, limit)
        assert norm == pytest.approx(math.hypot(*grads))
        after = [p.grad for p in ps]
        assert math.hypot(*after) <= limit * (1 + 1e-9)
        shrink = min(1.0, limit / (norm + 1e-6))
        assert after == pytest.approx([g * shrink for g in grads], rel=1e-12, abs=1e-300)

    def test_to_infinity_only_measures(self) -> None:
        ps = with_gradients([3.0, -4.0])
        assert clip_grad_norm(ps, math.inf) == 5.0
        assert [p.grad for p in ps] == [3.0, -4.0]

    def test_by_value_leaves_nan_to_be_seen(self) -> None:
        ps = with_gradients([math.nan, math.inf, -math.inf])
        clip_grad_value(ps, 2.0)
        assert math.isnan(ps[0].grad)
        assert [p.grad for p in ps[1:]] == [2.0, -2.0]

    def test_takes_modules(self) -> None:
        net = MLP(2, [1], seed=1)
        for p in net.parameters():
            p.grad = 2.0
        clip_grad_value(net, 0.5)
        assert list(net.pack()[1]) == [0.5] * 3
        assert clip_grad_norm(net, 9.0) == pytest.approx(math.sqrt(0.75), rel=1e-15)

    @pytest.mark.parametrize("clip", [clip_grad_value, clip_grad_norm])
    @pytest.mark.parametrize("limit", [0, -1.0, math.nan, "1", None])
    def test_refuses_a_limit_that_is_none(self, clip: Any, limit: Any) -> None:
        ps = with_gradients([3.0])
        with pytest.raises(ArgumentError, match=r"limit is a number in \(0, inf\), got"):
            clip(ps, limit)
        assert ps[0].grad == 3.0


def with_gradients(grads: list[float]) -> list[Value]:
    ps = [Value(0.0) for _ in grads]
    for p, g in zip(ps, grads, strict=True):
        p.grad = g
    return ps
