"""One page's network as it learns: the loop of `fit`, cut open so that it can be stopped anywhere.

A session makes the updates that `gradloom.fit` would make with these settings and this seed. After
any of them it can be looked at: a `Frame` holds what every neuron answers all over the plane.
"""

import json
import math
import random
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.errors import DataError
from gradloom.nn import LOSSES, MLP, OPTIMIZERS, Optimizer, l1, l2
from gradloom.train.compiled import Lanes
from gradloom.train.engine import Penalty, Task
from gradloom.train.metrics import accuracy
from gradloom.train.modelfile import save_model
from gradloom.train.samples import Samples
from gradloom.train.stepper import Stepper
from gradloom.view.play.points import draw_points
from gradloom.view.play.settings import OWN, Settings

EDGE = 1.2  # the plane is shown from -EDGE to EDGE
SIDE = 60  # points along each side of the grid on which the classes are asked
_STRIDE = 2  # of the coarser grid on which neurons are shown
_NEW_MODEL = ("layers", "activation", "seed")
_NEW_POINTS = ("data", "count", "noise", "seed", "test", "points")
_PENALTIES = {"l1": l1, "l2": l2}


@dataclass(frozen=True)
class Frame:
    """What a session looks like after an update.

    Attributes:
        told: the figures and weights, as plain JSON.
        neurons: the answers of each neuron on the coarse grid, row by row from the top; a byte a
            point, 128 for 0 and 1 or 255 for that neuron's largest answer.
        classes: the probability of each class on the fine grid (of the second of two), 65535 for 1.
    """

    told: dict[str, Any]
    neurons: NDArray[np.uint8]
    classes: NDArray[np.uint16]

    def to_bytes(self) -> bytes:
        """The length of the JSON as four bytes, the JSON, the neurons and the classes."""
        return with_head(self.told, self.neurons.tobytes() + self.classes.tobytes())


def with_head(head: dict[str, Any], body: bytes) -> bytes:
    """A message of bytes behind a head of JSON: the head's length comes first, in four bytes.

    Example:
        >>> with_head({"a": 1}, b"xyz")
        b'\\x08\\x00\\x00\\x00{"a": 1}xyz'
    """
    text = json.dumps(head).encode()
    return struct.pack("<I", len(text)) + text + body


