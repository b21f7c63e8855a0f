import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from gradloom.errors import DataError
from gradloom.train.preprocess import MAX_CATEGORIES, Preprocessing, learn_preprocessing

NUMBERS = st.floats(-1e6, 1e6)
COLOURS = st.sampled_from(["red", "green", "blue", None])
ROWS = st.lists(
    st.tuples(NUMBERS | st.none(), NUMBERS, COLOURS, NUMBERS), min_size=4, max_size=12
).filter(lambda rows: rows[0][0] is not None and rows[0][2] is not None)


def frame_of(rows):
    frame = pd.DataFrame(rows, columns=["a", "b", "colour", "y"])
    return frame.astype({"a": float, "b": float, "colour": object, "y": float})


@settings(max_examples=50, deadline=None)
@given(ROWS)
def test_rows_are_those_of_scikit_learns_pipeline_to_the_last_bit(rows):
    frame, train = frame_of(rows), range(len(rows) // 2)
    ours, _ = learn_preprocessing(frame, train, "y", "regression").rows(frame)
    scaling = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    coding = make_pipeline(
        SimpleImputer(strategy="most_frequent"),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    )
    pipeline = make_column_transformer((scaling, ["a", "b"]), (coding, ["colour"]))
    inputs = frame.assign(colour=[np.nan if c is None else c for c in frame["colour"]])
    theirs = pipeline.fit(inputs.iloc[list(train)]).transform(inputs)
    assert np.array(ours).tobytes() == np.asarray(theirs, float).tobytes()


@settings(max_examples=50, deadline=None)
@given(ROWS, st.sampled_from(["regression", "classification"]))
def test_going_through_json_changes_nothing(rows, task):
    frame = frame_of(rows)
    learned = learn_preprocessing(frame, range(len(rows)), "y", task)
    again = Preprocessing.from_json(json.loads(json.dumps(learned.to_json())))
    assert again == learned
    assert again.rows(frame) == learned.rows(frame)
    assert again.targets(frame) == learned.targets(frame)


def small():
    frame = pd.DataFrame(
        {
            "size": ["1", "3", None, "5"],
            "colour": ["red", "blue", "red", None],
            "name": ["ann", "bob", "cy", "di"],
            "empty": [None, None, None, "7"],
            "y": ["no", "yes", "no", "yes"],
        }
    )
    return frame, learn_preprocessing(frame, [0, 1, 2], "y", "classification")


def test_figures_are_learned_from_the_training_rows_alone():
    frame, learned = small()
    saved = learned.to_json()
    assert saved["numbers"] == [
        {"name": "size", "median": 2.0, "mean": 2.0, "scale": (2 / 3) ** 0.5}
    ]
    assert saved["categories"][0] == {
        "name": "colour",
        "fill": "red",
        "categories": ["blue", "red"],
    }
    assert saved["left_out"] == {"empty": "no values in the training rows"}
    assert learned.width == len(learned.rows(frame)[0][0]) == 1 + 2 + 3


def test_an_unseen_category_is_unknown_and_said_to_be():
    frame, learned = small()
    rows, notes = learned.rows(frame)
    assert rows[3][3:] == [0.0, 0.0, 0.0]  # name "di" was not among the training rows
    assert notes == ["column 'name': 'di' not seen in training, taken as unknown (1 row)"]


def test_text_with_many_values_is_left_out_as_an_identifier():
    rows = MAX_CATEGORIES + 1
    frame = pd.DataFrame({"id": [f"n{i}" for i in range(rows)], "x": range(rows), "y": range(rows)})
    learned = learn_preprocessing(frame, range(rows), "y", "regression")
    assert list(learned.left_out) == ["id"]
    assert "51 different values" in learned.left_out["id"]
    with pytest.raises(DataError, match="no column can be learned from: 'id': text with 51"):
        learn_preprocessing(frame.drop(columns="x"), range(rows), "y", "regression")


def test_a_constant_column_becomes_zeros():
    frame = pd.DataFrame({"x": [2.0, 2.0, 2.0], "y": [1, 2, 3]})
    learned = learn_preprocessing(frame, range(3), "y", "regression")
    assert learned.rows(frame)[0] == [[0.0]] * 3


def test_a_regression_target_is_scaled_and_decoded():
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [10.0, 20.0, 60.0]})
    learned = learn_preprocessing(frame, range(3), "y", "regression")
    scaled = learned.targets(frame)
    assert np.mean(scaled) == pytest.approx(0)
    assert np.std(scaled) == pytest.approx(1)
    assert [learned.target.decode(t) for t in scaled] == pytest.approx([10.0, 20.0, 60.0])


def test_classes_are_sorted_numbers_by_size():
    frame = pd.DataFrame({"x": range(4), "y": ["10", "9", "b", "a"]})
    learned = learn_preprocessing(frame, range(4), "y", "classification")
    assert learned.target.classes == ["9", "10", "a", "b"]
    assert learned.targets(frame) == [1, 0, 3, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": None}, "the data lack column 'size': the run was trained with 'size', 'colour'"),
        ({"size": ["1", "many"]}, "column 'size', row 2: 'many': a number is needed"),
        ({"size": ["1", "-inf"]}, "column 'size', row 2: '-inf': too large: correct or empty it"),
    ],
)
def test_rows_that_do_not_belong_are_named(change, message):
    _, learned = small()
    columns = {"size": ["1", "2"], "colour": ["red", "red"], "name": ["ann", "ann"]} | change
    frame = pd.DataFrame({name: values for name, values in columns.items() if values})
    with pytest.raises(DataError, match=message):
        learned.rows(frame)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "the data lack the target 'y': add it, or use predict"),
        (["no", "maybe"], r"column 'y', row 2: 'maybe' where a class is needed \(one of no, yes\)"),
        (["no", None], "column 'y', row 2: no value where a class is needed"),
    ],
)
def test_targets_that_do_not_belong_are_named(values, message):
    _, learned = small()
    frame = pd.DataFrame({"size": ["1", "2"]} | ({"y": values} if values else {}))
    with pytest.raises(DataError, match=message):
        learned.targets(frame)


def test_numbers_too_large_to_scale_are_refused():
    frame = pd.DataFrame({"x": [1.0, -1e200, 0.0], "y": [1, 2, 3]})
    with pytest.raises(DataError, match=r"column 'x', row 2: -1e\+200: too large"):
        learn_preprocessing(frame, range(3), "y", "regression")
