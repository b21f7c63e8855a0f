"""The optimizers' rules on whole arrays: what `gradloom.nn.optim` does number by number.

Each does the same operations in the same order, so that it gives the same numbers to the last
bit. A rule that is not here (an optimizer of one's own) runs as it is written.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradloom.nn import SGD, Adam, AdamW, Optimizer, RMSprop

Array: TypeAlias = NDArray[np.float64]


def step(optimizer: Optimizer, numbers: Array, grads: Array) -> None:
    """One step of the optimizer on these arrays, its parameters' own.

    Example:
        >>> from gradloom.nn import Parameter
        >>> numbers, grads = np.array([3.0]), np.array([6.0])
        >>> step(SGD([Parameter(3.0)], lr=0.5), numbers, grads)
        >>> numbers
        array([0.])
    """
    optimizer.steps += 1
    with np.errstate(all="ignore"):
        _RULES[type(optimizer)](optimizer, numbers, grads)


def has_rule(optimizer: Optimizer) -> bool:
    """Whether `step` knows this kind of optimizer."""
    return type(optimizer) in _RULES


def _sgd(sgd: SGD, numbers: Array, grads: Array) -> None:
    change = grads + sgd.weight_decay * numbers
    if sgd.momentum:
        velocity = np.frombuffer(sgd.velocity)
        share = 1.0 if sgd.steps == 1 else 1.0 - sgd.dampening
        velocity[:] = sgd.momentum * velocity + share * change
        change = change + sgd.momentum * velocity if sgd.nesterov else velocity
    numbers -= sgd.lr * change


def _rmsprop(rmsprop: RMSprop, numbers: Array, grads: Array) -> None:
    alpha, square = rmsprop.alpha, np.frombuffer(rmsprop.mean_square)
    grads = grads + rmsprop.weight_decay * numbers
    square[:] = alpha * square + (1 - alpha) * grads * grads
    if rmsprop.centered:
        mean = np.frombuffer(rmsprop.mean)
        mean[:] = alpha * mean + (1 - alpha) * grads
        square = np.maximum(square - mean * mean, 0.0)
    change = grads / (np.sqrt(square) + rmsprop.eps)
    if rmsprop.momentum:
        velocity = np.frombuffer(rmsprop.velocity)
        velocity[:] = rmsprop.momentum * velocity + change
        change = velocity
    numbers -= rmsprop.lr * change


def _adam(adam: Adam, numbers: Array, grads: Array) -> None:
    mean, square = np.frombuffer(adam.mean), np.frombuffer(adam.mean_square)
    beta1, beta2 = adam.betas
    lr = adam.lr / (1 - beta1**adam.steps)
    root = math.sqrt(1 - beta2**adam.steps)
    decay, keep = adam.weight_decay, 1.0
    if isinstance(adam, AdamW):
        decay, keep = 0.0, 1 - adam.lr * adam.weight_decay
    grads = grads + decay * numbers
    mean[:] = beta1 * mean + (1 - beta1) * grads
    square[:] = beta2 * square + (1 - beta2) * grads * grads
    numbers[:] = keep * numbers - lr * mean / (np.sqrt(square) / root + adam.eps)


_RULES: dict[type[Optimizer], Callable[..., None]] = {
    SGD: _sgd,
    RMSprop: _rmsprop,
    Adam: _adam,
    AdamW: _adam,
}
