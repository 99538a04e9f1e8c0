"""The inbox: received objects on disk, durable before they are acknowledged.

The order is temp → fsync → rename → fsync folder → ledger row; only then may the sender hear
0x0000. Whatever a crash leaves is either a temporary file, swept at the next start, or a whole
file without a row, which was never acknowledged and is entered in the ledger at the next start.

No name on disk comes from a peer: folders and files are named by hashes of UIDs. Every file
begins with a preamble of zeros (a sender's preamble could make it a program, CVE-2019-11687).
"""

import contextlib
import hashlib
import mmap
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import structlog
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from negvol_pacs.errors import DiskFull, MalformedObject, StorageError
from negvol_pacs.storage import durable, place
from negvol_pacs.storage.database import is_full
from negvol_pacs.storage.identify import Identity, identify, is_uid
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.orphans import collect
from negvol_pacs.storage.records import Instance, Outcome
from negvol_pacs.storage.scan import scan
from negvol_pacs.storage.turns import Turns

IMPLEMENTATION_CLASS_UID = "2.25.135864985737100619431043683221466890905"
IMPLEMENTATION_VERSION_NAME = "NEGVOL"

_log = structlog.get_logger()


@dataclass(frozen=True)
class Origin:
    """The association that an object comes by."""

    association_id: str
    calling_ae: str
    called_ae: str
    node: str
    """Which receiver has it: see `Ledger.end_lost_associations`."""


