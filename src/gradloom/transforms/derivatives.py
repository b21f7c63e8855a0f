"""Derivatives of compiled functions: compiled functions again, whose programs are derived.

`grad(compile(f))` records nothing of its own. It takes the path that `f` takes, transforms that
path's program (adjoint, tangent, or both), and replays the result like any other, guards and all.
So a derivative has a program to print, may be differentiated once more, and follows `f` from
branch to branch.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.backends.choice import backward
from gradloom.core import autodiff, tree
from gradloom.errors import ArgumentError
from gradloom.loom.derivatives import gradient, hessian, hvp, jacobian
from gradloom.loom.program import Program
from gradloom.loom.sparsity import pattern
from gradloom.loom.tangent import tangent
from gradloom.transforms.arguments import Arguments, Result
from gradloom.transforms.compiled import Compiled, compile
from gradloom.transforms.replay import Path

Slots = NDArray[np.int64]
# A program, the structure of its results, and for each how plain code would give it.
Derivative = tuple[Program, Any, list[str]]


class Derived(Compiled):
    """A derivative of a compiled function.

    Args:
        base: the compiled function.
        kind: which derivative, a name of `autodiff`.
        argnums: the argument or arguments to differentiate by, where the kind asks for them.
    """

    def __init__(self, base: Compiled, kind: str, *argnums: Any) -> None:
        plain, self._args, self._derivative = _KINDS[kind](base._plain, *argnums)
        super().__init__(
            plain,
            options=base._options,
            cache_size=base._cache_size,
            max_paths=base._max_paths,
        )
        self._base, self._kind, self._argnums = base, kind, argnums
        self._name = f"{kind}({base._name})"

    @property
    def _flat(self) -> Compiled:
        """A gradient in little memory has loops, so another is differentiated in its place."""
        if self._options.memory_limit is None:
            return self
        found: Compiled = self._base._flat._derive(self._kind, *self._argnums)
        return found

    def _derive(self, kind: str, *argnums: Any) -> Compiled:
        flat: Compiled = self._flat
        return super()._derive(kind, *argnums) if flat is self else flat._derive(kind, *argnums)

    def _path(self, arguments: Arguments) -> Path:
        """The derivative of the path that the function itself takes."""
        path = self._base.lookup(*self._args(arguments.args), **arguments.options)
        program, structure, kinds = self._derivative(path, arguments.args)
        layout = _Layout(structure, kinds)
        return Path(self._name, path.graph, program, layout, path.sites, self._options)

    def __getstate__(self) -> dict[str, Any]:
        # As a function, it pickles as its programs.
        away = ("_base", "_kind", "_argnums", "_args", "_derivative")
        return {name: x for name, x in super().__getstate__().items() if name not in away}


class _Layout(Result):
    """The structure of a derivative."""

    def __init__(self, structure: Any, kinds: list[str]) -> None:
        self.structure, self.kinds = structure, kinds
        self.nodes, self.constants = [], {}


def _every(args: tuple[Any, ...]) -> Sequence[Any]:
    return args


def _first(args: tuple[Any, ...]) -> Sequence[Any]:
    return args[0]  # type: ignore[no-any-return]


# For each kind: plain code for it, what of its arguments are those of the function, and how it is
# derived from a path and the arguments.
Kind = tuple[
    Callable[..., Any],
    Callable[[tuple[Any, ...]], Sequence[Any]],
    Callable[[Path, tuple[Any, ...]], Derivative],
]


def _grad(f: Callable[..., Any], argnums: int | Sequence[int]) -> Kind:
    def derivative(path: Path, args: tuple[Any, ...]) -> Derivative:
        program, (_, structure), kinds = both(path, args)
        return replace(program, outputs=program.outputs[1:]), structure, kinds[1:]

    _, _, both = _value_and_grad(f, argnums)
    return autodiff.grad(f, argnums), _every, derivative


def _value_and_grad(f: Callable[..., Any], argnums: int | Sequence[int]) -> Kind:
    def derivative(path: Path, args: tuple[Any, ...]) -> Derivative:
        _, chosen = autodiff.pick(f, args, argnums)
        autodiff.check_number(f, path.result.structure)
        wrt = [_inputs(path.program, args, x, i) for x, i in _numbered(chosen, argnums)]
        structures = [tree.flatten(x)[1] for x in chosen]
        structure = tuple(structures) if isinstance(argnums, Sequence) else structures[0]
        back = functools.partial(backward, options=path.options)
        slots = np.concatenate(wrt) if wrt else np.zeros(0, np.int64)
        program = gradient(path.program, slots, back=back)
        return program, (None, structure), [_kind(path)] * len(program.outputs)

    return autodiff.value_and_grad(f, argnums), _every, derivative


def _jacobian(f: Callable[..., Any], argnum: int) -> Kind:
    def derivative(path: Path, args: tuple[Any, ...]) -> Derivative:
        _, (x,) = autodiff.pick_one(f, args, argnum)
        inner, height = tree.flatten(x)[1], len(path.program.outputs)
        program = jacobian(path.program, _inputs(path.program, args, x, argnum))
        program = replace(program, outputs=program.outputs[height:])
        structure = tree.unflatten(_listed(path.result.structure), [inner] * height)
        return program, structure, [_kind(path)] * len(program.outputs)

    return autodiff.jacobian(f, argnum), _every, derivative


def _hessian(f: Callable[..., Any], argnum: int) -> Kind:
    def derivative(path: Path, args: tuple[Any, ...]) -> Derivative:
        _, (x,) = autodiff.pick_one(f, args, argnum)
        autodiff.check_number(f, path.result.structure)
        leaves, inner = tree.flatten(x)
        program = hessian(path.program, _inputs(path.program, args, x, argnum))
        program = replace(program, outputs=program.outputs[1 + len(leaves) :])
        structure = tree.unflatten(inner, [inner] * len(leaves))
        return program, structure, [_kind(path)] * len(program.outputs)

    return autodiff.hessian(f, argnum), _every, derivative


def _jvp(f: Callable[..., Any]) -> Kind:
    def derivative(path: Path, args: tuple[Any, ...]) -> Derivative:
        primals, tangents = args
        shape = tree.flatten(primals)[1]
        autodiff.check_tangents(shape, tangents)
        moving = tangent(path.program, path.program.inputs)
        program = _fed(moving, path.program, shape, tangents)
        structure = _listed(path.result.structure)
        kinds = ["value" if kind == "value" else "number" for kind in path.result.kinds]
        return program, (structure, structure), kinds * 2

    return functools.partial(autodiff.jvp, f), _first, derivative


def _hvp(f: Callable[..., Any]) -> Kind:
    def derivative(path: Path, args: tuple[Any, ...]) -> Derivative:
        x, v = args
        autodiff.check_number(f, path.result.structure)
        shape = tree.flatten(x)[1]
        autodiff.check_tangents([shape], [v])
        moving = hvp(path.program, path.program.inputs)
        program = _fed(moving, path.program, shape, v)
        return program, shape, [_kind(path)] * len(program.outputs)

    return functools.partial(autodiff.hvp, f), lambda args: args[:1], derivative


def _vjp(f: Callable[..., Any]) -> Kind:
    def plain(primals: Any, cotangent: Any) -> Any:
        return autodiff.vjp(f, *primals)[1](cotangent)

    def derivative(path: Path, args: tuple[Any, ...]) -> Derivative:
        primals, cotangent = args
        above = _listed(path.result.structure)
        autodiff.check_cotangent(above, cotangent)
        pulled = backward(path.program, path.program.inputs, path.options)
        program = _fed(pulled, path.program, above, cotangent)
        program = replace(program, outputs=program.outputs[len(path.program.outputs) :])
        structure = tuple(tree.flatten(list(primals))[1])
        return program, structure, [_kind(path)] * len(program.outputs)

    return plain, _first, derivative


_KINDS: dict[str, Callable[..., Kind]] = {
    "grad": _grad,
    "value_and_grad": _value_and_grad,
    "jacobian": _jacobian,
    "hessian": _hessian,
    "jvp": _jvp,
    "hvp": _hvp,
    "vjp": _vjp,
}


def _kind(path: Path) -> str:
    """A derivative of values is a value, as in plain code."""
    return "value" if "value" in path.result.kinds else "number"


def _listed(structure: Any) -> Any:
    """A structure with lists in place of arrays, as derivatives have them."""
    if isinstance(structure, dict):
        return {key: _listed(part) for key, part in structure.items()}
    if isinstance(structure, np.ndarray):
        return structure.tolist()
    if isinstance(structure, list | tuple):
        parts = [_listed(part) for part in structure]
        if hasattr(structure, "_fields"):
            return type(structure)(*parts)
        return parts if isinstance(structure, list) else tuple(parts)
    return structure


def _numbered(chosen: list[Any], argnums: int | Sequence[int]) -> list[tuple[Any, int]]:
    places = argnums if isinstance(argnums, Sequence) else [argnums]
    return list(zip(chosen, places, strict=True))


def _size(x: Any) -> int:
    """How many inputs an argument is."""
    return len(Arguments(_size, (x,), {}).numbers)


def _inputs(program: Program, args: tuple[Any, ...], x: Any, argnum: int) -> Slots:
    """The slots of one argument, of which every leaf must be an input."""
    place = argnum % len(args)
    start = sum(map(_size, args[:place]))
    size = len(tree.flatten(x)[0])
    if _size(x) != size:
        raise ArgumentError(
            f"argument {place} holds truth values, which a compiled function takes as they are; "
            "pass 1.0 and 0.0 to differentiate by them"
        )
    return program.inputs[start : start + size]


def _fed(derived: Program, program: Program, structure: Any, given: Any) -> Program:
    """The derivative with its further inputs, in the order of `structure`, in that of `given`."""
    leaves, own = tree.flatten(given)
    order = tree.leaves_like(structure, tree.unflatten(own, [float(i) for i in range(len(leaves))]))
    count = len(program.inputs)
    tail = derived.inputs[count:][np.argsort(np.array(order or [], dtype=np.int64))]
    return replace(derived, inputs=np.concatenate([derived.inputs[:count], tail]))


def sparsity(
    f: Callable[..., Any], argnum: int = 0, *, order: int = 1
) -> Callable[..., list[tuple[int, int]]]:
    """Where the Jacobian or the Hessian of a function may differ from 0, as (row, column).

    Read off the recorded program, without evaluating a derivative: a place that is left out is 0
    at every input that takes the same path, one that is in the list may be 0 at some.

    Args:
        f: a function, compiled or not; of one number as its result for the Hessian.
        argnum: the argument to differentiate by.
        order: 1 for the Jacobian, 2 for the Hessian.

    Returns:
        A function of the same arguments. Rows count the numbers of the result in order (of the
        Hessian: those of the argument), columns those of the argument.

    Raises:
        ArgumentError: `order` is neither 1 nor 2, or (when called) there is no such argument.
        ShapeError (when called): a Hessian is asked for, and the result is not one number.

    >>> sparsity(lambda x: [x[0] * x[1], x[1] + 2.0 * x[2]])([1.0, 2.0, 3.0])
    [(0, 0), (0, 1), (1, 1), (1, 2)]
    >>> sparsity(lambda x: x[0] * x[1] + x[2], order=2)([1.0, 2.0, 3.0])
    [(0, 1), (1, 0)]
    """
    if order not in (1, 2):
        raise ArgumentError(f"order must be 1 (Jacobian) or 2 (Hessian), got {order!r}")
    compiled = f if isinstance(f, Compiled) else compile(f)

    @functools.wraps(f, updated=())
    def places(*args: Any, **options: Any) -> list[tuple[int, int]]:
        _, (x,) = autodiff.pick_one(f, args, argnum)
        path = compiled._flat.lookup(*args, **options)
        program = path.program
        wrt = _inputs(program, args, x, argnum)
        if order == 2:
            autodiff.check_number(f, path.result.structure)
            program = gradient(program, wrt)
            program = replace(program, outputs=program.outputs[1:])
        return pattern(program, program.outputs, wrt).pairs()

    return places
