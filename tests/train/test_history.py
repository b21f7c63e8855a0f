import pytest

from gradloom.errors import ArgumentError, RunFolderError
from gradloom.train import History

RECORDS = [
    {"epoch": 1, "loss": 0.9, "validation_loss": 0.8},
    {"epoch": 2, "loss": 0.5, "validation_loss": 0.3},
    {"epoch": 3, "loss": 0.1, "validation_loss": 0.4},
]


def test_a_column_is_a_curve():
    history = History(RECORDS)
    assert history["loss"] == [0.9, 0.5, 0.1]
    assert [record["epoch"] for record in history] == [1, 2, 3]
    assert len(history) == 3


def test_an_unknown_column_names_the_nearest():
    with pytest.raises(ArgumentError, match="did you mean 'validation_loss'"):
        History(RECORDS)["validation_los"]


def test_the_best_epoch_is_judged_by_held_out_samples_where_there_are_any():
    assert History(RECORDS).best()["epoch"] == 2
    assert History([{"epoch": 1, "loss": 0.2}, {"epoch": 2, "loss": 0.1}]).best()["epoch"] == 2


def test_an_empty_history_has_no_best_epoch():
    assert History()["loss"] == []
    with pytest.raises(ArgumentError, match="no epoch was finished"):
        History().best()


def test_a_history_is_short_however_long_the_training():
    ended = History(RECORDS * 100, ended="interrupted in epoch 301", interrupted=True)
    best = "best validation_loss 0.3 in epoch 2"
    assert repr(ended) == f"History(300 epochs, {best}, interrupted in epoch 301)"
    assert repr(History()) == "History(0 epochs, not ended)"
    assert repr(History([{"epoch": 1, "loss": 0.5}])).startswith("History(1 epoch, best loss 0.5")


def test_saving_and_loading_keeps_everything(tmp_path):
    history = History(RECORDS, ended="interrupted in epoch 4", interrupted=True)
    history.save(tmp_path / "history.jsonl")
    assert History.load(tmp_path / "history.jsonl") == history
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    "content",
    ["", "{", "[1]\n[2]\n", '{"epoch": 1}\n', '{"loss": 1}\n{"ended": "", "interrupted": false}\n'],
)
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "history.jsonl"
    path.write_text(content)
    with pytest.raises(RunFolderError, match=r"history\.jsonl is damaged"):
        History.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RunFolderError, match=r"cannot read .*history\.jsonl: No such file"):
        History.load(tmp_path / "history.jsonl")
