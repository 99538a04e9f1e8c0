"""Fixtures that every room's tests share."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pynetdicom.association import Association

from negvol_pacs.network.checkpoint import Checkpoint

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files of slow tests: run side by side, none is left alone at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real shapes and CT for development, which is no part of the repository."""
    folder = Path(os.environ.get("NEGVOL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no development data at {folder} (set NEGVOL_DATA)")
    return folder


@pytest.fixture(autouse=True, scope="session")
def _peers_keep_their_answers() -> Iterator[None]:
    """The peers of the tests are pynetdicom, too, and would lose one answer of thousands on a busy machine."""
    original = Association.__init__

    def begin(self: Association, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        if self.is_requestor:  # the reactor of an acceptor sends itself, for C-GET
            self._reactor_checkpoint = Checkpoint()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Association, "__init__", begin)
        yield


@pytest.fixture(autouse=True)
def _no_log_stays_behind() -> Iterator[None]:
    """What a test makes of this process's log ends with it: its stream is the test's, and closed ever after."""
    before = logging.getLogger().handlers[:]
    yield
    left = [handler for handler in logging.getLogger().handlers if type(handler) is logging.StreamHandler]
    assert not [handler for handler in left if handler not in before], "the log writes to this test's output"


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
