"""What the tests of training share: a tiny task, and a network that learns it in a blink."""

import pytest

from gradloom.nn import MLP

X = [[a / 2, b / 2] for a in range(-2, 3) for b in range(-2, 3)]
Y = [int(a * b > 0) for a, b in X]


@pytest.fixture
def x() -> list[list[float]]:
    """25 points of a grid around the origin."""
    return [list(row) for row in X]


@pytest.fixture
def y() -> list[int]:
    """Whether the point lies in the first or third quadrant: not linear."""
    return list(Y)


@pytest.fixture
def model() -> MLP:
    """Two inputs, three hidden neurons, one output."""
    return MLP(2, [3, 1], seed=1)