class Session:
    """A network, its points, and how far it has learned.

    Attributes:
        settings: the present ones.
        rows, labels: all points with their classes.
        held: the positions of those that are held out.
        classes: how many there are, at least two.
        model: the network; a single output for two classes, else one for each.
        updates, epochs: how many were made, and finished.

    Example:
        >>> session = Session(Settings(layers=(4,)))
        >>> session.step()
        >>> session.updates
        1
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._draw()
        self.reset()

    def change(self, settings: Settings) -> None:
        """Takes new settings over; the network starts anew where it no longer fits them."""
        old, self.settings = self.settings, settings
        different = {name for name in vars(old) if getattr(old, name) != getattr(settings, name)}
        classes = self.classes
        if different.intersection(_NEW_POINTS):
            self._draw()
        if different.intersection(_NEW_MODEL) or self.classes != classes:
            self.reset()
        elif different.intersection((*_NEW_POINTS, "optimizer", "penalty", "strength")):
            self._set_up(None if "optimizer" in different else self._optimizer)
        self._optimizer.lr = settings.rate
        if self._stepper:
            self._stepper.batch_size = settings.batch

    def reset(self) -> None:
        """The network as it was before the first update."""
        settings = self.settings
        outputs = 1 if self.classes == 2 else self.classes
        self.model = MLP(2, [*settings.layers, outputs], settings.activation, seed=settings.seed)
        self.updates = self.epochs = 0
        self._rng = random.Random(settings.seed)
        self._set_up(None)
        self._look = Lanes(self._answers, self.model.parameters(), [0.0, 0.0], 0.0)

    def step(self) -> None:
        """One update.

        Raises:
            DataError: there is no point to learn from.
            AnomalyError: the loss or the gradient is no longer finite; nothing was changed.
        """
        if self._stepper is None:
            raise DataError("there is no point to learn from: click some in, or choose a data set")
        epochs = self._stepper.epochs
        self._stepper.step()
        self.updates += 1
        self.epochs += self._stepper.epochs - epochs

    def run(self, seconds: float, epochs: int | None = None) -> None:
        """Updates for about that long, and for no more than so many epochs; raises as `step`."""
        until = perf_counter() + seconds
        last = math.inf if epochs is None else self.epochs + epochs
        while True:
            self.step()
            if self.epochs >= last or perf_counter() >= until:
                return

    def frame(self) -> Frame:
        """What there is to see now."""
        with np.errstate(all="ignore"):
            answers = self._look.evaluate(_grid(), np.frombuffer(self.model.pack()[0]))
        answers = np.nan_to_num(answers).reshape(-1, SIDE, SIDE)
        outputs = 1 if self.classes == 2 else self.classes
        hidden = answers[:, ::_STRIDE, ::_STRIDE]
        scales = np.abs(hidden).max(axis=(1, 2))
        shares = hidden / np.where(scales > 0, scales, 1.0)[:, None, None]
        told = {
            "type": "frame",
            "updates": self.updates,
            "epochs": self.epochs,
            **self._figures(),
            "weights": [
                [[_short(p.data) for p in (*neuron.w, neuron.b)] for neuron in layer.neurons]
                for layer in self.model.layers
            ],
            "scales": [_short(scale) for scale in scales.tolist()],
            "side": SIDE,
            "coarse": hidden.shape[-1],
        }
        return Frame(
            told,
            np.rint(128 + 127 * shares).astype(np.uint8),
            np.rint(65535 * _likely(answers[-outputs:])).astype("<u2"),
        )

    def points(self) -> list[list[float | None]]:
        """x, y, class, and 1 for a point that is held out, of each point."""
        held = set(self.held)
        pairs = zip(self.rows, self.labels, strict=True)
        return [[_short(x), _short(y), k, int(i in held)] for i, ((x, y), k) in enumerate(pairs)]

    def model_file(self) -> bytes:
        """The network as a model file, which `gradloom.load_model` reads."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.safetensors")
            save_model(self.model, path)
            return path.read_bytes()

    def _draw(self) -> None:
        settings = self.settings
        if settings.data == OWN:
            self.rows = [[x, y] for x, y, _ in settings.points]
            self.labels = [label for *_, label in settings.points]
        else:
            drawn, self.labels = draw_points(
                settings.data, settings.count, settings.noise, settings.seed
            )
            self.rows = [list(point) for point in drawn]
        self.classes = max(2, *(label + 1 for label in self.labels)) if self.labels else 2
        count = len(self.rows)
        out = 0 if settings.data == OWN else min(round(settings.test * count), count - 1)
        self.held = sorted(random.Random(settings.seed).sample(range(count), out))

    def _set_up(self, optimizer: Optimizer | None) -> None:
        """The stepper for the present points, penalty and optimizer."""
        settings = self.settings
        self._optimizer = optimizer or OPTIMIZERS[settings.optimizer](self.model, lr=settings.rate)
        held = set(self.held)
        self._samples = self._part([i for i in range(len(self.rows)) if i not in held])
        self._held_out = self._part(self.held)
        self._stepper: Stepper | None = None
        if self._samples[0]:
            loss = "binary_cross_entropy" if self.classes == 2 else "cross_entropy"
            penalty = self._penalty()
            task = Task(self.model, LOSSES[loss], penalty, self._samples, self._optimizer)
            self._stepper = Stepper(task, batch_size=settings.batch, seed=self._rng)

    def _part(self, positions: Sequence[int]) -> Samples:
        return [self.rows[i] for i in positions], [self.labels[i] for i in positions]

    def _penalty(self) -> Penalty | None:
        settings = self.settings
        if settings.penalty == "none" or not settings.strength:
            return None
        size = _PENALTIES[settings.penalty]
        return lambda parameters: size(parameters, settings.strength)

    def _answers(self, row: Sequence[Any], _target: Any) -> list[Any]:
        """The outputs of all neurons, layer by layer."""
        answers: list[Any] = []
        for layer in self.model.layers:
            row = layer.outputs(row)
            answers += row
        return answers

    def _figures(self) -> dict[str, float | None]:
        """The mean loss and the accuracy on the points learned from and on those held out."""
        told: dict[str, float | None] = {}
        for name, samples in (("training", self._samples), ("test", self._held_out)):
            loss = share = None
            if self._stepper and samples[0]:
                mean, outputs = self._stepper.judge(samples)
                loss, share = _short(mean), accuracy(outputs, samples[1])
            told |= {f"{name}_loss": loss, f"{name}_accuracy": share}
        return told


def _grid() -> NDArray[np.float64]:
    """The fine grid, a column a point, from the upper left to the lower right; a target below."""
    side = np.linspace(-EDGE, EDGE, SIDE)
    up, across = np.meshgrid(-side, side, indexing="ij")
    return np.stack([across.ravel(), up.ravel(), np.zeros(SIDE * SIDE)])


def _likely(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probability of each class, or of the second where there is a single logit."""
    if len(logits) == 1:
        return 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
    powers = np.exp(logits - logits.max(axis=0))
    shares: NDArray[np.float64] = powers / powers.sum(axis=0)
    return shares


def _short(number: float) -> float | None:
    """A number with as many digits as are shown; None for what JSON cannot say."""
    return float(f"{number:.5g}") if math.isfinite(number) else None
