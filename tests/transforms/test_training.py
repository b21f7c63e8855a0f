"""training_step: many steps at once are the steps of the loop that a reader would write."""

import math
import random
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import gradloom as gl
from gradloom import Value
from gradloom.backends.choice import has_native
from gradloom.core import ops
from gradloom.errors import ArgumentError, RecordingError
from gradloom.nn import (
    MLP,
    SGD,
    Adam,
    AdamW,
    Optimizer,
    Parameter,
    RMSprop,
    clip_grad_norm,
    clip_grad_value,
    hinge,
    mse,
)
from gradloom.transforms import training

BACKENDS = ["numpy", *(["native"] if has_native() else [])]
native = pytest.mark.skipif(not has_native(), reason="needs llvmlite")

CASES: list[tuple[type[Optimizer], dict[str, Any]]] = [
    (SGD, {}),
    (SGD, {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    (SGD, {"momentum": 0.9, "nesterov": True}),
    (RMSprop, {}),
    (RMSprop, {"weight_decay": 0.1, "momentum": 0.5, "centered": True}),
    (Adam, {"weight_decay": 0.1}),
    (AdamW, {"weight_decay": 0.3}),
]

ROWS = [[math.sin(3 * i), math.cos(5 * i)] for i in range(23)]
TARGETS = [1.0 if a * b > 0 else -1.0 for a, b in ROWS]


def mlp() -> MLP:
    model = MLP(2, [6, 1], seed=4)
    model.pack()
    return model


def total(model: MLP) -> Any:
    return lambda rows, targets: sum(map(mse, map(model, rows), targets)) / len(rows)


def by_hand(loss: Any, optimizer: Optimizer, clip_value: Any = None, clip_norm: Any = None) -> Any:
    """One step as one would write it."""

    def step(*data: Any) -> float:
        optimizer.zero_grad()
        value = loss(*data)
        value.backward()
        if clip_value:
            clip_grad_value(optimizer.parameters, clip_value)
        if clip_norm:
            clip_grad_norm(optimizer.parameters, clip_norm)
        optimizer.step()
        return float(value.data)

    return step


def assert_same(ours: Optimizer, theirs: Optimizer, tolerance: float = 1e-12) -> None:
    assert ours.steps == theirs.steps
    close = {"rel": 1e3 * tolerance, "abs": tolerance}
    assert [p.data for p in ours.parameters] == pytest.approx(
        [p.data for p in theirs.parameters], **close
    )
    assert [p.grad for p in ours.parameters] == pytest.approx(
        [p.grad for p in theirs.parameters], **close
    )
    for slot in ours.slots:
        assert list(getattr(ours, slot)) == pytest.approx(list(getattr(theirs, slot)), **close)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("kind", "options"), CASES)
def test_repeated_steps_are_those_of_the_loop(backend, kind, options):
    model, other = mlp(), mlp()
    ours, theirs = kind(model, lr=0.02, **options), kind(other, lr=0.02, **options)
    step = gl.training_step(total(model), ours, backend=backend)
    plain = by_hand(total(other), theirs)
    first = [plain(ROWS, TARGETS) for _ in range(8)]
    assert step.repeat(8, ROWS, TARGETS) == pytest.approx(first, rel=1e-12)
    assert (step.calls > 0) is (backend == "native")
    assert_same(ours, theirs)
    ours.lr = theirs.lr = 0.005
    assert step(ROWS, TARGETS) == pytest.approx(plain(ROWS, TARGETS), rel=1e-12)
    assert_same(ours, theirs)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "clip", [{"clip_value": 0.05}, {"clip_norm": 0.1}, {"clip_value": 0.1, "clip_norm": 0.12}]
)
def test_clipped_steps_are_those_of_the_loop(backend, clip):
    model, other = mlp(), mlp()
    ours, theirs = Adam(model, lr=0.02), Adam(other, lr=0.02)
    step = gl.training_step(total(model), ours, backend=backend, **clip)
    plain = by_hand(total(other), theirs, **clip)
    losses = [plain(ROWS, TARGETS) for _ in range(5)]
    assert step.repeat(5, ROWS, TARGETS) == pytest.approx(losses, rel=1e-12)
    assert_same(ours, theirs)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_the_norm_of_a_tiny_or_huge_gradient_is_told_without_overflow(scale):
    ours, theirs = [Parameter(1.0), Parameter(2.0)], [Parameter(1.0), Parameter(2.0)]

    def loss(values):
        return lambda: (values[0] * 3.0 + values[1] * 4.0) * scale

    step = gl.training_step(loss(ours), SGD(ours, lr=0.1 / scale), clip_norm=scale)
    plain = by_hand(loss(theirs), SGD(theirs, lr=0.1 / scale), clip_norm=scale)
    for _ in range(3):
        assert step() == pytest.approx(plain(), rel=1e-12)
    assert [p.data for p in ours] == pytest.approx([p.data for p in theirs], rel=1e-12)
    assert [p.grad for p in ours] == pytest.approx([p.grad for p in theirs], rel=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("kind", [SGD, Adam])
def test_an_epoch_is_a_step_for_each_batch(backend, shuffled, kind):
    model, other = mlp(), mlp()
    ours, theirs = kind(model, lr=0.02), kind(other, lr=0.02)
    order = random.Random(1).sample(range(23), 23) if shuffled else list(range(23))
    step = gl.training_step(lambda row, t: mse(model(row), t), ours, backend=backend)
    plain = by_hand(total(other), theirs)
    for _ in range(3):
        losses = [
            plain([ROWS[i] for i in some], [TARGETS[i] for i in some])
            for some in (order[:10], order[10:20], order[20:])
        ]
        found = step.epoch(ROWS, TARGETS, batch_size=10, order=order if shuffled else None)
        assert found == pytest.approx(losses, rel=1e-12)
    assert_same(ours, theirs)
    assert (step.calls > 0) is (backend == "native")


@pytest.mark.parametrize("backend", BACKENDS)
def test_samples_that_take_another_branch_are_learned_as_well(backend):
    model, other = mlp(), mlp()

    def cautious(model):
        def loss(row, target):
            out = model(row)
            return hinge(out, target) if out * target > 0.05 else 2.0 * mse(out, target)

        return loss

    ours, theirs = Adam(model, lr=0.05), Adam(other, lr=0.05)
    step = gl.training_step(cautious(model), ours, backend=backend)
    loss = cautious(other)
    plain = by_hand(lambda rows, ts: sum(map(loss, rows, ts)) / len(rows), theirs)
    for _ in range(4):
        losses = [plain(ROWS[i : i + 8], TARGETS[i : i + 8]) for i in (0, 8, 16)]
        assert step.epoch(ROWS, TARGETS, batch_size=8) == pytest.approx(losses, rel=1e-9)
    assert_same(ours, theirs, 1e-10)
    assert (step.calls > 0) is (backend == "native")


@pytest.mark.parametrize("backend", BACKENDS)
def test_repeated_steps_that_take_another_branch_are_made_too(backend):
    one, other = Parameter(3.0), Parameter(3.0)

    def loss(x):
        return lambda: x * x if x > 1.0 else 3.0 * x if x > 0.5 else -x

    ours, theirs = SGD([one], lr=0.1), SGD([other], lr=0.1)
    plain = by_hand(loss(other), theirs)
    losses = [plain() for _ in range(40)]
    step = gl.training_step(loss(one), ours, backend=backend)
    assert step.repeat(40) == pytest.approx(losses, rel=1e-12)
    assert_same(ours, theirs)


@pytest.mark.parametrize("backend", BACKENDS)
def test_values_may_be_any_and_the_optimizer_may_have_but_some(backend):
    def make():
        w, b, fixed, spare = Value(0.5), Parameter(0.25), Value(2.0), Parameter(7.0)
        return (w, b, fixed, spare), SGD([spare, b, w], lr=0.1, momentum=0.5, weight_decay=0.1)

    def loss(values):
        w, b, fixed, _ = values
        return lambda x: (w * x + b * fixed - 1.0) ** 2

    (values, ours), (others, theirs) = make(), make()
    step = gl.training_step(loss(values), ours, backend=backend)
    plain = by_hand(loss(others), theirs)
    losses = [plain(0.3) for _ in range(5)]
    assert step.repeat(5, 0.3) == pytest.approx(losses, rel=1e-12)
    assert_same(ours, theirs)
    assert values[2].data == 2.0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("kind", "options"), CASES)
