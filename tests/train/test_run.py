import json
import math
import shutil

import pandas as pd
import pytest

from gradloom.errors import AnomalyError, ArgumentError, DataError, ModelFileError, RunFolderError
from gradloom.train.callbacks import Checkpoint
from gradloom.train.data import load_table
from gradloom.train.experiment import prepare, reopen, resume_run, train_run
from gradloom.train.run import load_run, new_folder, probabilities
from gradloom.train.settings import Settings

FILES = {
    "config.json", "preprocessing.json", "checkpoint.json", "model.safetensors", "history.jsonl",
    "metrics.json",
}  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table with numbers, categories and gaps, and a class and a number to predict."""
    rows = [
        {
            "size": None if i % 11 == 5 else i % 7 + 0.5,
            "colour": None if i % 13 == 2 else ["red", "green", "blue"][i % 3],
            "price": 10.0 * (i % 7) + 3 * (i % 3) + 100,
            "kind": ["cheap", "dear"][(i % 7) > 3],
        }
        for i in range(60)
    ]
    path = tmp_path_factory.mktemp("data") / "shop.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def settings(table, **options):
    quick = {"hidden": "4", "epochs": 3, "learning_rate": 0.05}
    return Settings(str(table), **(quick | options))


@pytest.fixture(scope="module")
def run(table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "shop"
    return train_run(prepare(settings(table, epochs=20)), folder, progress="silent")


def test_the_split_is_disjoint_complete_stratified_and_drawn_by_the_seed(table):
    experiment = prepare(settings(table))
    parts = experiment.parts
    assert sorted(row for part in parts.values() for row in part) == list(range(60))
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 36, "validation": 12, "test": 12,
    }  # fmt: skip
    kinds = experiment.table.frame["kind"]
    for part in parts.values():
        assert abs((kinds.iloc[part] == "dear").mean() - (kinds == "dear").mean()) < 0.1
    assert prepare(settings(table)).parts == parts
    assert prepare(settings(table, seed=1)).parts != parts


def test_a_run_leaves_all_its_files_and_no_pickle(run):
    assert {path.name for path in run.folder.iterdir()} == FILES
    for path in run.folder.iterdir():
        assert not path.read_bytes().startswith(b"\x80"), "that is how a pickle starts"


def test_a_run_learns_and_is_compared_with_a_linear_model(run):
    assert run.metrics["network"]["test"]["accuracy"] > 0.8
    assert run.metrics["linear"].keys() == run.metrics["network"].keys()
    assert run.config["loss"] == "binary_cross_entropy"


def test_a_loaded_run_repeats_the_scores_of_training(run):
    experiment = prepare(run.settings)
    for part, positions in experiment.parts.items():
        scores, _ = load_run(run.folder).evaluate(experiment.table.frame.iloc[positions])
        assert scores == run.metrics["network"][part]


def test_predictions_do_not_depend_on_the_other_rows(run, table):
    frame = load_table(table).frame
    whole = run.predict(frame)
    single = [run.predict(frame.iloc[[i]]) for i in range(10)]
    for each, together in zip(single, whole.probabilities, strict=False):
        assert each.probabilities[0] == pytest.approx(together, rel=1e-12)
    assert set(whole.values) <= {"cheap", "dear"}


def test_probabilities_add_up_however_large_the_logits():
    for output in (0.3, 800.0, -800.0, [1.0, 2.0, 3.0], [1e4, -1e4]):
        assert sum(probabilities(output)) == pytest.approx(1.0)
    assert probabilities(40.0)[0] > 0


@pytest.mark.parametrize(
    ("options", "loss", "outputs"),
    [
        ({}, "binary_cross_entropy", 1),
        ({"loss": "cross_entropy"}, "cross_entropy", 2),
        ({"loss": "hinge"}, "hinge", 1),
        ({"target": "colour_filled"}, "cross_entropy", 3),
        ({"target": "price"}, "mse", 1),
        ({"target": "price", "loss": "huber"}, "huber", 1),
        ({"target": "price", "hidden": "none"}, "mse", 1),
    ],
)
def test_the_loss_and_the_outputs_fit_the_task(table, tmp_path, options, loss, outputs):
    path = tmp_path / "table.csv"
    frame = pd.read_csv(table)
    frame.assign(colour_filled=frame.pop("colour").fillna("red")).to_csv(path, index=False)
    options = {"target": "kind"} | options
    run = train_run(prepare(settings(path, **options)), tmp_path / "run", progress="silent")
    assert run.config["loss"] == loss
    assert run.model.nouts[-1] == outputs
    assert all(math.isfinite(record["validation_loss"]) for record in run.history)


def test_the_gradient_is_clipped_and_the_weights_decay(table, tmp_path):
    def weights(name, **options):
        run = train_run(prepare(settings(table, **options)), tmp_path / name, progress="silent")
        return math.hypot(*run.model.pack()[0]), run.history["loss"][-1]

    size, loss = weights("free", optimizer="sgd")
    assert weights("decayed", optimizer="sgd", weight_decay=1.0)[0] < size * 0.9
    assert weights("clipped", optimizer="sgd", clip_norm=1e-6)[1] > loss


def test_a_regression_is_scored_in_the_unit_of_the_target(table, tmp_path):
    experiment = prepare(settings(table, target="price", epochs=30))
    run = train_run(experiment, tmp_path / "run", progress="silent")
    predicted = run.predict(experiment.table.frame).values
    assert 90 < min(predicted) <= max(predicted) < 190
    scores = run.metrics["network"]["test"]
    assert scores["rmse"] < 15
    assert scores["mae"] <= scores["rmse"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"task": "clasification"}, ArgumentError, "did you mean 'classification'"),
        ({"task": "regression"}, DataError, "column 'kind', row 1: 'cheap': a number is needed"),
        ({"loss": "mse"}, ArgumentError, "loss for two classes"),
        ({"loss": "hinge", "target": "price"}, ArgumentError, "loss for numbers"),
        ({"test_size": 0.0}, ArgumentError, "test_size"),
        ({"test_size": 0.6, "validation_size": 0.5}, ArgumentError, "validation_size"),
        ({"test_size": 0.99, "validation_size": 0.001}, DataError, "60 rows cannot be split"),
        ({"hidden": "16;16"}, ArgumentError, "hidden is '16;16': give layer sizes such as 16,16"),
        ({"hidden": "0"}, ArgumentError, "hidden is '0'"),
        ({"hidden": ""}, ArgumentError, "hidden is ''"),
        ({"activation": "tanhh"}, ArgumentError, "did you mean 'tanh'"),
        ({"optimizer": "adan"}, ArgumentError, "did you mean"),
        ({"schedule": "cosin"}, ArgumentError, "did you mean 'cosine'"),
        ({"epochs": 0}, ArgumentError, "epochs"),
        ({"batch_size": 0}, ArgumentError, "batch_size"),
        ({"learning_rate": float("nan")}, ArgumentError, "lr"),
        ({"patience": 0}, ArgumentError, "patience"),
        ({"seed": -1}, ArgumentError, "seed"),
    ],
)
def test_a_bad_setting_is_named_and_no_folder_stays(table, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        train_run(prepare(settings(table, **options)), tmp_path / "run", progress="silent")
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_diverges_leaves_no_folder(table, tmp_path):
    wild = settings(table, target="price", optimizer="sgd", learning_rate=1e160, activation="relu")
    with pytest.raises(AnomalyError, match="lower the learning rate"):
        train_run(prepare(wild), tmp_path / "run", progress="silent")
    assert list(tmp_path.iterdir()) == []


def test_runs_are_numbered_and_never_overwritten(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = []
    for _ in range(3):
        with new_folder(None, "iris") as folder:
            (folder / "checkpoint.json").write_text("")
            names.append(str(folder))
    assert names == ["runs/iris-1", "runs/iris-2", "runs/iris-3"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_whatever_is_in_the_way_stays(tmp_path, kind):
    out = tmp_path / "run"
    out.write_text("mine") if kind == "file" else out.mkdir()
    with (
        pytest.raises(RunFolderError, match="exists already: choose another --out"),
        new_folder(out, "x"),
    ):
        pass
    assert out.exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="a file stands where a folder should be"):
        new_folder(tmp_path / "file" / "run", "x").__enter__()


def figures(run):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in run.history]


def test_a_disk_that_fills_up_keeps_the_checkpoint_and_the_run_goes_on_exactly(
    table, tmp_path, monkeypatch
):
    whole = train_run(prepare(settings(table, epochs=6)), tmp_path / "whole", progress="silent")
    save, saved = Checkpoint.on_epoch, []

    def fill(self, training):
        if len(saved) == 3:
            raise RunFolderError("the disk is full")
        saved.append(training.epoch)
        save(self, training)

    monkeypatch.setattr(Checkpoint, "on_epoch", fill)
    with pytest.raises(RunFolderError) as caught:
        train_run(prepare(settings(table, epochs=6)), tmp_path / "cut", progress="silent")
    assert caught.value.__notes__ == [
        f"then go on with: gradloom train --resume {tmp_path / 'cut'}"
    ]
    monkeypatch.setattr(Checkpoint, "on_epoch", save)
    with pytest.raises(
        RunFolderError, match="was not finished; finish it with: gradloom train --resume"
    ):
        load_run(tmp_path / "cut")
    resumed = resume_run(reopen(tmp_path / "cut"), tmp_path / "cut", progress="silent")
    assert figures(resumed) == figures(whole)
    assert resumed.model.state() == whole.model.state()
    assert resumed.metrics == whole.metrics


def test_a_finished_run_goes_on_with_more_epochs(table, tmp_path):
    train_run(prepare(settings(table)), tmp_path / "run", progress="silent")
    longer = reopen(tmp_path / "run", epochs=5)
    resumed = resume_run(longer, tmp_path / "run", progress="silent")
    whole = train_run(prepare(settings(table, epochs=5)), tmp_path / "whole", progress="silent")
    assert figures(resumed) == figures(whole)
    assert load_run(tmp_path / "run").settings.epochs == 5


def test_a_run_whose_data_have_changed_is_not_gone_on_with(table, tmp_path):
    path = tmp_path / "shop.csv"
    shutil.copy(table, path)
    run = train_run(prepare(settings(path)), tmp_path / "run", progress="silent")
    path.write_text(path.read_text().replace("100.0", "101.0"))
    with pytest.raises(RunFolderError, match=r"shop\.csv has changed since"):
        reopen(run.folder)


def test_what_is_no_run_folder_is_said_to_be_none(tmp_path):
    with pytest.raises(RunFolderError, match="there is no run folder"):
        load_run(tmp_path / "no")
    with pytest.raises(RunFolderError, match=r"is no run folder: it holds no config\.json"):
        load_run(tmp_path)
    with pytest.raises(RunFolderError, match="no run folder"):
        reopen(tmp_path)


@pytest.mark.parametrize("name", sorted(FILES - {"checkpoint.json"}))
@pytest.mark.parametrize("content", [None, b"", b"\xff\x00", b"[1]"])
def test_a_damaged_run_names_the_file(run, tmp_path, name, content):
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
    with pytest.raises((RunFolderError, ModelFileError), match=name.replace(".", r"\.")):
        load_run(folder)


@pytest.mark.parametrize(
    "damage",
    [
        {"network": 1, "linear": 2},
        {"network": {"test": 3}},
        {"linear": {"train": {}, "validation": {}, "test": {}}},
        {"linear": None},
    ],
)
def test_metrics_that_hold_no_scores_are_refused(run, tmp_path, damage):
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    (folder / "metrics.json").write_text(json.dumps(run.metrics | damage))
    with pytest.raises(RunFolderError, match=r"metrics\.json is damaged: train again"):
        load_run(folder)


def test_a_run_without_its_checkpoint_cannot_go_on_but_can_be_used(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    (folder / "checkpoint.json").unlink()
    assert load_run(folder).metrics == run.metrics
    with pytest.raises(RunFolderError, match="to go on from"):
        reopen(folder)


def test_a_model_of_another_run_is_noticed(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    saved = json.loads((folder / "preprocessing.json").read_text())
    saved["numbers"].pop()
    (folder / "preprocessing.json").write_text(json.dumps(saved))
    with pytest.raises(RunFolderError, match="do not belong together"):
        load_run(folder)
