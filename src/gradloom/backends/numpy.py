"""Run array programs with NumPy: the living definition of what an instruction does.

Views become strided arrays over the arena, made once; products that are summed go to BLAS by
way of `matmul`; everything else is a whole-array expression. There is no loop over elements.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from gradloom.loom.program import Body, Instruction, Program
from gradloom.loom.views import View, slots_of

Array = NDArray[np.float64]
Step = Callable[[], None]

_ROOT_HALF = math.sqrt(0.5)


def _by_element(function: Callable[[float], float]) -> Callable[[Array], Array]:
    """A function of math for which NumPy has none."""
    every = np.frompyfunc(function, 1, 1)
    return lambda x: np.asarray(every(x), dtype=np.float64)


_erfc = _by_element(math.erfc)


def _sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0.0, 1.0 / (1.0 + small), small / (1.0 + small))


def _logsumexp(*xs: Array) -> Array:
    largest = functools.reduce(np.maximum, xs)
    shift = np.where(np.isfinite(largest), largest, 0.0)
    return np.log(sum(np.exp(x - shift) for x in xs)) + shift


# Each row of the table as a function of arrays.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "//": lambda a, b: np.where(b == 0.0, a / b, np.floor_divide(a, b)),
    "%": np.mod,
    "**": np.power,
    "neg": np.negative,
    "abs": np.abs,
    "reciprocal": np.reciprocal,
    "square": np.square,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "log2": np.log2,
    "log10": np.log10,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "sigmoid": _sigmoid,
    "softplus": lambda x: np.where(x < 0.0, 0.0, x) + np.log1p(np.exp(-np.abs(x))),
    "relu": lambda x: np.where(x <= 0.0, 0.0, x),
    "leaky_relu": lambda x, slope: np.where(x > 0.0, x, slope * x),
    "elu": lambda x, alpha: np.where(x > 0.0, x, alpha * np.expm1(x)),
    "gelu": lambda x: 0.5 * x * _erfc(-_ROOT_HALF * x),
    "silu": lambda x: x * _sigmoid(x),
    "erf": _by_element(math.erf),
    "erfc": _erfc,
    "floor": np.floor,
    "ceil": np.ceil,
    "sign": np.sign,
    "detach": np.positive,
    "greater": np.greater,
    "less_equal": np.less_equal,
    "equal": np.equal,
    "where": lambda condition, a, b: np.where(condition != 0.0, a, b),
    "max": lambda *xs: functools.reduce(np.maximum, xs),
    "min": lambda *xs: functools.reduce(np.minimum, xs),
    "sum": lambda *xs: functools.reduce(np.add, xs, 0.0),
    "hypot": lambda *xs: functools.reduce(np.hypot, xs, 0.0),
    "logsumexp": _logsumexp,
}


class Runner:
    """A program with an arena of its own, ready to run.

    Args:
        program: what to run.
        lanes: how many lanes; None where the program has no laned inputs.

    With lanes the arena is one flat array of `1 + lanes` parts: what all lanes share, then every
    slot once for each lane, lanes innermost. A lane is thus one more axis of the instruction, of
    stride 1 for what is laned and 0 for what is shared, and a sum over lanes is a reduction.

    >>> from gradloom.loom.record import record
    >>> from gradloom.loom.weave import weave
    >>> graph, _ = record(lambda x, y: x * y + x, 3.0, 4.0)
    >>> Runner(weave(graph)).run([5.0, 6.0])
    array([35.])
    >>> Runner(weave(graph, lanes=[1]), lanes=3).run([5.0, np.array([1.0, 2.0, 3.0])])
    array([[10., 15., 20.]])
    """

    def __init__(self, program: Program, lanes: int | None = None) -> None:
        self.program = program
        self.lanes = lanes
        size = len(program.template)
        self._template = program.template
        if lanes is not None:
            self._template = np.concatenate([program.template, program.template.repeat(lanes)])
        self.arena = self._template.copy()
        self._shared = self.arena[:size]
        self._laned = self.arena[size:].reshape(size, lanes or 0)
        self._all_laned = bool(program.laned[program.inputs].all())
        lowered = [_with_lanes(one, program, lanes) for one in program.instructions]
        self._steps = [_step(instruction, self.arena) for instruction in lowered]

    def run(self, inputs: Sequence[Any] | Array, parameters: Array | None = None) -> Array:
        """The outputs for these inputs, with the parameters as they are now.

        Args:
            inputs: a number for each input of the program, or for a laned one as many as lanes.
            parameters: the numbers of `program.values`, from who has them at hand in an array; by
                default they are read one by one.

        Returns:
            The outputs; with lanes a row of as many as lanes for each.
        """
        program = self.program
        self.arena[:] = self._template
        if self.lanes is None:
            self._shared[program.inputs] = inputs
        elif isinstance(inputs, np.ndarray) and self._all_laned:
            self._laned[program.inputs] = inputs
        else:
            for slot, number in zip(program.inputs, inputs, strict=True):
                (self._laned if program.laned[slot] else self._shared)[slot] = number
        if parameters is None:
            parameters = np.array([value.data for value in program.values])
        self._shared[program.parameters] = parameters
        with np.errstate(all="ignore"):
            for step in self._steps:
                step()
        return self.read(program.outputs)

    def read_shared(self, slots: NDArray[np.int64]) -> Array:
        """What stands in these slots after a run, if all lanes share them."""
        return self._shared[slots]

    def read(self, slots: NDArray[np.int64]) -> Array:
        """What stands in these slots after a run; with lanes a row of as many as lanes for each."""
        if self.lanes is None:
            return self._shared[slots]
        found = self._laned[slots]
        shared = ~self.program.laned[slots]
        found[shared] = self._shared[slots[shared], None]
        return found


def _with_lanes(instruction: Instruction, program: Program, lanes: int | None) -> Instruction:
    """The instruction over the arena with lanes, with an axis for them where any is needed."""
    views = (instruction.out, *instruction.operands)
    laned = [bool(program.laned[slots_of(v, instruction.shape)].any()) for v in views]
    if lanes is None or not any(laned):
        return instruction
    size = len(program.template)
    lowered = []
    for view, own in zip(views, laned, strict=True):
        if not own:
            table = None if view.table is None else view.table[..., None]
            lowered.append(View(view.offset, (*view.strides, 0), table))
            continue
        table = None
        if view.table is not None:
            table = size + view.table[..., None] * lanes + np.arange(lanes)
        strides = tuple(s * lanes for s in view.strides)
        lowered.append(View(size + view.offset * lanes, (*strides, 1), table))
    shape = (*instruction.shape, lanes)
    return Instruction(
        shape, lowered[0], instruction.body, tuple(lowered[1:]), instruction.accumulate
    )


def _step(instruction: Instruction, arena: Array) -> Step:
    out, body = instruction.out, instruction.body
    shape = instruction.shape
    # A body of one operand and 1.0 would be equal to this one, hence the count.
    product = body == ("*", (0, 1)) and len(instruction.operands) == 2
    if instruction.accumulate and product and out.table is None:
        step = _contraction(instruction, arena)
        if step is not None:
            return step
    read = [_reader(view, shape, arena) for view in instruction.operands]
    value = functools.partial(_evaluate, body, read)
    if out.table is not None or not _injective(out, shape):
        slots = slots_of(out, shape)

        def scatter() -> None:
            np.add.at(arena, np.broadcast_to(slots, shape), np.broadcast_to(value(), shape))

        def assign() -> None:
            arena[slots] = value()

        return scatter if instruction.accumulate else assign
    summed = tuple(i for i, s in enumerate(out.strides) if s == 0 and shape[i] > 1)
    kept = tuple(1 if i in summed else n for i, n in enumerate(shape))
    target = _strided(out, kept, arena)

    def reduce() -> None:
        result = np.broadcast_to(value(), shape)
        np.add(target, result.sum(axis=summed, keepdims=True) if summed else result, out=target)

    def store() -> None:
        np.copyto(target, value())

    return reduce if instruction.accumulate else store


def _evaluate(body: Body, read: Sequence[Callable[[], Array]]) -> Any:
    if isinstance(body, int):
        return read[body]()
    if isinstance(body, float):
        return np.float64(body)
    return FUNCTIONS[body[0]](*[_evaluate(part, read) for part in body[1]])


def _strided(view: View, shape: Sequence[int], arena: Array) -> Array:
    strides = [8 * s for s in view.strides]
    return as_strided(arena[view.offset :], tuple(shape), strides)


def _reader(view: View, shape: tuple[int, ...], arena: Array) -> Callable[[], Array]:
    if view.table is not None:
        table = view.table
        return lambda: arena[table]
    array = _strided(view, shape, arena)
    return lambda: array


def _injective(view: View, shape: tuple[int, ...]) -> bool:
    """No two elements share a slot, but along axes of stride 0."""
    reach = 0
    for stride, size in sorted((abs(s), n) for s, n in zip(view.strides, shape, strict=True) if s):
        if stride <= reach:
            return False
        reach += stride * (size - 1)
    return True


def _contraction(instruction: Instruction, arena: Array) -> Step | None:
    """A summed product as one matrix product (perhaps many, side by side), if it is one."""
    out, (a, b), shape = instruction.out, instruction.operands, instruction.shape
    if a.table is not None or b.table is not None or not _injective(out, shape):
        return None
    roles: dict[str, list[int]] = {"batch": [], "m": [], "n": [], "k": []}
    for axis, strides in enumerate(zip(out.strides, a.strides, b.strides, strict=True)):
        in_out, in_a, in_b = (s != 0 for s in strides)
        if shape[axis] == 1:
            continue
        if in_a and in_b:
            roles["batch" if in_out else "k"].append(axis)
        elif in_out and (in_a or in_b):
            roles["m" if in_a else "n"].append(axis)
        else:
            return None
    if not roles["k"]:
        return None
    left = _pick(a, shape, roles["batch"] + roles["m"] + roles["k"], arena)
    right = _pick(b, shape, roles["batch"] + roles["k"] + roles["n"], arena)
    target = _pick(out, shape, roles["batch"] + roles["m"] + roles["n"], arena)
    sizes = {role: math.prod(shape[i] for i in axes) for role, axes in roles.items()}
    batch, m, n, k = sizes["batch"], sizes["m"], sizes["n"], sizes["k"]

    def multiply() -> None:
        product = left.reshape(batch, m, k) @ right.reshape(batch, k, n)
        np.add(target, product.reshape(target.shape), out=target)

    return multiply


def _pick(view: View, shape: tuple[int, ...], axes: list[int], arena: Array) -> Array:
    """The strided array of these axes, in this order."""
    chosen = View(view.offset, tuple(view.strides[i] for i in axes))
    return _strided(chosen, [shape[i] for i in axes], arena)
