"""What an archive has of a study that came from it, and the rest of it: C-FIND, C-GET, C-MOVE (PS3.4 annex C)."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import structlog
from pydicom import Dataset
from pynetdicom import evt
from pynetdicom.association import Association

from negvol_pacs.config import Config, Destination
from negvol_pacs.errors import DiskFull, QueryFailed, StorageError
from negvol_pacs.network.audit.messages import Party
from negvol_pacs.network.audit.trail import Transfers
from negvol_pacs.network.offer import IMAGE_CLASSES, TRANSFER_SYNTAXES
from negvol_pacs.network.reception import Reception
from negvol_pacs.network.retriever import GET, MOVE, QUERIES, find, finish, retrieving
from negvol_pacs.network.sender import associated
from negvol_pacs.storage.inbox import Inbox, Origin

_AT_ONCE = 100
"""Instances that one request names."""

_log = structlog.get_logger()

Missing = Mapping[str, Sequence[str]]
"""SOP Instance UIDs by Series Instance UID."""


def missing(
    archive: Destination, study_uid: str, received: Mapping[str, AbstractSet[str]], config: Config
) -> dict[str, list[str]]:
    """Ask an archive what it has more of the series that came.

    The archive's Number of Series Related Instances is compared first, so that a whole series
    costs one answer. Objects that are no images which this node takes do not count.

    Parameters
    ----------
    archive
        Whom to ask.
    study_uid
        Study Instance UID.
    received
        SOP Instance UIDs that are here, by Series Instance UID.
    config
        Own AE title and time limits.

    Returns
    -------
    dict
        What is not here; empty where the series are whole.

    Raises
    ------
    NetworkError
        If there is no answer, or none that tells.
    """
    lacking = {}
    with associated(archive, config, QUERIES) as assoc:
        for series_uid, own in received.items():
            query = _identifier("SERIES", study_uid, series_uid)
            query.NumberOfSeriesRelatedInstances = None
            counts = [match.get("NumberOfSeriesRelatedInstances") for match in find(assoc, query, archive)]
            if not counts:
                raise QueryFailed(f"{archive.name} knows nothing of series {series_uid}")
            if all(count is not None and int(count) <= len(own) for count in counts):
                continue
            query = _identifier("IMAGE", study_uid, series_uid)
            query.SOPInstanceUID = query.SOPClassUID = ""
            theirs = [str(m.SOPInstanceUID) for m in find(assoc, query, archive) if _is_image(m)]
            if rest := sorted(set(theirs) - own):
                lacking[series_uid] = rest
    return lacking


def fetch(  # noqa: PLR0917
    archive: Destination,
    study_uid: str,
    wanted: Missing,
    inbox: Inbox,
    origin: Origin,
    config: Config,
    on_received: Callable[[], None] = lambda: None,
) -> None:
    """Fetch instances: by C-GET where the archive offers it, else by C-MOVE to this node's own door.

    Parameters
    ----------
    archive
        Whom to ask.
    study_uid
        Study Instance UID.
    wanted
        What to fetch.
    inbox
        Where C-GET puts it, as durable as what is sent.
    origin
        What the ledger is to say of where it came from; its called AE title is the one to move to.
    config
        Own AE title and limits.
    on_received
        Called after each instance.

    Raises
    ------
    NetworkError
        If not all could be fetched.
    """
    requests = [
        _request(study_uid, series_uid, uids[first : first + _AT_ONCE])
        for series_uid, uids in wanted.items()
        for first in range(0, len(uids), _AT_ONCE)
    ]
    taker = _Taker(inbox, archive, on_received)
    opened = retrieving(archive, config, IMAGE_CLASSES, TRANSFER_SYNTAXES, taker)
    with opened as (assoc, model), taker.transfers:
        if model == GET:
            assoc.dimse = _Retrieval(assoc, inbox, config, origin)
            try:
                for request in requests:
                    finish(assoc.send_c_get(request, GET), archive)
            finally:
                assoc.dimse.abandon()
                inbox.ledger.association_ended(origin.association_id)
        else:
            for request in requests:
                finish(assoc.send_c_move(request, origin.called_ae, MOVE), archive)
    count = sum(map(len, wanted.values()))
    _log.info("missing-images-fetched", study=study_uid, archive=archive.name, instances=count)


class _Retrieval(Reception):
    """Takes what comes by C-GET as the listener takes what is sent."""

    def __init__(self, assoc: Association, inbox: Inbox, config: Config, origin: Origin) -> None:
        super().__init__(assoc, inbox, config, frozenset(IMAGE_CLASSES))
        self._origin = origin

    @property
    def origin(self) -> Origin:
        """What the ledger says of where it came from."""
        return self._origin


class _Taker:
    """Handler of the C-STORE requests of a C-GET."""

    def __init__(self, inbox: Inbox, archive: Destination, on_received: Callable[[], None]) -> None:
        self._inbox, self._on_received = inbox, on_received
        self.transfers = Transfers(Party(archive.ae_title, archive.host), received=True)

    def __call__(self, event: evt.Event) -> int:
        incoming = event.request.incoming
        try:
            _, instance = self._inbox.commit(incoming)
        except StorageError as error:
            _log.warning("instance-refused", sop_uid=incoming.sop_uid, code=error.code, reason=str(error))
            return 0xA700 if isinstance(error, DiskFull) else 0xC000
        finally:
            event.assoc.dimse.done(incoming)
        self.transfers.begin_with(self._inbox.path(instance))
        self.transfers.add(instance.study_uid, instance.sop_class_uid)
        self._on_received()
        return 0x0000


def _identifier(level: str, study_uid: str, series_uid: str) -> Dataset:
    ds = Dataset()
    ds.QueryRetrieveLevel, ds.StudyInstanceUID, ds.SeriesInstanceUID = level, study_uid, series_uid
    return ds


def _request(study_uid: str, series_uid: str, sop_uids: Sequence[str]) -> Dataset:
    ds = _identifier("IMAGE", study_uid, series_uid)
    ds.SOPInstanceUID = list(sop_uids)
    return ds


def _is_image(match: Dataset) -> bool:
    """Tell whether it may be one of ours; an archive need not say its SOP class."""
    return str(match.get("SOPClassUID") or IMAGE_CLASSES[0]) in IMAGE_CLASSES
