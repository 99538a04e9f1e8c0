"""Storage commitment as SCP: does this node keep what it received? (PS3.4 annex J).

A request is in the ledger before it is accepted, and leaves it when the peer has heard the
report: on the same association where that stays open, else on one to the peer.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import replace

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from negvol_pacs.config import Config, Destination, DestinationTls, Peer, Tls
from negvol_pacs.errors import DeliveryFailed, NetworkError
from negvol_pacs.network.admission import lies_in
from negvol_pacs.network.commitment import FAILURES_EXIST, REQUEST_COMMITMENT, SUCCESS, SYNTAXES, Reference, item
from negvol_pacs.network.sender import associated
from negvol_pacs.storage.commitment_requests import CommitmentRequest
from negvol_pacs.storage.identify import is_uid
from negvol_pacs.storage.inbox import Inbox

_MAX_WAITING, _MAX_OF_ONE = 1000, 250
"""Requests, in all and of one peer."""
_PATIENCE_S = 1.0
"""How long a peer has to close the association of its request, if it wants the report on another one."""
_TURN_S, _LONGEST_PAUSE_S = 0.05, 60.0
_NO_SUCH_ACTION, _INVALID_ARGUMENT, _RESOURCES, _FAILURE = 0x0123, 0x0115, 0x0213, 0x0110
_NOT_AUTHORIZED = 0x0124
_NO_SUCH_OBJECT, _CLASS_CONFLICT = 0x0112, 0x0119
"""Failure reasons (PS3.3 section C.14)."""

_log = structlog.get_logger()


class Committer:
    """Takes requests and reports on them, to each peer in a thread of its own while there is something to report.

    Parameters
    ----------
    config
        Peers and destinations, with their ports; delivery rules.
    inbox
        What was received.
    """

    def __init__(self, config: Config, inbox: Inbox) -> None:
        self.config = config
        self._inbox, self._books = inbox, inbox.ledger.commitment_requests
        self._open: dict[tuple[str, str], Association] = {}
        self._wake, self._stopping = threading.Event(), False
        self._thread: threading.Thread | None = None
        self._busy: dict[str, threading.Thread] = {}
        """Who reports to which peer."""
        self._lock = threading.Lock()
        """Of `_open` and `_busy`."""

    def start(self) -> None:
        """Begin to report, first what a former life owes."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Report no more; what is left is reported by the next life."""
        self._stopping = True
        self._wake.set()
        deadline = time.monotonic() + _PATIENCE_S
        with self._lock:
            threads = [self._thread, *self._busy.values()]
        for thread in filter(None, threads):
            thread.join(max(0.0, deadline - time.monotonic()))

    def requested(self, event: evt.Event) -> tuple[int, None]:
        """Take an N-ACTION; it is accepted when it is in the ledger."""
        try:
            return self._take(event), None
        except Exception as error:  # noqa: BLE001 - whatever a peer sends; its words may quote that
            _log.warning("commitment-request-refused", reason=f"undecodable ({type(error).__name__})")
            return _FAILURE, None

    def _take(self, event: evt.Event) -> int:
        if event.action_type != REQUEST_COMMITMENT:
            return _NO_SUCH_ACTION
        peer = event.assoc.requestor
        calling, called = peer.primitive.calling_ae_title.strip(), peer.primitive.called_ae_title.strip()
        if "commitment" not in event.assoc.dimse.services:  # a destination, let in to report
            _log.warning("commitment-request-refused", reason="not for this peer", calling_ae=calling)
            return _NOT_AUTHORIZED
        asked = event.action_information
        transaction = str(asked.get("TransactionUID", ""))
        objects = {
            str(entry.ReferencedSOPInstanceUID): str(entry.ReferencedSOPClassUID)
            for entry in asked.get("ReferencedSOPSequence") or ()
        }
        if not objects or not all(map(is_uid, [transaction, *objects, *objects.values()])):
            return _INVALID_ARGUMENT
        waiting = self._books.counts()
        if waiting[calling] >= _MAX_OF_ONE or waiting.total() >= _MAX_WAITING:
            return _RESOURCES
        request = CommitmentRequest(calling, transaction, called, peer.address, objects, time.time())
        with self._lock:
            self._open[calling, transaction] = event.assoc  # before the other thread sees the request
        try:
            self._books.enter(request)
        except BaseException:
            self._association_of(request)
            raise
        _log.info("commitment-requested", calling_ae=calling, objects=len(objects))
        self._wake.set()
        return 0x0000

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            pause_s = _LONGEST_PAUSE_S
            try:
                pause_s = self._turn()
            except Exception:  # noqa: BLE001 - a full disk, say: it is tried again
                _log.exception("commitment-report-failed")
            self._wake.wait(max(pause_s, _TURN_S))

    def _turn(self) -> float:
        """Begin to report what is due; return the seconds until more is."""
        now, pause_s = time.time(), _LONGEST_PAUSE_S
        due: dict[str, list[CommitmentRequest]] = {}
        with self._lock:
            busy = set(self._busy)
        for request in self._books.waiting():
            wait_s = request.next_try - now
            if request.calling_ae in busy:
                continue  # its thread wakes us when it has done
            if 0 < wait_s <= self.config.delivery.longest_retry_s:  # else the clock was set back
                pause_s = min(pause_s, wait_s)
            else:
                due.setdefault(request.calling_ae, []).append(request)
        for peer, requests in due.items():
            thread = threading.Thread(target=self._serve, args=(peer, requests), daemon=True)
            with self._lock:
                thread.start()  # its end waits for the lock
                self._busy[peer] = thread
        return pause_s

    def _serve(self, peer: str, requests: list[CommitmentRequest]) -> None:
        """Report to one peer; who cannot be reached is tried once, not for each of its requests."""
        unreachable = ""
        try:
            for request in requests:
                if self._stopping:
                    return
                try:
                    if not unreachable:
                        self._report(request)
                except NetworkError as error:
                    unreachable = str(error)
                if unreachable:
                    self._postpone(request, unreachable)
        except Exception:  # noqa: BLE001 - a full disk, say: it is tried again
            _log.exception("commitment-report-failed")
            time.sleep(_PATIENCE_S)  # but not at once
        finally:
            with self._lock:
                del self._busy[peer]
            self._wake.set()

    def _report(self, request: CommitmentRequest) -> None:
        failed = self._failures(request.objects)
        report, event_type = _report(request, failed), FAILURES_EXIST if failed else SUCCESS
        log = _log.bind(calling_ae=request.calling_ae, objects=len(request.objects), failed=len(failed))
        assoc = self._association_of(request)
        if assoc is not None and _stays(assoc) and _send(assoc, report, event_type) == 0x0000:
            log.info("commitment-reported", association="same")
            self._books.remove(request)
            return
        peer = self._peer(request)
        if peer is None:
            log.warning("commitment-not-reported", reason="no port of this peer is known")
            self._books.remove(request)
            return
        contexts = [(StorageCommitmentPushModel, syntax) for syntax in SYNTAXES]
        with associated(peer, self.config, contexts, [StorageCommitmentPushModel]) as opened:
            status = _send(opened, report, event_type)
        if status != 0x0000:
            raise DeliveryFailed("no answer" if status is None else f"answered {status:04X}")
        log.info("commitment-reported", association="other")
        self._books.remove(request)

    def _association_of(self, request: CommitmentRequest) -> Association | None:
        """Return, once, the association that a request came on."""
        with self._lock:
            return self._open.pop((request.calling_ae, request.transaction_uid), None)

    def _postpone(self, request: CommitmentRequest, reason: str) -> None:
        rules, now = self.config.delivery, time.time()
        if now - request.created_at > rules.give_up_after_s:
            _log.error("commitment-not-reported", calling_ae=request.calling_ae, reason=reason)
            self._books.remove(request)
            return
        delay_s = min(rules.first_retry_s * 2.0 ** min(request.attempts, 30), rules.longest_retry_s)
        _log.warning("commitment-report-failed", calling_ae=request.calling_ae, reason=reason, retry_in_s=delay_s)
        self._books.enter(replace(request, attempts=request.attempts + 1, next_try=now + delay_s))

    def _failures(self, objects: Mapping[str, str]) -> dict[str, int]:
        """Return the failure reason of each object that is not whole in the inbox."""
        failed = {}
        for sop_uid, sop_class_uid in objects.items():
            known = self._inbox.ledger.find_instance(sop_uid)
            if known is None:
                failed[sop_uid] = _NO_SUCH_OBJECT
            elif known.sop_class_uid != sop_class_uid:
                failed[sop_uid] = _CLASS_CONFLICT
            elif not self._inbox.is_whole(known):
                failed[sop_uid] = _FAILURE
        return failed

    def _peer(self, request: CommitmentRequest) -> Destination | None:
        """Return where the peer that asked can be reached."""
        known = {"name": request.calling_ae, "calling_ae_title": request.called_ae}
        for destination in self.config.archives:
            if destination.ae_title == request.calling_ae:
                return destination.model_copy(update=known)
        for peer in self.config.peers:
            if peer.ae_title == request.calling_ae and peer.port and lies_in(request.address, peer.networks):
                tls = None if self.config.node.tls is None else _as_client(self.config.node.tls, peer)
                where = {"host": request.address, "port": peer.port}
                return Destination(**known, **where, ae_title=request.calling_ae, tls=tls)
        return None


