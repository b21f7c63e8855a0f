"""The engines that `benchmarks/native.py` times: each module brings a few, written for it by hand.

A module has `ENGINES`: name → (distribution that it comes from, {case → maker}). A maker takes the
number of threads and gives a `Prepared`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Prepared:
    """Work that is ready to run.

    Attributes:
        check: does it from the start and returns the parts that `PARTS` names, as a tuple, or in
            a dict those that this engine can give.
        run: does it once more; this is timed.
        steps: how many steps of training or valuation are in one run.
        stages: what happened once, in seconds.
        seconds: of one run, for an engine that has its own loop and takes the time itself.
    """

    check: Callable[[], Any]
    run: Callable[[], object]
    steps: int = 1
    stages: dict[str, float] = field(default_factory=dict)
    seconds: Callable[[], float] | None = None


Maker = Callable[[int], Prepared]
Cases = dict[str, Maker]


VALUE = ("value", "gradient")
TRAINED = ("losses", "parameters")
# What is compared of each case.
PARTS: dict[str, tuple[str, ...]] = {
    "moons": VALUE,
    "moons100": TRAINED,
    "gpt": (*VALUE, *TRAINED),
    "gpt100": (*VALUE, *TRAINED),
    "gpt16": (*VALUE, *TRAINED),
    "gpt16x100": (*VALUE, *TRAINED),
    "digits": TRAINED,
    "asian1k": VALUE,
    "asian100k": VALUE,
    "gmm": VALUE,
    "lstm2": VALUE,
    "lstm4": VALUE,
}


def flat(nested: Any) -> list[float]:
    """What an engine keeps numbers in, as one list of floats."""
    import numpy as np

    if isinstance(nested, (list, tuple)):
        return [x for part in nested for x in flat(part)]
    return np.asarray(nested, dtype=float).ravel().tolist()
