"""The same work by everybody: Gradloom's scalar code, and what a user could pick instead.

Training and valuation from `tests/workloads.py`, a step each, with the gradient by every
parameter:

- moons: micrograd's demo, all 100 samples; moons100: 100 updates by gradient descent in one call
  of the engine, if it has such a call;
- gpt: a one-layer character GPT, 8 tokens: loss, gradient and Adam's update; gpt100: 100 updates in
  one call; gpt16, gpt16x100: the same in float32 for 16 texts side by side, the time of one text;
- digits: an epoch of an MLP 64-64-10 on the digits, batches of 64, Adam;
- asian1k, asian100k: an Asian option over 252 steps, 1,000 and 100,000 paths, price and Greeks;
- gmm: ADBench's mixture of Gaussians (d = 10, k = 25, n = 1,000);
- lstm2, lstm4: ADBench's diagonal LSTM of 2 and 4 layers over 1,024 characters.

Gradloom runs the scalar code; the others run arrays written for them by hand (and, where it says
scalars, the same scalar loops). C by hand (`gcc -O3 -march=native -ffast-math`) is the limit. What
each does is in `benchmarks/peers/`. Every run is a process of its own, and the processes take
turns. Before a process is timed, its results must agree with NumPy's by hand: with one thread, and
with two where the work is parallel.

Two more tables: from the first call to the first gradient, with an empty and with a filled cache;
and the cost of a scalar node, from 1,000 to 10,000,000 of them.

    python benchmarks/native.py                # all that is installed
    python benchmarks/native.py --json FILE    # the figures as JSON too
    python benchmarks/native.py --quick        # one short round, to see that it runs
    python benchmarks/native.py --case moons --case gpt --only "C by hand" --only JAX
    python benchmarks/native.py --limit 600    # seconds for a process, 180 unless told

It needs NumPy and scikit-learn; the peers come with `pip install -e '.[bench]'`.
"""

import argparse
import functools
import importlib
import json
import statistics
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

from common import Stages, child, installed, machine, sampled, timed
from peers import PARTS, Maker, c, data, flat

MODULES = ("ours", "c", "by_hand", "jax_peer", "pytorch", "others")
REFERENCE = "NumPy by hand"
LIMIT_OF_ALL = "C by hand"
OURS = "Gradloom"
PARALLEL = ("digits", "asian1k", "asian100k", "gmm")  # worth a second thread
SHORT = ("moons", "gpt", "gpt16", "digits", "asian1k", "gmm")  # with --quick
FIRST = {"moons": 0.15, "gpt": 0.3, "asian1k": 0.15}  # seconds to the first gradient, at most
# What a step of ours may take: so many times C's, and microseconds for the call from Python.
BARS = {
    "moons": (1.3, 2.0),
    "moons100": (1.3, 0.0),
    "gpt": (1.5, 0.0),
    "gpt100": (1.5, 0.0),
    "gpt16": (1.5, 0.0),
    "gpt16x100": (1.5, 0.0),
    "asian1k": (1.3, 0.0),
    "asian100k": (1.3, 0.0),
    "gmm": (1.5, 0.0),
    "lstm2": (1.5, 0.0),
    "lstm4": (1.5, 0.0),
}
RIVALS = ("NumPy by hand", "JAX", "PyTorch", "torch.compile", "scikit-learn")
LANES_GAIN = 5.0  # times that one of 16 texts is to be faster than one alone
SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)  # nodes
TRACED = 1_000_000  # nodes up to which memory is looked at
ROUNDS = 3  # processes for each engine, case and number of threads
SECONDS = 1.0  # of timing in each process, at least three repetitions
SLOW = 20.0  # seconds to the first result, above which one process is enough
LIMIT = 180.0  # seconds for a process, preparation included
TOLERANCE = 1e-9  # relative to the largest number of a part
# What a case or an engine may be off by: float32; another place for Adam's epsilon.
TOLERANCES = {"gpt16": 1e-5, "gpt16x100": 1e-3, "scikit-learn": 1e-5}

ENGINES: dict[str, tuple[str, dict[str, Maker]]] = {
    name: found
    for module in MODULES
    for name, found in importlib.import_module(f"peers.{module}").ENGINES.items()
}


def parts(case: str, found: Any) -> dict[str, list[float]]:
    """What an engine's check returned, by name."""
    named = found if isinstance(found, dict) else dict(zip(PARTS[case], found, strict=True))
    return {name: flat(part) for name, part in named.items()}


