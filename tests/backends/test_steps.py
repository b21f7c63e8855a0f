import math
import random

import numpy as np
import pytest

from gradloom.backends import steps
from gradloom.nn import OPTIMIZERS, SGD, Adam, AdamW, Parameter, RMSprop
from gradloom.nn.module import pack

CASES = [
    (SGD, {}),
    (SGD, {"momentum": 0.9}),
    (SGD, {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    (SGD, {"momentum": 0.9, "nesterov": True}),
    (RMSprop, {}),
    (RMSprop, {"weight_decay": 0.1, "momentum": 0.5}),
    (RMSprop, {"centered": True, "alpha": 0.5}),
    (Adam, {}),
    (Adam, {"betas": (0.5, 0.9), "weight_decay": 0.1, "eps": 1e-3}),
    (AdamW, {"weight_decay": 0.3}),
]


def test_every_optimizer_of_the_table_has_its_rule_on_arrays():
    for kind in OPTIMIZERS.values():
        assert steps.has_rule(kind([Parameter(1.0)]))


def test_a_rule_of_ones_own_is_left_to_itself():
    class Own(SGD):
        def update(self, numbers, grads):
            pass

    assert not steps.has_rule(Own([Parameter(1.0)]))


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_a_step_on_arrays_is_that_of_nn_bit_for_bit(kind, options):
    rng = random.Random(1)
    one, other = ([Parameter(i / 7) for i in range(20)] for _ in range(2))
    plain, vectorised = kind(one, lr=0.03, **options), kind(other, lr=0.03, **options)
    special = [0.0, -0.0, 1e-200, 1e200, math.inf, math.nan]
    for _ in range(6):
        grads = [rng.gauss(0, 10) for _ in range(14)] + special
        for ps in (one, other):
            pack(ps)[1][:] = pack([Parameter(g) for g in grads])[0]
        plain.step()
        steps.step(vectorised, *map(np.frombuffer, pack(other)))
        plain.lr = vectorised.lr = plain.lr / 2
        np.testing.assert_array_equal(pack(other)[0], pack(one)[0])
        for slot in kind.slots:
            np.testing.assert_array_equal(getattr(vectorised, slot), getattr(plain, slot))
    assert vectorised.steps == plain.steps == 6
