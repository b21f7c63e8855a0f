"""compile: record a function once for each structure of its arguments, replay it from then on."""

import functools
import threading
import types
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from gradloom.backends.choice import Options, woven
from gradloom.backends.inspection import Inspection
from gradloom.core import tree
from gradloom.errors import ArgumentError, RecordingError, RecordingWarning
from gradloom.loom import guards
from gradloom.loom.program import Program
from gradloom.loom.record import Recording, current
from gradloom.transforms.arguments import Arguments, Key, Result
from gradloom.transforms.replay import Broken, Path

if TYPE_CHECKING:
    from gradloom.transforms.bind import Bound


class CacheInfo(NamedTuple):
    """How often calls were replayed (hits) and recorded (misses), and how many structures of
    arguments are kept of how many at most."""

    hits: int
    misses: int
    maxsize: int
    currsize: int


class _Entry:
    """What is known for one structure of arguments."""

    def __init__(self) -> None:
        self.paths: list[Path] = []  # the one that served last comes first
        self.recordings = 0
        self.given_up = False


class Compiled:
    """A function that is recorded at its first call and replayed at later ones; see `compile`."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        options: Options | None = None,
        cache_size: int = 64,
        max_paths: int = 16,
    ) -> None:
        for option, number in (("cache_size", cache_size), ("max_paths", max_paths)):
            if not isinstance(number, int) or number < 1:
                raise ArgumentError(f"{option} must be a whole number from 1 on, got {number!r}")
        if not callable(function):
            raise ArgumentError(f"compile needs a function, got {function!r:.60}")
        self._function: Callable[..., Any] | None = function
        self._options = options or Options()
        self._options.load()
        self._cache_size, self._max_paths = cache_size, max_paths
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._lock = threading.RLock()
        self._hits = self._misses = 0
        self._last: Path | None = None
        self._derivatives: dict[Any, Compiled] = {}
        self._name = tree.name(function)
        functools.update_wrapper(self, function, updated=())

    def __repr__(self) -> str:
        return f"<compiled {self._name}: {len(self.programs)} programs>"

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """As a method: the object becomes the first argument."""
        return self if instance is None else types.MethodType(self, instance)

    def __call__(self, *args: Any, **options: Any) -> Any:
        """What the function gives for these arguments."""
        if current() is not None:
            return self._plain(*args, **options)  # part of the recording around this call
        arguments = Arguments(self._function or self, args, options)
        if arguments.symbolic:
            return self._plain(*args, **options)
        entry = self._entry(arguments.key)
        if entry.given_up:
            return self._plain(*args, **options)
        inputs = np.frombuffer(arguments.numbers)
        site = None
        for path in list(entry.paths):
            result = path.replay(inputs, arguments.values)
            if not isinstance(result, Broken):
                self._served(entry, path)
                return result
            site = site or result.site
        if site is not None and entry.recordings >= self._max_paths:
            self._give_up(entry, site)
            return self._plain(*args, **options)
        path = self._record(arguments, entry)
        return path.replay(inputs, arguments.values, sure=True)

    def lookup(self, *args: Any, **options: Any) -> Path:
        """The path that these arguments take; it is recorded if it was not before."""
        arguments = Arguments(self._function or self, args, options)
        if arguments.symbolic:
            raise RecordingError(f"{self._name}: only plain arguments can be looked up")
        entry = self._entry(arguments.key)
        inputs = np.frombuffer(arguments.numbers)
        for path in list(entry.paths):
            if not isinstance(path.replay(inputs, arguments.values), Broken):
                return path
        return self._record(arguments, entry)

    def bind(self, *args: Any, **options: Any) -> "Bound":
        """This function of these arguments, to be called without any: value and gradient at once.

        A call gives the number that the function gives, and adds to the gradient of every value
        what `backward()` on the result adds. Natively that is a single call of machine code: the
        arguments are there already, and parameters are read and gradients written where they
        live. Values among the arguments are read anew at each call, plain numbers are not.

        Raises:
            RecordingError: the function returns anything but one value.

        >>> from gradloom import Value
        >>> w = Value(3.0)
        >>> loss = compile(lambda xs: sum((w * x - 1.0) ** 2 for x in xs)).bind([1.0, 2.0])
        >>> loss(), w.grad
        (29.0, 24.0)
        """
        from gradloom.transforms.bind import Bound  # it builds on this module

        return Bound(self, args, options)

    def inspect(self) -> Inspection:
        """What runs at the last call: instructions, machine code, work, and how fast it is.

        The function and each gradient that was taken of it are a *pass*, with its array program,
        its kernels (each with its LLVM text, its machine code, how often it is called, its flops,
        bytes and time), and what this machine reaches. Printed, it is a table of all that; the
        times in it are measured then, on a copy of the numbers of the last run.

        Raises:
            RecordingError: there was no call.

        >>> dot = compile(lambda a, b: sum(x * y for x, y in zip(a, b)))
        >>> dot([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
        32.0
        >>> found = dot.inspect()
        >>> found.work.flops, len(found.passes)
        (6, 1)
        >>> print(found.program)
        arena of 7: 6 inputs, 0 parameters; 1 instructions
                     3  @6(0) += (@0(1) * @3(1))
        """
        if self._last is None:
            raise RecordingError(f"{self._name} has not been recorded; call it first")
        return Inspection(self._name, self._last.inspect())

    def _derive(self, kind: str, *argnums: Any) -> "Compiled":
        """A derivative of this function, made once; `core.autodiff` asks for it."""
        from gradloom.transforms.derivatives import Derived  # it builds on this module

        key = kind, *(tuple(some) if isinstance(some, list) else some for some in argnums)
        with self._lock:
            if key not in self._derivatives:
                self._derivatives[key] = Derived(self, kind, *argnums)
            return self._derivatives[key]

    @property
    def _flat(self) -> "Compiled":
        """The same function without a limit of memory, so that its programs have no loops."""
        if self._options.memory_limit is None:
            return self
        with self._lock:
            if "flat" not in self._derivatives:
                self._derivatives["flat"] = Compiled(
                    self._plain,
                    options=replace(self._options, memory_limit=None),
                    cache_size=self._cache_size,
                    max_paths=self._max_paths,
                )
            return self._derivatives["flat"]

    @property
    def _plain(self) -> Callable[..., Any]:
        """The function itself."""
        if self._function is None:
            raise RecordingError(
                f"{self._name} came from another process as its programs alone, and none of them "
                "is for these arguments; compile the function again here"
            )
        return self._function

    def _entry(self, key: Key) -> _Entry:
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                entry = self._entries[key] = _Entry()
            self._entries.move_to_end(key)
            if len(self._entries) > self._cache_size:
                self._entries.popitem(last=False)
            return entry

    def _served(self, entry: _Entry, path: Path) -> None:
        """A path was right: try it first next time."""
        with self._lock:
            self._hits += 1
            self._last = path
            if path in entry.paths[1:]:
                entry.paths.remove(path)
                entry.paths.insert(0, path)

    def _record(self, arguments: Arguments, entry: _Entry) -> Path:
        """Add the path that these arguments take; outside the lock, for it runs users' code."""
        arguments.function = self._plain
        path = self._path(arguments)
        # Rounded otherwise in Python than in NumPy, a number on the brink leads here again.
        known = [other for other in entry.paths if other.is_like(path)]
        with self._lock:
            self._misses += 1
            self._last = path = known[0] if known else path
            entry.recordings += 1
            if not known:
                entry.paths.insert(0, path)
        return path

    def _path(self, arguments: Arguments) -> Path:
        """What the function does with these arguments, recorded and woven."""
        before = guards.random_state()
        with Recording() as recording:
            result = Result(arguments.function, arguments.call(recording), recording)
            recording.graph.outputs = result.nodes
        if guards.random_state() != before:
            warnings.warn(
                f"{self._name} drew random numbers while it was recorded, and every replay has "
                "the same ones; draw them outside and pass them as arguments",
                RecordingWarning,
                stacklevel=4,
            )
        graph = recording.graph
        program = woven(graph, self._options)
        return Path(self._name, graph, program, result, recording.sites, self._options)

    def _give_up(self, entry: _Entry, site: guards.Site) -> None:
        entry.given_up = True
        entry.paths.clear()
        warnings.warn(
            f"{self._name} took more than {self._max_paths} paths, because {site.kind} decides at "
            f"{site.file}:{site.line}; it goes on without replay, correct but slow: write "
            f"{site.remedy} there, or raise max_paths",
            RecordingWarning,
            stacklevel=3,
        )

    @property
    def program(self) -> Program:
        """The array program of the last call.

        Raises:
            RecordingError: there was no call.
        """
        if self._last is None:
            raise RecordingError(f"{self._name} has not been recorded; call it first")
        return self._last.program

    @property
    def programs(self) -> list[Program]:
        """All programs that are kept: one for each path of each structure of arguments."""
        with self._lock:
            return [path.program for entry in self._entries.values() for path in entry.paths]

    def cache_info(self) -> CacheInfo:
        """How the recordings serve."""
        with self._lock:
            return CacheInfo(self._hits, self._misses, self._cache_size, len(self._entries))

    def clear(self) -> None:
        """Forget all recordings, for instance because something outside has changed."""
        with self._lock:
            self._entries.clear()
            self._hits = self._misses = 0
            self._last = None
            derivatives = list(self._derivatives.values())
        for derivative in derivatives:
            derivative.clear()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Compiled":
        """Itself, as functions are copied."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            state = vars(self) | {"_function": None, "_entries": OrderedDict(self._entries)}
        del state["_lock"], state["_derivatives"]
        state.pop("__wrapped__", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()
        self._derivatives = {}


@overload
def compile(
    f: Callable[..., Any],
    *,
    strict: bool = ...,
    backend: str | None = ...,
    dtype: str = ...,
    memory_limit: int | None = ...,
    cache_size: int = ...,
    max_paths: int = ...,
) -> Compiled: ...
@overload
def compile(
    *,
    strict: bool = ...,
    backend: str | None = ...,
    dtype: str = ...,
    memory_limit: int | None = ...,
    cache_size: int = ...,
    max_paths: int = ...,
) -> Callable[[Callable[..., Any]], Compiled]: ...
def compile(
    f: Callable[..., Any] | None = None,
    *,
    strict: bool = False,
    backend: str | None = None,
    dtype: str = "float64",
    memory_limit: int | None = None,
    cache_size: int = 64,
    max_paths: int = 16,
) -> Any:
    """A function that gives what `f` gives, and replays as an array program what `f` once did.

    The first call runs `f` on symbols, records every scalar operation, and weaves them into a few
    array instructions; later calls run those. Results are those of `f`: values where `f` gives
    values, and `backward()` on them fills every gradient.

    What varies from call to call: the numbers in the arguments (ints too, as floats), alone, in
    lists, tuples, dicts and NumPy arrays, and the values that `f` reads from outside, such as a
    model's parameters. Another structure or another shape records anew, and so does another
    argument that is no number: True and False, strings, None, functions, modules and other
    hashable objects.
    Where `f` branches on a number, each branch is recorded when it is first taken.

    What is recorded once and for all: everything else that `f` looks at outside of its arguments,
    plain numbers in a module's attributes among them; call `clear()` when that has changed. Random
    numbers that `f` draws are the same at every replay (it warns), and what it prints or writes
    elsewhere happens only while recording.

    Numbers inside count as a value does, not as a float: 1 / 0 gives inf where plain floats raise
    ZeroDivisionError, (-1.0) ** 0.5 gives nan, and `isinstance(x, float)` and
    `isinstance(x, Value)` are both false. `str(x)` shows the symbol; formatted text, `f"{x:.2f}"`,
    shows the number and is watched. A value that was computed before the call is computed afresh
    from its leaves. A module whose parameters were exchanged for others is read through the old
    ones until `clear()`. Without `strict`, a branch on a sum that lies at the brink may take the
    other side. From Python 3.13 on, reads of the `data` of values from outside are watched in the
    first 100 recordings of a process alone.

    Args:
        f: a function of numbers; or leave it out, to use this as a decorator with options.
        strict: keep Python's order in sums, so that a result is the same to the last bit where
            only + − × ÷ and square roots occur; else sums go to faster routines, and may differ
            in the last digits.
        backend: "native" or "numpy"; by default native code where llvmlite is installed.
        dtype: "float32" computes faster and less exactly inside, on the native backend; what goes
            in and comes out are Python's floats.
        memory_limit: how many bytes the numbers of a gradient may take; None for as many as it
            takes. A gradient reads what the function computed backward, so all of it is kept;
            where that is more, the longest recurrence (time steps, iterations) is cut into
            segments that are computed a second time when their turn comes. It holds for
            `backward`, `grad`, `value_and_grad` and `vjp`, not for second derivatives.
        cache_size: how many structures of arguments are kept; the one used longest ago goes.
        max_paths: how many ways through `f` are kept for each. Beyond, a RecordingWarning names
            the line that branches, and `f` runs as it is.

    Raises:
        ArgumentError: an option has no such value; or, when called, an argument can be read only
            once (a generator), or is not hashable; or a gradient cannot be taken in so little
            memory.
        NotANumberError: the result is not made of numbers.
        RecordingError: `f` changed an argument or a parameter in place, or read a value of
            another recording.

    >>> from gradloom import Value
    >>> w = Value(3.0)
    >>> @compile
    ... def loss(xs):
    ...     return sum((w * x - 1.0) ** 2 for x in xs)
    >>> total = loss([1.0, 2.0])
    >>> total.backward()
    >>> total.data, w.grad
    (29.0, 24.0)
    >>> w.data = 0.5
    >>> loss([1.0, 2.0]).data, loss.cache_info().hits
    (0.25, 1)
    >>> len(loss.program.instructions)
    3
    """
    options = Options(backend, dtype, strict, memory_limit=memory_limit)
    wrap = functools.partial(Compiled, options=options, cache_size=cache_size, max_paths=max_paths)
    return wrap if f is None else wrap(f)
