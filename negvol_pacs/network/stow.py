"""Results to a DICOMweb server by STOW-RS (PS3.18 section 10.5)."""

from collections.abc import Callable, Iterable
from pathlib import Path

import structlog
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from negvol_pacs.config import Destination
from negvol_pacs.errors import DeliveryFailed, DeliveryRefused
from negvol_pacs.network.sender import Sent, may_pass
from negvol_pacs.network.web import client, translated

_log = structlog.get_logger()


def send(paths: Iterable[Path], destination: Destination, on_sent: Callable[[Sent], None] | None = None) -> list[Sent]:
    """Send DICOM files, each in a request of its own: see :func:`negvol_pacs.network.sender.send`."""
    made, sent = client(destination), []
    for path in paths:
        try:
            ds = dcmread(path)
        except (OSError, InvalidDicomError) as error:
            raise DeliveryRefused(f"{path.name} cannot be read: {error}") from error
        with translated(destination, storing=True):
            answer = made.store_instances([ds])
        sent.append(_read(answer, str(ds.SOPInstanceUID), destination))
        if on_sent is not None:
            on_sent(sent[-1])
    return sent


def _read(answer: Dataset, sop_uid: str, destination: Destination) -> Sent:
    """Read the store instances response (PS3.18 annex I)."""
    for item in answer.get("FailedSOPSequence") or ():
        reason = int(item.get("FailureReason", 0x0110))
        kind = DeliveryFailed if may_pass(reason) else DeliveryRefused
        raise kind(f"{destination.name} answered {reason:04X}")
    taken = {item.get("ReferencedSOPInstanceUID"): item for item in answer.get("ReferencedSOPSequence") or ()}
    warning = int(taken[sop_uid].get("WarningReason", 0)) if sop_uid in taken else 0
    log = _log.bind(destination=destination.name, sop_uid=sop_uid)
    if warning:
        log.warning("object-sent", status=f"{warning:04X}")
    else:
        log.info("object-sent")
    return Sent(sop_uid, warning)


def echo(destination: Destination) -> None:
    """Ask for any study, which shows that the service answers and lets us in."""
    with translated(destination):
        client(destination).search_for_studies(limit=1)
