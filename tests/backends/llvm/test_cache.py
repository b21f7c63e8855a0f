"""The cache of compiled code: what it keeps, what it lets go, and that it never raises."""

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from gradloom.backends.llvm import cache as module
from gradloom.backends.llvm.cache import Cache, default, default_folder

posix = pytest.mark.skipif(sys.platform == "win32", reason="owners and modes are POSIX's")


def _files(folder: Path) -> list[Path]:
    return sorted((folder / "objects").iterdir())


def _python(code: str, *arguments: object, cwd: Path | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=cwd)


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 1000])
def test_what_was_put_comes_back(tmp_path: Path, data: bytes) -> None:
    Cache(tmp_path).put(b"key", data)
    assert Cache(tmp_path).get(b"key") == data
    assert Cache(tmp_path).get(b"other") is None


def test_the_last_to_write_a_key_is_read(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put(b"key", b"old")
    cache.put(b"key", b"new")
    assert cache.get(b"key") == b"new"
    assert len(_files(tmp_path)) == 1


def test_size_counts_what_lies_on_disk(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert cache.size == 0
    cache.put(b"a", bytes(1000))
    cache.put(b"b", bytes(500))
    assert cache.size == sum(path.stat().st_size for path in _files(tmp_path))
    assert 1500 < cache.size < 1600


def test_clear_forgets_everything_and_leaves_other_files(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put(b"a", b"1")
    other = tmp_path / "objects" / "notes.txt"
    other.write_text("somebody's")
    cache.clear()
    assert cache.get(b"a") is None
    assert cache.size == 0
    assert other.exists()


@pytest.mark.parametrize("limit", [5_000, 100_000])
def test_the_limit_is_kept_after_every_write(tmp_path: Path, limit: int) -> None:
    cache = Cache(tmp_path, limit=limit)
    for i in range(300):
        cache.put(str(i).encode(), bytes(i * 7 % 2000))
        assert cache.size <= limit
    assert cache.size > limit // 4
    assert cache.get(b"299") is not None


def test_short_processes_keep_the_limit_as_well(tmp_path: Path) -> None:
    for i in range(50):
        Cache(tmp_path, limit=5_000).put(str(i).encode(), bytes(900))
        assert Cache(tmp_path).size <= 5_000


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=10_000)
    for i in range(9):
        cache.put(str(i).encode(), bytes(1000))
        path = cache._path(str(i).encode())
        assert path is not None
        os.utime(path, (1000 + i, 1000 + i))  # clocks are coarse
    assert cache.get(b"0") is not None
    cache.put(b"next", bytes(1000))
    cache.put(b"last", bytes(1000))
    kept = [i for i in range(9) if cache.get(str(i).encode()) is not None]
    assert kept[0] == 0
    assert kept[1:] == list(range(10 - len(kept), 9))
    assert len(kept) < 9


def test_what_is_larger_than_the_limit_is_not_kept(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=1000)
    cache.put(b"small", bytes(100))
    cache.put(b"large", bytes(1000))
    assert cache.get(b"large") is None
    assert cache.get(b"small") is not None


def test_every_damaged_byte_is_noticed(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put(b"key", b"code")
    (path,) = _files(tmp_path)
    whole = path.read_bytes()
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
        assert cache.get(b"key") is None
        assert not path.exists()
    cache.put(b"key", b"code")
    assert cache.get(b"key") == b"code"


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put(b"key", b"code")
    (path,) = _files(tmp_path)
    whole = path.read_bytes()
    for damaged in [whole[:n] for n in range(len(whole))] + [whole + b"\0"]:
        path.write_bytes(damaged)
        assert cache.get(b"key") is None


def test_the_entry_of_another_key_is_not_taken(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put(b"a", b"of a")
    (path,) = _files(tmp_path)
    other = cache._path(b"b")
    assert other is not None
    path.rename(other)
    assert cache.get(b"b") is None


def test_a_folder_in_the_place_of_an_entry_is_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    path = cache._path(b"key")
    assert path is not None
    path.mkdir()
    cache.put(b"key", b"code")
    assert cache.get(b"key") is None
    cache.clear()
    assert [left.name for left in _files(tmp_path)] == [path.name]


def test_a_file_in_the_place_of_the_folder_makes_an_empty_cache(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    for folder in (tmp_path / "taken", tmp_path / "taken" / "deeper"):
        cache = Cache(folder)
        cache.put(b"key", b"code")
        assert cache.get(b"key") is None
        assert cache.size == 0
        cache.clear()


def test_a_folder_that_vanishes_is_as_if_empty(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    (tmp_path / "objects").rmdir()
    cache.put(b"key", b"code")
    assert cache.get(b"key") is None


@posix
def test_a_folder_without_permission_to_write_still_reads(tmp_path: Path) -> None:
    code = """
        import os
        from gradloom.backends.llvm.cache import Cache
        if os.geteuid() == 0:
            os.setuid(12345)  # nothing is forbidden to root
        cache = Cache(".")
        cache.put(b"old", b"code")
        os.chmod("objects", 0o500)
        cache.put(b"new", b"code")
        print(cache.get(b"old"), cache.get(b"new"))
        os.chmod("objects", 0o700)
    """
    tmp_path.chmod(0o777)
    assert _python(code, cwd=tmp_path).communicate()[0] == "b'code' None\n"


@posix
def test_a_full_disk_leaves_no_trace(tmp_path: Path) -> None:
    code = """
        import resource, signal, sys
        from gradloom.backends.llvm.cache import Cache
        cache = Cache(sys.argv[1])
        cache.put(b"small", b"code")
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))  # writes fail half way
        cache.put(b"large", bytes(100_000))
        print(cache.get(b"small"), cache.get(b"large"))
    """
    assert _python(code, tmp_path).communicate()[0] == "b'code' None\n"
    assert len(_files(tmp_path)) == 1


@posix
def test_folder_and_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Cache(tmp_path).put(b"key", b"code")
    finally:
        os.umask(before)
    folder = tmp_path / "objects"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert _files(tmp_path)[0].stat().st_mode & 0o777 == 0o600
    folder.chmod(0o777)
    assert Cache(tmp_path).get(b"key") == b"code"
    assert folder.stat().st_mode & 0o777 == 0o700


@posix
def test_code_of_another_owner_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path)
    cache.put(b"key", b"code")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert cache.get(b"key") is None  # a file
    other = Cache(tmp_path)  # a folder
    other.put(b"new", b"code")
    monkeypatch.undo()
    assert cache.get(b"new") is None
    assert cache.get(b"key") == b"code"


@posix
def test_a_link_in_the_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    Cache(tmp_path / "real").put(b"key", b"code")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "objects").symlink_to(tmp_path / "real" / "objects")
    assert Cache(tmp_path / "linked").get(b"key") is None


def test_half_files_of_dead_writers_go_in_time(tmp_path: Path) -> None:
    Cache(tmp_path).put(b"key", b"code")
    old, young = tmp_path / "objects" / ".0.part", tmp_path / "objects" / ".1.part"
    old.write_bytes(bytes(10))
    young.write_bytes(bytes(10))
    os.utime(old, (0, 0))
    Cache(tmp_path).put(b"next", b"code")
    assert not old.exists()
    assert young.exists()


def test_processes_that_write_and_read_at_once_never_see_half(tmp_path: Path) -> None:
    code = """
        import sys
        from gradloom.backends.llvm.cache import Cache
        cache = Cache(sys.argv[1], limit=2_000_000)
        found = wrong = 0
        for turn in range(300):
            for key in range(4):
                data = cache.get(b"%d" % key)
                if data is not None:
                    found += 1
                    wrong += data != data[:1] * (50_000 + key)
            fill = bytes([int(sys.argv[2])])
            cache.put(b"%d" % (turn % 4), fill * (50_000 + turn % 4))
            if turn % 50 == 49:
                cache.clear()
        print(found > 0, wrong)
    """
    children = [_python(code, tmp_path, i) for i in range(4)]
    assert [child.communicate()[0] for child in children] == ["True 0\n"] * 4
    assert not [path for path in _files(tmp_path) if path.suffix]


def test_processes_that_fill_it_together_settle_at_the_limit(tmp_path: Path) -> None:
    code = """
        import sys
        from gradloom.backends.llvm.cache import Cache
        cache = Cache(sys.argv[1], limit=200_000)
        for i in range(200):
            cache.put(sys.argv[2].encode() + b"%d" % i, bytes(5_000))
    """
    children = [_python(code, tmp_path, i) for i in range(3)]
    assert [child.wait() for child in children] == [0] * 3
    for child in children:
        child.communicate()
    cache = Cache(tmp_path, limit=200_000)
    cache.put(b"one more", bytes(5_000))
    assert 20_000 < cache.size <= 200_000


def test_threads_share_one_cache(tmp_path: Path) -> None:
    cache, wrong = Cache(tmp_path, limit=100_000), []

    def work(number: int) -> None:
        for i in range(100):
            cache.put(b"%d" % (i % 5), bytes([i % 5]) * 1000)
            data = cache.get(b"%d" % (number % 5))
            if data not in (None, bytes([number % 5]) * 1000):
                wrong.append(data)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_variable_names_another_folder_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADLOOM_CACHE", str(tmp_path / "mine"))
    cache = default()
    assert cache is not None
    cache.put(b"key", b"code")
    assert len(_files(tmp_path / "mine")) == 1
    assert default() is cache
    monkeypatch.setenv("GRADLOOM_CACHE", "off")
    assert default() is None


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, "{home}/.cache/gradloom"),
        ("linux", {"XDG_CACHE_HOME": "/var/c"}, "/var/c/gradloom"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "{home}/.cache/gradloom"),
        ("darwin", {"XDG_CACHE_HOME": "/var/c"}, "{home}/Library/Caches/gradloom"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/gradloom"),
        ("win32", {}, "{home}/AppData/Local/gradloom"),
    ],
)
def test_each_system_has_its_folder(
    platform: str, variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert default_folder() == Path(expected.format(home=Path.home()))


def test_without_a_home_there_is_an_empty_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "default_folder", lambda: None)
    cache = Cache()
    cache.put(b"key", b"code")
    assert cache.get(b"key") is None
    assert cache.size == 0
