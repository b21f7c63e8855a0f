"""What does a replay cost? Scalar code, recorded once, against arrays written by hand.

Four pieces of work from `tests/workloads.py`, value and gradient by every parameter: micrograd's
moons demo (100 samples), a step of a one-layer character GPT, the log-likelihood of a mixture of
Gaussians, and an Asian option over 1,000 paths. Each is run

- eagerly by Gradloom, node by node;
- compiled by Gradloom from the same loops, as one writes it: `gl.compile` (of the option, whose one
  path is recorded and all are lanes, `gl.vmap`), then `backward()` on the result;
- by the program behind that alone: recorded, woven, reversed, and replayed with NumPy, derivatives
  left in an array;
- by PyTorch (eager) and by JAX (`jit`), vectorised by hand as one would write it for them;
- by PyTorch and by JAX from the same scalar loops as ours, up to a time limit (of the option all
  paths at once: each number in the loop is an array of 1,000).

Every run is a process of its own, with one thread, in float64; the processes take turns. Before a
process is timed, its value and gradient must agree with the eager engine's. What happens once
(recording and weaving; tracing and compiling) is timed apart from what happens at each step.

The last part is the cost of recording and weaving a node, at 100,000 and 1,000,000 nodes.

    python benchmarks/compiled.py              # all that is installed
    python benchmarks/compiled.py --json FILE  # the figures as JSON too
    python benchmarks/compiled.py --quick      # one short round, to see that it runs
    python benchmarks/compiled.py --limit 600  # seconds for a process, 180 unless told

It needs NumPy; the peers come with `pip install -e '.[bench]'`.
"""

import argparse
import importlib.metadata
import json
import math
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import workloads

CASES = {
    "moons": workloads.moons,
    "gpt": workloads.gpt,
    "mixture": workloads.mixture,
    "asian": workloads.asian_option,
}
PATHS = 1_000  # of the Asian option
SIZES = (100_000, 1_000_000)  # nodes to record and weave
ROUNDS = 3  # processes for each engine and case
SECONDS = 1.5  # of timing in each process, at least three repetitions
SLOW = 20.0  # seconds to the first result, above which one process is enough
LIMIT = 180.0  # seconds for a process, preparation included
TOLERANCE = 1e-9  # relative to the largest derivative

# One thread for everybody.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}

Run = Callable[[], tuple[Any, Any]]  # the value and the derivatives, as the engine keeps them
Stages = dict[str, float]  # what happens once, in seconds


