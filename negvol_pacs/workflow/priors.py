"""Where the report of a patient's first study comes from: the outbox, and the PACS where it is asked."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pydicom
import structlog
from pydicom.errors import InvalidDicomError

from negvol_pacs.config import Config, Destination
from negvol_pacs.errors import NetworkError, ReportError
from negvol_pacs.network.retriever import Wanted, fetch_reports
from negvol_pacs.report.change import find_prior
from negvol_pacs.report.collection import read_file, read_folder
from negvol_pacs.report.document import Report
from negvol_pacs.report.patient import Patient
from negvol_pacs.report.sr import SERIES_NUMBER
from negvol_pacs.series.series import Series
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.outbox import Outbox

_WILDCARDS = frozenset("*?\\")
_IDENTITY = ["PatientID", "IssuerOfPatientID", "PatientBirthDate"]

_log = structlog.get_logger()


def find(series: Series, ledger: Ledger, outbox: Outbox, config: Config) -> Report | None:
    """Find the report of the first study of the series' patient.

    Parameters
    ----------
    series
        What is measured now.
    ledger, outbox
        Of the node: the latest report of each study counts.
    config
        Destinations with ``priors`` are asked, too. One that does not answer is passed over, as
        its reports are when it is empty; the log says so.

    Returns
    -------
    Report or None
        See :func:`negvol_pacs.report.change.find_prior`.
    """
    patient = Patient.of(series.first)
    if patient.key is None:
        return None
    paths = [
        outbox.path(entry.path) for entry in ledger.latest_reports() if entry.study_uid != series.study_instance_uid
    ]
    reports = [report for path in paths if _is_of(path, patient) for report in _read(path)]
    for destination in config.destinations:
        if destination.priors and not _WILDCARDS & set(patient.patient_id):
            reports += _ask(destination, patient, config)
    return find_prior(series, reports)


def _is_of(path: Path, patient: Patient) -> bool:
    """Tell whose a report is by its first elements, since there may be thousands."""
    try:
        return patient.is_same(Patient.of(pydicom.dcmread(path, specific_tags=_IDENTITY)))
    except (OSError, InvalidDicomError):
        return False


def _read(path: Path) -> list[Report]:
    try:
        return [read_file(path)]
    except ReportError as error:
        _log.warning("prior-unreadable", code=error.code)
        return []


def _ask(destination: Destination, patient: Patient, config: Config) -> list[Report]:
    with TemporaryDirectory(prefix="negvol-") as folder:
        try:
            fetch_reports(destination, Wanted(SERIES_NUMBER, patient.patient_id), Path(folder), config)
        except NetworkError as error:
            _log.warning("priors-not-asked", destination=destination.name, code=error.code, reason=str(error))
            return []
        return list(read_folder(Path(folder)).reports)
