"""Parameters and modules: the numbers a network learns, and the objects that hold them.

A module is any object whose attributes are parameters, other modules, or lists, tuples and dicts
of them; the base class finds them by looking. A parameter is a leaf `Value` with one twist: its
number and its gradient live in two arrays that all parameters of a module share. Eager code
reads them one by one; an optimiser or compiled code takes the arrays whole, without a copy.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Real
from typing import Any, ClassVar, TypeAlias, Union

from gradloom.core import copying
from gradloom.core.value import Value
from gradloom.errors import ArgumentError, DataError, NotANumberError, ShapeError

Numbers: TypeAlias = "array[float]"


class Parameter(Value):
    """A leaf `Value` that a module learns; its number and gradient live in shared arrays.

    Born with arrays of its own, it moves into its module's when that is packed, and stays the
    same object.

    >>> p = Parameter(2.0, label="w")
    >>> (p * p).backward()
    >>> p.data, p.grad
    (2.0, 4.0)
    """

    __slots__ = ("_grads", "_index", "_numbers")

    _numbers: Numbers
    _grads: Numbers
    _index: int

    # How often parameters have moved to other arrays, all in all. Who keeps the arrays of some
    # need not ask each of them whether it is still there.
    moves: ClassVar[int] = 0

    def __init__(self, data: float, label: str = "") -> None:
        self._settle(array("d", [0.0]), array("d", [0.0]), 0)
        super().__init__(data, label=label)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy has arrays of its own, until its module is packed.
        return type(self), (self.data, self.label), (None, {"grad": self.grad})

    def _settle(self, numbers: Numbers, grads: Numbers, index: int) -> None:
        """Live at `index` of these arrays from now on."""
        self._numbers, self._grads, self._index = numbers, grads, index

    @property
    def data(self) -> float:
        """The number, in its place in the module's array."""
        return self._numbers[self._index]

    @data.setter
    def data(self, number: float) -> None:
        self._numbers[self._index] = number

    @property
    def grad(self) -> float:
        """The gradient, in its place in the module's array."""
        return self._grads[self._index]

    @grad.setter
    def grad(self, number: float) -> None:
        self._grads[self._index] = number


def packed(parameters: Sequence[Value]) -> tuple[Numbers, Numbers] | None:
    """The arrays (numbers, gradients) that hold exactly these, in this order; None if none do."""
    first = parameters[0] if parameters else None
    if not isinstance(first, Parameter) or len(first._numbers) != len(parameters):
        return None
    numbers = first._numbers
    for index, p in enumerate(parameters):
        if not isinstance(p, Parameter) or p._numbers is not numbers or p._index != index:
            return None
    return numbers, first._grads


def pack(parameters: Sequence[Parameter]) -> tuple[Numbers, Numbers]:
    """Make these parameters contiguous, in this order, and return (numbers, gradients).

    Nothing moves when they are so already. Do not pack while another thread computes with them.

    >>> ps = [Parameter(1.0), Parameter(2.0)]
    >>> numbers, grads = pack(ps)
    >>> numbers[1] = 5.0
    >>> ps[1].data
    5.0
    """
    home = packed(parameters)
    if home is None:
        home = array("d", [p.data for p in parameters]), array("d", [p.grad for p in parameters])
        for index, p in enumerate(parameters):
            p._settle(*home, index)
        Parameter.moves += 1
    return home


# A parameter, or a list (of lists …) of nothing but parameters: one entry of a module's state.
Tree: TypeAlias = Union[Parameter, "list[Tree]"]
# The numbers of such an entry, of the same shape.
State: TypeAlias = Union[float, "list[State]"]


