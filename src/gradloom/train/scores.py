"""Scores on held-out rows, and the linear model that a network has to beat.

The figures are scikit-learn's. Those of a regression are in the unit of the target column.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom.train.preprocess import ClassTarget, NumberTarget

Scores = dict[str, Any]


def classification_scores(
    target: ClassTarget, truth: Sequence[float], probabilities: Sequence[Sequence[float]]
) -> Scores:
    """Accuracy, F1 averaged over the classes present, log loss, and what goes for each class.

    Args:
        target: the column with its k classes.
        truth: n class indices.
        probabilities: n lists of k probabilities.

    Returns:
        accuracy, f1, log_loss; classes: name to precision, recall, f1, rows; confusion: k rows of
        true classes by k columns of predicted ones.

    Example:
        >>> target = ClassTarget("colour", ["blue", "red"])
        >>> scores = classification_scores(target, [0, 1], [[0.8, 0.2], [0.4, 0.6]])
        >>> scores["accuracy"], scores["confusion"]
        (1.0, [[1, 0], [0, 1]])
    """
    from sklearn import metrics

    labels = list(range(len(target.classes)))
    predicted = np.argmax(probabilities, axis=1)
    each = metrics.precision_recall_fscore_support(
        truth, predicted, labels=labels, zero_division=0.0
    )
    columns = zip(target.classes, *(column.tolist() for column in each), strict=True)
    present = each[3] > 0
    return {
        "accuracy": float(metrics.accuracy_score(truth, predicted)),
        "f1": float(np.mean(each[2][present])),
        "log_loss": float(metrics.log_loss(truth, np.array(probabilities), labels=labels)),
        "classes": {
            name: {"precision": precision, "recall": recall, "f1": f1, "rows": rows}
            for name, precision, recall, f1, rows in columns
        },
        "confusion": metrics.confusion_matrix(truth, predicted, labels=labels).tolist(),
    }


def regression_scores(
    target: NumberTarget, truth: Sequence[float], predicted: Sequence[float]
) -> Scores:
    """R², and the root mean squared and mean absolute error in the target's own unit.

    Args:
        target: the column.
        truth: n targets as the network learns them.
        predicted: n outputs likewise.

    Example:
        >>> regression_scores(NumberTarget("price", 100.0, 10.0), [0.0, 1.0], [0.0, 2.0])
        {'r2': -1.0, 'rmse': 7.07..., 'mae': 5.0}
    """
    from sklearn import metrics

    wanted, given = (np.array([target.decode(v) for v in values]) for values in (truth, predicted))
    return {
        "r2": float(metrics.r2_score(wanted, given)) if len(wanted) > 1 else float("nan"),
        "rmse": float(metrics.root_mean_squared_error(wanted, given)),
        "mae": float(metrics.mean_absolute_error(wanted, given)),
    }


def linear_baseline(
    target: ClassTarget | NumberTarget,
    rows: Sequence[Sequence[float]],
    targets: Sequence[float],
    parts: dict[str, list[int]],
) -> dict[str, Scores]:
    """The scores of a linear model on the same parts: logistic regression, or ridge regression.

    Args:
        target: the column to predict.
        rows, targets: all samples, as the network gets them.
        parts: positions of the rows of each part; the model learns from "train" alone.
    """
    from sklearn.linear_model import LogisticRegression, Ridge

    x, y = np.array(rows), np.array(targets)
    train = parts["train"]
    scores = {}
    if isinstance(target, ClassTarget):
        classifier = LogisticRegression(max_iter=10_000).fit(x[train], y[train])
        for name, part in parts.items():
            likely = classifier.predict_proba(x[part])
            scores[name] = classification_scores(target, y[part].tolist(), likely)
    else:
        regressor = Ridge().fit(x[train], y[train])
        for name, part in parts.items():
            predicted = regressor.predict(x[part])
            scores[name] = regression_scores(target, y[part].tolist(), predicted)
    return scores
