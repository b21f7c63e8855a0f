"""Elementary functions of vectors: against the rows, against many digits, and what they call."""

import ctypes
import functools
import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm
import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

from gradloom.backends.llvm import elementary
from gradloom.backends.llvm.elementary import FUNCTIONS
from gradloom.backends.llvm.ir import Arithmetic, Writer
from gradloom.backends.llvm.target import Target, host
from gradloom.core.table import OPS

Array = NDArray[np.float64]
INF, NAN = math.inf, math.nan


@dataclass(frozen=True)
class Variant:
    """A way to write a function: for so many bits at once, fused or not, rounding or not."""

    vector: int
    fused: bool
    rounds: bool

    def __str__(self) -> str:
        return f"{self.vector}{'-fused' if self.fused else ''}{'' if self.rounds else '-plain'}"


NATIVE = Variant(host().vector, host().fused, host().rounds)
ALONE = Variant(0, False, False)
VARIANTS = list(dict.fromkeys([NATIVE, Variant(128, False, host().rounds), ALONE]))


def loop_text(
    name: str, symbol: str, arity: int, bits: int, variant: Variant
) -> tuple[str, set[str]]:
    """A function of arrays, `name(count, out, x0, …)`, and what it needs declared."""
    w, width = Writer(), max(1, variant.vector // bits)
    a = Arithmetic(w, width, bits, fused=variant.fused, rounds=variant.rounds)
    turns = w.assign(f"udiv i64 %count, {width}")
    with w.loop(turns) as turn:
        at = w.assign(f"mul i64 {turn.index}, {width}")
        places = [
            w.assign(f"getelementptr {a.scalar}, ptr %{array}, i64 {at}")
            for array in ["out", *[f"x{i}" for i in range(arity)]]
        ]
        xs = [w.assign(f"load {a.real}, ptr {place}, align 4") for place in places[1:]]
        w.line(f"store {a.real} {FUNCTIONS[symbol](a, *xs)}, ptr {places[0]}, align 4")
    parameters = ", ".join(["i64 %count", "ptr %out", *[f"ptr %x{i}" for i in range(arity)]])
    body = "\n".join([*w.lines, "ret void"])
    return f"define void @{name}({parameters}) nounwind {{\nentry:\n{body}\n}}", w.declared


@functools.cache
def compiled(symbol: str, arity: int, bits: int, variant: Variant) -> Callable[..., Array]:
    """The function of arrays, running."""
    text, declared = loop_text("run", symbol, arity, bits, variant)
    module = llvm.parse_assembly("\n".join([text, *sorted(declared)]))
    module.verify()
    engine = llvm.create_mcjit_compiler(module, host().machine())
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int64, *[ctypes.c_void_p] * (arity + 1))
    native = kind(engine.get_function_address("run"))
    dtype = np.float64 if bits == 64 else np.float32

    def run(*xs: Any, _keep: Any = engine) -> Array:
        size = np.size(xs[0])
        count = -(-size // 16) * 16
        arrays = [np.resize(np.asarray(x, dtype=dtype), count) for x in xs]
        out = np.empty(count, dtype)
        native(count, out.ctypes.data, *[x.ctypes.data for x in arrays])
        return out[:size].astype(np.float64)

    return run


def apart(found: Array, wanted: Array, bits: int = 64) -> Array:
    """Units in the last place apart; inf where only one is nan, or the sign of a zero differs."""
    dtype = np.float64 if bits == 64 else np.float32
    with np.errstate(all="ignore"):
        wanted = wanted.astype(dtype)
        unit = np.spacing(np.abs(wanted)).astype(np.float64)
        distance = np.abs(found - wanted.astype(np.float64)) / unit
    distance[(found == wanted) | (np.isnan(found) & np.isnan(wanted))] = 0.0
    wrong = np.isnan(distance) | ((wanted == 0.0) & (np.signbit(found) != np.signbit(wanted)))
    distance[wrong] = INF
    return distance


# Against the rows, at special numbers

SPECIAL = {
    64: [
        *[0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 2.5, -7.25, 1e-9, -1e-9],
        *[5e-324, -5e-324, 1e300, -1e300, 710.0, -800.0, INF, -INF, NAN],
    ],
    32: [
        *[0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 2.5, -7.25, 2.0**-30, -(2.0**-30)],
        *[2.0**-149, -(2.0**-149), 2.0**120, -(2.0**120), 88.0, -130.0, INF, -INF, NAN],
    ],
}
# Rows that are not themselves as near: gelu rounds the argument of erfc.
ROW_ULPS = {"gelu": 64.0, "logsumexp": 8.0}


def operands_of(symbol: str, bits: int) -> list[tuple[float, ...]]:
    arity = OPS[symbol].arity or 3
    if arity < 3:
        return list(itertools.product(SPECIAL[bits], repeat=arity))
    return list(itertools.product([0.0, -0.0, 1.0, -2.5, 2.0**100, INF, -INF, NAN], repeat=3))


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize("symbol", sorted(FUNCTIONS))
def test_a_function_is_its_row_at_special_numbers(symbol: str, bits: int, variant: Variant) -> None:
    rows = operands_of(symbol, bits)
    wanted = np.array([OPS[symbol].evaluate(*row) for row in rows])
    found = compiled(symbol, len(rows[0]), bits, variant)(*np.array(rows).T)
    distance = apart(found, wanted, bits)
    worst = int(distance.argmax())
    assert distance.max() <= ROW_ULPS.get(symbol, 2.0), (rows[worst], found[worst], wanted[worst])


def test_every_row_that_numpy_has_is_covered() -> None:
    from gradloom.backends.functions import FUNCTIONS as OF_NUMPY

    assert set(FUNCTIONS) == set(OF_NUMPY)


# Against many digits

Sample = Callable[[np.random.Generator, int], Array]


def between(low: float, high: float) -> Sample:
    return lambda rng, n: rng.uniform(low, high, n)


def sizes(low: float, high: float) -> Sample:
    """Either sign, every exponent as often."""
    return lambda rng, n: np.exp2(rng.uniform(low, high, n)) * rng.choice([-1.0, 1.0], n)


def near(center: float, low: float = -53.0) -> Sample:
    return lambda rng, n: center + sizes(low, -2.0)(rng, n)


def multiples_of_half_pi(rng: np.random.Generator, n: int) -> Array:
    return np.floor(np.exp2(rng.uniform(0.0, 900.0, n))) * (np.pi / 2.0)


WAVES = [between(-10.0, 10.0), sizes(-40.0, 60.0), sizes(30.0, 1023.9), multiples_of_half_pi]
LOGARITHMS = [sizes(-1074.0, 1023.9), between(0.0, 3.0), near(1.0)]
ARCS = [between(-1.0, 1.0), sizes(-1074.0, -0.01), near(1.0), near(-1.0), between(-0.51, 0.51)]
HYPERBOLIC = [between(-711.0, 711.0), between(-2.0, 2.0), sizes(-1074.0, 9.0)]
GATES = [between(-760.0, 40.0), between(-5.0, 5.0), sizes(-1074.0, 9.0)]
SAMPLES: dict[str, list[Sample]] = {
    "exp": [between(-746.0, 710.0), between(-1.0, 1.0), sizes(-60.0, 9.0)],
    "expm1": [between(-40.0, 710.0), between(-1.0, 1.0), sizes(-1074.0, 9.0)],
    "log": LOGARITHMS,
    "log1p": [sizes(-1074.0, 1023.9), between(-1.0, 3.0), near(-1.0)],
    "log2": LOGARITHMS,
    "log10": LOGARITHMS,
    "sin": WAVES,
    "cos": WAVES,
    "tan": WAVES,
    "asin": ARCS,
    "acos": ARCS,
    "atan": [between(-3.0, 3.0), sizes(-1074.0, 1023.9), sizes(-3.0, 3.0)],
    "sinh": HYPERBOLIC,
    "cosh": HYPERBOLIC,
    "tanh": [between(-20.0, 20.0), between(-1.0, 1.0), sizes(-1074.0, 6.0)],
    "asinh": [between(-3.0, 3.0), sizes(-1074.0, 1023.9), sizes(-10.0, 30.0)],
    "acosh": [between(1.0, 5.0), sizes(0.0, 1023.9), near(1.0)],
    "atanh": [between(-1.0, 1.0), sizes(-1074.0, -0.01), near(1.0), between(-0.2, 0.2)],
    "sigmoid": GATES,
    "softplus": GATES,
    "silu": GATES,
    "gelu": [between(-38.6, 10.0), between(-2.0, 2.0), sizes(-1074.0, 5.0)],
    "erf": [between(-6.0, 6.0), between(-1.2, 1.2), sizes(-1074.0, 3.0)],
    "erfc": [between(-6.0, 27.3), between(-1.2, 1.2), sizes(-60.0, 3.0)],
}
BINARY = ["**", "atan2", "hypot"]


def operands(symbol: str, count: int, bits: int) -> Array:
    """Operands, a column each, all of them numbers of so many bits."""
    rng = np.random.default_rng(sum(map(ord, symbol)))
    if symbol == "**":
        base = sizes(-1074.0, 1023.9)(rng, count)
        scale = np.log(np.abs(base))
        parts = [
            (np.abs(base), rng.uniform(-745.0, 709.0, count) / np.where(scale == 0.0, 1.0, scale)),
            (rng.uniform(0.5, 2.0, count), rng.uniform(-1000.0, 1000.0, count)),
            (near(1.0)(rng, count), sizes(0.0, 60.0)(rng, count)),
            (rng.uniform(-5.0, 5.0, count), np.round(rng.uniform(-50.0, 50.0, count))),
        ]
    elif symbol in BINARY:
        parts = [
            (draw(rng, count), draw(rng, count))
            for draw in (between(-3.0, 3.0), sizes(-1074.0, 1023.9), sizes(-1074.0, -1000.0))
        ]
    else:
        extra = (
            [] if bits == 64 else [between(-90.0, 90.0), between(-9.0, 9.0), sizes(-149.0, 127.9)]
        )
        parts = [(draw(rng, count),) for draw in SAMPLES[symbol] + extra]
    columns = np.array([np.concatenate(column) for column in zip(*parts, strict=True)])
    if bits == 32:
        with np.errstate(over="ignore", under="ignore"):
            columns = columns.astype(np.float32).astype(np.float64)
    return columns[:, (np.isfinite(columns) & (columns != 0.0)).all(axis=0)]


def logistic(x: Any) -> Any:
    return 1 / (1 + mpmath.exp(-x))


EXACT: dict[str, Callable[..., Any]] = {
    "log2": lambda x: mpmath.log(x) / mpmath.log(2),
    "log10": lambda x: mpmath.log(x) / mpmath.log(10),
    "sigmoid": logistic,
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    "silu": lambda x: x * logistic(x),
    "gelu": lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2,
    "**": mpmath.power,
    "hypot": lambda x, y: mpmath.sqrt(x * x + y * y),
}


def errors(symbol: str, bits: int, columns: Array, found: list[Array]) -> list[float]:
    """For each way the largest error in units in the last place, of numbers that have a result."""
    exact = EXACT.get(symbol) or getattr(mpmath, symbol)
    digits, least, most = (53, -1074, 1024) if bits == 64 else (24, -149, 128)
    overflow = mpmath.mpf(2) ** most * (1 - mpmath.mpf(2) ** (-digits - 1))
    worst = [0.0] * len(found)
    # Enough that no cancellation within the reference matters.
    with mpmath.workprec(1300 if symbol in {"sin", "cos", "tan"} else 250):
        for i, row in enumerate(columns.T):
            try:
                y = exact(*[mpmath.mpf(float(x)) for x in row])
            except (ValueError, ZeroDivisionError):  # a pole
                continue
            if not isinstance(y, mpmath.mpf) or y == 0 or not mpmath.isfinite(y):
                continue
            unit = mpmath.mpf(2) ** max(mpmath.frexp(y)[1] - digits, least)
            for way, results in enumerate(found):
                if abs(y) >= overflow:
                    error = 0.0 if results[i] == math.copysign(INF, y) else INF
                elif math.isfinite(results[i]):
                    error = float(abs(mpmath.mpf(float(results[i])) - y) / unit)
                else:
                    error = INF
                worst[way] = max(worst[way], error)
    return worst


def promised(symbol: str) -> dict[int, float]:
    """What the module's docstring says of a function, in units in the last place."""
    found = re.search(
        rf"^    {re.escape(symbol)} +([0-9.]+) +([0-9.]+)$", elementary.__doc__ or "", re.M
    )
    assert found is not None, symbol
    return {64: float(found[1]), 32: float(found[2])}


def check_against_many_digits(symbol: str, bits: int, count: int) -> None:
    columns = operands(symbol, count, bits)
    found = [compiled(symbol, len(columns), bits, variant)(*columns) for variant in VARIANTS]
    for variant, error in zip(VARIANTS, errors(symbol, bits, columns, found), strict=True):
        assert error <= promised(symbol)[bits], str(variant)


@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize("symbol", [*SAMPLES, *BINARY])
def test_a_function_errs_by_no_more_than_its_docstring_says(symbol: str, bits: int) -> None:
    check_against_many_digits(symbol, bits, 500)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize("symbol", [*SAMPLES, *BINARY])
def test_a_function_errs_by_no_more_at_many_points(symbol: str, bits: int) -> None:
    check_against_many_digits(symbol, bits, 8_000)


@pytest.mark.parametrize("symbol", [*SAMPLES, *BINARY])
def test_what_is_promised_is_two_units_at_most(symbol: str) -> None:
    assert max(promised(symbol).values()) <= 2.0


OF_NUMPY = {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arcsinh", "acosh": "arccosh",
    "atanh": "arctanh", "**": "power", "atan2": "arctan2",
}  # fmt: skip
LONG = [s for s in [*SAMPLES, *BINARY] if hasattr(np, OF_NUMPY.get(s, s))]


@pytest.mark.slow
@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="needs a longer number than double")
@pytest.mark.parametrize("symbol", LONG)
def test_a_function_errs_by_no_more_at_millions_of_points(symbol: str) -> None:
    columns = operands(symbol, 500_000, 64)
    found = compiled(symbol, len(columns), 64, NATIVE)(*columns)
    with np.errstate(all="ignore"):
        exact = getattr(np, OF_NUMPY.get(symbol, symbol))(*columns.astype(np.longdouble))
        rounded = exact.astype(np.float64)
        error = np.abs(found.astype(np.longdouble) - exact) / np.spacing(np.abs(rounded))
    # Where the number rounds up to a power of two the unit is half as large as above.
    error[(found == rounded) | np.isnan(rounded)] = 0.0
    assert float(error.max()) <= 2.0 * promised(symbol)[64]
    # The reference errs by a few 2^-11 itself.
    assert float(np.quantile(error, 0.9999)) <= promised(symbol)[64] + 0.01


