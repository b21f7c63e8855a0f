"""Gradloom, on the scalar code: eagerly, through its public functions, and the programs alone.

The programs alone (recorded, woven, reversed; then run by one of the backends with all parameters
in an array) show what of a call's time is Python's.
"""

import functools
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

from common import timed

from . import Cases, Prepared, data

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
    if case.startswith("gpt16"):
        return data.texts()
    return data.points() if case == "gmm" else None


def _lanes(case: str) -> int:
    """Texts side by side."""
    return data.TEXTS if case.startswith("gpt16") else 1


def _mean(case: str) -> bool:
    """Whether the lanes are averaged; else they are summed."""
    return case != "gmm"


def _work(case: str, **options: Any) -> Any:
    names = ("asian", "gpt16", "gpt", "moons")
    name = next((name for name in names if case.startswith(name)), case)
    return data.workload(name, **options)


def _module(case: str) -> tuple[Any, Any]:
    """The scalar code, and a module that holds its parameters, side by side."""
    import gradloom as gl

    work = _work(case, number=gl.nn.Parameter)
    model = gl.nn.Module()
    model.numbers = work.parameters
    model.pack()
    return work, model


def gradient(case: str, threads: int) -> tuple[Callable[[], float], Array]:
    """What a user calls for the value and the gradient; and where the gradient is then."""
    import gradloom as gl

    work, model = _module(case)
    slopes = np.frombuffer(model.pack()[1])
    rows, bound = _rows(case), None
    if rows is None:
        function, arguments = gl.compile(work.function), work.arguments
    else:
        reduce = "mean" if _mean(case) else "sum"
        function, arguments = gl.vmap(work.function, reduce=reduce, threads=threads), (rows,)

    def run() -> float:
        nonlocal bound
        bound = bound or function.bind(*arguments)
        slopes[:] = 0.0
        return bound()

    return run, slopes


def compiled(case: str, threads: int) -> Prepared:
    """What a user writes for the gradient; the first call is what happens once."""
    run, slopes = gradient(case, threads)
    stages: dict[str, float] = {}
    with timed(stages, "first call"):
        run()
    return Prepared(lambda: (run(), slopes), run, stages=stages)


def training(case: str) -> tuple[Any, Any, Callable[[int], Any]]:
    """What a user trains with: the module, the step, and what makes so many updates."""
    import gradloom as gl

    work, model = _module(case)
    moons = case.startswith("moons")
    optimizer = gl.nn.SGD(model, data.MOONS_RATE) if moons else gl.nn.Adam(model, data.GPT_RATE)
    rows = _rows(case)
    if rows is not None:
        texts = rows.astype(float)
        step = gl.training_step(work.function, optimizer, dtype="float32")

        @functools.cache
        def order(updates: int) -> Array:
            return np.tile(np.arange(len(texts)), updates)

        def epoch(updates: int) -> Any:
            return step.epoch(texts, batch_size=len(texts), order=order(updates))

        return model, step, epoch
    step = gl.training_step(work.function, optimizer)
    bound = step.bind(*work.arguments)
    return model, step, lambda updates: bound.repeat(updates) if updates > 1 else [bound()]


def trained(case: str, updates: int, _: int) -> Prepared:
    """What a user writes to train; the first update is what happens once."""
    model, step, update = training(case)
    numbers, slopes = map(np.frombuffer, model.pack())
    stages: dict[str, float] = {}

    def run() -> Any:
        return update(updates)

    def check() -> Any:
        with timed(stages, "first update"):
            losses = list(update(1))
        first = losses[0], slopes.copy()
        while len(losses) < max(updates, data.CHECKED):
            losses += list(update(max(updates - 1, 1)))
        if not step.calls:
            raise SystemExit("it was not compiled")
        return (losses, numbers) if case.startswith("moons") else (*first, losses, numbers)

    return Prepared(check, run, updates * _lanes(case), stages)


Made = Callable[..., Any]


def program(case: str, backend: str, threads: int) -> Prepared:
    """Value and gradient by the program alone, run by one of the backends."""
    from gradloom.backends.batch import Batch
    from gradloom.backends.choice import Options, maker
    from gradloom.loom.adjoint import adjoint
    from gradloom.loom.record import record
    from gradloom.loom.weave import weave

    work, rows = _work(case), _rows(case)
    arguments = work.arguments if rows is None else (rows[0].tolist(),)
    stages: dict[str, float] = {}
    with timed(stages, "record"):
        graph, _ = record(work.function, *arguments)
    with timed(stages, "weave"):
        forward = weave(graph, lanes=() if rows is None else range(rows.shape[1]))
    with timed(stages, "adjoint"):
        reverse = adjoint(forward, forward.parameters)
    with timed(stages, "compile"):
        make = maker(reverse, Options(backend, threads=threads), lanes=rows is not None)
        runner = make(None if rows is None else len(rows))
    place = {id(p): i for i, p in enumerate(work.parameters)}
    places = np.array([place[id(p)] for p in reverse.values])
    numbers = np.array([p.data for p in work.parameters])
    found = np.zeros(len(place))
    if rows is None:
        inputs = np.array([*data.workloads.arguments_flat(arguments), 1.0])
    else:
        share = 1.0 / len(rows) if _mean(case) else 1.0
        batch = Batch([], [rows, np.full(len(rows), share)], len(rows))

    def run() -> Any:
        if rows is None:
            results = runner.run(inputs, numbers[places])
            found[places] = results[1:]
            return results[0], found
        found[places], values = runner.run_batch(batch, numbers[places])
        return values.sum() * share, found

    return Prepared(run, run, stages=stages)


