"""micrograd, CasADi and XAD on the scalar code, and scikit-learn's own network."""

import math
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from common import timed

from . import Cases, Prepared, data
from .by_hand import Adam

Array = Any


# micrograd


def micrograd_moons(_: int) -> Prepared:
    from micrograd.engine import Value

    work = data.workload("moons", number=Value, fn=SimpleNamespace(relu=Value.relu))

    def run() -> Any:
        for p in work.parameters:
            p.grad = 0
        total = work.function(*work.arguments)
        total.backward()
        return total.data, [p.grad for p in work.parameters]

    return Prepared(run, run)


def micrograd_gpt(_: int) -> Prepared:
    """With the exponential and the logarithm that it lacks."""
    from micrograd.engine import Value

    def unary(x: Any, y: float, slope: float) -> Any:
        out = Value(y, (x,))

        def backward() -> None:
            x.grad += slope * out.grad

        out._backward = backward
        return out

    def exp(x: Any) -> Any:
        y = math.exp(x.data)
        return unary(x, y, y)

    def log(x: Any) -> Any:
        return unary(x, math.log(x.data), 1.0 / x.data)

    def softmax(xs: list[Any]) -> list[Any]:
        powers = [exp(x) for x in xs]
        total = sum(powers)
        return [power / total for power in powers]

    fn = SimpleNamespace(
        relu=Value.relu, softmax=softmax, logsumexp=lambda xs: log(sum(exp(x) for x in xs))
    )
    work = data.workload("gpt", number=Value, fn=fn)
    numbers = data.parameters("gpt")
    adam = Adam(numbers, data.GPT_RATE)

    def gradient() -> tuple[float, Array]:
        for p in work.parameters:
            p.grad = 0
        total = work.function()
        total.backward()
        return total.data, np.array([p.grad for p in work.parameters], dtype=float)

    def run() -> float:
        loss, found = gradient()
        adam.update(found)
        for p, number in zip(work.parameters, numbers.tolist(), strict=True):
            p.data = number
        return loss

    return Prepared(lambda: (*gradient(), [run() for _ in range(data.CHECKED)], numbers), run)


# CasADi


def _casadi_gradient(case: str, inputs: int, compiled: bool) -> tuple[Any, dict[str, float]]:
    """A function of parameters (and of one sample's inputs) to value and gradient."""
    import casadi

    fn = SimpleNamespace(
        exp=casadi.exp,
        log=casadi.log,
        tanh=casadi.tanh,
        relu=lambda x: casadi.fmax(x, 0.0),
        sigmoid=lambda x: 1.0 / (1.0 + casadi.exp(-x)),
        softmax=lambda xs: _shares(casadi, xs),
        logsumexp=lambda xs: casadi.log(sum(casadi.exp(x) for x in xs)),
    )
    stages: dict[str, float] = {}
    with timed(stages, "expression"):
        symbols = casadi.SX.sym("w", len(data.parameters(case)))
        numbers = iter(casadi.vertsplit(symbols))
        work = data.workload(case, number=lambda _: next(numbers), fn=fn)
        x = casadi.SX.sym("x", inputs)
        arguments = (casadi.vertsplit(x),) if inputs else work.arguments
        total = work.function(*arguments)
        f = casadi.Function("f", [symbols, x], [total, casadi.gradient(total, symbols)])
    if not compiled:
        return f, stages
    with timed(stages, "gcc"), tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "f.c"
        generator = casadi.CodeGenerator("f.c")
        generator.add(f)
        generator.generate(f"{folder}/")
        library = source.with_suffix(".so")
        flags = ["-O1", "-march=native", "-ffast-math", "-shared", "-fPIC"]
        subprocess.run(["gcc", *flags, source, "-o", library, "-lm"], check=True)
        return casadi.external("f", str(library)), stages


def _shares(casadi: Any, xs: list[Any]) -> list[Any]:
    powers = [casadi.exp(x) for x in xs]
    return [power / sum(powers) for power in powers]


def _casadi(case: str, compiled: bool) -> Prepared:
    f, stages = _casadi_gradient(case, 0, compiled)
    w = data.parameters(case)
    nothing = np.zeros((0, 1))

    def run() -> Any:
        value, gradient = f(w, nothing)
        return float(value), gradient.full()

    return Prepared(run, run, stages=stages)