# Remainders, roundings, selections


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("symbol", ["%", "//"])
def test_remainders_are_pythons_to_the_last_bit(symbol: str, variant: Variant) -> None:
    rng = np.random.default_rng(0)
    n = 1_000
    tenths = np.round(rng.uniform(-50.0, 50.0, n)) * 0.1
    pairs = [
        (rng.uniform(-100.0, 100.0, n), rng.uniform(-3.0, 3.0, n)),
        (sizes(-1074.0, 1023.9)(rng, n), sizes(-1074.0, 1023.9)(rng, n)),
        (tenths, np.full(n, 0.1)),
        (tenths, np.full(n, -0.3)),
    ]
    x, y = (np.concatenate(column) for column in zip(*pairs, strict=True))
    wanted = np.array(
        [OPS[symbol].evaluate(*row) for row in zip(x.tolist(), y.tolist(), strict=True)]
    )
    assert apart(compiled(symbol, 2, 64, variant)(x, y), wanted).max() == 0.0


@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize("rounds", [True, False])
@pytest.mark.parametrize("symbol", ["floor", "ceil"])
def test_roundings_are_exact_with_and_without_an_instruction(
    symbol: str, rounds: bool, bits: int
) -> None:
    x = np.concatenate([np.arange(-40, 41) / 8.0, [2.0**23 - 0.5, 2.0**52 - 0.5, -(2.0**51) - 0.5]])
    x = np.concatenate([x, np.nextafter(x.astype(np.float32), np.float32(0.0))])
    x = x.astype(np.float64 if bits == 64 else np.float32).astype(np.float64)
    wanted = np.array([OPS[symbol].evaluate(v) for v in x.tolist()])
    variant = Variant(NATIVE.vector, NATIVE.fused, rounds)
    assert apart(compiled(symbol, 1, bits, variant)(x), wanted, bits).max() == 0.0