def test_a_bound_step_is_that_of_the_loop(backend, kind, options):
    model, other = mlp(), mlp()
    ours, theirs = kind(model, lr=0.02, **options), kind(other, lr=0.02, **options)
    step = gl.training_step(total(model), ours, backend=backend)
    bound, fewer = step.bind(ROWS, TARGETS), step.bind(ROWS[:5], TARGETS[:5])
    plain = by_hand(total(other), theirs)
    for _ in range(3):
        assert bound() == pytest.approx(plain(ROWS, TARGETS), rel=1e-12)
        ours.lr = theirs.lr = ours.lr / 2
        assert fewer() == pytest.approx(plain(ROWS[:5], TARGETS[:5]), rel=1e-12)
        assert fewer.repeat(2)[1] == pytest.approx(
            [plain(ROWS[:5], TARGETS[:5]) for _ in range(2)][1], rel=1e-12
        )
        assert step(ROWS, TARGETS) == pytest.approx(plain(ROWS, TARGETS), rel=1e-12)
        assert_same(ours, theirs)


def test_two_bound_steps_of_one_shape_do_not_share_their_data():
    w, v = Parameter(1.0), Parameter(1.0)
    step = gl.training_step(lambda x: w * x, SGD([w], lr=0.1))
    plain = by_hand(lambda x: v * x, SGD([v], lr=0.1))
    one, other = step.bind(2.0), step.bind(3.0)
    for _ in range(3):
        assert [one(), other()] == pytest.approx([plain(2.0), plain(3.0)], rel=1e-14)


