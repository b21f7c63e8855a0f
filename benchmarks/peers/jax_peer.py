"""JAX: vectorised by hand under `jit`, several updates as a `scan`; and given the scalar loops."""

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from common import timed

from . import Cases, Prepared, arrays, data


def _module() -> tuple[Any, Any]:
    """jax, and what `arrays` asks of it."""
    import jax

    jax.config.update("jax_enable_x64", True)
    jnp = jax.numpy
    rows, columns = data.lower()

    def lower(widths: Any, below: Any) -> Any:
        size = widths.shape[1]
        diagonal = np.arange(size)
        empty = jnp.zeros((len(widths), size, size))
        return empty.at[:, rows, columns].set(below).at[:, diagonal, diagonal].set(widths)

    xp = SimpleNamespace(
        exp=jnp.exp,
        log=jnp.log,
        tanh=jnp.tanh,
        sigmoid=jax.nn.sigmoid,
        relu=jax.nn.relu,
        stack=jnp.stack,
        softmax=lambda x: jax.nn.softmax(x, -1),
        logsumexp=lambda x: jax.scipy.special.logsumexp(x, -1),
        cumsum=lambda x: jnp.cumsum(x, 0),
        take=lambda x, places: jnp.take_along_axis(x, places, -1),
        lower=lower,
    )
    return jax, xp


def _weights(case: str, dtype: Any = np.float64) -> list[Any]:
    jax, _ = _module()
    return [jax.numpy.asarray(part.astype(dtype)) for part in data.cut(case, data.parameters(case))]


def _ahead(f: Callable[..., Any], arguments: tuple[Any, ...], **options: Any) -> tuple[Any, Any]:
    """`f` compiled ahead of time, and how long that took."""
    jax, _ = _module()
    stages: dict[str, float] = {}
    with timed(stages, "trace"):
        lowered = jax.jit(f, **options).lower(*arguments)
    with timed(stages, "compile"):
        compiled = lowered.compile()
    return compiled, stages


def _value_and_gradient(f: Callable[..., Any], *arguments: Any) -> Prepared:
    """By the first argument."""
    jax, _ = _module()
    step, stages = _ahead(jax.value_and_grad(f), arguments)

    def run() -> Any:
        return jax.block_until_ready(step(*arguments))

    return Prepared(run, run, stages=stages)


def _gradient(case: str, *inputs: Any) -> Prepared:
    jax, xp = _module()
    loss = functools.partial(arrays.LOSSES[case], xp)
    return _value_and_gradient(loss, _weights(case), *map(jax.numpy.asarray, inputs))


def _asian(paths: int) -> Prepared:
    """Step by step in a `scan`, which is faster here than `cumsum`."""
    jax, xp = _module()

    def loss(w: list[Any], z: Any) -> Any:
        spot, rate, volatility, strike = w
        dt = 1.0 / len(z)

        def day(carried: Any, row: Any) -> Any:
            price, total = carried
            growth = (rate - 0.5 * volatility**2) * dt + volatility * dt**0.5 * row
            price = price * xp.exp(growth)
            return (price, total + price), None

        start = jax.numpy.full(paths, spot), jax.numpy.zeros(paths)
        (_, total), _ = jax.lax.scan(day, start, z)
        return (xp.exp(-rate) * xp.relu(total / len(z) - strike)).mean()

    return _value_and_gradient(loss, _weights("asian"), jax.numpy.asarray(data.normals(paths)))


def _lstm(case: str) -> Prepared:
    jax, xp = _module()
    state, text = map(jax.numpy.asarray, data.lstm(case))

    def loss(w: list[Any], state: Any, text: Any) -> Any:
        cells, ends = w

        def step(carried: Any, x: Any) -> Any:
            hidden, cell = map(list, carried)
            for k in range(len(cells)):
                hidden[k], cell[k] = arrays.lstm_cell(xp, cells[k], x, hidden[k], cell[k])
                x = hidden[k]
            return (hidden, cell), x

        start = list(state[::2]), list(state[1::2])
        _, outputs = jax.lax.scan(step, start, text[:-1] * ends[0])
        return arrays.lstm_loss(xp, ends, outputs, text[1:])

    return _value_and_gradient(loss, _weights(case), state, text)


def _moons_many(_: int) -> Prepared:
    """All updates in one call, by `scan`."""
    jax, xp = _module()
    x, y = map(jax.numpy.asarray, data.moons())

    def train(w: list[Any], x: Any, y: Any) -> Any:
        def update(w: list[Any], _: Any) -> Any:
            loss, g = jax.value_and_grad(functools.partial(arrays.moons, xp))(w, x, y)
            return [a - data.MOONS_RATE * b for a, b in zip(w, g, strict=True)], loss

        return jax.lax.scan(update, w, None, length=data.UPDATES)

    w = _weights("moons")
    step, stages = _ahead(train, (w, x, y))

    def run() -> Any:
        nonlocal w
        w, losses = jax.block_until_ready(step(w, x, y))
        return losses

    return Prepared(lambda: (run(), w), run, data.UPDATES, stages)


