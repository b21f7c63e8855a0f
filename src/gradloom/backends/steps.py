"""The optimizers' rules on whole arrays.

`gradloom.nn.optim` has them; on arrays they do the same operations in the same order, so that they
give the same numbers to the last bit. An optimizer without a rule runs as it is written.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradloom.nn import Optimizer
from gradloom.nn.optim import Functions

Array: TypeAlias = NDArray[np.float64]

ARRAYS = Functions(np.sqrt, np.maximum)


def step(optimizer: Optimizer, numbers: Array, grads: Array) -> None:
    """One step of the optimizer on these arrays, its parameters' own.

    Example:
        >>> from gradloom.nn import SGD, Parameter
        >>> numbers, grads = np.array([3.0]), np.array([6.0])
        >>> step(SGD([Parameter(3.0)], lr=0.5), numbers, grads)
        >>> numbers
        array([0.])
    """
    optimizer.steps += 1
    kept = [np.frombuffer(getattr(optimizer, slot)) for slot in optimizer.slots]
    rule = optimizer.rule(optimizer.rates(), ARRAYS)
    with np.errstate(all="ignore"):
        found = rule(numbers, grads, *kept)
    for old, new in zip([numbers, *kept], found, strict=False):
        old[:] = new


def has_rule(optimizer: Optimizer) -> bool:
    """Whether all that this optimizer does to a parameter is its rule, and that runs on arrays."""
    kind = type(optimizer)
    if kind.update is not Optimizer.update or kind.step is not Optimizer.step:
        return False
    before = optimizer.steps
    optimizer.steps += 1
    try:
        rates = optimizer.rates()
        kept = [np.array([0.25, 4.0]) for _ in optimizer.slots]
        operands = [np.array([0.5, -0.5]), np.array([-2.0, 3.0]), *kept]
        together = optimizer.rule(rates, ARRAYS)(*operands)
        one_by_one = map(optimizer.rule(rates), *[x.tolist() for x in operands])
        return bool((np.stack(together, axis=1) == list(one_by_one)).all())
    except (ArithmeticError, AttributeError, NotImplementedError, TypeError, ValueError):
        return False  # a rule of somebody's own that is for floats alone
    finally:
        optimizer.steps = before
