"""The settings of the playground: what a page may choose, checked before anything is changed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeAlias

from gradloom.errors import ArgumentError
from gradloom.nn import ACTIVATIONS, OPTIMIZERS
from gradloom.nn.checks import choose, number, whole
from gradloom.view.play.points import DATA

OWN = "own"  # the data set of points that were clicked in
PENALTIES = ("none", "l1", "l2")
SPEEDS = ("slow", "normal", "fast")
MOST_CLASSES, MOST_POINTS, MOST_LAYERS, MOST_NEURONS = 4, 1000, 6, 16
_EDGE = 1.5  # how far from 0 a point may lie

OwnPoint: TypeAlias = tuple[float, float, int]


@dataclass(frozen=True)
class Settings:
    """All that decides what a page shows.

    Attributes:
        data: a name in `DATA`, or "own" for `points`.
        count, noise, seed: of the points; the seed decides the first weights and the order too.
        test: the share of the points to hold out.
        points: x, y and class of each point of one's own.
        layers: the sizes of the hidden layers.
        activation: of the hidden layers; a name in `gradloom.nn.ACTIVATIONS`.
        optimizer: a name in `gradloom.nn.OPTIMIZERS`.
        rate: the learning rate.
        batch: points an update.
        penalty, strength: of large weights: "none", "l1" or "l2", and how much.
        speed: "slow" for single updates, "normal" for an epoch a picture, "fast".

    Example:
        >>> Settings().changed({"rate": 0.1, "layers": [4, 4]}).layers
        (4, 4)
        >>> Settings().changed({"data": "mons"})
        Traceback (most recent call last):
        gradloom.errors.ArgumentError: no data set is called 'mons'; did you mean 'moons'?
    """

    data: str = "moons"
    count: int = 200
    noise: float = 0.08
    seed: int = 1
    test: float = 0.25
    points: tuple[OwnPoint, ...] = ()
    layers: tuple[int, ...] = (6, 6)
    activation: str = "tanh"
    optimizer: str = "adam"
    rate: float = 0.01
    batch: int = 16
    penalty: str = "none"
    strength: float = 0.001
    speed: str = "normal"

    def changed(self, wanted: object) -> "Settings":
        """These settings with some of them changed, as a page asks for it in JSON.

        Raises:
            ArgumentError: no such setting, or a value out of its range; the message names it.
        """
        if not isinstance(wanted, Mapping):
            raise ArgumentError(f"settings are an object of names and values, got {wanted!r:.60}")
        names = {field.name: field.name for field in fields(self)}
        for name in wanted:
            choose("setting", name, names)
        new = replace(self, **wanted)
        choose("data set", new.data, {**DATA, OWN: None})
        choose("activation", new.activation, ACTIVATIONS)
        choose("optimizer", new.optimizer, OPTIMIZERS)
        choose("penalty", new.penalty, dict.fromkeys(PENALTIES))
        choose("speed", new.speed, dict.fromkeys(SPEEDS))
        return replace(
            new,
            count=_whole("count", new.count, 2, MOST_POINTS),
            seed=_whole("seed", new.seed, 0, 2**32 - 1),
            batch=_whole("batch", new.batch, 1, MOST_POINTS),
            noise=number("noise", new.noise, high=0.5000001),
            test=number("test", new.test, high=0.9),
            rate=number("rate", new.rate, high=100, zero=False),
            strength=number("strength", new.strength, high=10),
            layers=tuple(
                _whole("neurons of a layer", size, 1, MOST_NEURONS)
                for size in _listed("layers", new.layers, MOST_LAYERS)
            ),
            points=tuple(map(_point, _listed("points", new.points, MOST_POINTS))),
        )

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON."""
        return asdict(self)


def _whole(what: str, value: object, least: int, most: int) -> int:
    found = whole(what, value, least)
    if found > most:
        raise ArgumentError(f"{what} is a whole number of at most {most}, got {found}")
    return found


def _listed(what: str, value: object, most: int) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise ArgumentError(f"{what} is a list, got {value!r:.60}")
    if len(value) > most:
        raise ArgumentError(f"{what} has at most {most} entries, got {len(value)}")
    return list(value)


def _point(point: object) -> OwnPoint:
    if not isinstance(point, list | tuple) or len(point) != 3:
        raise ArgumentError(f"a point is [x, y, class], got {point!r:.60}")
    x, y = (number("x or y of a point", c, low=-_EDGE, high=_EDGE) for c in point[:2])
    return x, y, _whole("class of a point", point[2], 0, MOST_CLASSES - 1)
