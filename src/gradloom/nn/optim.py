"""Optimisers: rules that turn gradients into better numbers, and the clipping of gradients.

A rule is a function of one number, its gradient and what is remembered of it. Written with nothing
but operations, it runs on floats, one parameter after another; on arrays, all at once; and on
symbols, to become part of a program (see `gradloom.loom.update`). Packed parameters (see `module`)
lend their arrays; for any other list of Values they are copied out and back. What a rule remembers
from step to step lies in arrays of the same length, which `state()` shows. The rules, their order
of operations and their defaults are PyTorch's, so that figures agree to rounding.
"""

import math
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeAlias

from gradloom.core.value import Value
from gradloom.errors import ArgumentError, DataError
from gradloom.nn.checks import number, whole
from gradloom.nn.module import Module, Numbers, Parameter, pack, packed, parameters_of

# From a number, its gradient and what is remembered of it to the new number, and what is
# remembered from now on.
Rule: TypeAlias = Callable[..., tuple[Any, ...]]


class Functions(NamedTuple):
    """What rules need beside operators."""

    sqrt: Callable[[Any], Any]
    max: Callable[[Any, Any], Any]


FLOATS = Functions(math.sqrt, max)


class Optimizer:
    """What all optimisers share: the parameters, the learning rate and the memory of past steps.

    An optimiser of your own is a subclass that names its arrays in `slots`, if any, and defines
    `rule`; or `update`, where what happens to a number depends on other numbers.

    >>> class HeavyBall(Optimizer):
    ...     slots = ("velocity",)
    ...
    ...     def rule(self, rates, of=None):
    ...         (lr,) = rates
    ...
    ...         def move(number, grad, velocity):
    ...             velocity = 0.5 * velocity + grad
    ...             return number - lr * velocity, velocity
    ...
    ...         return move
    >>> x = Value(3.0)
    >>> optimizer = HeavyBall([x], lr=0.25)
    >>> (x * x).backward()
    >>> optimizer.step()
    >>> x.data, optimizer.velocity[0]
    (1.5, 6.0)
    """

    slots: ClassVar[tuple[str, ...]] = ()

    def __init__(self, parameters: Module | Iterable[Value], lr: float) -> None:
        self.parameters = parameters_of(parameters)
        if not self.parameters:
            raise ArgumentError(f"{type(self).__name__}: there are no parameters to optimise")
        if any(p._op for p in self.parameters):
            raise ArgumentError(
                f"{type(self).__name__} optimises leaves, not results of operations"
            )
        self.lr = lr
        self.steps = 0
        for slot in self.slots:
            setattr(self, slot, array("d", bytes(8 * len(self.parameters))))
        ours = [p for p in self.parameters if isinstance(p, Parameter)]
        if len(ours) == len(self.parameters):
            pack(ours)

    @property
    def lr(self) -> float:
        """The learning rate; set it at any time."""
        return self._lr

    @lr.setter
    def lr(self, lr: float) -> None:
        self._lr = number(f"{type(self).__name__}: lr", lr)

    def step(self) -> None:
        """Change every parameter's number by the rule, according to its gradient."""
        self.steps += 1
        home = packed(self.parameters)
        if home:
            self.update(*home)
            return
        numbers = array("d", [p.data for p in self.parameters])
        self.update(numbers, array("d", [p.grad for p in self.parameters]))
        for p, x in zip(self.parameters, numbers, strict=True):
            p.data = x

    def update(self, numbers: Numbers, grads: Numbers) -> None:
        """Change `numbers`, and what is remembered, in place. `steps` counts this step already."""
        kept = [getattr(self, slot) for slot in self.slots]
        found = list(map(self.rule(self.rates()), numbers, grads, *kept))
        if len(found[0]) == 1:  # without a column for each number, which takes a while
            numbers[:] = array("d", [x for (x,) in found])
            return
        for old, new in zip([numbers, *kept], zip(*found, strict=True), strict=False):
            old[:] = array("d", new)

    def rates(self) -> tuple[float, ...]:
        """The numbers in the rule that change from step to step; `steps` counts this step."""
        return (self._lr,)

    def rule(self, rates: Sequence[Any], of: Any = FLOATS) -> Rule:
        """What happens to one parameter.

        Args:
            rates: what `rates()` gives, or symbols for that.
            of: has the functions `sqrt` and `max` (of two), for what the rule is run on.

        Returns:
            A function of a number, its gradient and what is remembered of it, in the order of
            `slots`. It returns the new number and what is remembered from now on, as far as that
            changes; of arithmetic it uses nothing but operators and these functions.
        """
        raise NotImplementedError(f"{type(self).__name__} defines neither rule() nor update()")

    def zero_grad(self) -> None:
        """Set every parameter's gradient to 0."""
        for p in self.parameters:
            p.grad = 0.0

    def state(self) -> dict[str, Any]:
        """All that it needs to go on exactly where it is: JSON-able, and restored by `load_state`.

        >>> from gradloom.nn import SGD, Parameter
        >>> SGD([Parameter(1.0)], lr=0.1, momentum=0.9).state()
        {'type': 'SGD', 'lr': 0.1, 'steps': 0, 'velocity': [0.0]}
        """
        return {
            "type": type(self).__name__,
            "lr": self.lr,
            "steps": self.steps,
            **{slot: list(getattr(self, slot)) for slot in self.slots},
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()`.

        Raises, before anything is changed, DataError if it is the state of another kind of
        optimiser or of another number of parameters, or something in it is no number, and
        ArgumentError for a learning rate or a number of steps out of range.
        """
        name = type(self).__name__
        fits = isinstance(state, Mapping) and set(state) == set(self.state())
        if not fits or state["type"] != name:
            raise DataError(f"this is not the state of an optimiser of kind {name}: {state!r:.60}")
        lr = number(f"{name}: lr", state["lr"])
        steps = whole(f"{name}: steps", state["steps"], least=0)
        arrays = {}
        for slot in self.slots:
            try:
                arrays[slot] = array("d", state[slot])
            except TypeError:
                raise DataError(f"{name}: {slot} in the state is no list of numbers") from None
            if len(arrays[slot]) != len(self.parameters):
                raise DataError(
                    f"{name}: {slot} in the state has {len(arrays[slot])} numbers "
                    f"for {len(self.parameters)} parameters"
                )
        self.lr, self.steps = lr, steps
        vars(self).update(arrays)

    def __repr__(self) -> str:
        hidden = {"parameters", "steps", "_lr", *self.slots}
        options = {"lr": self.lr, **{k: v for k, v in vars(self).items() if k not in hidden}}
        told = ", ".join(f"{key}={value!r}" for key, value in options.items())
        return f"{type(self).__name__}({told})"


class SGD(Optimizer):
    """Stochastic gradient descent: number ← number - lr · gradient.

    Args:
        parameters: a module, or any Values that are leaves.
        lr: the learning rate.
        momentum: the share of the last velocity that is kept; 0 means no velocity at all.
        dampening: the share of each gradient after the first that is kept out of the velocity.
        nesterov: look ahead along the velocity; needs momentum, and no dampening.
        weight_decay: added to the gradient, times the number: the gradient of
            `l2(parameters, weight_decay / 2)`.

    Raises ArgumentError for a value out of its range. Sutskever et al. 2013, "On the importance
    of initialization and momentum in deep learning", in the form of `torch.optim.SGD`.

    >>> x = Value(3.0)
    >>> optimizer = SGD([x], lr=0.1)
    >>> (x * x).backward()
    >>> optimizer.step()
    >>> round(x.data, 12)
    2.4
    """

    slots: ClassVar = ("velocity",)
    velocity: Numbers

    def __init__(
        self,
        parameters: Module | Iterable[Value],
        lr: float = 1e-3,
        *,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        self.momentum = number("SGD: momentum", momentum)
        self.dampening = number("SGD: dampening", dampening)
        self.weight_decay = number("SGD: weight_decay", weight_decay)
        self.nesterov = nesterov
        if nesterov and (not momentum or dampening):
            raise ArgumentError("SGD: nesterov needs a momentum above 0 and a dampening of 0")
        super().__init__(parameters, lr)

    def rates(self) -> tuple[float, ...]:
        """The learning rate, and the share of the gradient that goes into the velocity."""
        return self._lr, 1.0 if self.steps == 1 else 1.0 - self.dampening

    def rule(self, rates: Sequence[Any], of: Any = FLOATS) -> Rule:  # noqa: ARG002 - no roots here
        """Gradient descent, with momentum if any."""
        lr, share = rates
        momentum, decay, nesterov = self.momentum, self.weight_decay, self.nesterov

        def plain(x: Any, grad: Any, _: Any) -> tuple[Any, ...]:
            return (x - lr * grad,)

        def with_decay(x: Any, grad: Any, _: Any) -> tuple[Any, ...]:
            return (x - lr * (grad + decay * x),)

        def with_momentum(x: Any, grad: Any, velocity: Any) -> tuple[Any, ...]:
            change = grad + decay * x if decay else grad
            velocity = momentum * velocity + share * change
            change = change + momentum * velocity if nesterov else velocity
            return x - lr * change, velocity

        return with_momentum if momentum else with_decay if decay else plain


class RMSprop(Optimizer):
    """Gradient descent with each gradient divided by the root of its recent mean square.

    Args:
        parameters: a module, or any Values that are leaves.
        lr: the learning rate.
        alpha: the share of the old mean square that is kept at each step.
        eps: added to the root, so that nothing is divided by 0.
        weight_decay: added to the gradient, times the number.
        momentum: the share of the last velocity that is kept; 0 means no velocity at all.
        centered: divide by the standard deviation: the mean square less the square of the mean.

    Raises ArgumentError for a value out of its range. Tieleman & Hinton 2012, "Neural networks
    for machine learning", lecture 6.5; centred as in Graves 2013, "Generating sequences with
    recurrent neural networks", equations 38 to 45; in the form of `torch.optim.RMSprop`, except
    that a variance that rounding has made negative counts as 0.

    >>> x = Value(3.0)
    >>> optimizer = RMSprop([x], lr=0.1)
    >>> (x * x).backward()
    >>> optimizer.step()
    >>> round(x.data, 6)
    2.0
    """

    slots: ClassVar = ("mean_square", "mean", "velocity")
    mean_square: Numbers
    mean: Numbers
    velocity: Numbers

    def __init__(
        self,
        parameters: Module | Iterable[Value],
        lr: float = 1e-2,
        *,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        self.alpha = number("RMSprop: alpha", alpha, high=1)
        self.eps = number("RMSprop: eps", eps, zero=False)
        self.weight_decay = number("RMSprop: weight_decay", weight_decay)
        self.momentum = number("RMSprop: momentum", momentum)
        self.centered = centered
        super().__init__(parameters, lr)

    def rule(self, rates: Sequence[Any], of: Any = FLOATS) -> Rule:
        """A step by the gradient over its recent size."""
        (lr,) = rates
        alpha, rest, eps = self.alpha, 1 - self.alpha, self.eps
        momentum, decay, centered = self.momentum, self.weight_decay, self.centered

        def step(x: Any, grad: Any, square: Any, mean: Any, velocity: Any) -> tuple[Any, ...]:
            g = grad + decay * x if decay else grad
            variance = square = alpha * square + rest * g * g
            if centered:
                mean = alpha * mean + rest * g
                variance = of.max(square - mean * mean, 0.0)
            change = g / (of.sqrt(variance) + eps)
            if momentum:
                velocity = momentum * velocity + change
                return x - lr * velocity, square, mean, velocity
            return x - lr * change, square, mean

        return step


class Adam(Optimizer):
    """Adam: running means of the gradient and of its square, freed of their bias towards 0.

    Args:
        parameters: a module, or any Values that are leaves.
        lr: the learning rate; no number moves by much more than this in a step.
        betas: the shares of the old mean and of the old mean square that are kept.
        eps: added to the root, so that nothing is divided by 0.
        weight_decay: added to the gradient, times the number.

    Raises ArgumentError for a value out of its range. Kingma & Ba 2015, "Adam: a method for
    stochastic optimization", algorithm 1, in the form of `torch.optim.Adam`.

    >>> x = Value(3.0)
    >>> optimizer = Adam([x], lr=0.1)
    >>> (x * x).backward()
    >>> optimizer.step()
    >>> round(x.data, 6)
    2.9
    """

    slots: ClassVar = ("mean", "mean_square")
    mean: Numbers
    mean_square: Numbers
    _decoupled: ClassVar = False

    def __init__(
        self,
        parameters: Module | Iterable[Value],
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        name = type(self).__name__
        if not isinstance(betas, (list, tuple)) or len(betas) != 2:
            raise ArgumentError(f"{name}: betas is a pair such as (0.9, 0.999), got {betas!r}")
        self.betas = tuple(number(f"{name}: betas[{i}]", b, high=1) for i, b in enumerate(betas))
        self.eps = number(f"{name}: eps", eps, zero=False)
        self.weight_decay = number(f"{name}: weight_decay", weight_decay)
        super().__init__(parameters, lr)

    def rates(self) -> tuple[float, ...]:
        """The learning rate over the bias of the mean, the inverse root of that of the mean square,
        and the share of the number that decay leaves."""
        (beta1, beta2), lr, steps = self.betas, self._lr, self.steps
        keep = 1 - lr * self.weight_decay
        return lr / (1 - beta1**steps), 1 / math.sqrt(1 - beta2**steps), keep

    def rule(self, rates: Sequence[Any], of: Any = FLOATS) -> Rule:
        """A step by the unbiased mean over the root of the unbiased mean square."""
        lr, unbias, keep = rates
        (beta1, beta2), eps, decay = self.betas, self.eps, self.weight_decay
        rest1, rest2 = 1 - beta1, 1 - beta2
        sqrt = of.sqrt
        added, decoupled = decay and not self._decoupled, decay and self._decoupled

        def step(x: Any, grad: Any, mean: Any, square: Any) -> tuple[Any, ...]:
            g = grad + decay * x if added else grad
            mean = beta1 * mean + rest1 * g
            square = beta2 * square + rest2 * g * g
            change = lr * mean / (sqrt(square) * unbias + eps)
            return (keep * x if decoupled else x) - change, mean, square

        return step


class AdamW(Adam):
    """Adam whose weight decay shrinks the numbers themselves: number ← (1 - lr · decay) · number.

    Takes and raises what `Adam` does, with another default decay. Loshchilov & Hutter 2019,
    "Decoupled weight decay regularization", algorithm 2, in the form of `torch.optim.AdamW`.

    >>> x = Value(2.0)
    >>> optimizer = AdamW([x], lr=0.1, weight_decay=0.5)
    >>> optimizer.step()
    >>> x.data
    1.9
    """

    _decoupled: ClassVar = True

    def __init__(
        self,
        parameters: Module | Iterable[Value],
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(parameters, lr, betas=betas, eps=eps, weight_decay=weight_decay)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": SGD,
    "rmsprop": RMSprop,
    "adam": Adam,
    "adamw": AdamW,
}


def clip_grad_value(parameters: Module | Iterable[Value], limit: float) -> None:
    """Move every gradient into [-limit, limit], as `torch.nn.utils.clip_grad_value_` does.

    Raises ArgumentError unless the limit is a number above 0. NaN stays NaN.

    >>> x = Value(3.0)
    >>> (x * x).backward()
    >>> clip_grad_value([x], 1.0)
    >>> x.grad
    1.0
    """
    limit = number("clip_grad_value: limit", limit, zero=False)
    for p in parameters_of(parameters):
        p.grad = min(max(p.grad, -limit), limit)


def clip_grad_norm(parameters: Module | Iterable[Value], limit: float) -> float:
    """Scale all gradients alike so that their norm is at most `limit`; returns the norm before.

    An infinite limit only measures. Raises ArgumentError unless the limit is a number above 0.
    Pascanu et al. 2013, "On the difficulty of training recurrent neural networks", algorithm 1,
    in the form of `torch.nn.utils.clip_grad_norm_`: the factor is limit / (norm + 1e-6) if that
    is below 1. NaN in one gradient, or an infinite norm, shows in all of them.

    >>> x = Value(3.0)
    >>> (x * x).backward()
    >>> clip_grad_norm([x], 1.0)
    6.0
    >>> round(x.grad, 5)
    1.0
    """
    if limit != math.inf:
        limit = number("clip_grad_norm: limit", limit, zero=False)
    values = parameters_of(parameters)
    norm = math.hypot(*[p.grad for p in values])
    if not norm + 1e-6 <= limit:  # NaN is neither above nor below
        for p in values:
            p.grad *= limit / (norm + 1e-6)
    return norm
