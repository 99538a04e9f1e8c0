"""Instance availability notification as SCU: a workflow manager hears where a result lies (PS3.4 annex R)."""

from collections.abc import Sequence

import structlog
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom.sop_class import InstanceAvailabilityNotification

from negvol_pacs.config import Config, Destination
from negvol_pacs.errors import DeliveryFailed, DeliveryRefused
from negvol_pacs.network.presence import Identity
from negvol_pacs.network.sender import associated, may_pass

_TAKEN = (0x0000, 0x0107, 0x0116)
"""Success, and warnings about attributes (PS3.7 annex C)."""

_log = structlog.get_logger()


def notify(peer: Destination, identity: Identity, archives: Sequence[Destination], config: Config) -> None:
    """Tell a peer that an object can be retrieved.

    Parameters
    ----------
    peer
        Whom to tell.
    identity
        The object.
    archives
        Where it lies.
    config
        Own AE title and time limits.

    Raises
    ------
    NetworkError
        As for :func:`negvol_pacs.network.sender.send`.
    """
    contexts = [
        (InstanceAvailabilityNotification, syntax) for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    ]
    with associated(peer, config, contexts) as assoc:
        try:
            answer, _ = assoc.send_n_create(
                _notification(identity, archives), InstanceAvailabilityNotification, generate_uid(prefix=None)
            )
        except (OSError, RuntimeError) as error:
            raise DeliveryFailed(f"the association with {peer.name} was lost: {error}") from error
    status = answer.get("Status")
    if status is None:
        raise DeliveryFailed(f"the association with {peer.name} was lost")
    if status not in _TAKEN:
        kind = DeliveryFailed if may_pass(status) else DeliveryRefused
        raise kind(f"{peer.name} answered {status:04X} to the notification")
    _log.info("availability-told", destination=peer.name, sop_uid=identity.sop_uid)


def _notification(identity: Identity, archives: Sequence[Destination]) -> Dataset:
    """Make the attributes (PS3.4 table R.3.2-1)."""
    ds, series, instance = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = identity.sop_class_uid, identity.sop_uid
    instance.InstanceAvailability = "ONLINE"
    instance.RetrieveAETitle = [archive.ae_title for archive in archives]
    series.SeriesInstanceUID, series.ReferencedSOPSequence = identity.series_uid, [instance]
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.StudyInstanceUID, ds.ReferencedSeriesSequence = identity.study_uid, [series]
    return ds
