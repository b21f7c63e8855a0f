"""What does a node cost? Building a scalar graph and going backward through it, per operation.

The work is micrograd's own: a small network of scalars (3-8-8-1, relu), a squared error over so
many samples that the graph has about 1,000 or 100,000 operations, and the gradient by every
parameter. Each engine runs the same loops on its own kind of number, in a process of its own;
the processes take turns, so that a drift of the machine meets all alike. Before anything is
timed, all gradients must agree.

    python benchmarks/eager.py              # all engines that are installed, both sizes
    python benchmarks/eager.py --json FILE  # the figures as JSON too
    python benchmarks/eager.py --quick      # one short round, to see that it runs

The peers come with `pip install -e '.[bench]'`. CasADi is a symbolic tool: its time is that of
making the expression, its gradient and one evaluation, which is what an eager engine does anew
each time. Freeing the graph is timed apart, for the engines that free it node by node.
"""

import argparse
import gc
import json
import random
import statistics
import time
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from common import child, installed, machine

SIZES = (1_000, 100_000)
SHAPE = (3, 8, 8, 1)
ROUNDS = 3  # processes for each engine
SECONDS = 1.5  # of timing in each process and size, at least three repetitions


def parameters() -> list[float]:
    """The numbers that all engines start from."""
    rng = random.Random(0)
    count = sum((nin + 1) * nout for nin, nout in pairwise(SHAPE))
    return [rng.uniform(-1, 1) for _ in range(count)]


def samples(nodes: int) -> list[tuple[list[float], float]]:
    """Inputs and targets: as many as make a graph of about this many operations."""
    pairs = list(pairwise(SHAPE))
    per_sample = sum(2 * nin * nout for nin, nout in pairs) + sum(SHAPE[1:-1]) + 3
    rng = random.Random(1)
    count = max(1, round(nodes / per_sample))
    return [
        ([rng.uniform(-1, 1) for _ in range(SHAPE[0])], rng.uniform(-1, 1)) for _ in range(count)
    ]


def loss(
    w: list[Any], data: list[tuple[list[float], float]], relu: Callable[[Any], Any]
) -> tuple[Any, int]:
    """The squared error, as a learner writes it, and how many operations it took."""
    total: Any = 0.0
    operations = 0
    for x, target in data:
        signal: list[Any] = list(x)
        at = 0
        for nin, nout in pairwise(SHAPE):
            outputs = []
            for _ in range(nout):
                act = w[at + nin]
                for i in range(nin):
                    act = act + w[at + i] * signal[i]
                at += nin + 1
                outputs.append(relu(act) if nout > 1 else act)
            operations += nout * (2 * nin + (nout > 1))
            signal = outputs
        error = signal[0] - target
        total = error * error + total
        operations += 3
    return total, operations


Work = Callable[[list[float], list[tuple[list[float], float]]], tuple[list[float], Any]]


def of_values(value: Any) -> Work:
    """The work on a class of numbers that know `backward()`: ours, and micrograd's."""

    def work(numbers, data):
        w = [value(x) for x in numbers]
        total, _ = loss(w, data, value.relu)
        total.backward()
        return [v.grad for v in w], total

    return work


def gradloom() -> Work:
    from gradloom import Value

    return of_values(Value)


def micrograd() -> Work:
    from micrograd.engine import Value

    return of_values(Value)


def pytorch() -> Work:
    import torch

    torch.set_num_threads(1)

    def work(numbers, data):
        w = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in numbers]
        total, _ = loss(w, data, torch.relu)
        total.backward()
        return [v.grad.item() for v in w], total

    return work


def autograd() -> Work:
    import autograd.numpy as np
    from autograd import grad

    def work(numbers, data):
        found = grad(lambda w: loss(w, data, lambda x: np.maximum(x, 0.0))[0])(numbers)
        return [float(g) for g in found], None

    return work


def casadi() -> Work:
    import casadi

    def work(numbers, data):
        symbols = casadi.SX.sym("w", len(numbers))
        total, _ = loss(casadi.vertsplit(symbols), data, lambda x: casadi.fmax(x, 0.0))
        slope = casadi.Function("slope", [symbols], [casadi.gradient(total, symbols)])
        return [float(g) for g in slope(numbers).full().ravel()], total

    return work


def xad() -> Work:
    import xad.adj_1st as adjoint
    import xad.math

    def work(numbers, data):
        with adjoint.Tape() as tape:
            w = [adjoint.Real(x) for x in numbers]
            tape.registerInputs(w)
            tape.newRecording()
            total, _ = loss(w, data, lambda x: xad.math.max(x, 0.0))
            tape.registerOutput(total)
            total.derivative = 1.0
            tape.computeAdjoints()
            return [v.derivative for v in w], None

    return work


