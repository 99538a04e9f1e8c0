"""What a person knows a study by: accession number and date, out of one of its files. Never a name."""

from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path

from pydicom import dcmread
from pydicom.valuerep import DA

from negvol_pacs.errors import MALFORMED

_TAGS = ["AccessionNumber", "StudyDate", "PatientID"]


@dataclass(frozen=True)
class Identity:
    """Of a study; empty or None where not known."""

    accession_number: str = ""
    study_date: date | None = None
    patient_id: str = ""
    """For the audit trail alone."""


UNKNOWN = Identity()


@lru_cache(maxsize=4096)  # what a file says never changes
def read_identity(path: Path) -> Identity:
    """Read it from an image or a report.

    Raises
    ------
    FileNotFoundError
        If the file is gone. One that cannot be read is `UNKNOWN`.
    """
    try:
        header = dcmread(path, specific_tags=_TAGS, stop_before_pixels=True)
        accession, patient = (str(header.get(tag) or "").strip() for tag in ("AccessionNumber", "PatientID"))
        return Identity(accession, _date(header.get("StudyDate")), patient)
    except FileNotFoundError:
        raise
    except MALFORMED:
        return UNKNOWN


def _date(value: object) -> date | None:
    try:
        found = DA(str(value or ""))
    except ValueError:
        return None
    return None if found is None else date(found.year, found.month, found.day)
