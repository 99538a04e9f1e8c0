"""The outbox: results on disk, each written in one stroke."""

import hashlib
from collections.abc import Container
from contextlib import AbstractContextManager
from pathlib import Path

from negvol_pacs.storage import durable


class Outbox:
    """Folders of results, one a generation of a study.

    Parameters
    ----------
    folder
        Root; made where missing.
    """

    def __init__(self, folder: Path) -> None:
        self._root = folder
        durable.make_folder(folder)

    def folder(self, study_uid: str, generation: int) -> Path:
        """Return the folder of a generation's results; its name is a hash, never the UID itself."""
        return self._root / hashlib.sha256(study_uid.encode()).hexdigest()[:32] / str(generation)

    def folders(self) -> list[Path]:
        """Return the folders of all generations that have results, a study's in their order."""
        found = [path for path in self._root.glob("*/*") if path.is_dir() and path.name.isdecimal()]
        return sorted(found, key=lambda path: (path.parent.name, int(path.name)))

    def relative(self, path: Path) -> str:
        """Return a path as the ledger keeps it."""
        return path.relative_to(self._root).as_posix()

    def path(self, relative: str) -> Path:
        """Return the file of a `Result.path`."""
        return self._root / relative

    def replacing(self, path: Path) -> AbstractContextManager[Path]:
        """Write a file atomically and durably: see `durable.replacing`."""
        return durable.replacing(path)

    def discard(self, study_uid: str, keep: Container[str]) -> None:
        """Remove the results of a study, but for those whose `Result.path` is in ``keep``."""
        folder = self.folder(study_uid, 0).parent
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.is_file() and self.relative(path) not in keep:
                path.unlink()
            elif path.is_dir() and not any(path.iterdir()):
                path.rmdir()

    def sweep(self) -> int:
        """Remove what a killed worker left half-written; return how many files."""
        return durable.sweep(self._root)