def gap(found: dict[str, list[float]], reference: dict[str, list[float]]) -> float:
    """The largest difference, relative to the largest number of its part."""
    return max(
        max(abs(a - b) for a, b in zip(found[name], reference[name], strict=True))
        / max(map(abs, reference[name]))
        for name in found
    )


def measure(
    engine: str, case: str, threads: int, seconds: float, reference: dict[str, Any] | None
) -> Any:
    """The figures of one process: what happens once in seconds, a step in microseconds.

    Raises:
        SystemExit: the results are not the reference's.
    """
    start = time.perf_counter()
    prepared = ENGINES[engine][1][case](threads)
    found = parts(case, prepared.check())
    first = time.perf_counter() - start
    if reference is None:
        return found
    difference = gap(found, reference)
    if not difference <= max(TOLERANCES.get(name, TOLERANCE) for name in (case, engine)):
        raise SystemExit(f"disagrees by {difference:.1e}; it was not timed")
    times = [prepared.seconds()] if prepared.seconds else sampled(prepared.run, seconds)
    us = 1e6 / prepared.steps
    return {
        "stages": prepared.stages,
        "first": first,
        "gap": difference,
        "us": statistics.median(times) * us,
        "best": min(times) * us,
    }


def compare(
    case: str, threads: int, engines: list[str], rounds: int, seconds: float, limit: float
) -> dict[str, Any]:
    """All engines in turn, round after round; medians over the rounds."""
    runs: dict[str, list[Any]] = {name: [] for name in engines if case in ENGINES[name][1]}
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        reference = Path(folder) / "reference.json"
        found, why = child(__file__, ["--engine", REFERENCE, "--case", case], limit)
        if found is None:
            raise SystemExit(f"{case}: the reference {why}")
        reference.write_text(json.dumps(found))
        for _ in range(rounds):
            for name, done in runs.items():
                if name in failed or (done and done[0]["first"] > SLOW):
                    continue
                options = ["--engine", name, "--case", case, "--threads", str(threads)]
                options += ["--seconds", str(seconds), "--reference", str(reference)]
                found, why = child(__file__, options, limit, threads)
                if found is None:
                    failed[name] = why
                else:
                    done.append(found)
    table: dict[str, Any] = {}
    for name, done in runs.items():
        if name in failed:
            table[name] = {"failed": failed[name]}
            continue
        steps = [one["us"] for one in done]
        table[name] = {
            "us": statistics.median(steps),
            "spread": [min(steps), max(steps)],
            "best": min(one["best"] for one in done),
            "gap": max(one["gap"] for one in done),
            "stages": {
                stage: statistics.median(one["stages"][stage] for one in done)
                for stage in done[0]["stages"]
            },
        }
    return table


def show_case(case: str, threads: int, table: dict[str, Any]) -> None:
    title = f"{case}, {'one thread' if threads == 1 else f'{threads} threads'}"
    print(f"\n{title:24}{'a step, µs (at best)':>36}{'× C':>10}{'× ours':>10}    once, s")
    for name, row in sorted(table.items(), key=lambda item: item[1].get("us", float("inf"))):
        if "failed" in row:
            print(f"{name:24}{row['failed'][:60]:>36}")
            continue
        step = f"{_us(row['us'])} ({_us(row['best'])})"
        ratios = "".join(
            f"{row['us'] / table[other]['us']:>10.2f}"
            if table.get(other, {}).get("us")
            else " " * 10
            for other in (LIMIT_OF_ALL, OURS)
        )
        once = ", ".join(f"{stage} {seconds:.3f}" for stage, seconds in row["stages"].items())
        print(f"{name:24}{step:>36}{ratios}    {once or '-'}", flush=True)


def _us(us: float) -> str:
    return f"{us:,.2f}" if us < 1_000 else f"{us:,.0f}"


