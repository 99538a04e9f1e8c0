"""Writing that survives a power cut: temp → fsync → rename → fsync folder."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPORARY = ".part"
"""Suffix of files that are not yet what they will be; swept at start."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file in one stroke: readers, and a restart, see the old one or the new one.

    Parameters
    ----------
    path
        The file to write; its folder is made where missing.

    Yields
    ------
    Path
        A temporary name in the same folder, with the same suffix before ``.part``, for the
        block to write to. It becomes ``path`` when the block ends, and is removed when the
        block raises.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{secrets.token_hex(8)}-{path.name}{TEMPORARY}")
    try:
        yield temporary
        sync(temporary)
        move(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def move(temporary: Path, path: Path) -> None:
    """Rename a synced file to its place and make the name durable."""
    temporary.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, that only the service can read; their names are durable."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync(folder.parent)


def sweep(folder: Path) -> int:
    """Remove what a killed writer left half-written anywhere below ``folder``; return how many."""
    leftovers = [path for path in folder.rglob(f"*{TEMPORARY}") if path.is_file()]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)
