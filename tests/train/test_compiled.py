"""Many updates in one native call are the updates that are made one by one."""

import signal

import pytest

from gradloom.backends.choice import has_native
from gradloom.errors import AnomalyError
from gradloom.nn import MLP, SGD, l1, l2, mse
from gradloom.train import Callback, compiled, fit
from gradloom.transforms.training import Pace, Trainer

pytestmark = pytest.mark.skipif(not has_native(), reason="needs llvmlite")


@pytest.fixture(autouse=True)
def native(monkeypatch):
    monkeypatch.setenv("GRADLOOM_BACKEND", "native")


@pytest.fixture
def calls(monkeypatch):
    """How many updates each native call has made."""
    found = []
    run = Trainer.run

    def watched(self, steps, *more, **options):
        result = run(self, steps, *more, **options)
        found.append(result[0])
        return result

    monkeypatch.setattr(Trainer, "run", watched)
    return found


class Look(Callback):
    """Wants to see each update, so that they are made one by one."""

    def on_batch(self, training, size, loss):
        self.seen = training.epoch, size, loss


def train(x, y, *callbacks, **options):
    model = MLP(2, [5, 1], seed=2)
    history = fit(
        model,
        x,
        y,
        progress="silent",
        callbacks=callbacks,
        **({"epochs": 4, "batch_size": 6} | options),
    )
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in history.records]
    return rows, [list(part) for part in model.pack()]


def test_an_epoch_is_one_call_once_its_pace_is_known(x, y, calls):
    train(x, y)
    updates = -(-len(x) // 6)
    assert sum(calls) == 4 * updates
    assert len(calls) <= 4 * 2 + 1


def test_batches_that_threads_had_better_share_are_left_to_them(x, y, calls, monkeypatch):
    monkeypatch.setattr(compiled, "_SHARED", 0)
    shared = train(x, y)
    assert not calls
    monkeypatch.undo()
    for one, other in zip(shared[0], train(x, y)[0], strict=True):
        assert one == pytest.approx(other, rel=1e-9)


OPTIONS = [
    {},
    {"optimizer": "sgd", "schedule": "cosine"},
    {"optimizer": "rmsprop", "clip_norm": 0.05},
    {"optimizer": "adamw", "clip_value": 0.02, "clip_norm": 0.03},
    {"penalty": lambda parameters: l2(parameters, 0.1) + l1(parameters, 0.01)},
    {"penalty": lambda parameters: l2(parameters[:3], 0.1), "clip_value": 0.02},
    {"batch_size": 1000, "validation": 0.2},
    {"batch_size": 1},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_figures_do_not_depend_on_how_many_updates_are_made_at_once(x, y, options, calls):
    together = train(x, y, **options)
    many = list(calls)
    assert train(x, y, Look(), **options) == together
    assert calls[len(many) :] == [1] * sum(many)


@pytest.mark.parametrize("options", OPTIONS)
def test_figures_are_those_of_the_plain_engine(x, y, options, calls):
    (ours, numbers), (theirs, expected) = (
        train(x, y, **options),
        train(x, y, engine="eager", **options),
    )
    assert calls
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=1e-9)
    for one, other in zip(numbers, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-8, abs=1e-11)


def test_updates_before_a_sample_that_takes_another_way_are_kept(x, y, calls):
    rare = max(row[0] for row in x)

    def loss(output, target):
        return mse(output, target) if target < 5.0 else 0.1 * output * output

    targets = [9.0 if row[0] == rare else float(t) for row, t in zip(x, y, strict=True)]
    ours, theirs = (
        train(x, targets, loss=loss, shuffle=False, engine=e) for e in ("auto", "eager")
    )
    place = next(i for i, t in enumerate(targets) if t > 5.0) // 6
    assert sum(calls) == place  # from then on one by one: samples part
    for one, other in zip(ours[0], theirs[0], strict=True):
        assert one == pytest.approx(other, rel=1e-9)


def test_a_training_that_diverges_stops_before_the_update_at_fault(x, y, calls):
    def weights(engine):
        model = MLP(2, [5, 1], "relu", seed=2)
        optimizer = SGD(model, lr=1e8)
        with pytest.raises(AnomalyError, match="diverged"):
            fit(model, x, y, loss="mse", optimizer=optimizer, epochs=50, batch_size=6,
                engine=engine, progress="silent")  # fmt: skip
        return list(model.pack()[0]), optimizer.steps

    found, expected = weights("compiled"), weights("eager")
    assert calls
    assert found[1] == expected[1]
    assert found[0] == pytest.approx(expected[0], rel=1e-6)


def test_ctrl_c_between_calls_keeps_what_was_learned(x, y, monkeypatch):
    monkeypatch.setattr(Pace, "steps", lambda _, left: min(left, 2))
    run, made = Trainer.run, []

    def interrupted(self, steps, *more, **options):
        found = run(self, steps, *more, **options)
        made.append(found[0])
        if len(made) == 3:
            signal.raise_signal(signal.SIGINT)
        return found

    monkeypatch.setattr(Trainer, "run", interrupted)
    model, other = MLP(2, [5, 1], seed=2), MLP(2, [5, 1], seed=2)
    optimizer = SGD(model, lr=0.1)
    options = {"epochs": 3, "batch_size": 3, "progress": "silent", "shuffle": False}
    history = fit(model, x, y, optimizer=optimizer, **options)
    assert history.interrupted
    assert optimizer.steps == sum(made) <= 6
    monkeypatch.undo()
    fit(other, x[: 3 * sum(made)], y[: 3 * sum(made)], optimizer=SGD(other, lr=0.1),
        **(options | {"epochs": 1, "engine": "eager"}))  # fmt: skip
    assert list(model.pack()[0]) == pytest.approx(list(other.pack()[0]), rel=1e-12)


def test_a_schedule_that_fails_does_so_after_the_updates_before(x, y):
    def broken(update):
        if update == 7:
            raise RuntimeError("no more")
        return 1.0

    def steps(engine):
        model = MLP(2, [5, 1], seed=2)
        optimizer = SGD(model, lr=0.1)
        with pytest.raises(RuntimeError, match="no more"):
            fit(model, x, y, optimizer=optimizer, schedule=broken, epochs=9, batch_size=6,
                engine=engine, progress="silent")  # fmt: skip
        return optimizer.steps, list(model.pack()[0])

    found, expected = steps("compiled"), steps("eager")
    assert found[0] == expected[0] == 7
    assert found[1] == pytest.approx(expected[1], rel=1e-9)
