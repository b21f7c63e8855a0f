"""What every test starts from."""

import pytest

from gradloom.loom import record


@pytest.fixture(autouse=True)
def fresh_watch_over_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count recordings from 0: on newer interpreters only so many of a process are watched."""
    monkeypatch.setattr(record._outside, "times", 0)
