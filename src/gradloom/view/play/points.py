"""Points of a plane with their classes: small problems that a network can be watched to solve.

All lie in the square from -1 to 1, give or take the noise.
"""

import math
import random
from collections.abc import Callable
from functools import cache
from typing import TypeAlias

Point: TypeAlias = tuple[float, float]
# From the number of points and a random generator to the points with their classes.
Draw: TypeAlias = Callable[[int, random.Random], list[tuple[Point, int]]]


def draw_points(name: str, count: int, noise: float, seed: int) -> tuple[list[Point], list[int]]:
    """The points of a data set and their classes, counted from 0.

    Args:
        name: in `DATA`.
        count: how many; iris has 150 whatever is asked for.
        noise: the standard deviation of what is added to each coordinate.
        seed: of the points and the noise.

    Example:
        >>> points, classes = draw_points("xor", 4, noise=0.0, seed=1)
        >>> [k == (x * y > 0) for (x, y), k in zip(points, classes)]
        [True, True, True, True]
    """
    rng = random.Random(seed)
    drawn = DATA[name](count, rng)
    points = [(x + rng.gauss(0, noise), y + rng.gauss(0, noise)) for (x, y), _ in drawn]
    return points, [label for _, label in drawn]


def _moons(count: int, rng: random.Random) -> list[tuple[Point, int]]:
    """Two half-circles that reach into each other."""
    drawn = []
    for i in range(count):
        angle, label = rng.uniform(0, math.pi), i % 2
        x, y = math.cos(angle), math.sin(angle)
        if label:
            x, y = 1 - x, 0.5 - y
        drawn.append((((x - 0.5) * 0.6, (y - 0.25) * 0.9), label))
    return drawn


def _circles(count: int, rng: random.Random) -> list[tuple[Point, int]]:
    """A ring around a disc."""
    drawn = []
    for i in range(count):
        angle, label = rng.uniform(0, 2 * math.pi), i % 2
        radius = rng.uniform(0.65, 0.9) if label else 0.4 * math.sqrt(rng.random())
        drawn.append(((radius * math.cos(angle), radius * math.sin(angle)), label))
    return drawn


def _spirals(count: int, rng: random.Random) -> list[tuple[Point, int]]:
    """Two arms of a spiral, a turn and a quarter each."""
    drawn = []
    for i in range(count):
        way, label = rng.uniform(0.05, 1), i % 2
        angle = 2.5 * math.pi * way + math.pi * label
        drawn.append(((0.9 * way * math.cos(angle), 0.9 * way * math.sin(angle)), label))
    return drawn


def _xor(count: int, rng: random.Random) -> list[tuple[Point, int]]:
    """Four squares; those that meet at a corner are of one class."""
    drawn = []
    for _ in range(count):
        x, y = (rng.choice((-1, 1)) * rng.uniform(0.08, 0.9) for _ in "xy")
        drawn.append(((x, y), int(x * y > 0)))
    return drawn


def _blobs(count: int, rng: random.Random) -> list[tuple[Point, int]]:
    """Three heaps."""
    centres = ((-0.5, 0.45), (0.55, 0.4), (0.0, -0.5))
    drawn = []
    for i in range(count):
        x, y = centres[i % 3]
        drawn.append(((x + rng.gauss(0, 0.12), y + rng.gauss(0, 0.12)), i % 3))
    return drawn


def _iris(_count: int, _rng: random.Random) -> list[tuple[Point, int]]:
    """Fisher's irises: length and width of the petals, scaled to the square."""
    return list(_irises())


@cache
def _irises() -> list[tuple[Point, int]]:
    from gradloom.train.data import load_table

    frame = load_table("iris").frame
    species = frame["species"].tolist()
    labels = {name: i for i, name in enumerate(dict.fromkeys(species))}
    scaled = []
    for name in ("petal length (cm)", "petal width (cm)"):
        column = frame[name].tolist()
        low, high = min(column), max(column)
        scaled.append([0.9 * (2 * (each - low) / (high - low) - 1) for each in column])
    return [((x, y), labels[name]) for x, y, name in zip(*scaled, species, strict=True)]


DATA: dict[str, Draw] = {
    "moons": _moons,
    "circles": _circles,
    "spirals": _spirals,
    "xor": _xor,
    "blobs": _blobs,
    "iris": _iris,
}
