"""How messages are put together on an association: C-STORE data sets go to disk as they arrive.

pynetdicom can do that too (``STORE_RECV_CHUNKED_DATASET``), but for the whole process, into the
folder for temporary files, without a bound and without the source AE in the file.
"""

import uuid
from typing import Any

from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.sop_class import SegmentationStorage

from negvol_pacs.config import Config, Service
from negvol_pacs.errors import StorageError, WrongSOPClass
from negvol_pacs.network.audit.trail import Transfers
from negvol_pacs.network.provider import BoundedProvider, Violation
from negvol_pacs.storage.inbox import Inbox, Incoming, Origin

_COMMAND, _LAST = 1, 2


class Reception(BoundedProvider):
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

    def __init__(self, assoc: Association, inbox: Inbox, config: Config, images: frozenset[str]) -> None:
        super().__init__(assoc, config.limits)
        self.association_id = str(uuid.uuid4())
        self.studies: set[str] = set()
        """Study Instance UIDs of what was stored."""
        self.services: frozenset[Service] = frozenset()
        """That the peer may use; none until the association is accepted."""
        self.transfers: Transfers | None = None
        """For the audit trail; None until the association is accepted."""
        self._inbox, self._images, self._corrections = inbox, images, config.corrections
        self._node = config.node.executor_id
        self._incoming: Incoming | None = None
        self._open: set[Incoming] = set()

    @property
    def origin(self) -> Origin:
        """Where objects of this association come from."""
        request = self.assoc.requestor.primitive
        calling, called = request.calling_ae_title.strip(), request.called_ae_title.strip()
        return Origin(self.association_id, calling, called, self._node)

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take the fragments of a P-DATA-TF PDU (PS3.8 annex E)."""
        super().receive_primitive(primitive)
        if self.message is None:
            self._incoming = None

    def abandon(self) -> None:
        """Remove whatever was received and not stored; for the end of the association."""
        for incoming in list(self._open):
            self.done(incoming)

    def done(self, incoming: Incoming) -> None:
        """Forget an object that was stored or refused."""
        incoming.abandon()
        self._open.discard(incoming)

    def _described(self) -> dict[str, str]:
        return super()._described() | {"association": self.association_id, "calling_ae": self.origin.calling_ae}

    def _bound(self) -> int:
        return super()._bound() if self._incoming is None else self._limits.max_object_bytes

    def _take(self, context_id: int, fragment: bytes) -> None:
        self._check(fragment)
        is_command, is_last = fragment[0] & _COMMAND, fragment[0] & _LAST
        if self._incoming is None:
            self._assemble(context_id, fragment)
            if isinstance(self.message, C_STORE_RQ):
                self._incoming = self._begin(self.message.command_set, context_id)
                self._open.add(self._incoming)
        elif is_command or context_id != self.message.context_id:
            raise Violation("another message in the middle of a data set")
        else:
            self._incoming.write(memoryview(fragment)[1:])
            if is_last:
                self._complete()

    def _begin(self, command: Any, context_id: int) -> Incoming:
        context = self.assoc._accepted_cx.get(context_id)
        if context is None:
            raise Violation("a request in a presentation context that was not accepted")
        sop_class, sop_uid = str(command.AffectedSOPClassUID), str(command.AffectedSOPInstanceUID)
        if sop_class != context.abstract_syntax:
            raise Violation("a SOP class that is not the presentation context's")
        failure: StorageError | None = None
        corrected = sop_class == SegmentationStorage and self._corrections.takes(self.origin.calling_ae)
        if sop_class not in self._images and not corrected:
            failure = WrongSOPClass("only CT images are received")
        return self._inbox.receive(self.origin, sop_class, sop_uid, context.transfer_syntax[0], failure)

    def _complete(self) -> None:
        request = self.message.message_to_primitive()
        if not request.is_valid_request:
            raise Violation("a request without what it must name")
        request.incoming = self._incoming
        context_id, self.message, self._incoming = self.message.context_id, None, None
        self.pass_on(context_id, request)
