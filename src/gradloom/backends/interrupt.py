"""Ctrl-C that waits for a good moment.

Python raises KeyboardInterrupt between any two instructions: in the middle of an optimizer's step,
or of a callback that copies the best weights. While a training runs, the first Ctrl-C is only
noted; the loop asks for it after each batch, when everything is whole.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def patient_interrupt() -> Iterator[Callable[[], None]]:
    """Holds Ctrl-C back inside the block; yields the function that lets it through.

    A second Ctrl-C does not wait. Outside the main thread, where no signals arrive, and under
    another program's own handler, nothing is changed.

    Example:
        >>> with patient_interrupt() as let_through:
        ...     signal.raise_signal(signal.SIGINT)
        ...     print("not yet")
        ...     try:
        ...         let_through()
        ...     except KeyboardInterrupt:
        ...         print("now")
        not yet
        now
    """
    noted = False

    def note(*_: Any) -> None:
        nonlocal noted
        if noted:
            raise KeyboardInterrupt
        noted = True

    def let_through() -> None:
        if noted:
            raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield let_through
        return
    try:
        signal.signal(signal.SIGINT, note)
    except ValueError:  # not the main thread
        yield let_through
        return
    try:
        yield let_through
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
