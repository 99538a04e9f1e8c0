"""Reports back from a PACS by QIDO-RS and WADO-RS (PS3.18)."""

from pathlib import Path

from dicomweb_client import DICOMwebClient
from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from negvol_pacs.config import Destination
from negvol_pacs.errors import QueryFailed
from negvol_pacs.network.retriever import Wanted, file_name
from negvol_pacs.network.web import client, translated

_MAX_SERIES = 100_000
"""A server that names new ones for ever is not listened to."""


def has(destination: Destination, study_uid: str, series_uid: str, sop_uid: str) -> bool:
    """Tell whether an instance is found (QIDO-RS): see :func:`negvol_pacs.network.presence.has`."""
    with translated(destination):
        found = client(destination).search_for_instances(
            study_uid, series_uid, search_filters={"SOPInstanceUID": sop_uid}
        )
        return any(Dataset.from_json(item).get("SOPInstanceUID") == sop_uid for item in found)


def fetch(destination: Destination, wanted: Wanted, folder: Path) -> list[Path]:
    """Copy reports into a folder: see :func:`negvol_pacs.network.retriever.fetch_reports`."""
    made = client(destination)
    filters = {"Modality": "SR", "SeriesNumber": str(wanted.series_number)}
    if wanted.patient_id:
        filters["PatientID"] = wanted.patient_id
    paths = []
    with translated(destination):
        for study_uid, series_uid in _series(made, filters):
            for ds in made.iter_series(study_uid, series_uid):
                if ds.SOPClassUID == Comprehensive3DSRStorage:
                    ds.preamble = b"\0" * 128  # a server's could make it a program
                    path = folder / f"{file_name(str(ds.SOPInstanceUID))}.dcm"
                    ds.save_as(path, enforce_file_format=True)
                    paths.append(path)
    return sorted(paths)


def _series(made: DICOMwebClient, filters: dict[str, str]) -> list[tuple[str, str]]:
    """Return study and series UID of what is found, page by page until one brings nothing new."""
    found: dict[tuple[str, str], None] = {}
    answers = 0
    while answers < _MAX_SERIES:
        # Some servers answer a series without its study unless they are asked for it.
        page = made.search_for_series(search_filters=filters, fields=["StudyInstanceUID"], offset=answers)
        series = [Dataset.from_json(item) for item in page]
        named = dict.fromkeys((str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID)) for ds in series)
        if named.keys() <= found.keys():
            return list(found)
        found |= named
        answers += len(page)
    raise QueryFailed(f"more than {_MAX_SERIES} series")
