"""Which of the worklist's orders the images were made for."""

import structlog
from pydicom import Dataset

from negvol_pacs.errors import OrderMismatch
from negvol_pacs.series.frames import text
from negvol_pacs.storage.orders import Orders, decode, moment
from negvol_pacs.storage.records import Order

_log = structlog.get_logger()


def find_order(header: Dataset, orders: Orders, within_s: float) -> Dataset | None:
    """Find the order of a series: by study UID, by accession number, or by patient ID near the scheduled time.

    An order that is found by study UID or accession number must be for the patient of the images.
    By patient ID alone it is found only when all that lies near in time is one requested
    procedure for that modality, and the images name no accession number.

    Parameters
    ----------
    header
        Any image of the series.
    orders
        What was seen.
    within_s
        How far the scheduled time may be from the images' time.

    Returns
    -------
    Dataset or None
        The worklist item; None where there is none, or more than one that it could be.

    Raises
    ------
    OrderMismatch
        If every order with the images' study UID, or with their accession number, is for another
        patient.
    """
    patient_id, accession = text(header, "PatientID"), text(header, "AccessionNumber")
    named = {
        "study instance UID": orders.of_study(text(header, "StudyInstanceUID")),
        f"accession number {accession}": orders.of_accession(accession),
    }
    if not patient_id:
        return None
    found: list[Order] = []
    for name, entries in named.items():
        own = [entry for entry in entries if _is_patient(entry, header)]
        if entries and not own:
            raise OrderMismatch(f"The worklist's order with the images' {name} is for another patient.")
        found = found or own
    if not found and not accession:
        found = [entry for entry in orders.of_patient(patient_id) if _is_near(entry, header, within_s)]
    procedures = {(entry.study_uid + entry.accession) or entry.key for entry in found}
    if len(procedures) > 1:
        _log.warning("order-ambiguous", study=text(header, "StudyInstanceUID"), orders=len(procedures))
        return None
    return decode(found[0].identifier) if found else None


def _is_patient(entry: Order, header: Dataset) -> bool:
    issuer = text(header, "IssuerOfPatientID")
    same_issuer = not issuer or not entry.issuer or issuer == entry.issuer
    return entry.patient_id == text(header, "PatientID") and same_issuer


def _is_near(entry: Order, header: Dataset, within_s: float) -> bool:
    made = moment(text(header, "StudyDate"), text(header, "StudyTime"))
    near = made is not None and entry.scheduled_at is not None and abs(made - entry.scheduled_at) <= within_s
    return near and entry.modality in ("", text(header, "Modality")) and _is_patient(entry, header)
