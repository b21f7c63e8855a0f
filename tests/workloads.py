"""Programs of scalars as a learner writes them: loops over single numbers, nothing vectorised.

The tests hold how few array instructions each becomes, and `benchmarks/native.py` times them.
A builder gives a `Workload` with seeded numbers. `number` makes the parameters (values, another
engine's scalars) and `fn` has the functions (`exp`, `log`, `relu`, ...), so that every engine can
run the very same loops.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import gradloom as gl

Vector = list[Any]
Matrix = list[list[Any]]
Number = Callable[[float], Any]


@dataclass(frozen=True)
class Workload:
    """A function, where to run it, and what it learns.

    Attributes:
        function: of numbers and nested lists of numbers; returns a number, or for
            `distance_matrix` rows of numbers.
        arguments: the numbers to run it on.
        parameters: what `number` made, in a fixed order; the function reads them from outside.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    parameters: list[Any] = field(default_factory=list)


def _numbers(rng: random.Random, *shape: int, scale: float = 1.0) -> Any:
    """Normally distributed floats in nested lists of this shape."""
    if not shape:
        return rng.gauss(0.0, scale)
    return [_numbers(rng, *shape[1:], scale=scale) for _ in range(shape[0])]


def _made(nested: Any, number: Number) -> Any:
    """The same lists with `number(x)` for each float."""
    return [_made(x, number) for x in nested] if isinstance(nested, list) else number(nested)


def _flat(nested: Any) -> Iterator[Any]:
    if isinstance(nested, (list, dict)):
        for x in nested.values() if isinstance(nested, dict) else nested:
            yield from _flat(x)
    else:
        yield nested


class Neuron:
    """micrograd's."""

    def __init__(self, nin: int, number: Number, rng: random.Random, nonlin: bool) -> None:
        self.w = [number(rng.uniform(-1, 1)) for _ in range(nin)]
        self.b = number(0.0)
        self.nonlin = nonlin

    def __call__(self, x: Vector, fn: Any) -> Any:
        act = sum((wi * xi for wi, xi in zip(self.w, x, strict=True)), self.b)
        return fn.relu(act) if self.nonlin else act


def moons(samples: int = 100, *, number: Number = gl.Value, fn: Any = gl) -> Workload:
    """micrograd's demo: MLP 2-16-16-1, max-margin loss and L2; 100 samples are 66,000 nodes."""
    rng = random.Random(0)
    sizes = [2, 16, 16, 1]
    layers = [
        [Neuron(nin, number, rng, nonlin=i < 2) for _ in range(nout)]
        for i, (nin, nout) in enumerate(pairwise(sizes))
    ]
    parameters = [p for layer in layers for neuron in layer for p in [*neuron.w, neuron.b]]

    def model(x: Vector) -> Any:
        for layer in layers:
            x = [neuron(x, fn) for neuron in layer]
        return x[0]

    def loss(xs: Matrix, ys: Vector) -> Any:
        scores = [model(x) for x in xs]
        losses = [fn.relu(1 + -y * score) for y, score in zip(ys, scores, strict=True)]
        data_loss = sum(losses) * (1.0 / len(losses))
        return data_loss + 1e-4 * sum(p * p for p in parameters)

    xs, ys = [], []
    for i in range(samples):
        angle, side = rng.uniform(0, math.pi), (-1.0) ** i
        center = 0.5 - 0.5 * side, 0.25 - 0.25 * side
        xs.append(
            [
                center[0] + side * math.cos(angle) + rng.gauss(0, 0.1),
                center[1] + side * math.sin(angle) + rng.gauss(0, 0.1) - 0.25,
            ]
        )
        ys.append(side)
    return Workload(loss, (xs, ys), parameters)


def linear(x: Vector, w: Matrix) -> Vector:
    """The product of a matrix with a vector."""
    return [sum(wi * xi for wi, xi in zip(row, x, strict=True)) for row in w]


def rms_norm(x: Vector) -> Vector:
    """The vector over the root of its mean square (Zhang and Sennrich, 2019)."""
    mean_square = sum(xi * xi for xi in x) / len(x)
    scale = (mean_square + 1e-5) ** -0.5
    return [xi * scale for xi in x]


