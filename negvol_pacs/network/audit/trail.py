"""The trail of this process: to a file, and to a syslog server where there is one.

Like the log, it is the process's: `start` opens it, whoever has something to tell calls the
functions here, and before `start` they do nothing. Telling never raises and never waits for a
server. A record is written before what it tells goes on, so that ``kill -9`` does not lose it;
a thread brings it to the disk (fdatasync) at once, so that a power cut loses the last moment.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import structlog
from pydicom import dcmread

from negvol_pacs.config import Config
from negvol_pacs.network.audit import messages
from negvol_pacs.network.audit.messages import Party, Reporter, Transfer
from negvol_pacs.network.audit.syslog import SyslogClient

_ALERT_EVERY_S = 10.0
"""The same alert about the same address is told so often at most, with the number of those between."""
_MAX_ALERTS = 1000

_log = structlog.get_logger()


class AuditFile:
    """One message a line, appended; logrotate may move the file away at any time.

    Parameters
    ----------
    path
        The file; readable by the service alone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._descriptor = -1
        self._dirty, self._stop = threading.Event(), threading.Event()
        self.failed = 0
        """Messages that could not be written since the last one that could."""
        self._thread = threading.Thread(target=self._sync, name="audit-sync", daemon=True)
        self._thread.start()

    def write(self, message: bytes) -> int:
        """Append; return how many messages before this one were lost, or -1 when this one is, too."""
        with self._lock:
            try:
                self._open()
                os.write(self._descriptor, message + b"\n")  # one call: lines of several processes stay whole
            except OSError as error:
                if not self.failed:
                    _log.error("audit-not-written", file=str(self._path), reason=error.strerror)
                self.failed += 1
                return -1
            lost, self.failed = self.failed, 0
        self._dirty.set()
        return lost

    def close(self) -> None:
        """Bring everything to the disk."""
        self._stop.set()
        self._dirty.set()
        self._thread.join()
        with self._lock:
            if self._descriptor >= 0:
                with contextlib.suppress(OSError):
                    os.fdatasync(self._descriptor)
                os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        with contextlib.suppress(OSError):
            if self._descriptor >= 0 and os.path.samestat(os.fstat(self._descriptor), self._path.stat()):
                return
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _sync(self) -> None:
        while not self._stop.is_set():
            self._dirty.wait()
            self._dirty.clear()
            with self._lock:
                copy = os.dup(self._descriptor) if self._descriptor >= 0 else -1
            if copy < 0:
                continue
            try:
                os.fdatasync(copy)
            except OSError as error:
                _log.error("audit-not-synced", file=str(self._path), reason=error.strerror)
            finally:
                os.close(copy)


class Trail:
    """An open trail: see the module."""

    def __init__(self, config: Config) -> None:
        audit = config.audit
        self.reporter = Reporter(config.node.ae_title, audit.site)
        self._file = AuditFile(audit.file or config.node.state / "audit.log")
        self._alerts: dict[tuple[str, str], tuple[float, int]] = {}
        self._lock = threading.Lock()
        self._syslog = None if audit.syslog is None else SyslogClient(audit.syslog, self._gap)

    def record(self, message: bytes) -> None:
        """Tell file and server."""
        lost = self._file.write(message)
        if lost > 0:
            text = f"{lost} audit messages could not be written before this one"
            self._file.write(self._about_trail(messages.RECORDING_STARTED, text))
        if self._syslog is not None:
            self._syslog.put(message)

    def refused(self, peer: Party, reason: str, kind: tuple[str, str] = messages.NODE_AUTHENTICATION) -> None:
        """Tell of a peer that did not get what it wanted, without letting it fill the disk."""
        now, key = time.monotonic(), (peer.address, reason)
        with self._lock:
            since, more = self._alerts.get(key, (now - 2 * _ALERT_EVERY_S, 0))
            if now - since < _ALERT_EVERY_S:
                self._alerts[key] = (since, more + 1)
                return
            if len(self._alerts) >= _MAX_ALERTS:
                self._alerts = {k: v for k, v in self._alerts.items() if now - v[0] < _ALERT_EVERY_S}
            if len(self._alerts) >= _MAX_ALERTS:
                return  # a flood from everywhere; the log has it
            self._alerts[key] = (now, 0)
        text = f"{reason}: {peer.ae_title}" if peer.ae_title else reason
        text += f" ({more} more since the last such alert)" if more else ""
        self.record(messages.alert(self.reporter, kind, messages.MINOR_FAILURE, text, peer))

    def close(self, grace_s: float) -> None:
        """Tell the last, and let the server hear it."""
        if self._syslog is not None:
            lost = self._syslog.close(grace_s)
            if lost:
                text = f"{lost} audit messages did not reach the syslog server"
                self._file.write(self._about_trail(messages.RECORDING_STOPPED, text))
        self._file.close()

    def _gap(self, lost: int) -> None:
        kind = messages.RECORDING_STARTED if lost else messages.RECORDING_STOPPED
        text = (
            f"{lost} audit messages did not reach the syslog server" if lost else "the syslog server takes no messages"
        )
        self._file.write(self._about_trail(kind, text))

    def _about_trail(self, kind: tuple[str, str], text: str) -> bytes:
        return messages.alert(self.reporter, kind, messages.MINOR_FAILURE, text)