def program_trained(case: str, updates: int, _: int) -> Prepared:
    """Gradients and updates as one native call, without what a training step does around it."""
    model, step, update = training(case)
    numbers, slopes = map(np.frombuffer, model.pack())
    lanes = _lanes(case)
    order = np.tile(np.arange(lanes), updates) if lanes > 1 else None

    def rates(first: int, count: int) -> Array:
        optimizer = step.optimizer
        found = []
        for optimizer.steps in range(first, first + count):
            found.append(optimizer.rates())
        return np.array(found)

    def run() -> Any:
        return driver.once(row) if case == "gpt" else driver.run(updates, rows, order)[1]

    losses = list(update(1))
    first = losses[0], slopes.copy()
    ((native,),) = step._known.values()
    driver, rows = native.driver, rates(2, updates)
    row = rows[0].tolist()

    def check() -> Any:
        while (made := len(losses)) < max(updates, data.CHECKED):
            count = max(updates - 1, 1)
            some = None if order is None else order[: count * lanes]
            losses.extend(driver.run(count, rates(made + 1, count), some)[1] / lanes)
        return (losses, numbers) if case.startswith("moons") else (*first, losses, numbers)

    return Prepared(check, run, updates * lanes)


def _network(module: Callable[[], Any]) -> Any:
    """The digits' network, with the parameters that all start from."""
    made = module()
    np.frombuffer(made.pack()[0])[:] = data.parameters("digits")
    return made


def _mlp() -> Any:
    import gradloom as gl

    return _network(lambda: gl.nn.MLP(64, [data.HIDDEN, 10], "relu", init=lambda: 0.0))


def digits(_: int) -> Prepared:
    """An epoch of a training step, called by a loop of one's own."""
    import gradloom as gl

    x, y, order = data.digits()
    model, y = _mlp(), y.astype(float)
    numbers = np.frombuffer(model.pack()[0])

    def loss(row: Any, target: Any) -> Any:
        return gl.nn.cross_entropy(model(row), target)

    step = gl.training_step(loss, gl.nn.Adam(model, data.DIGITS_RATE))
    stages: dict[str, float] = {}

    def run() -> Any:
        return step.epoch(x, y, batch_size=data.BATCH, order=order)

    def check() -> Any:
        with timed(stages, "first epoch"):
            losses = run()
        return losses, numbers

    return Prepared(check, run, stages=stages)


def digits_fit(_: int) -> Prepared:
    """`fit`, with every other setting as it comes; an epoch as its history has it."""
    import gradloom as gl

    x, y, order = data.digits()
    fit = functools.partial(
        gl.fit,
        x=x[order].tolist(),
        y=y[order].tolist(),
        loss="cross_entropy",
        learning_rate=data.DIGITS_RATE,
        batch_size=data.BATCH,
        metrics=[],
        progress="silent",
    )

    def check() -> Any:
        made = _mlp()
        fit(made, epochs=1, shuffle=False)
        return {"parameters": np.frombuffer(made.pack()[0])}

    def seconds() -> float:
        """The median: in some epochs `fit` looks whether the model is still the recorded one."""
        history = fit(_mlp(), epochs=50)
        return statistics.median(record["seconds"] for record in history.records)

    return Prepared(check, check, seconds=seconds)


PLAIN = ("moons", "asian1k", "asian100k", "gmm", "lstm2", "lstm4")
UPDATES = dict.fromkeys(("moons100", "gpt100", "gpt16x100"), data.UPDATES) | {
    "gpt": 1,
    "gpt16": 1,
}


def _cases(plain: Made, updating: Made) -> Cases:
    return {
        **{case: functools.partial(plain, case) for case in PLAIN},
        **{case: functools.partial(updating, case, updates) for case, updates in UPDATES.items()},
    }


def _program(backend: str) -> Made:
    return lambda case, threads: program(case, backend, threads)


ENGINES = {
    "Gradloom": ("gradloom", {**_cases(compiled, trained), "digits": digits}),
    "Gradloom fit": ("gradloom", {"digits": digits_fit}),
    "Gradloom program": ("llvmlite", _cases(_program("native"), program_trained)),
    "Gradloom on NumPy": (
        "numpy",
        {case: functools.partial(program, case, "numpy") for case in PLAIN},
    ),
    "Gradloom eager": (
        "gradloom",
        {
            "moons": functools.partial(eager, "moons"),
            "asian1k": functools.partial(eager, "asian"),
        },
    ),
}
