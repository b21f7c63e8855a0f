import json
import struct

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from gradloom.errors import ArgumentError, ModelFileError, RunFolderError
from gradloom.nn import MLP, Layer, Neuron
from gradloom.train import load_model, save_model


@pytest.mark.parametrize(
    "model", [MLP(2, [4, 3], "relu", seed=1), MLP(3, [1], seed=2), Layer(2, 2, seed=3), Neuron(4)]
)
def test_a_loaded_model_has_the_same_numbers_and_architecture(tmp_path, model):
    path = tmp_path / "model.safetensors"
    save_model(model, path)
    loaded = load_model(path)
    assert loaded.config() == model.config()
    assert loaded.state() == model.state()


def test_the_file_is_plain_safetensors_in_double_precision_with_the_architecture(tmp_path):
    model = MLP(2, [3, 1], seed=1)
    save_model(model, tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", framework="numpy") as file:
        assert json.loads(file.metadata()["gradloom"]) == model.config()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype("float64")}
    assert sum(tensor.size for tensor in tensors.values()) == len(model.parameters())


def test_infinite_numbers_survive(tmp_path):
    model = Neuron(2)
    model.load_state({"w": [float("inf"), -0.0], "b": float("-inf")})
    save_model(model, tmp_path / "m.safetensors")
    assert load_model(tmp_path / "m.safetensors").state() == model.state()


def test_a_model_that_cannot_be_described_is_refused_and_nothing_written(tmp_path):
    with pytest.raises(ArgumentError, match="function"):
        save_model(Neuron(2, lambda x: x * x), tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_the_former_model(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    old = Neuron(2, seed=1)
    save_model(old, path)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunFolderError, match="the disk is full"):
        save_model(Neuron(2, seed=2), path)
    assert load_model(path).state() == old.state()


def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(MLP(2, [3, 1], seed=1), path)
    return path, path.read_bytes()


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -8])
def test_a_truncated_file_is_named_as_damaged(tmp_path, keep):
    path, content = saved(tmp_path)
    path.write_bytes(content[:keep])
    with pytest.raises(ModelFileError, match=r"model\.safetensors is damaged"):
        load_model(path)


def test_no_flipped_byte_of_the_header_is_taken_without_a_word(tmp_path):
    path, content = saved(tmp_path)
    size = 8 + struct.unpack("<Q", content[:8])[0]
    expected = load_model(path).config()
    for position in range(size):
        path.write_bytes(
            content[:position] + bytes([content[position] ^ 0x15]) + content[position + 1 :]
        )
        try:
            config = load_model(path).config()
        except ModelFileError:
            continue
        # What is left is blank space, and names that are as good as the old ones.
        assert config["nin"] == expected["nin"]


def test_a_foreign_file_is_named_as_such(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file({"w": np.zeros(3)}, path)
    with pytest.raises(ModelFileError, match="was not written by Gradloom"):
        load_model(path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ModelFileError, match="is damaged or no safetensors file"):
        load_model(path)


@pytest.mark.parametrize(
    "config",
    [
        "{",
        "[]",
        "null",
        '{"type": "Nothing"}',
        '{"type": "Neuron"}',
        '{"type": "Neuron", "nin": "2"}',
    ],
)
def test_a_foreign_architecture_is_named_as_damage(tmp_path, config):
    path = tmp_path / "m.safetensors"
    save_file({"w": np.zeros(2), "b": np.zeros(())}, path, metadata={"gradloom": config})
    with pytest.raises(ModelFileError, match="is damaged"):
        load_model(path)


def test_numbers_of_another_architecture_are_named_as_damage(tmp_path):
    path = tmp_path / "m.safetensors"
    config = json.dumps(Neuron(3).config())
    save_file({"w": np.zeros(2), "b": np.zeros(())}, path, metadata={"gradloom": config})
    with pytest.raises(ModelFileError, match="do not fit"):
        load_model(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(ModelFileError, match=r"none\.safetensors: no such file"):
        load_model(tmp_path / "none.safetensors")
    with pytest.raises(ModelFileError, match="cannot read"):
        load_model(tmp_path)