_trail: Trail | None = None


@contextlib.contextmanager
def recording(config: Config, grace_s: float = 2.0) -> Iterator[None]:
    """Keep this process's trail for the length of the block, from application start to stop."""
    global _trail  # noqa: PLW0603
    if not config.audit.enabled:
        yield
        return
    _trail = trail = Trail(config)
    trail.record(messages.application(trail.reporter, messages.START))
    try:
        yield
    finally:
        trail.record(messages.application(trail.reporter, messages.STOP))
        _trail = None
        trail.close(grace_s)


def admitted(peer: Party) -> None:
    """Tell of an association that was accepted."""
    if (trail := _trail) is not None:
        kind, outcome = messages.NODE_AUTHENTICATION, messages.SUCCESS
        trail.record(messages.alert(trail.reporter, kind, outcome, "association accepted", peer))


def refused(peer: Party, reason: str) -> None:
    """Tell of a peer that was turned away."""
    if (trail := _trail) is not None:
        trail.refused(peer, reason)


def restricted(peer: Party, reason: str) -> None:
    """Tell of a peer that was let in and wanted services that are not for it."""
    if (trail := _trail) is not None:
        trail.refused(peer, reason, messages.RESTRICTED_FUNCTION)


def queried(peer: Party, sop_class: str, syntax: str, identifier: bytes) -> None:
    """Tell of a query that a peer has sent."""
    if (trail := _trail) is not None:
        source = replace(peer, requestor=True)
        own, asked = trail.reporter.party, {"sop_class": sop_class, "syntax": syntax}
        trail.record(messages.query(trail.reporter, source, own, **asked, identifier=identifier))


def accessed(user: str, address: str, study: str, patient: str) -> None:
    """Tell that somebody looked at what is here of a study."""
    if (trail := _trail) is not None:
        trail.record(messages.accessed(trail.reporter, Party("", address, user=user), study, patient))


def deleted(study: str, patient: str, reason: str) -> None:
    """Tell that the images of a study were deleted."""
    if (trail := _trail) is not None:
        trail.record(messages.deleted(trail.reporter, study, patient, reason))


class Transfers:
    """What goes over one association, study by study.

    Parameters
    ----------
    peer
        The other end.
    received
        Whether the peer sends; False where this node does.
    """

    def __init__(self, peer: Party, *, received: bool) -> None:
        self._peer, self._received = peer, received
        self._studies: dict[str, tuple[str, dict[str, int]]] = {}

    def knows(self, study: str) -> bool:
        """Whether the transfer of a study has begun."""
        return study in self._studies

    def begin(self, study: str, patient: str) -> None:
        """Tell that a study begins to be transferred, once."""
        if study in self._studies:
            return
        self._studies[study] = (patient, {})
        if (trail := _trail) is not None:
            trail.record(messages.begin_transfer(trail.reporter, self._transfer(trail.reporter, study, patient)))

    def begin_with(self, path: Path) -> str:
        """Begin the study of a DICOM file; return its Study Instance UID."""
        header = dcmread(path, stop_before_pixels=True, specific_tags=["StudyInstanceUID", "PatientID"])
        study = str(header.get("StudyInstanceUID") or "")
        self.begin(study, str(header.get("PatientID") or ""))
        return study

    def add(self, study: str, sop_class: str) -> None:
        """Count an instance that has arrived."""
        counts = self._studies[study][1]
        counts[sop_class] = counts.get(sop_class, 0) + 1

    def end(self, failure: str = "") -> None:
        """Tell what was transferred of each study, and why no more."""
        trail, studies, self._studies = _trail, self._studies, {}
        if trail is None:
            return
        for study, (patient, counts) in studies.items():
            transfer = self._transfer(trail.reporter, study, patient)
            created = self._received
            trail.record(messages.transferred(trail.reporter, transfer, counts, created=created, failure=failure))

    def __enter__(self) -> "Transfers":
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        self.end("" if error is None else getattr(error, "code", type(error).__name__))

    def _transfer(self, reporter: Reporter, study: str, patient: str) -> Transfer:
        peer, own = replace(self._peer, requestor=self._received), replace(reporter.party, requestor=not self._received)
        source, destination = (peer, own) if self._received else (own, peer)
        return Transfer(source, destination, study, patient)