VOCABULARY, WIDTH, HEADS, TOKENS = 27, 16, 4, 8


def gpt_text() -> list[int]:
    """The tokens that `gpt` reads; each but the first is also to be predicted."""
    return random.Random(1).choices(range(VOCABULARY), k=TOKENS + 1)


def gpt(*, number: Number = gl.Value, fn: Any = gl) -> Workload:
    """One layer of a character GPT: 4,064 parameters, 8 tokens in, the mean cross entropy out."""
    return _gpt(number, fn, gpt_text())


def gpt_of_text(*, number: Number = gl.Value, fn: Any = gl) -> Workload:
    """The same with the text as its argument, looked up by `take`: for many texts with `vmap`."""
    return _gpt(number, fn, None)


def _gpt(number: Number, fn: Any, known: list[int] | None) -> Workload:
    rng = random.Random(0)
    shapes = {
        "token": (VOCABULARY, WIDTH),
        "position": (TOKENS, WIDTH),
        "query": (WIDTH, WIDTH),
        "key": (WIDTH, WIDTH),
        "value": (WIDTH, WIDTH),
        "project": (WIDTH, WIDTH),
        "up": (4 * WIDTH, WIDTH),
        "down": (WIDTH, 4 * WIDTH),
        "head": (VOCABULARY, WIDTH),
    }
    w = {name: _made(_numbers(rng, *shape, scale=0.2), number) for name, shape in shapes.items()}
    size = WIDTH // HEADS
    look_up = list.__getitem__ if known else fn.take

    def attend(query: Vector, keys: Matrix, values: Matrix) -> Vector:
        out = []
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            scores = [
                sum(q * k for q, k in zip(query[part], key[part], strict=True)) / size**0.5
                for key in keys
            ]
            weights = fn.softmax(scores)
            for j in range(head * size, (head + 1) * size):
                out.append(sum(weight * v[j] for weight, v in zip(weights, values, strict=True)))
        return out

    def loss(text: Any) -> Any:
        keys: Matrix = []
        values: Matrix = []
        losses = []
        for position, (token, target) in enumerate(pairwise(text)):
            row = look_up(w["token"], token)
            x = [t + p for t, p in zip(row, w["position"][position], strict=True)]
            normed = rms_norm(x)
            keys.append(linear(normed, w["key"]))
            values.append(linear(normed, w["value"]))
            mixed = attend(linear(normed, w["query"]), keys, values)
            x = [a + b for a, b in zip(linear(mixed, w["project"]), x, strict=True)]
            hidden = [fn.relu(h) for h in linear(rms_norm(x), w["up"])]
            x = [a + b for a, b in zip(linear(hidden, w["down"]), x, strict=True)]
            logits = linear(x, w["head"])
            losses.append(fn.logsumexp(logits) - look_up(logits, target))
        return sum(losses) / len(losses)

    if known:
        return Workload(lambda: loss(known), (), list(_flat(w)))
    return Workload(loss, (gpt_text(),), list(_flat(w)))


def lstm(
    units: int = 8,
    layers: int = 2,
    steps: int = 20,
    *,
    number: Number = gl.Value,
    fn: Any = gl,
) -> Workload:
    """A stack of LSTM cells (Hochreiter and Schmidhuber, 1997) over a sequence."""
    rng = random.Random(0)
    # For each layer four gates, for each unit: weights of input and state, then the bias.
    w = _made(_numbers(rng, layers, 4, units, 2 * units + 1, scale=0.3), number)

    def cell(gates: list[Matrix], x: Vector, h: Vector, c: Vector) -> tuple[Vector, Vector]:
        pre = [
            [sum((wi * vi for wi, vi in zip(row, [*x, *h], strict=False)), row[-1]) for row in gate]
            for gate in gates
        ]
        forget, enter, leave = ([fn.sigmoid(z) for z in gate] for gate in pre[:3])
        new = [fn.tanh(z) for z in pre[3]]
        c = [f * ci + i * n for f, ci, i, n in zip(forget, c, enter, new, strict=True)]
        return [o * fn.tanh(ci) for o, ci in zip(leave, c, strict=True)], c

    def loss(sequence: Matrix) -> Any:
        h = [[0.0] * units for _ in range(layers)]
        c = [[0.0] * units for _ in range(layers)]
        for x in sequence:
            for layer in range(layers):
                h[layer], c[layer] = cell(w[layer], x, h[layer], c[layer])
                x = h[layer]
        return sum(y * y for y in h[-1])

    return Workload(loss, (_numbers(rng, steps, units),), list(_flat(w)))


