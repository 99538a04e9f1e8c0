"""A report of this product read back: whose it is, what made it, what it says."""

from dataclasses import dataclass
from datetime import date, datetime, time

from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from negvol_pacs.errors import ForeignReport, UnreadableReport
from negvol_pacs.joint.findings import Findings
from negvol_pacs.report import codes
from negvol_pacs.report.algorithm import MANUFACTURER, Algorithm
from negvol_pacs.report.patient import Patient
from negvol_pacs.report.reading import find_texts, is_whole, read_findings
from negvol_pacs.report.uids import SEGMENTATIONS

_WEIGHTS = "weights_sha256="


@dataclass(frozen=True)
class Report:
    """A structured report of one series.

    Attributes
    ----------
    sop_instance_uid, series_instance_uid, study_instance_uid
        Of the report.
    measured_series
        Series Instance UID of the images.
    patient
        Whose joints.
    accession_number
        Empty where not known.
    study_date, study_time
        When the images were made; None where not known.
    created
        Content date and time.
    algorithm
        What made the numbers.
    replaces
        SOP Instance UIDs of the reports that this one replaces (Predecessor Documents
        Sequence, PS3.3 C.17.2).
    findings
        Numbers and flags.
    """

    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    measured_series: str
    patient: Patient
    accession_number: str
    study_date: date | None
    study_time: time | None
    created: datetime
    algorithm: Algorithm
    replaces: frozenset[str]
    findings: Findings

    def is_before(self, study_date: date | None, study_time: time | None) -> bool:
        """Tell whether its study is surely older than one of this date and time."""
        if self.study_date is None or study_date is None:
            return False
        if self.study_date != study_date or self.study_time is None or study_time is None:
            return self.study_date < study_date
        return self.study_time < study_time


def read_report(ds: Dataset) -> Report:
    """Read a report of this product.

    Parameters
    ----------
    ds
        Any data set.

    Returns
    -------
    Report
        Without landmarks and surfaces.

    Raises
    ------
    ForeignReport
        If the data set is something else.
    UnreadableReport
        If it is damaged, or of a version that measures what this one does not know.
    """
    try:
        if not _is_ours(ds):
            raise ForeignReport("not a report of this product")
        if not is_whole(ds):
            raise UnreadableReport("a report that is cut off")
        return Report(
            sop_instance_uid=str(ds.SOPInstanceUID),
            series_instance_uid=str(ds.SeriesInstanceUID),
            study_instance_uid=str(ds.StudyInstanceUID),
            measured_series=_measured_series(ds),
            patient=Patient.of(ds),
            accession_number=str(ds.get("AccessionNumber") or "").strip(),
            study_date=parse_date(ds.get("StudyDate")),
            study_time=parse_time(ds.get("StudyTime")),
            created=_created(ds),
            algorithm=Algorithm(str(ds.ManufacturerModelName), str(ds.SoftwareVersions), _weights(ds)),
            replaces=frozenset(_predecessors(ds)),
            findings=read_findings(ds),
        )
    except (ForeignReport, UnreadableReport):
        raise
    except Exception as error:  # pydicom decodes late, and whatever stands in a file must not stop its reader
        raise UnreadableReport(f"a report that cannot be read: {type(error).__name__}: {error}") from error


def parse_date(value: object) -> date | None:
    """Return a date (VR DA), None where there is none or a bad one."""
    if isinstance(value, date):
        return date(value.year, value.month, value.day)
    try:
        return datetime.strptime(str(value), "%Y%m%d").date()
    except ValueError:
        return None


def parse_time(value: object) -> time | None:
    """Return a time of day (VR TM) to the second, None where there is none or a bad one."""
    if isinstance(value, time):
        return time(value.hour, value.minute, value.second)
    digits = str(value).partition(".")[0].strip()
    form = {2: "%H", 4: "%H%M", 6: "%H%M%S"}.get(len(digits))
    try:
        return datetime.strptime(digits, form).time() if form else None
    except ValueError:
        return None


def _is_ours(ds: Dataset) -> bool:
    schemes = ds.get("CodingSchemeIdentificationSequence") or ()
    return (
        ds.get("SOPClassUID") == Comprehensive3DSRStorage
        and ds.get("Manufacturer") == MANUFACTURER
        and any(item.get("CodingSchemeDesignator") == codes.SCHEME for item in schemes)
    )


def _measured_series(ds: Dataset) -> str:
    for study in ds.CurrentRequestedProcedureEvidenceSequence:
        for series in study.ReferencedSeriesSequence:
            if series.ReferencedSOPSequence[0].ReferencedSOPClassUID not in SEGMENTATIONS:
                return str(series.SeriesInstanceUID)
    raise ValueError("it names no images")


def _created(ds: Dataset) -> datetime:
    day, moment = parse_date(ds.ContentDate), parse_time(ds.ContentTime)
    if day is None or moment is None:
        raise ValueError("it has no content date and time")
    return datetime.combine(day, moment)


def _weights(ds: Dataset) -> str:
    return next(text.removeprefix(_WEIGHTS) for text in find_texts(ds) if text.startswith(_WEIGHTS))


def _predecessors(ds: Dataset) -> list[str]:
    return [
        str(item.ReferencedSOPInstanceUID)
        for study in ds.get("PredecessorDocumentsSequence") or ()
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    ]
