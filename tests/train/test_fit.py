import math
import signal
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from gradloom.core import ops
from gradloom.errors import AnomalyError, ArgumentError, DataError, GradloomError, ShapeError
from gradloom.nn import MLP, SGD, Parameter, l2, mse
from gradloom.nn.module import Module
from gradloom.train import Callback, EarlyStopping, fit


def quietly(model, x, y, **options):
    return fit(model, x, y, progress="silent", **options)


def test_a_network_learns_what_no_line_can(x, y):
    model = MLP(2, [8, 1], seed=0)
    loss = "binary_cross_entropy"
    history = quietly(model, x, y, loss=loss, epochs=120, batch_size=5, learning_rate=0.05)
    assert history["accuracy"][-1] == 1.0
    assert history["loss"][-1] < 0.1 < history["loss"][0]


def test_one_update_subtracts_the_rate_times_the_gradient_of_the_batchs_mean_loss(x, y, model):
    twin = MLP(2, [3, 1], seed=1)
    mse([twin(row) for row in x], y).backward()
    quietly(model, x, y, optimizer="sgd", learning_rate=0.5, epochs=1, batch_size=len(x))
    for new, old in zip(model.parameters(), twin.parameters(), strict=True):
        assert new.data == pytest.approx(old.data - 0.5 * old.grad, rel=1e-12)


def test_gradients_are_zeroed_before_each_batch_and_the_last_batch_may_be_small(x, y, model):
    twin = MLP(2, [3, 1], seed=1)
    for p in model.parameters():
        p.grad = 100.0
    options = {"optimizer": "sgd", "learning_rate": 0.1, "batch_size": 10, "shuffle": False}
    quietly(model, x, y, epochs=1, **options)
    for first in (0, 10, 20):
        twin.zero_grad()
        mse([twin(row) for row in x[first : first + 10]], y[first : first + 10]).backward()
        for p in twin.parameters():
            p.data -= 0.1 * p.grad
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert ours.data == pytest.approx(theirs.data, rel=1e-12)


def test_the_history_has_every_figure_of_every_epoch(x, y, model):
    history = quietly(model, x, y, epochs=3, validation=(x[:4], y[:4]), metrics=["mae", "r2"])
    assert history["epoch"] == [1, 2, 3]
    assert history.columns == [
        "epoch", "loss", "mae", "r2", "validation_loss", "validation_mae", "validation_r2",
        "learning_rate", "gradient_norm", "seconds",
    ]  # fmt: skip
    assert all(map(math.isfinite, (value for record in history for value in record.values())))
    assert history.ended == "finished all 3 epochs"
    assert not history.interrupted


def test_the_validation_loss_is_that_of_the_model_after_the_epoch(x, y, model):
    history = quietly(model, x, y, epochs=2, validation=(x[:6], y[:6]))
    assert history["validation_loss"][-1] == pytest.approx(
        mse([model(r) for r in x[:6]], y[:6]).data
    )


def test_a_share_is_held_out_by_the_seed(x, y, model):
    history = quietly(model, x, y, epochs=1, validation=0.2)
    assert "validation_loss" in history.columns
    with pytest.raises(DataError, match="leaves one side empty"):
        quietly(model, x, y, validation=0.01)
    with pytest.raises(ArgumentError, match="validation"):
        quietly(model, x, y, validation=1.5)


def test_the_seed_decides_every_figure(x, y):
    def weights(seed):
        model = MLP(2, [3, 1], seed=1)
        quietly(model, x, y, epochs=3, batch_size=4, validation=0.2, seed=seed)
        return model.state()

    assert weights(0) == weights(0)
    assert weights(0) != weights(1)


def test_arrays_give_the_same_figures_as_lists(x, y):
    models = [MLP(2, [3, 1], seed=1) for _ in range(2)]
    quietly(models[0], x, y, epochs=2)
    quietly(models[1], np.array(x), np.array(y), epochs=2)
    assert models[0].state() == models[1].state()


