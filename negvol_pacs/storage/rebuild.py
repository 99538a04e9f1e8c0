"""The ledger made anew from the images in the inbox, when its database is damaged or gone."""

import hashlib
import mmap
from dataclasses import dataclass
from pathlib import Path

from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID

from negvol_pacs.errors import MALFORMED, MalformedObject
from negvol_pacs.storage.identify import identify
from negvol_pacs.storage.inbox import OBJECTS, relative_path
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.records import Instance, Outcome
from negvol_pacs.storage.scan import scan

_ASSOCIATION = "rebuilt"


@dataclass(frozen=True)
class Rebuilt:
    """What was found in the inbox.

    Attributes
    ----------
    studies, instances
        How many are in the ledger now.
    left
        Files that were left out, and why.
    """

    studies: int
    instances: int
    left: dict[Path, str]


def rebuild(inbox: Path, ledger: Ledger, called_ae: str) -> Rebuilt:
    """Enter every whole image of an inbox into an empty ledger.

    A file's name holds the hash of its data set: one that no longer fits is damaged and left out.

    Parameters
    ----------
    inbox
        Its folder.
    ledger
        Empty.
    called_ae
        Stands for the AE titles that were called, which the files do not tell.
    """
    left: dict[Path, str] = {}
    studies, count = set(), 0
    for path in sorted((inbox / OBJECTS).rglob("*.dcm"), key=lambda path: path.stat().st_mtime):
        try:
            found = _instance(path, inbox, called_ae)
        except MalformedObject as error:
            left[path] = str(error)
            continue
        outcome, _ = ledger.record_instance(found)
        if outcome is Outcome.CONFLICT:
            left[path] = "an image with the same SOP Instance UID came before"
        else:
            studies.add(found.study_uid)
            count += 1
    ledger.association_ended(_ASSOCIATION)
    return Rebuilt(len(studies), count, left)


def _instance(path: Path, inbox: Path, called_ae: str) -> Instance:
    try:
        meta = read_file_meta_info(path)
        syntax = UID(meta.TransferSyntaxUID)
        start = 128 + 4 + 12 + meta.FileMetaInformationGroupLength
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
            uids = str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID)
            identity = identify(scan(buffer, start, syntax), *uids, syntax)
            size, sha256 = len(buffer) - start, hashlib.sha256(memoryview(buffer)[start:]).hexdigest()
    except MALFORMED as error:
        raise MalformedObject(f"cannot be read: {error}") from error
    relative = relative_path(identity, sha256)
    if inbox / relative != path:
        raise MalformedObject("its content is not what was received")
    return Instance(
        sop_uid=identity.sop_uid,
        series_uid=identity.series_uid,
        study_uid=identity.study_uid,
        sop_class_uid=identity.sop_class_uid,
        transfer_syntax=str(syntax),
        path=relative,
        size=size,
        sha256=sha256,
        calling_ae=str(meta.get("SourceApplicationEntityTitle", "")),
        called_ae=called_ae,
        association_id=_ASSOCIATION,
        received_at=path.stat().st_mtime,
    )
