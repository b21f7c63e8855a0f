"""Losses agree with PyTorch and with finite differences, and stay finite at extreme inputs."""

import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gradloom import Value
from gradloom.errors import ArgumentError, DataError, NotANumberError, ShapeError
from gradloom.nn import (
    LOSSES,
    MLP,
    binary_cross_entropy,
    cross_entropy,
    hinge,
    huber,
    l1,
    l2,
    mae,
    mse,
)

ELEMENTWISE = [name for name in LOSSES if name != "cross_entropy"]
REGRESSION = ["mse", "mae", "huber"]
ordinary = st.floats(-5, 5)
any_finite = st.floats(allow_nan=False, allow_infinity=False)
large = st.sampled_from([0.0, -1.0, 40.0, -800.0, 1e4, -1e4, 1e308, -1e308]) | any_finite


def deep(function: Callable[[Any], Any], nested: Any) -> Any:
    """The function of every number in a nested list."""
    return [deep(function, x) for x in nested] if isinstance(nested, list) else function(nested)


def targets(name: str, size: int) -> st.SearchStrategy[list[float]]:
    """Targets that a loss takes."""
    one = {"hinge": st.sampled_from([-1.0, 1.0]), "binary_cross_entropy": st.floats(0, 1)}
    return st.lists(one.get(name, ordinary), min_size=size, max_size=size)


def test_losses_and_gradients_are_pytorchs(loss_case: dict[str, Any]) -> None:
    prediction = deep(Value, loss_case["prediction"])
    loss = LOSSES[loss_case["loss"]](prediction, loss_case["target"])
    loss.backward()
    gradient = np.array(deep(lambda v: v.grad, prediction))
    assert loss.data == pytest.approx(loss_case["value"], rel=1e-13)
    assert gradient == pytest.approx(np.array(loss_case["gradient"]), rel=1e-12, abs=1e-16)


class TestGradients:
    @pytest.mark.parametrize("name", ELEMENTWISE)
    @given(data=st.data())
    def test_agree_with_finite_differences(self, name: str, data: st.DataObject) -> None:
        xs = data.draw(st.lists(ordinary, min_size=1, max_size=4))
        ts = data.draw(targets(name, len(xs)))
        kinks = {
            "mae": lambda x, t: abs(x - t),
            "huber": lambda x, t: abs(abs(x - t) - 1),
            "hinge": lambda x, t: abs(1 - t * x),
        }
        if name in kinks:
            assume(all(kinks[name](x, t) > 1e-3 for x, t in zip(xs, ts, strict=True)))
        check_gradient(lambda x: LOSSES[name](x, ts), xs)

    @given(st.lists(ordinary, min_size=2, max_size=5), st.data())
    def test_of_cross_entropy_agree_with_finite_differences(
        self, xs: list[float], data: st.DataObject
    ) -> None:
        k = data.draw(st.integers(0, len(xs) - 1))
        gaps = [abs(a - b) for i, a in enumerate(xs) for b in xs[:i]]
        assume(min(gaps) > 1e-3 or max(gaps) == 0)
        check_gradient(lambda x: cross_entropy(x, k), xs)

    @given(st.lists(ordinary.filter(lambda x: abs(x) > 1e-3), min_size=1, max_size=4))
    def test_of_penalties_agree_with_finite_differences(self, xs: list[float]) -> None:
        for penalty in (l1, l2):
            check_gradient(lambda x, f=penalty: f(deep(as_value, x), 0.3), xs)

    @pytest.mark.parametrize("name", REGRESSION)
    def test_flow_to_targets_that_are_values(self, name: str) -> None:
        p, t = Value(3.0), Value(1.0)
        LOSSES[name](p, t).backward()
        assert p.grad == -t.grad != 0


def as_value(x: Value | float) -> Value:
    return x if isinstance(x, Value) else Value(x)


def check_gradient(loss: Callable[[list[Any]], Any], xs: list[float], h: float = 1e-5) -> None:
    values = [Value(x) for x in xs]
    loss(values).backward()
    for i, v in enumerate(values):
        above, below = (as_value(loss([*xs[:i], xs[i] + d, *xs[i + 1 :]])).data for d in (h, -h))
        assert v.grad == pytest.approx((above - below) / (2 * h), rel=1e-6, abs=1e-8)


