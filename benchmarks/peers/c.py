"""C by hand, the limit: benchmarks/c/*.c, compiled by gcc for this machine, called by ctypes."""

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from . import Cases, Prepared, data

Array = Any

FLAGS = ["-O3", "-march=native", "-ffast-math", "-fopenmp", "-shared", "-fPIC", "-w"]
SOURCES = Path(__file__).parent.parent / "c"


@functools.cache
def library(name: str, *definitions: str) -> ctypes.CDLL:
    """c/NAME.c compiled; kept beside the sources until they change."""
    sources = sorted(SOURCES.glob("*.[ch]"))
    key = hashlib.sha256(repr((FLAGS, definitions)).encode())
    for source in sources:
        key.update(source.read_bytes())
    folder = SOURCES / "build"
    folder.mkdir(exist_ok=True)
    built = folder / f"{name}-{key.hexdigest()[:16]}.so"
    if not built.exists():
        part = built.with_suffix(f".{os.getpid()}")
        defined = [f"-D{one}" for one in definitions]
        subprocess.run(
            ["gcc", *FLAGS, *defined, SOURCES / f"{name}.c", "-o", part, "-lmvec", "-lm"],
            check=True,
        )
        part.rename(built)
    return ctypes.CDLL(str(built))


def missing() -> str:
    """Why nothing can be compiled here, or nothing."""
    if not shutil.which("gcc"):
        return "gcc is not there"
    try:
        library("moons")
    except (subprocess.CalledProcessError, OSError) as error:
        return f"gcc does not compile it for this machine ({error})"
    return ""


class at(ctypes.c_void_p):  # noqa: N801 - it reads like a function
    """Where an array's numbers lie; the array lives as long."""

    def __init__(self, array: Array) -> None:
        super().__init__(array.ctypes.data)
        self.array = array


def aligned(size: int, dtype: Any = np.float64) -> Array:
    """Zeros that begin at a whole vector."""
    raw = np.zeros(size * np.dtype(dtype).itemsize + 64, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size * np.dtype(dtype).itemsize].view(dtype)


def copied(array: Array, dtype: Any = np.float64) -> Array:
    new = aligned(array.size, dtype).reshape(array.shape)
    new[...] = array
    return new


