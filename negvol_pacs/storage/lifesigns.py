"""Signs of life: small files by which the node's processes show that they live, and what they run with."""

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import structlog

from negvol_pacs import __version__

SILENT_S = 60.0
"""A process that has shown nothing for so long is dead or hangs."""
_EVERY_S = 5.0
_FOLDER = "processes"

_log = structlog.get_logger()


@dataclass(frozen=True)
class Process:
    """A process of the node, as its file tells; times are seconds since the epoch."""

    kind: str
    """``receiver`` or ``worker``."""
    name: str
    """Executor id of a worker, else empty."""
    seen_at: float
    """When it last showed that it lives."""
    started_at: float = 0.0
    """0 where the file does not tell."""
    version: str = ""
    told: dict[str, str] = field(default_factory=dict)
    """What it runs with, such as the weights' hash."""

    def is_silent(self, now: float) -> bool:
        """Tell whether it is dead or hangs; a sign from the future is one from before the clock was set back."""
        return abs(now - self.seen_at) > SILENT_S


class LifeSign:
    """The file of this process. Its content is written once; its time is when the process was last alive.

    No sign is worth more than the work: what goes wrong is logged, and a full disk hinders no beat.

    Parameters
    ----------
    state
        The node's state folder.
    kind, name, told
        As in `Process`.
    """

    def __init__(self, state: Path, kind: str, name: str = "", **told: str) -> None:
        content = {"kind": kind, "name": name, "started_at": time.time(), "version": __version__, "told": told}
        self._path = state / _FOLDER / f"{quote(f'{kind} {name}'.strip(), safe=' ')}.json"
        self._content = json.dumps(content)
        self._next, self._failed = 0.0, False
        self.beat()

    def beat(self) -> None:
        """Show that the process lives; to be called as often as its work turns."""
        if time.monotonic() < self._next:
            return
        written = self._next > 0
        self._next = time.monotonic() + _EVERY_S
        try:
            if written and self._path.exists():
                os.utime(self._path)
            else:
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._path.write_text(self._content, encoding="utf-8")
            self._failed = False
        except OSError as error:
            if not self._failed:
                _log.warning("no-sign-of-life", file=str(self._path), reason=error.strerror)
            self._failed = True

    def end(self) -> None:
        """Leave no sign after an orderly end."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def processes(state: Path) -> list[Process]:
    """Return the processes that live, and those that ended otherwise than in order."""
    found = (_read(path) for path in sorted((state / _FOLDER).glob("*.json")))
    return [process for process in found if process is not None]


def _read(path: Path) -> Process | None:
    try:
        seen_at, text = path.stat().st_mtime, path.read_text(encoding="utf-8")
    except OSError:  # it has just ended
        return None
    try:
        return Process(seen_at=seen_at, **json.loads(text))
    except (ValueError, TypeError):  # it is being written, or the disk was full
        kind, _, name = path.stem.partition(" ")
        return Process(kind, name, seen_at)