class TestBatches:
    @pytest.mark.parametrize("name", ELEMENTWISE)
    @given(data=st.data())
    def test_are_means_over_samples(self, name: str, data: st.DataObject) -> None:
        xs = data.draw(st.lists(ordinary, min_size=1, max_size=5))
        ts = data.draw(targets(name, len(xs)))
        loss = LOSSES[name]
        mean = sum(loss(x, t) for x, t in zip(xs, ts, strict=True)) / len(xs)
        assert loss(xs, ts) == pytest.approx(mean, rel=1e-12, abs=1e-300)
        assert loss([xs], [ts]) == loss([[x] for x in xs], [[t] for t in ts]) == loss(xs, ts)

    def test_of_cross_entropy_are_means_over_samples(self) -> None:
        logits, classes = [[1.0, 2.0, -1.0], [0.0, 0.5, 3.0]], [2, 0]
        mean = sum(cross_entropy(x, k) for x, k in zip(logits, classes, strict=True)) / 2
        assert cross_entropy(logits, classes) == pytest.approx(mean, rel=1e-15)

    @pytest.mark.parametrize("name", LOSSES)
    def test_may_be_tuples_and_arrays(self, name: str) -> None:
        x, t = ([[0.5, -1.0]], [1]) if name == "cross_entropy" else ([0.5, -1.0], [1.0, 1.0])
        plain = LOSSES[name](x, t)
        assert LOSSES[name](np.array(x), np.array(t)) == plain
        assert LOSSES[name](tuple(x), tuple(t)) == plain
        assert LOSSES[name](deep(Value, x), np.array(t)).data == plain

    @pytest.mark.parametrize("name", LOSSES)
    def test_of_plain_numbers_give_a_plain_number(self, name: str) -> None:
        assert type(LOSSES[name]([0.5, 2.0], 1 if name == "cross_entropy" else [1, 1])) is float


class TestExtremes:
    @pytest.mark.parametrize("name", ["huber", "hinge", "binary_cross_entropy"])
    @given(x=large, data=st.data())
    def test_give_no_nan_and_a_bounded_gradient(
        self, name: str, x: float, data: st.DataObject
    ) -> None:
        (t,) = data.draw(targets(name, 1))
        v = Value(x)
        loss = LOSSES[name](v, t)
        loss.backward()
        assert 0 <= loss.data < math.inf
        assert abs(v.grad) <= 1

    @given(st.lists(large, min_size=2, max_size=4), st.data())
    def test_logits_give_no_nan_and_a_bounded_gradient(
        self, xs: list[float], data: st.DataObject
    ) -> None:
        values = [Value(x) for x in xs]
        loss = cross_entropy(values, data.draw(st.integers(0, len(xs) - 1)))
        loss.backward()
        assert loss.data >= 0  # infinite where a difference of logits is
        assert all(abs(v.grad) <= 1 + 1e-15 for v in values)
        assert math.fsum(v.grad for v in values) == pytest.approx(0, abs=1e-15)

    @given(st.floats(-700, 700))
    def test_leave_binary_cross_entropy_exact(self, x: float) -> None:
        with mpmath.workdps(400):
            exact = float(mpmath.log1p(mpmath.exp(-mpmath.mpf(x))))
        assert binary_cross_entropy(x, 1) == pytest.approx(exact, rel=1e-14)
        assert binary_cross_entropy(-x, 0) == pytest.approx(exact, rel=1e-14)

    def test_do_not_cost_cross_entropy_its_digits(self) -> None:
        assert cross_entropy([1e8, 1e8, 1e8], 1) == pytest.approx(math.log(3), rel=1e-15)

    @given(st.floats(-1e150, 1e150), st.floats(1e-3, 1e3))
    def test_leave_huber_between_its_two_parabolas_and_lines(self, x: float, delta: float) -> None:
        expected = 0.5 * x * x if abs(x) <= delta else delta * (abs(x) - 0.5 * delta)
        assert huber(x, 0.0, delta) == pytest.approx(expected, rel=1e-13)


