"""The door of the listener: each request for an association is let in or turned away, and that is told."""

import threading
from dataclasses import replace

import structlog
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from negvol_pacs.config import Config
from negvol_pacs.errors import DiskFull
from negvol_pacs.network.admission import Rejection, Request, admit, crowded, may_connect, may_report, rights
from negvol_pacs.network.audit import trail
from negvol_pacs.network.audit.messages import Party
from negvol_pacs.network.offer import granted, service_of
from negvol_pacs.network.tls import Secured, certificate_of
from negvol_pacs.storage.inbox import Inbox

_log = structlog.get_logger()


class Door:
    """Who is in, and who may enter.

    Parameters
    ----------
    config
        Peers, limits and certificates.
    inbox
        Knows whether there is space.
    stored
        SOP classes that need it.

    Raises
    ------
    ConfigError
        If a certificate cannot be used.
    """

    def __init__(self, config: Config, inbox: Inbox, stored: frozenset[str]) -> None:
        self._config, self._inbox, self._stored = config, inbox, stored
        self.secured = None if config.node.tls is None else Secured(config.node.tls)
        """TLS; None without."""
        self._inside: set[Association] = set()
        self._lock = threading.Lock()

    def reload(self, config: Config) -> None:
        """Take over peers and certificates for associations to come."""
        self._config = config
        if self.secured is not None:
            self.secured.reload()

    def requested(self, event: evt.Event) -> None:
        """Let in who is allowed in; when in doubt, nobody."""
        assoc, config = event.assoc, self._config
        try:
            request = self._request(assoc)
            rejection = _malformed(assoc) or admit(request, config) or self._enter(assoc, request)
            assoc.dimse.services = rights(request, config)
            withheld = self._withhold(assoc, request, config)
        except Exception:  # noqa: BLE001  # pynetdicom would go on and accept
            _log.exception("admission-failed")
            rejection = Rejection(2, 2, 1, "internal error")
        primitive = assoc.requestor.primitive
        log = _log.bind(
            association=assoc.dimse.association_id,
            calling_ae=primitive.calling_ae_title,
            called_ae=primitive.called_ae_title,
            address=assoc.requestor.address,
        )
        peer = Party(primitive.calling_ae_title.strip(), assoc.requestor.address)
        if rejection is None:
            assoc.dimse.transfers = trail.Transfers(peer, received=True)
            log.info("association-accepted")
            trail.admitted(peer)
            if withheld:
                log.warning("services-refused", services=withheld)
                trail.restricted(peer, f"not for this peer: {', '.join(withheld)}")
            return
        trail.refused(peer, rejection.reason)
        log.warning("association-rejected", reason=rejection.reason, transient=rejection.result == 2)
        assoc.acse.send_reject(rejection.result, rejection.source, rejection.diagnostic)
        assoc.kill()

    def admits(self, address: str) -> bool:
        """Tell whether anybody may come from an address; else nothing that it sends is read."""
        return may_connect(address, self._config)

    def turn_away(self, address: str, reason: str) -> None:
        """Tell of a connection that was refused before it said who it is."""
        trail.refused(Party("", address), reason)

    def left(self, assoc: Association) -> None:
        """Give the place of an association free."""
        with self._lock:
            self._inside.discard(assoc)

    def _request(self, assoc: Association) -> Request:
        primitive = assoc.requestor.primitive
        wanted = {context.abstract_syntax for context in primitive.presentation_context_definition_list}
        return Request(
            calling_ae=primitive.calling_ae_title,
            called_ae=primitive.called_ae_title,
            address=assoc.requestor.address,
            open_associations=0,
            certificate=certificate_of(assoc.dul.socket.socket),
            reports_only=wanted <= {StorageCommitmentPushModel, Verification},
            has_space=wanted.isdisjoint(self._stored) or self._has_space(),
        )

    def _withhold(self, assoc: Association, request: Request, config: Config) -> list[str]:
        """Offer what the peer may use and nothing else; return the services that it wants and may not have."""
        acceptor, offered = assoc.acceptor, assoc.acceptor.supported_contexts
        reports = may_report(request.calling_ae, request.address, config)
        acceptor.supported_contexts = granted(offered, assoc.dimse.services, reports=reports)
        kept = {context.abstract_syntax for context in acceptor.supported_contexts}
        wanted = {context.abstract_syntax for context in assoc.requestor.primitive.presentation_context_definition_list}
        lost = {context.abstract_syntax for context in offered} - kept
        return sorted({service_of(str(sop_class)) for sop_class in wanted & lost})

    def _enter(self, assoc: Association, request: Request) -> Rejection | None:
        """Take a place, if there is one left; two requests never get the same one."""
        with self._lock:
            others = [other for other in self._inside if not (other.is_released or other.is_aborted)]
            here = sum(other.requestor.address == request.address for other in others)
            counted = replace(request, open_associations=len(others), from_address=here)
            rejection = crowded(counted, self._config.limits)
            if rejection is None:
                self._inside.add(assoc)
        return rejection

    def _has_space(self) -> bool:
        try:
            self._inbox.require_space()
        except DiskFull:
            return False
        return True


def _malformed(assoc: Association) -> Rejection | None:
    """Turn away what would end the association's thread when its contexts are negotiated (PS3.8 table 9-13)."""
    contexts = assoc.requestor.primitive.presentation_context_definition_list
    if all(context.abstract_syntax for context in contexts):
        return None
    return Rejection(1, 2, 1, "a presentation context without an abstract syntax")
