"""Fixtures that every room's tests share."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real shapes and CT for development, which is no part of the repository."""
    folder = Path(os.environ.get("NEGVOL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no development data at {folder} (set NEGVOL_DATA)")
    return folder
