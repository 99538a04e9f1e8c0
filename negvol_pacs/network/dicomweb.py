"""Reports back from a PACS by QIDO-RS and WADO-RS (PS3.18)."""

from pathlib import Path

from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from negvol_pacs.config import Destination
from negvol_pacs.network.retriever import Wanted, file_name
from negvol_pacs.network.web import client, translated


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
        # Some servers answer a series without its study unless they are asked for it.
        found = made.search_for_series(search_filters=filters, fields=["StudyInstanceUID"], get_remaining=True)
        for series in map(Dataset.from_json, found):
            for ds in made.iter_series(series.StudyInstanceUID, series.SeriesInstanceUID):
                if ds.SOPClassUID == Comprehensive3DSRStorage:
                    path = folder / f"{file_name(str(ds.SOPInstanceUID))}.dcm"
                    ds.save_as(path, enforce_file_format=True)
                    paths.append(path)
    return sorted(paths)
