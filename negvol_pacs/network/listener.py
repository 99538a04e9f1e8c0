"""The store SCP: C-STORE and C-ECHO, answered only when it is true (PS3.4 annex B); and the door to the worklist."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association

from negvol_pacs.config import Config
from negvol_pacs.errors import DiskFull, MalformedObject, ObjectMismatch, StorageError, WrongSOPClass
from negvol_pacs.network import offer
from negvol_pacs.network.checkpoint import Checkpoint
from negvol_pacs.network.commitment import ReportTaker
from negvol_pacs.network.committer import Committer
from negvol_pacs.network.door import Door
from negvol_pacs.network.guards import GuardedServer
from negvol_pacs.network.performed import StepTaker
from negvol_pacs.network.reception import Reception
from negvol_pacs.network.worklist import Worklist
from negvol_pacs.storage.inbox import Inbox, Incoming
from negvol_pacs.storage.records import Instance, Outcome

_STATUS: tuple[tuple[type[StorageError], int], ...] = (
    (DiskFull, 0xA700),
    (ObjectMismatch, 0xA900),
    (MalformedObject, 0xC000),
    (WrongSOPClass, 0x0122),
    (StorageError, 0x0110),
)
"""PS3.4 table B.2-1 and PS3.7 annex C; the first that fits."""

_COERCED = 0xB000
_ENDING_S = 5.0
"""What an association leaves to be entered when it has ended takes no longer."""

_log = structlog.get_logger()


@dataclass(frozen=True)
class Arrival:
    """An instance that is durable and in the ledger."""

    study_uid: str
    series_uid: str
    sop_uid: str
    generation: int
    is_new: bool
    association_id: str
    calling_ae: str


@dataclass(frozen=True)
class AssociationEnd:
    """An association over which instances were stored has ended, in whatever way."""

    association_id: str
    studies: frozenset[str]


class Listener:
    """The node's open door.

    Parameters
    ----------
    config
        AE title, address, peers and limits.
    inbox
        Where objects go.
    on_received
        Called after an instance is durable and before it is acknowledged. What it raises is
        logged and changes nothing: the ledger knows of the instance.
    on_association_end
        Called when an association that brought instances has ended.
    on_turn
        Called at each turn of the loop that accepts connections.
    on_completed
        Called with a study when its modality says that a step of it is completed.

    Raises
    ------
    OSError
        From `start`, if the address cannot be bound.
    ConfigError
        If a certificate cannot be used.
    """

    def __init__(
        self,
        config: Config,
        inbox: Inbox,
        on_received: Callable[[Arrival], None],
        on_association_end: Callable[[AssociationEnd], None] | None = None,
        on_turn: Callable[[], None] = lambda: None,
        *,
        on_completed: Callable[[str], None] = lambda _study: None,
    ) -> None:
        self._config, self._inbox = config, inbox
        self._on_received, self._on_association_end = on_received, on_association_end
        self._on_turn = on_turn
        self._committer = Committer(config, inbox)
        self._steps = StepTaker(inbox.ledger.performed, offer.IMAGE_CLASSES, on_completed)
        self._door = Door(config, inbox, frozenset(offer.IMAGE_CLASSES))
        self._server: GuardedServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that are listened to."""
        if self._server is None:
            return self._config.node.host, self._config.node.port
        return self._server.server_address[:2]  # type: ignore[no-any-return]

    @property
    def connections(self) -> int:
        """Open connections, with and without an association."""
        return 0 if self._server is None else self._server.connections

    def start(self) -> None:
        """Bind, clear away what a former life left, and serve in the background."""
        handlers = [
            (evt.EVT_REQUESTED, self._door.requested),
            (evt.EVT_ACCEPTED, self._negotiated),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_ECHO, self._echo),
            (evt.EVT_C_FIND, Worklist(self._config, self._inbox.ledger).find),
            (evt.EVT_N_EVENT_REPORT, self._report),
            (evt.EVT_N_ACTION, self._committer.requested),
            (evt.EVT_N_CREATE, self._steps.created),
            (evt.EVT_N_SET, self._steps.changed),
        ]
        node = self._config.node
        address = (node.host, node.port)
        entity, limits = offer.entity(self._config), self._config.limits
        door = self._door
        server = GuardedServer(
            entity, address, handlers, limits, self._prepare,
            on_turn=self._on_turn, secured=door.secured, on_refused=door.turn_away,
            admits=door.admits,
        )  # fmt: skip
        try:
            self._inbox.recover(node.executor_id, self._on_turn)
        except BaseException:
            server.server_close()
            raise
        self._server = server
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="listener", daemon=True)
        self._thread.start()
        self._committer.start()
        _log.info("listener-started", ae_title=node.ae_title, host=self.address[0], port=self.address[1])

    def reload(self, config: Config) -> None:
        """Take over peers and certificates for associations to come; open ones go on."""
        self._config = self._committer.config = config
        self._door.reload(config)

    def stop(self, grace_s: float = 5.0) -> None:
        """Accept no more, let open associations finish for ``grace_s``, then abort them; their end is in the ledger."""
        server, thread, self._server, self._thread = self._server, self._thread, None, None
        if server is None or thread is None:
            return
        server.shutdown()
        thread.join()
        deadline = time.monotonic() + grace_s
        for assoc in server.active_associations:
            assoc.join(max(0.0, deadline - time.monotonic()))
            if assoc.is_alive():
                assoc.abort()
        server.wait_until_idle(_ENDING_S)
        self._committer.stop()
        _log.info("listener-stopped")

    def _prepare(self, assoc: Association) -> Callable[[], None]:
        assoc._reactor_checkpoint = Checkpoint()
        assoc.dimse = Reception(assoc, self._inbox, self._config, frozenset(offer.IMAGE_CLASSES))
        return lambda: self._ended(assoc)

    def _ended(self, assoc: Association) -> None:
        self._door.left(assoc)
        reception = assoc.dimse
        reception.abandon()
        if reception.transfers is not None:
            reception.transfers.end("" if assoc.is_released else "the association was not released")
        if not reception.studies:
            return
        self._inbox.ledger.association_ended(reception.association_id)
        _log.info("association-ended", association=reception.association_id, studies=len(reception.studies))
        if self._on_association_end is not None:
            self._on_association_end(AssociationEnd(reception.association_id, frozenset(reception.studies)))

    def _negotiated(self, event: evt.Event) -> None:
        """Say what a peer wants to send and may not."""
        rejected = event.assoc.rejected_contexts
        if rejected:
            _log.warning(
                "contexts-rejected",
                reason="SOP class or transfer syntax not supported, or not for this peer",
                sop_classes=sorted({str(context.abstract_syntax) for context in rejected}),
                association=event.assoc.dimse.association_id,
                calling_ae=event.assoc.requestor.primitive.calling_ae_title,
            )

    def _report(self, event: evt.Event) -> tuple[int, None]:
        peer = event.assoc.requestor.primitive.calling_ae_title.strip()
        return ReportTaker(self._inbox.ledger.commitments, self._config.archives).take(event, peer), None

    def _echo(self, _event: evt.Event) -> int:
        return 0x0000

    def _store(self, event: evt.Event) -> Dataset | int:
        reception, request = event.assoc.dimse, event.request
        incoming = getattr(request, "incoming", None)
        log = _log.bind(
            association=reception.association_id,
            calling_ae=reception.origin.calling_ae,
            sop_uid=str(request.AffectedSOPInstanceUID),
        )
        if incoming is None:
            log.warning("instance-refused", code=MalformedObject.code, reason="no data set")
            return _answer(0xC000, "no data set")
        try:
            return self._take(incoming, reception, log)
        except StorageError as error:
            log.warning("instance-refused", code=error.code, reason=str(error))
            return _answer(next(status for kind, status in _STATUS if isinstance(error, kind)), str(error))
        except Exception:
            log.exception("instance-failed")
            return _answer(0x0110, "internal error")
        finally:
            reception.done(incoming)

    def _take(self, incoming: Incoming, reception: Reception, log: Any) -> Dataset | int:
        if incoming.sop_class_uid in offer.RESULT_CLASSES and self._inbox.ledger.is_own_result(incoming.sop_uid):
            log.info("own-result-ignored")
            return 0x0000
        outcome, instance = self._inbox.commit(incoming)
        reception.studies.add(instance.study_uid)
        self._account(instance, reception)
        log.debug("instance-stored", outcome=outcome.value, study_uid=instance.study_uid, bytes=instance.size)
        arrival = Arrival(
            instance.study_uid,
            instance.series_uid,
            instance.sop_uid,
            instance.generation,
            outcome is Outcome.NEW,
            reception.association_id,
            incoming.origin.calling_ae,
        )
        try:
            self._on_received(arrival)
        except Exception:
            log.exception("on-received-failed")
        if outcome is Outcome.CONFLICT:
            log.warning("instance-conflict", reason="another data set was stored under this SOP Instance UID before")
            return _answer(_COERCED, "already stored with other content, which is kept")
        return 0x0000

    def _account(self, instance: Instance, reception: Reception) -> None:
        """Tell the audit trail; the first instance of a study tells whose it is."""
        transfers = reception.transfers
        if transfers is None:
            return
        try:
            if not transfers.knows(instance.study_uid):
                transfers.begin_with(self._inbox.path(instance))
            transfers.add(instance.study_uid, instance.sop_class_uid)
        except Exception:  # noqa: BLE001  # the instance is stored, whatever becomes of its record
            _log.exception("audit-failed")


def _answer(status: int, comment: str) -> Dataset:
    answer = Dataset()
    answer.Status = status
    answer.ErrorComment = comment[:64]
    return answer
