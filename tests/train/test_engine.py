"""The compiled engine gives the plain engine's figures, whatever is trained and however."""

import math
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from gradloom import Value, detect_anomaly
from gradloom.core import ops
from gradloom.errors import AnomalyError, ArgumentError, RecordingWarning
from gradloom.nn import LOSSES, MLP, OPTIMIZERS, SGD, Parameter, cross_entropy, l1, l2, mse
from gradloom.nn.module import Module
from gradloom.train import Callback, Checkpoint, Training, compiled, fit


def quietly(model, x, y, **options):
    return fit(model, x, y, progress="silent", **({"epochs": 4, "batch_size": 6} | options))


class Watch(Callback):
    """Remembers which engine was at work after each epoch, and anything else asked for."""

    def on_start(self, _):
        self.engines = []

    def on_epoch(self, training: Training):
        self.engines.append(training.engine)


def assert_same(make, x, y, **options):
    """Trains with both engines; all figures and weights must agree to rounding."""
    trained = {}
    for engine in ("eager", "compiled"):
        model, watch = make(), Watch()
        more = {
            name: option(model) if name == "optimizer" and callable(option) else option
            for name, option in options.items()
        }
        history = quietly(model, x, y, engine=engine, callbacks=[watch], **more)
        assert set(watch.engines) == {engine}
        trained[engine] = model, history
    (plain, expected), (model, history) = trained.values()
    assert history.columns == expected.columns
    for column in set(expected.columns) - {"seconds"}:
        assert history[column] == pytest.approx(expected[column], rel=1e-9, abs=1e-12), column
    assert model.pack()[0] == pytest.approx(plain.pack()[0], rel=1e-9, abs=1e-12)
    assert model.pack()[1] == pytest.approx(plain.pack()[1], rel=1e-9, abs=1e-9)


def two_hidden(outputs=1):
    return lambda: MLP(2, [5, 4, outputs], seed=3)


def targets_for(loss, y):
    return [2 * t - 1 for t in y] if loss == "hinge" else y


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss(x, y, loss):
    outputs = 2 if loss == "cross_entropy" else 1
    assert_same(two_hidden(outputs), x, targets_for(loss, y), loss=loss, validation=0.2)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_with_a_schedule(x, y, optimizer):
    assert_same(two_hidden(), x, y, optimizer=optimizer, schedule="warmup", learning_rate=0.05)


@pytest.mark.parametrize(
    "options",
    [
        {"clip_norm": 0.05},
        {"clip_value": 0.02},
        {"clip_norm": 0.05, "clip_value": 0.02},
        {"penalty": lambda parameters: l2(parameters, 0.1)},
        {"penalty": lambda parameters: l1(parameters, 0.1), "clip_norm": 0.1},
        {"validation": ([[0.3, 0.4], [0.1, -0.2]], [1, 0]), "metrics": ["mae", "rmse"]},
        {"shuffle": False, "batch_size": 25},
        {"batch_size": 1},
        {"batch_size": 100},
    ],
)
def test_every_option(x, y, options):
    assert_same(two_hidden(), x, y, **options)


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "elu", "leaky_relu", "sin"])
def test_activations(x, y, activation):
    assert_same(lambda: MLP(2, [6, 1], activation, seed=1), x, y)


def test_several_outputs_and_targets(x):
    pairs = [[a + b, a * b] for a, b in x]
    assert_same(two_hidden(2), x, pairs, loss="huber", validation=0.2)


def test_a_batch_of_many_blocks_of_lanes(x, y, monkeypatch):
    monkeypatch.setattr(compiled, "_ROOM", 300)
    assert_same(two_hidden(), x, y, batch_size=20, validation=0.2)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_an_optimizer_of_ones_own(x, y, momentum):
    class Own(SGD):
        def update(self, numbers, grads):
            super().update(numbers, grads)

    assert_same(two_hidden(), x, y, optimizer=lambda model: Own(model, 0.1, momentum=momentum))