class Module:
    """What holds parameters: subclass it, assign them as attributes, and define `__call__`.

    Lists, tuples and dicts of parameters or modules count, at any depth, in the order they were
    assigned. What is shared (tied weights) appears once, under its first name. A plain `Value`
    is no parameter: it stays as it is.

    >>> class Line(Module):
    ...     def __init__(self):
    ...         self.slope = Parameter(2.0)
    ...         self.offset = Parameter(1.0)
    ...
    ...     def __call__(self, x):
    ...         return self.slope * x + self.offset
    >>> line = Line()
    >>> line(3.0).data
    7.0
    >>> [name for name, parameter in line.named_parameters()]
    ['slope', 'offset']
    """

    # The constructor's arguments that `config` writes down, each also an attribute.
    _arguments: ClassVar[tuple[str, ...]] = ()

    def __call__(self, x: Any) -> Any:
        """The outputs for the inputs `x`."""
        raise NotImplementedError(f"{type(self).__name__} needs a __call__(self, x)")

    def parameters(self) -> list[Parameter]:
        """Every parameter once, in the order of assignment.

        >>> from gradloom.nn import MLP
        >>> len(MLP(2, [16, 16, 1]).parameters())
        337
        """
        trees = self._trees().values()
        return list({id(p): p for tree in trees for p in _leaves(tree)}.values())

    def named_parameters(self) -> list[tuple[str, Parameter]]:
        """Every parameter once, with the path of attributes and indices that leads to it.

        >>> from gradloom.nn import Neuron
        >>> [name for name, parameter in Neuron(2).named_parameters()]
        ['w.0', 'w.1', 'b']
        """
        seen: dict[int, tuple[str, Parameter]] = {}
        for path, tree in self._trees().items():
            for name, p in _named(path, tree):
                seen.setdefault(id(p), (name, p))
        return list(seen.values())

    def zero_grad(self) -> None:
        """Set every parameter's gradient to 0.

        >>> p = Parameter(3.0)
        >>> module = Module()
        >>> module.p = p
        >>> (p * p).backward()
        >>> module.zero_grad()
        >>> p.grad
        0.0
        """
        for p in self.parameters():
            p.grad = 0.0

    def pack(self) -> tuple[Numbers, Numbers]:
        """Move all parameters side by side, in order, and return their (numbers, gradients).

        The arrays are the parameters' memory: writing one is seen by the other, until some other
        module that holds one of these parameters is packed. Costs a look at each parameter when
        nothing has to move.

        >>> from gradloom.nn import Neuron
        >>> neuron = Neuron(2)
        >>> numbers, grads = neuron.pack()
        >>> numbers[2] = 0.5
        >>> neuron.b.data
        0.5
        """
        return pack(self.parameters())

    def state(self) -> dict[str, State]:
        """The numbers of all parameters, by name; a list of parameters is one entry.

        >>> from gradloom.nn import Neuron
        >>> neuron = Neuron(2, seed=1)
        >>> neuron.load_state({"w": [0.5, -0.5], "b": 1.0})
        >>> neuron.state()
        {'w': [0.5, -0.5], 'b': 1.0}
        """
        return {name: _numbers(tree) for name, tree in self._trees().items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Set all parameters to the numbers of a `state()`; NumPy arrays will do as its lists.

        Raises, before anything is changed:
            DataError: a name is missing, or there is one that this module does not have.
            ShapeError: an entry has another shape than the parameters it is for.
            NotANumberError: something in an entry is no number.
        """
        if not isinstance(state, Mapping):
            raise DataError(f"a state is a dict of names and numbers, got {state!r:.60}")
        trees = self._trees()
        missing, foreign = trees.keys() - state.keys(), state.keys() - trees.keys()
        if missing or foreign:
            said = [f"lacks {', '.join(sorted(missing))}"] if missing else []
            said += [f"has unknown {', '.join(sorted(map(str, foreign)))}"] if foreign else []
            raise DataError(
                f"the state is not one of this {type(self).__name__}: it {' and '.join(said)}"
            )
        pairs = [pair for name, tree in trees.items() for pair in _matched(name, tree, state[name])]
        for p, number in pairs:
            p.data = number

    def config(self) -> dict[str, Any]:
        """What `from_config` needs to build this network again, its numbers aside; fit for JSON.

        Raises ArgumentError when it cannot be told in words: a subclass that does not define
        `config`, or an activation that is a function of your own.

        >>> from gradloom.nn import Layer
        >>> Layer(2, 3, "relu").config()
        {'type': 'Layer', 'nin': 2, 'nout': 3, 'activation': 'relu'}
        """
        name = type(self).__name__
        if not self._arguments:
            raise ArgumentError(
                f"{name} cannot be written as a config; define config(), or keep state() alone"
            )
        config = {"type": name, **{key: getattr(self, key) for key in self._arguments}}
        for key, value in config.items():
            if callable(value):
                raise ArgumentError(
                    f"{name}: {key} is the function {value!r}, which a config cannot hold; "
                    "use one of the named ones"
                )
        return config

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__}: {_count(self.parameters())}"]
        for name, part in _parts("", vars(self)):
            text = repr(part) if isinstance(part, Module) else _count(_leaves(part))
            lines.append(f"{name}: {text}".replace("\n", "\n  "))
        return "\n  ".join(lines)

    def _repr_svg_(self) -> str | None:
        from gradloom import _svg_of  # for notebooks: the layers above, when asked for

        return _svg_of(self)

    def _trees(self) -> dict[str, Tree]:
        """Every entry of the state by name, depth first; what was met before is left out."""
        trees: dict[str, Tree] = {}
        seen = {id(self)}
        entered = [_parts("", vars(self))]  # a list in place of recursion: no network is too deep
        while entered:
            name, part = next(entered[-1], ("", None))
            if part is None:
                entered.pop()
                continue
            found = {id(x) for x in ([part] if isinstance(part, Module) else _leaves(part))}
            if found <= seen:
                continue
            seen |= found
            if isinstance(part, Module):
                entered.append(_parts(f"{name}.", vars(part)))
            elif name in trees:
                raise ArgumentError(f"{type(self).__name__} has two parameters called {name}")
            else:
                trees[name] = part
        return trees

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The modules below come first, so that no network is too deep to copy (see `copying`).
        make, arguments, state, *rest = (*super().__reduce_ex__(protocol), None)[:5]
        if type(self).__setstate__ is Module.__setstate__:
            deep = not copying.is_listed(self) and _modules(self)
            state = copying.Below(self, _modules) if deep else None, state
        return make, arguments, state, *rest

    def __setstate__(self, state: tuple[Any, Any]) -> None:
        fields = state[1]
        for part in fields if isinstance(fields, tuple) else (fields,):  # of __dict__, of slots
            for name, field in (part or {}).items():
                object.__setattr__(self, name, field)


def parameters_of(source: Module | Iterable[Value]) -> list[Value]:
    """The parameters of a module, or the Values given, each once.

    Raises NotANumberError if something among them is no Value.

    >>> parameters_of(x for x in [Value(1.0)])
    [Value(data=1.0, grad=0.0)]
    """
    values = source.parameters() if isinstance(source, Module) else source
    unique = {id(value): value for value in values}
    for value in unique.values():
        if not isinstance(value, Value):
            raise NotANumberError(f"parameters are Values, got {value!r:.60}")
    return list(unique.values())


def _modules(module: Module) -> list[Module]:
    """The modules that a module holds itself."""
    return [part for _, part in _parts("", vars(module)) if isinstance(part, Module)]


def _parts(prefix: str, holder: object) -> Iterator[tuple[str, Module | Tree]]:
    """The modules and parameter trees in a dict, list or tuple, however deep, with their names."""
    items: Iterable[tuple[object, object]] = ()
    if isinstance(holder, dict):
        items = holder.items()
    elif isinstance(holder, (list, tuple)):
        items = enumerate(holder)
    for key, item in items:
        name = f"{prefix}{key}"
        part = item if isinstance(item, Module) else _tree(item)
        if part is not None:
            yield name, part
        else:
            yield from _parts(f"{name}.", item)


def _tree(item: object) -> Tree | None:
    """`item` as a tree if it is a parameter or a list of nothing but trees, else None."""
    if isinstance(item, Parameter):
        return item
    if not isinstance(item, (list, tuple)) or not item:
        return None
    trees: list[Tree] = []
    for child in item:
        tree = _tree(child)
        if tree is None:
            return None
        trees.append(tree)
    return trees


def _leaves(tree: Tree) -> list[Parameter]:
    """The parameters of a tree, in order."""
    return [tree] if isinstance(tree, Parameter) else [p for child in tree for p in _leaves(child)]


def _named(name: str, tree: Tree) -> Iterator[tuple[str, Parameter]]:
    """The parameters of a tree with their names, in order."""
    if isinstance(tree, Parameter):
        yield name, tree
    else:
        for index, child in enumerate(tree):
            yield from _named(f"{name}.{index}", child)


def _numbers(tree: Tree) -> State:
    """The numbers of a tree."""
    return tree.data if isinstance(tree, Parameter) else [_numbers(child) for child in tree]


def _matched(name: str, tree: Tree, state: Any) -> Iterator[tuple[Parameter, float]]:
    """Each parameter of a tree with its number in `state`, which must have the same shape."""
    if hasattr(state, "tolist"):
        state = state.tolist()
    size = len(state) if isinstance(state, (list, tuple)) else None
    if size is None and not isinstance(state, Real):
        raise NotANumberError(f"{name} in the state is {state!r}, which is no number")
    wanted = None if isinstance(tree, Parameter) else len(tree)
    if size != wanted:
        has, needs = ("one number" if n is None else f"a list of {n}" for n in (size, wanted))
        raise ShapeError(f"{name} is {needs} in this module but {has} in the state")
    if isinstance(tree, Parameter):
        yield tree, float(state)
    else:
        for index, (child, entry) in enumerate(zip(tree, state, strict=True)):
            yield from _matched(f"{name}.{index}", child, entry)


def _count(parameters: Sequence[object]) -> str:
    """How many there are, in words."""
    return f"{len(parameters)} parameter{'' if len(parameters) == 1 else 's'}"
