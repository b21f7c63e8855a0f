"""The numbers that all engines start from, as arrays; the scalar code is in tests/workloads.py.

Parameters come in the order of `Workload.parameters`, cut into arrays.
"""

import functools
import math
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "tests"))
import workloads

Array = Any

UPDATES = 100  # in a case that trains many steps at once
MOONS_RATE = 0.05  # of gradient descent on the moons
GPT_RATE = 1e-3  # of Adam on the GPT
CHECKED = 5  # updates of the GPT whose losses and parameters are compared
TEXTS = 16  # side by side in the GPT of many texts
STEPS = 252  # of the Asian option
POINTS, COMPONENTS, DIMENSIONS = 1_000, 25, 10  # of the Gaussian mixture
BITS, CHARACTERS = 14, 1_024  # of the LSTM's text
BATCH, DIGITS_RATE, HIDDEN = 64, 1e-3, 64  # of the digits
DIGITS = 1_792  # of the 1,797 samples, so that all batches are full

SHAPES: dict[str, list[tuple[int, ...]]] = {
    "moons": [(16, 3), (16, 17), (1, 17)],
    "gpt": [(27, 16), (8, 16), *[(16, 16)] * 4, (64, 16), (16, 64), (27, 16)],
    "asian": [()] * 4,
    "gmm": [(COMPONENTS,), (COMPONENTS, DIMENSIONS), (COMPONENTS, 55)],
    "lstm2": [(2, 2, 4, BITS), (3, BITS)],
    "lstm4": [(4, 2, 4, BITS), (3, BITS)],
    "digits": [(HIDDEN, 65), (10, HIDDEN + 1)],
}


def workload(case: str, **options: Any) -> workloads.Workload:
    """The scalar code of a case."""
    build = {
        "moons": workloads.moons,
        "gpt": workloads.gpt,
        "gpt16": workloads.gpt_of_text,
        "asian": workloads.asian_option,
        "gmm": workloads.gmm_point,
        "lstm2": functools.partial(workloads.diagonal_lstm, 2),
        "lstm4": functools.partial(workloads.diagonal_lstm, 4),
    }[case]
    return build(**options)


@functools.cache
def _parameters(case: str) -> Array:
    if case == "digits":
        rng = random.Random(0)
        return np.array(
            [
                rng.uniform(-1, 1) * (6.0 / shape[1]) ** 0.5
                for shape in SHAPES[case]
                for _ in range(math.prod(shape))
            ]
        )
    return np.array(workload(case, number=float).parameters)


def parameters(case: str) -> Array:
    """All in one array, a fresh copy."""
    return _parameters(case).copy()


def cut(case: str, flat: Array) -> list[Array]:
    """Parameters, or their derivatives, as arrays of their shapes that look into `flat`."""
    places = np.cumsum([math.prod(shape) for shape in SHAPES[case]])[:-1]
    return [
        part.reshape(shape)
        for part, shape in zip(np.split(flat, places), SHAPES[case], strict=True)
    ]


def moons() -> tuple[Array, Array]:
    """Points (100, 2) and sides."""
    xs, ys = workload("moons", number=float).arguments
    return np.array(xs), np.array(ys)


def text() -> Array:
    """Of the GPT: 9 tokens."""
    return np.array(workloads.gpt_text())


def texts() -> Array:
    """For the GPT of many texts: (16, 9) tokens."""
    rng = random.Random(3)
    size = (TEXTS, workloads.TOKENS + 1)
    return np.array([rng.choices(range(workloads.VOCABULARY), k=size[1]) for _ in range(size[0])])


def learned(texts: Array, updates: int) -> int:
    """How many texts so many updates learn from."""
    return updates * texts.size // text().size


def normals(paths: int) -> Array:
    """The chance in the Asian option, (steps, paths)."""
    return np.random.default_rng(2).standard_normal((STEPS, paths))


def points() -> Array:
    """Of the Gaussian mixture, (points, dimensions)."""
    return np.random.default_rng(4).standard_normal((POINTS, DIMENSIONS))


def gmm_constant() -> float:
    return workloads.gmm_constant(POINTS, COMPONENTS, DIMENSIONS)


def lower() -> tuple[Array, Array]:
    """Rows and columns of what lies below the diagonal, column by column as ADBench has it."""
    columns, rows = np.triu_indices(DIMENSIONS, 1)
    return rows, columns


def lstm(case: str) -> tuple[Array, Array]:
    """States (2 · layers, bits) and text (characters, bits)."""
    state, characters = workload(case, number=float).arguments
    return np.array(state), np.array(characters)


def digits() -> tuple[Array, Array, Array]:
    """Pixels from 0 to 1 (1792, 64), classes, and the order of the samples in an epoch."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(5).permutation(DIGITS)
    return np.ascontiguousarray(x[:DIGITS] / 16.0), y[:DIGITS].astype(np.int64), order