def test_a_bound_step_takes_another_branch_where_the_loss_does():
    w, v = Parameter(1.0), Parameter(1.0)

    def loss(p):
        return lambda: p * p if p > 0.5 else 3.0 * p if p > 0.0 else -p

    bound = gl.training_step(loss(w), SGD([w], lr=0.1)).bind()
    plain = by_hand(loss(v), SGD([v], lr=0.1))
    for _ in range(12):
        assert bound() == pytest.approx(plain(), rel=1e-12)


@native
def test_settings_of_the_optimizer_may_change():
    model, other = mlp(), mlp()
    ours, theirs = SGD(model, lr=0.02), SGD(other, lr=0.02)
    step = gl.training_step(total(model), ours, backend="native")
    plain = by_hand(total(other), theirs)
    for momentum in (0.0, 0.9, 0.5):
        ours.momentum = theirs.momentum = momentum
        losses = [plain(ROWS, TARGETS) for _ in range(3)]
        assert step.repeat(3, ROWS, TARGETS) == pytest.approx(losses, rel=1e-12)
        assert_same(ours, theirs)


@native
def test_parameters_and_memory_that_move_are_followed():
    model, other = mlp(), mlp()
    ours, theirs = Adam(model, lr=0.02), Adam(other, lr=0.02)
    step = gl.training_step(total(model), ours, backend="native")
    plain = by_hand(total(other), theirs)
    for action in (
        lambda: None,
        lambda: [net.layers[0].pack() for net in (model, other)],
        lambda: [o.load_state(o.state() | {"mean": [0.1] * 25}) for o in (ours, theirs)],
        lambda: [net.pack() for net in (model, other)],
    ):
        action()
        losses = [plain(ROWS, TARGETS) for _ in range(3)]
        assert step.repeat(3, ROWS, TARGETS) == pytest.approx(losses, rel=1e-12)
        assert_same(ours, theirs)


def test_an_optimizer_without_a_rule_is_stepped_as_it_is():
    class Own(SGD):
        def update(self, numbers, grads):
            super().update(numbers, [2.0 * g for g in grads])

    model, other = mlp(), mlp()
    ours, theirs = Own(model, lr=0.02), Own(other, lr=0.02)
    step = gl.training_step(total(model), ours)
    plain = by_hand(total(other), theirs)
    assert step.repeat(3, ROWS, TARGETS) == pytest.approx([plain(ROWS, TARGETS) for _ in range(3)])
    assert step.calls == 0
    assert_same(ours, theirs)