def show_bars(case: str, cases: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Whether ours is as near to C, and as far ahead of the others, as it should be."""
    table = cases[case].get("1", {})
    us = {name: row["us"] for name, row in table.items() if "us" in row}
    if OURS not in us:
        return
    if case in BARS and LIMIT_OF_ALL in us:
        factor, extra = BARS[case]
        bar = factor * us[LIMIT_OF_ALL] + extra
        print(f"{OURS}: {us[OURS]:,.2f} µs, {_bar(us[OURS], bar)}")
    rivals = [name for name in RIVALS if name in us]
    behind = [name for name in rivals if us[name] <= us[OURS]]
    if rivals:
        words = f"BEHIND {', '.join(behind)}" if behind else f"ahead of {', '.join(rivals)}"
        print(f"{OURS}: {words}")
    alone = {"gpt16": "gpt", "gpt16x100": "gpt100"}.get(case, "")
    one = cases.get(alone, {}).get("1", {}).get(OURS, {}).get("us")
    if one:
        gain = one / us[OURS]
        print(
            f"{OURS}: a text in 1/{gain:.1f} of the time of one alone, {_least(gain, LANES_GAIN)}"
        )


# From the first call to the first gradient


def first_gradient(case: str) -> dict[str, float]:
    """From the first call of a function to what that gives, gradient and update included.

    The function is given to Gradloom before: to `compile(...).bind` (moons), `training_step` (gpt),
    `vmap(..., reduce="mean").bind` (asian1k). What it imports at its first call is in the time.
    """
    from peers import ours

    if case == "gpt":
        _, _, update = ours.training(case)
        call = functools.partial(update, 1)
    else:
        call, _ = ours.gradient(case, 1)
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def compare_first(rounds: int, limit: float) -> dict[str, Any]:
    """With an empty cache and with what the process before left in it; medians."""
    table: dict[str, Any] = {}
    for case in FIRST:
        runs: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                for done in runs.values():
                    variables = {"GRADLOOM_CACHE": str(Path(folder) / "cache")}
                    found, why = child(__file__, ["--first", case], limit, 1, variables)
                    if found is None:
                        raise SystemExit(f"first gradient of {case}: {why}")
                    done.append(found)
        table[case] = {
            name: {key: statistics.median(one[key] for one in done) for key in done[0]}
            for name, done in runs.items()
        }
    return table


def show_first(table: dict[str, Any]) -> None:
    print("\nfrom the first call to the first gradient, s (of it the processor's)")
    for case, row in table.items():
        words = [
            f"{name} cache {row[key]['wall']:.3f} ({row[key]['cpu']:.3f}), "
            f"{_bar(row[key]['wall'], bar)}"
            for key, name, bar in (
                ("cold", "empty", FIRST[case]),
                ("warm", "filled", FIRST[case] / 3),
            )
        ]
        print(f"{case:12}{'; '.join(words)}")


# The cost of a node


def a_node(nodes: int) -> dict[str, float]:
    """Nanoseconds and bytes a node for the moons demo with so many samples, stage by stage."""
    from gradloom.backends.choice import Options, maker
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

    # 658 nodes a sample, and those of the penalty.
    work = data.workloads.moons(max(1, round((nodes - 1_656) / 658)))
    rounds: list[Stages] = []
    for _ in range(max(1, min(100, 500_000 // nodes))):
        rounds.append({})
        graph, _, reverse = make(rounds[-1])
    count = len(graph)
    middle = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    found = {f"{name}_ns": seconds / count * 1e9 for name, seconds in middle.items()}
    found["once_ns"] = sum(found.values())
    stages: Stages = {}
    with timed(stages, "compile"):
        runner = maker(reverse, Options())(None)
    inputs = [*data.workloads.arguments_flat(work.arguments), 1.0]
    numbers = data.np.array([p.data for p in reverse.values])
    inputs = data.np.array(inputs)
    found["compile_s"] = stages["compile"]
    runs = sampled(lambda: runner.run(inputs, numbers), 0.5)
    found["run_ns"] = statistics.median(runs) / count * 1e9
    found["nodes"] = count
    if nodes <= TRACED:
        del graph, reverse, runner
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        kept = make({})
        held, peak = (now - before for now in tracemalloc.get_traced_memory())
        del kept
        found |= {"held": held / count, "peak": peak / count}
    return found


def compare_nodes(sizes: tuple[int, ...], rounds: int, limit: float) -> dict[str, Any]:
    """`a_node` for each size in processes of their own; medians."""
    table: dict[str, Any] = {}
    for size in sizes:
        runs = []
        for _ in range(rounds):
            found, why = child(__file__, ["--nodes", str(size)], limit)
            if found is None:
                raise SystemExit(f"{size} nodes: {why}")
            runs.append(found)
        table[str(size)] = {key: statistics.median(one[key] for one in runs) for key in runs[0]}
    return table


def show_nodes(table: dict[str, Any], judged: bool) -> None:
    print("\na scalar node (moons, more samples), ns; compiling in all, s; bytes a node")
    for row in table.values():
        memory = f"{row['held']:.0f} kept, {row['peak']:.0f} at the peak" if "held" in row else "-"
        print(
            f"{row['nodes']:>12,.0f} nodes: once {row['once_ns']:,.0f} "
            f"(record {row['record_ns']:,.0f}, weave {row['weave_ns']:,.0f}, "
            f"adjoint {row['adjoint_ns']:,.0f}), compile {row['compile_s']:.3f}, "
            f"a run {row['run_ns']:.3f}; {memory}"
        )
    if not judged:
        return
    for name, words in (("once_ns", "recording and weaving"), ("run_ns", "a run")):
        costs = [row[name] for row in table.values()]
        growth = max(cost / min(costs[: i + 1]) for i, cost in enumerate(costs))
        print(
            f"{words}: dearest to cheapest {max(costs) / min(costs):.2f}; "
            f"to the cheapest of less work {growth:.2f}, {_bar(growth, 1.5)}"
        )


def _bar(figure: float, bar: float) -> str:
    return f"{'within' if figure <= bar else 'OVER'} the bar of {bar:.3g}"


def _least(figure: float, bar: float) -> str:
    return f"{'within' if figure >= bar else 'SHORT OF'} the bar of {bar:.3g}"


def at_hand(only: list[str]) -> dict[str, str]:
    """The engines asked for that can run, with their versions."""
    wanted = {name: found[0] for name, found in ENGINES.items() if not only or name in only}
    versions = installed(wanted)
    if LIMIT_OF_ALL in versions and (why := c.missing()):
        print(f"{LIMIT_OF_ALL}: {why}, left out")
        del versions[LIMIT_OF_ALL]
    return versions


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=PARTS, action="append", help="this one; may be repeated")
    parser.add_argument("--only", choices=ENGINES, action="append", metavar="ENGINE", default=[])
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds for a process")
    parser.add_argument(
        "--threads", type=int, help="so many alone; else one, and two where it pays"
    )
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of timing in a process")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="processes of each kind")
    for hidden, kind in (("engine", str), ("reference", Path), ("first", str), ("nodes", int)):
        parser.add_argument(f"--{hidden}", type=kind, help=argparse.SUPPRESS)
    return parser.parse_args()


def as_child(told: argparse.Namespace) -> Any:
    """What a process of its own is to find out, or None in the parent."""
    if told.nodes:
        return a_node(told.nodes)
    if told.first:
        return first_gradient(told.first)
    if told.engine:
        known = json.loads(told.reference.read_text()) if told.reference else None
        return measure(told.engine, told.case[0], told.threads or 1, told.seconds, known)
    return None


def main() -> None:
    told = options()
    found = as_child(told)
    if found is not None:
        print(json.dumps(found))
        return
    rounds, seconds, sizes = told.rounds, told.seconds, SIZES
    cases = told.case or list(PARTS)
    if told.quick:
        rounds, seconds, sizes = 1, 0.0, SIZES[1:3]
        cases = told.case or list(SHORT)
    versions = at_hand(told.only)
    from_where = {ENGINES[name][0]: version for name, version in versions.items()}
    print(f"{machine()}, {', '.join(f'{name} {v}' for name, v in from_where.items())}")
    print(f"medians of {rounds} processes")
    figures: dict[str, Any] = {"machine": machine(), "versions": versions, "cases": {}}
    for case in cases:
        figures["cases"][case] = {}
        several = (1, 2) if case in PARALLEL and not told.quick else (1,)
        for threads in (told.threads,) if told.threads else several:
            table = compare(case, threads, list(versions), rounds, seconds, told.limit)
            figures["cases"][case][str(threads)] = table
            show_case(case, threads, table)
        show_bars(case, figures["cases"])
    if not told.case and not told.only:
        figures["first"] = compare_first(rounds, told.limit)
        show_first(figures["first"])
        figures["nodes"] = compare_nodes(sizes, 1 if told.quick else rounds, 10 * told.limit)
        show_nodes(figures["nodes"], judged=not told.quick)
    if told.json:
        told.json.write_text(json.dumps(figures, indent=1) + "\n")
    wrong = failures(figures["cases"])
    if wrong:
        raise SystemExit("\n" + "\n".join(wrong))


def failures(cases: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """Who gave no result or a wrong one, slowness apart."""
    return [
        f"{case}, {name}: {row['failed']}"
        for case, by_threads in cases.items()
        for table in by_threads.values()
        for name, row in table.items()
        if not row.get("failed", "over").startswith("over")
    ]


if __name__ == "__main__":
    main()