def test_several_outputs_and_classes_are_learned(x, y):
    pairs = [[a + b, a - b] for a, b in x]
    assert quietly(MLP(2, [2], seed=0), x, pairs, epochs=60, learning_rate=0.1)["r2"][-1] > 0.99
    history = quietly(MLP(2, [8, 2], seed=0), x, y, loss="cross_entropy", epochs=2)
    assert 0 <= history["accuracy"][-1] <= 1


def test_a_loss_and_a_metric_of_ones_own_are_used(x, y, model):
    def margin(output, target):
        return ops.relu(1 - output * (2 * target - 1))

    def largest(outputs, _):
        return max(outputs)

    history = quietly(model, x, y, loss=margin, metrics=[largest], epochs=2)
    assert history.columns[:3] == ["epoch", "loss", "largest"]
    assert quietly(model, x, y, loss=margin, epochs=1).columns[:2] == ["epoch", "loss"]


def test_a_module_of_ones_own_is_trained(x):
    class Bilinear(Module):
        def __init__(self):
            self.scale = Parameter(0.1)

        def __call__(self, row):
            return self.scale * row[0] * row[1]

    history = quietly(Bilinear(), x, [a * b for a, b in x], epochs=100, learning_rate=0.1)
    assert history["loss"][-1] < 1e-4


def test_an_optimizer_of_ones_own_is_used_with_its_rate(x, y, model):
    optimizer = SGD(model, lr=0.25, momentum=0.9)
    assert quietly(model, x, y, optimizer=optimizer, epochs=1)["learning_rate"] == [0.25]
    with pytest.raises(ArgumentError, match="set it on the optimizer"):
        quietly(model, x, y, optimizer=optimizer, learning_rate=0.1)


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_an_optimizer_of_another_model_is_refused(x, y, model, engine):
    other = MLP(2, [3, 1], seed=1)
    for strange in (other, [*model.parameters(), *other.parameters()]):
        with pytest.raises(ArgumentError, match="that are not the model's: make it from this"):
            quietly(model, x, y, optimizer=SGD(strange, lr=0.1), engine=engine)
    assert model.state() == other.state()


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("constant", [1, 1, 1, 1]),
        ("linear", [1, 3 / 4, 2 / 4, 1 / 4]),
        ("cosine", [1, 0.853553, 0.5, 0.146447]),
        ("step", [1, 1, 0.1, 0.1]),
        ("warmup", [0.1, 1, 0.75, 0.25]),
        (lambda step: 1 / (1 + step), [1, 1 / 2, 1 / 3, 1 / 4]),
    ],
)
def test_the_rate_follows_the_schedule(x, y, model, schedule, rates):
    options = {"epochs": 4, "batch_size": len(x), "optimizer": "sgd", "learning_rate": 2.0}
    history = quietly(model, x, y, schedule=schedule, **options)
    assert history["learning_rate"] == pytest.approx([2 * rate for rate in rates], rel=1e-5)


def test_clipping_bounds_the_update_and_the_history_shows_the_norm_before(x, y):
    def step(**clip):
        model = MLP(2, [3, 1], seed=1)
        before = model.pack()[0][:]
        history = quietly(
            model, x, y, optimizer="sgd", learning_rate=1.0, epochs=1, batch_size=25, **clip
        )
        moves = [a - b for a, b in zip(model.pack()[0], before, strict=True)]
        return moves, history["gradient_norm"][0]

    free, norm = step()
    assert math.hypot(*free) == pytest.approx(norm)
    clipped, same = step(clip_norm=norm / 10)
    assert same == norm
    assert math.hypot(*clipped) == pytest.approx(norm / 10, rel=1e-4)
    limit = max(map(abs, free)) / 2
    bounded, _ = step(clip_value=limit)
    assert max(map(abs, bounded)) == pytest.approx(limit)