def _as_client(tls: Tls, peer: Peer) -> DestinationTls:
    """Return how a peer of a TLS node is reached: at its address, by a certificate that may name a host."""
    return DestinationTls(**tls.model_dump(), check_host=False, certificates=peer.certificates)


def _report(request: CommitmentRequest, failed: Mapping[str, int]) -> Dataset:
    report = Dataset()
    report.TransactionUID = request.transaction_uid
    kept = [item(Reference(kind, uid)) for uid, kind in request.objects.items() if uid not in failed]
    if kept:
        report.ReferencedSOPSequence = kept
    if failed:
        report.FailedSOPSequence = [item(Reference(request.objects[uid], uid)) for uid in failed]
        for entry, reason in zip(report.FailedSOPSequence, failed.values(), strict=True):
            entry.FailureReason = reason
    return report


def _stays(assoc: Association) -> bool:
    """Tell whether the peer keeps the association open, which means that it waits there."""
    deadline = time.monotonic() + _PATIENCE_S
    while assoc.is_established and time.monotonic() < deadline:
        time.sleep(_TURN_S)
    return bool(assoc.is_established)


def _send(assoc: Association, report: Dataset, event_type: int) -> int | None:
    """Report; return the peer's answer, None where there is none."""
    try:
        answer, _ = assoc.send_n_event_report(
            report, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
    except (RuntimeError, ValueError, OSError):
        return None
    status = answer.get("Status")
    return None if status is None else int(status)
