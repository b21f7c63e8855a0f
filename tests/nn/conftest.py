"""PyTorch's figures for the tests; the script that recorded them is no test itself."""

import json
from pathlib import Path
from typing import Any

import pytest

collect_ignore = ["record_torch.py"]  # it imports PyTorch, which the tests need not have

_FIGURES = json.loads(Path(__file__).with_name("torch_figures.json").read_text(encoding="utf-8"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with an argument `loss_case`, `optimizer_case`, … on each case recorded."""
    for kind in ("loss", "optimizer", "schedule", "clip"):
        if f"{kind}_case" in metafunc.fixturenames:
            cases = _FIGURES[kind]
            ids = [f"{case[kind]}-{i}" for i, case in enumerate(cases)]
            metafunc.parametrize(f"{kind}_case", cases, ids=ids)


@pytest.fixture(scope="session")
def figures() -> dict[str, Any]:
    """All that was recorded."""
    return _FIGURES  # type: ignore[no-any-return]
