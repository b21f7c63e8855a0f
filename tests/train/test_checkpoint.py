"""Exact resume: a training that was cut gives the figures of one that was not, bit for bit."""

import json

import pytest

from gradloom.errors import ArgumentError, RunFolderError
from gradloom.nn import MLP
from gradloom.train import Callback, Checkpoint, EarlyStopping, fit

EPOCHS = 8


class Cut(Callback):
    """Ctrl-C in the middle of the epoch after `epoch`."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch(self, training, *_):
        if training.epoch == self.epoch:
            raise KeyboardInterrupt


def train(x, y, callbacks=(), **options):
    model = MLP(2, [3, 1], seed=1)
    settings = {"epochs": EPOCHS, "batch_size": 4, "validation": 0.2, "progress": "silent"}
    return model, fit(model, x, y, callbacks=callbacks, **(settings | options))


def figures(history):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in history]


@pytest.mark.parametrize("engine", ["compiled", "eager"])
@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adam", "adamw"])
@pytest.mark.parametrize("every", [1, 3])
def test_a_resumed_training_gives_the_same_figures_bit_for_bit(
    x, y, tmp_path, optimizer, every, engine
):
    options = {"optimizer": optimizer, "schedule": "cosine", "learning_rate": 0.05}
    options["engine"] = engine
    whole, expected = train(x, y, [EarlyStopping(patience=6)], **options)
    path = tmp_path / "checkpoint.json"
    _, cut = train(
        x, y, [Cut(5), EarlyStopping(patience=6), Checkpoint(path, every=every)], **options
    )
    resumed, history = train(x, y, [EarlyStopping(patience=6)], resume=path, **options)
    assert cut.interrupted
    assert figures(history) == figures(expected)
    assert history.ended == expected.ended
    assert resumed.state() == whole.state()


def test_a_checkpoint_before_other_callbacks_still_sees_what_they_did(x, y, tmp_path):
    path = tmp_path / "checkpoint.json"
    train(x, y, [Checkpoint(path), EarlyStopping()], epochs=3)
    assert json.loads(path.read_text())["callbacks"][0]["best_epoch"] > 0


def test_a_training_that_stopped_early_stays_stopped(x, y, tmp_path):
    path = tmp_path / "checkpoint.json"
    options = {"learning_rate": 1.0, "optimizer": "sgd"}
    whole, stopped = train(x, y, [EarlyStopping(patience=1), Checkpoint(path)], **options)
    assert stopped.ended.startswith("stopped early")
    again, history = train(x, y, [EarlyStopping(patience=1)], resume=path, **options)
    assert figures(history) == figures(stopped)
    assert again.state() == whole.state()


def test_a_finished_training_goes_on_with_more_epochs(x, y, tmp_path):
    path = tmp_path / "checkpoint.json"
    train(x, y, [Checkpoint(path)], epochs=3)
    resumed, history = train(x, y, resume=path, epochs=5)
    whole, expected = train(x, y, epochs=5)
    assert figures(history) == figures(expected)
    assert resumed.state() == whole.state()


def test_the_last_epoch_is_always_saved(x, y, tmp_path):
    train(x, y, [Checkpoint(tmp_path / "c.json", every=5)], epochs=7)
    assert len(json.loads((tmp_path / "c.json").read_text())["history"]) == 7


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"batch_size": 5}, "batch_size is 4, here it is 5"),
        ({"optimizer": "sgd"}, "optimizer is 'Adam', here it is 'SGD'"),
        ({"loss": "huber"}, "loss is 'mse', here it is 'huber'"),
        ({"shuffle": False}, "shuffle"),
        ({"engine": "eager"}, "engine is 'compiled', here it is 'eager'"),
        ({"metrics": []}, "figures"),
        ({"callbacks": [EarlyStopping()]}, "callbacks"),
        ({"validation": 0.4}, "samples is 20, here it is 15"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(x, y, tmp_path, change, named):
    path = tmp_path / "checkpoint.json"
    train(x, y, [Checkpoint(path)], epochs=1)
    with pytest.raises(ArgumentError, match=f"belongs to another training: its .*{named}"):
        train(x, y, resume=path, **change)


def test_a_checkpoint_of_another_network_changes_nothing(x, y, tmp_path):
    path = tmp_path / "checkpoint.json"
    train(x, y, [Checkpoint(path)], epochs=1)
    model = MLP(2, [4, 1], seed=1)
    before = model.state()
    with pytest.raises(ArgumentError, match="does not fit this training"):
        fit(model, x, y, batch_size=4, validation=0.2, progress="silent", resume=path)
    assert model.state() == before


@pytest.mark.parametrize(
    "part", ["model", "optimizer", "engine", "callbacks", "rng", "history", "updates"]
)
@pytest.mark.parametrize("content", ["3", [3], {"a": 3}, None])
def test_a_checkpoint_with_a_damaged_part_changes_nothing(x, y, tmp_path, part, content):
    path = tmp_path / "checkpoint.json"
    train(x, y, [Checkpoint(path)], epochs=1)
    path.write_text(json.dumps(json.loads(path.read_text()) | {part: content}))
    model = MLP(2, [3, 1], seed=1)
    before = model.state()
    with pytest.raises(ArgumentError, match="does not fit this training"):
        fit(model, x, y, batch_size=4, validation=0.2, progress="silent", resume=path)
    assert model.state() == before


@pytest.mark.parametrize("damage", ["optimizer", "updates", "rng", "history", "engine"])
def test_a_checkpoint_with_a_part_missing_changes_nothing(x, y, tmp_path, damage):
    path = tmp_path / "checkpoint.json"
    train(x, y, [Checkpoint(path)], epochs=1)
    state = json.loads(path.read_text())
    del state[damage]
    path.write_text(json.dumps(state))
    model = MLP(2, [3, 1], seed=1)
    before = model.state()
    with pytest.raises(ArgumentError, match="does not fit this training"):
        fit(model, x, y, batch_size=4, validation=0.2, progress="silent", resume=path)
    assert model.state() == before


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', "null", '{"training": 3}'])
def test_what_is_no_checkpoint_is_said_to_be_none(x, y, tmp_path, content):
    path = tmp_path / "checkpoint.json"
    path.write_text(content)
    with pytest.raises(ArgumentError, match=r"checkpoint\.json (is damaged|is no checkpoint)"):
        train(x, y, resume=path)


def test_a_disk_that_fills_up_ends_the_training_with_a_clear_error(x, y, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    path = tmp_path / "checkpoint.json"
    train(x, y, [Checkpoint(path)], epochs=2)
    saved = path.read_text()
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunFolderError, match="the disk is full"):
        train(x, y, [Checkpoint(path)])
    assert path.read_text() == saved


def test_every_must_be_a_whole_number_of_epochs():
    with pytest.raises(ArgumentError, match="every"):
        Checkpoint("c.json", every=0)
