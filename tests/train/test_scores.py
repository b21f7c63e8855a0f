import numpy as np
import pytest
from sklearn import metrics

from gradloom.train.preprocess import ClassTarget, NumberTarget
from gradloom.train.scores import classification_scores, linear_baseline, regression_scores

COLOURS = ClassTarget("colour", ["blue", "green", "red"])
PROBABILITIES = [[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3], [0.4, 0.3, 0.3]]


def test_classification_scores_are_scikit_learns():
    truth, predicted = [0, 1, 1, 2], [0, 2, 1, 0]
    scores = classification_scores(COLOURS, truth, PROBABILITIES)
    assert scores["accuracy"] == 0.5
    assert scores["f1"] == pytest.approx(metrics.f1_score(truth, predicted, average="macro"))
    assert scores["log_loss"] == pytest.approx(metrics.log_loss(truth, PROBABILITIES))
    assert scores["confusion"] == [[1, 0, 0], [0, 1, 1], [1, 0, 0]]
    assert scores["classes"]["green"] == {
        "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "rows": 2,
    }  # fmt: skip


def test_a_class_without_rows_does_not_count_in_the_mean():
    scores = classification_scores(COLOURS, [0, 1], [[0.9, 0.1, 0.0], [0.1, 0.9, 0.0]])
    assert scores["f1"] == 1.0
    assert scores["classes"]["red"]["rows"] == 0


def test_regression_scores_are_in_the_unit_of_the_target():
    target = NumberTarget("price", 100.0, 10.0)
    scores = regression_scores(target, [0.0, 1.0, 2.0], [0.0, 1.0, 5.0])
    assert scores == {
        "r2": pytest.approx(metrics.r2_score([100, 110, 120], [100, 110, 150])),
        "rmse": pytest.approx(300**0.5),
        "mae": pytest.approx(10.0),
    }


def test_the_linear_model_learns_from_the_training_part_alone():
    rows = [[float(i)] for i in range(20)]
    parts = {"train": [*range(10)], "test": [*range(10, 20)]}
    straight = [float(i) for i in range(20)]
    bent = [*straight[:10], *[-t for t in straight[10:]]]
    target = NumberTarget("y", 0.0, 1.0)
    for targets in (straight, bent):
        scores = linear_baseline(target, rows, targets, parts)
        assert scores["train"]["r2"] > 0.99
        assert (scores["test"]["r2"] > 0.9) == (targets is straight)


def test_the_linear_classifier_is_scored_on_every_part():
    rows = [[x] for x in np.linspace(-2, 2, 12).tolist()]
    targets = [int(row[0] > 0) for row in rows]
    parts = {"train": [*range(0, 12, 2)], "test": [*range(1, 12, 2)]}
    scores = linear_baseline(ClassTarget("side", ["left", "right"]), rows, targets, parts)
    assert scores.keys() == parts.keys()
    assert scores["test"]["accuracy"] > 0.8
