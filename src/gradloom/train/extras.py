"""Optional libraries: imported where they are needed, and asked for kindly when missing.

The training loop runs on the standard library alone. Tables, pictures, model files and the command
need the libraries of the `train` extra; whoever uses one imports it under `extra()`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from gradloom.errors import MissingExtraError


@contextmanager
def extra(name: str = "train") -> Iterator[None]:
    """Turns a failing import inside the block into the command that installs what is missing.

    Args:
        name: the extra of Gradloom that holds the library.

    Raises:
        MissingExtraError: a library is not installed.

    Example:
        >>> with extra():
        ...     import no_such_library
        Traceback (most recent call last):
        gradloom.errors.MissingExtraError: no_such_library is not installed:
            pip install 'gradloom[train]'
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        library = str(missing.name).partition(".")[0]
        raise MissingExtraError(
            f"{library} is not installed: pip install 'gradloom[{name}]'"
        ) from missing
