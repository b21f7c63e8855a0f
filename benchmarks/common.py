"""What the benchmarks share: processes that take turns, what is installed, and the clock."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Stages = dict[str, float]  # what happens once, in seconds


def environment(threads: int) -> dict[str, str]:
    """So many threads for everybody."""
    several = "true" if threads > 1 else "false"
    return {
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={several} "
        f"intra_op_parallelism_threads={threads}",
    }


@contextmanager
def timed(stages: Stages, name: str) -> Iterator[None]:
    """Adds the seconds that the block takes to `stages`."""
    start = time.perf_counter()
    yield
    stages[name] = time.perf_counter() - start


def sampled(run: Callable[[], object], seconds: float) -> list[float]:
    """What calls took, over so many seconds and at least three calls; of 0 seconds one call."""
    times: list[float] = []
    start = time.perf_counter()
    while not times or time.perf_counter() - start < seconds or (seconds and len(times) < 3):
        t0 = time.perf_counter()
        run()
        times.append(time.perf_counter() - t0)
    return times


def child(
    script: str,
    arguments: list[str],
    limit: float | None = None,
    threads: int = 1,
    variables: Mapping[str, str] | None = None,
) -> tuple[Any, str]:
    """The JSON that a process of this script printed last, or None and why there is nothing."""
    command = [sys.executable, script, *arguments]
    variables = {**os.environ, **environment(threads), **(variables or {})}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=variables, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return None, f"over {limit:.0f} s"
    if done.returncode:
        last = done.stderr.strip().splitlines() or ["it said nothing"]
        print(f"{' '.join(arguments[:4])} failed:\n{done.stderr}", file=sys.stderr)
        return None, f"failed: {last[-1]}"
    return json.loads(done.stdout.splitlines()[-1]), ""


def installed(engines: Mapping[str, str]) -> dict[str, str]:
    """Of the engines, each with the distribution it comes from, those at hand: their versions."""
    versions = {}
    for name, distribution in engines.items():
        try:
            versions[name] = importlib.metadata.version(distribution).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            print(f"{name}: not installed, left out (pip install -e '.[bench]')")
    return versions


def machine() -> str:
    """Python and the kind of processor, in words."""
    return f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores"
