import errno
import os
from pathlib import Path

import pytest

from gradloom.errors import ModelFileError, RunFolderError
from gradloom.train.files import read_json, write_json, write_whole


def test_a_former_file_is_replaced(tmp_path):
    path = tmp_path / "a.txt"
    write_whole(path, "old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_full_disk_leaves_the_former_file_and_nothing_beside_it(tmp_path, monkeypatch, moment):
    path = tmp_path / "a.txt"
    write_whole(path, "old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace")}[moment], full)
    with pytest.raises(RunFolderError, match=r"cannot write .*a\.txt: the disk is full: free"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_ctrl_c_while_writing_leaves_nothing_half_written(tmp_path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a.txt", "new")
    assert [path.name for path in tmp_path.iterdir()] == []


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(RunFolderError, match="the folder does not exist: create it first"):
        write_whole(tmp_path / "no" / "a.txt", "text")


def test_json_keeps_every_bit_of_a_float(tmp_path):
    numbers = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0]
    write_json(tmp_path / "a.json", numbers)
    assert list(map(float.hex, read_json(tmp_path / "a.json"))) == list(map(float.hex, numbers))


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe\x00"])
def test_damaged_json_is_named_as_such(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"a\.json is damaged"):
        read_json(path, damaged=ModelFileError)


def test_a_folder_in_place_of_a_file_is_an_error_of_ours(tmp_path):
    with pytest.raises(RunFolderError, match="cannot read"):
        read_json(tmp_path)