@native
def test_an_optimizer_with_a_rule_of_ones_own_runs_natively():
    class HeavyBall(Optimizer):
        slots = ("velocity",)

        def rule(self, rates, of=None):  # noqa: ARG002 - no roots here
            (lr,) = rates

            def move(x, grad, velocity):
                velocity = 0.5 * velocity + grad
                return x - lr * velocity, velocity

            return move

    model, other = mlp(), mlp()
    ours, theirs = HeavyBall(model, lr=0.02), HeavyBall(other, lr=0.02)
    step = gl.training_step(total(model), ours, backend="native")
    plain = by_hand(total(other), theirs)
    losses = [plain(ROWS, TARGETS) for _ in range(3)]
    assert step.repeat(3, ROWS, TARGETS) == pytest.approx(losses, rel=1e-12)
    assert step.calls > 0
    assert_same(ours, theirs)


@native
def test_a_thousand_steps_are_few_calls():
    model = mlp()
    step = gl.training_step(total(model), SGD(model, lr=1e-3), backend="native")
    step.repeat(10, ROWS, TARGETS)
    before = step.calls
    step.repeat(100, ROWS, TARGETS)
    assert 1 <= step.calls - before <= 2
    optimizer = SGD(model, lr=1e-3)
    epoch = gl.training_step(lambda row, t: mse(model(row), t), optimizer, backend="native")
    epoch.epoch(ROWS, TARGETS, batch_size=2)
    before = epoch.calls
    epoch.epoch(ROWS, TARGETS, batch_size=2)
    assert 1 <= epoch.calls - before <= 2


@native
def test_steps_in_float32_are_near_those_in_float64():
    model, other = mlp(), mlp()
    small = gl.training_step(total(model), Adam(model, lr=0.01), dtype="float32")
    large = gl.training_step(total(other), Adam(other, lr=0.01), backend="native")
    assert small.repeat(50, ROWS, TARGETS) == pytest.approx(
        large.repeat(50, ROWS, TARGETS), rel=1e-4
    )


@native
def test_ctrl_c_keeps_the_steps_that_were_made(monkeypatch):
    model, other = mlp(), mlp()
    ours, theirs = Adam(model, lr=0.02), Adam(other, lr=0.02)
    step = gl.training_step(total(model), ours, backend="native")
    run, made = training.Trainer.run, []

    def interrupted(self, steps, *more, **options):
        found = run(self, steps, *more, **options)
        made.append(found[0])
        if len(made) == 2:
            signal.raise_signal(signal.SIGINT)
        return found

    monkeypatch.setattr(training.Trainer, "run", interrupted)
    monkeypatch.setattr(training.Pace, "steps", lambda _, left: min(left, 3))
    with pytest.raises(KeyboardInterrupt):
        step.repeat(100, ROWS, TARGETS)
    assert made == [3, 3]
    plain = by_hand(total(other), theirs)
    for _ in range(6):
        plain(ROWS, TARGETS)
    assert_same(ours, theirs)


def test_what_cannot_be_a_step_is_refused():
    model = mlp()
    optimizer = SGD(model)
    with pytest.raises(ArgumentError, match="the optimizer is 'sgd'"):
        gl.training_step(total(model), "sgd")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="clip_norm is a number"):
        gl.training_step(total(model), optimizer, clip_norm=-1.0)
    with pytest.raises(RecordingError, match="must return one value"):
        gl.training_step(lambda x: [model([x, x]), 1.0], optimizer)(1.0)
    with pytest.raises(ArgumentError, match="takes plain numbers"):
        gl.training_step(lambda x: model([x, x]), optimizer)(Value(1.0))
    step = gl.training_step(lambda row, t: mse(model(row), t), optimizer)
    with pytest.raises(ArgumentError, match="count"):
        step.repeat(0, 1.0, 2.0)
    with pytest.raises(ArgumentError, match="equally long"):
        step.epoch(ROWS, TARGETS[:5])
    with pytest.raises(ArgumentError, match="places from 0 to 22"):
        step.epoch(ROWS, TARGETS, order=[23])
    with pytest.raises(ArgumentError, match="batch_size"):
        step.epoch(ROWS, TARGETS, batch_size=0)
    assert optimizer.steps == 0


