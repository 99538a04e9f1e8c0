"""What every long-lived process of the node does with signals, its parent and its lock."""

import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

from negvol_pacs.errors import AlreadyRunning
from negvol_pacs.parent import die_with

_PARENT = "NEGVOL_PARENT_PID"


class Exit(IntEnum):
    """Exit codes of ``negvol``; those from 64 up are the ones of sysexits.h."""

    OK = 0
    ERROR = 1
    USAGE = 2
    REFUSED = 3
    NETWORK = 4
    TIMEOUT = 5
    DAMAGED = 65
    """A database is damaged: ``negvol rebuild``."""
    UNUSABLE = 70
    """The worker cannot go on (the GPU failed); a fresh process can."""
    DISK_FULL = 74
    ALREADY_RUNNING = 75
    CONFIG = 78


def ailment(error: BaseException) -> Exit | None:
    """Exit code where a full disk or a damaged database is behind an error, else None."""
    from negvol_pacs.storage.database import is_damaged, is_full  # not for every command: its libraries take time

    if is_full(error):
        return Exit.DISK_FULL
    return Exit.DAMAGED if is_damaged(error) else None


def environment() -> dict[str, str]:
    """Environment for a child process that must not outlive this one."""
    return os.environ | {_PARENT: str(os.getpid())}


def die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the process that started this one by :func:`environment` ends."""
    parent = os.environ.pop(_PARENT, None)
    if parent is not None:
        die_with(int(parent))


def stop_event() -> threading.Event:
    """Event that SIGTERM and SIGINT set; a second signal ends the process at once."""
    event, signals = threading.Event(), 0

    def handle(number: int, _frame: object) -> None:
        nonlocal signals
        signals += 1
        if signals > 1:
            os._exit(128 + number)
        _set(event)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    return event


def reload_event() -> threading.Event:
    """Event that SIGHUP sets: the configuration is to be read again. Whoever does so clears it."""
    event = threading.Event()
    signal.signal(signal.SIGHUP, lambda _number, _frame: _set(event))
    return event


def _set(event: threading.Event) -> None:
    """Set an event from a signal's handler.

    A handler runs in the main thread, between any two instructions of it. Where that thread is on its way to wait for
    the event, it holds the event's lock: to take it here would block both forever.
    """
    threading.Thread(target=event.set, name="signal", daemon=True).start()


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a file lock for as long as the block runs; the kernel lets go when the process dies.

    Raises
    ------
    AlreadyRunning
        If another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunning(f"another process holds {path}; stop it first") from error
        yield
