"""Files that are written whole or not at all, and read back with a clear word when damaged.

A reader never sees half a file: the bytes go to a neighbour in the same folder, which takes the
final name in one step (`os.replace` is atomic on POSIX and Windows) once they are safely on disk.
"""

import errno
import json
import os
from pathlib import Path
from typing import Any

from gradloom.errors import GradloomError, RunFolderError

_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "your disk quota is used up: free some space",
    errno.EACCES: "permission denied: choose a place that you may write to",
    errno.EPERM: "permission denied: choose a place that you may write to",
    errno.EROFS: "the disk is read-only: choose another place",
    errno.ENOENT: "the folder does not exist: create it first",
    errno.ENOTDIR: "a file stands where a folder should be: choose another place",
}


def cannot_write(path: Path, error: OSError) -> RunFolderError:
    """The error to raise when the operating system refuses to write `path`.

    Example:
        >>> cannot_write(Path("a.json"), OSError(errno.ENOSPC, "No space left on device"))
        RunFolderError('cannot write a.json: the disk is full: free some space')
    """
    advice = _ADVICE.get(error.errno or 0, error.strerror or str(error))
    return RunFolderError(f"cannot write {path}: {advice}")


def write_whole(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Writes `content` to `path` (text as UTF-8), replacing a former file in one step.

    Raises:
        RunFolderError: the disk is full, read-only or forbidden; a former file is left as it was.

    Example:
        >>> import tempfile
        >>> note = Path(tempfile.mkdtemp()) / "note.txt"
        >>> write_whole(note, "whole")
        >>> note.read_text()
        'whole'
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        beside.unlink(missing_ok=True)  # gone already, unless the writing was cut short


def write_json(path: str | os.PathLike[str], content: Any, indent: int | None = 1) -> None:
    """Writes `content` as JSON, whole or not at all; floats keep every bit.

    Args:
        path: the file.
        content: what JSON can hold.
        indent: of nested parts, for people to read; None is compact, and much faster to write.

    Raises:
        RunFolderError: see `write_whole`.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "figures.json"
        >>> write_json(file, {"third": 1 / 3})
        >>> read_json(file)["third"] == 1 / 3
        True
    """
    write_whole(path, json.dumps(content, indent=indent) + "\n")


def read_json(path: str | os.PathLike[str], damaged: type[GradloomError] = RunFolderError) -> Any:
    """What the JSON file at `path` holds.

    Args:
        path: the file.
        damaged: the class of error to raise when it cannot be read.

    Raises:
        GradloomError: of class `damaged`, naming the file, when it is missing or no JSON.

    Example:
        >>> read_json("no-such.json")
        Traceback (most recent call last):
        gradloom.errors.RunFolderError: cannot read no-such.json: no such file
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise damaged(f"cannot read {path}: no such file") from None
    except OSError as error:
        raise damaged(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # no JSON, or no UTF-8
        raise damaged(f"{path} is damaged ({error}): restore it from a copy") from error
