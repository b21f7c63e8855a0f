"""Gradloom, on the scalar code: eagerly, through its public functions, and the programs alone.

The programs alone (recorded, woven, reversed; then run by one of the backends with all parameters
in an array) show what of a call's time is Python's.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from common import timed

from . import Cases, Prepared, data
from .by_hand import Adam

Array = Any


def eager(case: str, _: int) -> Prepared:
    """Node by node; the option path by path, so that one graph at a time is held."""
    work = data.workload(case)
    paths = data.normals(1_000).T.tolist() if case == "asian" else None

    def run() -> Any:
        for p in work.parameters:
            p.grad = 0.0
        if paths is None:
            total = work.function(*work.arguments)
            total.backward()
            return total.data, [p.grad for p in work.parameters]
        value = 0.0
        for path in paths:
            share = work.function(path) * (1.0 / len(paths))
            share.backward()
            value += share.data
        return value, [p.grad for p in work.parameters]

    return Prepared(run, run)


def _rows(case: str) -> Array | None:
    """A row of arguments for each lane, or None for a case without lanes."""
    if case.startswith("asian"):
        return data.normals({"asian1k": 1_000, "asian100k": 100_000}[case]).T
    return {"gmm": data.points, "gpt16": data.texts}.get(case, lambda: None)()


def _mean(case: str) -> bool:
    """Whether the lanes are averaged; else they are summed."""
    return case != "gmm"


def _work(case: str, **options: Any) -> Any:
    name = "asian" if case.startswith("asian") else case.removesuffix("100")
    return data.workload(name, **options)


def prepared_loss(case: str, threads: int) -> tuple[Callable[[], Any], Any]:
    """What a user calls, compiled; and a module that holds its parameters, side by side."""
    import gradloom as gl

    work, rows = _work(case, number=gl.nn.Parameter), _rows(case)
    model = gl.nn.Module()
    model.numbers = work.parameters
    model.pack()
    if rows is None:
        f = gl.compile(work.function)
        return lambda: f(*work.arguments), model
    dtype = "float32" if case == "gpt16" else "float64"
    mapped = gl.vmap(work.function, dtype=dtype, threads=threads)
    share = 1.0 / len(rows) if _mean(case) else 1.0
    return lambda: gl.sum(mapped(rows)) * share, model


def compiled(case: str, threads: int) -> Prepared:
    """What a user writes; the first call and the first `backward()` are what happens once."""
    loss, model = prepared_loss(case, threads)
    stages: dict[str, float] = {}
    with timed(stages, "first call"):
        total = loss()
    with timed(stages, "first backward"):
        total.backward()

    def run() -> float:
        model.zero_grad()
        total = loss()
        total.backward()
        return total.data

    return Prepared(lambda: (run(), model.pack()[1]), run, stages=stages)


def trained(case: str, updates: int, threads: int) -> Prepared:
    """What a user writes: loss, `backward()`, an optimizer's step."""
    from gradloom.nn.optim import SGD, Adam

    loss, model = prepared_loss(case, threads)
    moons = case.startswith("moons")
    kind, rate = (SGD, data.MOONS_RATE) if moons else (Adam, data.GPT_RATE)
    optimizer = kind(model, rate)

    def step(update: bool = True) -> float:
        optimizer.zero_grad()
        total = loss()
        total.backward()
        if update:
            optimizer.step()
        return total.data

    def run() -> list[float]:
        return [step() for _ in range(updates)]

    def check() -> Any:
        numbers, gradient = model.pack()
        if moons:
            return run(), numbers
        first = step(update=False), gradient[:]
        losses = [run() for _ in range(max(data.CHECKED // updates, 1))]
        return *first, losses, numbers

    stages: dict[str, float] = {}
    with timed(stages, "first gradient"):
        step(update=False)
    return Prepared(check, run, data.TEXTS if case == "gpt16" else updates, stages)


Made = Callable[..., Any]


def _program(case: str, make: Made, threads: int) -> tuple[Any, Any, dict[str, float]]:
    """A function of the parameters' numbers to value and gradient; those numbers; what it took."""
    from gradloom.loom.adjoint import adjoint
    from gradloom.loom.record import record
    from gradloom.loom.weave import weave

    work, rows = _work(case), _rows(case)
    arguments = work.arguments if rows is None else (rows[0].tolist(),)
    single = case == "gpt16"
    stages: dict[str, float] = {}
    with timed(stages, "record"):
        graph, _ = record(work.function, *arguments)
    with timed(stages, "weave"):
        forward = weave(graph, lanes=() if rows is None else range(rows.shape[1]))
    with timed(stages, "adjoint"):
        reverse = adjoint(forward, forward.parameters)
    lanes = None if rows is None else len(rows)
    with timed(stages, "compile"):
        runner = make(reverse, lanes, bits=32 if single else 64, threads=threads)
    share = 1.0 / len(rows) if rows is not None and _mean(case) else 1.0
    if rows is None:
        inputs: Any = np.array([*data.workloads.arguments_flat(arguments), 1.0])
    else:
        inputs = [*np.ascontiguousarray(rows.T, dtype=float), np.full(len(rows), share)]
    place = {id(p): i for i, p in enumerate(work.parameters)}
    places = np.array([place[id(p)] for p in reverse.values])
    gradient = np.zeros(len(place))  # tokens that do not occur keep 0
    start = np.array([p.data for p in work.parameters])

    def value_and_gradient(numbers: Array) -> tuple[float, Array]:
        results = runner.run(inputs, numbers[places])
        gradient[places] = results[1:] if lanes is None else results[1:, 0]
        return (results[0] if lanes is None else results[0].sum() * share), gradient

    return value_and_gradient, start, stages


def _backend(name: str) -> Made:
    if name == "numpy":
        from gradloom.backends.numpy import Runner

        return lambda program, lanes, **_: Runner(program, lanes)
    from gradloom.backends.llvm import native

    return native.Runner


def program(case: str, backend: str, threads: int) -> Prepared:
    """Value and gradient."""
    step, numbers, stages = _program(case, _backend(backend), threads)

    def run() -> Any:
        return step(numbers)

    return Prepared(run, run, stages=stages)


def program_trained(case: str, backend: str, updates: int, threads: int) -> Prepared:
    """The gradient by the program, the update by NumPy."""
    step, numbers, stages = _program(case, _backend(backend), threads)
    moons = case.startswith("moons")
    adam = Adam(numbers, data.GPT_RATE)

    def run() -> list[float]:
        losses = []
        for _ in range(updates):
            loss, gradient = step(numbers)
            losses.append(loss)
            if moons:
                np.subtract(numbers, data.MOONS_RATE * gradient, out=numbers)
            else:
                adam.update(gradient)
        return losses

    def check() -> Any:
        if moons:
            return run(), numbers
        loss, gradient = step(numbers)
        first = loss, gradient.copy()
        return *first, [run() for _ in range(max(data.CHECKED // updates, 1))], numbers

    return Prepared(check, run, data.TEXTS if case == "gpt16" else updates, stages)


def digits(_: int) -> Prepared:
    """`fit`, with every other setting as it comes; timed from epoch to epoch."""
    import gradloom as gl
    from gradloom.train.callbacks import Callback

    x, y, order = data.digits()
    x, y = x[order].tolist(), y[order].tolist()

    class Clock(Callback):
        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_epoch(self, training: Any) -> None:  # noqa: ARG002
            self.ends.append(time.perf_counter())

    def model() -> Any:
        made = gl.nn.MLP(64, [data.HIDDEN, 10], "relu", init=lambda: 0.0)
        for p, number in zip(made.parameters(), data.parameters("digits").tolist(), strict=True):
            p.data = number
        return made

    fit = functools.partial(
        gl.fit,
        x=x,
        y=y,
        loss="cross_entropy",
        learning_rate=data.DIGITS_RATE,
        batch_size=data.BATCH,
        metrics=[],
        progress="silent",
    )

    def check() -> Any:
        made = model()
        fit(made, epochs=1, shuffle=False)
        return {"parameters": [p.data for p in made.parameters()]}

    def seconds() -> float:
        """Of an epoch: the first two, in which things are made ready, left out."""
        clock = Clock()
        fit(model(), epochs=22, callbacks=[clock])
        return (clock.ends[-1] - clock.ends[1]) / 20

    return Prepared(check, check, seconds=seconds)


PLAIN = ("moons", "asian1k", "asian100k", "gmm", "lstm2", "lstm4")
UPDATES = {"moons100": data.UPDATES, "gpt": 1, "gpt100": data.UPDATES, "gpt16": 1}


def _cases(backend: str) -> Cases:
    plain: Cases = {case: functools.partial(program, case, backend) for case in PLAIN}
    return plain | {
        case: functools.partial(program_trained, case, backend, updates)
        for case, updates in UPDATES.items()
    }


COMPILED: Cases = {
    **{case: functools.partial(compiled, case) for case in PLAIN},
    **{case: functools.partial(trained, case, updates) for case, updates in UPDATES.items()},
    "digits": digits,
}
ENGINES = {
    "Gradloom": ("gradloom", COMPILED),
    "Gradloom program": ("llvmlite", _cases("native")),
    "Gradloom on NumPy": ("numpy", _cases("numpy")),
    "Gradloom eager": (
        "gradloom",
        {
            "moons": functools.partial(eager, "moons"),
            "asian1k": functools.partial(eager, "asian"),
        },
    ),
}