def runge_kutta(
    starts: int = 20, steps: int = 25, *, number: Number = gl.Value, fn: Any = gl
) -> Workload:
    """Predator and prey by the classic Runge-Kutta rule, from several starts; the distance."""
    del fn  # arithmetic alone
    alpha, beta, gamma, delta = parameters = [number(x) for x in (1.1, 0.4, 0.4, 0.1)]

    def slope(x: Any, y: Any) -> tuple[Any, Any]:
        return alpha * x - beta * x * y, delta * x * y - gamma * y

    def step(x: Any, y: Any, dt: float) -> tuple[Any, Any]:
        k1, l1 = slope(x, y)
        k2, l2 = slope(x + dt / 2 * k1, y + dt / 2 * l1)
        k3, l3 = slope(x + dt / 2 * k2, y + dt / 2 * l2)
        k4, l4 = slope(x + dt * k3, y + dt * l3)
        return x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4), y + dt / 6 * (l1 + 2 * l2 + 2 * l3 + l4)

    def loss(states: Matrix, targets: Matrix) -> Any:
        total = 0.0
        for (x, y), (x_target, y_target) in zip(states, targets, strict=True):
            for _ in range(steps):
                x, y = step(x, y, 0.1)
            total += (x - x_target) ** 2 + (y - y_target) ** 2
        return total / len(states)

    rng = random.Random(0)
    states = [[rng.uniform(5, 15), rng.uniform(2, 8)] for _ in range(starts)]
    targets = [[rng.uniform(2, 10), rng.uniform(2, 10)] for _ in range(starts)]
    return Workload(loss, (states, targets), parameters)


def mixture(
    points: int = 200,
    components: int = 5,
    dimensions: int = 3,
    *,
    number: Number = gl.Value,
    fn: Any = gl,
) -> Workload:
    """The log-likelihood of points under a mixture of Gaussians, each with its own axes' widths."""
    rng = random.Random(0)
    logits = _made(_numbers(rng, components), number)
    means = _made(_numbers(rng, components, dimensions), number)
    log_widths = _made(_numbers(rng, components, dimensions, scale=0.3), number)

    def log_density(x: Vector, mean: Vector, log_width: Vector) -> Any:
        distance = sum(
            ((xi - m) * fn.exp(-s)) ** 2 for xi, m, s in zip(x, mean, log_width, strict=True)
        )
        return -0.5 * distance - sum(log_width) - 0.5 * len(x) * math.log(2 * math.pi)

    def log_likelihood(xs: Matrix) -> Any:
        total = 0.0
        for x in xs:
            total += fn.logsumexp(
                [
                    logit + log_density(x, mean, log_width)
                    for logit, mean, log_width in zip(logits, means, log_widths, strict=True)
                ]
            )
        return total - len(xs) * fn.logsumexp(logits)

    xs = _numbers(rng, points, dimensions)
    return Workload(log_likelihood, (xs,), [*logits, *_flat(means), *_flat(log_widths)])


