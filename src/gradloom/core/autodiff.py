"""Derivatives of functions: grad, jacobian, hessian and their kin, nested to any order.

Two kinds of operand stand behind them. A `Traced` number writes what happens to it on a tape,
which is then read backwards (reverse mode: one pass gives the derivatives by every input). A
`Dual` number carries its rate of change along (forward mode: one pass gives the derivative of
every output in one direction). Their data may in turn be values of an enclosing derivative, so
nesting gives higher orders, and derivatives of values are values, with a graph to go
`backward()` through.

What keeps the orders apart: every call has a level of its own, higher than that of every call
it is nested in. An operation belongs to its operand of the highest level; all others are
constants to it (see `ops.apply`). So d/dx [x · d/dy (x + y)] is 1, as it must be.

Arguments and results are numbers or nested lists, tuples and dicts of numbers (`tree`); NumPy
arrays are taken as nested lists.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from gradloom.core import tree, value
from gradloom.core.operand import Operand
from gradloom.core.ops import equal, where
from gradloom.core.table import Op, Scalar, apply, is_symbolic
from gradloom.errors import ArgumentError, ShapeError

__all__ = ["grad", "hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp"]

_levels = itertools.count(1)  # an inner call is made later than the ones around it


def new_level() -> int:
    """A level above all that are in use: that of a derivative or recording which begins now."""
    return next(_levels)


Edges = list[tuple[int, Scalar]]


class _Tape(list[Edges]):
    """What happened to the numbers of one reverse pass.

    For each in the order of their making: its operands on the same tape, by place, with the
    local derivatives. Under `detect_anomaly()` there are notes too, on who asked for it. In a
    recording it is not known yet what a mask will block: `masks` has the places of such.
    """

    def __init__(self) -> None:
        self.notes: dict[int, str] = {}
        self.masks: set[int] = set()


def _differentiate(
    owner: Operand, op: Op, operands: Sequence[Scalar]
) -> tuple[Scalar, list[Scalar], list[tuple[Any, Scalar]]]:
    """The operation one level below its owner: the result, the operands there, and the slopes.

    A slope is an operand of the owner's level with the derivative by it; others are constants.
    """
    level = owner._level
    mine = [getattr(x, "_level", None) == level for x in operands]
    inner = [x.data if m else x for x, m in zip(operands, mine, strict=True)]
    y = apply(op, *inner)
    local = op.derivatives(y, inner, mine)
    return y, inner, [(x, d) for x, d in zip(operands, local, strict=True) if d is not None]


class Traced(Operand):
    """A number on the tape of one reverse pass."""

    __slots__ = ("_level", "_place", "_tape", "data")

    def __init__(self, data: Scalar, level: int, tape: _Tape, edges: Edges) -> None:
        self.data = data
        self._level = level
        self._tape = tape
        self._place = len(tape)
        tape.append(edges)

    def __repr__(self) -> str:
        return f"Traced({self.data!r})"

    def _apply(self, op: Op, operands: Sequence[Scalar]) -> "Traced":
        y, inner, slopes = _differentiate(self, op, operands)
        edges = [(x._place, d) for x, d in slopes]
        if op.masks and any(is_symbolic(d) for _, d in edges):
            self._tape.masks.add(len(self._tape))
        if (seen_by := value.watcher) is not None:
            self._tape.notes[len(self._tape)] = seen_by.computed(op, inner, y)
        return Traced(y, self._level, self._tape, edges)


class Dual(Operand):
    """A number with its rate of change, the tangent, of one forward pass."""

    __slots__ = ("_behind", "_level", "data", "tangent")

    def __init__(self, data: Scalar, level: int, tangent: Scalar, *, behind: bool = False) -> None:
        self.data = data
        self._level = level
        self.tangent = tangent
        self._behind = behind  # in a recording: a mask may hold the tangent at 0, come what may

    def __repr__(self) -> str:
        return f"Dual({self.data!r}, tangent={self.tangent!r})"

    def _apply(self, op: Op, operands: Sequence[Scalar]) -> "Dual":
        y, inner, slopes = _differentiate(self, op, operands)
        moves, behind = [], False
        for x, d in slopes:
            if type(x.tangent) is float and x.tangent == 0.0:
                continue  # it moves nothing, even where the derivative is inf
            move = d * x.tangent
            if x._behind:
                move = _unless_zero(x.tangent, move)
            if op.masks:
                move = _unless_zero(d, move)
            moves.append(move)
            behind |= x._behind or (op.masks and is_symbolic(d))
        tangent = functools.reduce(lambda a, b: a + b, moves) if moves else 0.0
        if (seen_by := value.watcher) is not None:
            seen_by.computed(op, inner, y, tangent)
        return Dual(y, self._level, tangent, behind=behind)


def _unless_zero(factor: Scalar, product: Scalar) -> Scalar:
    """The product, but 0 where its factor is 0, even times nan; decided at each run."""
    if not is_symbolic(factor):
        return product
    return where(equal(factor, 0.0), 0.0, product)


def _derived(f: Callable[..., Any], kind: str, *argnums: Any) -> Callable[..., Any] | None:
    """The derivative of a function that derives itself, as compiled ones do; else None."""
    derive = getattr(type(f), "_derive", None)
    return None if derive is None else derive(f, kind, *argnums)


def _reverse(f: Callable[..., Any], args: Sequence[Any]) -> tuple[Any, Callable[[Any], list[Any]]]:
    """f(*args), and what turns cotangents of the result's leaves into those of every argument."""
    level = new_level()
    tape = _Tape()
    leaves, shape = tree.flatten(list(args))
    inputs = [Traced(x, level, tape, []) for x in leaves]
    outputs, result_shape = tree.flatten(f(*tree.unflatten(shape, inputs)))
    mine = [isinstance(y, Traced) and y._level == level for y in outputs]
    values = [y.data if m else y for y, m in zip(outputs, mine, strict=True)]
    places = [y._place if m else None for y, m in zip(outputs, mine, strict=True)]

    def pull(cotangents: Sequence[Scalar]) -> list[Any]:
        total: list[Scalar] = [None] * len(tape)  # nothing yet

        def add(place: int, share: Scalar) -> None:
            total[place] = share if total[place] is None else total[place] + share

        for place, cotangent in zip(places, cotangents, strict=True):
            if place is not None:
                add(place, cotangent)
        seen_by = value.watcher
        behind: set[int] = set()  # what a mask may keep from getting anything, inf and nan too
        for place in range(len(tape) - 1, -1, -1):
            above = total[place]
            if above is None:
                continue
            for operand, local in tape[place]:
                share = local * above
                if place in tape.masks or place in behind:
                    blocks = local if place in tape.masks else 1.0
                    share = _unless_zero(above, _unless_zero(blocks, share))
                    behind.add(operand)
                if seen_by is not None:
                    seen_by.pulled(tape.notes.get(place, ""), local, above, share)
                add(operand, share)
        found = [0.0 if g is None else g for g in total[: len(inputs)]]
        return tree.unflatten(shape, found)  # type: ignore[no-any-return]

    return tree.unflatten(result_shape, values), pull