def test_a_penalty_shrinks_the_weights_and_is_left_out_of_the_loss(x, y):
    def train(penalty):
        model = MLP(2, [3, 1], seed=1)
        history = quietly(model, x, y, epochs=40, penalty=penalty, learning_rate=0.05)
        return math.hypot(*model.pack()[0]), history["loss"][-1]

    size, _ = train(None)
    shrunk, loss = train(lambda parameters: l2(parameters, 0.1))
    assert shrunk < size / 2
    assert loss == pytest.approx(0.25, abs=0.1)  # the loss of a constant, penalty apart


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": []}, DataError, "x is empty"),
        ({"y": [0.0]}, DataError, "x has 25 rows but y has 1"),
        ({"x": [[1.0, math.nan]] * 25}, DataError, r"x\[0\]\[1\] is nan"),
        ({"x": [[1.0, 2.0, 3.0]] * 25}, ShapeError, "takes 2 inputs, got 3"),
        ({"y": [[1.0, 2.0]] * 25}, DataError, r"y\[0\] is \[1\.0, 2\.0\]: mse"),
        ({"loss": "cross_entropy"}, DataError, r"y\[0\] is 1: cross_entropy"),
        ({"loss": "nse"}, ArgumentError, "did you mean 'mse'"),
        ({"loss": lambda *_: 1.0}, ArgumentError, "must return a Value"),
        ({"optimizer": "adan"}, ArgumentError, "did you mean"),
        ({"schedule": "cosin"}, ArgumentError, "did you mean 'cosine'"),
        ({"metrics": ["acuracy"]}, ArgumentError, "did you mean 'accuracy'"),
        ({"learning_rate": -1.0}, ArgumentError, "lr"),
        ({"epochs": 0}, ArgumentError, "epochs is a whole number of at least 1, got 0"),
        ({"batch_size": 0}, ArgumentError, "batch_size is a whole number of at least 1, got 0"),
        ({"batch_size": 2.5}, ArgumentError, r"batch_size .* got 2\.5"),
        ({"clip_norm": 0.0}, ArgumentError, "clip_norm"),
        ({"clip_value": -1.0}, ArgumentError, "clip_value"),
        ({"validation": ([[1.0]], [1.0])}, ShapeError, "validation x has rows of 1 numbers"),
        ({"validation": ([[0.0, 0.0]],)}, ArgumentError, "validation is a pair"),
        ({"validation": ([], [])}, DataError, "validation x is empty"),
        ({"progress": "loud"}, ArgumentError, "progress is 'loud'"),
        ({"callbacks": [EarlyStopping("acc")]}, ArgumentError, "no recorded figure"),
        ({"callbacks": [print]}, ArgumentError, "callback is <built-in function print>"),
        ({"loss": None}, ArgumentError, "no loss is called None"),
        ({"validation": ([[0.0, 0.0]], [math.nan])}, DataError, r"validation y\[0\] is nan"),
        ({"resume": "no-such.json"}, ArgumentError, "no such file"),
    ],
)
def test_bad_input_is_refused_before_anything_is_changed(x, y, model, change, error, message):
    before = model.state()
    arguments = {"x": x, "y": y, "progress": "silent", "epochs": 2} | change
    with pytest.raises(error, match=message):
        fit(model, **arguments)
    assert model.state() == before


def test_a_model_that_is_no_module_is_refused(x, y):
    with pytest.raises(ArgumentError, match="give a gradloom Module"):
        quietly(len, x, y)


def test_a_validation_loss_that_overflows_ends_the_training(x, y, model):
    with pytest.raises(AnomalyError, match="validation loss is no longer finite"):
        quietly(model, x, y, epochs=1, validation=(x, [1e200] * len(y)))


def test_a_class_beyond_the_outputs_is_named_wherever_it_stands(x, y):
    model = MLP(2, [3], seed=0)
    with pytest.raises(DataError, match=r"y\[7\] is 3: cross_entropy: .* got 3"):
        quietly(model, x, [*y[:7], 3, *y[8:]], loss="cross_entropy")
    validation = (x, [*y[:9], 3, *y[10:]])
    with pytest.raises(DataError, match=r"validation y\[9\] is 3"):
        quietly(model, x, y, loss="cross_entropy", validation=validation)


def test_a_training_that_diverges_stops_before_it_spoils_the_weights(x, y, model):
    with pytest.raises(AnomalyError, match=r"diverged in epoch \d+: .*; lower the learning rate"):
        quietly(model, x, [1e150 * t for t in y], optimizer="sgd", learning_rate=1e9, epochs=50)
    assert all(map(math.isfinite, model.pack()[0]))