def test_an_optimizer_of_some_parameters_alone(x, y):
    assert_same(two_hidden(), x, y, optimizer=lambda model: SGD(model.layers[-1], 0.1))


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_the_gradient_of_parameters_without_optimizer_is_zeroed_before_each_batch(x, y, engine):
    norms = []
    for rate in (0.0, 1e-12):  # so that every batch has the same gradient, or nearly
        model = two_hidden()()
        optimizer = SGD(model if rate else model.layers[-1], rate)
        options = {"optimizer": optimizer, "engine": engine, "batch_size": len(x)}
        norms += quietly(model, x, y, **options)["gradient_norm"]
    assert norms == pytest.approx([norms[0]] * 8, rel=1e-6)


def test_a_loss_that_branches_on_the_target_and_on_the_output(x, y):
    def cautious(output, target):
        if target > 0:
            return ops.relu(1 - output)
        return output * output if output > 0.1 else -0.1 * output

    assert_same(two_hidden(), x, y, loss=cautious, validation=0.2, epochs=6)


def test_a_loss_that_looks_its_target_up(x, y):
    def likelihood(output, target):
        return -ops.take(ops.log_softmax(output), target)

    assert_same(two_hidden(2), x, y, loss=likelihood, epochs=2)


def test_a_loss_that_weighs_its_classes(x, y):
    weights = [1.0, 3.0]

    def weighted(output, target):
        return weights[target] * cross_entropy(output, target)

    assert_same(two_hidden(2), x, y, loss=weighted)


def test_a_loss_around_a_loss(x, y):
    def smoothed(output, target):
        return 0.9 * cross_entropy(output, target) - 0.1 * ops.sum(ops.log_softmax(output)) / 2

    assert_same(two_hidden(2), x, y, loss=smoothed)


def test_a_loss_that_does_not_look_at_the_samples(x, y):
    class Line(Module):
        def __init__(self):
            self.w = Parameter(0.5)
            self.unused = Parameter(1.0)

        def __call__(self, _):
            return self.w * 2.0

    assert_same(Line, x, y, loss=lambda output, _: output * output)


def test_a_model_whose_parts_branch_on_their_inputs(x, y):
    class Tent(Module):
        def __init__(self):
            self.left, self.right = MLP(2, [3, 1], seed=1), MLP(2, [3, 1], seed=2)

        def __call__(self, row):
            return self.left(row) if row[0] < row[1] else self.right(row)

    assert_same(Tent, x, y, validation=0.3)


def test_values_outside_the_model_get_their_gradient_too(x, y):
    def train(engine):
        scale, model = Value(0.5), MLP(2, [3, 1], seed=1)

        def scaled(output, target):
            return mse(output * scale, target)

        quietly(model, x, y, loss=scaled, engine=engine, epochs=2)
        return scale.grad, list(model.pack()[0])

    (grad, weights), (expected, plain) = train("compiled"), train("eager")
    assert grad == pytest.approx(expected, rel=1e-9)
    assert grad != 0.0
    assert weights == pytest.approx(plain, rel=1e-9)


def test_values_that_only_some_samples_read(x, y):
    def train(engine):
        scales, model = [Value(0.5), Value(2.0)], MLP(2, [3, 1], seed=1)

        def scaled(output, target):
            return mse(output * scales[target > 0], target)

        quietly(model, x, y, loss=scaled, engine=engine, epochs=2)
        return [scale.grad for scale in scales] + list(model.pack()[0])

    assert train("compiled") == pytest.approx(train("eager"), rel=1e-9)


def test_tied_weights(x, y):
    class Tied(Module):
        def __init__(self):
            self.first = MLP(2, [2], seed=1)
            self.again = self.first

        def __call__(self, row):
            return ops.sum(self.again(self.first(row)))

    assert_same(Tied, x, y)


