"""Functions by integers alone, against NumPy's, which go by the processor's instructions."""

import ctypes
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
from numpy.typing import NDArray

from gradloom.backends.llvm.softmath import definitions

ONE = {
    "trunc": np.trunc,
    "floor": np.floor,
    "ceil": np.ceil,
    "roundeven": np.rint,
    "rint": np.rint,
    "nearbyint": np.rint,
    "sqrt": np.sqrt,
}
TWO = {"fmax": np.fmax, "fmin": np.fmin}
FORMS = {
    "": (np.float64, np.uint64, ctypes.c_double),
    "f": (np.float32, np.uint32, ctypes.c_float),
}


@pytest.fixture(scope="module")
def engine() -> Any:
    names = [name + suffix for name in ONE | TWO for suffix in FORMS]
    # Under names of their own, lest the C library's be found.
    text = definitions(names).partition("@llvm.used")[0].replace(" @", " @our_")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(text.replace("define internal", "define"))
    module.verify()
    machine = llvm.Target.from_default_triple().create_target_machine()
    made = llvm.create_mcjit_compiler(module, machine)
    made.finalize_object()
    return made


def _numbers(suffix: str) -> NDArray[Any]:
    """Numbers of all exponents, numbers near integers, and the edges."""
    real, whole, _ = FORMS[suffix]
    rng = np.random.default_rng(1)
    every = rng.integers(0, np.iinfo(whole).max, 20_000, dtype=whole, endpoint=True).view(real)
    near = (rng.standard_normal(20_000) * 10 ** rng.uniform(-3, 17, 20_000)).astype(real)
    info = np.finfo(real)
    half = 2.0**info.nmant / 2
    edges = [0.0, 0.5, 1.0, 1.5, 2.5, np.inf, info.max, info.tiny, info.smallest_subnormal]
    edges += [half, half + 0.5, half - 0.5, 2 * half, 2 * half + 1, 1 - info.epsneg, 1 + info.eps]
    some = np.array([*edges, *[-x for x in edges], np.nan], dtype=real)
    return np.concatenate([every, near, some, np.floor(near), np.floor(near) + real(0.5)])


def _called(engine: Any, name: str, suffix: str, *operands: NDArray[Any]) -> NDArray[Any]:
    kind = FORMS[suffix][2]
    address = engine.get_function_address(f"our_{name}{suffix}")
    f = ctypes.CFUNCTYPE(kind, *[kind] * len(operands))(address)
    columns = [x.tolist() for x in operands]
    return np.array([f(*row) for row in zip(*columns, strict=True)], dtype=operands[0].dtype)


def _same(found: NDArray[Any], wanted: NDArray[Any], whole: Any) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = found.view(whole) == wanted.view(whole)
    return same | (np.isnan(found) & np.isnan(wanted))


@pytest.mark.parametrize("suffix", FORMS)
@pytest.mark.parametrize("name", ONE)
def test_every_bit_is_that_of_the_processor(engine: Any, name: str, suffix: str) -> None:
    xs = _numbers(suffix)
    with np.errstate(all="ignore"):
        wanted = ONE[name](xs)
    assert _same(_called(engine, name, suffix, xs), wanted, FORMS[suffix][1]).all()


@pytest.mark.parametrize("suffix", FORMS)
@pytest.mark.parametrize("name", TWO)
def test_the_larger_and_the_smaller_pass_over_nan(engine: Any, name: str, suffix: str) -> None:
    xs = _numbers(suffix)
    ys = np.random.default_rng(2).permutation(xs)
    found, wanted = _called(engine, name, suffix, xs, ys), TWO[name](xs, ys)
    assert ((found == wanted) | (np.isnan(found) & np.isnan(wanted))).all()


def test_only_what_is_lacking_is_defined() -> None:
    text = definitions(["sqrtf", "__adddf3", "floor"])
    assert text.count("define internal") == 2
    assert "@llvm.used = appending global [2 x ptr] [ptr @sqrtf, ptr @floor]" in text
    assert definitions(["__adddf3"]) == ""