class Interrupt(Callback):
    """Ctrl-C in the middle of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch(self, training, *_):
        if training.epoch == self.epoch:
            raise KeyboardInterrupt


def test_ctrl_c_keeps_what_was_learned(x, y, model):
    before = model.state()
    history = quietly(model, x, y, epochs=9, batch_size=5, callbacks=[Interrupt(4)])
    assert history.interrupted
    assert history.ended == "interrupted in epoch 5"
    assert len(history) == 4
    assert model.state() != before


def test_ctrl_c_restores_the_best_weights_where_they_are_kept(x, y, model):
    x_validation, y_validation = x[::3], y[::3]
    stopping = EarlyStopping(patience=50)
    history = quietly(
        model, x, y, epochs=20, batch_size=5, learning_rate=0.5,
        validation=(x_validation, y_validation), callbacks=[stopping, Interrupt(9)],
    )  # fmt: skip
    loss = mse([model(row) for row in x_validation], y_validation).data
    assert loss == pytest.approx(min(history["validation_loss"]), rel=1e-12)


@pytest.mark.parametrize("moment", ["on_start", "on_batch", "on_epoch"])
def test_a_real_ctrl_c_waits_until_everything_is_whole(x, y, model, moment):
    class Press(Callback):
        pressed = False

        def press(self, training, *_):
            if not self.pressed and (training.epoch == 2 or moment == "on_start"):
                self.pressed = True
                signal.raise_signal(signal.SIGINT)

    setattr(Press, moment, Press.press)
    stopping = EarlyStopping("loss")
    history = quietly(model, x, y, epochs=9, callbacks=[Press(), stopping])
    assert history.interrupted
    assert len(history) == (0 if moment == "on_start" else 2)
    assert stopping.best_epoch == len(history)


def test_callbacks_see_every_moment_in_order(x, y, model):
    seen = []

    class Watch(Callback):
        def on_start(self, training):
            seen.append(("start", training.epoch, training.epochs, training.size))

        def on_batch(self, _, size, loss):
            assert loss > 0
            seen.append(("batch", size))

        def on_epoch(self, training):
            seen.append(("epoch", training.epoch))
            if training.epoch == 2:
                training.stop("enough")

        def on_end(self, training):
            seen.append(("end", training.history.ended))

    quietly(model, x, y, epochs=9, batch_size=20, callbacks=[Watch()])
    epoch = [("batch", 20), ("batch", 5)]
    assert seen == [
        ("start", 0, 9, 25),
        *epoch,
        ("epoch", 1),
        *epoch,
        ("epoch", 2),
        ("end", "enough"),
    ]


def test_callbacks_hear_of_the_end_when_the_training_fails(x, y, model):
    ends = []

    class Fail(Callback):
        def on_epoch(self, _):
            raise GradloomError("no")

        def on_end(self, training):
            ends.append(training.epoch)

    with pytest.raises(GradloomError, match="no"):
        quietly(model, x, y, callbacks=[Fail()])
    assert ends == [1]


def test_memory_holds_one_samples_graph_however_large_the_batch(x, y):
    def peak(batch_size):
        model = MLP(2, [32, 1], seed=0)
        tracemalloc.start()
        quietly(model, x * 8, y * 8, epochs=1, batch_size=batch_size, engine="eager")
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    assert peak(200) < 1.5 * peak(1)


def test_the_standard_library_is_enough():
    code = """
import sys
for name in ("numpy", "rich", "pandas", "sklearn", "safetensors", "matplotlib", "typer"):
    sys.modules[name] = None
from gradloom.nn import MLP
from gradloom.train import fit, EarlyStopping
fit(MLP(1, [2, 1], seed=0), [[0.0], [1.0]], [0.0, 1.0], epochs=2, callbacks=[EarlyStopping("loss")])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "finished all 2 epochs"
    assert done.stderr == ""


def test_the_compiled_engine_without_numpy_names_the_command_that_installs_it():
    code = """
import sys
sys.modules["numpy"] = None
from gradloom.nn import MLP
from gradloom.train import fit
fit(MLP(1, [1], seed=0), [[0.0]], [0.0], engine="compiled")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "numpy is not installed: pip install 'gradloom[train]'" in done.stderr