def test_what_callbacks_change_between_epochs_is_seen(x, y):
    class Warm(Module):
        def __init__(self):
            self.inner, self.temperature = MLP(2, [3, 1], seed=1), 4.0

        def __call__(self, row):
            return self.inner(row) * self.temperature

    class Cool(Callback):
        def on_epoch(self, training):
            training.model.temperature *= 0.9

    def train(engine):
        watch = Watch()
        history = quietly(Warm(), x, y, engine=engine, callbacks=[Cool(), watch], epochs=20)
        assert set(watch.engines) == {engine}
        return history["loss"]

    assert train("compiled") == pytest.approx(train("eager"), rel=1e-9)


def test_parameters_that_move_to_other_arrays_are_followed(x, y):
    class Move(Callback):
        def on_batch(self, training, *_):
            training.model.layers[0].pack()

    def train(engine):
        model = MLP(2, [3, 1], seed=1)
        quietly(model, x, y, engine=engine, callbacks=[Move()])
        return [p.data for p in model.parameters()]

    assert train("compiled") == pytest.approx(train("eager"), rel=1e-9)


def test_an_update_costs_python_nothing_per_parameter(x, y, monkeypatch):
    reads = 0
    read = Parameter.data.fget

    def counted(parameter):
        nonlocal reads
        reads += 1
        return read(parameter)

    monkeypatch.setattr(Parameter, "data", property(counted, Parameter.data.fset))

    def count(batch_size):
        nonlocal reads
        reads = 0
        quietly(MLP(2, [8, 1], seed=0), x, y, batch_size=batch_size, epochs=1)
        return reads

    assert count(1) == count(12)  # 25 updates and 3


def test_numbers_drawn_at_random_are_left_to_the_plain_engine(x, y):
    rng = np.random.default_rng(0)

    class Dropout(MLP):
        def __call__(self, row):
            return super().__call__([number * float(rng.random() < 0.5) for number in row])

    watch = Watch()
    with pytest.warns(RecordingWarning, match="draws random numbers"):
        quietly(Dropout(2, [3, 1], seed=0), x, y, callbacks=[watch])
    assert set(watch.engines) == {"eager"}
    with pytest.raises(ArgumentError, match=r"cannot be compiled: .* use engine='eager'"):
        quietly(Dropout(2, [3, 1], seed=0), x, y, engine="compiled")


def test_numbers_that_change_with_the_updates_are_left_to_the_plain_engine(x, y):
    def train(engine):
        model, watch = MLP(2, [3, 1], seed=1), Watch()

        def scaled(output, target):  # by a plain number, as nobody should
            return mse(output, target) * model.pack()[0][0]

        history = quietly(model, x, y, loss=scaled, engine=engine, callbacks=[watch])
        return history["loss"], watch.engines

    with pytest.warns(RecordingWarning, match="change with the updates"):
        figures, engines = train("auto")
    assert set(engines) == {"eager"}
    assert figures == pytest.approx(train("eager")[0], rel=1e-9)


def test_too_many_ways_through_branches_are_left_to_the_plain_engine(x, y):
    def rounded(output, target):  # another way for every number
        return mse(output, target) * (1.0 + math.floor(output.data * 1e6) % 2)

    def train(engine):
        model, watch = MLP(2, [3, 1], seed=1), Watch()
        history = quietly(model, x, y, loss=rounded, engine=engine, callbacks=[watch])
        return history["loss"], watch.engines

    with pytest.warns(RecordingWarning, match=r"16 ways, because .* at .*test_engine\.py:\d+"):
        figures, engines = train("auto")
    assert set(engines) == {"eager"}
    assert figures == pytest.approx(train("eager")[0], rel=1e-9)


def test_what_works_on_plain_targets_alone_is_left_to_the_plain_engine(x, y):
    def weighted(output, target):
        return mse(output, target) * (1 + target.bit_length())

    with pytest.warns(RecordingWarning, match="uncompiled, many times slower: recording it failed"):
        history = quietly(MLP(2, [3, 1], seed=1), x, y, loss=weighted)
    expected = quietly(MLP(2, [3, 1], seed=1), x, y, loss=weighted, engine="eager")
    assert history["loss"] == expected["loss"]


