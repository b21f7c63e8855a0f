import random

import pytest

import gradloom as gl
from gradloom import nn
from gradloom.errors import AnomalyError, RecordingWarning
from gradloom.train.engine import Task
from gradloom.train.stepper import Stepper

X = [[i / 8, (i * i % 11) / 11] for i in range(20)]
Y = [float(i % 3) for i in range(20)]


def task(model, optimizer, loss=nn.mse, penalty=None):
    return Task(model, loss, penalty, (X, Y), optimizer)


@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
def test_its_updates_are_those_of_fit(engine, optimizer):
    models = [nn.MLP(2, [4, 1], seed=1) for _ in range(2)]
    optimizers = [nn.OPTIMIZERS[optimizer](model, lr=0.01) for model in models]
    stepper = Stepper(task(models[0], optimizers[0]), batch_size=8, seed=3, engine=engine)
    while stepper.epochs < 3:
        stepper.step()
    gl.fit(
        models[1], X, Y, optimizer=optimizers[1], batch_size=8, epochs=3, seed=3, engine=engine,
        progress="silent",
    )  # fmt: skip
    numbers = [list(model.pack()[0]) for model in models]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-9)
    assert stepper.updates == 9


def test_a_step_tells_the_mean_loss_of_its_batch_before_it():
    model = nn.MLP(2, [1], seed=1)
    wanted = nn.mse([model(row) for row in X], Y).data
    stepper = Stepper(task(model, nn.SGD(model, lr=0.1)), batch_size=20)
    assert stepper.step() == pytest.approx(wanted)
    after = nn.mse([model(row) for row in X], Y).data
    assert stepper.judge((X, Y))[0] == pytest.approx(after)
    assert after < wanted


def test_a_generator_goes_on_from_one_stepper_to_the_next():
    rng = random.Random(5)
    model = nn.MLP(2, [1], seed=1)
    for _ in range(2):
        Stepper(task(model, nn.SGD(model)), batch_size=8, seed=rng)
    again = random.Random(5)
    for _ in range(2):
        again.shuffle(list(range(20)))
    assert rng.getstate() == again.getstate()


def test_a_diverging_step_is_refused_and_changes_nothing():
    model = nn.MLP(2, [1], seed=1)
    model.layers[0].neurons[0].b.data = 1e200
    before = model.state()
    stepper = Stepper(task(model, nn.SGD(model, lr=1.0)), batch_size=8)
    with pytest.raises(AnomalyError, match="the training diverged in update 1: the loss"):
        stepper.step()
    assert (model.state(), stepper.updates) == (before, 0)


def test_what_cannot_be_compiled_is_stepped_through_plainly():
    model = nn.MLP(2, [1], seed=1)

    def noisy(output, target):
        return nn.mse(output, target) * random.random()

    with pytest.warns(RecordingWarning, match="random"):
        stepper = Stepper(task(model, nn.SGD(model), noisy), batch_size=8)
    assert stepper.step() > 0
