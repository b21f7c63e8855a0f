import json

import pytest

from gradloom.errors import ArgumentError
from gradloom.view.play.settings import Settings


def test_settings_change_by_name_and_the_others_stay():
    changed = Settings().changed({"layers": [3, 2], "rate": 1})
    assert changed == Settings(layers=(3, 2), rate=1.0)
    assert Settings() == Settings().changed({})


def test_settings_travel_as_json():
    settings = Settings().changed({"data": "own", "points": [[0.5, -0.25, 1]], "layers": []})
    assert Settings().changed(json.loads(json.dumps(settings.to_json()))) == settings


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (None, "settings are an object"),
        ([], "settings are an object"),
        ({"lr": 1}, "no setting is called 'lr'"),
        ({"data": "mons"}, "did you mean 'moons'"),
        ({"data": ["moons"]}, "no data set is called"),
        ({"activation": "tan"}, "did you mean 'tanh'"),
        ({"optimizer": {}}, "no optimizer is called"),
        ({"penalty": 1}, "no penalty is called 1"),
        ({"speed": None}, "no speed is called None"),
        ({"count": 1}, "count is a whole number of at least 2"),
        ({"count": 1001}, "count is a whole number of at most 1000"),
        ({"count": 3.5}, "count is a whole number"),
        ({"seed": -1}, "seed is a whole number"),
        ({"seed": True}, "seed is a whole number"),
        ({"batch": 0}, "batch is a whole number of at least 1"),
        ({"noise": float("nan")}, r"noise is a number in \[0, 0.5"),
        ({"noise": "0.1"}, "noise is a number"),
        ({"test": 0.9}, "test is a number"),
        ({"rate": 0}, "rate is a number"),
        ({"rate": float("inf")}, "rate is a number"),
        ({"strength": -1}, "strength is a number"),
        ({"layers": "6,6"}, "layers is a list"),
        ({"layers": [1] * 7}, "layers has at most 6 entries"),
        ({"layers": [17]}, "neurons of a layer is a whole number of at most 16"),
        ({"layers": [0]}, "neurons of a layer is a whole number of at least 1"),
        ({"points": {}}, "points is a list"),
        ({"points": [[0, 0, 0]] * 1001}, "points has at most 1000"),
        ({"points": [[0, 0]]}, r"a point is \[x, y, class\]"),
        ({"points": [5]}, "a point is"),
        ({"points": [[9, 0, 0]]}, "x or y of a point"),
        ({"points": [[0, 0, 4]]}, "class of a point is a whole number of at most 3"),
    ],
)
def test_what_cannot_be_set_is_refused_by_name(wanted, message):
    with pytest.raises(ArgumentError, match=message):
        Settings().changed(wanted)