class TestBind:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_is_the_loss_and_adds_its_gradient(self, backend):
        model, other = mlp(), mlp()
        bound = gl.compile(total(model), backend=backend).bind(ROWS, TARGETS)
        assert bound.native is (backend == "native")
        for _ in range(3):
            value = total(other)(ROWS, TARGETS)
            value.backward()
            assert bound() == pytest.approx(value.data, rel=1e-13)
            for p, q in zip(model.parameters(), other.parameters(), strict=True):
                assert p.grad == pytest.approx(q.grad, rel=1e-9, abs=1e-15)
                p.data = q.data = p.data * 0.9

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_reads_and_fills_values_of_any_kind(self, backend):
        w, x = Value(3.0), Value(2.0)
        p, q = Parameter(0.5), Parameter(0.25)
        bound = gl.compile(lambda a, b: w * a * a + p * b + q * a, backend=backend).bind(x, 4.0)
        assert bound() == 12.0 + 2.0 + 0.5
        assert (w.grad, x.grad, p.grad, q.grad) == (4.0, 12.25, 4.0, 2.0)
        x.data, w.data = 1.0, 2.0
        assert bound() == 4.25
        assert (w.grad, x.grad, p.grad, q.grad) == (5.0, 16.5, 8.0, 3.0)

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_of_one_value_more_than_once_adds_all_its_shares(self, backend):
        p, x, home = Parameter(2.0), Value(5.0), MLP(1, [1])
        home.more = p
        home.pack()
        f = gl.compile(lambda a, b, c, d, e: a * b + 3.0 * c + p + d * e, backend=backend)
        bound = f.bind(p, p, p, x, x)
        assert bound() == 4.0 + 6.0 + 2.0 + 25.0
        assert (p.grad, x.grad) == (2.0 + 2.0 + 3.0 + 1.0, 10.0)

    def test_of_several_threads_adds_every_gradient(self):
        p = Parameter(2.0)
        bound = gl.compile(lambda: p * 3.0).bind()
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(lambda _: bound(), range(400))) == [6.0] * 400
        assert p.grad == 1200.0

    def test_takes_another_branch_where_the_function_does(self):
        x = Parameter(2.0)
        bound = gl.compile(lambda: x * x if x > 1.0 else 3.0 * x).bind()
        assert (bound(), x.grad) == (4.0, 4.0)
        x.data = 0.5
        assert (bound(), x.grad) == (1.5, 7.0)
        x.data = 3.0
        assert (bound(), x.grad) == (9.0, 13.0)

    def test_follows_parameters_that_move(self):
        model = mlp()
        bound = gl.compile(total(model)).bind(ROWS, TARGETS)
        first = bound()
        model.layers[0].pack()
        model.zero_grad()
        assert bound() == first
        moved = [p.grad for p in model.parameters()]
        model.zero_grad()
        total(model)(ROWS, TARGETS).backward()
        assert moved == pytest.approx([p.grad for p in model.parameters()], rel=1e-9, abs=1e-15)

    def test_binds_a_loss_alone(self):
        model = mlp()
        with pytest.raises(RecordingError, match="no single value"):
            gl.compile(lambda x: [model([x, x]), x]).bind(1.0)


def test_an_epoch_of_a_loss_that_no_sample_has_a_say_in():
    w = Parameter(1.0)
    step = gl.training_step(lambda _: ops.square(w), SGD([w], lr=0.25))
    assert step.epoch([1.0, 2.0, 3.0], batch_size=2) == pytest.approx([1.0, 0.25])


@native
def test_a_strict_loss_gives_the_numbers_of_python_bit_for_bit():
    rows = [[math.sin(i), 0.1 * i] for i in range(9)]
    one, other = [Parameter(0.1 * i) for i in range(4)], [Parameter(0.1 * i) for i in range(4)]

    def loss(w):
        return lambda: sum(
            (w[0] * a + w[1] * b + w[2] * a * b - w[3]) * (a - w[0] * b) for a, b in rows
        )

    step = gl.training_step(gl.compile(loss(one), strict=True, backend="native"), Adam(one))
    plain = by_hand(loss(other), Adam(other))
    assert step.repeat(20).tolist()[0] == plain()
    for _ in range(19):
        plain()
    assert [p.data for p in one] == pytest.approx([p.data for p in other], rel=1e-13)
