import json
import math
import struct
from dataclasses import replace

import pytest

import gradloom as gl
from gradloom import nn
from gradloom.errors import AnomalyError, DataError
from gradloom.view.play.session import EDGE, SIDE, Session
from gradloom.view.play.settings import Settings

SMALL = Settings(count=40, layers=(3,))


def changed(session, **settings):
    session.change(replace(session.settings, **settings))


def numbers(session):
    return list(session.model.pack()[0])


def learn(session, epochs):
    while session.epochs < epochs:
        session.step()


@pytest.mark.parametrize(
    "settings",
    [
        Settings(count=50, layers=(4, 3), batch=8),
        Settings(data="blobs", count=33, layers=(), optimizer="sgd", rate=0.1, test=0.0),
        Settings(data="xor", optimizer="rmsprop", activation="relu", penalty="l2", strength=0.01),
        Settings(data="circles", count=30, batch=1000, penalty="l1", seed=7),
    ],
)
def test_a_session_learns_as_fit_does(settings):
    session = Session(settings)
    model = nn.MLP(2, session.model.nouts, settings.activation, seed=settings.seed)
    left = [i for i in range(len(session.rows)) if i not in session.held]
    penalty = {"l1": nn.l1, "l2": nn.l2}.get(settings.penalty)
    history = gl.fit(
        model,
        [session.rows[i] for i in left],
        [session.labels[i] for i in left],
        loss="binary_cross_entropy" if session.classes == 2 else "cross_entropy",
        optimizer=nn.OPTIMIZERS[settings.optimizer](model, lr=settings.rate),
        penalty=penalty and (lambda parameters: penalty(parameters, settings.strength)),
        batch_size=settings.batch,
        epochs=3,
        seed=settings.seed,
        progress="silent",
    )
    learn(session, 3)
    assert numbers(session) == pytest.approx(list(model.pack()[0]), rel=1e-9)
    assert session.updates == 3 * math.ceil(len(left) / settings.batch)
    assert len(history) == 3


def test_points_are_held_out_and_never_learned_from():
    session = Session(replace(SMALL, test=0.25))
    assert len(session.held) == 10
    told = session.frame().told
    assert told["test_loss"] is not None
    assert [point[3] for point in session.points()].count(1) == 10
    without = Session(replace(SMALL, test=0.0)).frame().told
    assert without["test_loss"] is without["test_accuracy"] is None


def test_the_figures_are_those_of_the_points():
    session = Session(SMALL)
    learn(session, 2)
    left = [i for i in range(40) if i not in session.held]
    outputs = [session.model(session.rows[i]) for i in left]
    labels = [session.labels[i] for i in left]
    told = session.frame().told
    loss = nn.binary_cross_entropy(outputs, labels).data
    right = sum((output.data > 0) == label for output, label in zip(outputs, labels, strict=True))
    assert told["training_loss"] == pytest.approx(loss, rel=1e-4)
    assert told["training_accuracy"] == right / len(left)