def gmm_point(
    points: int = 1_000,
    components: int = 25,
    dimensions: int = 10,
    *,
    number: Number = gl.Value,
    fn: Any = gl,
) -> Workload:
    """What one of so many points adds to the objective of ADBench's Gaussian mixture.

    The sum over all points is the log-likelihood with the Wishart prior (gamma 1, m 0); each
    point brings its share of what is there once. A component has the logs of the diagonal of its
    inverse covariance's factor, then what lies below it, column by column.
    """
    rng = random.Random(0)
    alphas = _made(_numbers(rng, components), number)
    means = _made(_numbers(rng, components, dimensions, scale=0.5), number)
    size = dimensions * (dimensions + 1) // 2
    factors = _made(_numbers(rng, components, size, scale=0.3), number)

    def log_density(x: Vector, alpha: Any, mean: Vector, factor: Vector) -> Any:
        away = [xi - m for xi, m in zip(x, mean, strict=True)]
        scaled = [fn.exp(log) * a for log, a in zip(factor, away, strict=False)]
        below = iter(factor[dimensions:])
        for i in range(dimensions):
            for j in range(i + 1, dimensions):
                scaled[j] += next(below) * away[i]
        return alpha + sum(factor[:dimensions]) - 0.5 * sum(s * s for s in scaled)

    def prior(factor: Vector) -> Any:
        diagonal = [fn.exp(log) for log in factor[:dimensions]]
        return 0.5 * sum(f * f for f in diagonal + factor[dimensions:])

    def share(x: Vector) -> Any:
        mine = [log_density(x, *one) for one in zip(alphas, means, factors, strict=True)]
        common = sum(prior(factor) for factor in factors) + gmm_constant(
            points, components, dimensions
        )
        return fn.logsumexp(mine) - fn.logsumexp(alphas) + common / points

    x = _numbers(rng, dimensions)
    return Workload(share, (x,), [*alphas, *_flat(means), *_flat(factors)])


def gmm_constant(points: int, components: int, dimensions: int) -> float:
    """What in the mixture's objective depends on no parameter."""
    n = dimensions + 1
    log_gamma = 0.25 * dimensions * (dimensions - 1) * math.log(math.pi) + sum(
        math.lgamma(0.5 * (n - j)) for j in range(dimensions)
    )
    prior = -0.5 * n * dimensions * math.log(2) - log_gamma
    return -0.5 * points * dimensions * math.log(2 * math.pi) - components * prior


def diagonal_lstm(
    layers: int = 2,
    characters: int = 1_024,
    bits: int = 14,
    *,
    number: Number = gl.Value,
    fn: Any = gl,
) -> Workload:
    """ADBench's LSTM, whose gates look at one unit each: predict each character of a text.

    Its parameters: for each layer the weights, then the biases of the gates (forget, enter, leave,
    change); then weights of the input, weights and bias of the output. A character is its bits.
    """
    rng = random.Random(0)
    cells = _made(_numbers(rng, layers, 2, 4, bits, scale=0.5), number)
    ends = enter, leave, bias = _made(_numbers(rng, 3, bits, scale=0.5), number)

    def gate(bend: Any, x: Vector, weight: Vector, bias: Vector) -> Vector:
        return [bend(xi * w + b) for xi, w, b in zip(x, weight, bias, strict=True)]

    def cell(layer: list[Matrix], x: Vector, h: Vector, c: Vector) -> tuple[Vector, Vector]:
        weights, biases = layer
        sources, bends = (x, h, x, h), (fn.sigmoid, fn.sigmoid, fn.sigmoid, fn.tanh)
        forget, enter, leave, change = map(gate, bends, sources, weights, biases)
        c = [ci * f + e * n for ci, f, e, n in zip(c, forget, enter, change, strict=True)]
        return [o * fn.tanh(ci) for o, ci in zip(leave, c, strict=True)], c

    def loss(state: Matrix, text: Matrix) -> Any:
        hidden, cells_now = list(state[::2]), list(state[1::2])
        total: Any = 0.0
        for now, following in pairwise(text):
            x = [a * w for a, w in zip(now, enter, strict=True)]
            for k, layer in enumerate(cells):
                hidden[k], cells_now[k] = cell(layer, x, hidden[k], cells_now[k])
                x = hidden[k]
            y = [a * w + b for a, w, b in zip(x, leave, bias, strict=True)]
            norm = fn.log(sum(fn.exp(yi) for yi in y) + 2.0)  # ADBench's: the 2 is there too
            total += sum(g * (yi - norm) for g, yi in zip(following, y, strict=True))
        return -total / (bits * (len(text) - 1))

    state = _numbers(rng, 2 * layers, bits)
    text = [[float(rng.random() < 0.5) for _ in range(bits)] for _ in range(characters)]
    return Workload(loss, (state, text), [*_flat(cells), *_flat(ends)])


