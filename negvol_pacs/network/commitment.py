"""Storage commitment as SCU: will the destination keep what it took? (PS3.4 annex J)."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from negvol_pacs.config import Config, Destination
from negvol_pacs.errors import DeliveryFailed, NotOffered
from negvol_pacs.network.sender import associated
from negvol_pacs.storage.commitments import Commitments

SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
REQUEST_COMMITMENT = 1
"""Action type (PS3.4 table J.3.2.1.1-1)."""
SUCCESS, FAILURES_EXIST = 1, 2
"""Event types (PS3.4 table J.3.3.1.1-1)."""

_HOLD_S = 1.0
"""How long the association stays open for a peer that reports on the same one."""
_LOOK_S = 0.1
_UNKNOWN_CLASS = (0x0118, 0x0122, 0x0211)
"""No such SOP class, SOP class not supported, unrecognized operation (PS3.7 annex C)."""
_INVALID_ARGUMENT, _NO_SUCH_EVENT, _PROCESSING_FAILURE = 0x0115, 0x0113, 0x0110

_log = structlog.get_logger()


@dataclass(frozen=True)
class Reference:
    """An object that is asked about."""

    sop_class_uid: str
    sop_uid: str


def ask(
    destination: Destination,
    transaction_uid: str,
    references: Sequence[Reference],
    commitments: Commitments,
    config: Config,
) -> None:
    """Ask a destination to commit to objects, and give it a moment to answer at once.

    Parameters
    ----------
    destination
        The peer.
    transaction_uid
        Of a transaction that is in the ledger already.
    references
        The objects.
    commitments
        Where the answer is entered, be it from here or from the listener.
    config
        Own AE title and time limits.

    Raises
    ------
    NotOffered
        The peer does not know storage commitment.
    PeerUnreachable, DeliveryFailed, DeliveryRefused
        As for :func:`negvol_pacs.network.sender.send`.
    """
    taker = ReportTaker(commitments, (destination,))
    came = threading.Event()

    def on_report(event: evt.Event) -> tuple[int, None]:
        status = taker.take(event, destination.ae_title)
        came.set()
        return status, None

    contexts = [(StorageCommitmentPushModel, syntax) for syntax in SYNTAXES]
    try:
        with associated(destination, config, contexts, on_report=on_report) as assoc:
            status, _ = assoc.send_n_action(
                _request(transaction_uid, references),
                REQUEST_COMMITMENT,
                StorageCommitmentPushModel,
                StorageCommitmentPushModelInstance,
            )
            _check(status, destination)
            commitments.asked(transaction_uid)
            deadline = time.monotonic() + _HOLD_S
            while not came.wait(_LOOK_S) and assoc.is_established and time.monotonic() < deadline:
                found = commitments.find(transaction_uid)
                if found is None or found.answered_at:  # by way of the listener
                    break
    except (RuntimeError, ValueError, OSError) as error:
        raise DeliveryFailed(f"the association with {destination.name} was lost: {error}") from error


def _request(transaction_uid: str, references: Sequence[Reference]) -> Dataset:
    request = Dataset()
    request.TransactionUID = transaction_uid
    request.ReferencedSOPSequence = [item(reference) for reference in references]
    return request


def item(reference: Reference) -> Dataset:
    """Return an item of a sequence of references."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = reference.sop_class_uid, reference.sop_uid
    return item


def _check(status: Dataset, destination: Destination) -> None:
    code = status.get("Status")
    if code is None:
        raise DeliveryFailed(f"the association with {destination.name} was lost")
    if code in _UNKNOWN_CLASS:
        raise NotOffered(f"{destination.name} does not offer storage commitment ({code:04X})")
    if code != 0x0000:
        raise DeliveryFailed(f"{destination.name} answered {code:04X} to the request for storage commitment")


class ReportTaker:
    """Enters the reports of destinations; what was never asked is refused.

    Parameters
    ----------
    commitments
        The transactions.
    destinations
        Who may report: each about its own transactions.
    """

    def __init__(self, commitments: Commitments, destinations: Sequence[Destination]) -> None:
        self._commitments, self._destinations = commitments, destinations

    def take(self, event: evt.Event, ae_title: str) -> int:
        """Take an N-EVENT-REPORT from the peer with this AE title; return the status to answer (PS3.7 10.1.1)."""
        try:
            return self._take(event, ae_title)
        except Exception as error:  # noqa: BLE001 - whatever a peer sends must not end the association
            reason = f"undecodable ({type(error).__name__})"  # its words may quote what was sent
            _log.warning("commitment-report-refused", reason=reason, peer=ae_title)
            return _PROCESSING_FAILURE

    def _take(self, event: evt.Event, ae_title: str) -> int:
        if event.event_type not in (SUCCESS, FAILURES_EXIST):
            _log.warning("commitment-report-refused", reason="unknown event type", peer=ae_title)
            return _NO_SUCH_EVENT
        report = event.event_information
        transaction = str(report.get("TransactionUID", ""))
        known = self._commitments.find(transaction)
        own = {item.name for item in self._destinations if item.ae_title == ae_title}
        if known is None or known.destination not in own:
            # The UID is not logged as it came: it is text of a peer that may be anything.
            _log.warning("commitment-report-refused", reason="unknown transaction", peer=ae_title)
            return _INVALID_ARGUMENT
        failed = {str(item.ReferencedSOPInstanceUID): item for item in report.get("FailedSOPSequence") or ()}
        kept = {str(item.ReferencedSOPInstanceUID) for item in report.get("ReferencedSOPSequence") or ()}
        log = _log.bind(result=known.sop_uid, destination=known.destination)
        if known.sop_uid in kept and known.sop_uid not in failed:
            if self._commitments.answer(transaction, committed=True):
                log.info("delivery-confirmed", how="commitment")
            return 0x0000
        reason = "not named in the report"
        if known.sop_uid in failed:
            reason = f"failure reason {int(failed[known.sop_uid].get('FailureReason', 0)):04X}"
        if self._commitments.answer(transaction, committed=False, reason=reason):
            log.warning("commitment-failed", reason=reason)
        return 0x0000
