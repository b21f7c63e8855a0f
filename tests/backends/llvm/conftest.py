"""What tests of machine code start from."""

import pytest


@pytest.fixture(autouse=True)
def nothing_from_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile anew, and leave the user's cache alone; tests of the cache say so."""
    monkeypatch.setenv("GRADLOOM_CACHE", "off")