class TestSizes:
    @pytest.mark.parametrize("name", LOSSES)
    @pytest.mark.parametrize(
        ("prediction", "target", "told"),
        [
            ([[1.0, 2.0]], [1, 0], "the prediction is a list of 1, the target a list of 2"),
            ([], [], "the prediction is a list of 0, the target a list of 0"),
            (1.0, [1], "the prediction is a bare number, the target a list of 1"),
        ],
    )
    def test_that_differ_or_are_0_are_told(
        self, name: str, prediction: Any, target: Any, told: str
    ) -> None:
        with pytest.raises(ShapeError, match=f"^{name}: {told}; they must match$"):
            LOSSES[name](prediction, target)

    @pytest.mark.parametrize("name", ELEMENTWISE)
    @pytest.mark.parametrize(
        ("prediction", "target"),
        [
            ([1.0], 1),
            ([[1.0, 0.0], [1.0]], [[1, 1], [1, 1]]),
            ([[1.0], [1.0]], [1, 1]),
            ([1.0, 1.0], [[1], [1]]),
        ],
    )
    def test_that_differ_further_in_are_told(self, name: str, prediction: Any, target: Any) -> None:
        with pytest.raises(ShapeError, match=f"^{name}: the prediction is"):
            LOSSES[name](prediction, target)

    @pytest.mark.parametrize("logits", [1.0, [], [1.0], [[1.0]]])
    def test_of_logits_are_two_or_more(self, logits: Any) -> None:
        with pytest.raises(ShapeError, match="a sample is a list of at least 2 logits, got"):
            cross_entropy(logits, 0 if not logits or logits in (1.0, [1.0]) else [0])


class TestTargets:
    @pytest.mark.parametrize("k", [3, 100])
    def test_beyond_the_classes_are_refused(self, k: int) -> None:
        with pytest.raises(DataError, match=f"of 3 logits a target is 0 to 2, got {k}"):
            cross_entropy([[1.0, 2.0, 3.0]] * 2, [0, k])

    @pytest.mark.parametrize("k", [-1, 1.0, True, "1", None])
    def test_that_are_no_class_index_are_refused(self, k: Any) -> None:
        with pytest.raises(ArgumentError, match="cross_entropy: a target is a whole number of at"):
            cross_entropy([1.0, 2.0, 3.0], k)

    @pytest.mark.parametrize("t", [0, 2, 0.5, math.nan])
    def test_of_hinge_are_minus_one_and_one(self, t: float) -> None:
        with pytest.raises(DataError, match="hinge: a target is -1 or 1, got"):
            hinge([0.5, 0.5], [1, t])

    @pytest.mark.parametrize("t", [-1, 1.5, math.nan])
    def test_of_binary_cross_entropy_are_probabilities(self, t: float) -> None:
        with pytest.raises(DataError, match="a target is between 0 and 1, got"):
            binary_cross_entropy([0.5, 0.5], [1, t])

    @pytest.mark.parametrize("loss", [mse, mae, huber])
    @pytest.mark.parametrize("t", ["1", None, 1j])
    def test_that_are_no_numbers_are_refused(self, loss: Any, t: Any) -> None:
        with pytest.raises(NotANumberError):
            loss(Value(1.0), t)


@pytest.mark.parametrize("delta", [0, -1, math.inf, math.nan, "1"])
def test_hubers_delta_is_above_zero(delta: Any) -> None:
    with pytest.raises(ArgumentError, match=r"huber: delta is a number in \(0, inf\), got"):
        huber(1.0, 2.0, delta)


class TestPenalties:
    def test_take_modules_and_lists_of_values(self) -> None:
        net = MLP(2, [3, 1], seed=1)
        numbers = [p.data for p in net.parameters()]
        assert l1(net, 0.5).data == pytest.approx(0.5 * sum(map(abs, numbers)), rel=1e-14)
        assert l2(net, 0.5).data == pytest.approx(0.5 * sum(x * x for x in numbers), rel=1e-14)
        assert l2(net.parameters(), 0.5).data == l2(net, 0.5).data

    def test_of_l2_is_half_a_weight_decay(self) -> None:
        net = MLP(1, [1], seed=1)
        l2(net, 0.05).backward()
        assert [p.grad for p in net.parameters()] == pytest.approx(
            [0.1 * p.data for p in net.parameters()], rel=1e-15
        )

    @pytest.mark.parametrize("penalty", [l1, l2])
    @pytest.mark.parametrize("strength", [-0.1, math.nan, math.inf, None])
    def test_have_a_strength_of_at_least_zero(self, penalty: Any, strength: Any) -> None:
        with pytest.raises(ArgumentError, match=r"strength is a number in \[0, inf\), got"):
            penalty([Value(1.0)], strength)
