"""PyTorch's figures for the edges; the script that recorded them is no test itself."""

import json
from pathlib import Path

import pytest

collect_ignore = ["record_torch.py"]  # it imports PyTorch, which the tests need not have

Entry = list[object]


@pytest.fixture(scope="session")
def torch_edges() -> dict[str, list[Entry]]:
    """Operands, result and derivatives at the edges of each operation."""
    file = Path(__file__).with_name("torch_edges.json")
    return json.loads(file.read_text(encoding="utf-8"))  # type: ignore[no-any-return]
