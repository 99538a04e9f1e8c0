"""Points at which a process of the node may be killed, or the disk be full, found while it runs.

A point lies before and after each ``fsync``, each rename, each commit that changed a database, and
each PDU that completes a DIMSE message or is none. Its name says who did it and for the how manieth
time in this life of the process; nothing of the product knows of it. An undisturbed run writes the
names down, and in a later run something befalls it at one of them.
"""

import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu import P_DATA_TF
from sqlalchemy.engine.default import DefaultDialect

_LAST, _COMMAND = 2, 1
_TOO_GENERAL = ("negvol_pacs.storage.durable", "negvol_pacs.storage.database")


class Points:
    """Writes down each point that this process passes, and does something at some.

    Parameters
    ----------
    role
        Of this process; the beginning of each name.
    trace
        File that the names are appended to, one a line.
    deeds
        What is done at which point: a name and an argument for ``do``.
    do
        Does it; the process may not come back.
    """

    def __init__(self, role: str, trace: Path, deeds: Mapping[str, str], do: Callable[[str], None]) -> None:
        self._role, self._deeds, self._do = role, deeds, do
        self._trace = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._passed: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._changes: dict[int, int] = {}
        """Rows that each connection had changed when it was last asked."""

    def install(self) -> None:
        """Watch this process from now on."""
        for name in ("fsync", "fdatasync", "rename", "replace"):
            setattr(os, name, self._watched(getattr(os, name), name.replace("replace", "rename")))
        DefaultDialect.do_commit = self._commit(DefaultDialect.do_commit)
        DIMSEServiceProvider.send_msg = _named(DIMSEServiceProvider.send_msg)
        DULServiceProvider._send = self._pdu(DULServiceProvider._send)

    def _at(self, when: str, what: str) -> None:
        with self._lock:
            self._passed[when + what] += 1
            name = f"{self._role} | {when} | {what} | {self._passed[when + what]}"
            os.write(self._trace, f"{name}\n".encode())
        if name in self._deeds:
            self._do(self._deeds[name])

    def _around(self, what: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        self._at("before", what)
        result = function(*arguments, **options)
        self._at("after", what)
        return result

    def _watched(self, function: Callable[..., Any], what: str) -> Callable[..., Any]:
        return lambda *arguments, **options: self._around(f"{what} in {_caller()}", function, *arguments, **options)

    def _commit(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def commit(dialect: Any, connection: Any) -> None:
            driver = connection.driver_connection
            changes, known = driver.total_changes, self._changes.get(id(driver), 0)
            self._changes[id(driver)] = changes
            if changes == known:  # a look, which leaves nothing behind
                original(dialect, connection)
            else:
                self._around(f"commit in {_caller()}", original, dialect, connection)

        return commit

    def _pdu(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def send(dul: Any, pdu: Any) -> None:
            name = type(pdu).__name__.replace("_", "-")
            if isinstance(pdu, P_DATA_TF):
                control = pdu.presentation_data_value_items[-1].presentation_data_value[0]
                if not control & _LAST:
                    original(dul, pdu)
                    return
                name = f"{dul.assoc.message_sent}, {'command' if control & _COMMAND else 'data set'}"
            self._around(f"send {name}", original, dul, pdu)

        return send


def fill(path: Path) -> None:
    """Write a file until the disk is full."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    with suppress(OSError):  # ENOSPC
        while True:
            os.write(descriptor, bytes(4096))
    os.close(descriptor)


def _named(original: Callable[..., Any]) -> Callable[..., Any]:
    def send_msg(provider: Any, primitive: Any, context_id: int) -> None:
        kind = "RQ" if primitive.MessageIDBeingRespondedTo is None else "RSP"
        provider.assoc.message_sent = f"{type(primitive).__name__.replace('_', '-')}-{kind}"
        original(provider, primitive, context_id)

    return send_msg


def _caller() -> str:
    """Name the innermost function of the node, or of its engine, that is being run."""
    frame = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith(("negvol_pacs.", "dbos.")) and module not in _TOO_GENERAL:
            return f"{module.removeprefix('negvol_pacs.')}.{frame.f_code.co_qualname}".replace(".<locals>", "")
        frame = frame.f_back
    return "nobody"
