import pytest

from gradloom.errors import ArgumentError
from gradloom.nn import MLP
from gradloom.train import Callback, EarlyStopping, fit


class Script(Callback):
    """Replaces a column of the history by given figures, so that a test decides what improves."""

    def __init__(self, column, figures):
        self.column, self.figures = column, figures
        self.weights = []

    def on_epoch(self, training):
        training.history.records[-1][self.column] = self.figures[training.epoch - 1]
        self.weights.append(training.model.state())


def train(figures, column="loss", **options):
    x, y = [[0.0], [1.0], [2.0]], [0.0, 1.0, 0.5]
    model = MLP(1, [2, 1], seed=0)
    script = Script(column, figures)
    stopping = EarlyStopping(column, **options)
    history = fit(
        model, x, y, epochs=len(figures), metrics=["r2", "mae"], callbacks=[script, stopping],
        progress="silent",
    )  # fmt: skip
    return model, script, stopping, history


def test_it_stops_after_patience_epochs_and_restores_the_best_weights():
    model, script, stopping, history = train([5.0, 3.0, 4.0, 3.5, 3.2, 1.0], patience=3)
    assert len(history) == 5
    assert history.ended == "stopped early: loss has not improved since epoch 2"
    assert (stopping.best, stopping.best_epoch) == (3.0, 2)
    assert model.state() == script.weights[1] != script.weights[4]


def test_the_best_weights_are_restored_at_the_end_of_all_epochs_too():
    model, script, _, history = train([3.0, 1.0, 2.0], patience=9)
    assert history.ended == "finished all 3 epochs"
    assert model.state() == script.weights[1]


def test_the_last_weights_stay_if_asked():
    model, script, *_ = train([3.0, 1.0, 2.0], restore_best=False)
    assert model.state() == script.weights[2]


def test_a_smaller_change_than_min_delta_is_no_improvement():
    *_, history = train([1.0, 0.95, 0.91, 0.9], patience=3, min_delta=0.2)
    assert len(history) == 4
    assert history.ended.startswith("stopped early")


@pytest.mark.parametrize(
    ("column", "mode", "best_epoch"),
    [("r2", "auto", 2), ("mae", "auto", 3), ("loss", "max", 2), ("r2", "min", 3)],
)
def test_the_better_end_is_known_for_metrics_or_told(column, mode, best_epoch):
    _, _, stopping, _ = train([0.5, 0.9, 0.1], column, mode=mode)
    assert stopping.best_epoch == best_epoch


def test_it_watches_the_validation_loss_where_there_is_one():
    x, y = [[0.0], [1.0], [2.0]], [0.0, 1.0, 0.5]
    script = Script("validation_loss", [1.0, 2.0, 3.0, 4.0])
    stopping = EarlyStopping(patience=2)
    history = fit(
        MLP(1, [1], seed=0), x, y, epochs=4, validation=(x, y), callbacks=[script, stopping],
        progress="silent",
    )  # fmt: skip
    assert history.ended == "stopped early: validation_loss has not improved since epoch 1"


def test_it_forgets_a_former_training():
    x, y = [[0.0], [1.0]], [0.0, 1.0]
    stopping = EarlyStopping("loss", patience=1)
    for _ in range(2):
        script = Script("loss", [1.0, 2.0, 3.0])
        history = fit(
            MLP(1, [1], seed=0), x, y, epochs=3, callbacks=[script, stopping], progress="silent"
        )
        assert len(history) == 2


@pytest.mark.parametrize(
    "options", [{"patience": 0}, {"patience": 1.5}, {"min_delta": -1.0}, {"mode": "best"}]
)
def test_bad_options_are_named(options):
    with pytest.raises(ArgumentError, match=next(iter(options))):
        EarlyStopping(**options)