def _adam(w: list[Any], g: list[Any], state: Any, rate: float) -> tuple[Any, Any]:
    jax, _ = _module()
    step, mean, square = state
    step = step + 1
    mean = [0.9 * m + (1 - 0.9) * d for m, d in zip(mean, g, strict=True)]
    square = [0.999 * s + (1 - 0.999) * d * d for s, d in zip(square, g, strict=True)]
    scale, root = rate / (1 - 0.9**step), jax.numpy.sqrt(1 - 0.999**step)
    w = [
        (a - scale * m / (jax.numpy.sqrt(s) / root + 1e-8)).astype(a.dtype)
        for a, m, s in zip(w, mean, square, strict=True)
    ]
    return w, (step, mean, square)


def _adam_state(w: list[Any], dtype: Any) -> Any:
    jax, _ = _module()
    return jax.numpy.zeros((), dtype), [0 * x for x in w], [0 * x for x in w]


def _gpt(texts: Any, dtype: Any, updates: int) -> Prepared:
    jax, xp = _module()
    text = jax.numpy.asarray(texts)
    mask = jax.numpy.asarray(np.triu(np.full((8, 8), -np.inf, dtype), 1))
    value_and_gradient = jax.value_and_grad(functools.partial(arrays.gpt, xp))

    def update(carried: Any, _: Any) -> Any:
        w, state = carried
        loss, g = value_and_gradient(w, text, mask)
        return _adam(w, g, state, data.GPT_RATE), loss

    def train(carried: Any) -> Any:
        if updates == 1:
            return update(carried, None)
        return jax.lax.scan(update, carried, None, length=updates)

    w = _weights("gpt", dtype)
    carried = w, _adam_state(w, dtype)
    step, stages = _ahead(train, (carried,))

    def run() -> Any:
        nonlocal carried
        carried, losses = jax.block_until_ready(step(carried))
        return losses

    def check() -> Any:
        first = value_and_gradient(w, text, mask)
        losses = [run() for _ in range(max(data.CHECKED // updates, 1))]
        return *first, losses, carried[0]

    return Prepared(check, run, data.learned(texts, updates), stages)


def _digits(_: int) -> Prepared:
    """An epoch is a `scan` over its batches."""
    jax, xp = _module()
    x, y, order = map(jax.numpy.asarray, data.digits())
    loss = functools.partial(arrays.digits, xp)

    def epoch(carried: Any, x: Any, y: Any, order: Any) -> Any:
        def update(carried: Any, chosen: Any) -> Any:
            w, state = carried
            value, g = jax.value_and_grad(loss)(w, x[chosen], y[chosen])
            return _adam(w, g, state, data.DIGITS_RATE), value

        return jax.lax.scan(update, carried, order.reshape(-1, data.BATCH))

    w = _weights("digits")
    carried = w, _adam_state(w, np.float64)
    step, stages = _ahead(epoch, (carried, x, y, order))

    def run() -> Any:
        nonlocal carried
        carried, losses = jax.block_until_ready(step(carried, x, y, order))
        return losses

    return Prepared(lambda: (run(), carried[0]), run, stages=stages)


def _scalars(case: str) -> Prepared:
    """The parameters come as one vector: thousands of arguments would cost more than the work."""
    jax, _ = _module()

    def scalars(array: Any) -> Any:
        if array.ndim == 0:
            return array
        parts = jax.lax.split(array, [1] * len(array))
        return [scalars(part.reshape(array.shape[1:])) for part in parts]

    fn = SimpleNamespace(
        exp=jax.numpy.exp,
        relu=jax.nn.relu,
        softmax=lambda xs: scalars(jax.nn.softmax(jax.numpy.stack(xs))),
        logsumexp=lambda xs: jax.scipy.special.logsumexp(jax.numpy.stack(list(xs))),
    )

    def loss(w: Any, inputs: list[Any]) -> Any:
        numbers = iter(scalars(w))
        work = data.workload(case, number=lambda _: next(numbers), fn=fn)
        if case == "asian":
            return work.function(list(inputs[0])).mean()
        return work.function(*map(scalars, inputs))

    inputs = [data.normals(1_000)] if case == "asian" else data.moons()
    w = jax.numpy.asarray(data.parameters(case))
    return _value_and_gradient(loss, w, [jax.numpy.asarray(x) for x in inputs])


CASES: Cases = {
    "moons": lambda _: _gradient("moons", *data.moons()),
    "moons100": _moons_many,
    "gpt": lambda _: _gpt(data.text(), np.float64, 1),
    "gpt100": lambda _: _gpt(data.text(), np.float64, data.UPDATES),
    "gpt16": lambda _: _gpt(data.texts(), np.float32, 1),
    "gpt16x100": lambda _: _gpt(data.texts(), np.float32, data.UPDATES),
    "digits": _digits,
    "asian1k": lambda _: _asian(1_000),
    "asian100k": lambda _: _asian(100_000),
    "gmm": lambda _: _gradient("gmm", data.points()),
    "lstm2": lambda _: _lstm("lstm2"),
    "lstm4": lambda _: _lstm("lstm4"),
}
ENGINES = {
    "JAX": ("jax", CASES),
    "JAX, scalars": (
        "jax",
        {"moons": lambda _: _scalars("moons"), "asian1k": lambda _: _scalars("asian")},
    ),
}