# Name, maker, the distribution that it comes from.
ENGINES: dict[str, tuple[Callable[[], Work], str]] = {
    "gradloom": (gradloom, "gradloom"),
    "xad": (xad, "xad"),
    "micrograd": (micrograd, "micrograd"),
    "pytorch": (pytorch, "torch"),
    "autograd": (autograd, "autograd"),
    "casadi": (casadi, "casadi"),
}


def measure(engine: str, seconds: float) -> dict[str, Any]:
    """The figures of one process: nanoseconds and bytes a node for each size."""
    work = ENGINES[engine][0]()
    numbers = parameters()
    found: dict[str, Any] = {"gradient": work(numbers, samples(1_000))[0], "sizes": {}}
    for size in SIZES:
        data = samples(size)
        _, nodes = loss([0.0] * len(numbers), data, lambda x: x)
        times, frees = [], []
        start = time.perf_counter()
        while len(times) < 3 or time.perf_counter() - start < seconds:
            t0 = time.perf_counter()
            kept = work(numbers, data)
            t1 = time.perf_counter()
            del kept
            frees.append(time.perf_counter() - t1)
            times.append(t1 - t0)
        found["sizes"][str(size)] = {
            "nodes": nodes,
            "ns": statistics.median(times) / nodes * 1e9,
            "free_ns": statistics.median(frees) / nodes * 1e9,
        }
    if engine in ("gradloom", "micrograd"):
        found["bytes"] = bytes_a_node(work, numbers)
    return found


def bytes_a_node(work: Work, numbers: list[float]) -> float:
    """Python's memory held by the large graph after its backward pass, per operation."""
    data = samples(SIZES[-1])
    _, nodes = loss([0.0] * len(numbers), data, lambda x: x)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = work(numbers, data)
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    del kept
    return held / nodes


def compare(versions: dict[str, str], rounds_of_each: int, seconds: float) -> dict[str, Any]:
    """All engines in turn, round after round; medians over the rounds."""
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in versions}
    for _ in range(rounds_of_each):
        for name in versions:
            found, why = child(__file__, ["--engine", name, "--seconds", str(seconds)])
            if found is None:
                raise SystemExit(f"{name} {why}")
            rounds[name].append(found)
    ours = rounds["gradloom"][0]["gradient"]
    table: dict[str, Any] = {}
    for name, runs in rounds.items():
        theirs = runs[0]["gradient"]
        gap = max(abs(a - b) / max(1.0, abs(a)) for a, b in zip(ours, theirs, strict=True))
        if gap > 1e-9:
            raise SystemExit(f"{name} disagrees on the gradient by {gap:.1e}; nothing was compared")
        sizes = {}
        for size in map(str, SIZES):
            of_size = [one["sizes"][size] for one in runs]
            sizes[size] = {
                "nodes": of_size[0]["nodes"],
                **{key: statistics.median(s[key] for s in of_size) for key in ("ns", "free_ns")},
                "spread": [min(s["ns"] for s in of_size), max(s["ns"] for s in of_size)],
            }
        table[name] = {"version": versions[name], "sizes": sizes, "bytes": runs[0].get("bytes")}
    return table


def show(table: dict[str, Any], rounds: int) -> None:
    small, large = map(str, SIZES)
    print(f"{machine()}; medians of {rounds} processes")
    print("build + backward, ns a node (spread), and how many times Gradloom's\n")
    print(f"{'engine':22}{SIZES[0]:>12,} nodes{'':>16}{SIZES[1]:>12,} nodes{'':>16}bytes a node")
    for name, row in table.items():
        line = f"{name + ' ' + row['version']:22}"
        for size in (small, large):
            s = row["sizes"][size]
            ratio = s["ns"] / table["gradloom"]["sizes"][size]["ns"]
            low, high = s["spread"]
            line += f"{s['ns']:>9,.0f} ({low:,.0f}-{high:,.0f})".ljust(24) + f"{ratio:>6.2f} x    "
        print(line + (f"{row['bytes']:>8.0f}" if row["bytes"] else f"{'':>8}"))
    free = table["gradloom"]["sizes"][large]["free_ns"]
    print(f"\nfreeing the large graph: {free:.0f} ns a node more")
    rivals = {name: row for name, row in table.items() if name != "gradloom"}
    for size in (small, large):
        ours = table["gradloom"]["sizes"][size]["ns"]
        behind = [name for name, row in rivals.items() if row["sizes"][size]["ns"] <= ours]
        verdict = f"behind {', '.join(behind)}" if behind else "ahead of all"
        print(f"at {int(size):>7,} nodes: {verdict}")
    ours = table["gradloom"]["bytes"]
    print(f"memory: {ours:.0f} bytes a node, {'within' if ours <= 200 else 'OVER'} the bar of 200")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args()
    if options.engine:
        print(json.dumps(measure(options.engine, options.seconds)))
        return
    rounds, seconds = (1, 0.2) if options.quick else (ROUNDS, options.seconds)
    versions = installed({name: found[1] for name, found in ENGINES.items()})
    table = compare(versions, rounds, seconds)
    show(table, rounds)
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
