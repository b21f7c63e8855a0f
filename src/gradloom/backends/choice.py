"""Which backend runs a program: native code where llvmlite is installed, else NumPy."""

import functools
import importlib
import importlib.util
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gradloom.backends import numpy as reference
from gradloom.backends.batch import Batch
from gradloom.errors import ArgumentError
from gradloom.loom.adjoint import adjoint
from gradloom.loom.checkpoint import checkpointed
from gradloom.loom.graph import Graph
from gradloom.loom.program import Loop, Program
from gradloom.loom.weave import weave

Array = NDArray[np.float64]

BACKENDS = ("native", "numpy")
DTYPES = {"float64": 64, "float32": 32}


class Runner(Protocol):
    """A program with an arena of its own, ready to run; `gradloom.backends.numpy` says how."""

    lanes: int | None

    def run(self, inputs: Sequence[Any] | Array, parameters: Array | None = None) -> Array: ...

    def run_batch(self, batch: Batch, parameters: Array) -> tuple[Array, Array]: ...

    def holds(self) -> NDArray[np.bool_]: ...

    def read_shared(self, slots: NDArray[np.int64]) -> Array: ...


@dataclass(frozen=True, slots=True)
class Options:
    """How programs are run.

    Attributes:
        backend: "native" or "numpy"; None for native code where llvmlite is installed. The
            environment variable GRADLOOM_BACKEND decides where nothing was said.
        dtype: "float64" or, for speed, "float32"; inside, that is: what goes in and comes out are
            Python's floats. NumPy computes with float64 alone.
        strict: keep the order of operations, and contract none.
        threads: how many share the lanes; None for all cores.
        memory_limit: how many bytes the numbers of a gradient may take, those of one lane; None
            for as many as it takes.

    Raises:
        ArgumentError: there is no such backend or type, or no such number of threads or bytes.

    >>> Options(dtype="half")
    Traceback (most recent call last):
    gradloom.errors.ArgumentError: dtype must be 'float64' or 'float32', got 'half'
    """

    backend: str | None = None
    dtype: str = "float64"
    strict: bool = False
    threads: int | None = None
    memory_limit: int | None = None

    def __post_init__(self) -> None:
        if self.backend is not None and self.backend not in BACKENDS:
            raise ArgumentError(f"backend must be 'native' or 'numpy', got {self.backend!r}")
        if self.dtype not in DTYPES:
            raise ArgumentError(f"dtype must be 'float64' or 'float32', got {self.dtype!r}")
        if self.backend == "numpy" and self.dtype != "float64":
            raise ArgumentError("backend 'numpy' computes with float64; leave out dtype")
        if self.backend == "native" and not has_native():
            raise ArgumentError("backend 'native' needs llvmlite: pip install 'gradloom[native]'")
        if self.threads is not None and (type(self.threads) is not int or self.threads < 1):
            raise ArgumentError(f"threads must be a whole number from 1 on, got {self.threads!r}")
        limit = self.memory_limit
        if limit is not None and (type(limit) is not int or limit < 1):
            raise ArgumentError(f"memory_limit must be a whole number of bytes, got {limit!r}")

    @property
    def chosen(self) -> str:
        """The backend that these options lead to."""
        if self.backend is not None:
            return self.backend
        said = os.environ.get("GRADLOOM_BACKEND", "")
        if said and said not in BACKENDS:
            raise ArgumentError(f"GRADLOOM_BACKEND must be native or numpy, got {said!r}")
        if said == "numpy" and self.dtype == "float64":
            return said
        return "native" if has_native() else "numpy"

    def load(self) -> None:
        """Load LLVM where it will be needed, so that the first call need not wait for it."""
        if self.chosen == "native":
            importlib.import_module("gradloom.backends.llvm.driver")


@functools.cache
def has_native() -> bool:
    """Whether llvmlite is installed."""
    return importlib.util.find_spec("llvmlite") is not None


def woven(graph: Graph, options: Options, lanes: Collection[int] = ()) -> Program:
    """The array program of a graph; where it will be machine code, from the disk if it was woven
    before. The arguments are those of `weave`."""
    if options.chosen == "native":
        from gradloom.backends.llvm import shelf

        return shelf.woven(graph, lanes, strict=options.strict)
    return weave(graph, lanes, strict=options.strict)


def backward(program: Program, wanted: NDArray[np.int64], options: Options) -> Program:
    """The adjoint of a program, in as much memory as the options allow; as `adjoint`.

    Raises:
        ArgumentError: it cannot be done in so little; the message says what it takes.
    """
    if options.memory_limit is None:
        return adjoint(program, wanted)
    if any(isinstance(one, Loop) for one in program.instructions):
        raise ArgumentError(
            "a gradient that was taken under memory_limit cannot go backward(); "
            "take gl.grad of it, or leave memory_limit out"
        )
    return checkpointed(program, wanted, options.memory_limit, bits=DTYPES[options.dtype])


def maker(
    program: Program, options: Options, *, lanes: bool = False
) -> Callable[[int | None], Runner]:
    """What makes runners of a program, given how many lanes; it is compiled here, once.

    Operations that a user entered are known to Python alone, so a program with one of them runs on
    NumPy whatever the options say.
    """
    if options.chosen == "native":
        from gradloom.backends.llvm import native
        from gradloom.backends.llvm.lowering import UnsupportedError

        try:
            bits = DTYPES[options.dtype]
            code = native.code(program, bits, lanes=lanes, strict=options.strict)
        except UnsupportedError:
            pass
        else:
            return lambda count: native.Runner(
                program, count, bits=bits, threads=options.threads, code=code
            )
    return lambda count: reference.Runner(program, count)
