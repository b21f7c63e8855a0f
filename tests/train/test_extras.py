import sys

import pytest

from gradloom.errors import GradloomError
from gradloom.train.extras import MissingExtraError, extra


def test_a_missing_library_is_an_import_error_that_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    message = r"safetensors is not installed: pip install 'gradloom\[train\]'"
    with pytest.raises(MissingExtraError, match=message), extra():
        import safetensors.numpy  # noqa: F401
    assert issubclass(MissingExtraError, GradloomError)
    assert issubclass(MissingExtraError, ImportError)


def test_other_errors_pass_through():
    with pytest.raises(ZeroDivisionError), extra():
        _ = 1 / 0
