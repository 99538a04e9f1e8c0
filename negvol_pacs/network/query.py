"""One worklist query to one RIS, byte for byte (PS3.4 annex K, PS3.7 section 9.1.2)."""

import contextlib
import threading
from dataclasses import dataclass
from io import BytesIO
from queue import SimpleQueue

import structlog
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_FIND
from pynetdicom.sop_class import ModalityWorklistInformationFind

from negvol_pacs.config import Config, Destination, Ris
from negvol_pacs.errors import NetworkError, PeerUnreachable
from negvol_pacs.network.sender import associated

PENDING = (0xFF00, 0xFF01)
UNABLE = 0xC001
"""PS3.4 table K.4-2: unable to process."""

_GRACE_S = 2.0
"""How long a RIS may take to confirm that a query is cancelled."""

_log = structlog.get_logger()


@dataclass(frozen=True)
class Answer:
    """One answer of a RIS: a match where the status is pending, else the last one."""

    ris: str
    status: int
    identifier: bytes = b""
    comment: str = ""
    heard: bool = True
    """False where this is not the RIS's answer but the lack of one."""


class Query(threading.Thread):
    """A query under way; its answers come by a queue and end with one that is not pending.

    Parameters
    ----------
    ris
        Whom to ask.
    config
        Own AE title and limits.
    request
        The modality's C-FIND; its identifier is in Implicit VR Little Endian.
    answers
        Where answers go.
    """

    _MESSAGE_ID = 1

    def __init__(self, ris: Ris, config: Config, request: C_FIND, answers: SimpleQueue[Answer]) -> None:
        super().__init__(name=f"worklist-{ris.name}", daemon=True)
        self.ris = ris.name
        self._peer = Destination(**ris.model_dump())
        self._config = _patient_for(config, config.worklist.timeout_s)
        self._identifier, self._priority = request.Identifier.getvalue(), request.Priority
        self._answers = answers
        self._assoc: Association | None = None
        self._lock = threading.Lock()
        self._under_way = self._cancelled = False

    def run(self) -> None:
        """Ask, and pass answers on until the last one."""
        try:
            contexts = [(ModalityWorklistInformationFind, ImplicitVRLittleEndian)]
            with associated(self._peer, self._config, contexts) as assoc:
                self._answers.put(self._ask(assoc))
        except NetworkError as error:
            self._answers.put(Answer(self.ris, UNABLE, comment=str(error), heard=False))
        except Exception:  # noqa: BLE001  # the modality must hear of it
            _log.exception("worklist-query-failed", ris=self.ris)
            self._answers.put(Answer(self.ris, UNABLE, comment=f"{self.ris}: internal error", heard=False))

    def cancel(self) -> None:
        """Pass a C-CANCEL on; no match comes any more."""
        with self._lock:
            already, self._cancelled = self._cancelled, True
            if self._under_way and not already and self._assoc is not None:
                with contextlib.suppress(RuntimeError):  # the association has ended
                    self._assoc.send_c_cancel(self._MESSAGE_ID, query_model=ModalityWorklistInformationFind)

    def end(self) -> None:
        """Cancel what is still under way, and abort where that does not help."""
        if not self.is_alive():
            return
        self.cancel()
        self.join(_GRACE_S)
        if self.is_alive() and self._assoc is not None:
            self._assoc.abort()

    def _ask(self, assoc: Association) -> Answer:
        assoc._reactor_checkpoint.clear()
        try:
            with self._lock:
                if self._cancelled:
                    return Answer(self.ris, 0xFE00)
                self._assoc, self._under_way = assoc, True
                assoc.dimse.send_msg(self._request(), assoc.accepted_contexts[0].context_id)
            while (answer := self._next(assoc)).status in PENDING:
                if not self._cancelled:
                    self._answers.put(answer)
            return answer
        finally:
            with self._lock:  # a C-CANCEL has no place in what follows
                self._under_way = False
            assoc._reactor_checkpoint.set()

    def _request(self) -> C_FIND:
        request = C_FIND()
        request.MessageID = self._MESSAGE_ID
        request.AffectedSOPClassUID = ModalityWorklistInformationFind
        request.Priority = self._priority
        request.Identifier = BytesIO(self._identifier)
        return request

    def _next(self, assoc: Association) -> Answer:
        _, response = assoc.dimse.get_msg(block=True)
        if not isinstance(response, C_FIND) or not response.is_valid_response:
            raise PeerUnreachable(f"{self.ris} does not answer")
        identifier = response.Identifier.getvalue() if response.Identifier is not None else b""
        return Answer(self.ris, response.Status, identifier, str(response.ErrorComment or ""))


def _patient_for(config: Config, seconds: float) -> Config:
    limits = config.limits
    shorter = {name: min(getattr(limits, name), seconds) for name in ("association_timeout_s", "network_timeout_s")}
    return config.model_copy(update={"limits": limits.model_copy(update=shorter)})
