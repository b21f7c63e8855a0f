"""Model files: safetensors with the architecture in the metadata, and no pickle.

A safetensors file holds named arrays and a little text, and nothing that could run. Ours holds
each entry of `model.state()` as a float64 array, and under the key `gradloom` the architecture,
`model.config()`, as JSON; any program that reads safetensors can read it.

Reference: https://huggingface.co/docs/safetensors
"""

import json
import os
from pathlib import Path

from gradloom.errors import GradloomError, ModelFileError
from gradloom.nn import Module, from_config
from gradloom.train.extras import extra
from gradloom.train.files import write_whole

_KEY = "gradloom"


def save_model(model: Module, path: str | os.PathLike[str]) -> None:
    """Writes the model's architecture and numbers to `path`, whole or not at all.

    Raises:
        ArgumentError: the model has no `config`, so that a file could not rebuild it.
        RunFolderError: the file cannot be written.
        MissingExtraError: safetensors is not installed.

    Example:
        >>> import tempfile
        >>> from gradloom.nn import MLP
        >>> model, file = MLP(2, [4, 1], seed=1), Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> save_model(model, file)
        >>> load_model(file)([1.0, 2.0]).data == model([1.0, 2.0]).data
        True
    """
    with extra():
        import numpy as np
        from safetensors.numpy import save
    config = json.dumps(model.config())
    tensors = {name: np.array(entry, dtype=np.float64) for name, entry in model.state().items()}
    write_whole(path, save(tensors, metadata={_KEY: config}))


def load_model(path: str | os.PathLike[str]) -> Module:
    """The model that `save_model` wrote to `path`.

    Raises:
        ModelFileError: the file is missing, damaged, or was not written by Gradloom.
        MissingExtraError: safetensors is not installed.
    """
    with extra():
        from safetensors import SafetensorError, safe_open
    path = Path(path)
    try:
        with safe_open(path, framework="numpy") as file:
            config = (file.metadata() or {}).get(_KEY)
            state = {name: file.get_tensor(name).tolist() for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise ModelFileError(f"cannot read {path}: no such file") from None
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise ModelFileError(
            f"{path} is damaged or no safetensors file ({error}): restore it from a copy, "
            "or train again"
        ) from error
    if config is None:
        raise ModelFileError(
            f"{path} was not written by Gradloom: its metadata holds no architecture; "
            "give a file that save_model wrote"
        )
    try:
        model = from_config(json.loads(config))
        model.load_state(state)
    except (GradloomError, ValueError, TypeError, KeyError) as error:
        raise ModelFileError(
            f"{path} is damaged: its architecture and its numbers do not fit ({error})"
        ) from error
    return model