def test_what_treats_whole_targets_in_another_manner_is_left_to_the_plain_engine(x, y):
    def by_kind(output, target):
        return mse(output, target) * (2.0 if isinstance(target, int) else 1.0)

    with pytest.warns(RecordingWarning, match="gives .* where it should give"):
        quietly(MLP(2, [3, 1], seed=1), x, y, loss=by_kind)


def test_an_unknown_engine_is_refused(x, y, model):
    with pytest.raises(ArgumentError, match="did you mean 'eager'"):
        quietly(model, x, y, engine="egaer")


def test_a_resumed_training_gives_the_same_figures_where_samples_part(x, y, tmp_path):
    def tent(output, target):
        return ops.relu(1 - output) if target > 0 else output * output

    def train(epochs, **options):
        model = MLP(2, [3, 1], seed=1)
        history = quietly(model, x, y, loss=tent, epochs=epochs, engine="compiled", **options)
        return history["loss"], model.state()

    path = tmp_path / "c.json"
    train(3, callbacks=[Checkpoint(path)])
    assert train(6, resume=path) == train(6)


def test_a_training_that_gave_compiling_up_does_not_take_it_up_again(x, y, tmp_path):
    def rounded(output, target):
        return mse(output, target) * (1.0 + math.floor(output.data * 1e6) % 2)

    def train(epochs, *callbacks, **options):
        model = MLP(2, [3, 1], seed=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RecordingWarning)
            history = quietly(
                model, x, y, loss=rounded, epochs=epochs, callbacks=callbacks, **options
            )
        return history["loss"], model.state()

    path = tmp_path / "c.json"
    train(2, Checkpoint(path))
    watch = Watch()
    assert train(4, watch, resume=path) == train(4)
    assert set(watch.engines) == {"eager"}


def test_predictions_are_the_models_own_in_blocks_and_on_every_way(monkeypatch):
    monkeypatch.setattr(compiled, "_ROOM", 300)
    rows = [[i / 10, math.sin(i)] for i in range(50)]
    for model in (MLP(2, [4, 1], seed=1), MLP(2, [4, 3], seed=2)):
        for got, row in zip(compiled.predict(model, rows), rows, strict=True):
            output = model(row)
            wanted = [v.data for v in output] if isinstance(output, list) else output.data
            assert got == pytest.approx(wanted, rel=1e-12)

    class Tent(MLP):
        def __call__(self, row):
            return super().__call__(row) if row[1] > 0 else -super().__call__(row)

    tent = Tent(2, [4, 1], seed=1)
    assert compiled.predict(tent, rows) == pytest.approx([tent(row).data for row in rows])
    assert compiled.predict(tent, []) == []


def test_predictions_of_what_cannot_be_recorded_are_made_row_by_row():
    class Strict(MLP):
        def __call__(self, row):
            assert all(type(number) is float for number in row)
            return super().__call__(row)

    model = Strict(1, [1], seed=1)
    assert compiled.predict(model, [[0.5], [1.5]]) == [model([0.5]).data, model([1.5]).data]


def test_detect_anomaly_watches_the_plain_engine(x, y):
    def root(output, target):
        return ops.sqrt(mse(output, target) - 100.0)

    with detect_anomaly(), pytest.raises(AnomalyError, match="sqrt"):
        quietly(MLP(2, [3, 1], seed=1), x, y, loss=root)
    watch = Watch()
    with detect_anomaly():
        quietly(MLP(2, [3, 1], seed=1), x, y, callbacks=[watch])
    assert set(watch.engines) == {"eager"}


def test_two_threads_train_at_once(x, y):
    def train(seed):
        model = MLP(2, [6, 1], seed=seed)
        quietly(model, x, y, epochs=15, validation=0.2, engine="eager" if seed % 3 == 0 else "auto")
        return model.state()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(train, range(8))) == [train(seed) for seed in range(8)]