@pytest.mark.parametrize("symbol", ["max", "min", "sum", "hypot", "logsumexp"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_operations_of_any_arity_take_any_number(symbol: str, count: int) -> None:
    rng = np.random.default_rng(1)
    columns = rng.normal(size=(count, 64)) * 10.0
    wanted = np.array([OPS[symbol].evaluate(*row) for row in columns.T.tolist()])
    found = compiled(symbol, count, 64, NATIVE)(*columns)
    assert (np.abs(found - wanted) <= 4.0 * np.spacing(np.abs(columns).max(axis=0))).all()


def test_one_large_argument_leaves_its_neighbours_as_they_are() -> None:
    x = np.linspace(-3.0, 3.0, 16)
    mixed = x.copy()
    mixed[5] = 1e300
    sine = compiled("sin", 1, 64, NATIVE)
    found, alone = sine(mixed), sine(x)
    assert found[5] == math.sin(1e300)
    np.testing.assert_array_equal(np.delete(found, 5), np.delete(alone, 5))


# What the code calls


def machine(triple: str, cpu: str, features: str, vector: int, **found: bool) -> Target:
    # For any address: then a call names what it calls.
    return Target(triple, cpu, features, vector, position=True, **found)


TARGETS = {
    "avx512": machine("x86_64-unknown-linux-gnu", "skylake-avx512", "", 512),
    "avx2": machine("x86_64-unknown-linux-gnu", "haswell", "", 256),
    "sse2": machine("x86_64-unknown-linux-gnu", "x86-64", "", 128, fused=False, rounds=False),
    "aarch64": machine("aarch64-unknown-linux-gnu", "generic", "", 128),
    "riscv64": machine("riscv64-unknown-elf", "generic-rv64", "+m,+f,+d", 0, rounds=False),
    "wasm32": machine("wasm32-unknown-unknown", "generic", "", 0, fused=False),
}


def called(target: Target, module: str) -> set[str]:
    """What code calls outside of itself."""
    assembly = target.machine().emit_assembly(llvm.parse_assembly(module))
    names = re.findall(r"^\s*(?:callq?|bl|jal|tail|jmp|b)\s+([\w.]+)", assembly, re.MULTILINE)
    return {x for x in names if not x.startswith(("gradloom.", ".L"))}


@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize("name", TARGETS)
def test_no_function_calls_a_library(name: str, bits: int) -> None:
    target = TARGETS[name]
    variant = Variant(target.vector, target.fused, target.rounds)
    texts: list[str] = []
    declared: set[str] = set()
    for i, symbol in enumerate(sorted(FUNCTIONS)):
        text, needed = loop_text(f"f{i}", symbol, OPS[symbol].arity or 2, bits, variant)
        texts.append(text)
        declared |= needed
    assert called(target, "\n".join([*texts, *sorted(declared)])) == set()


@pytest.mark.parametrize("name", TARGETS)
def test_a_call_of_a_library_would_be_seen(name: str) -> None:
    module = (
        "define double @f(double %x) {\n%y = frem double %x, 3.0\n%z = fadd double %y, %x\n"
        "ret double %z\n}"
    )
    assert called(TARGETS[name], module) == {"fmod"}
