"""Compiled code kept on disk, so that a second process starts at once.

An entry is a file named by the digest of its key; it holds a checksum and the bytes. It is written
beside its place and renamed, so a reader sees all of it or nothing, and two writers of one key do
no harm. When it was last read is its time of change: past the limit, the oldest go first. Whatever
is damaged, cut off, forbidden or full counts as absent: a cache never raises.

Machine code is run as it is found, hence the care about who wrote it: the folder is open to its
owner alone, and a folder or file that somebody else owns is left alone.

A hundred lines of our own, for diskcache opens a database (10 ms, and not on network drives),
unpickles what it finds, and minds neither owners nor damage.
"""

import functools
import hashlib
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

LIMIT = 256 << 20

_FORMAT = b"gradloom-cache-1"
_DIGEST = 16
_HEADER = len(_FORMAT) + _DIGEST
_ABANDONED = 3600.0  # seconds after which half a file is nobody's any more


class Cache:
    """Bytes by key, in a folder on disk.

    Args:
        folder: where; the user's cache folder by default. The entries go into `objects` in it.
        limit: bytes on disk; beyond it the least recently used go. Several processes that write
            at once may pass it for a moment.

    >>> import tempfile
    >>> cache = Cache(Path(tempfile.mkdtemp()))
    >>> cache.put(b"key", b"machine code")
    >>> cache.get(b"key")
    b'machine code'
    >>> cache.clear()
    >>> cache.get(b"key") is None
    True
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None, limit: int = LIMIT) -> None:
        found = default_folder() if folder is None else Path(folder)
        self.limit = limit
        self._folder = None if found is None else _made_private(found / "objects")
        self._room = 0  # what may be written before the folder is looked through again

    def get(self, key: bytes) -> bytes | None:
        """What was put under a key, or None."""
        path = self._path(key)
        if path is None:
            return None
        try:
            with path.open("rb", buffering=0) as file:
                if not _is_ours(os.fstat(file.fileno())):
                    return None
                content = file.read() or b""
        except OSError:
            return None
        data = content[_HEADER:]
        if content[:_HEADER] != _header(key, data):
            _remove(path)
            return None
        with suppress(OSError):
            os.utime(path)
        return data

    def put(self, key: bytes, data: bytes) -> None:
        """Keep bytes under a key; what does not fit is not kept."""
        path, size = self._path(key), _HEADER + len(data)
        if path is None or size > self.limit:
            return
        if size > self._room:
            self._make_room(size)
        beside = path.with_name(f".{os.urandom(8).hex()}.part")
        try:
            # Without fsync: what a crash leaves cut off does not fit its checksum.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            with os.fdopen(os.open(beside, flags, 0o600), "wb") as file:
                file.write(_header(key, data))
                file.write(data)
            beside.replace(path)
        except OSError:
            _remove(beside)
        else:
            self._room -= size

    def clear(self) -> None:
        """Forget everything."""
        for entry in self._files():
            _remove(Path(entry.path))
        self._room = 0

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(found.st_size for _, found in self._entries())

    def _path(self, key: bytes) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / hashlib.blake2b(key, digest_size=_DIGEST).hexdigest()

    def _files(self) -> Iterator[os.DirEntry[str]]:
        """What lies in the folder and is ours by its name."""
        if self._folder is None:
            return
        with suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.endswith(".part") or len(entry.name) == 2 * _DIGEST:
                    yield entry

    def _entries(self) -> Iterator[tuple[Path, os.stat_result]]:
        for entry in self._files():
            with suppress(OSError):  # another process was faster
                yield Path(entry.path), entry.stat(follow_symlinks=False)

    def _make_room(self, size: int) -> None:
        """Look through the folder; if it is too full, let the oldest entries go.

        A quarter is freed at once, and half of what is free may be written before the next look:
        other processes write as well.
        """
        entries = sorted(self._entries(), key=lambda entry: entry[1].st_mtime_ns)
        used = sum(found.st_size for _, found in entries)
        keep = self.limit if used + size <= self.limit else self.limit * 3 // 4
        for path, found in entries:
            abandoned = path.suffix and time.time() - found.st_mtime > _ABANDONED
            if abandoned or (used + size > keep and not path.suffix):
                _remove(path)
                used -= found.st_size
        self._room = max(size, (self.limit - used) // 2)


def default() -> Cache | None:
    """The user's cache; None if there is none.

    The environment variable GRADLOOM_CACHE names another folder, or says `off`.
    """
    return _opened(os.environ.get("GRADLOOM_CACHE", ""))


@functools.lru_cache(maxsize=4)
def _opened(choice: str) -> Cache | None:
    return None if choice.lower() == "off" else Cache(choice or None)


def default_folder() -> Path | None:
    """Where this system keeps a user's caches, with a folder of our own; None if nowhere."""
    base: str | Path
    try:
        if sys.platform == "win32":
            base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = os.environ.get("XDG_CACHE_HOME", "")
            if not Path(base).is_absolute():  # as the XDG specification asks
                base = Path.home() / ".cache"
    except RuntimeError:  # no home
        return None
    return Path(base) / "gradloom"


def _made_private(folder: Path) -> Path | None:
    """The folder, open to this user alone; None if it cannot be had."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not (stat.S_ISDIR(found.st_mode) and _is_ours(found)):
            return None
        if sys.platform != "win32" and stat.S_IMODE(found.st_mode) & 0o077:
            folder.chmod(0o700)
    except OSError:
        return None
    return folder


def _is_ours(found: os.stat_result) -> bool:
    """Whether this user owns it; Windows keeps others out of the user's folder by itself."""
    return sys.platform == "win32" or found.st_uid == os.geteuid()


def _header(key: bytes, data: bytes) -> bytes:
    """What stands before the bytes: what it is, and a checksum of key and bytes."""
    checksum = hashlib.blake2b(data, digest_size=_DIGEST, key=hashlib.sha256(key).digest())
    return _FORMAT + checksum.digest()


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
