"""An optimizer's update as instructions gives its numbers, to the last bit and in place."""

import itertools
import math
import random
from typing import Any

import numpy as np
import pytest

from gradloom.backends.choice import has_native
from gradloom.backends.numpy import Runner
from gradloom.loom.program import Instruction, Program
from gradloom.loom.update import Before, OutOfOrderError, Plan, changes, plan, update
from gradloom.loom.views import View
from gradloom.nn import SGD, Adam, AdamW, Optimizer, Parameter, RMSprop, l2
from gradloom.nn import clip_grad_norm as clip_norm
from gradloom.nn import clip_grad_value as clip_value
from gradloom.nn.module import pack

CASES: list[tuple[type[Optimizer], dict[str, Any]]] = [
    (SGD, {}),
    (SGD, {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    (SGD, {"momentum": 0.9, "nesterov": True}),
    (RMSprop, {"weight_decay": 0.1}),
    (RMSprop, {"centered": True, "alpha": 0.5, "momentum": 0.5}),
    (Adam, {"betas": (0.5, 0.9), "weight_decay": 0.1, "eps": 1e-3}),
    (AdamW, {"weight_decay": 0.3}),
]
SPECIAL = [0.0, -0.0, 1e-200, 1e200, math.inf, math.nan]
RUNNERS: list[Any] = [Runner]
if has_native():
    from gradloom.backends.llvm.native import Runner as NativeRunner

    RUNNERS.append(NativeRunner)


def opened(program: Program, inputs: Any, outputs: Any) -> Program:
    """The program with some slots to be filled in, and all those that are wanted."""
    program.inputs = np.concatenate(inputs)
    program.outputs = np.concatenate(outputs)
    return program


def bare(size: int) -> Program:
    """A program that does nothing."""
    nothing = np.zeros(0, dtype=np.int64)
    return Program(
        template=np.zeros(size),
        inputs=nothing,
        parameters=nothing,
        values=[],
        instructions=[],
        outputs=nothing,
        guards=[],
        laned=np.zeros(size, dtype=bool),
    )


def planned(optimizer: Optimizer, before: Before | None = None, gap: int = 0) -> Plan:
    """The update of parameters in the first slots, with gradients behind; with a gap, of some that
    lie out of order and one that nothing reads."""
    count = len(optimizer.parameters)
    numbers, gradient = np.arange(count), np.arange(count) + count + gap
    if gap:
        numbers, gradient = numbers[::-1].copy(), gradient[::-1].copy()
        numbers[3] = gradient[3] = -1
    memory = len(optimizer.slots)
    optimizer.steps += 1
    rates = len(optimizer.rates())
    optimizer.steps -= 1
    steps = changes(optimizer.rule, memory, rates)
    base = bare(2 * count + gap)
    return plan(base, numbers, gradient, steps, memory, rates, before or Before())


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("gap", [0, 5])
@pytest.mark.parametrize(("kind", "options"), CASES)
def test_an_update_is_that_of_the_rule_bit_for_bit(runner, gap, kind, options):
    rng = random.Random(1)
    parameters = [Parameter(i / 7) for i in range(20)]
    optimizer = kind(parameters, lr=0.03, **options)
    made = planned(optimizer, gap=gap)
    count = len(parameters)
    numbers = [p.data for p in parameters]
    memory = [[0.0] * count for _ in optimizer.slots]
    state = [made.numbers, *made.memory]
    run = None
    for _ in range(6):
        grads = [rng.gauss(0, 10) for _ in range(14)] + SPECIAL
        for p, g in zip(parameters, grads, strict=True):
            p.grad = g
        optimizer.step()
        rates = optimizer.rates()
        places = [*state, made.gradient, made.rates + np.arange(len(rates))]
        run = run or runner(opened(made.update, places, state))
        found = run.run([*numbers, *itertools.chain(*memory), *grads, *rates])
        numbers, *memory = found.reshape(-1, count).tolist()
        np.testing.assert_array_equal(numbers, [p.data for p in parameters])
        for slot, ours in zip(optimizer.slots, memory, strict=True):
            np.testing.assert_array_equal(ours, getattr(optimizer, slot))
        optimizer.lr /= 2


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize(
    ("value", "norm"), [(0.5, None), (None, 2.0), (0.5, 1.0), (None, 1e9), (None, None)]
)
def test_the_gradient_is_clipped_as_nn_does(runner, value, norm):
    rng = random.Random(2)
    grads = [rng.gauss(0, 1) for _ in range(12)]
    parameters = [Parameter(1.0) for _ in grads]
    made = planned(SGD(parameters, lr=0.1), Before(value, norm, measured=True))
    assert made.norm is not None
    assert made.prepare is not None
    program = opened(made.prepare, [np.arange(12, 24)], [made.gradient, [made.norm]])
    for p, g in zip(parameters, grads, strict=True):
        p.grad = g
    if value:
        clip_value(parameters, value)
    length = clip_norm(parameters, norm or math.inf)
    *found, measured = runner(program).run(grads)
    assert measured == pytest.approx(length, rel=1e-14)
    assert found == pytest.approx([p.grad for p in parameters], rel=1e-14)


def test_the_programs_own_gradient_stays_as_it_is():
    made = planned(SGD([Parameter(1.0) for _ in range(4)], lr=0.1), Before(0.5, 0.5))
    written = {one.out.offset for one in made.prepare.instructions} if made.prepare else set()
    assert not written & set(range(8))


def test_the_gradient_of_a_penalty_is_added():
    from gradloom.loom.adjoint import adjoint
    from gradloom.loom.record import record
    from gradloom.loom.weave import weave

    parameters = [Parameter(i - 2.5) for i in range(6)]
    pack(parameters)
    graph, _ = record(lambda: l2(parameters[1:5], 0.1))
    program = weave(graph)
    places = np.array([parameters.index(value) for value in program.values])
    both = adjoint(program, program.parameters)
    both.template[both.inputs[-1]] = 1.0
    before = Before(penalty=both, slopes=both.outputs[1:], places=places)
    made = planned(SGD(parameters, lr=0.1), before)
    assert made.prepare is not None
    prepare = opened(made.prepare, [made.numbers, np.arange(6, 12)], [made.gradient])
    found = Runner(prepare).run([*[p.data for p in parameters], *[1.0] * 6])
    wanted = [1.0 + (0.2 * p.data if 0 < i < 5 else 0.0) for i, p in enumerate(parameters)]
    assert found.tolist() == pytest.approx(wanted)


def test_one_instruction_changes_one_kind_of_number_of_all_parameters():
    for kind, count in ((SGD, 1), (Adam, 3)):
        made = planned(kind([Parameter(1.0) for _ in range(50)]))
        assert [one.shape for one in made.update.instructions] == [(50,)] * count


def test_a_rule_that_needs_what_it_has_replaced_is_refused():
    def crossed(*_):
        return lambda x, g, a, b: (x - a, a + g, b + a)  # b takes the old a

    with pytest.raises(OutOfOrderError, match="place 2 is needed after it has been replaced"):
        changes(crossed, 2, 0)


def test_whole_numbers_in_a_rule_are_numbers():
    def whole(*_):
        return lambda x, g: (x - 1 * g,)

    (change,) = changes(whole, 0, 0)
    (made,) = update([change], [np.array([0]), np.array([1])], 2)
    assert made == Instruction((), View(0, ()), ("-", (0, ("*", (1.0, 1)))),
                               (View(0, ()), View(1, ())), accumulate=False)  # fmt: skip