def _casadi_gpt(compiled: bool) -> Prepared:
    f, stages = _casadi_gradient("gpt", 0, compiled)
    w = data.parameters("gpt")
    adam = Adam(w, data.GPT_RATE)
    nothing = np.zeros((0, 1))

    def gradient() -> tuple[float, Array]:
        value, found = f(w, nothing)
        return float(value), found.full().ravel()

    def run() -> float:
        loss, found = gradient()
        adam.update(found)
        return loss

    return Prepared(
        lambda: (*gradient(), [run() for _ in range(data.CHECKED)], w), run, stages=stages
    )


def _casadi_lanes(case: str, rows: Array, mean: bool, threads: int, compiled: bool) -> Prepared:
    """One sample's function, mapped over all samples."""
    f, stages = _casadi_gradient(case, rows.shape[1], compiled)
    count = len(rows)
    each = f.map(count, "thread", threads) if threads > 1 else f.map(count, "serial")
    w, x = data.parameters(case), np.ascontiguousarray(rows.T)
    share = 1.0 / count if mean else 1.0

    def run() -> Any:
        values, gradients = each(w, x)
        return values.full().sum() * share, gradients.full().sum(1) * share

    return Prepared(run, run, stages=stages)


def _casadi_cases(compiled: bool) -> Cases:
    return {
        "moons": lambda _: _casadi("moons", compiled),
        "gpt": lambda _: _casadi_gpt(compiled),
        "asian1k": lambda n: _casadi_lanes("asian", data.normals(1_000).T, True, n, compiled),
        "asian100k": lambda n: _casadi_lanes("asian", data.normals(100_000).T, True, n, compiled),
        "gmm": lambda n: _casadi_lanes("gmm", data.points(), False, n, compiled),
        "lstm2": lambda _: _casadi("lstm2", compiled),
    }


# XAD


def xad(_: int) -> Prepared:
    import xad.adj_1st as adjoint
    import xad.math

    fn = SimpleNamespace(exp=xad.math.exp, relu=lambda x: xad.math.max(x, 0.0))
    paths = data.normals(1_000).T.tolist()

    def run() -> Any:
        value, gradient = 0.0, np.zeros(4)
        with adjoint.Tape() as tape:
            work = data.workload("asian", number=adjoint.Real, fn=fn)
            for p in work.parameters:
                tape.registerInput(p)
            for path in paths:
                tape.newRecording()
                total = work.function(path)
                tape.registerOutput(total)
                total.derivative = 1.0
                tape.computeAdjoints()
                value += total.value / len(paths)
                gradient += [p.derivative / len(paths) for p in work.parameters]
        return value, gradient

    return Prepared(run, run)


# scikit-learn


def sklearn(_: int) -> Prepared:
    """`MLPClassifier.partial_fit` on all samples is an epoch.

    Its Adam adds epsilon before the correction of the bias, so that numbers with next to no
    gradient (of pixels that are nearly always 0) move otherwise; the epoch's loss is compared.
    """
    from sklearn.neural_network import MLPClassifier

    x, y, order = data.digits()
    x, y = x[order], y[order]
    one, two = data.cut("digits", data.parameters("digits"))
    model = MLPClassifier(
        (data.HIDDEN,),
        solver="adam",
        alpha=0.0,
        batch_size=data.BATCH,
        learning_rate_init=data.DIGITS_RATE,
        shuffle=False,
    )
    model.partial_fit(x, y, classes=range(10))

    def check() -> Any:
        for mine, start in zip(model.coefs_, (one, two), strict=True):
            mine[:] = start[:, :-1].T
        for mine, start in zip(model.intercepts_, (one, two), strict=True):
            mine[:] = start[:, -1]
        del model._optimizer
        model.partial_fit(x, y)
        return {"loss": model.loss_curve_[-1]}

    return Prepared(check, lambda: model.partial_fit(x, y))


ENGINES = {
    "micrograd": ("micrograd", {"moons": micrograd_moons, "gpt": micrograd_gpt}),
    "CasADi": ("casadi", _casadi_cases(compiled=False)),
    "CasADi, C": ("casadi", _casadi_cases(compiled=True)),
    "XAD": ("xad", {"asian1k": xad}),
    "scikit-learn": ("scikit-learn", {"digits": sklearn}),
}