def black_scholes(options: int = 100, *, number: Number = gl.Value, fn: Any = gl) -> Workload:
    """What a book of European calls is worth (Black and Scholes, 1973)."""
    spot, rate, volatility = parameters = [number(x) for x in (100.0, 0.03, 0.2)]

    def normal_cdf(x: Any) -> Any:
        return 0.5 * (1.0 + fn.erf(x / math.sqrt(2.0)))

    def call(strike: Any, years: Any) -> Any:
        spread = volatility * fn.sqrt(years)
        d1 = (fn.log(spot / strike) + (rate + volatility**2 / 2) * years) / spread
        discount = fn.exp(-rate * years)
        return spot * normal_cdf(d1) - strike * discount * normal_cdf(d1 - spread)

    def worth(strikes: Vector, years: Vector) -> Any:
        return sum(call(strike, t) for strike, t in zip(strikes, years, strict=True))

    rng = random.Random(0)
    strikes = [rng.uniform(80, 120) for _ in range(options)]
    years = [rng.uniform(0.1, 2.0) for _ in range(options)]
    return Workload(worth, (strikes, years), parameters)


def asian_option(steps: int = 252, *, number: Number = gl.Value, fn: Any = gl) -> Workload:
    """What one path pays of a call on the mean price of a year's days, under Black-Scholes."""
    spot, rate, volatility, strike = parameters = [number(x) for x in (100.0, 0.03, 0.2, 80.0)]
    dt = 1.0 / steps

    def payoff(normals: Vector) -> Any:
        price = spot
        total = 0.0
        for z in normals:
            growth = (rate - 0.5 * volatility**2) * dt + volatility * math.sqrt(dt) * z
            price = price * fn.exp(growth)
            total += price
        return fn.exp(-rate) * fn.relu(total / len(normals) - strike)

    return Workload(payoff, (_numbers(random.Random(0), steps),), parameters)


def distance_matrix(
    queries: int = 20, points: int = 30, dimensions: int = 4, *, fn: Any = gl
) -> Workload:
    """The distance of every query to every point, of which k-nearest-neighbours takes the least."""
    rng = random.Random(0)

    def distance(a: Vector, b: Vector) -> Any:
        return fn.sqrt(sum((ai - bi) ** 2 for ai, bi in zip(a, b, strict=True)))

    def matrix(queries: Matrix, points: Matrix) -> Matrix:
        return [[distance(q, p) for p in points] for q in queries]

    return Workload(matrix, (_numbers(rng, queries, dimensions), _numbers(rng, points, dimensions)))


def convolution(
    size: int = 16, channels: int = 4, kernel: int = 3, *, number: Number = gl.Value, fn: Any = gl
) -> Workload:
    """A 2-d convolution with bias and relu, and the mean square of what comes out."""
    rng = random.Random(0)
    kernels = _made(_numbers(rng, channels, kernel, kernel, scale=0.5), number)
    biases = _made(_numbers(rng, channels, scale=0.1), number)

    def pixel(image: Matrix, weights: Matrix, bias: Any, row: int, column: int) -> Any:
        act = bias
        for i in range(kernel):
            for j in range(kernel):
                act = act + weights[i][j] * image[row + i][column + j]
        return fn.relu(act)

    def loss(image: Matrix) -> Any:
        reach = range(len(image) - kernel + 1)
        maps = [
            [[pixel(image, weights, bias, row, column) for column in reach] for row in reach]
            for weights, bias in zip(kernels, biases, strict=True)
        ]
        pixels = [y for one in maps for row in one for y in row]
        return sum(y * y for y in pixels) / len(pixels)

    return Workload(loss, (_numbers(rng, size, size),), [*_flat(kernels), *biases])


WORKLOADS: dict[str, Callable[[], Workload]] = {
    build.__name__: build
    for build in (
        moons,
        gpt,
        lstm,
        runge_kutta,
        mixture,
        black_scholes,
        asian_option,
        distance_matrix,
        convolution,
    )
}


def arguments_flat(arguments: Sequence[Any]) -> list[float]:
    """The numbers of a workload's arguments, in the order of the inputs of its recording."""
    return list(_flat(list(arguments)))
