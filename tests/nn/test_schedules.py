"""Schedules give PyTorch's factors, compose, and steer an optimiser's learning rate."""

import json
import math
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradloom import Value
from gradloom.errors import ArgumentError, GradloomError
from gradloom.nn import SCHEDULES, SGD, Scheduler
from gradloom.nn.schedules import Constant, Cosine, Linear, Schedule, Step, Warmup

ALL: list[Schedule] = [Constant(), Step(3), Linear(5), Cosine(5, 0.1), Warmup(2, Cosine(3))]


def test_factors_are_pytorchs(schedule_case: dict[str, Any]) -> None:
    schedule = SCHEDULES[schedule_case["schedule"]](**schedule_case["options"])
    factors = [schedule(step) for step in range(len(schedule_case["factors"]))]
    assert factors == pytest.approx(schedule_case["factors"], rel=1e-14, abs=1e-15)


@pytest.mark.parametrize("schedule", ALL, ids=repr)
@given(step=st.integers(0, 10**9))
def test_factors_lie_between_zero_and_one(schedule: Schedule, step: int) -> None:
    assert 0 <= schedule(step) <= 1


@pytest.mark.parametrize("schedule", [Linear(8, 1.0, 0.2), Cosine(8, 0.2)], ids=repr)
def test_the_end_is_reached_and_kept(schedule: Schedule) -> None:
    assert schedule(7) > 0.2
    assert schedule(8) == schedule(9) == schedule(1000) == pytest.approx(0.2, rel=1e-15)


def test_warm_up_is_followed_by_another_schedule_from_its_start() -> None:
    then = Linear(10, 0.5, 0.1)
    schedule = Warmup(4, then, start=0.2)
    assert [schedule(i) for i in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8], rel=1e-15)
    assert [schedule(4 + i) for i in range(12)] == [then(i) for i in range(12)]


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_equal_schedules_are_equal_and_survive_pickle(schedule: Schedule) -> None:
    assert pickle.loads(pickle.dumps(schedule)) == schedule


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (Step, {"size": 0}),
        (Step, {"size": 2.5}),
        (Step, {"size": 2, "gamma": -0.1}),
        (Linear, {"total": 0}),
        (Linear, {"total": 5, "start": -1.0}),
        (Linear, {"total": 5, "end": math.nan}),
        (Cosine, {"total": "5"}),
        (Cosine, {"total": 5, "end": math.inf}),
        (Warmup, {"steps": 0}),
        (Warmup, {"steps": 5, "start": 1.0}),
        (Warmup, {"steps": 5, "then": "cosine"}),
    ],
)
def test_a_bad_option_is_refused_by_name(make: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=f"{make.__name__}: {list(options)[-1]} is a"):
        make(**options)


class TestScheduler:
    def test_sets_the_learning_rate_at_once_and_after_each_step(self) -> None:
        optimizer = SGD([Value(1.0)], lr=0.5)
        scheduler = Scheduler(optimizer, Warmup(2, Step(1, 0.5), start=0.0))
        rates = [optimizer.lr]
        for _ in range(4):
            scheduler.step()
            rates.append(optimizer.lr)
        assert rates == [0.0, 0.25, 0.5, 0.25, 0.125]

    def test_takes_any_function_of_the_step(self) -> None:
        optimizer = SGD([Value(1.0)], lr=0.5)
        Scheduler(optimizer, lambda step: 1 / (step + 2))
        assert optimizer.lr == 0.25

    def test_goes_on_from_its_state_as_if_never_stopped(self) -> None:
        def fresh() -> Scheduler:
            return Scheduler(SGD([Value(1.0)], lr=0.3), Cosine(9))

        straight, before, after = fresh(), fresh(), fresh()
        for _ in range(6):
            straight.step()
        for _ in range(4):
            before.step()
        after.load_state(json.loads(json.dumps(before.state())))
        assert after.optimizer.lr == before.optimizer.lr
        for _ in range(2):
            after.step()
        assert after.optimizer.lr == straight.optimizer.lr

    @pytest.mark.parametrize("schedule", ["cosine", None, 0.5])
    def test_refuses_what_is_no_function(self, schedule: Any) -> None:
        with pytest.raises(ArgumentError, match="a schedule is a function of the step, got"):
            Scheduler(SGD([Value(1.0)]), schedule)

    @pytest.mark.parametrize(
        "state",
        [
            None,
            {},
            {"steps": 1},
            {"base_lr": 1.0, "steps": -1},
            {"base_lr": 1.0, "steps": 1.5},
            {"base_lr": "1", "steps": 1},
            {"base_lr": 1.0, "steps": 1, "more": 2},
        ],
    )
    def test_a_state_that_is_none_is_refused_and_changes_nothing(self, state: Any) -> None:
        scheduler = Scheduler(SGD([Value(1.0)], lr=0.3), Cosine(9))
        before = scheduler.state()
        with pytest.raises(GradloomError):
            scheduler.load_state(state)
        assert scheduler.state() == before
