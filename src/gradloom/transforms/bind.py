"""bind: a compiled function with its arguments in place, as one call of machine code."""

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from gradloom.backends.choice import DTYPES, backward
from gradloom.errors import RecordingError
from gradloom.nn.module import Parameter
from gradloom.transforms.arguments import Arguments
from gradloom.transforms.compiled import Compiled
from gradloom.transforms.replay import Leaves, Path


class Bound:
    """What `Compiled.bind` gives; see there.

    Attributes:
        native: whether calls are machine code; else they are ordinary ones of the function.
    """

    def __init__(
        self, compiled: Compiled, args: tuple[Any, ...], options: Mapping[str, Any]
    ) -> None:
        self._compiled, self._args, self._options = compiled, args, dict(options)
        path = compiled.lookup(*args, **options)
        if not is_loss(path):
            raise RecordingError(f"{path.name} returns no single value; only a loss can be bound")
        self._lock = threading.Lock()
        self._moves = -1
        self._loose: list[Any] = []
        self.native = False
        if path.options.chosen == "native":
            self._prepare(path)

    def _prepare(self, path: Path) -> None:
        """Compile the function with its gradient."""
        from gradloom.backends.llvm.driver import Driver
        from gradloom.backends.llvm.lowering import UnsupportedError

        arguments = Arguments(self._compiled, self._args, self._options)
        program = path.program
        places = [place for place, _ in arguments.values]
        slots = np.concatenate([program.inputs[places], program.parameters]).astype(np.int64)
        both = backward(program, slots, path.options)
        try:
            options = path.options
            self._driver = Driver(both, bits=DTYPES[options.dtype], strict=options.strict)
        except UnsupportedError:
            return
        self._driver.feed([*arguments.numbers, 1.0])
        self._leaves = Leaves([*[value for _, value in arguments.values], *program.values])
        self._slots, self._slopes = slots, both.outputs[1:]
        self._once = self._driver.once
        self.native = True

    def _connect(self) -> None:
        """Look up where the parameters live, if any has moved."""
        from gradloom.backends.llvm.driver import Outside

        load, add = [], []
        for places, numbers, grads, indices in self._leaves.homes():
            load.append(Outside(numbers, indices, self._slots[places]))
            add.append(Outside(grads, indices, self._slopes[places]))
        self._loose = [
            (value, int(self._slots[place]), int(self._slopes[place]))
            for place, value in self._leaves.loose
        ]
        self._driver.place("load", load)
        self._driver.place("add", add)
        self._moves = Parameter.moves

    def __call__(self) -> float:
        """The number that the function gives; its gradient is added to that of every value."""
        if not self.native:
            return self._plain()
        with self._lock:
            if self._moves != Parameter.moves:
                self._connect()
            found = self._with_loose() if self._loose else self._once()
        return self._plain() if found is None else found

    def _with_loose(self) -> float | None:
        """The same with values that are no parameters, which are read and written one by one."""
        arena = self._driver.arena
        for value, slot, _ in self._loose:
            arena[slot] = value.data
        found = self._once()
        if found is not None:
            for value, _, slope in self._loose:
                value.grad += float(arena[slope])
        return found

    def _plain(self) -> float:
        """An ordinary call: another branch is taken, or there is no native code."""
        result = self._compiled(*self._args, **self._options)
        result.backward()
        return float(result.data)


def is_loss(path: Path) -> bool:
    """Whether a function gives one value and nothing else."""
    return path.result.structure is None and path.result.kinds == ["value"]