def _moons() -> tuple[list[Any], Array, Array]:
    """The call's arguments, and the parameters and the gradient among them."""
    x, y = data.moons()
    padded = -(-len(y) // 8) * 8
    xs, ys = aligned(2 * padded).reshape(2, padded), aligned(padded)
    xs[:, : len(y)], ys[: len(y)] = x.T, y
    w = copied(data.parameters("moons"))
    g = aligned(w.size)
    sizes = ctypes.c_long(len(y)), ctypes.c_long(padded)
    return [at(w), *sizes, at(xs), at(ys), at(g)], w, g


def moons(_: int) -> Prepared:
    call = library("moons").moons
    call.restype = ctypes.c_double
    arguments, _, g = _moons()

    def run() -> float:
        return call(*arguments)

    return Prepared(lambda: (run(), g), run)


def moons_many(_: int) -> Prepared:
    call = library("moons").moons_steps
    arguments, w, _ = _moons()
    losses = aligned(data.UPDATES)
    arguments += [ctypes.c_double(data.MOONS_RATE), ctypes.c_long(data.UPDATES), at(losses)]

    def run() -> Array:
        call(*arguments)
        return losses

    return Prepared(lambda: (run(), w), run, data.UPDATES)


def _gpt(texts: Array, dtype: Any, updates: int) -> Prepared:
    single = dtype is np.float32
    real, letter = ("float", "f") if single else ("double", "")
    code = library(
        "gpt", f"REAL={real}", f"TEXTS={len(texts)}", f"EXP=exp{letter}", f"LOG=log{letter}"
    )
    code.gpt.restype = ctypes.c_float if single else ctypes.c_double
    w = copied(data.parameters("gpt"), dtype)
    g, mean, square = (aligned(w.size, dtype) for _ in range(3))
    text, losses = copied(texts, np.int32), aligned(updates)
    step = 1
    arrays = [at(x) for x in (w, text, g, mean, square)]
    rate, count = ctypes.c_double(data.GPT_RATE), ctypes.c_long(updates)
    out = at(losses)

    def run() -> Array:
        nonlocal step
        code.gpt_steps(*arrays, rate, ctypes.c_long(step), count, out)
        step += updates
        return losses

    def check() -> Any:
        loss = code.gpt(*arrays[:3])
        first = g.copy()
        found = [run().copy() for _ in range(max(data.CHECKED // updates, 1))]
        return loss, first, found, w

    return Prepared(check, run, data.learned(texts, updates))


def asian(paths: int, threads: int) -> Prepared:
    call = library("asian").asian
    p, z, out = data.parameters("asian"), copied(data.normals(paths)), aligned(5)
    arguments = [at(p), ctypes.c_long(len(z)), ctypes.c_long(paths), at(z), at(out), threads]

    def run() -> Any:
        call(*arguments)
        return out[0], out[1:]

    return Prepared(run, run)


def gmm(threads: int) -> Prepared:
    call = library("gmm", f"D={data.DIMENSIONS}", f"K={data.COMPONENTS}").gmm
    call.restype = ctypes.c_double
    w, x = copied(data.parameters("gmm")), copied(data.points().T)
    g = aligned(w.size)
    numbers = [ctypes.c_double(number) for number in (1.0, 0.0, data.gmm_constant())]
    arguments = [at(w), ctypes.c_long(data.POINTS), at(x), *numbers, at(g), threads]

    def run() -> float:
        return call(*arguments)

    return Prepared(lambda: (run(), g), run)


def lstm(case: str) -> Prepared:
    state, text = data.lstm(case)
    call = library("lstm", f"LAYERS={len(state) // 2}").lstm
    call.restype = ctypes.c_double
    w = data.parameters(case)
    g = np.empty_like(w)
    arguments = [at(w), at(state), ctypes.c_long(len(text)), at(text), at(g)]

    def run() -> float:
        return call(*arguments)

    return Prepared(lambda: (run(), g), run)


def digits(threads: int) -> Prepared:
    """Its own layout: the first layer turned, the last biases padded."""
    x, y, order = data.digits()
    batches = len(order) // data.BATCH
    one, two = data.cut("digits", data.parameters("digits"))
    parts = one[:, :-1].T, one[:, -1], two[:, :-1], two[:, -1], np.zeros(6)
    w = copied(np.concatenate([part.ravel() for part in parts]))
    mean, square, losses = aligned(w.size), aligned(w.size), aligned(batches)
    pixels, classes, chosen = copied(x), copied(y, np.int32), copied(order, np.int32)
    call = library("digits").digits_epoch
    arrays = [at(array) for array in (w, mean, square, pixels, classes, chosen)]
    settings = ctypes.c_long(batches), ctypes.c_double(data.DIGITS_RATE)
    out = at(losses)
    step = 1

    def run() -> Array:
        nonlocal step
        call(*arrays, *settings, ctypes.c_long(step), out, threads)
        step += batches
        return losses

    def check() -> Any:
        run()
        cuts = np.cumsum([part.size for part in parts])[:-1]
        first, bias1, second, bias2, _ = np.split(w, cuts)
        turned = first.reshape(64, -1).T
        return losses, [
            np.column_stack([turned, bias1]),
            np.column_stack([second.reshape(10, -1), bias2]),
        ]

    return Prepared(check, run)


CASES: Cases = {
    "moons": moons,
    "moons100": moons_many,
    "gpt": lambda _: _gpt(data.text()[None], np.float64, 1),
    "gpt100": lambda _: _gpt(data.text()[None], np.float64, data.UPDATES),
    "gpt16": lambda _: _gpt(data.texts(), np.float32, 1),
    "gpt16x100": lambda _: _gpt(data.texts(), np.float32, data.UPDATES),
    "digits": digits,
    "asian1k": lambda threads: asian(1_000, threads),
    "asian100k": lambda threads: asian(100_000, threads),
    "gmm": gmm,
    "lstm2": lambda _: lstm("lstm2"),
    "lstm4": lambda _: lstm("lstm4"),
}
ENGINES = {"C by hand": ("numpy", CASES)}
