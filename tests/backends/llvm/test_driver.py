"""The driver copies, steps, and stops where it must."""

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from gradloom.backends.llvm.driver import Driver, Outside
from gradloom.loom.adjoint import adjoint
from gradloom.loom.record import record
from gradloom.loom.update import Before, changes, plan
from gradloom.loom.weave import weave
from gradloom.nn import SGD, Parameter


def driver(f, parameters, *, before=None, finite=False, bits=64):
    """Plain descent by the gradient of a function, with the numbers in an array of their own."""
    graph, _ = record(f)
    program = weave(graph)
    both = adjoint(program, program.parameters)
    order = [program.values.index(p) for p in parameters]
    numbers, slopes = program.parameters[order], both.outputs[1:][order]
    optimizer = SGD(parameters, lr=0.1)
    steps = changes(optimizer.rule, 1, 2)
    made = plan(both, numbers, slopes, steps, 1, 2, before or Before())
    found = Driver(both, made, finite=finite, bits=bits)
    found.feed([1.0])
    home = np.array([p.data for p in parameters])
    found.place("load", [Outside(home, np.arange(len(home)), made.numbers)])
    found.place("save", [Outside(home, np.arange(len(home)), made.numbers)])
    return found, home


RATES = [(0.1, 1.0)]


@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize("count", [1, 7, 8, 9, 40])
def test_numbers_go_in_and_out_whatever_their_number(bits, count):
    ps = [Parameter(float(i + 1)) for i in range(count)]
    made, home = driver(lambda: sum(p * p for p in ps), ps, bits=bits)
    done, losses, _, _ = made.run(2, RATES * 2)
    assert done == 2
    start = np.arange(count) + 1.0
    assert home == pytest.approx(start * 0.8**2, rel=1e-6 if bits == 32 else 1e-14)
    assert losses == pytest.approx([(start**2).sum(), (0.64 * start**2).sum()], rel=1e-6)


def copied(indices, slots):
    """Which place goes to which slot, by the runs that are copied."""
    outside = Outside(np.zeros(100), np.array(indices), np.array(slots))
    found = {}
    for address, slot, count, *steps in outside.copies().tolist():
        place = (address - outside.array.ctypes.data) // 8
        for i in range(count):
            found[place + i * steps[0]] = slot + i * steps[1]
    return found


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [(3, 5)],
        [(i, i + 2) for i in range(30)],
        [(i, 2 * i) for i in range(16)] + [(40 + i, 2 * i + 1) for i in range(16)],
        [(i + i // 10, i) for i in range(50)] + [(11 * i + 10, 60 + i) for i in range(5)],
        [(i * 37 % 97, i) for i in range(97)],
        [(i, 90 - i) for i in range(20)],
    ],
)
def test_every_number_goes_to_its_slot(pairs):
    assert copied([a for a, _ in pairs], [b for _, b in pairs]) == dict(pairs)


def test_numbers_that_lie_evenly_are_few_runs():
    two = [(i, 2 * i) for i in range(16)] + [(40 + i, 2 * i + 1) for i in range(16)]
    places, slots = np.array(two).T
    assert len(Outside(np.zeros(60), places, slots).copies()) == 2


@pytest.mark.parametrize("bits", [64, 32])
def test_numbers_that_lie_apart_go_in_and_out(bits):
    ps = [Parameter(float(i + 1)) for i in range(24)]
    pairs = list(zip(ps[:12], ps[12:], strict=True))  # side by side in the arena
    made, home = driver(lambda: sum(a * a + b * b for a, b in pairs), ps, bits=bits)
    assert made.run(1, RATES)[0] == 1
    assert home == pytest.approx((np.arange(24) + 1.0) * 0.8, rel=1e-6)


def test_a_step_whose_guard_breaks_is_not_made():
    p = Parameter(1.0)
    made, home = driver(lambda: p * p if p > 0.5 else -p, [p])
    done, losses, _, _ = made.run(100, RATES * 100)
    assert done == 4  # 1, 0.8, 0.64, 0.512
    assert losses[:done] == pytest.approx([1.0, 0.64, 0.4096, 0.262144])
    assert home[0] == pytest.approx(0.8**4)


def test_a_loss_that_is_not_finite_stops_the_steps_if_asked():
    for finite, count in ((True, 0), (False, 3)):
        p = Parameter(1e200)
        made, home = driver(lambda p=p: p * p, [p], finite=finite)
        assert made.run(3, RATES * 3)[0] == count
        assert (home[0] == 1e200) == finite


@pytest.mark.parametrize("number", [1e-160, 1e160, 0.0])
def test_a_gradient_whose_length_is_uncertain_stops_the_steps(number):
    p = Parameter(number)
    made, _ = driver(lambda: p * p, [p], before=Before(measured=True))
    assert made.run(1, RATES)[0] == 0


def test_lengths_of_gradients_are_told():
    ps = [Parameter(3.0), Parameter(4.0)]
    made, _ = driver(lambda: sum(p * p for p in ps), ps, before=Before(clip_norm=1.0))
    done, _, norms, _ = made.run(1, RATES)
    assert (done, norms[0]) == (1, 10.0)
