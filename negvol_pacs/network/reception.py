"""How messages are put together on an association: C-STORE data sets go to disk as they arrive.

pynetdicom can do that too (``STORE_RECV_CHUNKED_DATASET``), but for the whole process, into the
folder for temporary files, without a bound and without the source AE in the file.
"""

import time
import uuid
from typing import Any

import structlog
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.sop_class import SegmentationStorage

from negvol_pacs.config import Config
from negvol_pacs.errors import NetworkError, StorageError, WrongSOPClass
from negvol_pacs.network.audit.trail import Transfers
from negvol_pacs.storage.inbox import Inbox, Incoming, Origin

_MAX_MESSAGE = 1 << 20
"""Bytes of a message that is kept in memory: everything but the data set of a C-STORE."""
_MAX_QUEUED = 8
"""Requests that a peer may send without waiting for answers (none was negotiated)."""
_MIN_BYTES_PER_S = 1024
_COMMAND, _LAST = 1, 2


class _Violation(NetworkError):
    """The peer breaks the protocol or a bound; the association is aborted."""


class Reception(DIMSEServiceProvider):  # type: ignore[misc]
    """The DIMSE provider of one accepted association.

    A completed C-STORE request carries its `Incoming` as the attribute ``incoming``.

    Parameters
    ----------
    assoc
        The association.
    inbox
        Where data sets go.
    config
        Bounds on messages, and the name of this receiver.
    images
        SOP classes that are received; objects of other accepted classes are read past, but a SEG where
        the configuration wants corrections from this peer.
    """

    message: Any

    def __init__(self, assoc: Association, inbox: Inbox, config: Config, images: frozenset[str]) -> None:
        super().__init__(assoc)
        self.association_id = str(uuid.uuid4())
        self.studies: set[str] = set()
        """Study Instance UIDs of what was stored."""
        self.transfers: Transfers | None = None
        """For the audit trail; None until the association is accepted."""
        self._inbox, self._limits, self._images = inbox, config.limits, images
        self._corrections = config.corrections
        self._node = config.node.executor_id
        self._incoming: Incoming | None = None
        self._open: set[Incoming] = set()
        self._size = 0
        self._started = 0.0

    @property
    def origin(self) -> Origin:
        """Where objects of this association come from."""
        request = self.assoc.requestor.primitive
        calling, called = request.calling_ae_title.strip(), request.called_ae_title.strip()
        return Origin(self.association_id, calling, called, self._node)

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take the fragments of a P-DATA-TF PDU (PS3.8 annex E)."""
        try:
            for context_id, fragment in primitive.presentation_data_value_list:
                self._take(context_id, fragment)
        except Exception as error:  # noqa: BLE001  # whatever a peer sends must not stop the node
            known = isinstance(error, _Violation)
            structlog.get_logger().warning(
                "association-dropped",
                reason=str(error) if known else "undecodable message",
                association=self.association_id,
                calling_ae=self.origin.calling_ae,
                address=self.assoc.requestor.address,
                exc_info=not known,
            )
            self.message = self._incoming = None
            self.dul.socket.condemn()
            self.dul.event_queue.put("Evt19")

    def abandon(self) -> None:
        """Remove whatever was received and not stored; for the end of the association."""
        for incoming in list(self._open):
            self.done(incoming)

    def done(self, incoming: Incoming) -> None:
        """Forget an object that was stored or refused."""
        incoming.abandon()
        self._open.discard(incoming)

    def _take(self, context_id: int, fragment: bytes) -> None:
        if not fragment:
            raise _Violation("an empty fragment")
        is_command, is_last = fragment[0] & _COMMAND, fragment[0] & _LAST
        self._check(len(fragment), is_command)
        if self._incoming is None:
            self._assemble(context_id, fragment)
        elif is_command or context_id != self.message.context_id:
            raise _Violation("another message in the middle of a data set")
        else:
            self._incoming.write(memoryview(fragment)[1:])
            if is_last:
                self._complete()

    def _check(self, length: int, is_command: int) -> None:
        if self.message is None:
            self._size, self._started = 0, time.monotonic()
            if self.msg_queue.qsize() >= _MAX_QUEUED:
                raise _Violation("requests without waiting for answers")
        self._size += length
        most = _MAX_MESSAGE if self._incoming is None else self._limits.max_object_bytes
        if self._size > most:
            raise _Violation(f"a message of more than {most} bytes")
        allowed = self._limits.network_timeout_s + self._size / _MIN_BYTES_PER_S
        if time.monotonic() - self._started > allowed:
            raise _Violation("a message that takes too long")
        if not is_command and (self.message is None or self.message.context_id is None):
            raise _Violation("a data set without a command")

    def _assemble(self, context_id: int, fragment: bytes) -> None:
        """Let pynetdicom assemble all but the data set of a C-STORE request."""
        single = P_DATA()
        single.presentation_data_value_list = [[context_id, fragment]]
        super().receive_primitive(single)
        if isinstance(self.message, C_STORE_RQ):
            self._incoming = self._begin(self.message.command_set, context_id)
            self._open.add(self._incoming)

    def _begin(self, command: Any, context_id: int) -> Incoming:
        context = self.assoc._accepted_cx.get(context_id)
        if context is None:
            raise _Violation("a request in a presentation context that was not accepted")
        sop_class, sop_uid = str(command.AffectedSOPClassUID), str(command.AffectedSOPInstanceUID)
        if sop_class != context.abstract_syntax:
            raise _Violation("a SOP class that is not the presentation context's")
        failure: StorageError | None = None
        corrected = sop_class == SegmentationStorage and self._corrections.takes(self.origin.calling_ae)
        if sop_class not in self._images and not corrected:
            failure = WrongSOPClass("only CT images are received")
        return self._inbox.receive(self.origin, sop_class, sop_uid, context.transfer_syntax[0], failure)

    def _complete(self) -> None:
        request = self.message.message_to_primitive()
        if not request.is_valid_request:
            raise _Violation("a request without what it must name")
        request.incoming = self._incoming
        self.msg_queue.put((self.message.context_id, request))
        self.message = self._incoming = None
