"""PyTorch: vectorised by hand, eager and through `torch.compile`; and on the scalar loops."""

import functools
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from . import Cases, Prepared, arrays, data


def _module(threads: int) -> tuple[Any, Any]:
    """torch, and what `arrays` asks of it."""
    import torch

    torch.set_num_threads(threads)
    rows, columns = map(torch.tensor, data.lower())

    def lower(widths: Any, below: Any) -> Any:
        empty = widths.new_zeros(*widths.shape, widths.shape[1])
        return empty.index_put(
            (torch.arange(len(widths))[:, None], rows, columns), below
        ) + torch.diag_embed(widths)

    xp = SimpleNamespace(
        exp=torch.exp,
        log=torch.log,
        tanh=torch.tanh,
        sigmoid=torch.sigmoid,
        relu=torch.relu,
        stack=torch.stack,
        softmax=lambda x: torch.softmax(x, -1),
        logsumexp=lambda x: torch.logsumexp(x, -1),
        cumsum=lambda x: torch.cumsum(x, 0),
        take=lambda x, places: torch.gather(x, -1, places),
        lower=lower,
    )
    return torch, xp


def _leaves(case: str, dtype: Any = np.float64) -> list[Any]:
    import torch

    parts = data.cut(case, data.parameters(case).astype(dtype))
    return [torch.tensor(part, requires_grad=True) for part in parts]


def _compiled(f: Callable[..., Any], compiled: bool) -> Callable[..., Any]:
    import torch

    return torch.compile(f) if compiled else f


def _prepared(
    check: Callable[[], Any], run: Callable[[], Any], compiled: bool, once: Any, steps: int = 1
) -> Prepared:
    """With the time of the first call, which compiles."""
    stages = {}
    if compiled:
        start = time.perf_counter()
        once()
        stages["compile"] = time.perf_counter() - start
    return Prepared(check, run, steps, stages)


def _gradient(case: str, arguments: Callable[[], tuple[Any, ...]], threads: int, compiled: bool):
    """Value and gradient by all parameters."""
    torch, xp = _module(threads)
    w = _leaves(case)
    inputs = [torch.tensor(x) for x in arguments()]
    loss = _compiled(functools.partial(arrays.LOSSES[case], xp), compiled)

    def run() -> Any:
        total = loss(w, *inputs)
        return total.detach(), torch.autograd.grad(total, w)

    return _prepared(run, run, compiled, run)


def _moons_many(threads: int, compiled: bool) -> Prepared:
    torch, xp = _module(threads)
    w = _leaves("moons")
    inputs = [torch.tensor(x) for x in data.moons()]
    loss = _compiled(functools.partial(arrays.moons, xp), compiled)
    optimizer = torch.optim.SGD(w, lr=data.MOONS_RATE)

    def gradient() -> Any:
        optimizer.zero_grad()
        total = loss(w, *inputs)
        total.backward()
        return total.detach()

    def run() -> list[Any]:
        losses = []
        for _ in range(data.UPDATES):
            losses.append(gradient())
            optimizer.step()
        return losses

    return _prepared(lambda: (run(), _detached(w)), run, compiled, gradient, data.UPDATES)


