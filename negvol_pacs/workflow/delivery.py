"""Deliveries: a result is sent, then confirmed; only then is it delivered."""

import time
from pathlib import Path
from typing import Any

import structlog
from pydicom.uid import generate_uid

from negvol_pacs.config import Config, Destination
from negvol_pacs.errors import DeliveryRefused, NetworkError, NotConfirmed, NotOffered
from negvol_pacs.network import commitment, presence
from negvol_pacs.network.availability import notify
from negvol_pacs.network.presence import Identity
from negvol_pacs.network.sender import send
from negvol_pacs.storage.commitments import CommitmentState
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.outbox import Outbox
from negvol_pacs.storage.records import Delivery, DeliveryState

_Log = Any
"""A bound logger of structlog."""

_log = structlog.get_logger()


class Deliveries:
    """Takes a delivery as far as it goes now; the ledger says how far it is.

    A step that a crash interrupts is repeated: what was sent is not sent again, and what was
    asked is not asked again.

    Parameters
    ----------
    config, ledger, outbox
        Of the node.
    """

    def __init__(self, config: Config, ledger: Ledger, outbox: Outbox) -> None:
        self._config, self._ledger, self._outbox = config, ledger, outbox

    def deliver(self, study: str, result: str, destination: str) -> float | None:
        """Send or confirm one result; see :class:`negvol_pacs.workflow.engine.Work`."""
        delivery = self._delivery(study, result, destination)
        if delivery is None or delivery.state in (DeliveryState.CONFIRMED, DeliveryState.NEEDS_PERSON):
            return None
        log = _log.bind(study=study, result=result, destination=destination)
        attempts = delivery.attempts + (delivery.state is not DeliveryState.SENT)
        try:
            path = next(
                self._outbox.path(entry.path) for entry in self._ledger.results(study) if entry.sop_uid == result
            )
            peer = self._peer(destination)
            if peer.kind == "availability":
                return self._tell(study, delivery, path, peer)
            if delivery.state is not DeliveryState.SENT:
                send([path], peer, self._config)
                self._ledger.record_attempt(result, destination, DeliveryState.SENT)
                log.info("delivery-sent", attempts=attempts)
        except NetworkError as error:
            return self._failed(delivery, error, attempts, log)
        sent = self._delivery(study, result, destination)
        if sent is None or sent.state is not DeliveryState.SENT:  # cancelled meanwhile
            return None
        try:
            return self._confirm(sent, path, peer, log)
        except NotConfirmed as error:
            return self._failed(sent, error, attempts, log)

    def _tell(self, study: str, delivery: Delivery, path: Path, peer: Destination) -> float | None:
        """Notify a peer of a result that all archives have confirmed; return when to look whether they have."""
        took = {d.destination: d.state for d in self._ledger.deliveries(study) if d.sop_uid == delivery.sop_uid}
        archives = [archive for archive in self._config.archives if archive.name in took]
        if not archives:
            raise DeliveryRefused(f"no DICOM destination gets what {peer.name} should hear of")
        if any(took[archive.name] is not DeliveryState.CONFIRMED for archive in archives):
            return self._patience(time.time() - delivery.updated_at)
        notify(peer, Identity.of(path), archives, self._config)
        self._ledger.record_attempt(delivery.sop_uid, peer.name, DeliveryState.SENT)
        self._ledger.commitments.confirm(delivery.sop_uid, peer.name)
        return None

    def _patience(self, elapsed_s: float) -> float:
        """Seconds until to look again: as long as it has taken so far, within the bounds of retries."""
        rules = self._config.delivery
        return min(max(elapsed_s, rules.first_retry_s), rules.longest_retry_s)

    def delay(self, attempts: int) -> float | None:
        """Seconds until the next attempt: doubling up to the longest; None when it is time to give up."""
        rules = self._config.delivery
        delays = [min(rules.first_retry_s * 2**n, rules.longest_retry_s) for n in range(attempts)]
        return None if sum(delays) > rules.give_up_after_s else delays[-1]

    def _delivery(self, study: str, result: str, destination: str) -> Delivery | None:
        key = (result, destination)
        return next((d for d in self._ledger.deliveries(study) if (d.sop_uid, d.destination) == key), None)

    def _peer(self, name: str) -> Destination:
        peer = next((item for item in self._config.destinations if item.name == name), None)
        if peer is None:
            raise DeliveryRefused(f"there is no destination {name} in the configuration")
        return peer

    def _failed(self, delivery: Delivery, error: NetworkError, attempts: int, log: _Log) -> float | None:
        """Write down a failure; return when to send (again)."""
        delay_s = None if isinstance(error, DeliveryRefused) else self.delay(attempts)
        if delay_s is None:
            log.error("delivery-needs-person", code=error.code, reason=str(error))
            state, next_try = DeliveryState.NEEDS_PERSON, 0.0
        else:
            log.warning("delivery-failed", code=error.code, reason=str(error), retry_in_s=delay_s)
            state, next_try = DeliveryState.FAILED, time.time() + delay_s
        counted = attempts > delivery.attempts
        self._ledger.record_attempt(
            delivery.sop_uid, delivery.destination, state, str(error), next_try, counted=counted
        )
        return delay_s

    def _confirm(self, sent: Delivery, path: Path, peer: Destination, log: _Log) -> float | None:
        """Find out whether the destination keeps what it took; return when to look again."""
        elapsed = time.time() - sent.updated_at
        late = elapsed > self._config.delivery.confirm_within_s
        try:
            how = self._find_out(sent, path, peer, late=late)
        except NotOffered as error:
            # To send it again would change nothing; a person may choose confirm = "none".
            log.warning("delivery-not-confirmed", reason=str(error))
            reason = f"nothing can confirm it: {error}"
            self._ledger.record_attempt(sent.sop_uid, sent.destination, DeliveryState.SENT, reason, counted=False)
            return None
        except NotConfirmed:
            raise
        except NetworkError as error:
            log.warning("confirmation-failed", code=error.code, reason=str(error))
            how = ""
        if how:
            if self._ledger.commitments.confirm(sent.sop_uid, sent.destination):
                log.info("delivery-confirmed", how=how)
            return None
        if late:
            raise NotConfirmed(f"{peer.name} has not confirmed it within {elapsed:.0f} s")
        return self._patience(elapsed)

    def _find_out(self, sent: Delivery, path: Path, peer: Destination, *, late: bool) -> str:
        """Return by what it is confirmed; nothing where the answer is still to come."""
        if peer.confirm == "none":
            return "store"
        identity = Identity.of(path)
        if peer.confirm != "query" and peer.kind == "dicom":
            try:
                answer = self._commitment(sent, identity, peer)
            except NotOffered:
                if peer.confirm == "commitment":
                    raise
            else:
                # A peer may take the request and never find its way back to this node.
                if answer or not late or peer.confirm == "commitment":
                    return answer
        return "query" if presence.has(peer, identity, self._config) else ""

    def _commitment(self, sent: Delivery, identity: Identity, peer: Destination) -> str:
        """Ask for storage commitment where that has not been done; return what the ledger says of the answer."""
        books = self._ledger.commitments
        if books.latest(sent.sop_uid, sent.destination, sent.updated_at) is None:
            transaction = generate_uid(prefix=None)  # 122 random bits: nobody can guess it
            books.plan(transaction, sent.sop_uid, sent.destination)
            reference = commitment.Reference(identity.sop_class_uid, identity.sop_uid)
            commitment.ask(peer, transaction, [reference], books, self._config)
        found = books.latest(sent.sop_uid, sent.destination, sent.updated_at)
        if found is not None and found.state is CommitmentState.FAILED:
            raise NotConfirmed(f"{peer.name} does not commit to it: {found.reason}")
        return "commitment" if found is not None and found.state is CommitmentState.COMMITTED else ""
