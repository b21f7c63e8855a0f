import sys

import pytest

from gradloom.errors import GradloomError
from gradloom.train.extras import MissingExtraError, extra


def test_a_missing_library_is_an_import_error_that_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(MissingExtraError, match=r"safetensors.* pip install 'gradloom\[train\]'"):
        with extra():
            import safetensors  # noqa: F401
    assert issubclass(MissingExtraError, GradloomError)
    assert issubclass(MissingExtraError, ImportError)


def test_other_errors_pass_through():
    with pytest.raises(ZeroDivisionError), extra():
        _ = 1 / 0