@pytest.mark.parametrize("data", ["moons", "blobs"])
def test_a_frame_shows_what_every_neuron_answers(data):
    session = Session(Settings(data=data, layers=(3, 2), activation="softplus"))
    learn(session, 1)
    frame = session.frame()
    outputs = session.model.nouts[-1]
    assert frame.neurons.shape == (5 + outputs, SIDE // 2, SIDE // 2)
    assert frame.classes.shape == (outputs, SIDE, SIDE)
    for row, column in ((0, 0), (10, 40), (58, 2)):
        point = [EDGE * (2 * column / (SIDE - 1) - 1), EDGE * (1 - 2 * row / (SIDE - 1))]
        answers, x = [], point
        for layer in session.model.layers:
            x = layer.outputs(x)
            answers += [value.data for value in x]
        for neuron, answer in enumerate(answers):
            byte = int(frame.neurons[neuron, row // 2, column // 2])
            share = (byte - 128) / 127 * frame.told["scales"][neuron]
            assert share == pytest.approx(answer, abs=frame.told["scales"][neuron] / 200)
        logits = answers[-outputs:]
        likely = gl.softmax(logits) if outputs > 1 else [gl.sigmoid(logits[0])]
        for k, p in enumerate(likely):
            assert frame.classes[k, row, column] / 65535 == pytest.approx(p, abs=1e-5)


def test_a_frame_has_all_weights():
    session = Session(SMALL)
    weights = session.frame().told["weights"]
    assert [[len(neuron) for neuron in layer] for layer in weights] == [[3, 3, 3], [4]]
    flat = [w for layer in weights for neuron in layer for w in neuron]
    assert flat == pytest.approx(numbers(session), rel=1e-4)


def test_a_frame_travels_as_bytes_behind_its_json():
    frame = Session(SMALL).frame()
    message = frame.to_bytes()
    (length,) = struct.unpack("<I", message[:4])
    assert json.loads(message[4 : 4 + length]) == frame.told
    assert message[4 + length :] == frame.neurons.tobytes() + frame.classes.tobytes()


def test_reset_begins_anew_with_the_same_weights_and_the_same_way():
    session = Session(SMALL)
    first = numbers(session)
    learn(session, 2)
    learned = numbers(session)
    session.reset()
    assert (numbers(session), session.updates, session.epochs) == (first, 0, 0)
    learn(session, 2)
    assert numbers(session) == learned


@pytest.mark.parametrize(
    ("settings", "keeps"),
    [
        ({"rate": 0.5}, True),
        ({"batch": 3}, True),
        ({"penalty": "l2"}, True),
        ({"optimizer": "sgd"}, True),
        ({"data": "xor"}, True),
        ({"noise": 0.2}, True),
        ({"test": 0.5}, True),
        ({"speed": "fast"}, True),
        ({"data": "blobs"}, False),
        ({"layers": (3, 3)}, False),
        ({"activation": "relu"}, False),
        ({"seed": 2}, False),
    ],
)
def test_a_change_keeps_what_was_learned_where_it_still_fits(settings, keeps):
    session = Session(SMALL)
    learn(session, 1)
    before = numbers(session)
    changed(session, **settings)
    assert (numbers(session) == before) is keeps
    assert (session.updates > 0) is keeps
    session.step()
    assert numbers(session) != before


def test_the_learning_rate_changes_at_once():
    slow, fast = Session(SMALL), Session(SMALL)
    changed(fast, rate=0.1)
    for session in (slow, fast):
        session.step()
    start = numbers(Session(SMALL))
    moved = [max(abs(a - b) for a, b in zip(numbers(s), start, strict=True)) for s in (slow, fast)]
    assert moved[1] == pytest.approx(10 * moved[0], rel=1e-3)


def test_a_diverging_training_stops_before_it_spoils_the_weights():
    session = Session(replace(SMALL, optimizer="sgd", rate=99.0, penalty="l2", strength=9.0))
    before: list[list[float]] = []

    def go_on():
        while len(before) < 2000:
            before.append(numbers(session))
            session.step()

    with pytest.raises(AnomalyError, match="the training diverged in update"):
        go_on()
    assert numbers(session) == before[-1]
    json.dumps(session.frame().told, allow_nan=False)


def test_points_of_ones_own_are_all_learned_from():
    points = ((-0.5, 0.0, 0), (0.5, 0.0, 1), (0.0, 0.75, 3))
    session = Session(replace(SMALL, data="own", points=points))
    assert (session.classes, session.held, session.model.nouts[-1]) == (4, [], 4)
    learn(session, 300)
    assert session.frame().told["training_accuracy"] == 1.0


def test_without_points_there_is_something_to_see_but_nothing_to_learn():
    session = Session(replace(SMALL, data="own"))
    told = session.frame().told
    assert told["training_loss"] is None
    assert session.points() == []
    with pytest.raises(DataError, match="no point to learn from"):
        session.step()
    changed(session, points=((0.0, 0.0, 1),))
    session.step()
    assert session.updates == 1


def test_a_run_ends_after_its_epochs_or_its_time():
    session = Session(SMALL)
    session.run(60.0, epochs=2)
    assert session.epochs == 2
    session.run(0.0)
    assert session.updates == 2 * 2 + 1


def test_the_model_file_holds_the_network(tmp_path):
    session = Session(SMALL)
    learn(session, 1)
    (tmp_path / "model.safetensors").write_bytes(session.model_file())
    model = gl.load_model(tmp_path / "model.safetensors")
    assert list(model.pack()[0]) == numbers(session)
    assert model([0.1, 0.2]).data == session.model([0.1, 0.2]).data
