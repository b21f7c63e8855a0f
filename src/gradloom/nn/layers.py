"""Neurons, layers and the multi-layer perceptron: `activation(w·x + b)`, over and over.

A neuron weighs its inputs, adds a bias and bends the sum; a layer is neurons side by side on the
same inputs; a multi-layer perceptron is layers one after another.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, TypeAlias

from gradloom.core import ops
from gradloom.core.table import Scalar
from gradloom.core.value import Value
from gradloom.errors import ArgumentError, DataError, ShapeError
from gradloom.nn.checks import choose, whole
from gradloom.nn.module import Module, Parameter

Activation: TypeAlias = Callable[[Value], Value]
Init: TypeAlias = Callable[[], float]


def linear(x: Value) -> Value:
    """`x` itself: the activation that does nothing.

    >>> linear(Value(-3.0)).data
    -3.0
    """
    return x


ACTIVATIONS: dict[str, Activation] = {
    "linear": linear,
    "relu": ops.relu,
    "tanh": ops.tanh,
    "sigmoid": ops.sigmoid,
    "gelu": ops.gelu,
    "silu": ops.silu,
    "elu": ops.elu,
    "leaky_relu": ops.leaky_relu,
    "softplus": ops.softplus,
    "sin": ops.sin,
}

# Those that keep about half of a centred input, for which He et al. derived their scale.
_RECTIFIERS = ("relu", "leaky_relu", "elu", "gelu", "silu")

# How one weight is drawn, from a random generator, the number of inputs and that of outputs.
# Each but the first keeps the size of signals about the same from layer to layer.
INITS: dict[str, Callable[[random.Random, int, int], float]] = {
    "uniform": lambda rng, _nin, _nout: rng.uniform(-1, 1),
    # Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural
    # networks", equation 16, and the normal distribution of the same variance.
    "xavier_uniform": lambda rng, nin, nout: rng.uniform(-1, 1) * math.sqrt(6 / (nin + nout)),
    "xavier_normal": lambda rng, nin, nout: rng.gauss(0, math.sqrt(2 / (nin + nout))),
    # He et al. 2015, "Delving deep into rectifiers", equation 10, and likewise.
    "he_uniform": lambda rng, nin, _nout: rng.uniform(-1, 1) * math.sqrt(6 / nin),
    "he_normal": lambda rng, nin, _nout: rng.gauss(0, math.sqrt(2 / nin)),
}


class Neuron(Module):
    """`activation(w·x + b)`: weighs `nin` inputs, adds a bias and bends the sum.

    Args:
        nin: how many inputs it takes.
        activation: a name in `ACTIVATIONS`, or a function of one Value.
        init: how weights and bias are drawn: a name in `INITS`, "auto" ("he_uniform" for relu and
            its kin, "xavier_uniform" for all others), or a function that returns the next number.
        seed: an int for the same numbers each time, or a `random.Random` to draw from; without
            one, Python's global generator is asked for a seed.

    Raises ArgumentError for a size below 1 or an unknown name, and ShapeError when called with
    another number of inputs than `nin`.

    >>> neuron = Neuron(2, "relu")
    >>> neuron.load_state({"w": [1.0, 2.0], "b": 0.5})
    >>> neuron([3.0, -1.0]).data
    1.5
    """

    _arguments: ClassVar = ("nin", "activation")
    nout: ClassVar = 1

    def __init__(
        self,
        nin: int,
        activation: str | Activation = "tanh",
        *,
        init: str | Init = "uniform",
        seed: int | random.Random | None = None,
    ) -> None:
        self.nin = whole("Neuron: nin", nin)
        self.activation = activation
        self._activate = _activation(activation)
        draw = _draw(init, activation, self.nin, 1, seed)
        self.w = [Parameter(draw(), label=f"w{i}") for i in range(self.nin)]
        self.b = Parameter(draw(), label="b")

    def __call__(self, x: Sequence[Scalar]) -> Value:
        """The one output for `nin` inputs."""
        _check(self, x)
        return self._activate(ops.dot(self.w, x) + self.b)

    def __repr__(self) -> str:
        return f"Neuron({self.nin}, {self.activation!r})"


class Layer(Module):
    """`nout` neurons side by side, each on the same `nin` inputs.

    Args:
        nin: how many inputs it takes.
        nout: how many neurons, that is outputs, it has.
        activation, init, seed: as for `Neuron`, but `init` is "auto" unless told otherwise.

    Called with `nin` numbers, it returns the list of its outputs, or the bare Value if it has
    but one. Raises what `Neuron` raises.

    >>> layer = Layer(2, 3, seed=1)
    >>> len(layer([1.0, 2.0]))
    3
    >>> layer([1.0, 2.0, 3.0])
    Traceback (most recent call last):
    gradloom.errors.ShapeError: Layer 2→3 takes 2 inputs, got 3
    """

    _arguments: ClassVar = ("nin", "nout", "activation")

    def __init__(
        self,
        nin: int,
        nout: int,
        activation: str | Activation = "tanh",
        *,
        init: str | Init = "auto",
        seed: int | random.Random | None = None,
    ) -> None:
        self.nin = whole("Layer: nin", nin)
        self.nout = whole("Layer: nout", nout)
        self.activation = activation
        draw = _draw(init, activation, self.nin, self.nout, seed)
        self.neurons = [Neuron(self.nin, activation, init=draw) for _ in range(self.nout)]

    def __call__(self, x: Sequence[Scalar]) -> Value | list[Value]:
        """The outputs for `nin` inputs, bare if it is one."""
        _check(self, x)
        return _bare(self.outputs(x))

    def outputs(self, x: Sequence[Scalar]) -> list[Value]:
        """The outputs for `nin` inputs, as a list even if it is one."""
        return [neuron(x) for neuron in self.neurons]

    def __repr__(self) -> str:
        return f"Layer({self.nin}, {self.nout}, {self.activation!r})"


class MLP(Module):
    """A multi-layer perceptron: `nin` inputs, then a layer of each size in `nouts`.

    Args:
        nin: how many inputs it takes.
        nouts: the sizes of its layers; the last is the number of outputs.
        activation: of the hidden layers, as for `Neuron`.
        output_activation: of the last layer; "linear" leaves logits or plain numbers.
        init, seed: as for `Layer`.

    Called with `nin` numbers, it returns the list of its outputs, or the bare Value if it has
    but one. Raises what `Neuron` raises.

    >>> MLP(2, [16, 1], "relu")
    MLP: 65 parameters
      layers.0: Layer(2, 16, 'relu')
      layers.1: Layer(16, 1, 'linear')
    """

    _arguments: ClassVar = ("nin", "nouts", "activation", "output_activation")

    def __init__(
        self,
        nin: int,
        nouts: Sequence[int],
        activation: str | Activation = "tanh",
        output_activation: str | Activation = "linear",
        *,
        init: str | Init = "auto",
        seed: int | random.Random | None = None,
    ) -> None:
        if not isinstance(nouts, (list, tuple)) or not nouts:
            raise ArgumentError(f"MLP: nouts is a list of sizes such as [16, 1], got {nouts!r}")
        self.nin = whole("MLP: nin", nin)
        self.nouts = [whole(f"MLP: nouts[{i}]", nout) for i, nout in enumerate(nouts)]
        self.activation = activation
        self.output_activation = output_activation
        rng = _generator(seed)
        activations = [activation] * (len(nouts) - 1) + [output_activation]
        sizes = zip([self.nin, *self.nouts], self.nouts, activations, strict=False)
        self.layers = [Layer(*size, init=init, seed=rng) for size in sizes]
        self.pack()

    def __call__(self, x: Sequence[Scalar]) -> Value | list[Value]:
        """The outputs for `nin` inputs, bare if it is one."""
        for index, layer in enumerate(self.layers):
            _check(layer, x, f"layers.{index}")
            x = layer.outputs(x)
        return _bare(x)


def from_config(config: Mapping[str, Any]) -> Module:
    """The network that a `config()` describes, with fresh random numbers.

    Raises DataError if it is no dict with a type and the arguments of that type, no more and no
    less, and ArgumentError for another type than Neuron, Layer and MLP or a value out of range.

    >>> from_config({"type": "Layer", "nin": 2, "nout": 3, "activation": "relu"})
    Layer(2, 3, 'relu')
    """
    kinds: dict[str, type[Module]] = {kind.__name__: kind for kind in (Neuron, Layer, MLP)}
    if not isinstance(config, Mapping) or not isinstance(config.get("type"), str):
        raise DataError(f"a network's config is a dict with a type, got {config!r:.60}")
    kind = choose("network", config["type"], kinds)
    arguments = {key: value for key, value in config.items() if key != "type"}
    if arguments.keys() != set(kind._arguments):
        raise DataError(
            f"the config of a {kind.__name__} has {', '.join(kind._arguments)}, "
            f"got {', '.join(map(str, arguments)) or 'nothing'}"
        )
    return kind(**arguments)


def _activation(activation: str | Activation) -> Activation:
    """The function of that name, or the function itself."""
    return activation if callable(activation) else choose("activation", activation, ACTIVATIONS)


def _generator(seed: int | random.Random | None) -> random.Random:
    """`seed` itself if it is a generator, else one that it (or the global one) seeds."""
    if isinstance(seed, random.Random):
        return seed
    return random.Random(random.getrandbits(64) if seed is None else whole("seed", seed, least=0))


def _draw(
    init: str | Init,
    activation: str | Activation,
    nin: int,
    nout: int,
    seed: int | random.Random | None,
) -> Init:
    """A function that returns the next random weight of a layer."""
    if callable(init):
        return init
    if init == "auto":
        init = "he_uniform" if activation in _RECTIFIERS else "xavier_uniform"
    return partial(choose("init", init, INITS), _generator(seed), nin, nout)


def _check(module: Neuron | Layer, x: Sequence[Scalar], path: str = "") -> None:
    """Raise an error that names the module (at `path` of another) unless `x` has its size."""
    size = len(x) if hasattr(x, "__len__") else None
    if size != module.nin:
        name = f"{type(module).__name__} {module.nin}→{module.nout}"
        if path:
            name = f"{path} ({name})"
        got = "a bare number" if size is None else size
        raise ShapeError(f"{name} takes {module.nin} input{'s'[: module.nin > 1]}, got {got}")


def _bare(outputs: Sequence[Value]) -> Value | list[Value]:
    """The one output, or the list of several."""
    return outputs[0] if len(outputs) == 1 else list(outputs)
