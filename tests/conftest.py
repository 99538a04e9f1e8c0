"""Fixtures that every room's tests share."""

import os
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real shapes and CT for development, which is no part of the repository."""
    folder = Path(os.environ.get("NEGVOL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no development data at {folder} (set NEGVOL_DATA)")
    return folder


class Switch:
    """Takes a defence away in the second of two runs: there the attack must succeed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, is_off: bool) -> None:
        self._monkeypatch, self.is_off = monkeypatch, is_off

    def off(self, target: Any, name: str, value: Any) -> None:
        """Put ``value`` in the place of a defence."""
        if self.is_off:
            self._monkeypatch.setattr(target, name, value)


@pytest.fixture(params=["defended", "defenceless"])
def switch(request, monkeypatch):
    return Switch(monkeypatch, request.param == "defenceless")