def _gpt(texts: Any, dtype: Any, updates: int, threads: int, compiled: bool) -> Prepared:
    torch, xp = _module(threads)
    w = _leaves("gpt", dtype)
    text = torch.tensor(texts)
    mask = torch.tensor(np.triu(np.full((8, 8), -np.inf, dtype), 1))
    loss = _compiled(functools.partial(arrays.gpt, xp), compiled)
    optimizer = torch.optim.Adam(w, lr=data.GPT_RATE, fused=True)

    def gradient() -> Any:
        optimizer.zero_grad()
        total = loss(w, text, mask)
        total.backward()
        return total.detach()

    def run() -> list[Any]:
        losses = []
        for _ in range(updates):
            losses.append(gradient())
            optimizer.step()
        return losses

    def check() -> Any:
        value = gradient()
        first = [x.grad.clone() for x in w]
        return value, first, [run() for _ in range(max(data.CHECKED // updates, 1))], _detached(w)

    return _prepared(check, run, compiled, gradient, data.learned(texts, updates))


def _detached(w: list[Any]) -> list[Any]:
    return [x.detach() for x in w]


def _lstm(case: str, threads: int) -> Prepared:
    torch, xp = _module(threads)
    cells, ends = w = _leaves(case)
    state, text = map(torch.tensor, data.lstm(case))

    def loss() -> Any:
        hidden, cell = list(state[::2]), list(state[1::2])
        layers = [layer.unbind() for layer in cells]
        outputs = []
        for x in (text[:-1] * ends[0]).unbind():
            for k, layer in enumerate(layers):
                hidden[k], cell[k] = arrays.lstm_cell(xp, layer, x, hidden[k], cell[k])
                x = hidden[k]
            outputs.append(x)
        return arrays.lstm_loss(xp, ends, torch.stack(outputs), text[1:])

    def run() -> Any:
        total = loss()
        return total.detach(), torch.autograd.grad(total, w)

    return Prepared(run, run)


def _digits(threads: int, compiled: bool) -> Prepared:
    torch, xp = _module(threads)
    x, y, order = map(torch.tensor, data.digits())
    w = _leaves("digits")
    loss = _compiled(functools.partial(arrays.digits, xp), compiled)
    optimizer = torch.optim.Adam(w, lr=data.DIGITS_RATE, fused=True)

    def gradient(chosen: Any) -> Any:
        optimizer.zero_grad()
        total = loss(w, x[chosen], y[chosen])
        total.backward()
        return total.detach()

    def run() -> list[Any]:
        losses = []
        for chosen in order.split(data.BATCH):
            losses.append(gradient(chosen))
            optimizer.step()
        return losses

    return _prepared(
        lambda: (run(), _detached(w)), run, compiled, lambda: gradient(order[: data.BATCH])
    )


def _cases(compiled: bool) -> Cases:
    cases: Cases = {
        "moons": lambda n: _gradient("moons", data.moons, n, compiled),
        "moons100": lambda n: _moons_many(n, compiled),
        "gpt": lambda n: _gpt(data.text(), np.float64, 1, n, compiled),
        "gpt100": lambda n: _gpt(data.text(), np.float64, data.UPDATES, n, compiled),
        "gpt16": lambda n: _gpt(data.texts(), np.float32, 1, n, compiled),
        "gpt16x100": lambda n: _gpt(data.texts(), np.float32, data.UPDATES, n, compiled),
        "digits": lambda n: _digits(n, compiled),
        "asian1k": lambda n: _gradient("asian", lambda: (data.normals(1_000),), n, compiled),
        "asian100k": lambda n: _gradient("asian", lambda: (data.normals(100_000),), n, compiled),
        "gmm": lambda n: _gradient("gmm", lambda: (data.points(),), n, compiled),
    }
    if not compiled:  # it would unroll 1,023 characters
        cases |= {case: lambda n, case=case: _lstm(case, n) for case in ("lstm2", "lstm4")}
    return cases


def _scalars(case: str, threads: int) -> Prepared:
    """The loops over single numbers; of the option all paths at once."""
    torch, _ = _module(threads)
    fn = SimpleNamespace(
        exp=torch.exp,
        relu=torch.relu,
        softmax=lambda xs: torch.softmax(torch.stack(xs), -1).unbind(),
        logsumexp=lambda xs: torch.logsumexp(torch.stack(list(xs)), -1),
    )
    work = data.workload(
        case, number=lambda x: torch.tensor(x, dtype=torch.float64, requires_grad=True), fn=fn
    )
    inputs = ([torch.tensor(z) for z in data.normals(1_000)],) if case == "asian" else None

    def run() -> Any:
        total = work.function(*(inputs or work.arguments)).mean()
        return total.detach(), torch.autograd.grad(total, work.parameters, materialize_grads=True)

    return Prepared(run, run)


ENGINES = {
    "PyTorch": ("torch", _cases(compiled=False)),
    "torch.compile": ("torch", _cases(compiled=True)),
    "PyTorch, scalars": (
        "torch",
        {"moons": lambda n: _scalars("moons", n), "asian1k": lambda n: _scalars("asian", n)},
    ),
}
