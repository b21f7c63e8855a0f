import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from gradloom.errors import ArgumentError
from gradloom.train.metrics import METRICS, accuracy, find_metrics, mae, r2, rmse

NUMBERS = st.floats(-1e3, 1e3)
PAIRS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=20)


@given(PAIRS)
def test_regression_metrics_are_those_of_scikit_learn(pairs):
    outputs, targets = map(list, zip(*pairs, strict=True))
    assert mae(outputs, targets) == pytest.approx(reference.mean_absolute_error(targets, outputs))
    assert rmse(outputs, targets) == pytest.approx(
        reference.root_mean_squared_error(targets, outputs)
    )
    if max(targets) - min(targets) > 1e-3:
        assert r2(outputs, targets) == pytest.approx(reference.r2_score(targets, outputs))


def test_several_outputs_are_averaged():
    outputs, targets = [[1.0, 5.0], [2.0, 7.0], [3.0, 8.0]], [[1.0, 5.0], [2.0, 6.0], [4.0, 9.0]]
    assert r2(outputs, targets) == pytest.approx(reference.r2_score(targets, outputs))
    assert mae(outputs, targets) == pytest.approx(reference.mean_absolute_error(targets, outputs))


def test_r2_of_targets_without_spread_is_one_if_met_and_else_zero():
    assert r2([2.0, 2.0], [2.0, 2.0]) == 1.0
    assert r2([2.0, 3.0], [2.0, 2.0]) == 0.0


def test_outputs_beyond_all_measure_give_infinity_and_no_exception():
    assert rmse([1e200, 0.0], [0.0, 0.0]) == math.inf
    assert r2([1e200, 0.0], [0.0, 1.0]) == -math.inf


def test_accuracy_of_a_single_logit_takes_both_ways_of_naming_two_classes():
    logits = [0.5, -0.5, 2.0]
    assert accuracy(logits, [1, 0, 0]) == accuracy(logits, [1, -1, -1]) == 2 / 3


def test_accuracy_of_several_logits_takes_the_largest():
    assert accuracy([[0.0, 1.0, -1.0], [5.0, 1.0, 2.0]], [1, 2]) == 0.5


def test_metrics_are_found_by_name_or_taken_as_they_are():
    def spread(outputs, _):
        return max(outputs) - min(outputs)

    assert find_metrics(["r2", spread]) == {"r2": METRICS["r2"].score, "spread": spread}


def test_an_unknown_metric_names_the_nearest():
    with pytest.raises(ArgumentError, match="did you mean 'accuracy'"):
        find_metrics(["acuracy"])


@pytest.mark.parametrize("names", [["r2", "r2"], [type("loss", (), {"__call__": max})()]])
def test_a_name_in_use_is_refused(names):
    with pytest.raises(ArgumentError, match="is taken"):
        find_metrics(names)
