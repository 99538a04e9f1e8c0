"""How messages are put together on an association, within bounds that pynetdicom lacks (PS3.7, PS3.8 annex E).

pynetdicom keeps a message of any length in memory, serves each N-EVENT-REPORT in a thread of its
own however many there are, and runs a request under any presentation context that was accepted.
"""

import threading
import time
from typing import Any

import structlog
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dimse_primitives import C_CANCEL, N_EVENT_REPORT
from pynetdicom.pdu_primitives import P_DATA

from negvol_pacs.config import Limits
from negvol_pacs.errors import NetworkError

MAX_MESSAGE = 1 << 20
"""Bytes of a peer's request that is kept in memory: everything but the data set of a C-STORE."""
_MAX_QUEUED = 8
"""Requests that a peer may send without waiting for answers (none was negotiated)."""
_MAX_CANCELS = 10
_MIN_BYTES_PER_S = 1024
_COMMAND, _LAST = 1, 2


class Violation(NetworkError):
    """The peer breaks the protocol or a bound; the association is aborted."""


class BoundedProvider(DIMSEServiceProvider):  # type: ignore[misc]
    """The DIMSE provider of one association.

    Parameters
    ----------
    assoc
        The association.
    limits
        Time that a message may take.
    max_message
        Bytes of a message.
    max_total
        Bytes of all messages that the peer sends; None where that has no bound.
    """

    message: Any

    def __init__(
        self, assoc: Association, limits: Limits, max_message: int = MAX_MESSAGE, max_total: int | None = None
    ) -> None:
        super().__init__(assoc)
        self._limits = limits
        self._max_message, self._max_total = max_message, max_total
        self._size = self._total = 0
        self._started = 0.0
        self._deaf = False
        self._reports = threading.BoundedSemaphore(_MAX_QUEUED)

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take the fragments of a P-DATA-TF PDU (PS3.8 annex E)."""
        if self._deaf:
            return
        try:
            for context_id, fragment in primitive.presentation_data_value_list:
                self._take(context_id, fragment)
        except Exception as error:  # noqa: BLE001  # whatever a peer sends must not stop the node
            # What pydicom says of bytes may quote them: its words are not logged.
            known = isinstance(error, Violation)
            reason = str(error) if known else f"undecodable message ({type(error).__name__})"
            structlog.get_logger().warning("association-dropped", reason=reason, **self._described())
            self.message = None
            self._deaf = True
            if self.assoc.is_requestor:
                self.msg_queue.put((None, None))  # who waits for an answer gives up, and aborts
            else:
                self.dul.socket.condemn()
                self.dul.event_queue.put("Evt19")

    def _described(self) -> dict[str, str]:
        """Return whose association it is, for the log."""
        peer = self.assoc.requestor if self.assoc.is_acceptor else self.assoc.acceptor
        return {"address": str(peer.address)}

    def _bound(self) -> int:
        """Return how long the message that is being received may be."""
        return self._max_message

    def _take(self, context_id: int, fragment: bytes) -> None:
        self._check(fragment)
        self._assemble(context_id, fragment)

    def _check(self, fragment: bytes) -> None:
        if not fragment:
            raise Violation("an empty fragment")
        if self.message is None:
            self._size, self._started = 0, time.monotonic()
        self._size += len(fragment)
        self._total += len(fragment)
        most = self._bound()
        if self._size > most:
            raise Violation(f"a message of more than {most} bytes")
        if self._max_total is not None and self._total > self._max_total:
            raise Violation(f"messages of more than {self._max_total} bytes")
        allowed = self._limits.network_timeout_s + self._size / _MIN_BYTES_PER_S
        if time.monotonic() - self._started > allowed:
            raise Violation("a message that takes too long")
        if not fragment[0] & _COMMAND and (self.message is None or self.message.context_id is None):
            raise Violation("a data set without a command")

    def _assemble(self, context_id: int, fragment: bytes) -> None:
        """Add a fragment to its message; a whole message goes to who serves it or waits for it."""
        if self.message is None:
            self.message = DIMSEMessage()
        single = P_DATA()
        single.presentation_data_value_list = [[context_id, fragment]]
        if self.message.decode_msg(single, self.assoc):
            message, self.message = self.message, None
            self.pass_on(message.context_id, message.message_to_primitive())

    def pass_on(self, context_id: int, primitive: Any) -> None:
        """Hand a whole message on.

        Raises
        ------
        Violation
            If it is a request that has no place here.
        """
        if isinstance(primitive, C_CANCEL):
            if len(self.cancel_req) < _MAX_CANCELS:
                self.cancel_req[primitive.MessageIDBeingRespondedTo] = primitive
            return
        if not primitive.is_valid_request:
            self.msg_queue.put((context_id, primitive))
            return
        context = self.assoc._accepted_cx.get(context_id)
        if context is None:
            raise Violation("a request in a presentation context that was not accepted")
        named = getattr(primitive, "AffectedSOPClassUID", None) or getattr(primitive, "RequestedSOPClassUID", None)
        if named != context.abstract_syntax:
            raise Violation("a SOP class that is not the presentation context's")
        if isinstance(primitive, N_EVENT_REPORT):
            self._serve_aside(primitive, context_id)
        elif self.msg_queue.qsize() >= _MAX_QUEUED:
            raise Violation("requests without waiting for answers")
        else:
            self.msg_queue.put((context_id, primitive))

    def _serve_aside(self, report: N_EVENT_REPORT, context_id: int) -> None:
        """Serve a report at once, in a thread: a requestor that waits for an answer serves nothing else."""
        if not self._reports.acquire(blocking=False):
            raise Violation("requests without waiting for answers")

        def serve() -> None:
            try:
                self.assoc._serve_request(report, context_id)
            finally:
                self._reports.release()

        threading.Thread(target=serve, name="event-report", daemon=True).start()