class Incoming:
    """An object that is being received: a temporary file, hashed and counted as it grows.

    A ``failure`` does not stop it: the rest of the object is still counted, but written nowhere,
    so that the sender can be answered in turn.
    """

    def __init__(self, path: Path, origin: Origin, sop_class_uid: str, sop_uid: str, transfer_syntax: UID) -> None:
        self.origin, self.sop_class_uid, self.sop_uid = origin, sop_class_uid, sop_uid
        self.transfer_syntax = transfer_syntax
        self.size = 0
        """Bytes of the data set, without the file meta information."""
        self.failure: StorageError | None = None
        self.path = path
        self._hash = hashlib.sha256()
        self._file: BinaryIO | None = None
        self._start = 0

    def open(self) -> None:
        """Create the file, which must not exist, and write preamble and file meta information."""
        with self._failing():
            flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.fdopen(os.open(self.path, flags, 0o600), "w+b", buffering=1 << 20)
            self._file, self._start = file, file.write(self._head())

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the data set."""
        self.size += len(data)
        if self.failure is None and self._file is not None:
            with self._failing():
                self._hash.update(data)
                self._file.write(data)

    def identify(self) -> tuple[Identity, str]:
        """Walk through what was received.

        Returns
        -------
        identity
            Who the object says it is.
        sha256
            Hash of the data set.

        Raises
        ------
        StorageError
            The ``failure``, or a `MalformedObject`.
        """
        if self.failure is None and self._file is not None:
            with self._failing():
                self._file.flush()
        if self.failure is not None:
            raise self.failure
        if self._file is None or self.size == 0:
            raise MalformedObject("no data set")
        with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
            found = scan(buffer, self._start, self.transfer_syntax)
        return identify(found, self.sop_class_uid, self.sop_uid, self.transfer_syntax), self._hash.hexdigest()

    def settle(self, path: Path) -> None:
        """Move the file durably to its place."""
        if self._file is None:
            raise StorageError("nothing to settle")
        with self._failing():
            os.fsync(self._file.fileno())
            self._file.close()
            durable.make_folder(path.parent)
            durable.move(self.path, path)
        if self.failure is not None:
            raise self.failure

    def abandon(self) -> None:
        """Close and remove the temporary file, if it is still there."""
        with contextlib.suppress(OSError):
            if self._file is not None:
                self._file.close()
        self.path.unlink(missing_ok=True)

    def _head(self) -> bytes:
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = UID(self.sop_class_uid)
        meta.MediaStorageSOPInstanceUID = UID(self.sop_uid)
        meta.TransferSyntaxUID = self.transfer_syntax
        meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
        meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
        meta.SourceApplicationEntityTitle = self.origin.calling_ae
        meta.ReceivingApplicationEntityTitle = self.origin.called_ae
        encoded = DicomBytesIO()
        write_file_meta_info(encoded, meta)
        return b"\0" * 128 + b"DICM" + encoded.getvalue()

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            kind = DiskFull if is_full(error) else StorageError
            self.failure = kind(f"the object cannot be written: {error.strerror}")


class Inbox:
    """Received objects, on disk and in the ledger.

    Parameters
    ----------
    folder
        Root; made where missing.
    ledger
        Where they are entered.
    min_free_bytes
        Watermark: with less free space nothing is taken.
    clock
        Seconds since the epoch.
    """

    def __init__(
        self,
        folder: Path,
        ledger: Ledger,
        min_free_bytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.ledger = ledger
        self._root = folder
        self._temporary = folder / "incoming"
        self._min_free_bytes = min_free_bytes
        self._clock = clock
        self.turns = Turns()
        durable.make_folder(self._temporary)

    def recover(self, node: str, on_turn: Callable[[], None] = lambda: None) -> None:
        """At the start of the only receiver of this inbox: clear away what its former life left half-done.

        What it left done, but unknown to the ledger, is collected: see `orphans.collect`.
        """
        swept = durable.sweep(self._temporary)
        self.ledger.end_lost_associations(node)
        _log.info("inbox-recovered", half_received=swept, **collect(self._root, self.ledger, node, on_turn))

    @property
    def free_bytes(self) -> int:
        """Free space where objects go."""
        status = os.statvfs(self._temporary)
        return status.f_bavail * status.f_frsize

    def require_space(self) -> None:
        """Check the watermark.

        Raises
        ------
        DiskFull
            If there is less free space than ``min_free_bytes``.
        """
        if self.free_bytes < self._min_free_bytes:
            raise DiskFull(f"less than {self._min_free_bytes} bytes free for received objects")

    def receive(
        self,
        origin: Origin,
        sop_class_uid: str,
        sop_uid: str,
        transfer_syntax: UID,
        failure: StorageError | None = None,
    ) -> Incoming:
        """Begin to receive an object; what is wrong from the start is its ``failure``."""
        path = self._temporary / f"{secrets.token_hex(16)}{durable.TEMPORARY}"
        incoming = Incoming(path, origin, sop_class_uid, sop_uid, transfer_syntax)
        try:
            if failure is not None:
                raise failure
            if not is_uid(sop_uid):
                raise MalformedObject("the SOP Instance UID is not a UID")
            self.require_space()
        except StorageError as error:
            incoming.failure = error
        else:
            incoming.open()
        return incoming

    def commit(self, incoming: Incoming) -> tuple[Outcome, Instance]:
        """Make a wholly received object durable and enter it in the ledger.

        When this returns, the object survives a power cut and may be acknowledged.

        Returns
        -------
        outcome
            Whether it was new.
        instance
            The ledger's entry.

        Raises
        ------
        StorageError
            If it is not taken, and why: `DiskFull`, `MalformedObject`, `ObjectMismatch`.
        """
        identity, sha256 = incoming.identify()
        with self.turns.adding(identity.study_uid):
            return self._enter(incoming, identity, sha256)

    def _enter(self, incoming: Incoming, identity: Identity, sha256: str) -> tuple[Outcome, Instance]:
        relative = place.of_object(identity, sha256)
        known = self.ledger.find_instance(identity.sop_uid)
        if known is None or (known.sha256 == sha256 and not self.path(known).is_file()):
            incoming.settle(self._below_root(relative))
        entry = Instance(
            sop_uid=identity.sop_uid,
            series_uid=identity.series_uid,
            study_uid=identity.study_uid,
            sop_class_uid=identity.sop_class_uid,
            transfer_syntax=str(incoming.transfer_syntax),
            path=relative,
            size=incoming.size,
            sha256=sha256,
            calling_ae=incoming.origin.calling_ae,
            called_ae=incoming.origin.called_ae,
            association_id=incoming.origin.association_id,
            received_at=self._clock(),
        )
        outcome, kept = self.ledger.record_instance(entry, incoming.origin.node)
        if kept.path != relative:  # lost against another content that came at the same moment
            self.path(entry).unlink(missing_ok=True)
        return outcome, kept

    def is_whole(self, instance: Instance) -> bool:
        """Tell whether the data set on disk is still the one that was received, by its hash."""
        digest = hashlib.sha256()
        try:
            with self.path(instance).open("rb") as file:
                file.seek(-instance.size, os.SEEK_END)
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError:
            return False
        return digest.hexdigest() == instance.sha256

    def path(self, instance: Instance) -> Path:
        """Return the file of an instance."""
        return self._root / instance.path

    def paths(self, study_uid: str, generation: int | None = None) -> list[Path]:
        """Return the files that a generation of a study is computed from (default: all)."""
        return [self.path(instance) for instance in self.ledger.instances(study_uid, generation)]

    def discard(self, study_uid: str) -> None:
        """Remove the files of a study; to be called in its turn, when the ledger knows nothing of them any more."""
        folder = self._below_root(place.of_study(study_uid))
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            durable.sync(folder.parent)

    def _below_root(self, relative: str) -> Path:
        path = self._root / relative
        if not path.resolve().is_relative_to(self._root.resolve()):
            raise StorageError("a path leads out of the inbox")
        return path