@contextmanager
def timed(stages: Stages, name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    stages[name] = time.perf_counter() - start


def normals() -> np.ndarray:
    """The chance in the Asian option: a row of steps for each path."""
    (steps,) = workloads.asian_option().arguments
    rng = random.Random(2)
    return np.array([[rng.gauss(0.0, 1.0) for _ in steps] for _ in range(PATHS)])


# Gradloom


def eager(case: str) -> tuple[Run, Stages]:
    """Node by node; the option path by path, so that one graph at a time is held."""
    work = CASES[case]()
    points = normals().tolist() if case == "asian" else None

    def run() -> tuple[float, list[float]]:
        for p in work.parameters:
            p.grad = 0.0
        if points is None:
            total = work.function(*work.arguments)
            total.backward()
            return total.data, [p.grad for p in work.parameters]
        value = 0.0
        for path in points:
            share = work.function(path) * (1.0 / PATHS)
            share.backward()
            value += share.data
        return value, [p.grad for p in work.parameters]

    return run, {}


def compiled(case: str) -> tuple[Run, Stages]:
    """What a user writes; the first call and the first `backward()` are what happens once."""
    import gradloom as gl

    work = CASES[case]()
    if case == "asian":
        mapped, arguments = gl.vmap(work.function), (normals(),)

        def f(paths: np.ndarray) -> Any:
            return gl.sum(mapped(paths)) / PATHS
    else:
        f, arguments = gl.compile(work.function), work.arguments
    stages: Stages = {}
    with timed(stages, "first call"):
        total = f(*arguments)
    with timed(stages, "first backward"):
        total.backward()

    def run() -> tuple[float, list[float]]:
        for p in work.parameters:
            p.grad = 0.0
        total = f(*arguments)
        total.backward()
        return total.data, [p.grad for p in work.parameters]

    return run, stages


def program(case: str) -> tuple[Run, Stages]:
    """Recorded once; then each run reads the parameters afresh and replays the adjoint."""
    from gradloom.backends.numpy import Runner
    from gradloom.loom.adjoint import adjoint
    from gradloom.loom.record import record
    from gradloom.loom.weave import weave

    work = CASES[case]()
    count = len(workloads.arguments_flat(work.arguments))
    lanes = PATHS if case == "asian" else None
    stages: Stages = {}
    with timed(stages, "record"):
        graph, _ = record(work.function, *work.arguments)
    with timed(stages, "weave"):
        forward = weave(graph, lanes=range(count) if lanes else ())
    with timed(stages, "adjoint"):
        reverse = adjoint(forward, forward.parameters)
        runner = Runner(reverse, lanes)
    inputs: Any = np.array([*workloads.arguments_flat(work.arguments), 1.0])
    if lanes:
        inputs = [*normals().T, np.full(PATHS, 1.0 / PATHS)]
    place = {id(p): i for i, p in enumerate(work.parameters)}
    places = [place[id(p)] for p in reverse.values]
    gradient = np.zeros(len(place))  # tokens that do not occur keep 0

    def run() -> tuple[Any, Any]:
        results = runner.run(inputs)
        gradient[places] = results[1:] if lanes is None else results[1:, 0]
        return results[0].mean(), gradient

    return run, stages


# The work as one writes it for arrays; `xp` has what PyTorch and JAX name differently.


def moons_arrays(xp: Any, w: list[Any], xs: Any, ys: Any) -> Any:
    signal = xs
    for i, layer in enumerate(w):
        signal = signal @ layer[:, :-1].T + layer[:, -1]
        signal = xp.relu(signal) if i + 1 < len(w) else signal
    data_loss = xp.relu(1.0 - ys * signal[:, 0]).mean()
    return data_loss + 1e-4 * sum((layer * layer).sum() for layer in w)


def gpt_arrays(xp: Any, w: list[Any], text: Any, mask: Any) -> Any:
    token, position, query, key, value, project, up, down, head = w
    tokens, width, heads = len(text) - 1, workloads.WIDTH, workloads.HEADS
    size = width // heads

    def rms_norm(x: Any) -> Any:
        return x * ((x * x).mean(-1)[:, None] + 1e-5) ** -0.5

    def split(x: Any) -> Any:
        return x.reshape(tokens, heads, size).swapaxes(0, 1)

    x = token[text[:-1]] + position
    normed = rms_norm(x)
    q, k, v = (split(normed @ matrix.T) for matrix in (query, key, value))
    weights = xp.softmax(q @ k.swapaxes(1, 2) / size**0.5 + mask)
    x = (weights @ v).swapaxes(0, 1).reshape(tokens, width) @ project.T + x
    x = xp.relu(rms_norm(x) @ up.T) @ down.T + x
    logits = x @ head.T
    return (xp.logsumexp(logits) - logits[xp.arange(tokens), text[1:]]).mean()


def mixture_arrays(xp: Any, w: list[Any], xs: Any) -> Any:
    logits, means, log_widths = w
    scaled = (xs[:, None, :] - means) * xp.exp(-log_widths)
    constant = 0.5 * xs.shape[1] * math.log(2 * math.pi)
    density = -0.5 * (scaled**2).sum(-1) - log_widths.sum(-1) - constant
    return xp.logsumexp(logits + density).sum() - len(xs) * xp.logsumexp(logits)


def asian_arrays(xp: Any, w: list[Any], z: Any) -> Any:
    spot, rate, volatility, strike = w
    dt = 1.0 / z.shape[1]
    growth = (rate - 0.5 * volatility**2) * dt + volatility * math.sqrt(dt) * z
    mean = (spot * xp.exp(xp.cumsum(growth))).mean(1)
    return (xp.exp(-rate) * xp.relu(mean - strike)).mean()


ARRAYS: dict[str, Callable[..., Any]] = {
    "moons": moons_arrays,
    "gpt": gpt_arrays,
    "mixture": mixture_arrays,
    "asian": asian_arrays,
}


def array_arguments(case: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The parameters in the order of `Workload.parameters` as arrays, and the data."""
    work = CASES[case](number=float)
    flat = np.array(work.parameters)
    shapes = {
        "moons": [(16, 3), (16, 17), (1, 17)],
        "gpt": [(27, 16), (8, 16), *[(16, 16)] * 4, (64, 16), (16, 64), (27, 16)],
        "mixture": [(5,), (5, 3), (5, 3)],
        "asian": [()] * 4,
    }[case]
    cuts = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    parts = [part.reshape(s) for part, s in zip(np.split(flat, cuts), shapes, strict=True)]
    if case == "gpt":
        size = workloads.TOKENS
        return parts, [np.array(workloads.gpt_text()), np.triu(np.full((size, size), -np.inf), 1)]
    if case == "asian":
        return parts, [normals()]
    return parts, [np.array(x) for x in work.arguments]


# PyTorch


def torch_arrays(case: str) -> tuple[Run, Stages]:
    import torch

    torch.set_num_threads(1)
    xp = SimpleNamespace(
        exp=torch.exp,
        relu=torch.relu,
        arange=torch.arange,
        softmax=lambda x: torch.softmax(x, -1),
        logsumexp=lambda x: torch.logsumexp(x, -1),
        cumsum=lambda x: torch.cumsum(x, 1),
    )
    parts, data = array_arguments(case)
    w = [torch.tensor(part, requires_grad=True) for part in parts]
    data = [torch.tensor(x) for x in data]

    def run() -> tuple[Any, Any]:
        total = ARRAYS[case](xp, w, *data)
        return total.detach(), torch.autograd.grad(total, w)

    return run, {}


def torch_scalars(case: str) -> tuple[Run, Stages]:
    import torch

    torch.set_num_threads(1)
    fn = SimpleNamespace(
        exp=torch.exp,
        relu=torch.relu,
        softmax=lambda xs: torch.softmax(torch.stack(xs), -1).unbind(),
        logsumexp=lambda xs: torch.logsumexp(torch.stack(list(xs)), -1),
    )
    work = CASES[case](
        number=lambda x: torch.tensor(x, dtype=torch.float64, requires_grad=True), fn=fn
    )
    arguments = work.arguments
    if case == "asian":
        arguments = ([torch.tensor(z) for z in normals().T],)

    def run() -> tuple[Any, Any]:
        total = work.function(*arguments).mean()
        return total.detach(), torch.autograd.grad(total, work.parameters, materialize_grads=True)

    return run, {}


# JAX


def jax_compiled(f: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Run, Stages]:
    """Value and gradient by the first argument, compiled ahead of time."""
    import jax

    stages: Stages = {}
    with timed(stages, "trace"):
        lowered = jax.jit(jax.value_and_grad(f)).lower(*arguments)
    with timed(stages, "compile"):
        step = lowered.compile()
    return lambda: jax.block_until_ready(step(*arguments)), stages


def jax_module() -> Any:
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax


def jax_arrays(case: str) -> tuple[Run, Stages]:
    jax = jax_module()
    xp = SimpleNamespace(
        exp=jax.numpy.exp,
        relu=jax.nn.relu,
        arange=jax.numpy.arange,
        softmax=lambda x: jax.nn.softmax(x, -1),
        logsumexp=lambda x: jax.scipy.special.logsumexp(x, -1),
        cumsum=lambda x: jax.numpy.cumsum(x, 1),
    )
    parts, data = array_arguments(case)
    w = [jax.numpy.asarray(part) for part in parts]
    return jax_compiled(
        lambda w, data: ARRAYS[case](xp, w, *data), (w, [jax.numpy.asarray(x) for x in data])
    )


def jax_scalars(case: str) -> tuple[Run, Stages]:
    """The parameters come as one vector: thousands of arguments would cost more than the work."""
    jax = jax_module()

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
    plain = CASES[case](number=float)

    def loss(w: Any, data: list[Any]) -> Any:
        numbers = iter(scalars(w))
        work = CASES[case](number=lambda _: next(numbers), fn=fn)
        if case == "asian":
            return work.function(list(data[0])).mean()
        return work.function(*map(scalars, data))

    w = jax.numpy.asarray(plain.parameters)
    data = [normals().T] if case == "asian" else [np.array(x) for x in plain.arguments]
    return jax_compiled(loss, (w, [jax.numpy.asarray(x) for x in data]))


# Name, maker, the distribution that it comes from.
ENGINES: dict[str, tuple[Callable[[str], tuple[Run, Stages]], str]] = {
    "Gradloom eager": (eager, "gradloom"),
    "Gradloom compiled": (compiled, "gradloom"),
    "Gradloom program": (program, "gradloom"),
    "PyTorch arrays": (torch_arrays, "torch"),
    "JAX arrays": (jax_arrays, "jax"),
    "PyTorch scalars": (torch_scalars, "torch"),
    "JAX scalars": (jax_scalars, "jax"),
}
REFERENCE = "Gradloom eager"


def flat(nested: Any) -> list[float]:
    """What an engine keeps derivatives in, as floats."""
    if isinstance(nested, (list, tuple)):
        return [x for part in nested for x in flat(part)]
    return np.asarray(nested, dtype=float).ravel().tolist()


def measure(engine: str, case: str, seconds: float, reference: dict[str, Any] | None) -> Any:
    """The figures of one process: what happens once in seconds, a step in microseconds.

    Raises:
        SystemExit: value or gradient are not the reference's.
    """
    start = time.perf_counter()
    run, stages = ENGINES[engine][0](case)
    value, gradient = (flat(x) for x in run())
    if reference:
        largest = max(map(abs, reference["gradient"]))
        gaps = [abs(a - b) for a, b in zip(gradient, reference["gradient"], strict=True)]
        gap = max(max(gaps) / largest, abs(value[0] / reference["value"] - 1.0))
        if not gap <= TOLERANCE:
            raise SystemExit(f"disagrees on value or gradient by {gap:.1e}; it was not timed")
    found: dict[str, Any] = {"stages": stages, "first": time.perf_counter() - start}
    if reference is None:
        found |= {"value": value[0], "gradient": gradient}
    times: list[float] = []
    start = time.perf_counter()
    while not times or time.perf_counter() - start < seconds or (seconds and len(times) < 3):
        t0 = time.perf_counter()
        run()
        times.append(time.perf_counter() - t0)
    found["us"] = statistics.median(times) * 1e6
    return found


def moons_of(nodes: int) -> workloads.Workload:
    """The moons demo with as many samples as make about this many nodes."""
    return workloads.moons(round(nodes / 658))


def weaving(nodes: int) -> dict[str, float]:
    """Seconds and bytes a node to make a graph of this size and its program, stage by stage."""
    from gradloom.loom.adjoint import adjoint
    from gradloom.loom.record import record
    from gradloom.loom.weave import weave

    def make(stages: Stages) -> Any:
        with timed(stages, "record"):
            graph, _ = record(work.function, *work.arguments)
        with timed(stages, "weave"):
            program = weave(graph)
        with timed(stages, "adjoint"):
            reverse = adjoint(program, program.parameters)
        return graph, program, reverse

    work = moons_of(nodes)
    rounds: list[Stages] = []
    for _ in range(max(1, 500_000 // nodes)):
        rounds.append({})
        count = len(make(rounds[-1])[0])
    middle = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    found = {f"{name}_ns": seconds / count * 1e9 for name, seconds in middle.items()}
    found["ns"] = sum(found.values())
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = make({})
    held, peak = (bytes_now - before for bytes_now in tracemalloc.get_traced_memory())
    tracemalloc.stop()
    del kept
    return {**found, "nodes": count, "held": held / count, "peak": peak / count}


# The parent: a process for each engine and case, in turns.


def child(arguments: list[str], limit: float) -> tuple[Any, str]:
    """What a process of this script printed, or why there is nothing."""
    command = [sys.executable, __file__, *arguments]
    environment = {**os.environ, **ENVIRONMENT}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return None, f"over {limit:.0f} s"
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments[:4])} failed:\n{done.stderr}")
    return json.loads(done.stdout), ""


def installed() -> dict[str, str]:
    """The engines at hand and their versions."""
    versions = {}
    for name, (_, distribution) in ENGINES.items():
        try:
            versions[name] = importlib.metadata.version(distribution).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            print(f"{name}: not installed, left out (pip install -e '.[bench]')")
    return versions


def compare(case: str, engines: list[str], rounds: int, seconds: float, limit: float) -> Any:
    """All engines in turn, round after round; medians over the rounds."""
    runs: dict[str, list[Any]] = {name: [] for name in engines}
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        reference = Path(folder) / "reference.json"
        found, _ = child(["--engine", REFERENCE, "--case", case, "--seconds", "0"], 10 * limit)
        reference.write_text(json.dumps(found))
        for _ in range(rounds):
            for name in engines:
                if name in failed or (runs[name] and runs[name][0]["first"] > SLOW):
                    continue
                options = ["--engine", name, "--case", case, "--seconds", str(seconds)]
                found, why = child([*options, "--reference", str(reference)], limit)
                if found is None:
                    failed[name] = why
                else:
                    runs[name].append(found)
    table: dict[str, Any] = {}
    for name in engines:
        if name in failed:
            table[name] = {"failed": failed[name]}
            continue
        steps = [one["us"] for one in runs[name]]
        table[name] = {
            "us": statistics.median(steps),
            "spread": [min(steps), max(steps)],
            "stages": {
                stage: statistics.median(one["stages"][stage] for one in runs[name])
                for stage in runs[name][0]["stages"]
            },
        }
    return table


def scaling(sizes: tuple[int, ...], rounds: int) -> dict[str, Any]:
    """`weaving` for each size in processes of their own; medians."""
    runs: dict[int, list[Any]] = {size: [] for size in sizes}
    for _ in range(rounds):
        for size in sizes:
            runs[size].append(child(["--weave", str(size)], 600.0)[0])
    return {
        str(size): {key: statistics.median(one[key] for one in of_size) for key in of_size[0]}
        for size, of_size in runs.items()
    }


def show_case(case: str, table: dict[str, Any]) -> None:
    ours = table["Gradloom compiled"].get("us")
    print(f"\n{case:20}{'a step, µs (spread)':>32}{'x compiled':>14}    once, s")
    for name, row in table.items():
        if "failed" in row:
            print(f"{name:20}{row['failed']:>32}")
            continue
        low, high = row["spread"]
        step = f"{row['us']:,.0f} ({low:,.0f}-{high:,.0f})"
        ratio = f"{row['us'] / ours:.2f}" if ours else ""
        once = ", ".join(f"{stage} {seconds:.3f}" for stage, seconds in row["stages"].items())
        print(f"{name:20}{step:>32}{ratio:>14}    {once or '-'}")


def show_scaling(table: dict[str, Any]) -> None:
    print("\nrecording and weaving (moons, more samples): a node")
    for row in table.values():
        print(
            f"{row['nodes']:>12,.0f} nodes: {row['ns']:,.0f} ns "
            f"(record {row['record_ns']:,.0f}, weave {row['weave_ns']:,.0f}, "
            f"adjoint {row['adjoint_ns']:,.0f}), "
            f"{row['held']:.0f} bytes kept, {row['peak']:.0f} at the peak"
        )


def show_bars(table: dict[str, Any]) -> None:
    """Whether recording and weaving cost what they may."""
    small, large = table.values()
    growth = large["ns"] / small["ns"]
    print(f"time a node grows {growth:.2f} times, {_bar(growth, 1.3)}")
    print(f"time a node {large['ns'] / 1e3:.2f} µs, {_bar(large['ns'] / 1e3, 3.0)}")
    print(f"memory a node {large['peak']:.0f} bytes, {_bar(large['peak'], 100.0)}")


def _bar(figure: float, bar: float) -> str:
    return f"{'within' if figure <= bar else 'OVER'} the bar of {bar:g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--reference", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--weave", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=CASES, help="this one alone")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds for a process")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args()
    if options.weave:
        print(json.dumps(weaving(options.weave)))
        return
    if options.engine:
        known = json.loads(options.reference.read_text()) if options.reference else None
        print(json.dumps(measure(options.engine, options.case, options.seconds, known)))
        return
    rounds, seconds, sizes = ROUNDS, options.seconds, SIZES
    if options.quick:
        rounds, seconds, sizes = 1, 0.0, (SIZES[0] // 10, SIZES[1] // 10)
    versions = installed()
    known = {ENGINES[name][1]: version for name, version in versions.items()}
    told = ", ".join(f"{name} {version}" for name, version in known.items())
    print(
        f"Python {platform.python_version()}, {platform.machine()}, numpy {np.__version__}, {told}"
    )
    print(f"one thread; medians of {rounds} processes")
    figures: dict[str, Any] = {"versions": versions, "cases": {}}
    for case in [options.case] if options.case else CASES:
        table = compare(case, list(versions), rounds, seconds, options.limit)
        figures["cases"][case] = table
        show_case(case, table)
    figures["scaling"] = scaling(sizes, rounds)
    show_scaling(figures["scaling"])
    if not options.quick:
        show_bars(figures["scaling"])
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
