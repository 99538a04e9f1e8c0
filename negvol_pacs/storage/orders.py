"""Orders that passed through on their way from a RIS to a modality (PS3.4 annex K).

Items are kept encoded, in Implicit VR Little Endian, with the bytes of their texts untouched.
Unless the whole item is wanted, the patient's name and all else that no report needs is left out.
"""

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from io import BytesIO

import sqlalchemy as sa
from pydicom import Dataset
from pydicom.charset import decode_bytes
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import ImplicitVRLittleEndian

from negvol_pacs.errors import MALFORMED, MalformedObject
from negvol_pacs.storage.database import Database, first, put
from negvol_pacs.storage.records import Order
from negvol_pacs.storage.scan import scan
from negvol_pacs.storage.schema import orders

STEPS = "ScheduledProcedureStepSequence"
_IDENTITY = ("PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyInstanceUID", "RequestedProcedureID")
_NEEDED = (
    "SpecificCharacterSet",
    *_IDENTITY,
    STEPS,
    "RequestedProcedureDescription",
    "RequestedProcedurePriority",
    "RequestedProcedureCodeSequence",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
)


def decode(identifier: bytes) -> Dataset:
    """Read an identifier of the worklist's information model, in Implicit VR Little Endian.

    Raises
    ------
    MalformedObject
        If it is not whole, or nested too deeply.
    """
    scan(identifier, 0, ImplicitVRLittleEndian)
    try:
        ds = read_dataset(BytesIO(identifier), is_implicit_VR=True, is_little_endian=True)
        step(ds)  # read now, so that it cannot fail later
    except MALFORMED as error:
        raise MalformedObject("the identifier cannot be read") from error
    return ds


def encode(ds: Dataset) -> bytes:
    """Write an identifier; texts that came from `decode` keep their bytes."""
    file = DicomBytesIO()
    file.is_implicit_VR = file.is_little_endian = True
    write_dataset(file, ds)
    return file.getvalue()


def text(ds: Dataset, keyword: str) -> str:
    """Return a value as text, empty where there is none; unlike pydicom, without a warning that cites it."""
    tag = tag_for_keyword(keyword)
    element = ds.get_item(tag) if tag is not None and tag in ds else None
    if element is None or element.value is None:
        return ""
    if not isinstance(element, RawDataElement):
        return str(element.value).strip()
    encodings = ds.original_character_set
    encodings = [encodings] if isinstance(encodings, str) else list(encodings)
    return decode_bytes(element.value, encodings or ["iso8859"], set()).strip("\0 ")


def step(ds: Dataset) -> Dataset:
    """Return the one Scheduled Procedure Step of an item, empty where there is none."""
    steps = ds.get(STEPS) or [Dataset()]
    found: Dataset = steps[0]
    return found


def identity(ds: Dataset, identifier: bytes) -> str:
    """Hash of what names a scheduled procedure step, whichever RIS speaks of it; of all where nothing does."""
    named = [text(ds, keyword) for keyword in _IDENTITY] + [text(step(ds), "ScheduledProcedureStepID")]
    told = "\0".join(named).encode() if any(named[2:]) else identifier
    return hashlib.sha256(told).hexdigest()


def moment(date: str, time_of_day: str) -> float | None:
    """Seconds of a DICOM date and time on the clock of the place, as if that were UTC; None where there is no date."""
    digits = "".join(time_of_day.partition(".")[0].split(":"))
    try:
        return datetime.strptime(date[:8] + f"{digits:0<6}"[:6], "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def order(ris: str, identifier: bytes, seen_at: float, *, whole: bool) -> Order | None:
    """Make the ledger's entry of a worklist item.

    Parameters
    ----------
    ris
        Name of the RIS.
    identifier
        The item, encoded.
    seen_at
        Seconds since the epoch.
    whole
        Keep all of it, the patient's name too.

    Returns
    -------
    Order or None
        None where the item names no patient: nothing can be matched with it.
    """
    ds = decode(identifier)
    if not text(ds, "PatientID"):
        return None
    scheduled = step(ds)
    entry = Order(
        identity(ds, identifier),
        ris,
        text(ds, "StudyInstanceUID"),
        text(ds, "AccessionNumber"),
        text(ds, "PatientID"),
        text(ds, "IssuerOfPatientID"),
        text(scheduled, "Modality"),
        moment(text(scheduled, "ScheduledProcedureStepStartDate"), text(scheduled, "ScheduledProcedureStepStartTime")),
        seen_at,
        identifier,
    )
    return entry if whole else replace(entry, identifier=encode(_needed(decode(identifier))))


def _needed(ds: Dataset) -> Dataset:
    wanted = {tag_for_keyword(keyword) for keyword in _NEEDED}
    for tag in [tag for tag in ds.keys() if tag not in wanted]:  # noqa: SIM118 - items would decode the values
        del ds[tag]
    return ds


class Orders:
    """The ledger's orders.

    Parameters
    ----------
    database
        Of the ledger.
    clock
        Seconds since the epoch.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database, self._clock = database, clock

    def record(self, entries: Iterable[Order], keep_s: float) -> None:
        """Enter what was seen, and forget what was not seen for ``keep_s`` seconds.

        A modality that asks for less than another one did takes nothing away.
        """
        with self._database.writing() as connection:
            for entry in entries:
                mine = orders.c.key == entry.key
                known = first(connection, sa.select(orders).where(mine))
                if known is None or _covers(entry.identifier, known["identifier"]):
                    put(connection, orders, asdict(entry))
                else:
                    connection.execute(orders.update().where(mine).values(seen_at=entry.seen_at))
            connection.execute(orders.delete().where(orders.c.seen_at < self._clock() - keep_s))

    def of_study(self, study_uid: str) -> list[Order]:
        """Return the orders of a study."""
        return self._where(orders.c.study_uid == study_uid) if study_uid else []

    def of_accession(self, accession: str) -> list[Order]:
        """Return the orders with an accession number."""
        return self._where(orders.c.accession == accession) if accession else []

    def of_patient(self, patient_id: str) -> list[Order]:
        """Return the orders for a patient ID."""
        return self._where(orders.c.patient_id == patient_id) if patient_id else []

    def of_ris(self, ris: str) -> list[Order]:
        """Return what a RIS was seen to answer."""
        return self._where(orders.c.ris == ris)

    def _where(self, condition: sa.ColumnElement[bool]) -> list[Order]:
        query = sa.select(orders).where(condition).order_by(orders.c.scheduled_at, orders.c.key)
        return [Order(**row) for row in self._database.all(query)]


def _covers(new: bytes, old: bytes) -> bool:
    """Tell whether a new item has every attribute of the old one."""
    before, now = decode(old), decode(new)
    return set(before.keys()) <= set(now.keys()) and set(step(before).keys()) <= set(step(now).keys())
