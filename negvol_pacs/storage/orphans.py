"""Whole files of the inbox that the ledger does not know: what a crash, or a lost ledger, left behind."""

import hashlib
import mmap
import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog
from pydicom.filereader import read_file_meta_info

from negvol_pacs.errors import MALFORMED, MalformedObject, StorageError
from negvol_pacs.storage import durable, place
from negvol_pacs.storage.identify import identify
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.records import Instance
from negvol_pacs.storage.scan import scan

_HEAD = 132 + 12
"""Preamble, prefix and the length of the file meta information (PS3.10 section 7.1)."""

_log = structlog.get_logger()


def collect(root: Path, ledger: Ledger, node: str, on_turn: Callable[[], None]) -> Counter[str]:
    """Enter each such file in the ledger, or put it aside; to be called before anything is received.

    A file that was whole when the process died, but never acknowledged, is as good as the one that
    the sender will send again. What is not what its name says goes to the folder ``quarantine``.
    What lies there still after its study was removed goes the same way as the study.

    Parameters
    ----------
    root
        The inbox's folder.
    ledger
        Where they are entered.
    node
        Name of the receiver.
    on_turn
        Called after each of them: a lost ledger may mean hundreds of thousands.

    Returns
    -------
    Counter
        How many were ``registered``, ``quarantined`` and ``removed``.
    """
    association, done = str(uuid.uuid4()), Counter[str]()
    for path in _unknown(root, ledger.paths()):
        on_turn()
        try:
            entry = read_entry(path, root, association)
        except MalformedObject as error:
            done["quarantined"] += 1
            _log.error("inbox-file-quarantined", file=path.name, reason=str(error))
            durable.make_folder(root / "quarantine")
            durable.move(path, root / "quarantine" / path.name)
            continue
        removal = ledger.removals.find(entry.study_uid)
        if removal is not None and path.stat().st_mtime <= removal.removed_at:
            done["removed"] += 1
            path.unlink()
        else:
            done["registered"] += 1
            ledger.record_instance(entry, node)
    if done["registered"]:
        ledger.association_ended(association)
    return done


def _unknown(root: Path, known: set[str]) -> Iterator[Path]:
    objects = root / "objects"
    for folder, _, names in os.walk(objects):
        for name in names:
            path = Path(folder, name)
            if path.relative_to(root).as_posix() not in known:
                yield path


def read_entry(path: Path, root: Path, association: str) -> Instance:
    """Make the ledger's entry of a file of the inbox.

    Raises
    ------
    MalformedObject
        If it is not the object that its name stands for.
    """
    try:
        meta = read_file_meta_info(path)
        syntax, start = meta.TransferSyntaxUID, _HEAD + int(meta.FileMetaInformationGroupLength)
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
            uids = str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID)
            identity = identify(scan(buffer, start, syntax), *uids, syntax)
            sha256, size = hashlib.sha256(memoryview(buffer)[start:]).hexdigest(), len(buffer) - start
    except (*MALFORMED, StorageError) as error:
        raise MalformedObject(f"it cannot be read: {error}") from error
    relative = path.relative_to(root).as_posix()
    if relative != place.of_object(identity, sha256):
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
        called_ae=str(meta.get("ReceivingApplicationEntityTitle", "")),
        association_id=association,
        received_at=path.stat().st_mtime,
    )