def vjp(f: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """f(*primals), and its pullback: the vector-Jacobian product, reverse mode.

    Args:
        f: a function of numbers and nested lists of numbers.
        primals: where to evaluate it.

    Returns:
        The result, and a function from a cotangent (structured like the result) to a tuple of
        cotangents, one structured like each primal. It may be called any number of times.

    Raises:
        ShapeError: the cotangent has another structure than the result.

    >>> y, pullback = vjp(lambda x, w: [x * w, x + w], 3.0, 4.0)
    >>> y, pullback([1.0, 0.0]), pullback([0.0, 1.0])
    ([12.0, 7.0], (4.0, 3.0), (1.0, 1.0))
    """
    if (derived := _derived(f, "vjp")) is not None:
        return f(*primals), functools.partial(derived, list(primals))
    result, pull = _reverse(f, primals)
    _, structure = tree.flatten(result)

    def pullback(cotangent: Any) -> tuple[Any, ...]:
        return tuple(pull(check_cotangent(structure, cotangent)))

    return result, pullback


def check_cotangent(structure: tree.Structure, cotangent: Any) -> list[Any]:
    """The leaves of a cotangent, which must be structured like the result."""
    leaves = tree.leaves_like(structure, cotangent)
    if leaves is None:
        raise ShapeError(
            f"the cotangent must be structured like the result, {tree.describe(structure)}, "
            f"not like {tree.describe(tree.flatten(cotangent)[1])}"
        )
    return leaves


def jvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """f(*primals) and its derivative in one direction: the Jacobian-vector product, forward mode.

    Args:
        f: a function of numbers and nested lists of numbers.
        primals: the arguments, as a list or tuple.
        tangents: the direction, structured like the primals.

    Returns:
        The result and its tangent, structured alike.

    Raises:
        ShapeError: primals and tangents are structured differently.

    >>> jvp(lambda x, y: x * y, (3.0, 4.0), (1.0, 0.0))
    (12.0, 4.0)
    """
    if (derived := _derived(f, "jvp")) is not None:
        return derived(list(primals), list(tangents))  # type: ignore[no-any-return]
    level = new_level()
    leaves, shape = tree.flatten(list(primals))
    moves = check_tangents(shape, list(tangents))
    inputs = [Dual(x, level, t) for x, t in zip(leaves, moves, strict=True)]
    outputs, result_shape = tree.flatten(f(*tree.unflatten(shape, inputs)))
    mine = [isinstance(y, Dual) and y._level == level for y in outputs]
    values = [y.data if m else y for y, m in zip(outputs, mine, strict=True)]
    rates = [y.tangent if m else 0.0 for y, m in zip(outputs, mine, strict=True)]
    return tree.unflatten(result_shape, values), tree.unflatten(result_shape, rates)


def check_tangents(shape: tree.Structure, tangents: list[Any]) -> list[Any]:
    """The leaves of tangents, which must be structured like the primals."""
    moves = tree.leaves_like(shape, tangents)
    if moves is None:
        raise ShapeError(
            f"tangents must be structured like the primals, {tree.describe(shape)}, "
            f"not like {tree.describe(tree.flatten(tangents)[1])}"
        )
    return moves


def pick(f: Callable[..., Any], args: tuple[Any, ...], argnums: int | Sequence[int]) -> Any:
    """`f` as a function of the chosen arguments alone, and those arguments."""
    chosen = tuple(argnums) if isinstance(argnums, Sequence) else (argnums,)
    for i in chosen:
        if not -len(args) <= i < len(args):
            raise ArgumentError(
                f"argnums={argnums} asks for argument {i}, but {tree.name(f)} was called with "
                f"{len(args)} positional arguments; count from 0"
            )
    if len({i % len(args) for i in chosen}) < len(chosen):
        raise ArgumentError(f"argnums={argnums} names an argument twice; name each once")

    def picked(*some: Any) -> Any:
        every = list(args)
        for i, x in zip(chosen, some, strict=True):
            every[i] = x
        return f(*every)

    picked.__name__ = tree.name(f)  # for messages
    return picked, [args[i] for i in chosen]


def pick_one(f: Callable[..., Any], args: tuple[Any, ...], argnum: int) -> Any:
    """`pick` for one argument."""
    if isinstance(argnum, Sequence):
        raise ArgumentError(
            f"argnum={argnum} must be one argument's number here; take them one after another, "
            "or pass the arguments as one list"
        )
    return pick(f, args, argnum)


def value_and_grad(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0
) -> Callable[..., tuple[Any, Any]]:
    """A function that gives both `f(*args)` and `grad(f)(*args)` for the work of one.

    Args:
        f: a function with one number as its result.
        argnums: the argument, or a list of arguments, to differentiate by.

    Raises (when called):
        ShapeError: the result is not one number.
        ArgumentError: there is no such argument.

    >>> value_and_grad(lambda x: x * x)(3.0)
    (9.0, 6.0)
    """

    if (derived := _derived(f, "value_and_grad", argnums)) is not None:
        return derived

    @functools.wraps(f, updated=())
    def both(*args: Any, **options: Any) -> tuple[Any, Any]:
        picked, some = pick(functools.partial(f, **options), args, argnums)
        result, pull = _reverse(picked, some)
        check_number(f, tree.flatten(result)[1])
        found = pull([1.0])
        return result, tuple(found) if isinstance(argnums, Sequence) else found[0]

    return both


def check_number(f: Callable[..., Any], structure: tree.Structure) -> None:
    """The result of `f` must be one number."""
    if structure is not None:
        raise ShapeError(
            f"grad needs a function with one number as its result; {tree.name(f)} returned "
            f"{tree.describe(structure)}: use jacobian, or return one entry"
        )


def grad(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The derivative of a function of numbers, itself a function of the same arguments.

    Reverse mode: the work is a small multiple of one call of `f` however many inputs there are.

    Args:
        f: a function with one number as its result; its arguments are numbers or nested lists
            of numbers. Keyword arguments are passed on and not differentiated.
        argnums: the argument, or a list of arguments, to differentiate by.

    Returns:
        A function whose result is structured like that argument (a tuple for a list of them).

    Raises (when called):
        ShapeError: the result is not one number.
        ArgumentError: there is no such argument.

    >>> grad(lambda x: x**3)(2.0)
    12.0
    >>> grad(grad(lambda x: x**3))(2.0)
    12.0
    >>> grad(lambda w, x: w[0] * x + w[1])([2.0, 1.0], 3.0)
    [3.0, 1.0]
    """

    if (derived := _derived(f, "grad", argnums)) is not None:
        return derived

    @functools.wraps(f, updated=())
    def derivative(*args: Any, **options: Any) -> Any:
        return value_and_grad(f, argnums)(*args, **options)[1]

    return derivative


def jacobian(f: Callable[..., Any], argnum: int = 0) -> Callable[..., Any]:
    """All derivatives of a function's results by one argument.

    One reverse pass for each result or one forward pass for each input, whichever are fewer.

    Returns:
        A function whose result is structured like f's, with each number replaced by its
        derivatives, structured like the argument: a list of m results of a list of n inputs
        gives m rows of n.

    Raises (when called):
        ArgumentError: there is no such argument.

    >>> jacobian(lambda v: [v[0] * v[1], v[0] + v[1], v[0]])([3.0, 4.0])
    [[4.0, 3.0], [1.0, 1.0], [1.0, 0.0]]
    """

    if (derived := _derived(f, "jacobian", argnum)) is not None:
        return derived

    @functools.wraps(f, updated=())
    def rows(*args: Any, **options: Any) -> Any:
        picked, some = pick_one(functools.partial(f, **options), args, argnum)
        result, pull = _reverse(picked, some)
        outputs, result_shape = tree.flatten(result)
        inputs, input_shape = tree.flatten(some[0])
        if len(outputs) <= len(inputs):
            found = [pull(unit)[0] for unit in tree.basis(len(outputs))]
        else:
            moved = [
                tree.flatten(jvp(picked, some, [tree.unflatten(input_shape, unit)])[1])[0]
                for unit in tree.basis(len(inputs))
            ]
            found = [
                tree.unflatten(input_shape, [column[i] for column in moved])
                for i in range(len(outputs))
            ]
        return tree.unflatten(result_shape, found)

    return rows


def hvp(f: Callable[..., Any], x: Any, v: Any) -> Any:
    """The Hessian of `f` at `x` times the vector `v`, without making the Hessian.

    Forward over reverse (Pearlmutter, 1994): the work of a few calls of `f`.

    Args:
        f: a function of one argument with one number as its result.
        x: where: a number or nested lists of numbers.
        v: the vector, structured like x.

    Raises:
        ShapeError: x and v are structured differently, or the result is not one number.

    >>> hvp(lambda x: x[0] ** 2 * x[1], [3.0, 5.0], [1.0, 0.0])
    [10.0, 6.0]
    """
    if (derived := _derived(f, "hvp")) is not None:
        return derived(x, v)
    return jvp(grad(f), (x,), (v,))[1]


def hessian(f: Callable[..., Any], argnum: int = 0) -> Callable[..., Any]:
    """All second derivatives of a function with one number as its result, by one argument.

    Returns:
        A function whose result is structured like the argument, each number replaced by
        something structured like the argument again: of a list of n inputs, n rows of n.

    Raises (when called):
        ShapeError: the result is not one number.
        ArgumentError: there is no such argument.

    >>> hessian(lambda v: v[0] ** 2 * v[1])([3.0, 5.0])
    [[10.0, 6.0], [6.0, 0.0]]
    """

    if (derived := _derived(f, "hessian", argnum)) is not None:
        return derived

    @functools.wraps(f, updated=())
    def second(*args: Any, **options: Any) -> Any:
        picked, some = pick_one(functools.partial(f, **options), args, argnum)
        inputs, shape = tree.flatten(some[0])
        columns = [hvp(picked, some[0], tree.unflatten(shape, e)) for e in tree.basis(len(inputs))]
        return tree.unflatten(shape, columns)  # symmetric: columns are rows

    return second
